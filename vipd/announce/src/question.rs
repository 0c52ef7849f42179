//! Probes: who has an address? They come from the unspecified address, so they change no cache.

use std::net::{IpAddr, Ipv6Addr};

use vipd_common::wire::{
    arp,
    eth::{self, MacAddr},
    ipv6, ndp,
};

use super::{AnnouncedAddress, frame};

/// A frame that the station with the address answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// An ARP Probe (RFC 5227 1.1).
    Arp([u8; eth::HEADER + arp::LENGTH]),
    /// A Neighbor Solicitation of Duplicate Address Detection (RFC 4862 5.4.2).
    NeighborSolicitation([u8; eth::HEADER + ipv6::HEADER + ndp::HEADER]),
}

impl Question {
    /// A probe for an announced address.
    pub fn about(address: &AnnouncedAddress) -> Self {
        match address.address {
            IpAddr::V4(vip) => Self::Arp(frame::arp(address.mac, &arp::Repr::probe(address.mac, vip))),
            IpAddr::V6(vip) => Self::NeighborSolicitation(solicitation(address.mac, vip)),
        }
    }
}

impl AsRef<[u8]> for Question {
    fn as_ref(&self) -> &[u8] {
        match self {
            Self::Arp(frame) => frame,
            Self::NeighborSolicitation(frame) => frame,
        }
    }
}

fn solicitation(mac: MacAddr, vip: Ipv6Addr) -> [u8; eth::HEADER + ipv6::HEADER + ndp::HEADER] {
    let mut frame = [0; eth::HEADER + ipv6::HEADER + ndp::HEADER];
    let group = ndp::solicited_node(vip);
    let source = Ipv6Addr::UNSPECIFIED;
    let message: &mut [u8; ndp::HEADER] = frame::neighbor(&mut frame, mac, source, group);
    ndp::Repr::probe(vip).emit(message, source, group);
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Octets as the RFCs have them; the checksum was summed by another program.
    #[test]
    fn frames() {
        for (address, expect) in [
            (
                "192.0.2.100",
                "ffffffffffff0200000000010806000108000604000102000000000100000000000000000000c0000264",
            ),
            (
                "2001:db8::100",
                "3333ff00010002000000000186dd6000000000183aff00000000000000000000000000000000\
                 ff0200000000000000000001ff00010087004aef0000000020010db8000000000000000000000100",
            ),
        ] {
            let mac = MacAddr([2, 0, 0, 0, 0, 1]);
            let question =
                Question::about(&AnnouncedAddress { ifindex: 1, mac, address: address.parse().unwrap() });
            let hex: String = question.as_ref().iter().map(|octet| format!("{octet:02x}")).collect();
            assert_eq!(hex, expect, "{address}");
        }
    }
}
