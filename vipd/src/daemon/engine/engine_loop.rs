//! The engine thread's loop: events in, timers, messages of the main thread, actions out. It ends when the election has finished.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
};

use anyhow::{Context, Result};
use tokio::{
    io::{Interest, unix::AsyncFd},
    sync::{mpsc, oneshot, watch},
};
use vipd_common::{Priority, wire::eth::MacAddr};
use vipd_core::early::{EarlyTakeover, ProbeTiming};

use super::{
    super::{
        clock,
        messages::{
            Apply, AttachmentModes, DesiredHostStates, End, EngineMessage, EngineStatus, FenceRequest,
        },
        router::{Router, record},
        sockets::Sockets,
        succession::Successor,
    },
    claim_events,
    handover::{Candidate, Handovers, Step},
    heartbeat,
    instance::EngineInstance,
    io::{EngineIo, Outputs},
    readiness::{fault, faults},
    realtime::Granted,
    status,
    timer::Timer,
};
use crate::{
    coordinator::{FaultReason, Input, InstanceId, StateName},
    dataplane::{Events, Pages},
    host::{LinkChange, LinkState},
    interface_names::name_of,
    lease_manager::{LeaseManager, Node as _},
    notify::{Change, Notice},
    time::Instant,
    tracking::TrackingResult,
    vrrp::Settings,
};

/// What the engine thread starts from. The data plane is filled, but for what [`Apply`] brings, and attached.
#[derive(Debug)]
pub struct EngineParts {
    pub pages: Pages,
    pub events: Events,
    pub routers: Vec<(Router, TrackingResult)>,
    pub sockets: Sockets,
    pub messages_rx: mpsc::Receiver<EngineMessage>,
    pub host_states_tx: watch::Sender<DesiredHostStates>,
    pub notices_tx: mpsc::UnboundedSender<Notice>,
    pub fences_tx: mpsc::UnboundedSender<FenceRequest>,
    /// The node was drained before, and is until that is undone.
    pub drained: bool,
    /// The MACs of this host's interfaces.
    pub own_macs: BTreeSet<MacAddr>,
    pub attachments: AttachmentModes,
}

/// Everything the engine thread owns.
#[derive(Debug)]
pub struct EngineLoop {
    lease_manager: LeaseManager,
    io: EngineIo,
    timer: Timer,
    messages_rx: mpsc::Receiver<EngineMessage>,
    attachments: AttachmentModes,
    granted: Granted,
    started: Instant,
    left: bool,
    /// Nobody sends messages any more.
    headless: bool,
    tracking_results: BTreeMap<InstanceId, TrackingResult>,
    /// Those whose VIPs this host cannot serve, and why.
    unserved: BTreeMap<InstanceId, String>,
    handovers: Handovers,
    /// When the heartbeat links of instances are to be looked at; `None`: no instance has any.
    heartbeats_at: Option<Instant>,
    /// Takes over from silent hosts, where a router has `act takeover`.
    early: Option<EarlyTakeover>,
    /// Those that are to go, and who waits for that.
    removals: Option<(BTreeSet<InstanceId>, oneshot::Sender<()>)>,
}

impl EngineLoop {
    /// To be called on the engine thread's runtime.
    pub fn new(parts: EngineParts, granted: Granted) -> Result<Self> {
        let EngineParts { pages, events, routers, sockets, own_macs, .. } = parts;
        // SAFETY: the ring owns its descriptor and never changes it.
        let events = unsafe { AsyncFd::register_with_interest(events, Interest::READABLE) };
        let events = events.context("watch the event ring")?;
        let outputs = Outputs {
            host_states_tx: parts.host_states_tx,
            notices_tx: parts.notices_tx,
            fences_tx: parts.fences_tx,
        };
        let mut engine = Self {
            lease_manager: LeaseManager::default(),
            io: EngineIo::new(pages, events, sockets, own_macs, outputs),
            timer: Timer::new().context("make a timer")?,
            messages_rx: parts.messages_rx,
            attachments: parts.attachments,
            granted,
            started: clock::now(),
            left: false,
            headless: false,
            tracking_results: BTreeMap::new(),
            unserved: BTreeMap::new(),
            handovers: Handovers::new(parts.drained),
            heartbeats_at: None,
            early: None,
            removals: None,
        };
        let short = |router: &&Router| !granted.real_time && router.is_short();
        for router in routers.iter().map(|(router, _)| router).filter(short) {
            tracing::warn!(
                instance = router.name(),
                interval_ms = router.spec().advert_interval.as_millis(),
                "an advert interval this short needs real-time scheduling: expect false failovers under load"
            );
        }
        engine.configure(routers);
        Ok(engine)
    }

    /// Runs the election until it has ended.
    pub async fn run(mut self) -> Result<End> {
        loop {
            let more = self.turn();
            if let Some(end) = self.end() {
                return Ok(end);
            }
            if more {
                continue;
            }
            let next = [
                self.lease_manager.poll_timeout(),
                self.io.poll_timeout(),
                self.handovers.poll_timeout(),
                self.heartbeats_at,
                self.io.probes().poll_timeout(),
                self.early.as_ref().map(EarlyTakeover::poll_timeout),
            ];
            let next = next.into_iter().flatten().min();
            tracing::debug!(in_ms = next.map(|at| at.millis_since(clock::now())), "next timer");
            self.timer.set(next).context("set the timer")?;
            tokio::select! {
                ready = self.io.wait_for_events() => ready.context("wait for events")?,
                expired = self.timer.expired() => expired.context("wait for the timer")?,
                message = self.messages_rx.recv(), if !self.headless => match message {
                    // Nothing after it: another vipd's engine runs.
                    Some(EngineMessage::Replace { successor, reply }) => {
                        if self.replace(&successor, reply) {
                            return Ok(End::Replaced);
                        }
                    }
                    Some(message) => self.message(message),
                    // The main thread is gone, which it never is before us: hand over rather than run headless.
                    None => {
                        self.headless = true;
                        self.input(Input::Shutdown);
                    }
                },
            }
        }
    }

    /// One look at everything that may have happened; returns whether another is wanted at once.
    fn turn(&mut self) -> bool {
        let more = self.lease_manager.turn(&mut self.io);
        self.io.do_due();
        self.settle_handovers();
        self.check_heartbeats();
        self.take_over_early();
        let instances = self.io.instances();
        if let Some((_, reply)) =
            self.removals.take_if(|(removed, _)| !removed.iter().any(|id| instances.contains_key(id)))
        {
            // Who asked may be gone.
            let _ = reply.send(());
        }
        more
    }

    fn end(&self) -> Option<End> {
        match (self.io.is_finished(), self.left) {
            (true, _) => Some(End::Finished),
            (false, true) => Some(End::Left),
            (false, false) => None,
        }
    }

    fn input(&mut self, input: Input) {
        self.lease_manager.input(input, &mut self.io);
    }

    fn message(&mut self, message: EngineMessage) {
        match message {
            EngineMessage::Link(LinkChange::State(link)) => self.link(&link),
            EngineMessage::Link(LinkChange::Gone { ifindex }) => self.link_gone(ifindex),
            EngineMessage::OwnMacs(macs) => self.io.set_own_macs(macs),
            EngineMessage::Tracked { instance, result } => {
                if self.io.instances().contains_key(&instance) {
                    self.tracking_results.insert(instance, result);
                    self.update_priority(instance);
                }
            }
            EngineMessage::Unserved(unserved) => {
                let before = std::mem::replace(&mut self.unserved, unserved);
                let all: BTreeSet<_> = before.into_keys().chain(self.unserved.keys().copied()).collect();
                for instance in all {
                    self.update_readiness(instance);
                }
            }
            EngineMessage::Remove { instances, reply } => self.remove(instances, reply),
            EngineMessage::Apply(apply) => self.apply(*apply),
            EngineMessage::HandOver { instance, to, reply } => {
                let all = candidates(&self.lease_manager, &self.io, |_| true);
                let steps = self.handovers.hand_over(&all, &instance, to, reply, clock::now());
                self.do_steps(steps);
            }
            EngineMessage::Drain(reply) => {
                let all = candidates(&self.lease_manager, &self.io, |_| true);
                let steps = self.handovers.drain(&all, reply, clock::now());
                self.do_steps(steps);
            }
            EngineMessage::Undrain(reply) => {
                let all = candidates(&self.lease_manager, &self.io, |_| true);
                let steps = self.handovers.undrain(&all, reply);
                self.do_steps(steps);
            }
            EngineMessage::Fenced { instance, round, done } => {
                self.input(Input::Fenced { instance, round, done })
            }
            EngineMessage::Status(reply) => {
                // A client that has hung up wants no answer.
                let _ = reply.send(self.status());
            }
            EngineMessage::Ping(reply) => {
                let ids = self.lease_manager.ids().into_iter();
                let snapshots = ids.filter_map(|instance| self.lease_manager.snapshot(instance));
                // Who asked may be gone.
                let _ = reply.send(snapshots.map(|snapshot| snapshot.state).collect());
            }
            // It is served where it ends the loop.
            EngineMessage::Replace { .. } => {}
            EngineMessage::Shutdown => {
                self.early.iter_mut().for_each(EarlyTakeover::leave);
                let (probes, around) = self.io.probes_mut();
                probes.leave(around.pages.probes());
                self.input(Input::Shutdown);
            }
            EngineMessage::Leave => {
                self.lease_manager.leave(&mut self.io);
                self.left = true;
            }
        }
    }

    /// Renews every lease and has another vipd take over; returns whether it does.
    fn replace(&mut self, successor: &Successor, reply: oneshot::Sender<io::Result<()>>) -> bool {
        self.lease_manager.leave(&mut self.io);
        let passed_on = successor.pass_on();
        let is_replaced = passed_on.is_ok();
        // The main thread waits for it, unless it has failed.
        let _ = reply.send(passed_on);
        is_replaced
    }

    fn remove(&mut self, instances: BTreeSet<InstanceId>, reply: oneshot::Sender<()>) {
        for instance in &instances {
            self.tracking_results.remove(instance);
            self.handovers.forget(*instance);
            self.input(Input::Remove { instance: *instance });
        }
        self.removals = Some((instances, reply));
    }

    fn apply(&mut self, apply: Apply) {
        let Apply { routers, sockets, attachments, reply } = apply;
        let before = sockets.map(|sockets| self.io.replace_sockets(sockets));
        self.attachments = attachments;
        self.configure(routers);
        let _ = reply.send(before);
    }

    /// Brings virtual routers in line with a configuration.
    fn configure(&mut self, routers: Vec<(Router, TrackingResult)>) {
        let mut changed = Vec::new();
        for (router, result) in routers {
            let (instance, group) = (router.id(), router.lease());
            let priority = self.handovers.priority(instance, result.priority);
            let settings = Settings { priority, ..*router.settings() };
            let known = self.io.instances().get(&instance).map(EngineInstance::router);
            if known == Some(&router) && self.tracking_results.get(&instance) == Some(&result) {
                continue;
            }
            self.tracking_results.insert(instance, result);
            let is_announced_anew = self.configure_one(router, priority);
            self.input(Input::Configure { instance, group, settings });
            changed.push((instance, is_announced_anew));
        }
        self.io.probes_mut().0.configure();
        let any = self.io.instances().values().any(|instance| instance.heartbeats().any());
        self.heartbeats_at = any.then(|| self.heartbeats_at.unwrap_or(clock::now() + heartbeat::PERIOD));
        // Not before all members of a sync group are there.
        for (instance, is_announced_anew) in changed {
            self.update_priority(instance);
            if is_announced_anew {
                self.announce(instance);
            }
        }
    }

    /// Returns whether other addresses are announced than before, or with another MAC.
    fn configure_one(&mut self, router: Router, priority: Priority) -> bool {
        let id = router.id();
        let (instances, pages) = self.io.instances_mut();
        let Some(instance) = instances.get_mut(&id) else {
            // Its slot of `INSTANCES` was filled with the tables.
            self.io.add(id, EngineInstance::new(router, priority));
            return false;
        };
        pages.instances().describe(id.slot(), &record(&router));
        let is_announced_anew = instance.configure(router);
        self.io.watch(id, self.io.conflicts().is_master(id));
        is_announced_anew
    }

    /// Announces an owner's addresses, as after a takeover: some are new, or have another MAC.
    fn announce(&mut self, instance: InstanceId) {
        if self.lease_manager.lease_written(instance) > clock::now() {
            let repeat = self.io.instances()[&instance].router().spec().garp.master_repeat;
            self.io.announce(instance, repeat);
        }
    }

    /// An interface changed: tell every router on it.
    fn link(&mut self, link: &LinkState) {
        for id in self.lease_manager.ids() {
            let (instances, pages) = self.io.instances_mut();
            let Some(instance) = instances.get_mut(&id) else { continue };
            let former = instance.router().clone();
            let Some(has_new_mac) = instance.update(link) else { continue };
            if has_new_mac {
                pages.instances().set_mac(id.slot(), instance.router().link().mac().0);
                // Everyone has the old one in their caches.
                self.announce(id);
            }
            self.update_readiness_after(id, former);
        }
    }

    /// As [`Self::update_readiness`], with a goodbye by the ways of before if there are none any more.
    fn update_readiness_after(&mut self, id: InstanceId, former: Router) {
        let note = |io: &mut EngineIo, former| {
            if let Some(instance) = io.instance_mut(id) {
                instance.remember_former(former);
            }
        };
        note(&mut self.io, Some(former));
        self.update_readiness(id);
        note(&mut self.io, None);
    }

    fn link_gone(&mut self, ifindex: u32) {
        for id in self.lease_manager.ids() {
            let Some(instance) = self.io.instance_mut(id) else { continue };
            let former = instance.router().clone();
            if !instance.gone(ifindex) {
                continue;
            }
            // It may only have another name.
            if matches!(name_of(ifindex), Ok(Some(_))) {
                self.update_readiness_after(id, former);
            } else {
                self.update_readiness(id);
            }
        }
    }

    /// Tells the election of the effective priority of an instance, by what it tracks and by handovers, and of its readiness,
    /// which both decide with it.
    fn update_priority(&mut self, id: InstanceId) {
        let Some(result) = self.tracking_results.get(&id) else { return };
        let priority = self.handovers.priority(id, result.priority);
        let weights = std::sync::Arc::clone(&result.weights);
        let Some(instance) = self.io.instance_mut(id) else { return };
        let before = instance.rank(priority);
        self.input(Input::Priority { instance: id, priority });
        let state = self.lease_manager.snapshot(id).map_or(StateName::Init, |snapshot| snapshot.state);
        if before != priority {
            tracing::info!(
                target: "vipd::event",
                event = "priority_changed",
                instance = self.io.instances()[&id].name(),
                from = before.get(),
                to = priority.get(),
                configured = self.io.instances()[&id].router().spec().priority.get(),
                weights = (!weights.is_empty()).then_some(&*weights),
                "priority changed"
            );
            self.io.notice(id, Change::Priority(state));
        }
        self.update_readiness(id);
    }

    /// Tells the election whether an instance can take part, by its links and by what it tracks.
    fn update_readiness(&mut self, id: InstanceId) {
        let (Some(result), Some(instance)) = (self.tracking_results.get(&id), self.io.instance_mut(id))
        else {
            return;
        };
        let unserved = self.unserved.get(&id);
        instance.set_faults(faults(instance.router(), result, unserved.map(String::as_str)));
        let router = instance.router();
        // A mastership that is inherited does not wait for the first result of a check.
        let waits = !result.known && self.lease_manager.lease_written(id) == Instant::default();
        let input = match (fault(router, result, unserved.is_some()), router.address()) {
            (Some(reason), _) => Input::Fault { instance: id, reason },
            (None, None) => Input::Fault { instance: id, reason: FaultReason::NoAddress },
            (None, Some(_)) if waits => return,
            (None, Some(address)) => Input::Ready { instance: id, address },
        };
        tracing::debug!(instance = self.io.instances()[&id].name(), ?input, "whether it can take part");
        self.input(input);
    }

    fn settle_handovers(&mut self) {
        let all = candidates(&self.lease_manager, &self.io, |id| self.handovers.concerns(id));
        let steps = self.handovers.settle(&all, clock::now());
        self.do_steps(steps);
    }

    fn do_steps(&mut self, steps: Vec<Step>) {
        for step in steps {
            match step {
                Step::Rank(instance) => self.update_priority(instance),
                Step::Offer(instance) => {
                    let snapshot = self.lease_manager.snapshot(instance);
                    if snapshot.is_some_and(|snapshot| !snapshot.leaving) {
                        self.input(Input::HandOver { instance });
                    }
                }
            }
        }
    }

    /// Probes the hosts that run the same routers, and takes over from one that is silent.
    fn take_over_early(&mut self) {
        let (probes, around) = self.io.probes_mut();
        let is_refreshed = probes.turn(&self.lease_manager, around);
        let claims = |early: &EarlyTakeover| early.groups(clock::now()).any(|(_, group)| group.claims);
        let timing = match (self.io.probes().early_timing(), &self.early) {
            (Some(timing), _) => timing,
            // A claim ends as ever where nobody is probed any more.
            (None, Some(early)) if claims(early) => ProbeTiming { takes_over: false, ..early.timing() },
            (None, _) => {
                if self.early.take().is_some() {
                    // Nobody says any more who hears whom.
                    self.lease_manager.forget_one_way(&mut self.io);
                }
                return;
            }
        };
        let hosts = || self.io.probes().early_hosts();
        if let Some(early) = self.early.as_mut().filter(|_| is_refreshed) {
            early.configure(timing);
            early.set_peers(&hosts());
        }
        let early = self.early.get_or_insert_with(|| {
            let mut early = EarlyTakeover::new(timing, hosts());
            if self.io.probes().inherits() {
                early.inherit();
            }
            early
        });
        early.turn(&mut self.lease_manager, &mut self.io);
        while let Some((group, change)) = early.poll_change() {
            let members = self.io.instances().values().filter(|instance| instance.lease() == group);
            members.for_each(|instance| claim_events::tell(instance.name(), change));
        }
        let now = clock::now();
        self.io.probes_mut().0.note_reliance(|host| early.relies(host, now));
    }

    /// Looks at all heartbeat links, if it is time.
    fn check_heartbeats(&mut self) {
        let now = clock::now();
        if self.heartbeats_at.is_none_or(|at| now < at) {
            return;
        }
        self.heartbeats_at = Some(now + heartbeat::PERIOD);
        let (instances, pages) = self.io.instances_mut();
        for (id, instance) in instances.iter_mut().filter(|(_, instance)| instance.heartbeats().any()) {
            let snapshot = self.lease_manager.snapshot(*id);
            let backup = snapshot.filter(|snapshot| snapshot.state == StateName::Backup);
            let settings = *instance.router().settings();
            let patience = backup.map(|snapshot| settings.master_down_interval(snapshot.interval));
            instance.check_heartbeats(patience, pages.instances(), now);
        }
    }

    fn status(&self) -> EngineStatus {
        let now = clock::now();
        let early = self.early.iter().flat_map(|early| early.groups(now)).collect();
        let known = status::StatusInputs {
            io: &self.io,
            conflicts: self.io.conflicts(),
            handovers: &self.handovers,
            attachments: &self.attachments,
            early: &early,
            now,
        };
        // As in the configuration.
        let mut instances: Vec<&EngineInstance> = self.io.instances().values().collect();
        instances.sort_by_key(|instance| instance.router().position());
        let status = |instance: &EngineInstance| {
            let snapshot = self.lease_manager.snapshot(instance.router().id())?;
            Some(known.instance(instance, &snapshot))
        };
        EngineStatus {
            uptime_ms: known.now.millis_since(self.started),
            real_time: self.granted.real_time,
            drained: self.handovers.is_drained(),
            instances: instances.into_iter().filter_map(status).collect(),
            probes: self.io.probes().status(),
            sponsors: self.io.probes().sponsors_status(self.io.pages(), now),
            counters: status::counters(self.io.pages()),
        }
    }
}

/// How instances are, in the order of their numbers.
fn candidates<'a>(
    lease_manager: &LeaseManager,
    io: &'a EngineIo,
    concerns: impl Fn(InstanceId) -> bool,
) -> Vec<Candidate<'a>> {
    let concerned = io.instances().iter().filter(|(id, _)| concerns(**id));
    concerned.map(|(id, instance)| Candidate::of(instance, lease_manager.snapshot(*id).as_ref())).collect()
}
