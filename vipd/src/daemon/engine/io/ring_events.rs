//! What XDP tells of the wire: adverts, also those that it has deferred, and claims of VIPs, which are answered.

use std::net::IpAddr;

use vipd_common::{
    abi::{RingEvent, deferring},
    wire::eth::MacAddr,
};

use super::{
    super::{
        super::clock,
        conflicts::{Claim, Situation},
        events::{self, HeardAdvert, Said},
    },
    EngineIo, KNOWN,
};
use crate::{
    announce::AnnouncedAddress, coordinator::InstanceId, lease_manager::AdvertReport, time::Instant,
};

impl EngineIo {
    /// The advert that an event reports. Anything else it may tell of is dealt with here.
    pub(super) fn read(&mut self, event: &RingEvent) -> Option<AdvertReport> {
        let id = events::instance(event)?;
        let instances = self.instances.len();
        // One that was removed meanwhile is nobody's.
        match self.instances.get_mut(&id)?.cursor().read(event)? {
            Said::Advert(heard) => {
                if event.deferring & deferring::ALL != 0 {
                    self.all_deferred.note(heard.advert.received_at, instances);
                }
                self.heard_advert(id, heard)
            }
            Said::Claim { vip, mac } => {
                self.claimed(id, vip, mac);
                None
            }
        }
    }

    fn heard_advert(&mut self, id: InstanceId, heard: HeardAdvert) -> Option<AdvertReport> {
        let HeardAdvert { advert, mac, revoked, .. } = heard;
        let source = advert.source;
        let instance = self.instances.get_mut(&id)?;
        if !instance.router().hears(source) {
            tracing::debug!(instance = instance.name(), %source, "an advert of no peer is not heard");
            return None;
        }
        tracing::debug!(
            instance = instance.name(),
            %source,
            priority = advert.priority.get(),
            interval = ?advert.interval,
            %mac,
            revoked,
            "advert received, another than the last"
        );
        if instance.hear(&advert) {
            let states_tx = &self.outputs.host_states_tx;
            states_tx.send_modify(|states| states.entry(id).or_default().masters_heard += 1);
        }
        let situation = self.situation(id, clock::now());
        if let Some(fact) = self.conflicts.heard_advert(id, &advert, mac, revoked, situation) {
            self.tell(fact);
        }
        Some(heard.report(id))
    }

    /// An advert that XDP has deferred, since others had come too fast: the newest of its instance.
    pub(super) fn next_deferred(&mut self) -> Option<AdvertReport> {
        let now = clock::now();
        if self.all_deferred.take_due(self.instances.len(), now) {
            self.instances.values_mut().for_each(|instance| instance.cursor().hasten(true));
        }
        loop {
            let mut instances = self.instances.values_mut();
            let due = instances.find(|instance| instance.deferred_at().is_some_and(|at| at <= now))?;
            let slot = due.router().id().slot();
            let event = due.cursor().take_deferred(self.pages.instances(), slot, now);
            if let Some(report) = event.and_then(|event| self.read(&event)) {
                return Some(report);
            }
        }
    }

    /// Another station claims a VIP that we own.
    fn claimed(&mut self, id: InstanceId, vip: IpAddr, mac: MacAddr) {
        let situation = self.situation(id, clock::now());
        let instance = self.instance(id);
        let name = instance.name();
        if situation.is_new {
            // The former master's last words, sent before it heard of us.
            tracing::debug!(instance = name, %vip, %mac, "another station claims a VIP just taken over");
            return self.defend(id, vip);
        }
        if self.own_macs.contains(&mac) {
            tracing::debug!(instance = name, %vip, %mac, "another interface of this host claims a VIP");
            return self.defend(id, vip);
        }
        let place = instance.announced().iter().position(|announced| announced.address == vip).unwrap_or(0);
        let claim = Claim { vip, mac, place, asks: instance.router().spec().self_probe.is_some() };
        let (facts, is_to_be_defended) = self.conflicts.claimed(id, claim, situation);
        for fact in facts {
            self.tell(fact);
        }
        if is_to_be_defended {
            self.defend(id, vip);
        }
    }

    /// Says once more who has the VIP, if we do and have not just said so.
    fn defend(&mut self, id: InstanceId, vip: IpAddr) {
        let Situation { owns, now, .. } = self.situation(id, clock::now());
        let Self { instances, wire, .. } = self;
        let instance = instances.get_mut(&id).expect(KNOWN);
        // A burst that is under way says it as well.
        if owns && !instance.is_defended(now) && !wire.is_announcing(id) {
            instance.defended(now);
            let is_it = |own: &&AnnouncedAddress| own.address == vip;
            wire.announce_some(instance, instance.announced().iter().filter(is_it), now);
        }
    }

    /// Announces VIPs of an instance that somebody else claims.
    pub(super) fn contest(&mut self, id: InstanceId, now: Instant) {
        let Some(instance) = self.instances.get(&id) else {
            self.conflicts.contested(id, 0, false, now);
            return;
        };
        let owns = self.pages.leases().read(instance.lease().slot()) > now;
        let places = self.conflicts.contested(id, instance.announced().len(), owns, now);
        // A burst that is under way says it as well.
        if owns && !self.wire.is_announcing(id) {
            let addresses = places.iter().map(|place| &instance.announced()[*place]);
            self.wire.announce_some(instance, addresses, now);
        }
    }

    /// Asks the wire for some of an instance's VIPs: whoever else has one answers, and XDP tells of a claim.
    pub(super) fn ask(&mut self, id: InstanceId, now: Instant) {
        let Some(instance) = self.instances.get(&id) else {
            self.conflicts.questions(id, 0, None, now);
            return;
        };
        let (count, period) = (instance.announced().len(), instance.router().spec().self_probe);
        let places = self.conflicts.questions(id, count, period, now);
        if self.pages.leases().read(instance.lease().slot()) > now {
            self.wire.ask(instance, &places);
        }
    }
}
