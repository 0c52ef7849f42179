//! `vip_visible`: a master's VIPs as addresses of their interface, for those who look there.
//!
//! ```text
//! inet 10.0.0.3/32 dev eth0 scope global deprecated noprefixroute proto 119
//! ```
//!
//! For show: nothing depends on them, and XDP is the one who answers. They follow mastership with the virtual routes, bear
//! the same tag, and go before XDP does, since the kernel would answer for them (I4).

use std::{collections::BTreeSet, net::IpAddr};

use super::{
    Repairs, VIRTUAL_TAG,
    netlink::{FAMILIES, address_family, errno, explain, family, full_length, supported},
};
use anyhow::Result;
use futures_util::StreamExt;
use rtnetlink::{
    Handle,
    packet_route::address::{
        AddressAttribute, AddressFlags, AddressMessage, AddressProtocol, AddressScope, CacheInfo,
    },
};
use vipd_system::Problems;

/// Addresses, each with the index of its interface.
pub(super) type Visible = BTreeSet<(u32, IpAddr)>;

/// Makes the tagged addresses be `wanted`. Goes on after an error.
pub(super) async fn sync(handle: &Handle, wanted: &Visible, repairs: &mut Repairs) -> Result<()> {
    let mut problems = Problems::default();
    let existing = list(handle).await?;
    for stale in existing.difference(wanted) {
        problems.note(delete(handle, *stale).await);
    }
    for missing in wanted.difference(&existing) {
        let added = add(handle, *missing).await;
        if added.is_ok() {
            repairs.note("address", format!("address {} for show", missing.1));
        }
        problems.note(added);
    }
    problems.into_result()
}

/// Removes the tagged addresses that are not among those to `keep`, and adds none.
pub(super) async fn remove_stale(handle: &Handle, keep: &Visible) -> Result<()> {
    let mut problems = Problems::default();
    for stale in list(handle).await?.difference(keep) {
        problems.note(delete(handle, *stale).await);
    }
    problems.into_result()
}

/// Whether the address is there for show.
pub(super) fn is_for_show(message: &AddressMessage) -> bool {
    let ours = |attribute: &AddressAttribute| matches!(attribute, AddressAttribute::Protocol(p) if u8::from(*p) == VIRTUAL_TAG);
    message.attributes.iter().any(ours)
}

/// Those that bear the tag.
pub(super) async fn list(handle: &Handle) -> Result<Visible> {
    let mut visible = Visible::new();
    for family in FAMILIES.into_iter().filter(|family| supported(*family)) {
        let mut get = handle.address().get();
        get.message_mut().header.family = address_family(family);
        let mut dump = std::pin::pin!(get.execute());
        while let Some(message) = dump.next().await {
            let message = message.map_err(|error| explain("list of addresses", &error))?;
            let local = message.attributes.iter().find_map(|attribute| match attribute {
                AddressAttribute::Address(address) => Some(*address),
                _ => None,
            });
            visible.extend(local.filter(|_| is_for_show(&message)).map(|vip| (message.header.index, vip)));
        }
    }
    Ok(visible)
}

async fn add(handle: &Handle, (ifindex, vip): (u32, IpAddr)) -> Result<()> {
    let mut request = handle.address().add(ifindex, vip, full_length(family(vip)));
    *request.message_mut() = message(ifindex, vip);
    match request.execute().await {
        // An interface that is gone shows nothing.
        Err(error) if matches!(errno(&error), Some(libc::EEXIST | libc::ENODEV)) => Ok(()),
        Err(error) => Err(explain(&format!("address {vip} for show"), &error)),
        Ok(()) => Ok(()),
    }
}

async fn delete(handle: &Handle, (ifindex, vip): (u32, IpAddr)) -> Result<()> {
    match handle.address().del(message(ifindex, vip)).execute().await {
        Err(error) if matches!(errno(&error), Some(libc::EADDRNOTAVAIL | libc::ENODEV)) => Ok(()),
        Err(error) => Err(explain(&format!("address {vip} for show"), &error)),
        Ok(()) => Ok(()),
    }
}

fn message(ifindex: u32, vip: IpAddr) -> AddressMessage {
    // Deprecated, so that nothing picks a VIP as its source.
    let mut lifetime = CacheInfo::default();
    lifetime.ifa_valid = u32::MAX;
    let mut message = AddressMessage::default();
    message.header.family = address_family(family(vip));
    message.header.prefix_len = full_length(family(vip));
    message.header.scope = AddressScope::Universe;
    message.header.index = ifindex;
    let nodad = if vip.is_ipv6() { AddressFlags::Nodad } else { AddressFlags::empty() };
    message.attributes = vec![
        AddressAttribute::Local(vip),
        AddressAttribute::Address(vip),
        AddressAttribute::Flags(nodad | AddressFlags::Noprefixroute),
        AddressAttribute::CacheInfo(lifetime),
        AddressAttribute::Protocol(AddressProtocol::Other(VIRTUAL_TAG)),
    ];
    message
}
