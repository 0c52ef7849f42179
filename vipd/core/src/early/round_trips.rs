//! Round trips, by how long they took: a histogram with four steps to each doubling.

use std::time::Duration;

/// Steps to each doubling.
const STEPS: usize = 4;
/// Doublings of a microsecond: up to 1.05 s.
const DOUBLINGS: usize = 20;

/// How long answers took, from the clock that was read before a probe was sent to XDP's stamp of the answer.
#[derive(Clone, Debug, Default)]
pub struct RoundTrips {
    counts: [[u64; STEPS]; DOUBLINGS],
    count: u64,
    sum: Duration,
    last: Duration,
    least: Option<Duration>,
    greatest: Duration,
}

impl RoundTrips {
    /// Counts one.
    pub fn add(&mut self, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).max(1);
        let doubling = us.ilog2() as usize;
        // The two bits behind the first.
        let step = if doubling < 2 { (us << (2 - doubling)) & 3 } else { us >> (doubling - 2) & 3 };
        let (row, step) =
            if doubling < DOUBLINGS { (doubling, step as usize) } else { (DOUBLINGS - 1, STEPS - 1) };
        self.counts[row][step] += 1;
        self.count += 1;
        self.sum = self.sum.saturating_add(took);
        self.last = took;
        self.least = Some(self.least.map_or(took, |least| least.min(took)));
        self.greatest = self.greatest.max(took);
    }

    /// Answers that were counted.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// All of them together.
    pub fn sum(&self) -> Duration {
        self.sum
    }

    /// `None` of all of these: there was no answer.
    pub fn last(&self) -> Option<Duration> {
        (self.count > 0).then_some(self.last)
    }

    /// The quickest.
    pub fn least(&self) -> Option<Duration> {
        self.least
    }

    /// The slowest.
    pub fn greatest(&self) -> Option<Duration> {
        (self.count > 0).then_some(self.greatest)
    }

    /// The time that this share of the answers took at most, of 1,000; to a quarter of itself.
    pub fn quantile(&self, thousandths: u64) -> Option<Duration> {
        let wanted = (self.count * thousandths).div_ceil(1_000).max(1);
        let mut seen = 0;
        for (doubling, steps) in self.counts.iter().enumerate() {
            for (step, count) in steps.iter().enumerate() {
                seen += count;
                if seen >= wanted {
                    // The end of the step, but no more than there was.
                    let end_us = (1u64 << doubling) * (STEPS + step + 1) as u64 / STEPS as u64;
                    return Some(Duration::from_micros(end_us).min(self.greatest));
                }
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_right_to_a_quarter() {
        let mut all = RoundTrips::default();
        assert_eq!((all.quantile(500), all.last(), all.least(), all.greatest()), (None, None, None, None));
        for us in 1..=1_000 {
            all.add(Duration::from_micros(us));
        }
        for (thousandths, exact) in [(1, 1), (10, 10), (500, 500), (990, 990), (1_000, 1_000)] {
            let found = all.quantile(thousandths).unwrap().as_micros() as u64;
            assert!((exact..=exact + exact / 4 + 1).contains(&found), "{thousandths}: {found}");
        }
        assert_eq!(all.least(), Some(Duration::from_micros(1)));
        assert_eq!(all.greatest(), Some(Duration::from_millis(1)));
        assert_eq!((all.count(), all.sum()), (1_000, Duration::from_micros(500_500)));
    }

    #[test]
    fn what_takes_longer_than_the_last_step_is_in_it() {
        let mut all = RoundTrips::default();
        all.add(Duration::from_secs(100));
        all.add(Duration::ZERO);
        assert_eq!(all.quantile(1), Some(Duration::from_micros(1)));
        assert!(all.quantile(1_000).unwrap() >= Duration::from_secs(1));
        assert_eq!(all.greatest(), Some(Duration::from_secs(100)));
    }
}
