//! The routes vipd makes: `local VIP` in the local table, `VIP dev IFACE` in an instance's own table.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
};

use anyhow::Result;
use futures_util::{StreamExt, TryStreamExt, stream};
use rtnetlink::{
    Handle, RouteMessageBuilder,
    packet_route::{
        AddressFamily,
        route::{
            RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
        },
    },
};

use super::{PROTOCOL_TAG, errno, explain};

/// The kernel's table of local addresses.
pub(super) const TABLE_LOCAL: u32 = 255;
/// Loopback has this index in every network namespace.
const LOOPBACK: u32 = 1;
/// Requests in flight: enough to hide the latency of an answer, few enough for the socket's buffer.
const IN_FLIGHT: usize = 32;

/// A route is known by table and VIP.
pub(super) type Key = (u32, Ipv4Addr);
pub(super) type Routes = BTreeMap<Key, Target>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// `local VIP dev lo scope host`.
    Local,
    /// `VIP dev OIF scope link src SRC`.
    Link { oif: u32, src: Ipv4Addr },
    /// Tagged as ours but of another shape: by a hand or another version. Replaced or removed.
    Foreign { oif: u32, kind: RouteType, scope: RouteScope },
}

/// All routes that bear our tag.
pub(super) async fn list(handle: &Handle) -> Result<Routes> {
    let mut filter = RouteMessage::default();
    filter.header.address_family = AddressFamily::Inet;
    // The kernel filters (strict checking is on): a full BGP table stays out of this dump.
    filter.header.protocol = RouteProtocol::Other(PROTOCOL_TAG);
    let mut routes = Routes::new();
    let mut dump = std::pin::pin!(handle.route().get(filter).execute());
    while let Some(message) = dump.next().await {
        let message = message.map_err(|error| explain("list of routes", &error))?;
        if message.header.protocol == RouteProtocol::Other(PROTOCOL_TAG)
            && message.header.destination_prefix_length == 32
            && let Some((key, target)) = parse(&message)
        {
            routes.insert(key, target);
        }
    }
    Ok(routes)
}

/// Makes every route of `wanted` exist; `existing` ones that match are not touched.
///
/// On a link that is down the kernel takes no routes: those are skipped and counted. Returns how many.
pub(super) async fn ensure(handle: &Handle, wanted: &Routes, existing: &Routes) -> Result<usize> {
    let missing = wanted.iter().filter(|(key, target)| existing.get(key) != Some(target));
    stream::iter(missing)
        .map(|(&key, &target)| add(handle, key, target, existing.contains_key(&key)))
        .buffer_unordered(IN_FLIGHT)
        .try_fold(0, async |skipped, added| Ok(if added { skipped } else { skipped + 1 }))
        .await
}

pub(super) async fn remove(handle: &Handle, routes: impl IntoIterator<Item = (Key, Target)>) -> Result<()> {
    stream::iter(routes)
        .map(|(key, target)| async move {
            match handle.route().del(message(key, target)).execute().await {
                // It went with its link or address.
                Err(error) if matches!(errno(&error), Some(libc::ESRCH | libc::ENODEV)) => Ok(()),
                Err(error) => Err(explain(&name(key), &error)),
                Ok(()) => Ok(()),
            }
        })
        .buffer_unordered(IN_FLIGHT)
        .try_collect::<()>()
        .await
}

/// Adds or replaces one route; `false` if the link is down or gone.
async fn add(handle: &Handle, key: Key, target: Target, replace: bool) -> Result<bool> {
    let mut request = handle.route().add(message(key, target));
    if replace {
        request = request.replace();
    }
    match request.execute().await {
        Ok(()) => Ok(true),
        Err(error)
            if matches!(target, Target::Link { .. })
                && matches!(errno(&error), Some(libc::ENETDOWN | libc::ENODEV)) =>
        {
            Ok(false)
        }
        // The address is configured on an interface, as an address owner's is: the kernel has the route itself.
        Err(error) if target == Target::Local && errno(&error) == Some(libc::EEXIST) => Ok(true),
        Err(error) => Err(explain(&name(key), &error)),
    }
}

fn name((table, vip): Key) -> String {
    match table {
        TABLE_LOCAL => format!("route {vip}/32 in table local"),
        table => format!("route {vip}/32 in table {table}"),
    }
}

fn message((table, vip): Key, target: Target) -> RouteMessage {
    let builder = RouteMessageBuilder::<Ipv4Addr>::new()
        .destination_prefix(vip, 32)
        .table_id(table)
        .protocol(RouteProtocol::Other(PROTOCOL_TAG));
    match target {
        Target::Local => builder.kind(RouteType::Local).scope(RouteScope::Host).output_interface(LOOPBACK),
        Target::Link { oif, src } => {
            builder.kind(RouteType::Unicast).scope(RouteScope::Link).output_interface(oif).pref_source(src)
        }
        Target::Foreign { oif, kind, scope } => {
            let builder = builder.kind(kind).scope(scope);
            if oif == 0 { builder } else { builder.output_interface(oif) }
        }
    }
    .build()
}

fn parse(message: &RouteMessage) -> Option<(Key, Target)> {
    let header: &RouteHeader = &message.header;
    let (mut table, mut vip, mut oif, mut src) = (u32::from(header.table), None, 0, None);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Table(id) => table = *id,
            RouteAttribute::Destination(RouteAddress::Inet(address)) => vip = Some(*address),
            RouteAttribute::PrefSource(RouteAddress::Inet(address)) => src = Some(*address),
            RouteAttribute::Oif(index) => oif = *index,
            _ => {}
        }
    }
    let target = match (header.kind, header.scope, src) {
        (RouteType::Local, RouteScope::Host, None) if oif == LOOPBACK => Target::Local,
        (RouteType::Unicast, RouteScope::Link, Some(src)) => Target::Link { oif, src },
        (kind, scope, _) => Target::Foreign { oif, kind, scope },
    };
    Some(((table, vip?), target))
}

/// The IPv4 address, or an error that says what is missing.
pub(super) fn v4(address: IpAddr) -> Result<Ipv4Addr> {
    match address {
        IpAddr::V4(address) => Ok(address),
        IpAddr::V6(_) => anyhow::bail!("address {address}: IPv6 routes are not implemented"),
    }
}
