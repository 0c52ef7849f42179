//! The only pointer arithmetic on packets, and the link layer.
//!
//! An offset or index that is not a constant is bounded by a mask, never by a comparison. The verifier of Linux 6.1 narrows
//! only the copy of a number that is compared: a copy that LLVM has spilled to the stack before, and loads for the access,
//! is still any number to it. A mask makes the number itself small before anything can be spilled.

use aya_ebpf::{
    helpers::{bpf_xdp_adjust_tail, bpf_xdp_get_buff_len},
    programs::XdpContext,
};
use vipd_common::abi::VipKey;

use crate::address::Address;

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
pub fn at<T>(ctx: &XdpContext, offset: usize) -> Option<*mut T> {
    let start = ctx.data() + offset;
    if start + size_of::<T>() > ctx.data_end() {
        return None;
    }
    Some(start as *mut T)
}

/// Reads a `T` at `offset`; packets are not aligned.
#[inline(always)]
pub fn read<T: Copy>(ctx: &XdpContext, offset: usize) -> Option<T> {
    // SAFETY: `at` has checked that the whole of `T` lies inside the frame.
    Some(unsafe { at::<T>(ctx, offset)?.read_unaligned() })
}

/// Writes `value` at `offset`.
#[inline(always)]
pub fn write<T>(ctx: &XdpContext, offset: usize, value: T) -> Option<()> {
    // SAFETY: `at` has checked that the whole of `T` lies inside the frame.
    unsafe { at::<T>(ctx, offset)?.write_unaligned(value) };
    Some(())
}

/// Reads a big-endian 16-bit number.
#[inline(always)]
pub fn be16(ctx: &XdpContext, offset: usize) -> Option<u16> {
    Some(u16::from_be_bytes(read(ctx, offset)?))
}

/// Makes the frame `length` octets long. What it gains holds whatever was there.
#[inline(always)]
pub fn resize(ctx: &XdpContext, length: usize) -> Option<()> {
    // SAFETY: helpers on the frame that this run is about; pointers into it are made anew by every `at`.
    let result = unsafe {
        let delta = length as i64 - bpf_xdp_get_buff_len(ctx.ctx) as i64;
        bpf_xdp_adjust_tail(ctx.ctx, delta as i32)
    };
    (result == 0).then_some(())
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
    /// Reads the Ethernet header and up to two VLAN tags.
    #[inline(always)]
    pub fn parse(ctx: &XdpContext) -> Option<Self> {
        let mut vlan = 0;
        let mut network = ETHERNET_HEADER;
        let mut ethertype = be16(ctx, network - 2)?;
        for _ in 0..2 {
            if ethertype != ETHERTYPE_VLAN && ethertype != ETHERTYPE_QINQ {
                break;
            }
            vlan = vlan << 12 | u32::from(be16(ctx, network)? & 0x0fff);
            ethertype = be16(ctx, network + 2)?;
            network += VLAN_TAG;
        }
        Some(Self { ifindex: ctx.ingress_ifindex() as u32, vlan, ethertype, network })
    }

    #[inline(always)]
    pub fn vip_key(&self, address: Address) -> VipKey {
        VipKey { ifindex: self.ifindex, vlan: self.vlan, address: address.octets() }
    }
}
