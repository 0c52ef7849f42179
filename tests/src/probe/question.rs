//! Questions for the owner of an address, as frames: ARP and neighbour solicitation, asked as a client asks or as a
//! station that would like to have the address itself.

use std::{
    collections::HashSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use super::{
    Mac,
    decode::{Arp, Frame, IPPROTO_ICMPV6, pseudo_checksum},
};

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A client that wants to send there: ARP request, or solicitation with the source link-layer address option.
    Resolve,
    /// A station that wants the address: ARP probe (RFC 5227 2.1.1), or the solicitation of duplicate address detection
    /// (RFC 4862 5.4.2), from the unspecified address and without the option.
    Claim,
}

/// A frame and the address it asks from, by which its answers are told from others'.
#[derive(Debug)]
pub struct Question {
    pub asker: IpAddr,
    pub frame: Vec<u8>,
}

impl Question {
    /// The question number `id` for `target`, from the station `from`. Never asks from an address in `avoid`: whoever
    /// has one would take it for a conflict.
    pub fn new(form: Form, from: Mac, target: IpAddr, avoid: &HashSet<IpAddr>, id: u64) -> Self {
        match target {
            IpAddr::V4(target) => {
                let asker = match form {
                    Form::Resolve => ipv4_asker(target, avoid, id),
                    Form::Claim => Ipv4Addr::UNSPECIFIED,
                };
                Self { asker: asker.into(), frame: arp_request(from, asker, target) }
            }
            IpAddr::V6(target) => {
                let asker = match form {
                    Form::Resolve => ipv6_asker(id),
                    Form::Claim => Ipv6Addr::UNSPECIFIED,
                };
                Self { asker: asker.into(), frame: solicitation(from, asker, target) }
            }
        }
    }
}

/// The address that an answer is about, and the one whose question it answers.
///
/// An advertisement to everyone answers a question from the unspecified address; an unsolicited one looks the same, and
/// a station that claims the address has to take it for an answer (RFC 4862 5.4.4).
pub fn answered(frame: &Frame) -> Option<(IpAddr, IpAddr)> {
    match frame {
        Frame::Arp(arp) if arp.operation == Arp::REPLY => Some((arp.sender_ip.into(), arp.target_ip.into())),
        Frame::NeighbourAdvert(na) if na.is_unsolicited() => {
            Some((na.target.into(), Ipv6Addr::UNSPECIFIED.into()))
        }
        Frame::NeighbourAdvert(na) => Some((na.target.into(), na.dst.into())),
        _ => None,
    }
}

/// An ARP request, as a client's kernel sends it.
pub fn arp_request(from: Mac, sender: Ipv4Addr, target: Ipv4Addr) -> Vec<u8> {
    let mut frame = vec![0xff; 6];
    frame.extend(from.0);
    frame.extend([0x08, 0x06, 0, 1, 0x08, 0x00, 6, 4, 0, 1]);
    frame.extend(from.0);
    frame.extend(sender.octets());
    frame.extend([0; 6]);
    frame.extend(target.octets());
    frame
}

/// A neighbour solicitation to the target's solicited-node group. From `::` it is that of duplicate address detection,
/// which has no source link-layer address (RFC 4861 4.3).
pub fn solicitation(from: Mac, asker: Ipv6Addr, target: Ipv6Addr) -> Vec<u8> {
    let [.., x, y, z] = target.octets();
    let group = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | u16::from(x), u16::from_be_bytes([y, z]));

    let mut message = vec![SOLICITATION, 0, 0, 0, 0, 0, 0, 0];
    message.extend(target.octets());
    if !asker.is_unspecified() {
        message.extend([SOURCE_LINK_LAYER, 1]);
        message.extend(from.0);
    }
    let checksum = pseudo_checksum(asker.into(), group.into(), IPPROTO_ICMPV6, &message);
    message[2..4].copy_from_slice(&checksum.to_be_bytes());

    let mut frame = vec![0x33, 0x33, 0xff, x, y, z];
    frame.extend(from.0);
    frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, message.len() as u8, IPPROTO_ICMPV6, 255]);
    frame.extend(asker.octets());
    frame.extend(group.octets());
    frame.extend(message);
    frame
}

/// One of `.101` to `.250` of the target's /24; the unspecified address (a probe) if every one is to be avoided.
fn ipv4_asker(target: Ipv4Addr, avoid: &HashSet<IpAddr>, id: u64) -> Ipv4Addr {
    let [a, b, c, _] = target.octets();
    let candidates = (id..id + ASKERS).map(|n| Ipv4Addr::new(a, b, c, 101 + (n % ASKERS) as u8));
    candidates.into_iter().find(|&asker| !avoid.contains(&asker.into())).unwrap_or(Ipv4Addr::UNSPECIFIED)
}

/// Link-local, so that every station on the link can answer.
fn ipv6_asker(id: u64) -> Ipv6Addr {
    Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0xa5c, 101 + (id % ASKERS) as u16)
}

const ASKERS: u64 = 150;
const SOLICITATION: u8 = 135;
const SOURCE_LINK_LAYER: u8 = 1;
