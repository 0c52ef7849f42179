//! A master's VIPs as addresses of their interface: with `vip_visible` for those who look there, and where the interface has no other
//! address in a VIP's subnet.
//!
//! ```text
//! inet 10.0.0.3/32 dev eth0 scope global deprecated noprefixroute proto 119
//! inet 192.0.2.10/24 dev eth1 scope global deprecated noprefixroute proto 119
//! ```
//!
//! XDP is the one who answers. They follow mastership with the virtual routes, bear the same tag, and go before XDP does, since the
//! kernel would answer for them (I4). The second kind is what the kernel sends its own ARP requests from: routers ignore one from outside
//! of their subnet. IPv6 solicits from its link-local address and needs none.

use std::{
    collections::BTreeSet,
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
};

use super::{
    Repairs, VIRTUAL_TAG,
    netlink::{FAMILIES, address_family, errno, explain, family, supported},
};
use anyhow::Result;
use futures_util::StreamExt;
use rtnetlink::{
    Handle,
    packet_route::address::{
        AddressAttribute, AddressFlags, AddressMessage, AddressProtocol, AddressScope, CacheInfo,
    },
};
use vipd_system::{Problems, interface_names::name_of};

/// Addresses, each with the index of its interface and the length of its prefix.
pub(super) type Visible = BTreeSet<(u32, IpAddr, u8)>;

/// Makes the tagged addresses be `wanted`. Goes on after an error.
pub(super) async fn sync(handle: &Handle, wanted: &Visible, repairs: &mut Repairs) -> Result<()> {
    let mut problems = Problems::default();
    let existing = list(handle).await?;
    for stale in existing.difference(wanted) {
        problems.note(delete(handle, *stale).await);
    }
    for missing in wanted.difference(&existing) {
        let added = add(handle, *missing).await;
        let name = format!("address {} for show", missing.1);
        match &added {
            Ok(()) => repairs.note("address", name),
            Err(_) => repairs.note_refused(name),
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
            let len = message.header.prefix_len;
            visible
                .extend(local.filter(|_| is_for_show(&message)).map(|vip| (message.header.index, vip, len)));
        }
    }
    Ok(visible)
}

async fn add(handle: &Handle, (ifindex, vip, len): (u32, IpAddr, u8)) -> Result<()> {
    let mut request = handle.address().add(ifindex, vip, len);
    *request.message_mut() = message(ifindex, vip, len);
    match request.execute().await {
        // An interface that is gone shows nothing.
        Err(error) if matches!(errno(&error), Some(libc::EEXIST | libc::ENODEV)) => Ok(()),
        Err(error) => Err(explain(&format!("address {vip} for show"), &error)),
        Ok(()) => Ok(()),
    }
}

async fn delete(handle: &Handle, (ifindex, vip, len): (u32, IpAddr, u8)) -> Result<()> {
    // The kernel takes an address that came later in the same subnet for a secondary one, and would remove it with the first.
    let _others_stay = (vip.is_ipv4() && len < 32).then(|| Promotion::of(ifindex));
    match handle.address().del(message(ifindex, vip, len)).execute().await {
        Err(error) if matches!(errno(&error), Some(libc::EADDRNOTAVAIL | libc::ENODEV)) => Ok(()),
        Err(error) => Err(explain(&format!("address {vip} for show"), &error)),
        Ok(()) => Ok(()),
    }
}

/// `promote_secondaries` of an interface is on for as long as this.
struct Promotion(Option<PathBuf>);

impl Promotion {
    fn of(ifindex: u32) -> Self {
        let Ok(Some(name)) = name_of(ifindex) else { return Self(None) };
        let file = Path::new("/proc/sys/net/ipv4/conf").join(name).join("promote_secondaries");
        let is_off = fs::read_to_string(&file).is_ok_and(|value| value.trim() == "0");
        Self(Some(file).filter(|file| is_off && fs::write(file, "1").is_ok()))
    }
}

impl Drop for Promotion {
    fn drop(&mut self) {
        if let Some(Err(error)) = self.0.as_ref().map(|file| fs::write(file, "0")) {
            tracing::debug!(%error, "promote_secondaries stays on");
        }
    }
}

fn message(ifindex: u32, vip: IpAddr, len: u8) -> AddressMessage {
    // Deprecated, so that nothing picks a VIP as its source.
    let mut lifetime = CacheInfo::default();
    lifetime.ifa_valid = u32::MAX;
    let mut message = AddressMessage::default();
    message.header.family = address_family(family(vip));
    message.header.prefix_len = len;
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
