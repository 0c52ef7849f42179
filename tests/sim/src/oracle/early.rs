//! Early takeover: the rules R1 to R11 of `docs/internals/early-takeover.md` as they look from outside.
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
    world::{NOTABLE_STALL, World, detect},
};

/// What one node's kernel has heard of another's host.
#[derive(Clone, Debug, Default)]
pub struct Pair {
    heard: Time,
    heard_local: Instant,
    answered: Time,
    answered_local: Instant,
    probed: Time,
    /// R11: when an answer has come after so long without one that it may have been taken for a peer that does not hear the node.
    heard_us_again: Time,
    /// When it was last not probed, since it has not been heard for long.
    rested: Time,
    /// R11: since when probes of it come and answers do not.
    deaf_since: Option<Time>,
    /// The same, but later by as much as the clock stood still.
    sponsored: Time,
    /// Since when answers have come without a gap of more than R2 allows, of one that takes over early too.
    steady_since: Option<Instant>,
    /// The same for a process that looked before the answer that ended a gap, and found the last one still young enough.
    perhaps_since: Option<Instant>,
    /// The look of the turn in which the last probe to it was sent.
    looked: Instant,
    /// The first probes to it since anything was heard, as many as make a silence: what each says of the time, and when it left.
    asked: Vec<(Instant, Instant)>,
    /// Of each router: since when its probes say that it does not own.
    quiet_since: Vec<Option<Time>>,
    /// When a frame to it was last lost or late, on each line.
    missed: [Time; 2],
    block: Option<Arc<ProbeBlock>>,
    /// When the newest probe was sent that it has answered.
    answers: Time,
    /// Of each router: when its probes last said that it owns.
    owner_at: Vec<Time>,
}

impl Pair {
    /// As it is from `local` on, if it was not before.
    fn begin_steady(&mut self, local: Instant) {
        self.steady_since.get_or_insert(local);
        self.perhaps_since.get_or_insert(local);
    }

    /// R9: as far as its probes tell, its leases count only while somebody vouches for them.
    fn asks_for_sponsors(&self) -> bool {
        self.block.as_ref().is_some_and(|block| block.takes_over)
    }
}

/// A [`Pair`] as it is at a look at the clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct Glimpse {
    heard: Instant,
    answered: Instant,
    perhaps_since: Option<Instant>,
    /// When the last of the probes has left that make a silence.
    asked: Option<Instant>,
}

/// What is known of claims on one node, by the first router of a group.
#[derive(Clone, Copy, Debug, Default)]
pub struct ClaimLog {
    /// Since when one stands.
    pub since: Option<Time>,
    /// The same, but later by as much as its clock stood still.
    began: Time,
    /// The interval of its probes then, and their detection time.
    rhythm: (Time, Time),
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
    /// A probe of it came long after it was written: what it says is not so any more.
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
    /// The same, as long as it had reached the arbiter.
    vouched: Vec<Time>,
    /// What its last probe says of the time.
    probed_at: Vec<Instant>,
    /// The last that has left.
    said: Vec<Option<Frame>>,
    reprobed: Vec<Time>,
    /// When each node's process could last run again, after more than an interval; and since when it cannot.
    resumed: Vec<Time>,
    stopped: Vec<Option<Time>>,
    /// Until when each node's clock last stood still.
    stood: Vec<Time>,
    /// When each node reached the arbiter again.
    arbiter_back: Vec<Time>,
}

impl EarlyLog {
    pub fn new(nodes: usize, routers: usize) -> Self {
        let pair =
            Pair { quiet_since: vec![None; routers], owner_at: vec![NEVER; routers], ..Pair::default() };
        Self {
            pairs: vec![vec![pair; nodes]; nodes],
            claims: vec![vec![ClaimLog::default(); routers]; nodes],
            beats: vec![NEVER; nodes],
            vouched: vec![NEVER; nodes],
            probed_at: vec![Instant::default(); nodes],
            said: vec![None; nodes],
            reprobed: vec![NEVER; nodes],
            resumed: vec![NEVER; nodes],
            stopped: vec![None; nodes],
            stood: vec![NEVER; nodes],
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

    /// R9: whether a node's program has a place for a peer among the backups that take over early.
    fn counts(&self, node: usize, peer: usize) -> bool {
        self.nodes[node].kernel.probes.counted[peer]
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
        // One that cannot look judges by what it finds when it can.
        let looks = self.nodes[to].can_run(now) && !self.nodes[to].in_turn;
        for claim in self.oracle.early.claims[to].iter_mut().filter(|claim| claim.master == from) {
            if !claim.judged {
                claim.judged = looks;
                claim.perhaps_until = local + std::time::Duration::from_nanos(most);
                if !looks {
                    // It may take this for a false alarm, or may not.
                } else if now < claim.down_at {
                    // R2.
                    let damping = (damping << claim.false_alarms.min(20)).min(most);
                    claim.disarmed_until = local + std::time::Duration::from_nanos(damping);
                    claim.false_alarms += 1;
                } else {
                    claim.false_alarms = 0;
                }
            }
            if claim.since.is_some() && was_silent {
                // One that was not answered before it was gone again does not count.
                let told = |at: &Time| claim.announced >= *at;
                claim.returned = claim.returned.filter(told).or(Some(now));
            }
        }
    }

    pub fn heard_answer(&mut self, frame: &Frame) {
        let (to, from) = (frame.to, frame.from);
        self.heard_anything(to, from);
        let (now, local) = (self.now, self.local(to));
        let Some(limit) = self.probes_of(to).map(|timing| 3 * detect(timing) - MILLI) else { return };
        let asked = self.nodes[to].clock.when(frame.at);
        let pair = self.pair(to, from);
        pair.answers = pair.answers.max(asked);
        if local.saturating_since(pair.answered_local).as_nanos() >= u128::from(limit) {
            pair.steady_since = None;
        }
        if pair.looked.min(frame.at).saturating_since(pair.answered_local).as_nanos() >= u128::from(limit) {
            pair.perhaps_since = None;
        }
        if pair.answered + 2 * limit / 3 < now {
            pair.heard_us_again = now;
        }
        (pair.answered, pair.answered_local, pair.deaf_since) = (now, local, None);
        if now - pair.probed < limit / 3 && pair.asks_for_sponsors() {
            pair.begin_steady(local);
        }
    }

    pub fn heard_probe(&mut self, frame: &Frame) {
        let (to, from, now) = (frame.to, frame.from, self.now);
        self.heard_anything(to, from);
        let Some(block) = &frame.block else { return };
        // What it says is as old as its sender's last look at the clock.
        let written = self.nodes[from].clock.when(frame.at);
        if now.saturating_sub(written) > self.plan.network.longest() + NOTABLE_STALL {
            let claims = self.oracle.early.claims[to].iter_mut().filter(|claim| claim.master == from);
            claims.for_each(|claim| claim.misled = true);
        }
        let (td, local) = (self.probes_of(to).map_or(0, detect), self.local(to));
        let interval = self.probes_of(to).map_or(0, |timing| ns(timing.interval));
        let pair = self.pair(to, from);
        let gap = now - pair.probed >= td;
        // The first probe without an answer leaves an interval after the last answer.
        if now > pair.answered + 3 * td + 2 * interval {
            pair.deaf_since.get_or_insert(now);
        }
        (pair.probed, pair.sponsored) = (now, now);
        for (router, quiet) in pair.quiet_since.iter_mut().enumerate() {
            let flags = block.routers.iter().find(|flags| usize::from(flags.vrid.get()) == router + 1);
            match flags {
                Some(RouterFlags { owner: false, .. }) if gap => *quiet = Some(now),
                Some(RouterFlags { owner: false, .. }) => _ = quiet.get_or_insert(now),
                Some(_) | None => *quiet = None,
            }
            if flags.is_some_and(|flags| flags.owner) {
                pair.owner_at[router] = now;
            }
        }
        pair.block = Some(block.clone());
        if !pair.asks_for_sponsors() {
            (pair.steady_since, pair.perhaps_since) = (None, None);
        } else if local.saturating_since(pair.answered_local).as_nanos()
            < u128::from((3 * td).saturating_sub(MILLI))
        {
            pair.begin_steady(local);
        }
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
        // RFC 3768 7.1: over version 2 nobody outranks an address owner.
        let is_deaf = kernel.records[router].version == 2 && ours.0.is_owner();
        let beats = !is_deaf && (flags.priority, frame.source) > ours;
        if kernel.records[router].version > 0 && beats && kernel.lease(router) != 0 {
            self.fail(Cause::ClaimIgnored { router, node });
        }
    }

    pub fn probes(&mut self, frame: &Frame) {
        let left = self.local(frame.from);
        let looked = self.oracle.health[frame.from].reads.first().map_or(frame.at, |read| read.local);
        self.pair(frame.from, frame.to).looked = looked;
        self.oracle.early.probed_at[frame.from] = frame.at;
        self.oracle.early.said[frame.from] = Some(frame.clone());
        let Some(timing) = self.probes_of(frame.from) else { return };
        let (most, gap) = (usize::from(timing.multiplier), timing.interval * 2);
        let pair = self.pair(frame.from, frame.to);
        if pair.asked.last().is_some_and(|(last, _)| frame.at.saturating_since(*last) > gap)
            && pair.asked.len() < most
        {
            // R1: it was late.
            pair.asked.clear();
        }
        if pair.asked.len() < most {
            pair.asked.push((frame.at, left));
        }
    }

    /// A probe that was due at `at` is not wanted: its peer has not been heard for long, and hears as little as if it were lost.
    pub fn rests(&mut self, node: usize, peer: usize, at: Instant) {
        self.oracle.early.probed_at[node] = at;
        let now = self.now;
        self.pair(node, peer).rested = now;
        self.frame_missed(node, peer, Line::Main);
        self.frame_missed(node, peer, Line::Heartbeat);
    }

    /// A daemon says that it has spoken at `at`; `sponsored`: somebody vouched for its node until then.
    pub fn beats(&mut self, node: usize, at: Instant, sponsored: bool) {
        let Some(timing) = self.probes_of(node).copied() else { return };
        let (td, interval) = (detect(&timing), ns(timing.interval));
        let early = &self.oracle.early;
        if at > early.probed_at[node] {
            self.fail(Cause::BeatTooLate { node });
        }
        if !sponsored {
            self.says_what_it_owns(node, at);
        }
        let early = &self.oracle.early;
        let (before, resumed) = (early.beats[node], early.resumed[node]);
        // R10: one that could not run since its last beat, and had nothing in its way but that.
        let slept = before > NEVER && resumed > before + td && self.oracle.health[node].send_failed < before;
        let soon = self.now + MILLI / 10 < resumed + 2 * interval;
        if !sponsored && slept && soon && !self.plan.arbiter {
            self.fail(Cause::SpokeTooSoon { node });
        }
        let beat = self.nodes[node].clock.when(at).min(self.now);
        let reached = self.nodes[node].clock.when(self.nodes[node].arbiter) + 2 * interval;
        self.oracle.early.beats[node] = beat;
        let vouched = if self.plan.arbiter { beat.min(reached) } else { beat };
        self.oracle.early.vouched[node] = self.oracle.early.vouched[node].max(vouched);
    }

    /// R9: who owns by its beat from now on has told that with it.
    fn says_what_it_owns(&mut self, node: usize, at: Instant) {
        let said = self.oracle.early.said[node].iter().filter(|frame| frame.at == at);
        let said = said.filter_map(|frame| frame.block.as_ref()).flat_map(|block| &block.routers);
        let mut untold = said.filter(|flags| !flags.owner).map(|flags| usize::from(flags.vrid.get()) - 1);
        if let Some(router) = untold.find(|router| self.nodes[node].owns(*router, self.now)) {
            self.fail(Cause::OwnedUntold { router, node });
        }
    }

    /// A process that ran cannot run any more.
    pub fn early_stopped(&mut self, node: usize) {
        self.oracle.early.stopped[node].get_or_insert(self.now);
    }

    /// A machine was paused until now.
    pub fn early_woke(&mut self, node: usize, clock_stood: bool) {
        if clock_stood {
            // It cannot know.
            self.oracle.early.stopped[node] = None;
        }
        self.early_resumed(node);
    }

    /// A process may run again.
    pub fn early_resumed(&mut self, node: usize) {
        if !self.nodes[node].can_run(self.now) {
            return;
        }
        let Some(stopped) = self.oracle.early.stopped[node].take() else { return };
        // R10: a listener does not notice less.
        if self.probes_of(node).is_some_and(|timing| self.now - stopped > ns(timing.interval) + MILLI / 2) {
            self.oracle.early.resumed[node] = self.now;
        }
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
            (pair.steady_since, pair.perhaps_since, pair.answered_local) = (None, None, Instant::default());
            pair.asked.clear();
        }
    }

    /// A process begins with a router: it knows nothing of what the former did.
    pub(super) fn early_begins_anew(&mut self, node: usize, router: usize) {
        self.oracle.early.claims[node][router] = ClaimLog { judged: true, ..ClaimLog::default() };
    }

    /// A process begins, and finds what was stamped for the former if that is `pinned`.
    pub(super) fn early_started(&mut self, node: usize, pinned: bool) {
        let (now, local) = (self.now, self.local(node));
        let limit = self.probes_of(node).map_or(0, |timing| 3 * detect(timing) - MILLI);
        for pair in &mut self.oracle.early.pairs[node] {
            if !pinned {
                (pair.heard_local, pair.answered_local) = (Instant::default(), Instant::default());
                (pair.probed, pair.block) = (NEVER, None);
                pair.quiet_since.fill(None);
            }
            let is_up = pair.answered_local != Instant::default()
                && local.saturating_since(pair.answered_local).as_nanos() < u128::from(limit)
                && now - pair.probed < limit / 3
                && pair.asks_for_sponsors();
            (pair.steady_since, pair.perhaps_since) = (is_up.then_some(local), is_up.then_some(local));
            pair.asked.clear();
        }
        self.oracle.early.stopped[node] = None;
    }

    /// Its clock knows nothing of the last `for_`.
    pub(super) fn early_clock_stood(&mut self, node: usize, for_: Time) {
        self.oracle.early.stood[node] = self.now;
        self.oracle.early.beats[node] += for_;
        self.oracle.early.vouched[node] += for_;
        for pair in &mut self.oracle.early.pairs[node] {
            pair.sponsored += for_;
        }
        for claim in &mut self.oracle.early.claims[node] {
            claim.down_at += for_;
            claim.began += for_;
        }
    }

    pub(super) fn glimpses(&self, node: usize) -> impl Iterator<Item = Glimpse> {
        let most = self.probes_of(node).map(|timing| usize::from(timing.multiplier));
        let pairs = most.map(|most| (most, &self.oracle.early.pairs[node]));
        pairs.into_iter().flat_map(|(most, pairs)| {
            pairs.iter().map(move |pair| Glimpse {
                heard: pair.heard_local,
                answered: pair.answered_local,
                perhaps_since: pair.perhaps_since,
                asked: pair.asked.get(most - 1).map(|(_, left)| *left),
            })
        })
    }
}
