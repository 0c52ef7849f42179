//! Frames as other stations send them, written here octet by octet, so that nothing of vipd's own encoders is tested
//! with itself.

use std::net::{Ipv4Addr, Ipv6Addr};

pub const PEER_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0xaa];
const BROADCAST: [u8; 6] = [0xff; 6];

pub fn unhex(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).expect("hex")).collect()
}

/// An ARP packet in a broadcast frame; `op` 1 asks, 2 replies.
pub fn arp(op: u8, sender_mac: [u8; 6], sender: Ipv4Addr, target: Ipv4Addr) -> Vec<u8> {
    let mut frame = [&BROADCAST[..], &sender_mac, &[8, 6, 0, 1, 8, 0, 6, 4, 0, op], &sender_mac].concat();
    frame.extend(sender.octets());
    frame.extend([0; 6]);
    frame.extend(target.octets());
    frame
}

/// An IPv4 packet of `protocol` in a frame.
pub struct Ipv4 {
    pub source: Ipv4Addr,
    pub destination: Ipv4Addr,
    pub ttl: u8,
    pub protocol: u8,
    pub fragment: u16,
    pub options: Vec<u8>,
    pub payload: Vec<u8>,
}

impl Ipv4 {
    /// An advert: to 224.0.0.18 with TTL 255.
    pub fn advert(source: Ipv4Addr, payload: Vec<u8>) -> Self {
        Self {
            source,
            destination: Ipv4Addr::new(224, 0, 0, 18),
            ttl: 255,
            protocol: 112,
            fragment: 0,
            options: Vec::new(),
            payload,
        }
    }

    pub fn frame(&self) -> Vec<u8> {
        let mut header = vec![0x40 | (5 + self.options.len() / 4) as u8, 0xc0];
        header.extend(((20 + self.options.len() + self.payload.len()) as u16).to_be_bytes());
        header.extend([0, 1]);
        header.extend(self.fragment.to_be_bytes());
        header.extend([self.ttl, self.protocol, 0, 0]);
        header.extend(self.source.octets());
        header.extend(self.destination.octets());
        header.extend(&self.options);
        let sum = checksum(&[&header]);
        header[10..12].copy_from_slice(&sum.to_be_bytes());
        let mut frame = vec![0x01, 0, 0x5e, 0, 0, 0x12];
        frame.extend(PEER_MAC);
        frame.extend([8, 0]);
        frame.extend(header);
        frame.extend(&self.payload);
        frame
    }
}

/// An IPv6 packet in a frame; `extensions` stand between the fixed header and the payload.
#[derive(Clone)]
pub struct Ipv6 {
    pub source: Ipv6Addr,
    pub destination: Ipv6Addr,
    pub hop_limit: u8,
    pub next_header: u8,
    pub extensions: Vec<u8>,
    pub payload: Vec<u8>,
}

impl Ipv6 {
    /// An advert: to ff02::12 with hop limit 255.
    pub fn advert(source: Ipv6Addr, vrid: u8, priority: u8, vips: &[Ipv6Addr]) -> Self {
        let mut payload = vec![0x31, vrid, priority, vips.len() as u8, 0, 100, 0, 0];
        vips.iter().for_each(|vip| payload.extend(vip.octets()));
        Self {
            source,
            destination: Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x12),
            hop_limit: 255,
            next_header: 112,
            extensions: Vec::new(),
            payload,
        }
        .summed(112, 6)
    }

    /// With the checksum at `offset` of the payload made right, for `protocol` in the pseudo-header (RFC 8200 8.1).
    pub fn summed(mut self, protocol: u8, offset: usize) -> Self {
        self.payload[offset..offset + 2].fill(0);
        let length = (self.payload.len() as u32).to_be_bytes();
        let sum = checksum(&[
            &self.source.octets(),
            &self.destination.octets(),
            &length,
            &[0, 0, 0, protocol],
            &self.payload,
        ]);
        self.payload[offset..offset + 2].copy_from_slice(&sum.to_be_bytes());
        self
    }

    pub fn frame(&self) -> Vec<u8> {
        let mut frame = vec![0x33, 0x33];
        frame.extend(&self.destination.octets()[12..]);
        frame.extend(PEER_MAC);
        frame.extend([0x86, 0xdd, 0x6c, 0, 0, 0]);
        frame.extend(((self.extensions.len() + self.payload.len()) as u16).to_be_bytes());
        frame.extend([self.next_header, self.hop_limit]);
        frame.extend(self.source.octets());
        frame.extend(self.destination.octets());
        frame.extend(&self.extensions);
        frame.extend(&self.payload);
        frame
    }
}

/// A Neighbor Solicitation (135) or Advertisement (136), its checksum right.
pub fn neighbor(
    kind: u8,
    flags: u8,
    source: Ipv6Addr,
    destination: Ipv6Addr,
    target: Ipv6Addr,
    options: &[u8],
) -> Ipv6 {
    let mut payload = vec![kind, 0, 0, 0, flags, 0, 0, 0];
    payload.extend(target.octets());
    payload.extend(options);
    let (next_header, extensions) = (58, Vec::new());
    Ipv6 { source, destination, hop_limit: 255, next_header, extensions, payload }.summed(58, 2)
}

/// RFC 1071, as plainly as it can be written.
pub fn checksum(parts: &[&[u8]]) -> u16 {
    let all = parts.concat();
    let mut sum: u64 = all
        .chunks(2)
        .map(|pair| u64::from(pair[0]) << 8 | u64::from(pair.get(1).copied().unwrap_or(0)))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// A v3 message with the message-only checksum.
pub fn v3(vrid: u8, priority: u8, interval_cs: u16, vips: &[Ipv4Addr]) -> Vec<u8> {
    let mut message = vec![0x31, vrid, priority, vips.len() as u8];
    message.extend(interval_cs.to_be_bytes());
    message.extend([0, 0]);
    vips.iter().for_each(|vip| message.extend(vip.octets()));
    let sum = checksum(&[&message]);
    message[6..8].copy_from_slice(&sum.to_be_bytes());
    message
}

/// A v2 message without authentication.
pub fn v2(vrid: u8, priority: u8, interval_s: u8, vips: &[Ipv4Addr]) -> Vec<u8> {
    let mut message = vec![0x21, vrid, priority, vips.len() as u8, 0, interval_s, 0, 0];
    vips.iter().for_each(|vip| message.extend(vip.octets()));
    message.extend([0; 8]);
    let sum = checksum(&[&message]);
    message[6..8].copy_from_slice(&sum.to_be_bytes());
    message
}

/// `frame` with 802.1Q tags of these VLANs, outermost first.
pub fn tagged(frame: &[u8], vlans: &[u16]) -> Vec<u8> {
    let mut out = frame[..12].to_vec();
    for vlan in vlans {
        out.extend([0x81, 0]);
        out.extend(vlan.to_be_bytes());
    }
    out.extend(&frame[12..]);
    out
}

/// `frame` padded to the 60 octets that Ethernet wants, with octets that are not zero.
pub fn padded(mut frame: Vec<u8>) -> Vec<u8> {
    frame.resize(frame.len().max(60), 0xa5);
    frame
}
