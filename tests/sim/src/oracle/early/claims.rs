//! What a claimant does, held against what it could have known: R1 to R3, R5 and R7.

use std::time::Duration;

use vipd_core::{
    time::Instant,
    vrrp::{Reason, StateName},
};

use super::{Cause, ClaimLog, bounds::CHALLENGE};
use crate::{
    clock::{MILLI, SECOND, Time, ns},
    oracle::Reading,
    world::{World, detect},
};

impl World {
    /// R1, R2: whether what a process could have known when it read its clock is a reason for a claim.
    pub(in crate::oracle) fn claims_rightly(&mut self, node: usize, router: usize) {
        let Some(timing) = self.probes_of(node).copied() else {
            return self.fail(Cause::ClaimUnarmed { router, node });
        };
        let td = timing.detect();
        let wait = (timing.interval / 2).max(Duration::from_millis(2));
        let limit = td * 3 - Duration::from_millis(1);
        let steady = timing.steady.max(td * 3);
        let group = self.plan.groups[router];
        let disarmed_until = self.oracle.early.claims[node][group].disarmed_until;
        let reads = self.oracle.health[node].reads.clone();
        let (mut silent, mut armed, mut arbitrated) = (false, false, false);
        for read in &reads {
            let peers: Option<Vec<usize>> =
                self.plan.members(router).map(|member| read.masters[member]).collect();
            let Some(peers) = peers else { continue };
            let complete = peers.iter().map(|peer| {
                let glimpse = read.peers.get(*peer)?;
                Some((glimpse.asked? + wait).max(glimpse.heard + td))
            });
            let Some(complete) = complete.collect::<Option<Vec<Instant>>>() else { continue };
            let complete = complete.into_iter().max().unwrap_or_default();
            let skew = self.early_skew(node, router, &peers, read.at);
            if read.local < complete + skew {
                continue;
            }
            silent = true;
            let is_armed = peers.iter().all(|peer| {
                let glimpse = &read.peers[*peer];
                self.counts(node, *peer)
                    && read.local.saturating_since(glimpse.answered) < limit
                    && glimpse.perhaps_since.is_some_and(|since| read.local.saturating_since(since) >= steady)
            });
            armed |= is_armed && read.local >= disarmed_until;
            let heard = peers.iter().map(|peer| read.peers[*peer].heard).max().unwrap_or_default();
            arbitrated |= is_armed && (!self.plan.arbiter || read.arbiter > heard);
        }
        let settings = self.settings(node, router);
        if !silent {
            self.fail(Cause::ClaimTooSoon { router, node });
        } else if !armed || settings.fence {
            self.fail(Cause::ClaimUnarmed { router, node });
        } else if !arbitrated {
            self.fail(Cause::ClaimUnarbitrated { router, node });
        }
    }

    /// R1: how long the better backups that are alive are waited for.
    fn early_skew(&self, node: usize, router: usize, masters: &[usize], read_at: Time) -> Duration {
        let none = Duration::ZERO;
        let Some(timing) = self.probes_of(node).filter(|_| self.now - read_at < MILLI / 10) else {
            return none;
        };
        let group = self.plan.groups[router];
        let own = (self.settings(node, group).priority, self.nodes[node].plan.address);
        let better = (0..self.nodes.len()).filter(|other| *other != node && !masters.contains(other)).filter(
            |other| {
                let pair = &self.oracle.early.pairs[node][*other];
                let flags = pair.block.as_ref().and_then(|block| {
                    block.routers.iter().find(|flags| usize::from(flags.vrid.get()) == group + 1)
                });
                let is_better = flags.is_some_and(|flags| {
                    flags.participates && (flags.priority, self.nodes[*other].plan.address) > own
                });
                is_better && self.now - pair.heard < detect(timing) - MILLI / 10
            },
        );
        match better.count() as u32 {
            0 => none,
            count => Duration::from_micros(1500) * count + timing.interval,
        }
    }

    /// R7: nobody who could be heard has owned the addresses for so long.
    pub(in crate::oracle) fn finds_orphan(&mut self, node: usize, router: usize) {
        let Some(timing) = self.probes_of(node).copied() else {
            return self.fail(Cause::ClaimUnarmed { router, node });
        };
        let (td, interval, longest) = (detect(&timing), ns(timing.interval), self.plan.network.longest());
        let read_at = self.oracle.health[node].reads.first().map_or(self.now, |read| read.at);
        let owner = (0..self.nodes.len()).filter(|other| *other != node).find(|other| {
            let long = td + 2 * interval + longest + self.wake();
            let disturbed = self.oracle.health[*other].disturbed.max(self.oracle.health[node].disturbed);
            let began = self.parted(*other, node, router).max(disturbed) + 2 * self.slowest(router) + long;
            let owned = self.oracle.tracks[*other][router].owned_since;
            began < read_at && owned.is_some_and(|since| since + long < read_at)
        });
        let reached =
            |read: &Reading| read.local.saturating_since(read.arbiter).as_nanos() <= u128::from(2 * interval);
        if owner.is_some() || self.settings(node, router).fence {
            self.fail(Cause::ClaimTooSoon { router, node });
        } else if self.plan.arbiter && !self.oracle.health[node].reads.iter().any(reached) {
            self.fail(Cause::ClaimUnarbitrated { router, node });
        }
    }

    /// A state has changed.
    pub(in crate::oracle) fn early_changed(
        &mut self,
        node: usize,
        router: usize,
        to: StateName,
        reason: Reason,
    ) {
        if !self.is_early() {
            return;
        }

        match reason {
            Reason::ClaimUnheard => self.yields_rightly(node, router),
            Reason::Preempting => self.preempts_rightly(node, router),
            _ => {}
        }
        let (now, track) = (self.now, self.oracle.tracks[node][router]);
        let read_at = self.oracle.health[node].reads.first().map_or(now, |read| read.at);
        let rhythm = self.probes_of(node).map_or((0, 0), |timing| (ns(timing.interval), detect(timing)));
        let log = &mut self.oracle.early.claims[node][router];
        if to == StateName::Master && reason == Reason::HostSilent {
            // Not one whose first advert it has still to read.
            let master = track.master.filter(|_| track.master_since <= read_at).unwrap_or(usize::MAX);
            let (since, down_at) = (Some(now), track.low);
            *log = ClaimLog {
                since,
                began: now,
                rhythm,
                master,
                down_at,
                judged: false,
                adverts: 1,
                returned: None,
                misled: false,
                ..*log
            };
            self.early_weighed(node, router);
        } else if log.since.take().is_some() {
            // R3: a claim of which no advert has left is void, and no alarm.
            log.judged |= track.last_send < log.began;
            self.early_weighed(node, router);
        }
    }

    /// R6: a claim is over, by the election's own account.
    pub fn has_settled(&mut self, node: usize, router: usize) {
        if self.oracle.early.claims[node][router].since.take().is_some() {
            self.note(|_| format!("node {node}, router {router}: settled"));
            self.early_weighed(node, router);
        }
    }

    pub(super) fn early_weighed(&mut self, node: usize, router: usize) {
        let now = self.now;
        for member in self.plan.members(router) {
            self.track(node, member).weighed_at = now;
        }
    }

    /// R5: one that gives its claim up was not heard, as far as it can tell: the other has said that it owns, and answered nothing since
    /// the claim; or was heard in vain: the other owned after it had the time to hear the claim.
    fn yields_rightly(&mut self, node: usize, router: usize) {
        let log = self.oracle.early.claims[node][router];
        let Some(since) = log.since.filter(|_| !log.misled) else { return };
        // The challenge comes after the claim, and a word that has crossed it on the wire is no answer.
        let hesitated = self.oracle.tracks[node][router].hesitated;
        if self.now < since + CHALLENGE - MILLI / 10 && !hesitated {
            return self.fail(Cause::YieldedToNobody { router, node });
        }
        let pair = self.oracle.early.pairs[node].get(log.master);
        // It looks at what was heard with each probe.
        let looked = self
            .now
            .saturating_sub(self.wake() + self.probes_of(node).map_or(0, |timing| ns(timing.interval)));
        let said_no = router == self.plan.groups[router]
            && pair.is_some_and(|pair| pair.quiet_since[router].is_some_and(|quiet| quiet < looked));
        let looked_lately = self.oracle.health[node].disturbed < looked;
        if said_no && looked_lately {
            return self.fail(Cause::YieldedToNobody { router, node });
        }
        if pair.is_some_and(|pair| pair.answers < since && pair.owner_at[router] > since) {
            return;
        }
        let owned = (0..self.nodes.len()).filter(|other| *other != node).any(|other| {
            let track = &self.oracle.tracks[other][router];
            track.owned_since.is_some() || track.owned_until > since + CHALLENGE / 2
        });
        if !owned {
            self.fail(Cause::YieldedToNobody { router, node });
        }
    }

    /// R11: whether a node that takes over early may find that somebody does not hear it.
    pub(in crate::oracle) fn is_perhaps_one_way(&self, node: usize) -> bool {
        let Some(timing) = self.probes_of(node).filter(|timing| timing.takes_over) else { return false };
        let limit = 2 * detect(timing);
        let others = (0..self.nodes.len()).filter(|peer| *peer != node);
        others.map(|peer| &self.oracle.early.pairs[node][peer]).any(|pair| pair.answered + limit < self.now)
    }

    /// R11: whether it may have found that until so lately that it has still to find a silence.
    pub(in crate::oracle) fn was_perhaps_one_way(&self, node: usize) -> bool {
        let Some(timing) = self.probes_of(node).filter(|timing| timing.takes_over) else { return false };
        let finds = 2 * detect(timing) + 10 * ns(timing.interval) + self.wake();
        let ended = self.oracle.early.pairs[node].iter().map(|pair| pair.heard_us_again).max().unwrap_or(0);
        self.is_perhaps_one_way(node) || self.now < ended + finds
    }

    /// R11: whoever it hears of those that take part hears it too, or has not been so for longer than it takes to find that out.
    fn preempts_rightly(&mut self, node: usize, router: usize) {
        let Some(timing) = self.probes_of(node).copied().filter(|timing| timing.takes_over) else { return };
        if self.settings(node, router).priority.is_owner() || self.nodes[node].stopping {
            return;
        }
        let interval = ns(timing.interval);
        let notices = 2 * interval + self.wake();
        let known = |since: Time| since + notices < self.now;
        let early = &self.oracle.early;
        let health = &self.oracle.health[node];
        // What has not left is not answered: it counts from when it could ask.
        let asked = health.disturbed.max(early.reprobed[node]).max(health.send_failed) + interval;
        let asked_for_long = asked + 3 * detect(&timing);
        if !known(asked_for_long) {
            return;
        }
        let is_deaf = |peer: usize| {
            let pair = &early.pairs[node][peer];
            let takes_part = pair.block.as_ref().is_some_and(|block| {
                let mut routers = block.routers.iter();
                let flags = routers.find(|flags| usize::from(flags.vrid.get()) == router + 1);
                block.takes_over && !block.leaving && flags.is_some_and(|flags| flags.participates)
            });
            let live = self.now - pair.probed + notices < 3 * SECOND;
            let asked_for_long = asked_for_long.max(pair.rested + interval + 3 * detect(&timing));
            takes_part && live && pair.probed > asked_for_long && pair.deaf_since.is_some_and(known)
        };
        let deaf = (0..self.nodes.len()).filter(|peer| *peer != node).find(|peer| is_deaf(*peer));
        if let Some(peer) = deaf {
            self.fail(Cause::PreemptedOneWay { router, node, peer });
        }
    }

    pub(in crate::oracle) fn early_sent(&mut self, node: usize, router: usize) {
        self.oracle.early.claims[node][router].adverts += 1;
    }
}
