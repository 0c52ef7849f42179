//! Sync groups: one lease, one fate.

use super::*;

const GROUP: GroupId = GroupId(5);
/// Active_Down_Interval at priority 100 and 1 s.
const DOWN: Duration = Duration::from_nanos(3_609_375_000);

/// A group of instances that wait to be told of their links.
fn group(mut members: Vec<Settings>) -> Coordinator {
    Settings::share(&mut members);
    let mut coordinator = Coordinator::default();
    for (i, settings) in (0..).zip(members) {
        coordinator.handle(Input::Configure { instance: InstanceId(i), group: GROUP, settings }, START);
    }
    coordinator
}

/// The same, all of them backups.
fn backups(members: Vec<Settings>) -> Coordinator {
    let count = members.len();
    let mut coordinator = group(members);
    (0..count).for_each(|i| coordinator.handle(ready(i as u16), START));
    assert_eq!(states(&coordinator), vec![StateName::Backup; count]);
    drain(&mut coordinator);
    coordinator
}

/// Masters whose adverts were sent.
fn masters(members: Vec<Settings>) -> (Coordinator, Instant) {
    let mut coordinator = backups(members);
    let at = coordinator.poll_timeout().unwrap();
    coordinator.handle_timeout(at);
    for action in drain(&mut coordinator) {
        if let Action::Advertise { instance, renew_for: Some(length), .. } = action {
            coordinator.handle(Input::AdvertSent { instance, at, lease_until: at + length }, at);
        }
    }
    assert!(states(&coordinator).iter().all(|state| *state == StateName::Master));
    drain(&mut coordinator);
    (coordinator, at)
}

fn hears(coordinator: &mut Coordinator, instance: u16, priority: u8, at: Instant) {
    let advert = Advert {
        source: IpAddr::from([192, 0, 2, 9]),
        priority: Priority::new(priority),
        interval: Duration::from_secs(1),
        checksum: ChecksumForm::PseudoHeader,
        received_at: at,
    };
    coordinator.handle(Input::Advert { instance: InstanceId(instance), advert, revoked: false }, at);
}

fn fault(instance: u16, reason: FaultReason) -> Input {
    Input::Fault { instance: InstanceId(instance), reason }
}

#[test]
fn they_take_over_when_each_of_them_would() {
    use StateName::{Backup, Master};
    let mut coordinator = backups(vec![settings(100), settings(100), settings(100)]);
    let second = Duration::from_secs(1);
    for t in 1..20 {
        // The master of all but the first goes on.
        hears(&mut coordinator, 1, 150, START + second * t);
        hears(&mut coordinator, 2, 150, START + second * t + second / 2);
        coordinator.handle_timeout(START + second * t + second / 2);
        assert_eq!(states(&coordinator), [Backup, Backup, Backup], "second {t}");
    }
    let last = START + second * 19 + second / 2;
    assert_eq!(coordinator.poll_timeout(), Some(last + DOWN));
    assert_eq!(coordinator.due(last + DOWN).len(), 3, "each stamp is looked at");
    coordinator.handle_timeout(last + DOWN - Duration::from_nanos(1));
    assert_eq!(states(&coordinator), [Backup, Backup, Backup]);
    coordinator.handle_timeout(last + DOWN);
    assert_eq!(states(&coordinator), [Master, Master, Master]);
    let actions = drain(&mut coordinator);
    let adverts = actions.iter().take_while(|a| matches!(a, Action::Advertise { .. })).count();
    assert_eq!(adverts, 3, "before anything else: {actions:?}");
}

#[test]
fn a_better_master_of_one_is_the_master_of_all() {
    use StateName::Backup;
    let (mut coordinator, at) = masters(vec![settings(100), settings(100)]);
    hears(&mut coordinator, 1, 150, at + Duration::from_millis(100));
    assert_eq!(states(&coordinator), [Backup, Backup]);
    let reason = |coordinator: &Coordinator, i| coordinator.snapshot(InstanceId(i)).unwrap().last_reason;
    assert_eq!(reason(&coordinator, 1), Some(Reason::BetterMaster));
    assert_eq!(reason(&coordinator, 0), Some(Reason::Group));
    let released = drain(&mut coordinator).iter().filter(|a| matches!(a, Action::Release { .. })).count();
    assert_eq!(released, 2);
}

#[test]
fn a_lease_that_is_lost_is_lost_for_all() {
    use StateName::Backup;
    let (mut coordinator, at) = masters(vec![settings(100), settings(100), settings(100)]);
    coordinator.handle(Input::LeaseLost { instance: InstanceId(2) }, at + Duration::from_millis(100));
    assert_eq!(states(&coordinator), [Backup, Backup, Backup]);
}

/// One whose adverts do not leave loses the lease for all, whatever the others renew.
#[test]
fn a_member_that_does_not_renew_lapses_for_all() {
    use StateName::{Backup, Master};
    let (mut coordinator, at) = masters(vec![settings(100), settings(100)]);
    for t in 1..4 {
        let now = at + Duration::from_secs(t);
        coordinator.handle_timeout(now);
        let lease_until = now + Duration::from_secs(4);
        coordinator.handle(Input::AdvertSent { instance: InstanceId(0), at: now, lease_until }, now);
        coordinator.handle(Input::AdvertFailed { instance: InstanceId(1) }, now);
        assert_eq!(states(&coordinator), [Master, Master], "second {t}");
    }
    coordinator.handle_timeout(at + Duration::from_secs(4));
    assert_eq!(states(&coordinator), [Backup, Backup]);
    assert_eq!(coordinator.snapshot(InstanceId(1)).unwrap().last_reason, Some(Reason::LeaseLapsed));
    assert_eq!(coordinator.snapshot(InstanceId(0)).unwrap().last_reason, Some(Reason::Group));
}

#[test]
fn a_fault_of_one_is_a_fault_of_all() {
    use StateName::{Backup, Fault};
    let reasons = [(FaultReason::LinkDown, 1), (FaultReason::CutOff, 2), (FaultReason::Tracked, 2)];
    for (reason, goodbyes) in reasons {
        let (mut coordinator, at) = masters(vec![settings(100), settings(100)]);
        coordinator.handle(fault(0, reason), at);
        assert_eq!(states(&coordinator), [Fault, Fault]);
        let goodbye = |action: &&Action| {
            matches!(action, Action::Advertise { priority: Priority::LEAVING, renew_for: None, .. })
        };
        assert_eq!(drain(&mut coordinator).iter().filter(goodbye).count(), goodbyes, "{reason:?}");
        coordinator.handle(ready(1), at);
        assert_eq!(states(&coordinator), [Fault, Fault], "the other is not well yet");
        coordinator.handle(ready(0), at);
        assert_eq!(states(&coordinator), [Backup, Backup]);
    }
}

#[test]
fn nobody_begins_before_all_are_known() {
    use StateName::{Backup, Fault, Init};
    let mut coordinator = group(vec![settings(100), settings(100)]);
    coordinator.handle(ready(0), START);
    assert_eq!(states(&coordinator), [Init, Init]);
    assert_eq!(coordinator.poll_timeout(), None);
    coordinator.handle(ready(1), START);
    assert_eq!(states(&coordinator), [Backup, Backup]);

    let mut coordinator = group(vec![settings(100), settings(100)]);
    coordinator.handle(fault(1, FaultReason::LinkDown), START);
    assert_eq!(states(&coordinator), [Fault, Fault]);
}

#[test]
fn an_inherited_lease_is_everybodys() {
    use StateName::{Init, Master};
    let mut coordinator = group(vec![settings(100), settings(100)]);
    for instance in [InstanceId(0), InstanceId(1)] {
        coordinator.handle(Input::Inherited { instance, lease_until: START + Duration::from_secs(2) }, START);
    }
    coordinator.handle(ready(0), START);
    assert_eq!(states(&coordinator), [Init, Init]);
    coordinator.handle(ready(1), START);
    assert_eq!(states(&coordinator), [Master, Master]);
}

#[test]
fn an_inherited_lease_that_one_has_lost_is_nobodys() {
    let mut coordinator = group(vec![settings(100), settings(100)]);
    for instance in [InstanceId(0), InstanceId(1)] {
        coordinator.handle(Input::Inherited { instance, lease_until: START + Duration::from_secs(2) }, START);
    }
    coordinator.handle(Input::LeaseLost { instance: InstanceId(0) }, START);
    (0..2).for_each(|i| coordinator.handle(ready(i), START));
    assert_eq!(states(&coordinator), [StateName::Backup; 2]);
    let master = |action: &Action| matches!(action, Action::Transition { to: StateName::Master, .. });
    assert!(!drain(&mut coordinator).iter().any(master), "not even for a moment");
}

/// What the vipd before has left has run out: its word is gone before the first advert, which would renew it.
#[test]
fn owners_release_a_lapsed_lease_before_they_take_theirs() {
    let mut coordinator = group(vec![settings(255), settings(255)]);
    for instance in [InstanceId(0), InstanceId(1)] {
        coordinator.handle(Input::Inherited { instance, lease_until: START }, START);
    }
    (0..2).for_each(|i| coordinator.handle(ready(i), START + Duration::from_secs(1)));
    assert_eq!(states(&coordinator), [StateName::Master; 2]);
    let actions = drain(&mut coordinator);
    let last = actions.iter().rposition(|action| matches!(action, Action::Release { .. })).unwrap();
    let first = actions.iter().position(|action| matches!(action, Action::Advertise { .. })).unwrap();
    assert!(last < first, "{actions:?}");
}

#[test]
fn they_leave_together() {
    use StateName::{Master, Stopped};
    let (mut coordinator, at) = masters(vec![settings(100), settings(100)]);
    coordinator.handle(Input::Shutdown, at + Duration::from_millis(100));
    assert_eq!(states(&coordinator), [Master, Master]);
    let until: Vec<_> = drain(&mut coordinator)
        .iter()
        .filter_map(|action| if let Action::Shorten { until, .. } = action { Some(*until) } else { None })
        .collect();
    assert_eq!(until.len(), 2);
    assert_eq!(until[0], until[1], "one word");
    // The successor's advert for one of them has revoked the lease of all.
    hears(&mut coordinator, 0, 90, at + Duration::from_millis(200));
    assert_eq!(states(&coordinator), [Stopped, Stopped]);
    assert_eq!(drain(&mut coordinator).last(), Some(&Action::Finished));
}

/// They are told one after the other, and have one word.
#[test]
fn one_that_is_removed_after_another_leaves_no_later() {
    let (mut coordinator, at) = masters(vec![settings(100), settings(100)]);
    for (instance, ms) in [(InstanceId(0), 100), (InstanceId(1), 150)] {
        coordinator.handle(Input::Remove { instance }, at + Duration::from_millis(ms));
    }
    let until: Vec<_> = drain(&mut coordinator)
        .iter()
        .filter_map(|action| if let Action::Shorten { until, .. } = action { Some(*until) } else { None })
        .collect();
    assert_eq!(until.len(), 2);
    assert_eq!(until[0], until[1]);
}

#[test]
fn they_are_removed_together() {
    let mut coordinator = backups(vec![settings(100), settings(100)]);
    coordinator.handle(Input::Remove { instance: InstanceId(0) }, START);
    assert!(!drain(&mut coordinator).iter().any(|action| matches!(action, Action::Removed { .. })));
    coordinator.handle(Input::Remove { instance: InstanceId(1) }, START);
    let removed: Vec<_> = drain(&mut coordinator)
        .into_iter()
        .filter_map(|action| if let Action::Removed { instance } = action { Some(instance) } else { None })
        .collect();
    assert_eq!(removed, [InstanceId(0), InstanceId(1)]);
    assert_eq!(coordinator.ids().count(), 0);
}

/// They are told one after the other, and take the addresses together.
#[test]
fn a_group_that_owns_its_addresses_now_takes_them() {
    use StateName::{Backup, Master};
    let mut coordinator = backups(vec![settings(100), settings(100)]);
    let at = START + Duration::from_millis(100);
    let mut owners = [settings(255), settings(255)];
    Settings::share(&mut owners);
    for (i, settings) in (0..).zip(owners) {
        assert_eq!(states(&coordinator), [Backup, Backup]);
        coordinator.handle(Input::Configure { instance: InstanceId(i), group: GROUP, settings }, at);
    }
    assert_eq!(coordinator.poll_timeout(), Some(at));
    coordinator.handle_timeout(at);
    assert_eq!(states(&coordinator), [Master, Master]);
    assert_eq!(coordinator.snapshot(InstanceId(0)).unwrap().last_reason, Some(Reason::Owner));
}

/// One that has lost its rival tells everybody of all the addresses: each client may have heard the rival of its own.
#[test]
fn a_rival_of_one_has_all_announce() {
    let (mut coordinator, at) = masters(vec![settings(100), settings(100), settings(100)]);
    hears(&mut coordinator, 1, 50, at + Duration::from_secs(2));
    let announced: Vec<_> = drain(&mut coordinator)
        .into_iter()
        .filter_map(
            |action| if let Action::Announce { instance, .. } = action { Some(instance.0) } else { None },
        )
        .collect();
    assert_eq!(announced, [1, 0, 2]);
}
