//! Who is to be probed, by the configuration and by what the election has heard. PURE.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::Duration,
};

use vipd_common::{abi::ProbeKey, address::Address, wire::eth::MacAddr};
use vipd_core::early::ProbeTiming;

use super::super::instance::EngineInstance;
use crate::{coordinator::InstanceId, dataplane::ProbeStamps, lease_manager::LeaseManager};

/// This node's address on one link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LinkKey {
    /// Where XDP sees frames.
    pub ifindex: u32,
    /// As in `abi::VipKey::vlan`.
    pub vlan: u32,
    pub local: IpAddr,
}

/// Another link to the hosts of one. Frames there go to a group, since nobody needs an address there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HeartbeatLine {
    pub ifindex: u32,
    /// Where XDP sees frames, and the VLAN there.
    pub wire: (u32, u32),
    pub mac: [u8; 6],
    pub group: IpAddr,
}

impl HeartbeatLine {
    /// Where probes and answers from a peer come in on it, for a link with such a key.
    pub fn key(&self, link: LinkKey, peer: IpAddr) -> ProbeKey {
        let (ifindex, vlan) = self.wire;
        LinkKey { ifindex, vlan, ..link }.with(Some(peer))
    }
}

/// What is probed from one address, for all instances there.
#[derive(Clone, Debug)]
pub struct LinkPlan {
    /// The instances that are probed for.
    pub instances: Vec<InstanceId>,
    /// Those of them that are taken over early.
    pub early: BTreeSet<InstanceId>,
    /// The interface of the instances.
    pub interface: String,
    pub ifindex: u32,
    /// The interface's own MAC; `None` if it is not known.
    pub mac: Option<MacAddr>,
    pub timing: ProbeTiming,
    /// After how long without an advert VRRP replaces a master there.
    pub replaced_after: Duration,
    /// Unicast peers, and the masters that are followed.
    pub peers: BTreeSet<IpAddr>,
    /// Heartbeat links of the instances there, which lead to the same hosts.
    pub lines: BTreeSet<HeartbeatLine>,
    /// The subnets whose hosts may make themselves known; none with unicast peers only.
    pub subnets: Vec<(IpAddr, u8)>,
}

impl LinkKey {
    /// The key of a peer there; without one that of the entry for strangers.
    pub fn with(self, peer: Option<IpAddr>) -> ProbeKey {
        let Self { ifindex, vlan, local } = self;
        ProbeKey {
            ifindex,
            vlan,
            local: address_of(local),
            peer: peer.map_or(Address::UNSPECIFIED, address_of),
        }
    }
}

/// An address as the maps have it.
pub fn address_of(address: IpAddr) -> Address {
    match address {
        IpAddr::V4(v4) => Address::from_v4(v4.octets()),
        IpAddr::V6(v6) => Address::from_octets(v6.octets()),
    }
}

/// An address of the maps as it is.
pub fn ip_of(address: Address) -> IpAddr {
    IpAddr::from(address.octets()).to_canonical()
}

/// What is to be probed now.
pub fn plan(
    instances: &BTreeMap<InstanceId, EngineInstance>,
    leases: &LeaseManager,
) -> BTreeMap<LinkKey, LinkPlan> {
    let mut plans: BTreeMap<LinkKey, LinkPlan> = BTreeMap::new();
    for (id, instance) in instances {
        let router = instance.router();
        let (Some(probe), Some(local)) = (&router.spec().probe, router.address()) else { continue };
        if !router.link().exists() {
            continue;
        }
        let wire = router.link().wire();
        let key = LinkKey { ifindex: wire.ifindex, vlan: wire.vlan, local };
        let timing = ProbeTiming::new(probe.interval, probe.multiplier, probe.takes_over);
        let interval = leases.snapshot(*id).map_or(router.spec().advert_interval, |s| s.interval);
        let replaced_after = router.settings().master_down_interval(interval);
        let plan = plans.entry(key).or_insert_with(|| LinkPlan {
            instances: Vec::new(),
            early: BTreeSet::new(),
            interface: router.link().name().to_owned(),
            ifindex: router.link().ifindex(),
            mac: Some(router.link().mac()),
            timing,
            replaced_after,
            peers: BTreeSet::new(),
            lines: BTreeSet::new(),
            subnets: Vec::new(),
        });
        plan.instances.push(*id);
        if probe.takes_over {
            plan.early.insert(*id);
        }
        // One session for all of them: what is acted on goes before what is measured, then the quickest that anybody asks for. And what is
        // to be quicker than the quickest election.
        let urgency = |timing: &ProbeTiming| (!timing.takes_over, timing.interval, timing.multiplier);
        if urgency(&timing) < urgency(&plan.timing) {
            plan.timing = timing;
        }
        plan.replaced_after = plan.replaced_after.min(replaced_after);
        match &router.spec().unicast {
            Some(unicast) => plan.peers.extend(unicast.peers.iter().map(|peer| peer.address)),
            None => {
                plan.subnets.extend(router.subnets().iter().copied());
                plan.peers
                    .extend(instance.heard().filter(|heard| !heard.has_left).map(|heard| heard.address));
            }
        }
        let group = router.spec().group;
        let lines = router.heartbeats().iter().filter(|line| line.carries() && group.is_multicast());
        plan.lines.extend(lines.map(|line| HeartbeatLine {
            ifindex: line.ifindex(),
            wire: (line.wire().ifindex, line.wire().vlan),
            mac: line.mac().0,
            group,
        }));
        plan.peers.remove(&local);
    }
    plans
}

impl LinkPlan {
    /// Of a link that a predecessor has probed, and that is not in the configuration: its hosts are told. `said` is what one of them said last.
    pub fn of_farewell(key: LinkKey, said: Option<ProbeStamps>) -> Self {
        let (interval_us, multiplier) = said.map_or((10_000, 3), |said| (said.interval_us, said.multiplier));
        let interval = Duration::from_micros(interval_us.clamp(1_000, 1_000_000).into());
        let timing = ProbeTiming::new(interval, multiplier.max(1), false);
        Self {
            instances: Vec::new(),
            early: BTreeSet::new(),
            interface: String::new(),
            ifindex: key.ifindex,
            mac: None,
            timing,
            replaced_after: timing.detect(),
            peers: BTreeSet::new(),
            lines: BTreeSet::new(),
            subnets: Vec::new(),
        }
    }

    /// Whether a host that probes is one of this link's.
    pub fn may_learn(&self, peer: IpAddr) -> bool {
        self.subnets.iter().any(|(network, length)| is_in(peer, *network, *length))
    }
}

fn is_in(address: IpAddr, network: IpAddr, length: u8) -> bool {
    let bits = |address: IpAddr| match address {
        IpAddr::V4(v4) => (u128::from(v4.to_bits()) << 96, true),
        IpAddr::V6(v6) => (v6.to_bits(), false),
    };
    let ((address, is_v4), (network, network_is_v4)) = (bits(address), bits(network));
    let differs = (address ^ network).checked_shr(128 - u32::from(length.min(128))).unwrap_or(0);
    is_v4 == network_is_v4 && differs == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_of_the_links_subnets_may_make_themselves_known() {
        for (address, network, length, expect) in [
            ("10.9.0.7", "10.9.0.1", 24, true),
            ("10.9.1.7", "10.9.0.1", 24, false),
            ("10.9.1.7", "10.9.0.1", 0, true),
            ("10.9.0.1", "10.9.0.1", 32, true),
            ("fe80::7", "fe80::1", 64, true),
            ("2001:db8::7", "fe80::1", 64, false),
            ("2001:db8::7", "10.9.0.1", 0, false),
        ] {
            let found = is_in(address.parse().unwrap(), network.parse().unwrap(), length);
            assert_eq!(found, expect, "{address} {network}/{length}");
        }
    }

    #[test]
    fn addresses_go_into_the_maps_and_back() {
        for address in ["10.9.0.7", "fe80::7"] {
            let address: IpAddr = address.parse().unwrap();
            assert_eq!(ip_of(address_of(address)), address);
        }
    }
}
