//! Rivals of a master: routers that act as the owner of the same VIPs, and whether they give way.
//!
//! When a better node takes over, and when two masters meet after a partition, one of them yields within an advert or two. A rival
//! that does not is a split brain: it does not hear this node, or ignores it.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use vipd_common::{Priority, wire::eth::MacAddr};

use crate::{time::Instant, vrrp::InstanceId};

/// Another router, as far as it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rival {
    pub address: IpAddr,
    pub mac: MacAddr,
    /// `None` for a rival that only answers for the VIPs.
    pub priority: Option<Priority>,
}

/// A sign that a rival acts as the owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// An advert, sent at this interval, that does not beat this node.
    Advert(Duration),
    /// A claim of a VIP. The rival has given way if there is no other claim for so long. For a rival that also advertises, the end of its
    /// adverts is enough, since it claims by itself only when it takes over.
    Claim(Duration),
}

impl Evidence {
    /// How many signs, and over what time, make a rival that does not give way.
    fn persists(self) -> (u32, Duration) {
        match self {
            Self::Advert(interval) => (3, (interval * 3).max(ADVERTS_AT_LEAST)),
            Self::Claim(_) => (2, CLAIMS_APART),
        }
    }

    /// After so long without a sign the rival has given way.
    fn quiet(self) -> Duration {
        match self {
            Self::Advert(interval) => (interval * 4).max(QUIET_AT_LEAST),
            Self::Claim(period) => period.max(QUIET_AT_LEAST),
        }
    }
}

/// Minimum: a busy machine needs time to read our advert and fall silent, however short the interval is.
const ADVERTS_AT_LEAST: Duration = Duration::from_millis(300);
/// The eBPF program reports one claim a second.
const CLAIMS_APART: Duration = Duration::from_millis(900);
const QUIET_AT_LEAST: Duration = Duration::from_secs(3);

/// A report about a rival.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RivalFinding {
    /// The first sign: mostly the rival is about to give way.
    Seen,
    /// The rival does not give way.
    SplitBrain,
}

/// A split brain has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Over {
    pub instance: InstanceId,
    pub rival: Rival,
    /// From the first sign to the last.
    pub lasted: Duration,
}

/// The rivals of all masters.
#[derive(Debug, Default)]
pub struct Rivals(BTreeMap<InstanceId, Episode>);

#[derive(Clone, Copy, Debug)]
struct Episode {
    rival: Rival,
    began: Instant,
    last: Instant,
    signs: u32,
    split: bool,
    /// It was seen to claim a VIP.
    claims: bool,
    /// After how long without an advert it has given way; `None`: there was none.
    adverts_quiet: Option<Duration>,
    /// It is over if there is no sign until then.
    until: Instant,
}

impl Rivals {
    /// Records a sign of a rival.
    pub fn seen(
        &mut self,
        instance: InstanceId,
        rival: Rival,
        evidence: Evidence,
        now: Instant,
    ) -> Option<RivalFinding> {
        let mut first = false;
        let episode = self.0.entry(instance).or_insert_with(|| {
            first = true;
            Episode {
                rival,
                began: now,
                last: now,
                signs: 0,
                split: false,
                claims: false,
                adverts_quiet: None,
                until: now,
            }
        });
        // Its priority is known from adverts only.
        let priority = rival.priority.or(episode.rival.priority.filter(|_| episode.rival.mac == rival.mac));
        episode.rival = Rival { priority, ..rival };
        episode.signs = episode.signs.saturating_add(1);
        episode.last = now;
        let quiet = match evidence {
            Evidence::Advert(_) => *episode.adverts_quiet.insert(evidence.quiet()),
            Evidence::Claim(_) => {
                episode.claims = true;
                evidence.quiet().min(episode.adverts_quiet.unwrap_or(Duration::MAX))
            }
        };
        episode.until = if episode.adverts_quiet.is_some() && matches!(evidence, Evidence::Advert(_)) {
            // What its claims alone would have said.
            now + quiet
        } else {
            episode.until.max(now + quiet)
        };
        let (signs, span) = evidence.persists();
        // Of a rival that advertises the adverts decide: they say more than claims do.
        let decides = matches!(evidence, Evidence::Advert(_)) || episode.adverts_quiet.is_none();
        if decides && !episode.split && episode.signs >= signs && now.saturating_since(episode.began) >= span
        {
            episode.split = true;
            return Some(RivalFinding::SplitBrain);
        }
        first.then_some(RivalFinding::Seen)
    }

    /// The instance is no longer master; its split brains are over.
    pub fn yielded(&mut self, instance: InstanceId) -> Option<Over> {
        self.0.remove(&instance).and_then(|episode| episode.over(instance))
    }

    /// When [`Self::take_over`] is next wanted.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.0.values().map(|episode| episode.until).min()
    }

    /// The split brains without a sign for long enough.
    pub fn take_over(&mut self, now: Instant) -> Vec<Over> {
        let mut over = Vec::new();
        self.0.retain(|instance, episode| {
            let goes_on = now < episode.until;
            if !goes_on {
                over.extend(episode.over(*instance));
            }
            goes_on
        });
        over
    }

    /// Whether an instance has a rival that has claimed a VIP; the rival answers a probe with another claim.
    pub fn claims(&self, instance: InstanceId) -> bool {
        self.0.get(&instance).is_some_and(|episode| episode.claims)
    }

    /// Whether there has been a sign of a rival lately.
    pub fn is_rivalled(&self, instance: InstanceId) -> bool {
        self.0.contains_key(&instance)
    }

    /// Whether an instance has a rival that does not give way.
    pub fn is_split(&self, instance: InstanceId) -> bool {
        self.0.get(&instance).is_some_and(|episode| episode.split)
    }
}

impl Episode {
    fn over(&self, instance: InstanceId) -> Option<Over> {
        let lasted = self.last.saturating_since(self.began);
        self.split.then_some(Over { instance, rival: self.rival, lasted })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Evidence::{Advert, Claim};
    use RivalFinding::{Seen, SplitBrain};

    const ONE: InstanceId = InstanceId(1);
    const SECOND: Duration = Duration::from_secs(1);

    fn rival(priority: Option<u8>) -> Rival {
        let priority = priority.map(Priority::new);
        Rival { address: [10, 0, 0, 6].into(), mac: MacAddr([2, 0, 0, 0, 0, 6]), priority }
    }

    fn at(ms: u64) -> Instant {
        Instant::from_nanos(ms * 1_000_000)
    }

    #[test]
    fn a_rival_that_goes_on_is_a_split_brain() {
        for (what, evidence, signs) in [
            ("gives way", Advert(SECOND), &[(0, Some(Seen)), (1, None)][..]),
            (
                "an advert a second",
                Advert(SECOND),
                &[(0, Some(Seen)), (1000, None), (2000, None), (3000, Some(SplitBrain)), (4000, None)],
            ),
            (
                "answers of a busy machine",
                Advert(SECOND / 100),
                &[(0, Some(Seen)), (10, None), (20, None), (30, None), (290, None), (300, Some(SplitBrain))],
            ),
            (
                "few adverts in a long time",
                Advert(SECOND / 100),
                &[(0, Some(Seen)), (2000, None), (4000, Some(SplitBrain))],
            ),
            ("claims", Claim(SECOND * 30), &[(0, Some(Seen)), (1000, Some(SplitBrain)), (31_000, None)]),
        ] {
            let mut rivals = Rivals::default();
            for (ms, expect) in signs {
                assert_eq!(rivals.seen(ONE, rival(Some(50)), evidence, at(*ms)), *expect, "{what}, {ms} ms");
            }
            assert_eq!(rivals.is_split(ONE), signs.iter().any(|(_, f)| *f == Some(SplitBrain)), "{what}");
        }
    }

    #[test]
    fn it_is_over_when_nothing_is_seen_for_a_while() {
        let mut rivals = Rivals::default();
        for s in 0..=10 {
            rivals.seen(ONE, rival(Some(50)), Advert(SECOND), at(1000 * s));
        }
        // Four intervals.
        assert_eq!(rivals.poll_timeout(), Some(at(14_000)));
        assert_eq!(rivals.take_over(at(13_999)), []);
        assert!(rivals.is_rivalled(ONE));
        let over = Over { instance: ONE, rival: rival(Some(50)), lasted: SECOND * 10 };
        assert_eq!(rivals.take_over(at(14_000)), [over]);
        assert_eq!(
            (rivals.poll_timeout(), rivals.is_split(ONE), rivals.is_rivalled(ONE)),
            (None, false, false)
        );
        assert_eq!(rivals.seen(ONE, rival(Some(50)), Advert(SECOND), at(15_000)), Some(Seen), "anew");
    }

    #[test]
    fn a_rival_that_gave_way_is_no_split_brain_that_ended() {
        let mut rivals = Rivals::default();
        rivals.seen(ONE, rival(Some(50)), Advert(SECOND), at(0));
        assert_eq!(rivals.take_over(at(60_000)), []);
        rivals.seen(ONE, rival(Some(50)), Advert(SECOND), at(70_000));
        assert_eq!(rivals.yielded(ONE), None);
        assert_eq!(rivals.poll_timeout(), None);
    }

    #[test]
    fn who_yields_has_no_rival_any_more() {
        let mut rivals = Rivals::default();
        rivals.seen(ONE, rival(None), Claim(SECOND * 30), at(0));
        rivals.seen(ONE, rival(None), Claim(SECOND * 30), at(1000));
        assert_eq!(rivals.yielded(ONE).map(|over| over.lasted), Some(SECOND));
        assert_eq!(rivals.yielded(ONE), None);
    }

    /// Its adverts say more than a claim, whichever came first.
    #[test]
    fn the_end_of_its_adverts_is_the_end_of_a_rival_that_has_claimed() {
        for claims_at in [0, 400, 9_000] {
            let mut rivals = Rivals::default();
            for ms in (0..=10_000).step_by(100) {
                if ms == claims_at {
                    rivals.seen(ONE, rival(None), Claim(SECOND * 75), at(ms));
                }
                rivals.seen(ONE, rival(Some(50)), Advert(SECOND / 10), at(ms));
            }
            assert!(rivals.is_split(ONE) && rivals.claims(ONE));
            assert_eq!(rivals.take_over(at(12_999)), [], "claim at {claims_at} ms");
            assert_eq!(rivals.take_over(at(13_000)).len(), 1, "claim at {claims_at} ms");
            assert!(!rivals.is_split(ONE) && !rivals.claims(ONE));
        }
        // It claims after its last advert, as what is left of a keepalived that was killed does.
        let mut rivals = Rivals::default();
        for ms in [0, 1000, 2000, 3000] {
            rivals.seen(ONE, rival(Some(50)), Advert(SECOND), at(ms));
        }
        for ms in [6000, 8000, 10_000] {
            rivals.seen(ONE, rival(None), Claim(SECOND * 6), at(ms));
            assert_eq!(rivals.take_over(at(ms + 900)), []);
        }
        assert_eq!(rivals.poll_timeout(), Some(at(14_000)));
    }

    /// A peer that was heard and then only answers for the VIPs keeps the priority that it is known by.
    #[test]
    fn claims_and_adverts_of_one_rival_are_one_episode() {
        let mut rivals = Rivals::default();
        rivals.seen(ONE, rival(Some(50)), Advert(SECOND), at(0));
        // Claims of a router that advertises decide nothing.
        assert_eq!(rivals.seen(ONE, rival(None), Claim(SECOND * 30), at(1000)), None);
        assert_eq!(rivals.seen(ONE, rival(None), Claim(SECOND * 30), at(2000)), None);
        assert_eq!(rivals.seen(ONE, rival(Some(50)), Advert(SECOND), at(3000)), Some(SplitBrain));
        assert_eq!(rivals.yielded(ONE).map(|over| over.rival), Some(rival(Some(50))));
    }
}
