//! ARP for IPv4 over Ethernet (RFC 826).

use core::net::Ipv4Addr;

use super::eth::MacAddr;

/// Octets of the packet.
pub const LENGTH: usize = 28;

/// What the packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Operation {
    Request = 1,
    Reply = 2,
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

    pub fn emit(&self, buffer: &mut [u8; LENGTH]) {
        // Ethernet, IPv4, and the lengths of their addresses.
        buffer[..6].copy_from_slice(&[0, 1, 8, 0, 6, 4]);
        buffer[6..8].copy_from_slice(&(self.operation as u16).to_be_bytes());
        buffer[8..14].copy_from_slice(&self.sender_mac.0);
        buffer[14..18].copy_from_slice(&self.sender_ip.octets());
        buffer[18..24].copy_from_slice(&self.target_mac.0);
        buffer[24..].copy_from_slice(&self.target_ip.octets());
    }
}
