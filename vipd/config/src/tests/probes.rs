//! `probe`: what it means, and what is said of `act takeover` beside what does not fit it.

use std::time::Duration;

use super::*;
use crate::model::probe::Probe;

/// A right file whose only instance has `lines` in its `probe` block, which opens on line 2.
fn probing(lines: &str) -> String {
    with(&format!("probe {{\n{lines}\n}}"))
}

/// The same with `act takeover`, and `more` in the instance.
fn early(lines: &str, more: &str) -> String {
    with(&format!("probe {{\nact takeover\n{lines}\n}}\n{more}"))
}

/// Another instance of the file.
fn second(lines: &str) -> String {
    with(lines).replace("VI_1", "VI_2").replace("51", "52").replace("10.0.0.3", "10.0.0.4")
}

fn group() -> &'static str {
    "vrrp_sync_group G {\ngroup {\nVI_1\nVI_2\n}\n}\n"
}

const ARBITER: &str = "arbiter gw {\nping 10.0.0.1\n}\n";
const TRACKED: &str = "advert_int 3\ntrack_arbiter {\ngw\n}";
/// Of 3 x 10 ms beside adverts of a second: the price of a partition.
const PRICE: &str = "2:1: notice: a network that is cut between living nodes for 0.03 s gives the VIPs of VI_1 two owners until it is \
                     whole again; without `act takeover` only a cut of 2.609 s does";

#[test]
fn absence_means_ten_milliseconds_thrice_and_no_takeover() {
    let least = Probe { interval: Duration::from_millis(10), multiplier: 3, takes_over: false };
    assert_eq!(instance(&probing("")).probe, Some(least));
    assert_eq!(instance(&probing("act no")).probe, Some(least));
    let all = Probe { interval: Duration::from_micros(3_300), multiplier: 4, takes_over: true };
    assert_eq!(instance(&probing("interval 3.3\nmultiplier 4\nact takeover")).probe, Some(all));
    assert_eq!(instance(&with("")).probe, None);
}

#[test]
fn what_does_not_fit() {
    check_all([
        (probing(""), &[][..]),
        // What is only measured may be as slow as it likes, and differ.
        (probing("interval 1000\nmultiplier 255") + &second("probe {\n}"), &[]),
        (early("", ""), &[PRICE]),
        (
            early("interval 250\nmultiplier 4", ""),
            &[
                "2:1: notice: a network that is cut between living nodes for 1 s gives the VIPs of VI_1 two owners until it is whole \
                 again; without `act takeover` only a cut of 2.609 s does",
            ],
        ),
        (
            early("interval 250.001\nmultiplier 4", "heartbeat_interface {\neth1\n}"),
            &["2:1: error: `interval` x `multiplier` is 1.000004 s: at most 1 s with `act takeover`"],
        ),
        (
            early("", "version 3\nadvert_int 0.01\nheartbeat_interface {\neth1\n}"),
            &[
                "2:1: warning: `act takeover` gains nothing: it waits 0.03 s, and a backup of VI_1 may miss enough adverts within \
                 0.026 s",
            ],
        ),
        (
            early("", "") + &second("probe {\nact takeover\ninterval 20\n}"),
            &[PRICE, "14:1: error: `interval` or `multiplier` differs from that on line 2"],
        ),
        (
            early("", "") + &second("probe {\nact takeover\nmultiplier 4\n}"),
            &[PRICE, "14:1: error: `interval` or `multiplier` differs from that on line 2"],
        ),
        // One that only measures has its own.
        (early("", "") + &second("probe {\ninterval 20\n}"), &[PRICE]),
        (
            early("", "fence_script /bin/true\nheartbeat_interface {\neth1\n}"),
            &["2:1: warning: `act takeover` never takes over: VI_1 has `fence_script`"],
        ),
        (
            early("", "") + &second("") + group(),
            &["2:1: warning: `act takeover` never takes over: VI_2 of `vrrp_sync_group G` has no such line"],
        ),
        (
            early("", "priority 255"),
            &["2:1: warning: `act takeover` never takes over from this node: VI_1 has priority 255"],
        ),
        (
            early("", "priority 254"),
            &[
                "2:1: warning: `act takeover` takes over from this node only where the other's address is greater: VI_1 has \
                 priority 254",
                "2:1: notice: a network that is cut between living nodes for 0.03 s gives the VIPs of VI_1 two owners until it is \
                 whole again; without `act takeover` only a cut of 2.007 s does",
            ],
        ),
        // The price is another's.
        (
            early("", "priority 255") + &second("probe {\nact takeover\n}"),
            &[
                "2:1: warning: `act takeover` never takes over from this node: VI_1 has priority 255",
                "14:1: notice: a network that is cut between living nodes for 0.03 s gives the VIPs of VI_2 two owners until it is \
                 whole again; without `act takeover` only a cut of 2.609 s does",
            ],
        ),
        (early("", "") + &second("probe {\nact takeover\n}") + group(), &[PRICE]),
    ]);
}

#[test]
fn a_second_path_or_an_arbiter_takes_the_price_away() {
    check_all([
        (early("", "heartbeat_interface {\neth1\n}"), &[][..]),
        (ARBITER.to_owned() + &early("", TRACKED), &[]),
        // One whose loss is no fault silences nobody.
        (
            ARBITER.replace('}', "isolated_action none\n}") + &early("", TRACKED),
            &[
                "6:1: notice: a network that is cut between living nodes for 0.03 s gives the VIPs of VI_1 two owners until it is \
                 whole again; without `act takeover` only a cut of 6.609 s does",
            ],
        ),
        // The group's counts for its members.
        (
            ARBITER.to_owned()
                + &early("", "advert_int 3")
                + &second("advert_int 3\nprobe {\nact takeover\n}")
                + &group().replace("}\n}", "}\ntrack_arbiter {\ngw\n}\n}"),
            &[],
        ),
    ]);
}

/// It is asked with each probe, and a connection takes longer.
#[test]
fn an_arbiter_needs_targets_that_are_pinged() {
    let asks = |targets: &str| format!("arbiter gw {{\n{targets}\n}}\n") + &early("", TRACKED);
    check_all([
        (
            asks("tcp 10.0.0.1:80"),
            &["5:1: error: `arbiter gw` has too few `ping` targets for `act takeover`: 0 of a quorum of 1"][..],
        ),
        (
            asks("ping 10.0.0.1\ntcp 10.0.0.2:80 10.0.0.4:80"),
            &["6:1: error: `arbiter gw` has too few `ping` targets for `act takeover`: 1 of a quorum of 2"],
        ),
        (asks("ping 10.0.0.1 10.0.0.2\ntcp 10.0.0.4:80"), &[]),
    ]);
}
