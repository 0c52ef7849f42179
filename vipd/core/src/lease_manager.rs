//! The keeping of leases: the order in which a node does what its election asks for.
//!
//! This order is what "one owner" rests on. A lease is acquired or renewed only after an advert was sent, and renewed only
//! from the value that was written last; no timer acts on old news; a process that wakes up without its lease sends nothing. It is
//! written once, over a [`Node`]: the daemon's is the real one, the simulation's is made up.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::Duration,
};

use vipd_common::{Priority, types::ChecksumForm};

use crate::{
    coordinator::{Coordinator, Due, Input},
    time::Instant,
    vrrp::{Action, Advert, GroupId, InstanceId, Rank, Reason, Settings, Snapshot, StateName},
};

/// Reports handled in one turn, so that a flood of them cannot keep the timers waiting.
const REPORTS_A_TURN: usize = 256;

/// What a lease manager acts on.
pub trait Node {
    /// The boot-time clock, which XDP compares leases with.
    fn now(&mut self) -> Instant;

    /// The lease word, which the members of a sync group share; zero if nobody holds the lease.
    fn lease(&mut self, instance: InstanceId) -> Instant;
    /// Compare-exchanges the lease word from whatever it says to `until`.
    fn acquire(&mut self, instance: InstanceId, until: Instant);
    /// Compare-exchanges the lease word from `from` to `until`; false if it said anything else.
    fn renew(&mut self, instance: InstanceId, from: Instant, until: Instant) -> bool;
    /// Stores 0 in the lease word, whatever it says.
    fn release(&mut self, instance: InstanceId);
    /// The next advert that XDP reports and that was not taken yet.
    fn next_report(&mut self) -> Option<AdvertReport>;
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
    /// Takes note of a router that was heard and that this master beats.
    fn lower_heard(&mut self, instance: InstanceId);
    /// Starts to make sure that the former master of the instance's group serves no more; [`Input::Fenced`] is the answer.
    fn fence(&mut self, instance: InstanceId, round: u64);
    /// Takes note of a backup that is about to take over, or is not any more: so that nothing is left to do when it does.
    fn prepare(&mut self, instance: InstanceId, takes_over: bool);
    /// Takes note of a change of state.
    fn transition(&mut self, transition: Transition);
    /// The instance is handed over and gone, as asked.
    fn removed(&mut self, instance: InstanceId);
    /// Every instance has stopped, as asked.
    fn finished(&mut self);
}

/// When the advert that the last [`AdvertReport`] described was heard last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heard {
    /// Generation of the record of XDP that the stamp belongs to.
    pub generation: u64,
    /// When XDP saw the advert.
    pub at: Instant,
}

/// An advert that XDP reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdvertReport {
    /// The instance that the advert is for.
    pub instance: InstanceId,
    /// Of XDP's record after this advert: a stamp of another generation is of an advert that is still to be reported.
    pub generation: u64,
    /// When the advert of the generation before was heard last.
    pub before: Instant,
    /// The advert.
    pub advert: Advert,
    /// XDP stored 0 in the lease word while processing it.
    pub revoked: bool,
}

/// See [`Action::Transition`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transition {
    /// The instance whose state changed.
    pub instance: InstanceId,
    /// State before.
    pub from: StateName,
    /// State now.
    pub to: StateName,
    /// Cause of the change.
    pub reason: Reason,
    /// Address and priority of the master as now known; `None` if none is.
    pub master: Option<(IpAddr, Priority)>,
}

/// The election of one node, and the leases that it holds. It begins with none.
#[derive(Debug, Default)]
pub struct LeaseManager {
    coordinator: Coordinator,
    holdings: BTreeMap<InstanceId, Holding>,
    leases: BTreeMap<GroupId, Lease>,
}

#[derive(Clone, Copy, Debug)]
struct Holding {
    group: GroupId,
    /// Between two adverts.
    interval: Duration,
    /// How long a renewal lasts.
    length: Duration,
    /// Generation of the last report.
    generation: u64,
}

/// What covers one instance, or a sync group.
#[derive(Clone, Copy, Debug, Default)]
struct Lease {
    members: usize,
    /// The word as last written; zero when released.
    written: Instant,
    /// Of a takeover: when the first member's advert was sent, and how many were.
    begun: Option<(Instant, usize)>,
}

impl LeaseManager {
    /// The instances there are.
    pub fn ids(&self) -> Vec<InstanceId> {
        self.holdings.keys().copied().collect()
    }

    /// The instance as it stands; `None` if there is no such instance.
    pub fn snapshot(&self, instance: InstanceId) -> Option<Snapshot> {
        self.coordinator.snapshot(instance)
    }

    /// The instances by what they share a lease with.
    pub fn groups(&self) -> Vec<(GroupId, Vec<InstanceId>)> {
        self.coordinator.groups()
    }

    /// See [`Coordinator::outbids`].
    pub fn outbids(&self, instance: InstanceId) -> Vec<IpAddr> {
        self.coordinator.outbids(instance)
    }

    /// See [`Coordinator::is_free`].
    pub fn is_free(&self, instance: InstanceId) -> bool {
        self.coordinator.is_free(instance)
    }

    /// See [`Coordinator::heard_lately`].
    pub fn heard_lately(&self, instance: InstanceId) -> impl Iterator<Item = &Advert> {
        self.coordinator.heard_lately(instance)
    }

    /// The claim of an instance that has outbid its master, while it stands.
    pub fn claim(&self, instance: InstanceId) -> Option<Priority> {
        self.coordinator.claim(instance)
    }

    /// Whether an instance was told that a peer is heard that does not hear it.
    pub fn is_one_way(&self, instance: InstanceId) -> bool {
        self.coordinator.is_one_way(instance)
    }

    /// Nobody is known any more that does not hear this node.
    pub fn forget_one_way(&mut self, node: &mut impl Node) {
        for instance in self.ids().into_iter().filter(|id| self.is_one_way(*id)).collect::<Vec<_>>() {
            self.input(Input::OneWay { instance, one_way: false }, node);
        }
    }

    /// The instance's settings, with the effective priority; `None` if there is no such instance.
    pub fn settings(&self, instance: InstanceId) -> Option<Settings> {
        self.coordinator.settings(instance)
    }

    /// The lease word as last written; zero when released.
    pub fn lease_written(&self, instance: InstanceId) -> Instant {
        self.holdings.get(&instance).map_or(Instant::default(), |holding| self.leases[&holding.group].written)
    }

    /// When [`Self::turn`] is next wanted.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.coordinator.poll_timeout().into_iter().chain(self.coordinator.prepare_timeout()).min()
    }

    /// Takes one thing that happened; reports are taken by [`Self::turn`].
    ///
    /// An instance that is new begins where a predecessor on this node, if there was one, has left its lease word.
    pub fn input(&mut self, input: Input, node: &mut impl Node) {
        let new = match input {
            Input::Configure { instance, group, settings } => self.configure(instance, group, &settings),
            _ => None,
        };
        self.coordinator.handle(input, node.now());
        if let Some(instance) = new {
            let lease_until = node.lease(instance);
            if lease_until != Instant::default() {
                self.lease_mut(instance).written = lease_until;
                self.coordinator.handle(Input::Inherited { instance, lease_until }, node.now());
            }
        }
        self.act(node);
    }

    /// Takes note of an instance; returns it if it is new.
    fn configure(&mut self, instance: InstanceId, group: GroupId, settings: &Settings) -> Option<InstanceId> {
        let (interval, length) = (settings.advert_interval, settings.lease_length());
        if let Some(holding) = self.holdings.get_mut(&instance) {
            (holding.interval, holding.length) = (interval, length);
            return None;
        }
        self.holdings.insert(instance, Holding { group, interval, length, generation: 0 });
        self.leases.entry(group).or_default().members += 1;
        Some(instance)
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
            for Due { instance, now: fired } in self.coordinator.due(now) {
                let heard = node.heard(instance);
                // In a flood of reports a stamp that is not understood yet still says that somebody is there.
                if heard.generation == self.holding_mut(instance).generation || fired && left == 0 {
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
        if self.coordinator.poll_timeout().is_some_and(|at| at <= now) {
            self.coordinator.handle_timeout(now);
            self.act(node);
        }
        self.prepare(now, node);
        left == 0
    }

    /// As [`Coordinator::suspect`]; the node prepares at once, or need not have.
    pub fn suspect(&mut self, groups: BTreeSet<GroupId>, node: &mut impl Node) {
        if self.coordinator.suspect(groups) {
            let now = node.now();
            self.prepare(now, node);
        }
    }

    /// Has the node prepare for the takeovers that are about to come.
    fn prepare(&mut self, now: Instant, node: &mut impl Node) {
        let Self { coordinator, holdings, .. } = self;
        coordinator.prepare(now, |instance| {
            let heard = node.heard(instance);
            let known = holdings.get(&instance).is_some_and(|holding| holding.generation == heard.generation);
            known.then_some(heard.at)
        });
        self.act(node);
    }

    /// Renews every lease once more, so that the next vipd on this node has all of its length.
    pub fn leave(&mut self, node: &mut impl Node) {
        for instance in self.ids() {
            let master = self.snapshot(instance).filter(|s| s.state == StateName::Master && !s.leaving);
            if let Some(master) = master {
                let renew_for = Some(self.holding_mut(instance).length);
                self.advertise(instance, master.priority, master.checksum, renew_for, node);
                // It may have been too late for that.
                self.act(node);
            }
        }
    }

    fn report(&mut self, report: &AdvertReport, node: &mut impl Node) {
        self.take_in(report, node);
        self.act(node);
    }

    /// Tells the election of an advert.
    fn take_in(&mut self, report: &AdvertReport, node: &mut impl Node) {
        let AdvertReport { instance, generation, before, advert, revoked } = *report;
        let Some(holding) = self.holdings.get_mut(&instance) else { return };
        if std::mem::replace(&mut holding.generation, generation).wrapping_add(1) == generation {
            // The stamp is gone: of the advert before, this is the last that will be known.
            self.coordinator.handle(Input::Heard { instance, at: before }, node.now());
        }
        self.coordinator.handle(Input::Advert { instance, advert, revoked }, node.now());
    }

    fn holding_mut(&mut self, instance: InstanceId) -> &mut Holding {
        self.holdings.get_mut(&instance).expect("the coordinator speaks of instances that were configured")
    }

    /// The instances that share its lease.
    fn sharing(&self, instance: InstanceId) -> Vec<InstanceId> {
        let group = self.holdings.get(&instance).map(|holding| holding.group);
        let same = self.holdings.iter().filter(|(_, holding)| Some(holding.group) == group);
        same.map(|(&member, _)| member).collect()
    }

    fn lease_mut(&mut self, instance: InstanceId) -> &mut Lease {
        let group = self.holding_mut(instance).group;
        self.leases.get_mut(&group).expect("every instance has a lease")
    }

    fn act(&mut self, node: &mut impl Node) {
        while let Some(action) = self.coordinator.poll_action() {
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
                let lease = self.lease_mut(instance);
                (lease.written, lease.begun) = (Instant::default(), None);
            }
            Action::Shorten { instance, until } => {
                if node.renew(instance, self.lease_written(instance), until) {
                    self.lease_mut(instance).written = until;
                } else {
                    self.coordinator.handle(Input::LeaseLost { instance }, node.now());
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
            Action::LowerHeard { instance } => node.lower_heard(instance),
            Action::Fence { instance, round } => node.fence(instance, round),
            Action::Prepare { instance, takes_over } => node.prepare(instance, takes_over),
            Action::Mirroring { instance, checksum } => node.mirroring(instance, checksum),
            Action::Transition { instance, from, to, reason, master } => {
                if to == StateName::Backup {
                    // It may have been told of the master in another life, and of its interval.
                    node.resync(instance);
                }
                node.transition(Transition { instance, from, to, reason, master });
            }
            Action::Removed { instance } => {
                if let Some(holding) = self.holdings.remove(&instance) {
                    self.leases.remove(&holding.group);
                }
                node.removed(instance);
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
        let late = self.coordinator.lease_until(instance).is_none_or(|until| at >= until);
        if late || held && node.lease(instance) != written {
            self.coordinator.handle(Input::LeaseLost { instance }, at);
            return;
        }
        let sent = node.send(instance, priority, checksum);
        let lease_until = at + renew_for;
        let taken = if !sent {
            Taken::NotSent
        } else if held {
            let renewed = node.renew(instance, written, lease_until);
            if renewed { Taken::Held } else { Taken::Lost }
        } else {
            self.take(instance, at, lease_until, node)
        };
        if taken == Taken::Held {
            self.lease_mut(instance).written = lease_until;
        }
        let input = match taken {
            Taken::NotSent => Input::AdvertFailed { instance },
            Taken::Held | Taken::Awaited => Input::AdvertSent { instance, at, lease_until },
            Taken::Lost => Input::LeaseLost { instance },
        };
        // As of the sending: later than that the lease it had before may have run out.
        self.coordinator.handle(input, at);
    }

    /// Acquires a lease that is not held, when an advert of each instance that it covers was sent; this one's at `at`.
    fn take(
        &mut self,
        instance: InstanceId,
        at: Instant,
        lease_until: Instant,
        node: &mut impl Node,
    ) -> Taken {
        let interval = self.holding_mut(instance).interval;
        let lease = self.lease_mut(instance);
        let (first, sent) = lease.begun.map_or((at, 1), |(first, sent)| (first, sent + 1));
        lease.begun = Some((first, sent));
        if sent < lease.members {
            return Taken::Awaited;
        }
        lease.begun = None;
        // Within an interval nobody has given us up again; later than that somebody may own what we announced.
        if node.now() >= first + interval {
            return Taken::Lost;
        }
        // A better router may have spoken at the same time, be it among so many that XDP holds its advert back; and to any of
        // those that share the lease.
        for member in self.sharing(instance) {
            node.heard(member);
        }
        while let Some(report) = node.next_report() {
            self.take_in(&report, node);
        }
        if self.coordinator.lease_until(instance).is_none() {
            return Taken::Lost;
        }
        node.acquire(instance, lease_until);
        Taken::Held
    }
}

/// What became of the lease with an advert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Taken {
    NotSent,
    Held,
    /// Other members of the group are to be heard of first.
    Awaited,
    Lost,
}
