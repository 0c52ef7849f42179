//! Who owns what, for how long two may, and by when somebody must.

use vipd_core::vrrp::{LeasePolicy, Reason, StateName};

use super::{Cause, Track, timing::*};
use crate::{
    clock::{MICRO, MILLI, Time, ns},
    world::World,
};

impl World {
    /// Nothing has changed since `now`, and it will be `to`.
    pub fn time_passes(&mut self, to: Time) {
        for i in 0..self.oracle.overlaps.len() {
            let ((router, a, b), since) = self.oracle.overlaps[i];
            let until = self.may_overlap_until(router, a, b, since);
            let given_way = self.one_way_overlaps_until(router, a, b, since);
            let Some(until) = until.into_iter().chain(given_way).min() else { continue };
            if to > until {
                let (for_, allowed) = (to - since, until.saturating_sub(since));
                return self.fail(Cause::TwoOwners { router, nodes: (a, b), for_, allowed });
            }
        }
        self.claims_are_followed(to);
        for router in 0..self.oracle.ownerless.len() {
            let Some(since) = self.oracle.ownerless[router] else { continue };
            for node in 0..self.nodes.len() {
                let due = self.should_own_by(node, router);
                let early = due.and(self.should_take_over_by(node, router, since));
                if due.into_iter().chain(early).min().is_some_and(|due| to > due) {
                    return self.fail(Cause::NoOwner { router, node, for_: to - since });
                }
            }
        }
    }

    /// Until when two that both own may; `None` if they cannot be blamed.
    fn may_overlap_until(&self, router: usize, a: usize, b: usize, since: Time) -> Option<Time> {
        if let Some(until) = self.claim_overlaps_until(router, a, b, since) {
            return Some(until);
        }
        let members = || self.plan.members(router);
        let longest = self.plan.network.longest();
        let slow = members().map(|member| self.slowest(member)).max().unwrap_or(0);
        // One member that is heard ends it for all.
        if !members().any(|member| self.speaks_one_language(member)) {
            return None;
        }
        let missed = |from: usize, to: usize| {
            members().map(|member| self.oracle.missed[from][to][member]).max().unwrap_or(0)
        };
        let between = |one: usize, other: usize| missed(one, other).max(missed(other, one));
        let (elsewhere, missed) = (between, between(a, b));
        let health = |node: usize| &self.oracle.health[node];
        let configured_at =
            (0..self.nodes.len()).map(|node| self.latest(node, router, |track| track.configured_at)).max();
        let configured_at = configured_at.unwrap_or(0);
        let patience = |node: usize| {
            members()
                .map(|member| Time::from(self.settings(node, member).down_timer_adverts))
                .max()
                .unwrap_or(0)
        };
        let horizon = since.saturating_sub(4 * slow * (patience(a) + 3)).max(1);
        let last = [
            missed,
            configured_at,
            health(a).disturbed,
            health(b).disturbed,
            health(a).deafened,
            health(b).deafened,
        ];
        // What nobody can hear any more ends with the lease, which may be from before.
        let adverts =
            if configured_at < horizon { patience(a).max(patience(b)) } else { self.most_patient() } + 1;
        let general = last.into_iter().fold(since, Time::max) + adverts.max(3) * slow + 4 * longest + MILLI;
        for peer in [a, b] {
            let node = &self.nodes[peer];
            if !node.is_vipd() && !node.can_run(self.now) {
                // What it owns stays with a keepalived that is gone.
                return None;
            }
        }
        // The later owner.
        let spell = |node: usize| self.oracle.tracks[node][router].owned_since.unwrap_or(since);
        let (old, new) = if spell(a) <= spell(b) { (a, b) } else { (b, a) };
        // A third that did not hear the earlier one may have been a master beside it, and handed over to the later one.
        let thirds = (0..self.nodes.len()).filter(|third| *third != old && *third != new);
        let parted = thirds.map(|third| elsewhere(third, old)).max().unwrap_or(0);
        let whole =
            missed.max(parted) < horizon && health(a).deafened < horizon && health(b).deafened < horizon;
        // One that was worse when the other decided to replace it may be better now, and its answer must wait.
        let weighed = |node: usize| self.latest(node, router, |track| track.weighed_at) >= horizon;
        let unsteady = configured_at >= horizon || weighed(old) || weighed(new);
        let plain = members().all(|member| self.is_plain(member, a, b)) && self.is_even(a, router);
        if !plain || !whole || self.oracle.tracks[new][router].hesitated || unsteady {
            return Some(general);
        }
        // The network carries everything: the later owner's first advert ends it, or the answer of one that has come back
        // to life in this very moment.
        let Some(first) = self.oracle.tracks[new][router].first_send else { return Some(general) };
        // A goodbye may arrive after the advert of who is back at once. It may not answer a worse one before its next.
        let back = &self.oracle.tracks[old][router];
        if self.oracle.tracks[new][router].reason == Some(Reason::MasterLeft) && back.since + slow > first {
            return Some(general);
        }
        let last_send = self.latest(old, router, |track| track.last_send);
        // Unless an advert was on its way to it.
        if self.outwaited(router, old, new) && last_send + longest < first {
            return Some(since);
        }
        if last_send > since {
            return Some(first.max(last_send) + 2 * longest + MICRO);
        }
        Some(first.max(since) + longest + MICRO)
    }

    /// Whether two vipds, of all nodes, have one interval for a router, and are not both its owners.
    fn is_plain(&self, router: usize, a: usize, b: usize) -> bool {
        let (one, other) = (self.settings(a, router), self.settings(b, router));
        // Anybody's interval may have been learned by either.
        let same = self.nodes.iter().map(|node| &node.settings[router]).all(|s| {
            s.advert_interval == one.advert_interval && s.down_timer_adverts == one.down_timer_adverts
        });
        same && self.speaks_one_language(router)
            && !(one.priority.is_owner() && other.priority.is_owner())
            && self.nodes[a].is_vipd()
            && self.nodes[b].is_vipd()
    }

    /// Whether all members of a group wait for as long.
    ///
    /// If not, a renewal by the advert of a fast one is for as long as by one of a slow one, whose own may have been sent
    /// long before.
    fn is_even(&self, node: usize, router: usize) -> bool {
        let pace = |member: usize| {
            let settings = self.settings(node, member);
            (settings.advert_interval, settings.down_timer_adverts)
        };
        self.plan.members(router).all(|member| pace(member) == pace(router))
    }

    /// The most adverts that anyone waits for, now or later.
    pub(super) fn most_patient(&self) -> Time {
        let all = self.plan.configurations().flatten();
        all.map(|settings| Time::from(settings.down_timer_adverts)).max().unwrap_or(0)
    }

    /// Whether `new` took over because it heard nothing of `old` for longer than any strict lease, which it could.
    fn outwaited(&self, router: usize, old: usize, new: usize) -> bool {
        let members = || self.plan.members(router);
        let strict =
            |node: usize| members().all(|member| self.settings(node, member).lease == LeasePolicy::Strict);
        let Some(owned_since) = self.oracle.tracks[old][router].owned_since else { return false };
        let settled = |member: usize| {
            let (track, settings) = (&self.oracle.tracks[new][member], self.settings(new, member));
            let silent = track.state == StateName::Master
                && track.reason == Some(Reason::MasterDown)
                && !is_deaf(settings);
            // What it had still to read, and what it had decided before, was settled an interval ago.
            silent
                && track.first_send.is_some_and(|first| {
                    let before = first.saturating_sub(ns(settings.advert_interval));
                    owned_since < before && self.oracle.health[new].disturbed < before && track.since >= first
                })
        };
        strict(old) && strict(new) && members().all(settled)
    }

    /// By when a healthy backup of a router without an owner must have taken over: with the last of its group.
    fn should_own_by(&self, node: usize, router: usize) -> Option<Time> {
        let n = &self.nodes[node];
        let healthy = n.is_vipd()
            && n.can_run(self.now)
            && !n.in_turn
            && n.is_reachable()
            && n.send_faults == 0
            && self.tracks(node, router).all(|track| track.state == StateName::Backup)
            && n.mailbox.is_empty()
            // How long that takes is not for us to say.
            && !self.plan.members(router).any(|member| self.settings(node, member).fence);
        if !healthy {
            return None;
        }
        let disturbed = self.oracle.health[node].disturbed;
        let one_way = self.was_perhaps_one_way(node);
        let due = |member: usize| {
            let track = &self.oracle.tracks[node][member];
            // R11: what is not preempted is followed, from its last advert on.
            let followed = track.heard_at + down(self.settings(node, member), track.interval.1);
            let high = if one_way { track.high.max(followed) } else { track.high };
            let slack = drift(high.saturating_sub(track.since)) + 3 * MILLI;
            // A timer that is seen to have fired long ago waits for one more advert.
            let interval = track.interval.1;
            let late = disturbed > track.low;
            let reprieve = if late { interval + skew(self.settings(node, member), interval) } else { 0 };
            high.max(disturbed.saturating_add(reprieve)).saturating_add(slack)
        };
        self.plan.members(router).map(due).max()
    }

    /// Who owns what now.
    pub fn check(&mut self) {
        if self.violation.is_some() {
            return;
        }
        let mut owners = std::mem::take(&mut self.oracle.owners);
        owners.iter_mut().for_each(|owners| owners.1 = 0);
        for (node, answers) in self.nodes.iter().map(|node| node.answers(self.now)).enumerate() {
            let Some(answers) = answers else { continue };
            for (router, owners) in owners.iter_mut().enumerate() {
                owners.1 |= u64::from(answers.owns(router)) << node;
            }
        }
        for router in 0..owners.len() {
            let apart = owners[router].1 ^ owners[self.plan.groups[router]].1;
            if apart != 0 {
                self.fail(Cause::SplitGroup { router, node: apart.trailing_zeros() as usize });
                break;
            }
            let (before, after) = owners[router];
            if before != after {
                self.owners_changed(router, after);
                owners[router].0 = after;
            }
        }
        self.oracle.owners = owners;
    }

    /// Others own a router's addresses now: each node has a bit.
    fn owners_changed(&mut self, router: usize, owners: u64) {
        let (now, count) = (self.now, self.nodes.len());
        let owns = |node: usize| owners >> node & 1 == 1;
        for node in 0..count {
            let track = &mut self.oracle.tracks[node][router];
            match (owns(node), track.owned_since) {
                (true, None) => track.owned_since = Some(now),
                (false, Some(_)) => (track.owned_since, track.owned_until) = (None, now),
                _ => {}
            }
        }
        self.oracle.ownerless[router] =
            if owners == 0 { self.oracle.ownerless[router].or(Some(now)) } else { None };
        let longest = &mut self.stats.longest_overlap;
        self.oracle.overlaps.retain(|((of, a, b), since)| {
            let goes_on = *of != router || owns(*a) && owns(*b);
            if !goes_on {
                *longest = (*longest).max(now - since);
            }
            goes_on
        });
        for a in (0..count).filter(|a| owns(*a)) {
            for b in (a + 1..count).filter(|b| owns(*b)) {
                let key = (router, a, b);
                if !self.oracle.overlaps.iter().any(|(other, _)| *other == key) {
                    self.oracle.overlaps.push((key, now));
                }
            }
        }
    }

    /// Who owns a router's addresses now.
    pub fn owners(&self, router: usize) -> Vec<usize> {
        (0..self.nodes.len()).filter(|node| self.nodes[*node].owns(router, self.now)).collect()
    }

    /// Adverts with a priority that a node has sent.
    pub fn adverts(&self, node: usize, router: usize) -> u64 {
        self.oracle.tracks[node][router].adverts
    }

    /// Every fault is long over.
    pub fn settled(&mut self) {
        for router in 0..self.oracle.ownerless.len() {
            if !self.group_comes_to_rest(router) {
                continue;
            }
            let owners = self.owners(router);
            let [owner] = owners[..] else { return self.fail(Cause::Owners { router, owners }) };
            let better = (0..self.nodes.len()).find(|node| {
                self.plan.members(router).all(|member| {
                    let settings = self.settings(*node, member);
                    preempts(settings) && settings.priority > self.settings(owner, member).priority
                })
            });
            if let Some(better) = better {
                return self.fail(Cause::NotTheBest { router, owner, better });
            }
        }
        let changes = |tracks: &Vec<Track>| tracks.iter().map(|track| track.changes).collect();
        self.oracle.settled = Some(self.oracle.tracks.iter().map(changes).collect());
    }

    /// The end: nothing has changed since all was settled.
    pub fn over(&mut self) {
        if self.violation.is_some() {
            return;
        }
        if !self.frames_add_up() {
            return self.fail(Cause::FramesMiscounted);
        }
        let Some(settled) = self.oracle.settled.take() else { return };
        for (node, before) in settled.iter().enumerate() {
            for (router, before) in before.iter().enumerate() {
                if self.group_comes_to_rest(router) && self.oracle.tracks[node][router].changes != *before {
                    return self.fail(Cause::Restless { router, node });
                }
            }
        }
    }
}
