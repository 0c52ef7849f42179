//! Packets that come for a VIP just after a rival has taken it: sent on to that rival.

use std::{net::Ipv4Addr, thread::sleep, time::Duration};

use vipd_common::abi::{Count, Counters, VipEntry, instance_flag};

use crate::{
    bench::{Bench, GROUP, MAC, SLOT, VIP, VIP6, XDP_DROP, XDP_PASS, XDP_TX, identity, identity6},
    frames::{Ipv4, Ipv6, PEER_MAC, arp, tagged, v3},
};

const PEER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 9);
const ASKER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 50);
const ASKER_MAC: [u8; 6] = [0x02, 0, 0, 0, 0x0a, 0x50];
const VIRTUAL_MAC: [u8; 6] = [0, 0, 0x5e, 0, 1, 51];
const LEASE: Duration = Duration::from_secs(4);
/// What the program sends packets on for, and a little.
const WINDOW: Duration = Duration::from_millis(1100);

/// From the asker, to a MAC.
fn packet(to: [u8; 6], destination: Ipv4Addr) -> Vec<u8> {
    let packet = Ipv4 { destination, ttl: 64, protocol: 6, ..Ipv4::advert(ASKER, vec![0xa5; 20]) };
    addressed(to, packet.frame())
}

fn addressed(to: [u8; 6], mut frame: Vec<u8>) -> Vec<u8> {
    frame[..6].copy_from_slice(&to);
    frame[6..12].copy_from_slice(&ASKER_MAC);
    frame
}

fn taken(bench: &mut Bench) {
    bench.own(LEASE, Duration::ZERO);
    let advert = Ipv4::advert(PEER, v3(51, 200, 100, &[VIP])).frame();
    assert_eq!(bench.run(&advert).verdict, XDP_PASS);
}

/// The same frame, from us to the peer.
fn sent_on(frame: &[u8]) -> Vec<u8> {
    [&PEER_MAC, &MAC, &frame[12..]].concat()
}

#[test]
fn what_comes_late_goes_on_to_who_has_taken_over() {
    let Some(mut bench) = Bench::new() else { return };
    bench.configure(&identity(), &[(0, VIP)]);
    let late = packet(MAC, VIP);
    assert_eq!(bench.run(&late).verdict, XDP_DROP, "nobody has taken anything");
    taken(&mut bench);
    let (outcome, moved) = bench.moved(&late);
    assert_eq!((outcome.verdict, outcome.frame), (XDP_TX, sent_on(&late)));
    assert_eq!(moved, [(Counters::NAMES[Count::LateForwarded as usize], 1)]);

    let mut of_the_peer = packet(MAC, VIP);
    of_the_peer[6..12].copy_from_slice(&PEER_MAC);
    for (what, frame, verdict) in [
        ("the peer's own: it would come back for ever", of_the_peer, XDP_DROP),
        ("to everybody: the peer has it too", packet([0xff; 6], VIP), XDP_DROP),
        ("to another station, seen on the way", packet([0x02, 0, 0, 0, 0, 0x99], VIP), XDP_DROP),
        ("a question about the VIP", arp(1, ASKER_MAC, ASKER, VIP), XDP_DROP),
        ("to another address", packet(MAC, Ipv4Addr::new(192, 0, 2, 77)), XDP_PASS),
    ] {
        assert_eq!(bench.run(&frame).verdict, verdict, "{what}");
    }
    bench.own(LEASE, Duration::ZERO);
    assert_eq!(bench.run(&late).verdict, XDP_PASS, "it is ours again");
    taken(&mut bench);
    sleep(WINDOW);
    assert_eq!(bench.run(&late).verdict, XDP_DROP, "by now everybody has heard of it");
}

/// A slot that another router gets knows nothing of who took the former's VIPs.
#[test]
fn another_router_in_the_slot_has_no_successor_yet() {
    let Some(mut bench) = Bench::new() else { return };
    bench.configure(&identity(), &[(0, VIP)]);
    taken(&mut bench);
    assert_eq!(bench.run(&packet(MAC, VIP)).verdict, XDP_TX);
    bench.configure(&identity(), &[(0, VIP)]);
    assert_eq!(bench.run(&packet(MAC, VIP)).verdict, XDP_DROP);
}

#[test]
fn a_lease_that_ran_out_has_no_successor() {
    let Some(mut bench) = Bench::new() else { return };
    bench.configure(&identity(), &[(0, VIP)]);
    bench.own(LEASE, LEASE);
    let advert = Ipv4::advert(PEER, v3(51, 200, 100, &[VIP])).frame();
    bench.run(&advert);
    assert_eq!(bench.run(&packet(MAC, VIP)).verdict, XDP_DROP);
}

/// A VIP on another interface of the instance has other neighbours.
#[test]
fn a_vip_of_another_link_has_another_successor() {
    let Some(mut bench) = Bench::new() else { return };
    bench.configure(&identity(), &[(0, VIP), (10, VIP)]);
    taken(&mut bench);
    assert_eq!(bench.run(&packet(MAC, VIP)).verdict, XDP_TX);
    assert_eq!(bench.run(&tagged(&packet(MAC, VIP), &[10])).verdict, XDP_DROP);
}

/// The lease of a sync group is taken by one member's advert; packets to another's VIP go to whom that one has heard last.
#[test]
fn the_group_is_taken_as_a_whole() {
    let Some(mut bench) = Bench::new() else { return };
    bench.configure(&identity(), &[(0, VIP)]);
    let advert = |priority| Ipv4::advert(PEER, v3(51, priority, 100, &[VIP])).frame();
    // Heard, but beaten.
    bench.own(LEASE, Duration::ZERO);
    bench.run(&advert(1));
    // Another member, with a slot of its own.
    const OTHER: u32 = SLOT + 1;
    let mut other = identity();
    other.head.key.vrid = 52;
    bench.also(OTHER, &other);
    bench.run(&Ipv4::advert(PEER, v3(52, 200, 100, &[VIP])).frame());
    let late = packet(MAC, VIP);
    assert_eq!(bench.run(&late).frame, sent_on(&late));
}

/// On a heartbeat line the peer has another MAC: nothing is sent on before it is heard on the interface of the VIP.
#[test]
fn taken_on_another_line() {
    let Some(mut bench) = Bench::new() else { return };
    let entry = VipEntry { group: GROUP, instance: SLOT, answers: 0, mac: MAC, flags: 0, reserved: 0 };
    bench.fill_lines(&identity(), entry, &[(0, VIP)], &[], &[20]);
    let advert = Ipv4::advert(PEER, v3(51, 200, 100, &[VIP])).frame();
    let mut on_the_line = advert.clone();
    on_the_line[11] ^= 0x40;
    // Before, another one had it, on this interface.
    bench.own(LEASE, Duration::ZERO);
    bench.run(&Ipv4::advert(Ipv4Addr::new(192, 0, 2, 8), v3(51, 150, 100, &[VIP])).frame());
    bench.own(LEASE, Duration::ZERO);
    bench.run(&tagged(&on_the_line, &[20]));
    let late = packet(MAC, VIP);
    assert_eq!(bench.run(&late).verdict, XDP_DROP, "on this interface nobody is known to have it");
    bench.run(&advert);
    let outcome = bench.run(&late);
    assert_eq!((outcome.verdict, outcome.frame), (XDP_TX, sent_on(&late)));
}

#[test]
fn over_ipv6_too() {
    let Some(mut bench) = Bench::new() else { return };
    bench.configure(&identity6(), &[(0, VIP6)]);
    bench.own(LEASE, Duration::ZERO);
    let peer = "fe80::9".parse().unwrap();
    bench.run(&Ipv6::advert(peer, 51, 200, &["fe80::100".parse().unwrap(), VIP6]).frame());
    let late = Ipv6 {
        source: "2001:db8::50".parse().unwrap(),
        destination: VIP6,
        hop_limit: 64,
        next_header: 6,
        extensions: Vec::new(),
        payload: vec![0xa5; 20],
    };
    let late = addressed(MAC, late.frame());
    assert_eq!(bench.run(&late).frame, sent_on(&late));
}

/// To the virtual MAC: the switch knows by the advert where that is now.
#[test]
fn with_a_virtual_mac_too() {
    let Some(mut bench) = Bench::new() else { return };
    let mut identity = identity();
    identity.flags = instance_flag::VIRTUAL_MAC;
    let entry =
        VipEntry { group: GROUP, instance: SLOT, answers: 0, mac: VIRTUAL_MAC, flags: 0, reserved: 0 };
    bench.fill(&identity, entry, &[(0, VIP)], &[]);
    bench.own(LEASE, Duration::ZERO);
    let mut advert = Ipv4::advert(PEER, v3(51, 200, 100, &[VIP])).frame();
    advert[6..12].copy_from_slice(&VIRTUAL_MAC);
    bench.run(&advert);
    let late = packet(VIRTUAL_MAC, VIP);
    let outcome = bench.run(&late);
    assert_eq!((outcome.verdict, outcome.frame), (XDP_TX, [&VIRTUAL_MAC, &MAC, &late[12..]].concat()));
    let lldp = [&VIRTUAL_MAC[..], &ASKER_MAC, &[0x88, 0xcc], &[0; 46]].concat();
    assert_eq!(bench.run(&lldp).verdict, XDP_DROP, "no IP");
}
