//! Early takeover (`act takeover`) in the status.

use std::net::IpAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Early takeover of an instance (`act takeover`). Members of a sync group have the same in common.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EarlyStatus {
    /// Whether this backup takes over if a silence of its master's host begins now.
    pub armed: bool,
    /// The silence that it acts on: `interval` x `multiplier`.
    pub acts_after_us: u64,
    /// Why it would not, in words; `null` if it would, and in other states than BACKUP.
    pub unarmed_reason: Option<String>,
    /// Addresses of the masters that it follows and may outbid: one for each member of the sync group.
    pub follows: Vec<IpAddr>,
    /// Whether it has outbid a silent master and still advertises the claim instead of its own priority.
    pub claims: bool,
    /// Nodes that take part and are heard, and that do not answer this one's probes: meanwhile it preempts no master.
    pub one_way: Vec<IpAddr>,
    /// Time until it acts on silence again after a false alarm; `null` if it does.
    pub disarmed_left_ms: Option<u64>,
    /// Claims so far: takeovers because the master's host was silent.
    pub claims_made: u64,
    /// Claims that it gave up because the master was alive and did not hear them.
    pub claims_in_vain: u64,
    /// Claims after which the master was heard again before VRRP would have replaced it.
    pub false_alarms: u64,
    /// Whether the eBPF program answers for the VIPs only while somebody vouches for this node (`sponsors`).
    pub needs_sponsor: bool,
    /// Whether this master has a lease and answers for nothing, because nobody vouches for this node.
    pub unvouched: bool,
}

/// Who vouches for this node: without a sponsor it answers for no VIP of an instance with `act takeover`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SponsorsStatus {
    /// Whether the eBPF program finds a sponsor against each backup that takes over early.
    pub vouched_for: bool,
    /// For how long it has found none while this node had such a lease; `null` if it finds one, or there is no such lease.
    pub unvouched_ms: Option<u64>,
    /// Time since vipd last vouched for this node, with its last probes; `null` if it never has.
    pub beat_ms_ago: Option<u64>,
    /// Hosts that say they take over early: each counts for itself.
    pub backups: Vec<EarlyBackupStatus>,
    /// Hosts that are probed and for which there is no room: this node does not take over from them early, nor they from it.
    pub uncounted: u64,
    /// The arbiters that are asked with each probe.
    pub arbiters: Vec<EarlyArbiterStatus>,
}

/// A backup that takes over early.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EarlyBackupStatus {
    /// Interface of the instances.
    pub interface: String,
    /// Its address.
    pub peer: Option<IpAddr>,
    /// Time since its last probe.
    pub probe_ms_ago: u64,
    /// Whether that probe vouches for this node: it is younger than the backup's `interval` x `multiplier`.
    pub vouches: bool,
}

/// An arbiter that is asked with each probe.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EarlyArbiterStatus {
    /// Name of the `arbiter` block.
    pub name: String,
    /// Whether a quorum has answered what was asked in the last two intervals: else vipd does not vouch for this node.
    pub reached: bool,
    /// Time since that was asked; `null` if no quorum ever answered.
    pub reached_ms_ago: Option<u64>,
}
