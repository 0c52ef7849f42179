//! The election of all instances of one daemon: the machines of `vrrp` side by side.
//!
//! Instances whose group is the same are a sync group: one lease covers them, so they are master together or not at
//! all. One that is in fault puts all of them in fault; one that gives the lease up gives it up for all; and they take
//! over when each of them would.
//!
//! No clock, socket, task, map or log: the driver tells what happened and when, and does what the actions say.

mod claim;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::IpAddr,
    time::Duration,
};

use vipd_common::Priority;

pub use crate::vrrp::{
    Action, Advert, Counters, FaultReason, GroupId, InstanceId, Peer, Rank, Reason, Snapshot, StateName,
};
use crate::{
    time::Instant,
    vrrp::{Event, Machine, Settings},
};

/// Something that happened. An instance that does not exist is ignored.
#[expect(missing_docs, reason = "the sentence of a variant names its fields")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// A valid advert of another router; `revoked`: XDP stored 0 in the lease word while processing it.
    Advert { instance: InstanceId, advert: Advert, revoked: bool },
    /// XDP's stamp: the advert last reported for this instance was heard again, last at `at`.
    Heard { instance: InstanceId, at: Instant },
    /// Before the first `Ready`: a former vipd on this node left a lease that stands until `lease_until`.
    ///
    /// No action follows if the mastership continues.
    Inherited { instance: InstanceId, lease_until: Instant },
    /// The interface is up with this primary address: also when the address changes.
    Ready { instance: InstanceId, address: IpAddr },
    /// The interface is down or has no address, or a tracked script, file, process or interface failed.
    Fault { instance: InstanceId, reason: FaultReason },
    /// An instance that is new, or that has another configuration from now on. Its group stays what it was.
    Configure { instance: InstanceId, group: GroupId, settings: Settings },
    /// Hand the instance over, and forget it: then [`Action::Removed`]. All of a sync group are removed together.
    Remove { instance: InstanceId },
    /// The effective priority is this from now on.
    Priority { instance: InstanceId, priority: Priority },
    /// The lease word is not the one written last, or could not be acquired.
    LeaseLost { instance: InstanceId },
    /// An advert with `renew_for` was sent at `at`, and the lease renewed to `lease_until`.
    AdvertSent { instance: InstanceId, at: Instant, lease_until: Instant },
    /// An advert with `renew_for` could not be sent.
    AdvertFailed { instance: InstanceId },
    /// Offer the instance and its sync group to any backup: if no backup takes over, the mastership continues.
    HandOver { instance: InstanceId },
    /// Answer to [`Action::Fence`]: whether the former master is known to serve no more.
    Fenced { instance: InstanceId, round: u64, done: bool },
    /// The master of the instance was heard to be compared as this, otherwise than by an advert: the next claim outbids that too.
    MasterRank { instance: InstanceId, priority: Priority },
    /// Take over the instance and its sync group by outbidding the masters that [`Coordinator::outbids`] names, unless the first advert
    /// cannot be sent before `until`.
    Claim { instance: InstanceId, reason: Reason, until: Instant },
    /// Have each of the group advertise once more, and with `announce` announce its addresses.
    Assert { instance: InstanceId, announce: bool },
    /// The claim of the instance's group has done its work; `yields`: it was not heard, and the group is the other's.
    Settle { instance: InstanceId, yields: bool },
    /// A peer is heard that does not hear the instance's group, or no such peer is any more: meanwhile it preempts no master of lower priority.
    OneWay { instance: InstanceId, one_way: bool },
    /// The other master whose advert the instance has heard last does not hear its group: the group is left to it.
    GiveWay { instance: InstanceId },
    /// Hand everything over, then [`Action::Finished`].
    Shutdown,
}

/// All instances of one daemon.
///
/// After every `handle` and `handle_timeout` the driver drains [`poll_action`](Self::poll_action) to `None`, in
/// order. It may feed back the result of an action while it drains: what that causes is appended. Before
/// `handle_timeout` it first feeds every waiting advert and, for each instance in [`due`](Self::due), XDP's stamp
/// as [`Input::Heard`]: only then is an expired down timer known to mean silence.
///
/// The action queue is bounded by that rule: an input adds at most `MAX_ACTIONS` for each member of the groups it
/// concerns (a `Shutdown` or a timeout concerns all), and one `Finished`.
#[derive(Debug, Default)]
pub struct Coordinator {
    members: BTreeMap<InstanceId, Member>,
    groups: BTreeMap<GroupId, Vec<InstanceId>>,
    /// Those that were told to prepare for their takeover.
    prepared: BTreeSet<GroupId>,
    /// Those whose masters' hosts have begun to be silent.
    suspects: BTreeSet<GroupId>,
    /// When those that are not are to be looked at again, by XDP's stamps.
    not_before: BTreeMap<GroupId, Instant>,
    actions: VecDeque<Action>,
    /// The last `now` of `handle_timeout`.
    timed_out_at: Option<Instant>,
    /// Number of the last question whether a master is fenced.
    fence_round: u64,
    shutdown: Shutdown,
}

#[derive(Debug)]
struct Member {
    machine: Machine,
    group: GroupId,
    /// What it was told last of its interface and of what it tracks.
    condition: Option<Condition>,
    removed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Condition {
    Ready(IpAddr),
    Fault(FaultReason),
}

/// A backup whose down timer has fired, or will soon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due {
    /// The backup.
    pub instance: InstanceId,
    /// It has fired.
    pub now: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Shutdown {
    #[default]
    No,
    Requested,
    Finished,
}

impl Coordinator {
    /// Takes one input at `now`.
    pub fn handle(&mut self, input: Input, now: Instant) {
        match input {
            Input::Configure { instance, group, settings } => self.configure(instance, group, settings, now),
            Input::Remove { instance } => {
                if let Some(member) = self.members.get_mut(&instance) {
                    member.removed = true;
                }
                self.tell(instance, Event::Shutdown, now);
                // Unless it has stopped before.
                self.forget_removed(&self.group_members(instance));
            }
            Input::Advert { instance, advert, revoked } => self.advert(instance, advert, revoked, now),
            Input::Heard { instance, at } => self.tell(instance, Event::Heard { at }, now),
            Input::Inherited { instance, lease_until } => {
                self.tell(instance, Event::Inherited { lease_until }, now);
            }
            Input::Ready { instance, address } => {
                self.condition_changed(instance, Condition::Ready(address), now)
            }
            Input::Fault { instance, reason } => {
                self.condition_changed(instance, Condition::Fault(reason), now)
            }
            Input::Priority { instance, priority } => self.tell(instance, Event::Priority { priority }, now),
            Input::LeaseLost { instance } => self.tell(instance, Event::LeaseLost, now),
            Input::AdvertSent { instance, at, lease_until } => {
                self.tell(instance, Event::AdvertSent { at, lease_until }, now);
            }
            Input::AdvertFailed { instance } => self.tell(instance, Event::AdvertFailed, now),
            Input::HandOver { instance } => {
                for mate in self.group_members(instance) {
                    self.tell(mate, Event::HandOver, now);
                }
            }
            Input::MasterRank { instance, priority } => {
                self.tell(instance, Event::MasterRank { priority }, now)
            }
            Input::Claim { instance, reason, until } => self.claim_group(instance, reason, until, now),
            Input::Assert { instance, announce } => {
                self.tell_group(instance, Event::Assert { announce }, now)
            }
            Input::Settle { instance, yields } => self.tell_group(instance, Event::Settle { yields }, now),
            Input::OneWay { instance, one_way } => self.tell_group(instance, Event::OneWay { one_way }, now),
            Input::GiveWay { instance } => self.tell_group(instance, Event::GiveWay, now),
            Input::Fenced { instance, round, done } => {
                let members = self.group_members(instance);
                // Whatever was heard since has ended the silence that it was about.
                if self.is_held(&members, Some(round)) {
                    members.iter().for_each(|member| self.machine_mut(*member).fenced(done, now));
                }
            }
            Input::Shutdown => {
                let all: Vec<InstanceId> = self.members.keys().copied().collect();
                for instance in all {
                    self.tell(instance, Event::Shutdown, now);
                }
                if self.shutdown == Shutdown::No {
                    self.shutdown = Shutdown::Requested;
                }
            }
        }
        self.finish();
    }

    /// Runs every timer that has fired at `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        let fired: Vec<GroupId> = self
            .groups
            .iter()
            .filter(|(_, group)| self.deadline(group).is_some_and(|at| at <= now))
            .map(|(id, _)| *id)
            .collect();
        for group in fired {
            self.fire(group, now);
        }
        self.finish();
        self.timed_out_at = self.timed_out_at.max(Some(now));
        debug_assert!(
            self.groups.values().filter_map(|group| self.deadline(group)).all(|at| at > now),
            "a timer did not advance past its firing at {now}"
        );
    }

    /// When `handle_timeout` is next wanted: strictly later than the `now` of the last one.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let next = self.groups.values().filter_map(|group| self.deadline(group)).min()?;
        // An advert that was received long ago may set a timer that has already passed.
        Some(self.timed_out_at.map_or(next, |last| next.max(last + Duration::from_nanos(1))))
    }

    /// When [`prepare`](Self::prepare) is next wanted: backups may be about to take over that nobody was told of.
    pub fn prepare_timeout(&self) -> Option<Instant> {
        let unprepared = self.groups.iter().filter(|(id, _)| !self.prepared.contains(id));
        let at = |(id, group): (&GroupId, &Vec<InstanceId>)| {
            Some(self.prepare_at(group)?.max(self.not_before.get(id).copied().unwrap_or_default()))
        };
        unprepared.filter_map(at).min()
    }

    /// Says which groups are about to take over, and which are not any more. `heard` is XDP's stamp of an instance, if it is of the
    /// advert last reported: the election itself reads it when a down timer has fired, and is told nothing here.
    pub fn prepare(&mut self, now: Instant, mut heard: impl FnMut(InstanceId) -> Option<Instant>) {
        if self.prepared.is_empty()
            && self.suspects.is_empty()
            && self.prepare_timeout().is_none_or(|at| at > now)
        {
            return;
        }
        for (id, group) in &self.groups {
            let begins = self.begins_to_prepare(group, now, &mut heard);
            let suspects = self.suspects.contains(id) && self.prepare_at(group).is_some();
            let takes_over = suspects || self.is_held(group, None) || begins.is_some_and(|at| at <= now);
            match begins.filter(|_| !takes_over) {
                Some(at) => _ = self.not_before.insert(*id, at),
                None => _ = self.not_before.remove(id),
            }
            let changed = if takes_over { self.prepared.insert(*id) } else { self.prepared.remove(id) };
            if changed {
                let prepare = |&instance| Action::Prepare { instance, takes_over };
                self.actions.extend(group.iter().map(prepare));
            }
        }
    }

    /// Takes note of the groups whose masters' hosts have begun to be silent; returns whether they are others than before. They may be outbid
    /// soon: [`prepare`](Self::prepare).
    pub fn suspect(&mut self, groups: BTreeSet<GroupId>) -> bool {
        let before = std::mem::replace(&mut self.suspects, groups);
        before != self.suspects
    }

    /// From when on the members of a group are about to take over, by the stamps too where they matter.
    fn begins_to_prepare(
        &self,
        group: &[InstanceId],
        now: Instant,
        heard: &mut impl FnMut(InstanceId) -> Option<Instant>,
    ) -> Option<Instant> {
        let by_election = self.prepare_at(group)?;
        if by_election > now {
            return Some(by_election);
        }
        let lead = self.takeover_at(group)?.saturating_since(by_election);
        let by_stamp = |id: &InstanceId| self.members[id].machine.down_at_if_heard(heard(*id)?);
        let latest = group.iter().filter_map(by_stamp).max();
        Some(latest.map_or(by_election, |at| by_election.max(at - lead)))
    }

    /// The next thing to do.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// Backups that take over at `now` if nothing more is known: read XDP's stamp of each before `handle_timeout(now)`.
    ///
    /// If there are any, also those that will within an interval: so hundreds of routers take one look together, not
    /// one each.
    pub fn due(&self, now: Instant) -> Vec<Due> {
        let waits = || self.groups.values().filter_map(|group| Some((group, self.takeover_at(group)?)));
        if !waits().any(|(_, at)| now >= at) {
            return Vec::new();
        }
        let due = |(group, at): (&Vec<InstanceId>, Instant)| {
            let due = move |instance: InstanceId| {
                let (_, interval) = self.members[&instance].machine.wait()?;
                (now + interval >= at).then_some(Due { instance, now: now >= at })
            };
            group.clone().into_iter().filter_map(due)
        };
        waits().flat_map(due).collect()
    }

    /// When the lease of a master ends by its own renewals, whoever else renews it; `None` if it is none.
    pub fn lease_until(&self, instance: InstanceId) -> Option<Instant> {
        self.members.get(&instance)?.machine.lease_until()
    }

    /// The instance as it stands; `None` if there is no such instance.
    pub fn snapshot(&self, instance: InstanceId) -> Option<Snapshot> {
        Some(self.members.get(&instance)?.machine.snapshot())
    }

    /// Those there are.
    pub fn ids(&self) -> impl Iterator<Item = InstanceId> {
        self.members.keys().copied()
    }

    /// All members of the instance's group.
    fn group_members(&self, instance: InstanceId) -> Vec<InstanceId> {
        let group = self.members.get(&instance).and_then(|member| self.groups.get(&member.group));
        group.cloned().unwrap_or_default()
    }

    fn configure(&mut self, instance: InstanceId, group: GroupId, settings: Settings, now: Instant) {
        if self.members.contains_key(&instance) {
            return self.tell(instance, Event::Settings { settings }, now);
        }
        let machine = Machine::new(instance, settings);
        self.members.insert(instance, Member { machine, group, condition: None, removed: false });
        self.groups.entry(group).or_default().push(instance);
    }

    /// Takes an event of one instance, and what follows from it for its group.
    fn tell(&mut self, instance: InstanceId, event: Event, now: Instant) {
        if self.step(instance, event, now) {
            self.sync(instance, now);
        }
    }

    /// Takes an event; returns whether the state is another one now.
    fn step(&mut self, instance: InstanceId, event: Event, now: Instant) -> bool {
        if event == Event::Shutdown {
            self.know_lease(instance);
        }
        let Some(member) = self.members.get_mut(&instance) else { return false };
        let before = member.machine.state();
        member.machine.handle(event, now, &mut self.actions);
        before != member.machine.state()
    }

    /// One that leaves writes the end of the group's lease: as renewed last, by whichever member, or as the first of those
    /// that leave has written it.
    fn know_lease(&mut self, instance: InstanceId) {
        let group_members = self.group_members(instance).into_iter().map(|mate| &self.members[&mate].machine);
        let (leaving, others): (Vec<_>, Vec<_>) = group_members.partition(|mate| mate.is_leaving());
        let first = leaving.into_iter().filter_map(Machine::lease_until).min();
        let until = first.or_else(|| others.into_iter().filter_map(Machine::lease_until).max());
        if let (Some(until), Some(member)) = (until, self.members.get_mut(&instance)) {
            member.machine.know_lease(until);
        }
    }

    /// Has the members of an instance's group follow it: unless all are master, none is.
    fn sync(&mut self, instance: InstanceId, now: Instant) {
        let members = self.group_members(instance);
        let is_master = |coordinator: &Self, id: &InstanceId| {
            coordinator.members[id].machine.state() == StateName::Master
        };
        if members.iter().all(|id| is_master(self, id)) {
            return;
        }
        for id in &members {
            if is_master(self, id) {
                self.step(*id, Event::Synced, now);
            }
        }
        self.forget_removed(&members);
    }

    fn advert(&mut self, instance: InstanceId, advert: Advert, revoked: bool, now: Instant) {
        let before = self.actions.len();
        self.tell(instance, Event::Advert { advert, revoked }, now);
        let announced = self.actions.iter().skip(before).find_map(|action| match action {
            Action::Announce { instance: of, repeat } if *of == instance => Some(*repeat),
            _ => None,
        });
        let Some(repeat) = announced else { return };
        // Who was a rival for one address of the group was it for all.
        let others = self.group_members(instance).into_iter().filter(|other| *other != instance);
        self.actions.extend(others.map(|instance| Action::Announce { instance, repeat }));
    }

    /// Takes note of the condition of an instance: its group can only be as well as the worst of it.
    fn condition_changed(&mut self, instance: InstanceId, condition: Condition, now: Instant) {
        let Some(member) = self.members.get_mut(&instance) else { return };
        member.condition = Some(condition);
        let members = self.group_members(instance);
        let conditions: Vec<_> = members.iter().map(|id| self.members[id].condition).collect();
        let in_fault = conditions.iter().any(|c| matches!(c, Some(Condition::Fault(_))));
        let all_ready = conditions.iter().all(|c| matches!(c, Some(Condition::Ready(_))));
        let before = self.actions.len();
        // A lease that was revoked since the first of them was told of it is inherited by none.
        let inherits = |id: &&InstanceId| self.members[*id].machine.inherits();
        if all_ready && members.iter().any(|id| inherits(&id)) && !members.iter().all(|id| inherits(&id)) {
            for id in &members {
                self.step(*id, Event::Synced, now);
            }
        }
        for (id, condition) in members.iter().zip(conditions) {
            match condition {
                Some(Condition::Fault(reason)) => self.step(*id, Event::Fault { reason }, now),
                Some(Condition::Ready(address)) if all_ready => self.step(*id, Event::Ready { address }, now),
                _ if in_fault => self.step(*id, Event::Fault { reason: FaultReason::Group }, now),
                // The others are not known yet.
                Some(Condition::Ready(_)) | None => false,
            };
        }
        if all_ready && members.len() > 1 {
            self.adverts_first(before);
        }
        self.sync(instance, now);
    }

    /// When the members of a group take over: when each of them would. `None` if they are no backups.
    fn takeover_at(&self, group: &[InstanceId]) -> Option<Instant> {
        if self.is_held(group, None) {
            return None;
        }
        group.iter().try_fold(None, |latest, id| {
            let (at, _) = self.members[id].machine.wait()?;
            Some(latest.max(Some(at)))
        })?
    }

    /// From when on the members of a group are about to take over.
    fn prepare_at(&self, group: &[InstanceId]) -> Option<Instant> {
        let lead = group.iter().map(|id| self.members[id].machine.takeover_lead()).max()?;
        Some(self.takeover_at(group)? - lead)
    }

    /// Whether the group waits for its master to be fenced, and for the answer to this question.
    fn is_held(&self, group: &[InstanceId], round: Option<u64>) -> bool {
        let awaits = |id: &InstanceId| self.members[id].machine.awaits_fence();
        group.first().and_then(awaits).is_some_and(|first| {
            round.is_none_or(|round| round == first) && group.iter().all(|id| awaits(id) == Some(first))
        })
    }

    fn deadline(&self, group: &[InstanceId]) -> Option<Instant> {
        let others = group.iter().map(|id| &self.members[id].machine).filter(|m| m.wait().is_none());
        self.takeover_at(group).into_iter().chain(others.filter_map(Machine::deadline)).min()
    }

    /// Runs the timers of a group that have fired.
    fn fire(&mut self, id: GroupId, now: Instant) {
        let members = self.groups[&id].clone();
        let before = self.actions.len();
        if let Some(at) = self.takeover_at(&self.groups[&id]) {
            let mut wait = false;
            for member in &members {
                let machine = self.machine_mut(*member);
                machine.wait_for_group(at);
                // All of them are asked.
                wait |= !machine.is_to_take_over(now);
            }
            if wait {
                return;
            }
            if let Some(instance) = members.iter().find(|member| self.members[member].machine.wants_fence()) {
                // DEVIATION 6.4.2: Active_Down_Timer has fired, and nobody takes over before the master is fenced.
                self.fence_round += 1;
                let round = self.fence_round;
                members.iter().for_each(|member| self.machine_mut(*member).await_fence(round));
                self.actions.push_back(Action::Fence { instance: *instance, round });
                return;
            }
        }
        let mut changed = false;
        for member in &members {
            if self.members[member].machine.deadline().is_some_and(|at| at <= now) {
                changed |= self.step(*member, Event::Timeout, now);
            }
        }
        if changed && members.len() > 1 {
            self.adverts_first(before);
        }
        if changed && let Some(first) = members.first() {
            self.sync(*first, now);
        }
    }

    /// Has the adverts among the actions from `from` on go out before all that follows a takeover, since the lease comes
    /// with the last, and after the end of what was before.
    fn adverts_first(&mut self, from: usize) {
        let order = |action: &Action| match action {
            Action::Release { .. } | Action::CancelAnnounce { .. } => 0,
            Action::Publish { .. } | Action::Advertise { renew_for: Some(_), .. } => 1,
            _ => 2,
        };
        // The end of a mastership takes actions of it out.
        let from = from.min(self.actions.len());
        self.actions.make_contiguous()[from..].sort_by_key(order);
    }

    fn machine_mut(&mut self, instance: InstanceId) -> &mut Machine {
        &mut self.members.get_mut(&instance).expect("groups have members that are there").machine
    }

    /// Drops what was to be removed, when all of its group has stopped.
    fn forget_removed(&mut self, members: &[InstanceId]) {
        let gone = |id: &InstanceId| self.members[id].removed && self.members[id].machine.is_stopped();
        if !members.iter().all(gone) {
            return;
        }
        for instance in members {
            if let Some(member) = self.members.remove(instance) {
                self.groups.remove(&member.group);
                self.prepared.remove(&member.group);
                self.suspects.remove(&member.group);
                self.not_before.remove(&member.group);
            }
            self.actions.push_back(Action::Removed { instance: *instance });
        }
    }

    fn finish(&mut self) {
        if self.shutdown == Shutdown::Requested
            && self.members.values().all(|member| member.machine.is_stopped())
        {
            self.shutdown = Shutdown::Finished;
            self.actions.push_back(Action::Finished);
        }
    }
}
