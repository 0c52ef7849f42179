//! One peer's host: whether it answers, and since when it does not.

use std::time::Duration;

use vipd_common::sponsor::DARK_DETECTIONS;

use super::{PeerStamps, ProbeTiming};
use crate::time::Instant;

/// What is known of a peer's host, by what XDP has stamped and what was sent.
#[derive(Clone, Debug, Default)]
pub(super) struct ProbeSession {
    pub stamps: PeerStamps,
    /// The first probes since anything was heard, as many as make a silence.
    unanswered: Vec<Instant>,
    last_sent: Instant,
    /// Since when both ends hear each other.
    up_since: Option<Instant>,
}

impl ProbeSession {
    /// Nothing of what was agreed on counts any more.
    pub fn restart(&mut self) {
        self.unanswered.clear();
        self.up_since = None;
    }

    /// Takes note of XDP's stamps.
    pub fn look(&mut self, stamps: PeerStamps, timing: &ProbeTiming, now: Instant) {
        self.stamps = stamps;
        // R1: nothing at all since before the first of them was sent.
        let heard = self.stamps.heard;
        self.unanswered.retain(|sent| *sent > heard);
        // R1: one that is late cannot tell its own sleep from the peer's, and counts anew.
        if now.saturating_since(self.last_sent) > timing.interval * 2 {
            self.unanswered.clear();
        }
        let agreed = self.stamps.block.as_ref().is_some_and(|block| {
            (block.interval, block.multiplier) == (timing.interval, timing.multiplier) && !block.leaving
        });
        // A daemon that is silent does not end it: its host answers.
        let probed = self.up_since.is_some() || self.is_fresh(self.stamps.probed, timing.detect(), now);
        if agreed && probed && self.is_fresh(self.stamps.answered, timing.answer_limit(), now) {
            self.up_since.get_or_insert(now);
        } else {
            self.up_since = None;
        }
    }

    /// Takes note of a probe that was sent.
    pub fn sent(&mut self, at: Instant, timing: &ProbeTiming) {
        self.last_sent = at;
        if self.unanswered.len() < usize::from(timing.multiplier) {
            self.unanswered.push(at);
        }
    }

    /// When the silence is complete if nothing more is heard; `None` if too few probes have been sent since the last word.
    pub fn silent_at(&self, timing: &ProbeTiming) -> Option<Instant> {
        let last = self.unanswered.get(usize::from(timing.multiplier).checked_sub(1)?)?;
        // R1: each of them without an answer for long enough; and no sooner than a master's sponsors have all fallen silent, which
        // the probes alone do not say.
        Some((*last + timing.answer_wait()).max(self.stamps.heard + timing.detect()))
    }

    /// Whether the host says nothing, and has been asked often enough.
    pub fn is_silent(&self, timing: &ProbeTiming, now: Instant) -> bool {
        self.silent_at(timing).is_some_and(|at| now >= at)
    }

    /// R2: whether silence, if it begins now, is that of the host and not of the way to it.
    pub fn is_armed(&self, timing: &ProbeTiming, now: Instant) -> bool {
        self.up_since.is_some_and(|since| {
            now.saturating_since(since) >= timing.steady.max(timing.detect() * DARK_DETECTIONS)
        })
    }

    /// Whether the peer's daemon was heard within a detection time.
    pub fn is_live(&self, timing: &ProbeTiming, now: Instant) -> bool {
        self.is_fresh(self.stamps.probed, timing.detect(), now)
    }

    /// Whether anything of the host was.
    pub fn is_heard(&self, timing: &ProbeTiming, now: Instant) -> bool {
        self.is_fresh(self.stamps.heard, timing.detect(), now)
    }

    fn is_fresh(&self, stamp: Instant, for_: Duration, now: Instant) -> bool {
        stamp != Instant::default() && now.saturating_since(stamp) < for_
    }
}
