//! From the routers to what the data plane and the host are told, all of them together.

use std::{
    collections::{BTreeSet, HashMap},
    net::IpAddr,
    path::Path,
};

use anyhow::{Context, Result};
use vipd_common::{
    abi::{InstanceHead, MAX_INSTANCES},
    wire::{eth::MacAddr, ndp},
};
use vipd_config::{XdpMode, XdpModes};

use super::router::{Heartbeat, Identified, Router, RouterLink, Wire, fit, interfaces};
use crate::{
    dataplane::{Contents, InstancePage, LeasePage},
    host::{Host, LinkError, LinkState, Plan, PlannedFilter, PlannedInstance, PlannedLink},
    tracking::LinkDelays,
    vrrp::Settings,
};

/// Most VLAN tags in a frame that the XDP program reads.
const MAX_TAGS: u32 = 2;

/// The virtual routers of a configuration, on the interfaces as they are now. They have no slots yet.
///
/// An instance waits, in FAULT, for an interface that may be missing.
pub async fn routers(
    path: &Path,
    config: &vipd_config::Config,
    modes: &XdpModes,
    host: &Host,
    delays: &LinkDelays,
    may_be_missing: &dyn Fn(&str) -> bool,
) -> Result<Vec<Router>> {
    let mut routers = Vec::new();
    for (position, instance) in config.instances.iter().enumerate() {
        let router = router(instance.clone(), modes, host, delays, may_be_missing);
        let place = || format!("{}:{}: instance {}", path.display(), instance.line, instance.name);
        routers.push(Router { position, ..router.await.with_context(place)? });
    }
    for group in &config.sync_groups {
        let is_member = |router: &&mut Router| group.members.contains(&router.spec.name);
        let mut members: Vec<&mut Router> = routers.iter_mut().filter(is_member).collect();
        let mut mates: Vec<_> = members.iter().map(|router| router.identified()).collect();
        mates.sort();
        let mut settings: Vec<_> = members.iter().map(|router| router.settings).collect();
        Settings::share(&mut settings);
        for (router, settings) in members.iter_mut().zip(settings) {
            (router.settings, router.mates) = (settings, mates.clone());
            router.sync_group = Some(group.name.clone());
        }
    }
    Ok(routers)
}

async fn router(
    spec: vipd_config::Instance,
    modes: &XdpModes,
    host: &Host,
    delays: &LinkDelays,
    may_be_missing: &dyn Fn(&str) -> bool,
) -> Result<Router> {
    let mut links = Vec::new();
    for name in interfaces(&spec) {
        links.push(match look(name, modes, host).await {
            Ok((state, wire)) => {
                // One that may be missing may come as it cannot be used: it is refused until it is another way.
                let fit = fit(&spec, &state);
                fit.or_else(|refused| if may_be_missing(name) { Ok(()) } else { Err(refused) })?;
                (delays.settled(state), wire)
            }
            Err(error) if may_be_missing(name) => {
                tracing::warn!(instance = spec.name, interface = name, "waits for the interface: {error:#}");
                absent(name)
            }
            Err(error) => return Err(error),
        });
    }
    let mut heartbeats = Vec::new();
    for name in spec.heartbeat_links.iter().map(|link| link.interface.as_str()) {
        let (state, wire) = match look(name, modes, host).await {
            Ok((state, wire)) => (delays.settled(state), wire),
            Err(error) => {
                // Nothing depends on it: it is followed when it comes.
                let error = format!("{error:#}");
                tracing::warn!(
                    instance = spec.name,
                    interface = name,
                    error,
                    "a heartbeat line is not there"
                );
                absent(name)
            }
        };
        heartbeats.push(Heartbeat::new(state, wire));
    }
    Ok(Router { heartbeats, ..Router::new(spec, links) })
}

fn absent(name: &str) -> (LinkState, Wire) {
    (LinkState::absent(name), Wire { interface: name.to_owned(), ifindex: 0, vlan: 0 })
}

async fn look(name: &str, modes: &XdpModes, host: &Host) -> Result<(LinkState, Wire)> {
    let state = host.link(name).await?;
    let wire = match modes.of_interface(name) {
        XdpMode::Native => wire_below(&state, host).await?,
        // tc sees frames on the interface itself.
        XdpMode::Auto | XdpMode::Tc => Wire { interface: name.to_owned(), ifindex: state.ifindex, vlan: 0 },
    };
    Ok((state, wire))
}

/// Follows a VLAN interface down to the one whose driver its frames come in by.
async fn wire_below(state: &LinkState, host: &Host) -> Result<Wire> {
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
        index: routers.clone().flat_map(Router::index).collect(),
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
        links: router.present().map(link).collect(),
        filters: filters(router),
        routes: router.spec.virtual_routes.clone(),
        rules: router.spec.virtual_rules.clone(),
        visible: router.spec.vip_visible,
    };
    Plan { instances: routers.map(instance).collect() }
}

/// The virtual MAC, and the MAC of the adverts' group wherever adverts come in: a master whose daemon is dead has to hear its
/// successor.
fn filters(router: &Router) -> Vec<PlannedFilter> {
    let own = router.link();
    let virtual_mac = router.virtual_mac().map(|mac| (own.ifindex, &own.name, mac));
    let lines = router.heartbeats.iter().map(|line| (line.ifindex, &line.name));
    let group = MacAddr::of_multicast(router.spec.group);
    let adverts = [(own.ifindex, &own.name)].into_iter().chain(lines);
    let adverts =
        adverts.filter(|_| router.spec.unicast.is_none()).map(|(ifindex, name)| (ifindex, name, group));
    let present = virtual_mac.into_iter().chain(adverts).filter(|(ifindex, ..)| *ifindex != 0);
    present.map(|(ifindex, name, mac)| PlannedFilter { ifindex, interface: name.clone(), mac }).collect()
}

/// The groups to be a member of, with the interface of each: that of adverts, and the solicited-node groups of IPv6 VIPs
/// (RFC 9568 6.4.3; on a backup too, since nothing is configured at takeover).
pub fn groups(routers: &[Router]) -> BTreeSet<(u32, IpAddr)> {
    let adverts = routers
        .iter()
        .filter(|router| router.spec.unicast.is_none())
        .flat_map(|router| router.lines().map(|ifindex| (ifindex, router.spec.group)));
    let solicited = routers.iter().flat_map(Router::present).flat_map(|link| {
        link.vips.iter().filter_map(|vip| match vip {
            IpAddr::V6(v6) => Some((link.ifindex, ndp::solicited_node(*v6).into())),
            IpAddr::V4(_) => None,
        })
    });
    adverts.chain(solicited).collect()
}

/// Gives each router a slot, keeping the one that a predecessor on this node had for the same virtual router, so that
/// its lease goes on; leases of others, and of sync groups that are not what they were, are released.
pub fn assign_slots(routers: &mut [Router], instances: &InstancePage, leases: &LeasePage) -> Result<()> {
    let heads: Vec<InstanceHead> = (0..MAX_INSTANCES).map(|slot| instances.head(slot)).collect();
    let known = |router: &Router| (0..).zip(&heads).find(|(_, head)| head.key == router.key());
    let slots: Vec<Option<u32>> = routers
        .iter()
        .map(|router| known(router).filter(|_| router.link().exists()).map(|(slot, _)| slot))
        .collect();
    fill_slots(routers, &slots)?;
    assign_groups(routers, &vec![None; routers.len()]);
    // A group that had another of its members' slots keeps that one.
    let before = |router: &Router| heads.get(router.slot as usize).map(|head| head.lease_slot);
    let groups: BTreeSet<u32> = routers.iter().map(|router| router.group).collect();
    for group in groups {
        let members = || routers.iter().filter(|router| router.group == group);
        let then = members().next().and_then(before);
        let same = members().all(|router| before(router) == then);
        if let Some(then) = then.filter(|then| same && members().any(|router| router.slot == *then)) {
            routers.iter_mut().filter(|router| router.group == group).for_each(|router| router.group = then);
        }
    }
    for (slot, head) in (0..).zip(&heads) {
        if !routers.iter().any(|router| router.slot == slot) {
            instances.clear(slot);
        }
        let members = || routers.iter().filter(|router| router.group == slot);
        let then = heads.iter().filter(|head| head.lease_slot == slot && head.key.vrid != 0).count();
        let is_same = |router: &Router| {
            heads[router.slot as usize] == InstanceHead { key: router.key(), lease_slot: slot }
        };
        // Nor is one inherited that was being handed over: its successor has begun to wait.
        let leaving = members().any(|router| instances.is_out(router.slot));
        if members().count() != then || !members().all(is_same) || leaving || head.key.vrid == 0 {
            leases.release(slot);
        }
    }
    Ok(())
}

/// Gives each router the slot that is said, or else one that nobody has.
pub fn fill_slots(routers: &mut [Router], slots: &[Option<u32>]) -> Result<()> {
    let mut free = (0..MAX_INSTANCES).filter(|slot| !slots.contains(&Some(*slot)));
    for (router, slot) in routers.iter_mut().zip(slots) {
        let slot = slot.or_else(|| free.next());
        router.slot = slot.with_context(|| format!("more than {MAX_INSTANCES} instances"))?;
    }
    Ok(())
}

/// Gives the routers of each sync group the slot of the first of them for their lease; those that were `kept` have theirs.
pub fn assign_groups(routers: &mut [Router], kept: &[Option<u32>]) {
    let mut groups: HashMap<Vec<Identified>, u32> = HashMap::new();
    for (router, kept) in routers.iter_mut().zip(kept) {
        if kept.is_none() {
            router.group = *groups.entry(router.mates.clone()).or_insert(router.slot);
        }
    }
}
