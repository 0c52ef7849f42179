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
    netlink::{FAMILIES, family, full_length},
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
    /// Those of its VIPs, whether their interfaces are there or not.
    pub families: Vec<Family>,
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
    /// Subnets in which the interface has no address: a VIP in each, and the length of its prefix.
    pub connected: Vec<(IpAddr, u8)>,
    /// Subnets of the interface's own addresses with VIPs in them, whose clients are to be answered: an address of it in each, and the
    /// length of the prefix. None while the link is down.
    pub subnets: Vec<(IpAddr, u8)>,
    /// Whether the kernel may name a VIP of `connected` in its own ARP requests, with the MAC of the interface.
    pub announces_own_mac: bool,
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

    /// The ways to its VIPs' subnets.
    pub(super) fn connected_routes(&self) -> Routes {
        let mut routes = Routes::new();
        for link in &self.links {
            for &(vip, len) in &link.connected {
                let target =
                    RouteTarget::Connected { oif: link.ifindex, src: Some(vip).filter(IpAddr::is_ipv4) };
                routes.entry(Key::connected(vip, len)).or_insert(target);
            }
        }
        routes
    }

    /// Its VIPs that are addresses of their interfaces while it is master.
    fn visible(&self) -> Visible {
        let needed = |link: &PlannedLink| {
            let of = |(vip, len): &(IpAddr, u8)| (link.ifindex, *vip, *len);
            let v4 = link.connected.iter().filter(|(vip, _)| link.announces_own_mac && vip.is_ipv4());
            v4.map(of).collect::<Visible>()
        };
        let mut visible: Visible = self.links.iter().flat_map(needed).collect();
        for link in self.links.iter().filter(|_| self.visible) {
            for vip in &link.vips {
                if !visible.iter().any(|(ifindex, shown, _)| (ifindex, shown) == (&link.ifindex, vip)) {
                    visible.insert((link.ifindex, *vip, full_length(family(*vip))));
                }
            }
        }
        visible
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
        let planned = |family: &Family| self.0.values().any(|instance| instance.families.contains(family));
        let has = |family: &Family| planned(family) || self.links().any(|link| link.has(*family));
        FAMILIES.into_iter().filter(has).collect()
    }

    /// The local routes of those instances, and their connected ones.
    pub fn routes(&self, of: &BTreeSet<u16>) -> Routes {
        let owned = self.0.iter().filter(|(key, _)| of.contains(key));
        let mut routes = self.connected_routes(of);
        routes.extend(owned.flat_map(|(_, instance)| instance.local_routes()));
        routes
    }

    /// The connected routes of those instances: several may have VIPs in one subnet, and the first has the route.
    pub fn connected_routes(&self, of: &BTreeSet<u16>) -> Routes {
        let mut routes = Routes::new();
        for instance in self.0.iter().filter(|(key, _)| of.contains(key)).map(|(_, instance)| instance) {
            for (key, target) in instance.connected_routes() {
                routes.entry(key).or_insert(target);
            }
        }
        routes
    }

    /// The keys of all routes that an instance may have.
    pub fn possible_routes(&self) -> BTreeSet<Key> {
        let of = |instance: &PlannedInstance| {
            instance.local_routes().into_keys().chain(instance.connected_routes().into_keys())
        };
        self.0.values().flat_map(of).collect()
    }

    /// The keys of the routes of each of those instances.
    pub fn keys_of_routes(&self, of: &BTreeSet<u16>) -> Vec<(u16, BTreeSet<Key>)> {
        let keys = |instance: &PlannedInstance| {
            instance.local_routes().into_keys().chain(instance.connected_routes().into_keys()).collect()
        };
        let those = self.0.iter().filter(|(key, _)| of.contains(key));
        those.map(|(key, instance)| (*key, keys(instance))).collect()
    }

    /// The instances with VIPs of a family.
    pub fn of_family(&self, family: Family) -> impl Iterator<Item = u16> {
        let has = move |instance: &PlannedInstance| instance.links.iter().any(|link| link.has(family));
        self.0.iter().filter(move |(_, instance)| has(instance)).map(|(key, _)| *key)
    }

    /// The instances that need the filter of an interface.
    pub fn of_filter<'a>(&'a self, interface: &'a str) -> impl Iterator<Item = u16> + 'a {
        let has = move |instance: &PlannedInstance| {
            instance.filters.iter().any(|filter| filter.interface == interface)
        };
        self.0.iter().filter(move |(_, instance)| has(instance)).map(|(key, _)| *key)
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

    /// The VIPs that are addresses of their interfaces while their instance is master; of `masters`, or of all.
    pub fn visible(&self, masters: Option<&BTreeSet<u16>>) -> Visible {
        let shown = self.0.iter().filter(|(key, _)| masters.is_none_or(|masters| masters.contains(key)));
        shown.flat_map(|(_, instance)| instance.visible()).collect()
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
