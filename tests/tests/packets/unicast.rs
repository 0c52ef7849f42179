//! Adverts to unicast instances: the destination, the peers, and their TTLs.

use std::{
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use vipd_common::abi::{PeerEntry, VipEntry, instance_flag, mapped};
use vipd_core::time::Instant;
use vipd_dataplane::Identity;

use crate::{
    bench::{
        Bench, LEASE_SLOT, MAC, PRIMARY, PRIMARY6, SLOT, VIP, VIP6, XDP_DROP, XDP_PASS, identity, identity6,
    },
    frames::{Ipv4, Ipv6, v3},
};

const PEER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
const FAR: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);
const STRANGER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 66);

fn unicast(flags: u8, identity: Identity) -> Identity {
    Identity { flags: instance_flag::UNICAST | flags, ..identity }
}

fn entry() -> VipEntry {
    VipEntry { lease_slot: LEASE_SLOT, instance: SLOT, reply_slot: 0, mac: MAC, flags: 0, reserved: 0 }
}

fn peer(address: impl Into<IpAddr>, min_ttl: u8, max_ttl: u8) -> (IpAddr, PeerEntry) {
    (address.into(), PeerEntry { min_ttl, max_ttl, reserved: [0; 2] })
}

fn advert(source: Ipv4Addr, destination: Ipv4Addr, ttl: u8) -> Vec<u8> {
    Ipv4 { destination, ttl, ..Ipv4::advert(source, v3(51, 200, 100, &[VIP])) }.frame()
}

/// keepalived's checks of unicast adverts; what fails one does not touch the lease.
#[test]
fn peers_are_heard_within_their_ttls() {
    let Some(mut bench) = Bench::new() else { return };
    let group = Ipv4Addr::new(224, 0, 0, 18);
    let peers = [peer(PEER, 255, 255), peer(FAR, 250, 253)];
    for (what, check_source, source, destination, ttl, reason) in [
        ("peer", true, PEER, PRIMARY, 255, None),
        ("peer, TTL 254", true, PEER, PRIMARY, 254, Some("ip_ttl_errors")),
        ("far peer, least TTL", true, FAR, PRIMARY, 250, None),
        ("far peer, greatest TTL", true, FAR, PRIMARY, 253, None),
        ("far peer, TTL too small", true, FAR, PRIMARY, 249, Some("ip_ttl_errors")),
        ("far peer, TTL too great", true, FAR, PRIMARY, 254, Some("ip_ttl_errors")),
        ("stranger", true, STRANGER, PRIMARY, 255, Some("unknown_peer")),
        ("stranger, TTL 1", true, STRANGER, PRIMARY, 1, Some("unknown_peer")),
        ("stranger, sources not checked", false, STRANGER, PRIMARY, 255, None),
        ("stranger, TTL 1, sources not checked", false, STRANGER, PRIMARY, 1, None),
        ("peer, TTL 254, sources not checked", false, PEER, PRIMARY, 254, Some("ip_ttl_errors")),
        ("peer, to the group", true, PEER, group, 255, Some("dst_not_group")),
        ("peer, to another address", true, PEER, FAR, 255, Some("dst_not_group")),
        ("ourselves", false, PRIMARY, PRIMARY, 255, Some("own_source")),
    ] {
        let flags = if check_source { instance_flag::CHECK_SOURCE } else { 0 };
        bench.fill(&unicast(flags, identity()), entry(), &[(0, VIP)], &peers);
        let until = bench.own(Duration::from_secs(4), Duration::ZERO);
        let heard = bench.dataplane().pages().instances().heard(SLOT);
        let (outcome, moved) = bench.moved(&advert(source, destination, ttl));
        match reason {
            None => {
                assert_eq!(outcome.verdict, XDP_PASS, "{what}: {moved:?}");
                assert_eq!(bench.lease(), Instant::default(), "{what}");
                assert!(bench.event().is_some(), "{what}");
            }
            Some(reason) => {
                assert_eq!((outcome.verdict, &moved[..]), (XDP_DROP, &[(reason, 1)][..]), "{what}");
                assert_eq!(bench.lease(), until, "{what}");
                assert_eq!(bench.dataplane().pages().instances().heard(SLOT), heard, "{what}");
                assert!(bench.event().is_none(), "{what}");
                let refused = bench.dataplane().pages().instances().refused(SLOT).expect("an advert");
                assert_eq!((refused.0, refused.2), (mapped(source.octets()), ttl), "{what}: named");
            }
        }
    }
}

/// The check of the source comes last: what else is wrong with an advert is what is counted.
#[test]
fn a_strangers_wrong_advert_is_counted_for_what_is_wrong() {
    let Some(mut bench) = Bench::new() else { return };
    bench.fill(&unicast(instance_flag::CHECK_SOURCE, identity()), entry(), &[(0, VIP)], &[]);
    let mut message = v3(51, 200, 100, &[VIP]);
    message[2] ^= 1;
    let frame = Ipv4 { destination: PRIMARY, ..Ipv4::advert(STRANGER, message) }.frame();
    assert_eq!(bench.moved(&frame).1, [("checksum_errors", 1)]);
}

/// The primary address of an address owner is one of its VIPs: adverts to it are adverts all the same.
#[test]
fn adverts_to_an_address_owner_are_heard() {
    let Some(mut bench) = Bench::new() else { return };
    let identity = Identity { priority: 255, ..unicast(0, identity()) };
    bench.fill(&identity, entry(), &[(0, PRIMARY)], &[]);
    let (outcome, moved) = bench.moved(&advert(PEER, PRIMARY, 255));
    assert_eq!(outcome.verdict, XDP_PASS, "{moved:?}");
    assert!(moved.contains(&("adverts_received", 1)), "{moved:?}");
}

#[test]
fn unicast_works_over_ipv6() {
    let Some(mut bench) = Bench::new() else { return };
    let source = "fe80::2".parse().expect("address");
    let identity = unicast(instance_flag::CHECK_SOURCE, identity6());
    bench.fill(&identity, entry(), &[(0, VIP6)], &[peer(source, 254, 255)]);
    let mut packet = Ipv6::advert(source, 51, 200, &[VIP6]);
    for (what, destination, hop_limit, counter) in [
        ("peer", PRIMARY6, 254, "adverts_received"),
        ("peer, hop limit too small", PRIMARY6, 253, "ip_ttl_errors"),
        ("peer, to the group", packet.destination, 255, "dst_not_group"),
    ] {
        (packet.destination, packet.hop_limit) = (destination, hop_limit);
        let moved = bench.moved(&packet.clone().summed(112, 6).frame()).1;
        assert!(moved.contains(&(counter, 1)), "{what}: {moved:?}");
    }
    packet.source = "fe80::66".parse().expect("address");
    packet.destination = PRIMARY6;
    assert_eq!(bench.moved(&packet.summed(112, 6).frame()).1, [("unknown_peer", 1)]);
}
