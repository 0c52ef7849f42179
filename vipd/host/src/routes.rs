//! The local routes of VIPs. They stand on the node that owns a VIP, and on one that is about to.
//!
//! ```text
//! local 10.0.0.100 dev eth0 table local proto 118 scope host src 10.0.0.1 metric 118
//! local 2001:db8::100 dev eth0 table local proto 118 src 2001:db8::1 metric 118
//! local fe80::100 dev eth0 table local proto 118 metric 2      the kernel takes its packets from that link only
//! ```
//!
//! With a metric of their own they stand beside the route that the kernel makes for an address of an interface, whoever comes and goes
//! first. The source is an address of the interface: a socket that the host connects to its own VIP outlives the mastership.

use std::{collections::BTreeMap, net::IpAddr};

use anyhow::Result;
use futures_util::{StreamExt, TryStreamExt, stream};
use rtnetlink::{
    Handle,
    packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteProtocol, RouteScope, RouteType},
};
use vipd_common::Family;

use super::{
    PROTOCOL_TAG,
    netlink::{FAMILIES, IN_FLIGHT, address_family, errno, explain, family, full_length, supported},
};

/// The kernel's table of local addresses.
pub(super) const TABLE_LOCAL: u32 = 255;

/// What the metric of a VIP's route is, but for link-local ones.
const METRIC: u32 = PROTOCOL_TAG as u32;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    table: u32,
    pub vip: IpAddr,
    /// The index of the link of a link-local VIP, which several links may have: the kernel tells routes apart by destination and metric.
    metric: u32,
}

pub(super) type Routes = BTreeMap<Key, RouteTarget>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RouteTarget {
    /// `local VIP dev OIF scope host src SRC`.
    Local { oif: u32, src: Option<IpAddr> },
    /// Tagged as ours but of another shape: by a hand or another version. Replaced or removed.
    Foreign { oif: u32, kind: RouteType, scope: RouteScope },
}

impl Key {
    pub const fn is_local(&self) -> bool {
        self.table == TABLE_LOCAL
    }

    /// The command that removes the route.
    pub fn removal(&self) -> String {
        let Self { table, vip, metric } = self;
        let (family, bits) = (family(*vip), full_length(family(*vip)));
        let number = if family == Family::V4 { 4 } else { 6 };
        let kind = if self.is_local() { "local " } else { "" };
        let metric = if *metric == 0 { String::new() } else { format!(" metric {metric}") };
        format!("ip -{number} route del {kind}{vip}/{bits} table {table}{metric} protocol {PROTOCOL_TAG}")
    }

    /// The local route of a VIP on a link.
    pub fn local(vip: IpAddr, ifindex: u32) -> Self {
        let is_link_local = matches!(vip, IpAddr::V6(v6) if v6.is_unicast_link_local());
        Self { table: TABLE_LOCAL, vip, metric: if is_link_local { ifindex } else { METRIC } }
    }

    pub fn name(&self) -> String {
        let Self { table, vip, metric } = self;
        let bits = full_length(family(*vip));
        match *table {
            TABLE_LOCAL => format!("route local {vip}/{bits} metric {metric} in table local"),
            table => format!("route {vip}/{bits} in table {table}"),
        }
    }
}

/// All routes that bear our tag.
pub(super) async fn list(handle: &Handle) -> Result<Routes> {
    let mut routes = Routes::new();
    for family in FAMILIES.into_iter().filter(|family| supported(*family)) {
        let mut filter = RouteMessage::default();
        filter.header.address_family = address_family(family);
        // The kernel filters (strict checking is on): a full BGP table stays out of this dump.
        filter.header.protocol = TAG;
        let mut dump = std::pin::pin!(handle.route().get(filter).execute());
        while let Some(message) = dump.next().await {
            let message = message.map_err(|error| explain("list of routes", &error))?;
            if message.header.protocol == TAG
                && message.header.destination_prefix_length == full_length(family)
                && let Some((key, target)) = parse(&message)
            {
                routes.insert(key, target);
            }
        }
    }
    Ok(routes)
}

/// Makes every route of `wanted` exist; `existing` ones that match are not touched.
///
/// On a link that is down the kernel takes no routes: those are skipped and counted. Returns what was missing, and how many.
pub(super) async fn ensure(
    handle: &Handle,
    wanted: &Routes,
    existing: &Routes,
) -> Result<(Vec<String>, usize)> {
    put(handle, wanted.iter().filter(|(key, target)| existing.get(key) != Some(target))).await
}

/// Makes every route of `wanted` exist, without a look at what there is; returns their names, and how many are not, since their link is
/// down or gone.
pub(super) async fn put(
    handle: &Handle,
    wanted: impl IntoIterator<Item = (&Key, &RouteTarget)>,
) -> Result<(Vec<String>, usize)> {
    stream::iter(wanted)
        .map(|(&key, &target)| async move { Ok(add(handle, key, target).await?.then(|| key.name())) })
        .buffer_unordered(IN_FLIGHT)
        .try_fold((Vec::new(), 0), async |(mut added, skipped), name: Option<String>| {
            let skipped = skipped + usize::from(name.is_none());
            added.extend(name);
            Ok((added, skipped))
        })
        .await
}

pub(super) async fn remove(
    handle: &Handle,
    routes: impl IntoIterator<Item = (Key, RouteTarget)>,
) -> Result<()> {
    stream::iter(routes)
        .map(|(key, target)| async move {
            match handle.route().del(message(key, target)).execute().await {
                // It went with its link or address.
                Err(error) if matches!(errno(&error), Some(libc::ESRCH | libc::ENODEV)) => Ok(()),
                Err(error) => Err(explain(&key.name(), &error)),
                Ok(()) => Ok(()),
            }
        })
        .buffer_unordered(IN_FLIGHT)
        .try_collect::<()>()
        .await
}

/// Adds or replaces one route; `false` if the link is down or gone.
async fn add(handle: &Handle, key: Key, target: RouteTarget) -> Result<bool> {
    match handle.route().add(message(key, target)).replace().execute().await {
        Ok(()) => Ok(true),
        Err(error) if matches!(errno(&error), Some(libc::ENETDOWN | libc::ENODEV)) => Ok(false),
        Err(error) => Err(explain(&key.name(), &error)),
    }
}

fn message(key: Key, target: RouteTarget) -> RouteMessage {
    let family = family(key.vip);
    let mut message = RouteMessage::default();
    message.header.address_family = address_family(family);
    message.header.destination_prefix_length = full_length(family);
    message.header.protocol = TAG;
    let attributes = &mut message.attributes;
    attributes.extend([RouteAttribute::Table(key.table), RouteAttribute::Destination(key.vip.into())]);
    if key.metric != 0 {
        attributes.push(RouteAttribute::Priority(key.metric));
    }
    (message.header.kind, message.header.scope) = match target {
        RouteTarget::Local { oif, src } => {
            attributes.push(RouteAttribute::Oif(oif));
            attributes.extend(src.map(|src| RouteAttribute::PrefSource(src.into())));
            (RouteType::Local, RouteScope::Host)
        }
        RouteTarget::Foreign { oif, kind, scope } => {
            if oif != 0 {
                attributes.push(RouteAttribute::Oif(oif));
            }
            (kind, scope)
        }
    };
    message
}

fn parse(message: &RouteMessage) -> Option<(Key, RouteTarget)> {
    let header = &message.header;
    let (mut table, mut vip, mut oif, mut src, mut metric) = (u32::from(header.table), None, 0, None, 0);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Table(id) => table = *id,
            RouteAttribute::Destination(address) => vip = ip(address),
            RouteAttribute::PrefSource(address) => src = ip(address),
            RouteAttribute::Oif(index) => oif = *index,
            RouteAttribute::Priority(priority) => metric = *priority,
            _ => {}
        }
    }
    let vip = vip?;
    let v6 = family(vip) == Family::V6;
    // IPv6 routes have no scope.
    let target = match (header.kind, header.scope) {
        (RouteType::Local, scope) if v6 || scope == RouteScope::Host => RouteTarget::Local { oif, src },
        (kind, scope) => RouteTarget::Foreign { oif, kind, scope },
    };
    Some((Key { table, vip, metric }, target))
}

/// The IP address of a route's attribute.
pub(super) fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(v4) => Some((*v4).into()),
        RouteAddress::Inet6(v6) => Some((*v6).into()),
        _ => None,
    }
}

const TAG: RouteProtocol = RouteProtocol::Other(PROTOCOL_TAG);
