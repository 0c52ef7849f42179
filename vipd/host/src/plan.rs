//! What the host should look like: the plan as the daemon states it, and what it comes to in routes, rules and addresses.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use anyhow::{Result, anyhow};
use vipd_common::{Family, wire::eth::MacAddr};
use vipd_config::{VirtualRoute, VirtualRule};

use super::{
    fdb,
    netlink::{FAMILIES, family},
    routes::{Key, RouteTarget, Routes},
    visible::Visible,
};

/// Keys are below this.
const MAX_KEYS: u16 = 1 << 10;

/// What the host should look like.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    pub instances: Vec<PlannedInstance>,
}

/// One VRRP instance as the host sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedInstance {
    /// Unique, below 1024.
    pub key: u16,
    /// The instance's own interface first; then those of VIPs that live elsewhere.
    pub links: Vec<PlannedLink>,
    /// What its interfaces are to receive although it is not their own.
    pub filters: Vec<PlannedFilter>,
    pub routes: Vec<VirtualRoute>,
    pub rules: Vec<VirtualRule>,
    /// Its VIPs are shown as addresses of their interfaces while it is master.
    pub visible: bool,
}

/// A MAC in the filter of an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedFilter {
    pub ifindex: u32,
    pub interface: String,
    pub mac: MacAddr,
}

/// An interface with VIPs of an instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedLink {
    pub ifindex: u32,
    pub interface: String,
    /// The source of the host's own traffic to its own VIPs, an address of the interface.
    pub source_v4: Option<Ipv4Addr>,
    pub source_v6: Option<Ipv6Addr>,
    pub vips: Vec<IpAddr>,
}

impl PlannedLink {
    fn source(&self, family: Family) -> Option<IpAddr> {
        match family {
            Family::V4 => self.source_v4.map(IpAddr::V4),
            Family::V6 => self.source_v6.map(IpAddr::V6),
        }
    }

    fn has(&self, wanted: Family) -> bool {
        self.vips.iter().any(|vip| family(*vip) == wanted)
    }
}

impl PlannedInstance {
    /// What makes its VIPs addresses of this host.
    pub(super) fn local_routes(&self) -> Routes {
        let routes = self.links.iter().flat_map(|link| {
            link.vips.iter().map(|vip| {
                let target = RouteTarget::Local { oif: link.ifindex, src: link.source(family(*vip)) };
                (Key::local(*vip, link.ifindex), target)
            })
        });
        routes.collect()
    }
}

/// The instances of a plan, checked, by key.
#[derive(Debug, Default)]
pub(super) struct Instances(pub BTreeMap<u16, PlannedInstance>);

impl Instances {
    pub fn check(plan: &Plan) -> Result<Self> {
        let mut instances = BTreeMap::new();
        for instance in &plan.instances {
            let key = instance.key;
            if key >= MAX_KEYS {
                return Err(anyhow!("our bug: an instance with key {key} in the plan"));
            }
            if instances.insert(key, instance.clone()).is_some() {
                return Err(anyhow!("our bug: two instances with key {key} in the plan"));
            }
        }
        Ok(Self(instances))
    }

    fn links(&self) -> impl Iterator<Item = &PlannedLink> {
        self.0.values().flat_map(|instance| &instance.links)
    }

    /// The families that there are VIPs of.
    pub fn families(&self) -> Vec<Family> {
        let has = |family: &Family| self.links().any(|link| link.has(*family));
        FAMILIES.into_iter().filter(has).collect()
    }

    /// The local routes of those instances.
    pub fn local_routes(&self, of: &BTreeSet<u16>) -> Routes {
        let owned = self.0.iter().filter(|(key, _)| of.contains(key));
        owned.flat_map(|(_, instance)| instance.local_routes()).collect()
    }

    /// Every VIP, whoever owns it.
    pub fn vips(&self) -> BTreeSet<IpAddr> {
        self.links().flat_map(|link| &link.vips).copied().collect()
    }

    pub fn filters(&self) -> fdb::Wanted<'_> {
        let mut wanted = fdb::Wanted::new();
        for filter in self.0.values().flat_map(|instance| &instance.filters) {
            let (_, macs) = wanted.entry(&filter.interface).or_insert((filter.ifindex, BTreeSet::new()));
            macs.insert(filter.mac);
        }
        wanted
    }

    /// The VIPs that are shown as addresses while their instance is master; of `masters`, or of all.
    pub fn visible(&self, masters: Option<&BTreeSet<u16>>) -> Visible {
        let shown = self.0.iter().filter(|(key, instance)| {
            instance.visible && masters.is_none_or(|masters| masters.contains(key))
        });
        let links = shown.flat_map(|(_, instance)| &instance.links);
        links.flat_map(|link| link.vips.iter().map(|vip| (link.ifindex, *vip))).collect()
    }

    /// The masters' virtual routes and rules.
    pub fn virtual_objects(&self, masters: &BTreeSet<u16>) -> (Vec<&VirtualRoute>, Vec<&VirtualRule>) {
        let masters = self.0.iter().filter(|(key, _)| masters.contains(key)).map(|(_, instance)| instance);
        let (mut routes, mut rules) = (Vec::new(), Vec::new());
        for instance in masters {
            routes.extend(&instance.routes);
            rules.extend(&instance.rules);
        }
        (routes, rules)
    }
}
