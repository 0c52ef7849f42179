//! Where the kernel sends packets to an address, for who judges it and changes nothing.

use std::{collections::BTreeMap, net::IpAddr};

use anyhow::{Context, Result};
use futures_util::StreamExt;
use rtnetlink::{
    Handle,
    packet_route::route::{RouteAttribute, RouteMessage, RouteProtocol, RouteScope, RouteType},
};

use super::netlink::{address_family, family, full_length};

/// The first hop to an address that is not this host's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FirstHop {
    /// Index of the interface.
    pub ifindex: u32,
    /// Whether a router is between: without one the address is on the link itself.
    pub by_gateway: bool,
}

/// Asks the kernel, by its rules and routes of this moment; an address without a way is left out. Needs a tokio runtime.
///
/// # Errors
///
/// There is no route socket.
pub async fn first_hops(addresses: impl IntoIterator<Item = IpAddr>) -> Result<BTreeMap<IpAddr, FirstHop>> {
    let (connection, handle, _) =
        rtnetlink::new_connection_with_strict_check().context("netlink route socket")?;
    let connection = tokio::spawn(connection);
    let mut hops = BTreeMap::new();
    for address in addresses {
        if let Some(hop) = ask(&handle, address).await {
            hops.insert(address, hop);
        }
    }
    connection.abort();
    Ok(hops)
}

async fn ask(handle: &Handle, address: IpAddr) -> Option<FirstHop> {
    let mut question = RouteMessage::default();
    let header = &mut question.header;
    header.address_family = address_family(family(address));
    header.destination_prefix_length = full_length(family(address));
    // A question has nothing else.
    (header.protocol, header.scope, header.kind) =
        (RouteProtocol::Unspec, RouteScope::Universe, RouteType::Unspec);
    question.attributes.push(RouteAttribute::Destination(address.into()));
    let mut answer = std::pin::pin!(handle.route().get(question).execute());
    let route = answer.next().await?.ok().filter(|route| route.header.kind == RouteType::Unicast)?;
    let ifindex = route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Oif(index) => Some(*index),
        _ => None,
    })?;
    let by_gateway =
        |attribute: &RouteAttribute| matches!(attribute, RouteAttribute::Gateway(_) | RouteAttribute::Via(_));
    Some(FirstHop { ifindex, by_gateway: route.attributes.iter().any(by_gateway) })
}
