//! The only pointer arithmetic on packets, and the link layer.

use aya_ebpf::programs::XdpContext;
use vipd_common::abi::VipKey;

pub const ETHERTYPE_IPV4: u16 = 0x0800;
pub const ETHERTYPE_ARP: u16 = 0x0806;
const ETHERTYPE_VLAN: u16 = 0x8100;
const ETHERTYPE_QINQ: u16 = 0x88a8;

/// Octets before the network header, at most: Ethernet and two VLAN tags.
const ETHERNET_HEADER: usize = 14;
const VLAN_TAG: usize = 4;

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
        let mut link = Self {
            ifindex: ctx.ingress_ifindex() as u32,
            vlan: 0,
            ethertype: be16(ctx, 12)?,
            network: ETHERNET_HEADER,
        };
        for _ in 0..2 {
            if link.ethertype != ETHERTYPE_VLAN && link.ethertype != ETHERTYPE_QINQ {
                break;
            }
            let tci = be16(ctx, link.network)?;
            link.vlan = link.vlan << 12 | u32::from(tci & 0x0fff);
            link.ethertype = be16(ctx, link.network + 2)?;
            link.network += VLAN_TAG;
        }
        Some(link)
    }

    #[inline(always)]
    pub fn vip_key(&self, address: [u8; 16]) -> VipKey {
        VipKey { ifindex: self.ifindex, vlan: self.vlan, address }
    }
}
