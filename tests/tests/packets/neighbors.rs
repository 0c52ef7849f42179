//! Neighbor Discovery and IPv6 packets for VIPs: answered, dropped or passed, by ownership.

use std::{net::Ipv6Addr, time::Duration};

use serde::Deserialize;
use vipd_common::abi::{VipEntry, event_kind, vip_flag};

use crate::{
    bench::{
        Bench, LEASE_SLOT, LINK_LOCAL_VIP6, MAC, SLOT, VIP, VIP6, XDP_DROP, XDP_PASS, XDP_TX, identity,
        identity6,
    },
    frames::{Ipv4, Ipv6, PEER_MAC, arp, neighbor, tagged, unhex},
    rows::{
        Ownership::{Expired, Never, Owned},
        Row, row, run,
    },
};

const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;
const OVERRIDE: u8 = 0x20;
const SOLICITED: u8 = 0x40;
const ASKER: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x50);
const OTHER: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x77);
const GROUP_OF_VIP: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00, 0x100);
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
/// The virtual MAC of VRID 51 over IPv6, as in the public frames.
const VIRTUAL_MAC: [u8; 6] = [0, 0, 0x5e, 0, 2, 0x33];
const ELSEWHERE: [u8; 6] = [0x02, 0, 0, 0, 0, 0xbb];
const NONCE: [u8; 8] = [14, 1, 1, 2, 3, 4, 5, 6];

fn link_address(option: u8, mac: [u8; 6]) -> Vec<u8> {
    [&[option, 1][..], &mac].concat()
}

fn ask(options: &[u8]) -> Ipv6 {
    neighbor(SOLICITATION, 0, ASKER, GROUP_OF_VIP, VIP6, options)
}

/// A DAD probe.
fn probe() -> Ipv6 {
    neighbor(SOLICITATION, 0, Ipv6Addr::UNSPECIFIED, GROUP_OF_VIP, VIP6, &[])
}

fn announce(mac: [u8; 6]) -> Ipv6 {
    neighbor(ADVERTISEMENT, OVERRIDE, VIP6, ALL_NODES, VIP6, &link_address(2, mac))
}

fn with(packet: Ipv6, change: impl FnOnce(&mut Ipv6)) -> Vec<u8> {
    let mut packet = packet;
    change(&mut packet);
    packet.frame()
}

/// As `with`, and the checksum is right afterwards.
fn summed(packet: Ipv6, change: impl FnOnce(&mut Ipv6)) -> Vec<u8> {
    with(packet, |packet| {
        change(packet);
        *packet = packet.clone().summed(58, 2);
    })
}

fn tcp(destination: Ipv6Addr) -> Vec<u8> {
    let (next_header, extensions) = (6, Vec::new());
    Ipv6 { source: ASKER, destination, hop_limit: 64, next_header, extensions, payload: vec![0xa5; 20] }
        .frame()
}

fn solicitations() -> Vec<Row> {
    let slla = link_address(1, PEER_MAC);
    let frame = |packet: Ipv6| packet.frame();
    let tx: (u32, &[&str]) = (XDP_TX, &["nd_replies"]);
    let gated: (u32, &[&str]) = (XDP_DROP, &["nd_gated"]);
    let mut padded = ask(&slla).frame();
    padded.extend([0xa5; 40]);
    let mut to_vip = ask(&slla);
    to_vip.destination = VIP6;
    vec![
        row("NS, owner", frame(ask(&slla)), Owned, tx.0, tx.1),
        row("NS without an option, owner", frame(ask(&[])), Owned, tx.0, tx.1),
        row("NS with octets behind the packet, owner", padded, Owned, tx.0, tx.1),
        row("NS to the VIP itself, owner", summed(to_vip.clone(), |_| ()), Owned, tx.0, tx.1),
        row("DAD probe, owner", frame(probe()), Owned, tx.0, tx.1),
        row("DAD probe with a nonce, owner", summed(probe(), |p| p.payload.extend(NONCE)), Owned, tx.0, tx.1),
        row(
            "NS for the link-local VIP, owner",
            summed(ask(&slla), |p| p.payload[8..24].copy_from_slice(&LINK_LOCAL_VIP6.octets())),
            Owned,
            tx.0,
            tx.1,
        ),
        row("NS, backup", frame(ask(&slla)), Never, gated.0, gated.1),
        row("NS, lease expired", frame(ask(&slla)), Expired, gated.0, gated.1),
        row("NS to the VIP itself, backup", summed(to_vip, |_| ()), Never, gated.0, gated.1),
        row("DAD probe, backup", frame(probe()), Never, gated.0, gated.1),
        row(
            "NS for another address, owner",
            summed(ask(&slla), |p| p.payload[23] = 0x77),
            Owned,
            XDP_PASS,
            &[],
        ),
        row("NS in VLAN 10, owner elsewhere", tagged(&ask(&slla).frame(), &[10]), Owned, XDP_PASS, &[]),
    ]
}

/// RFC 4861 7.1.1 and 7.1.2: each reason to discard, in a message that is valid but for it.
fn invalid() -> Vec<Row> {
    let slla = link_address(1, PEER_MAC);
    let two = [&NONCE[..], &slla].concat();
    let no: (u32, &[&str]) = (XDP_DROP, &["nd_invalid"]);
    let dad = |f: &dyn Fn(&mut Ipv6)| summed(probe(), |p| f(p));
    let mut short_frame = ask(&slla).frame();
    short_frame.truncate(short_frame.len() - 1);
    let rows = vec![
        ("hop limit 254", with(ask(&slla), |p| p.hop_limit = 254)),
        ("code 1", summed(ask(&slla), |p| p.payload[1] = 1)),
        ("wrong checksum", with(ask(&slla), |p| p.payload[2] ^= 1)),
        ("option of length 0", summed(ask(&slla), |p| p.payload[25] = 0)),
        ("second option of length 0", summed(ask(&two), |p| p.payload[33] = 0)),
        ("option longer than the message", summed(ask(&slla), |p| p.payload[25] = 2)),
        ("SLLA of two units", summed(ask(&[1, 2, 2, 0, 0, 0, 0, 0xaa, 0, 0, 0, 0, 0, 0, 0, 0]), |_| ())),
        ("four octets of an option", summed(ask(&slla[..4]), |_| ())),
        ("shorter than 24 octets by its own account", {
            let mut frame = ask(&[]).frame();
            frame[19] = 16;
            frame
        }),
        ("frame ends inside the packet", short_frame),
        ("17 options", summed(ask(&[NONCE; 17].concat()), |_| ())),
        ("probe with SLLA", dad(&|p| p.payload.extend(link_address(1, PEER_MAC)))),
        (
            "probe with SLLA behind a nonce",
            dad(&|p| p.payload.extend([&NONCE[..], &link_address(1, PEER_MAC)].concat())),
        ),
        ("probe to the VIP", dad(&|p| p.destination = VIP6)),
        ("probe to all nodes", dad(&|p| p.destination = ALL_NODES)),
        ("multicast source", summed(ask(&slla), |p| p.source = ALL_NODES)),
        ("NA with hop limit 64", with(announce(ELSEWHERE), |p| p.hop_limit = 64)),
        ("NA with code 1", summed(announce(ELSEWHERE), |p| p.payload[1] = 1)),
        ("NA with a wrong checksum", with(announce(ELSEWHERE), |p| p.payload[3] ^= 1)),
        ("NA with an option of length 0", summed(announce(ELSEWHERE), |p| p.payload[25] = 0)),
        ("solicited NA to all nodes", summed(announce(ELSEWHERE), |p| p.payload[4] |= SOLICITED)),
    ];
    rows.into_iter().map(|(what, frame)| row(what, frame, Owned, no.0, no.1)).collect()
}

fn claims() -> Vec<Row> {
    let bare = |mac: [u8; 6]| {
        let mut frame = neighbor(ADVERTISEMENT, OVERRIDE, VIP6, ALL_NODES, VIP6, &[]).frame();
        frame[6..12].copy_from_slice(&mac);
        frame
    };
    let solicited = summed(announce(ELSEWHERE), |p| {
        p.destination = ASKER;
        p.payload[4] |= SOLICITED;
    });
    vec![
        row("NA of another, owner", announce(ELSEWHERE).frame(), Owned, XDP_DROP, &["vip_conflicts"]),
        row("NA of another without TLLA, owner", bare(ELSEWHERE), Owned, XDP_DROP, &["vip_conflicts"]),
        row("solicited NA of another, owner", solicited, Owned, XDP_DROP, &["vip_conflicts"]),
        row("NA of another, backup", announce(ELSEWHERE).frame(), Never, XDP_PASS, &["vip_claims_seen"]),
        row(
            "NA of another, lease expired",
            announce(ELSEWHERE).frame(),
            Expired,
            XDP_PASS,
            &["vip_claims_seen"],
        ),
        row("NA with our MAC from another port, owner", announce(MAC).frame(), Owned, XDP_PASS, &[]),
        row("NA with our MAC, backup", announce(MAC).frame(), Never, XDP_PASS, &[]),
        row("NA without TLLA from our MAC, owner", bare(MAC), Owned, XDP_PASS, &[]),
        row(
            "NA for another address, owner",
            summed(announce(ELSEWHERE), |p| p.payload[23] = 0x77),
            Owned,
            XDP_PASS,
            &[],
        ),
    ]
}

fn packets() -> Vec<Row> {
    let mapped_vip = VIP.to_ipv6_mapped();
    let echo = |destination| {
        with(ask(&[]), |p| {
            p.destination = destination;
            p.payload[0] = 128;
        })
    };
    vec![
        row("packet to the VIP, owner", tcp(VIP6), Owned, XDP_PASS, &[]),
        row("packet to the VIP, backup", tcp(VIP6), Never, XDP_DROP, &["ip_gated"]),
        row("packet to the VIP, lease expired", tcp(VIP6), Expired, XDP_DROP, &["ip_gated"]),
        row("packet to the VIP in VLAN 10, backup", tagged(&tcp(VIP6), &[10]), Never, XDP_PASS, &[]),
        row("packet to another address, backup", tcp(OTHER), Never, XDP_PASS, &[]),
        row("echo request to the VIP, backup", echo(VIP6), Never, XDP_DROP, &["ip_gated"]),
        row(
            "NS for another address to the VIP, backup",
            summed(ask(&[]), |p| {
                p.destination = VIP6;
                p.payload[23] = 0x77;
            }),
            Never,
            XDP_DROP,
            &["ip_gated"],
        ),
        row("packet to the IPv4 VIP as a mapped address, backup", tcp(mapped_vip), Never, XDP_PASS, &[]),
        row("fixed header cut short, backup", tcp(VIP6)[..53].to_vec(), Never, XDP_PASS, &[]),
        row(
            "ICMPv6 without a message to the VIP, backup",
            {
                let mut frame = tcp(VIP6);
                frame.truncate(54);
                frame[20] = 58;
                frame
            },
            Never,
            XDP_DROP,
            &["ip_gated"],
        ),
    ]
}

#[test]
fn frames_about_ipv6_vips_get_the_verdict_of_ownership() {
    let Some(mut bench) = Bench::new() else { return };
    bench.configure(&identity6(), &[(0, VIP6), (0, LINK_LOCAL_VIP6), (0, VIP.to_ipv6_mapped())]);
    for rows in [solicitations(), invalid(), claims(), packets()] {
        run(&mut bench, rows);
    }
}

#[derive(Deserialize)]
struct PublicFrame {
    name: String,
    hex: String,
}

fn public(name: &str) -> Vec<u8> {
    let frames: Vec<PublicFrame> =
        serde_json::from_str(include_str!("../../data/vrrp_l2_frames.json")).expect("valid");
    let frame = frames.into_iter().find(|frame| frame.name == name);
    unhex(&frame.unwrap_or_else(|| panic!("no frame {name}")).hex)
}

/// An owner of both VIPs that answers with the virtual MAC.
fn with_virtual_mac(vlan: u32) -> Option<Bench> {
    let mut bench = Bench::new()?;
    let entry = VipEntry {
        lease_slot: LEASE_SLOT,
        instance: SLOT,
        reply_slot: 0,
        mac: VIRTUAL_MAC,
        flags: 0,
        reserved: 0,
    };
    bench.fill(&identity6(), entry, &[(vlan, VIP6), (vlan, LINK_LOCAL_VIP6)], &[]);
    bench.own(Duration::from_secs(60), Duration::ZERO);
    Some(bench)
}

/// The whole answer, octet by octet, from the public frames; whether the frame has to shrink, grow or neither, and
/// whatever tags it has.
#[test]
fn the_answer_is_the_public_vector() {
    for vlans in [&[][..], &[10], &[10, 20]] {
        let key = vlans.iter().fold(0, |key, vlan| key << 12 | u32::from(*vlan));
        let Some(mut bench) = with_virtual_mac(key) else { return };
        let answer = public("na-solicited");
        let mut to_elsewhere = answer.clone();
        to_elsewhere[..6].copy_from_slice(&ELSEWHERE);
        let slla = link_address(1, PEER_MAC);
        let nonce_first = [&NONCE[..], &slla].concat();
        let nonce_last = [&slla, &NONCE[..]].concat();
        let twice = [&slla[..], &link_address(1, ELSEWHERE)].concat();
        for (what, frame, answer) in [
            ("public solicitation", public("ns-for-vip"), &answer),
            ("public DAD probe", public("ns-dad-for-vip"), &public("na-dad-defence")),
            (
                "DAD probe with a nonce",
                summed(probe(), |p| p.payload.extend(NONCE)),
                &public("na-dad-defence"),
            ),
            ("no option: to the frame's source", ask(&[]).frame(), &answer),
            ("the option, not the frame's source", ask(&link_address(1, ELSEWHERE)).frame(), &to_elsewhere),
            ("option behind a nonce", ask(&nonce_first).frame(), &answer),
            ("option before a nonce", ask(&nonce_last).frame(), &answer),
            ("of two options the first", ask(&twice).frame(), &answer),
            ("a nonce only", ask(&NONCE).frame(), &answer),
            ("160 octets of options", ask(&[&[14, 20][..], &[0xa5; 158]].concat()).frame(), &answer),
        ] {
            let outcome = bench.run(&tagged(&frame, vlans));
            assert_eq!(outcome.verdict, XDP_TX, "{what} in {vlans:?}");
            assert_eq!(outcome.frame, tagged(answer, vlans), "{what} in {vlans:?}");
        }
    }
}

#[test]
fn public_announcements_are_claims() {
    let Some(mut bench) = with_virtual_mac(0) else { return };
    for (name, verdict, counters) in [
        ("una-r1-s0-o1", XDP_PASS, &[][..]),
        ("una-link-local-vip", XDP_PASS, &[]),
        ("una-hop-limit-64-invalid", XDP_DROP, &[("nd_invalid", 1)]),
    ] {
        let (outcome, moved) = bench.moved(&public(name));
        assert_eq!((outcome.verdict, &moved[..]), (verdict, counters), "{name}: a peer with our virtual MAC");
    }
    // The same to a router that answers with the MAC of its interface.
    bench.configure(&identity6(), &[(0, VIP6)]);
    let (outcome, moved) = bench.moved(&public("una-r1-s0-o1"));
    assert_eq!((outcome.verdict, &moved[..]), (XDP_DROP, &[("vip_conflicts", 1)][..]));
    let event = bench.event().expect("a conflict");
    assert_eq!((event.kind, event.instance), (event_kind::CONFLICT, SLOT));
    assert_eq!((event.source, event.mac), (VIP6.octets(), VIRTUAL_MAC));
    bench.run(&public("una-r1-s0-o1"));
    assert!(bench.event().is_none(), "the next one came within the second");
}

/// RFC 9568 6.4.3: what a master does for an address that it does not accept packets to.
#[test]
fn without_accept_mode_only_address_resolution_is_processed() {
    let Some(mut bench) = Bench::new() else { return };
    let entry = VipEntry {
        lease_slot: LEASE_SLOT,
        instance: SLOT,
        reply_slot: 0,
        mac: MAC,
        flags: vip_flag::NO_ACCEPT,
        reserved: 0,
    };
    bench.fill(&identity6(), entry, &[(0, VIP6)], &[]);
    let to_vip = |kind| {
        summed(ask(&[]), |p| {
            (p.destination, p.payload[0], p.payload[23]) = (VIP6, kind, 0x77);
        })
    };
    run(
        &mut bench,
        vec![
            row("TCP, owner", tcp(VIP6), Owned, XDP_DROP, &["ip_not_accepted"]),
            row("TCP, backup", tcp(VIP6), Never, XDP_DROP, &["ip_gated"]),
            row("NS for the VIP, owner", ask(&[]).frame(), Owned, XDP_TX, &["nd_replies"]),
            row("NS to the VIP, owner", to_vip(SOLICITATION), Owned, XDP_PASS, &[]),
            row("NA to the VIP, owner", to_vip(ADVERTISEMENT), Owned, XDP_PASS, &[]),
            row("NA to the VIP, backup", to_vip(ADVERTISEMENT), Never, XDP_DROP, &["ip_gated"]),
            row("echo request, owner", to_vip(128), Owned, XDP_DROP, &["ip_not_accepted"]),
        ],
    );
    bench.fill(&identity(), entry, &[(0, VIP)], &[]);
    let asker = [192, 0, 2, 50].into();
    let packet = Ipv4 { destination: VIP, protocol: 6, ..Ipv4::advert(asker, vec![0xa5; 20]) };
    run(
        &mut bench,
        vec![
            row("IPv4, owner", packet.frame(), Owned, XDP_DROP, &["ip_not_accepted"]),
            row("IPv4, backup", packet.frame(), Never, XDP_DROP, &["ip_gated"]),
            row("ARP, owner", arp(1, PEER_MAC, asker, VIP), Owned, XDP_TX, &["arp_replies"]),
        ],
    );
}

/// The kernel processes Neighbor Discovery behind extension headers, and for as many of them as there are.
#[test]
fn what_is_behind_extension_headers_is_seen() {
    let Some(mut bench) = Bench::new() else { return };
    bench.configure(&identity6(), &[(0, VIP6)]);
    // Of eight octets each; the kind stands in front of each, and of the first in the fixed header.
    let behind = |packet: Ipv6, kinds: &[u8]| {
        with(packet, |packet| {
            let upper = packet.next_header;
            let next = kinds.iter().skip(1).copied().chain([upper]);
            packet.extensions = next.flat_map(|next| [next, 0, 1, 4, 0, 0, 0, 0]).collect();
            packet.next_header = kinds[0];
        })
    };
    let hidden: &[&str] = &["nd_extension_headers"];
    let excess: &[&str] = &["excess_extension_headers"];
    let elsewhere = |kinds: &[u8]| {
        behind(neighbor(SOLICITATION, 0, ASKER, GROUP_OF_VIP, OTHER, &link_address(1, PEER_MAC)), kinds)
    };
    let to_vip = Ipv6 { destination: VIP6, next_header: 6, ..ask(&[]) };
    // A fragment header's third and fourth octet: the first of several fragments.
    let mut fragment = behind(ask(&[]), &[44]);
    (fragment[14 + 40 + 2], fragment[14 + 40 + 3]) = (0, 1);
    let mut in_two = with(ask(&[]), |packet| {
        packet.next_header = 60;
        packet.extensions = [&[58, 2, 1, 20][..], &[0; 20]].concat();
    });
    run(
        &mut bench,
        vec![
            row(
                "solicitation, destination options, backup",
                behind(ask(&[]), &[60]),
                Never,
                XDP_DROP,
                hidden,
            ),
            row("solicitation, destination options, owner", behind(ask(&[]), &[60]), Owned, XDP_DROP, hidden),
            row("solicitation, hop by hop, backup", behind(ask(&[]), &[0]), Never, XDP_DROP, hidden),
            row("solicitation, routing header, backup", behind(ask(&[]), &[43]), Never, XDP_DROP, hidden),
            row(
                "solicitation, five headers, backup",
                behind(ask(&[]), &[0, 60, 43, 60, 60]),
                Never,
                XDP_DROP,
                hidden,
            ),
            row(
                "solicitation, six headers, backup",
                behind(ask(&[]), &[0, 60, 43, 60, 60, 60]),
                Never,
                XDP_DROP,
                excess,
            ),
            row("solicitation, a long header, backup", std::mem::take(&mut in_two), Never, XDP_DROP, hidden),
            row("in a fragment, which RFC 6980 has ignored, backup", fragment, Never, XDP_PASS, &[]),
            row("about another address, backup", elsewhere(&[60]), Never, XDP_PASS, &[]),
            row("about another address, owner", elsewhere(&[0, 60]), Owned, XDP_PASS, &[]),
            row("cut off, backup", behind(ask(&[]), &[60])[..58].to_vec(), Never, XDP_DROP, excess),
            row(
                "announcement of another, owner",
                behind(announce(ELSEWHERE), &[60]),
                Owned,
                XDP_DROP,
                &["nd_extension_headers", "vip_conflicts"],
            ),
            row(
                "announcement of another, backup",
                behind(announce(ELSEWHERE), &[60]),
                Never,
                XDP_DROP,
                &["nd_extension_headers", "vip_claims_seen"],
            ),
            row("TCP to the VIP, backup", behind(to_vip, &[0, 60]), Never, XDP_DROP, &["ip_gated"]),
        ],
    );
}

#[test]
fn replies_are_counted_by_vip() {
    let Some(mut bench) = Bench::new() else { return };
    bench.configure(&identity6(), &[(0, VIP6), (0, LINK_LOCAL_VIP6)]);
    assert_eq!(bench.run(&ask(&[]).frame()).verdict, XDP_DROP);
    bench.own(Duration::from_secs(3600), Duration::ZERO);
    assert_eq!(bench.run(&ask(&[]).frame()).verdict, XDP_TX);
    assert_eq!(bench.run(&probe().frame()).verdict, XDP_TX);
    // Not an answer.
    assert_eq!(bench.run(&announce(ELSEWHERE).frame()).verdict, XDP_DROP);
    assert_eq!((bench.replies(VIP6), bench.replies(LINK_LOCAL_VIP6)), (2, 0));
}
