//! What may become of a frame, written from the design's table of decisions and the RFCs, not from the program.
//!
//! Exact, except at the limits of what the program reads.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{
    bfd::Datagram,
    probes::{self, Judgement},
    routers::{MAC, ROUTERS, Router},
};
use crate::internet_sum;

#[derive(Debug, Default)]
pub struct Expected {
    /// Unaltered, except for `readdressed`.
    pub pass: bool,
    pub drop: bool,
    /// May be answered, with exactly this.
    pub reply: Option<Vec<u8>>,
    /// The destination MAC of a frame that passes, if it is not the one it came with.
    pub readdressed: Option<[u8; 6]>,
    /// Slot of the router that it is a valid advert of.
    pub advert_of: Option<u32>,
    /// The advert takes that router's lease.
    pub revokes: bool,
    /// Slot of the router whose VIP somebody says is his.
    pub claim_of: Option<u32>,
    /// Slot of the BFD session that it is a valid packet of.
    pub bfd_of: Option<u32>,
    /// Slots of the routers whose leases it takes if it is answered, as a probe.
    pub takes: Vec<u32>,
}

/// Test frames up to here are in one piece; of longer ones the program sees the start.
const LINEAR: usize = 3_000;
/// More options in a Neighbor Discovery message than anybody sends.
const MANY_OPTIONS: usize = 16;

const PASS: fn() -> Expected = || Expected { pass: true, ..Expected::default() };
const DROP: fn() -> Expected = || Expected { drop: true, ..Expected::default() };
/// Of every router.
pub const INTERVAL_S: u8 = 1;

const EITHER: fn() -> Expected = || Expected { pass: true, drop: true, ..Expected::default() };

pub fn expect(frame: &[u8]) -> Expected {
    // What cannot be read passes.
    let Some(link) = Link::read(frame) else { return PASS() };
    let readdressed = match ROUTERS.iter().find(|router| is_to_virtual_mac(router, &link)) {
        Some(router) if !router.owned => return DROP(),
        Some(_) => Some(MAC),
        None => None,
    };
    let expected = match link.ethertype {
        0x0806 => arp(&link),
        0x0800 => ipv4(&link),
        0x86dd => ipv6(&link),
        0x8100 | 0x88a8 => deep_tags(&link),
        _ => None,
    };
    Expected { readdressed, ..expected.unwrap_or_else(PASS) }
}

fn is_to_virtual_mac(router: &Router, link: &Link<'_>) -> bool {
    router.use_vmac && router.vlan == link.vlan && router.virtual_mac() == link.destination
}

struct Link<'a> {
    frame: &'a [u8],
    vlan: u32,
    ethertype: u16,
    destination: [u8; 6],
    source: [u8; 6],
    /// Ethernet header and tags.
    header: usize,
    packet: &'a [u8],
}

impl<'a> Link<'a> {
    fn read(frame: &'a [u8]) -> Option<Self> {
        let (mut vlan, mut header) = (0, 14);
        let mut ethertype = u16_at(frame, 12)?;
        while matches!(ethertype, 0x8100 | 0x88a8) && header < 22 {
            // VLAN 0 is none (IEEE 802.1Q 9.6).
            let id = u32::from(u16_at(frame, header)? & 0xfff);
            vlan = if id == 0 { vlan } else { vlan << 12 | id };
            ethertype = u16_at(frame, header + 2)?;
            header += 4;
        }
        let (destination, source) = (array(frame, 0)?, array(frame, 6)?);
        Some(Self { frame, vlan, ethertype, destination, source, header, packet: &frame[header..] })
    }

    fn vip(&self, address: impl Into<IpAddr>) -> Option<Vip> {
        let address = address.into();
        (0..).zip(&ROUTERS).filter(|(_, router)| router.vlan == self.vlan).find_map(|(slot, router)| {
            let (_, accept) = *router.vips.iter().find(|(vip, _)| *vip == address)?;
            Some(Vip { slot, owned: router.owned, accept, mac: router.answering_mac() })
        })
    }

    fn router(&self, v6: bool, vrid: u8) -> Option<(u32, &'static Router)> {
        const TABLE: &[Router] = &ROUTERS;
        let is_line = |router: &Router| router.vlan == self.vlan || router.heartbeat == Some(self.vlan);
        let is = |router: &Router| is_line(router) && router.is_v6() == v6 && router.vrid == vrid;
        (0..).zip(TABLE).find(|(_, router)| is(router))
    }

    /// The headers of an answer: same tags, from `mac`.
    fn answer(&self, to: [u8; 6], mac: [u8; 6]) -> Vec<u8> {
        [&to, &mac, &self.frame[12..self.header]].concat()
    }
}

struct Vip {
    slot: u32,
    owned: bool,
    accept: bool,
    mac: [u8; 6],
}

impl Vip {
    /// A packet to it.
    fn packet(&self, accept_always: bool) -> Expected {
        if self.owned && (self.accept || accept_always) { PASS() } else { DROP() }
    }

    /// The station `mac` says that it has it: noted, dropped if it is not so.
    fn claim(&self, mac: [u8; 6], otherwise: Expected) -> Expected {
        let conflict = self.owned && mac != self.mac;
        Expected { claim_of: conflict.then_some(self.slot), ..if conflict { DROP() } else { otherwise } }
    }
}

/// A third tag: the kernel takes those of VLAN 0 off and delivers what is behind them.
fn deep_tags(link: &Link<'_>) -> Option<Expected> {
    let third = u16_at(link.packet, 0)? & 0xfff;
    (third == 0 || link.vlan <= 0xfff).then(DROP)
}

fn arp(link: &Link<'_>) -> Option<Expected> {
    let arp = link.packet;
    // RFC 826's hardware type of Ethernet, or RFC 1042's.
    if !matches!(arp.get(..6)?, [0, 1 | 6, 8, 0, 6, 4]) {
        return None;
    }
    let operation = u16_at(arp, 6)?;
    let (sender_mac, sender): ([u8; 6], Ipv4Addr) = (array(arp, 8)?, array::<4>(arp, 14)?.into());
    let claimed = link.vip(sender);
    let Some(target) = array::<4>(arp, 24) else {
        // Cut short, but what it says of the sender is there.
        return Some(Expected { claim_of: claimed?.slot.into(), ..EITHER() });
    };
    match (operation, link.vip(Ipv4Addr::from(target))) {
        // The request form of an announcement, which the kernel would answer.
        (1, Some(vip)) if target == sender.octets() => Some(vip.claim(sender_mac, DROP())),
        (1, Some(vip)) if !vip.owned => Some(DROP()),
        (1, Some(vip)) => {
            let mut reply = link.answer(sender_mac, vip.mac);
            reply.extend([0, 1, 8, 0, 6, 4, 0, 2]);
            reply.extend(vip.mac);
            reply.extend(target);
            reply.extend(sender_mac);
            reply.extend(sender.octets());
            reply.extend(&arp[28..]);
            Some(Expected { reply: Some(reply), ..Expected::default() })
        }
        (1 | 2, _) => Some(claimed?.claim(sender_mac, PASS())),
        _ => None,
    }
}

fn ipv4(link: &Link<'_>) -> Option<Expected> {
    let ip = link.packet;
    let header = usize::from(*ip.first()? & 0xf) * 4;
    if ip[0] >> 4 != 4 || header < 20 {
        return None;
    }
    let fragment = u16_at(ip, 6)? & 0x3fff != 0;
    let length = usize::from(u16_at(ip, 2)?);
    let vip = link.vip(Ipv4Addr::from(array::<4>(ip, 16)?));
    // A message too short for a VRID cannot be one of ours.
    if ip[9] == 112
        && !fragment
        && length >= header + 2
        && let Some(router) = ip.get(header + 1).and_then(|vrid| link.router(false, *vrid))
    {
        let advert = Advert {
            source: Ipv4Addr::from(array::<4>(ip, 12)?).into(),
            destination: Ipv4Addr::from(array::<4>(ip, 16)?).into(),
            hop_limit: ip[8],
            intact: internet_sum(&[&ip[..header]]) == 0xffff,
            message: ip.get(header..length),
        };
        return Some(advert.expect(link, router));
    }
    if ip[9] == 17 && !fragment && header == 20 {
        let datagram = Datagram {
            source: Ipv4Addr::from(array::<4>(ip, 12)?).into(),
            destination: Ipv4Addr::from(array::<4>(ip, 16)?).into(),
            hop_limit: ip[8],
            intact: internet_sum(&[&ip[..header]]) == 0xffff,
            octets: &ip[header..],
            length: length.saturating_sub(header),
        };
        if let Some(session) = datagram.session(link.vlan) {
            return Some(bfd(session));
        }
        if let Some(judgement) = probes::judge(&datagram, link.vlan) {
            return Some(probe(link, judgement));
        }
    }
    Some(vip?.packet(false))
}

/// A packet of a BFD session of ours never gets to the kernel.
fn bfd((slot, is_valid): (u32, bool)) -> Expected {
    Expected { bfd_of: is_valid.then_some(slot), ..DROP() }
}

/// A probe of the peer never gets to the kernel either: the answer has its addresses exchanged, and what follows the datagram as it came.
fn probe(link: &Link<'_>, judgement: Judgement) -> Expected {
    let Judgement::Answered(datagram, takes) = judgement else { return DROP() };
    let ip = link.packet;
    let (addresses, length, header) = if ip[0] >> 4 == 6 { (8, 16, 40) } else { (12, 4, 20) };
    let is_readdressed = ROUTERS.iter().any(|router| is_to_virtual_mac(router, link));
    let mac = probes::answering_mac(link.destination, is_readdressed);
    let mut reply = link.answer(link.source, mac);
    let (source, destination) = ip[addresses..addresses + 2 * length].split_at(length);
    reply.extend([&ip[..addresses], destination, source, &datagram, &ip[header + datagram.len()..]].concat());
    // What lies beyond the start of a long frame counts as missing.
    let drop = link.frame.len() > LINEAR;
    Expected { reply: Some(reply), takes, drop, ..Expected::default() }
}

fn ipv6(link: &Link<'_>) -> Option<Expected> {
    let ip = link.packet;
    if ip.first()? >> 4 != 6 {
        return None;
    }
    if matches!(ip.get(6)?, 0 | 43 | 44 | 60)
        && let Some(expected) = extended(link)
    {
        return Some(expected);
    }
    let destination = Ipv6Addr::from(array::<16>(ip, 24)?);
    let message = &ip[40..];
    let neighbor = ip[6] == 58 && matches!(message.first(), Some(135 | 136));
    if neighbor
        && let Some(target) = array::<16>(message, 8)
        && let Some(vip) = link.vip(Ipv6Addr::from(target))
    {
        return Some(neighbor_discovery(link, &vip, message));
    }
    let length = usize::from(u16_at(ip, 4)?);
    if ip[6] == 112
        && length >= 2
        && let Some(router) = message.get(1).and_then(|vrid| link.router(true, *vrid))
    {
        let advert = Advert {
            source: Ipv6Addr::from(array::<16>(ip, 8)?).into(),
            destination: destination.into(),
            hop_limit: ip[7],
            intact: true,
            message: message.get(..length),
        };
        return Some(advert.expect(link, router));
    }
    if ip[6] == 17 {
        let datagram = Datagram {
            source: Ipv6Addr::from(array::<16>(ip, 8)?).into(),
            destination: destination.into(),
            hop_limit: ip[7],
            intact: true,
            octets: message,
            length,
        };
        if let Some(session) = datagram.session(link.vlan) {
            return Some(bfd(session));
        }
        if let Some(judgement) = probes::judge(&datagram, link.vlan) {
            return Some(probe(link, judgement));
        }
    }
    Some(link.vip(destination)?.packet(neighbor))
}

/// A packet with extension headers, if that decides.
fn extended(link: &Link<'_>) -> Option<Expected> {
    let ip = link.packet;
    let (mut kind, mut rest) = (ip[6], ip.get(40..).unwrap_or_default());
    let mut fragment = false;
    for count in 0.. {
        if !matches!(kind, 0 | 43 | 44 | 60) {
            break;
        }
        if count == 5 {
            return (kind != 44).then(DROP);
        }
        // What the program cannot read the kernel may; but no Neighbor Discovery in fragments.
        let [next, length, _, _, ..] = *rest else { return (!fragment && kind != 44).then(DROP) };
        let size = if kind == 44 { 8 } else { 8 + usize::from(length) * 8 };
        if kind == 44 {
            fragment = true;
            if u16_at(rest, 2)? & 0xfff8 != 0 {
                return None;
            }
        }
        (kind, rest) = (next, rest.get(size..).unwrap_or_default());
    }
    if kind != 58 || fragment {
        return None;
    }
    let Some(&message) = rest.first() else { return Some(DROP()) };
    if !matches!(message, 135 | 136) {
        return None;
    }
    let Some(target) = array::<16>(rest, 8) else { return Some(DROP()) };
    let vip = link.vip(Ipv6Addr::from(target))?;
    Some(if rest[0] == 136 { vip.claim(link.source, DROP()) } else { DROP() })
}

struct Advert<'a> {
    source: IpAddr,
    destination: IpAddr,
    /// TTL or Hop Limit.
    hop_limit: u8,
    /// Whether the IPv4 header's checksum is right.
    intact: bool,
    /// As long as IP says, if the frame holds that much.
    message: Option<&'a [u8]>,
}

impl Advert<'_> {
    fn expect(&self, link: &Link<'_>, (slot, router): (u32, &Router)) -> Expected {
        let valid = self.message.filter(|message| self.is_valid(message, router));
        let Some(message) = valid else { return DROP() };
        // RFC 9568 6.4.3; and whoever speaks long after our last renewal has taken over.
        let priority = message[2];
        let beats = priority > router.priority || priority == router.priority && self.source > router.primary;
        let revokes = router.owned && priority != 0 && (beats || router.stale);
        Expected { advert_of: Some(slot), revokes, drop: link.frame.len() > LINEAR, ..PASS() }
    }

    /// RFC 9568 7.1 with its errata, RFC 3768 7.1, RFC 2338's password, and keepalived's rules for unicast.
    fn is_valid(&self, message: &[u8], router: &Router) -> bool {
        let [first, _, _, count, word0, word1, ..] = *message else { return false };
        let (v2, v6) = (router.version == 2, router.is_v6());
        let (destination, expected_sender) = match router.peer {
            Some(peer) => (router.primary, self.source == peer),
            None => (router.multicast_group(), self.hop_limit == 255),
        };
        let list = usize::from(count) * if v6 { 16 } else { 4 };
        let length = 8 + list + if v2 { 8 } else { 0 };
        if self.destination != destination
            || !expected_sender
            || self.source == router.primary
            || !self.intact
            || first != router.version << 4 | 1
            || count == 0
            || message.len() != length
        {
            return false;
        }
        // Version 3 over IPv4 may cover the pseudo-header or not; RFC 9568 5.2.8.
        let plain = internet_sum(&[message]) == 0xffff;
        let address = |address| match address {
            IpAddr::V4(address) => address.octets().to_vec(),
            IpAddr::V6(address) => address.octets().to_vec(),
        };
        let mut covered = [address(self.source), address(self.destination), vec![0, 112]].concat();
        covered.extend((length as u16).to_be_bytes());
        let with_pseudo_header = internet_sum(&[&covered, message]) == 0xffff;
        if v2 {
            let password = router.password;
            let auth = u8::from(password.is_some());
            // RFC 3768 7.1: the address owner discards all of them.
            return plain
                && router.priority != 255
                && (word0, word1) == (auth, INTERVAL_S)
                && password.is_none_or(|password| message.ends_with(&password));
        }
        let interval = u16::from_be_bytes([word0 & 0xf, word1]);
        interval != 0 && (with_pseudo_header || plain && !v6)
    }
}

/// A message about a VIP.
fn neighbor_discovery(link: &Link<'_>, vip: &Vip, message: &[u8]) -> Expected {
    let solicitation = message[0] == 135;
    if solicitation && !vip.owned {
        return DROP();
    }
    let limits = Limits { exceeded: link.frame.len() > LINEAR };
    let Some((link_address, limits)) = valid(link.packet, message, limits) else {
        return DROP();
    };
    let mac = link_address.unwrap_or(link.source);
    let otherwise = if solicitation {
        Expected { reply: Some(advertisement(link, vip, mac)), ..Expected::default() }
    } else {
        vip.claim(mac, PASS())
    };
    Expected { drop: otherwise.drop || limits.exceeded, ..otherwise }
}

/// Whether a message exceeds what the program reads of it.
struct Limits {
    exceeded: bool,
}

/// RFC 4861 7.1.1 and 7.1.2: the link-layer address that a valid message has, if any.
fn valid(ip: &[u8], rest: &[u8], mut limits: Limits) -> Option<(Option<[u8; 6]>, Limits)> {
    let length = u16_at(ip, 4)?;
    let message = rest.get(..usize::from(length))?;
    let (source, destination) = (Ipv6Addr::from(array::<16>(ip, 8)?), Ipv6Addr::from(array::<16>(ip, 24)?));
    let pseudo_header = [&source.octets(), &destination.octets(), &length.to_be_bytes()[..], &[0, 58]];
    let sum = internet_sum(&[&pseudo_header.concat(), message]);
    let hop_limit = ip[7];
    if hop_limit != 255 || sum != 0xffff || source.is_multicast() || message.len() < 24 || message[1] != 0 {
        return None;
    }
    let solicitation = message[0] == 135;
    // Source or Target Link-Layer Address.
    let wanted = if solicitation { 1 } else { 2 };
    let mut found = None;
    let (mut options, mut count) = (&message[24..], 0);
    while !options.is_empty() {
        let length = usize::from(*options.get(1)?) * 8;
        if length == 0 {
            return None;
        }
        let option = options.get(..length)?;
        if option[0] == wanted {
            // An Ethernet address takes one unit of eight octets.
            let [_, 1, mac @ ..] = option else { return None };
            found = found.or(array(mac, 0));
        }
        options = &options[length..];
        count += 1;
    }
    limits.exceeded |= count > MANY_OPTIONS || message.len() > 2048;
    let stray = if solicitation {
        let solicited_node =
            destination.segments()[..6] == [0xff02, 0, 0, 0, 0, 1] && destination.octets()[12] == 0xff;
        source.is_unspecified() && (found.is_some() || !solicited_node)
    } else {
        let solicited = message[4] & 0x40 != 0;
        destination.is_multicast() && solicited
    };
    (!stray).then_some((found, limits))
}

/// RFC 4861 7.2.4.
fn advertisement(link: &Link<'_>, vip: &Vip, asker_mac: [u8; 6]) -> Vec<u8> {
    let (asker, target) = (&link.packet[8..24], &link.packet[48..64]);
    const ALL_NODES: [u8; 16] = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1).octets();
    let (to_mac, to, flags) = if asker == [0; 16] {
        ([0x33, 0x33, 0, 0, 0, 1], &ALL_NODES[..], 0xa0)
    } else {
        (asker_mac, asker, 0xe0)
    };
    let mut message = [&[136, 0, 0, 0, flags, 0, 0, 0], target, &[2, 1], &vip.mac].concat();
    let sum = !internet_sum(&[target, to, &[0, 32, 0, 58], &message]);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    let mut frame = link.answer(to_mac, vip.mac);
    frame.extend([0x60, 0, 0, 0, 0, 32, 58, 255]);
    frame.extend(target);
    frame.extend(to);
    frame.extend(message);
    frame
}

fn u16_at(octets: &[u8], at: usize) -> Option<u16> {
    array(octets, at).map(u16::from_be_bytes)
}

fn array<const N: usize>(octets: &[u8], at: usize) -> Option<[u8; N]> {
    octets.get(at..at + N)?.try_into().ok()
}
