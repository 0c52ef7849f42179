//! The frames of a pair that probes and takes over early, and what the program has to know for them.

use std::{net::Ipv4Addr, time::Duration};

use anyhow::Result;
use vipd_common::{
    abi::{IndexEntry, InstanceHead, InstanceKey, ProbeEntry, ProbeKey, VipEntry, VipKey},
    address::Address,
    wire::probe::{discriminator, flag, router_flag},
};
use vipd_core::time::Instant;
use vipd_dataplane::{Contents, Dataplane, Identity};
use vipd_tests::probe::decode::pseudo_checksum;

use super::{IFINDEX, MAC, PRIMARY};
use crate::frames::checksum;

const SLOT: u32 = 7;
const UDP: u8 = 17;
const PEER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
const MAC_OF_PEER: [u8; 6] = [2, 0, 0, 0, 0, 0xaa];
/// The probes below say that their sender sends one in so many microseconds, the shortest that counts.
const INTERVAL_US: u32 = 1_000;
/// So that none of them is one too many: the program takes a share of the interval from each.
pub const BETWEEN: Duration = Duration::from_micros(40);

/// Has the program answer the peer, which takes over early, and know a router like `identity` of each VRID. Their leases need a sponsor.
pub fn set_up(dataplane: &mut Dataplane, identity: &Identity, vips: Vec<(VipKey, VipEntry)>) -> Result<()> {
    let router = |vrid: u8| {
        // The first slot is that of the VIP.
        let slot = if vrid == identity.head.key.vrid { 0 } else { u32::from(vrid) };
        (InstanceKey { vrid, ..identity.head.key }, slot)
    };
    let routers: Vec<_> = (1..=u8::MAX).map(router).collect();
    for (key, slot) in &routers {
        let head = InstanceHead { key: *key, lease_slot: *slot };
        dataplane.pages().instances().write(*slot, &Identity { head, ..identity.clone() });
    }
    let index = routers.iter().map(|(key, slot)| (*key, IndexEntry { slot: *slot, line: 0 })).collect();
    dataplane.replace_tables(&Contents { vips, index, peers: Vec::new() })?;

    let (probes, sponsors) = (dataplane.pages().probes(), dataplane.pages().sponsors());
    let [local, peer] = [PRIMARY, PEER].map(|address| Address::from_v4(address.octets()));
    let key = ProbeKey { ifindex: IFINDEX, vlan: 0, local, peer };
    probes.page().clear(SLOT);
    probes.page().describe(SLOT, discriminator(PRIMARY.into()), 0);
    probes.page().set_sponsor(SLOT, Some(0));
    probes.add(key, ProbeEntry { slot: SLOT, mac: MAC, reserved: [0; 2] })?;
    // A year after boot: the daemon speaks for as long as this runs.
    sponsors.beat(Instant::default() + Duration::from_secs(365 * 86_400));
    sponsors.set_leases(routers.iter().map(|(_, slot)| slot));
    Ok(())
}

/// A probe of the peer, which is a backup of so many routers.
pub fn of_backup(routers: u8) -> Vec<u8> {
    datagram([49_784, 7784], 0xc2, routers, router_flag::PARTICIPATES)
}

/// A probe of the peer, which owns so many routers.
pub fn of_master(routers: u8) -> Vec<u8> {
    datagram([49_784, 7784], 0xc2, routers, router_flag::PARTICIPATES | router_flag::OWNER)
}

/// The peer's answer to a probe of ours.
pub fn answer(routers: u8) -> Vec<u8> {
    datagram([7784, 49_784], 0xc0, routers, router_flag::PARTICIPATES)
}

fn datagram(ports: [u16; 2], state: u8, routers: u8, flags: u8) -> Vec<u8> {
    let mut payload = vec![0x20, state, 3, 24];
    payload.extend([PEER.octets(), PRIMARY.octets()].concat());
    payload.extend([INTERVAL_US, INTERVAL_US, 0].map(u32::to_be_bytes).concat());
    payload.extend(b"vipd\x01");
    payload.extend([flag::TAKES_OVER, routers, 0]);
    // A list of another length, or with other flags, is another list.
    payload.extend([0, 0, flags, routers]);
    payload.extend(77_u64.to_be_bytes());
    payload.extend((1..=routers).flat_map(|vrid| [4, vrid, 100, flags]));

    let length = 8 + payload.len() as u16;
    let mut datagram = [ports[0], ports[1], length, 0].map(u16::to_be_bytes).concat();
    datagram.extend(payload);
    let sum = pseudo_checksum(PEER.into(), PRIMARY.into(), UDP, &datagram);
    datagram[6..8].copy_from_slice(&sum.to_be_bytes());

    let mut frame = [&MAC[..], &MAC_OF_PEER, &[8, 0, 0x45, 0xc0]].concat();
    frame.extend((20 + length).to_be_bytes());
    frame.extend([0, 1, 0, 0, 255, UDP, 0, 0]);
    frame.extend([PEER.octets(), PRIMARY.octets()].concat());
    let sum = checksum(&frame[14..34]);
    frame[24..26].copy_from_slice(&sum.to_be_bytes());
    frame.extend(datagram);
    frame
}
