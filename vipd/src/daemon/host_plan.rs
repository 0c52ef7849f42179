//! From the routers to what the host is asked to make. PURE.

use vipd_common::{Family, wire::eth::MacAddr};

use super::router::{Router, RouterLink};
use crate::{
    config,
    host::{self, Plan, PlannedFilter, PlannedInstance, PlannedLink},
};

/// What the host is asked to make for these routers.
pub fn plan(routers: &[Router]) -> Plan {
    let link = |link: &RouterLink| PlannedLink {
        ifindex: link.ifindex(),
        interface: link.name().to_owned(),
        source_v4: link.source_v4(),
        source_v6: link.source_v6(),
        vips: link.vips().to_vec(),
    };
    let instance = |router: &Router| PlannedInstance {
        key: router.id().0,
        links: router.present().map(link).collect(),
        filters: filters(router),
        routes: router.spec().virtual_routes.iter().map(virtual_route).collect(),
        rules: router.spec().virtual_rules.iter().map(virtual_rule).collect(),
        visible: router.spec().is_visible(),
    };
    Plan { instances: routers.iter().map(instance).collect() }
}

/// The virtual MAC, and the MAC of the adverts' group wherever adverts come in: a master whose daemon is dead has to hear its
/// successor.
fn filters(router: &Router) -> Vec<PlannedFilter> {
    let own = router.link();
    let virtual_mac = router.virtual_mac().map(|mac| (own.ifindex(), own.name(), mac));
    let group = MacAddr::of_multicast(router.spec().group);
    let adverts = router.advert_ports().map(|port| (port.ifindex, port.name, group));
    let adverts = adverts.filter(|_| router.spec().unicast.is_none());
    let present = virtual_mac.into_iter().chain(adverts).filter(|(ifindex, ..)| *ifindex != 0);
    present.map(|(ifindex, name, mac)| PlannedFilter { ifindex, interface: name.to_owned(), mac }).collect()
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
