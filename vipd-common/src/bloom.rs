//! A Bloom filter of one hash over the VIPs: most frames are about no VIP, and one bit says so before any table is looked up.
//!
//! The bits of all VIPs in either table are set. Two addresses may share a bit, so a bit that is set says nothing; an address
//! whose bit is not set is no VIP.

use crate::address::Address;

/// The value of `BLOOM_FILTER`: one bit for each number that [`bit`] gives.
pub type Bits = [u64; WORDS];

const BITS: usize = 1 << 16;
pub const WORDS: usize = BITS / 64;

/// The bit of an address, below 65,536.
///
/// Addresses of one IPv4 /16, and interface identifiers that differ in their last 16 bits, have different ones: an odd
/// factor permutes what the last octets, the upper ones of a little-endian word, can be.
#[inline(always)]
pub fn bit(address: Address) -> usize {
    /// 2⁶⁴ divided by the golden ratio, and odd (multiplicative hashing).
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    let mixed = (address.lower.to_le() ^ address.upper.to_le().rotate_left(24)).wrapping_mul(FACTOR);
    (mixed >> 48) as usize
}

/// The word of [`Bits`] that has a bit, and the bit alone in it.
#[inline(always)]
pub fn place(bit: usize) -> (usize, u64) {
    (bit / 64 % WORDS, 1 << (bit % 64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_do_not_collide() {
        let mut seen = [0u64; WORDS];
        for last in 0..=u16::MAX {
            let [c, d] = last.to_be_bytes();
            let (word, mask) = place(bit(Address::from_v4([10, 1, c, d])));
            assert_eq!(seen[word] & mask, 0, "10.1.{c}.{d}");
            seen[word] |= mask;
        }
    }

    #[test]
    fn networks_are_told_apart() {
        let mut seen = [0u64; WORDS];
        for network in 0..256u64 {
            let upper = 0x2001_0db8_0000_0000 | network;
            let (word, mask) = place(bit(Address { upper: upper.to_be(), lower: 1u64.to_be() }));
            assert_eq!(seen[word] & mask, 0, "network {network}");
            seen[word] |= mask;
        }
    }
}
