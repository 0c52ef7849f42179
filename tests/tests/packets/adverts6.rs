//! Adverts over IPv6, and adverts in VLANs.

use std::{net::Ipv6Addr, time::Duration};

use vipd_common::abi::event_kind;
use vipd_core::time::Instant;

use crate::{
    bench::{Bench, LINK_LOCAL_VIP6, PRIMARY6, SLOT, VIP, VIP6, XDP_DROP, XDP_PASS, identity, identity6},
    frames::{Ipv4, Ipv6, PEER_MAC, tagged, v3},
};

const PEER: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 2);
const VIPS: [Ipv6Addr; 2] = [LINK_LOCAL_VIP6, VIP6];
const LEASE: Duration = Duration::from_secs(4);

fn win() -> Ipv6 {
    Ipv6::advert(PEER, 51, 200, &VIPS)
}

fn bench() -> Option<Bench> {
    let mut bench = Bench::new()?;
    bench.configure(&identity6(), &[(0, VIP6)]);
    Some(bench)
}

/// RFC 9568 6.4.3: the greater of two addresses, all of their 128 bits.
#[test]
fn the_greater_address_wins() {
    let Some(mut bench) = bench() else { return };
    for (source, revoked) in [
        ("fe80::11", true),
        ("fe80::f", false),
        ("fe80::1:0:0:0", true),
        ("fe80::8000:0:0:10", true),
        ("fe7f:ffff:ffff:ffff:ffff:ffff:ffff:ffff", false),
        ("2001:db8::ffff", false),
        ("fec0::1", true),
    ] {
        let source: Ipv6Addr = source.parse().expect("address");
        let until = bench.own(LEASE, Duration::ZERO);
        let outcome = bench.run(&Ipv6::advert(source, 51, 100, &VIPS).frame());
        assert_eq!(outcome.verdict, XDP_PASS, "{source}");
        assert_eq!(bench.lease(), if revoked { Instant::default() } else { until }, "{source}");
        let event = bench.event().unwrap_or_else(|| panic!("{source}: an owner hears of every rival"));
        let kind = if revoked { event_kind::REVOKED } else { event_kind::ADVERT };
        assert_eq!((event.kind, event.source, event.mac), (kind, source.octets(), PEER_MAC), "{source}");
        assert_eq!((event.interval_cs, event.address_list_differs), (100, 0), "{source}");
    }
}

#[test]
fn what_is_no_advert_for_us_does_nothing() {
    let Some(mut bench) = bench() else { return };
    let until = bench.own(LEASE, Duration::ZERO);
    let with = |f: &dyn Fn(&mut Ipv6)| {
        let mut packet = win();
        f(&mut packet);
        packet
    };
    let behind = |next_header, extensions: &[u8]| {
        with(&|p| (p.next_header, p.extensions) = (next_header, extensions.to_vec())).frame()
    };
    let options = |next| [next, 0, 1, 4, 0, 0, 0, 0];
    let long = [&[112, 2][..], &[0; 22]].concat();
    let fragment = |next, offset: u16| [&[next, 0][..], &offset.to_be_bytes(), &[0, 0, 0, 1]].concat();
    let two = [&options(60)[..], &options(112)].concat();
    let fragmented_options = [&fragment(60, 1)[..], &options(112)].concat();
    let mut cut = win().frame();
    cut.pop();
    let version_2 = with(&|p| p.payload[0] = 0x21).summed(112, 6).frame();
    let foreign = |f: &dyn Fn(&mut Ipv6)| {
        let mut packet = Ipv6::advert(PEER, 52, 200, &VIPS);
        f(&mut packet);
        packet.summed(112, 6).frame()
    };
    for (what, frame, verdict, counter) in [
        ("own source", with(&|p| p.source = PRIMARY6).summed(112, 6).frame(), XDP_DROP, "own_source"),
        (
            "to all nodes",
            with(&|p| p.destination = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1)).frame(),
            XDP_DROP,
            "dst_not_group",
        ),
        ("frame cut short", cut, XDP_DROP, "packet_length_errors"),
        ("version 2", version_2, XDP_DROP, "version_errors"),
        ("type 2", with(&|p| p.payload[0] = 0x32).summed(112, 6).frame(), XDP_DROP, "invalid_type"),
        (
            "trailing octets",
            with(&|p| p.payload.extend([0; 4])).summed(112, 6).frame(),
            XDP_DROP,
            "packet_length_errors",
        ),
        (
            "reserved bits and interval 0",
            with(&|p| p.payload[4..6].copy_from_slice(&[0xf0, 0])).summed(112, 6).frame(),
            XDP_DROP,
            "interval_zero",
        ),
        ("hop-by-hop options", behind(0, &options(112)), XDP_PASS, "advert_extension_headers"),
        ("destination options", behind(60, &options(112)), XDP_PASS, "advert_extension_headers"),
        ("long destination options", behind(60, &long), XDP_PASS, "advert_extension_headers"),
        ("routing header", behind(43, &options(112)), XDP_PASS, "advert_extension_headers"),
        ("two extension headers", behind(0, &two), XDP_PASS, "advert_extension_headers"),
        ("first fragment", behind(44, &fragment(112, 1)), XDP_PASS, "advert_fragments"),
        ("later fragment", behind(44, &fragment(112, 8)), XDP_PASS, "advert_fragments"),
        ("atomic fragment", behind(44, &fragment(112, 0)), XDP_PASS, "advert_fragments"),
        ("first fragment with options", behind(44, &fragmented_options), XDP_PASS, "advert_fragments"),
        ("another VRID", foreign(&|_| ()), XDP_PASS, "vrid_errors"),
        ("another VRID, hop limit 254", foreign(&|p| p.hop_limit = 254), XDP_PASS, "foreign_ip_ttl_errors"),
        ("another VRID, version 2", foreign(&|p| p.payload[0] = 0x21), XDP_PASS, "foreign_version_errors"),
    ] {
        let (outcome, moved) = bench.moved(&frame);
        assert_eq!((outcome.verdict, &moved[..]), (verdict, &[(counter, 1)][..]), "{what}");
        assert_eq!(outcome.frame, frame, "{what}");
        assert_eq!(bench.lease(), until, "{what}");
        assert!(bench.event().is_none(), "{what}");
    }
    // Options in a later fragment are data, whatever they look like.
    let data = [&fragment(60, 8)[..], &options(112)].concat();
    assert_eq!(bench.moved(&behind(44, &data)).1, []);
    // And so is what stands behind another protocol.
    assert_eq!(bench.moved(&behind(6, &options(112))).1, []);
}

/// R-29, and as keepalived and FRR: a global source and a list without a link-local address are noted at most.
#[test]
fn global_addresses_are_accepted() {
    let Some(mut bench) = bench() else { return };
    let global: Ipv6Addr = "2001:db8::2".parse().expect("address");
    for (what, source, list, note) in [
        ("global source", global, &VIPS[..], 0),
        ("link-local first", PEER, &[LINK_LOCAL_VIP6, VIP6], 0),
        ("the end of fe80::/10 first", PEER, &["febf::1".parse().expect("address"), VIP6], 0),
        ("site-local first", PEER, &["fec0::1".parse().expect("address"), VIP6], 1),
        ("global first", PEER, &[VIP6, LINK_LOCAL_VIP6], 1),
        ("global only", PEER, &[VIP6], 1),
    ] {
        let before = bench.instance_counters();
        let outcome = bench.run(&Ipv6::advert(source, 51, 200, list).frame());
        let after = bench.instance_counters();
        assert_eq!(outcome.verdict, XDP_PASS, "{what}");
        assert_eq!(after.adverts_received - before.adverts_received, 1, "{what}");
        assert_eq!(after.first_addr_not_link_local - before.first_addr_not_link_local, note, "{what}");
    }
}

#[test]
fn another_address_list_is_noted_and_accepted() {
    let Some(mut bench) = bench() else { return };
    let swapped: Ipv6Addr = "::100:2001:db8:0:0".parse().expect("address");
    for (what, list, differs) in [
        ("the same", &[LINK_LOCAL_VIP6, VIP6][..], 0),
        ("another order", &[VIP6, LINK_LOCAL_VIP6], 0),
        ("one less", &[VIP6], 1),
        ("one twice", &[VIP6, VIP6], 1),
        ("halves that changed places", &[LINK_LOCAL_VIP6, swapped], 1),
    ] {
        bench.dataplane().pages().instances().resync(SLOT);
        bench.run(&Ipv6::advert(PEER, 51, 200, list).frame());
        assert_eq!(bench.event().map(|event| event.address_list_differs), Some(differs), "{what}");
    }
}

/// As many addresses as the count can say: 4,080 octets, of which a test run has all in the linear part or none beyond.
#[test]
fn long_lists_are_read_as_far_as_they_can_be() {
    let Some(mut bench) = bench() else { return };
    let list =
        |count: u16| (0..count).map(|i| Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 1, i)).collect::<Vec<_>>();
    for count in [90, 200] {
        let moved = bench.moved(&Ipv6::advert(PEER, 51, 200, &list(count)).frame()).1;
        assert!(moved.contains(&("adverts_received", 1)), "{count} addresses: {moved:?}");
    }
    // Beyond a page an XDP frame is in fragments.
    let longest = Ipv6::advert(PEER, 51, 200, &list(255)).frame();
    if crate::HOOK.takes(&longest) {
        assert_eq!(bench.moved(&longest).1, [("packet_length_errors", 1)]);
    }
}

/// an instance hears its own VLAN and no other.
#[test]
fn adverts_are_heard_in_their_vlan_only() {
    for (vlan, vlans) in [(0, &[][..]), (10, &[10]), (10 << 12 | 20, &[10, 20])] {
        let Some(mut bench) = Bench::new() else { return };
        let peer = [192, 0, 2, 2].into();
        let advert4 = Ipv4::advert(peer, v3(51, 200, 100, &[VIP])).frame();
        for (identity, frame) in [(identity(), advert4), (identity6(), win().frame())] {
            let mut identity = identity;
            identity.head.key.vlan = vlan;
            bench.configure(&identity, &[(vlan, VIP)]);
            for tags in [&[][..], &[10], &[20], &[10, 20], &[20, 10]] {
                let until = bench.own(LEASE, Duration::ZERO);
                let (outcome, moved) = bench.moved(&tagged(&frame, tags));
                assert_eq!(outcome.verdict, XDP_PASS, "{tags:?} to {vlans:?}");
                let ours = tags == vlans;
                let counter = if ours { ("adverts_received", 1) } else { ("vrid_errors", 1) };
                assert!(moved.contains(&counter), "{tags:?} to {vlans:?}: {moved:?}");
                let left = if ours { Instant::default() } else { until };
                assert_eq!(bench.lease(), left, "{tags:?} to {vlans:?}");
            }
        }
    }
}
