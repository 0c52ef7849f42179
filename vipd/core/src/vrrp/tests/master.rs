//! A master: its adverts, its rivals, its lease.

use super::*;

#[test]
fn f17_a_thousand_adverts_without_drift() {
    let (mut rig, t) = Rig::master(settings(100));
    rig.sent.clear();
    for n in 1..=1000 {
        let deadline = t + secs(n);
        assert_eq!(rig.snapshot().next_advert, Some(deadline));
        let late = deadline + Duration::from_micros((n * 7919) % 5000);
        rig.event(Event::Timeout, late);
    }
    assert_eq!(rig.sent.len(), 1000);
    assert!(rig.snapshot().counters.advert_lateness_max >= ms(4));
    // Late by two and a half intervals, within the lease: one advert, on the old grid.
    assert_eq!(rig.event(Event::Timeout, t + ms(1_003_500)), "adv100+");
    assert_eq!(rig.snapshot().next_advert, Some(t + secs(1004)));
}

#[test]
fn f18_f19_f20_f21_a_better_router_is_yielded_to() {
    let rows = [
        // ours, own address, theirs, their address, yields
        (100, "192.0.2.2", 101, "192.0.2.1", true),
        (100, "192.0.2.2", 100, "192.0.2.3", true),
        (100, "192.0.2.2", 100, "192.0.2.1", false),
        (100, "192.0.2.2", 99, "192.0.2.3", false),
        (100, "100.0.0.1", 100, "200.0.0.1", true),
        (100, "200.0.0.1", 100, "100.0.0.1", false),
        (100, "192.0.2.10", 100, "192.0.2.9", false),
        (100, "fe80::10", 100, "fe80::ffff:0:0:1", true),
        (100, "fe80::ffff:0:0:1", 100, "fe80::10", false),
        (255, "192.0.2.2", 255, "192.0.2.3", true),
        (255, "192.0.2.2", 255, "192.0.2.1", false),
        (255, "192.0.2.2", 254, "192.0.2.3", false),
    ];
    for preempt in [true, false] {
        for (ours, address, theirs, source, yields) in rows {
            let row = format!("{ours} {address} hears {theirs} {source}, preempt {preempt}");
            let mut rig = Rig::new(Settings { preempt, ..settings(ours) });
            rig.event(Event::Ready { address: ip(address) }, START);
            rig.run(START + DOWN);
            assert_eq!(rig.state(), "MASTER", "{row}");
            let now = START + DOWN + ms(300);
            let words = rig.hear(Advert { source: ip(source), ..advert(theirs, now) });
            if yields {
                assert_eq!(words, format!("adv{ours} release cancel BACKUP:BetterMaster"), "{row}");
                rig.sent.clear();
                rig.run(now + secs(3));
                assert_eq!(rig.sent, [], "F-18: no further adverts: {row}");
            } else {
                assert!(words.starts_with(&format!("adv{ours}+")), "F-22, F-23: {row}: {words}");
            }
            assert_eq!(rig.snapshot().counters.released_master, u64::from(yields), "{row}");
        }
    }
}

#[test]
fn f22_f23_an_immediate_advert_leaves_the_period_alone() {
    let (mut rig, t) = Rig::master(settings(100));
    assert_eq!(rig.hear(advert(99, t + ms(600))), "adv100+");
    assert_eq!(rig.lower_heard, 1);
    assert_eq!(rig.snapshot().next_advert, Some(t + secs(1)));
    assert_eq!(rig.snapshot().lease_until, Some(t + ms(4600)), "it renews like any other");
}

#[test]
fn f24_lower_prio_no_advert_discards_silently_but_announces() {
    for version in [Version::V2, Version::V3] {
        let settings = Settings { version, lower_prio_no_advert: true, ..settings(100) };
        let (mut rig, t) = Rig::master(settings);
        assert_eq!(rig.hear(advert(99, t + secs(1))), "ann5");
    }
}

#[test]
fn f25_a_goodbye_restarts_the_advert_timer() {
    let (mut rig, t) = Rig::master(settings(100));
    assert_eq!(rig.hear(advert(0, t + ms(600))), "adv100+");
    assert_eq!(rig.snapshot().next_advert, Some(t + ms(1600)));
}

#[test]
fn a_flood_of_goodbyes_does_not_silence_a_master() {
    let (mut rig, t) = Rig::master(settings(100));
    rig.sent.clear();
    for n in 1..=100_000 {
        let now = t + Duration::from_micros(n * 100);
        rig.run(now);
        rig.hear(advert(0, now));
    }
    assert_eq!(rig.state(), "MASTER");
    assert!((10..=50).contains(&rig.sent.len()), "{} adverts in 10 s", rig.sent.len());
}

#[test]
fn x02_x04_our_own_address_is_never_answered() {
    let (mut rig, t) = Rig::master(settings(100));
    rig.sent.clear();
    for n in 1..=10_000 {
        let now = t + ms(n);
        rig.run(now);
        for priority in [0, 1, 100, 200] {
            assert_eq!(rig.hear(Advert { source: own(), ..advert(priority, now) }), "");
        }
    }
    assert_eq!(rig.sent.len(), 10, "the plain rate");
    assert_eq!(rig.snapshot().counters.own_source_heard, 40_000);
}

#[test]
fn x03_immediate_adverts_and_announcements_have_a_ceiling_and_a_last_word() {
    let (mut rig, t) = Rig::master(settings(100));
    let mut announced = Vec::new();
    rig.sent.clear();
    let (start, flood) = (t + secs(10), secs(2));
    rig.run(start);
    rig.sent.clear();
    for n in 0..20_000 {
        let now = start + Duration::from_micros(n * 100);
        let words = rig.run(now) + &rig.hear(advert(99, now));
        if words.contains("ann5") {
            announced.push(now);
        }
    }
    // One a quarter of a second, and the regular ones.
    assert!((8..=11).contains(&rig.sent.len()), "{:?}", rig.sent);
    let counters = rig.snapshot().counters;
    assert_eq!(counters.rivals_heard, 20_000);
    assert!(counters.immediate_adverts <= 9, "{counters:?}");
    assert!(counters.immediate_adverts_suppressed >= 20_000 - 9, "{counters:?}");
    assert_eq!(announced, [start, start + secs(1)]);
    let words = rig.run(start + flood + secs(5));
    assert_eq!(words.matches("ann5").count(), 1, "one announcement after the last rival: {words}");

    // At 10 ms the ceiling is one in 10 ms.
    let (mut fast, t) = Rig::master(Settings { advert_interval: ms(10), ..settings(100) });
    fast.sent.clear();
    for n in 1..=10_000 {
        let now = t + Duration::from_micros(n * 100);
        fast.run(now);
        fast.hear(advert(99, now));
    }
    assert!(fast.sent.len() <= 201, "{}", fast.sent.len());
}

#[test]
fn a_rival_that_may_not_be_answered_at_once_is_answered_when_it_may() {
    let (mut rig, t) = Rig::master(settings(100));
    assert_eq!(rig.hear(advert(99, t + ms(100))), "adv100+");
    assert_eq!(rig.hear(advert(99, t + ms(200))), "");
    assert_eq!(rig.run(t + ms(349)), "");
    assert_eq!(rig.run(t + ms(350)), "adv100+");
    assert_eq!(rig.snapshot().next_advert, Some(t + secs(1)));
}

#[test]
fn a_rival_is_followed_by_a_second_announcement() {
    let garp = GarpTiming {
        master_delay: None,
        lower_prio_delay: Some(secs(5)),
        lower_prio_repeat: 3,
        ..GarpTiming::default()
    };
    let (mut rig, t) = Rig::master(Settings { garp, ..settings(100) });
    rig.run(t + secs(3));
    assert_eq!(rig.hear(advert(99, t + ms(3500))), "adv100+ ann3");
    assert_eq!(rig.run(t + ms(8499)), ["adv100+"; 5].join(" "));
    assert_eq!(rig.run(t + ms(8500)), "ann3");
}

#[test]
fn x05_a_frozen_master_steps_down_before_anything_else() {
    let inputs: [fn(Instant) -> Event; 6] = [
        |_| Event::Timeout,
        |t| Event::Advert { advert: advert(200, t), revoked: false },
        |t| Event::Advert { advert: advert(50, t), revoked: true },
        |at| Event::AdvertSent { at, lease_until: at + secs(4) },
        |_| Event::AdvertFailed,
        |_| Event::LeaseLost,
    ];
    for make in inputs {
        let (mut rig, t) = Rig::master(settings(100));
        let lease_until = rig.snapshot().lease_until.unwrap();
        assert_eq!(lease_until, t + secs(4));
        assert_eq!(
            rig.event(make(lease_until), lease_until),
            "release cancel BACKUP:LeaseLapsed",
            "{:?}",
            make(lease_until)
        );
        assert_eq!(rig.sent.len(), 1, "nothing is sent");
    }
    let (mut rig, t) = Rig::master(settings(100));
    assert_eq!(
        rig.event(Event::Shutdown, t + secs(4)),
        "release cancel BACKUP:LeaseLapsed pub- STOP:Shutdown",
        "no goodbye for what is another's"
    );
}

#[test]
fn a_master_that_cannot_send_gives_up() {
    let mut rig = Rig::backup(settings(100));
    rig.sending_works = false;
    rig.run(START + DOWN);
    assert_eq!(rig.event(Event::AdvertFailed, START + DOWN), "release cancel BACKUP:SendFailed", "the first");
    assert_eq!(rig.down_at(), START + DOWN + DOWN);

    let (mut rig, t) = Rig::master(settings(100));
    rig.sending_works = false;
    for n in 1..=3 {
        assert_eq!(rig.run(t + secs(n)), "adv100+");
        assert_eq!(rig.event(Event::AdvertFailed, t + secs(n)), "", "a later one only does not renew");
    }
    assert_eq!(rig.run(t + secs(4)), "release cancel BACKUP:LeaseLapsed");
}

#[test]
fn a_failure_takes_back_what_is_still_queued() {
    let takeover = |at| {
        let mut rig = Rig::backup(settings(100));
        let mut queue = VecDeque::new();
        rig.machine.handle(Event::Timeout, START + DOWN, &mut queue);
        assert!(matches!(queue[0], Action::Advertise { .. }));
        (rig.machine, queue.split_off(at))
    };
    for (done, failure) in [(1, Event::AdvertFailed), (1, Event::LeaseLost)] {
        let (mut machine, mut queue) = takeover(done);
        machine.handle(failure, START + DOWN, &mut queue);
        let on_the_wire = |a: &&Action| matches!(a, Action::Advertise { .. } | Action::Announce { .. });
        assert_eq!(queue.iter().find(on_the_wire), None, "{failure:?} after {done} actions");
    }
}

#[test]
fn a_revocation_of_an_earlier_lease_is_not_of_this_one() {
    let (mut rig, t) = Rig::master(settings(100));
    let stale = Event::Advert { advert: advert(50, t - ms(1)), revoked: true };
    assert_eq!(rig.event(stale, t + ms(1)), "adv100+");
}

#[test]
fn a_superseded_master_waits_a_full_timer_before_it_preempts() {
    let (mut rig, t) = Rig::master(settings(100));
    rig.event(Event::Advert { advert: advert(50, t + secs(2)), revoked: true }, t + ms(2500));
    assert_eq!(rig.down_at(), t + secs(2) + DOWN);
    rig.hear(advert(50, t + secs(3)));
    assert!(rig.run(t + secs(2) + DOWN).ends_with("MASTER:Preempting"));
}

#[test]
fn a13_nothing_is_announced_after_yielding() {
    let garp = GarpTiming { master_refresh: Some(secs(1)), ..GarpTiming::default() };
    let (mut rig, t) = Rig::master(Settings { garp, ..settings(100) });
    rig.hear(advert(99, t + ms(100)));
    let words = rig.hear(advert(200, t + ms(200)));
    assert_eq!(words, "adv100 release cancel BACKUP:BetterMaster");
    for s in 1..20 {
        let at = t + ms(200) + secs(s);
        assert_eq!(rig.run(at), "");
        rig.event(Event::Heard { at }, at);
    }
}

#[test]
fn a_v2_owner_is_deaf_but_for_its_lease() {
    let (mut rig, t) = Rig::master(Settings { version: Version::V2, ..settings(255) });
    assert_eq!(rig.hear(advert(255, t + ms(1))), "");
    assert_eq!(rig.hear(advert(0, t + ms(2))), "");
    let revoked = Event::Advert { advert: advert(100, t + secs(2)), revoked: true };
    assert_eq!(rig.event(revoked, t + secs(2)), "release cancel BACKUP:Superseded");
}

// ---- end
