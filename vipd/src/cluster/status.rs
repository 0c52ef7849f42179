//! The status to a report, and reports to the status.

use std::net::IpAddr;

use tokio::time::Instant;
use vipd_common::Family;

use super::{
    nodes::{Nodes, ReportedNode},
    wire::{MAX_LINKS, Record, ReportedLink, Sender},
};
use crate::{
    control::model::{InstanceStatus, NodeLinkStatus, NodeStatus, Status},
    coordinator::StateName,
};

const STATES: [StateName; 5] =
    [StateName::Init, StateName::Backup, StateName::Master, StateName::Fault, StateName::Stopped];

/// What this node says of itself.
pub fn sender(status: &Status, start: u64, interval_s: u16, signed: bool) -> Sender {
    Sender {
        signed,
        drained: status.drained,
        interval_s,
        sent_unix_us: 0,
        start,
        host: status.host.clone(),
        router_id: status.router_id.clone().unwrap_or_default(),
        version: status.version.clone(),
    }
}

/// What this node says of an instance; `None` if its state has no place in a report.
pub fn record(i: &InstanceStatus) -> Option<Record> {
    let links = i.lines.iter().take(MAX_LINKS);
    Some(Record {
        family: if i.family == "ipv6" { Family::V6 } else { Family::V4 },
        vrid: i.vrid,
        state: STATES.into_iter().find(|state| state.as_str() == i.state)?,
        priority: i.priority,
        base_priority: i.base_priority,
        handed_over: i.handed_over,
        split_brain: i.split_brain,
        unvouched: i.is_unvouched(),
        one_way: i.is_one_way(),
        address_conflicts: u32::try_from(i.address_conflicts).unwrap_or(u32::MAX),
        in_state_s: u32::try_from(i.in_state_ms / 1_000).unwrap_or(u32::MAX),
        master: i.master.as_ref().map(|master| master.address),
        faults: faults(i),
        mismatches: i.mismatches.join(", "),
        links: links
            .filter_map(|line| ReportedLink::new(&line.interface, line.heartbeat, &line.state))
            .collect(),
    })
}

/// Why an instance is in FAULT.
fn faults(i: &InstanceStatus) -> String {
    let all: Vec<&str> = i.faults.iter().map(|fault| without_output(&fault.what)).collect();
    match (i.state.as_str(), &i.reason) {
        ("FAULT", Some(reason)) if all.is_empty() => without_output(reason).to_owned(),
        _ => all.join(", "),
    }
}

/// How a check failed, without the line that it printed last: that is for the operators of this node alone, and may hold a secret.
/// `check NAME failed (exit code 1): LINE` ends before the colon.
pub fn without_output(text: &str) -> &str {
    text.find("): ").map_or(text, |at| &text[..=at])
}

/// Fills in the nodes of each instance: this node, those that report themselves, the master if it is known by its adverts alone, and
/// unicast peers of which nothing is heard.
pub fn fill(status: &mut Status, nodes: &Nodes, now: Instant) {
    let mut instances = std::mem::take(&mut status.instances);
    for i in &mut instances {
        let heard = nodes.of(&i.name, now);
        let mut all = vec![this_node(status, i)];
        all.extend(heard.into_iter().map(|node| reported(node, now)));
        if let Some(master) = by_advert(i) {
            // Its adverts are heard, though its reports are not any more.
            all.retain(|node| !(node.lost && node.address == master.address));
            if !has(&all, master.address) {
                all.push(master);
            }
        }
        let silent = |peer: &IpAddr| NodeStatus {
            known_by: "peer".into(),
            address: Some(*peer),
            ..NodeStatus::default()
        };
        let peers: Vec<_> =
            i.unicast_peers.iter().filter(|peer| !has(&all, Some(**peer))).map(silent).collect();
        all.extend(peers);
        i.nodes = all;
    }
    status.instances = instances;
    status.cluster_reports.received = nodes.received();
    status.cluster_reports.refused =
        nodes.refused().map(|(reason, count)| (reason.name().to_owned(), count)).collect();
}

fn has(nodes: &[NodeStatus], address: Option<IpAddr>) -> bool {
    nodes.iter().any(|node| node.address == address)
}

fn this_node(status: &Status, i: &InstanceStatus) -> NodeStatus {
    let link = |line: &crate::control::model::LineStatus| NodeLinkStatus {
        interface: line.interface.clone(),
        heartbeat: line.heartbeat,
        state: line.state.clone(),
    };
    let faults = faults(i);
    NodeStatus {
        known_by: "self".into(),
        address: i.address,
        host: Some(status.host.clone()),
        router_id: status.router_id.clone(),
        version: Some(status.version.clone()),
        state: Some(i.state.clone()),
        in_state_ms: Some(i.in_state_ms),
        priority: Some(i.priority),
        base_priority: Some(i.base_priority),
        drained: status.drained,
        handed_over: i.handed_over,
        faults: Some(faults).filter(|faults| !faults.is_empty()),
        split_brain: i.split_brain,
        unvouched: i.is_unvouched(),
        one_way: i.is_one_way(),
        address_conflicts: i.address_conflicts,
        mismatches: Some(i.mismatches.join(", ")).filter(|all| !all.is_empty()),
        master: i.master.as_ref().map(|master| master.address),
        links: i.lines.iter().map(link).collect(),
        ..NodeStatus::default()
    }
}

fn reported(node: &ReportedNode, now: Instant) -> NodeStatus {
    let ReportedNode { address, sender, record, heard_at } = node;
    let given = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
    let heard_ms = u64::try_from(now.duration_since(*heard_at).as_millis()).unwrap_or(u64::MAX);
    let link = |link: &ReportedLink| NodeLinkStatus {
        interface: link.interface.clone(),
        heartbeat: link.heartbeat,
        state: link.state.to_owned(),
    };
    NodeStatus {
        known_by: "report".into(),
        signed: sender.signed,
        lost: node.is_lost(now),
        address: Some(*address),
        host: given(&sender.host),
        router_id: given(&sender.router_id),
        version: given(&sender.version),
        state: Some(record.state.as_str().to_owned()),
        in_state_ms: Some(u64::from(record.in_state_s) * 1_000 + heard_ms),
        priority: Some(record.priority),
        base_priority: Some(record.base_priority),
        drained: sender.drained,
        handed_over: record.handed_over,
        faults: given(&record.faults),
        split_brain: record.split_brain,
        unvouched: record.unvouched,
        one_way: record.one_way,
        address_conflicts: record.address_conflicts.into(),
        mismatches: given(&record.mismatches),
        master: record.master,
        links: record.links.iter().map(link).collect(),
        heard_ms_ago: Some(heard_ms),
        interval_ms: Some(u64::from(sender.interval_s) * 1_000),
    }
}

/// The master that this backup hears. Adverts say an address and a priority, and that their sender is the master.
fn by_advert(i: &InstanceStatus) -> Option<NodeStatus> {
    let master = i.master.as_ref().filter(|master| Some(master.address) != i.address)?;
    Some(NodeStatus {
        known_by: "advert".into(),
        address: Some(master.address),
        state: Some("MASTER".into()),
        priority: Some(master.priority),
        master: Some(master.address),
        heard_ms_ago: i.last_adv_age_ms,
        interval_ms: Some(i.master_advert_interval_ms),
        ..NodeStatus::default()
    })
}

#[cfg(test)]
#[path = "tests/status.rs"]
mod tests;
