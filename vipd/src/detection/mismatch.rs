//! Routers with different configurations: the eBPF program discards or counts their adverts. A counter that rises is a mismatch, until it has
//! stood still for a while.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use vipd_common::abi::InstanceCounters;

use super::RateLimiter;
use crate::time::Instant;

/// The counters of one instance at one moment.
#[derive(Clone, Copy, Debug)]
pub struct CounterSample {
    pub counters: InstanceCounters,
    /// The last advert that failed a check, if any has.
    pub refused: Option<RefusedAdvert>,
    /// Adverts of other virtual routers, on any interface.
    pub foreign: u64,
    /// Whether this master has heard nobody while another station claims its VIPs: only then adverts of other virtual routers matter.
    pub deaf: bool,
}

/// An advert that failed a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RefusedAdvert {
    pub source: IpAddr,
    /// The check: a number of [`InstanceCount`](vipd_common::abi::InstanceCount).
    pub reason: u32,
    /// TTL or hop limit.
    pub ttl: u8,
}

/// A router advertises as long as adverts of it were discarded so lately, and for four adverts: two looks and a little.
const RIVAL_SPEAKS: Duration = Duration::from_secs(12);
/// Adverts after so long a silence are those of another mastership.
const RIVAL_FORGOTTEN: Duration = Duration::from_secs(60);

/// The mismatches.
struct MismatchKind {
    what: &'static str,
    count: fn(&CounterSample) -> u64,
    /// Of these, adverts that were discarded and are another router's. Only masters advertise: to a master they are a rival's.
    refused: fn(&CounterSample) -> u64,
    /// Only of an instance that hears nobody.
    of_deaf: bool,
    fix: &'static str,
}

impl MismatchKind {
    /// Whether one advert that fails this check makes the count rise.
    fn counts(&self, reason: u32) -> bool {
        let mut counters = [0u64; InstanceCounters::NAMES.len()];
        let Some(counter) = counters.get_mut(reason as usize) else { return false };
        *counter = 1;
        let counters = zerocopy::transmute!(counters);
        (self.count)(&CounterSample { counters, refused: None, foreign: 0, deaf: false }) > 0
    }
}

const fn kind(what: &'static str, count: fn(&CounterSample) -> u64, fix: &'static str) -> MismatchKind {
    MismatchKind { what, count, refused: count, of_deaf: false, fix }
}

const fn not_refused(_: &CounterSample) -> u64 {
    0
}

const KINDS: &[MismatchKind] = &[
    kind(
        "password",
        |s| s.counters.auth_failures,
        "adverts with another password are discarded: make `auth_pass` the same on all routers",
    ),
    kind(
        "authentication",
        |s| s.counters.auth_type_mismatch + s.counters.invalid_auth_type,
        "adverts with another authentication type are discarded: make `authentication` the same on all routers",
    ),
    kind(
        "version",
        |s| s.counters.version_errors,
        "adverts of another VRRP version are discarded: make `vrrp_version` the same on all routers",
    ),
    MismatchKind {
        what: "interval",
        count: |s| s.counters.interval_mismatch + s.counters.interval_differs,
        refused: |s| s.counters.interval_mismatch,
        of_deaf: false,
        fix: "adverts with another interval are discarded (version 2): make `advert_int` the same on all routers",
    },
    MismatchKind {
        what: "addresses",
        count: |s| s.counters.address_list_differs,
        refused: not_refused,
        of_deaf: false,
        fix: "adverts list other addresses: make `virtual_ipaddress` the same on all routers",
    },
    kind(
        "checksum",
        |s| s.counters.checksum_errors,
        "adverts with a wrong checksum are discarded: look for a router that departs from RFC 9568, or for a device that changes packets",
    ),
    kind(
        "ttl",
        |s| s.counters.ip_ttl_errors,
        "adverts with a TTL below 255, or below the peer's `min_ttl`, are discarded: the sender has `unicast_ttl` (remove it there, or write `min_ttl` behind the peer here), a router forwarded the advert, or it is forged",
    ),
    kind(
        "destination",
        |s| s.counters.dst_not_group,
        "adverts to another address are discarded: make `unicast_peer` or the multicast group the same on all routers",
    ),
    kind(
        "peer",
        |s| s.counters.unknown_peer,
        "adverts of a router that is not in `unicast_peer` are discarded: add the router, or find the sender",
    ),
    kind(
        "owner",
        |s| s.counters.local_owner,
        "another router advertises while this one is the address owner: priority 255 is for one router only",
    ),
    MismatchKind {
        what: "own_address",
        count: |s| s.counters.own_source,
        refused: not_refused,
        of_deaf: false,
        fix: "adverts arrive from this router's own address: another machine has the address, or the network has a loop",
    },
    MismatchKind {
        what: "vrid",
        count: |s| s.foreign,
        refused: not_refused,
        of_deaf: true,
        fix: "another station claims a VIP, and adverts arrive for another virtual router but never for this one: make `virtual_router_id` the same on all routers",
    },
];

/// A report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MismatchFinding {
    /// `count` adverts do not fit, since the last report; the last one, if it was discarded and is known.
    Seen { what: &'static str, fix: &'static str, count: u64, last: Option<RefusedAdvert> },
    /// There were no more, after `count` in all; it took `lasted` from the first to the last.
    Over { what: &'static str, count: u64, lasted: Duration },
}

/// The counters last seen, by instance.
#[derive(Debug, Default)]
pub struct Mismatches(BTreeMap<String, Watched>);

#[derive(Debug)]
struct Watched {
    /// As [`KINDS`].
    counts: Vec<u64>,
    refused: Vec<u64>,
    going_on: Vec<Option<GoingOn>>,
    rival: Option<RefusedRival>,
}

/// A router whose adverts are discarded.
#[derive(Clone, Copy, Debug)]
struct RefusedRival {
    /// What it differs in.
    fix: &'static str,
    /// If it is known.
    source: Option<IpAddr>,
    last: Instant,
    count: u64,
}

#[derive(Clone, Copy, Debug)]
struct GoingOn {
    began: Instant,
    last: Instant,
    count: u64,
    rate_limiter: RateLimiter,
}

impl Mismatches {
    /// Compares the counters of an instance with the last ones. A mismatch that has stood still for `quiet` is over. The first call only records.
    pub fn look(
        &mut self,
        instance: &str,
        sample: &CounterSample,
        quiet: Duration,
        now: Instant,
    ) -> Vec<MismatchFinding> {
        let counts: Vec<u64> = KINDS.iter().map(|kind| (kind.count)(sample)).collect();
        let refused: Vec<u64> = KINDS.iter().map(|kind| (kind.refused)(sample)).collect();
        let Some(watched) = self.0.get_mut(instance) else {
            let going_on = vec![None; KINDS.len()];
            self.0.insert(instance.to_owned(), Watched { counts, going_on, rival: None, refused });
            return Vec::new();
        };
        watched.note_refused(refused, sample.refused, now);
        let before = std::mem::replace(&mut watched.counts, counts);
        let rises = watched.counts.iter().zip(before).map(|(now, before)| now.saturating_sub(before));
        let rows = KINDS.iter().zip(rises).zip(&mut watched.going_on);
        rows.filter_map(|((kind, risen), going_on)| {
            let risen = if kind.of_deaf && !sample.deaf { 0 } else { risen };
            step(kind, risen, sample.refused, going_on, quiet, now)
        })
        .collect()
    }

    /// The current mismatches.
    pub fn going_on(&self, instance: &str) -> Vec<String> {
        let Some(watched) = self.0.get(instance) else { return Vec::new() };
        let rows = KINDS.iter().zip(&watched.going_on);
        rows.filter(|(_, going_on)| going_on.is_some()).map(|(kind, _)| kind.what.to_owned()).collect()
    }

    /// What a router differs in that advertises for the instance now, and whose adverts are discarded; `None` if there is none. One
    /// advert is none: it may be a goodbye.
    pub fn refused_rival(&self, instance: &str, interval: Duration, now: Instant) -> Option<String> {
        let rival = self.0.get(instance)?.rival?;
        let speaks = now.saturating_since(rival.last) < RIVAL_SPEAKS.max(interval * 4);
        let from = rival.source.map(|source| format!("{source}: ")).unwrap_or_default();
        // It may be of another group, whose VIPs are others.
        let other = "another group needs another `virtual_router_id`";
        (speaks && rival.count > 1).then(|| format!("{from}{}; {other}", rival.fix))
    }

    /// Forgets instances that no longer exist.
    pub fn retain(&mut self, is_there: impl Fn(&str) -> bool) {
        self.0.retain(|name, _| is_there(name));
    }
}

impl Watched {
    /// Takes note of how many adverts have been discarded, by kind.
    fn note_refused(&mut self, refused: Vec<u64>, advert: Option<RefusedAdvert>, now: Instant) {
        let before = std::mem::replace(&mut self.refused, refused);
        for ((kind, refused), before) in KINDS.iter().zip(&self.refused).zip(before) {
            let risen = refused.saturating_sub(before);
            if risen > 0 {
                let last = self.rival.filter(|rival| now.saturating_since(rival.last) < RIVAL_FORGOTTEN);
                let count = last.map_or(0, |rival| rival.count).saturating_add(risen);
                let source = advert.filter(|advert| kind.counts(advert.reason)).map(|advert| advert.source);
                self.rival = Some(RefusedRival { fix: kind.fix, source, last: now, count });
            }
        }
    }
}

fn step(
    kind: &MismatchKind,
    risen: u64,
    refused: Option<RefusedAdvert>,
    going_on: &mut Option<GoingOn>,
    quiet: Duration,
    now: Instant,
) -> Option<MismatchFinding> {
    let MismatchKind { what, fix, .. } = *kind;
    if risen > 0 {
        let new = GoingOn { began: now, last: now, count: 0, rate_limiter: RateLimiter::default() };
        let it = going_on.get_or_insert(new);
        (it.last, it.count) = (now, it.count.saturating_add(risen));
        let last = refused.filter(|refused| kind.counts(refused.reason));
        return it.rate_limiter.note(risen, now).map(|count| MismatchFinding::Seen {
            what,
            fix,
            count,
            last,
        });
    }
    let over = going_on.take_if(|it| now.saturating_since(it.last) >= quiet)?;
    Some(MismatchFinding::Over { what, count: over.count, lasted: over.last.saturating_since(over.began) })
}

#[cfg(test)]
mod tests {
    use vipd_common::abi::InstanceCount;

    use super::*;

    const QUIET: Duration = Duration::from_secs(30);

    fn at(s: u64) -> Instant {
        Instant::from_nanos(s * 1_000_000_000)
    }

    /// Every counter that makes a mismatch, by its name, and what it makes.
    #[test]
    fn each_counter_is_told_by_name() {
        for (counter, what) in [
            ("auth_failures", "password"),
            ("auth_type_mismatch", "authentication"),
            ("invalid_auth_type", "authentication"),
            ("version_errors", "version"),
            ("interval_mismatch", "interval"),
            ("interval_differs", "interval"),
            ("address_list_differs", "addresses"),
            ("checksum_errors", "checksum"),
            ("ip_ttl_errors", "ttl"),
            ("dst_not_group", "destination"),
            ("unknown_peer", "peer"),
            ("local_owner", "owner"),
            ("own_source", "own_address"),
        ] {
            let mut mismatches = Mismatches::default();
            let sample = |counters| CounterSample { counters, refused: None, foreign: 0, deaf: false };
            assert_eq!(mismatches.look("A", &sample(InstanceCounters::default()), QUIET, at(100)), []);
            let mut numbers = [0u64; InstanceCounters::NAMES.len()];
            numbers[InstanceCounters::NAMES.iter().position(|name| *name == counter).unwrap()] = 3;
            let findings = mismatches.look("A", &sample(zerocopy::transmute!(numbers)), QUIET, at(105));
            let [MismatchFinding::Seen { what: found, fix, count: 3, last: None }] = findings[..] else {
                panic!("{findings:?}")
            };
            assert_eq!(found, what, "{counter}");
            assert!(fix.len() > 20 && !fix.ends_with('.'), "{fix}");
            assert_eq!(mismatches.going_on("A"), [what]);
        }
    }

    /// The sender is named if the last advert that was discarded is one of those that are told of.
    #[test]
    fn the_sender_is_named() {
        let refused = |reason: InstanceCount| RefusedAdvert {
            source: [10, 0, 0, 6].into(),
            reason: reason as u32,
            ttl: 64,
        };
        for (reason, named) in [(InstanceCount::IpTtlErrors, true), (InstanceCount::AuthFailures, false)] {
            let mut mismatches = Mismatches::default();
            let mut look = |ip_ttl_errors, s| {
                let counters = InstanceCounters { ip_ttl_errors, ..InstanceCounters::default() };
                let sample =
                    CounterSample { counters, refused: Some(refused(reason)), foreign: 0, deaf: false };
                mismatches.look("A", &sample, QUIET, at(s))
            };
            look(0, 100);
            let findings = look(1, 105);
            let [MismatchFinding::Seen { what: "ttl", last, .. }] = findings[..] else {
                panic!("{findings:?}")
            };
            assert_eq!(last, named.then_some(refused(reason)));
        }
    }

    #[test]
    fn it_goes_on_and_is_over() {
        let mut mismatches = Mismatches::default();
        let mut count = 40;
        let mut told = Vec::new();
        for s in (100..300).step_by(5) {
            count += u64::from((110..=200).contains(&s));
            let counters = InstanceCounters { auth_failures: count, ..InstanceCounters::default() };
            let sample = CounterSample { counters, refused: None, foreign: 0, deaf: false };
            for finding in mismatches.look("A", &sample, QUIET, at(s)) {
                told.push(match finding {
                    MismatchFinding::Seen { count, .. } => (s, count, None),
                    MismatchFinding::Over { count, lasted, .. } => (s, count, Some(lasted.as_secs())),
                });
            }
        }
        assert_eq!(told, [(110, 1, None), (120, 2, None), (180, 12, None), (230, 19, Some(90))]);
        assert!(mismatches.going_on("A").is_empty());
    }

    #[test]
    fn others_adverts_count_only_for_one_that_hears_nobody() {
        let mut mismatches = Mismatches::default();
        let mut look = |foreign, deaf, s| {
            let sample =
                CounterSample { counters: InstanceCounters::default(), refused: None, foreign, deaf };
            mismatches.look("A", &sample, QUIET, at(s)).len()
        };
        for (foreign, deaf, s, findings) in
            [(5, true, 100, 0), (9, false, 105, 0), (9, true, 110, 0), (10, true, 115, 1)]
        {
            assert_eq!(look(foreign, deaf, s), findings, "{s}");
        }
    }

    /// Only masters advertise: who discards adverts has a rival, but for one that is no more.
    #[test]
    fn discarded_adverts_are_a_rivals() {
        type Count = fn(u64) -> InstanceCounters;
        const NONE: fn() -> InstanceCounters = InstanceCounters::default;
        let cases: [(&str, Count, &[u64], Option<&str>); 5] = [
            (
                "another interval, version 2",
                |n| InstanceCounters { interval_mismatch: n, ..NONE() },
                &[0, 5],
                Some("`advert_int`"),
            ),
            ("version 3 learns it", |n| InstanceCounters { interval_differs: n, ..NONE() }, &[0, 5], None),
            ("other addresses", |n| InstanceCounters { address_list_differs: n, ..NONE() }, &[0, 5], None),
            ("a goodbye, perhaps", |n| InstanceCounters { auth_failures: n, ..NONE() }, &[0, 1, 1], None),
            (
                "it is silent since",
                |n| InstanceCounters { auth_failures: n, ..NONE() },
                &[0, 5, 5, 5, 5],
                None,
            ),
        ];
        for (what, counters, counts, expect) in cases {
            let mut mismatches = Mismatches::default();
            let mut now = at(100);
            for (s, count) in (100..).step_by(5).zip(counts) {
                now = at(s);
                let counters = counters(*count);
                let sample = CounterSample { counters, refused: None, foreign: 0, deaf: false };
                mismatches.look("A", &sample, QUIET, now);
            }
            let found = mismatches.refused_rival("A", Duration::from_secs(1), now);
            let found = found.unwrap_or_default();
            assert_eq!(found.is_empty(), expect.is_none(), "{what}: {found:?}");
            assert!(found.contains(expect.unwrap_or_default()), "{what}: {found:?}");
        }
    }

    /// A slot that begins anew, with another instance, is no mismatch.
    #[test]
    fn counters_that_fall_say_nothing() {
        let mut mismatches = Mismatches::default();
        let mut look = |checksum_errors, s| {
            let counters = InstanceCounters { checksum_errors, ..InstanceCounters::default() };
            mismatches
                .look("A", &CounterSample { counters, refused: None, foreign: 0, deaf: false }, QUIET, at(s))
                .len()
        };
        assert_eq!([look(9, 100), look(0, 105), look(1, 110)], [0, 0, 1]);
    }
}
