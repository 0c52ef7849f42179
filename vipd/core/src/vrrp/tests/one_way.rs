//! One way: a peer is heard that does not hear this router, which preempts nobody meanwhile.

use super::*;

fn one_way(one_way: bool) -> Event {
    Event::OneWay { one_way }
}

/// A backup of priority 150, and when it hears a master of priority 100.
fn above_its_master() -> (Rig, Instant) {
    (Rig::backup(settings(150)), START + ms(500))
}

/// Active_Down_Interval at priority 150.
fn down() -> Duration {
    settings(150).master_down_interval(secs(1))
}

#[test]
fn a_master_of_lower_priority_is_followed() {
    let (mut rig, t) = above_its_master();
    rig.event(one_way(true), START);
    for n in 0..10 {
        assert_eq!(rig.hear(advert(100, t + secs(n))), "");
        assert_eq!(rig.down_at(), t + secs(n) + down());
    }
    // When it falls silent the down timer is as ever.
    assert_eq!(rig.run(t + secs(9) + down()), "adv150+ ann5 MASTER:MasterDown");
}

#[test]
fn a_timer_that_ran_towards_a_takeover_is_the_masters_again() {
    let (mut rig, t) = above_its_master();
    rig.hear(advert(100, t));
    assert_eq!(rig.down_at(), START + down(), "its adverts do not count");
    rig.event(one_way(true), t + ms(100));
    assert_eq!(rig.down_at(), t + down());
    // Unless that has been silent since: it is not waited for once more.
    let (mut rig, t) = above_its_master();
    rig.hear(advert(100, t));
    let (asleep_until, before) = (t + secs(9), rig.down_at());
    rig.event(one_way(true), asleep_until);
    assert_eq!(rig.down_at(), before);
    // Also when the master that was followed gets worse.
    let (mut rig, t) = above_its_master();
    rig.hear(advert(200, t));
    rig.event(one_way(true), t);
    rig.hear(advert(100, t + secs(1)));
    assert_eq!(rig.down_at(), t + secs(1) + down());
    // Or this router better.
    let mut rig = Rig::backup(settings(50));
    rig.hear(advert(100, t));
    rig.event(one_way(true), t);
    rig.event(Event::Priority { priority: Priority::new(150) }, t + ms(10));
    assert_eq!(rig.snapshot().master_down_at, Some(t + down()));
    assert_eq!(rig.run(t + secs(1)), "");
}

#[test]
fn who_is_heard_again_preempts() {
    let (mut rig, t) = above_its_master();
    rig.event(one_way(true), START);
    rig.hear(advert(100, t));
    rig.event(one_way(false), t + ms(100));
    for n in 1..4 {
        assert_eq!(rig.hear(advert(100, t + secs(n))), "");
    }
    assert_eq!(rig.run(t + down()), "adv150+ ann5 MASTER:Preempting");
}

/// RFC 9568 6.1.
#[test]
fn an_address_owner_preempts_all_the_same() {
    let mut rig = Rig::new(settings(255));
    rig.event(one_way(true), START);
    assert_eq!(rig.event(Event::Ready { address: own() }, START), "pub255 adv255+ ann5 MASTER:Owner");
}

/// It is told when one that does not hear it is master too.
#[test]
fn a_master_gives_way_when_it_is_told() {
    let (mut rig, t) = Rig::master(settings(150));
    assert_eq!(rig.event(Event::GiveWay, t), "", "everybody hears it");
    assert_eq!(rig.event(one_way(true), t + ms(1)), "");
    assert_eq!(rig.hear(advert(100, t + ms(2))), "adv150+");
    assert_eq!(rig.event(Event::GiveWay, t + ms(3)), "release cancel BACKUP:OneWay");
    assert_eq!(rig.down_at(), t + ms(2) + down(), "it follows the other");
    let mut owner = Rig::new(settings(255));
    owner.event(one_way(true), START);
    owner.event(Event::Ready { address: own() }, START);
    assert_eq!(owner.event(Event::GiveWay, START), "");
}

/// It may be an offer that nobody is heard to accept.
#[test]
fn a_goodbye_is_waited_for_like_a_silence() {
    let followed = || {
        let (mut rig, t) = above_its_master();
        rig.event(one_way(true), START);
        rig.hear(advert(100, t));
        rig.hear(advert(0, t + ms(100)));
        assert_eq!(rig.down_at(), t + ms(100) + down());
        (rig, t)
    };
    // It is taken back.
    let (mut rig, t) = followed();
    rig.hear(advert(100, t + secs(2)));
    assert_eq!(rig.down_at(), t + secs(2) + down());
    // It was meant: the other leaves, and is no such peer any more.
    let (mut rig, t) = followed();
    rig.event(one_way(false), t + ms(110));
    assert_eq!(rig.down_at(), t + ms(100) + settings(150).skew_time(secs(1)));
    let (mut rig, t) = followed();
    rig.event(one_way(false), t + secs(1));
    assert_eq!(rig.down_at(), t + secs(1), "and that was long ago");
}
