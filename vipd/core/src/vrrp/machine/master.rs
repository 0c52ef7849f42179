//! A master: its lease, its advert timer and its announcements.

use std::{net::IpAddr, time::Duration};

use crate::{
    time::{Instant, nanos},
    vrrp::{GarpTiming, Settings},
};

/// The Master state and its timers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Master {
    pub address: IpAddr,
    /// When XDP stops to answer unless an advert renews the lease.
    pub lease_until: Instant,
    /// The last advert that is known to have been sent; `None` until the first of this mastership is.
    pub last_sent: Option<Instant>,
    /// Adver_Timer.
    pub next_advert: Instant,
    /// The second burst after the takeover.
    pub second_announce: Option<Instant>,
    /// The next periodic announcement.
    pub refresh_announce: Option<Instant>,
    /// It has said goodbye, and is the master again with its next advert if nobody takes over before.
    pub yielding: bool,
    pub rival: RivalLimits,
}

/// What rivals make a master do, and how often it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RivalLimits {
    /// From when on an advert may be answered at once.
    advert_after: Instant,
    /// An advert that came too early for `advert_after` and is sent then, unless another goes out before.
    trailing_advert: Option<Instant>,
    /// From when on an announcement may follow at once.
    announce_after: Instant,
    /// An announcement that came too early for `announce_after` and is made then.
    trailing_announce: Option<Instant>,
    /// The repetition after `lower_prio_delay`.
    second_announce: Option<Instant>,
    /// From when on it is told again that one was heard.
    tell_after: Instant,
}

impl Master {
    pub fn new(settings: &Settings, address: IpAddr, now: Instant) -> Self {
        Self {
            address,
            lease_until: now + settings.lease_length(),
            last_sent: None,
            // RFC 9568 6.4.2: Adver_Timer := Advertisement_Interval, the local one.
            next_advert: now + settings.advert_interval,
            second_announce: after(now, settings.garp.master_delay, settings.garp.master_repeat),
            refresh_announce: after(now, settings.garp.master_refresh, settings.garp.master_refresh_repeat),
            yielding: false,
            rival: RivalLimits {
                advert_after: now,
                trailing_advert: None,
                // The takeover itself announces.
                announce_after: now + settings.rival_announce_spacing(),
                trailing_announce: None,
                second_announce: None,
                tell_after: now,
            },
        }
    }

    /// The mastership of a predecessor on this node, whose last advert was sent one lease's length before `lease_until`.
    ///
    /// The advert period goes on; nothing is announced, since nothing has changed for anyone.
    pub fn inherited(settings: &Settings, address: IpAddr, lease_until: Instant, now: Instant) -> Self {
        // A lease of another length, under another configuration, says less: then the next advert is sent at once.
        let sent = (lease_until - settings.lease_length()).min(now);
        Self {
            lease_until,
            last_sent: Some(sent),
            next_advert: (sent + settings.advert_interval).max(now),
            second_announce: None,
            ..Self::new(settings, address, now)
        }
    }

    /// Leaves the word to others for as long as the slowest of them waits after a goodbye, or as the lease lasts.
    pub fn yielding(mut self, settings: &Settings, now: Instant) -> Self {
        let last = self.lease_until - settings.advert_interval / 4;
        self.next_advert = last.min(now + settings.leaving_bound()).max(now);
        self.rival.trailing_advert = None;
        Self { yielding: true, ..self }
    }

    /// When this state next needs attention.
    pub fn deadline(&self) -> Instant {
        let optional = [
            self.second_announce,
            self.refresh_announce,
            self.rival.trailing_advert,
            self.rival.trailing_announce,
            self.rival.second_announce,
        ];
        optional.into_iter().flatten().fold(self.next_advert.min(self.lease_until), Instant::min)
    }

    /// If the advert timer has fired, restarts it and returns by how much it is late.
    pub fn take_advert_due(&mut self, interval: Duration, now: Instant) -> Option<Duration> {
        if now < self.next_advert {
            return None;
        }
        let late = now.saturating_since(self.next_advert);
        // From the previous deadline, not from now, so that lateness does not add up. Deadlines that passed
        // meanwhile are skipped: a burst would tell nobody anything.
        let periods = (nanos(late) / nanos(interval).max(1)).saturating_add(1);
        let skipped = Duration::from_nanos(nanos(interval).saturating_mul(periods));
        self.next_advert = self.next_advert + skipped;
        self.rival.trailing_advert = None;
        Some(late)
    }

    /// Whether the advert that the rate limit held back is due.
    pub fn take_trailing_advert_due(&mut self, settings: &Settings, now: Instant) -> bool {
        take_due(&mut self.rival.trailing_advert, now) && self.rival.may_advertise(settings, now)
    }

    /// Restarts every announcement timer that has fired; returns the frames per address to send, 0 if none has.
    pub fn take_announce_due(&mut self, settings: &Settings, now: Instant) -> u8 {
        let garp = &settings.garp;
        let mut repeat = 0;
        if take_due(&mut self.second_announce, now) {
            repeat = repeat.max(garp.master_repeat);
        }
        if take_due(&mut self.refresh_announce, now) {
            self.refresh_announce = after(now, garp.master_refresh, garp.master_refresh_repeat);
            repeat = repeat.max(garp.master_refresh_repeat);
        }
        if take_due(&mut self.rival.second_announce, now) {
            repeat = repeat.max(garp.lower_prio_repeat);
        }
        if take_due(&mut self.rival.trailing_announce, now) {
            self.rival.announced(settings, now);
            repeat = repeat.max(garp.lower_prio_repeat);
        }
        repeat
    }
}

impl RivalLimits {
    /// Whether an advert may be sent at once because of a rival; if so, the next not before the spacing has passed.
    ///
    /// One that may not is sent when it may, so that no rival goes without an answer.
    pub fn may_advertise(&mut self, settings: &Settings, now: Instant) -> bool {
        // DEVIATION 6.4.3: the RFC has no ceiling, and two masters of one address, or a loop in the network, would
        // answer each other without end.
        let allowed = now >= self.advert_after;
        if allowed {
            self.advert_after = now + settings.immediate_advert_spacing();
            self.trailing_advert = None;
        } else {
            self.trailing_advert = Some(self.advert_after);
        }
        allowed
    }

    /// Whether those who want to know of rivals are told now: as often as addresses would be announced.
    pub fn may_tell(&mut self, settings: &Settings, now: Instant) -> bool {
        let tells = now >= self.tell_after;
        if tells {
            self.tell_after = now + settings.rival_announce_spacing();
        }
        tells
    }

    /// Returns the frames per address to announce now that a rival was heard: 0 if that must wait.
    ///
    /// An announcement always follows the last rival: what is held back is made when the window ends.
    pub fn announce(&mut self, settings: &Settings, now: Instant) -> u8 {
        let GarpTiming { lower_prio_repeat: repeat, .. } = settings.garp;
        if repeat == 0 {
            return 0;
        }
        if now < self.announce_after {
            self.trailing_announce = Some(self.announce_after);
            return 0;
        }
        self.announced(settings, now);
        repeat
    }

    fn announced(&mut self, settings: &Settings, now: Instant) {
        self.announce_after = now + settings.rival_announce_spacing();
        self.trailing_announce = None;
        self.second_announce = after(now, settings.garp.lower_prio_delay, settings.garp.lower_prio_repeat);
    }
}

/// Time of an announcement that is due `delay` from `now`; `None` if it is turned off.
fn after(now: Instant, delay: Option<Duration>, repeat: u8) -> Option<Instant> {
    delay.filter(|delay| !delay.is_zero() && repeat > 0).map(|delay| now + delay)
}

/// Clears `timer` if it has fired.
fn take_due(timer: &mut Option<Instant>, now: Instant) -> bool {
    timer.take_if(|at| now >= *at).is_some()
}
