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
            let Some(until) = self.may_overlap_until(router, a, b, since) else { continue };
            if to > until {
                let (for_, allowed) = (to - since, until.saturating_sub(since));
                return self.fail(Cause::TwoOwners { router, nodes: (a, b), for_, allowed });
            }
        }
        for router in 0..self.oracle.ownerless.len() {
            let Some(since) = self.oracle.ownerless[router] else { continue };
            for node in 0..self.nodes.len() {
                if self.should_own_by(node, router).is_some_and(|due| to > due) {
                    return self.fail(Cause::NoOwner { router, node, for_: to - since });
                }
            }
        }
    }

    /// Until when two that both own may; `None` if they cannot be blamed.
    fn may_overlap_until(&self, router: usize, a: usize, b: usize, since: Time) -> Option<Time> {
        let longest = self.plan.network.longest();
        let slow = self.slowest(router);
        let (one, other) = (self.settings(a, router), self.settings(b, router));
        if !self.speaks_one_language(router) {
            return None;
        }
        let missed = self.oracle.missed[a][b][router].max(self.oracle.missed[b][a][router]);
        let health = |node: usize| &self.oracle.health[node];
        let last = [missed, health(a).disturbed, health(b).disturbed, health(a).deafened, health(b).deafened];
        // What nobody can hear any more ends with the lease.
        let adverts = Time::from(one.down_timer_adverts.max(other.down_timer_adverts)) + 1;
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
        let horizon = since.saturating_sub(4 * slow * (Time::from(one.down_timer_adverts) + 3));
        // Anybody's interval may have been learned by either.
        let plain = self.nodes.iter().map(|node| &node.settings[router]).all(|s| {
            s.advert_interval == one.advert_interval && s.down_timer_adverts == one.down_timer_adverts
        }) && !(one.priority.is_owner() && other.priority.is_owner())
            && self.nodes[a].is_vipd()
            && self.nodes[b].is_vipd();
        let whole = missed < horizon.max(1)
            && health(a).deafened < horizon.max(1)
            && health(b).deafened < horizon.max(1);
        // One that was worse when the other decided to replace it may be better now, and its answer must wait.
        let weighed = |node: usize| self.oracle.tracks[node][router].weighed_at >= horizon.max(1);
        if !plain || !whole || self.oracle.tracks[new][router].hesitated || weighed(old) || weighed(new) {
            return Some(general);
        }
        // The network carries everything: the later owner's first advert ends it, or the answer of one that has come back
        // to life in this very moment.
        let Some(first) = self.oracle.tracks[new][router].first_send else { return Some(general) };
        let replaced = &self.oracle.tracks[old][router];
        if self.outwaited(router, old, new) {
            return Some(since);
        }
        if replaced.last_send > since {
            return Some(first.max(replaced.last_send) + 2 * longest + MICRO);
        }
        Some(first.max(since) + longest + MICRO)
    }

    /// Whether `new` took over because it heard nothing of `old` for longer than any strict lease, which it could.
    fn outwaited(&self, router: usize, old: usize, new: usize) -> bool {
        let strict = |node: usize| self.settings(node, router).lease == LeasePolicy::Strict;
        let (Some(owned_since), track) =
            (self.oracle.tracks[old][router].owned_since, &self.oracle.tracks[new][router])
        else {
            return false;
        };
        let silent = track.state == StateName::Master
            && track.reason == Some(Reason::MasterDown)
            && !is_deaf(self.settings(new, router));
        // What it had still to read, and what it had decided before, was settled an interval ago.
        let settled = track.first_send.is_some_and(|first| {
            let before = first.saturating_sub(ns(self.settings(new, router).advert_interval));
            owned_since < before && self.oracle.health[new].disturbed < before && track.since >= first
        });
        strict(old) && strict(new) && silent && settled
    }

    /// By when a healthy backup of a router without an owner must have taken over.
    fn should_own_by(&self, node: usize, router: usize) -> Option<Time> {
        let (n, track) = (&self.nodes[node], &self.oracle.tracks[node][router]);
        let healthy = n.is_vipd()
            && n.can_run(self.now)
            && !n.in_turn
            && n.is_reachable()
            && n.send_faults == 0
            && track.state == StateName::Backup
            && n.mailbox.is_empty();
        let slack = drift(track.high.saturating_sub(track.since)) + 3 * MILLI;
        let settings = self.settings(node, router);
        let disturbed = self.oracle.health[node].disturbed;
        // A timer that is seen to have fired long ago waits for one more advert.
        let interval = track.interval.1;
        let late = disturbed > track.low;
        let reprieve = if late { interval + skew(settings, interval) } else { 0 };
        healthy.then(|| track.high.max(disturbed.saturating_add(reprieve)).saturating_add(slack))
    }

    /// Who owns what now.
    pub fn check(&mut self) {
        if self.violation.is_some() {
            return;
        }
        let now = self.now;
        for router in 0..self.oracle.ownerless.len() {
            let owners: Vec<usize> =
                (0..self.nodes.len()).filter(|node| self.nodes[*node].owns(router, now)).collect();
            for node in 0..self.nodes.len() {
                let track = &mut self.oracle.tracks[node][router];
                match (owners.contains(&node), track.owned_since) {
                    (true, None) => track.owned_since = Some(now),
                    (false, Some(_)) => track.owned_since = None,
                    _ => {}
                }
            }
            self.oracle.ownerless[router] = match (owners.is_empty(), self.oracle.ownerless[router]) {
                (true, since) => since.or(Some(now)),
                (false, _) => None,
            };
            let together = |a: usize, b: usize| owners.contains(&a) && owners.contains(&b);
            let longest = &mut self.stats.longest_overlap;
            self.oracle.overlaps.retain(|((of, a, b), since)| {
                let goes_on = *of != router || together(*a, *b);
                if !goes_on {
                    *longest = (*longest).max(now - since);
                }
                goes_on
            });
            for (i, a) in owners.iter().enumerate() {
                for b in &owners[i + 1..] {
                    let key = (router, *a, *b);
                    if !self.oracle.overlaps.iter().any(|(other, _)| *other == key) {
                        self.oracle.overlaps.push((key, now));
                    }
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
            if !self.comes_to_rest(router) {
                continue;
            }
            let owners = self.owners(router);
            let [owner] = owners[..] else { return self.fail(Cause::Owners { router, owners }) };
            let of = self.settings(owner, router).priority;
            let better = (0..self.nodes.len()).find(|node| {
                let settings = self.settings(*node, router);
                preempts(settings) && settings.priority > of
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
                if self.comes_to_rest(router) && self.oracle.tracks[node][router].changes != *before {
                    return self.fail(Cause::Restless { router, node });
                }
            }
        }
    }
}
