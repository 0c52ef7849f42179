//! Packets that come for a VIP just after a rival has taken it: sent on to that rival.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    thread::sleep,
    time::Duration,
};

use vipd_common::abi::{Count, Counters, VipEntry, instance_flag};

use crate::{
    bench::{
        Bench, LEASE_SLOT, LINK_LOCAL_VIP6, MAC, SLOT, VIP, VIP6, XDP_DROP, XDP_PASS, XDP_TX, identity,
        identity6,
    },
    frames::{Ipv4, Ipv6, PEER_MAC, arp, checksum, tagged, v3},
};

const PEER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 9);
const ASKER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 50);
const ASKER6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x50);
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

fn packet6(destination: Ipv6Addr) -> Vec<u8> {
    let packet = Ipv6 {
        source: ASKER6,
        destination,
        hop_limit: 64,
        next_header: 6,
        extensions: Vec::new(),
        payload: vec![0xa5; 20],
    };
    addressed(MAC, packet.frame())
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

/// The same frame, from us to the peer, one hop on.
fn sent_on(frame: &[u8]) -> Vec<u8> {
    one_hop_on(&[&PEER_MAC, &MAC, &frame[12..]].concat())
}

/// The frame with one less in its TTL or hop limit, and the header's checksum made anew.
fn one_hop_on(frame: &[u8]) -> Vec<u8> {
    let mut frame = frame.to_vec();
    if frame[12..14] == [0x86, 0xdd] {
        frame[21] -= 1;
        return frame;
    }
    frame[22] -= 1;
    let header = 14..14 + usize::from(frame[14] & 0x0f) * 4;
    frame[24..26].fill(0);
    let sum = checksum(&[&frame[header]]);
    frame[24..26].copy_from_slice(&sum.to_be_bytes());
    frame
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
    assert_eq!(moved, [(Counters::NAMES[Count::ForwardAfterTakeoverSent as usize], 1)]);

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

/// An attack: after the takeover anybody advertises at priority 1, and has the packets.
#[test]
fn a_later_advert_changes_nothing() {
    let Some(mut bench) = Bench::new() else { return };
    bench.configure(&identity(), &[(0, VIP)]);
    taken(&mut bench);
    let late = packet(MAC, VIP);
    for priority in [1, 100, 255] {
        let mut frame = Ipv4::advert(Ipv4Addr::new(192, 0, 2, 66), v3(51, priority, 100, &[VIP])).frame();
        frame[6..12].copy_from_slice(&[0x02, 0, 0, 0, 0, 0x66]);
        assert_eq!(bench.run(&frame).verdict, XDP_PASS, "a valid advert");
        assert_eq!(bench.run(&late).frame, sent_on(&late), "priority {priority}");
    }
}

/// An attack, or bad luck: three former owners pass a packet round. Each round costs it hops.
#[test]
fn a_packet_does_not_go_round_for_ever() {
    let Some(mut bench) = Bench::new() else { return };
    let expired = Counters::NAMES[Count::ForwardAfterTakeoverTtlExceeded as usize];
    for (identity, vip) in [(identity(), IpAddr::from(VIP)), (identity6(), VIP6.into())] {
        bench.configure(&identity, &[(0, vip)]);
        bench.own(LEASE, Duration::ZERO);
        let (advert, mut frame) = match vip {
            IpAddr::V4(vip) => (Ipv4::advert(PEER, v3(51, 200, 100, &[vip])).frame(), packet(MAC, vip)),
            IpAddr::V6(vip) => {
                let peer = "fe80::9".parse().unwrap();
                (Ipv6::advert(peer, 51, 200, &[LINK_LOCAL_VIP6, vip]).frame(), packet6(vip))
            }
        };
        bench.run(&advert);
        for hops in 1.. {
            let (outcome, moved) = bench.moved(&frame);
            if outcome.verdict == XDP_DROP {
                assert_eq!((hops, &moved[..]), (64, &[(expired, 1)][..]), "{vip}");
                break;
            }
            assert_eq!(outcome.frame, sent_on(&frame), "{vip}: hop {hops}");
            // As the other former owners send it on.
            frame = addressed(MAC, outcome.frame);
        }
    }
}

/// The checksum of the header is brought forward, not made anew: it is right for every sum there can be.
#[test]
fn the_header_checksum_stays_right() {
    let Some(mut bench) = Bench::new() else { return };
    bench.configure(&identity(), &[(0, VIP)]);
    taken(&mut bench);
    for source in 0..=u16::MAX {
        // Every 37th, and those around which the sum wraps.
        let wraps = source > 0xfff0 || source & 0xff == 0xff;
        if source % 37 != 0 && !wraps {
            continue;
        }
        let [c, d] = source.to_be_bytes();
        let packet = Ipv4 {
            source: Ipv4Addr::new(10, 1, c, d),
            destination: VIP,
            ttl: 64,
            protocol: 6,
            ..Ipv4::advert(ASKER, vec![0xa5; 20])
        };
        let frame = addressed(MAC, packet.frame());
        if bench.run(&frame).verdict == XDP_DROP {
            taken(&mut bench);
        }
        let passed = bench.run(&frame).frame;
        assert_eq!(checksum(&[&passed[14..34]]), 0, "10.1.{c}.{d}: {passed:02x?}");
    }
}

/// However many packets come: one takeover forwards so many of them, and the next one as many again.
#[test]
fn a_takeover_forwards_so_many_packets() {
    const MOST: u64 = 16_384;
    let Some(mut bench) = Bench::new() else { return };
    bench.configure(&identity(), &[(0, VIP)]);
    let late = packet(MAC, VIP);
    for _ in 0..2 {
        taken(&mut bench);
        assert_eq!(bench.run(&late).verdict, XDP_TX);
        bench.change_record(|record| {
            assert_eq!(record.forwarded, 1);
            record.forwarded = MOST - 2;
        });
        let before = bench.counters();
        let verdicts: Vec<u32> = (0..4).map(|_| bench.run(&late).verdict).collect();
        assert_eq!(verdicts, [XDP_TX, XDP_TX, XDP_DROP, XDP_DROP]);
        assert_eq!(
            bench.counters().forward_after_takeover_over_budget - before.forward_after_takeover_over_budget,
            2
        );
        bench.own(LEASE, Duration::ZERO);
    }
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

/// The lease of a sync group is taken by one member's advert; packets to another's VIP go to whose advert would have taken it too.
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
    assert_eq!(bench.run(&late).verdict, XDP_DROP, "where this VIP is now nobody has said");
    bench.run(&advert(1));
    assert_eq!(bench.run(&late).verdict, XDP_DROP, "nor by an advert that would not have taken the lease");
    bench.run(&advert(200));
    assert_eq!(bench.run(&late).frame, sent_on(&late));
}

/// On a heartbeat line the peer has another MAC: nothing is sent on before it is heard on the interface of the VIP.
#[test]
fn taken_on_another_line() {
    let Some(mut bench) = Bench::new() else { return };
    let entry =
        VipEntry { lease_slot: LEASE_SLOT, instance: SLOT, reply_slot: 0, mac: MAC, flags: 0, reserved: 0 };
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
    let late = packet6(VIP6);
    assert_eq!(bench.run(&late).frame, sent_on(&late));
}

/// To the virtual MAC: the switch knows by the advert where that is now.
#[test]
fn with_a_virtual_mac_too() {
    let Some(mut bench) = Bench::new() else { return };
    let mut identity = identity();
    identity.flags = instance_flag::VIRTUAL_MAC;
    let entry = VipEntry {
        lease_slot: LEASE_SLOT,
        instance: SLOT,
        reply_slot: 0,
        mac: VIRTUAL_MAC,
        flags: 0,
        reserved: 0,
    };
    bench.fill(&identity, entry, &[(0, VIP)], &[]);
    bench.own(LEASE, Duration::ZERO);
    let mut advert = Ipv4::advert(PEER, v3(51, 200, 100, &[VIP])).frame();
    advert[6..12].copy_from_slice(&VIRTUAL_MAC);
    bench.run(&advert);
    let late = packet(VIRTUAL_MAC, VIP);
    let outcome = bench.run(&late);
    assert_eq!(
        (outcome.verdict, outcome.frame),
        (XDP_TX, one_hop_on(&[&VIRTUAL_MAC, &MAC, &late[12..]].concat()))
    );
    let lldp = [&VIRTUAL_MAC[..], &ASKER_MAC, &[0x88, 0xcc], &[0; 46]].concat();
    assert_eq!(bench.run(&lldp).verdict, XDP_DROP, "no IP");
}
