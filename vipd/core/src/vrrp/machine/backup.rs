//! A backup: whom it follows and when it stops waiting.

use std::{net::IpAddr, time::Duration};

use vipd_common::{Priority, Version};

use crate::{
    time::Instant,
    vrrp::{Advert, Peer, Reason, Settings},
};

/// The Backup state and its timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Backup {
    pub address: IpAddr,
    /// From when on what is heard counts: the beginning of the wait, or an advert from before that was still to be read.
    pub began: Instant,
    /// Active_Down_Timer.
    pub down_at: Instant,
    /// Active_Adver_Interval: learned from the master (v3), ours until then.
    pub interval: Duration,
    /// The master last heard, also one that is to be preempted.
    pub master: Option<Peer>,
    /// Until when a master of lower priority is tolerated; set by the first advert of such a one.
    pub preempt_at: Option<Instant>,
    /// What it means if the timer fires.
    pub on_expiry: Reason,
    /// The timer was found to be late, and set once more.
    pub reprieved: bool,
    pub fence: Fence,
}

/// Whether a master that is not heard any more is known to serve no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fence {
    Unknown,
    /// The timer has fired, and waits for the answer to this question.
    Asked(u64),
    /// The answer was that it may still serve; the timer runs until the next question.
    Failed,
    Done,
}

impl Backup {
    /// A backup that has heard nobody and waits the full interval from `start`.
    pub fn new(settings: &Settings, address: IpAddr, start: Instant) -> Self {
        // RFC 9568 6.4.1: Active_Adver_Interval := Advertisement_Interval, Active_Down_Timer := Active_Down_Interval.
        let interval = settings.advert_interval;
        Self {
            address,
            began: start,
            down_at: start + settings.master_down_interval(interval),
            interval,
            master: None,
            preempt_at: None,
            on_expiry: Reason::MasterDown,
            reprieved: false,
            fence: Fence::Unknown,
        }
    }

    /// The wait once more for an advert, if the timer is seen to have fired long ago; `None` if it is to act now.
    ///
    /// DEVIATION 6.4.2: then this process has not run for more than an interval. If the whole machine has not, a paused
    /// virtual machine, XDP has heard nothing either, and the master may be well: its next advert says so.
    pub fn reprieve(self, settings: &Settings, now: Instant) -> Option<Self> {
        let late = now.saturating_since(self.down_at) > self.interval;
        let down_at = now + self.interval + settings.skew_time(self.interval);
        (late && !self.reprieved).then_some(Self { down_at, reprieved: true, ..self })
    }

    /// Takes note of an advert, at the time at which it was received.
    #[must_use]
    pub fn hear(mut self, settings: &Settings, advert: &Advert) -> Self {
        if advert.is_void(settings, self.address) {
            return self;
        }
        self.began = self.began.min(advert.received_at);
        if let Fence::Asked(_) = std::mem::replace(&mut self.fence, Fence::Unknown) {
            // The timer fired before the question, and is not late now.
            self.down_at = self.down_at.max(advert.received_at);
        }
        if advert.priority.is_leaving() {
            if self.master.is_some_and(|master| master.address != advert.source) {
                // DEVIATION 6.4.2: it is not the one who is followed. Its goodbye may have been overtaken by the first
                // advert of its successor, or be somebody's who never was the master here.
                return self;
            }
            // RFC 9568 6.4.2: Priority is zero: Active_Down_Timer := Skew_Time, of the interval learned so far.
            self.down_at = advert.received_at + settings.skew_time(self.interval);
            self.reprieved = false;
            self.master = None;
            self.on_expiry = Reason::MasterLeft;
            return self;
        }

        let before = self.master.replace(Peer::from(advert));
        let lower = advert.priority < settings.priority;
        if lower && settings.preempts() && !self.tolerates(settings, advert.received_at) {
            // RFC 9568 6.4.2: lower priority under Preempt_Mode: discard. The timer keeps running, nothing is learned.
            self.on_expiry = Reason::Preempting;
            let followed = |peer: Peer| peer.address == advert.source && peer.priority >= settings.priority;
            if before.is_some_and(followed) {
                // DEVIATION 6.4.2: the master that was followed says that it is worse now. It would be silly to wait as
                // for one that may be dead: as after a goodbye, the best backup comes first.
                self.down_at = self.down_at.min(advert.received_at + settings.skew_time(self.interval));
            }
            return self;
        }
        if !lower {
            self.preempt_at = None;
        }
        // RFC 9568 6.4.2: learn the interval, recompute, reset the timer. An equal priority counts, whatever the
        // address: the tie-break is the master's.
        self.interval = settings.learned(advert.interval);
        self.down_at = advert.received_at + settings.master_down_interval(self.interval);
        self.reprieved = false;
        self.on_expiry = Reason::MasterDown;
        self
    }

    /// The same wait with the priority that `settings` now has; it was `before`.
    pub fn with_priority(mut self, settings: &Settings, before: Priority, now: Instant) -> Self {
        let was = Settings { priority: before, ..*settings };
        // Only the skew time depends on it.
        let down_at = self.down_at - was.skew_time(self.interval) + settings.skew_time(self.interval);
        // One that would have ended by the new priority ends now: in the past it would look late.
        self.down_at = down_at.max(now.min(self.down_at));
        let Some(master) = self.master else { return self };
        let (was_lower, is_lower) = (master.priority < before, master.priority < settings.priority);
        if was_lower && !is_lower {
            // From now on it is followed, at its own pace; XDP does not report it again. Older stamps would make the timer
            // look late.
            self.began = now;
            self.interval = settings.learned(master.interval);
            self.down_at = now + settings.master_down_interval(self.interval);
            (self.preempt_at, self.reprieved, self.on_expiry) = (None, false, Reason::MasterDown);
        } else if !was_lower && is_lower && settings.preempts() && settings.preempt_delay().is_zero() {
            self.on_expiry = Reason::Preempting;
            self.down_at = self.down_at.min(now + settings.skew_time(self.interval));
        }
        self
    }

    /// The same wait under another configuration, which was `before`.
    pub fn with_settings(self, settings: &Settings, before: &Settings, now: Instant) -> Self {
        let timing = |s: &Settings| (s.version, s.advert_interval, s.down_timer_adverts);
        if timing(settings) != timing(before) || settings.preempts() != before.preempts() {
            // What is heard from now on is judged by the new one. A master that is known keeps its pace.
            let interval =
                self.master.map_or(settings.advert_interval, |master| settings.learned(master.interval));
            let wait = Self { master: self.master, interval, ..Self::new(settings, self.address, now) };
            return Self { down_at: now + settings.master_down_interval(interval), ..wait };
        }
        let wait = Self { preempt_at: self.preempt_at.filter(|_| settings.preempts()), ..self };
        let mut wait = wait.with_priority(settings, before.priority, now);
        if before.fence && !settings.fence && matches!(wait.fence, Fence::Asked(_) | Fence::Failed) {
            // The timer had fired before the first question: it has waited long enough.
            (wait.fence, wait.down_at) = (Fence::Unknown, now);
        }
        wait
    }

    /// Whether a master of lower priority heard at `at` is to be left alone for now.
    fn tolerates(&mut self, settings: &Settings, at: Instant) -> bool {
        let delay = settings.preempt_delay();
        // DEVIATION 6.4.2: keepalived's preempt_delay, which runs from the first advert of a lower priority. While it
        // does the router behaves as if Preempt_Mode were False. Without a master the plain timer applies.
        !delay.is_zero() && at < *self.preempt_at.get_or_insert(at + delay)
    }
}

impl Settings {
    /// The interval to follow when the master advertises every `heard`.
    fn learned(&self, heard: Duration) -> Duration {
        match self.version {
            // RFC 3768 6.4.2: nothing is learned; another interval does not pass reception anyway (7.1).
            Version::V2 => self.advert_interval,
            Version::V3 => heard,
        }
    }
}
