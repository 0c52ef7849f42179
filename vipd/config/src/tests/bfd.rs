//! `bfd_instance` and `track_bfd`: keepalived's defaults and ranges, and what must fit together.

use std::{net::IpAddr, time::Duration};

use super::{findings, parse, with};
use crate::{BfdInstance, Tracked, model::weight::Weight};

fn session(lines: &str) -> String {
    format!("bfd_instance peer {{\n{lines}\n}}\n")
}

fn read(lines: &str) -> BfdInstance {
    parse(&(session(lines) + &with(""))).unwrap().config.bfd.remove(0)
}

#[test]
fn defaults_are_keepalived_s() {
    let neighbor: IpAddr = "10.0.0.6".parse().unwrap();
    let expected = BfdInstance {
        name: "peer".to_owned(),
        neighbor,
        source: None,
        interface: None,
        min_rx: Duration::from_millis(10),
        min_tx: Duration::from_millis(10),
        idle_tx: Duration::from_secs(1),
        multiplier: 5,
        passive: false,
        hop_limit: 255,
        min_hop_limit: 255,
        multihop: false,
        weight: Weight::default(),
        for_vrrp: true,
        for_checkers: true,
    };
    assert_eq!(read("neighbor_ip 10.0.0.6"), expected);
    assert_eq!(read("neighbour_ip 10.0.0.6"), expected);
    assert_eq!(read("neighbor_ip fe80::6\ninterface eth1").interface.as_deref(), Some("eth1"));
    let all = "neighbor_ip 10.0.0.6\nsource_ip 10.0.0.5\nmin_rx 3.333\nmin_tx 20\nidle_tx 2000.5\nmultiplier 3\npassive\nttl 200\n\
               max_hops 7\nmultihop\nweight -20 reverse\nvrrp";
    let given = BfdInstance {
        source: Some("10.0.0.5".parse().unwrap()),
        min_rx: Duration::from_micros(3_333),
        min_tx: Duration::from_millis(20),
        idle_tx: Duration::from_micros(2_000_500),
        multiplier: 3,
        passive: true,
        hop_limit: 200,
        min_hop_limit: 193,
        multihop: true,
        weight: Weight { value: -20, reverse: true },
        for_checkers: false,
        ..expected
    };
    assert_eq!(read(all), given);
}

/// What packets may arrive with: keepalived sends 64 over IPv6, and does not check anything with -1 or 255.
#[test]
fn the_least_hop_limit_follows_from_two_keywords() {
    for (lines, sent, least) in [
        ("neighbor_ip 10.0.0.6", 255, 255),
        ("neighbor_ip 10.0.0.6\nmax_hops 3", 255, 252),
        ("neighbor_ip 10.0.0.6\nmax_hops -1", 255, 0),
        ("neighbor_ip 10.0.0.6\nmax_hops 255", 255, 0),
        ("neighbor_ip 10.0.0.6\nttl 5\nmax_hops 9", 5, 0),
        ("neighbor_ip 2001:db8::6", 255, 64),
        ("neighbor_ip 2001:db8::6\nhoplimit 255", 255, 255),
        ("neighbor_ip 2001:db8::6\nmax_hops 4", 255, 60),
    ] {
        let session = read(lines);
        assert_eq!((session.hop_limit, session.min_hop_limit), (sent, least), "{lines}");
    }
}

#[test]
fn what_cannot_be_is_said() {
    for (lines, expected) in [
        ("neighbor_ip 10.0.0.6\nmin_rx 0.999", "error: min_rx `0.999`"),
        ("neighbor_ip 10.0.0.6\nmin_tx 4294968", "error: min_tx `4294968`"),
        ("neighbor_ip 10.0.0.6\nidle_tx 999", "error: idle_tx `999`"),
        ("neighbor_ip 10.0.0.6\nmultiplier 0", "error: multiplier `0`"),
        ("neighbor_ip 10.0.0.6\nmax_hops 256", "error: max_hops `256`"),
        ("neighbor_ip 10.0.0.6\nname x", "unknown keyword"),
        ("min_rx 10", "error: `bfd_instance peer` has no `neighbor_ip`"),
        ("neighbor_ip 224.0.0.1", "is no neighbor's"),
        ("neighbor_ip ::ffff:10.0.0.6", "is an IPv4 address written as IPv6"),
        ("neighbor_ip fe80::1", "is of one link, and the block does not say of which"),
        (
            "neighbor_ip fe80::1\nmultihop",
            "`multihop` in `bfd_instance peer`, whose neighbor fe80::1 is on the link",
        ),
        (
            "neighbor_ip 10.0.0.6\nmultihop\ninterface eth0",
            "`interface` with `multihop` in `bfd_instance peer`",
        ),
        ("neighbor_ip 10.0.0.6\nsource_ip 2001:db8::1", "are of two families"),
        ("neighbor_ip 10.0.0.6\nsource_ip 10.0.0.6", "are both 10.0.0.6"),
        ("neighbor_ip 10.0.0.6\nmin_rx 10001", "warning: min_rx 10001 ms is more than 10 seconds"),
        ("neighbor_ip 2001:db8::6", "notice: `bfd_instance peer` takes packets that may have been forwarded"),
    ] {
        let found = findings(&(session(lines) + &with("")));
        assert!(found.iter().any(|found| found.contains(expected)), "{lines}\n{found:#?}");
    }
    let named = |name: &str| findings(&(session("neighbor_ip 10.0.0.6").replace("peer", name) + &with("")));
    let (most, more) = ("x".repeat(31), "x".repeat(32));
    assert_eq!(named(&most), Vec::<String>::new());
    let found = named(&more);
    assert!(found.len() == 1 && found[0].contains("has more than 31 characters"), "{found:?}");
    let sound = findings(&(session("neighbor_ip 10.0.0.6\nmin_rx 10000") + &with("")));
    assert_eq!(sound, Vec::<String>::new());
}

#[test]
fn two_sessions_of_the_same_addresses_are_one() {
    let two = |first: &str, second: &str| {
        let session =
            |name: &str, lines: &str| format!("bfd_instance {name} {{\nneighbor_ip 10.0.0.6\n{lines}\n}}\n");
        findings(&(session("a", first) + &session("b", second) + &with("")))
    };
    for (first, second, same) in [
        ("", "min_rx 20", true),
        ("source_ip 10.0.0.5", "source_ip 10.0.0.5", true),
        ("source_ip 10.0.0.5", "source_ip 10.0.0.7", false),
        // The routes may choose for one what the other has.
        ("source_ip 10.0.0.5", "", true),
        ("", "interface eth0", true),
        ("interface eth0", "interface eth1", false),
        ("interface eth0", "interface eth0\nsource_ip 10.0.0.5", true),
        ("multihop", "", false),
        ("multihop", "multihop\nsource_ip 10.0.0.5", true),
        ("multihop", "multihop", true),
    ] {
        let found = two(first, second);
        let said = found.iter().any(|found| found.contains("may have the addresses of another session"));
        assert_eq!(said, same, "{first:?} {second:?} {found:#?}");
        let line = 4 + first.lines().count().max(1);
        let has_place = found.iter().any(|found| found.starts_with(&format!("{line}:14: error: ")));
        assert_eq!(has_place, same, "{line} {found:#?}");
    }
}

#[test]
fn instances_track_sessions() {
    let file = |who: &str, line: &str| {
        session(&format!("neighbor_ip 10.0.0.6\nweight 7\n{who}"))
            + &with(&format!("track_bfd {{\n{line}\n}}"))
    };
    for (line, weight) in [
        ("peer", Weight { value: 7, reverse: false }),
        ("peer weight 0", Weight::default()),
        ("peer weight -30 reverse", Weight { value: -30, reverse: true }),
    ] {
        let tracking = parse(&file("", line)).unwrap().config.tracking();
        assert_eq!(tracking.sessions.len(), 1, "{line}");
        assert_eq!(
            (&tracking.instances[0][0].what, tracking.instances[0][0].weight),
            (&Tracked::Bfd(0), weight)
        );
    }
    // As keepalived: who is told of it is said where it is configured.
    let ignored = parse(&file("checker", "peer")).unwrap();
    assert_eq!(ignored.config.tracking().instances[0], []);
    assert!(ignored.warnings.iter().any(|warning| warning.message.contains("is for checkers alone")));
    let found = findings(&file("", "other"));
    assert!(found.iter().any(|found| found.contains("no `bfd_instance` is called `other`")), "{found:#?}");
}
