//! The transition table in full.

use super::*;

const STATES: [&str; 6] = ["INIT", "FAULT", "BACKUP", "MASTER", "LEAVING", "STOP"];

/// A machine of priority 100 in that state, and a moment at which none of its timers has fired.
fn in_state(name: &str) -> (Rig, Instant) {
    let (mut rig, at) = match name {
        "BACKUP" => (Rig::backup(settings(100)), START),
        "MASTER" | "LEAVING" => Rig::master(settings(100)),
        _ => (Rig::new(settings(100)), START),
    };
    match name {
        "FAULT" => drop(rig.event(Event::Fault { reason: FaultReason::LinkDown }, at)),
        "LEAVING" => drop(rig.event(Event::Shutdown, at + ms(100))),
        "STOP" => drop(rig.event(Event::Shutdown, at)),
        _ => {}
    }
    assert_eq!(rig.state(), name);
    (rig, at + ms(500))
}

/// Rows 1 to 15 of the transition table and all events of our own, against every state.
#[test]
fn every_state_and_event() {
    const QUIET: [&str; 6] = ["INIT:", "FAULT:", "BACKUP:", "MASTER:", "LEAVING:", "STOP:"];
    /// `QUIET` but for Backup, Master and Leaving.
    const fn live(backup: &'static str, master: &'static str, leaving: &'static str) -> [&'static str; 6] {
        ["INIT:", "FAULT:", backup, master, leaving, "STOP:"]
    }
    type MakeEvent = fn(Instant) -> Event;
    fn event(advert: Advert, revoked: bool) -> Event {
        Event::Advert { advert, revoked }
    }
    const HANDED: &str = "STOP: release cancel pub- STOP:HandedOver";
    let rows: [(&str, MakeEvent, [&str; 6]); 25] = [
        (
            "ready",
            |_| Event::Ready { address: own() },
            [
                "BACKUP: pub100 BACKUP:Started",
                "BACKUP: pub100 BACKUP:Started",
                "BACKUP:",
                "MASTER:",
                "LEAVING:",
                "STOP:",
            ],
        ),
        (
            "ready, other address",
            |_| Event::Ready { address: ip("192.0.2.77") },
            [
                "BACKUP: pub100 BACKUP:Started",
                "BACKUP: pub100 BACKUP:Started",
                "BACKUP: pub100",
                "MASTER: pub100",
                "LEAVING: pub0",
                "STOP:",
            ],
        ),
        (
            "fault",
            |_| Event::Fault { reason: FaultReason::LinkDown },
            [
                "FAULT: FAULT:Fault(LinkDown)",
                "FAULT:",
                "FAULT: pub- FAULT:Fault(LinkDown)",
                "FAULT: release cancel pub- FAULT:Fault(LinkDown)",
                "STOP: release cancel pub- STOP:Fault(LinkDown)",
                "STOP:",
            ],
        ),
        (
            "fault of the link, with a heartbeat line",
            |_| Event::Fault { reason: FaultReason::CutOff },
            [
                "FAULT: FAULT:Fault(CutOff)",
                "FAULT:",
                "FAULT: pub- FAULT:Fault(CutOff)",
                "FAULT: release cancel adv0 pub- FAULT:Fault(CutOff)",
                "LEAVING:",
                "STOP:",
            ],
        ),
        (
            "fault of what is tracked",
            |_| Event::Fault { reason: FaultReason::Tracked },
            [
                "FAULT: FAULT:Fault(Tracked)",
                "FAULT:",
                "FAULT: pub- FAULT:Fault(Tracked)",
                "FAULT: release cancel adv0 pub- FAULT:Fault(Tracked)",
                "LEAVING:",
                "STOP:",
            ],
        ),
        (
            "fault of another member of its group",
            |_| Event::Fault { reason: FaultReason::Group },
            [
                "FAULT: FAULT:Fault(Group)",
                "FAULT:",
                "FAULT: pub- FAULT:Fault(Group)",
                "FAULT: release cancel adv0 pub- FAULT:Fault(Group)",
                "LEAVING:",
                "STOP:",
            ],
        ),
        (
            "another configuration",
            |_| Event::Settings { settings: Settings { advert_interval: secs(2), ..settings(90) } },
            live("BACKUP: pub90", "MASTER: pub90 adv90+", "LEAVING:"),
        ),
        (
            "another priority",
            |_| Event::Priority { priority: Priority::new(90) },
            live("BACKUP: pub90", "MASTER: pub90 adv90+", "LEAVING:"),
        ),
        (
            "higher",
            |t| event(advert(101, t), false),
            live("BACKUP:", "BACKUP: adv100 release cancel BACKUP:BetterMaster", HANDED),
        ),
        (
            "equal from above",
            |t| event(advert(100, t), false),
            live("BACKUP:", "BACKUP: adv100 release cancel BACKUP:BetterMaster", HANDED),
        ),
        (
            "equal from below",
            |t| event(Advert { source: ip("192.0.2.1"), ..advert(100, t) }, false),
            live("BACKUP:", "MASTER: adv100+", HANDED),
        ),
        ("lower", |t| event(advert(99, t), false), live("BACKUP:", "MASTER: adv100+", HANDED)),
        ("priority 0", |t| event(advert(0, t), false), live("BACKUP:", "MASTER: adv100+", "LEAVING:")),
        ("own source", |t| event(Advert { source: own(), ..advert(200, t) }, false), QUIET),
        ("interval 0", |t| event(Advert { interval: Duration::ZERO, ..advert(200, t) }, false), {
            live("BACKUP:", "MASTER:", HANDED)
        }),
        (
            "higher, revoked",
            |t| event(advert(101, t), true),
            live("BACKUP:", "BACKUP: adv100 release cancel BACKUP:BetterMaster", HANDED),
        ),
        (
            "lower, revoked",
            |t| event(advert(99, t), true),
            live("BACKUP:", "BACKUP: release cancel BACKUP:Superseded", HANDED),
        ),
        ("heard again", |at| Event::Heard { at }, QUIET),
        (
            "lease lost",
            |_| Event::LeaseLost,
            live("BACKUP:", "BACKUP: release cancel BACKUP:LeaseRevoked", HANDED),
        ),
        (
            "its group has stepped down",
            |_| Event::Synced,
            live("BACKUP:", "BACKUP: release cancel BACKUP:Group", HANDED),
        ),
        ("sent", |at| Event::AdvertSent { at, lease_until: at + secs(4) }, QUIET),
        ("not sent", |_| Event::AdvertFailed, QUIET),
        (
            "shutdown",
            |_| Event::Shutdown,
            [
                "STOP: STOP:Shutdown",
                "STOP: STOP:Shutdown",
                "STOP: pub- STOP:Shutdown",
                "LEAVING: until+1996 pub0 cancel adv0",
                "LEAVING:",
                "STOP:",
            ],
        ),
        ("timeout, early", |_| Event::Timeout, QUIET),
        ("inherited", |at| Event::Inherited { lease_until: at + secs(3) }, QUIET),
    ];
    for (name, make, expected) in rows {
        for (state, expected) in STATES.into_iter().zip(expected) {
            let (mut rig, at) = in_state(state);
            let words = rig.event(make(at), at);
            let got = format!("{}: {words}", rig.state());
            assert_eq!(got.trim_end(), expected, "state {state}, event {name}");
        }
    }
    let expired = [
        "INIT:",
        "FAULT:",
        "MASTER: adv100+ ann5 MASTER:MasterDown",
        "MASTER: adv100+",
        "STOP: release cancel pub- STOP:NoSuccessor",
        "STOP:",
    ];
    for (state, expected) in STATES.into_iter().zip(expired) {
        let (mut rig, at) = in_state(state);
        let at = rig.machine.deadline().unwrap_or(at);
        let words = rig.event(Event::Timeout, at);
        assert_eq!(format!("{}: {words}", rig.state()).trim_end(), expected, "state {state}, timer fired");
    }
}
