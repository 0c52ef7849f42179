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

fn backup() -> Engine {
    let mut engine = engine_of([settings(100)]);
    engine.handle(ready(0), START);
    drain(&mut engine);
    engine
}

#[test]
fn a_backup_prepares_before_it_takes_over() {
    let mut engine = backup();
    let at = START + DOWN - LEAD;
    assert_eq!(engine.prepare_timeout(), Some(at));
    engine.prepare(at - Duration::from_nanos(1));
    assert_eq!(drain(&mut engine), []);
    engine.prepare(at);
    assert_eq!(prepared(&drain(&mut engine)), [(0, true)]);
    assert_eq!(engine.prepare_timeout(), None, "it is told once");
    engine.prepare(at);
    assert_eq!(drain(&mut engine), []);
    engine.handle_timeout(START + DOWN);
    assert_eq!(states(&engine), [StateName::Master]);
    drain(&mut engine);
    engine.prepare(START + DOWN);
    assert_eq!(prepared(&drain(&mut engine)), [(0, false)], "a master has what it needs");
}

#[test]
fn a_master_that_is_heard_after_all_ends_it() {
    let mut engine = backup();
    let at = START + DOWN - LEAD;
    engine.prepare(at);
    drain(&mut engine);
    engine.handle(advert(200, at), at);
    engine.prepare(at);
    assert_eq!(prepared(&drain(&mut engine)), [(0, false)]);
    assert_eq!(engine.prepare_timeout(), Some(at + DOWN - LEAD));
}

#[test]
fn a_goodbye_prepares_at_once() {
    let mut engine = backup();
    let now = START + Duration::from_millis(100);
    engine.handle(advert(0, now), now);
    engine.prepare(now);
    assert_eq!(prepared(&drain(&mut engine)), [(0, true)]);
}

#[test]
fn a_sync_group_prepares_together() {
    let mut engine = Engine::default();
    for (id, priority) in [(0, 100), (1, 200)] {
        let settings = settings(priority);
        engine.handle(Input::Configure { instance: InstanceId(id), group: GroupId(0), settings }, START);
    }
    for id in 0..2 {
        engine.handle(ready(id), START);
    }
    drain(&mut engine);
    let at = engine.prepare_timeout().unwrap();
    assert_eq!(engine.about_to_take_over(at), [InstanceId(0), InstanceId(1)]);
    engine.prepare(at);
    assert_eq!(prepared(&drain(&mut engine)), [(0, true), (1, true)]);
    engine.handle(Input::Fault { instance: InstanceId(1), reason: FaultReason::LinkDown }, at);
    engine.prepare(at);
    assert_eq!(prepared(&drain(&mut engine)), [(0, false), (1, false)]);
}
