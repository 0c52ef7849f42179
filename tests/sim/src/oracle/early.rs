//! Early takeover: the rules R1 to R10 of `docs/internals/early-takeover.md` as they look from outside.
//!
//! The oracle sees each probe and each answer arrive or get lost, and holds what a claimant did against that.

mod bounds;
mod claims;

use std::sync::Arc;

use vipd_common::Priority;
use vipd_core::{
    early::{ProbeBlock, ProbeTiming, RouterFlags},
    time::Instant,
};

use super::{Cause, NEVER};
use crate::{
    clock::{MILLI, Time, ns},
    early::{Frame, Line},
    world::{World, detect},
};

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
    /// The same if all doubt is held against it.
    perhaps_until: Instant,
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
    /// When each node's process could last run again.
    resumed: Vec<Time>,
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
            resumed: vec![NEVER; nodes],
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
                claim.perhaps_until = local + std::time::Duration::from_nanos(most);
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

    /// A daemon says that it has spoken at `at`; `sponsored`: somebody vouched for its node until then.
    pub fn beats(&mut self, node: usize, at: Instant, sponsored: bool) {
        let Some(timing) = self.probes_of(node).copied() else { return };
        let (td, interval) = (detect(&timing), ns(timing.interval));
        let early = &self.oracle.early;
        let (before, resumed) = (early.beats[node], early.resumed[node]);
        // R10: one that could not run since its last beat, and had nothing in its way but that.
        let slept = before > NEVER && resumed > before + td && self.oracle.health[node].send_failed < before;
        let soon = self.now + MILLI / 10 < resumed + 2 * interval;
        if !sponsored && slept && soon && !self.plan.arbiter {
            self.fail(Cause::SpokeTooSoon { node });
        }
        self.oracle.early.beats[node] = self.nodes[node].clock.when(at).min(self.now);
    }

    /// A process can run again.
    pub(super) fn early_resumed(&mut self, node: usize) {
        self.oracle.early.resumed[node] = self.now;
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
}
