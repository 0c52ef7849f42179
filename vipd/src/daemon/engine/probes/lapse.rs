//! A time in which nobody vouches for this node: when it is worth telling. PURE.

use std::time::Duration;

use crate::time::Instant;

/// A lapse that follows sooner is not told again.
const TOLD_EVERY: Duration = Duration::from_secs(10);

/// A time in which nobody vouches for this node, and it has leases that need it.
#[derive(Debug, Default)]
pub struct VouchingLapse {
    since: Option<Instant>,
    is_told: bool,
    told_at: Option<Instant>,
}

/// What is to be told of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LapseNews {
    /// It has lasted for a detection time.
    Began,
    /// It is over, after so long.
    Ended(Duration),
}

impl VouchingLapse {
    /// `lapsed`: how it is now. What is shorter than `detect` is a daemon that begins, or that was late for a moment.
    pub fn note(&mut self, lapsed: bool, detect: Duration, now: Instant) -> Option<LapseNews> {
        if !lapsed {
            let lasted = self.since.take().map(|since| now.saturating_since(since))?;
            return std::mem::take(&mut self.is_told).then_some(LapseNews::Ended(lasted));
        }
        let since = *self.since.get_or_insert(now);
        let is_recent = self.told_at.is_some_and(|at| now.saturating_since(at) < TOLD_EVERY);
        if self.is_told || is_recent || now.saturating_since(since) < detect {
            return None;
        }
        (self.is_told, self.told_at) = (true, Some(now));
        Some(LapseNews::Began)
    }

    /// Since when nobody vouches.
    pub fn since(&self) -> Option<Instant> {
        self.since
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DETECT: Duration = Duration::from_millis(30);

    fn at(ms: u64) -> Instant {
        Instant::from_nanos(ms * 1_000_000)
    }

    /// Each row: milliseconds, whether nobody vouches, and what is told.
    #[test]
    fn a_lapse_is_told_when_it_has_lasted_and_not_each_time() {
        let ended = |ms| Some(LapseNews::Ended(Duration::from_millis(ms)));
        let mut lapse = VouchingLapse::default();
        for (ms, lapsed, told) in [
            (0, false, None),
            // A daemon that begins.
            (10, true, None),
            (39, true, None),
            (40, false, None),
            (100, true, None),
            (130, true, Some(LapseNews::Began)),
            (140, true, None),
            (150, false, ended(50)),
            (160, false, None),
            // Within ten seconds.
            (200, true, None),
            (240, true, None),
            (250, false, None),
            (10_100, true, None),
            (10_129, true, None),
            // One that goes on beyond them is told then.
            (10_130, true, Some(LapseNews::Began)),
            (10_131, false, ended(31)),
        ] {
            assert_eq!(lapse.note(lapsed, DETECT, at(ms)), told, "{ms}");
            assert_eq!(lapse.since().is_some(), lapsed, "{ms}");
        }
    }
}
