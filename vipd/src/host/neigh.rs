//! The kernel's neighbour entries for VIPs: forgotten when another node became their owner.

use std::net::Ipv4Addr;

use anyhow::Result;
use futures_util::StreamExt;
use rtnetlink::{
    Handle,
    packet_route::{
        AddressFamily,
        neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState},
    },
};

use super::{errno, explain};

/// Deletes the entries of `vips` on a link, so that the next packet resolves afresh. Permanent ones stay.
pub(super) async fn forget(handle: &Handle, ifindex: u32, vips: &[Ipv4Addr]) -> Result<()> {
    let mut stale = Vec::new();
    {
        let request = handle.neighbours().get().set_address_family(AddressFamily::Inet);
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
        message.header.family = AddressFamily::Inet;
        message.header.ifindex = ifindex;
        message.attributes = vec![NeighbourAttribute::Destination(NeighbourAddress::Inet(address))];
        match handle.neighbours().del(message).execute().await {
            Err(error) if errno(&error) == Some(libc::ENOENT) => {}
            Err(error) => return Err(explain(&format!("neighbour {address}"), &error)),
            Ok(()) => {}
        }
    }
    Ok(())
}

fn address(message: &NeighbourMessage) -> Option<Ipv4Addr> {
    message.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::Destination(NeighbourAddress::Inet(address)) => Some(*address),
        _ => None,
    })
}
