//! What `vipd status --json` prints. Names end in their unit; times are milliseconds.

use std::{collections::BTreeMap, net::IpAddr};

use serde::{Deserialize, Serialize};

/// The daemon and its instances.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Status {
    pub version: String,
    pub pid: u32,
    pub uptime_ms: u64,
    /// Whether the engine thread runs under SCHED_FIFO.
    pub real_time: bool,
    /// The node was drained: its instances rank last until it is undrained.
    #[serde(default)]
    pub drained: bool,
    pub instances: Vec<InstanceStatus>,
    /// What the XDP program counted that belongs to no instance.
    pub counters: BTreeMap<String, u64>,
    /// What instances track by a name; empty where only the engine was asked.
    #[serde(default)]
    pub tracked: Vec<TrackedStatus>,
    /// The arbiters among them, with what they ask.
    #[serde(default)]
    pub arbiters: Vec<ArbiterStatus>,
}

/// One virtual router.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct InstanceStatus {
    pub name: String,
    /// INIT, BACKUP, MASTER, FAULT or STOP.
    pub state: String,
    pub since_unix_ms: u64,
    pub in_state_ms: u64,
    /// Why the last transition happened.
    pub reason: Option<String>,
    /// The name of its `vrrp_sync_group`.
    pub sync_group: Option<String>,
    pub interface: String,
    pub vrid: u8,
    /// VRRP version.
    pub version: u8,
    /// `ipv4` or `ipv6`.
    pub family: String,
    /// The MAC that its VIPs are answered for with, where it is not the interface's own (`use_vmac`).
    pub virtual_mac: Option<String>,
    /// Where adverts go, if not to a multicast group.
    pub unicast_peers: Vec<IpAddr>,
    /// Whether packets to the VIPs are for this host while it is the master.
    pub accept: bool,
    pub priority: u8,
    /// It ranks last because it was handed over, or the node drained.
    #[serde(default)]
    pub handed_over: bool,
    pub advert_interval_ms: u64,
    /// The interval that is followed: that of the master heard, our own if there is none.
    pub master_advert_interval_ms: u64,
    pub address: Option<IpAddr>,
    /// The master as far as known: this node or the one last heard.
    pub master: Option<MasterStatus>,
    /// `overlap` or `strict`.
    pub lease: String,
    /// Time for which XDP goes on answering for the VIPs without a renewal; absent if it does not.
    pub lease_remaining_ms: Option<u64>,
    /// Time until this backup takes over if nothing is heard.
    pub master_down_in_ms: Option<u64>,
    /// Master_Down_Interval in centiseconds and Skew_Time in microseconds (RFC 8347 master-down-interval, skew-time).
    pub master_down_interval_cs: u64,
    pub skew_time_us: u64,
    /// Source of the last valid advert (RFC 8347 last-adv-source).
    pub last_adv_source: Option<IpAddr>,
    /// RFC 8347 new-master-reason: `not-master`, `priority`, `preempted` or `no-response`.
    pub new_master_reason: String,
    pub vips: Vec<IpAddr>,
    pub vips_excluded: Vec<IpAddr>,
    pub adverts_sent: u64,
    pub adverts_received: u64,
    pub priority_zero_sent: u64,
    pub priority_zero_received: u64,
    /// Adverts not sent because the socket refused them.
    pub send_errors: u64,
    pub became_master: u64,
    pub released_master: u64,
    /// Times XDP took the lease back.
    pub leases_revoked: u64,
    /// Valid adverts listing other addresses than ours.
    pub address_list_differs: u64,
    /// Discarded adverts by reason; reasons that never occurred are left out.
    pub discards: BTreeMap<String, u64>,
    /// Latest that an advert has left after its time, in microseconds.
    pub advert_lateness_max_us: u64,
    /// `native` or `generic`.
    pub xdp_mode: String,
    /// What adverts go over: its own interface first, then its heartbeat lines.
    #[serde(default)]
    pub lines: Vec<LineStatus>,
}

/// A line of an instance.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LineStatus {
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

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct MasterStatus {
    pub address: IpAddr,
    pub priority: u8,
}

/// A `vrrp_script`, `track_file`, `vrrp_track_process` or `arbiter`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TrackedStatus {
    /// What the block is opened with.
    pub keyword: String,
    pub name: String,
    /// Absent of a file, and of what has not been looked at yet.
    pub well: Option<bool>,
    /// The number in a file.
    pub value: Option<i32>,
}

/// An `arbiter`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ArbiterStatus {
    pub name: String,
    /// Absent as long as nothing is known.
    pub reached: Option<bool>,
    /// How many targets must answer.
    pub quorum: usize,
    /// `fault`, `lower` or `none`.
    pub isolated_action: String,
    pub interval_ms: u64,
    pub timeout_ms: u64,
    pub targets: Vec<TargetStatus>,
}

/// What an arbiter asks.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TargetStatus {
    /// As the configuration has it.
    pub target: String,
    /// `ping` or `tcp`.
    pub kind: String,
    /// Whether it has answered the last question; absent before the first.
    pub answers: Option<bool>,
    /// How long its answer took, if it has.
    pub rtt_us: Option<u64>,
    /// Why there was none.
    pub problem: Option<String>,
    /// Time since it answered last.
    pub answered_ms_ago: Option<u64>,
    pub questions: u64,
    pub answered: u64,
}
