//! The digest of an address list: what an advert lists is compared with what it has to list, in any order.

/// Bits of the digest of an address list that are kept.
pub const ADDRESS_DIGEST_MASK: u64 = (1 << 47) - 1;

/// Mixes one IPv4 address, as a native-endian load of its four octets, into the digest of an address list.
///
/// The digest of a list is the wrapping sum of its addresses' mixes, masked by [`ADDRESS_DIGEST_MASK`], so order does not
/// matter (RFC 9568 5.2.9).
#[inline(always)]
pub const fn address_digest(word: u32) -> u64 {
    mix(word as u64)
}

/// As [`address_digest`], of an IPv6 address as native-endian loads of its upper and lower eight octets.
#[inline(always)]
pub const fn address_digest_v6(upper: u64, lower: u64) -> u64 {
    mix(mix(upper) ^ lower)
}

/// The 64-bit finaliser of SplitMix64 (Steele, Lea, Flood 2014): a bijection with full avalanche.
#[inline(always)]
const fn mix(word: u64) -> u64 {
    let mut z = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
