//! IPv4: adverts to `vrrp`, packets to our VIPs gated by ownership, everything else untouched.

use aya_ebpf::{bindings::xdp_action, programs::XdpContext};
use vipd_common::abi::{Count, mapped};

use crate::{
    count::count,
    frame::{Link, be16, read},
    ownership, vrrp,
};

const PROTOCOL_VRRP: u8 = 112;
/// More Fragments and the fragment offset (RFC 791 3.1).
const FRAGMENT: u16 = 0x3fff;
const MIN_HEADER: usize = 20;

/// The header fields that are looked at.
#[derive(Clone, Copy)]
pub struct Header {
    /// Offset of the header in the frame.
    pub offset: usize,
    /// Length of the header with its options, 20 to 60 octets.
    pub length: usize,
    /// Length of the packet by its own account; Ethernet padding is outside it.
    pub total_length: usize,
    pub ttl: u8,
    pub source: [u8; 4],
    pub destination: [u8; 4],
}

#[inline(always)]
pub fn handle(ctx: &XdpContext, link: &Link) -> Option<u32> {
    let ip = link.network;
    let version_ihl: u8 = read(ctx, ip)?;
    let length = usize::from(version_ihl & 0x0f) * 4;
    if version_ihl >> 4 != 4 || length < MIN_HEADER {
        return None;
    }
    let header = Header {
        offset: ip,
        length,
        total_length: usize::from(be16(ctx, ip + 2)?),
        ttl: read(ctx, ip + 8)?,
        source: read(ctx, ip + 12)?,
        destination: read(ctx, ip + 16)?,
    };
    if let Some(vip) = ownership::find(&link.vip_key(mapped(header.destination))) {
        if vip.owned {
            return Some(xdp_action::XDP_PASS);
        }
        count(Count::IpGated);
        return Some(xdp_action::XDP_DROP);
    }
    let protocol: u8 = read(ctx, ip + 9)?;
    if protocol != PROTOCOL_VRRP {
        return None;
    }
    if be16(ctx, ip + 6)? & FRAGMENT != 0 {
        count(Count::AdvertFragments);
        return None;
    }
    vrrp::handle(ctx, link, &header)
}
