//! The cluster as this node sees it: each virtual router with all of its nodes, and what is wrong with it. Computed from a status, on
//! either end of the control socket.

use std::{collections::BTreeSet, net::IpAddr};

use serde::Serialize;

use crate::control::model::{InstanceStatus, NodeStatus, ReportsStatus, SCHEMA, Status};

/// Output of `vipd cluster --json`.
#[derive(Debug, Serialize)]
pub struct ClusterView<'s> {
    /// Version of the status model, whose fields `nodes` and `cluster_reports` are.
    pub schema: u32,
    /// Name of this host.
    pub host: &'s str,
    /// Version of the daemon on this host.
    pub version: &'s str,
    pub cluster_reports: &'s ReportsStatus,
    pub routers: Vec<RouterView<'s>>,
}

/// A virtual router.
#[derive(Debug, Serialize)]
pub struct RouterView<'s> {
    pub name: &'s str,
    pub interface: &'s str,
    pub vrid: u8,
    pub family: &'s str,
    pub sync_group: Option<&'s str>,
    pub vips: &'s [IpAddr],
    /// What is wrong with it, in words; nothing if all is well.
    pub problems: Vec<String>,
    /// This node first.
    pub nodes: &'s [NodeStatus],
}

impl<'s> ClusterView<'s> {
    /// Of what a daemon says.
    pub fn of(status: &'s Status) -> Self {
        let router = |i: &'s InstanceStatus| RouterView {
            name: &i.name,
            interface: &i.interface,
            vrid: i.vrid,
            family: &i.family,
            sync_group: i.sync_group.as_deref(),
            vips: &i.vips,
            problems: problems(i, status.cluster_reports.instances > 0),
            nodes: &i.nodes,
        };
        Self {
            schema: SCHEMA,
            host: &status.host,
            version: &status.version,
            cluster_reports: &status.cluster_reports,
            routers: status.instances.iter().map(router).collect(),
        }
    }
}

/// What a node is called: its host's name, else its `router_id`, else its address.
pub fn name(node: &NodeStatus) -> String {
    let given = node.host.clone().or_else(|| node.router_id.clone()).filter(|name| !name.is_empty());
    given.or_else(|| node.address.map(|address| address.to_string())).unwrap_or_else(|| "unknown".to_owned())
}

/// The same, with the address where two nodes have one name.
fn distinct_name(i: &InstanceStatus, node: &NodeStatus) -> String {
    let own = name(node);
    let is_shared = i.nodes.iter().filter(|other| name(other) == own).count() > 1;
    match node.address.filter(|_| is_shared) {
        Some(address) => format!("{own} ({address})"),
        None => own,
    }
}

/// The nodes that say, or whose adverts say, that they are the master. A report from before a later takeover does not count.
pub fn masters(i: &InstanceStatus) -> Vec<&NodeStatus> {
    let claim = |node: &&NodeStatus| !node.lost && node.state.as_deref() == Some("MASTER");
    let claims: Vec<&NodeStatus> = i.nodes.iter().filter(claim).collect();
    let is_outdated = |node: &NodeStatus| {
        let later = |other: &&NodeStatus| {
            other.address != node.address && other.in_state_ms.is_some_and(|ms| Some(ms) < node.heard_ms_ago)
        };
        claims.iter().any(later)
    };
    claims.iter().copied().filter(|node| !is_outdated(node)).collect()
}

/// What is wrong with a virtual router. `reports`: whether nodes tell each other.
pub fn problems(i: &InstanceStatus, reports: bool) -> Vec<String> {
    let mut problems = Vec::new();
    let masters = masters(i);
    match &masters[..] {
        [] => problems.push("no node is known to be the master".to_owned()),
        [_] => {}
        several => {
            let names: Vec<String> = several.iter().map(|node| distinct_name(i, node)).collect();
            problems.push(format!("split brain: {} masters: {}", names.len(), names.join(", ")));
        }
    }
    for node in &i.nodes {
        let name = distinct_name(i, node);
        if node.lost {
            let ago = node.heard_ms_ago.unwrap_or_default() / 1_000;
            problems.push(format!("{name} is lost: no report for {ago} s"));
            continue;
        }
        if node.state.as_deref() == Some("FAULT") {
            let why = node.faults.as_ref().map(|faults| format!(": {faults}")).unwrap_or_default();
            problems.push(format!("{name} is in FAULT{why}"));
        }
        if node.split_brain {
            let cause = i.split_brain_cause.as_ref().filter(|_| node.known_by == "self");
            let cause = cause.map(|cause| format!(": {cause}")).unwrap_or_default();
            problems.push(format!("split brain: {name} sees another router act as the owner too{cause}"));
        }
        if node.unvouched {
            problems.push(format!("{name} is master and answers for no VIP: nobody vouches for it"));
        }
        if node.one_way {
            problems
                .push(format!("{name} hears a node that does not hear it: a way is dead in one direction"));
        }
        if let Some(what) = &node.mismatches {
            problems.push(format!("{name} sees other routers differ in {what}"));
        }
    }
    let versions: BTreeSet<&String> =
        i.nodes.iter().filter(|node| !node.lost).filter_map(|node| node.version.as_ref()).collect();
    if versions.len() > 1 {
        let versions: Vec<&str> = versions.into_iter().map(String::as_str).collect();
        problems.push(format!("nodes run different versions of vipd: {}", versions.join(", ")));
    }
    if reports && i.nodes.len() == 1 {
        problems.push("no other node is heard".to_owned());
    }
    problems
}

#[cfg(test)]
#[path = "tests/view.rs"]
mod tests;
