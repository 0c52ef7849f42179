//! Reloads: what is the same keeps its verdicts, what is gone goes, what is new starts.

use std::time::Duration;

use super::{Play, ServiceTarget, heavy, id, probe, service, sorry, tcp, vip, web};
use crate::{
    CheckWeight, ForwardMethod, Judge, JudgeEvent, KnownVerdict, ProbeOutcome, ProbeUse, Scheduler,
    ServiceSettings, VirtualServer,
};

/// A play after `steps`, and a reload to `server`.
fn reloaded(before: VirtualServer, steps: &[&str], after: VirtualServer) -> (Play, String, String) {
    let mut play = Play::new(vec![before]);
    for step in steps {
        play.step(step);
    }
    play.news();
    play.reload(vec![after]);
    let found = (play.weights(), play.news());
    (play, found.0, found.1)
}

fn with_check(n: u8, change: impl FnOnce(&mut ProbeUse)) -> ServiceTarget {
    let mut check = tcp(n);
    change(&mut check);
    ServiceTarget { checks: vec![check], ..web(n) }
}

#[test]
fn verdicts_survive_a_reload() {
    let two = || service([web(11), web(12)]);
    let slow = |check: &mut ProbeUse| {
        check.delay_loop = Duration::from_secs(1);
        check.retry = 5;
        check.rise = 2;
    };
    let timeout = |check: &mut ProbeUse| {
        let crate::ProbeSpec::Tcp { peer } = &mut check.probe else { unreachable!() };
        peer.connect_timeout = Duration::from_secs(1);
    };
    let rows = [
        ("the same", two(), "12=1", ""),
        ("intervals and retries", service([with_check(11, slow), web(12)]), "12=1", ""),
        ("another order", service([web(12), web(11)]), "12=1", ""),
        // What is checked differs, so the verdict is void.
        ("another check", service([with_check(11, timeout), web(12)]), "11=1 12=1", "11 up"),
        ("no check", service([ServiceTarget { checks: vec![], ..web(11) }, web(12)]), "11=1 12=1", "11 up"),
        ("inhibited", service([ServiceTarget { inhibit: true, ..web(11) }, web(12)]), "11=0 12=1", ""),
        ("one more target", service([web(11), web(12), web(13)]), "12=1 13=1", ""),
        ("one target less", service([web(11)]), "", "12 down, quorum down"),
        ("the failed target is gone", service([web(12)]), "12=1", ""),
        ("a sorry server", VirtualServer { sorry: sorry(99), ..two() }, "12=1", ""),
        ("a greater quorum", VirtualServer { quorum: 2, ..two() }, "12=1", "quorum down"),
        ("both", VirtualServer { quorum: 2, sorry: sorry(99), ..two() }, "99=1", "quorum down"),
        ("another weight", service([web(11), heavy(12, 7)]), "12=7", "12 weight 1>7"),
    ];
    for (name, after, weights, news) in rows {
        let (_, found_weights, found_news) = reloaded(two(), &["fail 11"], after);
        assert_eq!((found_weights.as_str(), found_news.as_str()), (weights, news), "{name}");
    }
}

#[test]
fn the_count_of_failures_survives_and_is_cut_to_the_new_retry() {
    let patient = |retry| {
        let change = |check: &mut ProbeUse| {
            (check.retry, check.delay_before_retry) = (retry, Duration::ZERO);
        };
        service([with_check(11, change), web(12)])
    };
    for (before, after, failures_before, failures_after) in
        [(3, 3, 2, 2), (3, 1, 3, 1), (1, 3, 1, 3), (3, 0, 2, 1)]
    {
        let mut steps = vec!["pass 11"];
        steps.extend(std::iter::repeat_n("fail 11", failures_before));
        let (mut play, weights, _) = reloaded(patient(before), &steps, patient(after));
        assert_eq!(weights, "11=1 12=1");
        for left in (0..failures_after).rev() {
            play.step("fail 11");
            assert_eq!(play.weights() == "12=1", left == 0, "retry {before} to {after}, {left} left");
        }
    }
}

#[test]
fn a_new_check_takes_no_target_out_before_its_first_run() {
    let more = |alpha| {
        let checks = vec![tcp(11), ProbeUse { alpha, retry: 5, ..tcp(21) }];
        service([ServiceTarget { checks, ..web(11) }, web(12)])
    };
    for alpha in [false, true] {
        let (mut play, weights, news) = reloaded(service([web(11), web(12)]), &["pass 11"], more(alpha));
        assert_eq!((weights.as_str(), news.as_str()), ("11=1 12=1", ""), "alpha {alpha}");
        play.steps("first failure", &[("fail 21", "12=1", "11 down")]);
    }
    // On a target that is down a new check with alpha has to pass too.
    for (alpha, weights) in [(false, "11=1 12=1"), (true, "12=1")] {
        let (mut play, ..) = reloaded(service([web(11), web(12)]), &["fail 11"], more(alpha));
        play.step("pass 11");
        assert_eq!(play.weights(), weights, "alpha {alpha}");
    }
}

#[test]
fn a_probe_that_is_known_to_another_service_needs_no_new_run() {
    let second = |targets: Vec<ServiceTarget>| VirtualServer {
        id: id(2),
        addresses: vec![vip(2)],
        ..service(targets)
    };
    let alpha = |n| with_check(n, |check| check.alpha = true);
    let mut play = Play::new(vec![service([web(11), web(12)])]);
    for step in ["fail 11", "pass 12"] {
        play.step(step);
    }
    play.news();
    play.reload(vec![service([web(11), web(12)]), second(vec![alpha(11), alpha(12), alpha(13)])]);
    assert_eq!(play.news(), "11 down, quorum up");
    let there = &play.table.services()[&id(2)].targets;
    assert_eq!(there.keys().map(ToString::to_string).collect::<Vec<_>>(), ["10.0.0.12:80"]);
    // One probe for both.
    assert_eq!(play.judge.probes().count(), 3);
    play.step("pass 11");
    assert_eq!(play.news(), "11 up, 11 up");
}

#[test]
fn verdicts_survive_a_restart_and_forgiven_failures_are_none() {
    let patient = with_check(12, |check| check.retry = 3);
    let server = service([web(11), patient, web(13)]);
    let mut play = Play::new(vec![server.clone()]);
    for step in ["fail 11", "pass 12", "fail 12"] {
        play.step(step);
    }
    let known: Vec<KnownVerdict> = play.judge.known().cloned().collect();
    assert_eq!(known.len(), 2, "{known:?}");
    let mut play = Play {
        judge: Judge::new(known),
        now: play.now,
        table: crate::DesiredTable::default(),
        told: Vec::new(),
    };
    play.reload(vec![server.clone()]);
    assert_eq!((play.weights(), play.news()), ("12=1 13=1".to_owned(), "11 down, quorum up".to_owned()));
    // What nobody asks for is forgotten.
    play.reload(vec![service([web(13)])]);
    play.reload(vec![server]);
    assert_eq!(play.weights(), "11=1 12=1 13=1");
}

#[test]
fn a_removed_service_goes_first_and_is_told_of() {
    let other = VirtualServer { id: id(2), addresses: vec![vip(2)], ..service([web(11), web(12)]) };
    let mut play = Play::new(vec![service([web(11), web(12)])]);
    play.step("fail 12");
    play.news();
    play.judge.handle(JudgeEvent::Reload(crate::BalanceConfig::new(vec![other], false).unwrap()), play.now);
    let mut order = Vec::new();
    while let Some(output) = play.judge.poll_output() {
        order.push(match output {
            crate::JudgeOutput::Change(crate::DesiredChange::RemoveService { .. }) => "remove".to_owned(),
            crate::JudgeOutput::Change(crate::DesiredChange::AddService { .. }) => "add".to_owned(),
            crate::JudgeOutput::Change(crate::DesiredChange::AddTarget { target, .. }) => {
                format!("add {target}")
            }
            crate::JudgeOutput::Change(change) => format!("{change:?}"),
            crate::JudgeOutput::Notice(notice) => super::short(&notice),
            crate::JudgeOutput::ProbesChanged => "probes".to_owned(),
        });
    }
    let expect =
        ["remove", "11 down", "quorum down", "add", "add 10.0.0.11:80", "12 down", "quorum up", "probes"];
    assert_eq!(order, expect);
}

#[test]
fn settings_thresholds_and_forwarding_are_noticed() {
    let before = service([web(11)]);
    let mut play = Play::new(vec![before.clone()]);
    play.news();
    for change in [
        (|server| server.settings.scheduler = Scheduler::MaglevHash) as fn(&mut VirtualServer),
        |server| server.settings = ServiceSettings { one_packet: false, ..ServiceSettings::default() },
        |server| server.addresses.push(vip(7)),
        |server| server.targets[0].upper_threshold = 5,
        |server| server.targets[0].forward = ForwardMethod::Nat,
    ] {
        let mut after = before.clone();
        change(&mut after);
        play.reload(vec![after]);
        let there = &play.table.services()[&id(1)];
        let target = there.targets.values().next().unwrap();
        let found = (there.settings, there.addresses.len(), target.upper_threshold, target.forward);
        let mut wanted = before.clone();
        change(&mut wanted);
        let expect = (
            wanted.settings,
            wanted.addresses.len(),
            wanted.targets[0].upper_threshold,
            wanted.targets[0].forward,
        );
        assert_eq!(found, expect);
        assert_eq!(play.news(), "");
    }
}

#[test]
fn drains_and_ramps_survive_a_reload() {
    let ramp = Duration::from_secs(10);
    let server = || VirtualServer { ramp, ..service([heavy(11, 10), heavy(12, 10), heavy(13, 10)]) };
    let steps = ["drain 11 20", "drain 12", "fail 13", "pass 13", "wait 2"];
    let (mut play, weights, news) = reloaded(server(), &steps, server());
    assert_eq!((weights.as_str(), news.as_str()), ("11=0 12=0 13=3", ""));
    play.steps("after", &[("wait 18", "12=0 13=10", "11 drained")]);
}

#[test]
fn a_target_that_joins_gets_its_weight_in_steps() {
    let server =
        |targets: Vec<ServiceTarget>| VirtualServer { ramp: Duration::from_secs(10), ..service(targets) };
    let (mut play, weights, _) =
        reloaded(server(vec![heavy(11, 10)]), &[], server(vec![heavy(11, 10), heavy(12, 10)]));
    assert_eq!(weights, "11=10 12=1");
    play.steps("joins", &[("wait 4", "11=10 12=5", ""), ("wait 5", "11=10 12=10", "")]);
    let alpha = ServiceTarget { weight: 10, ..with_check(12, |check| check.alpha = true) };
    let (mut play, weights, _) =
        reloaded(server(vec![heavy(11, 10)]), &[], server(vec![heavy(11, 10), alpha]));
    assert_eq!(weights, "11=10");
    play.steps("joins with alpha", &[("wait 60", "11=10", ""), ("pass 12", "11=10 12=1", "12 up")]);
}

#[test]
fn a_removed_target_keeps_its_connections_for_drain_timeout() {
    let server = |targets: Vec<ServiceTarget>| VirtualServer {
        drain_timeout: Some(Duration::from_secs(30)),
        ..service(targets)
    };
    let both = || server(vec![web(11), web(12)]);
    let (mut play, weights, news) = reloaded(both(), &[], server(vec![web(12)]));
    assert_eq!((weights.as_str(), news.as_str()), ("11=0 12=1", "11 down, 11 draining"));
    play.steps("leaves", &[("wait 29", "11=0 12=1", "")]);
    play.reload(vec![server(vec![web(12)])]);
    play.steps("another reload", &[("wait 1", "12=1", "11 drained")]);
    // It comes back in time.
    let (mut play, ..) = reloaded(both(), &[], server(vec![web(12)]));
    play.reload(vec![both()]);
    play.news();
    play.steps("back", &[("wait 60", "11=1 12=1", "")]);
    // What was not in the table has no connections to keep.
    let (_, weights, news) = reloaded(both(), &["fail 11"], server(vec![web(12)]));
    assert_eq!((weights.as_str(), news.as_str()), ("12=1", ""));
    // Without the keyword it goes at once, as with keepalived.
    let (_, weights, news) = reloaded(service([web(11), web(12)]), &[], service([web(12)]));
    assert_eq!((weights.as_str(), news.as_str()), ("12=1", "11 down"));
    // A drain's own deadline stands.
    let (mut play, _, news) = reloaded(both(), &["drain 11 5"], server(vec![web(12)]));
    assert_eq!(news, "11 down", "it drains already");
    play.steps("own deadline", &[("wait 5", "12=1", "11 drained")]);
}

#[test]
fn a_weight_by_exit_code_survives_another_configured_weight() {
    let target = |weight| {
        let check = ProbeUse { weight: CheckWeight::ExitCode, ..ProbeUse::new(super::misc(11)) };
        service([ServiceTarget { checks: vec![check], ..heavy(11, weight) }])
    };
    let (_, weights, news) = reloaded(target(10), &["exit 11 42"], target(5));
    assert_eq!((weights.as_str(), news.as_str()), ("11=40", ""));
}

#[test]
fn a_file_weighs_anew_when_its_weight_differs() {
    let target = |weight| {
        let check = ProbeUse {
            weight: CheckWeight::File { weight, reverse: false },
            ..ProbeUse::new(super::file(11))
        };
        service([ServiceTarget { checks: vec![check], ..heavy(11, 10) }])
    };
    // The file says nothing new by itself.
    let (_, weights, news) = reloaded(target(1), &["file 11 5"], target(2));
    assert_eq!((weights.as_str(), news.as_str()), ("11=20", "11 weight 15>20"));
    let (_, weights, news) = reloaded(target(1), &["file 11 5"], target(0));
    assert_eq!((weights.as_str(), news.as_str()), ("", "11 down, quorum down"));
}

#[test]
fn a_run_of_a_probe_that_is_gone_is_ignored() {
    let mut play = Play::new(vec![service([web(11), web(12)])]);
    let gone = play.judge.probes().find(|need| *need.spec == probe(11)).unwrap().id;
    play.reload(vec![service([web(12)])]);
    play.reload(vec![service([web(11), web(12)])]);
    play.news();
    play.handle(JudgeEvent::Probed {
        probe: gone,
        outcome: ProbeOutcome::Failed("late".to_owned()),
        took: Duration::ZERO,
    });
    assert_eq!((play.weights().as_str(), play.news().as_str()), ("11=1 12=1", ""));
}
