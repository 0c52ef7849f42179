//! The addresses of a virtual router: the primary one that adverts are sent from, and how the maps write addresses.

use std::{
    collections::HashSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use vipd_common::{
    Family,
    abi::{address_digest, address_digest_v6, mapped},
};

use crate::host::{LinkState, is_local, is_within};

/// 16 octets as the maps have them.
pub fn octets(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(v4) => mapped(v4.octets()),
        IpAddr::V6(v6) => v6.octets(),
    }
}

/// The address that 16 octets of a map stand for.
pub fn address(octets: [u8; 16]) -> IpAddr {
    IpAddr::from(octets).to_canonical()
}

/// The address that adverts are sent from: the configured one (if this host has it), or the interface's first that is no VIP. `before`:
/// what it was.
///
/// RFC 9568 1.7: the primary address is one that is chosen from the interface's real addresses; 5.1.2.1: over IPv6 it is
/// link-local. To unicast peers that are not on the link it cannot be.
pub(super) fn primary(
    spec: &vipd_config::Instance,
    state: &LinkState,
    before: Option<IpAddr>,
) -> Option<IpAddr> {
    if let Some(source) = spec.source {
        let is_there = || state.addresses.iter().any(|candidate| candidate.address == source);
        // A unicast peer sends its adverts to this address, and every router takes adverts from its own address for its own: two that
        // have the same one configured (a copied file) would both be master. It may be on another interface, such as `lo`.
        let is_elsewhere =
            || !spec.tracks_source && is_local(source).unwrap_or_else(|_| before == Some(source));
        return Some(source).filter(|_| is_there() || is_elsewhere());
    }
    let global = spec.unicast.as_ref().is_some_and(|unicast| {
        unicast.peers.iter().any(|peer| matches!(peer.address, IpAddr::V6(v6) if !v6.is_unicast_link_local()))
    });
    let vips = if spec.priority.is_owner() { HashSet::new() } else { vips(spec) };
    let candidates = state.addresses.iter().filter(|candidate| match (spec.family, candidate.address) {
        (Family::V4, IpAddr::V4(v4)) => !v4.is_unspecified(),
        (Family::V6, IpAddr::V6(v6)) => v6.is_unicast_link_local() != global,
        (Family::V4, IpAddr::V6(_)) | (Family::V6, IpAddr::V4(_)) => false,
    });
    candidates
        .filter(|candidate| !vips.contains(&candidate.address))
        .min_by_key(|candidate| candidate.secondary)
        .map(|candidate| candidate.address)
}

/// The sources of this host's own traffic to the VIPs, of each family: the interface's addresses that are no VIPs. A VIP as a
/// source would make this host talk to itself.
pub(super) fn sources(
    spec: &vipd_config::Instance,
    state: &LinkState,
) -> (Option<Ipv4Addr>, Option<Ipv6Addr>) {
    let vips = vips(spec);
    let real = || state.addresses.iter().filter(|a| !vips.contains(&a.address)).map(|a| a.address);
    let v6 = || real().filter_map(|address| if let IpAddr::V6(v6) = address { Some(v6) } else { None });
    let v4 = real().find_map(|address| if let IpAddr::V4(v4) = address { Some(v4) } else { None });
    (v4, v6().find(|v6| !v6.is_unicast_link_local()).or_else(|| v6().next()))
}

/// The subnets of VIPs in which their interface has no address: a VIP in each, and the length of its prefix. A VIP without a prefix has
/// no subnet, and every interface has that of link-local addresses.
pub(super) fn unconnected(
    spec: &vipd_config::Instance,
    vips: &[IpAddr],
    state: &LinkState,
) -> Vec<(IpAddr, u8)> {
    let mut found: Vec<(IpAddr, u8)> = Vec::new();
    let configured = spec.vips.iter().chain(&spec.excluded).filter(|vip| vips.contains(&vip.address));
    for (vip, len) in configured.map(|vip| (vip.address, vip.prefix_len)) {
        let is_alone = len == if vip.is_ipv4() { 32 } else { 128 };
        let is_link_local = matches!(vip, IpAddr::V6(v6) if v6.is_unicast_link_local());
        let mut subnets =
            state.addresses.iter().map(|own| (own.address, own.prefix_len)).chain(found.clone());
        let is_connected =
            subnets.any(|(address, length)| length <= len && is_within(vip, (address, length)));
        if !is_alone && !is_link_local && !is_connected {
            found.push((vip, len));
        }
    }
    found
}

/// The subnets with VIPs in which their interface has an address: that address, and the length of the prefix. Not those that are one
/// address or two, nor that of link-local addresses.
pub(super) fn subnets(vips: &[IpAddr], state: &LinkState) -> Vec<(IpAddr, u8)> {
    let mut found: Vec<(IpAddr, u8)> = Vec::new();
    for (own, len) in state.addresses.iter().map(|own| (own.address, own.prefix_len)) {
        let has_clients = len < if own.is_ipv4() { 31 } else { 127 };
        let is_link_local = matches!(own, IpAddr::V6(v6) if v6.is_unicast_link_local());
        let is_new = !found.iter().any(|known| known.1 == len && is_within(own, *known));
        if has_clients && !is_link_local && is_new && vips.iter().any(|vip| is_within(*vip, (own, len))) {
            found.push((own, len));
        }
    }
    found
}

/// The sum of the addresses in adverts, as XDP compares it.
pub(super) fn list_digest(spec: &vipd_config::Instance) -> u64 {
    spec.vips.iter().fold(0u64, |sum, vip| sum.wrapping_add(digest(vip.address)))
}

fn vips(spec: &vipd_config::Instance) -> HashSet<IpAddr> {
    spec.vips.iter().chain(&spec.excluded).map(|vip| vip.address).collect()
}

fn digest(address: IpAddr) -> u64 {
    match address {
        IpAddr::V4(v4) => address_digest(u32::from_ne_bytes(v4.octets())),
        IpAddr::V6(v6) => {
            let [upper, lower] = zerocopy::transmute!(v6.octets());
            address_digest_v6(upper, lower)
        }
    }
}
