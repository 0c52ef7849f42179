//! Whether this host has a way back to the clients in the subnets of its VIPs.
//!
//! All of vipd's own may be in place, and the kernel's connected route gone: `ip route flush table main`, rules without `lookup main`, a
//! blackhole over the subnet. Then nobody is answered. A client of any other subnet may come by a router: of those nothing is known.
//!
//! The kernel is asked for the way to [some addresses](samples) of each subnet. What it says is judged with care, since hosts route as
//! their operators want: no way at all, or one out of another interface by a route that is not for the subnet, is a refusal. A
//! gateway on the same interface is a detour, which is named.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::Result;
use futures_util::StreamExt;
use rtnetlink::{
    Handle,
    packet_route::route::{RouteAttribute, RouteFlags, RouteMessage, RouteProtocol, RouteScope, RouteType},
};

use super::{
    netlink::{address_family, errno, explain, family, full_length, refusal},
    routes::{TABLE_MAIN, ip},
};
use vipd_system::interface_names::name_of;

/// How this host answers a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ReturnPath {
    Direct,
    /// In words.
    Detour(String),
    /// In words.
    Missing(String),
}

/// The way to a subnet on an interface, from this source if one is given.
///
/// # Errors
///
/// What the kernel refuses to say.
pub(super) async fn way(
    handle: &Handle,
    subnet: (IpAddr, u8),
    ifindex: u32,
    source: Option<IpAddr>,
) -> Result<ReturnPath> {
    let mut found = ReturnPath::Direct;
    for address in samples(subnet) {
        match ask(handle, address, (subnet, ifindex), source).await? {
            ReturnPath::Direct => {}
            missing @ ReturnPath::Missing(_) => return Ok(missing),
            detour @ ReturnPath::Detour(_) => found = detour,
        }
    }
    Ok(found)
}

/// Addresses of one subnet that are asked for.
const SAMPLES: usize = 4;

/// The neighbour of the interface's own address, the first of the subnet, one from its middle and the last.
fn samples((own, len): (IpAddr, u8)) -> [IpAddr; SAMPLES] {
    let full = full_length(family(own));
    let own_bits = match own {
        IpAddr::V4(v4) => u128::from(v4.to_bits()),
        IpAddr::V6(v6) => v6.to_bits(),
    };
    let hosts = 1_u128.checked_shl(u32::from(full.saturating_sub(len))).unwrap_or(0).wrapping_sub(1);
    let network = own_bits & !hosts;
    // The last address of an IPv4 subnet is its broadcast address.
    let bits = [own_bits ^ 1, network | 1, network | (hosts / 2), network | hosts.saturating_sub(1)];
    bits.map(|bits| match own {
        IpAddr::V4(_) => Ipv4Addr::from_bits(u32::try_from(bits).unwrap_or_default()).into(),
        IpAddr::V6(_) => Ipv6Addr::from_bits(bits).into(),
    })
}

async fn ask(
    handle: &Handle,
    address: IpAddr,
    ((own, len), ifindex): ((IpAddr, u8), u32),
    source: Option<IpAddr>,
) -> Result<ReturnPath> {
    let mut question = RouteMessage::default();
    let header = &mut question.header;
    header.address_family = address_family(family(address));
    header.destination_prefix_length = full_length(family(address));
    // A question has nothing else.
    (header.protocol, header.scope, header.kind) =
        (RouteProtocol::Unspec, RouteScope::Universe, RouteType::Unspec);
    // The route that is taken, and not what comes of it.
    header.flags = RouteFlags::FibMatch;
    if source.is_some() {
        header.source_prefix_length = full_length(family(address));
    }
    question.attributes.push(RouteAttribute::Destination(address.into()));
    question.attributes.extend(source.map(|source| RouteAttribute::Source(source.into())));
    let missing = |what: String| {
        let number = if own.is_ipv4() { 4 } else { 6 };
        let from = source.map(|source| format!(" from {source}")).unwrap_or_default();
        let subnet = vipd_config::Prefix::new(own, len);
        ReturnPath::Missing(format!(
            "this host cannot answer clients in {}/{len}: {what}; see `ip -{number} route get {address}{from}`, \
             `ip -{number} rule` and `ip -{number} route`",
            subnet.address
        ))
    };
    let mut answer = std::pin::pin!(handle.route().get(question).execute());
    let route = match answer.next().await {
        Some(Ok(route)) => route,
        None => return Ok(ReturnPath::Direct),
        Some(Err(error)) => {
            return match errno(&error) {
                Some(libc::EHOSTUNREACH | libc::ENETUNREACH | libc::EINVAL | libc::EACCES) => {
                    Ok(missing(format!("{:#}", refusal(&format!("no way to {address}"), &error))))
                }
                _ => Err(explain(&format!("route to {address}"), &error)),
            };
        }
    };
    match route.header.kind {
        // Another address of this host.
        RouteType::Local | RouteType::Broadcast | RouteType::Anycast | RouteType::Multicast => {
            return Ok(ReturnPath::Direct);
        }
        RouteType::Unicast => {}
        kind => return Ok(missing(format!("the route to {address} is of type {kind:?}").to_lowercase())),
    }
    let (mut oif, mut gateway, mut table) = (None, None, u32::from(route.header.table));
    for attribute in &route.attributes {
        match attribute {
            RouteAttribute::Oif(index) => oif = Some(*index),
            RouteAttribute::Gateway(by) => gateway = ip(by),
            RouteAttribute::Table(id) => table = *id,
            _ => {}
        }
    }
    // Somebody has made a route for the subnet, or for a part of it; or rules lead elsewhere.
    if route.header.destination_prefix_length >= len || table != TABLE_MAIN {
        return Ok(ReturnPath::Direct);
    }
    let name = |index| name_of(index).ok().flatten().unwrap_or_else(|| format!("interface {index}"));
    match (oif, gateway) {
        (Some(other), _) if other != ifindex => {
            let (own, other) = (name(ifindex), name(other));
            Ok(missing(format!("the connected route on {own} is gone, and answers leave by {other}")))
        }
        (_, Some(gateway)) => {
            let own = name(ifindex);
            Ok(ReturnPath::Detour(format!(
                "the connected route on {own} is gone: answers take the way over {gateway}"
            )))
        }
        _ => Ok(ReturnPath::Direct),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_samples_are_of_the_subnet() {
        let of = |own: &str, len| samples((own.parse().unwrap(), len)).map(|address| address.to_string());
        assert_eq!(of("10.0.0.5", 24), ["10.0.0.4", "10.0.0.1", "10.0.0.127", "10.0.0.254"]);
        assert_eq!(of("10.0.3.5", 16), ["10.0.3.4", "10.0.0.1", "10.0.127.255", "10.0.255.254"]);
        assert_eq!(of("10.0.0.5", 30), ["10.0.0.4", "10.0.0.5", "10.0.0.5", "10.0.0.6"]);
        let v6 = of("2001:db8::5", 64);
        assert_eq!(
            v6,
            ["2001:db8::4", "2001:db8::1", "2001:db8::7fff:ffff:ffff:ffff", "2001:db8::ffff:ffff:ffff:fffe"]
        );
    }
}
