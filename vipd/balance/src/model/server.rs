//! `virtual_server`: a service, its addresses, and how a target is chosen.

use std::{fmt, net::IpAddr, time::Duration};

use vipd_common::Family;

use super::{ForwardMethod, ServiceTarget, TargetId};

/// `protocol`: what connections of a service are made of. keepalived's default is UDP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TransportProtocol {
    /// `TCP`.
    Tcp,
    /// `UDP`.
    Udp,
    /// `SCTP`.
    Sctp,
}

impl TransportProtocol {
    /// Its name in FIFO lines and mails.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        }
    }
}

/// The packets of a service: by destination or by mark. A service of a group has several addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ServiceAddress {
    /// Destination address, protocol and port.
    Socket {
        /// Transport protocol.
        protocol: TransportProtocol,
        /// The VIP.
        address: IpAddr,
        /// Destination port; 0: every port, with persistence only.
        port: u16,
    },
    /// Firewall mark.
    Mark {
        /// The mark, not 0.
        mark: u32,
        /// Family of the packets.
        family: Family,
    },
}

impl ServiceAddress {
    /// Family of the packets.
    pub const fn family(&self) -> Family {
        match self {
            Self::Socket { address: IpAddr::V4(_), .. } => Family::V4,
            Self::Socket { address: IpAddr::V6(_), .. } => Family::V6,
            Self::Mark { family, .. } => *family,
        }
    }

    /// The VIP; `None` for a mark.
    pub const fn address(&self) -> Option<IpAddr> {
        match self {
            Self::Socket { address, .. } => Some(*address),
            Self::Mark { .. } => None,
        }
    }
}

impl fmt::Display for ServiceAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket { protocol, address, port } => {
                write!(f, "[{address}]:{}:{port}", protocol.name())
            }
            Self::Mark { mark, .. } => write!(f, "FWM {mark}"),
        }
    }
}

/// Identity of a service, also over a reload. Prints as keepalived names it in FIFO lines and mails.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ServiceId {
    /// `virtual_server ADDR PORT`, `virtual_server fwmark N`.
    Single(ServiceAddress),
    /// `virtual_server group NAME`.
    Group {
        /// Name of the `virtual_server_group`.
        name: String,
        /// Position among the virtual servers of the group, from 0.
        ordinal: u32,
    },
}

impl fmt::Display for ServiceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Single(address) => address.fmt(f),
            Self::Group { name, ordinal } => write!(f, "[{name}]:{ordinal}"),
        }
    }
}

/// `lb_algo`, `lvs_sched`: which target a new connection gets. `wlc` unless given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Scheduler {
    /// `rr`: in turn.
    RoundRobin,
    /// `wrr`: in turn, as often as its weight says.
    WeightedRoundRobin,
    /// `lc`: fewest connections.
    LeastConnections,
    /// `wlc`: fewest connections for its weight.
    #[default]
    WeightedLeastConnections,
    /// `lblc`: by destination, then fewest connections.
    LocalityLeastConnections,
    /// `lblcr`: the same with a set of targets for each destination.
    LocalityReplicated,
    /// `sh`: hash of the source.
    SourceHash,
    /// `mh`: Maglev hash of the source.
    MaglevHash,
    /// `dh`: hash of the destination.
    DestinationHash,
    /// `fo`: the greatest weight.
    Failover,
    /// `ovf`: the greatest weight whose active connections are not above it.
    Overflow,
    /// `sed`: shortest expected delay.
    ShortestDelay,
    /// `nq`: an idle target, else `sed`.
    NeverQueue,
    /// `twos`: the better of two random ones.
    Twos,
}

impl Scheduler {
    /// keepalived's and the kernel's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::RoundRobin => "rr",
            Self::WeightedRoundRobin => "wrr",
            Self::LeastConnections => "lc",
            Self::WeightedLeastConnections => "wlc",
            Self::LocalityLeastConnections => "lblc",
            Self::LocalityReplicated => "lblcr",
            Self::SourceHash => "sh",
            Self::MaglevHash => "mh",
            Self::DestinationHash => "dh",
            Self::Failover => "fo",
            Self::Overflow => "ovf",
            Self::ShortestDelay => "sed",
            Self::NeverQueue => "nq",
            Self::Twos => "twos",
        }
    }
}

/// `flag-1` to `flag-3`, bits 3 to 5 of the kernel's service flags. The first is `sh-fallback` and
/// `mh-fallback`, the second `sh-port` and `mh-port`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct SchedulerFlags {
    /// `flag-1`; with sh and mh: a connection whose target has weight 0 gets another.
    pub first: bool,
    /// `flag-2`; with sh and mh: the source port counts.
    pub second: bool,
    /// `flag-3`.
    pub third: bool,
}

/// `persistence_timeout`, `_granularity`, `_engine`: a client stays with its target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Persistence {
    /// `persistence_timeout`, in whole seconds: 1 to 2,678,400 (31 days); 360 without a value.
    pub timeout_s: u32,
    /// `persistence_granularity` of IPv4: the mask of client addresses, in host byte order, all ones unless given. Of IPv6: the prefix
    /// length, 1 to 128, 128 unless given.
    pub granularity: u32,
    /// `persistence_engine sip`: by Call-ID. The kernel has no other engine.
    pub sip: bool,
}

impl Persistence {
    /// Persistence of single clients.
    pub const fn new(timeout_s: u32, family: Family) -> Self {
        let granularity = match family {
            Family::V4 => u32::MAX,
            Family::V6 => 128,
        };
        Self { timeout_s, granularity, sip: false }
    }
}

/// Settings of a service for the data plane, besides addresses and targets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ServiceSettings {
    /// `lb_algo`.
    pub scheduler: Scheduler,
    /// `sh-port` and its like.
    pub flags: SchedulerFlags,
    /// `persistence_timeout`.
    pub persistence: Option<Persistence>,
    /// `ops`: each packet is scheduled on its own. UDP and marks only.
    pub one_packet: bool,
}

/// A command of `notify_up`, `quorum_down` and their like.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NoticeCommand {
    /// At least one word. keepalived adds no arguments.
    pub words: Vec<String>,
    /// User and group; `None`: as `script_user` says.
    pub account: Option<(String, Option<String>)>,
}

/// `sorry_server`: serves while there is no quorum.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SorryServer {
    /// Address and port.
    pub id: TargetId,
    /// `sorry_server_lvs_method`; the service's unless given.
    pub forward: ForwardMethod,
    /// `sorry_server_inhibit`: in the table at all times, with weight 0 while it does not serve.
    pub inhibit: bool,
}

/// One `virtual_server`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VirtualServer {
    /// Identity.
    pub id: ServiceId,
    /// One address, or the entries of its group with ranges written out.
    pub addresses: Vec<ServiceAddress>,
    /// Scheduler, flags, persistence.
    pub settings: ServiceSettings,
    /// `quorum`, from 1, in units of weight. Above the sum of weights it counts as that sum.
    pub quorum: u32,
    /// `hysteresis`, below `quorum`: the quorum is lost below `quorum - hysteresis` and gained at `quorum + hysteresis`.
    pub hysteresis: u32,
    /// `omega`: notices of everything that goes down when vipd stops.
    pub omega: bool,
    /// `ha_suspend`: no probes while the node owns none of the addresses.
    pub ha_suspend: bool,
    /// `sorry_server`.
    pub sorry: Option<SorryServer>,
    /// `quorum_up`.
    pub quorum_up: Option<NoticeCommand>,
    /// `quorum_down`.
    pub quorum_down: Option<NoticeCommand>,
    /// `smtp_alert`; off unless given.
    pub mail: bool,
    /// vipd's `ramp`: a target that returns gets its weight in ten steps over this time; zero: at once.
    pub ramp: Duration,
    /// vipd's `min_alive`, 0 to 100 percent: while fewer of the targets are alive, failed ones serve too; 0: never.
    pub min_alive: u8,
    /// vipd's `drain_timeout`: a drained target, or one that a reload removes, keeps its connections for this time. `None`:
    /// drained ones for ever, removed ones not at all, as with keepalived.
    pub drain_timeout: Option<Duration>,
    /// The targets, in the order of the configuration.
    pub targets: Vec<ServiceTarget>,
}

impl VirtualServer {
    /// A service with keepalived's defaults and without targets.
    pub fn new(id: ServiceId, addresses: Vec<ServiceAddress>) -> Self {
        Self {
            id,
            addresses,
            settings: ServiceSettings::default(),
            quorum: 1,
            hysteresis: 0,
            omega: false,
            ha_suspend: false,
            sorry: None,
            quorum_up: None,
            quorum_down: None,
            mail: false,
            ramp: Duration::ZERO,
            min_alive: 0,
            drain_timeout: None,
            targets: Vec::new(),
        }
    }

    /// Sum of the configured weights.
    pub fn total_weight(&self) -> u64 {
        self.targets.iter().map(|target| u64::from(target.weight)).sum()
    }

    /// `quorum`, lowered to the sum of the weights, but not below 1.
    pub fn effective_quorum(&self) -> u64 {
        u64::from(self.quorum).min(self.total_weight()).max(1)
    }
}
