//! IPv6 VIPs as addresses on `lo`: bind() takes an IPv6 address only if it is one of the host's.
//!
//! ```text
//! inet6 2001:db8::100/128 dev lo scope global nodad deprecated noprefixroute proto 118
//! ```
//!
//! The kernel makes the route in the local table itself, and answers no neighbour solicitation for an address that is only
//! on `lo`. Deprecated (preferred lifetime 0), so that nothing picks a VIP as its source.

use std::{
    collections::{BTreeSet, HashSet},
    net::{IpAddr, Ipv6Addr},
    path::Path,
};

use anyhow::Result;
use futures_util::{StreamExt, TryStreamExt, stream};
use rtnetlink::{
    Handle,
    packet_route::{
        AddressFamily,
        address::{
            AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage, AddressProtocol,
            AddressScope, CacheInfo,
        },
    },
};
use vipd_common::Family;

use super::{
    PROTOCOL_TAG,
    netlink::{IN_FLIGHT, LOOPBACK, errno, explain, supported},
    saved::Saved,
    visible::is_for_show,
};

/// What the file remembers: kernels before 5.18 drop the protocol of an address, and the tag with it.
type Added = BTreeSet<Ipv6Addr>;

#[derive(Debug)]
pub(super) struct Addresses {
    saved: Saved<Added>,
}

/// The host's IPv6 addresses as far as they concern vipd.
#[derive(Debug, Default)]
pub(super) struct Existing {
    /// Ours on `lo`, in the kernel's order.
    ours: Vec<Ipv6Addr>,
    /// Everybody else's, with the interface.
    others: HashSet<(Ipv6Addr, u32)>,
}

impl Existing {
    /// Whether an interface has the address by somebody else's doing, as an address owner's has: the kernel has its route
    /// then, and bind() works.
    pub fn is_on(&self, address: Ipv6Addr, ifindex: u32) -> bool {
        self.others.contains(&(address, ifindex))
    }
}

impl Addresses {
    pub fn new(state_dir: &Path) -> Self {
        Self { saved: Saved::new(state_dir, "addresses.json") }
    }

    pub async fn list(&self, handle: &Handle) -> Result<Existing> {
        let mut existing = Existing::default();
        if !supported(Family::V6) {
            return Ok(existing);
        }
        let added = self.saved.load();
        let mut get = handle.address().get();
        get.message_mut().header.family = AddressFamily::Inet6;
        let mut dump = std::pin::pin!(get.execute());
        while let Some(message) = dump.next().await {
            let message = message.map_err(|error| explain("list of addresses", &error))?;
            // They come and go with mastership.
            let Some((address, tagged)) = parse(&message).filter(|_| !is_for_show(&message)) else {
                continue;
            };
            let on_loopback = message.header.index == LOOPBACK && message.header.prefix_len == 128;
            if on_loopback && (tagged || added.contains(&address)) {
                existing.ours.push(address);
            } else {
                existing.others.insert((address, message.header.index));
            }
        }
        Ok(existing)
    }

    /// Makes every address of `wanted` exist that no interface has.
    pub async fn ensure(
        &self,
        handle: &Handle,
        wanted: &BTreeSet<Ipv6Addr>,
        existing: &Existing,
    ) -> Result<Vec<String>> {
        let taken: HashSet<Ipv6Addr> = existing
            .ours
            .iter()
            .copied()
            .chain(existing.others.iter().map(|(address, _)| *address))
            .collect();
        let missing: Vec<Ipv6Addr> = wanted.iter().copied().filter(|vip| !taken.contains(vip)).collect();
        let ours: Added = existing.ours.iter().copied().chain(missing.iter().copied()).collect();
        // First remembered, then made: a crash between the two leaves nothing that is not recognised.
        if ours != self.saved.load() {
            self.saved.save(&ours)?;
        }
        let added = missing.iter().map(|vip| name(*vip)).collect();
        stream::iter(missing)
            .map(|vip| add(handle, vip))
            .buffer_unordered(IN_FLIGHT)
            .try_collect::<()>()
            .await?;
        Ok(added)
    }

    /// Removes ours but those to `keep`.
    pub async fn remove_others(
        &self,
        handle: &Handle,
        keep: &BTreeSet<Ipv6Addr>,
        existing: &Existing,
    ) -> Result<()> {
        // In the kernel's order: it walks its list from the front for each.
        let stale = existing.ours.iter().copied().filter(|vip| !keep.contains(vip));
        stream::iter(stale)
            .map(|vip| delete(handle, vip))
            .buffer_unordered(IN_FLIGHT)
            .try_collect::<()>()
            .await?;
        let mut added = self.saved.load();
        let before = added.len();
        added.retain(|vip| keep.contains(vip));
        if added.len() == before { Ok(()) } else { self.saved.save(&added) }
    }
}

async fn add(handle: &Handle, vip: Ipv6Addr) -> Result<()> {
    let mut request = handle.address().add(LOOPBACK, vip.into(), 128);
    *request.message_mut() = message(vip);
    match request.execute().await {
        Err(error) if errno(&error) == Some(libc::EEXIST) => Ok(()),
        Err(error) => Err(explain(&name(vip), &error)),
        Ok(()) => Ok(()),
    }
}

async fn delete(handle: &Handle, vip: Ipv6Addr) -> Result<()> {
    match handle.address().del(message(vip)).execute().await {
        Err(error) if errno(&error) == Some(libc::EADDRNOTAVAIL) => Ok(()),
        Err(error) => Err(explain(&name(vip), &error)),
        Ok(()) => Ok(()),
    }
}

fn name(vip: Ipv6Addr) -> String {
    format!("address {vip}/128 on lo")
}

fn message(vip: Ipv6Addr) -> AddressMessage {
    let mut lifetime = CacheInfo::default();
    lifetime.ifa_valid = u32::MAX;
    let mut message = AddressMessage::default();
    message.header.family = AddressFamily::Inet6;
    message.header.prefix_len = 128;
    message.header.flags = AddressHeaderFlags::Nodad;
    message.header.scope = AddressScope::Universe;
    message.header.index = LOOPBACK;
    message.attributes = vec![
        AddressAttribute::Local(vip.into()),
        // Without a route to its prefix, which the kernel would look through all addresses for at each removal.
        AddressAttribute::Flags(AddressFlags::Nodad | AddressFlags::Noprefixroute),
        AddressAttribute::CacheInfo(lifetime),
        AddressAttribute::Protocol(AddressProtocol::Other(PROTOCOL_TAG)),
    ];
    message
}

/// The address, and whether it bears our tag.
fn parse(message: &AddressMessage) -> Option<(Ipv6Addr, bool)> {
    let (mut local, mut address, mut tagged) = (None, None, false);
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Local(IpAddr::V6(v6)) => local = Some(*v6),
            AddressAttribute::Address(IpAddr::V6(v6)) => address = Some(*v6),
            AddressAttribute::Protocol(protocol) => tagged = u8::from(*protocol) == PROTOCOL_TAG,
            _ => {}
        }
    }
    // With a peer IFA_ADDRESS is the peer's, and ours is IFA_LOCAL.
    Some((local.or(address)?, tagged))
}
