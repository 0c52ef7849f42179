//! One virtual router as the daemon knows it: its configuration, its interfaces as last seen, its slot in the maps.

mod heartbeat;
#[cfg(test)]
mod tests;

use std::{
    collections::HashSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
    time::Duration,
};

use vipd_common::{
    Family, Version,
    abi::{
        ADDRESS_DIGEST_MASK, InstanceHead, InstanceKey, PeerEntry, PeerKey, VipEntry, VipKey, address_digest,
        address_digest_v6, auth_type, instance_flag, mapped, vip_flag,
    },
    wire::eth::MacAddr,
};
use vipd_config::Auth;

pub use heartbeat::{Heartbeat, Port};

use crate::{
    announce::{Pace, Station},
    dataplane::Identity,
    host::{LinkState, Unusable, is_local, is_within},
    time::nanos,
    vrrp::{GarpTiming, GroupId, InstanceId, LeasePolicy, Settings},
};

/// One virtual router.
#[derive(Clone, Debug, PartialEq)]
pub struct Router {
    pub spec: vipd_config::Instance,
    pub settings: Settings,
    /// Its own interface, then those that single VIPs name.
    pub links: Vec<RouterLink>,
    /// What its adverts go over besides its own interface.
    pub heartbeats: Vec<Heartbeat>,
    /// The primary address: what adverts are sent from (RFC 9568 1.7).
    pub address: Option<IpAddr>,
    /// The subnets of its own interface.
    pub subnets: Vec<(IpAddr, u8)>,
    /// Its place in the configuration.
    pub position: usize,
    /// The name of its sync group.
    pub sync_group: Option<String>,
    /// All of its sync group, itself too, in order; itself alone if it is in none.
    pub mates: Vec<Identified>,
    /// Slot of `INSTANCES`.
    pub slot: u32,
    /// Slot of `LEASES`: that of the first of its sync group.
    pub group: u32,
}

/// What makes a virtual router the same in two configurations: interface, IPv6 or not, VRID.
pub type Identified = (String, bool, u8);

/// An interface with VIPs of a router.
#[derive(Clone, Debug, PartialEq)]
pub struct RouterLink {
    pub name: String,
    /// 0: there is no such interface now, or none that can be used.
    pub ifindex: u32,
    /// Why the interface that is there cannot be used.
    pub refused: Option<String>,
    pub wire: Wire,
    /// The interface's own.
    pub mac: MacAddr,
    pub up: bool,
    /// Administratively up.
    pub enabled: bool,
    /// Whether the router is in fault while it is down.
    pub tracked: bool,
    /// The sources of this host's own traffic to the VIPs.
    pub source_v4: Option<Ipv4Addr>,
    pub source_v6: Option<Ipv6Addr>,
    /// Those in adverts first.
    pub vips: Vec<IpAddr>,
}

/// Where the program sees an interface's frames: on the interface itself, or a VLAN's on its parent, tagged (`xdp_mode native`).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Wire {
    pub interface: String,
    pub ifindex: u32,
    /// As in `abi::VipKey::vlan`.
    pub vlan: u32,
}

impl Router {
    /// A virtual router whose interfaces are `links`, in the order of [`interfaces`], without heartbeat lines. Its slot is
    /// not known yet.
    pub fn new(spec: vipd_config::Instance, links: Vec<(LinkState, Wire)>) -> Self {
        let links = links.into_iter().enumerate().map(|(i, (state, wire))| {
            let on_it =
                |vip: &&vipd_config::Vip| vip.interface.as_ref().unwrap_or(&spec.interface) == &state.name;
            let on_it = || spec.vips.iter().chain(&spec.excluded).filter(on_it);
            let mut link = RouterLink {
                name: state.name.clone(),
                ifindex: state.ifindex,
                refused: None,
                wire,
                mac: state.mac,
                up: state.up,
                enabled: state.enabled,
                tracked: if i == 0 { spec.tracks_interface } else { on_it().any(|vip| vip.tracked) },
                source_v4: None,
                source_v6: None,
                vips: on_it().map(|vip| vip.address).collect(),
            };
            link.sources(&spec, &state);
            link.judge(&spec, &state);
            (link, state)
        });
        let (links, states): (Vec<_>, Vec<_>) = links.unzip();
        // Where nothing can be known of a source on another interface, it counts as there.
        let address = states.first().and_then(|own| primary_address(&spec, own, spec.source));
        let mut router = Self {
            settings: settings(&spec),
            links,
            heartbeats: Vec::new(),
            address,
            subnets: states.first().map(|own| own.subnets().collect()).unwrap_or_default(),
            position: 0,
            sync_group: None,
            mates: Vec::new(),
            slot: 0,
            group: 0,
            spec,
        };
        router.mates.push(router.identified());
        router
    }

    pub fn identified(&self) -> Identified {
        (self.spec.interface.clone(), self.spec.family == Family::V6, self.spec.vrid.get())
    }

    /// Its number in the election.
    pub fn id(&self) -> InstanceId {
        InstanceId(self.host_key())
    }

    /// Takes note of an interface; returns whether anything about it is new to this router.
    pub fn update(&mut self, state: &LinkState) -> bool {
        let mut changed = self.update_heartbeats(state);
        for (i, link) in self.links.iter_mut().enumerate() {
            if link.ifindex != state.ifindex {
                continue;
            }
            let before = (link.mac, link.up, link.enabled, link.source_v4, link.source_v6);
            (link.mac, link.up, link.enabled) = (state.mac, state.up, state.enabled);
            link.sources(&self.spec, state);
            link.judge(&self.spec, state);
            changed |=
                before != (link.mac, link.up, link.enabled, link.source_v4, link.source_v6) || !link.exists();
            if i == 0 {
                let address = primary_address(&self.spec, state, self.address);
                changed |= self.address != address;
                self.address = address;
                self.subnets = state.subnets().collect();
            }
        }
        changed
    }

    /// The interface is gone, or of no use; returns whether it is one of this router's.
    pub fn gone(&mut self, ifindex: u32) -> bool {
        let is_it = |link: &&mut RouterLink| link.ifindex == ifindex || link.wire.ifindex == ifindex;
        let mut any = self.heartbeat_gone(ifindex);
        for link in self.links.iter_mut().filter(is_it) {
            (link.ifindex, link.up, any) = (0, false, true);
        }
        any
    }

    /// The interface, or the one below it, cannot be used.
    pub fn refuse(&mut self, ifindex: u32, why: &str) {
        let is_it = |link: &&mut RouterLink| link.ifindex == ifindex || link.wire.ifindex == ifindex;
        self.links.iter_mut().filter(is_it).for_each(|link| link.refused = Some(why.to_owned()));
        self.gone(ifindex);
    }

    /// Why an interface that it depends on cannot be used.
    pub fn refusal(&self) -> Option<&str> {
        let mut needed = self.links.iter().enumerate().filter(|(i, link)| *i == 0 || link.tracked);
        needed.find_map(|(_, link)| link.refused.as_deref())
    }

    /// Whether a configured source has come or gone on another interface than its own, whose changes are told.
    pub fn source_has_changed(&self) -> bool {
        let is_followed = self.link().exists() && self.link().enabled && !self.spec.tracks_source;
        let Some(source) = self.spec.source.filter(|_| is_followed) else { return false };
        is_local(source).is_ok_and(|is_there| is_there != self.address.is_some())
    }

    /// What is to be done about a configured source that this host does not have.
    pub fn missing_source(&self) -> Option<String> {
        let (source, link) = (self.spec.source.filter(|_| self.address.is_none())?, self.link());
        let keyword = if self.spec.unicast.is_some() { "unicast_src_ip" } else { "mcast_src_ip" };
        let name = &link.name;
        let on = if self.spec.tracks_source { name } else { "any interface of this host" };
        Some(format!(
            "{keyword} {source} is not on {on}: `ip address add {source}/LENGTH dev {name}`, or correct {keyword}"
        ))
    }

    /// The interface of its adverts.
    pub fn link(&self) -> &RouterLink {
        &self.links[0]
    }

    /// Whether every interface it depends on is up.
    pub fn up(&self) -> bool {
        // What is turned off sends nothing, tracked or not.
        let own = self.link();
        own.exists() && own.enabled && self.links.iter().all(|link| link.up || !link.tracked)
    }

    /// The number of its lease in the election.
    pub fn group_id(&self) -> GroupId {
        GroupId(u16::try_from(self.group).expect("slots are below MAX_INSTANCES, 1024"))
    }

    /// Its interfaces that are there.
    pub fn present(&self) -> impl Iterator<Item = &RouterLink> {
        self.links.iter().filter(|link| link.exists())
    }

    /// Its key in the host's plan.
    pub fn host_key(&self) -> u16 {
        u16::try_from(self.slot).expect("slots are below MAX_INSTANCES, 1024")
    }

    pub fn key(&self) -> InstanceKey {
        let Wire { ifindex, vlan, .. } = self.link().wire;
        InstanceKey {
            ifindex,
            vlan,
            family: self.spec.family as u8,
            vrid: self.spec.vrid.get(),
            reserved: [0; 2],
        }
    }

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
        self.virtual_mac().filter(|_| !self.spec.vmac_xmit_base).unwrap_or(self.link().mac)
    }

    /// Each interface with the MAC that its VIPs are answered for with. The virtual MAC is that of the first one only:
    /// on another the same VRID may be another virtual router's.
    fn answering(&self) -> impl Iterator<Item = (&RouterLink, MacAddr)> {
        let first = self.virtual_mac();
        self.links
            .iter()
            .enumerate()
            .map(move |(i, link)| (link, first.filter(|_| i == 0).unwrap_or(link.mac)))
            .filter(|(link, _)| link.exists())
    }

    /// The entries of the VIP table.
    pub fn table(&self) -> impl Iterator<Item = (VipKey, VipEntry)> {
        let flags = if self.spec.accept { 0 } else { vip_flag::NO_ACCEPT };
        self.answering().flat_map(move |(link, mac)| {
            let Wire { ifindex, vlan, .. } = link.wire;
            let entry = VipEntry {
                lease_slot: self.group,
                instance: self.slot,
                reply_slot: 0,
                mac: mac.0,
                flags,
                reserved: 0,
            };
            link.vips.iter().map(move |vip| (VipKey { ifindex, vlan, address: octets(*vip) }, entry))
        })
    }

    /// The entries of the table of unicast peers.
    pub fn peers(&self) -> impl Iterator<Item = (PeerKey, PeerEntry)> {
        let with = |unicast| std::iter::repeat(unicast);
        let peers = self.spec.unicast.iter().flat_map(move |unicast| unicast.peers.iter().zip(with(unicast)));
        peers.map(|(peer, unicast)| {
            let on_link = self.subnets.iter().any(|subnet| is_within(peer.address, *subnet));
            let key = PeerKey { instance: self.slot, address: octets(peer.address) };
            let min_ttl = unicast.min_ttl(peer, on_link);
            (key, PeerEntry { min_ttl, max_ttl: peer.max_ttl, reserved: [0; 2] })
        })
    }

    /// As it is configured, with what is in force where nothing is: the least TTL of each peer.
    pub fn spec_in_force(&self) -> vipd_config::Instance {
        let mut spec = self.spec.clone();
        let in_force: Vec<u8> = self.peers().map(|(_, entry)| entry.min_ttl).collect();
        let peers = spec.unicast.iter_mut().flat_map(|unicast| &mut unicast.peers);
        peers.zip(in_force).for_each(|(peer, min_ttl)| peer.min_ttl = Some(min_ttl));
        spec
    }

    /// Whether an advert's sender may speak to this router; XDP has judged by the table of peers, which may be another by now.
    pub fn hears(&self, source: IpAddr) -> bool {
        self.spec.unicast.as_ref().is_none_or(|unicast| {
            !unicast.check_source || unicast.peers.iter().any(|peer| peer.address == source)
        })
    }

    /// What is announced when it becomes master.
    pub fn stations(&self) -> Arc<[Station]> {
        self.answering()
            .flat_map(|(link, mac)| {
                link.vips.iter().map(move |vip| Station { ifindex: link.ifindex, mac, address: *vip })
            })
            .collect()
    }

    pub fn pace(&self) -> Pace {
        Pace { arp: self.spec.garp.interval, na: self.spec.garp.gna_interval }
    }

    /// What XDP checks adverts against, for a router that takes no part yet.
    pub fn identity(&self) -> Identity {
        let interval = self.spec.advert_interval;
        let digest = self.spec.vips.iter().fold(0u64, |sum, vip| sum.wrapping_add(digest(vip.address)));
        let flag = |set: bool, flag: u8| if set { flag } else { 0 };
        let unicast = self.spec.unicast.as_ref();
        Identity {
            head: InstanceHead { key: self.key(), lease_slot: self.group },
            primary: self.address.map_or([0; 16], octets),
            destination: octets(self.spec.group),
            auth_type: if self.auth_data().is_some() { auth_type::SIMPLE_TEXT } else { auth_type::NONE },
            auth_data: self.auth_data().unwrap_or_default(),
            lease_ns: nanos(self.settings.lease_length()),
            stale_after_ns: nanos(self.settings.stale_after()),
            address_list_digest: digest & ADDRESS_DIGEST_MASK,
            interval_cs: centiseconds(interval),
            priority: self.spec.priority.get(),
            version: self.spec.version as u8,
            flags: flag(self.spec.use_vmac, instance_flag::VIRTUAL_MAC)
                | flag(unicast.is_some(), instance_flag::UNICAST)
                | flag(unicast.is_some_and(|unicast| unicast.check_source), instance_flag::CHECK_SOURCE),
            mac: self.link().mac.0,
        }
    }

    /// v3 intervals this short need real-time scheduling to be kept on a busy host.
    pub fn is_short(&self) -> bool {
        self.spec.version == Version::V3 && self.spec.advert_interval < Duration::from_millis(50)
    }
}

impl RouterLink {
    pub fn exists(&self) -> bool {
        self.ifindex != 0
    }

    /// It is as gone while it cannot carry VIPs.
    fn judge(&mut self, spec: &vipd_config::Instance, state: &LinkState) {
        self.refused = fit(spec, state).err().map(|refused| refused.to_string());
        if self.refused.is_some() {
            (self.ifindex, self.up) = (0, false);
        }
    }

    /// The interface's addresses that are no VIPs: a VIP as a source would make this host talk to itself.
    fn sources(&mut self, spec: &vipd_config::Instance, state: &LinkState) {
        let vips = vips(spec);
        let real = || state.addresses.iter().filter(|a| !vips.contains(&a.address)).map(|a| a.address);
        let v6 = || real().filter_map(|address| if let IpAddr::V6(v6) = address { Some(v6) } else { None });
        self.source_v4 =
            real().find_map(|address| if let IpAddr::V4(v4) = address { Some(v4) } else { None });
        self.source_v6 = v6().find(|v6| !v6.is_unicast_link_local()).or_else(|| v6().next());
    }
}

/// Whether an interface can have the part that it has in an instance.
pub fn fit(spec: &vipd_config::Instance, state: &LinkState) -> Result<(), Unusable> {
    state.usable()?;
    if spec.use_vmac && spec.interface == state.name { state.takes_virtual_mac() } else { Ok(()) }
}

/// The interfaces that a virtual router needs: its own first.
pub fn interfaces(spec: &vipd_config::Instance) -> Vec<&str> {
    let mut names = vec![spec.interface.as_str()];
    for vip in spec.vips.iter().chain(&spec.excluded) {
        if let Some(interface) = vip.interface.as_deref().filter(|name| !names.contains(name)) {
            names.push(interface);
        }
    }
    names
}

/// 16 octets as the maps have them.
pub fn octets(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(v4) => mapped(v4.octets()),
        IpAddr::V6(v6) => v6.octets(),
    }
}

/// The address that 16 octets of a map stand for.
pub fn address(octets: [u8; 16]) -> IpAddr {
    IpAddr::from(octets).to_canonical()
}

pub fn centiseconds(interval: Duration) -> u32 {
    u32::try_from(interval.as_millis() / 10).unwrap_or(u32::MAX)
}

/// The address that adverts are sent from: the configured one (if this host has it), or the interface's first that is no VIP. `before`:
/// what it was.
///
/// RFC 9568 1.7: the primary address is one that is chosen from the interface's real addresses; 5.1.2.1: over IPv6 it is
/// link-local. To unicast peers that are not on the link it cannot be.
fn primary_address(
    spec: &vipd_config::Instance,
    state: &LinkState,
    before: Option<IpAddr>,
) -> Option<IpAddr> {
    if let Some(source) = spec.source {
        let is_there = || state.addresses.iter().any(|candidate| candidate.address == source);
        // A unicast peer sends its adverts to this address, and every router takes adverts from its own address for its own: two that
        // have the same one configured (a copied file) would both be master. It may be on another interface, such as `lo`.
        let is_elsewhere =
            || !spec.tracks_source && is_local(source).unwrap_or_else(|_| before == Some(source));
        return Some(source).filter(|_| is_there() || is_elsewhere());
    }
    let global = spec.unicast.as_ref().is_some_and(|unicast| {
        unicast.peers.iter().any(|peer| matches!(peer.address, IpAddr::V6(v6) if !v6.is_unicast_link_local()))
    });
    let vips = if spec.priority.is_owner() { HashSet::new() } else { vips(spec) };
    let candidates = state.addresses.iter().filter(|candidate| match (spec.family, candidate.address) {
        (Family::V4, IpAddr::V4(v4)) => !v4.is_unspecified(),
        (Family::V6, IpAddr::V6(v6)) => v6.is_unicast_link_local() != global,
        (Family::V4, IpAddr::V6(_)) | (Family::V6, IpAddr::V4(_)) => false,
    });
    candidates
        .filter(|candidate| !vips.contains(&candidate.address))
        .min_by_key(|candidate| candidate.secondary)
        .map(|candidate| candidate.address)
}

fn vips(spec: &vipd_config::Instance) -> HashSet<IpAddr> {
    spec.vips.iter().chain(&spec.excluded).map(|vip| vip.address).collect()
}

fn digest(address: IpAddr) -> u64 {
    match address {
        IpAddr::V4(v4) => address_digest(u32::from_ne_bytes(v4.octets())),
        IpAddr::V6(v6) => {
            let [upper, lower] = zerocopy::transmute!(v6.octets());
            address_digest_v6(upper, lower)
        }
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
