//! The Internet checksum (RFC 1071): sums of native-endian words, since byte order and word size do not matter before
//! folding.

use crate::address::Address;

/// Sums the two 32-bit words of a native-endian load of eight octets.
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
