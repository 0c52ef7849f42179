//! What XDP's events say: adverts for the election, and claims of VIPs by other stations. Which event is next is asked here too:
//! where adverts come faster than they are read, XDP keeps the newest of an instance and is asked for it.

use std::{net::IpAddr, time::Duration};

use vipd_common::{
    Priority,
    abi::{EVENT_PERIOD_NS, RingEvent, deferring, event_kind},
    types::ChecksumForm,
    wire::eth::MacAddr,
};

use super::super::router;
use crate::{
    coordinator::{Advert, InstanceId},
    dataplane::{Deferred, InstancePage},
    lease_manager::AdvertReport,
    time::Instant,
};

/// After an event that says that the next one may be deferred: by then one is, or none.
const DEFERRED_FOR: Duration = Duration::from_nanos(EVENT_PERIOD_NS + 1_000_000);
/// While adverts come faster than they are read.
const ASK_AGAIN: Duration = Duration::from_millis(1);

/// Which events of an instance were read.
#[derive(Debug, Default)]
pub struct EventCursor {
    /// Of the last event that was read.
    generation: u64,
    /// When to look for an event that XDP has deferred, since they came too fast.
    deferred_at: Option<Instant>,
}

/// What an event says.
#[derive(Clone, Copy, Debug)]
pub enum Said {
    Advert(HeardAdvert),
    /// Another station claims a VIP of ours.
    Claim {
        vip: IpAddr,
        mac: MacAddr,
    },
}

/// An advert that was heard.
#[derive(Clone, Copy, Debug)]
pub struct HeardAdvert {
    pub advert: Advert,
    pub mac: MacAddr,
    /// XDP has taken the lease for it.
    pub revoked: bool,
    generation: u64,
    before: Instant,
}

impl HeardAdvert {
    /// As the election is told of it.
    pub fn report(&self, instance: InstanceId) -> AdvertReport {
        let Self { advert, revoked, generation, before, .. } = *self;
        AdvertReport { instance, generation, before, advert, revoked }
    }
}

/// The instance that an event is about.
pub fn instance(event: &RingEvent) -> Option<InstanceId> {
    u16::try_from(event.instance).ok().map(InstanceId)
}

impl EventCursor {
    /// When events that XDP has deferred are to be looked for.
    pub fn deferred_at(&self) -> Option<Instant> {
        self.deferred_at
    }

    /// Has all of it looked for at once. `in_any_case`: also where no event has said that one may be deferred.
    pub fn hasten(&mut self, in_any_case: bool) {
        if self.deferred_at.is_some() || in_any_case {
            self.deferred_at = Some(Instant::default());
        }
    }

    /// The event that XDP has deferred, if it is time to look for one: the newest of the instance.
    pub fn take_deferred(&mut self, instances: &InstancePage, slot: u32, now: Instant) -> Option<RingEvent> {
        self.deferred_at.take_if(|at| *at <= now)?;
        match instances.deferred(slot) {
            Ok(event) if event.generation != self.generation => return Some(event),
            Ok(_) | Err(Deferred::Nothing) => {}
            Err(Deferred::Changing) => self.deferred_at = Some(now + ASK_AGAIN),
        }
        None
    }

    /// Takes note of an event, and says what it means.
    pub fn read(&mut self, event: &RingEvent) -> Option<Said> {
        let source = router::address(event.source);
        let received_at = Instant::from_nanos(event.at_ns);
        let mac = MacAddr(event.mac);
        let revoked = match event.kind {
            event_kind::ADVERT => false,
            event_kind::REVOKED => true,
            event_kind::CONFLICT => return Some(Said::Claim { vip: source, mac }),
            kind => {
                tracing::error!(kind, "unknown event");
                return None;
            }
        };
        self.generation = event.generation;
        // An event before it may come after it, from another processor: what is held back is asked for, whatever the others say.
        if event.deferring & deferring::INSTANCE != 0 {
            self.deferred_at = Some(received_at + DEFERRED_FOR);
        }
        let advert = Advert {
            source,
            priority: Priority::new(event.priority),
            interval: Duration::from_millis(u64::from(event.interval_cs) * 10),
            checksum: ChecksumForm::from_u8(event.checksum),
            received_at,
        };
        let before = Instant::from_nanos(event.before_ns);
        Some(Said::Advert(HeardAdvert { advert, mac, revoked, generation: event.generation, before }))
    }
}
