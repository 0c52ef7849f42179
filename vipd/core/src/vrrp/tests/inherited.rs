//! A router that finds the lease of the vipd before it.

use super::*;

/// The lease that an advert sent at `START` has left, with 4 s of length.
const UNTIL: Instant = Instant::from_nanos(1_004_000_000_000);

/// Told of the lease `after` that advert.
fn heir(settings: Settings, after: Duration) -> (Rig, Instant) {
    let mut rig = Rig::new(settings);
    let at = START + after;
    assert_eq!(rig.event(Event::Inherited { lease_until: UNTIL }, at), "");
    assert_eq!(rig.state(), "INIT");
    (rig, at)
}

#[test]
fn a_restart_within_an_interval_goes_on_with_the_same_period() {
    let (mut rig, at) = heir(Settings { garp: GarpTiming::default(), ..settings(100) }, ms(700));
    assert_eq!(
        rig.event(Event::Ready { address: own() }, at),
        "pub100 MASTER:Inherited",
        "nothing on the wire"
    );
    assert_eq!(rig.snapshot().lease_until, Some(UNTIL));
    // An announcement would say that something has changed.
    assert_eq!(rig.run(START + secs(10)), ["adv100+"; 10].join(" "));
    let expected: Vec<_> = (1..=10).map(|n| (START + secs(n), 100)).collect();
    assert_eq!(rig.sent, expected, "as if nothing had happened");
}

#[test]
fn a_restart_that_took_longer_advertises_at_once() {
    let (mut rig, at) = heir(settings(100), ms(2500));
    rig.event(Event::Ready { address: own() }, at);
    assert_eq!(rig.run(at), "adv100+");
    assert_eq!(rig.snapshot().counters.advert_lateness_max, Duration::ZERO, "the engine was not late");
    assert_eq!(rig.run(at + secs(1)), "adv100+");
}

#[test]
fn a_lease_that_has_run_out_is_nothing() {
    let (mut rig, _) = heir(settings(100), ms(3999));
    assert_eq!(rig.event(Event::Ready { address: own() }, UNTIL), "release cancel pub100 BACKUP:Started");
}

/// The configuration may have changed between the two: the word stands for an advert at an unknown time.
#[test]
fn a_lease_of_another_length_is_renewed_at_once() {
    for interval in [ms(100), secs(10)] {
        let (mut rig, at) = heir(Settings { advert_interval: interval, ..settings(100) }, ms(100));
        rig.event(Event::Ready { address: own() }, at);
        let next = rig.snapshot().next_advert.unwrap();
        assert!(next >= at && next <= at + interval, "{interval:?}: {next}");
    }
}

#[test]
fn what_ends_an_inheritance() {
    let rows: [(&str, Event, &str); 4] = [
        ("revoked by XDP", Event::LeaseLost, "BACKUP: pub100 BACKUP:Started"),
        (
            "no link",
            Event::Fault { reason: FaultReason::LinkDown },
            "FAULT: release cancel FAULT:Fault(LinkDown)",
        ),
        ("stopped", Event::Shutdown, "STOP: release cancel STOP:Shutdown"),
        // The driver sees the word as it is before the first timer: a later advert finds a master.
        (
            "heard",
            Event::Advert { advert: advert(200, START), revoked: false },
            "MASTER: pub100 MASTER:Inherited",
        ),
    ];
    for (what, event, expected) in rows {
        let (mut rig, at) = heir(settings(100), ms(100));
        let mut words = rig.event(event, at);
        if rig.state() == "INIT" {
            words = rig.event(Event::Ready { address: own() }, at);
        }
        assert_eq!(format!("{}: {words}", rig.state()), expected, "{what}");
    }
}

#[test]
fn an_heir_yields_as_any_master_does() {
    let (mut rig, at) = heir(settings(100), ms(100));
    rig.event(Event::Ready { address: own() }, at);
    assert_eq!(rig.hear(advert(101, at + ms(1))), "adv100 release cancel BACKUP:BetterMaster");
}
