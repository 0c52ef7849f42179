//! What the probes of one peer have shown: round trips, losses, silences, and how often `act takeover` would have acted on one that was none.
//!
//! The session is the one that [`EarlyTakeover`](super::EarlyTakeover) judges by, so what is counted here is what it would have done as the
//! first of the backups. It decides nothing.

#[cfg(test)]
mod tests;

use std::time::Duration;

use super::{PeerStamps, ProbeTiming, round_trips::RoundTrips, session::ProbeSession};
use crate::time::Instant;

/// For how long after its last word a peer is probed at its pace; then once in [`SLOW_PACE`] (RFC 5880 6.8.3).
pub const PATIENT_FOR: Duration = Duration::from_secs(3);
/// Between two probes to a peer that is not heard.
pub const SLOW_PACE: Duration = Duration::from_secs(1);

/// State of the session with one peer (RFC 7880 7.3.2 has no others).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SessionState {
    /// Nothing is heard of its host.
    #[default]
    Down,
    /// Its host answers.
    Up,
    /// Its daemon has said that it is leaving, or its host answers so.
    AdminDown,
}

/// What became of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionChange {
    /// State before.
    pub from: SessionState,
    /// State now.
    pub to: SessionState,
    /// How long nothing was heard, of one that went down.
    pub silent_for: Duration,
}

/// What has been counted since the session began.
#[derive(Clone, Debug)]
pub struct SessionFigures {
    /// When that was.
    pub since: Instant,
    /// Probes that were sent while the session was up.
    pub sent: u64,
    /// Those that were not answered before the next.
    pub lost: u64,
    /// From a probe to its answer.
    pub round_trips: RoundTrips,
    /// The longest time without an answer or a probe that ended, before VRRP would have replaced the peer.
    pub longest_silence: Duration,
    /// When it ended; zero if there was none.
    pub longest_silence_at: Instant,
    /// Silences that would have been acted on, and ended before VRRP would have replaced the peer.
    pub false_alarms: u64,
    /// When the last of them ended.
    pub last_false_alarm: Option<Instant>,
    /// Silences that would have been acted on, and lasted.
    pub deaths: u64,
    /// How often the session has gone down.
    pub downs: u64,
    /// How often this node itself was late by an interval or more, and began to count anew.
    pub late: u64,
}

/// One peer's session, measured.
#[derive(Clone, Debug)]
pub struct MeasuredSession {
    session: ProbeSession,
    state: SessionState,
    last_sent: Option<Instant>,
    /// That probe is counted.
    is_last_counted: bool,
    /// When a silence was complete that would have been acted on.
    alarm: Option<Instant>,
    /// What was heard last before this node was late is no beginning of a silence.
    is_blind: bool,
    figures: SessionFigures,
}

impl MeasuredSession {
    /// One that begins now.
    pub fn new(now: Instant) -> Self {
        Self {
            session: ProbeSession::default(),
            state: SessionState::Down,
            last_sent: None,
            is_last_counted: false,
            alarm: None,
            is_blind: true,
            figures: SessionFigures {
                since: now,
                sent: 0,
                lost: 0,
                round_trips: RoundTrips::default(),
                longest_silence: Duration::ZERO,
                longest_silence_at: Instant::default(),
                false_alarms: 0,
                last_false_alarm: None,
                deaths: 0,
                downs: 0,
                late: 0,
            },
        }
    }

    /// Other intervals from now on. What was counted with others says nothing of these: it begins with zero.
    pub fn configure(&mut self, now: Instant) {
        let state = self.state;
        *self = Self { session: self.session.clone(), state, ..Self::new(now) };
        self.session.restart();
    }

    /// Takes note of XDP's stamps; `replaced_after`: how long after its last advert VRRP replaces the peer. Returns what has changed.
    pub fn look(
        &mut self,
        stamps: PeerStamps,
        is_leaving: bool,
        timing: &ProbeTiming,
        replaced_after: Duration,
        now: Instant,
    ) -> Option<SessionChange> {
        let before = self.session.stamps.clone();
        if self.state == SessionState::Up
            && self.last_sent.is_some_and(|sent| now.saturating_since(sent) > timing.interval * 2)
            && !std::mem::replace(&mut self.is_blind, true)
        {
            self.figures.late += 1;
        }
        if stamps.answers > before.answers {
            self.figures.round_trips.add(stamps.answered.saturating_since(stamps.answers));
        }
        self.note_silence(&before, stamps.heard, replaced_after);
        self.session.look(stamps, timing, now);
        self.judge(timing, replaced_after, now);
        self.change(is_leaving, timing, now)
    }

    /// Takes note of a probe that was sent, after the clock showed `at` and before it showed `left`.
    pub fn sent(&mut self, at: Instant, left: Instant, timing: &ProbeTiming) {
        let is_lost = self.last_sent.is_some_and(|last| self.session.stamps.answers < last);
        self.figures.lost += u64::from(is_lost && self.is_last_counted && !self.is_blind);
        // Two probes in step show a silence between them.
        self.is_blind = self.last_sent.is_none_or(|last| at.saturating_since(last) > timing.interval * 2);
        self.is_last_counted = self.state == SessionState::Up && !self.is_blind;
        self.figures.sent += u64::from(self.is_last_counted);
        self.last_sent = Some(at);
        self.session.sent(at, left, timing);
    }

    /// Whether nothing has been heard for so long that the pace is slow.
    pub fn is_resting(&self, now: Instant) -> bool {
        let heard = self.session.stamps.heard;
        heard == Instant::default() || now.saturating_since(heard) > PATIENT_FOR
    }

    /// When the next probe is due, after one that was due at `at`.
    pub fn next_after(&self, at: Instant, timing: &ProbeTiming, now: Instant) -> Instant {
        if self.is_resting(now) {
            return now + SLOW_PACE.max(timing.interval);
        }
        // In step with the last, unless some were missed.
        let next = at + timing.interval;
        if next > now { next } else { now + timing.interval }
    }

    /// When a silence is complete if nothing more is heard: a look is wanted then.
    pub fn silent_at(&self, timing: &ProbeTiming) -> Option<Instant> {
        let waits = self.state == SessionState::Up && self.alarm.is_none();
        self.session.silent_at(timing).filter(|_| waits)
    }

    /// Whether the peer's host answers.
    pub fn state(&self) -> SessionState {
        self.state
    }

    /// The stamps of the last look.
    pub fn stamps(&self) -> &PeerStamps {
        &self.session.stamps
    }

    /// Whether the peer's daemon was heard within a detection time.
    pub fn is_live(&self, timing: &ProbeTiming, now: Instant) -> bool {
        self.session.is_live(timing, now)
    }

    /// Whether a silence would be acted on.
    pub fn is_armed(&self, timing: &ProbeTiming, now: Instant) -> bool {
        self.session.is_armed(timing, now)
    }

    /// What has been counted.
    pub fn figures(&self) -> &SessionFigures {
        &self.figures
    }

    /// The time between two words of the peer, unless the peer was replaced meanwhile or this node was late.
    fn note_silence(&mut self, before: &PeerStamps, heard: Instant, replaced_after: Duration) {
        let silence = heard.saturating_since(before.heard);
        let counts = before.heard != Instant::default() && !self.is_blind && silence < replaced_after;
        if counts && self.state != SessionState::AdminDown && silence > self.figures.longest_silence {
            (self.figures.longest_silence, self.figures.longest_silence_at) = (silence, heard);
        }
    }

    fn judge(&mut self, timing: &ProbeTiming, replaced_after: Duration, now: Instant) {
        match self.alarm {
            None if self.session.is_silent(timing, now) && self.session.is_armed(timing, now) => {
                self.alarm = Some(now);
            }
            None => {}
            Some(at) if self.session.stamps.heard > at => {
                self.alarm = None;
                self.figures.false_alarms += 1;
                self.figures.last_false_alarm = Some(self.session.stamps.heard);
            }
            Some(at) if now.saturating_since(at) >= replaced_after => {
                self.alarm = None;
                self.figures.deaths += 1;
                // A silence is judged once.
                self.session.restart();
            }
            Some(_) => {}
        }
    }

    fn change(&mut self, is_leaving: bool, timing: &ProbeTiming, now: Instant) -> Option<SessionChange> {
        let answers = self.session.stamps.answered != Instant::default()
            && now.saturating_since(self.session.stamps.answered) < timing.detect();
        let to = match self.state {
            _ if is_leaving && self.session.is_heard(timing, now) => SessionState::AdminDown,
            _ if answers && !is_leaving => SessionState::Up,
            SessionState::Up if self.session.is_silent(timing, now) => SessionState::Down,
            state => state,
        };
        let from = std::mem::replace(&mut self.state, to);
        if (from, to) == (SessionState::Up, SessionState::Down) {
            self.figures.downs += 1;
        }
        let silent_for = now.saturating_since(self.session.stamps.heard);
        (from != to).then_some(SessionChange { from, to, silent_for })
    }
}
