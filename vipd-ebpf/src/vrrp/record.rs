//! What a valid advert does: it is stamped, it may take our lease, and what changed is told to the daemon.

use core::ptr;

use aya_ebpf::programs::XdpContext;
use vipd_common::abi::{Event, Instance, InstanceCount, event_kind};

use super::{Advert, CHECKSUM_MESSAGE_ONLY};
use crate::{address::Address, count::count_instance, events, frame::read, log, ownership};

/// An unchanged rival is reported again after this time: often enough to answer it, too rarely to be a flood.
const RIVAL_EVENT_NS: u64 = 10_000_000;

/// Takes note of a valid advert, revokes our lease if it has to be, and tells the daemon what is new.
#[inline(always)]
pub fn accept(ctx: &XdpContext, slot: u32, instance: *mut Instance, source: Address, advert: &Advert) {
    // SAFETY: the program's half of the value. Two CPUs may write it at once; the generation then differs from what one
    // of the events carries, and the daemon disregards a stamp whose generation it has not been told of.
    let record = unsafe { &mut *instance };
    let now = events::now();
    count_instance(slot, InstanceCount::AdvertsReceived);
    if advert.priority == 0 {
        count_instance(slot, InstanceCount::PriorityZeroReceived);
    }
    if record.version == 3 {
        count_instance(
            slot,
            if advert.checksum == CHECKSUM_MESSAGE_ONLY {
                InstanceCount::ChecksumMessageOnly
            } else {
                InstanceCount::ChecksumPseudoHeader
            },
        );
        if advert.interval_cs != record.interval_cs {
            count_instance(slot, InstanceCount::IntervalDiffers);
        }
    }
    let list_differs = advert.address_digest != record.address_list_digest;
    if list_differs {
        count_instance(slot, InstanceCount::AddressListDiffers);
    }
    // DEVIATION 7.1 (erratum 8300): noted, not discarded, since keepalived and FRR send such lists.
    if advert.first_not_link_local {
        count_instance(slot, InstanceCount::FirstAddrNotLinkLocal);
    }

    let tenure = tenure(record, source, advert.priority, now);
    let changed = record.resync != 0
        || advert.priority == 0
        || advert.priority != record.source_priority
        || advert.interval_cs != record.source_interval_cs
        || advert.checksum != record.source_checksum
        || source != Address::from_octets(record.source);
    let report = match tenure {
        Tenure::Lost => {
            count_instance(slot, InstanceCount::LeasesRevoked);
            log::revoked(slot, source, advert.priority);
            true
        }
        Tenure::Kept => changed || now.saturating_sub(record.rival_event_ns) >= RIVAL_EVENT_NS,
        Tenure::None => changed,
    };
    if report {
        let event = Event {
            kind: if matches!(tenure, Tenure::Lost) { event_kind::REVOKED } else { event_kind::ADVERT },
            instance: slot,
            at_ns: now,
            generation: record.generation.wrapping_add(1),
            source: source.octets(),
            // SAFETY: a frame that holds an advert holds an Ethernet header.
            mac: read(ctx, 6).unwrap_or([0; 6]),
            priority: advert.priority,
            checksum: advert.checksum,
            interval_cs: advert.interval_cs,
            address_list_differs: u32::from(list_differs),
        };
        if !events::send(event) {
            // The daemon has not been told: leave the record as it was, so that the next advert is news again.
            count_instance(slot, InstanceCount::EventsLost);
            return;
        }
        record.generation = event.generation;
        record.resync = 0;
        record.rival_event_ns = now;
        record.source = source.octets();
        record.source_priority = advert.priority;
        record.source_interval_cs = advert.interval_cs;
        record.source_checksum = advert.checksum;
    }
    record.heard_ns = now;
}

/// What an advert does to our ownership.
enum Tenure {
    /// We were not the owner.
    None,
    /// We are, and stay it.
    Kept,
    /// We were.
    Lost,
}

/// Decides whether `source` takes the VIPs from us, and if so takes the lease back here and now.
///
/// It does if it beats us (RFC 9568 6.4.3), or if our last renewal is so old that we must be dead or frozen: then
/// whoever speaks has taken over. A router that is leaving (priority 0) takes nothing.
#[inline(always)]
fn tenure(ours: &Instance, source: Address, priority: u8, now: u64) -> Tenure {
    let Some(word) = ownership::lease(ours.head.group) else { return Tenure::None };
    // SAFETY: an aligned 8-byte word of the map; the daemon stores to it with atomic operations.
    let until = unsafe { ptr::read_volatile(word) };
    if now >= until {
        return Tenure::None;
    }
    if priority == 0 {
        return Tenure::Kept;
    }
    let beats = priority > ours.priority
        || priority == ours.priority && source.is_greater(Address::from_octets(ours.primary));
    // The last renewal was at `until - lease_ns`.
    let stale = now.wrapping_add(ours.lease_ns) > until.wrapping_add(ours.stale_after_ns);
    if !beats && !stale {
        return Tenure::Kept;
    }
    // SAFETY: as above. A renewal that comes between is a compare-exchange against the old value: it fails, or it is
    // overwritten here and the next one fails.
    unsafe { ptr::write_volatile(word, 0) };
    Tenure::Lost
}
