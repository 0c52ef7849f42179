//! What the engine adds to its machines: routing, timers of many, and the end.

use std::{net::IpAddr, time::Duration};

use vipd_common::{Priority, types::ChecksumForm};

use super::*;
use crate::vrrp::tests::settings;

const START: Instant = Instant::from_nanos(1_000_000_000_000);

fn ready(instance: u16) -> Input {
    Input::Ready { instance: InstanceId(instance), address: IpAddr::from([192, 0, 2, 1]) }
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
    let mut engine = Engine::new(vec![settings(100), settings(200), settings(255), settings(1)]);
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
    let mut engine = Engine::new(vec![settings(100)]);
    engine.handle(ready(1), START);
    assert_eq!(drain(&mut engine), []);
    assert_eq!(engine.snapshot(InstanceId(1)), None);
}

#[test]
fn finished_comes_once_and_last() {
    let mut engine = Engine::new(vec![settings(100), settings(255), settings(255)]);
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

    let mut empty = Engine::new(Vec::new());
    empty.handle(Input::Shutdown, START);
    assert_eq!(drain(&mut empty), [Action::Finished]);
}

#[test]
fn poll_timeout_is_past_the_last_timeout_even_for_an_old_advert() {
    let mut engine = Engine::new(vec![settings(100)]);
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
