//! All services, checked: the input of a [`Judge`](crate::Judge).

use std::{collections::BTreeSet, fmt};

use vipd_common::Family;

use super::{
    ForwardMethod, ServiceAddress, ServiceId, TargetId, TransportProtocol, TunnelChecksum,
    TunnelEncapsulation, VirtualServer,
};

/// Services that fit together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BalanceConfig {
    servers: Vec<VirtualServer>,
    init_notices: bool,
}

impl BalanceConfig {
    /// Checks the services. `init_notices` is `rs_init_notifies`: a notice of each target that serves from the start.
    ///
    /// # Errors
    ///
    /// The first thing that is out of range or does not fit.
    pub fn new(servers: Vec<VirtualServer>, init_notices: bool) -> Result<Self, (ServiceId, ServiceFault)> {
        let (mut ids, mut addresses) = (BTreeSet::new(), BTreeSet::new());
        for server in &servers {
            let named = |fault| (server.id.clone(), fault);
            if !ids.insert(&server.id) {
                return Err(named(ServiceFault::Duplicate));
            }
            if let Some(twice) = server.addresses.iter().find(|address| !addresses.insert(**address)) {
                return Err(named(ServiceFault::AddressTwice(*twice)));
            }
            check(server).map_err(named)?;
        }
        Ok(Self { servers, init_notices })
    }

    /// The services, in the order of the configuration.
    pub fn servers(&self) -> &[VirtualServer] {
        &self.servers
    }

    /// `rs_init_notifies`.
    pub const fn init_notices(&self) -> bool {
        self.init_notices
    }

    pub(crate) fn into_servers(self) -> Vec<VirtualServer> {
        self.servers
    }
}

/// Why a service cannot be judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServiceFault {
    /// Another service has the same identity.
    Duplicate,
    /// An address belongs to two services, or twice to one.
    AddressTwice(ServiceAddress),
    /// It is reached by nothing.
    NoAddress,
    /// It has neither a target nor a sorry server.
    NoTarget,
    /// A target stands twice.
    TargetTwice(TargetId),
    /// `quorum` is 0.
    NoQuorum,
    /// `hysteresis` is not below `quorum`.
    Hysteresis,
    /// A weight is above 2^31 - 1.
    Weight(TargetId),
    /// `lthreshold` is above `uthreshold`.
    Thresholds(TargetId),
    /// Another family than that of the service, and no tunnel.
    TargetFamily(TargetId),
    /// GUE without a port, or GRE with remote checksum offload.
    Tunnel(TargetId),
    /// `rise` of a check is 0, or its `delay_loop` is.
    Check(TargetId),
    /// `persistence_timeout` outside 1 to 2,678,400 s, or a prefix length outside 1 to 128.
    Persistence,
    /// Port 0 without persistence.
    AnyPort,
    /// `ops` of TCP or SCTP.
    OnePacket,
    /// `min_alive` above 100.
    MinAlive,
    /// `ha_suspend` of marks only: no address to follow.
    HaSuspend,
}

impl fmt::Display for ServiceFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Duplicate => f.write_str("another virtual server is the same"),
            Self::AddressTwice(address) => write!(f, "{address} belongs to another virtual server too"),
            Self::NoAddress => f.write_str("no address"),
            Self::NoTarget => f.write_str("neither a real server nor a sorry server"),
            Self::TargetTwice(target) => write!(f, "real server {target} stands twice"),
            Self::NoQuorum => f.write_str("quorum 0, at least 1 is needed"),
            Self::Hysteresis => f.write_str("the hysteresis is not below the quorum"),
            Self::Weight(target) => write!(f, "the weight of {target} is above {MAX_WEIGHT}"),
            Self::Thresholds(target) => write!(f, "the lower threshold of {target} is above the upper one"),
            Self::TargetFamily(target) => {
                write!(f, "{target} is of another family, and no tunnel leads to it")
            }
            Self::Tunnel(target) => {
                write!(f, "the tunnel to {target} needs a port, or has a wrong checksum option")
            }
            Self::Check(target) => write!(f, "a check of {target} has a rise or a period of 0"),
            Self::Persistence => f.write_str("persistence is 1 to 2678400 s, for prefixes of 1 to 128"),
            Self::AnyPort => f.write_str("port 0 needs persistence"),
            Self::OnePacket => f.write_str("one-packet scheduling is for UDP and firewall marks"),
            Self::MinAlive => f.write_str("min_alive is above 100 percent"),
            Self::HaSuspend => f.write_str("ha_suspend needs an address"),
        }
    }
}

impl std::error::Error for ServiceFault {}

/// Greatest weight of the kernel, a signed 32-bit number.
pub const MAX_WEIGHT: u32 = i32::MAX as u32;
/// 31 days.
const MAX_PERSISTENCE_S: u32 = 31 * 86_400;

fn check(server: &VirtualServer) -> Result<(), ServiceFault> {
    let family = server.addresses.first().ok_or(ServiceFault::NoAddress)?.family();
    if server.targets.is_empty() && server.sorry.is_none() {
        return Err(ServiceFault::NoTarget);
    }
    if server.quorum == 0 {
        return Err(ServiceFault::NoQuorum);
    }
    if server.hysteresis >= server.quorum {
        return Err(ServiceFault::Hysteresis);
    }
    if server.min_alive > 100 {
        return Err(ServiceFault::MinAlive);
    }
    if server.ha_suspend && server.addresses.iter().all(|address| address.address().is_none()) {
        return Err(ServiceFault::HaSuspend);
    }
    check_settings(server, family)?;
    let mut targets = BTreeSet::new();
    for target in &server.targets {
        let id = target.id;
        if !targets.insert(id) {
            return Err(ServiceFault::TargetTwice(id));
        }
        if target.weight > MAX_WEIGHT {
            return Err(ServiceFault::Weight(id));
        }
        if target.lower_threshold > target.upper_threshold {
            return Err(ServiceFault::Thresholds(id));
        }
        if target.checks.iter().any(|check| check.rise == 0 || check.delay_loop.is_zero()) {
            return Err(ServiceFault::Check(id));
        }
        check_way(id, target.forward, server)?;
    }
    server.sorry.map_or(Ok(()), |sorry| check_way(sorry.id, sorry.forward, server))
}

fn check_settings(server: &VirtualServer, family: Family) -> Result<(), ServiceFault> {
    let settings = &server.settings;
    if let Some(persistence) = settings.persistence {
        let prefix = family == Family::V4 || (1..=128).contains(&persistence.granularity);
        if !(1..=MAX_PERSISTENCE_S).contains(&persistence.timeout_s) || !prefix {
            return Err(ServiceFault::Persistence);
        }
    }
    for address in &server.addresses {
        let ServiceAddress::Socket { protocol, port, .. } = address else { continue };
        if *port == 0 && settings.persistence.is_none() {
            return Err(ServiceFault::AnyPort);
        }
        if settings.one_packet && *protocol != TransportProtocol::Udp {
            return Err(ServiceFault::OnePacket);
        }
    }
    Ok(())
}

/// Whether the way to a target can be gone.
fn check_way(id: TargetId, forward: ForwardMethod, server: &VirtualServer) -> Result<(), ServiceFault> {
    let same =
        server.addresses.iter().all(|address| (address.family() == Family::V4) == id.address.is_ipv4());
    match forward {
        ForwardMethod::Nat | ForwardMethod::Direct if same => Ok(()),
        ForwardMethod::Nat | ForwardMethod::Direct => Err(ServiceFault::TargetFamily(id)),
        ForwardMethod::Tunnel(
            TunnelEncapsulation::Gue { port: 0, .. }
            | TunnelEncapsulation::Gre { checksum: TunnelChecksum::Remote },
        ) => Err(ServiceFault::Tunnel(id)),
        ForwardMethod::Tunnel(_) => Ok(()),
    }
}
