//! How often something that goes on is told: at once, then at growing intervals.

use std::{mem, time::Duration};

use crate::time::Instant;

/// Waits between two tellings; the last one stays.
const WAITS: [Duration; 5] = [
    Duration::from_secs(10),
    Duration::from_secs(60),
    Duration::from_secs(300),
    Duration::from_secs(900),
    Duration::from_secs(3600),
];
/// What has not happened for so long begins anew when it does.
const FORGOTTEN: Duration = Duration::from_secs(60);

/// When one thing was told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RateLimiter {
    /// The last time, and which of [`WAITS`] follows.
    told: Option<(Instant, usize)>,
    happened: Instant,
    untold: u64,
}

impl RateLimiter {
    /// Takes note that it has happened `times`; if it is to be told now, how often since it was told last.
    pub fn note(&mut self, times: u64, now: Instant) -> Option<u64> {
        let forgotten = now.saturating_since(mem::replace(&mut self.happened, now)) >= FORGOTTEN;
        self.untold = self.untold.saturating_add(times);
        let next = match self.told.filter(|_| !forgotten) {
            Some((at, wait)) if now < at + WAITS[wait] => return None,
            Some((_, wait)) => (wait + 1).min(WAITS.len() - 1),
            None => 0,
        };
        self.told = Some((now, next));
        Some(mem::take(&mut self.untold))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(s: u64) -> Instant {
        Instant::from_nanos(s * 1_000_000_000)
    }

    #[test]
    fn what_goes_on_is_told_less_and_less() {
        let mut rate_limiter = RateLimiter::default();
        let told: Vec<_> =
            (100..12_000).step_by(5).filter_map(|s| Some((s, rate_limiter.note(1, at(s))?))).collect();
        assert_eq!(
            told,
            [(100, 1), (110, 2), (170, 12), (470, 60), (1370, 180), (4970, 720), (8570, 720)],
            "at once, then after 10 s, 1, 5, 15 and 60 minutes"
        );
    }

    #[test]
    fn what_has_stopped_begins_anew() {
        let mut rate_limiter = RateLimiter::default();
        for (s, told) in
            [(100, Some(1)), (101, None), (102, None), (162, Some(3)), (163, None), (172, Some(2))]
        {
            assert_eq!(rate_limiter.note(1, at(s)), told, "{s}");
        }
    }
}
