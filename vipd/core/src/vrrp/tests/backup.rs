//! A backup: becoming master, following one, and not.

use super::*;

#[test]
fn f01_an_owner_is_master_at_once() {
    let mut rig = Rig::new(settings(255));
    assert_eq!(
        rig.event(Event::Ready { address: own() }, START),
        "pub255 adv255+ ann5 MASTER:Owner",
        "XDP has the rank before the lease"
    );
}

#[test]
fn f02_f03_a_silent_lan_is_taken_after_the_down_interval() {
    let mut rig = Rig::backup(settings(100));
    assert_eq!(rig.run(START + DOWN - Duration::from_nanos(1)), "");
    assert_eq!(rig.state(), "BACKUP");
    assert_eq!(rig.run(START + DOWN), "adv100+ ann5 MASTER:MasterDown");
    assert_eq!(rig.sent, [(START + DOWN, 100)]);
}

#[test]
fn f04_takeover_is_advert_announcement_and_the_next_advert_after_the_local_interval() {
    let garp = GarpTiming {
        master_delay: Some(secs(5)),
        master_refresh: Some(secs(8)),
        master_refresh_repeat: 2,
        ..GarpTiming::default()
    };
    let mut rig = Rig::backup(Settings { garp, ..settings(100) });
    let t = START + DOWN;
    assert_eq!(rig.run(t), "adv100+ ann5 MASTER:MasterDown");
    assert_eq!(rig.run(t + ms(4999)), ["adv100+"; 4].join(" "));
    assert_eq!(rig.run(t + secs(5)), "adv100+ ann5", "second burst after garp.master_delay");
    assert_eq!(rig.run(t + secs(16)), {
        let mut words = ["adv100+"; 13].to_vec();
        words[2] = "adv100+ ann2";
        words[10] = "adv100+ ann2";
        words[..11].join(" ")
    });
}

// ---- backup

#[test]
fn f07_f08_f13_f28_v03_intervals_are_learned_from_the_master_that_is_followed() {
    let v2 = Settings { version: Version::V2, ..settings(100) };
    let nopreempt = Settings { preempt: false, ..settings(100) };
    let hear = |settings: Settings, priority, interval_ms| {
        let mut rig = Rig::backup(settings);
        rig.hear(Advert { interval: ms(interval_ms), ..advert(priority, START + secs(1)) });
        rig.down_at().saturating_since(START + secs(1))
    };
    assert_eq!(hear(settings(100), 200, 500), Duration::from_nanos(1_804_687_500), "F-07");
    assert_eq!(hear(settings(100), 200, 4000), Duration::from_nanos(14_437_500_000), "F-08");
    assert_eq!(
        hear(nopreempt, 50, 500),
        Duration::from_nanos(1_804_687_500),
        "nopreempt follows a lower one"
    );
    assert_eq!(
        hear(settings(100), 50, 40_950),
        DOWN - secs(1),
        "F-13: nothing learned of a discarded advert"
    );
    assert_eq!(hear(v2, 200, 5000), DOWN, "V-03");

    let (mut rig, t) = Rig::master(settings(100));
    rig.hear(Advert { interval: ms(500), ..advert(200, t + ms(300)) });
    assert_eq!(rig.down_at(), t + ms(300) + Duration::from_nanos(1_804_687_500), "F-28");
}

#[test]
fn f09_a_promoted_backup_uses_its_own_interval() {
    let mut rig = Rig::backup(settings(100));
    rig.hear(Advert { interval: ms(500), ..advert(200, START) });
    let t = START + Duration::from_nanos(1_804_687_500);
    assert_eq!(rig.run(t), "adv100+ ann5 MASTER:MasterDown");
    assert_eq!(rig.snapshot().next_advert, Some(t + secs(1)));
    assert_eq!(rig.snapshot().interval, secs(1));
}

#[test]
fn f10_f11_a_goodbye_leaves_the_skew_time() {
    let skew = Duration::from_nanos(609_375_000);
    let mut rig = Rig::backup(settings(100));
    rig.hear(advert(200, START));
    rig.hear(advert(0, START + secs(1)));
    assert_eq!(rig.down_at(), START + secs(1) + skew, "F-10");
    rig.hear(advert(0, START + ms(1500)));
    assert_eq!(rig.down_at(), START + ms(1500) + skew, "F-11: each restarts it");
    rig.hear(advert(50, START + ms(1550)));
    assert_eq!(rig.down_at(), START + ms(1500) + skew, "a lower one does not");
    rig.hear(advert(200, START + ms(1600)));
    assert_eq!(rig.down_at(), START + ms(1600) + DOWN, "F-11: a better master restores the full timer");
    rig.hear(advert(0, START + secs(2)));
    assert!(rig.run(START + secs(2) + skew).ends_with("MASTER:MasterLeft"), "O-03");

    let mut v2 = Rig::backup(Settings { version: Version::V2, advert_interval: secs(10), ..settings(100) });
    v2.hear(Advert { interval: secs(10), ..advert(0, START) });
    assert_eq!(v2.down_at(), START + skew, "V-01: not ten times that");
}

#[test]
fn f12_a_preempting_backup_does_not_wait_for_a_lower_master() {
    let mut rig = Rig::backup(settings(100));
    for s in 1..4 {
        rig.hear(advert(50, START + secs(s)));
        assert_eq!(rig.down_at(), START + DOWN);
        rig.event(Event::Heard { at: START + secs(s) + ms(1) }, START + secs(s) + ms(2));
        assert_eq!(rig.down_at(), START + DOWN, "nor for its stamps");
    }
    assert!(rig.run(START + DOWN).ends_with("MASTER:Preempting"), "O-03");
}

#[test]
fn f14_nopreempt_follows_a_lower_master() {
    let mut rig = Rig::backup(Settings { preempt: false, ..settings(100) });
    rig.hear(advert(50, START));
    for s in 1..10 {
        assert_eq!(rig.run(START + secs(s)), "");
        rig.event(Event::Heard { at: START + secs(s) }, START + secs(s));
        assert_eq!(rig.down_at(), START + secs(s) + DOWN, "stamps count as adverts do");
    }
}

#[test]
fn f15_an_equal_master_is_followed_whatever_its_address() {
    for source in ["192.0.2.1", "192.0.2.9"] {
        let mut rig = Rig::backup(settings(100));
        rig.hear(Advert { source: ip(source), ..advert(100, START + secs(2)) });
        assert_eq!(rig.down_at(), START + secs(2) + DOWN, "from {source}");
    }
}

#[test]
fn f16_an_owner_preempts_although_told_not_to() {
    let mut rig = Rig::new(Settings { preempt: false, preempt_delay: secs(60), ..settings(255) });
    rig.event(Event::Ready { address: own() }, START);
    // As a backup, which an owner is only after it lost its lease.
    rig.event(Event::LeaseLost, START + ms(1));
    let down_at = rig.down_at();
    rig.hear(advert(254, START + secs(1)));
    assert_eq!(rig.down_at(), down_at);
}

#[test]
fn x06_timers_run_from_the_time_of_reception() {
    let mut rig = Rig::backup(settings(100));
    let late = START + secs(3);
    rig.event(Event::Advert { advert: advert(200, START + secs(1)), revoked: false }, late);
    assert_eq!(rig.down_at(), START + secs(1) + DOWN);
    let due = rig.down_at();
    assert_eq!(rig.machine.wait().map(|(at, _)| at), Some(due));
    rig.event(Event::Heard { at: START + secs(4) }, due);
    assert_eq!(rig.down_at(), START + secs(4) + DOWN, "the stamp is looked at before the timer acts");
    rig.event(Event::Heard { at: START + secs(2) }, due);
    assert_eq!(rig.down_at(), START + secs(4) + DOWN, "an older stamp says nothing");
    assert_eq!(rig.event(Event::Timeout, due), "");
}

/// A whole machine that slept has heard nothing, not even in XDP.
#[test]
fn x06_a_timer_that_fired_long_ago_waits_for_one_more_advert() {
    let awake = START + DOWN + secs(1) + Duration::from_nanos(1);
    let mut rig = Rig::backup(settings(100));
    assert_eq!(rig.event(Event::Timeout, awake), "");
    let skew = DOWN - secs(3);
    assert_eq!(rig.down_at(), awake + secs(1) + skew, "one interval and the skew time");
    rig.hear(advert(200, awake + ms(500)));
    assert_eq!(rig.down_at(), awake + ms(500) + DOWN, "the master is well");

    let mut rig = Rig::backup(settings(100));
    rig.event(Event::Timeout, awake);
    // Once: a machine that is always late takes over all the same.
    assert!(rig.event(Event::Timeout, awake + secs(10)).contains("MASTER:MasterDown"));

    let mut rig = Rig::backup(settings(100));
    let in_time = awake - Duration::from_nanos(1);
    assert!(rig.event(Event::Timeout, in_time).contains("MASTER:MasterDown"), "late by an interval");
}

#[test]
fn a_stamp_repeats_an_advert_reported_before_this_backup_was_one() {
    let (mut rig, t) = Rig::master(settings(100));
    rig.hear(advert(200, t + ms(10)));
    rig.event(Event::Fault { reason: FaultReason::LinkDown }, t + ms(20));
    rig.event(Event::Ready { address: own() }, t + secs(10));
    rig.event(Event::Heard { at: t + secs(11) }, t + secs(12));
    assert_eq!(rig.down_at(), t + secs(11) + DOWN);
}

#[test]
fn preempt_delay_tolerates_a_lower_master_from_its_first_advert_on() {
    let delayed = Settings { preempt_delay: secs(5), ..settings(100) };
    let mut rig = Rig::backup(delayed);
    assert_eq!(rig.run(START + DOWN - ms(1)), "");
    for s in 1..=5 {
        rig.hear(advert(50, START + secs(s)));
        assert_eq!(rig.down_at(), START + secs(s) + DOWN, "within the delay");
    }
    rig.hear(advert(50, START + secs(6)));
    assert_eq!(rig.down_at(), START + secs(5) + DOWN, "5 s after the first at 1 s");
    rig.hear(advert(200, START + secs(7)));
    rig.hear(advert(50, START + secs(8)));
    assert_eq!(rig.down_at(), START + secs(8) + DOWN, "a better master starts it anew");

    let mut alone = Rig::backup(delayed);
    assert!(
        alone.run(START + DOWN).ends_with("MASTER:MasterDown"),
        "without a master the plain timer applies"
    );
}

// ---- master
