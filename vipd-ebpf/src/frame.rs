//! The only pointer arithmetic on packets, and the link layer.
//!
//! An offset or index that is not a constant is bounded by a mask, never by a comparison. The verifier of Linux 6.1 narrows
//! only the copy of a number that is compared: a copy that LLVM has spilled to the stack before, and loads for the access,
//! is still any number to it. A mask makes the number itself small before anything can be spilled.

use vipd_common::abi::VipKey;

use crate::{address::Address, hook::Context};

pub const ETHERTYPE_IPV4: u16 = 0x0800;
pub const ETHERTYPE_ARP: u16 = 0x0806;
pub const ETHERTYPE_IPV6: u16 = 0x86dd;
const ETHERTYPE_VLAN: u16 = 0x8100;
const ETHERTYPE_QINQ: u16 = 0x88a8;

const ETHERNET_HEADER: usize = 14;
const VLAN_TAG: usize = 4;
/// Octets before the network header, at most: Ethernet and two VLAN tags.
pub const MAX_NETWORK: usize = ETHERNET_HEADER + 2 * VLAN_TAG;

/// Points to a `T` at `offset` octets into the frame, or nowhere if the frame ends before its end.
#[inline(always)]
pub fn at<T>(ctx: &Context, offset: usize) -> Option<*mut T> {
    let start = ctx.data() + offset;
    if start + size_of::<T>() > ctx.data_end() {
        return None;
    }
    Some(start as *mut T)
}

/// Reads a `T` at `offset`; packets are not aligned.
#[inline(always)]
pub fn read<T: Copy>(ctx: &Context, offset: usize) -> Option<T> {
    // SAFETY: `at` has checked that the whole of `T` lies inside the frame.
    Some(unsafe { at::<T>(ctx, offset)?.read_unaligned() })
}

/// Writes `value` at `offset`.
#[inline(always)]
pub fn write<T>(ctx: &Context, offset: usize, value: T) -> Option<()> {
    // SAFETY: `at` has checked that the whole of `T` lies inside the frame.
    unsafe { at::<T>(ctx, offset)?.write_unaligned(value) };
    Some(())
}

/// Reads a big-endian 16-bit number.
#[inline(always)]
pub fn be16(ctx: &Context, offset: usize) -> Option<u16> {
    Some(u16::from_be_bytes(read(ctx, offset)?))
}

/// Where a frame came in and where its network header starts.
#[derive(Clone, Copy)]
pub struct Link {
    pub ifindex: u32,
    /// VLAN identifiers of its tags, outermost first, 12 bits each.
    pub vlan: u32,
    pub ethertype: u16,
    /// Offset of the network header.
    pub network: usize,
}

impl Link {
    /// Reads the Ethernet header and up to two VLAN tags. A tag with identifier 0 has a priority only, and names no VLAN (IEEE
    /// 802.1Q 9.6): the kernel delivers such frames as untagged.
    #[inline(always)]
    pub fn parse(ctx: &Context) -> Option<Self> {
        let mut vlan = ctx.removed_tag();
        let mut network = ETHERNET_HEADER;
        let mut ethertype = be16(ctx, network - 2)?;
        for _ in 0..2 {
            if ethertype != ETHERTYPE_VLAN && ethertype != ETHERTYPE_QINQ {
                break;
            }
            let id = u32::from(be16(ctx, network)? & 0x0fff);
            if id != 0 {
                vlan = vlan << 12 | id;
            }
            ethertype = be16(ctx, network + 2)?;
            network += VLAN_TAG;
        }
        Some(Self { ifindex: ctx.ifindex(), vlan, ethertype, network })
    }

    #[inline(always)]
    pub fn vip_key(&self, address: Address) -> VipKey {
        VipKey { ifindex: self.ifindex, vlan: self.vlan, address: address.octets() }
    }
}
