//! What a configuration and its interfaces become.

use std::net::{IpAddr, Ipv4Addr};

use vipd_common::{
    Family, Vrid,
    abi::{instance_flag, vip_flag},
    wire::eth::MacAddr,
};

use super::*;
use crate::{
    coordinator::{GroupId, InstanceId},
    host::{InterfaceAddress, LinkState},
};

const MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 5]);
const OTHER_MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 6]);

fn spec(lines: &str, vips: &str) -> vipd_config::Instance {
    let text = format!(
        "vrrp_instance VI_1 {{\n    interface eth0\n    virtual_router_id 51\n    {lines}\n    \
         virtual_ipaddress {{\n        {vips}\n    }}\n}}\n"
    );
    let loaded = vipd_config::parse(
        std::path::Path::new("test.conf"),
        &text,
        &vipd_config::Nothing,
        vipd_config::Unsupported::Refused,
    )
    .unwrap_or_else(|failure| panic!("{failure}"));
    loaded.config.instances.into_iter().next().unwrap()
}

fn link(name: &str, ifindex: u32, mac: MacAddr, addresses: &[&str]) -> LinkState {
    let address =
        |text: &&str| InterfaceAddress { address: text.parse().unwrap(), prefix_len: 24, secondary: false };
    LinkState {
        ifindex,
        mac,
        mtu: 1500,
        up: true,
        enabled: true,
        addresses: addresses.iter().map(address).collect(),
        ..LinkState::absent(name)
    }
}

fn untagged(state: LinkState) -> (LinkState, IngressPoint) {
    let wire = IngressPoint { interface: state.name.clone(), ifindex: state.ifindex, vlan: 0 };
    (state, wire)
}

fn router(lines: &str, vips: &str, addresses: &[&str]) -> Router {
    Router::new(0, spec(lines, vips), vec![untagged(link("eth0", 7, MAC, addresses))], Vec::new())
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// W-19, W-20: what adverts come from.
#[test]
fn w19_w20_the_primary_address_is_no_vip() {
    let v6 = ["2001:db8::5", "fe80::100", "fe80::5"];
    for (what, lines, vips, addresses, primary) in [
        ("the first", "", "10.0.0.3", &["10.0.0.5", "10.0.0.6"][..], Some("10.0.0.5")),
        ("a VIP that is there, below", "", "10.0.0.3", &["10.0.0.3", "10.0.0.5"], Some("10.0.0.5")),
        ("an owner's VIP", "priority 255", "10.0.0.3", &["10.0.0.3", "10.0.0.5"], Some("10.0.0.3")),
        ("none left", "", "10.0.0.3", &["10.0.0.3"], None),
        ("another family", "", "10.0.0.3", &["fe80::5"], None),
        ("configured", "mcast_src_ip 10.0.0.9", "10.0.0.3", &["10.0.0.5", "10.0.0.9"], Some("10.0.0.9")),
        ("configured, and another host's", "mcast_src_ip 192.0.2.9", "10.0.0.3", &["10.0.0.5"], None),
        ("configured, and gone", "mcast_src_ip 10.0.0.9\n    track_src_ip", "10.0.0.3", &["10.0.0.5"], None),
        (
            "configured",
            "unicast_src_ip 10.0.0.5\n unicast_peer {\n 10.0.0.6\n }",
            "10.0.0.3",
            &["10.0.0.4", "10.0.0.5"],
            Some("10.0.0.5"),
        ),
        (
            "gone, where peers send to",
            "unicast_src_ip 192.0.2.9\n unicast_peer {\n 10.0.0.6\n }",
            "10.0.0.3",
            &["10.0.0.5"],
            None,
        ),
        ("link-local, not the VIP", "", "fe80::100", &v6, Some("fe80::5")),
        ("no link-local", "", "fe80::100", &["2001:db8::5"], None),
        (
            "global, for peers that are not on the link",
            "unicast_src_ip 2001:db8::5\n    unicast_peer {\n 2001:db8::6\n }",
            "fe80::100",
            &v6,
            Some("2001:db8::5"),
        ),
        ("link-local peers", "unicast_peer {\n fe80::6\n }", "fe80::100", &v6, Some("fe80::5")),
        ("global peers", "unicast_peer {\n 2001:db8::6\n }", "fe80::100", &v6, Some("2001:db8::5")),
    ] {
        assert_eq!(router(lines, vips, addresses).address(), primary.map(ip), "{what}");
    }
}

#[test]
fn the_virtual_mac_is_that_of_family_and_vrid() {
    let virtual_v4 = MacAddr([0, 0, 0x5e, 0, 1, 51]);
    let virtual_v6 = MacAddr([0, 0, 0x5e, 0, 2, 51]);
    for (lines, vips, answering, adverts) in [
        ("", "10.0.0.3", MAC, MAC),
        ("use_vmac", "10.0.0.3", virtual_v4, virtual_v4),
        ("use_vmac\n    vmac_xmit_base", "10.0.0.3", virtual_v4, MAC),
        ("use_vmac", "fe80::100", virtual_v6, virtual_v6),
    ] {
        let router = router(lines, vips, &["10.0.0.5", "fe80::5"]);
        assert_eq!(
            vip_entries(&router).map(|(_, entry)| MacAddr(entry.mac)).collect::<Vec<_>>(),
            [answering],
            "{lines}"
        );
        assert_eq!(announced(&router).iter().map(|announced| announced.mac).collect::<Vec<_>>(), [answering]);
        assert_eq!(router.advert_mac(), adverts, "{lines}");
        let identity = record(&router);
        assert_eq!(identity.flags & instance_flag::VIRTUAL_MAC != 0, answering != MAC);
        assert_eq!(identity.mac, MAC.0, "where frames to the virtual MAC go");
    }
}

/// D-04, D-05.
#[test]
fn d04_d05_who_accepts() {
    for (lines, accepts) in
        [("", true), ("no_accept", false), ("no_accept\n    priority 255", true), ("accept", true)]
    {
        let router = router(&format!("version 3\n    {lines}"), "10.0.0.3", &["10.0.0.5"]);
        let flags: Vec<u8> = vip_entries(&router).map(|(_, entry)| entry.flags).collect();
        assert_eq!(flags, [if accepts { 0 } else { vip_flag::NO_ACCEPT }], "{lines}");
    }
}

/// a VLAN's frames come in on its parent, tagged.
#[test]
fn r25_a_vlan_is_part_of_every_key() {
    let wire = IngressPoint { interface: "eth0".into(), ifindex: 2, vlan: 10 << 12 | 20 };
    let spec = vipd_config::Instance { interface: "eth0.10.20".into(), ..spec("", "10.0.0.3") };
    let router = Router::new(0, spec, vec![(link("eth0.10.20", 9, MAC, &["10.0.0.5"]), wire)], Vec::new());
    assert_eq!((router.key().ifindex, router.key().vlan), (2, 10 << 12 | 20));
    let keys: Vec<_> = vip_entries(&router).map(|(key, _)| (key.ifindex, key.vlan)).collect();
    assert_eq!(keys, [(2, 10 << 12 | 20)]);
    assert_eq!(announced(&router)[0].ifindex, 9, "what is sent leaves by the VLAN's own interface");
}

#[test]
fn vips_of_another_interface_are_answered_there_with_its_mac() {
    let spec = spec("use_vmac", "10.0.0.3\n 10.1.0.3 dev eth1\n 10.2.0.3 dev eth2 no_track");
    assert_eq!(interfaces(&spec), ["eth0", "eth1", "eth2"]);
    let links = [
        link("eth0", 7, MAC, &["10.0.0.5"]),
        link("eth1", 8, OTHER_MAC, &["10.1.0.5", "10.1.0.3"]),
        link("eth2", 9, OTHER_MAC, &[]),
    ];
    let mut router = Router::new(0, spec, links.clone().into_iter().map(untagged).collect(), Vec::new());
    let table: Vec<_> =
        vip_entries(&router).map(|(key, entry)| (key.ifindex, address(key.address), entry.mac)).collect();
    let vmac = MacAddr::virtual_router(Family::V4, Vrid::new(51).unwrap());
    let expected =
        [(7, ip("10.0.0.3"), vmac.0), (8, ip("10.1.0.3"), OTHER_MAC.0), (9, ip("10.2.0.3"), OTHER_MAC.0)];
    assert_eq!(table, expected);
    assert_eq!(router.links()[1].source_v4(), Some(Ipv4Addr::new(10, 1, 0, 5)));

    // The router is in fault with any of its interfaces, but for one that is not tracked.
    for (i, fault) in [(0, true), (1, true), (2, false)] {
        let down = LinkState { up: false, ..links[i].clone() };
        assert!(router.update(&down), "news");
        assert!(!router.update(&down), "known");
        assert_eq!(!router.is_up(), fault, "{}", down.name);
        assert!(router.update(&links[i]));
        assert!(router.is_up());
    }
    assert!(router.gone(8) && !router.is_up());
    assert!(!router.gone(77));
}

#[test]
fn unicast_peers_are_in_their_table() {
    let lines = "check_unicast_src\n    unicast_src_ip 10.0.0.5\n    unicast_peer {\n 10.0.0.6\n 10.0.9.7 min_ttl 60 max_ttl 64\n }";
    let router = router(lines, "10.0.0.3", &["10.0.0.5"]);
    let peers: Vec<_> =
        peer_entries(&router).map(|(key, peer)| (address(key.address), peer.min_ttl, peer.max_ttl)).collect();
    assert_eq!(peers, [(ip("10.0.0.6"), 255, 255), (ip("10.0.9.7"), 60, 64)]);
    assert!(router.hears(ip("10.0.9.7")) && !router.hears(ip("10.0.0.9")));
    let flags = instance_flag::UNICAST | instance_flag::CHECK_SOURCE;
    assert_eq!(record(&router).flags & flags, flags);
}

/// A peer on the link sends a TTL of 255 unless something else is configured; what the link is may change.
#[test]
fn a_peer_is_on_the_link_or_is_not() {
    let peers = "unicast_src_ip 10.0.0.5\n    unicast_peer {\n 10.0.0.6\n 10.0.9.7\n }";
    let table = |router: &Router| peer_entries(router).map(|(_, peer)| peer.min_ttl).collect::<Vec<_>>();
    let mut router = router(peers, "10.0.0.3", &["10.0.0.5"]);
    assert_eq!(table(&router), [255, 0]);
    router.update(&link("eth0", 7, MAC, &["10.0.0.5", "10.0.9.1"]));
    assert_eq!(table(&router), [255, 255]);
    assert!(router.hears(ip("10.0.0.6")) && !router.hears(ip("10.0.0.8")));
    let open = Router::new(
        0,
        spec(&format!("check_unicast_src off\n {peers}\n unicast_ttl 64"), "10.0.0.3"),
        vec![untagged(link("eth0", 7, MAC, &["10.0.0.5"]))],
        Vec::new(),
    );
    assert_eq!(table(&open), [0, 0]);
    assert!(open.hears(ip("10.0.0.8")));
    let local = Router::new(
        0,
        spec("unicast_peer {\n fe80::6\n 3001:db8::6\n }", "fe80::3"),
        vec![untagged(link("eth0", 7, MAC, &["fe80::5", "2001:db8:1::5"]))],
        Vec::new(),
    );
    assert_eq!(table(&local), [0, 0], "keepalived sends 64 over IPv6");
}

/// Adverts go over it, and nothing else: no VIP is there, and nothing depends on it.
#[test]
fn a_heartbeat_line_carries_adverts_only() {
    let spec = spec("use_vmac\n    heartbeat_interface {\n eth1\n eth2\n }", "10.0.0.3\n 10.1.0.3 dev eth3");
    let (eth1, eth3) = (link("eth1", 8, OTHER_MAC, &["10.9.0.5"]), link("eth3", 9, MAC, &["10.1.0.5"]));
    let tagged = IngressPoint { interface: "eth1".into(), ifindex: 2, vlan: 30 };
    let absent = IngressPoint { interface: "eth2".into(), ifindex: 0, vlan: 0 };
    let heartbeats =
        vec![HeartbeatPort::new(eth1.clone(), tagged), HeartbeatPort::new(LinkState::absent("eth2"), absent)];
    let links = vec![untagged(link("eth0", 7, MAC, &["10.0.0.5"])), untagged(eth3)];
    let mut router = Router::new(0, spec, links, heartbeats);
    router.number(InstanceId(4), GroupId(4));

    let index: Vec<_> =
        index_entries(&router).map(|(key, entry)| (key.ifindex, key.vlan, entry.line)).collect();
    assert_eq!(index, [(7, 0, 0), (2, 30, 1)], "its own interface is line 0; what is not there has no entry");
    assert!(index_entries(&router).all(|(key, entry)| (key.vrid, key.family, entry.slot) == (51, 4, 4)));
    assert_eq!(vip_entries(&router).map(|(key, _)| key.ifindex).collect::<Vec<_>>(), [7, 9]);
    assert_eq!(announced(&router).iter().map(|announced| announced.ifindex).collect::<Vec<_>>(), [7, 9]);
    assert_eq!(router.present().map(|link| link.ifindex()).collect::<Vec<_>>(), [7, 9]);
    assert_eq!(router.advert_interfaces().collect::<Vec<_>>(), [7, 8]);
    let names: Vec<_> = router.advert_ports().map(|port| port.name.to_owned()).collect();
    assert_eq!(names, ["eth0", "eth1", "eth2"]);
    assert_eq!(router.ports().filter(|port| port.virtual_mac).count(), 1);

    assert!(router.is_up() && router.has_heartbeat());
    assert!(router.update(&LinkState { up: false, ..eth1.clone() }), "news");
    assert!(router.is_up() && !router.has_heartbeat(), "one that is down is no fault, and carries nothing");
    assert!(router.update(&eth1) && router.has_heartbeat());
    // The interface below a VLAN goes.
    assert!(router.gone(2) && router.is_up() && !router.has_heartbeat());
    assert_eq!(index_entries(&router).count(), 1);
}
