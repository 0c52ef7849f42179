//! A takeover because nothing is heard waits until the former master is fenced.

use super::*;

const DOWN: Duration = Duration::from_nanos(3_609_375_000);

fn fenced_settings(priority: u8) -> Settings {
    Settings { fence: true, ..settings(priority) }
}

fn answer(round: u64, done: bool) -> Input {
    Input::Fenced { instance: InstanceId(0), round, done }
}

/// Runs timers up to `until`, with what they cause.
fn run(engine: &mut Engine, until: Instant) -> Vec<Action> {
    let mut actions = Vec::new();
    while let Some(at) = engine.poll_timeout().filter(|at| *at <= until) {
        engine.handle_timeout(at);
        actions.append(&mut drain(engine));
    }
    actions
}

/// A backup that asks for the first time at `START + DOWN`.
fn asking() -> Engine {
    let mut engine = engine_of([fenced_settings(100)]);
    engine.handle(ready(0), START);
    drain(&mut engine);
    assert_eq!(run(&mut engine, START + DOWN), [Action::Fence { instance: InstanceId(0), round: 1 }]);
    assert_eq!(engine.poll_timeout(), None, "nothing until the answer");
    engine
}

#[test]
fn silence_is_no_takeover_before_the_master_is_fenced() {
    let mut engine = asking();
    let later = START + DOWN + Duration::from_secs(60);
    engine.handle(answer(7, true), later);
    assert_eq!(run(&mut engine, later), [], "the answer to another question");
    engine.handle(answer(1, true), later);
    assert_eq!(
        engine.due(later),
        [Due { instance: InstanceId(0), now: true }],
        "the stamp is read once more"
    );
    run(&mut engine, later + Duration::from_nanos(1));
    assert_eq!(states(&engine), [StateName::Master]);
}

#[test]
fn a_fence_that_fails_is_tried_again_after_another_wait() {
    let mut engine = asking();
    let later = START + DOWN + Duration::from_secs(5);
    engine.handle(answer(1, false), later);
    assert_eq!(run(&mut engine, later + DOWN), [Action::Fence { instance: InstanceId(0), round: 2 }]);
    assert_eq!(states(&engine), [StateName::Backup]);
    engine.handle(answer(1, true), later + DOWN);
    assert_eq!(run(&mut engine, later + DOWN * 9), [], "the first answer does not count twice");
}

#[test]
fn whoever_is_heard_meanwhile_makes_the_answer_void() {
    let mut engine = asking();
    let later = START + DOWN + Duration::from_secs(1);
    engine.handle(advert(200, later), later);
    engine.handle(answer(1, true), later);
    assert_eq!(engine.poll_timeout(), Some(later + DOWN));
    assert_eq!(run(&mut engine, later + DOWN), [Action::Fence { instance: InstanceId(0), round: 2 }]);

    // Between the answer and the takeover.
    let later = later + DOWN + Duration::from_secs(1);
    engine.handle(answer(2, true), later);
    engine.handle(advert(200, later), later);
    assert_eq!(run(&mut engine, later + DOWN), [Action::Fence { instance: InstanceId(0), round: 3 }]);
}

#[test]
fn only_silence_asks() {
    let mut engine = engine_of([fenced_settings(100)]);
    engine.handle(ready(0), START);
    engine.handle(advert(50, START), START);
    run(&mut engine, START + DOWN);
    assert_eq!(states(&engine), [StateName::Master], "a master that is preempted is there");

    let mut engine = engine_of([fenced_settings(100)]);
    engine.handle(ready(0), START);
    engine.handle(advert(200, START), START);
    engine.handle(advert(0, START), START);
    run(&mut engine, START + DOWN);
    assert_eq!(states(&engine), [StateName::Master], "one that said goodbye has stopped");
}

#[test]
fn a_group_asks_once_and_waits_together() {
    let mut members = [settings(100), fenced_settings(100)];
    Settings::share(&mut members);
    let mut engine = Engine::default();
    for (i, settings) in (0..).zip(members) {
        engine.handle(Input::Configure { instance: InstanceId(i), group: GroupId(0), settings }, START);
    }
    engine.handle(ready(0), START);
    engine.handle(ready(1), START);
    drain(&mut engine);
    assert_eq!(run(&mut engine, START + DOWN), [Action::Fence { instance: InstanceId(1), round: 1 }]);
    // One of them is heard of, so all wait, and ask again when that one is silent.
    let later = START + DOWN + Duration::from_secs(1);
    engine.handle(advert(200, later), later);
    engine.handle(answer(1, true), later);
    assert_eq!(run(&mut engine, later + DOWN), [Action::Fence { instance: InstanceId(1), round: 2 }]);
    engine.handle(answer(2, true), later + DOWN);
    run(&mut engine, later + DOWN + Duration::from_nanos(1));
    assert_eq!(states(&engine), [StateName::Master; 2]);
}
