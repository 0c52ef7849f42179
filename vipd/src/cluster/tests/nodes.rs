use vipd_common::Family;
use vipd_config::ReportKey;

use super::*;
use crate::cluster::{
    segment::{Destination, ReportPeer},
    wire::{MAX_DATAGRAM, SIGNATURE, datagrams, tests::record},
};

const UNIX_US: u64 = 1_700_000_000_000_000;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn multicast(name: &str, vrid: u8, ifindex: u32) -> Segment {
    Segment {
        name: name.into(),
        family: Family::V4,
        vrid,
        interval: Duration::from_secs(5),
        ifindex,
        source: Some(ip("10.0.0.5")),
        to: Destination::Group(ip("224.0.0.18")),
    }
}

fn unicast(vrid: u8, peer: &str, min_ttl: Option<u8>, on_link: bool) -> Segment {
    let peer = ReportPeer { address: ip(peer), min_ttl, on_link };
    Segment { to: Destination::Peers(vec![peer]), ..multicast("VI_U", vrid, 2) }
}

fn arrival(source: &str) -> Arrival {
    Arrival { source: ip(source), destination: ip("224.0.0.18"), ifindex: 2, hop_limit: 255 }
}

fn report(vrid: u8, sent_unix_us: u64, key: Option<(&SigningKey, ReportPath)>) -> Vec<u8> {
    let sender = Sender {
        signed: key.is_some(),
        interval_s: 5,
        sent_unix_us,
        host: "lb02".into(),
        ..Sender::default()
    };
    let mut datagram = datagrams(&sender, &[record(vrid)]).remove(0);
    if let Some((key, path)) = key {
        key.sign(path, &mut datagram);
    }
    datagram
}

fn key(text: &str) -> SigningKey {
    SigningKey::new(&ReportKey::new(text).unwrap())
}

fn nodes(segments: &[Segment]) -> Nodes {
    let mut nodes = Nodes::default();
    nodes.follow(segments);
    nodes
}

fn path(arrival: Arrival) -> ReportPath {
    ReportPath { source: arrival.source, destination: arrival.destination }
}

#[test]
fn a_neighbour_is_heard_and_others_are_counted_by_reason() {
    let mut all = nodes(&[multicast("VI_1", 1, 2)]);
    let now = Instant::now();
    let good = arrival("10.0.0.6");
    let datagram = report(1, UNIX_US, None);
    for (arrival, datagram, expect) in [
        (good, &datagram[..], Ok(())),
        (Arrival { ifindex: 3, ..good }, &datagram, Err(Refusal::Stranger)),
        (Arrival { destination: ip("10.0.0.5"), ..good }, &datagram, Err(Refusal::Stranger)),
        (Arrival { hop_limit: 254, ..good }, &datagram, Err(Refusal::HopLimit)),
        (Arrival { source: ip("10.0.0.5"), ..good }, &datagram, Err(Refusal::OwnAddress)),
        (good, &report(2, UNIX_US, None), Err(Refusal::OtherRouter)),
        (good, &datagram[..40], Err(Refusal::Malformed)),
        (good, &[0; MAX_DATAGRAM + 1], Err(Refusal::Malformed)),
        (good, b"VIPR\x02", Err(Refusal::Version)),
        (good, &report(1, UNIX_US, Some((&key("correct horse battery"), path(good)))), Err(Refusal::NoKey)),
    ] {
        assert_eq!(all.take(arrival, datagram, None, now, UNIX_US), expect, "{arrival:?}");
    }
    let heard = all.of("VI_1", now);
    assert_eq!((heard.len(), heard[0].address, heard[0].sender.host.as_str()), (1, ip("10.0.0.6"), "lb02"));
    assert_eq!(all.received(), 10);
    let counted: Vec<_> =
        all.refused().filter(|(_, count)| *count > 0).map(|(reason, count)| (reason.name(), count)).collect();
    assert_eq!(
        counted,
        [
            ("stranger", 2),
            ("own_address", 1),
            ("hop_limit", 1),
            ("malformed", 2),
            ("version", 1),
            ("no_key", 1),
            ("other_router", 1)
        ]
    );
}

/// Beyond a router anybody can have any address: without a key only what the operator allows is heard.
#[test]
fn a_unicast_peer_is_heard_if_it_is_near_or_signs() {
    let from =
        |hop_limit| Arrival { source: ip("10.9.0.6"), destination: ip("10.0.0.5"), ifindex: 7, hop_limit };
    let key = key("correct horse battery");
    for (min_ttl, on_link, has_key, hop_limit, expect) in [
        (None, true, false, 255, Ok(())),
        (None, true, true, 254, Err(Refusal::HopLimit)),
        (None, false, false, 250, Err(Refusal::HopLimit)),
        (None, false, true, 250, Ok(())),
        (Some(250), false, false, 250, Ok(())),
        (Some(250), false, true, 249, Err(Refusal::HopLimit)),
    ] {
        let mut all = nodes(&[unicast(1, "10.9.0.6", min_ttl, on_link)]);
        let arrival = from(hop_limit);
        let key = has_key.then_some(&key);
        let datagram = report(1, UNIX_US, key.map(|key| (key, path(arrival))));
        let taken = all.take(arrival, &datagram, key, Instant::now(), UNIX_US);
        assert_eq!(taken, expect, "{min_ttl:?} {on_link} {has_key} {hop_limit}");
    }
    let mut all = nodes(&[unicast(1, "10.9.0.7", None, true)]);
    let taken = all.take(from(255), &report(1, UNIX_US, None), None, Instant::now(), UNIX_US);
    assert_eq!(taken, Err(Refusal::Stranger));
}

#[test]
fn a_signed_report_is_believed_once_from_its_sender_and_for_a_minute() {
    let (ours, theirs) = (key("correct horse battery"), key("another key of 16"));
    let good = arrival("10.0.0.6");
    let mut all = nodes(&[multicast("VI_1", 1, 2)]);
    let second = 1_000_000;
    let signed = |at: u64| report(1, at, Some((&ours, path(good))));
    let mut changed = signed(UNIX_US + 9);
    let at = changed.len() - SIGNATURE - 1;
    changed[at] ^= 1;
    let sent_on = Arrival { source: ip("10.0.0.7"), ..good };
    for (what, arrival, datagram, expect) in [
        ("signed", good, signed(UNIX_US), Ok(())),
        ("the same again", good, signed(UNIX_US), Err(Refusal::Replayed)),
        ("an earlier one", good, signed(UNIX_US - second), Err(Refusal::Replayed)),
        ("a later one", good, signed(UNIX_US + 1), Ok(())),
        ("an old one", good, signed(UNIX_US - 61 * second), Err(Refusal::Stale)),
        ("one from the future", good, signed(UNIX_US + 61 * second), Err(Refusal::Stale)),
        (
            "with another key",
            good,
            report(1, UNIX_US + 9, Some((&theirs, path(good)))),
            Err(Refusal::Signature),
        ),
        ("changed on the way", good, changed, Err(Refusal::Signature)),
        ("from another address", sent_on, signed(UNIX_US + 9), Err(Refusal::Signature)),
        ("unsigned", good, report(1, UNIX_US + 9, None), Err(Refusal::Unsigned)),
    ] {
        assert_eq!(all.take(arrival, &datagram, Some(&ours), Instant::now(), UNIX_US), expect, "{what}");
    }
    assert_eq!(all.of("VI_1", Instant::now()).len(), 1);
}

#[test]
fn a_silent_node_is_lost_and_a_stranger_takes_no_place_of_one_that_is_heard() {
    let mut all = nodes(&[multicast("VI_1", 1, 2)]);
    let now = Instant::now();
    let mut hear = |n: u8, at: Instant| {
        all.take(arrival(&format!("10.0.1.{n}")), &report(1, UNIX_US, None), None, at, UNIX_US)
    };
    for n in 1..=16 {
        assert_eq!(hear(n, now), Ok(()));
    }
    assert_eq!(hear(17, now), Err(Refusal::Full));
    // Three intervals of 5 s.
    let later = now + Duration::from_secs(15);
    for n in 2..=16 {
        assert_eq!(hear(n, later), Ok(()));
    }
    assert_eq!(hear(17, later), Err(Refusal::Full));
    let lost = later + Duration::from_millis(1);
    assert_eq!(hear(17, lost), Ok(()));
    let addresses: Vec<_> =
        all.of("VI_1", lost).iter().map(|node| (node.address, node.is_lost(lost))).collect();
    assert_eq!(addresses.len(), 16);
    assert!(
        !addresses.contains(&(ip("10.0.1.1"), true)) && addresses.contains(&(ip("10.0.1.17"), false)),
        "{addresses:?}"
    );
    let much_later = lost + Duration::from_secs(3_600);
    assert!(all.of("VI_1", much_later).iter().all(|node| node.is_lost(much_later)));
    assert!(all.of("VI_1", lost + REMEMBERED).is_empty());
}

#[test]
fn a_reload_keeps_the_nodes_of_what_stays() {
    let mut all = nodes(&[multicast("VI_1", 1, 2), multicast("VI_2", 2, 2)]);
    let now = Instant::now();
    for vrid in [1, 2] {
        all.take(arrival("10.0.0.6"), &report(vrid, UNIX_US, None), None, now, UNIX_US).unwrap();
    }
    all.follow(&[multicast("VI_1", 1, 3), multicast("VI_2", 9, 2)]);
    assert_eq!((all.of("VI_1", now).len(), all.of("VI_2", now).len()), (1, 0));
    all.follow(&[]);
    assert_eq!(all.of("VI_1", now).len(), 0);
}

/// Memory is bounded, whoever sends what.
#[test]
fn a_flood_of_senders_is_bounded() {
    let key = key("correct horse battery");
    let mut all = nodes(&[multicast("VI_1", 1, 2)]);
    for n in 0..3_000_u32 {
        let arrival =
            Arrival { source: IpAddr::from((0x0a01_0000 + n).to_be_bytes()), ..arrival("10.0.0.6") };
        let _ = all.take(
            arrival,
            &report(1, UNIX_US, Some((&key, path(arrival)))),
            Some(&key),
            Instant::now(),
            UNIX_US,
        );
    }
    assert_eq!(all.of("VI_1", Instant::now()).len(), MAX_NODES);
    assert_eq!(all.senders.len(), MAX_SENDERS);
}
