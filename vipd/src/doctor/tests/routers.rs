//! What a running vipd knows.

use super::*;

#[test]
fn what_runs() {
    check(
        running,
        &[
            (
                "no real time",
                |f| f.running.as_mut().unwrap().real_time = false,
                &["kernel: warning: vipd runs without real-time scheduling"],
            ),
            (
                "drained",
                |f| f.running.as_mut().unwrap().drained = true,
                &["vipd: warning: the node is drained: it serves a VIP only if no other node does"],
            ),
            (
                "a split brain",
                |f| vi_1(f).split_brain = true,
                &["VI_1: problem: split brain: another router acts as the owner too, and does not give way"],
            ),
            (
                "address conflicts",
                |f| vi_1(f).address_conflicts = 3,
                &["VI_1: warning: other stations have claimed a VIP of this master, 3 times since the start"],
            ),
            (
                "another file",
                |f| vi_1(f).vips = vec![ip("10.0.0.4")],
                &["vipd: warning: the file differs from the running configuration in VI_1"],
            ),
            (
                "in FAULT",
                |f| (vi_1(f).state, vi_1(f).reason) = ("FAULT".to_owned(), Some("link down".to_owned())),
                &["VI_1: problem: it is in FAULT: link down"],
            ),
            (
                "it cannot take over",
                |f| vi_1(f).reason = Some("first advert could not be sent".to_owned()),
                &["VI_1: problem: it is BACKUP and cannot take over: first advert could not be sent"],
            ),
            (
                "its adverts do not leave",
                |f| {
                    vi_1(f).adverts_blocked = true;
                    vi_1(f).advert_error = Some("Operation not permitted".to_owned());
                },
                &[
                    "VI_1: problem: it is BACKUP and its adverts do not leave (Operation not permitted): it cannot take over",
                ],
            ),
            (
                "another key for reports",
                |f| {
                    let reports = &mut f.running.as_mut().unwrap().cluster_reports;
                    reports.refused_lately =
                        vec!["reports of 10.0.0.6 are signed with another key: mend it".to_owned()];
                },
                &["vipd: warning: reports of 10.0.0.6 are signed with another key"],
            ),
            (
                "a restart is due",
                |f| {
                    f.running.as_mut().unwrap().restart_needed =
                        vec!["metrics_listen needs a restart".to_owned()]
                },
                &["vipd: warning: metrics_listen needs a restart"],
            ),
            (
                "it hears nobody",
                |f| vi_1(f).adverts_received = 0,
                &["VI_1: warning: this backup has received no advert"],
            ),
            (
                "another password",
                |f| _ = vi_1(f).discards.insert("auth_failures".to_owned(), 9),
                &[
                    "VI_1: warning: 9 adverts were dropped: with another password (`authentication`: k.conf:4)",
                ],
            ),
            (
                "two masters",
                |f| {
                    vi_1(f).state = "MASTER".to_owned();
                    vi_1(f).discards.insert("version_errors".to_owned(), 3);
                },
                &[
                    "VI_1: problem: 3 adverts were dropped: of another VRRP version (`version`: not in the file of VI_1)",
                ],
            ),
            (
                "other addresses",
                |f| vi_1(f).address_list_differs = 2,
                &["VI_1: warning: 2 adverts list other addresses (`virtual_ipaddress`: k.conf:8)"],
            ),
            (
                "late",
                |f| vi_1(f).advert_lateness_max_us = 250_001,
                &["VI_1: warning: an advert left 250 ms late, of an interval of 1000 ms"],
            ),
            ("not too late", |f| vi_1(f).advert_lateness_max_us = 250_000, &[]),
            ("send errors", |f| vi_1(f).send_errors = 4, &["VI_1: warning: 4 adverts could not be sent"]),
        ],
    );
}

/// A reason that the program counts, and that is not known here, would be called malformed.
#[test]
fn every_reason_to_discard_is_known() {
    use vipd_common::abi::InstanceCounters;
    let malformed =
        ["ip_checksum_errors", "packet_length_errors", "invalid_type", "addr_count_zero", "interval_zero"];
    for reason in &InstanceCounters::NAMES[InstanceCounters::FIRST_DISCARD..] {
        let mut facts = running();
        vi_1(&mut facts).discards.insert((*reason).to_owned(), 1);
        let said = said(&facts, |level| level >= Level::Warning);
        assert_eq!(said.len(), 1, "{reason}: {said:?}");
        assert_eq!(said[0].contains("malformed"), malformed.contains(reason), "{reason}: {said:?}");
    }
}

#[test]
fn a_vipd_that_cannot_be_asked() {
    let denied = |f: &mut Facts| f.unanswered = Some(Unanswered::Unreachable("Permission denied".to_owned()));
    check(
        idle,
        &[
            ("no permission", denied, &[]),
            (
                "a frozen one",
                |f| {
                    f.unanswered = Some(Unanswered::Unresponsive(
                        "vipd (pid 7) does not answer: stopped or hung".to_owned(),
                    ));
                    f.leftovers = Ok(vec![Leftover::new(LeftoverKind::Route, "its own", "leave it")]);
                },
                &["vipd: problem: vipd (pid 7) does not answer: stopped or hung"],
            ),
        ],
    );
    let mut facts = idle();
    denied(&mut facts);
    let said = said(&facts, |level| level == Level::Skipped);
    let wanted = "vipd: skipped: a vipd may run here, and cannot be asked: what only it knows is left out (Permission denied)";
    assert!(said.iter().any(|line| line == wanted), "{said:#?}");
}
