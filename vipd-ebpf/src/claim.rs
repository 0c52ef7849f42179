//! Other stations that say they have one of our VIPs, whether by ARP or by Neighbor Advertisement.

use vipd_common::abi::{CapturedReason, Count, RingEvent, event_kind};

use crate::{
    address::Address,
    count::count,
    events, log,
    maps::INSTANCES,
    ownership::FoundVip,
    verdict::{Ruling, Verdict},
};

/// One conflict event per instance in this time (RFC 5227 2.4: DEFEND_INTERVAL is 10 s; an operator wants to know sooner).
const CONFLICT_EVENT_NS: u64 = 1_000_000_000;

/// The station `mac` says that it has `address`. `otherwise` is the verdict when that is no conflict.
///
/// Of a VIP we own, it is one. Of one we do not own it is the master's announcement.
#[inline(always)]
pub fn handle(vip: &FoundVip, address: Address, mac: [u8; 6], otherwise: Verdict) -> Option<Ruling> {
    if mac == vip.entry.mac {
        // Our own announcement, looped back, or a peer with the same virtual MAC.
        return Some(otherwise.because(CapturedReason::NONE));
    }
    if !vip.owned {
        return Some(otherwise.because(count(Count::VipClaimsSeen)));
    }
    let reason = count(Count::VipConflicts);
    let [a, b, c, d, e, f] = mac;
    let mac = u64::from_le_bytes([a, b, c, d, e, f, 0, 0]);
    report_conflict(vip.entry.instance, address.upper, address.lower, mac);
    Some(Verdict::Drop.because(reason))
}

/// Tells the daemon, unless it has just been told. Says whether it did, since a global function has to return something.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn report_conflict(instance: u32, upper: u64, lower: u64, mac: u64) -> u32 {
    let Some(record) = INSTANCES.get_ptr_mut(instance) else { return 0 };
    let address = Address { upper, lower };
    let [a, b, c, d, e, f, ..] = mac.to_le_bytes();
    let mac = [a, b, c, d, e, f];
    let now = events::now();
    // SAFETY: a field of the map value that only this program uses; a lost race costs one event more or less.
    let last = unsafe { &mut (*record).conflict_event_ns };
    if now.saturating_sub(*last) < CONFLICT_EVENT_NS {
        return 0;
    }
    *last = now;
    let sent = events::send(RingEvent {
        kind: event_kind::CONFLICT,
        instance,
        at_ns: now,
        generation: 0,
        before_ns: 0,
        source: address.octets(),
        mac,
        priority: 0,
        checksum: 0,
        interval_cs: 0,
        address_list_differs: 0,
        deferring: 0,
    });
    log::conflict(instance, address, mac);
    u32::from(sent)
}
