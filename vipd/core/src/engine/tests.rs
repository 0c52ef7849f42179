//! What the engine adds to its machines: routing, timers of many, and the end.

use std::{net::IpAddr, time::Duration};

use vipd_common::{Priority, types::ChecksumForm};

use super::*;
use crate::vrrp::tests::settings;

const START: Instant = Instant::from_nanos(1_000_000_000_000);

mod fence;
mod groups;
mod prepare;

/// Each instance by itself.
fn engine_of(instances: impl IntoIterator<Item = Settings>) -> Engine {
    let mut engine = Engine::default();
    for (i, settings) in (0..).zip(instances) {
        engine.handle(Input::Configure { instance: InstanceId(i), group: GroupId(i), settings }, START);
    }
    engine
}

fn ready(instance: u16) -> Input {
    Input::Ready { instance: InstanceId(instance), address: IpAddr::from([192, 0, 2, 1]) }
}

fn advert(priority: u8, received_at: Instant) -> Input {
    let advert = Advert {
        source: IpAddr::from([192, 0, 2, 9]),
        priority: Priority::new(priority),
        interval: Duration::from_secs(1),
        checksum: ChecksumForm::PseudoHeader,
        received_at,
    };
    Input::Advert { instance: InstanceId(0), advert, revoked: false }
}

fn drain(engine: &mut Engine) -> Vec<Action> {
    std::iter::from_fn(|| engine.poll_action()).collect()
}

fn states(engine: &Engine) -> Vec<StateName> {
    (0..).map_while(|i| engine.snapshot(InstanceId(i))).map(|snapshot| snapshot.state).collect()
}

#[test]
fn each_instance_has_its_own_timers() {
    use StateName::{Backup, Init, Master};
    let mut engine = engine_of([settings(100), settings(200), settings(255), settings(1)]);
    assert_eq!(engine.poll_timeout(), None);
    for i in 0..3 {
        engine.handle(ready(i), START);
    }
    assert_eq!(states(&engine), [Backup, Backup, Master, Init]);
    assert_eq!(engine.poll_timeout(), Some(START + Duration::from_secs(1)), "the owner's next advert");
    let at = START + Duration::from_nanos(3_218_750_000);
    assert_eq!(engine.due(at - Duration::from_nanos(1)), [], "soon, but nobody has to look yet");
    let due = |instance, now| Due { instance: InstanceId(instance), now };
    assert_eq!(engine.due(at), [due(0, false), due(1, true)]);
    engine.handle_timeout(at);
    assert_eq!(states(&engine), [Backup, Master, Master, Init]);
    assert!(engine.poll_timeout() > Some(at));
}

#[test]
fn an_unknown_instance_is_ignored() {
    let mut engine = engine_of([settings(100)]);
    engine.handle(ready(1), START);
    assert_eq!(drain(&mut engine), []);
    assert_eq!(engine.snapshot(InstanceId(1)), None);
}

#[test]
fn finished_comes_once_and_last() {
    let mut engine = engine_of([settings(100), settings(255), settings(255)]);
    for i in 0..3 {
        engine.handle(ready(i), START);
    }
    drain(&mut engine);
    engine.handle(Input::Shutdown, START + Duration::from_millis(500));
    assert!(!drain(&mut engine).contains(&Action::Finished), "two masters still answer");
    engine.handle(Input::LeaseLost { instance: InstanceId(1) }, START + Duration::from_millis(600));
    assert!(!drain(&mut engine).contains(&Action::Finished));
    engine.handle_timeout(START + Duration::from_secs(5));
    assert_eq!(drain(&mut engine).last(), Some(&Action::Finished));
    engine.handle(Input::Shutdown, START + Duration::from_secs(6));
    engine.handle_timeout(START + Duration::from_secs(7));
    assert_eq!(drain(&mut engine), []);

    let mut empty = engine_of([]);
    empty.handle(Input::Shutdown, START);
    assert_eq!(drain(&mut empty), [Action::Finished]);
}

#[test]
fn poll_timeout_is_past_the_last_timeout_even_for_an_old_advert() {
    let mut engine = engine_of([settings(100)]);
    engine.handle(ready(0), START);
    engine.handle_timeout(START + Duration::from_secs(3));
    let advert = Advert {
        source: IpAddr::from([192, 0, 2, 9]),
        priority: Priority::new(200),
        interval: Duration::from_millis(10),
        checksum: ChecksumForm::PseudoHeader,
        received_at: START + Duration::from_secs(2),
    };
    engine.handle(
        Input::Advert { instance: InstanceId(0), advert, revoked: false },
        START + Duration::from_secs(3),
    );
    let next = engine.poll_timeout().unwrap();
    assert_eq!(next, START + Duration::from_secs(3) + Duration::from_nanos(1));
    engine.handle_timeout(next);
    assert_eq!(states(&engine), [StateName::Backup], "it may have slept, and the master be well");
    let next = engine.poll_timeout().unwrap();
    engine.handle_timeout(next);
    assert_eq!(states(&engine), [StateName::Master]);
}

#[test]
fn what_is_removed_says_goodbye_and_is_gone() {
    let mut engine = engine_of([settings(100), settings(255)]);
    engine.handle(ready(0), START);
    engine.handle(ready(1), START);
    drain(&mut engine);
    let remove = |i| Input::Remove { instance: InstanceId(i) };
    engine.handle(remove(0), START);
    assert_eq!(drain(&mut engine).last(), Some(&Action::Removed { instance: InstanceId(0) }));
    assert_eq!(engine.ids().collect::<Vec<_>>(), [InstanceId(1)]);

    engine.handle(remove(1), START + Duration::from_millis(100));
    let said = drain(&mut engine);
    let goodbye = |action: &Action| {
        matches!(action, Action::Advertise { priority: Priority::LEAVING, renew_for: None, .. })
    };
    assert!(said.iter().any(goodbye), "{said:?}");
    assert_eq!(states(&engine), [], "counted from 0 on");
    assert_eq!(engine.snapshot(InstanceId(1)).map(|s| s.leaving), Some(true), "it answers still");
    engine.handle_timeout(START + Duration::from_secs(3));
    assert_eq!(drain(&mut engine).last(), Some(&Action::Removed { instance: InstanceId(1) }));

    // The number is free for another.
    let again = Input::Configure { instance: InstanceId(1), group: GroupId(1), settings: settings(100) };
    engine.handle(again, START + Duration::from_secs(4));
    engine.handle(ready(1), START + Duration::from_secs(4));
    assert_eq!(engine.snapshot(InstanceId(1)).map(|s| s.state), Some(StateName::Backup));
}
