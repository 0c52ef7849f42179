//! Backups are told to prepare before they take over, and that they need not have.

use super::*;

/// Of a backup of priority 100 that hears nothing: 3 intervals and the skew time.
const DOWN: Duration = Duration::from_nanos(3_609_375_000);
/// Half of that after the next advert is due.
const LEAD: Duration = Duration::from_nanos(1_304_687_500);

fn prepared(actions: &[Action]) -> Vec<(u16, bool)> {
    let prepare = |action: &Action| match action {
        Action::Prepare { instance, takes_over } => Some((instance.0, *takes_over)),
        _ => None,
    };
    actions.iter().filter_map(prepare).collect()
}

fn backup() -> Coordinator {
    let mut coordinator = coordinator_of([settings(100)]);
    coordinator.handle(ready(0), START);
    drain(&mut coordinator);
    coordinator
}

#[test]
fn a_backup_prepares_before_it_takes_over() {
    let mut coordinator = backup();
    let at = START + DOWN - LEAD;
    assert_eq!(coordinator.prepare_timeout(), Some(at));
    coordinator.prepare(at - Duration::from_nanos(1), |_| None);
    assert_eq!(drain(&mut coordinator), []);
    coordinator.prepare(at, |_| None);
    assert_eq!(prepared(&drain(&mut coordinator)), [(0, true)]);
    assert_eq!(coordinator.prepare_timeout(), None, "it is told once");
    coordinator.prepare(at, |_| None);
    assert_eq!(drain(&mut coordinator), []);
    coordinator.handle_timeout(START + DOWN);
    assert_eq!(states(&coordinator), [StateName::Master]);
    drain(&mut coordinator);
    coordinator.prepare(START + DOWN, |_| None);
    assert_eq!(prepared(&drain(&mut coordinator)), [(0, false)], "a master has what it needs");
}

#[test]
fn a_master_that_is_heard_after_all_ends_it() {
    let mut coordinator = backup();
    let at = START + DOWN - LEAD;
    coordinator.prepare(at, |_| None);
    drain(&mut coordinator);
    coordinator.handle(advert(200, at), at);
    coordinator.prepare(at, |_| None);
    assert_eq!(prepared(&drain(&mut coordinator)), [(0, false)]);
    assert_eq!(coordinator.prepare_timeout(), Some(at + DOWN - LEAD));
}

/// Early takeover: the master's host has left a probe unanswered.
#[test]
fn a_backup_whose_masters_host_is_silent_prepares_at_once() {
    let mut coordinator = backup();
    let (group, now) = (GroupId(0), START + Duration::from_millis(100));
    let suspects = BTreeSet::from([group]);
    assert!(coordinator.suspect(suspects.clone()) && !coordinator.suspect(suspects));
    coordinator.prepare(now, |_| None);
    assert_eq!(prepared(&drain(&mut coordinator)), [(0, true)]);
    coordinator.prepare(now, |_| Some(now));
    assert_eq!(drain(&mut coordinator), [], "an advert that was heard before does not end it");
    assert!(coordinator.suspect(BTreeSet::new()));
    coordinator.prepare(now, |_| None);
    assert_eq!(prepared(&drain(&mut coordinator)), [(0, false)]);
    coordinator.suspect(BTreeSet::from([GroupId(9)]));
    coordinator.prepare(now, |_| None);
    assert_eq!(drain(&mut coordinator), [], "there is no such group");
}

#[test]
fn a_goodbye_prepares_at_once() {
    let mut coordinator = backup();
    let now = START + Duration::from_millis(100);
    coordinator.handle(advert(0, now), now);
    coordinator.prepare(now, |_| None);
    assert_eq!(prepared(&drain(&mut coordinator)), [(0, true)]);
}

#[test]
fn a_sync_group_prepares_together() {
    let mut coordinator = Coordinator::default();
    for (id, priority) in [(0, 100), (1, 200)] {
        let settings = settings(priority);
        coordinator.handle(Input::Configure { instance: InstanceId(id), group: GroupId(0), settings }, START);
    }
    for id in 0..2 {
        coordinator.handle(ready(id), START);
    }
    drain(&mut coordinator);
    let at = coordinator.prepare_timeout().unwrap();
    coordinator.prepare(at, |_| None);
    assert_eq!(prepared(&drain(&mut coordinator)), [(0, true), (1, true)]);
    coordinator.handle(Input::Fault { instance: InstanceId(1), reason: FaultReason::LinkDown }, at);
    coordinator.prepare(at, |_| None);
    assert_eq!(prepared(&drain(&mut coordinator)), [(0, false), (1, false)]);
}

/// XDP reports only what is new: its stamp says that the master goes on, and the election is told when a down timer has fired.
#[test]
fn a_stamp_puts_it_off_and_tells_the_election_nothing() {
    let mut coordinator = backup();
    coordinator.handle(advert(200, START), START);
    let down_at = coordinator.poll_timeout();
    let at = START + DOWN - LEAD;
    let stamp = at - Duration::from_millis(300);
    coordinator.prepare(at, |_| Some(stamp));
    assert_eq!(drain(&mut coordinator), []);
    assert_eq!(coordinator.prepare_timeout(), Some(stamp + DOWN - LEAD));
    assert_eq!(coordinator.poll_timeout(), down_at);
    coordinator.prepare(stamp + DOWN - LEAD, |_| Some(stamp));
    assert_eq!(prepared(&drain(&mut coordinator)), [(0, true)]);
}
