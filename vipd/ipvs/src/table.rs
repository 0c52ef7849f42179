//! What the kernel has, as the client reads it.

use crate::{
    destination::{ConnectionCounts, IpvsDestination},
    service::{VirtualService, VirtualServiceKey},
    stats::TrafficStats,
    sync_daemon::SyncDaemon,
    timeouts::IpvsTimeouts,
};

/// Everything of IPVS in a network namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IpvsTable {
    /// The services, in no order that means anything.
    pub services: Vec<ServedService>,
    /// The timeouts of connections.
    pub timeouts: IpvsTimeouts,
    /// The sync daemons that run: one of each role at most.
    pub daemons: Vec<SyncDaemon>,
}

impl IpvsTable {
    /// The service with this key.
    pub fn service(&self, key: &VirtualServiceKey) -> Option<&ServedService> {
        self.services.iter().find(|served| served.service.key == *key)
    }
}

/// A service that the kernel has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServedService {
    /// What was set.
    pub service: VirtualService,
    /// What it has had to do.
    pub stats: TrafficStats,
    /// Its destinations, the latest first: the order in which schedulers walk them.
    pub destinations: Vec<ServedDestination>,
}

/// A destination that the kernel has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServedDestination {
    /// What was set.
    pub destination: IpvsDestination,
    /// The connections there are now.
    pub connections: ConnectionCounts,
    /// What it has had to do.
    pub stats: TrafficStats,
}
