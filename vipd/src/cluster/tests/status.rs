use std::time::Duration;

use super::*;
use crate::{
    cluster::{
        segment::{Arrival, Destination, Segment},
        wire::{datagrams, tests::record as a_record},
    },
    control::model::samples,
};

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// The status of the samples with what a node at 10.0.0.6 has reported of VI_1 some time ago.
fn filled(change: impl FnOnce(&mut Status), ago: Duration) -> Status {
    let mut status = samples::status();
    change(&mut status);
    let segment = Segment {
        name: "VI_1".into(),
        family: Family::V4,
        vrid: 51,
        interval: Duration::from_secs(5),
        ifindex: 2,
        source: Some(ip("10.0.0.5")),
        to: Destination::Group(ip("224.0.0.18")),
    };
    let mut nodes = Nodes::default();
    nodes.follow(&[segment]);
    let arrival =
        Arrival { source: ip("10.0.0.6"), destination: ip("224.0.0.18"), ifindex: 2, hop_limit: 255 };
    let sender = Sender { interval_s: 5, drained: true, host: "lb02".into(), ..Sender::default() };
    let now = Instant::now();
    nodes.take(arrival, &datagrams(&sender, &[a_record(51)])[0], None, now, 0).unwrap();
    fill(&mut status, &nodes, now + ago);
    status
}

fn known(status: &Status, instance: usize) -> Vec<(&str, Option<IpAddr>)> {
    status.instances[instance].nodes.iter().map(|node| (node.known_by.as_str(), node.address)).collect()
}

#[test]
fn an_instance_is_reported_as_its_status_has_it() {
    let status = samples::status();
    let master = record(&status.instances[0]).unwrap();
    assert_eq!(
        (master.vrid, master.state, master.priority, master.base_priority),
        (51, StateName::Master, 150, 150)
    );
    assert_eq!((master.in_state_s, master.master), (61, Some(ip("10.0.0.5"))));
    let links: Vec<_> =
        master.links.iter().map(|link| (link.interface.as_str(), link.heartbeat, link.state)).collect();
    assert_eq!(links, [("eth0", false, "up"), ("eth1", true, "down")]);
    let fault = record(&status.instances[2]).unwrap();
    assert_eq!((fault.faults.as_str(), fault.mismatches.as_str()), ("interface eth0 is down", "interval"));
}

/// It goes over the wire in the clear, and to whoever reaches the page.
#[test]
fn what_a_check_printed_is_not_told() {
    let mut status = samples::status();
    let group =
        "sync group member VI_2 is in FAULT: check a failed (exit code 1): S3cret, interface eth0 is down";
    for (kind, what, expect) in [
        ("check", "check a failed (exit code 1): S3cret", "check a failed (exit code 1)"),
        ("group", group, "sync group member VI_2 is in FAULT: check a failed (exit code 1)"),
        ("process", "process x is not running", "process x is not running"),
    ] {
        status.instances[2].faults[0].kind = kind.into();
        status.instances[2].faults[0].what = what.into();
        let record = record(&status.instances[2]).unwrap();
        let node = this_node(&status, &status.instances[2]);
        assert_eq!((record.faults.as_str(), node.faults.as_deref()), (expect, Some(expect)));
    }
    status.instances[2].faults.clear();
    status.instances[2].reason = Some("check a failed (exit code 1): S3cret".into());
    assert_eq!(record(&status.instances[2]).unwrap().faults, "check a failed (exit code 1)");
}

#[test]
fn nodes_are_this_one_those_that_report_and_the_master_that_is_heard() {
    let status = filled(|_| {}, Duration::from_secs(2));
    assert_eq!(known(&status, 0), [("self", Some(ip("10.0.0.5"))), ("report", Some(ip("10.0.0.6")))]);
    let node = &status.instances[0].nodes[1];
    assert_eq!((node.host.as_deref(), node.drained, node.lost), (Some("lb02"), true, false));
    assert_eq!((node.heard_ms_ago, node.in_state_ms), (Some(2_000), Some(63_000)));
    // Its master is its unicast peer as well.
    assert_eq!(known(&status, 1), [("self", Some(ip("fe80::5"))), ("advert", Some(ip("fe80::6")))]);
    assert_eq!(status.cluster_reports.received, 1);
    assert_eq!(status.cluster_reports.refused.len(), 12);
}

#[test]
fn a_peer_that_says_nothing_is_shown_too() {
    let two = |status: &mut Status| status.instances[1].unicast_peers.push(ip("fe80::7"));
    assert_eq!(known(&filled(two, Duration::ZERO), 1)[2], ("peer", Some(ip("fe80::7"))));
}

/// Its reports do not come, but its adverts do: a node that was downgraded, or has a firewall now.
#[test]
fn the_adverts_of_a_lost_master_say_more_than_its_reports() {
    let heard = |status: &mut Status| {
        status.instances[0].master =
            Some(crate::control::model::MasterStatus { address: ip("10.0.0.6"), priority: 200 });
    };
    let late = Duration::from_secs(16);
    assert_eq!(known(&filled(heard, late), 0)[1], ("advert", Some(ip("10.0.0.6"))));
    let status = filled(|_| {}, late);
    assert!(status.instances[0].nodes[1].lost);
}
