//! ARP and IP for VIPs: answered, dropped or passed, by ownership.

use std::{collections::HashSet, net::Ipv4Addr, time::Duration};

use aya::maps::{Array, Map, MapData};
use vipd_common::{
    abi::{event_kind, mapped},
    address::Address,
    bloom,
};

use crate::{
    bench::{Bench, MAC, SLOT, VIP, XDP_DROP, XDP_PASS, XDP_TX, identity},
    frames::{Ipv4, PEER_MAC, arp, padded, tagged, unhex},
    rows::{
        Ownership::{Expired, Never, Owned},
        Row, row, run,
    },
};

const ASKER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 50);
const OTHER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 77);
const THIRD: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 78);
const UNSPECIFIED: Ipv4Addr = Ipv4Addr::UNSPECIFIED;
const VLAN: u16 = 10;

fn packet(destination: Ipv4Addr) -> Vec<u8> {
    Ipv4 {
        source: ASKER,
        destination,
        ttl: 64,
        protocol: 6,
        fragment: 0,
        options: Vec::new(),
        payload: vec![0xa5; 20],
    }
    .frame()
}

fn rows() -> Vec<Row> {
    let ask = || arp(1, PEER_MAC, ASKER, VIP);
    let mut other_hardware = ask();
    other_hardware[15] = 7;
    let ieee802 = |op| {
        let mut frame = arp(op, PEER_MAC, ASKER, VIP);
        frame[15] = 6;
        frame
    };
    let mut claim_802 = arp(2, PEER_MAC, VIP, ASKER);
    claim_802[15] = 6;
    let excess: &[&str] = &["excess_tags"];
    let mut rarp = ask();
    rarp[21] = 3;
    vec![
        row("request, owner", ask(), Owned, XDP_TX, &["arp_replies"]),
        row("request padded to 60 octets, owner", padded(ask()), Owned, XDP_TX, &["arp_replies"]),
        row("RFC 5227 probe, owner", arp(1, PEER_MAC, UNSPECIFIED, VIP), Owned, XDP_TX, &["arp_replies"]),
        row("request, backup", ask(), Never, XDP_DROP, &["arp_gated"]),
        row("request, lease expired", ask(), Expired, XDP_DROP, &["arp_gated"]),
        row("probe, backup", arp(1, PEER_MAC, UNSPECIFIED, VIP), Never, XDP_DROP, &["arp_gated"]),
        row("request for another address, owner", arp(1, PEER_MAC, ASKER, OTHER), Owned, XDP_PASS, &[]),
        row("reply of another station, owner", arp(2, PEER_MAC, OTHER, ASKER), Owned, XDP_PASS, &[]),
        row("request in VLAN 10, owner elsewhere", tagged(&ask(), &[VLAN]), Owned, XDP_PASS, &[]),
        row("request with a priority tag, owner", tagged(&ask(), &[0]), Owned, XDP_TX, &["arp_replies"]),
        row("request of other hardware, owner", other_hardware.clone(), Owned, XDP_PASS, &[]),
        row("request of RFC 1042's hardware type, owner", ieee802(1), Owned, XDP_TX, &["arp_replies"]),
        row("request of RFC 1042's hardware type, backup", ieee802(1), Never, XDP_DROP, &["arp_gated"]),
        row("claim of RFC 1042's hardware type, owner", claim_802, Owned, XDP_DROP, &["vip_conflicts"]),
        // The kernel takes tags of VLAN 0 off, however many there are.
        row(
            "request with two priority tags, backup",
            tagged(&ask(), &[0, 0]),
            Never,
            XDP_DROP,
            &["arp_gated"],
        ),
        row("request with three, backup", tagged(&ask(), &[0, 0, 0]), Never, XDP_DROP, excess),
        row("request with three, owner", tagged(&ask(), &[0, 0, 0]), Owned, XDP_DROP, excess),
        row("packet with nine, backup", tagged(&packet(VIP), &[0; 9]), Never, XDP_DROP, excess),
        row(
            "packet in a VLAN, with two more, backup",
            tagged(&packet(VIP), &[10, 0, 0]),
            Never,
            XDP_DROP,
            excess,
        ),
        row(
            "packet in two VLANs, with one more, backup",
            tagged(&packet(VIP), &[7, 8, 0]),
            Never,
            XDP_DROP,
            excess,
        ),
        row("packet in three VLANs, backup", tagged(&packet(VIP), &[7, 8, 9]), Never, XDP_PASS, &[]),
        row("packet in four VLANs, backup", tagged(&packet(VIP), &[7, 8, 9, 10]), Never, XDP_PASS, &[]),
        row(
            "three tags and no more, backup",
            tagged(&[0; 14], &[0, 0, 0])[..23].to_vec(),
            Never,
            XDP_PASS,
            &[],
        ),
        row("other operation, owner", rarp, Owned, XDP_PASS, &[]),
        row("request cut short, owner", ask()[..41].to_vec(), Owned, XDP_PASS, &[]),
        row(
            "gratuitous request of another, owner",
            arp(1, PEER_MAC, VIP, VIP),
            Owned,
            XDP_DROP,
            &["vip_conflicts"],
        ),
        row(
            "gratuitous reply of another, owner",
            arp(2, PEER_MAC, VIP, VIP),
            Owned,
            XDP_DROP,
            &["vip_conflicts"],
        ),
        row("reply claiming, owner", arp(2, PEER_MAC, VIP, ASKER), Owned, XDP_DROP, &["vip_conflicts"]),
        row("request from the VIP, owner", arp(1, PEER_MAC, VIP, OTHER), Owned, XDP_DROP, &["vip_conflicts"]),
        // To the kernel the request form is a question about an address it holds: it must not see it.
        row("gratuitous request, backup", arp(1, PEER_MAC, VIP, VIP), Never, XDP_DROP, &["vip_claims_seen"]),
        row("gratuitous reply, backup", arp(2, PEER_MAC, VIP, VIP), Never, XDP_PASS, &["vip_claims_seen"]),
        row(
            "request from the VIP, backup",
            arp(1, PEER_MAC, VIP, OTHER),
            Never,
            XDP_PASS,
            &["vip_claims_seen"],
        ),
        row("own announcement looped back, owner", arp(1, MAC, VIP, VIP), Owned, XDP_DROP, &[]),
        row("packet to the VIP, owner", packet(VIP), Owned, XDP_PASS, &[]),
        row("packet to the VIP, backup", packet(VIP), Never, XDP_DROP, &["ip_gated"]),
        row("packet to the VIP, lease expired", packet(VIP), Expired, XDP_DROP, &["ip_gated"]),
        row("packet to the VIP in VLAN 10, backup", tagged(&packet(VIP), &[VLAN]), Never, XDP_PASS, &[]),
        row("packet to another address, backup", packet(OTHER), Never, XDP_PASS, &[]),
        row("IPv6, backup", [&[0; 12][..], &[0x86, 0xdd], &[0x60; 40]].concat(), Never, XDP_PASS, &[]),
        row("LLDP, owner", [&[0; 12][..], &[0x88, 0xcc], &[0; 46]].concat(), Owned, XDP_PASS, &[]),
        row("Ethernet header only, owner", ask()[..14].to_vec(), Owned, XDP_PASS, &[]),
    ]
}

#[test]
fn frames_about_vips_get_the_verdict_of_ownership() {
    let Some(mut bench) = Bench::new() else { return };
    bench.configure(&identity(), &[(0, VIP)]);
    run(&mut bench, rows());
}

/// The whole reply, octet by octet, from the public frames `arp-request-for-vip` and `arp-reply-from-active`; the MAC is
/// the interface's here.
#[test]
fn the_reply_is_the_public_vector() {
    let Some(mut bench) = Bench::new() else { return };
    bench.configure(&identity(), &[(0, VIP)]);
    bench.own(Duration::from_secs(60), Duration::ZERO);
    let request = "ffffffffffff0200000000aa080600010800060400010200000000aac0000232000000000000c0000264";
    let reply = "0200000000aa020000000001080600010800060400020200000000 01c00002640200000000aac0000232";
    let outcome = bench.run(&unhex(request));
    assert_eq!(outcome.verdict, XDP_TX);
    assert_eq!(outcome.frame, unhex(&reply.replace(' ', "")));
}

#[test]
fn a_vip_in_a_vlan_is_answered_in_that_vlan_only() {
    let Some(mut bench) = Bench::new() else { return };
    bench.configure(&identity(), &[(u32::from(VLAN), VIP), (u32::from(VLAN) << 12 | 20, OTHER)]);
    bench.own(Duration::from_secs(60), Duration::ZERO);
    let ask = |vip| arp(1, PEER_MAC, ASKER, vip);
    for (what, frame, verdict) in [
        ("its own VLAN", tagged(&ask(VIP), &[VLAN]), XDP_TX),
        ("priority bits in the tag", tagged(&ask(VIP), &[VLAN | 0xe000]), XDP_TX),
        ("untagged", ask(VIP), XDP_PASS),
        ("another VLAN", tagged(&ask(VIP), &[20]), XDP_PASS),
        ("two tags", tagged(&ask(OTHER), &[VLAN, 20]), XDP_TX),
        ("two tags the wrong way round", tagged(&ask(OTHER), &[20, VLAN]), XDP_PASS),
        ("three tags", tagged(&ask(OTHER), &[VLAN, 20, 30]), XDP_PASS),
    ] {
        let outcome = bench.run(&frame);
        assert_eq!(outcome.verdict, verdict, "{what}");
        if verdict == XDP_TX {
            assert_eq!(
                outcome.frame[12..frame.len() - 28],
                frame[12..frame.len() - 28],
                "{what}: the tags stay"
            );
        }
    }
}

#[test]
fn a_conflict_is_reported_once_a_second() {
    let Some(mut bench) = Bench::new() else { return };
    bench.configure(&identity(), &[(0, VIP)]);
    bench.own(Duration::from_secs(60), Duration::ZERO);
    for _ in 0..100 {
        bench.run(&arp(1, PEER_MAC, VIP, VIP));
    }
    let event = bench.event().expect("one event");
    assert_eq!((event.kind, event.instance), (event_kind::CONFLICT, SLOT));
    assert_eq!((event.source, event.mac), (mapped(VIP.octets()), PEER_MAC));
    assert_eq!(bench.counters().vip_conflicts, 100);
    assert!(bench.event().is_none(), "the other 99 came within the second");
}

/// A reload swaps tables: what is not in the new one is nobody's, at once.
#[test]
fn the_table_in_force_is_the_last_one() {
    let Some(mut bench) = Bench::new() else { return };
    bench.own(Duration::from_secs(60), Duration::ZERO);
    for (table, (vip, other)) in
        [(&[VIP][..], (XDP_TX, XDP_PASS)), (&[OTHER], (XDP_PASS, XDP_TX)), (&[], (XDP_PASS, XDP_PASS))]
    {
        let table: Vec<_> = table.iter().map(|vip| (0, *vip)).collect();
        bench.configure(&identity(), &table);
        assert_eq!(bench.run(&arp(1, PEER_MAC, ASKER, VIP)).verdict, vip, "{table:?}");
        assert_eq!(bench.run(&arp(1, PEER_MAC, ASKER, OTHER)).verdict, other, "{table:?}");
    }
}

#[test]
fn the_bloom_filter_follows_the_table() {
    let Some(mut bench) = Bench::new() else { return };
    let vips = |network: u8| -> Vec<(u32, Ipv4Addr)> {
        (0..=255).map(|host| (0, Ipv4Addr::new(10, network, network, host))).collect()
    };
    let bit = |address: &Ipv4Addr| bloom::bit(Address::from_v4(address.octets()));
    let verdict = |bench: &mut Bench, address: Ipv4Addr| bench.run(&packet(address)).verdict;
    // One after the other, so that each is in either table once.
    for (network, before) in [(1, 2), (2, 1), (3, 2)] {
        let present = vips(network);
        bench.configure(&identity(), &present);
        for (_, vip) in &present {
            assert_eq!(verdict(&mut bench, *vip), XDP_DROP, "{vip} is a VIP that is not owned");
        }
        for (_, other) in vips(before) {
            assert_eq!(verdict(&mut bench, other), XDP_PASS, "{other} is none, or no longer");
        }
        let bits: HashSet<usize> = present.iter().map(|(_, vip)| bit(vip)).collect();
        let same_bit = (0..).map(Ipv4Addr::from_bits).find(|address| bits.contains(&bit(address))).unwrap();
        assert_eq!(verdict(&mut bench, same_bit), XDP_PASS, "{same_bit} has a VIP's bit and is none");
        let map = Map::Array(MapData::from_pin(bench.pin("BLOOM_FILTER")).expect("pinned"));
        let words = Array::<_, [u64; bloom::WORDS]>::try_from(map).expect("an array").get(&0, 0);
        let set: usize = words.expect("one entry").iter().map(|word| word.count_ones() as usize).sum();
        assert_eq!(set, bits.len(), "nothing is left of the table before");
    }
}

/// By VIP, over another table and another process.
#[test]
fn replies_are_counted_by_vip() {
    let Some(mut bench) = Bench::new() else { return };
    bench.configure(&identity(), &[(0, VIP), (0, OTHER)]);
    let ask = |bench: &mut Bench, vip, times: usize| {
        (0..times).for_each(|_| _ = bench.run(&arp(1, PEER_MAC, ASKER, vip)));
    };
    // What is not owned is not answered.
    ask(&mut bench, VIP, 1);
    assert_eq!((bench.replies(VIP), bench.replies(OTHER)), (0, 0));
    bench.own(Duration::from_secs(3600), Duration::ZERO);
    ask(&mut bench, VIP, 3);
    ask(&mut bench, OTHER, 2);
    assert_eq!((bench.replies(VIP), bench.replies(OTHER), bench.replies(THIRD)), (3, 2, 0));

    // One stays, one goes, one comes.
    bench.configure(&identity(), &[(0, THIRD), (0, VIP)]);
    ask(&mut bench, THIRD, 4);
    ask(&mut bench, VIP, 1);
    assert_eq!((bench.replies(VIP), bench.replies(OTHER), bench.replies(THIRD)), (4, 0, 4));
    // One that comes back begins anew.
    bench.configure(&identity(), &[(0, VIP), (0, OTHER), (0, THIRD)]);
    ask(&mut bench, OTHER, 1);
    assert_eq!((bench.replies(VIP), bench.replies(OTHER), bench.replies(THIRD)), (4, 1, 4));

    bench.reload();
    ask(&mut bench, VIP, 1);
    assert_eq!((bench.replies(VIP), bench.replies(OTHER), bench.replies(THIRD)), (5, 1, 4));
}
