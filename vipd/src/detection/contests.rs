//! When an owner announces its VIPs again because another station claims them.
//!
//! A rival behind a link that works one way claims the VIPs once and takes every client with it, while the owner's answer is lost on the
//! same link. So the owner announces the VIPs repeatedly, until the rival has had the time to hear it.

use std::{collections::BTreeMap, time::Duration};

use crate::{time::Instant, vrrp::InstanceId};

/// From the first claim on, how often it is said: until when, and the wait.
const WAITS: [(Duration, Duration); 2] = [
    (Duration::from_secs(10), Duration::from_secs(1)),
    // A client that gets no answer asks anew by itself after 5 s or more.
    (Duration::from_secs(60), Duration::from_secs(5)),
];
/// DEVIATION RFC 5227 2.4 (c): a defence in 10 s, but for the first minute. Two hosts that defend one address against each other for
/// ever come to it as well.
const LAST_WAIT: Duration = Duration::from_secs(10);
/// Without a claim for so long nothing is said.
const QUIET: Duration = Duration::from_secs(30);
/// Without a claim for so long the next is a first one. A station that only answers questions claims as often as it is asked.
const FORGOTTEN: Duration = Duration::from_secs(120);
/// VIPs that are announced at once; of more, all in turn. One forged frame is not to be thousands.
const AT_ONCE: usize = 256;

/// The contests of all instances.
#[derive(Debug, Default)]
pub struct Contests(BTreeMap<InstanceId, Contest>);

#[derive(Clone, Copy, Debug)]
struct Contest {
    first: Instant,
    last: Instant,
    /// When it is said again; `None`: there was no claim for a while.
    next: Option<Instant>,
    /// The VIP that comes next.
    place: usize,
}

impl Contests {
    /// Takes note of a claim; whether it is the first one, which is to be answered at once.
    pub fn claimed(&mut self, instance: InstanceId, now: Instant) -> bool {
        let is_known = |contest: &&mut Contest| now.saturating_since(contest.last) < FORGOTTEN;
        if let Some(contest) = self.0.get_mut(&instance).filter(is_known) {
            contest.last = now;
            contest.next.get_or_insert(now);
            return false;
        }
        let next = Some(now + WAITS[0].1);
        self.0.insert(instance, Contest { first: now, last: now, next, place: 0 });
        true
    }

    /// The instance owns nothing any more.
    pub fn end(&mut self, instance: InstanceId) {
        self.0.remove(&instance);
    }

    /// When [`Self::due`] is next wanted.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.0.values().filter_map(|contest| contest.next).min()
    }

    /// An instance that is to say it again; it has to be given to [`Self::take`] or [`Self::end`].
    pub fn due(&self, now: Instant) -> Option<InstanceId> {
        let is_due = |contest: &Contest| contest.next.is_some_and(|next| next <= now);
        self.0.iter().find(|(_, contest)| is_due(contest)).map(|(instance, _)| *instance)
    }

    /// The VIPs, of `count`, that are to be announced now.
    pub fn take(&mut self, instance: InstanceId, count: usize, now: Instant) -> Vec<usize> {
        let Some(contest) = self.0.get_mut(&instance) else { return Vec::new() };
        let age = now.saturating_since(contest.first);
        let wait = WAITS.iter().find(|(until, _)| age < *until).map_or(LAST_WAIT, |(_, wait)| *wait);
        let next = now + wait;
        contest.next = Some(next).filter(|next| next.saturating_since(contest.last) < QUIET);
        let said = (0..count.min(AT_ONCE)).map(|n| (contest.place + n) % count).collect();
        contest.place = if count > AT_ONCE { (contest.place + AT_ONCE) % count } else { 0 };
        said
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: InstanceId = InstanceId(1);
    const TWO: InstanceId = InstanceId(2);

    fn at(s: u64) -> Instant {
        Instant::from_nanos(s * 1_000_000_000)
    }

    /// When it is said, with claims at these seconds, until 300 s; and which claims are answered at once.
    fn said(claims: &[u64]) -> (Vec<u64>, Vec<u64>) {
        let mut contests = Contests::default();
        let (mut said, mut firsts) = (Vec::new(), Vec::new());
        for s in 0..300 {
            if claims.contains(&s) && contests.claimed(ONE, at(s)) {
                firsts.push(s);
            }
            while let Some(instance) = contests.due(at(s)) {
                assert_eq!(contests.take(instance, 3, at(s)), [0, 1, 2]);
                said.push(s);
            }
        }
        (said, firsts)
    }

    #[test]
    fn one_claim_is_answered_for_half_a_minute() {
        let every_second = 101..=110;
        let expect: Vec<u64> = every_second.chain([115, 120, 125]).collect();
        assert_eq!(said(&[100]), (expect, vec![100]));
    }

    /// As that of two hosts that defend the address against each other.
    #[test]
    fn claims_without_end_are_answered_every_ten_seconds() {
        let (said, firsts) = said(&(0..300).collect::<Vec<_>>());
        assert_eq!(firsts, [0]);
        let late: Vec<u64> = said.iter().copied().filter(|s| *s >= 60).collect();
        assert_eq!(late[..3], [60, 70, 80]);
        assert_eq!(said.len(), 10 + 10 + 23, "{said:?}");
    }

    /// It claims when it is asked, each half a minute: that is no first claim each time.
    #[test]
    fn a_station_that_only_answers_makes_no_storm() {
        let (said, firsts) = said(&[10, 45, 80, 115]);
        assert_eq!(firsts, [10]);
        assert!(said.iter().filter(|s| **s >= 70).count() <= 9, "{said:?}");
        assert!(said.contains(&45), "it is answered all the same");
    }

    #[test]
    fn a_claim_after_a_long_peace_is_a_first_one() {
        let (said, firsts) = said(&[10, 200]);
        assert_eq!(firsts, [10, 200]);
        assert!(said.contains(&201) && !said.contains(&100), "{said:?}");
    }

    #[test]
    fn many_vips_have_their_turn() {
        let mut contests = Contests::default();
        contests.claimed(ONE, at(1));
        contests.claimed(TWO, at(1));
        contests.end(TWO);
        assert_eq!(contests.poll_timeout(), Some(at(2)));
        let mut said = Vec::new();
        for s in 2..5 {
            assert_eq!(contests.due(at(s)), Some(ONE));
            said.extend(contests.take(ONE, 600, at(s)));
        }
        assert_eq!(said.len(), 3 * 256);
        assert!((0..600).all(|vip| said.contains(&vip)));
        assert_eq!(contests.take(ONE, 0, at(6)), [0usize; 0]);
    }
}
