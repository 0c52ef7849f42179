//! Both families, unicast, the virtual MAC and accept mode: what is meant, and what does not fit.

use proptest::prelude::*;
use vipd_common::{Family, Version, types::ChecksumForm};

use super::{check, check_all, diagnostics, instance, ip, parse, vip, with, with6};
use crate::{Auth, Unicast, UnicastPeer, Vip};

#[test]
fn ipv6_is_version_3_with_the_link_local_address_first() {
    let text = with("advert_int 0.5").replace("10.0.0.3", "2001:db8::3/64\nfe80::4/64\n2001:db8::1\nfe80::3");
    check(&text, &[]);
    let instance = instance(&text);
    let expect = [vip("fe80::4", 64), vip("fe80::3", 128), vip("2001:db8::3", 64), vip("2001:db8::1", 128)];
    assert_eq!(instance.vips, expect);
    assert_eq!((instance.family, instance.version), (Family::V6, Version::V3));
    assert_eq!((instance.group, instance.checksum), (ip("ff02::12"), ChecksumForm::PseudoHeader));
}

#[test]
fn what_is_said_for_all_gives_way_to_the_family() {
    let global = "global_defs {\nvrrp_version 2\nv3_checksum_as_v2\nvrrp_mcast_group4 224.0.0.99\nvrrp_mcast_group6 ff02::99\n}\n";
    let text = with6("") + global;
    check(&text, &[]);
    let instance = instance(&text);
    assert_eq!((instance.version, instance.checksum), (Version::V3, ChecksumForm::PseudoHeader));
    assert_eq!(instance.group, ip("ff02::99"));
}

#[test]
fn an_excluded_address_may_be_of_either_family_and_on_another_interface() {
    let lines = "virtual_ipaddress_excluded {\n10.0.0.9/24 dev eth1\nfe80::9 dev eth0 no_track\n}";
    let instance = instance(&with6(lines));
    let other = Vip { interface: Some("eth1".to_owned()), ..vip("10.0.0.9", 24) };
    assert_eq!(instance.excluded, [Vip { tracked: false, ..vip("fe80::9", 128) }, other]);
    assert_eq!(instance.family, Family::V6);
}

#[test]
fn unicast_peers_are_read_with_their_limits() {
    let lines = "unicast_src_ip 10.0.0.1\nunicast_peer {\n10.0.0.2\n10.0.0.4 min_ttl 254 max_ttl 254\n}\nunicast_ttl 64\ncheck_unicast_src";
    check(&with(lines), &[]);
    let read = instance(&with(lines));
    let peers = vec![
        UnicastPeer { address: ip("10.0.0.2"), min_ttl: None, max_ttl: 255 },
        UnicastPeer { address: ip("10.0.0.4"), min_ttl: Some(254), max_ttl: 254 },
    ];
    assert_eq!(read.unicast, Some(Unicast { peers, ttl: 64, check_source: true }));
    assert_eq!(read.source, Some(ip("10.0.0.1")));
    let plain = instance(&with("unicast_peer {\n10.0.0.2\n10.0.0.4 max_ttl 64\n}")).unicast.unwrap();
    assert_eq!((plain.ttl, plain.check_source), (255, true));
    assert_eq!(plain.peers.iter().map(|peer| peer.min_ttl).collect::<Vec<_>>(), [None, Some(0)]);
    // RFC 9568 says nothing of unicast: any source will do.
    let global_source = "unicast_src_ip 2001:db8::1\nunicast_peer {\n2001:db8::2\n}";
    check(&with6(global_source), &[]);
    assert_eq!(instance(&with6(global_source)).source, Some(ip("2001:db8::1")));
}

/// keepalived hears unicast adverts from everybody unless told otherwise; vipd hears peers only, and says so if told otherwise.
#[test]
fn only_peers_are_heard_unless_that_is_turned_off() {
    let peer = "unicast_peer {\n10.0.0.2\n}\n";
    for (own, global, check_source) in [
        ("", "", true),
        ("check_unicast_src\n", "", true),
        ("check_unicast_src on\n", "vrrp_check_unicast_src off\n", true),
        ("check_unicast_src off\n", "", false),
        ("", "vrrp_check_unicast_src off\n", false),
    ] {
        let text = with(&format!("{peer}{own}")) + "global_defs {\n" + global + "}\n";
        assert_eq!(instance(&text).unicast.unwrap().check_source, check_source, "{text}");
    }
    check(
        &with(&format!("{peer}check_unicast_src off")),
        &["5:19: warning: without `check_unicast_src` adverts from any address are heard"],
    );
}

#[test]
fn a_peer_on_the_link_sends_a_ttl_of_255() {
    let min_ttl = |lines: &str, on_link| {
        let unicast = instance(&with(lines)).unicast.unwrap();
        unicast.min_ttl(&unicast.peers[0], on_link)
    };
    for (lines, on_link, elsewhere) in [
        ("unicast_peer {\n10.0.0.2\n}", 255, 0),
        ("unicast_peer {\n10.0.0.2\n}\nunicast_ttl 64", 0, 0),
        ("unicast_peer {\n10.0.0.2 min_ttl 0\n}", 0, 0),
        ("unicast_peer {\n10.0.0.2 min_ttl 253\n}", 253, 253),
        ("unicast_peer {\n10.0.0.2 max_ttl 64\n}", 0, 0),
    ] {
        assert_eq!((min_ttl(lines, true), min_ttl(lines, false)), (on_link, elsewhere), "{lines}");
    }
}

#[test]
fn an_owner_accepts_whatever_is_said() {
    assert!(instance(&with("priority 255\naccept off")).accept);
    assert!(!instance(&with("accept off")).accept);
    assert!(instance(&with("no_accept\naccept")).accept);
}

#[test]
fn ipv6_has_no_authentication() {
    let lines = "authentication {\nauth_type PASS\nauth_pass x\n}";
    assert_eq!(instance(&with6(lines)).auth, Auth::None);
}

#[test]
fn each_error_points_at_its_place() {
    let rows: &[(&str, &[&str])] = &[
        // Addresses.
        (
            "virtual_ipaddress {\nfe80::1/64\n}",
            &["8:1: error: IPv4 address in a virtual_ipaddress that starts with IPv6"],
        ),
        (
            "virtual_ipaddress {\n10.0.0.4\nfe80::1/64\n}",
            &["4:1: error: IPv6 address in a virtual_ipaddress that starts with IPv4"],
        ),
        (
            "virtual_ipaddress_excluded {\nfe80::1/129\n}",
            &["3:1: error: `fe80::1/129` has a prefix length that is out of range: 0 to 128"],
        ),
        ("virtual_ipaddress_excluded {\nff02::1\n}", &["3:1: error: `ff02::1` is not a unicast address"]),
        ("virtual_ipaddress_excluded {\n::\n}", &["3:1: error: `::` is not a unicast address"]),
        (
            "virtual_ipaddress_excluded {\n::ffff:10.0.0.1\n}",
            &["3:1: error: `::ffff:10.0.0.1` is an IPv4 address written as IPv6"],
        ),
        (
            "virtual_ipaddress_excluded {\nfe80::1%eth0/64\n}",
            &[
                "3:1: error: `fe80::1%eth0/64` has a zone (`%`): link-local addresses are those of the interface they are used on",
            ],
        ),
        (
            "virtual_ipaddress_excluded {\n10.0.0.9 dev a/b\n}",
            &["3:14: error: dev `a/b` cannot be the name of an interface"],
        ),
        (
            "virtual_ipaddress_excluded {\n10.0.0.9 dev eth1 dev eth2\n}",
            &["3:19: warning: `dev` given again: the last one counts"],
        ),
        ("virtual_ipaddress_excluded {\n10.0.0.9 use_vmac\n}", &["3:10: error: `use_vmac` is not supported"]),
        ("virtual_ipaddress_excluded {\n10.0.0.9 {\n}\n}", &["3:1: error: `10.0.0.9` takes no block"]),
        // Source and group.
        ("mcast_src_ip fe80::1", &["2:14: error: IPv6 source of adverts for IPv4 addresses"]),
        ("mcast_dst_ip ff02::9", &["2:14: error: IPv6 group for IPv4 addresses"]),
        ("mcast_dst_ip ff05::9", &["2:14: error: mcast_dst_ip `ff05::9` is not of link-local scope"]),
        ("mcast_dst_ip 10.0.0.9", &["2:14: error: mcast_dst_ip `10.0.0.9` is not a multicast address"]),
        (
            "mcast_src_ip 10.0.0.1\nunicast_src_ip 10.0.0.2\nunicast_peer {\n10.0.0.9\n}",
            &["2:14: error: `mcast_src_ip` and `unicast_src_ip` differ"],
        ),
        // Unicast.
        ("unicast_peer {\n}", &["2:1: error: unicast_peer holds no address"]),
        ("unicast_peer {\nfe80::1\n}", &["3:1: error: IPv6 peer for IPv4 addresses"]),
        ("unicast_peer {\n10.0.0.300\n}", &["3:1: error: `10.0.0.300` is not an IP address"]),
        ("unicast_peer {\n224.0.0.18\n}", &["3:1: error: `224.0.0.18` is not a unicast address"]),
        (
            "unicast_peer {\n10.0.0.8\n10.0.0.9\n10.0.0.8\n}",
            &["5:1: error: peer 10.0.0.8 is on line 3 already"],
        ),
        (
            "unicast_src_ip 10.0.0.1\nunicast_peer {\n10.0.0.1\n}",
            &["4:1: error: peer 10.0.0.1 is the source of our own adverts"],
        ),
        ("unicast_peer {\n10.0.0.8 10.0.0.9\n}", &["3:10: error: second address on one line: `10.0.0.9`"]),
        ("unicast_peer {\n10.0.0.8 max_tll 3\n}", &["3:10: error: unknown word `max_tll` after an address"]),
        (
            "unicast_peer {\n10.0.0.8 min_ttl 256\n}",
            &["3:18: error: min_ttl `256` is out of range: 0 to 255"],
        ),
        ("unicast_peer {\n10.0.0.8 max_ttl 3 min_ttl 4\n}", &["3:28: error: min_ttl 4 is above max_ttl 3"]),
        (
            "unicast_peer {\n10.0.0.8\n}\nmcast_dst_ip 224.0.0.9",
            &["5:14: warning: `mcast_dst_ip` is ignored with `unicast_peer`"],
        ),
        ("unicast_src_ip 10.0.0.1", &["2:16: error: `unicast_src_ip` without `unicast_peer`"]),
        ("unicast_ttl 64", &["2:13: warning: `unicast_ttl` is ignored without `unicast_peer`"]),
        ("check_unicast_src", &["2:1: warning: `check_unicast_src` is ignored without `unicast_peer`"]),
        ("old_unicast_checksum", &["2:1: error: `old_unicast_checksum` is not supported"]),
        // The virtual MAC.
        (
            "use_vmac vrrp.51 7 netlink_notify_msg group 3",
            &[
                "2:10: notice: the interface name after `use_vmac` has no effect",
                "2:18: notice: the number after `use_vmac` has no effect",
                "2:20: notice: `netlink_notify_msg` after `use_vmac` has no effect",
                "2:39: notice: the group after `use_vmac` has no effect",
            ],
        ),
        ("use_vmac 0", &["2:10: error: number `0` after `use_vmac` is out of range: 1 to 255"]),
        ("use_vmac 02:00:00:00:00:1", &["2:10: error: a MAC address of one's own is not supported"]),
        (
            "use_vmac a b",
            &[
                "2:10: notice: the interface name after `use_vmac` has no effect",
                "2:12: error: unexpected `b` after `use_vmac`",
            ],
        ),
        ("use_vmac group", &["2:10: error: `group` needs a value"]),
        ("vmac_xmit_base", &["2:1: warning: `vmac_xmit_base` is ignored without `use_vmac`"]),
        (
            "use_vmac\nunicast_peer {\n10.0.0.8\n}",
            &["2:1: notice: unicast adverts do not move the virtual MAC to another port of a switch"],
        ),
        // Accept mode.
        ("no_accept", &["2:1: warning: `accept off` with version 2 is an extension of vipd and keepalived"]),
        ("version 3\npriority 255\naccept no", &["4:8: warning: `accept off` is ignored with priority 255"]),
        ("no_accept\naccept", &["3:1: warning: `accept` given again: the last one counts"]),
        ("no_virtual_ipaddress", &["2:1: error: `no_virtual_ipaddress` is not supported yet"]),
    ];
    check_all(rows.iter().map(|(lines, expect)| (with(lines), *expect)));
    let rows: &[(&str, &[&str])] = &[
        ("version 2", &["2:9: error: version 2 with IPv6 addresses, which only version 3 has"]),
        ("vrrp_version 2", &["2:14: error: version 2 with IPv6 addresses, which only version 3 has"]),
        ("mcast_src_ip 10.0.0.1", &["2:14: error: IPv4 source of adverts for IPv6 addresses"]),
        (
            "mcast_src_ip 2001:db8::1",
            &["2:14: error: the source of IPv6 multicast adverts must be link-local"],
        ),
        ("mcast_src_ip fe80::1", &[]),
        ("mcast_dst_ip 224.0.0.9", &["2:14: error: IPv4 group for IPv6 addresses"]),
        ("unicast_peer {\n10.0.0.8\n}", &["3:1: error: IPv4 peer for IPv6 addresses"]),
        (
            "authentication {\nauth_type PASS\nauth_pass x\n}",
            &["2:1: warning: authentication is ignored: VRRP for IPv6 has none"],
        ),
        ("v3_checksum_as_v2", &["2:1: warning: `v3_checksum_as_v2` is ignored with IPv6 addresses"]),
    ];
    check_all(rows.iter().map(|(lines, expect)| (with6(lines), *expect)));
    check(
        &with("").replace("10.0.0.3", "2001:db8::3"),
        &["6:1: warning: no link-local address in virtual_ipaddress of `vrrp_instance VI_1`"],
    );
    check(
        &(with("") + "global_defs {\nvrrp_mcast_group6 224.0.0.9\nvrrp_mcast_group4 ff02::9\n}\n"),
        &[
            "10:19: error: vrrp_mcast_group6 `224.0.0.9` is not an IPv6 address",
            "11:19: error: vrrp_mcast_group4 `ff02::9` is not an IPv4 address",
        ],
    );
}

#[test]
fn hints_say_what_to_do() {
    for (lines, hint) in [
        (
            "virtual_ipaddress {\n10.0.0.4\nfe80::1/64\n}",
            "move all IPv6 addresses to virtual_ipaddress_excluded, or give them a vrrp_instance",
        ),
        (
            "virtual_ipaddress_excluded {\nfe80::1%eth0\n}",
            "remove the zone; `dev IF` after the address names another interface",
        ),
        (
            "use_vmac 02:00:00:00:00:01",
            "the virtual MAC is 00-00-5E-00-01-{VRID} for IPv4 and 00-00-5E-00-02-{VRID} for IPv6",
        ),
        ("unicast_peer {\nfe80::1%eth0\n}", "remove the zone"),
        ("unicast_peer {\n10.0.0.8 max_tll 3\n}", "did you mean `max_ttl`?"),
        (
            "unicast_peer {\n}",
            "list the other routers, one address a line, or remove the block to use multicast",
        ),
    ] {
        assert_eq!(diagnostics(&with(lines))[0].hint.as_deref(), Some(hint), "{lines}");
    }
}

#[test]
fn a_virtual_router_is_an_id_of_one_family_on_one_interface() {
    let second = |interface: &str, vip: &str, lines: &str| {
        format!(
            "vrrp_instance B {{\ninterface {interface}\nvirtual_router_id 51\nvirtual_ipaddress {{\n{vip}\n}}\n{lines}\n}}\n"
        )
    };
    let peers = |peers: &str| format!("unicast_peer {{\n{peers}\n}}");
    check(&(with("") + &second("eth0", "fe80::9", "")), &[]);
    check(&(with("") + &second("eth1", "10.0.0.9", "")), &[]);
    let taken = |at: &str, line: u32| {
        format!("{at}: error: virtual_router_id 51 is taken by `vrrp_instance VI_1` on line {line}")
    };
    for (first, own, at, line) in [
        (peers("10.0.0.7"), peers("10.0.0.8"), "13:19", 6),
        (peers("10.0.0.7"), String::new(), "13:19", 6),
        (String::new(), peers("10.0.0.7"), "11:19", 4),
    ] {
        check(&(with(&first) + &second("eth0", "10.0.0.9", &own)), &[&taken(at, line)]);
    }
    // A link-local address is one per link.
    let vip6 = |vip: &str| with6("") + &second("eth1", vip, "");
    check(&vip6("fe80::3"), &[]);
    check(&vip6("fe80::3 dev eth0"), &["14:1: error: address fe80::3 is on line 6 already"]);
    check(&vip6("fe80::9\n2001:db8::3"), &["15:1: error: address 2001:db8::3 is on line 7 already"]);
}

#[test]
fn an_advert_holds_90_ipv6_addresses() {
    let list = |len: u32| (1..=len).map(|i| format!("fe80::{i:x}\n")).collect::<String>();
    let text = |len| with("").replace("10.0.0.3\n", &list(len));
    assert_eq!(instance(&text(90)).vips.len(), 90);
    check(
        &text(91),
        &["96:1: error: 91 addresses in virtual_ipaddress of `vrrp_instance VI_1`, an advert carries 90"],
    );
}

proptest! {
    /// Link-local addresses first, and nothing else about the order changes.
    #[test]
    fn the_order_of_an_ipv6_list_is_kept_but_for_the_link_local_ones(local in prop::collection::vec(any::<bool>(), 1..40)) {
        let address = |(i, local): (usize, &bool)| format!("{}::{:x}", if *local { "fe80" } else { "2001:db8" }, i + 1);
        let given: Vec<String> = local.iter().enumerate().map(address).collect();
        let loaded = parse(&with("").replace("10.0.0.3", &given.join("\n"))).unwrap();
        let (mut expect, rest): (Vec<_>, Vec<_>) = given.iter().map(|text| ip(text)).zip(local).partition(|(_, local)| *local);
        expect.extend(rest);
        let vips: Vec<_> = loaded.config.instances[0].vips.iter().map(|vip| vip.address).collect();
        prop_assert_eq!(vips, expect.into_iter().map(|(address, _)| address).collect::<Vec<_>>());
    }
}
