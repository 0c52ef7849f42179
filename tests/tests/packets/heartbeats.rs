//! Adverts on heartbeat lines count as those on the instance's own interface; nothing else there is touched.
//!
//! The lines are VLANs here, since test frames come in on one interface.

use std::{net::Ipv4Addr, time::Duration};

use vipd_common::abi::{VipEntry, event_kind, instance_flag, mapped};
use vipd_core::time::Instant;
use vipd_dataplane::Identity;

use crate::{
    bench::{Bench, LEASE_SLOT, MAC, SLOT, VIP, XDP_DROP, XDP_PASS, XDP_TX, identity, now},
    frames::{Ipv4, PEER_MAC, arp, tagged, v3},
};

const PEER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
const ASKER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 50);
/// Lines 1 and 2.
const FIRST: u16 = 20;
const SECOND: u16 = 30;
const VIRTUAL_MAC: [u8; 6] = [0, 0, 0x5e, 0, 1, 51];

fn bench(identity: &Identity) -> Option<Bench> {
    let mut bench = Bench::new()?;
    let entry =
        VipEntry { lease_slot: LEASE_SLOT, instance: SLOT, reply_slot: 0, mac: MAC, flags: 0, reserved: 0 };
    bench.fill_lines(identity, entry, &[(0, VIP)], &[], &[FIRST.into(), SECOND.into()]);
    Some(bench)
}

fn advert(priority: u8) -> Vec<u8> {
    Ipv4::advert(PEER, v3(51, priority, 100, &[VIP])).frame()
}

fn stamps(bench: &mut Bench) -> [Instant; 3] {
    [0, 1, 2].map(|line| bench.dataplane().pages().instances().line_heard(SLOT, line))
}

#[test]
fn each_line_has_a_stamp_of_its_own_and_all_have_the_record() {
    let Some(mut bench) = bench(&identity()) else { return };
    for (line, frame) in
        [advert(150), tagged(&advert(150), &[FIRST]), tagged(&advert(150), &[SECOND])].into_iter().enumerate()
    {
        let (before, then) = (stamps(&mut bench), now());
        assert_eq!(bench.run(&frame).verdict, XDP_PASS, "line {line}");
        for (other, (before, after)) in before.into_iter().zip(stamps(&mut bench)).enumerate() {
            let stamped = then <= after && after <= now();
            assert!(if other == line { stamped } else { before == after }, "line {other} by line {line}");
        }
        let heard = bench.dataplane().pages().instances().heard(SLOT);
        assert!(then <= heard.at, "the master is heard on line {line}");
        assert_eq!(bench.event().is_some(), line == 0, "the same advert on another line is no news");
    }
    // In a VLAN that is none of its lines.
    let before = stamps(&mut bench);
    bench.run(&tagged(&advert(150), &[40]));
    assert_eq!(stamps(&mut bench), before);
}

#[test]
fn a_lease_is_taken_back_by_a_heartbeat() {
    let Some(mut bench) = bench(&identity()) else { return };
    let until = bench.own(Duration::from_secs(4), Duration::ZERO);
    bench.run(&tagged(&advert(99), &[FIRST]));
    assert_eq!(bench.lease(), until, "we beat it");
    while bench.event().is_some() {}
    bench.run(&tagged(&advert(101), &[FIRST]));
    assert_eq!(bench.lease(), Instant::default());
    let event = bench.event().expect("the owner is told");
    assert_eq!((event.kind, event.instance), (event_kind::REVOKED, SLOT));
    assert_eq!((event.source, event.priority), (mapped(PEER.octets()), 101));
}

/// What is not valid is discarded there too, and is no sign of life.
#[test]
fn heartbeats_are_checked_as_any_advert() {
    let Some(mut bench) = bench(&identity()) else { return };
    let routed = Ipv4 { ttl: 254, ..Ipv4::advert(PEER, v3(51, 150, 100, &[VIP])) }.frame();
    let (outcome, moved) = bench.moved(&tagged(&routed, &[FIRST]));
    assert_eq!((outcome.verdict, &moved[..]), (XDP_DROP, &[("ip_ttl_errors", 1)][..]));
    assert_eq!(stamps(&mut bench), [Instant::default(); 3]);
}

#[test]
fn vips_are_not_on_heartbeat_lines() {
    let Some(mut bench) = bench(&Identity { flags: instance_flag::VIRTUAL_MAC, ..identity() }) else {
        return;
    };
    bench.own(Duration::from_secs(3600), Duration::ZERO);
    let ask = arp(1, PEER_MAC, ASKER, VIP);
    assert_eq!(bench.run(&ask).verdict, XDP_TX, "on its own interface it is answered");
    let packet =
        |destination| Ipv4 { destination, protocol: 6, ..Ipv4::advert(PEER, vec![0xa5; 20]) }.frame();
    let mut to_virtual_mac = packet(ASKER);
    to_virtual_mac[..6].copy_from_slice(&VIRTUAL_MAC);
    for (what, frame) in [
        ("a question", ask),
        ("a claim", arp(1, PEER_MAC, VIP, VIP)),
        ("a packet to the VIP", packet(VIP)),
        ("a frame to the virtual MAC", to_virtual_mac),
    ] {
        // As any frame of somebody else's: also while this node is not the owner.
        for owned in [true, false] {
            if !owned {
                bench.dataplane().pages().leases().release(LEASE_SLOT);
            }
            let frame = tagged(&frame, &[FIRST]);
            let (outcome, moved) = bench.moved(&frame);
            assert_eq!((outcome.verdict, &moved[..], &outcome.frame), (XDP_PASS, &[][..], &frame), "{what}");
        }
    }
}
