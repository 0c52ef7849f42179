//! What a process does, and whether it had reason to.

use vipd_core::{
    lease_manager::Transition,
    time::Instant,
    vrrp::{Reason, Snapshot, StateName},
};

use super::{Cause, NOT_YET, Reading, Write, timing::*};
use crate::{
    clock::{MILLI, Time, ns},
    node::{Message, Presence},
    world::{Change, NOTABLE_STALL, World},
};

impl World {
    /// A process has written a lease word.
    pub fn written(&mut self, node: usize, router: usize, was: Instant, until: Instant, write: Write) {
        self.note(|world| {
            let left = i128::from(until.as_nanos()) - i128::from(world.local(node).as_nanos());
            format!("node {node}, router {router}: {write:?}, {:.3} ms from now", left.max(0) as f64 / 1e6)
        });
        let local = self.local(node);
        let track = *self.track(node, router);
        let rival_at = self.latest(node, router, |track| track.rival_at);
        let asked = self.tracks(node, router).filter_map(|track| track.asked).min();
        match write {
            Write::Acquire => {
                let turn_began = self.oracle.health[node].turn_began;
                let first = self.tracks(node, router).map(|track| track.last_send).min().unwrap_or(0);
                if first < turn_began {
                    self.fail(Cause::Unannounced { router, node });
                }
                let master = self.tracks(node, router).any(|track| track.state == StateName::Master);
                if master && was == Instant::default() {
                    self.fail(Cause::TakenBack { router, node });
                }
                let compared = self.nodes[node].kernel.records[router].priority;
                if self.is_early() && compared != track.last_priority.get() {
                    self.fail(Cause::ClaimUnpublished { router, node });
                }
                self.owns_anew(node, router, first);
            }
            Write::Renew => {
                let lapsed = self.nodes[node].clock.when(was);
                if local >= was && rival_at > lapsed {
                    self.fail(Cause::LapsedLeaseRenewed { router, node });
                }
                if local >= was {
                    self.owns_anew(node, router, track.last_send);
                }
                if until > was {
                    self.is_offered_long_enough(node, router, was);
                }
                // Each member that leaves writes what the first has written.
                let left = until > was && self.tracks(node, router).any(|track| track.goodbye_at.is_some());
                if left || track.goodbye_at.is_some() {
                    self.fail(Cause::RenewedAfterGoodbye { router, node });
                }
            }
            Write::Release => {
                let health = &self.oracle.health[node];
                // What was told before that may have ended it.
                let n = &self.nodes[node];
                let told = n.stopping || n.presence[router] == Presence::Going;
                if let Some(asked) = asked.filter(|_| told)
                    && was != Instant::default()
                {
                    // How long that is was checked when it was written.
                    let waited = local >= track.lease_until;
                    let relieved = rival_at.max(track.revoked_at) >= asked.min(health.drained_before);
                    if !waited && !relieved && health.deafened + MILLI < asked && self.nodes[node].link() {
                        self.fail(Cause::LeftTooSoon { router, node });
                    }
                }
                return;
            }
        }
        let expected = self.length_of_lease(node, router);
        for member in self.plan.members(router) {
            self.track(node, member).lease_until = until;
        }
        let from_a_reading = |length: Time| {
            let from = until.as_nanos().wrapping_sub(length);
            self.oracle.health[node].reads.iter().any(|read| read.local.as_nanos() == from)
        };
        // To the end of the farewell, or where the lease ends before that.
        let stays_for = self.length_of_farewell(node, router);
        let ends_before =
            |read: &Reading| until == was && was.as_nanos() <= read.local.as_nanos() + stays_for;
        let shortened = asked.is_some()
            && until <= was
            && (from_a_reading(stays_for) || self.oracle.health[node].reads.iter().any(ends_before));
        if !shortened && !from_a_reading(expected) {
            let length = until.as_nanos().saturating_sub(local.as_nanos());
            self.fail(Cause::LeaseLength { router, node, length, expected });
        }
    }

    /// Adverts from `first` on begin a spell of answering.
    fn owns_anew(&mut self, node: usize, router: usize, first: Time) {
        let now = self.now;
        for member in self.plan.members(router) {
            let track = self.track(node, member);
            (track.first_send, track.hesitated) = (Some(first), now - first > NOTABLE_STALL);
        }
    }

    pub fn announced(&mut self, node: usize, router: usize) {
        let now = self.now;
        self.oracle.early.claims[node][router].announced = now;
        let track = &self.oracle.tracks[node][router];
        let revoked = track.revoked_at >= self.oracle.health[node].turn_began;
        if self.nodes[node].kernel.lease(router) == 0 && !revoked {
            self.fail(Cause::StrayAnnouncement { router, node });
        }
    }

    /// A state has changed, by the election's own account.
    pub fn changed(&mut self, node: usize, transition: &Transition) {
        let router = usize::from(transition.instance.0);
        let Transition { from, to, reason, .. } = *transition;
        self.note(|_| format!("node {node}, router {router}: {to}, {reason}"));
        let now = self.now;
        let settings = *self.settings(node, router);
        self.history.push(Change { at: now, node, router, to, reason });
        if !self.has_said_goodbye(node, router, transition) {
            return self.fail(Cause::NoGoodbye { router, node });
        }
        let Some(cause) = self.has_cause(node, router, transition) else {
            return self.fail(Cause::NoCause { router, node, reason });
        };
        if cause > 0 {
            return self.fail(Cause::TakeoverTooSoon { router, node, by: cause });
        }
        match reason {
            Reason::HostSilent => self.claims_rightly(node, router),
            Reason::Orphaned => self.finds_orphan(node, router),
            _ => {}
        }
        self.early_changed(node, router, to, reason);
        // What it takes for now it has read in this turn.
        let read_at = self.oracle.health[node].reads.first().map_or(now, |read| read.at);
        let drained = self.oracle.health[node].drained_before;
        let own = ns(settings.advert_interval);
        let track = self.track(node, router);
        if to == StateName::Master {
            track.takeovers += u64::from(reason != Reason::Inherited);
            self.stats.takeovers += u64::from(reason != Reason::Inherited);
        } else if to == StateName::Backup {
            let waited_for = down(&settings, own);
            // What is still to be read may set the timer back to when it came.
            let pending = track.heard_at >= drained;
            if matches!(reason, Reason::BetterMaster | Reason::Superseded | Reason::OneWay) || pending {
                // R11: it follows the advert that it gives way to, which it has heard before.
                let from = if reason == Reason::OneWay { track.heard_at } else { read_at };
                track.low = track.low.min(from + waited_for);
                let (low, high) = track.interval;
                track.interval = (low.min(own), high.max(own));
                track.high = (now + down(&settings, own.max(high))).max(track.high.min(now + waited_for));
            } else {
                track.interval = (own, own);
                track.master = None;
                (track.low, track.high) = (read_at + waited_for, now + waited_for);
            }
        }
        let track = self.track(node, router);
        if to == StateName::Backup && reason != Reason::BetterMaster {
            // It follows whom it hears next.
            (track.master_since, track.followed_since) = (NOT_YET, NOT_YET);
        }
        let since = track.since;
        (track.state, track.since, track.reason, track.from) = (to, now, Some(reason), from);
        track.changes += 1;
        (track.offered, track.has_offered) = (None, false);
        if to == StateName::Master {
            track.goodbye_at = None;
            if reason == Reason::MasterDown && settings.fence && track.fenced_at < since {
                self.fail(Cause::Unfenced { router, node });
            }
        }
    }

    /// A router that was offered to others is its own again only when the slowest of them would have spoken, or what its
    /// adverts hold would end.
    fn is_offered_long_enough(&mut self, node: usize, router: usize, was: Instant) {
        let track = *self.track(node, router);
        let Some(offered) = track.offered.filter(|_| track.has_offered) else { return };
        let interval = ns(self.settings(node, router).advert_interval);
        // Its own adverts may be older than the last renewal of its group's lease.
        let ends = self.nodes[node].clock.when(was.min(track.offered_until)).saturating_sub(interval / 4);
        let farewell = self.length_of_farewell(node, router);
        let waits_until = (offered + farewell).min(ends);
        if track.configured_at < offered && self.now + drift(farewell) < waits_until {
            self.fail(Cause::OfferCutShort { router, node });
        }
        let track = self.track(node, router);
        (track.offered, track.has_offered) = (None, false);
    }

    /// Whether a change of state has a cause in what happened; a takeover also by how much it comes too soon.
    fn has_cause(&self, node: usize, router: usize, transition: &Transition) -> Option<Time> {
        let track = &self.oracle.tracks[node][router];
        let health = &self.oracle.health[node];
        let settings = self.settings(node, router);
        let spell = track.since.min(health.turn_began).min(health.drained_before);
        let cause = match transition.reason {
            Reason::HostSilent | Reason::Orphaned | Reason::ClaimUnheard => true,
            // R11.
            Reason::OneWay => self.is_perhaps_one_way(node),
            Reason::MasterDown | Reason::MasterLeft | Reason::Preempting => {
                // With the question whether the master is fenced the silence was long enough.
                let asked = transition.reason == Reason::MasterDown && track.fenced_at > spell;
                return if asked { Some(0) } else { self.is_too_soon(node, router) };
            }
            Reason::Started => true,
            Reason::Owner => settings.priority.is_owner(),
            Reason::Inherited => {
                let word = self.nodes[node].kernel.lease(router);
                let stood = health.reads.iter().any(|read| read.local.as_nanos() < word);
                stood || track.revoked_at >= health.turn_began
            }
            Reason::BetterMaster => track.better_at >= spell,
            Reason::Superseded | Reason::LeaseRevoked => {
                // Or held up for so long between the advert of its takeover and the lease that it let it be.
                let local = |read: &Reading| read.local.as_nanos();
                let turn = health.reads.last().map_or(0, local) - health.reads.first().map_or(0, local);
                // Or, with a claim, for a millisecond.
                let patience =
                    ns(settings.advert_interval).min(if self.is_early() { MILLI } else { Time::MAX });
                let given_up = turn >= patience && track.owned_since.is_none();
                track.revoked_at >= spell || track.revoked_at >= track.since || given_up
            }
            Reason::LeaseLapsed => {
                // Also one that was held up between its decision to take over and the wire.
                let unclaimed = self.is_early() && track.owned_since.is_none();
                unclaimed || health.reads.iter().any(|read| read.local >= track.own_until)
            }
            Reason::SendFailed => health.send_failed >= health.turn_began,
            Reason::Group => self.another_stepped_down(node, router),
            Reason::Fault(reason) => self.is_told_of(node, router, reason),
            Reason::HandedOver => track.asked.is_some() || track.offered.is_some(),
            Reason::Shutdown | Reason::NoSuccessor => track.asked.is_some(),
        };
        cause.then_some(0)
    }

    /// By how much a wait has been cut short that is over now, beyond what clocks differ by.
    pub(super) fn is_too_soon(&self, node: usize, router: usize) -> Option<Time> {
        // A decision stands by what was known when it was made. Time runs by its own clock.
        let wait = |member: usize| down(self.settings(node, member), self.slowest(member));
        let tolerance = drift(self.plan.members(router).map(wait).max().unwrap_or(0));
        let early = |read: &Reading| self.due(node, router, read).saturating_sub(read.at);
        let early = self.oracle.health[node].reads.iter().map(early).min();
        early.map(|early| if early > tolerance { early } else { 0 })
    }

    /// Whether one that has handed over has told its successors, or could not.
    fn has_said_goodbye(&self, node: usize, router: usize, transition: &Transition) -> bool {
        let track = &self.oracle.tracks[node][router];
        let handed_over = matches!(transition.reason, Reason::HandedOver | Reason::NoSuccessor);
        let told = track.asked.into_iter().chain(track.offered).min();
        let refused = told.is_some_and(|told| self.oracle.health[node].send_failed >= told);
        !handed_over || track.goodbye_at.is_some() || track.has_offered || refused
    }

    /// A router that was asked to go is gone.
    pub fn is_gone(&mut self, node: usize, router: usize) {
        let track = *self.track(node, router);
        if track.state != StateName::Stopped || track.asked.is_none() {
            self.fail(Cause::HostDisagrees { router, node });
        } else if self.nodes[node].kernel.lease(router) != 0 {
            self.fail(Cause::StrayLease { router, node, state: track.state });
        }
        self.begins_anew(node, router, false);
        if self.nodes[node].mailbox.contains(&Message::Shutdown) {
            self.asked_to_go(node, router);
        }
    }

    /// What a node's election says of itself at the end of a turn.
    pub fn believes(&mut self, node: usize, router: usize, snapshots: &[Option<Snapshot>]) {
        let Some(snapshot) = &snapshots[router] else { return };
        let word = self.nodes[node].kernel.lease(router);
        let track = *self.track(node, router);
        if snapshot.state != track.state {
            return self.fail(Cause::HostDisagrees { router, node });
        }
        let counted = snapshot.counters.became_master;
        if counted != track.takeovers {
            return self.fail(Cause::Miscounted { router, node, counted, seen: track.takeovers });
        }
        let known = match snapshot.state {
            // Each member knows of its own renewals, and what the word says is the last of them.
            StateName::Master => {
                let of = |member: usize| snapshots[member].as_ref().and_then(|snapshot| snapshot.lease_until);
                self.plan.members(router).filter_map(of).any(|until| until.as_nanos() == word)
            }
            StateName::Init => true,
            StateName::Backup | StateName::Fault | StateName::Stopped => false,
        };
        if word != 0 && !known {
            self.fail(Cause::StrayLease { router, node, state: snapshot.state });
        }
    }
}
