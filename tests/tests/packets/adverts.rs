//! Adverts: stamps, events, and when the lease is taken back.

use std::{net::Ipv4Addr, time::Duration};

use vipd_common::abi::{event_kind, mapped};
use vipd_core::time::Instant;

use crate::{
    bench::{Bench, LEASE_SLOT, PRIMARY, SLOT, VIP, XDP_DROP, XDP_PASS, identity, now},
    frames::{Ipv4, PEER_MAC, v2, v3},
};

const PEER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
const GREATER: Ipv4Addr = Ipv4Addr::new(200, 0, 0, 1);
const LEASE: Duration = Duration::from_secs(4);

fn advert(source: Ipv4Addr, priority: u8) -> Vec<u8> {
    Ipv4::advert(source, v3(51, priority, 100, &[VIP])).frame()
}

fn bench() -> Option<Bench> {
    let mut bench = Bench::new()?;
    bench.configure(&identity(), &[(0, VIP)]);
    Some(bench)
}

/// DESIGN idea 1: a rival that beats us, or any that speaks while our renewal is 1.5 intervals old.
#[test]
fn a_lease_is_taken_back_by_whoever_has_won() {
    let Some(mut bench) = bench() else { return };
    let fresh = Duration::ZERO;
    let stale = Duration::from_millis(1600);
    let not_quite = Duration::from_millis(1200);
    for (what, source, priority, age, revoked) in [
        ("higher priority", PEER, 101, fresh, true),
        ("equal priority, greater address", GREATER, 100, fresh, true),
        ("equal priority, smaller address", PEER, 100, fresh, false),
        ("lower priority", GREATER, 99, fresh, false),
        ("lower priority, renewal 1.2 intervals old", PEER, 1, not_quite, false),
        ("lower priority, renewal 1.6 intervals old", PEER, 1, stale, true),
        ("priority 0, fresh", PEER, 0, fresh, false),
        ("priority 0, stale", PEER, 0, stale, false),
    ] {
        let until = bench.own(LEASE, age);
        let outcome = bench.run(&advert(source, priority));
        assert_eq!(outcome.verdict, XDP_PASS, "{what}");
        let left = if revoked { Instant::default() } else { until };
        assert_eq!(bench.lease(), left, "{what}");
        let event = bench.event().unwrap_or_else(|| panic!("{what}: an owner hears of every rival"));
        let kind = if revoked { event_kind::REVOKED } else { event_kind::ADVERT };
        assert_eq!((event.kind, event.instance), (kind, SLOT), "{what}");
        assert_eq!(
            (event.source, event.mac, event.priority),
            (mapped(source.octets()), PEER_MAC, priority),
            "{what}"
        );
        while bench.event().is_some() {}
        bench.dataplane().pages().instances().resync(SLOT);
    }
    assert_eq!(bench.instance_counters().leases_revoked, 3);
}

/// While leaving (priority 0 published) every router with a priority takes over.
#[test]
fn a_leaving_owner_yields_to_anyone() {
    let Some(mut bench) = bench() else { return };
    bench.dataplane().pages().instances().rank(SLOT, 0, mapped(PRIMARY.octets()));
    let until = bench.own(LEASE, Duration::ZERO);
    bench.run(&advert(PEER, 0));
    assert_eq!(bench.lease(), until, "another that leaves takes nothing");
    bench.run(&advert(PEER, 1));
    assert_eq!(bench.lease(), Instant::default());
}

#[test]
fn an_expired_lease_is_cleared_but_not_revoked() {
    let Some(mut bench) = bench() else { return };
    let until = now();
    bench.dataplane().pages().leases().acquire(LEASE_SLOT, until);
    bench.run(&advert(PEER, 0));
    assert_eq!(bench.lease(), until, "a goodbye takes nothing");
    assert_eq!(bench.event().map(|event| event.kind), Some(event_kind::ADVERT));
    bench.run(&advert(PEER, 1));
    // So that a daemon that wakes up in the middle of a renewal finds out.
    assert_eq!(bench.lease(), Instant::default());
    assert_eq!(bench.event().map(|event| event.kind), Some(event_kind::ADVERT));
    assert_eq!(bench.instance_counters().leases_revoked, 0);
}

/// DESIGN idea 3: a backup's daemon is woken by changes, and reads the stamp for the rest.
#[test]
fn only_changes_are_events_and_every_advert_is_stamped() {
    let Some(mut bench) = bench() else { return };
    let mut generation = 0;
    for (what, source, priority, interval, news) in [
        ("the first advert", PEER, 150, 100, true),
        ("the same again", PEER, 150, 100, false),
        ("and again", PEER, 150, 100, false),
        ("another priority", PEER, 151, 100, true),
        ("another interval", PEER, 151, 50, true),
        ("another router", GREATER, 151, 50, true),
        ("the same again", GREATER, 151, 50, false),
        ("goodbye", GREATER, 0, 50, true),
        ("goodbye again", GREATER, 0, 50, false),
    ] {
        let before = now();
        let frame = Ipv4::advert(source, v3(51, priority, interval, &[VIP])).frame();
        assert_eq!(bench.run(&frame).verdict, XDP_PASS, "{what}");
        let heard = bench.dataplane().pages().instances().heard(SLOT);
        assert!(before <= heard.at && heard.at <= now(), "{what}: stamped {} after {before}", heard.at);
        generation += u64::from(news);
        assert_eq!(heard.generation, generation, "{what}");
        let event = bench.event();
        assert_eq!(event.map(|event| event.generation), news.then_some(generation), "{what}");
    }
}

#[test]
fn a_resync_makes_the_next_advert_news() {
    let Some(mut bench) = bench() else { return };
    bench.run(&advert(PEER, 150));
    bench.event().expect("news");
    bench.run(&advert(PEER, 150));
    assert!(bench.event().is_none());
    bench.dataplane().pages().instances().resync(SLOT);
    bench.run(&advert(PEER, 150));
    assert!(bench.event().is_some());
    bench.run(&advert(PEER, 150));
    assert!(bench.event().is_none(), "once");
}

/// A rival that an owner has to answer is reported again, but not for every frame of a flood.
#[test]
fn an_owner_is_told_of_a_standing_rival_at_a_bounded_rate() {
    let Some(mut bench) = bench() else { return };
    bench.own(Duration::from_secs(60), Duration::from_secs(56));
    let start = now();
    for _ in 0..2000 {
        bench.run(&advert(PEER, 99));
    }
    let elapsed = now().saturating_since(start);
    let events = std::iter::from_fn(|| bench.event()).count();
    let most = 1 + elapsed.as_millis() / 10;
    assert!((1..=most).contains(&(events as u128)), "{events} events in {elapsed:?}");
}

/// When the ring is full the record stays as it was, so that what was lost is news again.
#[test]
fn a_full_ring_loses_no_news_for_good() {
    let Some(mut bench) = bench() else { return };
    let mut sent = 0u32;
    while bench.instance_counters().events_lost == 0 {
        // Two routers in turn: every advert is a change.
        bench.run(&advert(if sent.is_multiple_of(2) { PEER } else { GREATER }, 150));
        sent += 1;
        assert!(sent < 100_000, "the ring never filled");
        // As if they came slowly, to a daemon that reads nothing.
        if sent.is_multiple_of(30) {
            bench.forget_payments();
        }
    }
    let heard = bench.dataplane().pages().instances().heard(SLOT);
    bench.run(&advert(if sent.is_multiple_of(2) { GREATER } else { PEER }, 150));
    assert_eq!(
        bench.dataplane().pages().instances().heard(SLOT),
        heard,
        "not stamped with what nobody was told"
    );
    while bench.event().is_some() {}
    let last = if sent.is_multiple_of(2) { GREATER } else { PEER };
    bench.run(&advert(last, 150));
    assert_eq!(bench.event().map(|event| event.source), Some(mapped(last.octets())));
}

#[test]
fn what_is_no_advert_for_us_does_nothing() {
    let Some(mut bench) = bench() else { return };
    bench.own(LEASE, Duration::ZERO);
    let until = bench.lease();
    let win = || v3(51, 255, 100, &[VIP]);
    let packet = |f: &dyn Fn(&mut Ipv4)| {
        let mut packet = Ipv4::advert(PEER, win());
        f(&mut packet);
        packet.frame()
    };
    let mut bad_ip_sum = advert(PEER, 255);
    bad_ip_sum[24] ^= 1;
    let mut cut = advert(PEER, 255);
    cut.truncate(cut.len() - 1);
    for (what, frame, verdict, counter) in [
        ("own source", packet(&|p| p.source = PRIMARY), XDP_DROP, "own_source"),
        ("first fragment", packet(&|p| p.fragment = 0x2000), XDP_PASS, "advert_fragments"),
        ("later fragment", packet(&|p| p.fragment = 1), XDP_PASS, "advert_fragments"),
        ("header checksum", bad_ip_sum, XDP_DROP, "ip_checksum_errors"),
        ("frame cut short", cut, XDP_DROP, "packet_length_errors"),
        ("another VRID", packet(&|p| p.payload = v3(52, 255, 100, &[VIP])), XDP_PASS, "vrid_errors"),
        (
            "another VRID, TTL 254",
            packet(&|p| (p.ttl, p.payload) = (254, v3(52, 255, 100, &[VIP]))),
            XDP_PASS,
            "foreign_ip_ttl_errors",
        ),
        ("version 2", packet(&|p| p.payload = v2(51, 255, 1, &[VIP])), XDP_DROP, "version_errors"),
    ] {
        let (outcome, moved) = bench.moved(&frame);
        assert_eq!((outcome.verdict, &moved[..]), (verdict, &[(counter, 1)][..]), "{what}");
        assert_eq!(bench.lease(), until, "{what}");
        assert!(bench.event().is_none(), "{what}");
    }
    // Don't Fragment is no fragment.
    bench.run(&packet(&|p| p.fragment = 0x4000));
    assert_eq!(bench.lease(), Instant::default());
}

/// RFC 3768 7.1: the owner of the addresses discards every advert. One that is silent itself has a successor all the same.
#[test]
fn a_v2_owner_hears_nobody() {
    let Some(mut bench) = Bench::new() else { return };
    bench.configure(&vipd_dataplane::Identity { version: 2, priority: 255, ..identity() }, &[(0, VIP)]);
    let discards = |bench: &mut Bench, source, priority| {
        let (outcome, moved) = bench.moved(&Ipv4::advert(source, v2(51, priority, 1, &[VIP])).frame());
        assert_eq!((outcome.verdict, &moved[..]), (XDP_DROP, &[("local_owner", 1)][..]));
        assert!(bench.event().is_none());
        bench.lease()
    };
    let until = bench.own(LEASE, Duration::from_secs(1));
    assert_eq!(discards(&mut bench, GREATER, 255), until);
    let until = bench.own(LEASE, Duration::from_secs(3));
    assert_eq!(discards(&mut bench, GREATER, 0), until, "a goodbye takes nothing");
    assert_eq!(discards(&mut bench, PEER, 1), Instant::default());
}

/// A digest of the addresses, not their order (RFC 9568 5.2.9), decides whether a list differs.
#[test]
fn another_address_list_is_noted_and_accepted() {
    let Some(mut bench) = Bench::new() else { return };
    let other = Ipv4Addr::new(192, 0, 2, 101);
    let ours = [VIP, other];
    bench.configure(
        &vipd_dataplane::Identity { address_list_digest: crate::bench::digest(&ours), ..identity() },
        &[(0, VIP)],
    );
    for (what, list, differs) in [
        ("the same", &[VIP, other][..], 0),
        ("another order", &[other, VIP], 0),
        ("one less", &[VIP], 1),
        ("one twice", &[VIP, VIP], 1),
        ("one more", &[VIP, other, PEER], 1),
    ] {
        bench.dataplane().pages().instances().resync(SLOT);
        bench.run(&Ipv4::advert(PEER, v3(51, 150, 100, list)).frame());
        assert_eq!(bench.event().map(|event| event.address_list_differs), Some(differs), "{what}");
    }
    assert_eq!(bench.instance_counters().address_list_differs, 3);
}

/// whatever is in the payload, nothing happens, and nothing but one counter moves.
#[test]
fn random_payloads_change_nothing() {
    let Some(mut bench) = bench() else { return };
    let until = bench.own(Duration::from_secs(3600), Duration::from_secs(3590));
    // xorshift64 (Marsaglia 2003), seeded: the same payloads every time.
    let mut state = 0x2545_f491_4f6c_dd1du64;
    let mut random = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for i in 0..20_000 {
        let length = (random() % 1100) as usize;
        let mut payload: Vec<u8> = (0..length).map(|_| random() as u8).collect();
        // Every other one looks like an advert for us, so that the later checks have something to do.
        if i % 2 == 0 && length >= 8 {
            payload[..2].copy_from_slice(&[0x31, 51]);
            payload[3] = ((length - 8) / 4).min(255) as u8;
        }
        let (_, moved) = bench.moved(&Ipv4::advert(PEER, payload).frame());
        assert_eq!(moved.len(), 1, "payload {i}: {moved:?}");
    }
    assert_eq!(bench.lease(), until);
    assert!(bench.event().is_none());
}
