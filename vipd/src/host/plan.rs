//! What the host should look like: the plan as the daemon states it, and what it comes to in routes, rules and addresses.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use anyhow::{Result, anyhow};
use vipd_common::{Family, wire::eth::MacAddr};
use vipd_config::{VirtualRoute, VirtualRule};

use super::{
    addresses, fdb,
    netlink::{FAMILIES, family},
    routes::{Key, Routes, Target},
    rules::Rule,
    visible::Visible,
};

/// Routing table of instance 0's own link; `TABLE_BASE + (position << 10 | key)` is that of another. "vp" in the upper half:
/// distributions number tables from 1, VRF managers and Cilium use small or `0x3f..` ids.
pub const TABLE_BASE: u32 = 0x7670_0000;
/// Keys are below this: they share 16 bits with the link's position.
const MAX_KEYS: u16 = 1 << KEY_BITS;
const KEY_BITS: u32 = 10;
const MAX_LINKS: usize = 1 << (16 - KEY_BITS);
/// Routing table of the link with index 0 that instances with few VIPs share while they are not master; others follow.
///
/// Every rule costs every packet that this host receives a look-up, for its source: with a rule for each of 255 backups 12 us.
const SHARED_TABLE_BASE: u32 = TABLE_BASE + (1 << 16);
/// VIPs on a link up to which an instance shares its table. With more, one rule is quicker to move than all the routes.
const MAX_SHARED: usize = 64;

/// What the host should look like.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    pub instances: Vec<PlannedInstance>,
}

/// One VRRP instance as the host sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedInstance {
    /// Unique, below 1024; names the instance's routing tables.
    pub key: u16,
    /// The instance's own interface first; then those of VIPs that live elsewhere. At most 64.
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
    /// The source of the host's own traffic to the VIPs, an address of the interface; without one the VIPs of the family
    /// have no routes on the link yet.
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

    /// Whether its VIPs are in a table with those of other instances.
    fn shares(&self) -> bool {
        self.vips.len() <= MAX_SHARED
    }
}

impl PlannedInstance {
    /// Its links with their tables.
    fn tables(&self) -> impl Iterator<Item = (u32, &PlannedLink)> {
        let first = TABLE_BASE + u32::from(self.key);
        let own = (first..).step_by(usize::from(MAX_KEYS));
        own.zip(&self.links)
            .map(|(own, link)| (if link.shares() { SHARED_TABLE_BASE + link.ifindex } else { own }, link))
    }

    /// The rules that stand while it is not master: one per link and family.
    pub(super) fn backup_rules(&self) -> Vec<Rule> {
        let of_link = |(table, link)| {
            let families = FAMILIES.into_iter().filter(move |family| PlannedLink::has(link, *family));
            families.map(move |family| Rule::instance(family, &link.interface, table))
        };
        self.tables().flat_map(of_link).collect()
    }

    /// The routes on its links, for its own tables or for those that it shares.
    fn table_routes(&self, shared: bool) -> impl Iterator<Item = (Key, Target)> {
        self.tables().filter(move |(_, link)| link.shares() == shared).flat_map(|(table, link)| {
            link.vips.iter().filter_map(move |vip| {
                let src = link.source(family(*vip))?;
                Some((Key::in_table(table, *vip), Target::Link { oif: link.ifindex, src }))
            })
        })
    }

    /// The routes that stand while it is not master.
    pub(super) fn backup_routes(&self) -> Routes {
        self.table_routes(true).collect()
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
            if key >= MAX_KEYS || instance.links.len() > MAX_LINKS {
                let links = instance.links.len();
                return Err(anyhow!("our bug: an instance with key {key} and {links} links in the plan"));
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

    pub fn have(&self, family: Family) -> bool {
        self.links().any(|link| link.has(family))
    }

    /// Routes of the local table. An address that an interface has keeps the kernel's own route.
    pub fn local_routes(&self, existing: &addresses::Existing) -> Routes {
        let key = |link: &PlannedLink, vip: IpAddr| match vip {
            IpAddr::V4(_) => Some(Key::local(vip)),
            // Only its own link may deliver it, so an address on `lo` would not do (RFC 4007 6).
            IpAddr::V6(v6) if v6.is_unicast_link_local() => {
                (!existing.is_on(v6, link.ifindex)).then_some(Key::local_on(vip, link.ifindex))
            }
            IpAddr::V6(_) => None,
        };
        let keys = self.links().flat_map(|link| link.vips.iter().filter_map(move |vip| key(link, *vip)));
        keys.map(|key| (key, Target::Local)).collect()
    }

    /// VIPs that are addresses on `lo`.
    pub fn addresses(&self) -> BTreeSet<Ipv6Addr> {
        let vips = self.links().flat_map(|link| &link.vips);
        vips.filter_map(|vip| match vip {
            IpAddr::V6(v6) if !v6.is_unicast_link_local() => Some(*v6),
            _ => None,
        })
        .collect()
    }

    /// Routes of all tables but the local one: a master has none in those that it would share.
    pub fn table_routes(&self, masters: &BTreeSet<u16>) -> Routes {
        let own = self.0.values().flat_map(|instance| instance.table_routes(false));
        own.chain(self.backups(masters).flat_map(|instance| instance.table_routes(true))).collect()
    }

    /// The rules of all but the masters, each once.
    pub fn backup_rules(&self, masters: &BTreeSet<u16>) -> Vec<Rule> {
        let mut rules = Vec::new();
        for rule in self.backups(masters).flat_map(PlannedInstance::backup_rules) {
            if !rules.contains(&rule) {
                rules.push(rule);
            }
        }
        rules
    }

    fn backups(&self, masters: &BTreeSet<u16>) -> impl Iterator<Item = &PlannedInstance> {
        self.0.iter().filter(|(key, _)| !masters.contains(key)).map(|(_, instance)| instance)
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
