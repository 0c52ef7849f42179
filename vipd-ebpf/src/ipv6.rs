//! IPv6: Neighbor Discovery to `ndp`, adverts to `vrrp`, packets to our VIPs gated by ownership, everything else
//! untouched.

use vipd_common::abi::Count;

use crate::{
    Verdict,
    address::Address,
    count::count,
    frame::{Link, MAX_NETWORK, be16, read, read_behind},
    global,
    hook::{Context, Raw},
    instance::FAMILY_V6,
    ndp,
    ownership::{self, FoundVip},
    vrrp::{self, Envelope},
};

/// Octets of the fixed header.
pub const HEADER: usize = 40;
/// Offsets of its fields (RFC 8200 3).
pub const PAYLOAD_LENGTH: usize = 4;
const NEXT_HEADER: usize = 6;
pub const HOP_LIMIT: usize = 7;
pub const SOURCE: usize = 8;
pub const DESTINATION: usize = 24;

/// Extension headers (RFC 8200 4): the next header and the length lead each.
const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const DESTINATION_OPTIONS: u8 = 60;
/// In the Fragment header's third and fourth octet.
const FRAGMENT_OFFSET: u16 = 0xfff8;
/// As many as RFC 8200 4.1 has in one packet, less those that hide what follows. The kernel goes on for as long as there are
/// more: what has more is dropped.
const MAX_EXTENSION_HEADERS: usize = 5;
/// Bits of the offset behind them: five of 2 KiB.
const OFFSET_MASK: usize = 0x3fff;
const _: () = assert!(MAX_NETWORK + HEADER + MAX_EXTENSION_HEADERS * 2048 <= OFFSET_MASK);

#[inline(always)]
pub fn handle(ctx: &Context, link: &Link) -> Option<Verdict> {
    let ip = link.network;
    if read::<u8>(ctx, ip)? >> 4 != 6 {
        return None;
    }
    let mut accept_always = false;
    match read::<u8>(ctx, ip + NEXT_HEADER)? {
        ndp::ICMPV6 if ndp::is_about_neighbors(ctx, link) => {
            if let Some(verdict) = ndp::handle(ctx) {
                return Some(verdict);
            }
            // RFC 9568 6.4.3: Neighbor Discovery is processed whatever Accept_Mode says.
            accept_always = true;
        }
        vrrp::PROTOCOL => {
            if let Some(verdict) = vrrp::handle(ctx) {
                return Some(verdict);
            }
        }
        HOP_BY_HOP | ROUTING | FRAGMENT | DESTINATION_OPTIONS => {
            if let Some(verdict) = global::verdict(handle_extended(ctx.raw())) {
                return Some(verdict);
            }
        }
        _ => {}
    }
    let vip = find_vip(link, read(ctx, ip + DESTINATION)?)?;
    Some(ownership::gate(ctx, link, &vip, accept_always))
}

/// Looks a virtual IPv6 address up. A mapped address in an IPv6 packet is not the IPv4 VIP of the same key.
#[inline(always)]
pub fn find_vip(link: &Link, address: Address) -> Option<FoundVip> {
    if address.is_mapped_v4() { None } else { ownership::find(link, address) }
}

/// What the checks of an advert want of the header.
#[inline(always)]
pub fn envelope(ctx: &Context, ip: usize) -> Option<Envelope> {
    Some(Envelope {
        family: FAMILY_V6,
        hop_limit: read(ctx, ip + HOP_LIMIT)?,
        // The header has no checksum.
        intact: true,
        source: read(ctx, ip + SOURCE)?,
        destination: read(ctx, ip + DESTINATION)?,
        message: ip + HEADER,
        length: usize::from(be16(ctx, ip + PAYLOAD_LENGTH)?),
    })
}

/// The verdict on a packet with extension headers, by what is behind them: an advert, which is not read, or a message of Neighbor
/// Discovery about a VIP.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn handle_extended(ctx: *mut Raw) -> u32 {
    global::enter(ctx, look_behind_extensions)
}

/// The verdict on headers that are not within reach: cut off, or beyond an XDP frame's first buffer. The kernel may read them. It ignores
/// Neighbor Discovery in fragments (RFC 6980).
#[inline(always)]
pub fn unread(fragment: bool) -> Option<Verdict> {
    if fragment {
        return None;
    }
    count(Count::ExcessExtensionHeaders);
    Some(Verdict::Drop)
}

#[inline(always)]
fn look_behind_extensions(ctx: &Context, link: &Link) -> Option<Verdict> {
    let mut kind: u8 = read(ctx, link.network + NEXT_HEADER)?;
    let mut offset = link.network + HEADER;
    let mut fragment = false;
    let mut later_fragment = false;
    if kind != FRAGMENT {
        ctx.linearize();
    }
    for _ in 0..MAX_EXTENSION_HEADERS {
        // What follows in a later fragment is no header.
        if later_fragment || !matches!(kind, HOP_BY_HOP | ROUTING | FRAGMENT | DESTINATION_OPTIONS) {
            break;
        }
        let Some([next, length, upper, lower]) = read_behind::<[u8; 4]>(ctx, offset) else {
            return unread(fragment || kind == FRAGMENT);
        };
        if kind == FRAGMENT {
            fragment = true;
            later_fragment = u16::from_be_bytes([upper, lower]) & FRAGMENT_OFFSET != 0;
            offset += 8;
        } else {
            offset += 8 + usize::from(length) * 8;
        }
        offset &= OFFSET_MASK;
        kind = next;
    }
    match kind {
        // Nobody sends such adverts; one that does should show.
        vrrp::PROTOCOL => {
            count(if fragment { Count::AdvertFragments } else { Count::AdvertExtensionHeaders });
            None
        }
        // RFC 6980 has fragments ignored, and the kernel does.
        ndp::ICMPV6 if !fragment => ndp::judge_extended(ctx, link, offset),
        HOP_BY_HOP | ROUTING | DESTINATION_OPTIONS if !later_fragment => {
            count(Count::ExcessExtensionHeaders);
            Some(Verdict::Drop)
        }
        _ => None,
    }
}
