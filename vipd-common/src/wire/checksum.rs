//! The Internet checksum (RFC 1071).

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
    pub fn finish(self) -> [u8; 2] {
        let mut sum = self.0;
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        // Folded to 16 bits by the loop above.
        (!(sum as u16)).to_be_bytes()
    }
}
