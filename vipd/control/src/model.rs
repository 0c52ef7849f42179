//! Output of `vipd status --json`. Names end in their unit.
//!
//! `vipd status --schema` and `docs/reference/status.md` contain the comments of the fields. Within one [`SCHEMA`] fields may be
//! added, but none may be removed, or change its name or meaning.

mod bfd;
mod early;
mod probes;
#[cfg(any(test, feature = "samples"))]
pub mod samples;
mod services;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, net::IpAddr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use bfd::BfdSessionStatus;
pub use early::{EarlyArbiterStatus, EarlyBackupStatus, EarlyStatus, SponsorsStatus};
pub use probes::{ProbedPeerStatus, ProbedRouterStatus};
pub use services::{
    BalancingStatus, ProbesStatus, RealServerStatus, ServerCheckStatus, ServiceStatus, TrafficStatus,
};

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
    /// Keywords that a reload has changed and whose new values count at the next start, each with both values in words; empty: none.
    #[serde(default)]
    pub restart_needed: Vec<String>,
    /// The reports between the nodes of the cluster (`cluster_report`).
    #[serde(default)]
    pub cluster_reports: ReportsStatus,
    /// The virtual routers, in the order of the configuration.
    pub instances: Vec<InstanceStatus>,
    /// Counters of the eBPF program that belong to no instance, by name; all of them.
    pub counters: BTreeMap<String, u64>,
    /// Checks, files, processes, arbiters and BFD sessions that instances track.
    #[serde(default)]
    pub tracked: Vec<TrackedStatus>,
    /// The arbiters with their targets.
    #[serde(default)]
    pub arbiters: Vec<ArbiterStatus>,
    /// The sessions of BFD (`bfd_instance`), in the order of the configuration.
    #[serde(default)]
    pub bfd_sessions: Vec<BfdSessionStatus>,
    /// Notify scripts that have run, with the last run of each.
    #[serde(default)]
    pub notify_scripts: Vec<NotifyStatus>,
    /// Objects of this host that another program removed or changed and vipd has put back, by kind; all kinds.
    #[serde(default)]
    pub host_repairs: BTreeMap<String, u64>,
    /// The latest of them, the oldest first; at most 16.
    #[serde(default)]
    pub latest_repairs: Vec<RepairStatus>,
    /// What the host refuses of what vipd needs on it; `null` if it refuses nothing.
    #[serde(default)]
    pub host_problem: Option<String>,
    /// What other programs have changed on this host that may harm the VIPs, and that vipd leaves as it is.
    #[serde(default)]
    pub host_warnings: Vec<HostWarning>,
    /// The hosts that are probed (`probe`), and what their answers have shown.
    #[serde(default)]
    pub probes: Vec<ProbedPeerStatus>,
    /// Who vouches for this node; `null` without `act takeover`.
    #[serde(default)]
    pub sponsors: Option<SponsorsStatus>,
    /// Load balancing; `null` without a `virtual_server`.
    #[serde(default)]
    pub balancing: Option<BalancingStatus>,
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
    /// The same as a word for programs, such as `master_down` or `fault_tracked`; `null` before the first transition.
    #[serde(default)]
    pub reason_code: Option<String>,
    /// Everything that keeps the instance in FAULT; empty if nothing does.
    #[serde(default)]
    pub faults: Vec<FaultStatus>,
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
    /// Whether the instance is in FAULT while the link of its interface is down (not with `dont_track_primary`).
    #[serde(default)]
    pub tracks_interface: bool,
    /// Whether this host accepts packets to the VIPs while it is master.
    pub accept: bool,
    /// Effective priority, with the weights of failed checks applied.
    pub priority: u8,
    /// Priority in the configuration.
    #[serde(default)]
    pub base_priority: u8,
    /// Everything that the instance tracks, with what it adds to the priority.
    #[serde(default)]
    pub tracks: Vec<TrackStatus>,
    /// Whether a backup replaces a master of lower priority (not with `nopreempt`).
    #[serde(default)]
    pub preempt: bool,
    /// `preempt_delay`.
    #[serde(default)]
    pub preempt_delay_ms: u64,
    /// How long this backup still tolerates a master of lower priority; `null` if it does not wait.
    #[serde(default)]
    pub preempt_delay_left_ms: Option<u64>,
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
    /// Time since the adverts of the known master began; `null` if this node is the master, or none is known.
    #[serde(default)]
    pub master_since_ms: Option<u64>,
    /// Of a master: the router heard before it became master; `null` if none was.
    #[serde(default)]
    pub predecessor: Option<MasterStatus>,
    /// `overlap` or `strict`.
    pub lease: String,
    /// Time left of the lease: the eBPF program answers for the VIPs so long without a renewal; `null` if it does not answer. With
    /// `act takeover` it needs a sponsor too, see `early`.
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
    /// Why the last advert has not left, or not to one of the peers; `null` if it has left, or none was to be sent.
    #[serde(default)]
    pub advert_error: Option<String>,
    /// Whether the last advert has left for nobody, so that this node cannot be master.
    #[serde(default)]
    pub adverts_blocked: bool,
    /// Transitions to MASTER; a takeover whose first advert does not leave is none.
    pub became_master: u64,
    /// Transitions from MASTER.
    pub released_master: u64,
    /// Leases that the eBPF program revoked.
    pub leases_revoked: u64,
    /// Whether another router acts as the owner too and does not give way.
    #[serde(default)]
    pub split_brain: bool,
    /// What keeps the two from hearing each other; `null` if it is not known, or there is no other.
    #[serde(default)]
    pub split_brain_cause: Option<String>,
    /// Split brains that were found by adverts that are heard, or by claims, so far.
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
    /// The nodes of the virtual router, as far as they are known: this node first.
    #[serde(default)]
    pub nodes: Vec<NodeStatus>,
    /// Early takeover; `null` if neither the instance nor another one on its interface has `act takeover`, and while nothing is probed.
    #[serde(default)]
    pub early: Option<EarlyStatus>,
}

impl InstanceStatus {
    /// Whether this master has a lease and answers for no VIP, because nobody vouches for the node.
    pub fn is_unvouched(&self) -> bool {
        self.early.as_ref().is_some_and(|early| early.unvouched)
    }

    /// Whether a node that takes part is heard, and does not hear this one.
    pub fn is_one_way(&self) -> bool {
        self.early.as_ref().is_some_and(|early| !early.one_way.is_empty())
    }

    /// Whether the VIPs are answered here: a master whose lease has run out, or for which nobody vouches, owns nothing.
    pub fn owns(&self) -> bool {
        self.state == "MASTER" && self.lease_remaining_ms.is_some() && !self.is_unvouched()
    }
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

/// A node of a virtual router.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NodeStatus {
    /// `self`: this node; `report`: by its own reports; `advert`: the master, by its adverts alone; `peer`: a `unicast_peer` of which
    /// nothing is heard. Texts of a report are those of another node; control characters in them are escaped.
    pub known_by: String,
    /// Whether its reports are signed with `cluster_report_key`.
    pub signed: bool,
    /// Whether three of its reports in a row have not come: everything else is as it was then.
    pub lost: bool,
    /// Source address of its adverts and reports; `null` while it has none.
    pub address: Option<IpAddr>,
    /// Name of the host; `null` if it is not known.
    pub host: Option<String>,
    /// `router_id`; `null` if it is not known, or there is none.
    pub router_id: Option<String>,
    /// Version of vipd; `null` if it is not known.
    pub version: Option<String>,
    /// State of the instance there; `null` if it is not known.
    pub state: Option<String>,
    /// Time since the state was entered; `null` if it is not known.
    pub in_state_ms: Option<u64>,
    /// Effective priority; `null` if it is not known.
    pub priority: Option<u8>,
    /// Priority in its configuration; `null` if it is not known.
    pub base_priority: Option<u8>,
    /// Whether the node is drained.
    pub drained: bool,
    /// Whether the priority is the lowest because of `vipd handover` or `vipd drain`.
    pub handed_over: bool,
    /// What keeps the instance in FAULT there; `null` if nothing does.
    pub faults: Option<String>,
    /// Whether it sees another router act as the owner too.
    pub split_brain: bool,
    /// Whether it is a master that answers for no VIP, because nobody vouches for it (`act takeover`).
    pub unvouched: bool,
    /// Whether it hears a node that does not hear it (`act takeover`).
    pub one_way: bool,
    /// Claims of an owned VIP by other stations that it has seen.
    pub address_conflicts: u64,
    /// What it sees other routers differ in; `null` if there is nothing.
    pub mismatches: Option<String>,
    /// Whom it takes for the master; `null` if it knows none.
    pub master: Option<IpAddr>,
    /// Its links for adverts.
    pub links: Vec<NodeLinkStatus>,
    /// Time since its last report, or its last advert; `null` of this node, and if there was none.
    pub heard_ms_ago: Option<u64>,
    /// Time between two of its reports, or adverts; `null` of this node, and if it is not known.
    pub interval_ms: Option<u64>,
}

/// A link for adverts of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NodeLinkStatus {
    /// Name of the interface there.
    pub interface: String,
    /// Whether it is a heartbeat link.
    pub heartbeat: bool,
    /// As in `LineStatus`.
    pub state: String,
}

/// The reports between the nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReportsStatus {
    /// Number of instances with `cluster_report`; with 0 nothing is sent or heard.
    pub instances: u64,
    /// Whether this node signs its reports and asks for signatures (`cluster_report_key`).
    pub signed: bool,
    /// Why reports cannot be heard or sent; `null` if they can.
    pub problem: Option<String>,
    /// Datagrams sent.
    pub sent: u64,
    /// Datagrams not sent because of a socket error.
    pub send_errors: u64,
    /// Datagrams received, believed or not.
    pub received: u64,
    /// Datagrams that were not believed, by reason; all reasons.
    pub refused: BTreeMap<String, u64>,
    /// Nodes whose reports were not believed in the last two minutes since they are configured differently, each with what to do, in
    /// words.
    #[serde(default)]
    pub refused_lately: Vec<String>,
}

/// What was put back at one time.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct RepairStatus {
    /// `address`, `file`, `filter`, `membership`, `offload`, `pin`, `program`, `route`, `rule` or `sysctl`.
    pub kind: String,
    /// The objects; of many, the first three and how many more.
    pub what: String,
    /// Milliseconds since then.
    pub ago_ms: u64,
}

/// What another program has changed on this host that may harm the VIPs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HostWarning {
    /// `program_before`, `routes` or `runtime_dir`.
    pub kind: String,
    /// An interface, or `runtime directory`.
    pub about: String,
    /// In words.
    pub what: String,
    /// What to do about it.
    pub remedy: String,
}

/// The master.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MasterStatus {
    /// Primary address.
    pub address: IpAddr,
    /// Priority in the adverts.
    pub priority: u8,
}

/// Something that keeps an instance in FAULT.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FaultStatus {
    /// `interface_down`, `interface_off`, `no_interface`, `interface_refused`, `no_address`, `no_source`, `unserved`, `check`, `file`, `process`,
    /// `interface` (a tracked one), `arbiter` or `group`.
    pub kind: String,
    /// What it is, in words.
    pub what: String,
    /// What has to happen for it to end, in words.
    pub ends_when: String,
    /// How long it has been so.
    #[serde(default)]
    pub since_ms: Option<u64>,
}

/// Something that an instance tracks, and what it does to the instance now.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TrackStatus {
    /// Keyword of its block; `interface` of an interface.
    pub keyword: String,
    /// Name of the block or interface.
    pub name: String,
    /// Weight; 0: a failure puts the instance in FAULT. Of a file: the factor of its number.
    pub weight: i32,
    /// Whether success and failure change places.
    pub reverse: bool,
    /// What it adds to the priority now.
    pub adds: i64,
    /// Whether it puts the instance in FAULT now.
    pub fault: bool,
    /// As in `TrackedStatus`; of an interface whether it is up.
    pub well: Option<bool>,
    /// How it is, in words.
    pub state: String,
}

/// The last run of a command.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RunStatus {
    /// What came of it, in words: `exit code 1`.
    pub outcome: String,
    /// Whether it exited with 0.
    pub succeeded: bool,
    /// Exit code; `null` if it had none.
    pub exit_code: Option<i32>,
    /// Signal that ended it; `null` if none did.
    pub signal: Option<i32>,
    /// Whether it took longer than its time limit.
    pub timed_out: bool,
    /// Milliseconds since its end.
    pub ended_ms_ago: u64,
    /// Time until the next run; 0 while it runs; `null` if none is planned.
    pub next_in_ms: Option<u64>,
    /// The last lines that it printed, with control characters escaped; at most 5 lines of 200 characters.
    pub output: Vec<String>,
}

/// A notify script that has run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NotifyStatus {
    /// `INSTANCE` or `GROUP`.
    pub kind: String,
    /// Name of the instance or sync group.
    pub name: String,
    /// Path of the script.
    pub script: String,
    /// Its last run that has ended.
    pub run: RunStatus,
}

/// A `vrrp_script`, `track_file`, `vrrp_track_process` or `arbiter`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TrackedStatus {
    /// Keyword of the block.
    pub keyword: String,
    /// Name of the block.
    pub name: String,
    /// Whether the check succeeds, enough processes run, or the arbiter is reached; `null` for a file, and before the first result.
    pub well: Option<bool>,
    /// The number in a tracked file; else `null`.
    pub value: Option<i32>,
    /// Time since `well` or `value` became what it is; `null` before the first result.
    #[serde(default)]
    pub in_state_ms: Option<u64>,
    /// Last run of a check; `null` if there was none.
    #[serde(default)]
    pub run: Option<RunStatus>,
    /// Number of processes of a `vrrp_track_process`; else `null`.
    #[serde(default)]
    pub count: Option<u64>,
    /// Why it cannot be watched, or why a file counts as 0; `null` if there is no problem.
    #[serde(default)]
    pub problem: Option<String>,
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
