//! Hosts that are probed.

use super::*;
use crate::control::model::{ProbedPeerStatus, samples};

/// A host that has answered for an hour.
fn with_host() -> Facts {
    let mut facts = running();
    facts.running.as_mut().unwrap().probes = samples::status().probes;
    facts
}

fn one(facts: &mut Facts) -> &mut ProbedPeerStatus {
    &mut facts.running.as_mut().unwrap().probes[0]
}

#[test]
fn probed_hosts() {
    check(
        with_host,
        &[
            ("borne", |_| {}, &[]),
            (
                "no answer",
                |f| one(f).state = "down".to_owned(),
                &["eth0: warning: 10.0.0.6 answers no probe"],
            ),
            ("stops", |f| one(f).state = "leaving".to_owned(), &[]),
            (
                "no way",
                |f| one(f).send_error = Some("Network is down (os error 100)".to_owned()),
                &["eth0: problem: probes to 10.0.0.6 do not leave: Network is down (os error 100)"],
            ),
            (
                "another interval",
                |f| one(f).peer_interval_us = Some(3_300),
                &["eth0: warning: 10.0.0.6 probes 3 x 3.3 ms, and this node 3 x 10 ms"],
            ),
            ("too short a time", |f| (one(f).measured_ms, one(f).false_alarms) = (599_999, 4), &[]),
            (
                "a false alarm",
                |f| one(f).false_alarms = 1,
                &[
                    "eth0: warning: 10.0.0.6: longest silence 10.012 ms, 2 of 360000 probes lost, 1 false alarms in 60 min: 3 x 10 ms is too quick",
                ],
            ),
            (
                "a long silence",
                |f| one(f).longest_silence_us = 15_001,
                &[
                    "eth0: warning: 10.0.0.6: longest silence 15.001 ms, 2 of 360000 probes lost, 0 false alarms in 60 min: 3 x 10 ms is too quick",
                ],
            ),
            (
                "beyond all",
                |f| one(f).longest_silence_us = 1_600_000,
                &[
                    "eth0: warning: 10.0.0.6: longest silence 1600 ms, 2 of 360000 probes lost, 0 false alarms in 60 min: no interval bears that",
                ],
            ),
            (
                "late itself",
                |f| one(f).late = 361,
                &[
                    "eth0: warning: 10.0.0.6: longest silence 10.012 ms, 2 of 360000 probes lost, 0 false alarms in 60 min; this node was late 361 times itself, and counted anew",
                ],
            ),
        ],
    );
}

/// The remedy names an interval that is borne, and the finding of one that is says which would be.
#[test]
fn an_interval_is_recommended() {
    let found = |change: fn(&mut ProbedPeerStatus)| {
        let mut facts = with_host();
        change(one(&mut facts));
        let found = judge(&facts).into_iter().find(|finding| finding.check == "probes").unwrap();
        (found.what, found.fix)
    };
    let fix = |change| found(change).1.unwrap();
    assert_eq!(fix(|one| one.false_alarms = 1), "write `interval 20` on all nodes, and look again");
    assert_eq!(
        fix(|one| one.longest_silence_us = 40_000),
        "write `interval 33` on all nodes, and look again"
    );
    let (what, none) = found(|one| one.longest_silence_us = 4_000);
    assert!(what.ends_with("3 x 10 ms is borne; 3 x 3.3 ms would be borne too") && none.is_none(), "{what}");
    let (what, _) = found(|one| one.longest_silence_us = 5_000);
    assert!(what.ends_with("3 x 10 ms is borne"), "{what}");
}
