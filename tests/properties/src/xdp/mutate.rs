//! Mutates frames as frames: addresses become ours, tags come and go, and mostly lengths and checksums are made right
//! again, or no mutant would get past them.

use std::net::IpAddr;

use super::{
    bfd::{DISCRIMINATOR, SESSIONS},
    probes::{self, ANSWERED_TO, PAIRS, PORT, VLANS},
    routers::{MAC, ROUTERS, Router},
};
use crate::internet_sum;

const ARP: u16 = 0x0806;
const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
const STRANGER: [u8; 6] = [0x02, 0, 0, 0, 0, 0xaa];

/// Mutates the first `size` octets of `data` into at most `max_size`; `octets` is the mutator that knows nothing of frames.
pub fn mutate(
    data: &mut [u8],
    size: usize,
    max_size: usize,
    seed: u32,
    octets: impl Fn(&mut [u8], usize, usize) -> usize,
) -> usize {
    let mut random = Random::new(seed.into());
    let mut frame = data[..size].to_vec();
    for _ in 0..=random.below(2) {
        match random.below(16) {
            0 => frame = template(&mut random),
            1 => retag(&mut frame, &mut random),
            2 => frame.truncate(random.below(frame.len() + 1)),
            3 if random.below(8) == 0 => frame.resize(random.below(max_size + 1), random.octet()),
            3 => frame.resize(frame.len() + random.below(64), random.octet()),
            4..=8 => readdress(&mut frame, &mut random),
            _ => {
                let size = frame.len().min(max_size);
                data[..size].copy_from_slice(&frame[..size]);
                let size = octets(data, size, max_size);
                frame = data[..size].to_vec();
            }
        }
    }
    if random.below(8) > 0 {
        repair(&mut frame, random.below(4) > 0);
    }
    let size = frame.len().min(max_size);
    data[..size].copy_from_slice(&frame[..size]);
    size
}

/// SplitMix64 (Steele, Lea, Flood 2014).
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

    fn octet(&mut self) -> u8 {
        self.next() as u8
    }

    fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    fn router(&mut self) -> &'static Router {
        const { &ROUTERS }.get(self.below(ROUTERS.len())).expect("below the length")
    }

    fn mac(&mut self) -> [u8; 6] {
        let router = self.router();
        self.of(&[
            router.virtual_mac(),
            router.answering_mac(),
            MAC,
            STRANGER,
            [0xff; 6],
            [0x33, 0x33, 0, 0, 0, 1],
        ])
    }

    /// A VIP, a primary address, a peer, or a group, of that family.
    fn address(&mut self, v6: bool) -> Vec<u8> {
        loop {
            let router = self.router();
            let vip = self.of(router.vips).0;
            let address =
                self.of(&[vip, vip, router.primary, router.peer.unwrap_or(vip), router.multicast_group()]);
            match address {
                IpAddr::V4(address) if !v6 => return address.octets().into(),
                IpAddr::V6(address) if v6 => {
                    let [.., a, b, c] = address.octets();
                    let mut group = [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, a, b, c];
                    if self.below(4) > 0 {
                        group = address.octets();
                    }
                    return group.into();
                }
                _ => {}
            }
        }
    }
}

/// EtherType and length of the Ethernet header with its tags.
fn network(frame: &[u8]) -> Option<(u16, usize)> {
    let mut header = 14;
    loop {
        let ethertype = u16::from_be_bytes(frame.get(header - 2..header)?.try_into().ok()?);
        if !matches!(ethertype, 0x8100 | 0x88a8) || header > 22 {
            return Some((ethertype, header));
        }
        header += 4;
    }
}

fn retag(frame: &mut Vec<u8>, random: &mut Random) {
    let Some((_, header)) = network(frame).filter(|(_, header)| *header <= frame.len()) else { return };
    let router = random.router();
    let vlan = random.of(&[router.vlan, router.heartbeat.unwrap_or(router.vlan)]);
    let tags: &[u16] = match vlan {
        0 => random.of(&[&[][..], &[0], &[4095]]),
        1..4096 => &[vlan as u16],
        _ => &[(vlan >> 12) as u16, (vlan & 0xfff) as u16],
    };
    let priority = u16::from(random.octet()) << 12 & random.of(&[0, 0xf000]);
    let tags = tags.iter().flat_map(|tag| {
        let [a, b] = (tag | priority).to_be_bytes();
        [random.of(&[[0x81, 0], [0x88, 0xa8]]), [a, b]].concat()
    });
    let tags: Vec<u8> = tags.collect();
    frame.splice(12..header - 2, tags);
}

/// Puts an address that means something where one stands.
fn readdress(frame: &mut [u8], random: &mut Random) {
    let Some((ethertype, ip)) = network(frame) else { return };
    let (at, value) = match (ethertype, random.below(6)) {
        (_, 0) => (0, random.mac().to_vec()),
        (_, 1) => (6, random.mac().to_vec()),
        (ARP, 2) => (ip + random.of(&[8, 18]), random.mac().to_vec()),
        (ARP, _) => (ip + random.of(&[14, 24]), random.address(false)),
        (IPV4, 2) => (ip + 21, vec![random.router().vrid]),
        (IPV4, _) => (ip + random.of(&[12, 16, 28]), random.address(false)),
        (IPV6, 2) => (ip + random.of(&[41, 66]), vec![random.router().vrid]),
        (IPV6, 3) => (ip + random.of(&[8, 24]), vec![0; 16]),
        (IPV6, _) => (ip + random.of(&[8, 24, 48]), random.address(true)),
        _ => return,
    };
    if let Some(place) = frame.get_mut(at..at + value.len()) {
        place.copy_from_slice(&value);
    }
}

/// A frame as somebody would send it, about one of our routers.
fn template(random: &mut Random) -> Vec<u8> {
    match random.below(16) {
        0 | 1 => return session_packet(random),
        2 | 3 => return probe(random),
        _ => {}
    }
    let router = random.router();
    let v6 = router.is_v6();
    let (vip, other) = (octets(random.of(router.vips).0), random.address(v6));
    let (mac, unicast) = (random.mac(), random.mac());
    let list: Vec<u8> = router.vips.iter().flat_map(|(vip, _)| octets(*vip)).collect();
    let priority = random.of(&[0, 1, 99, 100, 101, 255]);
    let group = octets(if router.peer.is_some() { router.primary } else { router.multicast_group() });
    let mut frame = [&unicast[..], &mac].concat();
    match (random.below(4), v6) {
        (0 | 1, false) => {
            frame.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, random.of(&[1, 1, 2])]);
            frame.extend([&mac[..], &other, &[0; 6], &vip].concat());
        }
        (2, false) => {
            frame.extend([8, 0, 0x45, 0xc0, 0, 0, 0, 1, 0, 0, 255, 112, 0, 0]);
            frame.extend([&[192, 0, 2, random.of(&[2, 200])], &group[..]].concat());
            let (version, word) = if router.version == 2 { (0x21, [1, 1]) } else { (0x31, [0, 100]) };
            frame.extend([version, router.vrid, priority, router.vips.len() as u8]);
            frame.extend(word);
            frame.extend([0, 0]);
            frame.extend(list);
            if router.version == 2 {
                frame.extend(router.password.unwrap_or_default());
            }
        }
        (_, false) => {
            frame.extend([8, 0, 0x45, 0, 0, 0, 0, 1, 0, 0, 64, random.of(&[1, 6, 17]), 0, 0]);
            frame.extend([&other[..], &vip, &[0xa5; 20]].concat());
        }
        (0, true) => {
            frame.extend([0x86, 0xdd, 0x6c, 0, 0, 0, 0, 0, 112, 255]);
            let source =
                router.peer.map_or(vec![0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2], octets);
            frame.extend([&source[..], &group].concat());
            frame.extend([0x31, router.vrid, priority, router.vips.len() as u8, 0, 100, 0, 0]);
            frame.extend(list);
        }
        (1 | 2, true) => {
            let (kind, option) = random.of(&[(135, 1), (135, 1), (136, 2)]);
            let mut destination = random.address(true);
            if random.below(2) == 0 {
                destination = [&[0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff][..], &vip[13..]].concat();
            }
            let source = if random.below(3) == 0 { vec![0; 16] } else { other };
            frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 0, 58, 255]);
            frame.extend([&source[..], &destination, &[kind, 0, 0, 0, 0, 0, 0, 0], &vip].concat());
            for _ in 0..random.below(3) {
                frame.extend([option, 1]);
                frame.extend(mac);
            }
        }
        (_, true) => {
            frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 0, random.of(&[0, 6, 17, 43, 44, 58, 60]), 64]);
            frame.extend([&other[..], &vip, &[0xa5; 24]].concat());
        }
    }
    if router.vlan != 0 || router.heartbeat.is_some() {
        retag(&mut frame, random);
    }
    repair(&mut frame, true);
    frame
}

/// Makes the IP header's length (if `length`) and the checksums right.
fn repair(frame: &mut [u8], length: bool) {
    let Some((ethertype, ip)) = network(frame) else { return };
    let Some(packet) = frame.get_mut(ip..) else { return };
    let total = u16::try_from(packet.len()).unwrap_or(u16::MAX);
    match ethertype {
        IPV4 if packet.len() >= 20 => {
            let header = (usize::from(packet[0] & 0xf) * 4).clamp(20, 60).min(packet.len());
            if length {
                packet[2..4].copy_from_slice(&total.to_be_bytes());
            }
            fill(packet, 10, header, &[]);
            let (source, destination) = (packet[12..16].to_vec(), packet[16..20].to_vec());
            let end = usize::from(u16::from_be_bytes([packet[2], packet[3]])).clamp(header, packet.len());
            let (protocol, message) = (packet[9], &mut packet[header..end]);
            if protocol == 17 {
                let size = (message.len() as u16).to_be_bytes();
                let pseudo = [&source[..], &destination, &size, &[0, 17]].concat();
                fill(message, 6, message.len(), &pseudo);
            }
            if protocol == 112 {
                let pseudo_header = message.first() == Some(&0x31);
                let size = (message.len() as u16).to_be_bytes();
                let pseudo = [&source[..], &destination, &size, &[0, 112]].concat();
                fill(message, 6, message.len(), if pseudo_header { &pseudo } else { &[] });
            }
        }
        IPV6 if packet.len() >= 40 => {
            if length {
                packet[4..6].copy_from_slice(&(total - 40).to_be_bytes());
            }
            let payload = usize::from(u16::from_be_bytes([packet[4], packet[5]])).min(packet.len() - 40);
            let next = packet[6];
            let pseudo = [&packet[8..40], &(payload as u16).to_be_bytes(), &[0, next]].concat();
            match next {
                17 => fill(&mut packet[40..], 6, payload, &pseudo),
                58 => fill(&mut packet[40..], 2, payload, &pseudo),
                112 => fill(&mut packet[40..], 6, payload, &pseudo),
                _ => {}
            }
        }
        _ => {}
    }
}

/// A packet of a session of BFD, mostly valid.
fn session_packet(random: &mut Random) -> Vec<u8> {
    let (local, remote, port, _) = random.of(&SESSIONS);
    let mut frame = [&random.mac()[..], &random.mac()].concat();
    let (local, remote) = (octets(local), octets(remote));
    if local.len() == 4 {
        frame.extend([8, 0, 0x45, 0xc0, 0, 0, 0, 1, 0, 0, random.of(&[255, 255, 254, 250, 64]), 17, 0, 0]);
    } else {
        frame.extend([0x86, 0xdd, 0x6c, 0, 0, 0, 0, 0, 17, 255]);
    }
    frame.extend([&remote[..], &local, &[0xc0, 0]].concat());
    frame.extend(port.to_be_bytes());
    frame.extend([0, 32, 0, 0]);
    let state = random.of(&[0x00, 0x40, 0x80, 0xc0, 0xe0, 0xd0, 0xc4, 0xc1]);
    frame.extend([0x20, state, random.of(&[3, 1, 0]), random.of(&[24, 24, 26, 23])]);
    frame.extend([10, 11, 12, 13]);
    frame.extend(random.of(&[DISCRIMINATOR, DISCRIMINATOR, 0, 9]).to_be_bytes());
    frame.extend([0, 0, 0x27, 0x10, 0, 0, 0x27, 0x10, 0, 0, 0, 0]);
    frame
}

/// A probe of the peer's, or an answer, with a list that is about our routers.
pub fn probe(random: &mut Random) -> Vec<u8> {
    let (local, remote) = random.of(&PAIRS);
    let mut frame = [&random.mac()[..], &random.mac()].concat();
    match random.of(&VLANS) {
        0 => {}
        vlan => frame.extend([&[0x81, 0], &(vlan as u16).to_be_bytes()[..]].concat()),
    }
    let (local, remote) = (octets(local), octets(remote));
    if local.len() == 4 {
        frame.extend([8, 0, 0x45, 0xc0, 0, 0, 0, 1, 0, 0, random.of(&[255, 255, 255, 254]), 17, 0, 0]);
    } else {
        frame.extend([0x86, 0xdd, 0x6c, 0, 0, 0, 0, 0, 17, 255]);
    }
    let routers = random.of(&[0, 1, 2, 3, 255]);
    let is_answer = random.below(8) == 0;
    let ports = if is_answer { [PORT, ANSWERED_TO] } else { [ANSWERED_TO, PORT] };
    frame.extend([&remote[..], &local].concat());
    frame.extend(ports.map(u16::to_be_bytes).concat());
    frame.extend((52 + 4 * routers as u16).to_be_bytes());
    frame.extend([0, 0, 0x20, if is_answer { 0xc0 } else { random.of(&[0xc2, 0xc2, 0xe2, 0xca, 0x02]) }]);
    frame.extend([random.of(&[3, 3, 1, 255]), 24, 10, 11, 12, 13]);
    frame.extend(probes::DISCRIMINATOR.to_be_bytes());
    frame.extend(random.of(&[3_300u32, 3_300, 100, u32::MAX]).to_be_bytes());
    frame.extend([0, 0, 3, 0xe8, 0, 0, 0, 0]);
    frame.extend([b'v', b'i', b'p', b'd', 1, random.of(&[1, 1, 1, 0, 3]), routers as u8, 0]);
    frame.extend([0, 0, 0, random.of(&[0, 1]), 0, 0, 0, 0, 0, 0, 0, random.octet()]);
    for _ in 0..routers {
        let family = random.of(&[4, 6]);
        let vrid = if random.below(8) == 0 { random.octet() } else { random.router().vrid };
        let rank = random.of(&[0, 1, 99, 100, 101, 255]);
        let flags = if routers < 4 || random.below(16) == 0 { random.of(&[1, 3, 4, 7]) } else { 1 };
        frame.extend([family, vrid, rank, flags]);
    }
    if random.below(8) > 0 {
        repair(&mut frame, true);
    }
    frame
}

/// Writes the checksum over `octets[..end]` and `pseudo` at `at`.
fn fill(octets: &mut [u8], at: usize, end: usize, pseudo: &[u8]) {
    if end < at + 2 {
        return;
    }
    octets[at..at + 2].fill(0);
    let sum = !internet_sum(&[pseudo, &octets[..end]]);
    octets[at..at + 2].copy_from_slice(&sum.to_be_bytes());
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().into(),
        IpAddr::V6(address) => address.octets().into(),
    }
}
