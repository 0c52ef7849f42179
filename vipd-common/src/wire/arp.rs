//! ARP for IPv4 over Ethernet (RFC 826).

use core::net::Ipv4Addr;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{
    Malformed, View,
    eth::{ETHERTYPE_IPV4, MacAddr},
};

/// Octets of the packet.
pub const LENGTH: usize = size_of::<Packet>();

/// What the packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Operation {
    Request = REQUEST,
    Reply = REPLY,
}

/// The view of a packet.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
pub struct Packet {
    hardware: [u8; 2],
    protocol: [u8; 2],
    /// Of a hardware and of a protocol address.
    lengths: [u8; 2],
    operation: [u8; 2],
    sender_mac: [u8; 6],
    sender_ip: [u8; 4],
    target_mac: [u8; 6],
    target_ip: [u8; 4],
}

impl View for Packet {}

impl Packet {
    /// The view of a packet for IPv4 over Ethernet. Ethernet's padding may follow it.
    ///
    /// # Errors
    ///
    /// [`Malformed::Truncated`]; [`Malformed::Type`] if it is about other addresses.
    pub fn new_checked(octets: &[u8]) -> Result<&Self, Malformed> {
        let (packet, _) = Self::new_prefix(octets)?;
        if packet.is_ipv4_over_ethernet() { Ok(packet) } else { Err(Malformed::Type) }
    }

    #[inline(always)]
    pub fn is_ipv4_over_ethernet(&self) -> bool {
        matches!(u16::from_be_bytes(self.hardware), HARDWARE_ETHERNET | HARDWARE_IEEE802)
            && u16::from_be_bytes(self.protocol) == ETHERTYPE_IPV4
            && self.lengths == LENGTHS
    }

    /// `None` if it is another one.
    #[inline(always)]
    pub fn operation(&self) -> Option<Operation> {
        match u16::from_be_bytes(self.operation) {
            REQUEST => Some(Operation::Request),
            REPLY => Some(Operation::Reply),
            _ => None,
        }
    }

    #[inline(always)]
    pub fn sender_mac(&self) -> MacAddr {
        MacAddr(self.sender_mac)
    }

    #[inline(always)]
    pub fn sender_ip(&self) -> Ipv4Addr {
        Ipv4Addr::from_octets(self.sender_ip)
    }

    #[inline(always)]
    pub fn target_mac(&self) -> MacAddr {
        MacAddr(self.target_mac)
    }

    #[inline(always)]
    pub fn target_ip(&self) -> Ipv4Addr {
        Ipv4Addr::from_octets(self.target_ip)
    }
}

/// An ARP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repr {
    pub operation: Operation,
    pub sender_mac: MacAddr,
    pub sender_ip: Ipv4Addr,
    pub target_mac: MacAddr,
    pub target_ip: Ipv4Addr,
}

impl Repr {
    /// A gratuitous request: `vip` is at `mac` (RFC 9568 8.1.2).
    ///
    /// The target MAC is the sender's, as errata 7947 and 7949 read the RFC. Receivers ignore it in a request.
    pub const fn gratuitous(mac: MacAddr, vip: Ipv4Addr) -> Self {
        Self {
            operation: Operation::Request,
            sender_mac: mac,
            sender_ip: vip,
            target_mac: mac,
            target_ip: vip,
        }
    }

    /// An ARP Probe (RFC 5227 1.1): who has `vip`, asked by a station that tells no address of its own.
    pub const fn probe(mac: MacAddr, vip: Ipv4Addr) -> Self {
        Self {
            operation: Operation::Request,
            sender_mac: mac,
            sender_ip: Ipv4Addr::UNSPECIFIED,
            target_mac: MacAddr::ZERO,
            target_ip: vip,
        }
    }

    /// Reads a packet.
    ///
    /// # Errors
    ///
    /// [`Malformed::Type`] if its operation is neither.
    pub fn parse(packet: &Packet) -> Result<Self, Malformed> {
        Ok(Self {
            operation: packet.operation().ok_or(Malformed::Type)?,
            sender_mac: packet.sender_mac(),
            sender_ip: packet.sender_ip(),
            target_mac: packet.target_mac(),
            target_ip: packet.target_ip(),
        })
    }

    /// The octets of the packet.
    #[inline(always)]
    pub fn packet(&self) -> Packet {
        Packet {
            hardware: HARDWARE_ETHERNET.to_be_bytes(),
            protocol: ETHERTYPE_IPV4.to_be_bytes(),
            lengths: LENGTHS,
            operation: (self.operation as u16).to_be_bytes(),
            sender_mac: self.sender_mac.0,
            sender_ip: self.sender_ip.octets(),
            target_mac: self.target_mac.0,
            target_ip: self.target_ip.octets(),
        }
    }

    pub fn emit(&self, buffer: &mut [u8; LENGTH]) {
        *buffer = zerocopy::transmute!(self.packet());
    }
}

const HARDWARE_ETHERNET: u16 = 1;
/// RFC 1042 has a type of its own for IEEE 802, and the kernel takes either on an Ethernet device.
const HARDWARE_IEEE802: u16 = 6;
const LENGTHS: [u8; 2] = [6, 4];
const REQUEST: u16 = 1;
const REPLY: u16 = 2;
