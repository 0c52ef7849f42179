//! The headers that announcements and probes have in common.

use std::net::Ipv6Addr;

use vipd_common::wire::{
    arp,
    eth::{self, MacAddr},
    ipv6, ndp,
};

/// A broadcast from `mac`.
pub fn arp(mac: MacAddr, packet: &arp::Repr) -> [u8; eth::HEADER + arp::LENGTH] {
    let mut frame = [0; eth::HEADER + arp::LENGTH];
    let (ethernet, rest) = frame.split_first_chunk_mut().expect("the frame is longer than its header");
    eth::Repr { destination: MacAddr::BROADCAST, source: mac, ethertype: eth::ETHERTYPE_ARP }.emit(ethernet);
    packet.emit(rest.first_chunk_mut().expect("the frame is its header and the packet"));
    frame
}

/// Fills in the headers of a Neighbor Discovery message of `N` octets from `mac` to a group; returns the room for the message.
///
/// # Panics
///
/// If `frame` is too short or too long.
pub fn neighbor<const N: usize>(
    frame: &mut [u8],
    mac: MacAddr,
    source: Ipv6Addr,
    group: Ipv6Addr,
) -> &mut [u8; N] {
    let (ethernet, rest) = frame.split_first_chunk_mut().expect("the frame is longer than its headers");
    let (header, message) = rest.split_first_chunk_mut().expect("the frame is longer than its headers");
    let destination = MacAddr::of_multicast(group.into());
    eth::Repr { destination, source: mac, ethertype: eth::ETHERTYPE_IPV6 }.emit(ethernet);
    ipv6::Repr {
        traffic_class: 0,
        hop_limit: ndp::HOP_LIMIT,
        next_header: ndp::NEXT_HEADER_ICMPV6,
        source,
        destination: group,
        payload_length: N as u16,
    }
    .emit(header);
    message.first_chunk_mut().expect("the frame is its headers and the message")
}
