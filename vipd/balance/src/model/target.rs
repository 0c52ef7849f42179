//! `real_server`: where a service sends its connections.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
};

use super::{NoticeCommand, ProbeUse};

/// Identity of a target within its service, also over a reload: address and port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TargetId {
    /// Address of the real server.
    pub address: IpAddr,
    /// Port of the real server; 0 with a service of every port or of a firewall mark.
    pub port: u16,
}

impl TargetId {
    /// The target at `address` and `port`.
    pub const fn new(address: IpAddr, port: u16) -> Self {
        Self { address, port }
    }
}

impl From<SocketAddr> for TargetId {
    fn from(at: SocketAddr) -> Self {
        Self::new(at.ip(), at.port())
    }
}

impl fmt::Display for TargetId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        SocketAddr::new(self.address, self.port).fmt(f)
    }
}

/// Checksums of a tunnel's outer UDP or GRE header, `TUN_FLAGS` of IPVS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum TunnelChecksum {
    /// `nocsum`.
    #[default]
    Off,
    /// `csum`.
    On,
    /// `remcsum`: remote checksum offload. GUE only.
    Remote,
}

/// `type` of `lvs_method TUN`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum TunnelEncapsulation {
    /// `ipip`: IP in IP, no checksum of its own.
    #[default]
    Ipip,
    /// `gue`: Generic UDP Encapsulation.
    Gue {
        /// UDP port of the target, 1 to 65,535.
        port: u16,
        /// Checksum of the UDP header.
        checksum: TunnelChecksum,
    },
    /// `gre`.
    Gre {
        /// Checksum of the GRE header; never [`TunnelChecksum::Remote`].
        checksum: TunnelChecksum,
    },
}

/// `lvs_method`, `lb_kind`: how a packet gets to its target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ForwardMethod {
    /// `NAT`: address and port are rewritten; answers come back through the director. keepalived's default.
    #[default]
    Nat,
    /// `DR`: only the MAC address changes; the target has the VIP too.
    Direct,
    /// `TUN`: the packet is put into another.
    Tunnel(TunnelEncapsulation),
}

impl ForwardMethod {
    /// Whether the target may be of another address family than the service.
    pub const fn crosses_families(self) -> bool {
        matches!(self, Self::Tunnel(_))
    }
}

/// One `real_server` of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceTarget {
    /// Address and port.
    pub id: TargetId,
    /// `lvs_method`; the service's unless given.
    pub forward: ForwardMethod,
    /// `weight`, 0 to 2^31 - 1; the service's unless given, and 1 unless that is. Checks add to it.
    pub weight: u32,
    /// `uthreshold`: connections above which the target gets no new one; 0: no limit.
    pub upper_threshold: u32,
    /// `lthreshold`: connections below which an overloaded target gets new ones again, at most `upper_threshold`; 0: 3/4 of it.
    pub lower_threshold: u32,
    /// `inhibit_on_failure`: a failed target stays in the table with weight 0, so that its connections go on.
    pub inhibit: bool,
    /// `notify_up`.
    pub notify_up: Option<NoticeCommand>,
    /// `notify_down`.
    pub notify_down: Option<NoticeCommand>,
    /// `smtp_alert`; on unless given.
    pub mail: bool,
    /// The checks. The target is alive if none has failed; without any it is always alive.
    pub checks: Vec<ProbeUse>,
}

impl ServiceTarget {
    /// A target with keepalived's defaults and without checks.
    pub const fn new(id: TargetId, forward: ForwardMethod) -> Self {
        Self {
            id,
            forward,
            weight: 1,
            upper_threshold: 0,
            lower_threshold: 0,
            inhibit: false,
            notify_up: None,
            notify_down: None,
            mail: true,
            checks: Vec::new(),
        }
    }
}
