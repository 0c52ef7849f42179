//! Stopping, losing the link or the address, and what is kept across that.

use super::*;

#[test]
fn f26_a_leaving_master_says_one_goodbye_and_answers_until_its_successor_speaks() {
    let (mut rig, t) = Rig::master(settings(100));
    rig.sent.clear();
    assert_eq!(rig.event(Event::Shutdown, t + ms(100)), "until+1996 pub0 cancel adv0");
    assert_eq!(rig.state(), "LEAVING");
    assert_eq!(rig.run(t + ms(700)), "");
    assert_eq!(rig.hear(advert(1, t + ms(700))), "release cancel pub- STOP:HandedOver");
    assert_eq!(rig.sent, [(t + ms(100), 0)]);

    let (mut alone, t) = Rig::master(settings(100));
    alone.event(Event::Shutdown, t);
    let words = alone.run(t + secs(2));
    assert_eq!(words, "release cancel pub- STOP:NoSuccessor");

    let v2 = Settings { version: Version::V2, advert_interval: secs(10), ..settings(100) };
    let (mut v2, t) = Rig::master(v2);
    assert_eq!(
        v2.event(Event::Shutdown, t),
        "until+10996 pub0 cancel adv0",
        "skew under a second, one interval"
    );

    // It could not send for two intervals, and has no more than what its lease has left.
    let (mut mute, t) = Rig::master(Settings { lease: LeasePolicy::Strict, ..settings(100) });
    mute.sending_works = false;
    mute.run(t + ms(2500));
    assert_eq!(mute.event(Event::Shutdown, t + ms(2500)), "until+500 pub0 cancel adv0");
}

#[test]
fn f27_a_stopped_backup_sends_nothing() {
    let mut rig = Rig::backup(settings(100));
    assert_eq!(rig.event(Event::Shutdown, START + secs(1)), "pub- STOP:Shutdown");
    assert_eq!(rig.run(START + secs(100)), "");
}

#[test]
fn f29_f30_link_and_address_changes() {
    let (mut rig, t) = Rig::master(settings(100));
    rig.event(Event::Ready { address: ip("192.0.2.200") }, t + ms(1));
    assert_eq!(rig.hear(advert(100, t + ms(300))), "adv100+", "F-30: the new address breaks the tie");
    rig.sent.clear();
    rig.event(Event::Fault { reason: FaultReason::LinkDown }, t + ms(400));
    rig.run(t + secs(60));
    assert_eq!(rig.sent, [], "F-29");
    // The wire is there: an address that was deleted, an interface that has another name.
    for reason in [FaultReason::NoAddress, FaultReason::NoInterface, FaultReason::Refused] {
        let (mut rig, t) = Rig::master(settings(100));
        rig.sent.clear();
        rig.event(Event::Fault { reason }, t + ms(400));
        rig.run(t + secs(60));
        assert_eq!(rig.sent, [(t + ms(400), 0)], "F-29, {reason:?}");
    }
    assert_eq!(rig.event(Event::Ready { address: own() }, t + secs(60)), "pub100 BACKUP:Started");
    assert_eq!(rig.down_at(), t + secs(60) + DOWN);
}

#[test]
fn the_checksum_of_a_peer_is_mirrored_once_and_kept() {
    let message_only = |t| Advert { checksum: ChecksumForm::MessageOnly, ..advert(200, t) };
    let mut rig = Rig::backup(settings(100));
    assert_eq!(rig.hear(message_only(START)), "mirror");
    assert_eq!(rig.hear(message_only(START)), "");
    assert_eq!(rig.hear(advert(200, START)), "");
    assert_eq!(rig.snapshot().checksum, ChecksumForm::MessageOnly);

    for other in [
        Settings { version: Version::V2, ..settings(100) },
        Settings { family: Family::V6, ..settings(100) },
        Settings { checksum: ChecksumForm::MessageOnly, ..settings(100) },
    ] {
        let configured = other.checksum;
        let mut rig = Rig::backup(other);
        assert_eq!(rig.hear(message_only(START)), "");
        assert_eq!(rig.snapshot().checksum, configured);
    }
}
