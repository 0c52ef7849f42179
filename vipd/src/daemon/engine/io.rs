//! What the election acts on: the lease page, the packet sockets, the announcements and the state that is desired of the host.

mod early;
mod node;
mod ring_events;

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
};

use tokio::{
    io::unix::AsyncFd,
    sync::{mpsc, watch},
};
use vipd_common::{abi::InstanceCounters, wire::eth::MacAddr};

use super::{
    super::{
        clock,
        messages::{DesiredHostStates, FenceRequest},
        sockets::Sockets,
    },
    conflict_events,
    conflicts::{Conflicts, Fact, Situation},
    deferred::AllDeferred,
    instance::{EngineInstance, HeardRouter},
    probes::{HostProbes, Surroundings},
    wire::Wire,
};
use crate::{
    coordinator::{FaultReason, InstanceId, Reason, StateName},
    dataplane::{Events, Pages},
    notify::{Change, Notice},
    time::Instant,
    tracking::Fault,
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
    probes: HostProbes,
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
            probes: HostProbes::default(),
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

    /// The hosts that are probed.
    pub fn probes(&self) -> &HostProbes {
        &self.probes
    }

    /// What they see of the election and of the program.
    pub fn surroundings(&self) -> Surroundings<'_> {
        Surroundings { instances: &self.instances, pages: &self.pages }
    }

    /// The same, to be told of what has happened.
    pub fn probes_mut(&mut self) -> (&mut HostProbes, Surroundings<'_>) {
        let Self { probes, instances, pages, .. } = self;
        (probes, Surroundings { instances, pages })
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
}

const KNOWN: &str = "the election has instances that are known here only";
