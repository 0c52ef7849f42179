//! The virtual router itself: what the configuration says of it, and its interfaces as they were last seen.

use std::{net::IpAddr, time::Duration};

use vipd_common::{Version, abi::InstanceKey, wire::eth::MacAddr};

use super::{
    addresses,
    identity::RouterIdentity,
    links::{HeartbeatPort, IngressPoint, Port, RouterLink},
};
use crate::{
    host::{LinkState, is_local},
    vrrp::{GarpTiming, GroupId, InstanceId, LeasePolicy, Settings},
};
use vipd_config::{Arbiter, Auth};

/// One virtual router.
#[derive(Clone, Debug, PartialEq)]
pub struct Router {
    spec: vipd_config::Instance,
    settings: Settings,
    /// Its own interface, then those that single VIPs name.
    links: Vec<RouterLink>,
    /// What its adverts go over besides its own interface.
    heartbeats: Vec<HeartbeatPort>,
    /// The primary address: what adverts are sent from (RFC 9568 1.7).
    address: Option<IpAddr>,
    /// The subnets of its own interface.
    subnets: Vec<(IpAddr, u8)>,
    /// Its place in the configuration.
    position: usize,
    /// The name of its sync group.
    sync_group: Option<String>,
    /// All of its sync group, itself too, in order; itself alone if it is in none.
    group_members: Vec<RouterIdentity>,
    /// The arbiters that whoever takes it over early has to reach; none of one that is not taken over early.
    arbiters: Vec<Arbiter>,
    /// Its number in the election, its slot of `INSTANCES`, and its key in the host's plan.
    id: InstanceId,
    /// Its slot of `LEASES`: that of the first of its sync group.
    lease: GroupId,
}

impl Router {
    /// A virtual router at a place of the configuration, whose interfaces are `links`, in the order of
    /// [`interfaces`](super::interfaces). Its number is not known yet.
    pub fn new(
        position: usize,
        spec: vipd_config::Instance,
        links: Vec<(LinkState, IngressPoint)>,
        heartbeats: Vec<HeartbeatPort>,
    ) -> Self {
        let own = links.first().map(|(state, _)| state);
        // Where nothing can be known of a source on another interface, it counts as there.
        let address = own.and_then(|own| addresses::primary(&spec, own, spec.source));
        let subnets = own.map(|own| own.subnets().collect()).unwrap_or_default();
        let links = links.into_iter().enumerate();
        let links = links.map(|(i, (state, wire))| RouterLink::new(&spec, i == 0, &state, wire)).collect();
        Self {
            settings: settings(&spec),
            links,
            heartbeats,
            address,
            subnets,
            position,
            sync_group: None,
            group_members: vec![RouterIdentity::of(&spec)],
            id: InstanceId(0),
            lease: GroupId(0),
            arbiters: Vec::new(),
            spec,
        }
    }

    /// Says which arbiters have to be reached by whoever takes it over early.
    pub fn set_arbiters(&mut self, arbiters: Vec<Arbiter>) {
        self.arbiters = arbiters;
    }

    /// Those arbiters; none of a router that is not taken over early.
    pub fn arbiters(&self) -> &[Arbiter] {
        &self.arbiters
    }

    /// Makes it a member of a sync group, whose members share `settings`.
    pub fn join(&mut self, group: &str, members: &[RouterIdentity], settings: Settings) {
        (self.settings, self.group_members) = (settings, members.to_vec());
        self.sync_group = Some(group.to_owned());
    }

    /// Gives it its number, and the slot of its lease.
    pub fn number(&mut self, id: InstanceId, lease: GroupId) {
        (self.id, self.lease) = (id, lease);
    }

    /// What the configuration says of it.
    pub fn spec(&self) -> &vipd_config::Instance {
        &self.spec
    }

    /// Its name in the configuration.
    pub fn name(&self) -> &str {
        &self.spec.name
    }

    /// What the election is told of it; the priority is that of the configuration.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Its place in the configuration.
    pub fn position(&self) -> usize {
        self.position
    }

    /// Its number in the election, its slot of `INSTANCES`, and its key in the host's plan.
    pub fn id(&self) -> InstanceId {
        self.id
    }

    /// Its slot of `LEASES`: that of the first of its sync group.
    pub fn lease(&self) -> GroupId {
        self.lease
    }

    /// What it is on the wire.
    pub fn identity(&self) -> RouterIdentity {
        RouterIdentity::of(&self.spec)
    }

    /// The name of its sync group.
    pub fn sync_group(&self) -> Option<&str> {
        self.sync_group.as_deref()
    }

    /// All of its sync group, itself too, in order; itself alone if it is in none.
    pub fn group_members(&self) -> &[RouterIdentity] {
        &self.group_members
    }

    /// Whether it is the same as another in all but its place in the configuration.
    pub fn is_unchanged(&self, other: &Self) -> bool {
        Self { position: other.position, ..self.clone() } == *other
    }

    /// The primary address: what adverts are sent from (RFC 9568 1.7).
    pub fn address(&self) -> Option<IpAddr> {
        self.address
    }

    /// The subnets of its own interface.
    pub fn subnets(&self) -> &[(IpAddr, u8)] {
        &self.subnets
    }

    /// Takes note of an interface; returns whether anything about it is new to this router.
    pub fn update(&mut self, state: &LinkState) -> bool {
        let mut changed = false;
        for heartbeat in &mut self.heartbeats {
            changed |= heartbeat.update(state);
        }
        for (i, link) in self.links.iter_mut().enumerate() {
            if link.ifindex() != state.ifindex {
                continue;
            }
            changed |= link.update(&self.spec, state);
            if i == 0 {
                let address = addresses::primary(&self.spec, state, self.address);
                changed |= self.address != address;
                self.address = address;
                self.subnets = state.subnets().collect();
            }
        }
        changed
    }

    /// The interface is gone, or of no use; returns whether it is one of this router's.
    pub fn gone(&mut self, ifindex: u32) -> bool {
        let mut any = false;
        for heartbeat in &mut self.heartbeats {
            any |= heartbeat.gone(ifindex);
        }
        for link in &mut self.links {
            any |= link.gone(ifindex);
        }
        any
    }

    /// The interface, or the one below it, cannot be used.
    pub fn refuse(&mut self, ifindex: u32, why: &str) {
        self.links.iter_mut().for_each(|link| link.refuse(ifindex, why));
        self.gone(ifindex);
    }

    /// Why an interface that it depends on cannot be used.
    pub fn refusal(&self) -> Option<&str> {
        let mut needed = self.links.iter().enumerate().filter(|(i, link)| *i == 0 || link.is_tracked());
        needed.find_map(|(_, link)| link.refusal())
    }

    /// Whether a configured source has come or gone on another interface than its own, whose changes are told.
    pub fn source_has_changed(&self) -> bool {
        let is_followed = self.link().exists() && self.link().is_enabled() && !self.spec.tracks_source;
        let Some(source) = self.spec.source.filter(|_| is_followed) else { return false };
        is_local(source).is_ok_and(|is_there| is_there != self.address.is_some())
    }

    /// What is to be done about a configured source that this host does not have.
    pub fn missing_source(&self) -> Option<String> {
        let (source, name) = (self.spec.source.filter(|_| self.address.is_none())?, self.link().name());
        let keyword = if self.spec.unicast.is_some() { "unicast_src_ip" } else { "mcast_src_ip" };
        let on = if self.spec.tracks_source { name } else { "any interface of this host" };
        Some(format!(
            "{keyword} {source} is not on {on}: `ip address add {source}/LENGTH dev {name}`, or correct {keyword}"
        ))
    }

    /// Interface of the adverts.
    pub fn link(&self) -> &RouterLink {
        &self.links[0]
    }

    /// Its own interface, then those that single VIPs name.
    pub fn links(&self) -> &[RouterLink] {
        &self.links
    }

    /// What its adverts go over besides its own interface.
    pub fn heartbeats(&self) -> &[HeartbeatPort] {
        &self.heartbeats
    }

    /// Whether every interface it depends on is up.
    pub fn is_up(&self) -> bool {
        // What is turned off sends nothing, tracked or not.
        let own = self.link();
        own.exists() && own.is_enabled() && self.links.iter().all(|link| link.is_up() || !link.is_tracked())
    }

    /// Whether a heartbeat link carries adverts now, and there is an address to send them from.
    pub fn has_heartbeat(&self) -> bool {
        self.address.is_some() && self.heartbeats.iter().any(HeartbeatPort::carries)
    }

    /// Its interfaces with VIPs that are there.
    pub fn present(&self) -> impl Iterator<Item = &RouterLink> {
        self.links.iter().filter(|link| link.exists())
    }

    /// Every interface it uses, whether it is there or not.
    pub fn ports(&self) -> impl Iterator<Item = Port<'_>> {
        let links = self.links.iter().enumerate();
        let links = links.map(|(i, link)| link.port(i == 0 && self.spec.use_vmac));
        links.chain(self.heartbeats.iter().map(HeartbeatPort::port))
    }

    /// Those of [`Self::ports`] that are there.
    pub fn present_ports(&self) -> impl Iterator<Item = Port<'_>> {
        self.ports().filter(Port::exists)
    }

    /// What its adverts go over, by their numbers: 0 is its own interface.
    pub fn advert_ports(&self) -> impl Iterator<Item = Port<'_>> {
        let others = self.links.len() - 1;
        let mut ports = self.ports();
        ports.next().into_iter().chain(ports.skip(others))
    }

    /// The interfaces its adverts go over that are there.
    pub fn advert_interfaces(&self) -> impl Iterator<Item = u32> {
        self.advert_ports().filter(Port::exists).map(|port| port.ifindex)
    }

    /// Its key in the index of instances.
    pub fn key(&self) -> InstanceKey {
        let IngressPoint { ifindex, vlan, .. } = *self.link().wire();
        InstanceKey {
            ifindex,
            vlan,
            family: self.spec.family as u8,
            vrid: self.spec.vrid.get(),
            reserved: [0; 2],
        }
    }

    /// The password in its adverts.
    pub fn auth_data(&self) -> Option<[u8; 8]> {
        match self.spec.auth {
            Auth::None => None,
            Auth::Pass(data) => Some(data),
        }
    }

    /// With `use_vmac`, the MAC of RFC 9568 7.3.
    pub fn virtual_mac(&self) -> Option<MacAddr> {
        self.spec.use_vmac.then(|| MacAddr::virtual_router(self.spec.family, self.spec.vrid))
    }

    /// The Ethernet source of its adverts.
    pub fn advert_mac(&self) -> MacAddr {
        self.virtual_mac().filter(|_| !self.spec.vmac_xmit_base).unwrap_or(self.link().mac())
    }

    /// Each interface with the MAC that its VIPs are answered for with. The virtual MAC is that of the first one only:
    /// on another the same VRID may be another virtual router's.
    pub fn answering(&self) -> impl Iterator<Item = (&RouterLink, MacAddr)> {
        let first = self.virtual_mac();
        self.links
            .iter()
            .enumerate()
            .map(move |(i, link)| (link, first.filter(|_| i == 0).unwrap_or(link.mac())))
            .filter(|(link, _)| link.exists())
    }

    /// Whether an advert's sender may speak to this router; XDP has judged by the table of peers, which may be another by now.
    pub fn hears(&self, source: IpAddr) -> bool {
        self.spec.unicast.as_ref().is_none_or(|unicast| {
            !unicast.check_source || unicast.peers.iter().any(|peer| peer.address == source)
        })
    }

    /// v3 intervals this short need real-time scheduling to be kept on a busy host.
    pub fn is_short(&self) -> bool {
        self.spec.version == Version::V3 && self.spec.advert_interval < Duration::from_millis(50)
    }
}

fn settings(spec: &vipd_config::Instance) -> Settings {
    Settings {
        version: spec.version,
        family: spec.family,
        vrid: spec.vrid,
        priority: spec.priority,
        advert_interval: spec.advert_interval,
        down_timer_adverts: spec.down_timer_adverts,
        preempt: spec.preempt,
        preempt_delay: spec.preempt_delay,
        lease: match spec.lease {
            vipd_config::LeasePolicy::Overlap => LeasePolicy::Overlap,
            vipd_config::LeasePolicy::Strict => LeasePolicy::Strict,
        },
        garp: GarpTiming {
            master_repeat: spec.garp.master_repeat,
            master_delay: spec.garp.master_delay,
            master_refresh: spec.garp.master_refresh,
            master_refresh_repeat: spec.garp.master_refresh_repeat,
            lower_prio_repeat: spec.garp.lower_prio_repeat,
            lower_prio_delay: spec.garp.lower_prio_delay,
        },
        lower_prio_no_advert: spec.lower_prio_no_advert,
        checksum: spec.checksum,
        fence: spec.fence.is_some(),
        shared: None,
    }
}
