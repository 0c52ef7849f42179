//! The kernel's neighbour entries for VIPs: forgotten when another node became their owner.

use std::{collections::HashSet, net::IpAddr};

use anyhow::Result;
use futures_util::StreamExt;
use rtnetlink::{
    Handle,
    packet_route::neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState},
};

use super::netlink::{FAMILIES, address_family, errno, explain, family};

/// Deletes the entries of `vips` on a link, so that the next packet resolves afresh. Permanent ones stay.
pub(super) async fn forget(handle: &Handle, ifindex: u32, vips: &[IpAddr]) -> Result<()> {
    let vips: HashSet<IpAddr> = vips.iter().copied().collect();
    let mut stale = Vec::new();
    for family in FAMILIES.into_iter().filter(|wanted| vips.iter().any(|vip| family(*vip) == *wanted)) {
        let request = handle.neighbours().get().set_address_family(address_family(family));
        let mut dump = std::pin::pin!(request.execute());
        while let Some(message) = dump.next().await {
            let message = message.map_err(|error| explain("list of neighbours", &error))?;
            if message.header.ifindex == ifindex
                && !matches!(message.header.state, NeighbourState::Permanent | NeighbourState::Noarp)
                && let Some(address) = address(&message)
                && vips.contains(&address)
            {
                stale.push(address);
            }
        }
    }
    for address in stale {
        let mut message = NeighbourMessage::default();
        message.header.family = address_family(family(address));
        message.header.ifindex = ifindex;
        let destination = match address {
            IpAddr::V4(v4) => NeighbourAddress::Inet(v4),
            IpAddr::V6(v6) => NeighbourAddress::Inet6(v6),
        };
        message.attributes = vec![NeighbourAttribute::Destination(destination)];
        match handle.neighbours().del(message).execute().await {
            Err(error) if errno(&error) == Some(libc::ENOENT) => {}
            Err(error) => return Err(explain(&format!("neighbour {address}"), &error)),
            Ok(()) => {}
        }
    }
    Ok(())
}

fn address(message: &NeighbourMessage) -> Option<IpAddr> {
    message.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::Destination(NeighbourAddress::Inet(v4)) => Some((*v4).into()),
        NeighbourAttribute::Destination(NeighbourAddress::Inet6(v6)) => Some((*v6).into()),
        _ => None,
    })
}
