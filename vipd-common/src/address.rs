//! IP addresses as the maps have them, IPv4 mapped, in two words.
//!
//! As words because LLVM takes an array of octets apart and gives each of them a stack slot of its own.

use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::abi::mapped;

/// Native-endian loads of an address's upper and lower eight octets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
pub struct Address {
    pub upper: u64,
    pub lower: u64,
}

impl Address {
    pub const UNSPECIFIED: Self = Self { upper: 0, lower: 0 };
    /// `ff02::1`.
    pub const ALL_NODES: Self = Self { upper: 0xff02_0000_0000_0000u64.to_be(), lower: 1u64.to_be() };

    #[inline(always)]
    pub fn from_octets(octets: [u8; 16]) -> Self {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = octets;
        Self {
            upper: u64::from_ne_bytes([a, b, c, d, e, f, g, h]),
            lower: u64::from_ne_bytes([i, j, k, l, m, n, o, p]),
        }
    }

    #[inline(always)]
    pub fn from_v4(octets: [u8; 4]) -> Self {
        Self::from_octets(mapped(octets))
    }

    #[inline(always)]
    pub fn octets(self) -> [u8; 16] {
        let [a, b, c, d, e, f, g, h] = self.upper.to_ne_bytes();
        let [i, j, k, l, m, n, o, p] = self.lower.to_ne_bytes();
        [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p]
    }

    /// `::ffff:0:0/96`.
    #[inline(always)]
    pub fn is_mapped_v4(self) -> bool {
        self.upper == 0 && u64::from_be(self.lower) >> 32 == 0xffff
    }

    /// `ff00::/8`.
    #[inline(always)]
    pub fn is_multicast(self) -> bool {
        u64::from_be(self.upper) >> 56 == 0xff
    }

    /// `ff02::1:ff00:0/104` (RFC 4291 2.7.1).
    #[inline(always)]
    pub fn is_solicited_node(self) -> bool {
        self.upper == Self::ALL_NODES.upper && u64::from_be(self.lower) >> 24 == 0x1_ff
    }

    /// Compares as unsigned numbers in network order.
    #[inline(always)]
    pub fn is_greater(self, than: Self) -> bool {
        let [a_upper, a_lower] = [self.upper, self.lower].map(u64::from_be);
        let [b_upper, b_lower] = [than.upper, than.lower].map(u64::from_be);
        a_upper > b_upper || a_upper == b_upper && a_lower > b_lower
    }
}
