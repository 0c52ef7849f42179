//! Frames to virtual MACs: readdressed by the owner, dropped by everyone else, left alone if they are not ours.

use std::{net::Ipv4Addr, time::Duration};

use vipd_common::abi::{VipEntry, instance_flag};
use vipd_dataplane::Identity;

use crate::{
    bench::{Bench, LEASE_SLOT, MAC, SLOT, VIP, VIP6, XDP_DROP, XDP_PASS, XDP_TX, identity, identity6},
    frames::{Ipv4, PEER_MAC, arp, neighbor, tagged},
    rows::{
        Ownership::{Expired, Never, Owned},
        row, run,
    },
};

const VIRTUAL_MAC: [u8; 6] = [0, 0, 0x5e, 0, 1, 51];
const VIRTUAL_MAC6: [u8; 6] = [0, 0, 0x5e, 0, 2, 51];
const ROUTED: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
const ASKER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 50);

fn to(mac: [u8; 6], mut frame: Vec<u8>) -> Vec<u8> {
    frame[..6].copy_from_slice(&mac);
    frame
}

fn packet(destination: Ipv4Addr) -> Vec<u8> {
    Ipv4 { destination, ttl: 64, protocol: 6, ..Ipv4::advert(ASKER, vec![0xa5; 20]) }.frame()
}

fn bench(identity: &Identity, mac: [u8; 6], vlan: u32) -> Option<Bench> {
    let mut bench = Bench::new()?;
    let mut identity = identity.clone();
    identity.flags = instance_flag::VIRTUAL_MAC;
    identity.head.key.vlan = vlan;
    let entry =
        VipEntry { lease_slot: LEASE_SLOT, instance: SLOT, reply_slot: 0, mac, flags: 0, reserved: 0 };
    if identity.head.key.family == 4 {
        bench.fill(&identity, entry, &[(vlan, VIP)], &[]);
    } else {
        bench.fill(&identity, entry, &[(vlan, VIP6)], &[]);
    }
    Some(bench)
}

#[test]
fn frames_to_the_virtual_mac_get_the_verdict_of_ownership() {
    let Some(mut bench) = bench(&identity(), VIRTUAL_MAC, 0) else { return };
    let routed = |mac| to(mac, packet(ROUTED));
    let ours = || routed(VIRTUAL_MAC);
    let rewritten: &[&str] = &["vmac_rewritten"];
    let gated: &[&str] = &["vmac_gated"];
    let lldp = [&VIRTUAL_MAC[..], &PEER_MAC, &[0x88, 0xcc], &[0; 46]].concat();
    run(
        &mut bench,
        vec![
            row("routed packet, owner", ours(), Owned, XDP_PASS, rewritten),
            row("routed packet, backup", ours(), Never, XDP_DROP, gated),
            row("routed packet, lease expired", ours(), Expired, XDP_DROP, gated),
            row("packet to the VIP, owner", to(VIRTUAL_MAC, packet(VIP)), Owned, XDP_PASS, rewritten),
            row("any ethertype, owner", lldp.clone(), Owned, XDP_PASS, rewritten),
            row("any ethertype, backup", lldp, Never, XDP_DROP, gated),
            row("another VRID's, backup", routed([0, 0, 0x5e, 0, 1, 52]), Never, XDP_PASS, &[]),
            row("the other family's, backup", routed(VIRTUAL_MAC6), Never, XDP_PASS, &[]),
            row("another block of IANA's, backup", routed([0, 0, 0x5e, 0, 3, 51]), Never, XDP_PASS, &[]),
            row("another prefix, backup", routed([2, 0, 0x5e, 0, 1, 51]), Never, XDP_PASS, &[]),
            row("in a VLAN, backup", tagged(&ours(), &[10]), Never, XDP_PASS, &[]),
            row("an Ethernet header only, owner", ours()[..14].to_vec(), Owned, XDP_PASS, rewritten),
        ],
    );
    bench.own(Duration::from_secs(60), Duration::ZERO);
    let outcome = bench.run(&ours());
    assert_eq!(outcome.frame[..6], MAC);
    assert_eq!(outcome.frame[6..], ours()[6..]);
}

/// A neighbour that checks whether we are still there asks by unicast (RFC 1122 2.3.2.1, RFC 4861 7.3.3).
#[test]
fn questions_to_the_virtual_mac_are_answered() {
    let Some(mut four) = bench(&identity(), VIRTUAL_MAC, 0) else { return };
    four.own(Duration::from_secs(60), Duration::ZERO);
    let (outcome, moved) = four.moved(&to(VIRTUAL_MAC, arp(1, PEER_MAC, ASKER, VIP)));
    assert_eq!((outcome.verdict, &moved[..]), (XDP_TX, &[("arp_replies", 1), ("vmac_rewritten", 1)][..]));
    assert_eq!((&outcome.frame[..6], &outcome.frame[6..12]), (&PEER_MAC[..], &VIRTUAL_MAC[..]));

    let Some(mut six) = bench(&identity6(), VIRTUAL_MAC6, 10) else { return };
    six.own(Duration::from_secs(60), Duration::ZERO);
    let asker = "2001:db8::50".parse().expect("address");
    let ask = tagged(&to(VIRTUAL_MAC6, neighbor(135, 0, asker, VIP6, VIP6, &[]).frame()), &[10]);
    let (outcome, moved) = six.moved(&ask);
    assert_eq!((outcome.verdict, &moved[..]), (XDP_TX, &[("nd_replies", 1), ("vmac_rewritten", 1)][..]));
    assert_eq!((&outcome.frame[..6], &outcome.frame[6..12]), (&PEER_MAC[..], &VIRTUAL_MAC6[..]));
    six.dataplane().pages().leases().release(LEASE_SLOT);
    let (outcome, moved) = six.moved(&ask);
    assert_eq!((outcome.verdict, &moved[..]), (XDP_DROP, &[("vmac_gated", 1)][..]));
}

/// two routers of one virtual MAC are not in conflict.
#[test]
fn a_peer_with_our_virtual_mac_is_no_conflict() {
    let Some(mut bench) = bench(&identity(), VIRTUAL_MAC, 0) else { return };
    bench.own(Duration::from_secs(60), Duration::ZERO);
    let (outcome, moved) = bench.moved(&arp(1, VIRTUAL_MAC, VIP, VIP));
    assert_eq!((outcome.verdict, &moved[..]), (XDP_DROP, &[][..]));
    let (_, moved) = bench.moved(&arp(1, PEER_MAC, VIP, VIP));
    assert_eq!(moved, [("vip_conflicts", 1)]);
}

#[test]
fn an_instance_that_does_not_use_its_virtual_mac_leaves_it_alone() {
    let Some(mut bench) = Bench::new() else { return };
    bench.configure(&identity(), &[(0, VIP)]);
    run(
        &mut bench,
        vec![
            row("backup", to(VIRTUAL_MAC, packet(ROUTED)), Never, XDP_PASS, &[]),
            row("owner", to(VIRTUAL_MAC, packet(ROUTED)), Owned, XDP_PASS, &[]),
        ],
    );
    let outcome = bench.run(&to(VIRTUAL_MAC, packet(ROUTED)));
    assert_eq!(outcome.frame[..6], VIRTUAL_MAC);
}
