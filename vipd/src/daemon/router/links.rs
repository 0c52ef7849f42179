//! The interfaces of a virtual router: those with VIPs, and the heartbeat links that adverts go over as well.
//!
//! A heartbeat link carries adverts and nothing else: no VIP is answered or announced there, nothing of the host is
//! changed for it, and no state depends on it but by a weight that the configuration may give it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use vipd_common::wire::eth::MacAddr;

use super::addresses;
use crate::host::{LinkState, UnusableInterface};

/// Where the program sees an interface's frames: on the interface itself, or a VLAN's on its parent, tagged (`xdp_mode native`).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct IngressPoint {
    pub interface: String,
    pub ifindex: u32,
    /// As in `abi::VipKey::vlan`.
    pub vlan: u32,
}

/// An interface with VIPs of a router.
#[derive(Clone, Debug, PartialEq)]
pub struct RouterLink {
    name: String,
    /// 0: there is no such interface now, or none that can be used.
    ifindex: u32,
    /// Why the interface that is there cannot be used.
    refused: Option<String>,
    wire: IngressPoint,
    /// The interface's own.
    mac: MacAddr,
    up: bool,
    /// Administratively up.
    enabled: bool,
    /// Whether the router is in fault while it is down.
    tracked: bool,
    /// The sources of this host's own traffic to the VIPs.
    source_v4: Option<Ipv4Addr>,
    source_v6: Option<Ipv6Addr>,
    /// Those in adverts first.
    vips: Vec<IpAddr>,
    /// Subnets of VIPs in which the interface has no address.
    unconnected: Vec<(IpAddr, u8)>,
    /// Subnets of VIPs in which the interface has an address.
    subnets: Vec<(IpAddr, u8)>,
}

/// An interface that adverts go over besides the router's own.
#[derive(Clone, Debug, PartialEq)]
pub struct HeartbeatPort {
    name: String,
    /// 0: there is no such interface now, or none that can be used.
    ifindex: u32,
    /// The interface that is there cannot be used.
    refused: bool,
    wire: IngressPoint,
    mac: MacAddr,
    up: bool,
}

/// An interface that a router uses for anything.
#[derive(Clone, Copy, Debug)]
pub struct Port<'r> {
    pub name: &'r str,
    /// 0: there is no such interface now, or none that can be used.
    pub ifindex: u32,
    /// The interface that is there cannot be used.
    pub refused: bool,
    pub wire: &'r IngressPoint,
    pub up: bool,
    /// Frames to the router's virtual MAC come in here.
    pub virtual_mac: bool,
}

impl RouterLink {
    /// `own`: the interface of the router's adverts.
    pub(super) fn new(
        spec: &vipd_config::Instance,
        own: bool,
        state: &LinkState,
        wire: IngressPoint,
    ) -> Self {
        let on_it =
            |vip: &&vipd_config::Vip| vip.interface.as_ref().unwrap_or(&spec.interface) == &state.name;
        let on_it = || spec.vips.iter().chain(&spec.excluded).filter(on_it);
        let mut link = Self {
            name: state.name.clone(),
            ifindex: state.ifindex,
            refused: None,
            wire,
            mac: state.mac,
            up: state.up,
            enabled: state.enabled,
            tracked: if own { spec.tracks_interface } else { on_it().any(|vip| vip.tracked) },
            source_v4: None,
            source_v6: None,
            vips: on_it().map(|vip| vip.address).collect(),
            unconnected: Vec::new(),
            subnets: Vec::new(),
        };
        link.subnets = addresses::subnets(&link.vips, state);
        link.unconnected = addresses::unconnected(spec, &link.vips, state);
        (link.source_v4, link.source_v6) = addresses::sources(spec, state);
        link.judge(spec, state);
        link
    }

    /// The interface's name in the configuration.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// 0: there is no such interface now, or none that can be used.
    pub fn ifindex(&self) -> u32 {
        self.ifindex
    }

    /// Whether the interface is there, and can be used.
    pub fn exists(&self) -> bool {
        self.ifindex != 0
    }

    /// Why the interface that is there cannot be used.
    pub fn refusal(&self) -> Option<&str> {
        self.refused.as_deref()
    }

    /// Where the program sees its frames.
    pub fn wire(&self) -> &IngressPoint {
        &self.wire
    }

    /// The interface's own MAC.
    pub fn mac(&self) -> MacAddr {
        self.mac
    }

    /// Whether the link is up.
    pub fn is_up(&self) -> bool {
        self.up
    }

    /// Whether it is administratively up.
    pub fn is_enabled(&self) -> bool {
        self.enabled
    }

    /// Whether the router is in fault while the link is down.
    pub fn is_tracked(&self) -> bool {
        self.tracked
    }

    /// The source of this host's own IPv4 traffic to the VIPs.
    pub fn source_v4(&self) -> Option<Ipv4Addr> {
        self.source_v4
    }

    /// The source of this host's own IPv6 traffic to the VIPs.
    pub fn source_v6(&self) -> Option<Ipv6Addr> {
        self.source_v6
    }

    /// The VIPs on this interface, those in adverts first.
    pub fn vips(&self) -> &[IpAddr] {
        &self.vips
    }

    /// Subnets of VIPs in which the interface has no address: a VIP in each, and the length of its prefix.
    pub fn unconnected(&self) -> &[(IpAddr, u8)] {
        &self.unconnected
    }

    /// Subnets with VIPs in which the interface has an address: that address, and the length of the prefix.
    pub fn subnets(&self) -> &[(IpAddr, u8)] {
        &self.subnets
    }

    pub(super) fn port(&self, virtual_mac: bool) -> Port<'_> {
        Port {
            name: &self.name,
            ifindex: self.ifindex,
            refused: self.refused.is_some(),
            wire: &self.wire,
            up: self.up,
            virtual_mac,
        }
    }

    /// Takes note of the interface as it is now; returns whether anything about it is new.
    pub(super) fn update(&mut self, spec: &vipd_config::Instance, state: &LinkState) -> bool {
        let before = (self.mac, self.up, self.enabled, self.source_v4, self.source_v6);
        let unconnected = addresses::unconnected(spec, &self.vips, state);
        let is_connected_otherwise = unconnected != self.unconnected;
        (self.mac, self.up, self.enabled, self.unconnected) =
            (state.mac, state.up, state.enabled, unconnected);
        (self.source_v4, self.source_v6) = addresses::sources(spec, state);
        self.subnets = addresses::subnets(&self.vips, state);
        self.judge(spec, state);
        before != (self.mac, self.up, self.enabled, self.source_v4, self.source_v6)
            || is_connected_otherwise
            || !self.exists()
    }

    /// The interface of this index is gone, or of no use; returns whether it is this one or the one below it.
    pub(super) fn gone(&mut self, ifindex: u32) -> bool {
        let is_it = self.is_on(ifindex);
        if is_it {
            (self.ifindex, self.up) = (0, false);
        }
        is_it
    }

    /// The interface of this index cannot be used, as [`Self::gone`].
    pub(super) fn refuse(&mut self, ifindex: u32, why: &str) {
        if self.is_on(ifindex) {
            self.refused = Some(why.to_owned());
        }
    }

    fn is_on(&self, ifindex: u32) -> bool {
        self.ifindex == ifindex || self.wire.ifindex == ifindex
    }

    /// It is as gone while it cannot carry VIPs.
    fn judge(&mut self, spec: &vipd_config::Instance, state: &LinkState) {
        self.refused = fit(spec, state).err().map(|refused| refused.to_string());
        if self.refused.is_some() {
            (self.ifindex, self.up) = (0, false);
        }
    }
}

impl HeartbeatPort {
    /// The link as its interface is now.
    pub fn new(state: LinkState, wire: IngressPoint) -> Self {
        let refused = state.usable().is_err();
        let (ifindex, up) = if refused { (0, false) } else { (state.ifindex, state.up) };
        Self { name: state.name, ifindex, refused, wire, mac: state.mac, up }
    }

    /// 0: there is no such interface now, or none that can be used.
    pub fn ifindex(&self) -> u32 {
        self.ifindex
    }

    /// Whether the interface is there, and can be used.
    pub fn exists(&self) -> bool {
        self.ifindex != 0
    }

    /// Where the program sees its frames.
    pub fn wire(&self) -> &IngressPoint {
        &self.wire
    }

    /// The interface's own MAC.
    pub fn mac(&self) -> MacAddr {
        self.mac
    }

    /// Whether adverts can leave there.
    pub fn carries(&self) -> bool {
        self.exists() && self.up
    }

    pub(super) fn port(&self) -> Port<'_> {
        Port {
            name: &self.name,
            ifindex: self.ifindex,
            refused: self.refused,
            wire: &self.wire,
            up: self.up,
            virtual_mac: false,
        }
    }

    /// Takes note of an interface that may be this one; returns whether anything about it is new.
    pub(super) fn update(&mut self, state: &LinkState) -> bool {
        if self.ifindex != state.ifindex {
            return false;
        }
        let mut changed = (self.mac, self.up) != (state.mac, state.up);
        (self.mac, self.up) = (state.mac, state.up);
        if state.usable().is_err() {
            (self.ifindex, self.refused, self.up, changed) = (0, true, false, true);
        }
        changed
    }

    /// The interface of this index is gone, or of no use; returns whether it is this one or the one below it.
    pub(super) fn gone(&mut self, ifindex: u32) -> bool {
        let is_it = self.ifindex == ifindex || self.wire.ifindex == ifindex;
        if is_it {
            (self.ifindex, self.up) = (0, false);
        }
        is_it
    }
}

impl Port<'_> {
    /// Whether the interface is there, and can be used.
    pub fn exists(&self) -> bool {
        self.ifindex != 0
    }

    /// Whether an interface as it is now is another one for its name, or can be used and could not, or the other way round.
    pub fn is_another(&self, now: &LinkState) -> bool {
        let known = self.ifindex == now.ifindex;
        if self.name != now.name {
            return known;
        }
        match now.usable() {
            Ok(()) => !known,
            Err(_) => !self.refused,
        }
    }
}

/// Whether an interface can have the part that it has in an instance.
pub fn fit(spec: &vipd_config::Instance, state: &LinkState) -> Result<(), UnusableInterface> {
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
