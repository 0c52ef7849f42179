//! When the engine thread looks at every instance for an advert that XDP has deferred, because those of all instances together had
//! come too fast: so seldom that a look finds no more than may come as events.

use std::time::Duration;

use vipd_common::abi::ALL_EVENTS_PERIOD_NS;

use crate::time::Instant;

/// PURE: the time is given.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct AllDeferred {
    /// The next look.
    at: Option<Instant>,
    /// Adverts may be deferred until then, as far as is known.
    until: Instant,
}

impl AllDeferred {
    /// An event says that the next one may be deferred, of whichever of `instances`.
    pub fn note(&mut self, received_at: Instant, instances: usize) {
        self.until = self.until.max(received_at + PERIOD + SLACK);
        self.at.get_or_insert(received_at + wait(instances));
    }

    pub fn poll_timeout(&self) -> Option<Instant> {
        self.at
    }

    /// Whether it is time for a look; another one follows if adverts may be deferred after it.
    pub fn take_due(&mut self, instances: usize, now: Instant) -> bool {
        let is_due = self.at.is_some_and(|at| at <= now);
        if is_due {
            self.at = (now < self.until).then(|| now + wait(instances));
        }
        is_due
    }
}

/// Each instance that is found costs as much as an event.
fn wait(instances: usize) -> Duration {
    (PERIOD * u32::try_from(instances).unwrap_or(u32::MAX)).max(AT_LEAST)
}

const PERIOD: Duration = Duration::from_nanos(ALL_EVENTS_PERIOD_NS);
const SLACK: Duration = Duration::from_millis(1);
const AT_LEAST: Duration = Duration::from_millis(10);

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Instant {
        Instant::from_nanos(ms * 1_000_000)
    }

    /// What is deferred up to a period after the last event is found by a look that comes later than that.
    #[test]
    fn looks_go_on_for_as_long_as_adverts_may_be_deferred() {
        let mut all = AllDeferred::default();
        assert!(!all.take_due(255, at(0)) && all.poll_timeout().is_none());
        let mut looks = Vec::new();
        for ms in 0..3000 {
            if ms < 1000 {
                all.note(at(ms), 255);
            }
            if all.take_due(255, at(ms)) {
                looks.push(ms);
            }
        }
        assert_eq!(looks, [510, 1020], "one for all 255 in 510 ms: 500 instances in a second");
        assert_eq!(all.poll_timeout(), None);
        // An event just before a look: what is deferred after the look is found by another one.
        all.note(at(5000), 1);
        all.note(at(5009), 1);
        assert!(all.take_due(1, at(5010)) && all.poll_timeout() == Some(at(5020)));
        assert!(all.take_due(1, at(5020)) && all.poll_timeout().is_none());
    }
}
