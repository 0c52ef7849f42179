//! IPv4: adverts to `vrrp`, packets to our VIPs gated by ownership, everything else untouched.

use vipd_common::abi::Count;

use crate::{
    Verdict,
    address::Address,
    checksum,
    count::count,
    frame::{Link, be16, read},
    hook::Context,
    instance::FAMILY_V4,
    ownership,
    vrrp::{self, Envelope},
};

/// Offsets of fields (RFC 791 3.1).
const TOTAL_LENGTH: usize = 2;
const FRAGMENT: usize = 6;
pub const TTL: usize = 8;
const PROTOCOL: usize = 9;
pub const CHECKSUM: usize = 10;
const SOURCE: usize = 12;
const DESTINATION: usize = 16;

/// More Fragments and the fragment offset.
const FRAGMENT_MASK: u16 = 0x3fff;
/// In words of four octets.
const MIN_IHL: u8 = 5;
const MAX_IHL: usize = 15;

#[inline(always)]
pub fn handle(ctx: &Context, link: &Link) -> Option<Verdict> {
    let ip = link.network;
    let version_ihl: u8 = read(ctx, ip)?;
    if version_ihl >> 4 != 4 || version_ihl & 0x0f < MIN_IHL {
        return None;
    }
    // Before the VIPs: the primary address of an address owner, to which its unicast peers send, is one of them.
    if read::<u8>(ctx, ip + PROTOCOL)? == vrrp::PROTOCOL {
        if be16(ctx, ip + FRAGMENT)? & FRAGMENT_MASK != 0 {
            count(Count::AdvertFragments);
        } else if let Some(verdict) = vrrp::handle(ctx) {
            return Some(verdict);
        }
    }
    let destination: [u8; 4] = read(ctx, ip + DESTINATION)?;
    let vip = ownership::find(link, Address::from_v4(destination))?;
    Some(ownership::gate(ctx, link, &vip, false))
}

/// What the checks of an advert want of the header.
#[inline(always)]
pub fn envelope(ctx: &Context, ip: usize) -> Option<Envelope> {
    let header = usize::from(read::<u8>(ctx, ip)? & 0x0f) * 4;
    Some(Envelope {
        family: FAMILY_V4,
        hop_limit: read(ctx, ip + TTL)?,
        intact: checksum_ok(ctx, ip, header),
        source: Address::from_v4(read(ctx, ip + SOURCE)?),
        destination: Address::from_v4(read(ctx, ip + DESTINATION)?),
        message: ip + header,
        // By the header's own account; Ethernet padding is outside it.
        length: usize::from(be16(ctx, ip + TOTAL_LENGTH)?).saturating_sub(header),
    })
}

/// The stack would check it; a program in front of the stack has to.
#[inline(always)]
fn checksum_ok(ctx: &Context, ip: usize, header: usize) -> bool {
    let mut sum = 0u64;
    for i in 0..MAX_IHL {
        if i * 4 >= header {
            break;
        }
        let Some(word) = read::<u32>(ctx, ip + i * 4) else { return false };
        sum += u64::from(word);
    }
    checksum::fold(sum) == 0xffff
}
