//! Another configuration, in place.

use super::*;

fn configure(rig: &mut Rig, settings: Settings, at: Instant) -> String {
    rig.event(Event::Settings { settings }, at)
}

#[test]
fn the_same_configuration_changes_nothing() {
    let (mut rig, t) = Rig::master(settings(100));
    let before = rig.snapshot();
    assert_eq!(configure(&mut rig, settings(100), t + ms(400)), "");
    assert_eq!(rig.snapshot(), before);
    let mut rig = Rig::backup(settings(100));
    rig.hear(advert(101, START + secs(1)));
    let before = rig.snapshot();
    assert_eq!(configure(&mut rig, settings(100), START + ms(1500)), "");
    assert_eq!(rig.snapshot(), before);
}

/// The backups learn the interval from the advert, and XDP the length of the lease with it.
#[test]
fn a_master_says_its_new_interval_at_once_and_begins_a_new_period() {
    let (mut rig, t) = Rig::master(settings(100));
    let slow = Settings { advert_interval: secs(2), ..settings(100) };
    assert_eq!(configure(&mut rig, slow, t + ms(400)), "adv100+");
    assert_eq!(rig.snapshot().lease_until, Some(t + ms(400) + secs(8)));
    assert_eq!(rig.run(t + ms(2399)), "");
    assert_eq!(rig.run(t + ms(2400)), "adv100+");
}

#[test]
fn a_backup_waits_anew_at_the_pace_of_its_master() {
    let mut rig = Rig::backup(settings(100));
    rig.hear(advert(101, START + secs(1)));
    let slow = Settings { advert_interval: secs(9), ..settings(100) };
    assert_eq!(configure(&mut rig, slow, START + ms(1500)), "");
    assert_eq!(rig.down_at(), START + ms(1500) + DOWN, "the master advertises every second still");

    let mut rig = Rig::backup(settings(100));
    configure(&mut rig, slow, START + ms(1500));
    assert_eq!(rig.down_at(), START + ms(1500) + DOWN * 9, "nobody was heard");
}

#[test]
fn a_new_priority_is_that_of_tracking() {
    let mut rig = Rig::backup(settings(80));
    rig.hear(advert(90, START));
    assert_eq!(configure(&mut rig, settings(100), START + ms(500)), "pub100");
    let skew = Duration::from_nanos(1_000_000_000 * 156 / 256);
    assert!(rig.run(START + ms(500) + skew).ends_with("MASTER:Preempting"));
}

#[test]
fn nopreempt_lets_the_master_be_from_now_on() {
    let mut rig = Rig::backup(settings(100));
    rig.hear(advert(90, START + secs(1)));
    let patient = Settings { preempt: false, ..settings(100) };
    assert_eq!(configure(&mut rig, patient, START + secs(2)), "");
    rig.hear(advert(90, START + secs(2)));
    assert_eq!(rig.run(START + secs(2) + DOWN - ms(1)), "");
    assert!(rig.run(START + secs(2) + DOWN).ends_with("MASTER:MasterDown"));
}

#[test]
fn one_that_owns_the_addresses_now_takes_them() {
    let mut rig = Rig::backup(settings(100));
    rig.hear(advert(101, START + secs(1)));
    assert_eq!(configure(&mut rig, settings(255), START + secs(2)), "pub255 adv255+ ann5 MASTER:Owner");
    let (mut rig, t) = Rig::master(settings(255));
    assert_eq!(configure(&mut rig, settings(100), t + ms(10)), "pub100 adv100+", "until it is preempted");
}
