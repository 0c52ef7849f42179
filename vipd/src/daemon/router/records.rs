//! What XDP is told of a virtual router: its record in `INSTANCES`, and its entries in the tables of VIPs, adverts and peers.

use std::time::Duration;

use vipd_common::abi::{
    ADDRESS_DIGEST_MASK, IndexEntry, InstanceHead, InstanceKey, PeerEntry, PeerKey, VipEntry, VipKey,
    auth_type, instance_flag, vip_flag,
};

use super::{
    addresses::{list_digest, octets},
    links::IngressPoint,
    virtual_router::Router,
};
use crate::{dataplane::Identity, host::is_within, time::nanos};

/// What XDP checks adverts against, for a router that takes no part yet.
pub fn record(router: &Router) -> Identity {
    let spec = router.spec();
    let flag = |set: bool, flag: u8| if set { flag } else { 0 };
    let unicast = spec.unicast.as_ref();
    let auth_data = router.auth_data();
    Identity {
        head: InstanceHead { key: router.key(), lease_slot: router.lease().slot() },
        primary: router.address().map_or([0; 16], octets),
        destination: octets(spec.group),
        auth_type: if auth_data.is_some() { auth_type::SIMPLE_TEXT } else { auth_type::NONE },
        auth_data: auth_data.unwrap_or_default(),
        lease_ns: nanos(router.settings().lease_length()),
        stale_after_ns: nanos(router.settings().stale_after()),
        address_list_digest: list_digest(spec) & ADDRESS_DIGEST_MASK,
        interval_cs: centiseconds(spec.advert_interval),
        priority: spec.priority.get(),
        version: spec.version as u8,
        flags: flag(spec.use_vmac, instance_flag::VIRTUAL_MAC)
            | flag(unicast.is_some(), instance_flag::UNICAST)
            | flag(unicast.is_some_and(|unicast| unicast.check_source), instance_flag::CHECK_SOURCE),
        mac: router.link().mac().0,
    }
}

/// The entries of the VIP table.
pub fn vip_entries(router: &Router) -> impl Iterator<Item = (VipKey, VipEntry)> {
    let flags = if router.spec().accept { 0 } else { vip_flag::NO_ACCEPT };
    let (lease_slot, instance) = (router.lease().slot(), router.id().slot());
    router.answering().flat_map(move |(link, mac)| {
        let IngressPoint { ifindex, vlan, .. } = *link.wire();
        let entry = VipEntry { lease_slot, instance, reply_slot: 0, mac: mac.0, flags, reserved: 0 };
        link.vips().iter().map(move |vip| (VipKey { ifindex, vlan, address: octets(*vip) }, entry))
    })
}

/// What the configuration says of a router, with what is in force where that says nothing: the least TTL of each peer.
pub fn spec_in_force(router: &Router) -> vipd_config::Instance {
    let mut spec = router.spec().clone();
    let in_force: Vec<u8> = peer_entries(router).map(|(_, entry)| entry.min_ttl).collect();
    let peers = spec.unicast.iter_mut().flat_map(|unicast| &mut unicast.peers);
    peers.zip(in_force).for_each(|(peer, min_ttl)| peer.min_ttl = Some(min_ttl));
    spec
}

/// Where adverts of this router come in: the entries of the index. Line 0 is its own interface.
pub fn index_entries(router: &Router) -> impl Iterator<Item = (InstanceKey, IndexEntry)> {
    let own = router.link().exists().then_some((router.link().wire(), 0));
    let heartbeats = router.heartbeats().iter().zip(1..).filter(|(line, _)| line.exists());
    own.into_iter().chain(heartbeats.map(|(line, number)| (line.wire(), number))).map(|(wire, line)| {
        let key = InstanceKey { ifindex: wire.ifindex, vlan: wire.vlan, ..router.key() };
        (key, IndexEntry { slot: router.id().slot(), line })
    })
}

/// The entries of the table of unicast peers.
pub fn peer_entries(router: &Router) -> impl Iterator<Item = (PeerKey, PeerEntry)> {
    let unicast = router.spec().unicast.iter();
    unicast.flat_map(|unicast| unicast.peers.iter().map(move |peer| (peer, unicast))).map(
        |(peer, unicast)| {
            let on_link = router.subnets().iter().any(|subnet| is_within(peer.address, *subnet));
            let key = PeerKey { instance: router.id().slot(), address: octets(peer.address) };
            let min_ttl = unicast.min_ttl(peer, on_link);
            (key, PeerEntry { min_ttl, max_ttl: peer.max_ttl, reserved: [0; 2] })
        },
    )
}

fn centiseconds(interval: Duration) -> u32 {
    u32::try_from(interval.as_millis() / 10).unwrap_or(u32::MAX)
}
