//! The engine thread: events in, timers, actions out.
//!
//! It owns the data plane, the packet sockets and the election, and runs under SCHED_FIFO on a runtime of its own. It
//! never waits for anything but its own descriptors: the host's rules follow through a `watch` channel in which the
//! latest wish wins, and status answers go out through one-shot channels. It ends when the election has finished.

use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
};

use anyhow::{Context, Result};
use tokio::{
    io::{Interest, unix::AsyncFd},
    sync::{mpsc, oneshot, watch},
};
use vipd_common::wire::eth::MacAddr;

use super::{
    attach::Attachments,
    clock,
    detect::Watch,
    effects::{Effects, Slot},
    handover::{Handovers, Reply},
    realtime::Granted,
    router::Router,
    sockets::Sockets,
    timer::Timer,
};
use crate::{
    announce::AnnounceQueue,
    control::{To, model::Status},
    dataplane::{Events, Pages},
    engine::{FaultReason, Input, InstanceId, StateName},
    host::{LinkChange, LinkState, Ownership},
    keeper::{Keeper, Node as _},
    notify::{Change, Notice},
    time::Instant,
    tracking::Standing,
    vrrp::Settings,
};

/// What the main thread tells the engine thread.
#[derive(Debug)]
pub enum Message {
    /// An interface or its addresses changed, or it is gone.
    Link(LinkChange),
    /// The interfaces of this host have these MACs now.
    OwnMacs(BTreeSet<MacAddr>),
    /// What an instance tracks has changed how it stands.
    Standing {
        instance: InstanceId,
        standing: Standing,
    },
    /// Hand these over, and forget them; answered when they are gone.
    Remove {
        instances: BTreeSet<InstanceId>,
        reply: oneshot::Sender<()>,
    },
    /// Another configuration, of which those are gone already that it does not have.
    Apply(Box<Apply>),
    /// Hand one over with its sync group, or have it rank as configured again.
    HandOver {
        instance: String,
        to: To,
        reply: Reply,
    },
    /// Hand everything over, and rank last from then on.
    Drain(Reply),
    /// The end of that.
    Undrain(Reply),
    /// What has become of a fence that was asked for.
    Fenced {
        instance: InstanceId,
        round: u64,
        done: bool,
    },
    Status(oneshot::Sender<Status>),
    /// Answered with the state of each instance: what the service manager is shown, and that this thread runs.
    Ping(oneshot::Sender<Vec<StateName>>),
    /// Hand everything over and finish.
    Shutdown,
    /// Finish at once and leave every lease to the next vipd.
    Leave,
}

/// How the election has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Everything is handed over: what was made is to be removed.
    Finished,
    /// Leases, tables, routes and the attached program are to stand for the next vipd.
    Left,
}

/// Nothing is heard of the master of an instance's group: it is to be fenced, and [`Message::Fenced`] the answer.
#[derive(Clone, Copy, Debug)]
pub struct Fence {
    pub instance: InstanceId,
    pub round: u64,
}

/// Another configuration: what is as it was goes on untouched.
#[derive(Debug)]
pub struct Apply {
    /// All virtual routers, with their slots, and how each stands.
    pub routers: Vec<(Router, Standing)>,
    /// If others are needed.
    pub sockets: Option<Sockets>,
    pub attachments: Attachments,
    /// Answered with the sockets of before, to be closed where that may take its time.
    pub reply: oneshot::Sender<Option<Sockets>>,
}

/// What the host's rules are to say about each router: the latest wish is the one that counts.
pub type Wishes = BTreeMap<InstanceId, Wish>;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wish {
    pub master: bool,
    /// It is about to be master.
    pub takes_over: bool,
    /// Rises when another master than before was heard: what the kernel knows of the VIPs' neighbours is out of date.
    pub masters_heard: u64,
}

impl Wish {
    /// What the host is to be to its VIPs.
    pub fn ownership(&self) -> Ownership {
        match self {
            Self { master: true, .. } => Ownership::Master,
            Self { takes_over: true, .. } => Ownership::Prepared,
            _ => Ownership::None,
        }
    }
}

/// Everything the engine thread owns.
#[derive(Debug)]
pub struct Driver {
    pub(super) keeper: Keeper,
    pub(super) effects: Effects,
    timer: Timer,
    messages: mpsc::Receiver<Message>,
    pub(super) attachments: Attachments,
    pub(super) granted: Granted,
    pub(super) started: Instant,
    left: bool,
    /// Nobody sends messages any more.
    headless: bool,
    standings: BTreeMap<InstanceId, Standing>,
    pub(super) handovers: Handovers,
    /// When the lines of instances are to be looked at; `None`: none has more than one.
    pub(super) look_at: Option<Instant>,
    /// Those that are to go, and who waits for that.
    removals: Option<(BTreeSet<InstanceId>, oneshot::Sender<()>)>,
}

/// What the driver starts from. The data plane is filled, but for what [`Apply`] brings, and attached.
#[derive(Debug)]
pub struct Parts {
    pub pages: Pages,
    pub events: Events,
    pub routers: Vec<(Router, Standing)>,
    pub sockets: Sockets,
    pub messages: mpsc::Receiver<Message>,
    pub wishes: watch::Sender<Wishes>,
    pub notices: mpsc::UnboundedSender<Notice>,
    pub fences: mpsc::UnboundedSender<Fence>,
    /// The node was drained before, and is until that is undone.
    pub drained: bool,
    /// The MACs of this host's interfaces.
    pub own_macs: BTreeSet<MacAddr>,
    /// XDP mode of each interface.
    pub attachments: Attachments,
    pub granted: Granted,
}

impl Driver {
    /// To be called on the engine thread's runtime.
    pub fn new(parts: Parts) -> Result<Self> {
        let Parts {
            pages,
            events,
            routers,
            sockets,
            messages,
            wishes,
            notices,
            fences,
            drained,
            own_macs,
            attachments,
            granted,
        } = parts;
        // SAFETY: the ring owns its descriptor and never changes it.
        let events = unsafe { AsyncFd::register_with_interest(events, Interest::READABLE) };
        let effects = Effects {
            pages,
            events: events.context("watch the event ring")?,
            slots: BTreeMap::new(),
            sockets,
            announcements: AnnounceQueue::default(),
            watch: Watch::default(),
            own_macs,
            all_deferred: Default::default(),
            wishes,
            notices,
            fences,
            finished: false,
        };
        let mut driver = Self {
            keeper: Keeper::default(),
            effects,
            timer: Timer::new().context("make a timer")?,
            messages,
            attachments,
            granted,
            started: clock::now(),
            left: false,
            headless: false,
            standings: BTreeMap::new(),
            handovers: Handovers::new(drained),
            look_at: None,
            removals: None,
        };
        driver.configure(routers);
        Ok(driver)
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
                self.keeper.poll_timeout(),
                self.effects.announcements.poll_timeout(),
                self.handovers.poll_timeout(),
                self.look_at,
                self.effects.watch.poll_timeout(),
                self.effects.deferred_at(),
            ];
            let next = next.into_iter().flatten().min();
            self.timer.set(next).context("set the timer")?;
            tokio::select! {
                ready = self.effects.events.readable() => ready.context("wait for events")?.clear_ready(),
                expired = self.timer.expired() => expired.context("wait for the timer")?,
                message = self.messages.recv(), if !self.headless => match message {
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
        let more = self.keeper.turn(&mut self.effects);
        self.effects.detect();
        self.effects.send_announcements();
        self.settle_offers();
        self.look_at_lines();
        let slots = &self.effects.slots;
        if let Some((_, reply)) =
            self.removals.take_if(|(instances, _)| !instances.iter().any(|id| slots.contains_key(id)))
        {
            // Who asked may be gone.
            let _ = reply.send(());
        }
        more
    }

    fn end(&self) -> Option<End> {
        match (self.effects.finished, self.left) {
            (true, _) => Some(End::Finished),
            (false, true) => Some(End::Left),
            (false, false) => None,
        }
    }

    pub(super) fn input(&mut self, input: Input) {
        self.keeper.input(input, &mut self.effects);
    }

    fn message(&mut self, message: Message) {
        match message {
            Message::Link(LinkChange::State(link)) => self.link(&link),
            Message::Link(LinkChange::Gone { ifindex }) => self.link_gone(ifindex),
            Message::OwnMacs(macs) => self.effects.own_macs = macs,
            Message::Standing { instance, standing } => {
                if self.effects.slots.contains_key(&instance) {
                    self.standings.insert(instance, standing);
                    self.stand(instance);
                }
            }
            Message::Remove { instances, reply } => {
                for instance in &instances {
                    self.standings.remove(instance);
                    self.handovers.forget(*instance);
                    self.input(Input::Remove { instance: *instance });
                }
                self.removals = Some((instances, reply));
            }
            Message::Apply(apply) => {
                let Apply { routers, sockets, attachments, reply } = *apply;
                let before = sockets.map(|sockets| mem::replace(&mut self.effects.sockets, sockets));
                self.attachments = attachments;
                self.configure(routers);
                let _ = reply.send(before);
            }
            Message::HandOver { instance, to, reply } => self.hand_over(&instance, to, reply),
            Message::Drain(reply) => self.drain(reply),
            Message::Undrain(reply) => self.undrain(reply),
            Message::Fenced { instance, round, done } => self.input(Input::Fenced { instance, round, done }),
            Message::Status(reply) => {
                // A client that has hung up wants no answer.
                let _ = reply.send(self.status());
            }
            Message::Ping(reply) => {
                let snapshots =
                    self.keeper.ids().into_iter().filter_map(|instance| self.keeper.snapshot(instance));
                // Who asked may be gone.
                let _ = reply.send(snapshots.map(|snapshot| snapshot.state).collect());
            }
            Message::Shutdown => self.input(Input::Shutdown),
            Message::Leave => {
                self.keeper.leave(&mut self.effects);
                self.left = true;
            }
        }
    }

    /// Brings virtual routers in line with a configuration.
    fn configure(&mut self, routers: Vec<(Router, Standing)>) {
        let mut changed = Vec::new();
        for (router, standing) in routers {
            let (instance, group) = (router.id(), router.group_id());
            let priority = self.handovers.priority(instance, &standing);
            let settings = Settings { priority, ..router.settings };
            let known = self.effects.slots.get(&instance).map(|slot| &slot.router);
            if known == Some(&router) && self.standings.get(&instance) == Some(&standing) {
                continue;
            }
            self.standings.insert(instance, standing);
            let instances = self.effects.pages.instances();
            let mut announces = false;
            match self.effects.slots.get_mut(&instance) {
                Some(slot) => {
                    instances.describe(router.slot, &router.identity());
                    let stations = router.stations();
                    announces = stations != slot.stations;
                    slot.lines.renew(&router, clock::now());
                    (slot.router, slot.stations) = (router, stations);
                    let master = slot.watched.master;
                    self.effects.watch(instance, master);
                }
                // Its slot of `INSTANCES` was filled with the tables.
                None => _ = self.effects.slots.insert(instance, Slot::new(router, priority)),
            }
            self.input(Input::Configure { instance, group, settings });
            changed.push((instance, announces));
        }
        self.plan_looks();
        // Not before all members of a sync group are there.
        for (instance, announces) in changed {
            self.stand(instance);
            if announces {
                self.announce(instance);
            }
        }
    }

    /// Announces an owner's addresses, as after a takeover: some are new, or have another MAC.
    fn announce(&mut self, instance: InstanceId) {
        if self.keeper.lease_written(instance) > clock::now() {
            let repeat = self.effects.slots[&instance].router.spec.garp.master_repeat;
            self.effects.announce(instance, repeat);
        }
    }

    /// An interface changed: tell every router on it.
    fn link(&mut self, link: &LinkState) {
        for id in self.keeper.ids() {
            let Some(slot) = self.effects.slots.get_mut(&id) else { continue };
            let macs = |router: &Router| router.links.iter().map(|link| link.mac).collect::<Vec<_>>();
            let before = macs(&slot.router);
            if !slot.router.update(link) {
                continue;
            }
            if macs(&slot.router) != before {
                slot.stations = slot.router.stations();
                let (slot, mac) = (slot.router.slot, slot.router.link().mac.0);
                self.effects.pages.instances().set_mac(slot, mac);
                // Everyone has the old one in their caches.
                self.announce(id);
            }
            self.link_to_engine(id);
        }
    }

    fn link_gone(&mut self, ifindex: u32) {
        for id in self.keeper.ids() {
            let slot = self.effects.slots.get_mut(&id);
            if slot.is_some_and(|slot| slot.router.gone(ifindex)) {
                self.link_to_engine(id);
            }
        }
    }

    /// Tells the election of what an instance tracks, and of its links, which decide with it.
    pub(super) fn stand(&mut self, id: InstanceId) {
        let Some(standing) = self.standings.get(&id) else { return };
        let priority = self.handovers.priority(id, standing);
        let Some(slot) = self.effects.slots.get_mut(&id) else { return };
        let before = mem::replace(&mut slot.priority, priority);
        self.input(Input::Priority { instance: id, priority });
        let state = self.keeper.snapshot(id).map_or(StateName::Init, |snapshot| snapshot.state);
        if before != priority {
            tracing::info!(
                target: "vipd::event",
                event = "priority_changed",
                instance = self.effects.slots[&id].router.spec.name,
                from = before.get(),
                to = priority.get(),
                "the priority has changed"
            );
            self.effects.notice(id, Change::Priority(state));
        }
        self.link_to_engine(id);
    }

    fn link_to_engine(&mut self, id: InstanceId) {
        let (Some(standing), Some(slot)) = (self.standings.get(&id), self.effects.slots.get(&id)) else {
            return;
        };
        // A mastership that is inherited does not wait for the first result of a check.
        let waits = !standing.known && self.keeper.lease_written(id) == Instant::default();
        let router = &slot.router;
        self.input(match router.address {
            _ if !router.up() && router.has_heartbeat() => {
                Input::Fault { instance: id, reason: FaultReason::CutOff }
            }
            _ if router.refusal().is_some() => Input::Fault { instance: id, reason: FaultReason::Refused },
            _ if !router.link().exists() => Input::Fault { instance: id, reason: FaultReason::NoInterface },
            _ if !router.up() => Input::Fault { instance: id, reason: FaultReason::LinkDown },
            None if router.spec.source.is_some() => {
                Input::Fault { instance: id, reason: FaultReason::NoSource }
            }
            None => Input::Fault { instance: id, reason: FaultReason::NoAddress },
            Some(_) if standing.isolated => Input::Fault { instance: id, reason: FaultReason::Isolated },
            Some(_) if standing.fault => Input::Fault { instance: id, reason: FaultReason::Tracked },
            Some(_) if waits => return,
            Some(address) => Input::Ready { instance: id, address },
        });
    }
}
