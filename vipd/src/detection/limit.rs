//! A limit for what is told of the wire's doing. Whoever can send frames can make something happen as often as he likes; scripts,
//! mail and events are not his.
//!
//! A token bucket for each key: so many are told at once, then one when a token comes. What finds no token is counted, and the latest
//! of it is told with the number when the next token comes. The end of what was told is told whatever there is left.

use std::{collections::BTreeMap, mem, time::Duration};

use crate::time::Instant;

/// So many are told at once.
const BURST: u32 = 5;
/// Then one in this time; twice as long after each that stands for others too.
const REFILL: Duration = Duration::from_secs(60);
const REFILL_MOST: Duration = Duration::from_secs(3600);
/// What has not happened again for so long is over.
const GOES_ON: Duration = Duration::from_secs(10);

/// What is told later than it has happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Late {
    /// It stands for so many.
    pub untold: u64,
    /// Since the last of them.
    pub ago: Duration,
}

impl Late {
    /// Whether what happens again and again is likely to go on.
    pub fn goes_on(self) -> bool {
        self.ago < GOES_ON
    }
}

/// The buckets of all keys.
#[derive(Debug)]
pub struct Limits<K, T>(BTreeMap<K, Bucket<T>>);

#[derive(Debug)]
struct Bucket<T> {
    tokens: u32,
    /// When the next token comes, unless there are [`BURST`].
    next: Instant,
    refill: Duration,
    /// What was told last goes on.
    told_open: bool,
    /// The latest that was not told, when it happened, and whether it goes on.
    latest: Option<(T, Instant, bool)>,
    /// How many were not told.
    untold: u64,
}

impl<K, T> Default for Limits<K, T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<T> Bucket<T> {
    fn new(now: Instant) -> Self {
        Self { tokens: BURST, next: now, refill: REFILL, told_open: false, latest: None, untold: 0 }
    }

    fn fill(&mut self, now: Instant) {
        while self.tokens < BURST && self.next <= now {
            self.tokens += 1;
            self.next = self.next + self.refill;
        }
        if self.tokens == BURST {
            self.refill = REFILL;
        }
    }

    fn take(&mut self, now: Instant) -> bool {
        if self.tokens == BURST {
            self.next = now + self.refill;
        }
        let Some(left) = self.tokens.checked_sub(1) else { return false };
        self.tokens = left;
        true
    }
}

impl<K: Ord + Clone, T> Limits<K, T> {
    /// Something has happened, or begun. Returned if it is to be told now.
    pub fn begins(&mut self, key: K, what: T, now: Instant) -> Option<T> {
        let bucket = self.0.entry(key).or_insert_with(|| Bucket::new(now));
        // While something waits, the next token is its own: `take_due` fills then.
        if bucket.latest.is_none() {
            bucket.fill(now);
            if bucket.take(now) {
                bucket.told_open = true;
                return Some(what);
            }
        }
        bucket.untold = bucket.untold.saturating_add(1);
        bucket.latest = Some((what, now, true));
        None
    }

    /// What has begun has ended. Returned if it is to be told now; else it is told in the place of the beginning, which was not.
    pub fn ends(&mut self, key: &K, what: T, now: Instant) -> Option<T> {
        let Some(bucket) = self.0.get_mut(key) else { return Some(what) };
        if bucket.latest.is_none() {
            // Of what was told before, or of nothing: a second end.
            return mem::take(&mut bucket.told_open).then_some(what);
        }
        bucket.latest = Some((what, now, false));
        None
    }

    /// When [`Self::take_due`] has something to tell.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.0.values().filter(|bucket| bucket.latest.is_some()).map(|bucket| bucket.next).min()
    }

    /// The latest of what was not told, and how many were not: there is a token for it now. Whether it is still so is for who tells it.
    pub fn take_due(&mut self, now: Instant) -> Vec<(K, T, Late)> {
        let mut due = Vec::new();
        for (key, bucket) in &mut self.0 {
            bucket.fill(now);
            if bucket.latest.is_none() || !bucket.take(now) {
                continue;
            }
            let Some((what, at, open)) = bucket.latest.take() else { continue };
            bucket.told_open = open;
            bucket.refill = (bucket.refill * 2).min(REFILL_MOST);
            bucket.next = bucket.next.max(now + bucket.refill);
            let late = Late { untold: mem::take(&mut bucket.untold), ago: now.saturating_since(at) };
            due.push((key.clone(), what, late));
        }
        due
    }

    /// Forgets keys that are no more.
    pub fn retain(&mut self, is_there: impl Fn(&K) -> bool) {
        self.0.retain(|key, _| is_there(key));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What happens at the moment at which a token comes delays nothing that waits for it.
    #[test]
    fn what_waits_for_a_token_gets_it() {
        let mut limits = Limits::default();
        for n in 0..=BURST {
            assert_eq!(limits.begins("key", n, at(0)).is_some(), n < BURST);
        }
        let due = limits.poll_timeout().unwrap();
        assert_eq!(limits.begins("key", 99, due), None);
        assert_eq!(limits.poll_timeout(), Some(due));
        assert_eq!(limits.take_due(due), [("key", 99, Late { untold: 2, ago: Duration::ZERO })]);
    }

    fn at(s: u64) -> Instant {
        Instant::from_nanos(s * 1_000_000_000)
    }

    /// A conflict that begins and ends every three seconds for a day: 57,600 tellings once.
    #[test]
    fn a_day_of_conflicts_is_a_few_tellings() {
        let mut limits = Limits::default();
        let (mut told, mut untold, mut last) = (Vec::new(), 0, "");
        for s in 0..86_400 {
            if let Some(due) = limits.poll_timeout().filter(|due| *due <= at(s)) {
                for (_, what, late) in limits.take_due(at(s)) {
                    untold += late.untold;
                    last = what;
                    told.push(s);
                }
                assert!(limits.poll_timeout().is_none_or(|next| next > due), "it goes on");
            }
            let now = match s % 3 {
                0 => limits.begins("key", "begins", at(s)),
                1 => limits.ends(&"key", "ends", at(s)),
                _ => None,
            };
            if let Some(what) = now {
                last = what;
                told.push(s);
            }
        }
        assert_eq!(told[..10], [0, 1, 3, 4, 6, 7, 9, 10, 12, 13], "the burst");
        assert!(told.len() < 100, "{told:?}");
        // The last is told in the end, with those before it.
        for (_, what, late) in limits.take_due(at(100_000)) {
            untold += late.untold;
            last = what;
        }
        assert_eq!((last, limits.poll_timeout()), ("ends", None));
        assert_eq!(untold + 5, 86_400 / 3);
    }

    #[test]
    fn the_end_of_what_was_told_is_told_at_once_and_that_of_another_later() {
        let mut limits = Limits::default();
        for s in 100..105 {
            assert_eq!(limits.begins(1, "a", at(s)), Some("a"));
        }
        assert_eq!(limits.ends(&1, "a is over", at(161)), Some("a is over"), "without a token");
        assert_eq!(limits.ends(&1, "a is over", at(161)), None, "once");
        assert_eq!(limits.begins(1, "b", at(106)), None);
        assert_eq!(limits.poll_timeout(), Some(at(160)));
        assert!(limits.take_due(at(159)).is_empty());
        assert_eq!(limits.take_due(at(160)), [(1, "b", Late { untold: 1, ago: Duration::from_secs(54) })]);
        // It goes on, and its end is told.
        assert_eq!(limits.ends(&1, "b is over", at(161)), Some("b is over"));
        // Another key has a bucket of its own.
        assert_eq!(limits.begins(2, "c", at(161)), Some("c"));
    }

    /// A token comes a minute later: by then it may be over, and no script is to be run for it.
    #[test]
    fn what_is_told_late_says_how_late_it_is() {
        for (stops_at, ago, goes_on) in [(110, 50, false), (150, 10, false), (151, 9, true), (160, 0, true)] {
            let mut limits = Limits::default();
            for s in 100..=stops_at {
                limits.begins(1, s, at(s));
            }
            let (_, what, late) = limits.take_due(at(160)).remove(0);
            assert_eq!((what, late.ago, late.goes_on()), (stops_at, Duration::from_secs(ago), goes_on));
            assert_eq!(late.untold, stops_at - 104);
        }
    }

    #[test]
    fn what_has_stopped_has_its_burst_again() {
        let mut limits = Limits::default();
        for s in 0..600 {
            limits.begins(1, (), at(s));
            limits.take_due(at(s));
        }
        limits.take_due(at(10_000));
        let burst = (0..10).filter(|_| limits.begins(1, (), at(100_000)).is_some()).count();
        assert_eq!(burst, 5);
    }
}
