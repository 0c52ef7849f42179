//! The lease manager's node: how its steps reach the lease page, the wire and the main thread.

use std::{mem, time::Duration};

use vipd_common::{Priority, types::ChecksumForm};

use super::{
    super::super::{clock, messages::FenceRequest, router::octets},
    EngineIo, KNOWN,
};
use crate::{
    coordinator::{InstanceId, Reason, StateName},
    lease_manager::{AdvertReport, Heard, Node, Transition},
    notify::Change,
    time::Instant,
    vrrp::Rank,
};

impl Node for EngineIo {
    fn now(&mut self) -> Instant {
        clock::now()
    }

    fn lease(&mut self, id: InstanceId) -> Instant {
        self.pages.leases().read(self.group(id))
    }

    fn acquire(&mut self, id: InstanceId, until: Instant) {
        self.pages.leases().acquire(self.group(id), until);
        tracing::debug!(
            instance = self.instance(id).name(),
            length_ms = until.millis_since(clock::now()),
            "lease acquired"
        );
    }

    fn renew(&mut self, id: InstanceId, from: Instant, until: Instant) -> bool {
        let now = clock::now();
        // A goodbye shortens it.
        if until > from {
            self.known_mut(id).lease_margin().note(from.saturating_since(now), now);
        }
        let renewed = self.pages.leases().renew(self.group(id), from, until).is_ok();
        tracing::debug!(
            instance = self.instance(id).name(),
            length_ms = until.millis_since(now),
            renewed,
            "lease renewed"
        );
        renewed
    }

    fn release(&mut self, id: InstanceId) {
        self.pages.leases().release(self.group(id));
        tracing::debug!(instance = self.instance(id).name(), "lease released");
    }

    fn next_report(&mut self) -> Option<AdvertReport> {
        while let Some(event) = self.events.get_mut().pop() {
            if let Some(report) = self.read(&event) {
                return Some(report);
            }
        }
        self.next_deferred()
    }

    fn heard(&mut self, id: InstanceId) -> Heard {
        let any_may_be = self.all_deferred.poll_timeout().is_some();
        let instance = self.known_mut(id);
        // Whoever asks is to have it all: what XDP holds back is the next report.
        instance.cursor().hasten(any_may_be);
        let heard = self.pages.instances().heard(id.slot());
        tracing::debug!(
            instance = self.instance(id).name(),
            last_ms_ago = (heard.at != Instant::default()).then(|| clock::now().millis_since(heard.at)),
            "looked when the last advert came, since the down timer is near its end"
        );
        heard
    }

    fn resync(&mut self, id: InstanceId) {
        self.pages.instances().resync(id.slot());
    }

    fn publish(&mut self, id: InstanceId, rank: Rank) {
        tracing::debug!(
            instance = self.instance(id).name(),
            priority = rank.priority.get(),
            takes_part = rank.participating,
            "rank for comparing adverts"
        );
        let primary = self.instance(id).router().address().map_or([0; 16], octets);
        self.pages.instances().rank(id.slot(), rank.priority.get(), primary);
    }

    fn send(&mut self, id: InstanceId, priority: Priority, checksum: ChecksumForm) -> bool {
        let instance = self.instances.get_mut(&id).expect(KNOWN);
        let Some(router) = instance.outlet(priority) else { return false };
        let sent = self.wire.advertise(router, priority, checksum);
        let counts = instance.note_sent(sent, priority);
        let router = instance.router();
        tracing::debug!(
            instance = instance.name(),
            source = router.address().map(tracing::field::display),
            priority = priority.get(),
            interval = ?router.spec().advert_interval,
            sent = counts,
            "advert sent"
        );
        counts
    }

    fn announce(&mut self, id: InstanceId, repeat: u8) {
        let instance = self.instances.get(&id).expect(KNOWN);
        tracing::debug!(instance = instance.name(), repeat, "announcing the VIPs");
        self.wire.announce(instance, repeat, clock::now());
    }

    fn cancel_announce(&mut self, id: InstanceId) {
        self.wire.cancel_announce(id);
    }

    fn mirroring(&mut self, id: InstanceId, checksum: ChecksumForm) {
        let instance = self.instance(id).name();
        tracing::info!(instance, ?checksum, "sending the peer's form of checksum");
    }

    fn prepare(&mut self, id: InstanceId, takes_over: bool) {
        tracing::debug!(
            instance = self.instance(id).name(),
            takes_over,
            "about to take over, or not any more"
        );
        self.outputs.host_states_tx.send_if_modified(|states| {
            let state = states.entry(id).or_default();
            mem::replace(&mut state.takes_over, takes_over) != takes_over
        });
    }

    fn transition(&mut self, transition: Transition) {
        let Transition { instance: id, from, to, reason, master } = transition;
        if self.is_takeover_in_vain(id, to) {
            return;
        }
        let (master, master_priority) = master.unzip();
        // To the world nothing has changed when a mastership goes on.
        let inherited = reason == Reason::Inherited;
        self.known_mut(id).enter(from, to, inherited);
        let why = self.reason_text(id, reason);
        let instance = self.known_mut(id);
        tracing::info!(
            target: "vipd::event",
            event = "state_changed",
            instance = instance.name(),
            %from,
            %to,
            reason = why,
            master = master.map(tracing::field::display),
            master_priority = master_priority.map(tracing::field::display),
            "state changed"
        );
        if reason == Reason::LeaseLapsed {
            let since = instance.since();
            instance.lease_margin().note(Duration::ZERO, since);
        }
        self.watch(id, to == StateName::Master);
        self.notice(id, if inherited { Change::Inherited(to) } else { Change::State(to) });
        self.outputs.host_states_tx.send_if_modified(|states| {
            let state = states.entry(id).or_default();
            mem::replace(&mut state.master, to == StateName::Master) != (to == StateName::Master)
        });
    }

    fn lower_heard(&mut self, id: InstanceId) {
        if let Some(fact) = self.conflicts.heard_lower(id, clock::now()) {
            self.tell(fact);
        }
    }

    fn fence(&mut self, id: InstanceId, round: u64) {
        // Without the main thread there is nobody to fence, and this one ends.
        let _ = self.outputs.fences_tx.send(FenceRequest { instance: id, round });
    }

    fn removed(&mut self, id: InstanceId) {
        // Its slot of `INSTANCES` stays as it is while the index leads the program there.
        self.instances.remove(&id);
        self.conflicts.forget(id);
        self.outputs.host_states_tx.send_modify(|states| _ = states.remove(&id));
    }

    fn finished(&mut self) {
        self.is_finished = true;
    }
}
