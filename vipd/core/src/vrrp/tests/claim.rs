//! A claim: the master that is followed is outbid, and nothing above the priority of an ordinary router is ever said.

use super::*;

const SOON: Duration = Duration::from_millis(1);

fn claim(reason: Reason, now: Instant) -> Event {
    Event::Claim { reason, until: now + SOON }
}

/// A backup of that priority which follows a master of the other.
fn follows(priority: u8, master: u8) -> (Rig, Instant) {
    let mut rig = Rig::backup(Settings { preempt: false, ..settings(priority) });
    rig.hear(advert(master, START + ms(1)));
    (rig, START + ms(20))
}

#[test]
fn the_master_is_outbid_and_the_claim_is_settled() {
    let (mut rig, t) = follows(100, 150);
    assert_eq!(rig.event(claim(Reason::HostSilent, t), t), "pub151 adv151+ ann5 MASTER:HostSilent");
    assert_eq!(
        (rig.machine.claim(), rig.snapshot().priority),
        (Some(Priority::new(151)), Priority::new(151))
    );
    // As often as it is asked to, and its period goes on.
    assert_eq!(rig.event(Event::Assert { announce: false }, t + ms(1)), "adv151+");
    assert_eq!(rig.event(Event::Assert { announce: true }, t + ms(3)), "adv151+ ann5");
    assert_eq!(rig.run(t + secs(1)), "adv151+");
    // The master that was outbid is a lower rival.
    assert_eq!(rig.hear(advert(150, t + ms(1100))), "adv151+ ann5");
    assert_eq!(rig.event(Event::Settle { yields: false }, t + ms(1200)), "pub100 adv100+");
    assert_eq!(rig.machine.claim(), None);
    assert_eq!(rig.hear(advert(150, t + ms(1300))), "adv100 release cancel BACKUP:BetterMaster");
}

#[test]
fn a_claim_in_vain_is_given_up() {
    let (mut rig, t) = follows(100, 150);
    rig.event(claim(Reason::HostSilent, t), t);
    assert_eq!(
        rig.event(Event::Settle { yields: true }, t + ms(9)),
        "release cancel pub100 BACKUP:ClaimUnheard"
    );
    assert_eq!(rig.down_at(), t + ms(9) + DOWN);
    assert_eq!(rig.event(Event::Settle { yields: true }, t + ms(10)), "", "there is none any more");
}

/// Each row: own priority, the master's, whether our address is the greater, and what is claimed.
#[test]
fn no_claim_is_higher_than_254() {
    let rows = [
        (100, 1, false, Some(100)),
        (100, 150, false, Some(151)),
        (200, 150, false, Some(200)),
        (100, 253, false, Some(254)),
        (100, 254, true, Some(254)),
        (100, 254, false, None),
        (254, 254, false, None),
        (100, 255, true, None),
    ];
    for (own, master, greater, expected) in rows {
        let mut rig = Rig::backup(Settings { preempt: false, ..settings(own) });
        let source = ip(if greater { "192.0.2.1" } else { "192.0.2.9" });
        rig.hear(Advert { source, ..advert(master, START + ms(1)) });
        rig.event(claim(Reason::HostSilent, START + ms(20)), START + ms(20));
        let row = format!("{own} under {master}");
        assert_eq!(rig.machine.claim().map(|claim| claim.get()), expected, "{row}");
        assert_eq!(rig.state() == "MASTER", expected.is_some(), "{row}");
    }
}

#[test]
fn nobody_claims_from_nobody_or_too_late_or_before_a_fence() {
    let mut alone = Rig::backup(settings(100));
    assert_eq!(alone.event(claim(Reason::HostSilent, START + ms(9)), START + ms(9)), "");

    let (mut rig, t) = follows(100, 150);
    assert_eq!(rig.event(claim(Reason::HostSilent, t), t + SOON), "", "held up for too long");
    rig.hear(advert(0, t + ms(2)));
    assert_eq!(rig.event(claim(Reason::HostSilent, t + ms(3)), t + ms(3)), "", "it has said goodbye");

    let mut fences = Rig::backup(Settings { fence: true, ..settings(100) });
    fences.hear(advert(150, START + ms(1)));
    for reason in [Reason::HostSilent, Reason::Orphaned] {
        assert_eq!(fences.event(claim(reason, START + ms(9)), START + ms(9)), "");
    }
}

/// The lease that a claim would acquire is void until its advert is sent.
#[test]
fn a_claimant_that_is_held_up_before_its_advert_steps_down() {
    let (mut rig, t) = follows(100, 150);
    let mut queue = VecDeque::new();
    rig.machine.handle(claim(Reason::HostSilent, t), t, &mut queue);
    assert_eq!(rig.machine.lease_until(), Some(t + SOON));
    rig.machine.handle(Event::Timeout, t + SOON, &mut queue);
    assert_eq!((rig.state(), rig.machine.claim()), ("BACKUP", None));
    assert!(
        !queue.iter().any(|action| matches!(action, Action::Advertise { .. })),
        "nothing goes out: {queue:?}"
    );
}

#[test]
fn an_orphan_takes_over_at_its_own_priority() {
    let (mut rig, t) = follows(100, 150);
    assert_eq!(rig.event(claim(Reason::Orphaned, t), t), "adv100+ ann5 MASTER:Orphaned");
    assert_eq!(rig.machine.claim(), None);
}

#[test]
fn the_end_of_a_mastership_is_the_end_of_its_claim() {
    type MakeEvent = fn(Instant) -> Event;
    let ends: [(&str, MakeEvent); 5] = [
        ("lease lost", |_| Event::LeaseLost),
        ("group", |_| Event::Synced),
        ("fault", |_| Event::Fault { reason: FaultReason::Tracked }),
        ("outbid", |at| Event::Advert { advert: advert(152, at), revoked: true }),
        ("leaves", |_| Event::Shutdown),
    ];
    for (name, event) in ends {
        let (mut rig, t) = follows(100, 150);
        rig.event(claim(Reason::HostSilent, t), t);
        rig.event(event(t + ms(5)), t + ms(5));
        assert_eq!(rig.machine.claim(), None, "{name}");
    }
    // One that offers itself says so, and is its own self again if nobody takes it.
    let (mut rig, t) = follows(100, 150);
    rig.event(claim(Reason::HostSilent, t), t);
    assert_eq!(rig.event(Event::HandOver, t + ms(5)), "pub0 adv0");
    assert_eq!(rig.run(t + ms(2500)), "pub100 adv100+");
}

/// R7 asks all who may be the master: the last advert of each source is kept.
#[test]
fn every_source_of_adverts_is_remembered() {
    let mut rig = Rig::backup(settings(100));
    for (i, source) in ["192.0.2.7", "192.0.2.8", "192.0.2.9", "192.0.2.8"].into_iter().enumerate() {
        rig.hear(Advert { source: ip(source), ..advert(150, START + ms(1 + i as u64)) });
    }
    let sources: Vec<_> = rig.machine.heard_lately().map(|advert| advert.source).collect();
    assert_eq!(sources, [ip("192.0.2.8"), ip("192.0.2.9"), ip("192.0.2.7")]);
}

/// XDP reports what has changed, and stamps the rest: a living master is one also for a router that was in FAULT meanwhile.
#[test]
fn a_source_that_was_heard_in_fault_was_heard_then() {
    let mut rig = Rig::backup(settings(100));
    rig.hear(Advert { source: ip("192.0.2.7"), ..advert(150, START + ms(1)) });
    rig.event(Event::Fault { reason: FaultReason::Tracked }, START + ms(2));
    rig.event(Event::Heard { at: START + ms(5000) }, START + ms(5001));
    rig.hear(Advert { source: ip("192.0.2.8"), ..advert(50, START + ms(5002)) });
    let times: Vec<_> = rig.machine.heard_lately().map(|advert| advert.received_at).collect();
    assert_eq!(times, [START + ms(5002), START + ms(5000)]);
}
