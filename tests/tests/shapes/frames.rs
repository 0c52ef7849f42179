//! Frames that somebody might send to a VIP, of all shapes that come to mind: tags, EtherTypes, hardware types, options, extension
//! headers, destinations, lengths. And whether a frame speaks as a VIP.

use std::net::{Ipv4Addr, Ipv6Addr};

use vipd_tests::Mac;

use super::support::frames::checksum;

pub const VIP: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 3);
pub const VIP6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 3);
pub const ASKER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 100);
pub const ASKER6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x64);
pub const ASKER_MAC: Mac = Mac([0x02, 0, 0, 0, 0x0a, 0x64]);
/// Of the sockets on the VIPs.
pub const PORT: u16 = 7007;
/// Where nobody listens: the kernel resets.
const CLOSED_PORT: u16 = 7008;
const SOLICITED_NODE: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00, 3);
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// A frame and what kind it is of.
#[derive(Clone)]
pub struct Shape {
    pub kind: String,
    to: To,
    /// Behind the two MACs.
    rest: Vec<u8>,
}

#[derive(Clone, Copy)]
enum To {
    Node,
    Mac([u8; 6]),
}

impl Shape {
    /// The frame, for a node with this MAC.
    pub fn frame_to(&self, node: Mac) -> Vec<u8> {
        let to = match self.to {
            To::Node => node.0,
            To::Mac(mac) => mac,
        };
        [&to[..], &ASKER_MAC.0, &self.rest].concat()
    }
}

/// SplitMix64.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    fn octets(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.next() as u8).collect()
    }
}

const KINDS: [&str; 13] = [
    "ARP",
    "ICMP",
    "TCP",
    "UDP",
    "IPv4, other protocol",
    "ICMPv6",
    "TCP over IPv6",
    "UDP over IPv6",
    "NS",
    "NA",
    "NS behind extension headers",
    "wrapped",
    "noise",
];

/// Frames of one kind, with as many tags each.
pub fn batch(random: &mut Random, count: usize) -> Vec<Shape> {
    let kind = random.of(&KINDS);
    let tags = random.of(&[0, 0, 0, 1, 2, 3, 4, 5, 9]);
    (0..count).map(|_| shape(random, kind, tags)).collect()
}

fn shape(random: &mut Random, kind: &'static str, tags: usize) -> Shape {
    let (mut to, ethertype, mut packet) = packet(random, kind);
    if random.once_in(8) {
        to = To::Mac(random.of(&[
            [0xff; 6],
            [0x01, 0, 0x5e, 0, 0, 1],
            [0x33, 0x33, 0, 0, 0, 1],
            [0, 0, 0x5e, 0, 1, 51],
            [0, 0, 0x5e, 0, 2, 51],
            [0x02, 0, 0, 0, 0, 0x99],
        ]));
    }
    if random.once_in(16) {
        packet.truncate(random.below(packet.len() + 1));
    }
    if random.once_in(4) {
        packet.extend(random.octets(46));
    }
    let mut rest = Vec::new();
    for _ in 0..tags {
        // The kernel takes tags of VLAN 0 off. On a node without VLAN interfaces those of others are for nobody.
        let id: u16 = random.of(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 10, 4095]);
        let priority = random.of(&[0u16, 0xe000, 0x1000]);
        rest.extend(random.of(&[[0x81, 0], [0x81, 0], [0x88, 0xa8]]));
        rest.extend((id | priority).to_be_bytes());
    }
    rest.extend(ethertype.to_be_bytes());
    rest.extend(packet);
    let tagging = match tags {
        0 => "untagged",
        1 => "1 tag",
        2 => "2 tags",
        _ => "3 tags or more",
    };
    Shape { kind: format!("{kind}, {tagging}"), to, rest }
}

/// Where it goes, the EtherType, and what follows.
fn packet(random: &mut Random, kind: &str) -> (To, u16, Vec<u8>) {
    match kind {
        "ARP" => (To::Mac([0xff; 6]), 0x0806, arp(random)),
        "ICMP" => (To::Node, 0x0800, ipv4(random, 1)),
        "TCP" => (To::Node, 0x0800, ipv4(random, 6)),
        "UDP" => (To::Node, 0x0800, ipv4(random, 17)),
        "IPv4, other protocol" => {
            let protocol = random.of(&[2, 4, 41, 46, 47, 50, 51, 94, 103, 108, 112, 132, 136, 253]);
            (To::Node, 0x0800, ipv4(random, protocol))
        }
        "ICMPv6" => (To::Node, 0x86dd, ipv6(random, 58, Extensions::Sometimes)),
        "TCP over IPv6" => (To::Node, 0x86dd, ipv6(random, 6, Extensions::Sometimes)),
        "UDP over IPv6" => (To::Node, 0x86dd, ipv6(random, 17, Extensions::Sometimes)),
        "NS" => (To::Mac([0x33, 0x33, 0xff, 0, 0, 3]), 0x86dd, neighbor(random, 135, Extensions::None)),
        "NA" => (To::Mac([0x33, 0x33, 0, 0, 0, 1]), 0x86dd, neighbor(random, 136, Extensions::Sometimes)),
        "NS behind extension headers" => {
            (To::Mac([0x33, 0x33, 0xff, 0, 0, 3]), 0x86dd, neighbor(random, 135, Extensions::Always))
        }
        "wrapped" => wrapped(random),
        _ => {
            let count = random.below(120);
            let ethertype =
                random.of(&[0x0800, 0x0806, 0x86dd, 0x8035, 0x88cc, 0x8863, 0x0004, 0x0600, 0x05dc]);
            (To::Node, ethertype, random.octets(count))
        }
    }
}

fn arp(random: &mut Random) -> Vec<u8> {
    let hardware: u16 = random.of(&[1, 1, 1, 6, 6, 6, 0, 7, 15, 18, 24, 32, 0x0100, 0xffff]);
    let protocol: u16 = random.of(&[0x0800, 0x0800, 0x0800, 0x0800, 0x0800, 0x0800, 0x86dd, 0x1000, 0x8137]);
    let lengths = random.of(&[[6, 4], [6, 4], [6, 4], [6, 4], [6, 4], [6, 4], [8, 4], [6, 16], [0, 4]]);
    let operation: u16 = random.of(&[1, 1, 1, 1, 1, 2, 3, 8, 10, 0x0101]);
    let sender = random.of(&[ASKER, ASKER, ASKER, Ipv4Addr::UNSPECIFIED, VIP, Ipv4Addr::new(10, 0, 0, 101)]);
    let target = random.of(&[VIP, VIP, VIP, VIP, VIP, Ipv4Addr::new(10, 0, 0, 77), Ipv4Addr::BROADCAST]);
    let mac = random.of(&[ASKER_MAC.0, ASKER_MAC.0, ASKER_MAC.0, [0; 6], [0xff; 6]]);
    let mut packet = [&hardware.to_be_bytes()[..], &protocol.to_be_bytes(), &lengths].concat();
    packet.extend(operation.to_be_bytes());
    packet.extend(mac);
    packet.extend(sender.octets());
    packet.extend(random.of(&[[0; 6], [0xff; 6], ASKER_MAC.0]));
    packet.extend(target.octets());
    packet
}

fn ipv4(random: &mut Random, protocol: u8) -> Vec<u8> {
    let own = Ipv4Addr::new(10, 0, 0, 6);
    let destination = random.of(&[
        VIP,
        VIP,
        VIP,
        VIP,
        VIP,
        VIP,
        own,
        Ipv4Addr::new(10, 0, 0, 255),
        Ipv4Addr::new(224, 0, 0, 1),
    ]);
    let source =
        random.of(&[ASKER, ASKER, ASKER, ASKER, ASKER, VIP, Ipv4Addr::LOCALHOST, Ipv4Addr::UNSPECIFIED]);
    let payload = payload(random, protocol, &source.octets(), &destination.octets());
    let [a, b, c, d] = VIP.octets();
    let options: Vec<u8> = match random.below(8) {
        0 => vec![1; 4 * (1 + random.below(10))],
        // Router alert; record route; timestamp; loose and strict source route by the VIP.
        1 => vec![148, 4, 0, 0],
        2 => vec![7, 7, 4, 0, 0, 0, 0, 0],
        3 => vec![68, 8, 5, 0, 0, 0, 0, 0],
        4 => vec![131, 7, 4, a, b, c, d, 0],
        5 => vec![137, 7, 4, a, b, c, d, 0],
        _ => Vec::new(),
    };
    let length = 20 + options.len() + payload.len();
    let length = random.of(&[length, length, length, length, length, length + 4, 20]) as u16;
    let fragment: u16 = random.of(&[0, 0, 0, 0, 0, 0x4000, 0x8000, 0x2000, 0x2001, 0x0001]);
    let version = random.of(&[0x40, 0x40, 0x40, 0x40, 0x40, 0x40, 0x40, 0x60, 0x00]);
    let mut header = vec![version | (5 + options.len() / 4) as u8, random.of(&[0, 0xc0, 0xff])];
    header.extend(length.to_be_bytes());
    header.extend(random.octets(2));
    header.extend(fragment.to_be_bytes());
    header.extend([random.of(&[64, 64, 64, 255, 1, 0]), protocol, 0, 0]);
    header.extend(source.octets());
    header.extend(destination.octets());
    header.extend(options);
    let sum = checksum(&[&header]);
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    [header, payload].concat()
}

#[derive(Clone, Copy, PartialEq)]
enum Extensions {
    None,
    Sometimes,
    Always,
}

fn ipv6(random: &mut Random, next_header: u8, extensions: Extensions) -> Vec<u8> {
    let own = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 6);
    let mapped = VIP.to_ipv6_mapped();
    let destination =
        random.of(&[VIP6, VIP6, VIP6, VIP6, VIP6, VIP6, own, SOLICITED_NODE, ALL_NODES, mapped]);
    let source = random.of(&[
        ASKER6,
        ASKER6,
        ASKER6,
        ASKER6,
        ASKER6,
        VIP6,
        Ipv6Addr::UNSPECIFIED,
        Ipv6Addr::LOCALHOST,
    ]);
    let upper = payload(random, next_header, &source.octets(), &destination.octets());
    envelope(random, (source, destination), random_hops, next_header, extensions, upper)
}

fn random_hops(random: &mut Random) -> u8 {
    random.of(&[64, 64, 255, 1, 0])
}

/// A solicitation or an advertisement, most of them valid.
fn neighbor(random: &mut Random, kind: u8, extensions: Extensions) -> Vec<u8> {
    let own = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 6);
    let destination = if kind == 135 {
        random.of(&[SOLICITED_NODE, SOLICITED_NODE, SOLICITED_NODE, ALL_NODES, VIP6, own])
    } else {
        random.of(&[ALL_NODES, SOLICITED_NODE, VIP6, own])
    };
    let source = random.of(&[ASKER6, ASKER6, ASKER6, ASKER6, Ipv6Addr::UNSPECIFIED, VIP6]);
    let mut message = vec![kind, 0, 0, 0, random.of(&[0, 0x20, 0xe0]), 0, 0, 0];
    message.extend(random.of(&[VIP6, VIP6, VIP6, VIP6, own]).octets());
    for _ in 0..random.of(&[1, 1, 1, 0, 2]) {
        message.extend(random.of(&[[1, 1], [1, 1], [2, 1], [14, 1], [1, 0]]));
        message.extend(ASKER_MAC.0);
    }
    let sum = upper_checksum(&source.octets(), &destination.octets(), 58, &message);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    let hops: fn(&mut Random) -> u8 = |random| random.of(&[255, 255, 255, 255, 255, 255, 255, 64]);
    envelope(random, (source, destination), hops, 58, extensions, message)
}

/// The IPv6 header, extension headers, and what is behind them.
fn envelope(
    random: &mut Random,
    (source, destination): (Ipv6Addr, Ipv6Addr),
    hops: fn(&mut Random) -> u8,
    upper: u8,
    extensions: Extensions,
    message: Vec<u8>,
) -> Vec<u8> {
    let count = match extensions {
        Extensions::None => 0,
        Extensions::Sometimes if random.once_in(2) => 0,
        Extensions::Sometimes | Extensions::Always => random.of(&[1, 1, 1, 2, 3, 4, 5, 6, 7, 12]),
    };
    let mut kinds: Vec<u8> =
        (0..count).map(|_| random.of(&[60, 60, 60, 60, 60, 60, 43, 44, 0, 51, 135])).collect();
    if count > 0 && random.once_in(3) {
        kinds[0] = 0;
    }
    let mut packet = vec![0x60, 0, 0, 0, 0, 0, kinds.first().copied().unwrap_or(upper), hops(random)];
    packet.extend(source.octets());
    packet.extend(destination.octets());
    for (i, kind) in kinds.iter().enumerate() {
        let next = kinds.get(i + 1).copied().unwrap_or(upper);
        packet.extend(extension(random, *kind, next));
    }
    packet.extend(message);
    let length = packet.len() - 40;
    let length = random.of(&[length, length, length, length, length, length, length + 8, 0]) as u16;
    packet[4..6].copy_from_slice(&length.to_be_bytes());
    packet
}

fn extension(random: &mut Random, kind: u8, next: u8) -> Vec<u8> {
    match kind {
        // Types 0, 2 (Mobile IPv6), 3 (RPL), 4 (segment routing); segments left.
        43 => {
            [&[next, 2, random.of(&[0, 2, 3, 4]), random.of(&[0, 0, 0, 1]), 0, 0, 0, 0], &VIP6.octets()[..]]
                .concat()
        }
        44 => [&[next, 0][..], &random.of(&[[0, 0], [0, 0], [0, 1], [0, 8]]), &[1, 2, 3, 4]].concat(),
        51 => vec![next, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1],
        _ if random.once_in(4) => {
            // One PadN in a longer header.
            let units = 1 + random.below(30);
            let mut header = vec![next, units as u8, 1, (units * 8 + 4) as u8];
            header.resize(8 + units * 8, 0);
            header
        }
        _ => vec![next, 0, 1, 4, 0, 0, 0, 0],
    }
}

/// A message of the protocol that is answered, most of the time.
fn payload(random: &mut Random, protocol: u8, source: &[u8], destination: &[u8]) -> Vec<u8> {
    let (mut message, at) = match protocol {
        1 => (vec![random.of(&[8, 8, 8, 13, 17, 3]), 0, 0, 0, 0, 7, 0, 1, 0xa5, 0xa5], 2),
        58 => (vec![random.of(&[128, 128, 128, 129, 1, 137, 139]), 0, 0, 0, 0, 7, 0, 1, 0xa5, 0xa5], 2),
        6 => {
            let port = CLOSED_PORT.to_be_bytes();
            let mut segment = vec![0x13, 0x88, port[0], port[1], 0, 0, 0, 1, 0, 0, 0, 0, 0x50];
            segment.extend([random.of(&[0x02, 0x02, 0x10, 0x01, 0x12]), 0x10, 0, 0, 0, 0, 0]);
            (segment, 16)
        }
        17 => {
            let port = random.of(&[PORT, PORT, PORT, CLOSED_PORT]).to_be_bytes();
            (vec![0x13, 0x88, port[0], port[1], 0, 12, 0, 0, 1, 2, 3, 4], 6)
        }
        _ => return random.octets(40),
    };
    let sum = if protocol == 1 {
        checksum(&[&message])
    } else {
        upper_checksum(source, destination, protocol, &message)
    };
    message[at..at + 2].copy_from_slice(&sum.to_be_bytes());
    message
}

fn upper_checksum(source: &[u8], destination: &[u8], protocol: u8, message: &[u8]) -> u16 {
    checksum(&[source, destination, &(message.len() as u32).to_be_bytes(), &[0, 0, 0, protocol], message])
}

/// IP or ARP in something else, or under a wrong name.
fn wrapped(random: &mut Random) -> (To, u16, Vec<u8>) {
    let (inner_type, inner): (u16, _) = match random.below(3) {
        0 => (0x0806, arp(random)),
        1 => (0x0800, ipv4(random, 1)),
        _ => (0x86dd, ipv6(random, 58, Extensions::None)),
    };
    let (ethertype, head): (u16, Vec<u8>) = match random.below(9) {
        // IEEE 802.3 with LLC and SNAP, whose length is right or not; LLC alone.
        0 => (
            (inner.len() + 8) as u16,
            [&[0xaa, 0xaa, 3, 0, 0, 0][..], &inner_type.to_be_bytes()[..]].concat(),
        ),
        1 => (0x05dc, [&[0xaa, 0xaa, 3, 0, 0, 0xf8][..], &inner_type.to_be_bytes()[..]].concat()),
        2 => ((inner.len() + 3) as u16, vec![6, 6, 3]),
        // PPPoE, MPLS, PRP, an old tag, transparent Ethernet.
        3 => (
            0x8864,
            vec![
                0x11,
                0,
                0,
                1,
                0,
                (inner.len() + 2) as u8,
                0,
                if inner_type == 0x0800 { 0x21 } else { 0x57 },
            ],
        ),
        4 => (0x8847, vec![0, 0, 0x11, 64]),
        5 => (0x892f, [&[0x10, 0x40, 0, 1][..], &inner_type.to_be_bytes()[..]].concat()),
        6 => (0x9100, [&[0, 0][..], &inner_type.to_be_bytes()[..]].concat()),
        7 => (0x6558, [&[0xff; 6][..], &ASKER_MAC.0, &inner_type.to_be_bytes()[..]].concat()),
        // Under another protocol's name.
        _ => (random.of(&[0x0800, 0x0806, 0x86dd, 0x8035, 0x0003, 0x0060]), Vec::new()),
    };
    (To::Node, ethertype, [head, inner].concat())
}

/// Whether the frame says that its sender has a VIP, or comes from one.
pub fn speaks_as_vip(frame: &[u8]) -> bool {
    let mut network = 14;
    let ethertype = loop {
        match frame.get(network - 2..network) {
            Some([0x81, 0] | [0x88, 0xa8]) => network += 4,
            Some(ethertype) => break [ethertype[0], ethertype[1]],
            None => return false,
        }
    };
    let has = |at: usize, octets: &[u8]| frame.get(network + at..network + at + octets.len()) == Some(octets);
    match ethertype {
        [0x08, 0x06] => has(14, &VIP.octets()),
        [0x08, 0x00] => has(12, &VIP.octets()),
        [0x86, 0xdd] => has(8, &VIP6.octets()) || has(6, &[58]) && has(40, &[136]) && has(48, &VIP6.octets()),
        _ => false,
    }
}
