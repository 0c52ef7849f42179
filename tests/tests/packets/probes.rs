//! Probes: whose are answered, whose answers count, and what becomes of the rest.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use vipd_common::{
    abi::{ProbeEntry, ProbeKey, probe_flag},
    address::Address,
    wire::probe::Router,
};
use vipd_core::time::Instant;

use crate::{
    bench::{Bench, IFINDEX, MAC, PRIMARY, PRIMARY6, XDP_DROP, XDP_PASS, XDP_TX, identity, now, octets},
    frames::{Ipv4, Ipv6, PEER_MAC, checksum},
};

pub const PEER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
pub const PEER6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 2);
const STRANGER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 66);
/// Slots of a peer and of the strangers on the link.
pub const PEER_SLOT: u32 = 7;
const LINK_SLOT: u32 = 8;
pub const LINK_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0x77];
const OURS: u32 = 0xc000_020a;
const THEIRS: u32 = 0xc000_0202;
const PROBE_PORT: u16 = 7784;
const SOURCE_PORT: u16 = 49_784;
/// VRID 51 of theirs: priority 150, takes part, owns.
const LISTED: [u8; 4] = [4, 51, 150, 3];

/// A probe or an answer, octet by octet.
#[derive(Clone)]
pub struct Packet {
    pub ports: [u16; 2],
    pub bfd: Vec<u8>,
    pub block: Vec<u8>,
    pub routers: Vec<u8>,
}

/// Up with D, multiplier 3, 3.3 ms, as in RFC 5880 4.1.
pub fn probe(clock: u64, generation: u32, routers: &[[u8; 4]]) -> Packet {
    let mut bfd = vec![0x20, 0xc2, 3, 24];
    bfd.extend(THEIRS.to_be_bytes());
    bfd.extend(OURS.to_be_bytes());
    bfd.extend(3_300u32.to_be_bytes());
    bfd.extend(1_000u32.to_be_bytes());
    bfd.extend([0; 4]);
    let mut block = b"vipd\x01\x00".to_vec();
    block.extend([u8::try_from(routers.len()).expect("an octet"), 0]);
    block.extend(generation.to_be_bytes());
    block.extend(clock.to_be_bytes());
    Packet { ports: [SOURCE_PORT, PROBE_PORT], bfd, block, routers: routers.concat() }
}

/// The answer of a peer to a probe of ours that was sent at `clock`.
fn answer(clock: u64, state: u8) -> Packet {
    let mut packet = probe(clock, 1, &[LISTED]);
    packet.ports.reverse();
    packet.bfd[1] = state << 6;
    packet
}

impl Packet {
    fn udp(&self) -> Vec<u8> {
        let payload = [&self.bfd[..], &self.block, &self.routers].concat();
        let mut datagram: Vec<u8> = self.ports.iter().flat_map(|port| port.to_be_bytes()).collect();
        datagram.extend(u16::try_from(8 + payload.len()).expect("a length").to_be_bytes());
        datagram.extend([0; 2]);
        datagram.extend(payload);
        datagram
    }

    pub fn v4(&self, source: Ipv4Addr) -> Ipv4 {
        let mut payload = self.udp();
        let sum = sum_v4(source, PRIMARY, &payload);
        payload[6..8].copy_from_slice(&sum.to_be_bytes());
        Ipv4 {
            source,
            destination: PRIMARY,
            ttl: 255,
            protocol: 17,
            fragment: 0,
            options: Vec::new(),
            payload,
        }
    }

    pub fn v6(&self) -> Ipv6 {
        Ipv6 {
            source: PEER6,
            destination: PRIMARY6,
            hop_limit: 255,
            next_header: 17,
            extensions: Vec::new(),
            payload: self.udp(),
        }
        .summed(17, 6)
    }
}

/// 0 over a datagram whose checksum is right.
fn sum_v4(source: Ipv4Addr, destination: Ipv4Addr, datagram: &[u8]) -> u16 {
    let length = u16::try_from(datagram.len()).expect("a length").to_be_bytes();
    checksum(&[&source.octets(), &destination.octets(), &[0, 17], &length, datagram])
}

pub fn to_us(mut frame: Vec<u8>) -> Vec<u8> {
    frame[..6].copy_from_slice(&MAC);
    frame
}

pub fn key(local: impl Into<IpAddr>, peer: Option<IpAddr>) -> ProbeKey {
    let address = |address: IpAddr| Address::from_octets(octets(address));
    let peer = peer.map_or(Address::UNSPECIFIED, address);
    ProbeKey { ifindex: IFINDEX, vlan: 0, local: address(local.into()), peer }
}

/// Leads to a slot, from a link whose MAC is another than frames are sent to.
pub fn entry(slot: u32) -> ProbeEntry {
    ProbeEntry { slot, mac: LINK_MAC, reserved: [0; 2] }
}

/// A bench that knows one peer of each family in the same slot, and listens for strangers over IPv4.
pub fn bench() -> Option<Bench> {
    let mut bench = Bench::new()?;
    bench.configure(&identity(), &[(0, crate::bench::VIP)]);
    let probes = bench.dataplane().pages().probes();
    for slot in [PEER_SLOT, LINK_SLOT] {
        probes.page().clear(slot);
        probes.page().describe(slot, OURS, 0);
    }
    probes.add(key(PRIMARY, Some(PEER.into())), entry(PEER_SLOT)).expect("added");
    probes.add(key(PRIMARY6, Some(PEER6.into())), entry(PEER_SLOT)).expect("added");
    probes.add(key(PRIMARY, None), entry(LINK_SLOT)).expect("added");
    Some(bench)
}

pub fn stamps(bench: &mut Bench) -> vipd_dataplane::ProbeStamps {
    bench.dataplane().pages().probes().page().stamps(PEER_SLOT)
}

#[test]
fn a_probe_of_a_peer_is_stamped_and_sent_back() {
    let Some(mut bench) = bench() else { return };
    for (flags, state) in [(0, 3), (probe_flag::LEAVING, 0)] {
        bench.dataplane().pages().probes().page().describe(PEER_SLOT, OURS, flags);
        let before = now();
        let sent = to_us(probe(77, 5, &[LISTED]).v4(PEER).frame());
        let (outcome, moved) = bench.moved(&sent);
        assert_eq!((outcome.verdict, &moved[..]), (XDP_TX, &[("probes_reflected", 1)][..]));
        let back = &outcome.frame;
        let ip = 14;
        assert_eq!((&back[..6], &back[6..12]), (&PEER_MAC[..], &MAC[..]));
        assert_eq!(
            (&back[ip + 12..ip + 16], &back[ip + 16..ip + 20]),
            (&PRIMARY.octets()[..], &PEER.octets()[..])
        );
        assert_eq!((back[ip + 8], checksum(&[&back[ip..ip + 20]])), (255, 0));
        let udp = &back[ip + 20..];
        assert_eq!(&udp[..4], &[PROBE_PORT.to_be_bytes(), SOURCE_PORT.to_be_bytes()].concat());
        assert_eq!(sum_v4(PRIMARY, PEER, udp), 0);
        assert_eq!(&udp[8..12], &[0x20, state << 6, 3, 24]);
        assert_eq!(&udp[12..20], &[OURS.to_be_bytes(), THEIRS.to_be_bytes()].concat());
        // All else is as it came: the sender's clock above all.
        assert_eq!(&udp[20..], &sent[ip + 20 + 20..]);
        let stamps = stamps(&mut bench);
        assert!(before <= stamps.probed && stamps.probed <= now());
        assert_eq!((stamps.interval_us, stamps.multiplier, stamps.flags), (3_300, 3, 0));
        assert_eq!((stamps.answered, stamps.answers), (Instant::default(), Instant::default()));
        let router = Router { family: 4, vrid: 51, priority: 150, flags: 3 };
        assert_eq!(bench.dataplane().pages().probes().page().routers(PEER_SLOT), Some((5, vec![router])));
    }
}

#[test]
fn the_same_over_ipv6() {
    let Some(mut bench) = bench() else { return };
    let sent = to_us(probe(77, 5, &[LISTED]).v6().frame());
    let (outcome, moved) = bench.moved(&sent);
    assert_eq!((outcome.verdict, &moved[..]), (XDP_TX, &[("probes_reflected", 1)][..]));
    let back = &outcome.frame;
    assert_eq!((&back[22..38], &back[38..54]), (&PRIMARY6.octets()[..], &PEER6.octets()[..]));
    let udp = &back[54..];
    let length = u32::try_from(udp.len()).expect("a length").to_be_bytes();
    assert_eq!(checksum(&[&PRIMARY6.octets(), &PEER6.octets(), &length, &[0, 0, 0, 17], udp]), 0);
    assert_eq!(&udp[8..20], &[&[0x20, 0xc0, 3, 24][..], &OURS.to_be_bytes(), &THEIRS.to_be_bytes()].concat());
}

/// IPv4 may do without: then the answer does too. But a list that is new is not believed so.
#[test]
fn a_probe_without_a_checksum_is_answered_without_one() {
    let Some(mut bench) = bench() else { return };
    let malformed = (XDP_DROP, &[("probe_malformed", 1)][..]);
    let whole = probe(77, 5, &[]).v4(PEER);
    let mut bare = probe(77, 5, &[]).v4(PEER);
    bare.payload[6..8].fill(0);
    let (outcome, moved) = bench.moved(&to_us(bare.frame()));
    assert_eq!((outcome.verdict, &moved[..]), malformed);
    assert_eq!(bench.run(&to_us(whole.frame())).verdict, XDP_TX);
    let outcome = bench.run(&to_us(bare.frame()));
    assert_eq!((outcome.verdict, &outcome.frame[14 + 20 + 6..][..2]), (XDP_TX, &[0, 0][..]));
    let mut packet = probe(77, 5, &[]).v6();
    packet.payload[6..8].fill(0);
    let (outcome, moved) = bench.moved(&to_us(packet.frame()));
    assert_eq!((outcome.verdict, &moved[..]), malformed);
}

#[test]
fn an_answer_is_stamped_with_our_clock_in_it_and_dropped() {
    let Some(mut bench) = bench() else { return };
    let sent_at = now();
    for (frame, state) in [
        (answer(sent_at.as_nanos(), 3).v4(PEER).frame(), 3),
        (answer(sent_at.as_nanos(), 0).v6().frame(), 0),
        // An old one says that the host is alive, and nothing new of which probes it has answered.
        (answer(5, 3).v4(PEER).frame(), 3),
    ] {
        let before = stamps(&mut bench).answer_count;
        let (outcome, moved) = bench.moved(&to_us(frame));
        assert_eq!((outcome.verdict, &moved[..]), (XDP_DROP, &[("probe_answers", 1)][..]));
        let stamps = stamps(&mut bench);
        assert_eq!((stamps.answers, stamps.answer_state), (sent_at, state));
        assert!(stamps.answered >= sent_at && stamps.answered <= now());
        assert_eq!((stamps.answer_count, stamps.probed), (before + 1, Instant::default()));
    }
}

/// Each row: what it is, the frame, the verdict and the counter.
#[test]
fn what_is_no_valid_probe_of_a_peer_is_not_answered() {
    let Some(mut bench) = bench() else { return };
    let plain = probe(77, 5, &[LISTED]);
    let with = |change: &dyn Fn(&mut Packet)| {
        let mut packet = plain.clone();
        change(&mut packet);
        packet.v4(PEER)
    };
    let ip = |change: &dyn Fn(&mut Ipv4)| {
        let mut packet = plain.v4(PEER);
        change(&mut packet);
        packet
    };
    let malformed = Some("probe_malformed");
    let rows: Vec<(&str, Ipv4, u32, Option<&str>)> = vec![
        ("TTL 254", ip(&|p| p.ttl = 254), XDP_DROP, Some("probe_ttl_errors")),
        ("stranger", plain.v4(STRANGER), XDP_DROP, Some("probe_unknown_peers")),
        ("stranger's answer", answer(5, 3).v4(STRANGER), XDP_PASS, None),
        ("to another address", ip(&|p| p.destination = Ipv4Addr::new(192, 0, 2, 9)), XDP_PASS, None),
        ("fragment", ip(&|p| p.fragment = 0x2000), XDP_PASS, None),
        ("with options", ip(&|p| p.options = vec![1, 1, 1, 0]), XDP_PASS, None),
        ("TCP", ip(&|p| p.protocol = 6), XDP_PASS, None),
        ("another port", with(&|p| p.ports[1] = 7785), XDP_PASS, None),
        ("a port of BFD", with(&|p| p.ports[1] = 3784), XDP_PASS, None),
        ("another user's answer port", with(&|p| p.ports = [PROBE_PORT, 50_000]), XDP_PASS, None),
        ("another user of the port", with(&|p| p.block[0] = b'V'), XDP_PASS, None),
        ("plain S-BFD", with(&|p| (p.block, p.routers) = (Vec::new(), Vec::new())), XDP_PASS, None),
        ("block of another version", with(&|p| p.block[4] = 2), XDP_DROP, malformed),
        ("more routers than there are", with(&|p| p.block[6] = 2), XDP_DROP, malformed),
        ("fewer routers than there are", with(&|p| p.block[6] = 0), XDP_DROP, malformed),
        ("a tag that is not there", with(&|p| p.block[7] = 16), XDP_DROP, malformed),
        ("a tag", with(&|p| (p.block[7], p.routers) = (16, vec![0xa5; 20])), XDP_DROP, malformed),
        ("BFD version 0", with(&|p| p.bfd[0] = 0), XDP_DROP, malformed),
        ("BFD length 23", with(&|p| p.bfd[3] = 23), XDP_DROP, malformed),
        ("BFD length 26", with(&|p| p.bfd[3] = 26), XDP_DROP, malformed),
        ("authentication announced", with(&|p| p.bfd[1] |= 4), XDP_DROP, malformed),
        ("multiplier 0", with(&|p| p.bfd[2] = 0), XDP_DROP, malformed),
        ("multipoint", with(&|p| p.bfd[1] |= 1), XDP_DROP, malformed),
        ("discriminator 0", with(&|p| p.bfd[4..8].fill(0)), XDP_DROP, malformed),
        ("another's discriminator", with(&|p| p.bfd[8] ^= 1), XDP_DROP, malformed),
        ("without D", with(&|p| p.bfd[1] &= !2), XDP_DROP, malformed),
        ("UDP shorter than IP", ip(&|p| p.payload[5] -= 1), XDP_DROP, malformed),
        ("UDP longer than IP", ip(&|p| p.payload[5] += 1), XDP_DROP, malformed),
    ];
    for (what, packet, verdict, reason) in rows {
        let before = stamps(&mut bench);
        let sent = to_us(packet.frame());
        let (outcome, moved) = bench.moved(&sent);
        let expected: Vec<_> = reason.map(|reason| (reason, 1)).into_iter().collect();
        assert_eq!((outcome.verdict, moved), (verdict, expected), "{what}");
        assert_eq!(outcome.frame, sent, "{what}");
        assert_eq!(stamps(&mut bench), before, "{what}");
    }
    let (stranger, _) = bench.dataplane().pages().probes().page().stranger(LINK_SLOT).expect("seen");
    assert_eq!(stranger.octets(), octets(STRANGER));
    // IP's own checksum, and an answer from the future.
    let mut frame = to_us(plain.v4(PEER).frame());
    frame[24] ^= 1;
    let (outcome, moved) = bench.moved(&frame);
    assert_eq!((outcome.verdict, &moved[..]), (XDP_DROP, &[("probe_malformed", 1)][..]));
    let (outcome, moved) = bench.moved(&to_us(answer(u64::MAX, 3).v4(PEER).frame()));
    assert_eq!((outcome.verdict, &moved[..]), (XDP_DROP, &[("probe_malformed", 1)][..]));
    // The same packets, unharmed, are answered.
    assert_eq!(bench.run(&to_us(plain.v4(PEER).frame())).verdict, XDP_TX);
}

/// A frame that ends before the datagram does, at every length.
#[test]
fn a_probe_that_is_cut_off_is_not_answered() {
    let Some(mut bench) = bench() else { return };
    let whole = to_us(probe(77, 5, &[LISTED; 20]).v4(PEER).frame());
    for length in 34..whole.len() {
        let outcome = bench.run(&whole[..length]);
        assert_ne!(outcome.verdict, XDP_TX, "{length} octets");
    }
    assert_eq!(bench.run(&whole).verdict, XDP_TX);
}

/// As many routers as one family has on one link, then none.
#[test]
fn the_list_is_kept_and_followed() {
    let Some(mut bench) = bench() else { return };
    let all: Vec<[u8; 4]> = (1..=255).map(|vrid| [4, vrid, 100, 1]).collect();
    for (generation, routers) in [(1, &all[..]), (2, &all[..1]), (3, &[]), (4, &all[100..])] {
        let outcome = bench.run(&to_us(probe(77, generation, routers).v4(PEER).frame()));
        assert_eq!(outcome.verdict, XDP_TX);
        let (kept, list) =
            bench.dataplane().pages().probes().page().routers(PEER_SLOT).expect("nobody writes it");
        let list: Vec<_> =
            list.iter().map(|router| [router.family, router.vrid, router.priority, router.flags]).collect();
        assert_eq!((kept, &list[..]), (generation, routers));
    }
    // The same generation is not read again.
    bench.run(&to_us(probe(77, 4, &all[..155]).v4(PEER).frame()));
    let (_, list) = bench.dataplane().pages().probes().page().routers(PEER_SLOT).expect("nobody writes it");
    assert_eq!(list[0].vrid, 101);
}

/// A 32nd of the interval each, and as many at once as [`PROBE_BURST`](vipd_common::abi::PROBE_BURST).
#[test]
fn probes_that_come_too_fast_are_not_answered() {
    let Some(mut bench) = bench() else { return };
    // A second: the slowest that counts, so that this test takes no time of it.
    let mut slow = probe(77, 5, &[]);
    slow.bfd[12..16].copy_from_slice(&u32::MAX.to_be_bytes());
    let frame = to_us(slow.v4(PEER).frame());
    let mut answered = 0;
    while bench.run(&frame).verdict == XDP_TX {
        answered += 1;
        assert!(answered < 1_000, "there is no limit");
    }
    assert!(answered >= vipd_common::abi::PROBE_BURST, "{answered}");
    let before = stamps(&mut bench);
    let (outcome, moved) = bench.moved(&frame);
    assert_eq!((outcome.verdict, &moved[..]), (XDP_DROP, &[("probes_over_rate", 1)][..]));
    // It has spoken all the same.
    assert!(stamps(&mut bench).probed > before.probed);
}

/// Where nothing is probed the port is anybody's.
#[test]
fn without_peers_everything_passes() {
    let Some(mut bench) = Bench::new() else { return };
    bench.configure(&identity(), &[(0, crate::bench::VIP)]);
    for frame in [probe(77, 5, &[LISTED]).v4(PEER).frame(), answer(5, 3).v4(PEER).frame()] {
        let frame = to_us(frame);
        let (outcome, moved) = bench.moved(&frame);
        assert_eq!((outcome.verdict, moved, outcome.frame), (XDP_PASS, Vec::new(), frame));
    }
}
