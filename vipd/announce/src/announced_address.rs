//! Addresses to announce, and the frames that do it.

use std::net::{IpAddr, Ipv6Addr};

use vipd_common::wire::{
    arp,
    eth::{self, MacAddr},
    ipv6, ndp,
};

use super::frame;

/// One address to announce: where, and as whose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AnnouncedAddress {
    pub ifindex: u32,
    pub mac: MacAddr,
    pub address: IpAddr,
}

/// A frame that tells everyone on the link where an address is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame {
    GratuitousArp([u8; eth::HEADER + arp::LENGTH]),
    NeighborAdvertisement([u8; eth::HEADER + ipv6::HEADER + ndp::ADVERTISEMENT]),
}

impl Frame {
    pub fn announcing(address: &AnnouncedAddress) -> Self {
        match address.address {
            IpAddr::V4(vip) => {
                Self::GratuitousArp(frame::arp(address.mac, &arp::Repr::gratuitous(address.mac, vip)))
            }
            IpAddr::V6(vip) => Self::NeighborAdvertisement(neighbor_advertisement(address.mac, vip)),
        }
    }
}

impl AsRef<[u8]> for Frame {
    fn as_ref(&self) -> &[u8] {
        match self {
            Self::GratuitousArp(frame) => frame,
            Self::NeighborAdvertisement(frame) => frame,
        }
    }
}

/// Sent from the VIP itself, so that it needs no other address on the link.
fn neighbor_advertisement(
    mac: MacAddr,
    vip: Ipv6Addr,
) -> [u8; eth::HEADER + ipv6::HEADER + ndp::ADVERTISEMENT] {
    let mut frame = [0; eth::HEADER + ipv6::HEADER + ndp::ADVERTISEMENT];
    let message: &mut [u8; ndp::ADVERTISEMENT] = frame::neighbor(&mut frame, mac, vip, ndp::ALL_NODES);
    ndp::Repr::unsolicited(vip, mac).emit(message, vip, ndp::ALL_NODES);
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The public frames `garp-request-tha-vmac`, `una-r1-s0-o1` and `una-link-local-vip`.
    #[test]
    fn frames() {
        for (address, family, expect) in [
            (
                "192.0.2.100",
                1,
                "ffffffffffff00005e0001330806000108000604000100005e000133c000026400005e000133c0000264",
            ),
            (
                "2001:db8::100",
                2,
                "33330000000100005e00023386dd6000000000203aff20010db8000000000000000000000100\
                 ff020000000000000000000000000001880018faa000000020010db8000000000000000000000100\
                 020100005e000233",
            ),
            (
                "fe80::100",
                2,
                "33330000000100005e00023386dd6000000000203afffe800000000000000000000000000100\
                 ff0200000000000000000000000000018800776aa0000000fe800000000000000000000000000100\
                 020100005e000233",
            ),
        ] {
            let mac = MacAddr([0, 0, 0x5e, 0, family, 0x33]);
            let frame =
                Frame::announcing(&AnnouncedAddress { ifindex: 1, mac, address: address.parse().unwrap() });
            let hex: String = frame.as_ref().iter().map(|octet| format!("{octet:02x}")).collect();
            assert_eq!(hex, expect, "{address}");
        }
    }
}
