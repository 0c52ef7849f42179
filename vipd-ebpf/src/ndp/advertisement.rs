//! A solicitation turned into its advertisement, in place.

use vipd_common::{
    abi::Count,
    wire::{
        eth::{self, MacAddr},
        ipv6,
        ndp::{AdvertisementPacket, Flags, Header},
    },
};

use crate::{
    address::Address,
    count::count,
    frame::{Link, view, view_mut},
    global,
    hook::{Context, Raw},
    verdict::{Ruling, Verdict},
};

/// Advertises `mac` for the target of the solicitation: to `solicitor`, unless it has no address yet. The VLAN tags stay.
#[inline(always)]
pub fn send(ctx: &Context, mac: MacAddr, solicitor: MacAddr) -> Ruling {
    let word = |MacAddr([a, b, c, d, e, f])| u64::from_le_bytes([a, b, c, d, e, f, 0, 0]);
    Ruling::from_number(advertise_neighbor(ctx.raw(), word(mac), word(solicitor)))
}

#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn advertise_neighbor(ctx: *mut Raw, mac: u64, solicitor: u64) -> u32 {
    let mac_of = |word: u64| {
        let [a, b, c, d, e, f, ..] = word.to_le_bytes();
        MacAddr([a, b, c, d, e, f])
    };
    global::enter(ctx, |ctx, link| build(ctx, link, mac_of(mac), mac_of(solicitor)))
}

#[inline(always)]
fn build(ctx: &Context, link: &Link, mac: MacAddr, solicitor: MacAddr) -> Option<Ruling> {
    let source = view::<ipv6::Header>(ctx, link.network)?.source_words();
    let target = view::<Header>(ctx, link.network + ipv6::HEADER)?.target_words();
    // RFC 4861 7.2.4: a solicitation from the unspecified address is answered to all nodes, by what is not solicited.
    let solicited = source != Address::UNSPECIFIED;
    let (to_mac, to) = if solicited { (solicitor, source) } else { (MacAddr::ALL_NODES, Address::ALL_NODES) };
    // The solicitation may be shorter, without an option, or longer, with several.
    ctx.resize(link.network + size_of::<AdvertisementPacket>())?;
    let flags = Flags { router: true, solicited, overrides: true };
    *view_mut(ctx, link.network)? = AdvertisementPacket::new(flags, target, mac, to);
    let ethernet = view_mut::<eth::Header>(ctx, 0)?;
    ethernet.set_destination(to_mac);
    ethernet.set_source(mac);
    Some(Verdict::Tx.because(count(Count::NdReplies)))
}
