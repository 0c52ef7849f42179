//! An advert's address list: its sum for the checksum and its digest for the comparison with ours, in one pass.
//!
//! Global functions (see `global`), or the loops would multiply the paths that lead to them. Hence the one word for both
//! results.

use vipd_common::{
    Family,
    abi::{ADDRESS_DIGEST_MASK, address_digest, address_digest_v6},
    wire::{checksum, ipv4, vrrp},
};

use crate::{
    address::Address,
    frame::{self, read},
    hook::{Context, Raw},
};

const MAX_COUNT: u32 = 255;
/// Bits of an offset. An address list starts at 90 at the farthest: behind the longest IP header and the VRRP header.
const OFFSET_MASK: u32 = 127;
const _: () = assert!(frame::MAX_NETWORK + ipv4::MAX_HEADER + vrrp::HEADER <= OFFSET_MASK as usize);

/// Sum and digest of an address list.
pub struct AddressList(u64);

impl AddressList {
    const TRUNCATED: u64 = 1 << 63;
    const DIGEST_SHIFT: u32 = 16;

    /// Reads `count` addresses at `offset`; `None` if the frame ends before them.
    ///
    /// 255 IPv6 addresses take a jumbo frame, and what lies beyond its linear part counts as missing.
    #[inline(always)]
    pub fn read(ctx: &Context, family: Family, offset: usize, count: u8) -> Option<Self> {
        let list = if family == Family::V6 {
            sum_addresses_v6(ctx.raw(), offset as u32, u32::from(count))
        } else {
            sum_addresses_v4(ctx.raw(), offset as u32, u32::from(count))
        };
        (list != Self::TRUNCATED).then_some(Self(list))
    }

    /// Folded to 16 bits.
    #[inline(always)]
    pub fn sum(&self) -> u64 {
        self.0 & 0xffff
    }

    #[inline(always)]
    pub fn digest(&self) -> u64 {
        (self.0 & !Self::TRUNCATED) >> Self::DIGEST_SHIFT
    }

    #[inline(always)]
    fn pack(sum: u64, digest: u64) -> u64 {
        (digest & ADDRESS_DIGEST_MASK) << Self::DIGEST_SHIFT | checksum::fold(sum)
    }
}

#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn sum_addresses_v4(ctx: *mut Raw, offset: u32, count: u32) -> u64 {
    // What callers know and the verifier does not. A mask, see `frame`.
    let offset = offset & OFFSET_MASK;
    let ctx = Context::new(ctx);
    let mut sum = 0u64;
    let mut digest = 0u64;
    for i in 0..MAX_COUNT {
        if i >= count {
            break;
        }
        let Some(word) = read::<u32>(&ctx, (offset + i * 4) as usize) else { return AddressList::TRUNCATED };
        sum += u64::from(word);
        digest = digest.wrapping_add(address_digest(word));
    }
    AddressList::pack(sum, digest)
}

#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn sum_addresses_v6(ctx: *mut Raw, offset: u32, count: u32) -> u64 {
    let offset = offset & OFFSET_MASK;
    let ctx = Context::new(ctx);
    let mut sum = 0u64;
    let mut digest = 0u64;
    for i in 0..MAX_COUNT {
        if i >= count {
            break;
        }
        let Some(address) = read::<Address>(&ctx, (offset + i * 16) as usize) else {
            return AddressList::TRUNCATED;
        };
        sum += checksum::address(address);
        digest = digest.wrapping_add(address_digest_v6(address.upper, address.lower));
    }
    AddressList::pack(sum, digest)
}
