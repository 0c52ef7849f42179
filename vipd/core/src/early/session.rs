//! One peer's host: whether it answers, and since when it does not.

use std::time::Duration;

use vipd_common::sponsor::DARK_DETECTIONS;

use super::{PeerStamps, ProbeTiming, SLOW_PACE};
use crate::time::Instant;

/// R11: one that has sent no probe for so long may be another daemon, which answers none.
const PROBED_WITHIN: Duration = Duration::from_secs(3_600);

/// What is known of a peer's host, by what XDP has stamped and what was sent.
#[derive(Clone, Debug, Default)]
pub(super) struct ProbeSession {
    pub stamps: PeerStamps,
    /// The first probes since anything was heard, as many as make a silence: by when each may be answered, and from when on it can be
    /// missed.
    unanswered: Vec<(Instant, Instant)>,
    last_sent: Instant,
    /// R11: when the first probe left after the last answer, if probes have left without a gap since.
    asked_since: Option<Instant>,
    /// R11: the last answer of a peer that speaks on and answers no more.
    deaf_after: Option<Instant>,
    /// Since when both ends hear each other.
    up_since: Option<Instant>,
    reliance: Reliance,
}

/// R9: whether the peer may rely on this node's falling silent without sponsors.
#[derive(Clone, Copy, Debug, Default)]
enum Reliance {
    #[default]
    None,
    /// The last probe to it said so.
    Told,
    /// One has left that did not. It may be lost, and so may the next; but a peer that hears no answers either is not armed after that.
    Until(Instant),
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
        self.unanswered.retain(|(sent, _)| *sent > heard);
        self.is_late(timing, now);
        self.listen_to_the_deaf(timing, now);
        let agreed = self.stamps.block.as_ref().is_some_and(|block| {
            // R9: only who takes over early asks for sponsors, and falls silent without them; and only who says so is one.
            let falls_silent = !timing.takes_over || block.takes_over && self.stamps.counted;
            (block.interval, block.multiplier) == (timing.interval, timing.multiplier)
                && falls_silent
                && !block.leaving
        });
        // A daemon that is silent does not end it: its host answers.
        let probed = self.up_since.is_some() || self.is_fresh(self.stamps.probed, timing.detect(), now);
        if agreed && probed && self.is_fresh(self.stamps.answered, timing.answer_limit(), now) {
            self.up_since.get_or_insert(now);
        } else {
            self.up_since = None;
        }
    }

    /// Takes note of a probe that was sent, after the clock showed `at` and before it showed `left`.
    pub fn sent(&mut self, at: Instant, left: Instant, timing: &ProbeTiming) {
        self.is_late(timing, at);
        self.last_sent = at;
        self.asked_since.get_or_insert(left);
        if self.unanswered.len() < usize::from(timing.multiplier) {
            self.unanswered.push((at, left));
        }
    }

    /// R9: takes note of whether that probe has said that this node takes over early.
    pub fn told(&mut self, takes_over: bool, left: Instant, timing: &ProbeTiming) {
        self.reliance = match self.reliance {
            _ if takes_over => Reliance::Told,
            Reliance::Told => {
                Reliance::Until(left + timing.steadiness().max(self.peer_detect() * DARK_DETECTIONS))
            }
            reliance => reliance,
        };
    }

    /// R9: takes note that a probe which was to say that this node does not take over early has not left. A peer whose probes have not come for
    /// so long has had no answer either, and is not armed any more (R2).
    pub fn untold(&mut self, now: Instant, timing: &ProbeTiming) {
        let unarmed_after = timing.steadiness().max(self.peer_detect() * DARK_DETECTIONS);
        if now.saturating_since(self.stamps.probed) >= unarmed_after {
            self.reliance = Reliance::None;
        }
    }

    /// The peer's own Td.
    fn peer_detect(&self) -> Duration {
        let block = self.stamps.block.as_ref();
        block.map_or(Duration::ZERO, |block| block.interval * u32::from(block.multiplier))
    }

    /// A former process may have told the peer whatever it liked.
    pub fn inherit(&mut self) {
        self.reliance = Reliance::Told;
    }

    /// R9: whether the peer may still rely on this node's falling silent without sponsors.
    pub fn relies(&self, now: Instant) -> bool {
        match self.reliance {
            Reliance::None => false,
            Reliance::Told => true,
            Reliance::Until(at) => now < at,
        }
    }

    /// R1: one that is late cannot tell its own sleep from the peer's, and counts anew.
    fn is_late(&mut self, timing: &ProbeTiming, now: Instant) {
        if now.saturating_since(self.last_sent) > timing.interval * 2 {
            self.unanswered.clear();
            self.asked_since = None;
        }
    }

    /// When the silence is complete if nothing more is heard; `None` if too few probes have been sent since the last word.
    pub fn silent_at(&self, timing: &ProbeTiming) -> Option<Instant> {
        let (_, last) = self.unanswered.get(usize::from(timing.multiplier).checked_sub(1)?)?;
        // R1: each of them without an answer for long enough; and no sooner than a master's sponsors have all fallen silent, which
        // the probes alone do not say.
        Some((*last + timing.answer_wait()).max(self.stamps.heard + timing.detect()))
    }

    /// Whether a probe has gone unanswered that should have been answered by now, and nothing was heard since.
    pub fn is_waited_for(&self, timing: &ProbeTiming, now: Instant) -> bool {
        self.unanswered.first().is_some_and(|(_, left)| now >= *left + timing.answer_wait())
    }

    /// Whether the host says nothing, and has been asked often enough.
    pub fn is_silent(&self, timing: &ProbeTiming, now: Instant) -> bool {
        self.silent_at(timing).is_some_and(|at| now >= at)
    }

    /// R2: whether silence, if it begins now, is that of the host and not of the way to it.
    pub fn is_armed(&self, timing: &ProbeTiming, now: Instant) -> bool {
        self.up_since.is_some_and(|since| now.saturating_since(since) >= timing.steadiness())
    }

    /// Whether the peer's daemon was heard within a detection time.
    pub fn is_live(&self, timing: &ProbeTiming, now: Instant) -> bool {
        self.is_fresh(self.stamps.probed, timing.detect(), now)
    }

    /// R11: whether the peer is heard and does not hear this node: its program has answered none of the probes that have left for so long that
    /// the way to it must be dark, and something of it has come since.
    ///
    /// That stays so until it answers, leaves, or falls silent, however seldom its probes come: who hears nobody rests, and a process that
    /// begins anew may not know whom to probe.
    pub fn is_one_way(&self) -> bool {
        self.deaf_after.is_some()
    }

    fn listen_to_the_deaf(&mut self, timing: &ProbeTiming, now: Instant) {
        let PeerStamps { heard, answered, probed, .. } = self.stamps;
        if self.asked_since.is_some_and(|since| answered >= since) {
            self.asked_since = None;
        }
        let speaks = self.stamps.block.as_ref().is_some_and(|block| !block.leaving)
            && self.is_fresh(heard, (SLOW_PACE * 3).max(self.peer_detect()), now)
            && self.is_fresh(probed, PROBED_WITHIN, now);
        let unanswered = self.asked_since.is_some_and(|since| heard >= since + timing.answer_limit());
        let is_deaf = speaks && (unanswered || self.deaf_after == Some(answered));
        self.deaf_after = is_deaf.then_some(answered);
    }

    /// Whether anything of the host was.
    pub fn is_heard(&self, timing: &ProbeTiming, now: Instant) -> bool {
        self.is_fresh(self.stamps.heard, timing.detect(), now)
    }

    fn is_fresh(&self, stamp: Instant, for_: Duration, now: Instant) -> bool {
        stamp != Instant::default() && now.saturating_since(stamp) < for_
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::early::ProbeBlock;

    fn ms(ms: u64) -> Instant {
        Instant::default() + Duration::from_millis(ms)
    }

    #[test]
    fn a_peer_relies_on_what_it_was_told_until_it_can_know_better() {
        let timing = ProbeTiming::new(Duration::from_millis(10), 3, true);
        let mut session = ProbeSession::default();
        session.told(false, ms(10), &timing);
        assert!(!session.relies(ms(10)));
        session.told(true, ms(20), &timing);
        // However long nothing is sent.
        assert!(session.relies(ms(60_000)));
        session.told(false, ms(60_000), &timing);
        session.told(false, ms(60_010), &timing);
        assert!(session.relies(ms(60_999)) && !session.relies(ms(61_000)));
        // Another process.
        session.inherit();
        session.told(false, ms(70_000), &timing);
        assert!(session.relies(ms(70_999)) && !session.relies(ms(71_000)));
        // One that nothing reaches, and of which nothing comes.
        session.inherit();
        session.stamps.probed = ms(71_000);
        session.untold(ms(71_999), &timing);
        assert!(session.relies(ms(72_000)));
        session.untold(ms(72_000), &timing);
        assert!(!session.relies(ms(72_000)));
        // A peer that takes its time before it acts takes as long before it does not.
        let block = ProbeBlock {
            interval: Duration::from_millis(200),
            multiplier: 5,
            takes_over: true,
            leaving: false,
            routers: Vec::new(),
        };
        session.stamps.block = Some(Arc::new(block));
        session.told(true, ms(80_000), &timing);
        session.told(false, ms(80_010), &timing);
        assert!(session.relies(ms(83_009)) && !session.relies(ms(83_010)));
    }

    /// A session that probes every 10 ms from `from` on, up to `to`, while the peer sends a probe each 10 ms, and answers or not.
    fn speak(session: &mut ProbeSession, (from, to): (u64, u64), probes: bool, answers: bool) {
        let timing = ProbeTiming::new(Duration::from_millis(10), 3, true);
        for at in (from..to).step_by(10) {
            session.sent(ms(at), ms(at), &timing);
            let mut stamps = session.stamps.clone();
            if probes {
                (stamps.probed, stamps.heard) = (ms(at + 1), ms(at + 1));
            }
            if answers {
                (stamps.answered, stamps.heard) = (ms(at + 1), ms(at + 1));
            }
            session.look(stamps, &timing, ms(at + 2));
        }
    }

    fn known() -> ProbeSession {
        let mut session = ProbeSession::default();
        let interval = Duration::from_millis(10);
        let block =
            ProbeBlock { interval, multiplier: 3, takes_over: true, leaving: false, routers: Vec::new() };
        session.stamps.block = Some(Arc::new(block));
        speak(&mut session, (1_000, 2_000), true, true);
        session
    }

    #[test]
    fn who_speaks_and_does_not_answer_does_not_hear() {
        let timing = ProbeTiming::new(Duration::from_millis(10), 3, true);
        let mut session = known();
        assert!(!session.is_one_way());
        // 3 Td, and no sooner.
        speak(&mut session, (2_000, 2_080), true, false);
        assert!(!session.is_one_way());
        speak(&mut session, (2_080, 2_120), true, false);
        assert!(session.is_one_way());
        // Its probes end, and other words of it go on, seldom: it is the same.
        session.sent(ms(4_900), ms(4_900), &timing);
        let stamps = PeerStamps { heard: ms(4_900), ..session.stamps.clone() };
        session.look(stamps.clone(), &timing, ms(4_901));
        assert!(session.is_one_way());
        // Nothing for 3 s.
        session.look(stamps, &timing, ms(7_901));
        assert!(!session.is_one_way());
        // An answer ends it at once.
        let mut session = known();
        speak(&mut session, (2_000, 2_200), true, false);
        speak(&mut session, (2_200, 2_210), true, true);
        assert!(!session.is_one_way());
    }

    #[test]
    fn who_is_dead_or_leaves_is_no_such_peer_and_nor_is_one_that_was_not_asked() {
        let timing = ProbeTiming::new(Duration::from_millis(10), 3, true);
        let mut dead = known();
        speak(&mut dead, (2_000, 3_000), false, false);
        assert!(!dead.is_one_way());
        let mut leaves = known();
        speak(&mut leaves, (2_000, 2_200), true, false);
        let block = leaves.stamps.block.as_deref().cloned().unwrap();
        let block = Some(Arc::new(ProbeBlock { leaving: true, ..block }));
        leaves.look(PeerStamps { block, ..leaves.stamps.clone() }, &timing, ms(2_210));
        assert!(!leaves.is_one_way());
        // This node was held up, and has asked nothing meanwhile.
        let mut session = known();
        session.look(
            PeerStamps { probed: ms(2_999), heard: ms(2_999), ..session.stamps.clone() },
            &timing,
            ms(3_000),
        );
        assert!(!session.is_one_way());
        speak(&mut session, (3_000, 3_050), true, false);
        assert!(!session.is_one_way());
    }
}
