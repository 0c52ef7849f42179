//! Adverts, ARP, neighbour advertisements and ICMP errors, decoded without any of vipd's code.
//!
//! The offsets stand here a second time on purpose. The daemon sends, and the program in the kernel reads and replies, by the views of
//! `vipd_common::wire`: a test that decoded frames by the same views would pass whatever their offsets were. Where the two
//! differ, the vectors in `tests/data` decide, which neither has made; `vipd_properties::wire` compares them on any octets.
//!
//! Nothing is validated: tests also look at broken frames.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Duration,
};

use super::Mac;

/// What was understood of a frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    Advert(Advert),
    Arp(Arp),
    NeighbourAdvert(NeighbourAdvert),
    IcmpError(IcmpError),
    Other,
}

/// The fields of a VRRP advert.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advert {
    pub src: IpAddr,
    pub dst: IpAddr,
    /// IPv6: the hop limit.
    pub ttl: u8,
    pub version: u8,
    pub vrid: u8,
    pub priority: u8,
    pub count: u8,
    /// Version 2: its seconds; version 3: its centiseconds.
    pub interval: Duration,
    /// As many of the `count` addresses as the message holds.
    pub addresses: Vec<IpAddr>,
    pub checksum: ChecksumForm,
    /// The VRRP message, from its first byte to the end of the IP packet.
    pub message: Vec<u8>,
}

/// What an advert's checksum covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChecksumForm {
    /// The message alone: version 2, and version 3 over IPv4 by RFC 9568 5.2.8.
    Message,
    /// A pseudo-header too: version 3 over IPv6, and over IPv4 as many read RFC 5798.
    PseudoHeader,
    /// It is wrong either way.
    Invalid,
}

/// An ARP message for IPv4 over Ethernet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arp {
    pub operation: u16,
    pub sender_mac: Mac,
    pub sender_ip: Ipv4Addr,
    pub target_mac: Mac,
    pub target_ip: Ipv4Addr,
}

impl Arp {
    pub const REQUEST: u16 = 1;
    pub const REPLY: u16 = 2;

    /// Whether it announces its sender rather than asks or answers.
    pub fn is_gratuitous(&self) -> bool {
        self.sender_ip == self.target_ip
    }
}

/// A neighbour advertisement (RFC 4861 4.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NeighbourAdvert {
    pub src: Ipv6Addr,
    pub dst: Ipv6Addr,
    pub hop_limit: u8,
    pub checksum_valid: bool,
    pub router: bool,
    pub solicited: bool,
    pub overrides: bool,
    pub target: Ipv6Addr,
    /// The target link-layer address option.
    pub target_mac: Option<Mac>,
}

impl NeighbourAdvert {
    /// Whether it is for everyone: an announcement, or the answer to a DAD solicitation (RFC 4861 7.2.4), which looks
    /// the same.
    pub fn is_unsolicited(&self) -> bool {
        !self.solicited && self.dst.is_multicast()
    }
}

/// An ICMP or ICMPv6 message that tells a sender that its packet was not wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IcmpError {
    pub src: IpAddr,
    pub dst: IpAddr,
    pub kind: IcmpErrorKind,
    pub code: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IcmpErrorKind {
    DestinationUnreachable,
    ParameterProblem,
}

/// Decodes an untagged Ethernet frame; `None` if it is none of the above.
pub fn parse(frame: &[u8]) -> Option<Frame> {
    let payload = frame.get(14..)?;
    match frame.get(12..14)? {
        [0x08, 0x06] => parse_arp(payload).map(Frame::Arp),
        [0x08, 0x00] => Packet::v4(payload)?.parse(),
        [0x86, 0xdd] => Packet::v6(payload)?.parse(),
        _ => None,
    }
}

/// The Ethernet address at an offset.
pub fn mac(bytes: &[u8], at: usize) -> Option<Mac> {
    array(bytes, at).map(Mac)
}

/// Whether the Internet checksum in `message` is right, with the pseudo-header for `protocol` in front.
///
/// By summing, not by comparing: 0x0000 and 0xffff are the same number (RFC 1071).
pub fn pseudo_checksum_valid(src: IpAddr, dst: IpAddr, protocol: u8, message: &[u8]) -> bool {
    sum(&pseudo_header(src, dst, protocol, message)) == 0xffff
}

/// The checksum for a message whose checksum field is zero, with the pseudo-header in front.
pub fn pseudo_checksum(src: IpAddr, dst: IpAddr, protocol: u8, message: &[u8]) -> u16 {
    !sum(&pseudo_header(src, dst, protocol, message))
}

pub const IPPROTO_ICMPV6: u8 = 58;

/// The parts of an IP packet that matter here.
struct Packet<'a> {
    src: IpAddr,
    dst: IpAddr,
    hop_limit: u8,
    protocol: u8,
    payload: &'a [u8],
}

impl<'a> Packet<'a> {
    fn v4(p: &'a [u8]) -> Option<Self> {
        let header = usize::from(p.first()? & 0x0f) * 4;
        let total = usize::from(u16::from_be_bytes(array(p, 2)?));
        Some(Self {
            src: ipv4(p, 12)?.into(),
            dst: ipv4(p, 16)?.into(),
            hop_limit: *p.get(8)?,
            protocol: *p.get(9)?,
            payload: p.get(header..total)?,
        })
    }

    /// Without extension headers: what is decoded here has none.
    fn v6(p: &'a [u8]) -> Option<Self> {
        let length = usize::from(u16::from_be_bytes(array(p, 4)?));
        Some(Self {
            src: ipv6(p, 8)?.into(),
            dst: ipv6(p, 24)?.into(),
            hop_limit: *p.get(7)?,
            protocol: *p.get(6)?,
            payload: p.get(40..40 + length)?,
        })
    }

    fn parse(&self) -> Option<Frame> {
        match (self.protocol, self.src, self.dst) {
            (IPPROTO_VRRP, ..) => self.advert().map(Frame::Advert),
            (IPPROTO_ICMP, ..) => self.icmp_error(3, 12),
            (IPPROTO_ICMPV6, IpAddr::V6(src), IpAddr::V6(dst)) if *self.payload.first()? == NA => {
                self.neighbour_advert(src, dst).map(Frame::NeighbourAdvert)
            }
            (IPPROTO_ICMPV6, ..) => self.icmp_error(1, 4),
            _ => None,
        }
    }

    fn advert(&self) -> Option<Advert> {
        let m = self.payload;
        let version = m.first()? >> 4;
        let count = *m.get(3)?;
        let interval = match version {
            2 => Duration::from_secs(u64::from(*m.get(5)?)),
            _ => Duration::from_millis(10 * u64::from(u16::from_be_bytes([m.get(4)? & 0x0f, *m.get(5)?]))),
        };
        let list = m.get(8..)?;
        let addresses = match self.src {
            IpAddr::V4(_) => (0..usize::from(count)).map_while(|i| Some(ipv4(list, 4 * i)?.into())).collect(),
            IpAddr::V6(_) => {
                (0..usize::from(count)).map_while(|i| Some(ipv6(list, 16 * i)?.into())).collect()
            }
        };
        let checksum = if sum(m) == 0xffff {
            ChecksumForm::Message
        } else if pseudo_checksum_valid(self.src, self.dst, IPPROTO_VRRP, m) {
            ChecksumForm::PseudoHeader
        } else {
            ChecksumForm::Invalid
        };
        Some(Advert {
            src: self.src,
            dst: self.dst,
            ttl: self.hop_limit,
            version,
            vrid: *m.get(1)?,
            priority: *m.get(2)?,
            count,
            interval,
            addresses,
            checksum,
            message: m.to_vec(),
        })
    }

    fn neighbour_advert(&self, src: Ipv6Addr, dst: Ipv6Addr) -> Option<NeighbourAdvert> {
        let m = self.payload;
        let flags = *m.get(4)?;
        Some(NeighbourAdvert {
            src,
            dst,
            hop_limit: self.hop_limit,
            checksum_valid: pseudo_checksum_valid(self.src, self.dst, IPPROTO_ICMPV6, m),
            router: flags & 0x80 != 0,
            solicited: flags & 0x40 != 0,
            overrides: flags & 0x20 != 0,
            target: ipv6(m, 8)?,
            target_mac: option(m.get(24..)?, TARGET_LINK_LAYER).and_then(|o| mac(o, 2)),
        })
    }

    fn icmp_error(&self, unreachable: u8, parameter: u8) -> Option<Frame> {
        let kind = match *self.payload.first()? {
            t if t == unreachable => IcmpErrorKind::DestinationUnreachable,
            t if t == parameter => IcmpErrorKind::ParameterProblem,
            _ => return None,
        };
        let code = *self.payload.get(1)?;
        Some(Frame::IcmpError(IcmpError { src: self.src, dst: self.dst, kind, code }))
    }
}

fn parse_arp(p: &[u8]) -> Option<Arp> {
    (p.get(..6)? == [0, 1, 0x08, 0x00, 6, 4]).then_some(())?;
    Some(Arp {
        operation: u16::from_be_bytes(array(p, 6)?),
        sender_mac: mac(p, 8)?,
        sender_ip: ipv4(p, 14)?,
        target_mac: mac(p, 18)?,
        target_ip: ipv4(p, 24)?,
    })
}

/// The first neighbour discovery option of a type, from its type byte on; lengths count 8 bytes (RFC 4861 4.6).
fn option(mut options: &[u8], wanted: u8) -> Option<&[u8]> {
    while let [kind, length, ..] = *options {
        if kind == wanted {
            return Some(options);
        }
        if length == 0 {
            return None;
        }
        options = options.get(8 * usize::from(length)..)?;
    }
    None
}

/// The pseudo-header of RFC 8200 8.1, or IPv4's (RFC 793 3.1), and the message after it.
fn pseudo_header(src: IpAddr, dst: IpAddr, protocol: u8, message: &[u8]) -> Vec<u8> {
    let mut all = Vec::with_capacity(40 + message.len());
    for address in [src, dst] {
        match address {
            IpAddr::V4(a) => all.extend(a.octets()),
            IpAddr::V6(a) => all.extend(a.octets()),
        }
    }
    // IPv4 has 16 bits for each of these numbers, in the other order: for the sum it is the same.
    all.extend((message.len() as u32).to_be_bytes());
    all.extend([0, 0, 0, protocol]);
    all.extend(message);
    all
}

/// The one's complement sum of 16-bit words (RFC 1071).
fn sum(bytes: &[u8]) -> u16 {
    let words =
        bytes.chunks(2).map(|w| u32::from(u16::from_be_bytes([w[0], w.get(1).copied().unwrap_or(0)])));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

fn ipv4(bytes: &[u8], at: usize) -> Option<Ipv4Addr> {
    array::<4>(bytes, at).map(Ipv4Addr::from)
}

fn ipv6(bytes: &[u8], at: usize) -> Option<Ipv6Addr> {
    array::<16>(bytes, at).map(Ipv6Addr::from)
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

const IPPROTO_ICMP: u8 = 1;
const IPPROTO_VRRP: u8 = 112;
const NA: u8 = 136;
const TARGET_LINK_LAYER: u8 = 2;
