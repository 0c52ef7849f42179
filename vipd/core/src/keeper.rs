//! The keeping of leases: the order in which a node does what its election asks for.
//!
//! This order is what "one owner" rests on. A lease is acquired or renewed only after an advert was sent, and renewed only
//! from the value that was written last; no timer acts on old news; a process that wakes up without its lease sends nothing. It is
//! written once, over a [`Node`]: the daemon's is the real one, the simulation's is made up.

use std::{net::IpAddr, time::Duration};

use vipd_common::{Priority, types::ChecksumForm};

use crate::{
    engine::{Due, Engine, Input},
    time::Instant,
    vrrp::{Action, Advert, InstanceId, Rank, Reason, Settings, Snapshot, StateName},
};

/// Reports handled in one turn, so that a flood of them cannot keep the timers waiting.
const REPORTS_A_TURN: usize = 256;

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
    /// The next advert that XDP reports and that was not taken yet.
    fn next_report(&mut self) -> Option<Report>;
    /// XDP's stamp.
    fn heard(&mut self, instance: InstanceId) -> Heard;
    /// Has XDP report the next advert, whatever it says.
    fn resync(&mut self, instance: InstanceId);
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
    /// When the advert of the generation before was heard last.
    pub before: Instant,
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
    /// Between two adverts.
    interval: Duration,
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
            interval: settings.advert_interval,
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

    /// Takes one thing that happened; reports are taken by [`Self::turn`].
    pub fn input(&mut self, input: Input, node: &mut impl Node) {
        self.engine.handle(input, node.now());
        self.act(node);
    }

    /// One look at everything that may have happened: reports, the lease words, XDP's stamps and the timers.
    ///
    /// Returns whether another is wanted at once, since reports wait of which there may be no second notice.
    pub fn turn(&mut self, node: &mut impl Node) -> bool {
        let mut left = REPORTS_A_TURN;
        let now = loop {
            while left > 0
                && let Some(report) = node.next_report()
            {
                left -= 1;
                self.report(&report, node);
            }
            for instance in self.ids() {
                let written = self.lease_written(instance);
                if written != Instant::default() && node.lease(instance) != written {
                    self.input(Input::LeaseLost { instance }, node);
                }
            }
            let now = node.now();
            let mut overtaken = false;
            for Due { instance, now: fired } in self.engine.due(now) {
                let heard = node.heard(instance);
                // In a flood of reports a stamp that is not understood yet still says that somebody is there.
                if heard.generation == self.holding(instance).generation || fired && left == 0 {
                    self.input(Input::Heard { instance, at: heard.at }, node);
                } else {
                    overtaken |= fired;
                }
            }
            // A report that came after the last was taken, and before the clock was read, must be heard before a down timer
            // fires: this process may have been held up between the two.
            if !overtaken || left == 0 {
                break now;
            }
            let Some(report) = node.next_report() else { break now };
            left -= 1;
            self.report(&report, node);
        };
        // The same `now`: a down timer that fires only after the stamps were read must wait for the next turn's.
        if self.engine.poll_timeout().is_some_and(|at| at <= now) {
            self.engine.handle_timeout(now);
            self.act(node);
        }
        left == 0
    }

    /// Renews every lease once more, so that the next vipd on this node has all of its length.
    pub fn leave(&mut self, node: &mut impl Node) {
        for instance in self.ids() {
            let master = self.snapshot(instance).filter(|s| s.state == StateName::Master && !s.leaving);
            if let Some(master) = master {
                let renew_for = Some(self.holding(instance).length);
                self.advertise(instance, master.priority, master.checksum, renew_for, node);
                // It may have been too late for that.
                self.act(node);
            }
        }
    }

    fn report(&mut self, report: &Report, node: &mut impl Node) {
        self.take_in(report, node);
        self.act(node);
    }

    /// Tells the election of an advert.
    fn take_in(&mut self, report: &Report, node: &mut impl Node) {
        let Report { instance, generation, before, advert, revoked } = *report;
        if self.holding(instance).generation.wrapping_add(1) == generation {
            // The stamp is gone: of the advert before, this is the last that will be known.
            self.engine.handle(Input::Heard { instance, at: before }, node.now());
        }
        self.holding(instance).generation = generation;
        self.engine.handle(Input::Advert { instance, advert, revoked }, node.now());
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
            Action::Advertise { instance, priority, checksum, renew_for } => {
                self.advertise(instance, priority, checksum, renew_for, node);
            }
            Action::Release { instance } => {
                node.release(instance);
                self.holding(instance).lease = Instant::default();
            }
            Action::Shorten { instance, until } => {
                if node.renew(instance, self.lease_written(instance), until) {
                    self.holding(instance).lease = until;
                } else {
                    self.engine.handle(Input::LeaseLost { instance }, node.now());
                }
            }
            Action::Publish { instance, rank } => node.publish(instance, rank),
            Action::Announce { instance, repeat } => {
                // XDP may have revoked the lease, and that be still to be read.
                if node.lease(instance) == self.lease_written(instance) {
                    node.announce(instance, repeat);
                }
            }
            Action::CancelAnnounce { instance } => node.cancel_announce(instance),
            Action::Mirroring { instance, checksum } => node.mirroring(instance, checksum),
            Action::Transition { instance, from, to, reason, master } => {
                if to == StateName::Backup {
                    // It may have been told of the master in another life, and of its interval.
                    node.resync(instance);
                }
                node.transition(Transition { instance, from, to, reason, master });
            }
            Action::Finished => node.finished(),
        }
    }

    /// Sends one advert, and then acquires the lease or renews it: nothing is answered that was not announced.
    ///
    /// A process that was held up on its way to the wire sends nothing, and a lease is renewed only if the word is still
    /// what we wrote.
    fn advertise(
        &mut self,
        instance: InstanceId,
        priority: Priority,
        checksum: ChecksumForm,
        renew_for: Option<Duration>,
        node: &mut impl Node,
    ) {
        let Some(renew_for) = renew_for else {
            node.send(instance, priority, checksum);
            return;
        };
        let written = self.lease_written(instance);
        let held = written != Instant::default();
        let at = node.now();
        let late = self.engine.lease_until(instance).is_none_or(|until| at >= until);
        if late || held && node.lease(instance) != written {
            self.engine.handle(Input::LeaseLost { instance }, at);
            return;
        }
        let sent = node.send(instance, priority, checksum);
        let lease_until = at + renew_for;
        let input = if !sent {
            Input::AdvertFailed { instance }
        } else if self.take(instance, at, lease_until, node) {
            self.holding(instance).lease = lease_until;
            Input::AdvertSent { instance, at, lease_until }
        } else {
            Input::LeaseLost { instance }
        };
        // As of the sending: later than that the lease it had before may have run out.
        self.engine.handle(input, at);
    }

    /// Renews the lease, or acquires it if it is not held; whether that has succeeded. The advert was sent at `at`.
    fn take(
        &mut self,
        instance: InstanceId,
        at: Instant,
        lease_until: Instant,
        node: &mut impl Node,
    ) -> bool {
        let Holding { lease: written, interval, .. } = *self.holding(instance);
        if written != Instant::default() {
            return node.renew(instance, written, lease_until);
        }
        // Within an interval nobody has given us up again; later than that somebody may own what we announced.
        if node.now() >= at + interval {
            return false;
        }
        // A better router may have spoken at the same time.
        while let Some(report) = node.next_report() {
            self.take_in(&report, node);
        }
        let ours = self.engine.lease_until(instance).is_some();
        if ours {
            node.acquire(instance, lease_until);
        }
        ours
    }
}
