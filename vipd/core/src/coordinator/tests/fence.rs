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
fn run(coordinator: &mut Coordinator, until: Instant) -> Vec<Action> {
    let mut actions = Vec::new();
    while let Some(at) = coordinator.poll_timeout().filter(|at| *at <= until) {
        coordinator.handle_timeout(at);
        actions.append(&mut drain(coordinator));
    }
    actions
}

/// A backup that asks for the first time at `START + DOWN`.
fn asking() -> Coordinator {
    let mut coordinator = coordinator_of([fenced_settings(100)]);
    coordinator.handle(ready(0), START);
    drain(&mut coordinator);
    assert_eq!(run(&mut coordinator, START + DOWN), [Action::Fence { instance: InstanceId(0), round: 1 }]);
    assert_eq!(coordinator.poll_timeout(), None, "nothing until the answer");
    coordinator
}

#[test]
fn silence_is_no_takeover_before_the_master_is_fenced() {
    let mut coordinator = asking();
    let later = START + DOWN + Duration::from_secs(60);
    coordinator.handle(answer(7, true), later);
    assert_eq!(run(&mut coordinator, later), [], "the answer to another question");
    coordinator.handle(answer(1, true), later);
    assert_eq!(
        coordinator.due(later),
        [Due { instance: InstanceId(0), now: true }],
        "the stamp is read once more"
    );
    run(&mut coordinator, later + Duration::from_nanos(1));
    assert_eq!(states(&coordinator), [StateName::Master]);
}

#[test]
fn a_fence_that_fails_is_tried_again_after_another_wait() {
    let mut coordinator = asking();
    let later = START + DOWN + Duration::from_secs(5);
    coordinator.handle(answer(1, false), later);
    assert_eq!(run(&mut coordinator, later + DOWN), [Action::Fence { instance: InstanceId(0), round: 2 }]);
    assert_eq!(states(&coordinator), [StateName::Backup]);
    coordinator.handle(answer(1, true), later + DOWN);
    assert_eq!(run(&mut coordinator, later + DOWN * 9), [], "the first answer does not count twice");
}

#[test]
fn a_reload_that_removes_the_fence_ends_the_wait() {
    for failed in [false, true] {
        let mut coordinator = asking();
        let later = START + DOWN + Duration::from_secs(1);
        if failed {
            coordinator.handle(answer(1, false), later);
        }
        // With the lower priority the skew time is longer, which counts no more.
        let settings = settings(99);
        coordinator.handle(Input::Configure { instance: InstanceId(0), group: GroupId(0), settings }, later);
        run(&mut coordinator, later + Duration::from_nanos(1));
        assert_eq!(states(&coordinator), [StateName::Master], "the last fence failed: {failed}");
    }
}

#[test]
fn whoever_is_heard_meanwhile_makes_the_answer_void() {
    let mut coordinator = asking();
    let later = START + DOWN + Duration::from_secs(1);
    coordinator.handle(advert(200, later), later);
    coordinator.handle(answer(1, true), later);
    assert_eq!(coordinator.poll_timeout(), Some(later + DOWN));
    assert_eq!(run(&mut coordinator, later + DOWN), [Action::Fence { instance: InstanceId(0), round: 2 }]);

    // Between the answer and the takeover.
    let later = later + DOWN + Duration::from_secs(1);
    coordinator.handle(answer(2, true), later);
    coordinator.handle(advert(200, later), later);
    assert_eq!(run(&mut coordinator, later + DOWN), [Action::Fence { instance: InstanceId(0), round: 3 }]);
}

#[test]
fn only_silence_asks() {
    let mut coordinator = coordinator_of([fenced_settings(100)]);
    coordinator.handle(ready(0), START);
    coordinator.handle(advert(50, START), START);
    run(&mut coordinator, START + DOWN);
    assert_eq!(states(&coordinator), [StateName::Master], "a master that is preempted is there");

    let mut coordinator = coordinator_of([fenced_settings(100)]);
    coordinator.handle(ready(0), START);
    coordinator.handle(advert(200, START), START);
    coordinator.handle(advert(0, START), START);
    run(&mut coordinator, START + DOWN);
    assert_eq!(states(&coordinator), [StateName::Master], "one that said goodbye has stopped");
}

#[test]
fn a_group_asks_once_and_waits_together() {
    let mut members = [settings(100), fenced_settings(100)];
    Settings::share(&mut members);
    let mut coordinator = Coordinator::default();
    for (i, settings) in (0..).zip(members) {
        coordinator.handle(Input::Configure { instance: InstanceId(i), group: GroupId(0), settings }, START);
    }
    coordinator.handle(ready(0), START);
    coordinator.handle(ready(1), START);
    drain(&mut coordinator);
    assert_eq!(run(&mut coordinator, START + DOWN), [Action::Fence { instance: InstanceId(1), round: 1 }]);
    // One of them is heard of, so all wait, and ask again when that one is silent.
    let later = START + DOWN + Duration::from_secs(1);
    coordinator.handle(advert(200, later), later);
    coordinator.handle(answer(1, true), later);
    assert_eq!(run(&mut coordinator, later + DOWN), [Action::Fence { instance: InstanceId(1), round: 2 }]);
    coordinator.handle(answer(2, true), later + DOWN);
    run(&mut coordinator, later + DOWN + Duration::from_nanos(1));
    assert_eq!(states(&coordinator), [StateName::Master; 2]);
}
