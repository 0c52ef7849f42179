//! What is to be in force: the virtual routers of a configuration on the interfaces as they are, and all that follows from
//! them. PURE: nothing here asks the kernel, and nothing is changed.

use std::{collections::BTreeSet, net::IpAddr};

use anyhow::{Result, bail};
use vipd_common::{
    abi::{MAX_INSTANCES, MAX_PEERS, MAX_VIPS, PeerEntry, PeerKey},
    wire::{eth::MacAddr, ndp},
};

use super::{
    host_plan,
    router::{HeartbeatPort, IngressPoint, Router, RouterIdentity, index_entries, peer_entries, vip_entries},
    sockets::Sockets,
};
use crate::{
    coordinator::InstanceId,
    dataplane::Contents,
    host::{LinkChange, LinkState, Plan},
    vrrp::Settings,
};
use vipd_config::{Config, SyncGroup};

/// What is to be in force.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Desired {
    /// In the order of the configuration.
    routers: Vec<Router>,
}

/// The interfaces of one instance as they are.
#[derive(Debug)]
pub struct Found {
    /// With its VIPs: its own first.
    pub links: Vec<(LinkState, IngressPoint)>,
    pub heartbeats: Vec<HeartbeatPort>,
}

impl Desired {
    /// What a configuration makes of the interfaces that were found for each of its instances. Nothing is numbered yet.
    ///
    /// # Errors
    ///
    /// More than the maps have room for.
    pub fn new(config: &Config, found: Vec<Found>) -> Result<Self> {
        let found = config.instances.iter().zip(found).enumerate();
        let router = |(position, (spec, Found { links, heartbeats })): (usize, (&_, _))| {
            let mut router = Router::new(position, Clone::clone(spec), links, heartbeats);
            if spec.probe.is_some_and(|probe| probe.takes_over) {
                router.set_arbiters(config.isolating(router.name()).into_iter().cloned().collect());
            }
            router
        };
        let mut desired = Self { routers: found.map(router).collect() };
        for group in &config.sync_groups {
            desired.join(group);
        }
        desired.check_capacity()?;
        Ok(desired)
    }

    fn join(&mut self, group: &SyncGroup) {
        let is_member = |router: &&mut Router| group.members.iter().any(|name| name == router.name());
        let mut members: Vec<&mut Router> = self.routers.iter_mut().filter(is_member).collect();
        let mut identities: Vec<RouterIdentity> = members.iter().map(|router| router.identity()).collect();
        identities.sort();
        let mut settings: Vec<Settings> = members.iter().map(|router| *router.settings()).collect();
        Settings::share(&mut settings);
        for (router, settings) in members.iter_mut().zip(settings) {
            router.join(&group.name, &identities, settings);
        }
    }

    fn check_capacity(&self) -> Result<()> {
        let vips = self.routers.iter().flat_map(vip_entries).count();
        let peers = self.routers.iter().flat_map(peer_entries).count();
        for (what, count, most) in [
            ("instances", self.routers.len(), MAX_INSTANCES),
            ("VIPs", vips, MAX_VIPS),
            ("unicast peers", peers, MAX_PEERS),
        ] {
            if count > most as usize {
                bail!("{count} {what}: there is room for {most}");
            }
        }
        Ok(())
    }

    /// The virtual routers, in the order of the configuration.
    pub fn routers(&self) -> &[Router] {
        &self.routers
    }

    /// With these routers alone.
    pub fn only(mut self, kept: impl FnMut(&Router) -> bool) -> Self {
        self.routers.retain(kept);
        self
    }

    /// To number them, and for nothing else.
    pub fn routers_mut(&mut self) -> &mut [Router] {
        &mut self.routers
    }

    /// The virtual router of a number.
    pub fn router(&self, id: InstanceId) -> Option<&Router> {
        self.routers.iter().find(|router| router.id() == id)
    }

    /// Takes note of an interface that has changed.
    pub fn follow(&mut self, change: &LinkChange) {
        for router in &mut self.routers {
            match change {
                LinkChange::State(link) => _ = router.update(link),
                LinkChange::Gone { ifindex } => _ = router.gone(*ifindex),
            }
        }
    }

    /// An interface, or the one below it, cannot be used.
    pub fn refuse(&mut self, ifindex: u32, why: &str) {
        self.routers.iter_mut().for_each(|router| router.refuse(ifindex, why));
    }

    /// Whether VIPs are on this interface, or above it: it is no mere heartbeat link.
    pub fn serves(&self, ifindex: u32) -> bool {
        self.routers.iter().flat_map(Router::present).any(|link| link.wire().ifindex == ifindex)
    }

    /// The interfaces that the program is to be attached to.
    pub fn wires(&self) -> BTreeSet<u32> {
        self.routers.iter().flat_map(Router::present_ports).map(|port| port.wire.ifindex).collect()
    }

    /// What the data plane's tables are to hold.
    pub fn tables(&self) -> Contents {
        Contents {
            vips: self.routers.iter().flat_map(vip_entries).collect(),
            index: self.routers.iter().flat_map(index_entries).collect(),
            peers: self.peers(),
        }
    }

    /// The MACs that the tables answer with where there is no virtual one, in order.
    pub fn macs(&self) -> Vec<MacAddr> {
        self.routers.iter().flat_map(Router::links).map(|link| link.mac()).collect()
    }

    /// The entries of the table of unicast peers.
    pub fn peers(&self) -> Vec<(PeerKey, PeerEntry)> {
        self.routers.iter().flat_map(peer_entries).collect()
    }

    /// What the host is asked to make.
    pub fn plan(&self) -> Plan {
        host_plan::plan(&self.routers)
    }

    /// The groups to be a member of, with the interface of each: that of adverts, and the solicited-node groups of IPv6 VIPs
    /// (RFC 9568 6.4.3; on a backup too, since nothing is configured at takeover).
    pub fn groups(&self) -> BTreeSet<(u32, IpAddr)> {
        let multicast = self.routers.iter().filter(|router| router.spec().unicast.is_none());
        let adverts = multicast
            .flat_map(|router| router.advert_interfaces().map(|ifindex| (ifindex, router.spec().group)));
        let solicited = self.routers.iter().flat_map(Router::present).flat_map(|link| {
            link.vips().iter().filter_map(|vip| match vip {
                IpAddr::V6(v6) => Some((link.ifindex(), ndp::solicited_node(*v6).into())),
                IpAddr::V4(_) => None,
            })
        });
        adverts.chain(solicited).collect()
    }

    /// The sockets that adverts and announcements leave by: on which interfaces, and for which unicast peers there.
    pub fn sockets(&self) -> BTreeSet<(u32, Option<IpAddr>)> {
        Sockets::needs(&self.routers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn configured(instances: usize) -> Result<Desired> {
        let text =
            "vrrp_instance A {\ninterface eth0\nvirtual_router_id 1\nvirtual_ipaddress {\n10.0.0.1\n}\n}\n";
        let path = std::path::Path::new("t.conf");
        let loaded = vipd_config::parse(path, text, &vipd_config::Nothing, vipd_config::Unsupported::Refused);
        let mut config = loaded.unwrap_or_else(|failure| panic!("{failure}")).config;
        config.instances = std::iter::repeat_n(config.instances.remove(0), instances).collect();
        let found = || {
            let wire = IngressPoint { interface: "eth0".into(), ifindex: 7, vlan: 0 };
            let link = LinkState { ifindex: 7, ..LinkState::absent("eth0") };
            Found { links: vec![(link, wire)], heartbeats: Vec::new() }
        };
        Desired::new(&config, std::iter::repeat_with(found).take(instances).collect())
    }

    #[test]
    fn what_there_is_no_room_for_is_refused() {
        configured(1_024).unwrap();
        let refused = configured(1_025).unwrap_err().to_string();
        assert_eq!(refused, "1025 instances: there is room for 1024");
    }
}
