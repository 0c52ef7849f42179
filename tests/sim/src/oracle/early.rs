//! Early takeover: the rules R1 to R10 of `docs/internals/early-takeover.md` as they look from outside.
//!
//! The oracle sees each probe and each answer arrive or get lost, and holds what a claimant did against that.

use std::sync::Arc;

use vipd_common::Priority;
use vipd_core::{
    early::{ProbeBlock, ProbeTiming, RouterFlags},
    time::Instant,
    vrrp::{Reason, StateName},
};

use super::{Cause, NEVER};
use crate::{
    clock::{MICRO, MILLI, Time, ns},
    early::{Frame, Line},
    world::{World, detect},
};

/// R5: see `vipd_core::early`; the oracle has its own.
const CHALLENGE: Time = 8 * MILLI;
/// What an engine may take from a moment to its act, besides what it is woken up late by.
const SLACK: Time = 2 * MILLI;

/// What one node's kernel has heard of another's host.
#[derive(Clone, Debug, Default)]
pub struct Pair {
    heard: Time,
    heard_local: Instant,
    answered: Time,
    answered_local: Instant,
    probed: Time,
    /// Without a claim.
    sponsored: Time,
    /// Since when answers have come without a gap of more than R2 allows.
    steady_since: Option<Instant>,
    /// The first probes to it since anything was heard, as many as make a silence.
    asked: Vec<Instant>,
    /// Of each router: since when its probes say that it does not own.
    quiet_since: Vec<Option<Time>>,
    /// When a frame to it was last lost or late, on each line.
    missed: [Time; 2],
    block: Option<Arc<ProbeBlock>>,
}

/// A [`Pair`] as it is at a look at the clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct Glimpse {
    heard: Instant,
    answered: Instant,
    steady_since: Option<Instant>,
    /// When the last of the probes was sent that make a silence.
    asked: Option<Instant>,
}

/// What is known of claims on one node, by the first router of a group.
#[derive(Clone, Copy, Debug, Default)]
pub struct ClaimLog {
    /// Since when one stands.
    pub since: Option<Time>,
    master: usize,
    /// When VRRP would have taken over, and whether the master was silent.
    down_at: Time,
    judged: bool,
    false_alarms: u32,
    disarmed_until: Instant,
    /// Adverts since the claim.
    adverts: u32,
    /// When the master was heard again.
    returned: Option<Time>,
    /// A probe of it came far later than frames do: what it says is not so any more.
    misled: bool,
    pub announced: Time,
}

/// All of it.
#[derive(Clone, Debug, Default)]
pub struct EarlyLog {
    /// By who hears, and who is heard.
    pub pairs: Vec<Vec<Pair>>,
    /// By node and router.
    pub claims: Vec<Vec<ClaimLog>>,
    /// When each node's daemon has last read the clock for a probe that it sent.
    beats: Vec<Time>,
    reprobed: Vec<Time>,
    /// When each node reached the arbiter again.
    arbiter_back: Vec<Time>,
}

impl EarlyLog {
    pub fn new(nodes: usize, routers: usize) -> Self {
        let pair = Pair { quiet_since: vec![None; routers], ..Pair::default() };
        Self {
            pairs: vec![vec![pair; nodes]; nodes],
            claims: vec![vec![ClaimLog::default(); routers]; nodes],
            beats: vec![NEVER; nodes],
            reprobed: vec![NEVER; nodes],
            arbiter_back: vec![NEVER; nodes],
        }
    }
}

impl World {
    fn pair(&mut self, to: usize, from: usize) -> &mut Pair {
        &mut self.oracle.early.pairs[to][from]
    }

    fn probes_of(&self, node: usize) -> Option<&ProbeTiming> {
        self.plan.nodes[node].probes.as_ref()?;
        self.nodes[node].plan.probes.as_ref()
    }

    /// Whether any node takes over early.
    pub(super) fn is_early(&self) -> bool {
        self.plan.nodes.iter().any(|node| node.probes.is_some())
    }

    // What happens on the wire.

    /// A frame, or an advert, has not come by a line, or too late.
    pub fn frame_missed(&mut self, from: usize, to: usize, line: Line) {
        let now = self.now;
        self.pair(to, from).missed[line as usize] = now;
    }

    /// When frames from one to the other were last lost on every line.
    fn parted(&self, from: usize, to: usize, router: usize) -> Time {
        let missed = self.oracle.early.pairs[to][from].missed;
        let adverts = self.plan.members(router).map(|member| self.oracle.missed[from][to][member]).max();
        // An advert is missed when no line has carried it.
        let frames = if self.plan.heartbeat { missed[0].min(missed[1]) } else { missed[0] };
        frames.max(adverts.unwrap_or(NEVER))
    }

    pub fn heard_anything(&mut self, to: usize, from: usize) {
        let (now, local) = (self.now, self.local(to));
        let Some(timing) = self.probes_of(to) else { return };
        let (td, damping) = (detect(timing), ns(timing.damping));
        let most = ns(timing.damping_max);
        let pair = self.pair(to, from);
        let was_silent = now - pair.heard >= td;
        (pair.heard, pair.heard_local) = (now, local);
        pair.asked.clear();
        for claim in self.oracle.early.claims[to].iter_mut().filter(|claim| claim.master == from) {
            if !claim.judged {
                claim.judged = true;
                if now < claim.down_at {
                    // R2.
                    let damping = (damping << claim.false_alarms.min(20)).min(most);
                    claim.disarmed_until = local + std::time::Duration::from_nanos(damping);
                    claim.false_alarms += 1;
                } else {
                    claim.false_alarms = 0;
                }
            }
            if claim.since.is_some() && was_silent {
                claim.returned.get_or_insert(now);
            }
        }
    }

    pub fn heard_answer(&mut self, frame: &Frame) {
        let (to, from) = (frame.to, frame.from);
        self.heard_anything(to, from);
        let (now, local) = (self.now, self.local(to));
        let Some(limit) = self.probes_of(to).map(|timing| 3 * detect(timing) - MILLI) else { return };
        let pair = self.pair(to, from);
        if local.saturating_since(pair.answered_local).as_nanos() >= u128::from(limit) {
            pair.steady_since = None;
        }
        (pair.answered, pair.answered_local) = (now, local);
        if now - pair.probed < limit / 3 {
            pair.steady_since.get_or_insert(local);
        }
    }

    pub fn heard_probe(&mut self, frame: &Frame) {
        let (to, from, now) = (frame.to, frame.from, self.now);
        self.heard_anything(to, from);
        let Some(block) = &frame.block else { return };
        if now - frame.sent > self.plan.network.longest() {
            let claims = self.oracle.early.claims[to].iter_mut().filter(|claim| claim.master == from);
            claims.for_each(|claim| claim.misled = true);
        }
        let td = self.probes_of(to).map_or(0, detect);
        let pair = self.pair(to, from);
        let gap = now - pair.probed >= td;
        pair.probed = now;
        if !block.routers.iter().any(|router| router.claim) {
            pair.sponsored = now;
        }
        for (router, quiet) in pair.quiet_since.iter_mut().enumerate() {
            let flags = block.routers.iter().find(|flags| usize::from(flags.vrid.get()) == router + 1);
            match flags {
                Some(RouterFlags { owner: false, .. }) if gap => *quiet = Some(now),
                Some(RouterFlags { owner: false, .. }) => _ = quiet.get_or_insert(now),
                Some(_) | None => *quiet = None,
            }
        }
        pair.block = Some(block.clone());
    }

    /// R4: a probe of somebody who owns a router, or claims it, has come, where the lease word was `was`.
    pub fn heard_owner(&mut self, frame: &Frame, flags: &RouterFlags, was: u64) {
        let (node, router) = (frame.to, usize::from(flags.vrid.get()) - 1);
        if router >= self.plan.groups.len() {
            return;
        }
        self.unheard_probe(node, router, was);
        let now = self.now;
        for member in self.plan.members(router) {
            self.track(node, member).rival_at = now;
        }
        let kernel = &self.nodes[node].kernel;
        let ours = (Priority::new(kernel.records[router].priority), self.nodes[node].plan.address);
        let beats = (flags.priority, frame.source) > ours;
        if kernel.records[router].version > 0 && beats && kernel.lease(router) != 0 {
            self.fail(Cause::ClaimIgnored { router, node });
        }
    }

    pub fn probes(&mut self, frame: &Frame) {
        let local = self.oracle.health[frame.from].reads.last().map_or(Instant::default(), |read| read.local);
        let Some(timing) = self.probes_of(frame.from) else { return };
        let (most, gap) = (usize::from(timing.multiplier), timing.interval * 2);
        let pair = self.pair(frame.from, frame.to);
        if pair.asked.last().is_some_and(|last| local.saturating_since(*last) > gap)
            && pair.asked.len() < most
        {
            // R1: it was late.
            pair.asked.clear();
        }
        if pair.asked.len() < most {
            pair.asked.push(local);
        }
    }

    pub fn beats(&mut self, node: usize, at: Instant) {
        self.oracle.early.beats[node] = self.nodes[node].clock.when(at).min(self.now);
    }

    /// The arbiter has answered, after so long.
    pub fn arbiter_answered(&mut self, node: usize, after: Time) {
        if self.probes_of(node).is_some_and(|timing| after > 2 * ns(timing.interval)) {
            self.oracle.early.arbiter_back[node] = self.now;
        }
    }

    pub fn begins_to_probe_anew(&mut self, node: usize) {
        let now = self.now;
        self.oracle.early.reprobed[node] = now;
        for pair in &mut self.oracle.early.pairs[node] {
            (pair.steady_since, pair.answered_local) = (None, Instant::default());
            pair.asked.clear();
        }
    }

    /// A process begins: it knows nothing of what the former did.
    pub(super) fn early_begins_anew(&mut self, node: usize, router: usize) {
        self.oracle.early.claims[node][router] = ClaimLog { judged: true, ..ClaimLog::default() };
        for pair in &mut self.oracle.early.pairs[node] {
            pair.steady_since = None;
            pair.answered_local = Instant::default();
            pair.asked.clear();
        }
    }

    /// Its clock knows nothing of the last `for_`.
    pub(super) fn early_clock_stood(&mut self, node: usize, for_: Time) {
        self.oracle.early.beats[node] += for_;
        for pair in &mut self.oracle.early.pairs[node] {
            pair.sponsored += for_;
        }
        for claim in &mut self.oracle.early.claims[node] {
            claim.down_at += for_;
        }
    }

    pub(super) fn glimpses(&self, node: usize) -> Vec<Glimpse> {
        let Some(timing) = self.probes_of(node) else { return Vec::new() };
        let glimpse = |pair: &Pair| Glimpse {
            heard: pair.heard_local,
            answered: pair.answered_local,
            steady_since: pair.steady_since,
            asked: pair.asked.get(usize::from(timing.multiplier) - 1).copied(),
        };
        self.oracle.early.pairs[node].iter().map(glimpse).collect()
    }

    // What a claimant does.

    /// R1, R2: whether what a process could have known when it read its clock is a reason for a claim.
    pub(super) fn claims_rightly(&mut self, node: usize, router: usize) {
        let Some(timing) = self.probes_of(node).copied() else {
            return self.fail(Cause::ClaimUnarmed { router, node });
        };
        let td = timing.detect();
        let wait = (timing.interval / 2).max(std::time::Duration::from_millis(2));
        let limit = td * 3 - std::time::Duration::from_millis(1);
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
                read.local.saturating_since(glimpse.answered) < limit
                    && glimpse.steady_since.is_some_and(|since| read.local.saturating_since(since) >= steady)
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
    fn early_skew(
        &self,
        node: usize,
        router: usize,
        masters: &[usize],
        read_at: Time,
    ) -> std::time::Duration {
        let none = std::time::Duration::ZERO;
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
            count => std::time::Duration::from_micros(1500) * count + timing.interval,
        }
    }

    /// R7: nobody who could be heard has owned the addresses for so long.
    pub(super) fn finds_orphan(&mut self, node: usize, router: usize) {
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
        if owner.is_some() || self.settings(node, router).fence {
            self.fail(Cause::ClaimTooSoon { router, node });
        }
    }

    /// A state has changed.
    pub(super) fn early_changed(&mut self, node: usize, router: usize, to: StateName, reason: Reason) {
        if !self.is_early() {
            return;
        }

        if reason == Reason::ClaimUnheard {
            self.yields_rightly(node, router);
        }
        let (now, track) = (self.now, self.oracle.tracks[node][router]);
        let log = &mut self.oracle.early.claims[node][router];
        if to == StateName::Master && reason == Reason::HostSilent {
            let master = track.master.unwrap_or(usize::MAX);
            let (since, down_at) = (Some(now), track.low);
            *log = ClaimLog {
                since,
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

    fn early_weighed(&mut self, node: usize, router: usize) {
        let now = self.now;
        for member in self.plan.members(router) {
            self.track(node, member).weighed_at = now;
        }
    }

    /// R5: one that gives its claim up has been heard in vain: the other owned after it had the time to hear the claim.
    fn yields_rightly(&mut self, node: usize, router: usize) {
        let log = self.oracle.early.claims[node][router];
        let Some(since) = log.since.filter(|_| !log.misled) else { return };
        let owned = (0..self.nodes.len()).filter(|other| *other != node).any(|other| {
            let track = &self.oracle.tracks[other][router];
            track.owned_since.is_some() || track.owned_until > since + CHALLENGE / 2
        });
        if !owned {
            self.fail(Cause::YieldedToNobody { router, node });
        }
    }

    pub(super) fn early_sent(&mut self, node: usize, router: usize) {
        self.oracle.early.claims[node][router].adverts += 1;
    }

    // Bounds.

    /// The latest that an engine comes to act.
    fn wake(&self) -> Time {
        SLACK + 2 * self.plan.network.wake.end
    }

    /// When a daemon last spoke: with an arbiter, and reached it no more than two intervals before.
    fn last_beat(&self, node: usize, interval: Time) -> Time {
        let beat = self.oracle.early.beats[node];
        if !self.plan.arbiter {
            return beat;
        }
        beat.min(self.nodes[node].clock.when(self.nodes[node].arbiter) + 2 * interval)
    }

    /// When a process was last held up, or could not run: now, if it is in the middle of a turn.
    fn last_disturbed(&self, node: usize) -> Time {
        if self.nodes[node].in_turn { self.now } else { self.oracle.health[node].disturbed }
    }

    /// Until when one that has claimed and the other that it outbids may both own; `None` if VRRP's bound is that of the two.
    pub(super) fn claim_overlaps_until(
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
        let timing = self.probes_of(claimant)?;
        self.probes_of(other)?;
        let (interval, td) = (ns(timing.interval), detect(timing));
        let track = &self.oracle.tracks[claimant][router];
        let first = track.first_send.filter(|first| *first <= at)?;
        if self.oracle.tracks[other][router].first_send.is_some_and(|taken| taken >= first) {
            // It has taken over itself since.
            return None;
        }
        let (longest, wake) = (self.plan.network.longest(), self.wake());
        let disturbed = self.last_disturbed(claimant);
        let lost = self.parted(claimant, other, router);
        let speaks = |node: usize| self.nodes[node].can_run(self.now) && self.nodes[node].send_faults == 0;
        if !speaks(claimant) && !speaks(other) {
            // Leases and sponsors run out.
            return None;
        }
        // R3, R4: the claim's delay.
        let claim = first + longest + MICRO;
        // R10: who was silent for long listens before it answers again, and what it hears then ends it.
        let owned = |node: usize| self.oracle.tracks[node][router].owned_since.unwrap_or(since);
        let (woke, listened) = (owned(other) > owned(claimant), since.saturating_sub(2 * interval));
        let until = if lost < first && since <= claim && disturbed < first {
            claim
        } else if !speaks(claimant) {
            // R4: the other says that it owns, to one whose daemon is silent.
            let silent = self.oracle.early.beats[claimant] + td;
            let said = self.parted(other, claimant, router).max(self.last_disturbed(other)).max(since);
            silent.max(said) + 2 * interval + longest + wake
        } else if woke && lost < listened && disturbed < listened && first + 2 * interval < listened {
            since
        } else {
            // The claim is repeated with each probe until it comes.
            // Also by a claimant that has slept itself.
            let from = if woke { first } else { first.max(since) };
            let comes = lost.max(from).max(disturbed) + interval + longest + wake;
            // R5: or the other is heard.
            let disturbed = disturbed.max(self.last_disturbed(other));
            let back = self.parted(other, claimant, router).max(first).max(disturbed);
            let back = back + CHALLENGE + 6 * interval + longest + 2 * wake;
            if speaks(other) { comes.min(back) } else { comes }
        };
        // R9: one whose daemon does not speak, and that does not hear the claimant, answers no longer than either did.
        let pair = &self.oracle.early.pairs[other][claimant];
        let beat = self.last_beat(other, interval);
        let sponsored = beat.max(pair.sponsored) + td;
        // Unless the claimant has heard it, and is about to yield.
        let heard = self.oracle.early.pairs[claimant][other].heard;
        let yields = if heard > first { heard + CHALLENGE + 3 * interval + wake } else { first };
        let sponsored = sponsored.max(yields);
        // One that was alive then may have outlived the claimant's last probe: the way between them was dark.
        let alive = beat + MILLI > first;
        let sponsored = if alive { Time::MAX } else { sponsored };
        Some(until.min(sponsored.max(claim)).max(if lost < first { claim } else { since }))
    }

    /// By when a healthy backup must have taken over early; `None` if it need not.
    pub(super) fn should_take_over_by(&self, node: usize, router: usize, since: Time) -> Option<Time> {
        let claims = self.should_claim_by(node, router, since);
        claims.into_iter().chain(self.is_missed_by(node, router, since)).min()
    }

    /// R7.
    fn is_missed_by(&self, node: usize, router: usize, since: Time) -> Option<Time> {
        let timing = *self.probes_of(node)?;
        let (td, interval) = (detect(&timing), ns(timing.interval));
        let health = &self.oracle.health[node];
        let mut begins = since.max(health.disturbed).max(health.deafened);
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
            begins = begins.max(track.since).max(track.configured_at);
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
            let claimable = timing.takes_over && agreed && says < Priority::new(254);
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
            // R1, R2.
            let is_steady = pair.steady_since.is_some_and(|since| {
                pair.heard_local.saturating_since(since).as_nanos() >= u128::from(steady)
            });
            let undisturbed = health.disturbed.max(health.deafened) + 2 * td < pair.heard;
            let known = began.max(track.since) + steady < pair.heard;
            let answered = pair.heard - pair.answered <= interval;
            let damped = self.oracle.early.claims[node][group].disarmed_until > pair.heard_local;
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
        }
        Some(due.max(since + self.wake()))
    }

    fn arbiter_was_reached(&self, node: usize, since: Time) -> bool {
        let asked = self.nodes[node].clock.when(self.nodes[node].arbiter);
        self.reaches_arbiter(node) && asked > since
    }

    /// R3, R6, R8: what must have come of claims by `to`.
    pub(super) fn claims_are_followed(&mut self, to: Time) {
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
        if log.adverts < 3 && calm == since && to > since + 3 * MILLI + wake {
            return Some(Cause::ClaimNotRepeated { router, node });
        }
        let told = |at: Time| log.announced >= at && self.oracle.tracks[node][router].last_send >= at;
        if let Some(returned) = log.returned.filter(|at| !told(*at))
            // One that has slept listens first.
            && to > (returned + interval).max(calm + 3 * interval) + wake
        {
            return Some(Cause::ReturnUntold { router, node });
        }
        let pair = self.oracle.early.pairs[node].get(log.master)?;
        let quiet = pair.quiet_since[router].filter(|_| self.now - pair.probed <= 2 * interval)?;
        // Of a group only all of it tells.
        let alone = !self.plan.is_grouped(router);
        let stays = alone && to > (quiet + 7 * interval).max(calm + 9 * interval) + wake;
        stays.then_some(Cause::ClaimKept { router, node })
    }
}
