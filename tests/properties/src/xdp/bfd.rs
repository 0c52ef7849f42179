//! The session of BFD that the program has, and which packets are valid for it: written from RFC 5880 6.8.6, RFC 5881 and RFC 768.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::internet_sum;

/// Its discriminator of ours.
pub const DISCRIMINATOR: u32 = 0x0102_0304;
/// Sessions of this node with a neighbor: ours, theirs, the port, the least TTL.
pub const SESSIONS: [(IpAddr, IpAddr, u16, u8); 3] = [
    (IpAddr::V4(OURS), IpAddr::V4(THEIRS), 3784, 255),
    (IpAddr::V4(OURS), IpAddr::V4(THEIRS), 4784, 250),
    (IpAddr::V6(OURS6), IpAddr::V6(THEIRS6), 3784, 255),
];
const OURS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 210);
const THEIRS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 211);
const OURS6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x210);
const THEIRS6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x211);
/// Octets of the longest datagram that is read.
const MOST: usize = 128;

/// A UDP datagram, as IP has it.
pub struct Datagram<'a> {
    pub source: IpAddr,
    pub destination: IpAddr,
    pub hop_limit: u8,
    /// Whether the IPv4 header's checksum is right.
    pub intact: bool,
    /// All of the frame from here on, padding too.
    pub octets: &'a [u8],
    /// By IP's account.
    pub length: usize,
}

impl Datagram<'_> {
    /// The session that it is of, and whether it is valid. Over a single hop a session is bound to an interface, over several it is not.
    pub fn session(&self, vlan: u32) -> Option<(u32, bool)> {
        let port = u16::from_be_bytes([*self.octets.get(2)?, *self.octets.get(3)?]);
        self.octets.get(..8)?;
        let is_of = |session: &(IpAddr, IpAddr, u16, u8)| {
            (session.0, session.1, session.2) == (self.destination, self.source, port)
        };
        let slot = SESSIONS.iter().position(is_of).filter(|_| vlan == 0 || port == 4784)?;
        Some((slot as u32, self.is_valid(SESSIONS[slot].3)))
    }

    fn is_valid(&self, least: u8) -> bool {
        let size = usize::from(u16::from_be_bytes([self.octets[4], self.octets[5]]));
        if size < 32 || size > self.length || size > MOST || !self.intact || self.hop_limit < least {
            return false;
        }
        let Some(datagram) = self.octets.get(..size) else { return false };
        self.has_checksum(datagram) && is_valid_packet(&datagram[8..])
    }

    fn has_checksum(&self, datagram: &[u8]) -> bool {
        let given = u16::from_be_bytes([datagram[6], datagram[7]]);
        let address = |address| match address {
            IpAddr::V4(address) => Ipv4Addr::octets(&address).to_vec(),
            IpAddr::V6(address) => address.octets().to_vec(),
        };
        let mut pseudo = [address(self.source), address(self.destination), vec![0, 17]].concat();
        pseudo.extend((datagram.len() as u16).to_be_bytes());
        match given {
            0 => self.source.is_ipv4(),
            // Left to a NIC that there is not: the sum of the pseudo-header.
            given if given == internet_sum(&[&pseudo]) => true,
            _ => internet_sum(&[&pseudo, datagram]) == 0xffff,
        }
    }
}

fn is_valid_packet(packet: &[u8]) -> bool {
    let word = |at: usize| u32::from_be_bytes([packet[at], packet[at + 1], packet[at + 2], packet[at + 3]]);
    let (state, length) = (packet[1] >> 6, usize::from(packet[3]));
    let is_authenticated = packet[1] & 0x04 != 0;
    let knows = match word(8) {
        0 => state < 2,
        yours => yours == DISCRIMINATOR,
    };
    packet[0] >> 5 == 1
        && length >= 24
        && length <= packet.len()
        && packet[2] != 0
        && packet[1] & 1 == 0
        && word(4) != 0
        && knows
        && !is_authenticated
}
