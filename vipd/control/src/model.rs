//! Output of `vipd status --json`. Names end in their unit.
//!
//! `vipd status --schema` and `docs/reference/status.md` contain the comments of the fields. Within one [`SCHEMA`] fields may be
//! added, but none may be removed, or change its name or meaning.

#[cfg(any(test, feature = "samples"))]
pub mod samples;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, net::IpAddr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Version of this model.
pub const SCHEMA: u32 = 1;

/// The daemon and its instances.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Status {
    /// Version of this description; 0 from a daemon older than the description.
    #[serde(default)]
    pub schema: u32,
    /// Version of the daemon.
    pub version: String,
    /// Process id of the daemon.
    pub pid: u32,
    /// Name of the host.
    #[serde(default)]
    pub host: String,
    /// `router_id` of the configuration; `null` if the configuration has none.
    #[serde(default)]
    pub router_id: Option<String>,
    /// Absolute path of the configuration file that the daemon was given.
    #[serde(default)]
    pub config_file: String,
    /// `--config-id` that the daemon was given; `null` if none was.
    #[serde(default)]
    pub config_id: Option<String>,
    /// Whether the daemon was given `--allow-unsupported`.
    #[serde(default)]
    pub allow_unsupported: bool,
    /// The keywords that were named with it; empty: all are allowed, or none.
    #[serde(default)]
    pub allow_unsupported_only: Vec<String>,
    /// Time since the election began to run.
    pub uptime_ms: u64,
    /// Whether the engine thread runs under SCHED_FIFO.
    pub real_time: bool,
    /// Whether the node is drained: every instance has the lowest priority until `vipd undrain`.
    #[serde(default)]
    pub drained: bool,
    /// The virtual routers, in the order of the configuration.
    pub instances: Vec<InstanceStatus>,
    /// Counters of the eBPF program that belong to no instance, by name; all of them.
    pub counters: BTreeMap<String, u64>,
    /// Checks, files, processes and arbiters that instances track.
    #[serde(default)]
    pub tracked: Vec<TrackedStatus>,
    /// The arbiters with their targets.
    #[serde(default)]
    pub arbiters: Vec<ArbiterStatus>,
}

/// One virtual router.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct InstanceStatus {
    /// Name of the `vrrp_instance` block.
    pub name: String,
    /// `INIT`, `BACKUP`, `MASTER`, `FAULT` or `STOP`.
    pub state: String,
    /// When the state was entered, since 1970.
    pub since_unix_ms: u64,
    /// Time since the state was entered.
    pub in_state_ms: u64,
    /// Reason of the last transition, in words; `null` before the first.
    pub reason: Option<String>,
    /// Name of the `vrrp_sync_group`; `null` without one.
    pub sync_group: Option<String>,
    /// Interface of the adverts.
    pub interface: String,
    /// Virtual router id, 1 to 255.
    pub vrid: u8,
    /// VRRP version, 2 or 3.
    pub version: u8,
    /// `ipv4` or `ipv6`.
    pub family: String,
    /// Virtual MAC in the answers for the VIPs (`use_vmac`); `null` if they have the interface's own MAC.
    pub virtual_mac: Option<String>,
    /// Unicast destinations of the adverts; empty with multicast.
    pub unicast_peers: Vec<IpAddr>,
    /// Whether this host accepts packets to the VIPs while it is master.
    pub accept: bool,
    /// Effective priority, with the weights of failed checks applied.
    pub priority: u8,
    /// Whether the priority is the lowest because of `vipd handover` or `vipd drain`.
    #[serde(default)]
    pub handed_over: bool,
    /// Time between two adverts of this node.
    pub advert_interval_ms: u64,
    /// Advert interval of the master that was heard last; this node's own before that.
    pub master_advert_interval_ms: u64,
    /// Source address of the adverts; `null` while the interface has none.
    pub address: Option<IpAddr>,
    /// The known master: this node, or the router heard last; `null` without one.
    pub master: Option<MasterStatus>,
    /// `overlap` or `strict`.
    pub lease: String,
    /// Time left of the lease: the eBPF program answers for the VIPs so long without a renewal; `null` if it does not answer.
    pub lease_remaining_ms: Option<u64>,
    /// Length of the lease after a renewal.
    #[serde(default)]
    pub lease_length_ms: u64,
    /// Minimum of the lease time left at a renewal, over the last one to two minutes; 0 after a lapse; `null` without a
    /// renewal.
    #[serde(default)]
    pub lease_margin_least_us: Option<u64>,
    /// Time until this backup takes over without an advert; `null` in other states.
    pub master_down_in_ms: Option<u64>,
    /// Whether this backup waits for its `fence_script` before it takes over.
    #[serde(default)]
    pub fencing: bool,
    /// Master_Down_Interval (RFC 8347 master-down-interval).
    pub master_down_interval_cs: u64,
    /// Skew_Time (RFC 8347 skew-time).
    pub skew_time_us: u64,
    /// Source of the last valid advert of another router (RFC 8347 last-adv-source); `null` if there was none.
    pub last_adv_source: Option<IpAddr>,
    /// Time since the last valid advert of another router; `null` if there was none.
    #[serde(default)]
    pub last_adv_age_ms: Option<u64>,
    /// RFC 8347 new-master-reason: `not-master`, `priority`, `preempted` or `no-response`.
    pub new_master_reason: String,
    /// VIPs in the adverts.
    pub vips: Vec<IpAddr>,
    /// VIPs that are not in the adverts (`virtual_ipaddress_excluded`).
    pub vips_excluded: Vec<IpAddr>,
    /// ARP requests and Neighbor Solicitations answered, by VIP; only VIPs whose interface exists.
    #[serde(default)]
    pub vip_answers: BTreeMap<IpAddr, u64>,
    /// Adverts sent.
    pub adverts_sent: u64,
    /// Valid adverts received.
    pub adverts_received: u64,
    /// Adverts with priority 0 (goodbyes) sent.
    pub priority_zero_sent: u64,
    /// Valid adverts with priority 0 (goodbyes) received.
    pub priority_zero_received: u64,
    /// Adverts not sent because of a socket error.
    pub send_errors: u64,
    /// Transitions to MASTER.
    pub became_master: u64,
    /// Transitions from MASTER.
    pub released_master: u64,
    /// Leases that the eBPF program revoked.
    pub leases_revoked: u64,
    /// Whether another router acts as the owner too and does not give way.
    #[serde(default)]
    pub split_brain: bool,
    /// Split brains so far.
    #[serde(default)]
    pub split_brains: u64,
    /// Claims of an owned VIP by other stations; at most one a second is counted.
    #[serde(default)]
    pub address_conflicts: u64,
    /// Current mismatches with other routers, see the event `mismatch`.
    #[serde(default)]
    pub mismatches: Vec<String>,
    /// Valid adverts with another address list than this node's.
    pub address_list_differs: u64,
    /// Discarded adverts by reason, without reasons that never occurred.
    pub discards: BTreeMap<String, u64>,
    /// Greatest delay of an advert behind its schedule since the start.
    pub advert_lateness_max_us: u64,
    /// Where the eBPF program runs: `native` (XDP in the driver) or `tc` (tc ingress); empty while it is not attached.
    #[schemars(with = "String")]
    pub xdp_mode: ProgramHook,
    /// Why the mode is not `native`; else `null`.
    #[serde(default)]
    pub xdp_mode_reason: Option<String>,
    /// Links for adverts: the instance's own interface first, then its heartbeat links.
    #[serde(default)]
    pub lines: Vec<LineStatus>,
}

/// Where the program runs for an instance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ProgramHook {
    /// Nowhere: it is not attached.
    #[default]
    #[serde(rename = "")]
    Nowhere,
    /// XDP in the driver.
    #[serde(rename = "native")]
    Native,
    /// tc ingress of the interface.
    #[serde(rename = "tc")]
    Tc,
}

impl ProgramHook {
    /// As in the JSON and in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Nowhere => "",
            Self::Native => "native",
            Self::Tc => "tc",
        }
    }
}

/// A link of an instance.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct LineStatus {
    /// Name of the interface.
    pub interface: String,
    /// Whether this is a heartbeat link, not the interface of the instance.
    pub heartbeat: bool,
    /// `up`, `down`, `absent`, or `lost`: up, but silent while another link delivers adverts.
    pub state: String,
    /// On a backup: milliseconds since the last advert on this link; `null` if there was none.
    pub heard_ms_ago: Option<u64>,
    /// Adverts not sent on this link because of a socket error.
    pub send_errors: u64,
    /// Whether the last advert could not be sent.
    pub sends_fail: bool,
}

/// The master.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct MasterStatus {
    /// Primary address.
    pub address: IpAddr,
    /// Priority in the adverts.
    pub priority: u8,
}

/// A `vrrp_script`, `track_file`, `vrrp_track_process` or `arbiter`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct TrackedStatus {
    /// Keyword of the block.
    pub keyword: String,
    /// Name of the block.
    pub name: String,
    /// Whether the check succeeds, enough processes run, or the arbiter is reached; `null` for a file, and before the first result.
    pub well: Option<bool>,
    /// The number in a tracked file; else `null`.
    pub value: Option<i32>,
}

/// An `arbiter`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct ArbiterStatus {
    /// Name of the block.
    pub name: String,
    /// Whether enough targets answer; `null` before the first result.
    pub reached: Option<bool>,
    /// Number of targets that must answer.
    pub quorum: usize,
    /// `fault`, `lower` or `none`.
    pub isolated_action: String,
    /// Time between two rounds of requests.
    pub interval_ms: u64,
    /// Time that a target has for an answer.
    pub timeout_ms: u64,
    /// The targets.
    pub targets: Vec<TargetStatus>,
}

/// A target of an arbiter.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct TargetStatus {
    /// Address as in the configuration.
    pub target: String,
    /// `ping` or `tcp`.
    pub kind: String,
    /// Whether it answered the last request; `null` before the first.
    pub answers: Option<bool>,
    /// Round-trip time of the last answer; `null` if there was none.
    pub rtt_us: Option<u64>,
    /// Why the last request had no answer; `null` if it had one.
    pub problem: Option<String>,
    /// Milliseconds since the last answer; `null` if there was none.
    pub answered_ms_ago: Option<u64>,
    /// Requests sent.
    pub questions: u64,
    /// Requests answered.
    pub answered: u64,
}
