//! The routes vipd makes: `local VIP` in the local table, `VIP dev IFACE` in a table per link, or per instance and link.
//!
//! ```text
//! local 10.0.0.100 dev lo table local          an IPv4 VIP
//! local fe80::100 dev eth0 table local         a link-local VIP: the kernel takes its packets from that link only
//! 10.0.0.100 dev eth0 table T src 10.0.0.1     the host's own traffic to a VIP that another node owns
//! ```
//!
//! A global IPv6 VIP has no local route of ours: it is an address (`addresses.rs`), whose route the kernel makes.

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
    netlink::{
        FAMILIES, IN_FLIGHT, LOOPBACK, address_family, errno, explain, family, full_length, supported,
    },
};

/// The kernel's table of local addresses.
pub(super) const TABLE_LOCAL: u32 = 255;

/// A route is known by table, VIP, and, a link-local VIP's local route, by its link: several links may have the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub table: u32,
    pub vip: IpAddr,
    /// 0 but for link-local VIPs in the local table.
    pub link: u32,
}

pub(super) type Routes = BTreeMap<Key, Target>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// `local VIP scope host`, on the key's link or else on `lo`.
    Local,
    /// `VIP dev OIF scope link src SRC`.
    Link { oif: u32, src: IpAddr },
    /// Tagged as ours but of another shape: by a hand or another version. Replaced or removed.
    Foreign { oif: u32, kind: RouteType, scope: RouteScope },
}

impl Key {
    pub const fn local(vip: IpAddr) -> Self {
        Self { table: TABLE_LOCAL, vip, link: 0 }
    }

    pub const fn local_on(vip: IpAddr, link: u32) -> Self {
        Self { table: TABLE_LOCAL, vip, link }
    }

    pub const fn in_table(table: u32, vip: IpAddr) -> Self {
        Self { table, vip, link: 0 }
    }

    pub const fn is_local(&self) -> bool {
        self.table == TABLE_LOCAL
    }

    fn name(&self) -> String {
        let Self { table, vip, link } = self;
        let bits = full_length(family(*vip));
        match (*table, *link) {
            (TABLE_LOCAL, 0) => format!("route local {vip}/{bits} in table local"),
            (TABLE_LOCAL, link) => format!("route local {vip}/{bits} on interface {link} in table local"),
            (table, _) => format!("route {vip}/{bits} in table {table}"),
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
/// On a link that is down the kernel takes no routes: those are skipped and counted. Returns how many.
pub(super) async fn ensure(
    handle: &Handle,
    wanted: &Routes,
    existing: &Routes,
) -> Result<(Vec<String>, usize)> {
    let missing = wanted.iter().filter(|(key, target)| existing.get(key) != Some(target));
    stream::iter(missing)
        .map(|(&key, &target)| async move {
            let added = add(handle, key, target, existing.contains_key(&key)).await?;
            Ok(added.then(|| key.name()))
        })
        .buffer_unordered(IN_FLIGHT)
        .try_fold((Vec::new(), 0), async |(mut added, skipped), name: Option<String>| {
            let skipped = skipped + usize::from(name.is_none());
            added.extend(name);
            Ok((added, skipped))
        })
        .await
}

/// Makes every route of `wanted` exist, without a look at what there is.
pub(super) async fn put(handle: &Handle, wanted: &Routes) -> Result<()> {
    stream::iter(wanted)
        .map(|(&key, &target)| add(handle, key, target, true))
        .buffer_unordered(IN_FLIGHT)
        .try_fold((), async |(), _| Ok(()))
        .await
}

pub(super) async fn remove(handle: &Handle, routes: impl IntoIterator<Item = (Key, Target)>) -> Result<()> {
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
async fn add(handle: &Handle, key: Key, target: Target, replace: bool) -> Result<bool> {
    let mut request = handle.route().add(message(key, target));
    if replace {
        request = request.replace();
    }
    let on_a_link = key.link != 0 || matches!(target, Target::Link { .. });
    match request.execute().await {
        Ok(()) => Ok(true),
        Err(error) if on_a_link && matches!(errno(&error), Some(libc::ENETDOWN | libc::ENODEV)) => Ok(false),
        // The address is configured on an interface, as an address owner's is: the kernel has the route itself.
        Err(error) if target == Target::Local && errno(&error) == Some(libc::EEXIST) => Ok(true),
        Err(error) => Err(explain(&key.name(), &error)),
    }
}

fn message(key: Key, target: Target) -> RouteMessage {
    let family = family(key.vip);
    let mut message = RouteMessage::default();
    message.header.address_family = address_family(family);
    message.header.destination_prefix_length = full_length(family);
    message.header.protocol = TAG;
    let attributes = &mut message.attributes;
    attributes.extend([RouteAttribute::Table(key.table), RouteAttribute::Destination(key.vip.into())]);
    (message.header.kind, message.header.scope) = match target {
        Target::Local => {
            attributes.push(RouteAttribute::Oif(if key.link == 0 { LOOPBACK } else { key.link }));
            if key.link != 0 {
                // IPv6 tells routes apart by destination and metric only: a metric of its own for each link.
                attributes.push(RouteAttribute::Priority(key.link));
            }
            (RouteType::Local, RouteScope::Host)
        }
        Target::Link { oif, src } => {
            attributes.extend([RouteAttribute::Oif(oif), RouteAttribute::PrefSource(src.into())]);
            (RouteType::Unicast, RouteScope::Link)
        }
        Target::Foreign { oif, kind, scope } => {
            if oif != 0 {
                attributes.push(RouteAttribute::Oif(oif));
            }
            (kind, scope)
        }
    };
    message
}

fn parse(message: &RouteMessage) -> Option<(Key, Target)> {
    let header = &message.header;
    let (mut table, mut vip, mut oif, mut src) = (u32::from(header.table), None, 0, None);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Table(id) => table = *id,
            RouteAttribute::Destination(address) => vip = ip(address),
            RouteAttribute::PrefSource(address) => src = ip(address),
            RouteAttribute::Oif(index) => oif = *index,
            _ => {}
        }
    }
    let vip = vip?;
    let v6 = family(vip) == Family::V6;
    let link = if table == TABLE_LOCAL && v6 { oif } else { 0 };
    // IPv6 routes have no scope.
    let target = match (header.kind, header.scope, src) {
        (RouteType::Local, scope, None) if v6 || (oif == LOOPBACK && scope == RouteScope::Host) => {
            Target::Local
        }
        (RouteType::Unicast, scope, Some(src)) if v6 || scope == RouteScope::Link => {
            Target::Link { oif, src }
        }
        (kind, scope, _) => Target::Foreign { oif, kind, scope },
    };
    Some((Key { table, vip, link }, target))
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
