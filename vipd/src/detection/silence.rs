//! A master that has never heard another router: it may be alone, or deaf.

use std::time::Duration;

use crate::time::Instant;

/// Whether one instance has ever heard an advert. Silence alone proves little: a backup is silent.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silence {
    /// The count of adverts at the first look; a former vipd may have heard them.
    before: Option<u64>,
    /// Time of its own takeover, while it is master.
    master_since: Option<Instant>,
    /// Another station has claimed one of its VIPs since then.
    claimed: bool,
    heard: bool,
    told: bool,
}

impl Silence {
    /// Whether the instance is master now; an inherited mastership does not count.
    pub fn state(&mut self, master: bool, now: Instant) {
        (self.master_since, self.claimed) = (master.then_some(now), false);
    }

    /// Another station claims a VIP while it is master.
    pub fn claimed(&mut self) {
        self.claimed = true;
    }

    /// Takes the count of adverts heard; true, once, if there was none although the instance has been master for `patience`.
    pub fn look(&mut self, adverts: u64, patience: Duration, now: Instant) -> bool {
        self.heard |= adverts != *self.before.get_or_insert(adverts);
        let waited = self.waited(patience, now);
        // Once somebody was heard, it is known that they can be.
        let tells = waited && !self.heard && !self.told;
        self.told |= tells;
        tells
    }

    /// Whether it has been master for `patience`, had heard nobody at the last look, and has a rival all the same. A master
    /// without a rival hears nobody either: backups are silent.
    pub fn is_deaf(&self, patience: Duration, now: Instant) -> bool {
        self.claimed && !self.heard && self.waited(patience, now)
    }

    fn waited(&self, patience: Duration, now: Instant) -> bool {
        self.master_since.is_some_and(|since| now.saturating_since(since) >= patience)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(s: u64) -> Instant {
        Instant::from_nanos(s * 1_000_000_000)
    }

    /// Looks every five seconds, with a patience of ten, at these counts; returns when it was told.
    fn told(master_at: Option<u64>, counts: &[u64]) -> Vec<u64> {
        let mut silence = Silence::default();
        let mut look = |(s, count): (u64, &u64)| {
            if Some(s) == master_at {
                silence.state(true, at(s));
            }
            silence.look(*count, Duration::from_secs(10), at(s)).then_some(s)
        };
        (0..).step_by(5).zip(counts).filter_map(|(s, count)| look((s, count))).collect()
    }

    #[test]
    fn it_is_told_once_of_a_master_that_never_heard_anybody() {
        for (what, master_at, counts, expect) in [
            ("a master in silence", Some(5), &[7, 7, 7, 7, 7, 7, 7, 7][..], &[15][..]),
            ("a backup", None, &[0, 0, 0, 0, 0, 0], &[]),
            ("it has heard somebody", Some(5), &[7, 8, 8, 8, 8, 8], &[]),
            ("somebody was heard later", Some(5), &[0, 0, 0, 0, 1, 1], &[15]),
            ("in time", Some(5), &[0, 0, 1, 1, 1, 1], &[]),
        ] {
            assert_eq!(told(master_at, counts), expect, "{what}");
        }
    }

    #[test]
    fn a_master_is_deaf_if_somebody_else_has_its_vips() {
        const PATIENCE: Duration = Duration::from_secs(10);
        let mut silence = Silence::default();
        silence.look(3, PATIENCE, at(0));
        silence.state(true, at(0));
        assert!(!silence.is_deaf(PATIENCE, at(10)), "nobody claims anything");
        silence.claimed();
        assert!(silence.is_deaf(PATIENCE, at(10)) && !silence.is_deaf(PATIENCE, at(9)));
        silence.look(4, PATIENCE, at(10));
        assert!(!silence.is_deaf(PATIENCE, at(20)), "it has heard somebody");
    }
}
