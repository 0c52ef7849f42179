//! What `vipd status --json` prints. Names end in their unit.
//!
//! The comments of fields are what `vipd status --schema` and `docs/reference/status.md` say of them. Within a [`SCHEMA`] fields may
//! come, and none may go, or change its name or meaning.

#[cfg(test)]
pub mod samples;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, net::IpAddr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Version of what is below.
pub const SCHEMA: u32 = 1;

/// The daemon and its instances.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Status {
    /// Version of this description; 0 of a daemon that is older than it.
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
    /// Time since the election began to run.
    pub uptime_ms: u64,
    /// Whether the engine thread runs under SCHED_FIFO.
    pub real_time: bool,
    /// The node was drained: its instances rank last until it is undrained.
    #[serde(default)]
    pub drained: bool,
    /// The virtual routers, as in the configuration.
    pub instances: Vec<InstanceStatus>,
    /// What the XDP program counted that belongs to no instance, by name; all of them.
    pub counters: BTreeMap<String, u64>,
    /// What instances track by a name.
    #[serde(default)]
    pub tracked: Vec<TrackedStatus>,
    /// The arbiters among them, with what they ask.
    #[serde(default)]
    pub arbiters: Vec<ArbiterStatus>,
}

/// One virtual router.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct InstanceStatus {
    /// What its `vrrp_instance` block is called.
    pub name: String,
    /// `INIT`, `BACKUP`, `MASTER`, `FAULT` or `STOP`.
    pub state: String,
    /// When the state was entered, since 1970.
    pub since_unix_ms: u64,
    /// How long it has been in the state.
    pub in_state_ms: u64,
    /// Why the last transition happened, in words; `null` before the first.
    pub reason: Option<String>,
    /// The name of its `vrrp_sync_group`; `null` if it is in none.
    pub sync_group: Option<String>,
    /// The interface of its adverts.
    pub interface: String,
    /// Virtual router id, 1 to 255.
    pub vrid: u8,
    /// VRRP version, 2 or 3.
    pub version: u8,
    /// `ipv4` or `ipv6`.
    pub family: String,
    /// The MAC that its VIPs are answered for with, where it is not the interface's own (`use_vmac`); else `null`.
    pub virtual_mac: Option<String>,
    /// Where adverts go; empty if to a multicast group.
    pub unicast_peers: Vec<IpAddr>,
    /// Whether packets to the VIPs are for this host while it is the master.
    pub accept: bool,
    /// The priority in force: what is tracked is in it.
    pub priority: u8,
    /// It ranks last because it was handed over, or the node drained.
    #[serde(default)]
    pub handed_over: bool,
    /// Time between two adverts of ours.
    pub advert_interval_ms: u64,
    /// The interval that is followed: that of the master heard, our own if there is none.
    pub master_advert_interval_ms: u64,
    /// The source of its adverts; `null` while the interface has no address.
    pub address: Option<IpAddr>,
    /// The master as far as known: this node or the one last heard; `null` if none is.
    pub master: Option<MasterStatus>,
    /// `overlap` or `strict`.
    pub lease: String,
    /// Time for which XDP goes on answering for the VIPs without a renewal; `null` if it does not answer.
    pub lease_remaining_ms: Option<u64>,
    /// Time for which one renewal lasts.
    #[serde(default)]
    pub lease_length_ms: u64,
    /// The least that the lease still had when it was renewed, in the last one to two minutes; 0 if it has run out; `null` if
    /// there was no renewal.
    #[serde(default)]
    pub lease_margin_least_us: Option<u64>,
    /// Time until this backup takes over if nothing is heard; `null` in other states.
    pub master_down_in_ms: Option<u64>,
    /// Whether this backup has waited, and waits for its `fence_script` now.
    #[serde(default)]
    pub fencing: bool,
    /// Master_Down_Interval (RFC 8347 master-down-interval).
    pub master_down_interval_cs: u64,
    /// Skew_Time (RFC 8347 skew-time).
    pub skew_time_us: u64,
    /// Source of the last valid advert of another router (RFC 8347 last-adv-source); `null` if there was none.
    pub last_adv_source: Option<IpAddr>,
    /// How long ago the last valid advert of another router was heard; `null` if there was none.
    #[serde(default)]
    pub last_adv_age_ms: Option<u64>,
    /// RFC 8347 new-master-reason: `not-master`, `priority`, `preempted` or `no-response`.
    pub new_master_reason: String,
    /// The VIPs that are in adverts.
    pub vips: Vec<IpAddr>,
    /// The VIPs that are not (`virtual_ipaddress_excluded`).
    pub vips_excluded: Vec<IpAddr>,
    /// Questions (ARP requests, Neighbor Solicitations) that were answered, by VIP; those of `vips` and `vips_excluded` whose
    /// interface is there.
    #[serde(default)]
    pub vip_answers: BTreeMap<IpAddr, u64>,
    /// Adverts sent.
    pub adverts_sent: u64,
    /// Valid adverts received.
    pub adverts_received: u64,
    /// Adverts with priority 0 sent: goodbyes.
    pub priority_zero_sent: u64,
    /// Valid adverts with priority 0 received.
    pub priority_zero_received: u64,
    /// Adverts not sent because the socket refused them.
    pub send_errors: u64,
    /// Times it became the master.
    pub became_master: u64,
    /// Times it was the master no longer.
    pub released_master: u64,
    /// Times XDP took the lease back.
    pub leases_revoked: u64,
    /// Whether another router acts as the owner too, and does not give way.
    #[serde(default)]
    pub split_brain: bool,
    /// Times that one did.
    #[serde(default)]
    pub split_brains: u64,
    /// Claims of a VIP by other stations while this node owned it: at most one a second is seen.
    #[serde(default)]
    pub address_conflicts: u64,
    /// What other routers' adverts differ in now: see the event `mismatch`; empty where only the engine was asked.
    #[serde(default)]
    pub mismatches: Vec<String>,
    /// Valid adverts listing other addresses than ours.
    pub address_list_differs: u64,
    /// Discarded adverts by reason; reasons that never occurred are left out.
    pub discards: BTreeMap<String, u64>,
    /// Latest that an advert has left after its time, since the start.
    pub advert_lateness_max_us: u64,
    /// Where the program runs: `native`, XDP in the driver, or `tc`, at tc ingress of the interface; empty while it is not there.
    #[schemars(with = "String")]
    pub xdp_mode: ProgramHook,
    /// Why it is not `native`.
    #[serde(default)]
    pub xdp_mode_reason: Option<String>,
    /// What adverts go over: its own interface first, then its heartbeat lines.
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

/// A line of an instance.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct LineStatus {
    /// Its name.
    pub interface: String,
    /// Not the interface of the instance.
    pub heartbeat: bool,
    /// `up`, `down`, `absent`, or `lost`: up, and silent while another line delivers.
    pub state: String,
    /// Of a backup: since an advert was last heard there; absent if none was.
    pub heard_ms_ago: Option<u64>,
    /// Adverts that were not sent there because the socket refused them.
    pub send_errors: u64,
    /// The last one was not.
    pub sends_fail: bool,
}

/// Who is the master.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct MasterStatus {
    /// Its primary address.
    pub address: IpAddr,
    /// The priority in its adverts.
    pub priority: u8,
}

/// A `vrrp_script`, `track_file`, `vrrp_track_process` or `arbiter`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct TrackedStatus {
    /// What its block is opened with.
    pub keyword: String,
    /// What its block is called.
    pub name: String,
    /// Whether it is as it should be; `null` of a file, and of what has not been looked at yet.
    pub well: Option<bool>,
    /// The number in a file; `null` of what is no file.
    pub value: Option<i32>,
}

/// An `arbiter`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct ArbiterStatus {
    /// What its block is called.
    pub name: String,
    /// Whether enough of them answer; `null` as long as nothing is known.
    pub reached: Option<bool>,
    /// How many targets must answer.
    pub quorum: usize,
    /// `fault`, `lower` or `none`.
    pub isolated_action: String,
    /// Time between two rounds of questions.
    pub interval_ms: u64,
    /// How long an answer may take.
    pub timeout_ms: u64,
    /// Whom it asks.
    pub targets: Vec<TargetStatus>,
}

/// What an arbiter asks.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct TargetStatus {
    /// As the configuration has it.
    pub target: String,
    /// `ping` or `tcp`.
    pub kind: String,
    /// Whether it has answered the last question; `null` before the first.
    pub answers: Option<bool>,
    /// How long its answer took; `null` if there was none.
    pub rtt_us: Option<u64>,
    /// Why there was none; `null` if there was.
    pub problem: Option<String>,
    /// Time since it answered last; `null` if it never has.
    pub answered_ms_ago: Option<u64>,
    /// Questions asked.
    pub questions: u64,
    /// Questions answered.
    pub answered: u64,
}
