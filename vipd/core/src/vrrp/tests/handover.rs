//! Handover by command: the mastership is offered, and goes on if nobody takes it.

use super::*;

#[test]
fn the_successor_is_followed() {
    let (mut rig, t) = Rig::master(settings(100));
    assert_eq!(rig.event(Event::HandOver, t + ms(100)), "pub0 adv0");
    assert_eq!(rig.state(), "LEAVING");
    assert!(rig.snapshot().lease_until >= Some(t + secs(4)), "it answers until the successor speaks");
    assert_eq!(rig.hear(advert(0, t + ms(200))), "", "another's goodbye is no successor");
    assert_eq!(rig.hear(advert(50, t + ms(700))), "release cancel pub100 BACKUP:HandedOver");
    assert_eq!(rig.down_at(), t + ms(700) + DOWN, "its wait begins with the successor's advert");
}

#[test]
fn a_lease_that_is_gone_was_handed_over() {
    for event in [Event::LeaseLost, Event::Synced] {
        let (mut rig, t) = Rig::master(settings(100));
        rig.event(Event::HandOver, t + ms(100));
        assert_eq!(rig.event(event, t + ms(200)), "release cancel pub100 BACKUP:HandedOver");
    }
}

#[test]
fn without_a_successor_it_goes_on() {
    let (mut rig, t) = Rig::master(settings(100));
    rig.event(Event::HandOver, t + ms(100));
    let until = rig.machine.deadline().unwrap();
    assert_eq!(until, t + ms(100) + settings(100).leaving_bound());
    assert_eq!(rig.event(Event::Priority { priority: Priority::new(1) }, t + ms(200)), "", "not a word");
    assert_eq!(rig.run(until), "pub1 adv1+");
    assert_eq!(rig.state(), "MASTER");
    assert_eq!(rig.run(until + secs(2)), "adv1+ adv1+");

    let short = Settings { lease: LeasePolicy::Strict, down_timer_adverts: 1, ..settings(100) };
    let (mut rig, t) = Rig::master(short);
    rig.event(Event::HandOver, t + ms(100));
    assert_eq!(rig.run(t + ms(750)), "pub100 adv100+", "in time, however short the lease is");
    rig.event(Event::HandOver, t + ms(1749));
    assert_eq!(rig.run(t + ms(1750)), "pub100 adv100+");
}

#[test]
fn what_was_to_be_sent_waits() {
    let (mut rig, t) = Rig::master(settings(100));
    rig.hear(advert(50, t + ms(1)));
    // This one's answer is held back by the rate limit.
    rig.hear(advert(50, t + ms(2)));
    rig.sent.clear();
    rig.event(Event::HandOver, t + ms(3));
    rig.run(t + secs(1));
    assert_eq!(rig.sent, [(t + ms(3), 0)]);
}

#[test]
fn a_stop_is_a_stop_and_an_owner_stays() {
    let (mut rig, t) = Rig::master(settings(100));
    rig.event(Event::HandOver, t + ms(100));
    assert_eq!(rig.event(Event::Shutdown, t + ms(200)), "until+1996 cancel adv0");
    assert_eq!(rig.hear(advert(50, t + ms(700))), "release cancel pub- STOP:HandedOver");

    let (mut owner, t) = Rig::master(settings(255));
    assert_eq!(owner.event(Event::HandOver, t + ms(100)), "");
    let mut backup = Rig::backup(settings(100));
    assert_eq!(backup.event(Event::HandOver, START + ms(100)), "");
    assert_eq!(backup.down_at(), START + DOWN);
}

#[test]
fn another_configuration_ends_the_offer() {
    let (mut rig, t) = Rig::master(settings(100));
    rig.event(Event::HandOver, t + ms(100));
    assert_eq!(rig.event(Event::Settings { settings: settings(90) }, t + ms(200)), "pub90 adv90+");
    assert_eq!(rig.state(), "MASTER");
}
