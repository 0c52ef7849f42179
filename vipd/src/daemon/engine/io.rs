//! What the election acts on: the lease page, the packet sockets, the announcements and the state that is desired of the host.

use std::{
    collections::{BTreeMap, BTreeSet},
    io, mem,
    net::IpAddr,
    time::Duration,
};

use tokio::{
    io::unix::AsyncFd,
    sync::{mpsc, watch},
};
use vipd_common::{
    Priority,
    abi::{InstanceCounters, RingEvent, deferring},
    types::ChecksumForm,
    wire::eth::MacAddr,
};

use super::{
    super::{
        clock,
        messages::{DesiredHostStates, FenceRequest},
        router::octets,
        sockets::Sockets,
    },
    conflict_events,
    conflicts::{Claim, Conflicts, Fact, Situation},
    deferred::AllDeferred,
    events::{self, HeardAdvert, Said},
    instance::{EngineInstance, HeardRouter},
    wire::Wire,
};
use crate::{
    announce::AnnouncedAddress,
    coordinator::{FaultReason, InstanceId, Reason, StateName},
    dataplane::{Events, Pages},
    lease_manager::{AdvertReport, Heard, Node, Transition},
    notify::{Change, Notice},
    time::Instant,
    tracking::Fault,
    vrrp::Rank,
};

/// The lease manager's node: what the engine thread reads and writes.
#[derive(Debug)]
pub struct EngineIo {
    pages: Pages,
    events: AsyncFd<Events>,
    /// Every instance that the election has.
    instances: BTreeMap<InstanceId, EngineInstance>,
    wire: Wire,
    conflicts: Conflicts,
    /// The MACs of this host's interfaces.
    own_macs: BTreeSet<MacAddr>,
    /// Adverts that XDP has deferred, of whichever instance.
    all_deferred: AllDeferred,
    outputs: Outputs,
    /// The election has ended.
    is_finished: bool,
}

/// What the main thread hears of.
#[derive(Debug)]
pub struct Outputs {
    pub host_states_tx: watch::Sender<DesiredHostStates>,
    pub notices_tx: mpsc::UnboundedSender<Notice>,
    pub fences_tx: mpsc::UnboundedSender<FenceRequest>,
}

impl EngineIo {
    /// One that has no instances yet.
    pub fn new(
        pages: Pages,
        events: AsyncFd<Events>,
        sockets: Sockets,
        own_macs: BTreeSet<MacAddr>,
        outputs: Outputs,
    ) -> Self {
        Self {
            pages,
            events,
            instances: BTreeMap::new(),
            wire: Wire::new(sockets),
            conflicts: Conflicts::default(),
            own_macs,
            all_deferred: AllDeferred::default(),
            outputs,
            is_finished: false,
        }
    }

    /// The memory that is shared with XDP.
    pub fn pages(&self) -> &Pages {
        &self.pages
    }

    /// Every instance that the election has.
    pub fn instances(&self) -> &BTreeMap<InstanceId, EngineInstance> {
        &self.instances
    }

    /// One of them.
    pub fn instance_mut(&mut self, id: InstanceId) -> Option<&mut EngineInstance> {
        self.instances.get_mut(&id)
    }

    /// All of them, to be looked at, with the page that has XDP's stamps.
    pub fn instances_mut(&mut self) -> (&mut BTreeMap<InstanceId, EngineInstance>, &Pages) {
        (&mut self.instances, &self.pages)
    }

    /// The election is about to have one more.
    pub fn add(&mut self, id: InstanceId, instance: EngineInstance) {
        self.instances.insert(id, instance);
    }

    /// Others that act as owners.
    pub fn conflicts(&self) -> &Conflicts {
        &self.conflicts
    }

    /// Whether the election has ended.
    pub fn is_finished(&self) -> bool {
        self.is_finished
    }

    /// The interfaces of this host have these MACs now.
    pub fn set_own_macs(&mut self, macs: BTreeSet<MacAddr>) {
        self.own_macs = macs;
    }

    /// Takes other sockets into use; returns those of before.
    pub fn replace_sockets(&mut self, sockets: Sockets) -> Sockets {
        self.wire.replace_sockets(sockets)
    }

    /// Waits until XDP has written events.
    pub async fn wait_for_events(&self) -> io::Result<()> {
        self.events.readable().await?.clear_ready();
        Ok(())
    }

    /// When [`Self::do_due`] has something to do, or the election is to look for events.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let deferred = self.instances.values().filter_map(EngineInstance::deferred_at).min();
        let all_deferred = self.all_deferred.poll_timeout();
        let next = [self.wire.poll_timeout(), self.conflicts.poll_timeout(), deferred, all_deferred];
        next.into_iter().flatten().min()
    }

    /// Does what is due besides the election: asks the wire for VIPs, announces those that others claim, tells of split brains that
    /// are over, and sends the announcements that are due.
    pub fn do_due(&mut self) {
        let now = clock::now();
        if self.conflicts.poll_timeout().is_some_and(|at| at <= now) {
            for fact in self.conflicts.take_due(now) {
                self.tell(fact);
            }
            while let Some(instance) = self.conflicts.next_question(now) {
                self.ask(instance, now);
            }
            while let Some(instance) = self.conflicts.next_contest(now) {
                self.contest(instance, now);
            }
        }
        self.wire.send_announcements(&self.instances, clock::now());
    }

    /// The instance has become master, or ceased to be, or its configuration is another one.
    pub fn watch(&mut self, id: InstanceId, is_master: bool) {
        let spec = self.instance(id).router().spec();
        let asks = spec.self_probe.is_some().then_some(spec.advert_interval);
        if let Some(fact) = self.conflicts.watch(id, is_master, asks, clock::now()) {
            self.tell(fact);
        }
    }

    /// Has the main thread tell of a change.
    pub fn notice(&self, id: InstanceId, change: Change) {
        let instance = self.instance(id);
        let priority = instance.priority().get();
        let notice = Notice { instance: instance.name().to_owned(), change, priority };
        // The main thread may have failed.
        let _ = self.outputs.notices_tx.send(notice);
    }

    /// Why an instance is in its state, with the names of what is concerned.
    pub fn reason_text(&self, id: InstanceId, reason: Reason) -> String {
        let Some(instance) = self.instances.get(&id) else { return reason.to_string() };
        let named = match reason {
            Reason::Fault(FaultReason::Tracked | FaultReason::Group) => {
                let faults: Vec<String> = self.faults(id).into_iter().map(|fault| fault.what).collect();
                return if faults.is_empty() { reason.to_string() } else { faults.join(", ") };
            }
            Reason::Fault(FaultReason::Isolated) => {
                let faults = instance.faults().iter().filter(|fault| fault.kind == "arbiter");
                let names: Vec<&str> =
                    faults.filter_map(|f| f.what.strip_suffix(" is not reached")).collect();
                Some(names.join(", ")).filter(|names| !names.is_empty())
            }
            Reason::Fault(FaultReason::Unserved) => {
                let faults = instance.faults().iter().filter(|fault| fault.kind == "unserved");
                let whats: Vec<&str> = faults.map(|fault| fault.what.as_str()).collect();
                return if whats.is_empty() { reason.to_string() } else { whats.join(", ") };
            }
            Reason::Fault(FaultReason::Refused) => instance.router().refusal().map(str::to_owned),
            Reason::Fault(FaultReason::NoSource) => instance.router().missing_source(),
            Reason::Preempting => {
                let named =
                    |heard: HeardRouter| format!("{} (priority {})", heard.address, heard.priority.get());
                instance.predecessor().map(named)
            }
            _ => None,
        };
        named.map_or_else(|| reason.to_string(), |named| format!("{reason}: {named}"))
    }

    /// Everything that keeps an instance from taking part; that of its sync group if it has no fault of its own.
    pub fn faults(&self, id: InstanceId) -> Vec<Fault> {
        self.faults_since(id).into_iter().map(|(fault, _)| fault).collect()
    }

    /// The same, each with since when it is so.
    pub fn faults_since(&self, id: InstanceId) -> Vec<(Fault, Option<Instant>)> {
        let instance = self.instance(id);
        if !instance.faults().is_empty() {
            let since = instance.faults_since().iter().copied().map(Some);
            return instance.faults().iter().cloned().zip(since).collect();
        }
        let members = self.instances.values().filter(|other| other.lease() == instance.lease());
        let faulty = members.filter(|member| !member.faults().is_empty());
        let named = |member: &EngineInstance| {
            let (name, faults) = (member.name(), member.faults());
            let whats: Vec<&str> = faults.iter().map(|fault| fault.what.as_str()).collect();
            let ends: Vec<&str> = faults.iter().map(|fault| fault.ends_when.as_str()).collect();
            let fault = Fault {
                kind: "group",
                what: format!("sync group member {name} is in FAULT: {}", whats.join(", ")),
                ends_when: ends.join(" and "),
            };
            (fault, member.faults_since().iter().copied().min())
        };
        faulty.map(named).collect()
    }

    fn instance(&self, id: InstanceId) -> &EngineInstance {
        self.instances.get(&id).expect(KNOWN)
    }

    fn known_mut(&mut self, id: InstanceId) -> &mut EngineInstance {
        self.instances.get_mut(&id).expect(KNOWN)
    }

    fn group(&self, id: InstanceId) -> u32 {
        self.instance(id).lease().slot()
    }

    fn situation(&self, id: InstanceId, now: Instant) -> Situation {
        let instance = self.instance(id);
        let owns = self.pages.leases().read(instance.lease().slot()) > now;
        Situation { owns, is_new: instance.is_new(now), now }
    }

    fn tell(&self, fact: Fact) {
        let Some(instance) = self.instances.get(&fact.instance) else { return };
        let (is_over, counts) = (self.conflicts.is_over(&fact), self.conflicts.counts(fact.instance));
        let seen = conflict_events::Seen { is_over, counts, refuses: self.refuses_adverts(fact.instance) };
        if let Some(change) = conflict_events::tell(&fact, instance, seen) {
            self.notice(fact.instance, change);
        }
    }

    /// Whether adverts for an instance have come in and were refused.
    fn refuses_adverts(&self, id: InstanceId) -> bool {
        let counters = self.pages.instance_counters(id.slot()).unwrap_or_default();
        counters.iter().skip(InstanceCounters::FIRST_DISCARD).any(|(_, count)| count > 0)
    }

    /// Whether a change of state is one of a takeover that ends where it begins, and is told to nobody: an advert of the group
    /// has not left, and so each member steps down before anything else is done. Where that lasts, each end of the down timer
    /// would be two runs of every notify script; `advert_not_sent` tells of it, and the state is BACKUP all the time.
    fn is_takeover_in_vain(&mut self, id: InstanceId, to: StateName) -> bool {
        let group = self.instance(id).lease();
        let fails = self.instances.values().any(|instance| instance.lease() == group && instance.is_unsent());
        self.known_mut(id).is_takeover_in_vain(to, fails)
    }

    /// The advert that an event reports. Anything else it may tell of is dealt with here.
    fn read(&mut self, event: &RingEvent) -> Option<AdvertReport> {
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
    fn next_deferred(&mut self) -> Option<AdvertReport> {
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
    fn contest(&mut self, id: InstanceId, now: Instant) {
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
    fn ask(&mut self, id: InstanceId, now: Instant) {
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

const KNOWN: &str = "the election has instances that are known here only";

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
        let sent = self.wire.advertise(instance.router(), priority, checksum);
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
