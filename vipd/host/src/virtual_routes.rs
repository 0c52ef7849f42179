//! `virtual_routes`: routes of the operator's that follow mastership.
//!
//! They bear a protocol number of their own, so that leftovers are recognised and never taken for the routes to VIPs. A
//! route of somebody else's is never replaced, but for one that was put in the place of vipd's.

use std::{collections::BTreeSet, net::IpAddr};

use anyhow::{Context, Result};
use futures_util::StreamExt;
use rtnetlink::{
    Handle,
    packet_route::route::{
        RouteAttribute, RouteFlags, RouteMessage, RouteMetric, RouteNextHop, RouteNextHopFlags,
        RouteProtocol, RouteScope, RouteType, RouteVia,
    },
};
use vipd_common::Family;
use vipd_config::{Hop, Prefix, RouteKind, VirtualRoute};
use vipd_system::Problems;

use super::{
    Repairs, VIRTUAL_TAG,
    leftovers::Named,
    netlink::{FAMILIES, address_family, errno, explain, family, supported},
    routes::ip,
};

/// A route in the kernel's terms: interfaces by index, defaults filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Resolved {
    kind: RouteType,
    destination: (IpAddr, u8),
    table: u32,
    metric: u32,
    scope: RouteScope,
    source: Option<IpAddr>,
    mtu: Option<u32>,
    hops: Vec<ResolvedHop>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct ResolvedHop {
    via: Option<IpAddr>,
    /// 0 leaves the choice to the kernel.
    oif: u32,
    weight: u8,
    onlink: bool,
}

/// What the kernel tells routes apart by: destination, table and metric.
type Place = ((IpAddr, u8), u32, u32);

/// The places where this process has seen its routes, so that what is there instead has taken their place.
#[derive(Debug, Default)]
pub(super) struct Places(BTreeSet<Place>);

/// Makes the tagged routes be `wanted`: deletes the others, adds what is missing. Goes on after an error.
pub(super) async fn sync(
    handle: &Handle,
    wanted: &[&VirtualRoute],
    places: &mut Places,
    repairs: &mut Repairs,
) -> Result<()> {
    let existing = list(handle).await?;
    let mut problems = Problems::default();
    let mut resolved = Vec::new();
    for route in wanted {
        match resolve(route) {
            Ok(kernel) => resolved.push((route, kernel)),
            Err(error) => {
                repairs.note_refused(format!("route {}", shown(route)));
                problems.note(Err(error));
            }
        }
    }
    let is_wanted = |place: &Place| resolved.iter().any(|(_, want)| want.place() == *place);
    places.0.retain(is_wanted);
    let mut kept = Vec::new();
    for have in existing {
        if resolved.iter().any(|(_, want)| want.is_met_by(&have)) {
            kept.push(have);
        } else {
            problems.note(delete(handle, &have).await);
        }
    }
    for (route, want) in resolved {
        if !kept.iter().any(|have| want.is_met_by(have)) {
            let mut added = add(handle, &want, false).await;
            if matches!(&added, Err(error) if errno(error) == Some(libc::EEXIST))
                && places.0.contains(&want.place())
            {
                added = add(handle, &want, true).await;
            }
            let name = format!("route {}", shown(route));
            match added {
                Ok(()) => {
                    repairs.note("route", name);
                    // The same route of another instance needs no second.
                    kept.push(want);
                }
                Err(error) => {
                    problems.note(Err(explain(&name, &error)));
                    repairs.note_refused(name);
                }
            }
        }
    }
    places.0.extend(kept.iter().map(Resolved::place));
    problems.into_result()
}

async fn list(handle: &Handle) -> Result<Vec<Resolved>> {
    let mut routes = Vec::new();
    for family in FAMILIES.into_iter().filter(|family| supported(*family)) {
        let mut filter = RouteMessage::default();
        filter.header.address_family = address_family(family);
        filter.header.protocol = TAG;
        let mut dump = std::pin::pin!(handle.route().get(filter).execute());
        while let Some(message) = dump.next().await {
            let message = message.map_err(|error| explain("list of routes", &error))?;
            if message.header.protocol == TAG && message.header.address_family == address_family(family) {
                routes.push(parse(&message, family));
            }
        }
    }
    Ok(routes)
}

/// The tagged routes in words.
pub(super) async fn named(handle: &Handle) -> Result<Vec<Named>> {
    let named = |route: Resolved| {
        let (address, length) = route.destination;
        let text = format!("{address}/{length} in table {}", route.table);
        Named { family: family(address), table: route.table, text }
    };
    Ok(list(handle).await?.into_iter().map(named).collect())
}

/// `replaces`: what is in its place goes.
async fn add(handle: &Handle, route: &Resolved, replaces: bool) -> Result<(), rtnetlink::Error> {
    let request = handle.route().add(route.message());
    if replaces { request.replace().execute().await } else { request.execute().await }
}

async fn delete(handle: &Handle, route: &Resolved) -> Result<()> {
    match handle.route().del(route.deletion()).execute().await {
        Err(error) if matches!(errno(&error), Some(libc::ESRCH | libc::ENODEV)) => Ok(()),
        Err(error) => {
            let (address, length) = route.destination;
            Err(explain(&format!("delete route {address}/{length} table {}", route.table), &error))
        }
        Ok(()) => Ok(()),
    }
}

fn resolve(route: &VirtualRoute) -> Result<Resolved> {
    let Prefix { address, len } = Prefix::new(route.destination.address, route.destination.len);
    let family = family(address);
    let hops: Result<Vec<ResolvedHop>> = route.hops.iter().map(resolve_hop).collect();
    let hops = hops.with_context(|| format!("route {}", shown(route)))?;
    let kind = match route.kind {
        RouteKind::Unicast => RouteType::Unicast,
        RouteKind::Blackhole => RouteType::BlackHole,
        RouteKind::Unreachable => RouteType::Unreachable,
        RouteKind::Prohibit => RouteType::Prohibit,
        RouteKind::Throw => RouteType::Throw,
    };
    let scope = match (family, route.scope) {
        (Family::V6, _) => RouteScope::Universe,
        (Family::V4, Some(scope)) => scope.into(),
        (Family::V4, None) if kind == RouteType::Unicast && hops.iter().all(|hop| hop.via.is_none()) => {
            RouteScope::Link
        }
        (Family::V4, None) => RouteScope::Universe,
    };
    let default_metric = if family == Family::V6 { 1024 } else { 0 };
    Ok(Resolved {
        kind,
        destination: (address, len),
        table: route.table,
        metric: route.metric.unwrap_or(default_metric),
        scope,
        source: route.source,
        mtu: route.mtu,
        hops,
    })
}

fn resolve_hop(hop: &Hop) -> Result<ResolvedHop> {
    let oif = match &hop.interface {
        None => 0,
        Some(name) => {
            nix::net::if_::if_nametoindex(name.as_str()).with_context(|| format!("interface {name}"))?
        }
    };
    Ok(ResolvedHop { via: hop.via, oif, weight: hop.weight, onlink: hop.onlink })
}

impl Resolved {
    fn place(&self) -> Place {
        (self.destination, self.table, self.metric)
    }

    /// Whether the kernel's route is the one that is wanted.
    fn is_met_by(&self, have: &Self) -> bool {
        let hop = |want: &ResolvedHop, have: &ResolvedHop| {
            want.via == have.via
                && (want.oif == 0 || want.oif == have.oif)
                && want.onlink == have.onlink
                && (self.hops.len() == 1 || want.weight == have.weight)
        };
        // IPv6 shows the other kinds as leading to `lo`.
        let hops_met = self.kind != RouteType::Unicast
            || (self.hops.len() == have.hops.len()
                && self.hops.iter().all(|want| have.hops.iter().any(|have| hop(want, have))));
        hops_met && Self { hops: Vec::new(), ..self.clone() } == Self { hops: Vec::new(), ..have.clone() }
    }

    fn message(&self) -> RouteMessage {
        let mut message = self.naming();
        message.header.scope = self.scope;
        let attributes = &mut message.attributes;
        attributes.extend(self.source.map(|source| RouteAttribute::PrefSource(source.into())));
        attributes.extend(self.mtu.map(|mtu| RouteAttribute::Metrics(vec![RouteMetric::Mtu(mtu)])));
        match self.hops.as_slice() {
            [] => {}
            [hop] => {
                attributes.extend(hop.gateway(family(self.destination.0)));
                if hop.oif != 0 {
                    attributes.push(RouteAttribute::Oif(hop.oif));
                }
                if hop.onlink {
                    message.header.flags = RouteFlags::Onlink;
                }
            }
            hops => {
                let hops = hops.iter().map(|hop| hop.message(family(self.destination.0)));
                attributes.push(RouteAttribute::MultiPath(hops.collect()));
            }
        }
        message
    }

    /// Names the route for deletion: with any next hops, but only with our tag.
    fn deletion(&self) -> RouteMessage {
        let mut message = self.naming();
        message.header.scope = RouteScope::NoWhere;
        message
    }

    fn naming(&self) -> RouteMessage {
        let (address, length) = self.destination;
        let mut message = RouteMessage::default();
        message.header.address_family = address_family(family(address));
        message.header.destination_prefix_length = length;
        message.header.protocol = TAG;
        message.header.kind = self.kind;
        message.attributes = vec![RouteAttribute::Table(self.table)];
        if length > 0 {
            message.attributes.push(RouteAttribute::Destination(address.into()));
        }
        if self.metric != 0 {
            message.attributes.push(RouteAttribute::Priority(self.metric));
        }
        message
    }
}

impl ResolvedHop {
    fn gateway(&self, route: Family) -> Option<RouteAttribute> {
        let via = self.via?;
        // RFC 8950: an IPv4 route by an IPv6 gateway.
        Some(if family(via) == route {
            RouteAttribute::Gateway(via.into())
        } else {
            RouteAttribute::Via(via.into())
        })
    }

    fn message(&self, route: Family) -> RouteNextHop {
        let mut hop = RouteNextHop::default();
        hop.hops = self.weight.saturating_sub(1);
        hop.interface_index = self.oif;
        if self.onlink {
            hop.flags = RouteNextHopFlags::Onlink;
        }
        hop.attributes = self.gateway(route).into_iter().collect();
        hop
    }
}

fn parse(message: &RouteMessage, family: Family) -> Resolved {
    let header = &message.header;
    let mut single =
        ResolvedHop { via: None, oif: 0, weight: 1, onlink: header.flags.contains(RouteFlags::Onlink) };
    let mut route = Resolved {
        kind: header.kind,
        destination: (any(family), header.destination_prefix_length),
        table: u32::from(header.table),
        metric: 0,
        scope: header.scope,
        source: None,
        mtu: None,
        hops: Vec::new(),
    };
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Table(table) => route.table = *table,
            RouteAttribute::Destination(address) => route.destination.0 = ip(address).unwrap_or(any(family)),
            RouteAttribute::Priority(metric) => route.metric = *metric,
            RouteAttribute::PrefSource(source) => route.source = ip(source),
            RouteAttribute::Metrics(metrics) => {
                route.mtu = metrics.iter().find_map(|metric| match metric {
                    RouteMetric::Mtu(mtu) => Some(*mtu),
                    _ => None,
                });
            }
            RouteAttribute::Oif(index) => single.oif = *index,
            RouteAttribute::MultiPath(hops) => route.hops = hops.iter().map(parse_hop).collect(),
            other => single.via = gateway(other).or(single.via),
        }
    }
    if route.hops.is_empty() && single.oif != 0 {
        route.hops.push(single);
    }
    route
}

fn parse_hop(hop: &RouteNextHop) -> ResolvedHop {
    ResolvedHop {
        via: hop.attributes.iter().find_map(gateway),
        oif: hop.interface_index,
        weight: hop.hops.saturating_add(1),
        onlink: hop.flags.contains(RouteNextHopFlags::Onlink),
    }
}

fn gateway(attribute: &RouteAttribute) -> Option<IpAddr> {
    match attribute {
        RouteAttribute::Gateway(address) => ip(address),
        RouteAttribute::Via(RouteVia::Inet(v4)) => Some((*v4).into()),
        RouteAttribute::Via(RouteVia::Inet6(v6)) => Some((*v6).into()),
        _ => None,
    }
}

fn any(family: Family) -> IpAddr {
    match family {
        Family::V4 => IpAddr::V4(0.into()),
        Family::V6 => IpAddr::V6(0.into()),
    }
}

/// As `ip route` takes it.
fn shown(route: &VirtualRoute) -> String {
    let kind = match route.kind {
        RouteKind::Unicast => "",
        RouteKind::Blackhole => "blackhole ",
        RouteKind::Unreachable => "unreachable ",
        RouteKind::Prohibit => "prohibit ",
        RouteKind::Throw => "throw ",
    };
    let Prefix { address, len } = route.destination;
    let mut text = format!("{kind}{address}/{len}");
    let several = route.hops.len() > 1;
    for hop in &route.hops {
        if several {
            text += " nexthop";
        }
        if let Some(via) = hop.via {
            let other = if family(via) == family(address) { "" } else { "inet6 " };
            text += &format!(" via {other}{via}");
        }
        if let Some(interface) = &hop.interface {
            text += &format!(" dev {interface}");
        }
        if several {
            text += &format!(" weight {}", hop.weight);
        }
        if hop.onlink {
            text += " onlink";
        }
    }
    if let Some(source) = route.source {
        text += &format!(" src {source}");
    }
    let numbers = [
        ("table", (route.table != 254).then_some(route.table)),
        ("metric", route.metric),
        ("scope", route.scope.map(u32::from)),
        ("mtu", route.mtu),
    ];
    for (word, value) in numbers {
        if let Some(value) = value {
            text += &format!(" {word} {value}");
        }
    }
    text
}

const TAG: RouteProtocol = RouteProtocol::Other(VIRTUAL_TAG);
