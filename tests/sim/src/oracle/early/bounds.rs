//! For how long two may own, by when somebody must, and what must have come of a claim: R3, R4, R6 to R10.

use vipd_common::Priority;

use super::Cause;
use crate::{
    clock::{MICRO, MILLI, Time, ns},
    world::{World, detect},
};

/// R5: see `vipd_core::early`; the oracle has its own.
pub(super) const CHALLENGE: Time = 8 * MILLI;
/// What an engine may take from a moment to its act, besides what it is woken up late by.
const SLACK: Time = 2 * MILLI;

/// Two that both own: one that has claimed, and whom it has outbid.
#[derive(Clone, Copy)]
struct Two {
    router: usize,
    claimant: usize,
    other: usize,
    since: Time,
    /// The first advert of the claim.
    first: Time,
    interval: Time,
    td: Time,
}

impl World {
    /// The latest that an engine comes to act.
    pub(super) fn wake(&self) -> Time {
        SLACK + 2 * self.plan.network.wake.end
    }

    /// When a process was last held up, or could not run: now, if it is in the middle of a turn.
    fn last_disturbed(&self, node: usize) -> Time {
        if self.nodes[node].in_turn { self.now } else { self.oracle.health[node].disturbed }
    }

    /// Until when one that has claimed and the other that it outbids may both own; `None` if VRRP's bound is that of the two.
    pub(in crate::oracle) fn claim_overlaps_until(
        &self,
        router: usize,
        a: usize,
        b: usize,
        since: Time,
    ) -> Option<Time> {
        let claimed = |node: usize| self.oracle.early.claims[node][router].since;
        let (claimant, other, at) = match (claimed(a), claimed(b)) {
            (Some(at), None) => (a, b, at),
            (None, Some(at)) => (b, a, at),
            _ => return None,
        };
        if self.oracle.early.claims[claimant][router].master != other {
            // Another backup, which the claim was not meant for.
            return None;
        }
        if self.nodes[other].stopping && !self.nodes[other].kernel.probes.sponsored {
            // R9: nobody relies on it any more. The lease of its goodbye needs no sponsor, and no probe takes it.
            return None;
        }
        let timing = self.probes_of(claimant)?;
        let theirs = ns(self.probes_of(other)?.interval);
        let early = &self.oracle.early;
        if early.stood[claimant] > early.pairs[claimant][other].answered {
            // By its clock the last answer is younger than it is.
            return None;
        }
        let rank =
            |node: usize| (self.nodes[node].kernel.records[router].priority, self.nodes[node].plan.address);
        let track = &self.oracle.tracks[other][router];
        // Also by a configuration that its process was started with.
        let weighed = track.weighed_at.max(track.configured_at).max(track.began);
        let raised = weighed > early.pairs[claimant][other].probed;
        if rank(claimant) < rank(other) && raised {
            // It has outbid what it knew.
            return None;
        }
        // Another rhythm since the claim does not undo what the first has led to.
        let then = early.claims[claimant][router].rhythm;
        let (interval, td) = (ns(timing.interval).max(then.0).max(theirs), detect(timing).max(then.1));
        let track = &self.oracle.tracks[claimant][router];
        let first = track.first_send.filter(|first| *first <= at)?;
        if self.oracle.tracks[other][router].first_send.is_some_and(|taken| taken >= first) {
            // It has taken over itself since.
            return None;
        }
        let speaks = |node: usize| self.nodes[node].can_run(self.now) && self.nodes[node].send_faults == 0;
        // Time passes in the middle of a turn only while a process is held up.
        let is_silent = |node: usize| !speaks(node) || self.nodes[node].in_turn;
        if is_silent(claimant) && is_silent(other) {
            // Leases and sponsors run out.
            return None;
        }
        let takes_over = |node: usize| self.probes_of(node).is_some_and(|timing| timing.takes_over);
        let heeded = |node: usize| takes_over(node) && !self.nodes[node].stopping;
        if !heeded(claimant)
            || !speaks(claimant) && !heeded(other)
            || !self.nodes[other].kernel.probes.sponsored
        {
            // R4: what its probes say of ownership does not count, or not there.
            return None;
        }
        // One that was worth more than the claim until now hears the next of its probes.
        let weighed = self.oracle.tracks[other][router].weighed_at;
        let since = if weighed > first { since.max(weighed) } else { since };
        let two = Two { router, claimant, other, since, first, interval, td };
        // R3, R4: the claim's delay.
        let claim = first + self.plan.network.longest() + MICRO;
        let until = self.hear_each_other_by(&two, claim, speaks(claimant), speaks(other));
        let sponsored = self.sponsored_until(&two).max(claim);
        let lost = self.parted(claimant, other, router);
        Some(until.min(sponsored).max(if lost < first { claim } else { since }))
    }

    /// R4, R5, R8, R10: by when one of two that both own has heard that of the other.
    fn hear_each_other_by(&self, two: &Two, claim: Time, claimant_speaks: bool, other_speaks: bool) -> Time {
        let Two { router, claimant, other, since, first, interval, td } = *two;
        let (longest, wake) = (self.plan.network.longest(), self.wake());
        let disturbed = self.last_disturbed(claimant);
        let lost = self.parted(claimant, other, router);
        // R10: who was silent for long listens before it answers again, and what it hears then ends it.
        let owned = |node: usize| self.oracle.tracks[node][router].owned_since.unwrap_or(since);
        let (woke, listened) = (owned(other) > owned(claimant), since.saturating_sub(2 * interval));
        if lost < first && since <= claim && disturbed < first {
            return claim;
        }
        if !claimant_speaks {
            // R4: the other says that it owns, to one whose daemon is silent.
            let silent = self.oracle.early.beats[claimant] + td;
            let said = self.parted(other, claimant, router).max(self.last_disturbed(other)).max(since);
            return silent.max(said) + 2 * interval + longest + wake;
        }
        if woke && lost < listened && disturbed < listened && first + 2 * interval < listened {
            return since;
        }
        // The claim is repeated with each probe until it comes, also by a claimant that has slept itself. That one listens first (R10), and
        // another backup may vouch for it meanwhile.
        let slept = self.oracle.early.resumed[claimant] + 2 * interval;
        let from = if woke { first } else { first.max(since).max(slept) };
        let comes = lost.max(from).max(disturbed) + interval + longest + wake;
        // R5: or the other is heard.
        let disturbed = disturbed.max(self.last_disturbed(other));
        let back = self.parted(other, claimant, router).max(first).max(disturbed);
        let back = back + CHALLENGE + 6 * interval + longest + 2 * wake;
        if other_speaks { comes.min(back) } else { comes }
    }

    /// R9: one whose daemon does not speak, and that does not hear the claimant, answers no longer than either did.
    fn sponsored_until(&self, two: &Two) -> Time {
        let Two { claimant, other, first, interval, td, .. } = *two;
        let beat = self.oracle.early.vouched[other];
        if beat + MILLI > first {
            // It was alive then, and may have outlived the claimant's last probe: the way between them was dark.
            return Time::MAX;
        }
        let sponsored = beat.max(self.oracle.early.pairs[other][claimant].sponsored) + td;
        // Unless the claimant has heard it, and is about to yield.
        let heard = self.oracle.early.pairs[claimant][other].heard;
        if heard > first { sponsored.max(heard + CHALLENGE + 3 * interval + self.wake()) } else { sponsored }
    }

    /// R11: until when two that both own may, if one is heard by the other and does not hear it.
    pub(in crate::oracle) fn one_way_overlaps_until(
        &self,
        router: usize,
        a: usize,
        b: usize,
        since: Time,
    ) -> Option<Time> {
        let each = [(a, b), (b, a)].into_iter();
        each.filter_map(|(node, deaf)| self.gives_way_by(node, deaf, router, since)).min()
    }

    /// R11: by when an owner gives way to another one that it hears, and that does not hear it: at the second advert of that which comes
    /// once it is known. `None` if it need not.
    fn gives_way_by(&self, node: usize, deaf: usize, router: usize, since: Time) -> Option<Time> {
        let timing = self.probes_of(node).filter(|timing| timing.takes_over)?;
        let pair = &self.oracle.early.pairs[node][deaf];
        let block = pair.block.as_ref().filter(|block| !block.leaving)?;
        let flags = block.routers.iter().find(|flags| usize::from(flags.vrid.get()) == router + 1)?;
        let acts = |node: usize| {
            let n = &self.nodes[node];
            n.can_run(self.now) && !n.in_turn && n.send_faults == 0 && !n.stopping && n.mailbox.is_empty()
        };
        let waits = self.oracle.tracks[deaf][router].offered.is_some();
        let claims = |node: usize| self.oracle.early.claims[node][router].since.is_some();
        if !acts(node)
            || !acts(deaf)
            || waits
            || claims(node)
            || !flags.participates
            || self.plan.is_grouped(router)
            || self.settings(node, router).priority.is_owner()
            || !self.speaks_one_language(router)
        {
            return None;
        }
        let health = |node: usize| &self.oracle.health[node];
        let calm = |node: usize| {
            let track = &self.oracle.tracks[node][router];
            let health = health(node);
            let probed = self.oracle.early.reprobed[node];
            track.since.max(track.configured_at).max(health.disturbed).max(health.send_failed).max(probed)
        };
        let begins = since
            .max(pair.deaf_since?)
            .max(pair.rested)
            .max(calm(node))
            .max(calm(deaf))
            .max(self.parted(deaf, node, router))
            .max(self.oracle.early.stood[node]);
        let knows = ns(timing.interval) * 2 + 3 * detect(timing);
        Some(begins + knows + 2 * self.slowest(router) + self.plan.network.longest() + 2 * self.wake())
    }

    /// By when a healthy backup must have taken over early; `None` if it need not.
    pub(in crate::oracle) fn should_take_over_by(
        &self,
        node: usize,
        router: usize,
        since: Time,
    ) -> Option<Time> {
        let claims = self.should_claim_by(node, router, since);
        claims.into_iter().chain(self.is_missed_by(node, router, since)).min()
    }

    /// R7.
    fn is_missed_by(&self, node: usize, router: usize, since: Time) -> Option<Time> {
        if self.was_perhaps_one_way(node) {
            // R11.
            return None;
        }
        let timing = *self.probes_of(node)?;
        let (td, interval) = (detect(&timing), ns(timing.interval));
        let health = &self.oracle.health[node];
        let reprobed = self.oracle.early.reprobed[node];
        let mut begins = since.max(health.disturbed).max(health.deafened).max(reprobed);
        if self.plan.arbiter {
            if !self.arbiter_was_reached(node, self.now.saturating_sub(interval + interval / 2)) {
                return None;
            }
            begins = begins.max(self.oracle.early.arbiter_back[node]);
        }
        for member in self.plan.members(router) {
            let track = &self.oracle.tracks[node][member];
            let settings = self.settings(node, member);
            if !timing.takes_over
                || settings.fence
                || settings.priority.is_owner()
                || track.heard_at <= track.began
            {
                return None;
            }
            begins = begins.max(track.since).max(track.configured_at).max(track.followed_since);
            for other in (0..self.nodes.len()).filter(|other| *other != node) {
                let pair = &self.oracle.early.pairs[node][other];
                self.probes_of(other)?;
                if self.now - pair.probed > 2 * interval {
                    return None;
                }
                begins = begins.max(pair.quiet_since[member]?);
            }
        }
        let others = self.nodes.len() as Time - 1;
        let skew = interval + others * 3 * MILLI / 2;
        Some(begins + td + skew + 3 * interval + self.wake())
    }

    fn should_claim_by(&self, node: usize, router: usize, since: Time) -> Option<Time> {
        if self.was_perhaps_one_way(node) {
            // R11.
            return None;
        }
        let timing = *self.probes_of(node)?;
        let members = || self.plan.members(router);
        let health = &self.oracle.health[node];
        let group = self.plan.groups[router];
        let (td, interval) = (detect(&timing), ns(timing.interval));
        let others = self.nodes.len() as Time - 2;
        let skew = if others > 0 { interval + others * 3 * MILLI / 2 } else { 0 };
        let mut due = since;
        for member in members() {
            let track = &self.oracle.tracks[node][member];
            let peer = track.master?;
            let (says, _) = track.master_says?;
            let theirs = self.probes_of(peer)?;
            let agreed = (theirs.interval, theirs.multiplier) == (timing.interval, timing.multiplier);
            let counted = theirs.takes_over && self.counts(peer, node) && self.counts(node, peer);
            let claimable = timing.takes_over && counted && agreed && says < Priority::new(254);
            if !claimable
                || self.settings(node, member).fence
                || self.settings(node, member).priority.is_owner()
            {
                return None;
            }
            let pair = &self.oracle.early.pairs[node][peer];
            let steady = ns(timing.steady).max(3 * td) + 3 * interval;
            let began = track
                .master_since
                .max(self.oracle.early.reprobed[node])
                .max(self.oracle.early.reprobed[peer]);
            let block = pair.block.as_ref()?;
            let listed = block.routers.iter().find(|flags| usize::from(flags.vrid.get()) == member + 1)?;
            if listed.priority >= Priority::new(254) {
                return None;
            }
            // R1, R2.
            let is_steady = pair.steady_since.is_some_and(|since| {
                pair.heard_local.saturating_since(since).as_nanos() >= u128::from(steady)
            });
            let undisturbed = health.disturbed.max(health.deafened) + 2 * td < pair.heard;
            let known = began.max(track.since) + steady < pair.heard;
            let answered = pair.heard - pair.answered <= interval;
            let damped = self.oracle.early.claims[node][group].perhaps_until > pair.heard_local;
            // A probe of it that is still under way may be the first of a new word.
            if !is_steady || !undisturbed || !known || !answered || damped || block.leaving {
                return None;
            }
            if self.plan.arbiter && !self.arbiter_was_reached(node, pair.heard) {
                return None;
            }
            due = due.max(self.oracle.early.arbiter_back[node] + interval + self.wake());
            let wait = (interval / 2).max(2 * MILLI);
            due = due.max(pair.heard + td + wait + skew + self.wake());
            if due + self.wake() > pair.answered + 3 * td - MILLI {
                // R2 leaves it to the down timer by then.
                return None;
            }
        }
        Some(due.max(since + self.wake()))
    }

    fn arbiter_was_reached(&self, node: usize, since: Time) -> bool {
        let asked = self.nodes[node].clock.when(self.nodes[node].arbiter);
        self.reaches_arbiter(node) && asked > since
    }

    /// R3, R6, R8: what must have come of claims by `to`.
    pub(in crate::oracle) fn claims_are_followed(&mut self, to: Time) {
        if !self.is_early() {
            return;
        }
        for node in 0..self.nodes.len() {
            for router in 0..self.plan.groups.len() {
                if let Some(cause) = self.claim_breaks(node, router, to) {
                    return self.fail(cause);
                }
            }
        }
    }

    fn claim_breaks(&self, node: usize, router: usize, to: Time) -> Option<Cause> {
        let log = &self.oracle.early.claims[node][router];
        let since = log.since?;
        let (n, health) = (&self.nodes[node], &self.oracle.health[node]);
        let interval = ns(self.probes_of(node)?.interval);
        let calm = since.max(health.disturbed).max(health.send_failed);
        if !n.can_run(self.now) || n.in_turn || n.send_faults > 0 || !n.mailbox.is_empty() {
            return None;
        }
        let wake = self.wake();
        let hesitated = self.oracle.tracks[node][router].hesitated;
        if log.adverts < 3 && calm == since && !hesitated && to > since + 3 * MILLI + wake {
            return Some(Cause::ClaimNotRepeated { router, node });
        }
        let told = |at: Time| log.announced >= at && self.oracle.tracks[node][router].last_send >= at;
        // It may be silent again before a process that could not run looks.
        let heard = self.oracle.early.pairs[node].get(log.master).map_or(0, |pair| pair.heard);
        let is_back = heard + detect(self.probes_of(node)?) > health.disturbed;
        if let Some(returned) = log.returned.filter(|at| is_back && !told(*at))
            // One that has slept listens first.
            && to > (returned + interval).max(calm + 3 * interval) + wake
        {
            return Some(Cause::ReturnUntold { router, node });
        }
        // R6: whatever is heard of it, its lease is over.
        let slowest = self.plan.members(router).map(|member| self.slowest(member)).max().unwrap_or(0);
        let lease = slowest * (self.most_patient() + 1);
        if to > (log.began + lease + lease / 1024).max(calm) + 12 * interval + CHALLENGE + wake {
            return Some(Cause::ClaimKept { router, node });
        }
        let pair = self.oracle.early.pairs[node].get(log.master)?;
        let quiet = pair.quiet_since[router].filter(|_| self.now - pair.probed <= 2 * interval)?;
        // Of a group only all of it tells.
        let alone = !self.plan.is_grouped(router);
        let stays = alone && to > (quiet + 7 * interval).max(calm + 9 * interval) + wake;
        stays.then_some(Cause::ClaimKept { router, node })
    }
}
