//! The keeping of leases: the order in which a node does what its election asks for.
//!
//! This order is what "one owner" rests on. A lease is renewed only after an advert was sent, and only from the value
//! that was written last; no timer acts on old news; a process that wakes up without its lease sends nothing. It is
//! written once, over a [`Node`]: the daemon's is the real one, the simulation's is made up.

use std::{net::IpAddr, time::Duration};

use vipd_common::{Priority, types::ChecksumForm};

use crate::{
    engine::{Engine, Input},
    time::Instant,
    vrrp::{Action, Advert, InstanceId, Rank, Reason, Settings, Snapshot, StateName},
};

/// What a keeper acts on.
pub trait Node {
    /// The boot-time clock, which XDP compares leases with.
    fn now(&mut self) -> Instant;

    /// The lease word; zero if nobody holds the lease.
    fn lease(&mut self, instance: InstanceId) -> Instant;
    /// Compare-exchanges the lease word from whatever it says to `until`.
    fn acquire(&mut self, instance: InstanceId, until: Instant);
    /// Compare-exchanges the lease word from `from` to `until`; false if it said anything else.
    fn renew(&mut self, instance: InstanceId, from: Instant, until: Instant) -> bool;
    /// Stores 0 in the lease word, whatever it says.
    fn release(&mut self, instance: InstanceId);
    /// XDP's stamp.
    fn heard(&mut self, instance: InstanceId) -> Heard;
    /// Has XDP compare adverts with `rank` from now on.
    fn publish(&mut self, instance: InstanceId, rank: Rank);

    /// Sends one advert; false if it has not left.
    fn send(&mut self, instance: InstanceId, priority: Priority, checksum: ChecksumForm) -> bool;
    /// Starts to announce every address, each `repeat` times.
    fn announce(&mut self, instance: InstanceId, repeat: u8);
    /// Drops what is left of an announcement.
    fn cancel_announce(&mut self, instance: InstanceId);

    /// Takes note that adverts are sent in a peer's form of checksum from now on.
    fn mirroring(&mut self, instance: InstanceId, checksum: ChecksumForm);
    /// Takes note of a change of state.
    fn transition(&mut self, transition: Transition);
    /// Every instance has stopped, as asked.
    fn finished(&mut self);
}

/// When the advert that the last [`Report`] described was heard last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heard {
    pub generation: u64,
    pub at: Instant,
}

/// An advert that XDP reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    pub instance: InstanceId,
    /// Of XDP's record after this advert: a stamp of another generation is of an advert that is still to be reported.
    pub generation: u64,
    pub advert: Advert,
    /// XDP stored 0 in the lease word while processing it.
    pub revoked: bool,
}

/// See [`Action::Transition`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transition {
    pub instance: InstanceId,
    pub from: StateName,
    pub to: StateName,
    pub reason: Reason,
    pub master: Option<(IpAddr, Priority)>,
}

/// The election of one node, and the leases that it holds.
#[derive(Debug)]
pub struct Keeper {
    engine: Engine,
    holdings: Vec<Holding>,
}

#[derive(Clone, Copy, Debug)]
struct Holding {
    /// How long a renewal lasts.
    length: Duration,
    /// The lease word as last written; zero when released.
    lease: Instant,
    /// Generation of the last report.
    generation: u64,
}

impl Keeper {
    /// Begins where a predecessor on this node, if there was one, has left its lease words.
    pub fn new(instances: Vec<Settings>, node: &mut impl Node) -> Self {
        let holding = |settings: &Settings| Holding {
            length: settings.lease_length(),
            lease: Instant::default(),
            generation: 0,
        };
        let holdings = instances.iter().map(holding).collect();
        let mut keeper = Self { engine: Engine::new(instances), holdings };
        for instance in keeper.ids() {
            let lease_until = node.lease(instance);
            if lease_until != Instant::default() {
                keeper.holding(instance).lease = lease_until;
                keeper.input(Input::Inherited { instance, lease_until }, node);
            }
        }
        keeper
    }

    pub fn ids(&self) -> impl Iterator<Item = InstanceId> + use<> {
        (0..u16::try_from(self.holdings.len()).unwrap_or(u16::MAX)).map(InstanceId)
    }

    /// The instance as it stands; `None` if there is no such instance.
    pub fn snapshot(&self, instance: InstanceId) -> Option<Snapshot> {
        self.engine.snapshot(instance)
    }

    /// The lease word as last written; zero when released.
    pub fn lease_written(&self, instance: InstanceId) -> Instant {
        self.holdings[usize::from(instance.0)].lease
    }

    /// When [`Self::turn`] is next wanted.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.engine.poll_timeout()
    }

    /// Takes an advert from XDP.
    pub fn report(&mut self, report: &Report, node: &mut impl Node) {
        let Report { instance, generation, advert, revoked } = *report;
        self.holding(instance).generation = generation;
        self.input(Input::Advert { instance, advert, revoked }, node);
    }

    /// Takes anything else that happened.
    pub fn input(&mut self, input: Input, node: &mut impl Node) {
        self.engine.handle(input, node.now());
        self.act(node);
    }

    /// One look at what needs no telling, to be taken after every report that waits has been handed over: the lease
    /// words, XDP's stamps and the timers.
    pub fn turn(&mut self, node: &mut impl Node) {
        for instance in self.ids() {
            let written = self.lease_written(instance);
            if written != Instant::default() && node.lease(instance) != written {
                self.input(Input::LeaseLost { instance }, node);
            }
        }
        let now = node.now();
        let due: Vec<InstanceId> = self.engine.due(now).collect();
        for instance in due {
            let heard = node.heard(instance);
            if heard.generation == self.holding(instance).generation {
                self.input(Input::Heard { instance, at: heard.at }, node);
            }
        }
        // The same `now`: a down timer that fires only after the stamps were read must wait for the next turn's.
        if self.engine.poll_timeout().is_some_and(|at| at <= now) {
            self.engine.handle_timeout(now);
            self.act(node);
        }
    }

    /// Renews every lease once more, so that the next vipd on this node has all of its length.
    pub fn leave(&mut self, node: &mut impl Node) {
        for instance in self.ids() {
            let master = self.snapshot(instance).filter(|s| s.state == StateName::Master && !s.leaving);
            if let Some(master) = master {
                let renew_for = Some(self.holding(instance).length);
                self.advertise(instance, master.priority, master.checksum, renew_for, node);
            }
        }
    }

    fn holding(&mut self, instance: InstanceId) -> &mut Holding {
        &mut self.holdings[usize::from(instance.0)]
    }

    fn act(&mut self, node: &mut impl Node) {
        while let Some(action) = self.engine.poll_action() {
            self.perform(action, node);
        }
    }

    fn perform(&mut self, action: Action, node: &mut impl Node) {
        match action {
            Action::Acquire { instance, until } => {
                node.acquire(instance, until);
                self.holding(instance).lease = until;
            }
            Action::Advertise { instance, priority, checksum, renew_for } => {
                self.advertise(instance, priority, checksum, renew_for, node);
            }
            Action::Release { instance } => {
                node.release(instance);
                self.holding(instance).lease = Instant::default();
            }
            Action::Extend { instance, until } => {
                if node.renew(instance, self.lease_written(instance), until) {
                    self.holding(instance).lease = until;
                } else {
                    self.engine.handle(Input::LeaseLost { instance }, node.now());
                }
            }
            Action::Publish { instance, rank } => node.publish(instance, rank),
            Action::Announce { instance, repeat } => node.announce(instance, repeat),
            Action::CancelAnnounce { instance } => node.cancel_announce(instance),
            Action::Mirroring { instance, checksum } => node.mirroring(instance, checksum),
            Action::Transition { instance, from, to, reason, master } => {
                node.transition(Transition { instance, from, to, reason, master });
            }
            Action::Finished => node.finished(),
        }
    }

    /// Sends one advert. A lease is renewed only if the word is still what we wrote and after the send has succeeded.
    fn advertise(
        &mut self,
        instance: InstanceId,
        priority: Priority,
        checksum: ChecksumForm,
        renew_for: Option<Duration>,
        node: &mut impl Node,
    ) {
        let written = self.lease_written(instance);
        if renew_for.is_some() && node.lease(instance) != written {
            // A process that wakes up without its lease sends nothing.
            self.engine.handle(Input::LeaseLost { instance }, node.now());
            return;
        }
        let at = node.now();
        let sent = node.send(instance, priority, checksum);
        let Some(renew_for) = renew_for else { return };
        let lease_until = at + renew_for;
        let input = if !sent {
            Input::AdvertFailed { instance }
        } else if node.renew(instance, written, lease_until) {
            self.holding(instance).lease = lease_until;
            Input::AdvertSent { instance, at, lease_until }
        } else {
            Input::LeaseLost { instance }
        };
        self.engine.handle(input, node.now());
    }
}
