//! One session.

use std::{collections::VecDeque, time::Duration};

use vipd_common::wire::bfd::{Diagnostic, Repr, SessionState, flag};

use super::{
    BfdSettings,
    intervals::{IntervalsInForce, Jitter},
    micros,
    reach::Reach,
};
use crate::time::Instant;

/// What the neighbor has said of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BfdRemote {
    /// Its discriminator, not 0.
    pub discriminator: u32,
    /// Its state.
    pub state: SessionState,
    /// Why it is in that state.
    pub diagnostic: Diagnostic,
    /// Its Detect Mult, 1 to 255.
    pub multiplier: u8,
    /// Its Desired Min TX Interval, in microseconds.
    pub desired_min_tx_us: u32,
    /// Its Required Min RX Interval, in microseconds; 0: it wants no periodic packets.
    pub required_min_rx_us: u32,
    /// It wants none while both are Up.
    pub demand: bool,
}

impl BfdRemote {
    fn of(packet: &Repr) -> Self {
        Self {
            discriminator: packet.my_discriminator,
            state: packet.state,
            diagnostic: packet.diagnostic,
            multiplier: packet.multiplier,
            desired_min_tx_us: packet.desired_min_tx_us,
            required_min_rx_us: packet.required_min_rx_us,
            demand: packet.flags & flag::DEMAND != 0,
        }
    }
}

/// Another state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BfdChange {
    /// The state before.
    pub from: SessionState,
    /// The state after.
    pub to: SessionState,
    /// Ours: why.
    pub diagnostic: Diagnostic,
    /// The neighbor's state in the packet that led to it; `None`: it was no packet.
    pub remote: Option<SessionState>,
    /// When.
    pub at: Instant,
}

/// What a process has left of a session that is Up.
#[derive(Clone, Copy, Debug)]
pub struct BfdLeft {
    /// Ours.
    pub discriminator: u32,
    /// Of ours, those that the neighbor counts on.
    pub intervals: IntervalsInForce,
    /// The packet that was told last.
    pub packet: Repr,
    /// When a valid packet was last heard.
    pub heard_at: Instant,
}

/// A session of RFC 5880. See the module for how it is driven.
#[derive(Clone, Debug)]
pub struct BfdSession {
    settings: BfdSettings,
    state: SessionState,
    diagnostic: Diagnostic,
    discriminator: u32,
    remote: Option<BfdRemote>,
    /// When a valid packet was last heard; of no meaning without `remote`.
    heard_at: Instant,
    /// Later than the detection time says, since this was called too late to judge it.
    spared_until: Option<Instant>,
    intervals: IntervalsInForce,
    reach: Reach,
    /// A poll sequence is under way: packets have P until the neighbor answers with F.
    polls: bool,
    /// P was sent since it began: an F before is of another one.
    polled: bool,
    /// Settings that came while a poll was under way: RFC 5880 6.5 has one at a time, so packets say the former until it is over.
    next_settings: Option<BfdSettings>,
    /// The session is ended: how often AdminDown is still to be sent.
    farewells: Option<u8>,
    /// The neighbor waits for a packet with F.
    owes_final: bool,
    /// Packets say something new: the next one is not to wait.
    has_news: bool,
    sent_at: Option<Instant>,
    /// When the next periodic packet is due, if any is.
    next_at: Instant,
    /// The interval that `next_at` was computed with.
    next_interval_us: u32,
    jitter: Jitter,
    changes: VecDeque<BfdChange>,
}

impl BfdSession {
    /// A session that is Down. `discriminator` is unique on this host and not 0; `seed` is of the jitter.
    pub fn new(settings: BfdSettings, discriminator: u32, seed: u64, now: Instant) -> Self {
        Self {
            settings,
            state: SessionState::Down,
            diagnostic: Diagnostic::NONE,
            discriminator,
            remote: None,
            heard_at: now,
            spared_until: None,
            intervals: IntervalsInForce::slow(&settings),
            reach: Reach::Unreached,
            polls: false,
            polled: false,
            next_settings: None,
            farewells: None,
            owes_final: false,
            has_news: false,
            sent_at: None,
            next_at: now,
            next_interval_us: settings.slow_tx_us(),
            jitter: Jitter::new(seed),
            changes: VecDeque::new(),
        }
    }

    /// A session that a process before this one has left Up. It goes down at once if that is what the neighbor has said last.
    pub fn resumed(settings: BfdSettings, left: &BfdLeft, seed: u64, now: Instant) -> Self {
        let mut this = Self {
            state: SessionState::Up,
            remote: Some(BfdRemote::of(&left.packet)),
            heard_at: left.heard_at,
            // The settings may be others now, and the neighbor knows the former.
            intervals: left.intervals.until_known(&settings),
            polls: true,
            reach: Reach::Reached,
            ..Self::new(settings, left.discriminator, seed, now)
        };
        this.follow(left.packet.state, now);
        this.reschedule(now);
        this
    }

    /// What it is configured with.
    pub fn settings(&self) -> &BfdSettings {
        &self.settings
    }

    /// Ours.
    pub fn state(&self) -> SessionState {
        self.state
    }

    /// Whether the neighbor is taken for reached: it is while the session is Up, and stays so when the neighbor takes the session out of
    /// service.
    pub fn is_reached(&self) -> bool {
        self.reach.is_reached()
    }

    /// Of our intervals, those that the neighbor may count on.
    pub fn intervals(&self) -> IntervalsInForce {
        self.intervals
    }

    /// Why it is in that state; [`Diagnostic::NONE`] while Up.
    pub fn diagnostic(&self) -> Diagnostic {
        self.diagnostic
    }

    /// Ours.
    pub fn discriminator(&self) -> u32 {
        self.discriminator
    }

    /// `None`: nothing was heard for a detection time.
    pub fn remote(&self) -> Option<&BfdRemote> {
        self.remote.as_ref()
    }

    /// The interval between packets, before jitter (RFC 5880 6.8.7).
    pub fn transmit_interval(&self) -> Duration {
        micros(self.transmit_interval_us().into())
    }

    fn transmit_interval_us(&self) -> u32 {
        self.intervals.tx_us.max(self.remote.map_or(0, |remote| remote.required_min_rx_us))
    }

    /// RFC 5880 6.8.4: the neighbor's multiplier times the interval that both have agreed on. `None` without a neighbor.
    pub fn detection_time(&self) -> Option<Duration> {
        let remote = self.remote?;
        Some(micros(u64::from(remote.multiplier) * u64::from(self.receive_interval_us(&remote))))
    }

    fn receive_interval_us(&self, remote: &BfdRemote) -> u32 {
        self.intervals.rx_us.max(remote.desired_min_tx_us)
    }

    /// A packet that passed the checks that need no session (RFC 5880 6.8.6), heard at `heard_at`. Returns whether it is one of this
    /// session's.
    pub fn handle_packet(&mut self, packet: &Repr, heard_at: Instant, now: Instant) -> bool {
        let yours = packet.your_discriminator;
        let may_not_know = matches!(packet.state, SessionState::Down | SessionState::AdminDown);
        if yours != self.discriminator && (yours != 0 || !may_not_know) {
            return false;
        }
        self.remote = Some(BfdRemote::of(packet));
        self.handle_heard(heard_at);
        if self.polls && self.polled && packet.flags & flag::FINAL != 0 {
            (self.polls, self.polled) = (false, false);
            self.intervals = match self.state {
                SessionState::Up => IntervalsInForce::fast(&self.settings),
                _ => IntervalsInForce::slow(&self.settings),
            };
            if let Some(next) = self.next_settings.take() {
                self.handle_settings(next, now);
            }
        }
        // RFC 5880 6.8.6: in AdminDown the packet is discarded here.
        if self.state != SessionState::AdminDown {
            self.follow(packet.state, now);
            self.owes_final |= packet.flags & flag::POLL != 0;
        }
        self.reschedule(now);
        true
    }

    /// A valid packet that says nothing new was heard at `at`; earlier ones than are known of change nothing.
    pub fn handle_heard(&mut self, at: Instant) {
        if at > self.heard_at {
            self.heard_at = at;
            self.spared_until = None;
        }
    }

    /// RFC 5880 6.2 and 6.8.6.
    fn follow(&mut self, theirs: SessionState, now: Instant) {
        use SessionState::{AdminDown, Down, Init, Up};
        match (self.state, theirs) {
            (Down, Down) => self.set_state(Init, self.diagnostic, Some(theirs), now),
            (Down, Init) | (Init, Init | Up) => self.set_state(Up, Diagnostic::NONE, Some(theirs), now),
            (Init, AdminDown) | (Up, AdminDown | Down) => {
                self.set_state(Down, Diagnostic::NEIGHBOR_SIGNALED_DOWN, Some(theirs), now);
            }
            (Down, AdminDown | Up) | (Init, Down) | (Up, Init | Up) => {}
            (AdminDown, AdminDown | Down | Init | Up) => {}
        }
        self.reach.handle_packet(self.state, theirs, self.handshake(), now);
    }

    /// How long the three packets of a handshake may take: both ends send slowly, and one of the packets may be lost.
    fn handshake(&self) -> Duration {
        let theirs = self.remote.map_or(0, |remote| remote.desired_min_tx_us);
        micros(4 * u64::from(self.settings.slow_tx_us().max(theirs)))
    }

    /// Time has passed. A detection time counts as over only if this is called within an interval of its end: who is later may not have been
    /// told of packets, and waits for one more interval.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.reach.handle_timeout(now);
        let Some((remote, deadline)) = self.remote.zip(self.deadline()) else { return };
        if now < deadline {
            return;
        }
        let interval = micros(self.receive_interval_us(&remote).into());
        // DEVIATION 6.8.4: a machine that slept knows nothing of the path.
        if self.spared_until.is_none() && now > deadline + interval {
            self.spared_until = Some(now + interval);
            return;
        }
        // RFC 5880 6.8.1: a detection time without a packet, and the neighbor's discriminator is not known.
        self.remote = None;
        self.spared_until = None;
        self.reach.handle_silence(self.heard_at);
        match self.state {
            SessionState::Init | SessionState::Up => {
                self.set_state(SessionState::Down, Diagnostic::DETECTION_TIME_EXPIRED, None, now);
            }
            SessionState::Down | SessionState::AdminDown => {}
        }
        self.reschedule(now);
    }

    fn deadline(&self) -> Option<Instant> {
        self.spared_until.or_else(|| Some(self.heard_at + self.detection_time()?))
    }

    /// Other settings.
    pub fn handle_settings(&mut self, settings: BfdSettings, now: Instant) {
        if self.state == SessionState::Up && self.polls {
            self.next_settings = (settings != self.settings).then_some(settings);
            return;
        }
        if settings == self.settings {
            return;
        }
        let before = std::mem::replace(&mut self.settings, settings);
        let differ = (before.min_tx_us, before.min_rx_us) != (settings.min_tx_us, settings.min_rx_us);
        if self.state != SessionState::Up {
            self.intervals = IntervalsInForce::slow(&settings);
        } else if differ {
            self.intervals = self.intervals.until_known(&settings);
            (self.polls, self.polled) = (true, false);
        }
        self.has_news = true;
        self.reschedule(now);
    }

    /// The session ends: the neighbor is told AdminDown (RFC 5880 6.8.16), until [`Self::is_over`].
    pub fn handle_end(&mut self, now: Instant) {
        if self.farewells.is_some() {
            return;
        }
        // DEVIATION 6.8.3, 6.8.7: as often as packets were sent before, and not once a second, since nobody is here for long.
        let intervals = self.intervals;
        let is_heard = self.remote.is_some();
        self.set_state(SessionState::AdminDown, Diagnostic::ADMINISTRATIVELY_DOWN, None, now);
        self.farewells = Some(if is_heard { FAREWELLS } else { 1 });
        self.intervals = intervals;
        self.reschedule(now);
    }

    /// Whether it has ended and the neighbor was told so.
    pub fn is_over(&self) -> bool {
        let has_news = self.has_news && self.may_send();
        self.farewells.is_some() && !has_news && !self.sends_periodically()
    }

    fn set_state(
        &mut self,
        to: SessionState,
        diagnostic: Diagnostic,
        remote: Option<SessionState>,
        now: Instant,
    ) {
        let from = std::mem::replace(&mut self.state, to);
        self.diagnostic = diagnostic;
        self.has_news = true;
        self.polled = false;
        if let Some(next) = self.next_settings.take() {
            self.settings = next;
        }
        if to == SessionState::Up {
            // Sooner than before: at once. The neighbor's detection time follows when it has answered.
            self.intervals = IntervalsInForce::fast(&self.settings);
            self.polls = true;
        } else {
            // RFC 5880 6.8.3: not more than one packet a second.
            self.intervals = IntervalsInForce::slow(&self.settings);
            self.polls = false;
        }
        self.changes.push_back(BfdChange { from, to, diagnostic, remote, at: now });
        self.reschedule(now);
    }

    /// The next change that has not been told.
    pub fn poll_change(&mut self) -> Option<BfdChange> {
        self.changes.pop_front()
    }

    /// When [`Self::handle_timeout`] or [`Self::poll_transmit`] has something to do.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let periodic = self.sends_periodically().then_some(self.next_at);
        [self.deadline(), periodic, self.reach.poll_timeout()].into_iter().flatten().min()
    }

    /// RFC 5880 6.8.7.
    fn may_send(&self) -> bool {
        self.remote.is_some() || !self.settings.passive
    }

    fn sends_periodically(&self) -> bool {
        let wanted = self.remote.is_none_or(|remote| {
            let on_demand = remote.demand
                && self.state == SessionState::Up
                && remote.state == SessionState::Up
                && !self.polls;
            remote.required_min_rx_us != 0 && !on_demand
        });
        self.may_send() && wanted && self.farewells != Some(0)
    }

    /// The next packet that is to be sent now, if any is. To be called until there is none.
    pub fn poll_transmit(&mut self, now: Instant) -> Option<Repr> {
        if std::mem::take(&mut self.owes_final) {
            return Some(self.packet(flag::FINAL));
        }
        let due = self.sends_periodically() && self.next_at <= now;
        let news = self.has_news && self.may_send();
        if !due && !news {
            return None;
        }
        self.has_news = false;
        self.polled |= self.polls;
        self.farewells = self.farewells.map(|left| left.saturating_sub(1));
        self.sent_at = Some(now);
        self.next_interval_us = self.transmit_interval_us();
        self.next_at = now + self.jitter.apply(self.next_interval_us, self.settings.multiplier);
        Some(self.packet(if self.polls { flag::POLL } else { 0 }))
    }

    /// Has a new interval take effect at once.
    fn reschedule(&mut self, now: Instant) {
        let interval_us = self.transmit_interval_us();
        if interval_us == self.next_interval_us {
            return;
        }
        self.next_interval_us = interval_us;
        let wait = self.jitter.apply(interval_us, self.settings.multiplier);
        self.next_at = self.sent_at.map_or(now, |sent| sent + wait);
    }

    fn packet(&self, flags: u8) -> Repr {
        let is_up = self.state == SessionState::Up;
        Repr {
            diagnostic: self.diagnostic,
            state: self.state,
            flags,
            multiplier: self.settings.multiplier,
            authentication_length: 0,
            my_discriminator: self.discriminator,
            your_discriminator: self.remote.map_or(0, |remote| remote.discriminator),
            desired_min_tx_us: if is_up { self.settings.min_tx_us } else { self.settings.slow_tx_us() },
            required_min_rx_us: self.settings.min_rx_us,
            required_min_echo_rx_us: 0,
        }
    }
}

/// Packets that say AdminDown: some may be lost.
const FAREWELLS: u8 = 3;
