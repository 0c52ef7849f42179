//! The Internet checksum (RFC 1071).
//!
//! Twice: over slices, and over words, for the program in the kernel, which has no slices.

use crate::address::Address;

/// A sum under way. Parts of odd length may only come last.
#[derive(Clone, Copy, Debug, Default)]
pub struct Checksum(u64);

impl Checksum {
    /// Adds octets as big-endian 16-bit words, the last one padded with 0.
    #[must_use]
    pub fn over(mut self, octets: &[u8]) -> Self {
        let (pairs, rest) = octets.as_chunks::<2>();
        for pair in pairs {
            self.0 += u64::from(u16::from_be_bytes(*pair));
        }
        if let [last] = rest {
            self.0 += u64::from(u16::from_be_bytes([*last, 0]));
        }
        self
    }

    /// Adds the pseudo-header of RFC 8200 8.1 or, which sums the same, the one that IPv4 has in UDP and TCP.
    #[must_use]
    pub fn pseudo_header(self, source: &[u8], destination: &[u8], next_header: u8, length: u16) -> Self {
        self.over(source).over(destination).over(&[0, next_header]).over(&length.to_be_bytes())
    }

    /// The checksum: the complement of the folded sum. 0 stays 0 (VRRP has no substitution as UDP has).
    ///
    /// Over a message with its checksum it is 0 if that is right.
    pub fn finish(self) -> [u8; 2] {
        // As many octets as there can be in memory do not come near 64 bits.
        (!(fold(self.0) as u16)).to_be_bytes()
    }
}

/// Sums the two 32-bit words of a native-endian load of eight octets. Byte order and word size do not matter before folding.
#[inline(always)]
pub fn word_pair(words: u64) -> u64 {
    (words & 0xffff_ffff) + (words >> 32)
}

/// A mapped IPv4 address sums as its four octets: `::ffff` adds 0xffff, which is 0 after folding.
#[inline(always)]
pub fn address(address: Address) -> u64 {
    word_pair(address.upper) + word_pair(address.lower)
}

/// The sum of a pseudo-header: source, destination, protocol or next header, and length (RFC 8200 8.1).
///
/// It is as well the IPv4 one of RFC 5798 as keepalived and FRR read it, if the addresses are mapped.
#[inline(always)]
pub fn pseudo_header(source: Address, destination: Address, protocol: u8, length: u16) -> u64 {
    address(source)
        + address(destination)
        + u64::from(u16::from(protocol).to_be())
        + u64::from(length.to_be())
}

/// Folds a sum of 32-bit words to 16 bits with end-around carry. Over a whole message with its checksum it is 0xffff.
#[inline(always)]
pub fn fold(mut sum: u64) -> u64 {
    sum = (sum & 0xffff_ffff) + (sum >> 32);
    sum = (sum & 0xffff_ffff) + (sum >> 32);
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    (sum & 0xffff) + (sum >> 16)
}

/// The checksum, in host order, of what it covers after one 16-bit word has become another (RFC 1624).
#[inline(always)]
pub fn adjusted(checksum: u16, before: u16, after: u16) -> u16 {
    !(fold(u64::from(!checksum) + u64::from(!before) + u64::from(after)) as u16)
}

/// The checksum that makes `sum` right, as it is to be on the wire.
#[inline(always)]
pub fn of_words(sum: u64) -> [u8; 2] {
    (!(fold(sum) as u16)).to_ne_bytes()
}
