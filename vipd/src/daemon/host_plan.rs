//! From the routers to what the host is asked to make. PURE.

use vipd_common::{Family, wire::eth::MacAddr};

use super::router::{Router, RouterLink};
use crate::host::{Plan, PlannedFilter, PlannedInstance, PlannedLink};

/// What the host is asked to make for these routers.
pub fn plan(routers: &[Router]) -> Plan {
    let link = |router: &Router, link: &RouterLink| PlannedLink {
        ifindex: link.ifindex(),
        interface: link.name().to_owned(),
        source_v4: link.source_v4(),
        source_v6: link.source_v6(),
        vips: link.vips().to_vec(),
        connected: link.unconnected().to_vec(),
        subnets: if link.is_up() { link.subnets().to_vec() } else { Vec::new() },
        // The virtual MAC is that of the instance's own interface.
        announces_own_mac: router.virtual_mac().is_none() || link.ifindex() != router.link().ifindex(),
    };
    let instance = |router: &Router| PlannedInstance {
        key: router.id().0,
        families: families(router),
        links: router.present().map(|present| link(router, present)).collect(),
        filters: filters(router),
        routes: router.spec().virtual_routes.clone(),
        rules: router.spec().virtual_rules.clone(),
        visible: router.spec().vip_visible,
    };
    Plan { instances: routers.iter().map(instance).collect() }
}

/// Those of its VIPs. What they need of the whole host stays while an interface is away, for services to bind to them.
fn families(router: &Router) -> Vec<Family> {
    let vips = || router.spec().vips.iter().chain(&router.spec().excluded);
    let v4 = vips().any(|vip| vip.address.is_ipv4()).then_some(Family::V4);
    let v6 = vips().any(|vip| vip.address.is_ipv6()).then_some(Family::V6);
    v4.into_iter().chain(v6).collect()
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
