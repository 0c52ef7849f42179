//! Neighbor Discovery for our VIPs: solicitations are answered by an advertisement if the VIP is owned and dropped if not; other stations' claims are noticed.

mod advertisement;
mod message;

use vipd_common::abi::Count;

use crate::{
    Verdict, claim,
    count::{count, count_reply},
    frame::{Link, read, read_behind},
    global,
    hook::{Context, Raw},
    ipv6,
};

pub const ICMPV6: u8 = 58;
const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;
/// RFC 4861 7.1: so that no router has forwarded it.
const HOP_LIMIT: u8 = 255;
/// Offset of the target in both messages (RFC 4861 4.3, 4.4).
const TARGET: usize = 8;
/// Of the options of both.
const TARGET_LINK_ADDRESS: u8 = 2;

/// Whether the ICMPv6 message is a Neighbor Solicitation or Advertisement.
#[inline(always)]
pub fn is_about_neighbors(ctx: &Context, link: &Link) -> bool {
    matches!(read(ctx, link.network + ipv6::HEADER), Some(SOLICITATION | ADVERTISEMENT))
}

/// The verdict on an ICMPv6 message at `offset`, behind extension headers.
///
/// The kernel would process it. Nobody sends Neighbor Discovery so: what is about a VIP is neither answered nor let through.
#[inline(always)]
pub fn judge_extended(ctx: &Context, link: &Link, offset: usize) -> Option<Verdict> {
    let Some(kind) = read_behind::<u8>(ctx, offset) else { return ipv6::unread(false) };
    if kind != SOLICITATION && kind != ADVERTISEMENT {
        return None;
    }
    let Some(target) = read_behind(ctx, offset + TARGET) else { return ipv6::unread(false) };
    let vip = ipv6::find_vip(link, target)?;
    count(Count::NdExtensionHeaders);
    if kind == SOLICITATION {
        return Some(Verdict::Drop);
    }
    claim::handle(&vip, target, read(ctx, 6)?, Verdict::Drop)
}

/// The verdict on one of these if its target is a VIP.
#[inline(always)]
pub fn handle(ctx: &Context) -> Option<Verdict> {
    global::verdict(handle_neighbor(ctx.raw()))
}

#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn handle_neighbor(ctx: *mut Raw) -> u32 {
    global::enter(ctx, decide)
}

#[inline(always)]
fn decide(ctx: &Context, link: &Link) -> Option<Verdict> {
    ctx.linearize();
    let message = link.network + ipv6::HEADER;
    let target = read(ctx, message + TARGET)?;
    let vip = ipv6::find_vip(link, target)?;
    let solicitation = read::<u8>(ctx, message)? == SOLICITATION;
    if solicitation && !vip.owned {
        // RFC 9568 6.4.2: a backup must not respond.
        count(Count::NdGated);
        return Some(Verdict::Drop);
    }
    let Some(link_address) = message::check(ctx) else {
        count(Count::NdInvalid);
        return Some(Verdict::Drop);
    };
    let mac = match link_address {
        Some(mac) => mac,
        None => read(ctx, 6)?,
    };
    if solicitation {
        let verdict = advertisement::send(ctx, vip.entry.mac, mac)?;
        count_reply(&vip.entry);
        return Some(verdict);
    }
    claim::handle(&vip, read(ctx, message + TARGET)?, mac, Verdict::Pass)
}
