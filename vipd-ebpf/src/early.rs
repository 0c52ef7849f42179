//! Early takeover, as far as a probe decides it: the probe takes the leases that its sender owns or claims, then vouches for the others. R4 and R9
//! of docs/internals/early-takeover.md, which has the argument.

use core::ptr;

use vipd_common::{
    Family, Priority,
    abi::{
        InstanceCount, InstanceRecord, MAX_EARLY_BACKUPS, OWN_INTERFACE, PROBE_MAX_NS, PeerKey, ProbedPeer,
        instance_flag,
    },
    rival::{RivalAdvert, Tenure},
    sponsor::EarlyBackup,
    wire::{
        eth, ipv4, ipv6,
        probe::{MAX_ROUTERS, flag, router_flag},
    },
};

use crate::{
    address::Address,
    count::count_instance,
    events, forward_after_takeover,
    frame::{Link, view},
    hook::{Context, Raw},
    instance, log,
    maps::{PEERS, PROBE_PEERS, SPONSORS},
    ownership,
};

/// Whether the peer takes over early, and stays. Whoever is leaving has given its routers up, and says for a moment more that it owns them.
#[inline(always)]
fn takes_over(peer: *const ProbedPeer) -> bool {
    // SAFETY: the program's part of the value.
    let flags = unsafe { (*peer).block_flags };
    flags & (flag::TAKES_OVER | flag::LEAVING) == flag::TAKES_OVER
}

/// R9 (b), for a probe that has just been stamped and judged by R4: see [`EarlyBackup::hear`].
#[inline(always)]
pub fn vouch(peer: *const ProbedPeer) {
    // SAFETY: the daemon's part of the value, and a stamp of the program's.
    let (sponsor, arrived) =
        unsafe { (ptr::read_volatile(&raw const (*peer).sponsor) as usize, (*peer).probe_ns) };
    // `NO_SPONSOR`.
    if sponsor >= MAX_EARLY_BACKUPS {
        return;
    }
    let takes_over = takes_over(peer);
    let Some(sponsors) = SPONSORS.get_ptr_mut(0) else { return };
    let mut heard = EarlyBackup::default();
    heard.hear(takes_over, detect_ns(peer), arrived);
    // SAFETY: inside the map value, by the mask; aligned words. The time comes last: one that counts has its detection time beside it.
    unsafe {
        let backup = &raw mut (*sponsors).backups[sponsor & (MAX_EARLY_BACKUPS - 1)];
        if takes_over {
            ptr::write_volatile(&raw mut (*backup).detect_ns, heard.detect_ns);
        }
        ptr::write_volatile(&raw mut (*backup).probe_ns, heard.probe_ns);
    }
}

/// The sender's detection time, as its probe says. A longer interval than any that can be configured counts as the longest.
#[inline(always)]
fn detect_ns(peer: *const ProbedPeer) -> u64 {
    // SAFETY: the program's part of the value.
    let (interval_us, multiplier) = unsafe { ((*peer).interval_us, (*peer).multiplier) };
    let interval = u64::from(interval_us) * 1_000;
    (if interval < PROBE_MAX_NS { interval } else { PROBE_MAX_NS }) * u64::from(multiplier)
}

/// R4: what a probe says of routers that its sender owns or claims, if that takes over early. The probe's stamps and its list are in the peer's
/// `slot`. How many leases it has taken, since a global function (see `global`) has to return something.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn hear_routers(ctx: *mut Raw, slot: u32) -> u32 {
    let Some(peer) = PROBE_PEERS.get_ptr(slot) else { return 0 };
    if !takes_over(peer) {
        return 0;
    }
    // SAFETY: the program's part of the value; the list was kept, and found intact, when its generation was new.
    let count = unsafe { ptr::read_volatile(&raw const (*peer).routers) } as usize;
    let mut taken = 0u32;
    for index in 0..MAX_ROUTERS {
        if index >= count {
            break;
        }
        // SAFETY: as above.
        let flags = unsafe { ptr::read_volatile(&raw const (*peer).list[index].flags) };
        if flags & (router_flag::OWNER | router_flag::CLAIM) != 0 {
            taken += hear_owner(ctx, slot, index as u32);
        }
    }
    taken
}

/// The same of one router, by its place in the list. It reads all else again: what the loop keeps for it the verifier would compare in each round.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn hear_owner(ctx: *mut Raw, slot: u32, index: u32) -> u32 {
    let ctx = &Context::new(ctx);
    let took = Link::parse(ctx).and_then(|link| judge(ctx, &link, slot, index));
    u32::from(took == Some(Tenure::Lost))
}

#[inline(always)]
fn judge(ctx: &Context, link: &Link, slot: u32, index: u32) -> Option<Tenure> {
    let peer = PROBE_PEERS.get_ptr(slot)?;
    // SAFETY: the program's part of the value. The mask is that of a list with room for one more than there can be.
    let router = unsafe { (*peer).list[index as usize & MAX_ROUTERS] };
    let (family, source, destination) = match link.ethertype {
        eth::ETHERTYPE_IPV6 => {
            let header = view::<ipv6::Header>(ctx, link.network)?;
            (Family::V6, header.source_words(), header.destination_words())
        }
        _ => {
            let header = view::<ipv4::Header>(ctx, link.network)?;
            (
                Family::V4,
                Address::from_v4(header.source().octets()),
                Address::from_v4(header.destination().octets()),
            )
        }
    };
    // Equal ranks are told apart by addresses of one family.
    if router.family != family as u8 {
        return None;
    }
    let (entry, record) = instance::find(link, family, router.vrid)?;
    // SAFETY: as in `vrrp::record::accept`.
    let record = unsafe { &mut *record };
    // SAFETY: aligned words of the map.
    let sponsors = unsafe { &*SPONSORS.get_ptr(0)? };
    // Without early backups VRRP alone decides.
    // And on a heartbeat link a VRID may be a router's of another interface, which has another address.
    if !sponsors.covers(record.head.lease_slot)
        || destination != Address::from_octets(record.primary)
        || source == Address::from_octets(record.primary)
        || !may_speak(entry.slot, record, source)
    {
        return None;
    }
    // RFC 3768 7.1: over version 2 nobody outranks an address owner. One that is dead or frozen has a successor all the same.
    let is_deaf = record.version == 2 && Priority::new(record.priority).is_owner();
    let priority = if is_deaf && router.priority != 0 { 1 } else { router.priority };
    let rival = RivalAdvert { source, priority, interval_cs: 0, checksum: 0 };
    let now = events::now();
    let stale = EarlyBackup { probe_ns: 0, detect_ns: detect_ns(peer) }.is_stale(sponsors.beat_ns, now);
    let (tenure, until) = ownership::take(record, |until| rival.tenure_by_probe(record, until, stale, now));
    if tenure == Tenure::Lost {
        // The daemon finds it at its next look, which is no later than its next probe.
        forward_after_takeover::revoked(record.head.lease_slot, until, now);
        count_instance(entry.slot, InstanceCount::LeasesRevoked);
        log::revoked_by_probe(entry.slot, source, router.priority);
    }
    // On another line it has another MAC, and serves nobody.
    if entry.line == OWN_INTERFACE {
        let mac = view::<eth::Header>(ctx, 0)?.source().0;
        let then = |ours: &InstanceRecord, until, at| rival.tenure_by_probe(ours, until, stale, at);
        forward_after_takeover::note_successor(record, mac, now, then);
    }
    Some(tenure)
}

/// Whether a router of ours would hear adverts from `source`, as `vrrp::check` does.
#[inline(always)]
fn may_speak(slot: u32, ours: &InstanceRecord, source: Address) -> bool {
    const CHECKED: u8 = instance_flag::UNICAST | instance_flag::CHECK_SOURCE;
    ours.flags & CHECKED != CHECKED
        || PEERS.get_ptr(&PeerKey { instance: slot, address: source.octets() }).is_some()
}
