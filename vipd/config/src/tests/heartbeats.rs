//! `heartbeat_interface`.

use super::{check, check_all, instance, parse, with};
use crate::{Tracked, Weight};

const LINES: &str = "heartbeat_interface {\neth1\neth2 weight 10\n}";

#[test]
fn heartbeat_links_are_named_and_may_have_a_weight() {
    let links = |text: &str| -> Vec<String> {
        instance(text).heartbeat_links.into_iter().map(|link| link.interface).collect()
    };
    check(&with(LINES), &[]);
    assert_eq!(links(&with(LINES)), ["eth1", "eth2"]);
    let two_blocks = "heartbeat_interface {\neth1\n}\nheartbeat_interface {\neth2\n}";
    assert_eq!(links(&with(two_blocks)), ["eth1", "eth2"]);
    assert_eq!(links(&with("")), [""; 0]);
}

/// One without a weight puts nobody in FAULT, as a tracked interface without one would.
#[test]
fn only_a_weight_makes_a_heartbeat_link_count() {
    let tracked = |text: &str| {
        let tracking = parse(text).unwrap().config.tracking();
        let tracks = tracking.instances.into_iter().next().unwrap().into_iter();
        tracks.map(|track| (track.what, track.weight)).collect::<Vec<_>>()
    };
    let weight = |value| Weight { value, reverse: false };
    let eth2 = |value| (Tracked::Interface("eth2".to_owned()), weight(value));
    assert_eq!(tracked(&with(LINES)), [eth2(10)]);
    assert_eq!(tracked(&with("heartbeat_interface {\neth1 weight 0\neth2 weight -5\n}")), [eth2(-5)]);

    // What an instance of a sync group tracks has no weight, unless that is asked for: then a line has none either.
    let second = with("").replace("VI_1", "VI_2").replace("51", "52").replace("10.0.0.3", "10.0.0.4");
    let group = |lines: &str| {
        format!("{}{second}vrrp_sync_group G {{\ngroup {{\nVI_1\nVI_2\n}}\n{lines}\n}}\n", with(LINES))
    };
    assert_eq!(tracked(&group("")), []);
    check(&group(""), &["22:1: warning: the weights of heartbeat interfaces of VI_1 are ignored"]);
    check(&group("sync_group_tracking_weight"), &[]);
    assert_eq!(tracked(&group("sync_group_tracking_weight")), [eth2(10)]);
}

#[test]
fn a_heartbeat_line_is_a_line_of_its_own() {
    let block = |names: &str| with(&format!("heartbeat_interface {{\n{names}\n}}"));
    let unicast =
        with("unicast_src_ip 10.0.0.1\nunicast_peer {\n10.0.0.2\n}\nheartbeat_interface {\neth1\n}");
    check_all([
        (block("eth0"), &["3:1: error: eth0 is the interface of the instance itself"][..]),
        (block("eth1\neth2\neth1"), &["5:1: error: heartbeat interface eth1 is on line 3 already"]),
        (
            block("eth1\neth2\neth3\neth4"),
            &["6:1: error: 4 heartbeat interfaces of `vrrp_instance VI_1`, there is room for 3"],
        ),
        (block("eth1 reverse"), &["3:6: error: unexpected `reverse` after `eth1`"]),
        (block("eth1 weight 300"), &["3:13: error: weight `300` is out of range: -253 to 253"]),
        (unicast, &["6:1: error: `heartbeat_interface` with `unicast_peer`"]),
    ]);
}

/// XDP knows a virtual router by the line and the VRID.
#[test]
fn two_virtual_routers_on_a_line_have_different_ids() {
    let first = with("heartbeat_interface {\neth1\n}");
    let second = |interface: &str, vrid: &str, lines: &str| {
        let text = with(lines).replace("VI_1", "VI_2").replace("10.0.0.3", "10.0.0.4");
        text.replace("interface eth0", &format!("interface {interface}"))
            .replace("virtual_router_id 51", &format!("virtual_router_id {vrid}"))
    };
    let on_eth1 = "heartbeat_interface {\neth1\n}";
    check_all([
        (first.clone() + &second("eth2", "52", on_eth1), &[][..]),
        (first.clone() + &second("eth1", "52", ""), &[]),
        (
            first.clone() + &second("eth2", "51", on_eth1),
            &["13:1: error: virtual_router_id 51 on eth1 is taken by `vrrp_instance VI_1` on line 6"],
        ),
        (
            first + &second("eth1", "51", ""),
            &["14:19: error: virtual_router_id 51 is taken by `vrrp_instance VI_1` on line 6"],
        ),
    ]);
}
