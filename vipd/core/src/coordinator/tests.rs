//! What the coordinator adds to its machines: routing, timers of many, and the end.

use std::{net::IpAddr, time::Duration};

use vipd_common::{Priority, types::ChecksumForm};

use super::*;
use crate::vrrp::tests::settings;

const START: Instant = Instant::from_nanos(1_000_000_000_000);

mod fence;
mod groups;
mod prepare;

/// Each instance by itself.
fn coordinator_of(instances: impl IntoIterator<Item = Settings>) -> Coordinator {
    let mut coordinator = Coordinator::default();
    for (i, settings) in (0..).zip(instances) {
        coordinator.handle(Input::Configure { instance: InstanceId(i), group: GroupId(i), settings }, START);
    }
    coordinator
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

fn drain(coordinator: &mut Coordinator) -> Vec<Action> {
    std::iter::from_fn(|| coordinator.poll_action()).collect()
}

fn states(coordinator: &Coordinator) -> Vec<StateName> {
    (0..).map_while(|i| coordinator.snapshot(InstanceId(i))).map(|snapshot| snapshot.state).collect()
}

#[test]
fn each_instance_has_its_own_timers() {
    use StateName::{Backup, Init, Master};
    let mut coordinator = coordinator_of([settings(100), settings(200), settings(255), settings(1)]);
    assert_eq!(coordinator.poll_timeout(), None);
    for i in 0..3 {
        coordinator.handle(ready(i), START);
    }
    assert_eq!(states(&coordinator), [Backup, Backup, Master, Init]);
    assert_eq!(coordinator.poll_timeout(), Some(START + Duration::from_secs(1)), "the owner's next advert");
    let at = START + Duration::from_nanos(3_218_750_000);
    assert_eq!(coordinator.due(at - Duration::from_nanos(1)), [], "soon, but nobody has to look yet");
    let due = |instance, now| Due { instance: InstanceId(instance), now };
    assert_eq!(coordinator.due(at), [due(0, false), due(1, true)]);
    coordinator.handle_timeout(at);
    assert_eq!(states(&coordinator), [Backup, Master, Master, Init]);
    assert!(coordinator.poll_timeout() > Some(at));
}

#[test]
fn an_unknown_instance_is_ignored() {
    let mut coordinator = coordinator_of([settings(100)]);
    coordinator.handle(ready(1), START);
    assert_eq!(drain(&mut coordinator), []);
    assert_eq!(coordinator.snapshot(InstanceId(1)), None);
}

#[test]
fn finished_comes_once_and_last() {
    let mut coordinator = coordinator_of([settings(100), settings(255), settings(255)]);
    for i in 0..3 {
        coordinator.handle(ready(i), START);
    }
    drain(&mut coordinator);
    coordinator.handle(Input::Shutdown, START + Duration::from_millis(500));
    assert!(!drain(&mut coordinator).contains(&Action::Finished), "two masters still answer");
    coordinator.handle(Input::LeaseLost { instance: InstanceId(1) }, START + Duration::from_millis(600));
    assert!(!drain(&mut coordinator).contains(&Action::Finished));
    coordinator.handle_timeout(START + Duration::from_secs(5));
    assert_eq!(drain(&mut coordinator).last(), Some(&Action::Finished));
    coordinator.handle(Input::Shutdown, START + Duration::from_secs(6));
    coordinator.handle_timeout(START + Duration::from_secs(7));
    assert_eq!(drain(&mut coordinator), []);

    let mut empty = coordinator_of([]);
    empty.handle(Input::Shutdown, START);
    assert_eq!(drain(&mut empty), [Action::Finished]);
}

#[test]
fn poll_timeout_is_past_the_last_timeout_even_for_an_old_advert() {
    let mut coordinator = coordinator_of([settings(100)]);
    coordinator.handle(ready(0), START);
    coordinator.handle_timeout(START + Duration::from_secs(3));
    let advert = Advert {
        source: IpAddr::from([192, 0, 2, 9]),
        priority: Priority::new(200),
        interval: Duration::from_millis(10),
        checksum: ChecksumForm::PseudoHeader,
        received_at: START + Duration::from_secs(2),
    };
    coordinator.handle(
        Input::Advert { instance: InstanceId(0), advert, revoked: false },
        START + Duration::from_secs(3),
    );
    let next = coordinator.poll_timeout().unwrap();
    assert_eq!(next, START + Duration::from_secs(3) + Duration::from_nanos(1));
    coordinator.handle_timeout(next);
    assert_eq!(states(&coordinator), [StateName::Backup], "it may have slept, and the master be well");
    let next = coordinator.poll_timeout().unwrap();
    coordinator.handle_timeout(next);
    assert_eq!(states(&coordinator), [StateName::Master]);
}

#[test]
fn what_is_removed_says_goodbye_and_is_gone() {
    let mut coordinator = coordinator_of([settings(100), settings(255)]);
    coordinator.handle(ready(0), START);
    coordinator.handle(ready(1), START);
    drain(&mut coordinator);
    let remove = |i| Input::Remove { instance: InstanceId(i) };
    coordinator.handle(remove(0), START);
    assert_eq!(drain(&mut coordinator).last(), Some(&Action::Removed { instance: InstanceId(0) }));
    assert_eq!(coordinator.ids().collect::<Vec<_>>(), [InstanceId(1)]);

    coordinator.handle(remove(1), START + Duration::from_millis(100));
    let said = drain(&mut coordinator);
    let goodbye = |action: &Action| {
        matches!(action, Action::Advertise { priority: Priority::LEAVING, renew_for: None, .. })
    };
    assert!(said.iter().any(goodbye), "{said:?}");
    assert_eq!(states(&coordinator), [], "counted from 0 on");
    assert_eq!(coordinator.snapshot(InstanceId(1)).map(|s| s.leaving), Some(true), "it answers still");
    coordinator.handle_timeout(START + Duration::from_secs(3));
    assert_eq!(drain(&mut coordinator).last(), Some(&Action::Removed { instance: InstanceId(1) }));

    // The number is free for another.
    let again = Input::Configure { instance: InstanceId(1), group: GroupId(1), settings: settings(100) };
    coordinator.handle(again, START + Duration::from_secs(4));
    coordinator.handle(ready(1), START + Duration::from_secs(4));
    assert_eq!(coordinator.snapshot(InstanceId(1)).map(|s| s.state), Some(StateName::Backup));
}
