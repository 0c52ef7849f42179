//! What XDP's events tell: adverts for the election, and stations that claim a VIP of ours.

use std::{net::IpAddr, time::Duration};

use vipd_common::{
    Priority,
    abi::{Event, event_kind},
    types::ChecksumForm,
    wire::eth::MacAddr,
};

use super::{clock, effects::Effects, router};
use crate::{
    engine::{Advert, InstanceId},
    keeper::{Node, Report},
    time::Instant,
};

/// RFC 5227 2.4 (c): a VIP is defended against another station's claim once in this time.
const DEFEND_INTERVAL: Duration = Duration::from_secs(10);

impl Effects {
    /// The advert that an event reports. Anything else it may tell of is dealt with here.
    pub(super) fn read(&mut self, event: &Event) -> Option<Report> {
        let instance = InstanceId(u16::try_from(event.instance).ok()?);
        // One that was removed meanwhile is nobody's.
        let slot = self.slots.get_mut(&instance)?;
        let name = &slot.router.spec.name;
        let source = router::address(event.source);
        let revoked = match event.kind {
            event_kind::ADVERT => false,
            event_kind::REVOKED => true,
            event_kind::CONFLICT => {
                self.conflict(instance, source, MacAddr(event.mac));
                return None;
            }
            kind => {
                tracing::error!(kind, "unknown event");
                return None;
            }
        };
        if event.address_list_differs != 0 {
            tracing::warn!(instance = name, peer = %source, "advert lists other addresses than ours");
        }
        if event.interval_cs != router::centiseconds(slot.router.spec.advert_interval) {
            tracing::warn!(
                instance = name,
                peer = %source,
                interval_ms = event.interval_cs * 10,
                "advert interval differs from ours"
            );
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
        Some(Report {
            instance,
            generation: event.generation,
            before: Instant::from_nanos(event.before_ns),
            advert,
            revoked,
        })
    }

    /// Another station claims a VIP that we own.
    fn conflict(&mut self, instance: InstanceId, vip: IpAddr, mac: MacAddr) {
        let slot = &self.slots[&instance];
        let name = &slot.router.spec.name;
        if clock::now().saturating_since(slot.since) < slot.router.spec.advert_interval {
            // The former master's last words, sent before it heard of us.
            tracing::debug!(instance = name, %vip, %mac, "another station claims a VIP just taken over");
        } else {
            tracing::warn!(instance = name, %vip, %mac, "another station claims a VIP");
        }
        self.defend(instance, vip);
    }

    /// Says once more who has the VIP, if we do and have not just said so.
    fn defend(&mut self, instance: InstanceId, vip: IpAddr) {
        let now = clock::now();
        let owned = self.lease(instance) > now;
        let Some(slot) = self.slots.get_mut(&instance) else { return };
        let defended = slot.defended_at.is_some_and(|at| now.saturating_since(at) < DEFEND_INTERVAL);
        // A burst that is under way says it as well.
        if owned && !defended && !self.announcements.is_announcing(instance.0.into()) {
            slot.defended_at = Some(now);
            let station = slot.stations.iter().filter(|station| station.address == vip).copied().collect();
            self.announcements.push(instance.0.into(), station, 1, slot.router.pace(), now);
        }
    }
}
