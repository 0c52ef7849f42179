//! Neighbor Discovery for our VIPs: solicitations are answered by an advertisement if the VIP is owned and dropped if not; other stations' claims are noticed.

mod advertisement;
mod message;

use vipd_common::{
    abi::{CapturedReason, Count},
    wire::{
        eth::{self, MacAddr},
        ipv6::HEADER,
        ndp::{Header, Kind, Type},
    },
};

use crate::{
    claim,
    count::{count, count_reply},
    frame::{Link, read_behind, view},
    global,
    hook::{Context, Raw},
    ipv6,
    verdict::{Ruling, Verdict},
};

/// Whether the ICMPv6 message is a Neighbor Solicitation or Advertisement.
#[inline(always)]
pub fn is_about_neighbors(ctx: &Context, link: &Link) -> bool {
    view::<Type>(ctx, link.network + HEADER).is_some_and(|kind| kind.kind().is_some())
}

/// The verdict on an ICMPv6 message at `offset`, behind extension headers.
///
/// The kernel would process it. Nobody sends Neighbor Discovery so: what is about a VIP is neither answered nor let through.
#[inline(always)]
pub fn judge_extended(ctx: &Context, link: &Link, offset: usize) -> Option<Ruling> {
    let Some(kind) = read_behind::<Type>(ctx, offset) else { return ipv6::unread(false) };
    let kind = kind.kind()?;
    let Some(header) = read_behind::<Header>(ctx, offset) else { return ipv6::unread(false) };
    let target = header.target_words();
    let vip = ipv6::find_vip(link, target)?;
    let reason = count(Count::NdExtensionHeaders);
    if kind == Kind::Solicitation {
        return Some(Verdict::Drop.because(reason));
    }
    let ruling = claim::handle(&vip, target, view::<eth::Header>(ctx, 0)?.source().0, Verdict::Drop)?;
    Some(if ruling.reason == CapturedReason::NONE { Verdict::Drop.because(reason) } else { ruling })
}

/// The verdict on one of these if its target is a VIP.
#[inline(always)]
pub fn handle(ctx: &Context) -> Ruling {
    Ruling::from_number(handle_neighbor(ctx.raw()))
}

#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn handle_neighbor(ctx: *mut Raw) -> u32 {
    global::enter(ctx, decide)
}

#[inline(always)]
fn decide(ctx: &Context, link: &Link) -> Option<Ruling> {
    ctx.linearize();
    let header = view::<Header>(ctx, link.network + HEADER)?;
    let target = header.target_words();
    let solicitation = header.kind() == Some(Kind::Solicitation);
    let vip = ipv6::find_vip(link, target)?;
    if solicitation && !vip.owned {
        // RFC 9568 6.4.2: a backup must not respond.
        return Some(Verdict::Drop.because(count(Count::NdGated)));
    }
    let Some(link_address) = message::check(ctx) else {
        return Some(Verdict::Drop.because(count(Count::NdInvalid)));
    };
    let mac = match link_address {
        Some(mac) => mac,
        None => view::<eth::Header>(ctx, 0)?.source(),
    };
    if solicitation {
        let ruling = advertisement::send(ctx, MacAddr(vip.entry.mac), mac);
        if ruling.verdict.is_some() {
            count_reply(&vip.entry);
        }
        return Some(ruling);
    }
    claim::handle(&vip, target, mac.0, Verdict::Pass)
}
