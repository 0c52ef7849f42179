//! The services of load balancing in the status.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Load balancing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BalancingStatus {
    /// The virtual servers, in the order of the configuration.
    pub services: Vec<ServiceStatus>,
    /// Whether the kernel's table is known to be as it is to be.
    pub settled: bool,
    /// Why it is not, or cannot be read; `null` if nothing is refused.
    pub problem: Option<String>,
    /// Changes of vipd's services by others that were put back.
    pub repairs: u64,
    /// The sync daemons of IPVS that run: `master` and `backup`, each with its interface.
    pub sync_daemons: Vec<String>,
    /// The probes.
    pub probes: ProbesStatus,
}

/// What the prober does. Equal checks share a probe.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProbesStatus {
    /// Probes that are sent.
    pub probes: u64,
    /// Probes that wait for an answer.
    pub running: u64,
    /// Probes sent so far.
    pub sent: u64,
    /// Probes that could not be sent, for a reason of this host. They are no failures.
    pub not_sent: u64,
    /// Greatest delay of a probe behind its schedule, since the status was asked for last.
    pub lateness_max_us: u64,
    /// Time since the thread of the probes went through its turns; it does so once a second.
    pub turned_ms_ago: u64,
}

/// A virtual server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ServiceStatus {
    /// Its name in FIFO lines and mails: `[10.9.0.1]:tcp:80`, `FWM 7` or `[GROUP]:0`.
    pub name: String,
    /// Its addresses, as `10.9.0.1:80` or `fwmark 7`; several of a group.
    pub addresses: Vec<String>,
    /// `tcp`, `udp` or `sctp`; `null` of a firewall mark.
    pub protocol: Option<String>,
    /// `lb_algo`.
    pub scheduler: String,
    /// `persistence_timeout`; `null` without persistence.
    pub persistence_s: Option<u32>,
    /// Whether it has its quorum.
    pub quorum_up: bool,
    /// `quorum`, at most the sum of the weights.
    pub quorum: u64,
    /// Sum of the weights of the servers that are up and not drained.
    pub live_weight: u64,
    /// `sorry_server`; `null` without one.
    pub sorry_server: Option<String>,
    /// Whether the sorry server serves.
    pub sorry_serves: bool,
    /// Whether failed servers serve because of `min_alive`.
    pub failed_serve: bool,
    /// Whether `ha_suspend` holds the checks: this node owns none of the addresses.
    pub suspended: bool,
    /// What the kernel refuses of it; `null` if it refuses nothing.
    pub refused: Option<String>,
    /// What the kernel has counted, of all addresses.
    pub traffic: TrafficStatus,
    /// The real servers, in the order of the configuration.
    pub servers: Vec<RealServerStatus>,
}

/// A real server of a virtual server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RealServerStatus {
    /// Address and port.
    pub server: String,
    /// `NAT`, `DR` or `TUN`.
    pub method: String,
    /// `up`, `rising` (its weight rises), `no_weight`, `down`, `down_serving` (because of `min_alive`), `unchecked` (`alpha`), `draining`, `drained` or
    /// `standby` (well, but the sorry server serves).
    pub state: String,
    /// Why, with the words of the check that failed.
    pub reason: String,
    /// When it came up or went down, since 1970.
    pub since_unix_ms: u64,
    /// Time since then.
    pub in_state_ms: u64,
    /// Weight in the kernel's table; `null`: it is not there.
    pub weight: Option<u32>,
    /// `weight` and what checks add to it.
    pub full_weight: u32,
    /// Connections that are established.
    pub active_connections: u64,
    /// Other connections.
    pub inactive_connections: u64,
    /// What the kernel has counted, of all addresses of the virtual server.
    pub traffic: TrafficStatus,
    /// Its checks.
    pub checks: Vec<ServerCheckStatus>,
}

/// What the kernel has counted of a virtual server or a real server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TrafficStatus {
    /// Connections.
    pub connections: u64,
    /// Packets from clients.
    pub packets_in: u64,
    /// Packets from servers; 0 with `DR` and `TUN`, whose answers do not pass this host.
    pub packets_out: u64,
    /// Octets from clients.
    pub octets_in: u64,
    /// Octets from servers, as for packets.
    pub octets_out: u64,
    /// New connections in a second.
    pub connections_per_s: u64,
    /// Packets from clients in a second.
    pub packets_in_per_s: u64,
    /// Octets from clients in a second.
    pub octets_in_per_s: u64,
    /// Octets from servers in a second.
    pub octets_out_per_s: u64,
}

/// A check of a real server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ServerCheckStatus {
    /// Its keyword and where it goes: `TCP_CHECK 10.0.0.1:80`.
    pub check: String,
    /// Whether its last run passed; `null`: it has not run yet, or could not be sent.
    pub passed: Option<bool>,
    /// What came of its last run, in the words of the probe; empty before the first.
    pub words: String,
    /// How long the last run took; `null` before the first.
    pub latency_us: Option<u64>,
    /// Time since the last run ended; `null` before the first.
    pub ran_ms_ago: Option<u64>,
}

impl ServiceStatus {
    /// Its addresses and protocol, for people: `10.9.0.1:80 TCP`.
    pub fn title(&self) -> String {
        let addresses = match self.addresses.as_slice() {
            [one] => one.clone(),
            several => format!("{} ({} addresses)", self.name, several.len()),
        };
        match &self.protocol {
            Some(protocol) => format!("{addresses} {}", protocol.to_uppercase()),
            None => addresses,
        }
    }
}

impl RealServerStatus {
    /// Whether it gets connections, or would without the sorry server.
    pub fn is_well(&self) -> bool {
        ["up", "rising", "standby", "no_weight"].contains(&self.state.as_str())
    }
}
