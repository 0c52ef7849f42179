//! The hosts that are probed, in the status.

use std::net::IpAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A host that is probed (`probe`), and what its answers have shown. One session is for all instances of a family on one interface.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct ProbedPeerStatus {
    /// Interface of the instances.
    pub interface: String,
    /// `ipv4` or `ipv6`.
    pub family: String,
    /// This node's address.
    pub local: Option<IpAddr>,
    /// The host's address.
    pub peer: Option<IpAddr>,
    /// `up`: the host answers; `down`; or `leaving`: its vipd has said that it stops.
    pub state: String,
    /// Time between two probes.
    pub interval_us: u64,
    /// Probes without an answer that are a silence.
    pub multiplier: u8,
    /// Whether this node has `act takeover` there.
    #[serde(default)]
    pub takes_over: bool,
    /// After how long without an advert VRRP replaces a master on this interface.
    pub replaced_after_ms: u64,
    /// Time between two probes of the other vipd; `null` if it has not probed.
    pub peer_interval_us: Option<u64>,
    /// Multiplier of the other vipd; `null` if it has not probed.
    pub peer_multiplier: Option<u8>,
    /// Whether the other vipd has `act takeover`.
    pub peer_takes_over: bool,
    /// Whether `act takeover` would act on a silence now: both have heard each other for a second, with the same interval and multiplier.
    pub armed: bool,
    /// Whether the other vipd has probed within `multiplier` intervals. Its host may answer without it.
    pub daemon_speaks: bool,
    /// Time since its last probe; `null` if there was none.
    pub daemon_heard_ms_ago: Option<u64>,
    /// Time since its host's last answer or probe; `null` if there was none.
    pub heard_ms_ago: Option<u64>,
    /// For how long the following has been counted: since the start, or since the interval was changed.
    pub measured_ms: u64,
    /// Probes sent while the host answered.
    pub sent: u64,
    /// Those that were not answered before the next.
    pub lost: u64,
    /// Answers.
    pub answers: u64,
    /// Time from the last answered probe to its answer; `null` of this and the next four without an answer.
    pub round_trip_last_us: Option<u64>,
    /// The shortest such time.
    pub round_trip_least_us: Option<u64>,
    /// The median, at most a quarter too long.
    pub round_trip_median_us: Option<u64>,
    /// The 99th percentile, at most a quarter too long.
    pub round_trip_p99_us: Option<u64>,
    /// The longest such time.
    pub round_trip_greatest_us: Option<u64>,
    /// The longest time without an answer or a probe that ended before VRRP would have replaced the host.
    pub longest_silence_us: u64,
    /// Time since its end; `null` if there was none.
    pub longest_silence_ms_ago: Option<u64>,
    /// Silences that `act takeover` would have acted on, and that ended before VRRP would have replaced the host.
    pub false_alarms: u64,
    /// Time since the end of the last of them; `null` if there was none.
    pub last_false_alarm_ms_ago: Option<u64>,
    /// Silences that `act takeover` would have acted on, and that lasted.
    pub deaths: u64,
    /// Times the host ceased to answer, whatever would have been done.
    pub downs: u64,
    /// Times this node itself was late by an interval or more: it then counts anew.
    pub late: u64,
    /// Probes not sent because of a socket error.
    pub send_errors: u64,
    /// The error of the last probe; `null` if it was sent.
    pub send_error: Option<String>,
    /// What the host's vipd says of its virtual routers on this interface.
    pub routers: Vec<ProbedRouterStatus>,
}

/// A virtual router of a host that is probed, as the host says.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct ProbedRouterStatus {
    /// Virtual router id.
    pub vrid: u8,
    /// Effective priority.
    pub priority: u8,
    /// Whether the host is backup or master.
    pub participates: bool,
    /// Whether the host owns the VIPs.
    pub owner: bool,
    /// Whether the host has outbid a silent master, and its priority is its claim.
    #[serde(default)]
    pub claim: bool,
}
