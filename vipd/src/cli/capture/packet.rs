//! What is in a captured frame, as far as its octets go. Whatever a station sends is shown: nothing here demands that a packet is valid.

use std::{
    fmt::{self, Write as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use serde::Serialize;
use vipd_common::wire::{
    View,
    arp::{self, Operation},
    eth::{self, MacAddr},
    ipv4::{self, PROTOCOL_VRRP},
    ipv6::{self, DESTINATION_OPTIONS, Extension, FRAGMENT, FRAGMENT_LENGTH, HOP_BY_HOP, ROUTING},
    ndp::{self, NEXT_HEADER_ICMPV6},
    vrrp,
};

/// VLAN tags that are read.
const MAX_TAGS: usize = 4;
/// IPv6 extension headers that are read.
const MAX_EXTENSIONS: usize = 8;
/// Addresses of an advert that a line shows.
const SHOWN_ADDRESSES: usize = 4;

/// A decoded frame.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Decoded {
    pub source_mac: Mac,
    pub destination_mac: Mac,
    /// VLAN identifiers, outermost first.
    pub vlans: Vec<u16>,
    #[serde(flatten)]
    pub packet: Packet,
}

/// What the frame carries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "packet", rename_all = "snake_case")]
pub enum Packet {
    ArpRequest(Arp),
    ArpReply(Arp),
    Advert(DecodedAdvert),
    NeighborSolicitation(Neighbor),
    NeighborAdvertisement(Neighbor),
    Other,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Arp {
    pub sender_mac: Mac,
    pub sender: Ipv4Addr,
    pub target_mac: Mac,
    pub target: Ipv4Addr,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DecodedAdvert {
    pub source: IpAddr,
    pub destination: IpAddr,
    /// TTL or hop limit.
    pub hop_limit: u8,
    pub version: u8,
    pub vrid: u8,
    pub priority: u8,
    pub interval_cs: u32,
    /// As many as there are of those that the advert says it has.
    pub addresses: Vec<IpAddr>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Neighbor {
    pub source: Ipv6Addr,
    pub destination: Ipv6Addr,
    pub target: Ipv6Addr,
    /// Of the source in a solicitation, of the target in an advertisement.
    pub link_address: Option<Mac>,
    pub router: bool,
    pub solicited: bool,
    pub overrides: bool,
}

/// A MAC that is shown as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mac(MacAddr);

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for Mac {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Reads a frame; `None` if it is shorter than an Ethernet header.
pub fn decode(octets: &[u8]) -> Option<Decoded> {
    let (header, mut rest) = eth::Header::new_prefix(octets).ok()?;
    let mut ethertype = header.ethertype();
    let mut vlans = Vec::new();
    for _ in 0..MAX_TAGS {
        if !eth::is_tag(ethertype) {
            break;
        }
        let Ok((tag, behind)) = eth::Tag::new_prefix(rest) else { break };
        vlans.push(tag.vlan_id());
        (ethertype, rest) = (tag.ethertype(), behind);
    }
    let packet = match ethertype {
        eth::ETHERTYPE_ARP => decode_arp(rest),
        eth::ETHERTYPE_IPV4 => decode_ipv4(rest),
        eth::ETHERTYPE_IPV6 => decode_ipv6(rest),
        _ => None,
    };
    Some(Decoded {
        source_mac: Mac(header.source()),
        destination_mac: Mac(header.destination()),
        vlans,
        packet: packet.unwrap_or(Packet::Other),
    })
}

fn decode_arp(octets: &[u8]) -> Option<Packet> {
    let (packet, _) = arp::Packet::new_prefix(octets).ok()?;
    if !packet.is_ipv4_over_ethernet() {
        return None;
    }
    let arp = Arp {
        sender_mac: Mac(packet.sender_mac()),
        sender: packet.sender_ip(),
        target_mac: Mac(packet.target_mac()),
        target: packet.target_ip(),
    };
    Some(match packet.operation()? {
        Operation::Request => Packet::ArpRequest(arp),
        Operation::Reply => Packet::ArpReply(arp),
    })
}

fn decode_ipv4(octets: &[u8]) -> Option<Packet> {
    let (header, _) = ipv4::Header::new_prefix(octets).ok()?;
    if header.protocol() != PROTOCOL_VRRP {
        return None;
    }
    let message = octets.get(header.length()..)?;
    let address =
        |octets: &[u8]| <[u8; 4]>::try_from(octets).ok().map(|octets| Ipv4Addr::from(octets).into());
    advert(message, (header.source().into(), header.destination().into(), header.ttl()), 4, address)
}

fn decode_ipv6(octets: &[u8]) -> Option<Packet> {
    let (header, mut rest) = ipv6::Header::new_prefix(octets).ok()?;
    let mut next = header.next_header();
    for _ in 0..MAX_EXTENSIONS {
        if !matches!(next, HOP_BY_HOP | ROUTING | FRAGMENT | DESTINATION_OPTIONS) {
            break;
        }
        let (extension, _) = Extension::new_prefix(rest).ok()?;
        let length = if next == FRAGMENT { FRAGMENT_LENGTH } else { extension.length() };
        (next, rest) = (extension.next_header(), rest.get(length..)?);
    }
    let (source, destination) = (header.source(), header.destination());
    match next {
        PROTOCOL_VRRP => {
            let address = |octets: &[u8]| <[u8; 16]>::try_from(octets).ok().map(|o| Ipv6Addr::from(o).into());
            advert(rest, (source.into(), destination.into(), header.hop_limit()), 16, address)
        }
        NEXT_HEADER_ICMPV6 => neighbor(rest, source, destination),
        _ => None,
    }
}

fn advert(
    message: &[u8],
    (source, destination, hop_limit): (IpAddr, IpAddr, u8),
    address_length: usize,
    address: impl Fn(&[u8]) -> Option<IpAddr>,
) -> Option<Packet> {
    let (header, list) = vrrp::Header::new_prefix(message).ok()?;
    let addresses = list.chunks_exact(address_length).take(header.count().into()).filter_map(address);
    Some(Packet::Advert(DecodedAdvert {
        source,
        destination,
        hop_limit,
        version: header.version(),
        vrid: header.vrid(),
        priority: header.priority(),
        interval_cs: header.interval_cs(),
        addresses: addresses.collect(),
    }))
}

fn neighbor(message: &[u8], source: Ipv6Addr, destination: Ipv6Addr) -> Option<Packet> {
    let (header, _) = ndp::Header::new_prefix(message).ok()?;
    // Padding, or an option that is not valid, makes a message without one.
    let link_address = ndp::Message::new_checked(message).ok().and_then(|message| message.link_address());
    let neighbor = Neighbor {
        source,
        destination,
        target: header.target(),
        link_address: link_address.map(Mac),
        router: header.is_router(),
        solicited: header.is_solicited(),
        overrides: header.overrides(),
    };
    Some(match header.kind()? {
        ndp::Kind::Solicitation => Packet::NeighborSolicitation(neighbor),
        ndp::Kind::Advertisement => Packet::NeighborAdvertisement(neighbor),
    })
}

impl fmt::Display for Decoded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.packet {
            Packet::ArpRequest(arp) if arp.sender == arp.target => {
                write!(f, "ARP, Announcement {} is-at {}", arp.sender, arp.sender_mac)
            }
            Packet::ArpRequest(arp) => {
                write!(f, "ARP, Request who-has {} tell {} ({})", arp.target, arp.sender, arp.sender_mac)
            }
            Packet::ArpReply(arp) => {
                write!(f, "ARP, Reply {} is-at {} to {}", arp.sender, arp.sender_mac, arp.target)
            }
            Packet::Advert(advert) => advert.fmt(f),
            Packet::NeighborSolicitation(neighbor) => {
                write!(f, "ND, Solicitation who-has {} tell {}", neighbor.target, neighbor.source)?;
                neighbor.link_address.map_or(Ok(()), |mac| write!(f, " ({mac})"))
            }
            Packet::NeighborAdvertisement(neighbor) => {
                write!(f, "ND, Advertisement {} is-at ", neighbor.target)?;
                neighbor.link_address.unwrap_or(self.source_mac).fmt(f)?;
                write!(f, " to {}", neighbor.destination)?;
                let flags = [
                    (neighbor.router, "router"),
                    (neighbor.solicited, "solicited"),
                    (neighbor.overrides, "override"),
                ];
                let flags: Vec<_> =
                    flags.into_iter().filter(|(is_set, _)| *is_set).map(|(_, name)| name).collect();
                if flags.is_empty() { Ok(()) } else { write!(f, " ({})", flags.join(", ")) }
            }
            Packet::Other => write!(f, "a frame from {} to {}", self.source_mac, self.destination_mac),
        }
    }
}

impl fmt::Display for DecodedAdvert {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { source, destination, hop_limit, version, vrid, priority, interval_cs, addresses } = self;
        write!(
            f,
            "VRRPv{version}, {source} > {destination}, ttl {hop_limit}, vrid {vrid}, prio {priority}, interval \
             {interval_cs}cs, addrs "
        )?;
        let mut list = String::new();
        for address in addresses.iter().take(SHOWN_ADDRESSES) {
            let _ = write!(list, "{}{address}", if list.is_empty() { "" } else { "," });
        }
        f.write_str(if list.is_empty() { "none" } else { &list })?;
        match addresses.len().saturating_sub(SHOWN_ADDRESSES) {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}
