//! `arbiter` and `track_arbiter`: what they mean, and what is said of wrong ones.

use std::time::Duration;

use super::*;
use crate::{Arbiter, IsolatedAction, Target, Tracked, schema::words};

/// A right file with `lines` in an arbiter that VI_1 tracks; they start on line 2. A backup of VI_1 takes over after 9 s or more.
fn arbiter(lines: &str) -> String {
    tracking("advert_int 3", lines)
}

fn tracking(instance: &str, lines: &str) -> String {
    format!("arbiter gw {{\n{lines}\n}}\n") + &with(&format!("{instance}\ntrack_arbiter {{\ngw\n}}"))
}

fn read(lines: &str) -> Arbiter {
    let loaded = parse(&arbiter(lines)).unwrap_or_else(|failure| panic!("{lines}\n{failure}"));
    loaded.config.tracking().arbiters.into_iter().next().expect("it is tracked")
}

fn target(address: &str, zone: Option<&str>, port: Option<u16>) -> Target {
    Target { address: ip(address), zone: zone.map(str::to_owned), port }
}

#[test]
fn it_means_what_it_says() {
    let second = Duration::from_secs(1);
    let least = read("ping 10.0.0.1");
    let expected = Arbiter {
        name: "gw".to_owned(),
        targets: vec![target("10.0.0.1", None, None)],
        quorum: 1,
        interval: second,
        timeout: second,
        rise: 2,
        fall: 2,
        action: IsolatedAction::Fault,
    };
    assert_eq!(least, expected);
    let all = read(
        "ping 10.0.0.1 fe80::1%eth0\nping 2001:db8::1\ntcp 10.0.0.1:80 [2001:db8::1]:443\ntcp [fe80::1%eth1]:22\nquorum 4\n\
         interval 0.5\ntimeout 0.25\nrise 3\nfall 4\nisolated_action lower 20",
    );
    let expected = Arbiter {
        name: "gw".to_owned(),
        targets: vec![
            target("10.0.0.1", None, None),
            target("fe80::1", Some("eth0"), None),
            target("2001:db8::1", None, None),
            target("10.0.0.1", None, Some(80)),
            target("2001:db8::1", None, Some(443)),
            target("fe80::1", Some("eth1"), Some(22)),
        ],
        quorum: 4,
        interval: second / 2,
        timeout: second / 4,
        rise: 3,
        fall: 4,
        action: IsolatedAction::Lower(20),
    };
    assert_eq!(all, expected);
    assert_eq!(read("ping 10.0.0.1\nisolated_action none").action, IsolatedAction::None);
}

#[test]
fn absence_means() {
    for (targets, quorum) in [(1, 1), (2, 2), (3, 2), (4, 3), (5, 3)] {
        let lines: String = (1..=targets).map(|i| format!("ping 10.0.1.{i}\n")).collect();
        assert_eq!(read(&lines).quorum, quorum, "of {targets}");
    }
    for (interval, timeout_ms) in [("0.2", 200), ("1", 1000), ("2", 1000)] {
        let arbiter = read(&format!("ping 10.0.0.1\ninterval {interval}"));
        assert_eq!(arbiter.timeout, Duration::from_millis(timeout_ms), "{interval}");
    }
}

#[test]
fn instances_and_groups_track_it() {
    let second = with("").replace("VI_1", "VI_2").replace("51", "52").replace("10.0.0.3", "10.0.0.4");
    let tracks = |action: &str, own: &str, group: &str| -> Vec<Vec<(Tracked, i32)>> {
        let text = format!("arbiter gw {{\nping 10.0.0.1\nisolated_action {action}\n}}\n")
            + &with(own)
            + &second
            + &format!("vrrp_sync_group G {{\ngroup {{\nVI_1\nVI_2\n}}\n{group}\n}}\n");
        let tracking = parse(&text).unwrap().config.tracking();
        let plain = |tracks: &Vec<crate::Track>| {
            tracks.iter().map(|track| (track.what.clone(), track.weight.value)).collect()
        };
        tracking.instances.iter().map(plain).collect()
    };
    let line = "track_arbiter {\ngw\n}";
    let it = |weight| vec![(Tracked::Arbiter(0), weight)];
    assert_eq!(tracks("fault", line, ""), [it(0), vec![]]);
    assert_eq!(tracks("fault", "", line), [it(0), it(0)]);
    assert_eq!(tracks("lower 20", "", line), [it(-20), it(-20)]);
    // As other weights of a member.
    assert_eq!(tracks("lower 20", line, ""), [it(0), vec![]]);
    assert_eq!(tracks("lower 20", line, "sync_group_tracking_weight"), [it(-20), vec![]]);
    assert_eq!(tracks("none", line, line), [vec![], vec![]]);
}

#[test]
fn targets_are_printed_as_they_are_read() {
    for text in ["10.0.0.1", "2001:db8::1", "fe80::1%eth0.7"] {
        assert_eq!(words::station(text).unwrap().to_string(), text);
    }
    for text in ["10.0.0.1:80", "[2001:db8::1]:65535", "[fe80::1%eth0]:1"] {
        assert_eq!(words::service(text).unwrap().to_string(), text);
    }
}

#[test]
fn mistakes() {
    let rows: Vec<(String, &[&str])> = vec![
        (arbiter("ping 10.0.0.1"), &[]),
        (arbiter(""), &["1:9: error: `arbiter gw` asks nobody"]),
        (arbiter("ping"), &["2:1: error: `ping` needs a value"]),
        (arbiter("ping host"), &["2:6: error: ping `host` is not an IP address"]),
        (arbiter("ping 127.0.0.1"), &["2:6: error: ping `127.0.0.1` is not a unicast address"]),
        (
            arbiter("ping fe80::1"),
            &["2:6: error: ping `fe80::1` is link-local and lacks its interface: as in `fe80::1%eth0`"],
        ),
        (
            arbiter("ping 10.0.0.1%eth0"),
            &[
                "2:6: error: ping `10.0.0.1%eth0` has an interface (`%`), which only link-local addresses have",
            ],
        ),
        (arbiter("ping fe80::1%a/b"), &["2:6: error: ping `fe80::1%a/b` cannot be the name of an interface"]),
        (
            arbiter("tcp 10.0.0.1"),
            &["2:5: error: tcp `10.0.0.1` is not of the form `ADDRESS:PORT` or `[ADDRESS]:PORT`"],
        ),
        (
            arbiter("tcp 2001:db8::1"),
            &["2:5: error: tcp `2001:db8::1` is not of the form `ADDRESS:PORT` or `[ADDRESS]:PORT`"],
        ),
        (
            arbiter("tcp [10.0.0.1]:80"),
            &["2:5: error: tcp `[10.0.0.1]:80` is not of the form `ADDRESS:PORT` or `[ADDRESS]:PORT`"],
        ),
        (
            arbiter("tcp 10.0.0.1:0"),
            &["2:5: error: tcp `10.0.0.1:0` has a port that is out of range: 1 to 65535"],
        ),
        (arbiter("ping 10.0.0.1\nping 10.0.0.1"), &["3:6: error: 10.0.0.1 is asked on line 2 already"]),
        (arbiter("tcp 10.0.0.1:80\nping 10.0.0.1\nquorum 2"), &[]),
        (arbiter("ping 10.0.0.1 10.0.0.2"), &["1:9: notice: both targets of `arbiter gw` must answer"]),
        (
            arbiter("ping 10.0.0.1 10.0.0.2\nquorum 1"),
            &["3:1: notice: both sides of a partition may reach a quorum of 1 of 2"],
        ),
        (arbiter("ping 10.0.0.1\nquorum 2"), &["3:1: error: quorum 2 is above the number of targets, 1"]),
        (arbiter("ping 10.0.0.1\nquorum 0"), &["3:8: error: quorum `0` is out of range: 1 to 32"]),
        (arbiter("ping 10.0.0.1\ntimeout 2"), &["3:1: error: timeout 2 is above interval 1"]),
        (
            arbiter("ping 10.0.0.1\ninterval 0.001"),
            &["3:10: error: interval `0.001` is out of range: 0.01 to 3600 s"],
        ),
        (
            arbiter("ping 10.0.0.1\nisolated_action stop"),
            &["3:17: error: isolated_action `stop` is not a known value"],
        ),
        (arbiter("ping 10.0.0.1\nisolated_action lower"), &["3:17: error: `lower` needs a value"]),
        (arbiter("ping 10.0.0.1\nweight 3"), &["3:1: error: unknown keyword `weight` in arbiter gw"]),
        (arbiter("ping 10.0.0.3"), &["2:6: error: 10.0.0.3 is an address of `vrrp_instance VI_1`"]),
        (arbiter("tcp 10.0.0.3:80"), &["2:5: error: 10.0.0.3 is an address of `vrrp_instance VI_1`"]),
        (
            tracking("advert_int 3\nmcast_src_ip 10.0.0.5", "ping 10.0.0.5"),
            &["2:6: error: 10.0.0.5 is the source of the adverts of `vrrp_instance VI_1`"],
        ),
        (
            tracking("advert_int 3\nunicast_peer {\n10.0.0.6\n}", "ping 10.0.0.6"),
            &["2:6: warning: 10.0.0.6 is a peer of `vrrp_instance VI_1`"],
        ),
        (
            arbiter("ping 10.0.0.1").replace("\ngw\n", "\ngv\n"),
            &["1:9: warning: nothing uses `arbiter gw`", "7:1: error: no `arbiter` is called `gv`"],
        ),
        (
            "arbiter gw {\nping 10.0.0.1\n}\n".to_owned() + &arbiter("ping 10.0.0.1"),
            &["4:9: error: `arbiter gw` is there already"],
        ),
    ];
    check_all(rows);
    // A link-local VIP is one on its own link only.
    let on = |zone: &str| {
        let text = format!("arbiter gw {{\nping fe80::3%{zone}\n}}\n");
        findings(&(text + &with6("advert_int 3\ntrack_arbiter {\ngw\n}")))
    };
    assert_eq!(on("eth0"), ["2:6: error: fe80::3 is an address of `vrrp_instance VI_1`"]);
    assert_eq!(on("eth1"), [""; 0]);
    let many: String = (1..=33).map(|i| format!("ping 10.0.1.{i}\n")).collect();
    assert_eq!(findings(&arbiter(&many)), ["34:6: error: more than 32 targets in `arbiter gw`"]);
}

/// Of VI_1 with priority 100 and version 2: a backup waits 3 intervals and 156 / 256 s, and has heard the last advert up to an
/// interval before.
#[test]
fn an_arbiter_that_is_too_slow_is_told_of() {
    let said = |instance: &str, lines: &str| {
        let found = diagnostics(&tracking(instance, &format!("ping 10.0.0.1\n{lines}")));
        let hint = |hint: Option<String>| hint.unwrap_or_default();
        found
            .into_iter()
            .map(|d| format!("{}:{}: {}: {}; {}", d.line, d.column, d.severity, d.message, hint(d.hint)))
            .collect::<Vec<_>>()
    };
    let other = "or a greater `advert_int` or `down_timer_adverts`";
    let slow = |severity: &str, times: &str, hint: String| {
        vec![format!("1:9: {severity}: `arbiter gw` notices after {times}; {hint}")]
    };
    assert_eq!(
        said("", ""),
        slow(
            "notice",
            "up to 3 s, and a backup of VI_1 takes over after 2.609 to 3.609 s: two owners for up to 0.39 s",
            format!("write `interval 0.8` and `timeout 0.8`, {other}")
        )
    );
    assert_eq!(said("", "interval 0.8\ntimeout 0.8"), [""; 0]);
    assert_eq!(
        said("", "fall 5"),
        slow(
            "warning",
            "up to 6 s, and a backup of VI_1 takes over after 2.609 to 3.609 s: two owners for up to 3.39 s",
            format!("write `interval 0.4` and `timeout 0.4`, {other}")
        )
    );
    assert_eq!(said("", "fall 5\ninterval 0.4\ntimeout 0.4"), [""; 0]);
    assert_eq!(
        said("version 3\nadvert_int 0.01", "interval 0.01"),
        slow(
            "notice",
            "up to 0.03 s, and a backup of VI_1 takes over after 0.026 to 0.036 s: two owners for up to 0.003 s",
            "no arbiter is that fast: write a greater `advert_int` or `down_timer_adverts`".to_owned()
        )
    );
    // The fastest of those that track it counts, in a group too.
    let second =
        with("advert_int 1").replace("VI_1", "VI_2").replace("51", "52").replace("10.0.0.3", "10.0.0.4");
    let group = "vrrp_sync_group G {\ngroup {\nVI_1\nVI_2\n}\ntrack_arbiter {\ngw\n}\n}\n";
    let text = arbiter("ping 10.0.0.1") + &second;
    assert_eq!(findings(&text), [""; 0]);
    let found = findings(&(text + group));
    assert!(
        found[0].contains("a backup of VI_2 takes over after 2.609 to 3.609 s")
            && found[1..] == ["7:1: warning: the sync group tracks `gw` too: this line is ignored"],
        "{found:?}"
    );
    // Only what has them give up the addresses has to be fast.
    assert_eq!(said("", "fall 5\nisolated_action none"), [""; 0]);
    assert_eq!(said("", "fall 5\nisolated_action lower 20"), [""; 0]);
}
