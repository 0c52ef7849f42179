//! Every cause, from statuses that are made up.

use super::*;
use crate::model::{EarlyStatus, FaultStatus, MasterStatus, samples};

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// A backup with priority 90 of 150, since a check has failed, below a master with 100.
fn backup() -> InstanceStatus {
    let mut check = samples::track("vrrp_script", "chk_nginx", -60, false);
    check.state = "check chk_nginx failed (exit code 1): connection refused".into();
    InstanceStatus {
        priority: 90,
        base_priority: 150,
        tracks: vec![check, samples::track("interface", "eth1", 5, true)],
        master: Some(MasterStatus { address: ip("10.0.0.6"), priority: 100 }),
        sync_group: None,
        discards: Default::default(),
        ..samples::backup("VI_1", 51)
    }
}

fn with(i: InstanceStatus) -> Status {
    Status { instances: vec![i], ..samples::status() }
}

fn explained(status: &Status) -> (Vec<(Kind, String)>, Vec<String>) {
    let Explanation { why, changes_when, .. } = explain(status, 0).unwrap();
    (why.into_iter().map(|cause| (cause.kind, cause.what)).collect(), changes_when)
}

fn why(status: &Status) -> Vec<(Kind, String)> {
    explained(status).0
}

/// The first cause of one instance.
fn first(i: InstanceStatus) -> (Kind, String) {
    why(&with(i)).remove(0)
}

#[test]
fn a_lower_priority_is_explained_with_what_would_raise_it() {
    // 150 - 60 + 5 is 95; the sample's priority is what the adverts say.
    let i = InstanceStatus { priority: 95, ..backup() };
    let (why, changes) = explained(&with(i));
    let expect = "10.0.0.6 is master with priority 100, and this node has 95";
    assert_eq!(why, [(Kind::LowerPriority, expect.into())]);
    let silent = "10.0.0.6 stops or hands over, or no advert of it comes for 3.6 s";
    let rises = "the priority rises above 100: when check chk_nginx succeeds it is 155 (+60)";
    assert_eq!(changes, [rises, silent]);
}

#[test]
fn a_check_that_cannot_be_run_is_named() {
    let mut status = with(backup());
    status.tracked[0] = TrackedStatus {
        keyword: "vrrp_script".into(),
        name: "chk_gone".into(),
        problem: Some("/no/such: No such file or directory".into()),
        ..status.tracked[0].clone()
    };
    let expect = "the check chk_gone of this node cannot be run, and counts for nothing: /no/such: No such file or directory";
    assert_eq!(why(&status)[1..], [(Kind::CheckIgnored, expect.to_owned())]);
}

#[test]
fn only_what_is_enough_is_named() {
    let low = |gain: i32, count: usize| {
        let track = |n| samples::track("vrrp_script", &format!("chk{n}"), -gain, false);
        let base = 150u8;
        InstanceStatus {
            priority: 100,
            base_priority: base,
            tracks: (0..count).map(track).collect(),
            master: Some(MasterStatus { address: ip("10.0.0.6"), priority: 140 }),
            ..backup()
        }
    };
    let changes = |i| explained(&with(i)).1.remove(0);
    assert_eq!(
        changes(low(25, 2)),
        "the priority rises above 140: when check chk0 succeeds and check chk1 succeeds it is 150 (+50)"
    );
    let mut none = low(50, 0);
    none.base_priority = 100;
    assert_eq!(
        changes(none),
        "the priority rises above 140 (it tracks nothing), or that of the master falls below 100"
    );
    let mut weak = low(5, 1);
    weak.base_priority = 105;
    assert_eq!(
        changes(weak),
        "the priority rises above 140 (nothing that it tracks adds enough), or that of the master falls below 100"
    );
    let mut reversed = low(50, 1);
    reversed.tracks[0].reverse = true;
    reversed.tracks[0].well = Some(true);
    assert_eq!(changes(reversed), "the priority rises above 140: when check chk0 fails it is 150 (+50)");
}

#[test]
fn an_equal_priority_waits() {
    let i = InstanceStatus { priority: 100, ..backup() };
    let (kind, what) = first(i);
    assert_eq!(kind, Kind::EqualPriority);
    assert_eq!(
        what,
        "10.0.0.6 is master with the same priority 100: a master is replaced only by a higher priority"
    );
}

#[test]
fn preemption_is_explained() {
    let better = || InstanceStatus { priority: 150, tracks: Vec::new(), ..backup() };
    let lower = "10.0.0.6 is master with the lower priority 100, this node has 150";
    let (why, changes) = explained(&with(InstanceStatus { preempt: false, ..better() }));
    assert_eq!(why, [(Kind::Nopreempt, format!("{lower}; nopreempt leaves a running master alone"))]);
    assert_eq!(changes, ["10.0.0.6 stops or hands over, or no advert of it comes for 3.6 s"]);
    let delayed = InstanceStatus { preempt_delay_ms: 30_000, preempt_delay_left_ms: Some(4_200), ..better() };
    assert_eq!(
        first(delayed),
        (Kind::PreemptDelay, format!("{lower}; preempt_delay of 30.0 s ends in 4.2 s"))
    );
    assert_eq!(first(better()), (Kind::Waiting, format!("{lower}: it takes over within 2.6 s")));
    let early = EarlyStatus { one_way: vec!["10.0.0.6".parse().unwrap()], ..EarlyStatus::default() };
    let not_heard = with(InstanceStatus { early: Some(early), ..better() });
    let (why, changes) = explained(&not_heard);
    let what = "10.0.0.6 is heard and does not hear this node, which would be a second master beside it";
    assert_eq!(why[0], (Kind::OneWay, format!("{lower}; {what}")));
    assert_eq!(changes[0], "the way from this node to 10.0.0.6 is back");
    assert!(changes[1].ends_with(" stops, or no advert of it comes for 3.6 s"), "{changes:?}");
}

#[test]
fn what_an_operator_did_is_named() {
    let i = || InstanceStatus { priority: 1, handed_over: true, tracks: Vec::new(), ..backup() };
    let mut status = with(i());
    status.drained = true;
    let (why, changes) = explained(&status);
    assert_eq!(why[0], (Kind::Drained, "the node is drained: priority 1 instead of 150".into()));
    assert_eq!(changes[0], "the priority rises above 100: after `vipd undrain` it is 150");
    status.drained = false;
    let (why, changes) = explained(&status);
    assert_eq!(why[0], (Kind::HandedOver, "it was handed over: priority 1 instead of 150".into()));
    assert_eq!(
        changes[0],
        "the priority rises above 100: after `vipd handover VI_1 --to preferred` it is 150"
    );
    status.instances[0].base_priority = 100;
    assert!(explained(&status).1[0].ends_with("it is 100, which is not enough"));
}

#[test]
fn a_backup_without_a_master_says_what_it_waits_for() {
    let alone = || InstanceStatus { master: None, ..backup() };
    let waits = "no master is heard: it takes over in 2.6 s without an advert";
    assert_eq!(why(&with(alone())), [(Kind::Waiting, waits.into())]);
    let fencing = InstanceStatus { fencing: true, master_down_in_ms: None, ..alone() };
    assert_eq!(first(fencing).0, Kind::Fencing);
    let unsent = InstanceStatus { reason_code: Some("send_failed".into()), ..alone() };
    assert_eq!(first(unsent).0, Kind::SendFailed);
    let error = Some("Operation not permitted".to_owned());
    let blocked = InstanceStatus { adverts_blocked: true, advert_error: error, ..alone() };
    let what = "the first advert of its last takeover did not leave: Operation not permitted";
    assert_eq!(first(blocked), (Kind::SendFailed, what.to_owned()));
    // Another password is no silence.
    let mut refused = alone();
    refused.discards.insert("auth_failures".into(), 9);
    refused.mismatches = vec!["password".into()];
    assert_eq!(
        first(refused),
        (
            Kind::AdvertsRefused,
            "adverts arrive and are refused (auth_failures 9): other routers differ in password".into()
        )
    );
}

#[test]
fn the_member_that_holds_a_group_back_is_named() {
    let member = |name: &str, priority| InstanceStatus {
        name: name.into(),
        sync_group: Some("G".into()),
        priority,
        ..backup()
    };
    let mut status = with(member("VI_1", 150));
    status.instances.push(member("VI_2", 90));
    let held = "sync group member VI_2 follows 10.0.0.6 with priority 100, its own is 90: members take over together";
    assert!(why(&status).contains(&(Kind::SyncGroup, held.into())), "{:?}", why(&status));
    status.instances[1].priority = 150;
    assert!(why(&status).iter().all(|(kind, _)| *kind != Kind::SyncGroup));
}

/// Its own time is over, and that of another member is not, or the other does not take over at all.
#[test]
fn a_group_takes_over_together() {
    let member = |name: &str, left: u64| InstanceStatus {
        name: name.into(),
        sync_group: Some("G".into()),
        master: None,
        master_down_in_ms: Some(left),
        ..backup()
    };
    let mut status = with(member("VI_1", 0));
    status.instances.push(member("VI_2", 1_500));
    let waits = |text: &str| vec![(Kind::Waiting, format!("no master is heard: it takes over {text}"))];
    assert_eq!(why(&status), waits("in 1.5 s without an advert"));
    status.instances[1].state = "FAULT".into();
    assert_eq!(why(&status), waits("when its sync group does"));
    // A member of another group is none of its.
    status.instances[1].sync_group = Some("H".into());
    assert_eq!(why(&status), waits("in 0.0 s without an advert"));
}

#[test]
fn a_difference_is_named_though_a_master_is_heard() {
    let differs = |i: InstanceStatus| InstanceStatus { mismatches: vec!["addresses".into()], ..i };
    let what = "other routers differ in addresses: vipd events VI_1 says what to make the same";
    for i in [differs(backup()), differs(master())] {
        assert!(why(&with(i)).contains(&(Kind::Mismatch, what.into())));
    }
    // Of adverts that are refused it is said with the refusal.
    let mut refused = differs(InstanceStatus { master: None, ..backup() });
    refused.discards.insert("auth_failures".into(), 9);
    assert!(why(&with(refused)).iter().all(|(kind, _)| *kind != Kind::Mismatch));
}

#[test]
fn every_fault_is_named_with_its_end() {
    let fault = |what: &str, ends_when: &str| FaultStatus {
        kind: "check".into(),
        what: what.into(),
        ends_when: ends_when.into(),
        since_ms: None,
    };
    let faults = vec![
        fault("check chk failed (exit code 2): no route", "check chk succeeds"),
        fault("interface eth1 is down", "interface eth1 is up"),
    ];
    let i = || InstanceStatus {
        state: "FAULT".into(),
        priority: 150,
        faults: faults.clone(),
        master_since_ms: Some(61_000),
        ..backup()
    };
    let (why, changes) = explained(&with(i()));
    let whats: Vec<&str> = why.iter().map(|(_, what)| what.as_str()).collect();
    assert_eq!(whats, ["check chk failed (exit code 2): no route", "interface eth1 is down"]);
    assert!(why.iter().all(|(kind, _)| *kind == Kind::Fault));
    // It has been in FAULT for an hour, and of the two causes one is new.
    let mut aged = i();
    (aged.faults[0].since_ms, aged.faults[1].since_ms) = (Some(3_600_100), Some(61_000));
    let whats: Vec<String> = self::why(&with(aged)).into_iter().map(|(_, what)| what).collect();
    assert_eq!(whats, ["check chk failed (exit code 2): no route", "interface eth1 is down, for 1m 1s"]);
    let ends = "check chk succeeds and interface eth1 is up: then it becomes ";
    assert_eq!(changes, [format!("{ends}the master: its priority 150 is above the 100 of 10.0.0.6")]);
    let then = |i| explained(&with(i)).1.remove(0);
    assert!(
        then(InstanceStatus { priority: 90, ..i() })
            .ends_with("a backup: its priority 90 is not above the 100 of 10.0.0.6")
    );
    assert!(
        then(InstanceStatus { preempt: false, ..i() }).ends_with("nopreempt leaves a running master alone")
    );
    assert!(
        then(InstanceStatus { master: None, ..i() }).ends_with("the master, unless another router is heard")
    );
    // The one that advertises is known in FAULT too.
    let master = explain(&with(i()), 0).unwrap().master.unwrap();
    assert_eq!((master.here, master.priority, master.since_ms), (false, 100, Some(61_000)));
    // An older vipd says no more than its reason.
    let old = InstanceStatus { faults: Vec::new(), reason: Some("link down".into()), ..i() };
    assert_eq!(first(old), (Kind::Fault, "link down".into()));
}

#[test]
fn a_start_waits_for_something() {
    let mut i = InstanceStatus { state: "INIT".into(), tracks: Vec::new(), ..backup() };
    assert_eq!(first(i.clone()), (Kind::Starting, "it waits for interface eth0".into()));
    let mut check = samples::track("vrrp_script", "chk", 0, true);
    (check.well, check.state) = (None, "check chk has no result yet".into());
    i.tracks = vec![check];
    assert_eq!(first(i.clone()), (Kind::Starting, "check chk has no result yet".into()));
    i.state = "STOP".into();
    assert_eq!(first(i).0, Kind::Stopped);
}

/// A master with priority 150 since a minute.
fn master() -> InstanceStatus {
    InstanceStatus {
        reason_code: Some("preempting".into()),
        predecessor: Some(MasterStatus { address: ip("10.0.0.6"), priority: 100 }),
        last_adv_source: Some(ip("10.0.0.6")),
        last_adv_age_ms: Some(61_500),
        ..samples::master("VI_1", 51)
    }
}

#[test]
fn a_master_says_how_it_became_one_and_what_would_end_it() {
    let mut i = master();
    i.tracks = vec![
        samples::track("vrrp_script", "chk_nginx", -60, true),
        samples::track("vrrp_track_process", "haproxy", 0, true),
        samples::track("interface", "eth1", 10, false),
    ];
    let (why, changes) = explained(&with(i));
    assert_eq!(
        why,
        [
            (Kind::BecameMaster, "it preempted 10.0.0.6 (priority 100) with its priority 150".into()),
            (Kind::NoRival, "no other router advertises".into()),
        ]
    );
    assert_eq!(
        changes,
        [
            "a router with a priority above 150, or with 150 and an address above 10.0.0.5 advertises",
            "check chk_nginx fails: then the priority is 90 (-60), and a router above 90 takes over",
            "process haproxy ends: then it is in FAULT",
            "interface eth0 goes down: then it is in FAULT",
            "`vipd handover VI_1`, `vipd drain` or `vipd stop`",
        ]
    );
}

#[test]
fn each_way_to_mastership_has_its_words() {
    let of = |code: &str, predecessor: bool| {
        let mut i = master();
        i.reason_code = Some(code.into());
        if !predecessor {
            i.predecessor = None;
        }
        first(i).1
    };
    assert_eq!(of("master_down", true), "no advert of 10.0.0.6 (priority 100) came for 3.6 s");
    assert_eq!(of("master_down", false), "no router was heard for 3.6 s");
    assert_eq!(of("master_left", true), "10.0.0.6 said goodbye");
    assert_eq!(of("master_left", false), "the former master said goodbye");
    assert!(of("inherited", false).starts_with("vipd was started anew"));
    assert_eq!(of("started", false), "no advert from a master", "the reason as it is");
    let mut owner = master();
    (owner.priority, owner.base_priority) = (255, 255);
    let (why, changes) = explained(&with(owner));
    assert_eq!(why[0].0, Kind::Owner);
    assert_eq!(changes, ["interface eth0 goes down: then it is in FAULT", "`vipd stop`"]);
}

#[test]
fn a_master_with_a_rival_names_it() {
    let kinds = |i: InstanceStatus| why(&with(i));
    let mut i = master();
    i.last_adv_age_ms = Some(400);
    let rival = "10.0.0.6 advertised 0.4 s ago with a lower priority or address";
    assert!(kinds(i.clone()).contains(&(Kind::Rival, rival.into())));
    i.split_brain = true;
    let split = "split brain, another router acts as the owner too: 10.0.0.6: vipd events VI_1";
    assert!(kinds(i.clone()).contains(&(Kind::Rival, split.into())));
    i.discards.insert("auth_failures".into(), 3);
    assert!(kinds(i.clone()).iter().any(|(kind, _)| *kind == Kind::AdvertsRefused));
    i.handed_over = true;
    assert!(kinds(i).iter().any(|(kind, _)| *kind == Kind::HandedOver));
}

#[test]
fn what_is_tracked_and_notified_is_its_own() {
    let mut status = samples::status();
    status.instances[0].tracks = vec![samples::track("vrrp_script", "chk_nginx", -60, true)];
    let explanation = explain(&status, 0).unwrap();
    let names: Vec<&str> = explanation.tracked.iter().map(|tracked| tracked.name.as_str()).collect();
    assert_eq!(names, ["chk_nginx"]);
    assert_eq!(explanation.notify_scripts.len(), 1);
    assert!(explain(&status, 1).unwrap().notify_scripts.is_empty());
    assert!(explain(&status, 9).is_none());
}
