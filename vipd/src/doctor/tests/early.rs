//! `act takeover`.

use super::*;
use crate::control::model::{EarlyStatus, SponsorsStatus, samples};

/// VI_1 is a backup that would act on a silence of 10.0.0.6.
fn early() -> Facts {
    let mut facts = running();
    let status = facts.running.as_mut().unwrap();
    status.probes = samples::takes_over().probes;
    status.sponsors = Some(samples::sponsors());
    status.instances[0].early = Some(samples::armed());
    facts
}

fn status(facts: &mut Facts) -> &mut Status {
    facts.running.as_mut().unwrap()
}

fn vi_1(facts: &mut Facts) -> &mut EarlyStatus {
    status(facts).instances[0].early.as_mut().unwrap()
}

fn sponsors(facts: &mut Facts) -> &mut SponsorsStatus {
    status(facts).sponsors.as_mut().unwrap()
}

fn unvouched(facts: &mut Facts) {
    let i = &mut status(facts).instances[0];
    (i.state, i.lease_remaining_ms) = ("MASTER".to_owned(), Some(900));
    *vi_1(facts) = EarlyStatus { unvouched: true, needs_sponsor: true, ..EarlyStatus::default() };
    (sponsors(facts).vouched_for, sponsors(facts).backups[0].vouches) = (false, false);
}

fn unreached(facts: &mut Facts) {
    sponsors(facts).arbiters[0].reached = false;
}

const UNREACHED: &str = "arbiters: warning: arbiter gw has not answered within two probe intervals: this node claims nothing, and \
                         answers for its VIPs only while each backup probes it";

#[test]
fn early_takeover() {
    check(
        early,
        &[
            ("armed", |_| {}, &[]),
            (
                "the other only measures",
                |f| status(f).probes[0].peer_takes_over = false,
                &[
                    "eth0: warning: 10.0.0.6 does not say `act takeover`: neither node takes over from the other early, only missed adverts decide",
                ],
            ),
            (
                "the other does not probe",
                |f| {
                    let peer = &mut status(f).probes[0];
                    (peer.peer_takes_over, peer.peer_interval_us, peer.peer_multiplier) = (false, None, None);
                },
                &[
                    "eth0: warning: 10.0.0.6 answers, and its vipd has sent no probe: only missed adverts decide",
                ],
            ),
            (
                "no vipd there",
                |f| {
                    let peer = &mut status(f).probes[0];
                    (peer.peer_takes_over, peer.state) = (false, "down".to_owned());
                },
                &["eth0: warning: 10.0.0.6 answers no probe: only missed adverts have it replaced"],
            ),
            (
                "another interval",
                |f| status(f).probes[0].peer_interval_us = Some(3_300),
                &[
                    "eth0: warning: 10.0.0.6 probes 3 x 3.3 ms, and this node 3 x 10 ms: no silence is acted on",
                ],
            ),
            (
                "a false alarm that was not acted on",
                |f| (status(f).probes[0].measured_ms, status(f).probes[0].false_alarms) = (599_000, 1),
                &[
                    "eth0: problem: 10.0.0.6: longest silence 10.012 ms, 2 of 360000 probes lost, 1 false alarms in 9 min: 3 x 10 ms is too quick for `act takeover`",
                ],
            ),
            (
                "a long silence",
                |f| status(f).probes[0].longest_silence_us = 15_001,
                &[
                    "eth0: problem: 10.0.0.6: longest silence 15.001 ms, 2 of 360000 probes lost, 0 false alarms in 60 min: 3 x 10 ms is too quick for `act takeover`",
                ],
            ),
            (
                "one that was acted on",
                |f| (vi_1(f).claims_made, vi_1(f).false_alarms) = (2, 1),
                &[
                    "VI_1: problem: 2 early takeovers, 1 of them from a master that was heard again at once, 0 of them from one that did not hear it: each had two owners",
                ],
            ),
            (
                "not armed",
                |f| {
                    (vi_1(f).armed, vi_1(f).unarmed_reason) = (false, Some("10.0.0.6 sends no probes".into()))
                },
                &[
                    "VI_1: warning: a dead master is replaced by missed adverts only: 10.0.0.6 sends no probes",
                ],
            ),
            (
                "not heard",
                |f| vi_1(f).one_way = vec!["10.0.0.6".parse().unwrap()],
                &[
                    "VI_1: problem: 10.0.0.6 is heard and answers no probe: it does not hear this node, which neither preempts nor claims until that is over",
                ],
            ),
            (
                "not in real time",
                |f| status(f).real_time = false,
                &[
                    "kernel: warning: vipd runs without real-time scheduling",
                    "vipd: warning: `act takeover` without real-time scheduling: this node is late, so it takes over late and its VIPs may lapse",
                ],
            ),
            ("an arbiter is lost", unreached, &[UNREACHED]),
            (
                "and the backup",
                |f| {
                    unvouched(f);
                    unreached(f);
                },
                &[
                    "VI_1: problem: MASTER, and nobody vouches for this node, so that no VIP is answered: 10.0.0.6 sends no probe; arbiter gw does not answer",
                    UNREACHED,
                ],
            ),
            (
                "without an arbiter",
                |f| {
                    unvouched(f);
                    sponsors(f).arbiters.clear();
                },
                &[
                    "VI_1: problem: MASTER, and nobody vouches for this node, so that no VIP is answered: 10.0.0.6 sends no probe; its own vipd has sent no probe in time",
                ],
            ),
            (
                "too many",
                |f| sponsors(f).uncounted = 2,
                &[
                    "vipd: warning: 2 hosts more than the 16 that can take over early: missed adverts decide for them",
                ],
            ),
        ],
    );
}

/// Without `act takeover` none of this is asked.
#[test]
fn what_only_measures_is_not_judged() {
    check(
        early,
        &[(
            "act no",
            |f| {
                status(f).sponsors = None;
                status(f).real_time = true;
                (status(f).probes[0].takes_over, status(f).probes[0].peer_takes_over) = (false, false);
                status(f).instances[0].early = None;
            },
            &[],
        )],
    );
}
