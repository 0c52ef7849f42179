//! What is tracked: a priority that changes, and faults that are not of the link.

use super::*;

fn with_priority(rig: &mut Rig, priority: u8, at: Instant) -> String {
    rig.event(Event::Priority { priority: Priority::new(priority) }, at)
}

#[test]
fn a_master_says_its_new_priority_at_once_and_keeps_its_period() {
    let (mut rig, t) = Rig::master(settings(100));
    assert_eq!(with_priority(&mut rig, 80, t + ms(400)), "pub80 adv80+");
    assert_eq!(rig.run(t + secs(1)), "adv80+", "the period goes on");
    assert_eq!(rig.sent.last(), Some(&(t + secs(1), 80)));
    assert_eq!(with_priority(&mut rig, 80, t + ms(1500)), "", "it has it");

    // A check that flaps does not flood the segment: one answer each quarter of an interval.
    let sent = rig.sent.len();
    for i in 0..100 {
        with_priority(&mut rig, 81 + (i % 2), t + ms(1500) + Duration::from_millis(i.into()));
    }
    assert!(rig.sent.len() <= sent + 1, "{:?}", &rig.sent[sent..]);
    rig.run(t + secs(2));
    assert_eq!(
        rig.sent.last().map(|(_, priority)| *priority),
        Some(82),
        "the last word is the last priority"
    );
}

#[test]
fn a_master_that_got_worse_is_replaced_after_the_skew_time() {
    let mut rig = Rig::backup(settings(100));
    rig.hear(advert(101, START + secs(1)));
    assert_eq!(rig.down_at(), START + secs(1) + DOWN);
    rig.hear(advert(99, START + secs(2)));
    let skew = Duration::from_nanos(1_000_000_000 * 156 / 256);
    assert_eq!(rig.down_at(), START + secs(2) + skew, "not three more intervals");
    assert!(rig.run(START + secs(2) + skew).ends_with("MASTER:Preempting"));

    let mut rig = Rig::backup(Settings { preempt: false, ..settings(100) });
    rig.hear(advert(101, START + secs(1)));
    rig.hear(advert(99, START + secs(2)));
    assert_eq!(rig.down_at(), START + secs(2) + DOWN, "nopreempt");

    let mut rig = Rig::backup(Settings { preempt_delay: secs(60), ..settings(100) });
    rig.hear(advert(101, START + secs(1)));
    rig.hear(advert(99, START + secs(2)));
    assert_eq!(rig.down_at(), START + secs(2) + DOWN, "preempt_delay");

    let mut rig = Rig::backup(settings(100));
    rig.hear(advert(101, START + secs(1)));
    rig.hear(Advert { source: ip("192.0.2.8"), ..advert(99, START + secs(2)) });
    assert_eq!(rig.down_at(), START + secs(1) + DOWN, "another router, which the master deals with");
}

#[test]
fn a_backup_that_got_better_takes_over() {
    let mut rig = Rig::backup(settings(80));
    rig.hear(advert(90, START));
    assert_eq!(with_priority(&mut rig, 100, START + ms(500)), "pub100");
    let skew = Duration::from_nanos(1_000_000_000 * 156 / 256);
    assert_eq!(rig.down_at(), START + ms(500) + skew);
    assert!(rig.run(START + ms(500) + skew).ends_with("MASTER:Preempting"));

    let mut rig = Rig::backup(Settings { preempt: false, ..settings(80) });
    rig.hear(advert(90, START));
    with_priority(&mut rig, 100, START + ms(500));
    assert_eq!(rig.down_at(), START + DOWN, "nopreempt: the timer of the new priority");

    // It got worse again in time.
    let mut rig = Rig::backup(settings(80));
    rig.hear(advert(90, START));
    with_priority(&mut rig, 100, START + ms(500));
    with_priority(&mut rig, 80, START + ms(600));
    rig.hear(advert(90, START + secs(1)));
    assert_eq!(rig.run(START + secs(2)), "");
    assert_eq!(rig.state(), "BACKUP");
}

/// It is not taken for a timer that was missed, which waits once more.
#[test]
fn a_wait_that_a_better_priority_ends_ends_at_once() {
    let mut rig = Rig::backup(settings(3));
    rig.hear(Advert { interval: ms(10), ..advert(200, START) });
    let late = START + ms(39);
    assert!(rig.down_at() > late, "three intervals, and nearly another");
    with_priority(&mut rig, 254, late);
    assert_eq!(rig.down_at(), late);
    assert!(rig.run(late).ends_with("MASTER:Preempting"));
}

#[test]
fn an_owner_stays_one() {
    let (mut rig, t) = Rig::master(settings(255));
    assert_eq!(with_priority(&mut rig, 100, t + ms(1)), "");
    let (mut rig, t) = Rig::master(settings(100));
    assert_eq!(with_priority(&mut rig, 255, t + ms(1)), "");
    assert_eq!(with_priority(&mut rig, 0, t + ms(1)), "");
    assert_eq!(rig.snapshot().priority, Priority::new(100));
}

/// In this order: if it is held up between the two, it does not answer beside its successor.
#[test]
fn a_master_with_a_tracked_fault_falls_silent_and_says_goodbye() {
    let (mut rig, t) = Rig::master(settings(100));
    let fault = Event::Fault { reason: FaultReason::Tracked };
    assert_eq!(rig.event(fault, t + ms(10)), "release cancel adv0 pub- FAULT:Fault(Tracked)");
    assert_eq!(rig.run(t + secs(60)), "");
    // A new priority is kept for later.
    assert_eq!(with_priority(&mut rig, 90, t + secs(60)), "");
    assert_eq!(rig.event(Event::Ready { address: own() }, t + secs(61)), "pub90 BACKUP:Started");
}
