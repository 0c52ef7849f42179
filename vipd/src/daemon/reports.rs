//! What XDP's events tell: adverts for the election, and stations that claim a VIP of ours.

use std::time::Duration;

use vipd_common::{
    Priority,
    abi::{Event, event_kind},
    types::ChecksumForm,
    wire::eth::MacAddr,
};

use super::{effects::Effects, router};
use crate::{
    engine::{Advert, InstanceId},
    keeper::Report,
    time::Instant,
};

impl Effects {
    /// The advert that an event reports. Anything else it may tell of is dealt with here.
    pub(super) fn read(&mut self, event: &Event) -> Option<Report> {
        let instance = InstanceId(u16::try_from(event.instance).ok()?);
        // One that was removed meanwhile is nobody's.
        let slot = self.slots.get_mut(&instance)?;
        let source = router::address(event.source);
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
            received_at: Instant::from_nanos(event.at_ns),
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
