//! State changes and what they do to the table: every row of keepalived's semantics, and vipd's own keywords.

use std::time::Duration;

use super::{Play, heavy, play, service, sorry, web};
use crate::{ServiceTarget, SorryServer, VirtualServer};

fn inhibited(n: u8) -> ServiceTarget {
    ServiceTarget { inhibit: true, ..web(n) }
}

#[test]
fn a_failed_target_leaves_or_stays_at_0() {
    play(
        "removal",
        service([web(11), web(12)]),
        ("11=1 12=1", "quorum up"),
        &[("fail 11", "12=1", "11 down"), ("pass 11", "11=1 12=1", "11 up")],
    );
    play(
        "inhibit_on_failure",
        service([inhibited(11), web(12)]),
        ("11=1 12=1", "quorum up"),
        &[("fail 11", "11=0 12=1", "11 down"), ("pass 11", "11=1 12=1", "11 up")],
    );
}

#[test]
fn a_lost_quorum_alone_changes_no_traffic() {
    let server = VirtualServer { quorum: 2, ..service([web(11), web(12)]) };
    play(
        "no sorry server",
        server,
        ("11=1 12=1", "quorum up"),
        &[
            ("fail 11", "12=1", "11 down, quorum down"),
            ("fail 12", "", "12 down"),
            ("pass 12", "12=1", "12 up"),
            ("pass 11", "11=1 12=1", "11 up, quorum up"),
        ],
    );
}

#[test]
fn the_sorry_server_serves_alone_while_there_is_no_quorum() {
    let server = VirtualServer { quorum: 2, sorry: sorry(99), ..service([web(11), web(12), web(13)]) };
    play(
        "sorry server",
        server,
        ("11=1 12=1 13=1", "quorum up"),
        &[
            ("fail 11", "12=1 13=1", "11 down"),
            ("fail 12", "99=1", "12 down, quorum down"),
            // Only the books change.
            ("fail 13", "99=1", "13 down"),
            ("pass 13", "99=1", "13 up"),
            ("pass 12", "12=1 13=1", "12 up, quorum up"),
        ],
    );
}

#[test]
fn inhibited_targets_keep_their_connections_beside_the_sorry_server() {
    let server =
        VirtualServer { quorum: 2, sorry: sorry(99), ..service([inhibited(11), inhibited(12), web(13)]) };
    play(
        "inhibit_on_failure",
        server,
        ("11=1 12=1 13=1", "quorum up"),
        &[
            ("fail 11", "11=0 12=1 13=1", "11 down"),
            ("fail 13", "11=0 12=0 99=1", "13 down, quorum down"),
            ("pass 11", "11=1 12=1", "11 up, quorum up"),
        ],
    );
    let sorry = SorryServer { inhibit: true, ..sorry(99).unwrap() };
    let server = VirtualServer { sorry: Some(sorry), ..service([web(11)]) };
    play(
        "sorry_server_inhibit",
        server,
        ("11=1 99=0", "quorum up"),
        &[("fail 11", "99=1", "11 down, quorum down"), ("pass 11", "11=1 99=0", "11 up, quorum up")],
    );
}

#[test]
fn a_sorry_server_may_be_a_target_too() {
    let server = VirtualServer { quorum: 2, sorry: sorry(12), ..service([web(11), heavy(12, 5)]) };
    play(
        "the same",
        server,
        ("11=1 12=5", "quorum up"),
        &[("fail 12", "12=1", "12 down, quorum down"), ("pass 12", "11=1 12=5", "12 up, quorum up")],
    );
}

#[test]
fn quorum_and_hysteresis() {
    // Units of weight; lost below 4 - 1, gained at 4 + 1.
    let server = VirtualServer { quorum: 4, hysteresis: 1, ..service([heavy(11, 3), heavy(12, 1), web(13)]) };
    play(
        "hysteresis",
        server,
        ("11=3 12=1 13=1", "quorum up"),
        &[
            ("fail 12", "11=3 13=1", "12 down"),
            ("fail 13", "11=3", "13 down"),
            ("pass 13", "11=3 13=1", "13 up"),
            ("fail 11", "13=1", "11 down, quorum down"),
            ("pass 11", "11=3 13=1", "11 up"),
            ("pass 12", "11=3 12=1 13=1", "12 up, quorum up"),
        ],
    );
    // A quorum above the sum of weights is lowered to it.
    let server = VirtualServer { quorum: 100, ..service([heavy(11, 3), web(12)]) };
    play(
        "too much",
        server,
        ("11=3 12=1", "quorum up"),
        &[("fail 12", "11=3", "12 down, quorum down"), ("pass 12", "11=3 12=1", "12 up, quorum up")],
    );
    // Without any weight there is no quorum, whatever the hysteresis.
    let server = VirtualServer { quorum: 10, hysteresis: 9, ..service([heavy(11, 3), web(12)]) };
    play(
        "hysteresis above the lowered quorum",
        server,
        ("11=3 12=1", "quorum up"),
        &[("fail 11", "12=1", "11 down"), ("fail 12", "", "12 down, quorum down")],
    );
    // DEVIATION: what cannot be exceeded need not be.
    let server = VirtualServer { quorum: 2, hysteresis: 1, ..service([web(11), web(12)]) };
    play(
        "hysteresis above the sum",
        server,
        ("11=1 12=1", "quorum up"),
        &[
            ("fail 11", "12=1", "11 down"),
            ("fail 12", "", "12 down, quorum down"),
            ("pass 12", "12=1", "12 up"),
            ("pass 11", "11=1 12=1", "11 up, quorum up"),
        ],
    );
}

#[test]
fn a_service_of_no_weight_has_no_quorum() {
    let server = VirtualServer { sorry: sorry(99), ..service([heavy(11, 0)]) };
    play("weight 0", server, ("99=1", "quorum down"), &[("fail 11", "99=1", "11 down")]);
    let server = VirtualServer { sorry: sorry(99), ..service([]) };
    play("sorry server alone", server, ("99=1", "quorum down"), &[]);
}

#[test]
fn a_weight_changes_when_it_can() {
    let check =
        crate::ProbeUse { weight: crate::CheckWeight::ExitCode, ..crate::ProbeUse::new(super::misc(11)) };
    let target = ServiceTarget { checks: vec![check], ..web(11) };
    let server = VirtualServer { quorum: 3, sorry: sorry(99), ..service([target, web(12), web(13)]) };
    play(
        "weights and the sorry server",
        server,
        ("11=1 12=1 13=1", "quorum up"),
        &[
            // The weight counts for the quorum.
            ("exit 11 6", "11=4 12=1 13=1", "11 weight 1>4"),
            ("fail 12", "11=4 13=1", "12 down"),
            ("exit 11 2", "99=1", "11 weight 4>0, quorum down"),
            ("exit 11 3", "99=1", "11 weight 0>1"),
            ("exit 11 7", "11=5 13=1", "11 weight 1>5, quorum up"),
        ],
    );
}

#[test]
fn a_drained_target_has_weight_0() {
    play(
        "drain",
        service([web(11), web(12)]),
        ("11=1 12=1", "quorum up"),
        &[
            ("drain 11", "11=0 12=1", "11 draining"),
            ("drain 11", "11=0 12=1", ""),
            // Checks go on.
            ("fail 11", "11=0 12=1", "11 down"),
            ("wait 100000", "11=0 12=1", ""),
            ("pass 11", "11=0 12=1", "11 up"),
            ("undrain 11", "11=1 12=1", "11 undrained"),
            ("undrain 11", "11=1 12=1", ""),
        ],
    );
    play(
        "deadline",
        service([web(11), web(12)]),
        ("11=1 12=1", "quorum up"),
        &[
            ("drain 11 30", "11=0 12=1", "11 draining"),
            ("wait 29", "11=0 12=1", ""),
            // Another deadline replaces it.
            ("drain 11 5", "11=0 12=1", ""),
            ("wait 5", "12=1", "11 drained"),
            ("pass 11", "12=1", ""),
            ("undrain 11", "11=1 12=1", "11 undrained"),
        ],
    );
    let server =
        VirtualServer { drain_timeout: Some(Duration::from_secs(10)), ..service([web(11), web(12)]) };
    play(
        "drain_timeout",
        server,
        ("11=1 12=1", "quorum up"),
        &[("drain 11", "11=0 12=1", "11 draining"), ("wait 10", "12=1", "11 drained")],
    );
}

#[test]
fn drained_targets_do_not_count_for_the_quorum() {
    let server = VirtualServer { sorry: sorry(99), ..service([web(11), web(12)]) };
    play(
        "all drained",
        server,
        ("11=1 12=1", "quorum up"),
        &[
            ("drain 11", "11=0 12=1", "11 draining"),
            ("drain 12 60", "11=0 12=0 99=1", "12 draining, quorum down"),
            ("wait 60", "11=0 99=1", "12 drained"),
            ("undrain 11", "11=1", "11 undrained, quorum up"),
        ],
    );
}

#[test]
fn a_returning_target_gets_its_weight_in_steps() {
    let server = VirtualServer { ramp: Duration::from_secs(10), ..service([heavy(11, 100), heavy(12, 100)]) };
    play(
        "ramp",
        server,
        // What serves from the start has its weight at once.
        ("11=100 12=100", "quorum up"),
        &[
            ("fail 11", "12=100", "11 down"),
            ("pass 11", "11=10 12=100", "11 up"),
            ("wait 0.9", "11=10 12=100", ""),
            ("wait 0.1", "11=20 12=100", ""),
            ("wait 5", "11=70 12=100", ""),
            ("fail 11", "12=100", "11 down"),
            ("wait 60", "12=100", ""),
            ("pass 11", "11=10 12=100", "11 up"),
            ("wait 8", "11=90 12=100", ""),
            ("wait 1", "11=100 12=100", ""),
            ("wait 100", "11=100 12=100", ""),
            ("drain 11", "11=0 12=100", "11 draining"),
            ("undrain 11", "11=10 12=100", "11 undrained"),
            ("wait 9", "11=100 12=100", ""),
        ],
    );
    let server = VirtualServer { ramp: Duration::from_secs(10), ..service([heavy(11, 3), web(12)]) };
    play(
        "small weights",
        server,
        ("11=3 12=1", "quorum up"),
        &[
            ("fail 11", "12=1", "11 down"),
            ("fail 12", "", "12 down, quorum down"),
            ("pass 12", "12=1", "12 up, quorum up"),
            ("pass 11", "11=1 12=1", "11 up"),
            ("wait 6", "11=2 12=1", ""),
            ("wait 3", "11=3 12=1", ""),
        ],
    );
}

#[test]
fn at_the_start_no_weight_rises_with_alpha_neither() {
    let check = crate::ProbeUse { alpha: true, ..super::tcp(11) };
    let target = ServiceTarget { checks: vec![check], ..heavy(11, 100) };
    let server = VirtualServer { ramp: Duration::from_secs(10), ..service([target]) };
    play(
        "alpha",
        server,
        ("", ""),
        &[
            ("wait 5", "", ""),
            ("pass 11", "11=100", "11 up, quorum up"),
            ("fail 11", "", "11 down, quorum down"),
            ("pass 11", "11=10", "11 up, quorum up"),
        ],
    );
}

#[test]
fn a_rising_weight_counts_in_full_for_the_quorum() {
    let ramp = Duration::from_secs(10);
    let server = VirtualServer { ramp, quorum: 100, sorry: sorry(99), ..service([heavy(11, 100)]) };
    play(
        "ramp and quorum",
        server,
        ("11=100", "quorum up"),
        &[("fail 11", "99=1", "11 down, quorum down"), ("pass 11", "11=10", "11 up, quorum up")],
    );
}

#[test]
fn below_min_alive_failed_targets_serve_too() {
    let server = VirtualServer { min_alive: 50, ..service([web(11), heavy(12, 2), web(13), inhibited(14)]) };
    let mut play = play(
        "min_alive",
        server,
        ("11=1 12=2 13=1 14=1", "quorum up"),
        &[
            ("fail 11", "12=2 13=1 14=1", "11 down"),
            ("fail 12", "13=1 14=1", "12 down"),
            ("fail 14", "11=1 12=2 13=1 14=1", "14 down, failed serve on 1/4"),
            ("fail 13", "11=1 12=2 13=1 14=1", "13 down, quorum down"),
            // Those that are drained are not counted: none of three.
            ("drain 13", "11=1 12=2 13=0 14=1", "13 draining"),
            ("pass 11", "11=1 12=2 13=0 14=1", "11 up, quorum up"),
            ("pass 12", "11=1 12=2 13=0 14=0", "12 up, failed serve off 2/3"),
        ],
    );
    play.step("undrain 13");
    let server = VirtualServer { min_alive: 100, sorry: sorry(99), ..service([web(11), web(12)]) };
    super::play(
        "the sorry server goes before",
        server,
        ("11=1 12=1", "quorum up"),
        &[
            ("fail 11", "11=1 12=1", "11 down, failed serve on 1/2"),
            ("fail 12", "99=1", "12 down, quorum down, failed serve off 0/2"),
            ("pass 12", "11=1 12=1", "12 up, quorum up, failed serve on 1/2"),
        ],
    );
}

#[test]
fn min_alive_uses_nothing_that_was_never_checked() {
    let alpha =
        |n| ServiceTarget { checks: vec![crate::ProbeUse { alpha: true, ..super::tcp(n) }], ..web(n) };
    let server = VirtualServer { min_alive: 100, ..service([alpha(11), alpha(12)]) };
    play(
        "alpha",
        server,
        ("", ""),
        &[("pass 11", "11=1", "11 up, quorum up"), ("fail 12", "11=1 12=1", "12 down, failed serve on 1/2")],
    );
    let server = VirtualServer { min_alive: 100, ..service([web(11), alpha(12), web(13)]) };
    play(
        "one of three",
        server,
        ("11=1 13=1", "quorum up"),
        &[
            ("fail 11", "11=1 13=1", "11 down, failed serve on 1/2"),
            ("pass 12", "11=1 12=1 13=1", "12 up"),
            ("pass 11", "11=1 12=1 13=1", "11 up, failed serve off 3/3"),
        ],
    );
}

#[test]
fn a_stop_removes_everything_and_tells_with_omega_only() {
    for (omega, news) in [(false, ""), (true, "11 down, quorum down")] {
        let server = VirtualServer { omega, ..service([web(11), web(12)]) };
        let mut play = Play::new(vec![server]);
        play.step("fail 12");
        play.news();
        play.steps("stop", &[("stop", "", news)]);
        assert!(play.table.services().is_empty());
        assert_eq!((play.judge.probes().count(), play.judge.poll_timeout()), (0, None));
    }
    // keepalived tells of a quorum that was lost before, too.
    let server = VirtualServer { omega: true, ..service([web(11)]) };
    let mut play = Play::new(vec![server]);
    play.step("fail 11");
    play.news();
    play.steps("stop without a quorum", &[("stop", "", "quorum down")]);
}

#[test]
fn status_says_why() {
    let server = VirtualServer {
        ramp: Duration::from_secs(10),
        min_alive: 20,
        ..service([web(11), heavy(12, 0), heavy(13, 10), web(14), web(15), web(16)])
    };
    let mut play = Play::new(vec![server]);
    for step in ["fail 11", "fail 13", "pass 13", "drain 14", "drain 15 5", "wait 6"] {
        play.step(step);
    }
    let reasons = |play: &Play| {
        let view = play.judge.views().next().unwrap();
        view.targets.iter().map(|target| target.reason.to_string()).collect::<Vec<_>>()
    };
    let expect = [
        "TCP_CHECK: connection refused",
        "weight 0",
        "has come back, its weight rises",
        "is drained",
        "was drained",
        "serves",
    ];
    assert_eq!(reasons(&play), expect);
    for step in ["fail 12", "fail 13", "fail 16"] {
        play.step(step);
    }
    assert_eq!(reasons(&play)[0], "serves because of min_alive; TCP_CHECK: connection refused");
    let server = VirtualServer { quorum: 2, sorry: sorry(99), ..service([web(11), web(12)]) };
    let mut play = Play::new(vec![server]);
    play.step("fail 11");
    assert_eq!(reasons(&play)[1], "no quorum, the sorry server serves");
    let alpha = ServiceTarget { checks: vec![crate::ProbeUse { alpha: true, ..super::tcp(11) }], ..web(11) };
    assert_eq!(reasons(&Play::new(vec![service([alpha])])), ["not checked yet"]);
}
