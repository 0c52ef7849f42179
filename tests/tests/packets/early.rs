//! Early takeover: a lease without a sponsor does not count, and a probe takes leases before it vouches for them.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Duration,
};

use vipd_common::{
    abi::{MAX_EARLY_BACKUPS, PeerEntry, ProbeKey, VipEntry, instance_flag},
    sponsor::EarlyBackup,
    wire::probe::flag,
};
use vipd_core::time::Instant;
use vipd_dataplane::Identity;

use crate::{
    bench::{
        Bench, LEASE_SLOT, MAC, PRIMARY, SLOT, VIP, VIP6, XDP_DROP, XDP_PASS, XDP_TX, identity, identity6,
        now,
    },
    frames::{Ipv4, PEER_MAC, arp, neighbor, tagged},
    probes::{LINK_MAC, PEER, PEER_SLOT, PEER6, Packet, entry, key, probe, stamps, to_us},
};

const ASKER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 50);
const ASKER6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x50);
const ASKER_MAC: [u8; 6] = [0x02, 0, 0, 0, 0x0a, 0x50];
/// Its address is greater than ours.
const GREATER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 200);
const GREATER_SLOT: u32 = 11;
const VIRTUAL_MAC: [u8; 6] = [0, 0, 0x5e, 0, 1, 51];
const HEARTBEAT: u16 = 20;
/// Which of the early backups the peer is.
const BACKUP: u32 = 13;
const LEASE: Duration = Duration::from_secs(4);
/// Of the probes below: no test comes near it.
const DETECTION: Duration = Duration::from_secs(3);
/// A list's flags: takes part; owns; claims.
const PARTICIPATES: u8 = 1;
const OWNS: u8 = 3;
const CLAIMS: u8 = 7;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A bench as that of `probes`, with another virtual router.
fn bench(identity: &Identity) -> Option<Bench> {
    let mut bench = crate::probes::bench()?;
    bench.configure(identity, &[(0, VIP)]);
    let probes = bench.dataplane().pages().probes();
    probes.page().clear(GREATER_SLOT);
    probes.page().describe(GREATER_SLOT, OURS, 0);
    probes.add(key(PRIMARY, Some(GREATER.into())), entry(GREATER_SLOT)).expect("added");
    Some(bench)
}

/// This node's discriminator, as probes have it.
const OURS: u32 = 0xc000_020a;

/// A probe of a host that takes over early, with an interval of a second.
fn early(generation: u32, routers: &[[u8; 4]]) -> Packet {
    let mut packet = probe(77, generation, routers);
    packet.bfd[12..16].copy_from_slice(&1_000_000u32.to_be_bytes());
    packet.block[5] = flag::TAKES_OVER;
    packet
}

/// The lease stands, needs a sponsor, and the daemon has spoken so long ago. Nothing is known of the peers.
fn owner(bench: &mut Bench, beat_ago: Duration) -> Instant {
    let until = bench.own(LEASE, Duration::ZERO);
    let pages = bench.dataplane().pages();
    for slot in [PEER_SLOT, GREATER_SLOT] {
        pages.probes().page().clear(slot);
        pages.probes().page().describe(slot, OURS, 0);
    }
    pages.probes().page().set_sponsor(PEER_SLOT, Some(BACKUP));
    pages.sponsors().clear(BACKUP);
    pages.sponsors().set_leases(&BTreeSet::from([LEASE_SLOT]));
    pages.sponsors().beat(now() - beat_ago);
    until
}

fn backup(bench: &mut Bench) -> EarlyBackup {
    bench.dataplane().pages().sponsors().backup(BACKUP)
}

/// Runs a frame that is to be answered, and says whether it took the lease.
fn takes(bench: &mut Bench, frame: &[u8], what: &str) -> bool {
    let before = bench.lease();
    let (outcome, moved) = bench.moved(frame);
    assert_eq!(outcome.verdict, XDP_TX, "{what}");
    let lease = bench.lease();
    let taken = before != Instant::default() && lease == Instant::default();
    assert!(taken || lease == before, "{what}");
    let expected: &[_] =
        if taken { &[("probes_reflected", 1), ("leases_revoked", 1)] } else { &[("probes_reflected", 1)] };
    assert_eq!(moved, expected, "{what}");
    taken
}

/// Each row: how long ago the daemon has spoken, and each backup; whether the node answers.
#[test]
fn a_lease_has_two_sponsors() {
    let Some(mut bench) = bench(&identity()) else { return };
    let detect = ms(2_000);
    let rows: &[(u64, &[u64], bool)] = &[
        (9_000, &[], true),
        // The daemon speaks, the backup speaks, neither.
        (200, &[4_000], true),
        (4_000, &[200], true),
        (4_000, &[4_000], false),
        // Until the detection time is over.
        (1_900, &[1_900], true),
        (2_000, &[2_000], false),
        // The daemon has outlived the last probe by three detection times, or not quite.
        (3_000, &[9_500], true),
        (3_000, &[8_900], false),
        // Each backup for itself.
        (4_000, &[200, 4_000], false),
        (4_000, &[200, 11_000], true),
        (4_000, &[200; MAX_EARLY_BACKUPS], true),
    ];
    let ask = arp(1, ASKER_MAC, ASKER, VIP);
    let packet = Ipv4 { destination: VIP, protocol: 6, ..Ipv4::advert(ASKER, vec![0xa5; 20]) }.frame();
    for (beat, probes, answers) in rows {
        // In the first places, and in the last.
        for reverse in [false, true] {
            owner(&mut bench, Duration::ZERO);
            let at = |ago: u64| (now() - ms(ago)).as_nanos();
            bench.change_sponsors(|sponsors| {
                sponsors.beat_ns = at(*beat);
                sponsors.backups = [EarlyBackup::default(); MAX_EARLY_BACKUPS];
                for (backup, ago) in sponsors.backups.iter_mut().zip(*probes) {
                    *backup = EarlyBackup {
                        probe_ns: at(*ago),
                        detect_ns: detect.as_nanos().try_into().expect("not long"),
                    };
                }
                if reverse {
                    sponsors.backups.reverse();
                }
            });
            let row = format!("{beat} {probes:?} {reverse}");
            let verdicts = if *answers { (XDP_TX, XDP_PASS) } else { (XDP_DROP, XDP_DROP) };
            let found = (bench.run(&ask).verdict, bench.run(&packet).verdict);
            assert_eq!(found, verdicts, "{row}");
            // The lease of a router without early backups stands alone, and without a lease nobody owns.
            bench
                .dataplane()
                .pages()
                .sponsors()
                .set_leases(&BTreeSet::from([LEASE_SLOT + 64, LEASE_SLOT + 1]));
            assert_eq!(bench.run(&ask).verdict, XDP_TX, "{row}");
            bench.dataplane().pages().sponsors().set_leases(&BTreeSet::from([LEASE_SLOT]));
            bench.dataplane().pages().leases().release(LEASE_SLOT);
            assert_eq!(bench.run(&ask).verdict, XDP_DROP, "{row}");
        }
    }
}

/// A verdict and its counter.
type Expected = (u32, &'static str);

/// Whatever asks who owns a VIP.
#[test]
fn without_a_sponsor_nothing_is_answered_or_accepted() {
    let own = Identity { flags: instance_flag::VIRTUAL_MAC, ..identity() };
    let Some(mut bench) = bench(&own) else { return };
    let mut to_virtual_mac =
        Ipv4 { destination: ASKER, protocol: 6, ..Ipv4::advert(ASKER, vec![0xa5; 20]) }.frame();
    to_virtual_mac[..6].copy_from_slice(&VIRTUAL_MAC);
    let of_ipv4 = [
        (arp(1, ASKER_MAC, ASKER, VIP), (XDP_TX, "arp_replies"), (XDP_DROP, "arp_gated")),
        (arp(2, ASKER_MAC, VIP, ASKER), (XDP_DROP, "vip_conflicts"), (XDP_PASS, "vip_claims_seen")),
        (to_virtual_mac, (XDP_PASS, "vmac_rewritten"), (XDP_DROP, "vmac_gated")),
    ];
    let ask = neighbor(135, 0, ASKER6, VIP6, VIP6, &[1, 1, 2, 0, 0, 0, 0, 1]);
    let of_ipv6 = [(ask.frame(), (XDP_TX, "nd_replies"), (XDP_DROP, "nd_gated"))];
    let check = |bench: &mut Bench, rows: &[(Vec<u8>, Expected, Expected)]| {
        for (frame, sponsored, unsponsored) in rows {
            for (beat_ago, (verdict, counter)) in [(Duration::ZERO, sponsored), (DETECTION, unsponsored)] {
                owner(bench, beat_ago);
                bench.change_sponsors(|sponsors| {
                    let last = MAX_EARLY_BACKUPS - 1;
                    let probe_ns = (now() - DETECTION).as_nanos();
                    sponsors.backups[last] = EarlyBackup { probe_ns, detect_ns: 2_900_000_000 };
                });
                let (outcome, moved) = bench.moved(frame);
                assert_eq!((outcome.verdict, &moved[..]), (*verdict, &[(*counter, 1)][..]));
            }
        }
    };
    check(&mut bench, &of_ipv4);
    bench.configure(&identity6(), &[(0, VIP6)]);
    check(&mut bench, &of_ipv6);
}

/// R9 (b). Each row: what it is, the probe's flags, interval and multiplier, and what is stamped.
#[test]
fn a_probe_vouches_by_the_detection_time_that_it_says() {
    let Some(mut bench) = bench(&identity()) else { return };
    let (takes_over, leaving) = (flag::TAKES_OVER, flag::LEAVING);
    for (what, flags, interval_us, multiplier, detect_us) in [
        ("takes over", takes_over, 3_300u32, 3, Some(9_900)),
        ("only measures", 0, 3_300, 3, None),
        ("is leaving", takes_over | leaving, 3_300, 3, None),
        ("the quickest", takes_over, 1_000, 2, Some(2_000)),
        ("slower than can be", takes_over, u32::MAX, 255, Some(255_000_000)),
    ] {
        for before in [EarlyBackup::default(), EarlyBackup { probe_ns: 5, detect_ns: 7 }] {
            owner(&mut bench, Duration::ZERO);
            bench.change_sponsors(|sponsors| sponsors.backups[BACKUP as usize] = before);
            let mut packet = early(5, &[]);
            packet.block[5] = flags;
            packet.bfd[12..16].copy_from_slice(&interval_us.to_be_bytes());
            packet.bfd[2] = multiplier;
            let sent = now();
            assert!(!takes(&mut bench, &to_us(packet.v4(PEER).frame()), what));
            let after = backup(&mut bench);
            match detect_us {
                Some(detect_us) => {
                    assert!((sent..=now()).contains(&Instant::from_nanos(after.probe_ns)), "{what}");
                    assert_eq!(after.detect_ns, detect_us * 1_000, "{what}");
                    assert_eq!(after.probe_ns, stamps(&mut bench).probed.as_nanos(), "{what}");
                }
                None => assert_eq!(after.probe_ns, 0, "{what}"),
            }
        }
    }
    // Of a peer that nobody counts on.
    owner(&mut bench, Duration::ZERO);
    bench.dataplane().pages().probes().page().set_sponsor(PEER_SLOT, None);
    bench.run(&to_us(early(5, &[]).v4(PEER).frame()));
    bench.change_sponsors(|sponsors| {
        assert!(sponsors.backups.iter().all(|backup| backup.probe_ns == 0));
    });
}

/// What another says of a router, and what becomes of our lease.
struct Row {
    what: &'static str,
    from: Ipv4Addr,
    listed: [u8; 4],
    flags: u8,
    beat_ago: Duration,
    taken: bool,
}

fn row(what: &'static str, listed: [u8; 4], taken: bool) -> Row {
    Row { what, from: PEER, listed, flags: flag::TAKES_OVER, beat_ago: Duration::ZERO, taken }
}

/// R4: our priority is 100, and the peer's address is less than ours.
#[test]
fn a_probe_takes_the_lease_as_an_advert_does_and_that_of_a_silent_daemon() {
    let Some(mut bench) = bench(&identity()) else { return };
    let silent = Duration::from_secs(5);
    let stale = |row| Row { beat_ago: silent, ..row };
    let greater = |row| Row { from: GREATER, ..row };
    let with = |flags, row| Row { flags, ..row };
    for Row { what, from, listed, flags, beat_ago, taken } in [
        row("a claim", [4, 51, 101, CLAIMS], true),
        row("a claim of one that says nothing else", [4, 51, 101, 4], true),
        row("an owner of higher rank", [4, 51, 101, OWNS], true),
        row("an owner of the highest", [4, 51, 255, OWNS], true),
        row("the same rank, a lesser address", [4, 51, 100, CLAIMS], false),
        greater(row("the same rank, a greater address", [4, 51, 100, CLAIMS], true)),
        greater(row("lower rank, a greater address", [4, 51, 99, CLAIMS], false)),
        row("an owner of lower rank", [4, 51, 99, OWNS], false),
        stale(row("an owner of lower rank, and our daemon is silent", [4, 51, 1, OWNS], true)),
        stale(row("a claim of lower rank, and our daemon is silent", [4, 51, 1, 4], true)),
        stale(row("an owner that gives it up, and our daemon is silent", [4, 51, 0, OWNS], false)),
        stale(row("a backup, and our daemon is silent", [4, 51, 200, PARTICIPATES], false)),
        row("a backup of higher rank", [4, 51, 200, PARTICIPATES], false),
        row("another router", [4, 52, 200, CLAIMS], false),
        row("the same router of IPv6", [6, 51, 200, CLAIMS], false),
        row("a router of no family", [0, 51, 200, CLAIMS], false),
        with(0, stale(row("no early takeover", [4, 51, 200, CLAIMS], false))),
        with(flag::TAKES_OVER | flag::LEAVING, stale(row("one that leaves", [4, 51, 200, CLAIMS], false))),
    ] {
        owner(&mut bench, beat_ago);
        let mut packet = early(5, &[listed]);
        packet.block[5] = flags;
        let frame = to_us(packet.v4(from).frame());
        assert_eq!(takes(&mut bench, &frame, what), taken, "{what}");
        // It vouches after that.
        let vouches = flags == flag::TAKES_OVER && from == PEER;
        assert_eq!(backup(&mut bench).probe_ns != 0, vouches, "{what}");
        // What is known of it takes the lease again: the list is not sent anew.
        bench.own(LEASE, Duration::ZERO);
        let mut later = packet.clone();
        later.block[19] += 1;
        assert_eq!(takes(&mut bench, &to_us(later.v4(from).frame()), what), taken, "{what}, again");
    }
    let claim = to_us(early(5, &[[4, 51, 200, CLAIMS]]).v4(PEER).frame());
    // VRRP alone has the other leases.
    owner(&mut bench, silent);
    bench.dataplane().pages().sponsors().set_leases(&BTreeSet::from([LEASE_SLOT + 1]));
    assert!(!takes(&mut bench, &claim, "a lease without sponsors"));
    // One that has run out is 0 then, for a daemon that wakes up in the middle of a renewal.
    owner(&mut bench, silent);
    bench.dataplane().pages().leases().acquire(LEASE_SLOT, now() - ms(1));
    let (_, moved) = bench.moved(&claim);
    assert_eq!((bench.lease(), &moved[..]), (Instant::default(), &[("probes_reflected", 1)][..]));
    // Nobody is told of it by the ring.
    assert_eq!(bench.event(), None);
}

/// RFC 3768 7.1: it hears nobody, unless it is dead or frozen.
#[test]
fn an_address_owner_of_version_2_loses_its_lease_to_a_successor_alone() {
    let Some(mut bench) = bench(&Identity { version: 2, priority: 255, ..identity() }) else { return };
    let claim = to_us(early(5, &[[4, 51, 255, CLAIMS]]).v4(GREATER).frame());
    for (beat_ago, taken) in [(Duration::ZERO, false), (Duration::from_secs(5), true)] {
        owner(&mut bench, beat_ago);
        assert_eq!(takes(&mut bench, &claim, "a rival"), taken);
    }
}

#[test]
fn the_last_of_all_routers_is_heard_too() {
    let Some(mut bench) = bench(&identity()) else { return };
    // VRIDs 52 to 255, 1 to 50, and 51.
    let mut all: Vec<[u8; 4]> =
        (0..255).map(|n| [4, ((n + 51) % 255) as u8 + 1, 200, PARTICIPATES]).collect();
    assert_eq!(all[254][1], 51);
    all[254][3] = CLAIMS;
    owner(&mut bench, Duration::ZERO);
    let frame = early(5, &all).v4(PEER).frame();
    assert!(takes(&mut bench, &to_us(frame), "the last of them"));
    // And a list that is shorter hides the rest of the one before.
    owner(&mut bench, Duration::ZERO);
    bench.run(&to_us(early(6, &all[..254]).v4(PEER).frame()));
    assert_ne!(bench.lease(), Instant::default());
}

#[test]
fn over_ipv6_too() {
    let Some(mut bench) = bench(&identity6()) else { return };
    bench.configure(&identity6(), &[(0, VIP6)]);
    for (rank, taken) in [(99, false), (101, true)] {
        owner(&mut bench, Duration::ZERO);
        let frame = to_us(early(5, &[[6, 51, rank, CLAIMS]]).v6().frame());
        assert_eq!(takes(&mut bench, &frame, "rank"), taken, "{rank}");
    }
    // One octet of the list differs from what was summed.
    owner(&mut bench, Duration::ZERO);
    let mut packet = early(6, &[[6, 51, 99, CLAIMS]]).v6();
    let rank = packet.payload.len() - 2;
    packet.payload[rank] = 101;
    let (outcome, moved) = bench.moved(&to_us(packet.frame()));
    assert_eq!((outcome.verdict, &moved[..]), (XDP_DROP, &[("probe_malformed", 1)][..]));
    assert_ne!(bench.lease(), Instant::default());
}

/// Each octet of a datagram, changed on the way.
#[test]
fn nothing_is_believed_that_is_not_as_it_was_sent() {
    let Some(mut bench) = bench(&identity()) else { return };
    let claim = early(5, &[[4, 51, 200, CLAIMS], [4, 52, 200, CLAIMS], [4, 53, 200, PARTICIPATES]]);
    let whole = claim.v4(PEER);
    let harmed = (0..whole.payload.len()).map(|at| {
        let mut packet = claim.v4(PEER);
        packet.payload[at] ^= 0x20;
        (format!("octet {at}"), packet)
    });
    let mut bare = claim.v4(PEER);
    bare.payload[6..8].fill(0);
    for (what, packet) in harmed.chain([("no checksum".to_owned(), bare)]) {
        owner(&mut bench, Duration::from_secs(5));
        let (before, sent) = (stamps(&mut bench), to_us(packet.frame()));
        let outcome = bench.run(&sent);
        assert_ne!(outcome.verdict, XDP_TX, "{what}");
        assert_ne!(bench.lease(), Instant::default(), "{what}");
        assert_eq!((stamps(&mut bench), backup(&mut bench)), (before, EarlyBackup::default()), "{what}");
    }
    let frame = to_us(whole.frame());
    assert!(takes(&mut bench, &frame, "whole"));
    // A harmed list leaves nothing of the one before.
    bench.own(LEASE, Duration::ZERO);
    let mut harmed = early(6, &[]).v4(PEER);
    harmed.payload[6] ^= 1;
    let (outcome, moved) = bench.moved(&to_us(harmed.frame()));
    assert_eq!((outcome.verdict, &moved[..]), (XDP_DROP, &[("probe_malformed", 1)][..]));
    assert_eq!(bench.dataplane().pages().probes().page().routers(PEER_SLOT), None);
    // But the next probe, which is read again though it says what the last good one said.
    assert!(takes(&mut bench, &frame, "whole again"));
    assert!(bench.dataplane().pages().probes().page().routers(PEER_SLOT).is_some());
}

/// Neither takes a lease nor vouches for one: it is not answered, so it is a lost one.
#[test]
fn a_probe_that_comes_too_fast_changes_nothing() {
    let Some(mut bench) = bench(&identity()) else { return };
    owner(&mut bench, Duration::ZERO);
    let backup_of = to_us(early(5, &[[4, 51, 200, PARTICIPATES]]).v4(PEER).frame());
    let mut answered = 0;
    while bench.run(&backup_of).verdict == XDP_TX {
        answered += 1;
        assert!(answered < 1_000, "there is no limit");
    }
    let before = backup(&mut bench);
    let claims = to_us(early(6, &[[4, 51, 200, CLAIMS]]).v4(PEER).frame());
    let (outcome, moved) = bench.moved(&claims);
    assert_eq!((outcome.verdict, &moved[..]), (XDP_DROP, &[("probes_over_rate", 1)][..]));
    assert_eq!(backup(&mut bench), before);
    assert_ne!(bench.lease(), Instant::default());
    assert!(stamps(&mut bench).probed.as_nanos() > before.probe_ns, "it has spoken all the same");
}

/// With `unicast_src_ip` and a check of sources, as for adverts.
#[test]
fn only_unicast_peers_take_the_lease_of_a_unicast_router() {
    let unicast = instance_flag::UNICAST;
    let checked = unicast | instance_flag::CHECK_SOURCE;
    let Some(mut bench) = bench(&identity()) else { return };
    let vip =
        VipEntry { lease_slot: LEASE_SLOT, instance: SLOT, reply_slot: 0, mac: MAC, flags: 0, reserved: 0 };
    let peer = |address: Ipv4Addr| {
        (IpAddr::from(address), PeerEntry { min_ttl: 255, max_ttl: 255, reserved: [0; 2] })
    };
    for (what, flags, peer, taken) in [
        ("a peer", checked, peer(PEER), true),
        ("no peer", checked, peer(GREATER), false),
        ("no peer, sources are not checked", unicast, peer(GREATER), true),
        ("by multicast", instance_flag::CHECK_SOURCE, peer(GREATER), true),
    ] {
        bench.fill(&Identity { flags, ..identity() }, vip, &[(0, VIP)], &[peer]);
        owner(&mut bench, Duration::ZERO);
        let frame = to_us(early(5, &[[4, 51, 200, CLAIMS]]).v4(PEER).frame());
        assert_eq!(takes(&mut bench, &frame, what), taken, "{what}");
    }
}

/// A probe with our own address for its source is ours, and takes nothing.
#[test]
fn our_own_probes_take_nothing() {
    let Some(mut bench) = bench(&identity()) else { return };
    owner(&mut bench, Duration::from_secs(5));
    bench
        .dataplane()
        .pages()
        .probes()
        .add(key(PRIMARY, Some(PRIMARY.into())), entry(PEER_SLOT))
        .expect("added");
    let frame = to_us(early(5, &[[4, 51, 200, CLAIMS]]).v4(PRIMARY).frame());
    assert!(!takes(&mut bench, &frame, "our own"));
}

/// A VRID on a heartbeat link may be a router's of another interface: that one has another address than the probe was sent to.
#[test]
fn a_probe_takes_nothing_of_a_router_with_another_address() {
    let Some(mut bench) = bench(&identity()) else { return };
    let frame = to_us(early(5, &[[4, 51, 200, CLAIMS]]).v4(PEER).frame());
    for (primary, taken) in [(PRIMARY, true), (GREATER, false)] {
        owner(&mut bench, Duration::ZERO);
        let priority = identity().priority;
        bench.dataplane().pages().instances().rank(
            SLOT,
            priority,
            vipd_common::abi::mapped(primary.octets()),
        );
        assert_eq!(takes(&mut bench, &frame, "to our address"), taken, "{primary}");
    }
}

/// A probe over a heartbeat link comes to a group, since no address is there; it counts as any, and is answered from the link's own MAC.
#[test]
fn over_a_heartbeat_link_the_answer_has_the_links_own_mac() {
    let Some(mut bench) = bench(&identity()) else { return };
    let vip =
        VipEntry { lease_slot: LEASE_SLOT, instance: SLOT, reply_slot: 0, mac: MAC, flags: 0, reserved: 0 };
    bench.fill_lines(&identity(), vip, &[(0, VIP)], &[], &[HEARTBEAT.into()]);
    let on_it = |key: ProbeKey| ProbeKey { vlan: HEARTBEAT.into(), ..key };
    let keys = [key(PRIMARY, Some(PEER.into())), key(crate::bench::PRIMARY6, Some(PEER6.into()))];
    for key in keys {
        bench.dataplane().pages().probes().add(on_it(key), entry(PEER_SLOT)).expect("added");
    }
    let claim = early(5, &[[4, 51, 200, CLAIMS]]);
    let (group, group6) = (claim.v4(PEER).frame(), claim.v6().frame());
    assert_eq!((&group[..3], &group6[..2]), (&[1, 0, 0x5e][..], &[0x33, 0x33][..]));
    for (frame, from, taken) in [
        (group.clone(), LINK_MAC, true),
        (group6.clone(), LINK_MAC, false),
        (to_us(group), MAC, true),
        (to_us(group6), MAC, false),
    ] {
        for vlans in [&[HEARTBEAT][..], &[]] {
            owner(&mut bench, Duration::ZERO);
            let frame = if vlans.is_empty() { frame.clone() } else { tagged(&frame, vlans) };
            let outcome = bench.run(&frame);
            assert_eq!(outcome.verdict, XDP_TX);
            assert_eq!((&outcome.frame[..6], &outcome.frame[6..12]), (&PEER_MAC[..], &from[..]));
            assert_eq!(bench.lease() == Instant::default(), taken, "{vlans:?}");
            assert_ne!(backup(&mut bench).probe_ns, 0);
        }
    }
}

/// By the probe's Ethernet source, on the router's own interface alone.
#[test]
fn what_comes_late_goes_on_to_the_sender_of_the_probe() {
    let Some(mut bench) = bench(&identity()) else { return };
    let vip =
        VipEntry { lease_slot: LEASE_SLOT, instance: SLOT, reply_slot: 0, mac: MAC, flags: 0, reserved: 0 };
    bench.fill_lines(&identity(), vip, &[(0, VIP)], &[], &[HEARTBEAT.into()]);
    let on_it = ProbeKey { vlan: HEARTBEAT.into(), ..key(PRIMARY, Some(PEER.into())) };
    bench.dataplane().pages().probes().add(on_it, entry(PEER_SLOT)).expect("added");
    let mut late =
        Ipv4 { destination: VIP, ttl: 64, protocol: 6, ..Ipv4::advert(ASKER, vec![0xa5; 20]) }.frame();
    late[..6].copy_from_slice(&MAC);
    late[6..12].copy_from_slice(&ASKER_MAC);
    // The lower rank takes the lease of a silent daemon, and is its successor.
    for (beat_ago, listed) in
        [(Duration::ZERO, [4, 51, 200, CLAIMS]), (Duration::from_secs(5), [4, 51, 1, OWNS])]
    {
        owner(&mut bench, beat_ago);
        let frame = to_us(early(5, &[listed]).v4(PEER).frame());
        assert!(takes(&mut bench, &tagged(&frame, &[HEARTBEAT]), "over the heartbeat link"));
        assert_eq!(bench.run(&late).verdict, XDP_DROP, "the successor's MAC here is not known yet");
        assert!(!takes(&mut bench, &frame, "on the interface"));
        let outcome = bench.run(&late);
        assert_eq!((outcome.verdict, &outcome.frame[..12]), (XDP_TX, &[PEER_MAC, MAC].concat()[..]));
    }
}
