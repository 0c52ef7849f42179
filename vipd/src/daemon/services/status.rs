//! The services in the status: what the judge knows, what the probes have said, and what the kernel has counted.

use std::collections::BTreeMap;

use vipd_balance::{
    ForwardMethod, JudgedService, JudgedTarget, ServiceAddress, ServiceTarget, TargetId, TargetReason,
    VirtualServer,
};
use vipd_ipvs::{ConnectionCounts, IpvsTable, ServedService, TrafficStats};

use super::{probes::ServerProbes, table};
use crate::{
    control::model::{RealServerStatus, ServiceStatus, TrafficStatus},
    time::Instant,
};

/// What the kernel has counted of the addresses of a service, by target.
#[derive(Debug, Default)]
pub struct Counted {
    traffic: TrafficStatus,
    targets: BTreeMap<TargetId, (ConnectionCounts, TrafficStatus)>,
}

impl Counted {
    /// Of the addresses of a service.
    pub fn of(addresses: &[ServiceAddress], table: &IpvsTable) -> Self {
        let mut counted = Self::default();
        let is_its = |served: &&ServedService| {
            table::address_of(&served.service.key).is_some_and(|address| addresses.contains(&address))
        };
        for served in table.services.iter().filter(is_its) {
            add(&mut counted.traffic, &served.stats);
            for served in &served.destinations {
                let id = table::target_id(served.destination.key);
                let (connections, traffic) = counted.targets.entry(id).or_default();
                connections.active = connections.active.saturating_add(served.connections.active);
                connections.inactive = connections.inactive.saturating_add(served.connections.inactive);
                add(traffic, &served.stats);
            }
        }
        counted
    }

    /// The connections that a target has.
    pub fn connections(&self, target: TargetId) -> u64 {
        let counts = self.targets.get(&target).map(|(counts, _)| *counts).unwrap_or_default();
        u64::from(counts.active) + u64::from(counts.inactive)
    }
}

fn add(sum: &mut TrafficStatus, stats: &TrafficStats) {
    let TrafficStatus {
        connections,
        packets_in,
        packets_out,
        octets_in,
        octets_out,
        connections_per_s,
        packets_in_per_s,
        octets_in_per_s,
        octets_out_per_s,
    } = sum;
    for (sum, more) in [
        (connections, stats.connections),
        (packets_in, stats.packets_in),
        (packets_out, stats.packets_out),
        (octets_in, stats.octets_in),
        (octets_out, stats.octets_out),
        (connections_per_s, stats.connections_per_s),
        (packets_in_per_s, stats.packets_in_per_s),
        (octets_in_per_s, stats.octets_in_per_s),
        (octets_out_per_s, stats.octets_out_per_s),
    ] {
        *sum = sum.saturating_add(more);
    }
}

/// A service. `since`: when each target came up or went down, in milliseconds since 1970.
pub fn service(
    server: &VirtualServer,
    judged: &JudgedService<'_>,
    counted: &Counted,
    refused: Option<&str>,
    (probes, now): (&ServerProbes, Instant),
    since: impl Fn(TargetId) -> (u64, u64),
) -> ServiceStatus {
    let target = |judged: &JudgedTarget<'_>| {
        let config = server.targets.iter().find(|target| target.id == judged.id)?;
        let (since_unix_ms, in_state_ms) = since(judged.id);
        let status = real_server(config, judged, counted, (probes, now));
        Some(RealServerStatus { since_unix_ms, in_state_ms, ..status })
    };
    let protocol = server.addresses.iter().find_map(|address| match address {
        ServiceAddress::Socket { protocol, .. } => Some(protocol.name().to_owned()),
        ServiceAddress::Mark { .. } => None,
    });
    ServiceStatus {
        name: server.id.to_string(),
        addresses: server.addresses.iter().map(address).collect(),
        protocol,
        scheduler: server.settings.scheduler.name().to_owned(),
        persistence_s: server.settings.persistence.map(|persistence| persistence.timeout_s),
        quorum_up: judged.quorum_up,
        quorum: judged.quorum,
        live_weight: judged.live_weight,
        sorry_server: server.sorry.map(|sorry| sorry.id.to_string()),
        sorry_serves: judged.sorry,
        failed_serve: judged.failed_serve,
        suspended: judged.suspended,
        refused: refused.map(str::to_owned),
        traffic: counted.traffic,
        servers: judged.targets.iter().filter_map(target).collect(),
    }
}

/// An address as an operator writes it.
pub fn address(address: &ServiceAddress) -> String {
    match *address {
        ServiceAddress::Socket { address, port, .. } => std::net::SocketAddr::new(address, port).to_string(),
        ServiceAddress::Mark { mark, .. } => format!("fwmark {mark}"),
    }
}

fn real_server(
    config: &ServiceTarget,
    judged: &JudgedTarget<'_>,
    counted: &Counted,
    (probes, now): (&ServerProbes, Instant),
) -> RealServerStatus {
    let (connections, traffic) = counted.targets.get(&config.id).copied().unwrap_or_default();
    RealServerStatus {
        server: config.id.to_string(),
        method: match config.forward {
            ForwardMethod::Nat => "NAT",
            ForwardMethod::Direct => "DR",
            ForwardMethod::Tunnel(_) => "TUN",
        }
        .to_owned(),
        state: state(judged.reason).to_owned(),
        reason: judged.reason.to_string(),
        since_unix_ms: 0,
        in_state_ms: 0,
        weight: judged.weight,
        full_weight: judged.full_weight,
        active_connections: connections.active.into(),
        inactive_connections: connections.inactive.into(),
        traffic,
        checks: config.checks.iter().map(|check| probes.check(&check.probe, now)).collect(),
    }
}

const fn state(reason: TargetReason<'_>) -> &'static str {
    match reason {
        TargetReason::Serves => "up",
        TargetReason::Ramp => "rising",
        TargetReason::NoWeight => "no_weight",
        TargetReason::Failed { .. } => "down",
        TargetReason::FailedServes { .. } => "down_serving",
        TargetReason::NotChecked => "unchecked",
        TargetReason::Draining => "draining",
        TargetReason::Drained => "drained",
        TargetReason::Sorry => "standby",
    }
}
