//! Which captured frames are shown.

use std::net::IpAddr;

use super::packet::{Decoded, Packet};
use crate::control::{model::InstanceStatus, status::find::vips};

/// Which frames are shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CaptureFilter {
    All,
    /// Adverts of one virtual router, and what is about its VIPs.
    Instance {
        vrid: u8,
        is_ipv6: bool,
        interfaces: Vec<String>,
        vips: Vec<IpAddr>,
    },
    /// What is from, to or about an address.
    Address(IpAddr),
}

impl CaptureFilter {
    pub fn of_instance(i: &InstanceStatus) -> Self {
        let mut interfaces = vec![i.interface.clone()];
        interfaces.extend(i.lines.iter().map(|line| line.interface.clone()));
        Self::Instance { vrid: i.vrid, is_ipv6: i.family == "ipv6", interfaces, vips: vips(i).collect() }
    }

    /// Whether the frame, seen on an interface, is shown.
    pub fn shows(&self, decoded: &Decoded, interface: &str) -> bool {
        match self {
            Self::All => true,
            Self::Address(address) => about(&decoded.packet).contains(address),
            Self::Instance { vrid, is_ipv6, interfaces, vips } => match &decoded.packet {
                Packet::Advert(advert) => {
                    advert.vrid == *vrid
                        && advert.source.is_ipv6() == *is_ipv6
                        // What is tagged came in on the interface below that of the virtual router.
                        && (interfaces.iter().any(|name| name == interface) || !decoded.vlans.is_empty())
                }
                packet => about(packet).iter().any(|address| vips.contains(address)),
            },
        }
    }
}

/// The addresses that a packet is from, to or about.
fn about(packet: &Packet) -> Vec<IpAddr> {
    match packet {
        Packet::ArpRequest(arp) | Packet::ArpReply(arp) => vec![arp.sender.into(), arp.target.into()],
        Packet::Advert(advert) => {
            let mut about = advert.addresses.clone();
            about.extend([advert.source, advert.destination]);
            about
        }
        Packet::NeighborSolicitation(neighbor) | Packet::NeighborAdvertisement(neighbor) => {
            vec![neighbor.source.into(), neighbor.destination.into(), neighbor.target.into()]
        }
        Packet::Other => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::samples, *};
    use crate::cli::capture::packet::decode;

    #[test]
    fn what_is_shown() {
        let vip: IpAddr = "10.9.0.50".parse().unwrap();
        let instance = |vrid, interface: &str, vips: &[IpAddr]| CaptureFilter::Instance {
            vrid,
            is_ipv6: false,
            interfaces: vec![interface.into()],
            vips: vips.into(),
        };
        let ours = instance(51, "eth0", &[vip]);
        let tagged = {
            let mut octets = samples::advert();
            octets.splice(12..12, [0x81, 0, 0, 10]);
            octets
        };
        for (what, filter, octets, expected) in [
            ("everything", &CaptureFilter::All, samples::advert(), true),
            ("its adverts", &ours, samples::advert(), true),
            ("another VRID", &instance(52, "eth0", &[vip]), samples::advert(), false),
            ("another interface", &instance(51, "eth1", &[vip]), samples::advert(), false),
            ("on the interface below a VLAN", &instance(51, "eth0.10", &[vip]), tagged, true),
            ("about its VIP", &ours, samples::arp_request(), true),
            ("about another", &instance(51, "eth0", &[]), samples::arp_request(), false),
            ("about an address", &CaptureFilter::Address(vip), samples::arp_request(), true),
            ("listing an address", &CaptureFilter::Address(vip), samples::advert(), true),
            (
                "from an address",
                &CaptureFilter::Address("10.9.0.2".parse().unwrap()),
                samples::advert(),
                true,
            ),
            (
                "another address",
                &CaptureFilter::Address("10.9.0.99".parse().unwrap()),
                samples::arp_request(),
                false,
            ),
        ] {
            assert_eq!(filter.shows(&decode(&octets).unwrap(), "eth0"), expected, "{what}");
        }
    }
}
