//! The local routes of VIPs, and the connected routes of their prefixes. They stand on the node that owns a VIP, and on one that is about
//! to.
//!
//! ```text
//! local 10.0.0.100 dev eth0 table local proto 118 scope host src 10.0.0.1 metric 118
//! local 2001:db8::100 dev eth0 table local proto 118 src 2001:db8::1 metric 118
//! local fe80::100 dev eth0 table local proto 118 metric 2      the kernel takes its packets from that link only
//! 192.0.2.0/24 dev eth1 proto 118 scope link src 192.0.2.10 metric 118
//! ```
//!
//! With a metric of their own they stand beside the route that the kernel makes for an address of an interface, whoever comes and goes
//! first. The source is an address of the interface: a socket that the host connects to its own VIP outlives the mastership.
//!
//! A connected route is that of a prefix (`192.0.2.10/24`) in which the interface has no address: without it the host cannot answer its
//! clients there, nor reach a gateway. Its source is the VIP, as with an address on the interface. The kernel takes for the source of
//! an IPv6 route only an address of an interface, which the VIP is not.

use std::{collections::BTreeMap, net::IpAddr};

use anyhow::{Result, anyhow};
use futures_util::StreamExt;
use rtnetlink::{
    Handle,
    packet_core::{NLM_F_CREATE, NLM_F_REPLACE, NLM_F_REQUEST, NetlinkMessage},
    packet_route::{
        RouteNetlinkMessage,
        route::{
            RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
        },
    },
};
use vipd_common::Family;
use vipd_config::Prefix;

use super::{
    PROTOCOL_TAG,
    batch::BatchSocket,
    netlink::{FAMILIES, address_family, errno, explain, family, full_length, refusal, supported},
};

/// The kernel's table of local addresses.
pub(super) const TABLE_LOCAL: u32 = 255;
/// The kernel's table of everything else.
pub(super) const TABLE_MAIN: u32 = 254;

/// What the metric of a VIP's route is, but for link-local ones.
const METRIC: u32 = PROTOCOL_TAG as u32;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    table: u32,
    /// The VIP, or the first address of its prefix.
    pub address: IpAddr,
    len: u8,
    /// The index of the link of a link-local VIP, which several links may have: the kernel tells routes apart by destination and metric.
    metric: u32,
}

pub(super) type Routes = BTreeMap<Key, RouteTarget>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RouteTarget {
    /// `local VIP dev OIF scope host src SRC`.
    Local { oif: u32, src: Option<IpAddr> },
    /// `PREFIX dev OIF scope link src SRC`.
    Connected { oif: u32, src: Option<IpAddr> },
    /// Tagged as ours but of another shape: by a hand or another version. Replaced or removed.
    Foreign { oif: u32, kind: RouteType, scope: RouteScope },
}

impl Key {
    pub const fn is_local(&self) -> bool {
        self.table == TABLE_LOCAL
    }

    /// The command that removes the route.
    pub fn removal(&self) -> String {
        let Self { table, address, len, metric } = self;
        let number = if family(*address) == Family::V4 { 4 } else { 6 };
        let kind = if self.is_local() { "local " } else { "" };
        let metric = if *metric == 0 { String::new() } else { format!(" metric {metric}") };
        format!("ip -{number} route del {kind}{address}/{len} table {table}{metric} protocol {PROTOCOL_TAG}")
    }

    /// The local route of a VIP on a link.
    pub fn local(vip: IpAddr, ifindex: u32) -> Self {
        let is_link_local = matches!(vip, IpAddr::V6(v6) if v6.is_unicast_link_local());
        let metric = if is_link_local { ifindex } else { METRIC };
        Self { table: TABLE_LOCAL, address: vip, len: full_length(family(vip)), metric }
    }

    /// The connected route of a VIP's prefix.
    pub fn connected(vip: IpAddr, len: u8) -> Self {
        Self { table: TABLE_MAIN, address: Prefix::new(vip, len).address, len, metric: METRIC }
    }

    /// Whether a packet to it, from whatever interface, is for this host.
    pub fn is_local_everywhere(&self) -> bool {
        self.is_local() && !matches!(self.address, IpAddr::V6(v6) if v6.is_unicast_link_local())
    }

    pub fn name(&self) -> String {
        let Self { table, address, len, metric } = self;
        match *table {
            TABLE_LOCAL => format!("route local {address}/{len} metric {metric} in table local"),
            TABLE_MAIN => format!("route {address}/{len} metric {metric}"),
            table => format!("route {address}/{len} in table {table}"),
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
                && message.header.address_family == address_family(family)
                && let Some((key, target)) = parse(&message)
            {
                routes.insert(key, target);
            }
        }
    }
    Ok(routes)
}

/// What has come of routes that are to exist.
#[derive(Debug, Default)]
pub(super) struct MadeRoutes {
    /// Those that were missing, by their names.
    pub added: Vec<Key>,
    /// How many are not there, since their link is down or gone.
    pub skipped: usize,
    pub refused: Vec<(Key, anyhow::Error)>,
}

impl MadeRoutes {
    /// The first refusal, if there is one.
    pub fn error(&mut self) -> Option<anyhow::Error> {
        (!self.refused.is_empty()).then(|| self.refused.swap_remove(0).1)
    }
}

/// Makes every route of `wanted` exist; `existing` ones that match are not touched.
///
/// On a link that is down the kernel takes no routes: those are skipped.
pub(super) async fn ensure(batch: &mut BatchSocket, wanted: &Routes, existing: &Routes) -> MadeRoutes {
    put(batch, wanted.iter().filter(|(key, target)| existing.get(key) != Some(target))).await
}

/// Makes every route of `wanted` exist, without a look at what there is. Goes on after a refusal.
///
/// Those of VIPs come first: the source of a connected route has to be a local address.
pub(super) async fn put(
    batch: &mut BatchSocket,
    wanted: impl IntoIterator<Item = (&Key, &RouteTarget)>,
) -> MadeRoutes {
    let (local, connected): (Vec<_>, Vec<_>) = wanted.into_iter().partition(|(key, _)| key.is_local());
    let routes: Vec<_> = local.into_iter().chain(connected).map(|(key, target)| (*key, *target)).collect();
    let flags = NLM_F_REQUEST | NLM_F_CREATE | NLM_F_REPLACE;
    let request = |(key, target)| request(RouteNetlinkMessage::NewRoute(message(key, target)), flags);
    let mut made = MadeRoutes::default();
    let mut answers = match batch.send(routes.iter().copied().map(request)).await {
        Ok(refused) => refused.into_iter().peekable(),
        Err(error) => {
            let why = format!("{error:#}");
            made.refused =
                routes.into_iter().map(|(key, _)| (key, anyhow!("{}: {why}", key.name()))).collect();
            return made;
        }
    };
    for (place, (key, _)) in routes.into_iter().enumerate() {
        match answers.next_if(|(refused, _)| *refused == place) {
            None => made.added.push(key),
            Some((_, error)) if matches!(errno(&error), Some(libc::ENETDOWN | libc::ENODEV)) => {
                made.skipped += 1
            }
            Some((_, error)) => made.refused.push((key, explain(&key.name(), &error))),
        }
    }
    made
}

/// Removes routes, whether they are there or not. Goes on after a refusal.
///
/// # Errors
///
/// The first refusal.
pub(super) async fn remove(
    batch: &mut BatchSocket,
    routes: impl IntoIterator<Item = (Key, RouteTarget)>,
) -> Result<()> {
    let routes: Vec<_> = routes.into_iter().collect();
    let request = |(key, target)| request(RouteNetlinkMessage::DelRoute(message(key, target)), NLM_F_REQUEST);
    let refused = batch.send(routes.iter().copied().map(request)).await?;
    let is_there = |error: &rtnetlink::Error| !matches!(errno(error), Some(libc::ESRCH | libc::ENODEV));
    // Others went with their link or address.
    match refused.iter().find(|(_, error)| is_there(error)) {
        Some((place, error)) => Err(explain(&routes[*place].0.name(), error)),
        None => Ok(()),
    }
}

/// Why the kernel does not take an address for its own although its local route is there: somebody's route or rule comes before it.
pub(super) async fn shadow(handle: &Handle, address: IpAddr) -> Result<Option<String>> {
    let family = family(address);
    let mut question = RouteMessage::default();
    question.header = RouteHeader {
        address_family: address_family(family),
        destination_prefix_length: full_length(family),
        // A question has nothing else.
        protocol: RouteProtocol::Unspec,
        scope: RouteScope::Universe,
        table: 0,
        kind: RouteType::Unspec,
        ..question.header
    };
    question.attributes.push(RouteAttribute::Destination(address.into()));
    let mut answer = std::pin::pin!(handle.route().get(question).execute());
    match answer.next().await {
        Some(Ok(route)) if route.header.kind == RouteType::Local => Ok(None),
        Some(Ok(route)) => Ok(Some(format!("it is of type {:?}", route.header.kind).to_lowercase())),
        // What an unreachable, a blackhole and a prohibit route say.
        Some(Err(error)) => match errno(&error) {
            Some(libc::EHOSTUNREACH | libc::ENETUNREACH | libc::EINVAL | libc::EACCES) => {
                Ok(Some(format!("its answer is: {:#}", refusal("no way", &error))))
            }
            _ => Err(explain(&format!("route to {address}"), &error)),
        },
        None => Ok(None),
    }
}

fn request(message: RouteNetlinkMessage, flags: u16) -> NetlinkMessage<RouteNetlinkMessage> {
    let mut request = NetlinkMessage::from(message);
    request.header.flags = flags;
    request
}

fn message(key: Key, target: RouteTarget) -> RouteMessage {
    let family = family(key.address);
    let mut message = RouteMessage::default();
    message.header.address_family = address_family(family);
    message.header.destination_prefix_length = key.len;
    message.header.protocol = TAG;
    let attributes = &mut message.attributes;
    attributes.extend([RouteAttribute::Table(key.table), RouteAttribute::Destination(key.address.into())]);
    if key.metric != 0 {
        attributes.push(RouteAttribute::Priority(key.metric));
    }
    let (oif, src);
    (message.header.kind, message.header.scope, oif, src) = match target {
        RouteTarget::Local { oif, src } => (RouteType::Local, RouteScope::Host, oif, src),
        RouteTarget::Connected { oif, src } if family == Family::V4 => {
            (RouteType::Unicast, RouteScope::Link, oif, src)
        }
        // IPv6 routes have no scope.
        RouteTarget::Connected { oif, src } => (RouteType::Unicast, RouteScope::Universe, oif, src),
        RouteTarget::Foreign { oif, kind, scope } => (kind, scope, oif, None),
    };
    if oif != 0 {
        attributes.push(RouteAttribute::Oif(oif));
    }
    attributes.extend(src.map(|src| RouteAttribute::PrefSource(src.into())));
    message
}

fn parse(message: &RouteMessage) -> Option<(Key, RouteTarget)> {
    let header = &message.header;
    let (mut table, mut address, mut oif, mut src, mut metric) = (u32::from(header.table), None, 0, None, 0);
    let mut is_plain = true;
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Table(id) => table = *id,
            RouteAttribute::Destination(to) => address = ip(to),
            RouteAttribute::PrefSource(from) => src = ip(from),
            RouteAttribute::Oif(index) => oif = *index,
            RouteAttribute::Priority(priority) => metric = *priority,
            RouteAttribute::Gateway(_) | RouteAttribute::Via(_) | RouteAttribute::MultiPath(_) => {
                is_plain = false;
            }
            _ => {}
        }
    }
    let address = address?;
    let len = header.destination_prefix_length;
    let v6 = family(address) == Family::V6;
    // IPv6 routes have no scope.
    let target = match (header.kind, header.scope) {
        (RouteType::Local, scope) if v6 || scope == RouteScope::Host => RouteTarget::Local { oif, src },
        (RouteType::Unicast, scope) if is_plain && (v6 || scope == RouteScope::Link) => {
            RouteTarget::Connected { oif, src }
        }
        (kind, scope) => RouteTarget::Foreign { oif, kind, scope },
    };
    Some((Key { table, address, len, metric }, target))
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
