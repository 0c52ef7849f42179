//! The least of what was measured lately.

use std::time::Duration;

use crate::time::Instant;

/// Whoever looks once in this time, or more often, misses nothing.
const WINDOW: Duration = Duration::from_secs(60);

/// The least of the values noted in this window and the one before: over the last one to two minutes.
///
/// It does not begin anew when somebody has looked, so that any number of observers see the same.
#[derive(Debug, Default)]
pub struct WindowedMinimum {
    began: Instant,
    present: Option<Duration>,
    before: Option<Duration>,
}

impl WindowedMinimum {
    pub fn note(&mut self, value: Duration, now: Instant) {
        let passed = now.saturating_since(self.began);
        if passed >= WINDOW {
            self.before = self.present.take().filter(|_| passed < 2 * WINDOW);
            self.began = now;
        }
        self.present = Some(self.present.map_or(value, |least| least.min(value)));
    }

    /// `None` if nothing was noted lately.
    pub fn get(&self, now: Instant) -> Option<Duration> {
        let passed = now.saturating_since(self.began);
        let present = self.present.filter(|_| passed < 2 * WINDOW);
        let before = self.before.filter(|_| passed < WINDOW);
        present.into_iter().chain(before).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Instant {
        Instant::default() + Duration::from_secs(seconds)
    }

    /// Each note is a time and a value; each look is a time and what is seen.
    fn check(notes: &[(u64, u64)], looks: &[(u64, Option<u64>)]) {
        let mut minimum = WindowedMinimum::default();
        notes.iter().for_each(|(time, value)| minimum.note(Duration::from_secs(*value), at(*time)));
        for (time, expect) in looks {
            assert_eq!(minimum.get(at(*time)), expect.map(Duration::from_secs), "{notes:?} at {time} s");
        }
    }

    #[test]
    fn a_dip_is_seen_for_a_minute_at_least_and_two_at_most() {
        check(&[], &[(1000, None)]);
        check(&[(1000, 9)], &[(1000, Some(9)), (1119, Some(9)), (1120, None)]);
        check(&[(1000, 9), (1001, 3), (1002, 8)], &[(1002, Some(3))]);
        // In the window before.
        check(&[(1000, 9), (1059, 3), (1060, 8)], &[(1060, Some(3)), (1119, Some(3)), (1120, Some(8))]);
        check(&[(1000, 3), (1060, 8), (1120, 9)], &[(1120, Some(8))]);
        // Nothing in between.
        check(&[(1000, 3), (1120, 9)], &[(1120, Some(9))]);
    }
}
