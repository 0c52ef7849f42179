//! What a valid advert does: it is stamped, it may take our lease, and what changed is told to the daemon.

use core::ptr;

use vipd_common::{
    abi::{
        ALL_EVENTS_BURST, ALL_EVENTS_PERIOD_NS, CapturedReason, EVENT_BURST, EVENT_PERIOD_NS, InstanceCount,
        InstanceRecord, LINES, OWN_INTERFACE, RingEvent, deferring, event_kind,
    },
    rival::{RivalAdvert, Tenure},
    types::ChecksumForm,
    wire::eth,
};

use super::{Envelope, ValidAdvert};
use crate::{
    address::Address, count::count_instance, events, forward_after_takeover, frame::view, hook::Context, log,
    maps::EVENTS_PAID, ownership,
};

/// Takes note of a valid advert, revokes our lease if it has to be, and tells the daemon what is new. The counter that says most of it.
#[inline(always)]
pub fn accept(
    ctx: &Context,
    (slot, line): (u32, u32),
    instance: *mut InstanceRecord,
    source: Address,
    advert: &ValidAdvert,
) -> CapturedReason {
    // SAFETY: the program's half of the value. Two CPUs may write it at once; the generation then differs from what one
    // of the events carries, and the daemon disregards a stamp whose generation it has not been told of.
    let record = unsafe { &mut *instance };
    let now = events::now();
    // Of the line, not of the election: whatever becomes of the advert.
    record.line_heard_ns[line as usize & (LINES - 1)] = now;
    let mut reason = count_advert(slot, record, advert);
    let rival = rival(source, advert);
    let (tenure, until) = ownership::take(record, |until| rival.tenure(record, until, now));
    // A frame that holds an advert holds an Ethernet header.
    let mac = view::<eth::Header>(ctx, 0).map_or([0; 6], |header| header.source().0);
    if tenure == Tenure::Lost {
        forward_after_takeover::revoked(record.head.lease_slot, until, now);
        reason = count_instance(slot, InstanceCount::LeasesRevoked);
        log::revoked(slot, source, advert.priority);
    }
    // On another line it has another MAC, and serves nobody.
    if line == OWN_INTERFACE {
        forward_after_takeover::note_successor(record, mac, now, |ours, until, at| {
            rival.tenure(ours, until, at)
        });
    }
    if rival.is_to_be_reported(record, tenure, now) {
        let paid_before = (record.events_paid_ns, all_paid());
        // Never later than at once: what takes the lease.
        let budget =
            if tenure == Tenure::Lost { Budget::owe(record, now) } else { Budget::spend(record, now) };
        let event = RingEvent {
            kind: if tenure == Tenure::Lost { event_kind::REVOKED } else { event_kind::ADVERT },
            instance: slot,
            at_ns: now,
            generation: record.generation.wrapping_add(1),
            before_ns: record.heard_ns,
            source: source.octets(),
            mac,
            priority: advert.priority,
            checksum: advert.checksum as u8,
            interval_cs: advert.interval_cs,
            address_list_differs: u16::from(list_differs(record, advert)),
            deferring: budget.deferring,
        };
        if !budget.allows {
            // The daemon has been told to look here.
            record.deferred = event;
            count_instance(slot, InstanceCount::EventsDeferred);
        } else if !events::send(event) {
            // The daemon has not been told: leave the record as it was, so that the next advert is news again, and is sent.
            record.events_paid_ns = paid_before.0;
            pay_for_all(paid_before.1);
            count_instance(slot, InstanceCount::EventsLost);
            return reason;
        }
        rival.describe(record, event.generation, now);
    }
    record.heard_ns = now;
    reason
}

/// Counts an advert and what is odd about it. The counter that says most of it.
#[inline(always)]
fn count_advert(slot: u32, record: &InstanceRecord, advert: &ValidAdvert) -> CapturedReason {
    let mut reason = count_instance(slot, InstanceCount::AdvertsReceived);
    if advert.priority == 0 {
        reason = count_instance(slot, InstanceCount::PriorityZeroReceived);
    }
    if record.version == 3 {
        let checksum = match advert.checksum {
            ChecksumForm::MessageOnly => InstanceCount::ChecksumMessageOnly,
            _ => InstanceCount::ChecksumPseudoHeader,
        };
        count_instance(slot, checksum);
        if advert.interval_cs != record.interval_cs {
            count_instance(slot, InstanceCount::IntervalDiffers);
        }
    }
    if list_differs(record, advert) {
        count_instance(slot, InstanceCount::AddressListDiffers);
    }
    // DEVIATION 7.1 (erratum 8300): noted, not discarded, since keepalived and FRR send such lists.
    if advert.first_not_link_local {
        count_instance(slot, InstanceCount::FirstAddrNotLinkLocal);
    }
    reason
}

#[inline(always)]
fn list_differs(record: &InstanceRecord, advert: &ValidAdvert) -> bool {
    advert.address_digest != record.address_list_digest
}

/// Whether an event may be sent now: two token buckets, in time, of the instance and of all together.
#[derive(Clone, Copy)]
struct Budget {
    allows: bool,
    /// Of [`deferring`]: the next one soon after may not.
    deferring: u16,
}

impl Budget {
    /// For an event that may be sent in any case. It costs nothing: one can only be followed by another when the daemon has
    /// acquired the lease again.
    #[inline(always)]
    fn owe(record: &InstanceRecord, now: u64) -> Self {
        Self { allows: true, deferring: Self::spent(record, now) }
    }

    #[inline(always)]
    fn spent(record: &InstanceRecord, now: u64) -> u16 {
        let own = record.events_paid_ns > now + (EVENT_BURST - 1) * EVENT_PERIOD_NS;
        let all = all_paid() > now + (ALL_EVENTS_BURST - 1) * ALL_EVENTS_PERIOD_NS;
        (if own { deferring::INSTANCE } else { 0 }) | (if all { deferring::ALL } else { 0 })
    }

    #[inline(always)]
    fn spend(record: &mut InstanceRecord, now: u64) -> Self {
        let spent = Self::spent(record, now);
        if spent != 0 {
            return Self { allows: false, deferring: spent };
        }
        record.events_paid_ns = later(record.events_paid_ns, now) + EVENT_PERIOD_NS;
        pay_for_all(later(all_paid(), now) + ALL_EVENTS_PERIOD_NS);
        Self { allows: true, deferring: Self::spent(record, now) }
    }
}

#[inline(always)]
fn later(one: u64, other: u64) -> u64 {
    if one > other { one } else { other }
}

#[inline(always)]
fn all_paid() -> u64 {
    // SAFETY: an aligned word of the map, which this program alone uses.
    EVENTS_PAID.get_ptr(0).map_or(0, |paid| unsafe { ptr::read_volatile(paid) })
}

#[inline(always)]
fn pay_for_all(until: u64) {
    if let Some(paid) = EVENTS_PAID.get_ptr_mut(0) {
        // SAFETY: as above.
        unsafe { ptr::write_volatile(paid, until) };
    }
}

/// Keeps who sent an advert that failed a check, for the daemon to name.
#[inline(always)]
pub fn refuse(instance: *mut InstanceRecord, envelope: &Envelope, reason: InstanceCount) {
    // SAFETY: the program's half of the value; of two at once a mixture is kept.
    let record = unsafe { &mut *instance };
    record.refused_source = envelope.source.octets();
    (record.refused_reason, record.refused_hop_limit) = (reason as u32, u32::from(envelope.hop_limit));
}

/// Takes the lease from an address owner that discards the advert, if it is dead or frozen: nobody beats one that is not.
#[inline(always)]
pub fn relieve(ours: &InstanceRecord, source: Address, advert: &ValidAdvert) {
    let (rival, now) = (rival(source, advert), events::now());
    ownership::take(ours, |until| rival.tenure_of_deaf_owner(ours, until, now));
}

#[inline(always)]
fn rival(source: Address, advert: &ValidAdvert) -> RivalAdvert {
    RivalAdvert {
        source,
        priority: advert.priority,
        interval_cs: advert.interval_cs,
        checksum: advert.checksum as u8,
    }
}
