//! From the routers to what the data plane and the host are told, all of them together.

use std::{
    collections::{BTreeSet, HashSet},
    net::IpAddr,
};

use anyhow::{Context, Result};
use vipd_common::{
    Family,
    abi::{InstanceKey, MAX_INSTANCES},
};

use super::router::{Router, RouterLink, Wire, interfaces};
use crate::{
    config,
    dataplane::{Contents, InstancePage, LeasePage},
    host::{self, Host, LinkError, LinkState, Plan, PlannedInstance, PlannedLink, multicast},
};

/// Most VLAN tags in a frame that the XDP program reads.
const MAX_TAGS: u32 = 2;

/// Looks at the interfaces of one instance.
pub async fn router(spec: config::Instance, host: &Host) -> Result<Router> {
    let mut links = Vec::new();
    for name in interfaces(&spec) {
        let state = host.link(name).await?;
        let wire = wire(&state, host).await?;
        links.push((state, wire));
    }
    Ok(Router::new(spec, links))
}

/// Follows a VLAN interface down to the one that its frames come in on.
async fn wire(state: &LinkState, host: &Host) -> Result<Wire> {
    let mut wire = Wire { interface: state.name.clone(), ifindex: state.ifindex, vlan: 0 };
    let mut vlan = state.vlan;
    let mut tags = 0;
    while let Some(tag) = vlan {
        anyhow::ensure!(tags < MAX_TAGS, "{} has more than {MAX_TAGS} VLAN tags", state.name);
        let parent: Result<LinkState, LinkError> = host.link_by_index(tag.parent).await;
        let parent = parent.with_context(|| format!("the interface below {}", wire.interface))?;
        // The inner tag is found first, and stands in the lower bits.
        wire.vlan |= u32::from(tag.id) << (12 * tags);
        tags += 1;
        (wire.interface, wire.ifindex, vlan) = (parent.name, parent.ifindex, parent.vlan);
    }
    Ok(wire)
}

/// What the data plane's tables are to hold.
pub fn contents<'a>(routers: impl Iterator<Item = &'a Router> + Clone) -> Contents {
    Contents {
        vips: routers.clone().flat_map(Router::table).collect(),
        index: routers.clone().map(|router| (router.key(), router.slot)).collect(),
        peers: routers.flat_map(Router::peers).collect(),
    }
}

/// What the host is asked to make.
pub fn plan<'a>(routers: impl Iterator<Item = &'a Router>) -> Plan {
    let link = |link: &RouterLink| PlannedLink {
        ifindex: link.ifindex,
        interface: link.name.clone(),
        source_v4: link.source_v4,
        source_v6: link.source_v6,
        vips: link.vips.clone(),
    };
    let instance = |router: &Router| PlannedInstance {
        key: router.host_key(),
        links: router.links.iter().map(link).collect(),
        virtual_mac: router.virtual_mac(),
        routes: router.spec.virtual_routes.iter().map(virtual_route).collect(),
        rules: router.spec.virtual_rules.iter().map(virtual_rule).collect(),
    };
    Plan { instances: routers.map(instance).collect() }
}

/// The groups to be a member of, with the interface of each: that of adverts, and the solicited-node groups of IPv6 VIPs
/// (RFC 9568 6.4.3; on a backup too, since nothing is configured at takeover).
pub fn groups(routers: &[Router]) -> BTreeSet<(u32, IpAddr)> {
    let adverts = routers
        .iter()
        .filter(|router| router.spec.unicast.is_none())
        .map(|router| (router.link().ifindex, router.spec.group));
    let solicited = routers.iter().flat_map(|router| &router.links).flat_map(|link| {
        link.vips.iter().filter_map(|vip| match vip {
            IpAddr::V6(v6) => Some((link.ifindex, multicast::solicited_node(*v6).into())),
            IpAddr::V4(_) => None,
        })
    });
    adverts.chain(solicited).collect()
}

/// Gives each router a slot, keeping the one that a predecessor on this node had for the same virtual router, so that
/// its lease goes on; the leases of all other slots are released.
pub fn assign_slots(routers: &mut [Router], instances: &InstancePage, leases: &LeasePage) -> Result<()> {
    let keys: Vec<InstanceKey> = (0..MAX_INSTANCES).map(|slot| instances.key(slot)).collect();
    let mut taken = HashSet::new();
    let mut without = Vec::new();
    for (i, router) in routers.iter_mut().enumerate() {
        let key = router.key();
        match (0..MAX_INSTANCES).zip(&keys).find(|(_, stored)| **stored == key) {
            Some((slot, _)) => {
                router.slot = slot;
                taken.insert(slot);
            }
            None => without.push(i),
        }
    }
    let mut free = (0..MAX_INSTANCES).filter(|slot| !taken.contains(slot)).collect::<Vec<_>>().into_iter();
    for i in without {
        routers[i].slot = free.next().with_context(|| format!("more than {MAX_INSTANCES} instances"))?;
        leases.release(routers[i].group());
    }
    for slot in free {
        leases.release(slot);
    }
    Ok(())
}

fn virtual_route(route: &config::VirtualRoute) -> host::VirtualRoute {
    host::VirtualRoute {
        kind: match route.kind {
            config::RouteKind::Unicast => host::RouteKind::Unicast,
            config::RouteKind::Blackhole => host::RouteKind::Blackhole,
            config::RouteKind::Unreachable => host::RouteKind::Unreachable,
            config::RouteKind::Prohibit => host::RouteKind::Prohibit,
            config::RouteKind::Throw => host::RouteKind::Throw,
        },
        destination: (route.destination.address, route.destination.len),
        hops: route
            .hops
            .iter()
            .map(|hop| host::Hop {
                via: hop.via,
                interface: hop.interface.clone(),
                weight: hop.weight,
                onlink: hop.onlink,
            })
            .collect(),
        source: route.source,
        table: route.table,
        metric: route.metric,
        scope: route.scope,
        mtu: route.mtu,
    }
}

fn virtual_rule(rule: &config::VirtualRule) -> host::VirtualRule {
    let prefix = |prefix: &config::Prefix| (prefix.address, prefix.len);
    host::VirtualRule {
        not: rule.not,
        family_v6: rule.family == Family::V6,
        from: rule.from.as_ref().map(prefix),
        to: rule.to.as_ref().map(prefix),
        iif: rule.iif.clone(),
        oif: rule.oif.clone(),
        fwmark: rule.fwmark,
        preference: rule.preference,
        action: match rule.action {
            config::RuleAction::Table(table) => host::RuleKind::Table(table),
            config::RuleAction::Blackhole => host::RuleKind::Blackhole,
            config::RuleAction::Unreachable => host::RuleKind::Unreachable,
            config::RuleAction::Prohibit => host::RuleKind::Prohibit,
        },
    }
}
