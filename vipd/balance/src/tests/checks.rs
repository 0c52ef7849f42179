//! The life of a check: every row of keepalived's semantics, and vipd's `rise`.

use std::time::Duration;

use super::{Play, ServiceTarget, at, file, heavy, misc, play, service, sorry, tcp, web};
use crate::{CheckWeight, ForwardMethod, ProbeUse};

fn alpha(n: u8) -> ServiceTarget {
    ServiceTarget { checks: vec![ProbeUse { alpha: true, ..tcp(n) }], ..web(n) }
}

/// A target whose check forgives `retry` failures, a second apart.
fn patient(n: u8, retry: u32) -> ServiceTarget {
    let check = ProbeUse { retry, delay_before_retry: Duration::from_secs(1), ..tcp(n) };
    ServiceTarget { checks: vec![check], ..web(n) }
}

#[test]
fn without_alpha_a_target_serves_before_any_check_and_its_first_failure_counts() {
    play(
        "first failure",
        service([patient(11, 3), web(12)]),
        ("11=1 12=1", "quorum up"),
        &[("fail 11", "12=1", "11 down"), ("fail 11", "12=1", ""), ("pass 11", "11=1 12=1", "11 up")],
    );
}

#[test]
fn with_alpha_a_target_serves_when_each_of_its_checks_has_passed() {
    let two =
        ServiceTarget { checks: [11, 12].map(|n| ProbeUse { alpha: true, ..tcp(n) }).to_vec(), ..web(11) };
    play(
        "alpha",
        service([two]),
        ("", ""),
        &[
            ("pass 11", "", ""),
            ("pass 12", "11=1", "11 up, quorum up"),
            ("fail 12", "", "11 down, quorum down"),
        ],
    );
    // A first failure changes nothing, and is told once.
    play(
        "alpha fails",
        service([alpha(11)]),
        ("", ""),
        &[("fail 11", "", "11 down"), ("fail 11", "", ""), ("pass 11", "11=1", "11 up, quorum up")],
    );
    let inhibited = ServiceTarget { inhibit: true, ..alpha(11) };
    play(
        "alpha with inhibit_on_failure",
        service([inhibited]),
        ("11=0", ""),
        &[("pass 11", "11=1", "11 up, quorum up"), ("fail 11", "11=0", "11 down, quorum down")],
    );
    // What has never failed has nothing to prove.
    let check = ProbeUse { alpha: true, rise: 3, ..tcp(11) };
    let risen = ServiceTarget { checks: vec![check], ..web(11) };
    play("alpha with rise", service([risen]), ("", ""), &[("pass 11", "11=1", "11 up, quorum up")]);
}

#[test]
fn retry_plus_one_failures_in_a_row_take_a_target_out() {
    for retry in 0..4 {
        let mut rows = vec![("pass 11", "11=1 12=1", "")];
        for _ in 0..2 {
            // A success in between begins the count again.
            for _ in 0..retry {
                rows.extend([("fail 11", "11=1 12=1", ""), ("wait 1", "11=1 12=1", "")]);
            }
            rows.push(("pass 11", "11=1 12=1", ""));
        }
        for _ in 0..retry {
            rows.extend([("fail 11", "11=1 12=1", ""), ("wait 1", "11=1 12=1", "")]);
        }
        rows.extend([("fail 11", "12=1", "11 down"), ("pass 11", "11=1 12=1", "11 up")]);
        play(
            &format!("retry {retry}"),
            service([patient(11, retry), web(12)]),
            ("11=1 12=1", "quorum up"),
            &rows,
        );
    }
}

#[test]
fn a_shared_probe_that_comes_sooner_takes_nothing_out_sooner() {
    play(
        "early failures",
        service([patient(11, 1), web(12)]),
        ("11=1 12=1", "quorum up"),
        &[
            ("pass 11", "11=1 12=1", ""),
            ("fail 11", "11=1 12=1", ""),
            ("wait 0.4", "11=1 12=1", ""),
            ("fail 11", "11=1 12=1", ""),
            ("wait 0.4", "11=1 12=1", ""),
            ("fail 11", "11=1 12=1", ""),
            ("wait 0.2", "11=1 12=1", ""),
            ("fail 11", "12=1", "11 down"),
        ],
    );
    // A success ends the row, and with it the wait.
    play(
        "a new row",
        service([patient(11, 1), web(12)]),
        ("11=1 12=1", "quorum up"),
        &[
            ("pass 11", "11=1 12=1", ""),
            ("fail 11", "11=1 12=1", ""),
            ("pass 11", "11=1 12=1", ""),
            ("fail 11", "11=1 12=1", ""),
            ("wait 1", "11=1 12=1", ""),
            ("fail 11", "12=1", "11 down"),
        ],
    );
}

/// Commands start a second apart, and the second one fails faster: its end comes in less than `delay_before_retry`, and counts.
#[test]
fn a_command_that_fails_faster_than_before_is_counted() {
    let check = ProbeUse { retry: 1, delay_before_retry: Duration::from_secs(1), ..ProbeUse::new(misc(11)) };
    let mut play = Play::new(vec![service([ServiceTarget { checks: vec![check], ..web(11) }, web(12)])]);
    let ends = |play: &mut Play, outcome: crate::ProbeOutcome, took: u64| {
        let probe = play.judge.probes().find(|need| *need.spec == misc(11)).map(|need| need.id);
        let took = Duration::from_millis(took);
        play.handle(crate::JudgeEvent::Probed { probe: probe.expect("a probe"), outcome, took });
    };
    ends(&mut play, crate::ProbeOutcome::Exited(0), 50);
    play.wait(Duration::from_secs(1));
    ends(&mut play, crate::ProbeOutcome::Exited(1), 50);
    // What is forgiven is no verdict, for the next vipd either.
    assert!(play.judge.known().all(|known| known.outcome != crate::ProbeOutcome::Exited(1)));
    play.wait(Duration::from_millis(980));
    ends(&mut play, crate::ProbeOutcome::Exited(1), 30);
    assert!(play.judge.known().any(|known| known.outcome == crate::ProbeOutcome::Exited(1)));
    let alive: Vec<bool> = play.judge.views().flat_map(|it| it.targets).map(|target| target.alive).collect();
    assert_eq!(alive, [false, true]);
}

#[test]
fn one_success_is_enough_unless_rise_says_more() {
    for (rise, rows) in [
        (1, &[("pass 11", "11=1 12=1", "11 up")][..]),
        (2, &[("pass 11", "12=1", ""), ("pass 11", "11=1 12=1", "11 up")]),
        (
            3,
            &[
                ("pass 11", "12=1", ""),
                ("pass 11", "12=1", ""),
                ("fail 11", "12=1", ""),
                ("pass 11", "12=1", ""),
                ("pass 11", "12=1", ""),
                ("pass 11", "11=1 12=1", "11 up"),
            ],
        ),
    ] {
        let target = ServiceTarget { checks: vec![ProbeUse { rise, ..tcp(11) }], ..web(11) };
        let mut play = play(
            &format!("rise {rise}"),
            service([target, web(12)]),
            ("11=1 12=1", "quorum up"),
            &[("fail 11", "12=1", "11 down")],
        );
        play.steps(&format!("rise {rise}"), rows);
    }
}

#[test]
fn a_target_is_alive_if_none_of_its_checks_has_failed() {
    let two = ServiceTarget { checks: vec![tcp(11), tcp(21)], ..web(11) };
    let none = ServiceTarget::new(at(12), ForwardMethod::Direct);
    play(
        "two checks",
        service([two, none]),
        ("11=1 12=1", "quorum up"),
        &[
            ("fail 11", "12=1", "11 down"),
            ("fail 21", "12=1", ""),
            ("pass 11", "12=1", ""),
            ("pass 21", "11=1 12=1", "11 up"),
        ],
    );
}

#[test]
fn a_probe_that_could_not_be_sent_says_nothing() {
    play(
        "not sent",
        service([patient(11, 1), web(12)]),
        ("11=1 12=1", "quorum up"),
        &[
            // Not even that the check has run.
            ("unsent 11", "11=1 12=1", ""),
            ("fail 11", "12=1", "11 down"),
            ("unsent 11", "12=1", ""),
            ("pass 11", "11=1 12=1", "11 up"),
            ("fail 11", "11=1 12=1", ""),
            ("wait 1", "11=1 12=1", ""),
            ("unsent 11", "11=1 12=1", ""),
            ("fail 11", "12=1", "11 down"),
        ],
    );
}

#[test]
fn exit_codes_make_weights_with_misc_dynamic() {
    let with = |weight| {
        let check = ProbeUse { weight, ..ProbeUse::new(misc(11)) };
        ServiceTarget { checks: vec![check], ..heavy(11, 10) }
    };
    let rows = [
        ("exit 11 0", "11=10 12=1", ""),
        ("exit 11 2", "11=0 12=1", "11 weight 10>0"),
        ("exit 11 255", "11=253 12=1", "11 weight 0>253"),
        ("exit 11 0", "11=10 12=1", "11 weight 253>10"),
        ("exit 11 52", "11=50 12=1", "11 weight 10>50"),
        ("exit 11 1", "12=1", "11 down"),
        // The weight of before the failure is forgotten: keepalived's grew without limit until September 2026.
        ("exit 11 0", "11=10 12=1", "11 up"),
    ];
    play("misc_dynamic", service([with(CheckWeight::ExitCode), web(12)]), ("11=10 12=1", "quorum up"), &rows);
    let rows = [
        ("exit 11 0", "11=10 12=1", ""),
        ("exit 11 2", "12=1", "11 down"),
        ("exit 11 0", "11=10 12=1", "11 up"),
        ("exit 11 1", "12=1", "11 down"),
    ];
    play("misc", service([with(CheckWeight::None), web(12)]), ("11=10 12=1", "quorum up"), &rows);
}

#[test]
fn several_checks_add_to_the_configured_weight() {
    let dynamic = |n| ProbeUse { weight: CheckWeight::ExitCode, ..ProbeUse::new(misc(n)) };
    let number = CheckWeight::File { weight: 2, reverse: false };
    let number = ProbeUse { weight: number, ..ProbeUse::new(file(13)) };
    let target = ServiceTarget { checks: vec![dynamic(11), dynamic(12), number], ..heavy(11, 10) };
    play(
        "sum",
        service([target]),
        ("11=10", "quorum up"),
        &[
            // 10 + (20 - 10)
            ("exit 11 22", "11=20", "11 weight 10>20"),
            // 10 + (20 - 10) + (5 - 10)
            ("exit 12 7", "11=15", "11 weight 20>15"),
            ("file 13 4", "11=23", "11 weight 15>23"),
            ("file 13 -20", "11=0", "11 weight 23>0, quorum down"),
            ("file 13 2000000000", "11=2147483647", "11 weight 0>2147483647, quorum up"),
        ],
    );
}

#[test]
fn files_fail_or_weigh() {
    let with = |weight, reverse| {
        let weight = CheckWeight::File { weight, reverse };
        let check = ProbeUse { weight, ..ProbeUse::new(file(11)) };
        service([ServiceTarget { checks: vec![check], ..heavy(11, 10) }, web(12)])
    };
    for (name, server, rows) in [
        (
            "weight 0",
            with(0, false),
            &[
                ("file 11 0", "11=10 12=1", ""),
                ("file 11 1", "12=1", "11 down"),
                ("file 11 0", "11=10 12=1", "11 up"),
                ("file 11 -1", "12=1", "11 down"),
            ][..],
        ),
        (
            "weight 3",
            with(3, false),
            &[("file 11 5", "11=25 12=1", "11 weight 10>25"), ("file 11 -3", "11=1 12=1", "11 weight 25>1")],
        ),
        ("reverse", with(3, true), &[("file 11 3", "11=1 12=1", "11 weight 10>1")]),
        (
            "fault",
            with(1, false),
            &[
                ("file 11 -2147483647", "11=0 12=1", "11 weight 10>0"),
                ("file 11 -2147483648", "12=1", "11 down"),
                ("file 11 0", "11=10 12=1", "11 up"),
            ],
        ),
        ("fault by reverse", with(2, true), &[("file 11 1073741824", "12=1", "11 down")]),
    ] {
        play(name, server, ("11=10 12=1", "quorum up"), rows);
    }
}

#[test]
fn suspended_checks_do_nothing_and_their_verdicts_stand() {
    let server = crate::VirtualServer { ha_suspend: true, ..service([web(11), web(12)]) };
    let mut play = play(
        "ha_suspend",
        server,
        ("11=1 12=1", "quorum up"),
        &[("own", "11=1 12=1", ""), ("fail 11", "12=1", "11 down")],
    );
    let id = play.judge.probes().next().unwrap().id;
    play.steps("suspended", &[("lose", "12=1", "")]);
    assert_eq!(play.judge.probes().count(), 0);
    assert_eq!(play.judge.pause(id), None);
    // A run that was under way.
    play.handle(crate::JudgeEvent::Probed {
        probe: id,
        outcome: crate::ProbeOutcome::Passed,
        took: Duration::ZERO,
    });
    play.steps("resumed", &[("own", "12=1", ""), ("pass 11", "11=1 12=1", "11 up")]);
}

#[test]
fn a_suspended_group_follows_any_of_its_addresses() {
    let mut server = service([web(11)]);
    server.id = crate::ServiceId::Group { name: "web".to_owned(), ordinal: 0 };
    server.addresses = vec![super::vip(1), super::vip(2)];
    server.ha_suspend = true;
    let mut play = Play::new(vec![server]);
    assert_eq!(play.judge.probes().count(), 0);
    let second = |owned| crate::JudgeEvent::Vip { address: [10, 9, 0, 2].into(), owned };
    play.handle(second(true));
    assert_eq!(play.judge.probes().count(), 1);
    play.step("own");
    play.handle(second(false));
    assert_eq!(play.judge.probes().count(), 1);
    play.step("lose");
    assert_eq!(play.judge.probes().count(), 0);
}

#[test]
fn a_sorry_server_serves_from_the_start_while_nothing_is_known() {
    let server = crate::VirtualServer { sorry: sorry(99), ..service([alpha(11)]) };
    play("alpha", server, ("99=1", "quorum down"), &[("pass 11", "11=1", "11 up, quorum up")]);
}
