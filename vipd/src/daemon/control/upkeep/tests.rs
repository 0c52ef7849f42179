//! When to look, what is told, and who is in FAULT for it.

use super::*;

fn repairs(kinds: &[&'static str]) -> Repairs {
    let mut repairs = Repairs::default();
    for (n, kind) in kinds.iter().enumerate() {
        repairs.note(kind, format!("{kind} {n}"));
    }
    repairs
}

fn in_runtime(test: impl AsyncFnOnce()) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(test());
}

#[test]
fn a_fight_costs_no_more_than_the_looks_that_come_anyway() {
    in_runtime(async || {
        let period = Duration::from_secs(2);
        let mut upkeep = Upkeep::new(period);
        let mut now = Instant::now();
        let mut waits = Vec::new();
        for _ in 0..14 {
            upkeep.looked((Duration::ZERO, now), &repairs(&["route"]), &BTreeSet::from([7]), false);
            waits.push((upkeep.not_before - now).as_millis());
            now = upkeep.not_before;
        }
        assert_eq!(waits[..7], [100, 100, 100, 100, 100, 200, 400], "{waits:?}");
        assert!(waits[7..].iter().all(|wait| *wait <= 2_000), "{waits:?}");
        // Nobody can count on the VIPs here: another node is to have them for a while.
        let none = BTreeMap::new();
        let elsewhere = |_| true;
        assert_eq!(upkeep.refused(None, &none, elsewhere, now), Some(BTreeSet::from([InstanceId(7)])));
        assert!(upkeep.why_unserved(InstanceId(7)).is_some_and(|why| why.contains("again and again")));
        assert_eq!(upkeep.to_be_tried(), BTreeSet::new());
        now += GIVEN_UP;
        upkeep.looked((Duration::ZERO, now), &Repairs::default(), &BTreeSet::new(), false);
        assert_eq!(upkeep.fight.wait(), None);
        assert_eq!(upkeep.refused(None, &none, elsewhere, now), Some(BTreeSet::new()));
        // A look of 20 ms is followed by 400 ms without one, so that looks take a twentieth of the time; but nobody waits for seconds.
        for (cost, wait) in [(1, 100), (20, 400), (200, 500)] {
            let cost = Duration::from_millis(cost);
            upkeep.looked((cost, now), &Repairs::default(), &BTreeSet::new(), false);
            assert_eq!(upkeep.not_before - now, Duration::from_millis(wait));
        }
        assert_eq!(upkeep.look_at - now, Duration::from_secs(4), "without a word it may cost no more");
    });
}

/// How long it is, in seconds, each time that it is given up.
#[test]
fn who_is_given_up_comes_back_sooner_while_nobody_serves() {
    in_runtime(async || {
        for (is_served, expected) in [(false, [5, 10, 20, 40, 60, 60]), (true, [60, 120, 240, 480, 600, 600])]
        {
            let (mut upkeep, none) = (Upkeep::new(Duration::from_secs(2)), BTreeMap::new());
            let mut now = Instant::now();
            let mut fight = |now: &mut Instant| {
                for _ in 0..HOPELESS {
                    *now += LEAST;
                    upkeep.deprive([7], "route", *now);
                }
                let begun = *now;
                assert!(upkeep.refused(None, &none, |_| is_served, *now).is_some_and(|all| !all.is_empty()));
                while upkeep.refused(None, &none, |_| is_served, *now).is_none() {
                    *now += Duration::from_secs(1);
                }
                (*now - begun).as_secs()
            };
            assert_eq!([0; 6].map(|_| fight(&mut now)), expected, "{is_served}");
            now += RELAPSE;
            upkeep.refused(None, &none, |_| is_served, now);
            assert!(upkeep.given_up.is_empty(), "it begins anew");
        }
        // The other node ends: it is not waited for any more.
        let (mut upkeep, none, now) = (Upkeep::new(Duration::from_secs(2)), BTreeMap::new(), Instant::now());
        (0..HOPELESS).for_each(|_| upkeep.deprive([7], "route", now));
        upkeep.refused(None, &none, |_| true, now);
        let later = now + UNSERVED;
        assert_eq!(upkeep.refused(None, &none, |_| true, later), None);
        assert_eq!(upkeep.refused(None, &none, |_| false, later), Some(BTreeSet::new()));
    });
}

#[test]
fn what_is_refused_for_a_second_is_a_fault_until_it_is_not() {
    in_runtime(async || {
        let mut upkeep = Upkeep::new(Duration::from_secs(2));
        let mut now = Instant::now();
        let refused = BTreeMap::from([(3, "EPERM".to_owned())]);
        let mut told = |now| upkeep.refused(Some("EPERM".into()), &refused, |_| false, now);
        assert_eq!(told(now), None, "it may be over in a moment");
        now += Duration::from_secs(1);
        assert_eq!(told(now), Some(BTreeSet::from([InstanceId(3)])));
        assert_eq!(told(now), None, "told once");
        assert_eq!((upkeep.to_be_tried(), upkeep.problem()), (BTreeSet::from([3]), Some("EPERM")));
        assert_eq!(upkeep.refused(None, &BTreeMap::new(), |_| false, now), Some(BTreeSet::new()));
        assert_eq!((upkeep.why_unserved(InstanceId(3)), upkeep.problem()), (None, None));
    });
}

#[test]
fn what_was_put_back_is_counted_by_kind_and_the_latest_are_kept() {
    in_runtime(async || {
        let mut upkeep = Upkeep::new(Duration::from_secs(2));
        upkeep.tell(&repairs(&["route", "route", "route", "route", "sysctl"]), LEAST);
        let counts = upkeep.counts();
        assert_eq!((counts["route"], counts["sysctl"], counts["pin"]), (4, 1, 0));
        let latest = upkeep.latest();
        assert_eq!(latest[0].what, "route 0, route 1, route 2 and 1 more");
        for _ in 0..SHOWN {
            upkeep.count("program", 1, "program on eth0");
        }
        assert!(upkeep.latest().len() == SHOWN && upkeep.latest()[0].kind == "program");
    });
}
