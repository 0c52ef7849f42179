//! What XDP's events tell: adverts for the election, and stations that claim a VIP of ours.

use std::time::Duration;

use vipd_common::{
    Priority,
    abi::{EVENT_PERIOD_NS, RingEvent, deferring, event_kind},
    types::ChecksumForm,
    wire::eth::MacAddr,
};

use super::{clock, effects::Effects, router};
use crate::{
    dataplane::Deferred,
    engine::{Advert, InstanceId},
    keeper::Report,
    time::Instant,
};

/// After an event that says that the next one may be deferred: by then one is, or none.
const DEFERRED_FOR: Duration = Duration::from_nanos(EVENT_PERIOD_NS + 1_000_000);
/// While adverts come faster than they are read.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

impl Effects {
    /// When events that XDP has deferred are to be looked for.
    pub(super) fn deferred_at(&self) -> Option<Instant> {
        let of_one = self.slots.values().filter_map(|slot| slot.deferred_at);
        of_one.chain(self.all_deferred.poll_timeout()).min()
    }

    /// An advert that XDP has deferred, since others had come too fast: the newest of its instance.
    pub(super) fn next_deferred(&mut self) -> Option<Report> {
        let now = clock::now();
        if self.all_deferred.take_due(self.slots.len(), now) {
            self.slots.values_mut().for_each(|slot| slot.deferred_at = Some(Instant::default()));
        }
        loop {
            let due = self.slots.values_mut().find(|slot| slot.deferred_at.is_some_and(|at| at <= now))?;
            due.deferred_at = None;
            match self.pages.instances().deferred(due.router.slot) {
                Ok(event) if event.generation != due.generation => {
                    if let Some(report) = self.read(&event) {
                        return Some(report);
                    }
                }
                Ok(_) | Err(Deferred::Nothing) => {}
                Err(Deferred::Changing) => due.deferred_at = Some(now + LOOK_AGAIN),
            }
        }
    }

    /// The advert that an event reports. Anything else it may tell of is dealt with here.
    pub(super) fn read(&mut self, event: &RingEvent) -> Option<Report> {
        let instance = InstanceId(u16::try_from(event.instance).ok()?);
        let instances = self.slots.len();
        // One that was removed meanwhile is nobody's.
        let slot = self.slots.get_mut(&instance)?;
        let source = router::address(event.source);
        let received_at = Instant::from_nanos(event.at_ns);
        let revoked = match event.kind {
            event_kind::ADVERT => false,
            event_kind::REVOKED => true,
            event_kind::CONFLICT => {
                self.claimed(instance, source, MacAddr(event.mac));
                return None;
            }
            kind => {
                tracing::error!(kind, "unknown event");
                return None;
            }
        };
        slot.generation = event.generation;
        // An event before it may come after it, from another processor: what is held back is asked for, whatever the others say.
        if event.deferring & deferring::INSTANCE != 0 {
            slot.deferred_at = Some(received_at + DEFERRED_FOR);
        }
        if event.deferring & deferring::ALL != 0 {
            self.all_deferred.note(received_at, instances);
        }
        if !slot.router.hears(source) {
            tracing::debug!(instance = slot.router.spec.name, %source, "an advert of no peer is not heard");
            return None;
        }
        // Not by its MAC, which is another on each line.
        if slot.master.replace(source) != Some(source) {
            self.wishes.send_modify(|wishes| wishes.entry(instance).or_default().masters_heard += 1);
        }
        let advert = Advert {
            source,
            priority: Priority::new(event.priority),
            interval: Duration::from_millis(u64::from(event.interval_cs) * 10),
            checksum: ChecksumForm::from_u8(event.checksum),
            received_at,
        };
        self.heard_advert(instance, &advert, MacAddr(event.mac), revoked);
        Some(Report {
            instance,
            generation: event.generation,
            before: Instant::from_nanos(event.before_ns),
            advert,
            revoked,
        })
    }
}
