//! The IPv6 header (RFC 8200 3).

use core::net::Ipv6Addr;

/// Octets of the header.
pub const HEADER: usize = 40;
/// CS6, internetwork control, for VRRP as in IPv4.
pub const TRAFFIC_CLASS_CS6: u8 = 0xc0;

/// A header with flow label 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repr {
    pub traffic_class: u8,
    pub hop_limit: u8,
    pub next_header: u8,
    pub source: Ipv6Addr,
    pub destination: Ipv6Addr,
    /// Octets after the header.
    pub payload_length: u16,
}

impl Repr {
    pub fn emit(&self, buffer: &mut [u8; HEADER]) {
        let first = 6 << 28 | u32::from(self.traffic_class) << 20;
        buffer[..4].copy_from_slice(&first.to_be_bytes());
        buffer[4..6].copy_from_slice(&self.payload_length.to_be_bytes());
        buffer[6] = self.next_header;
        buffer[7] = self.hop_limit;
        buffer[8..24].copy_from_slice(&self.source.octets());
        buffer[24..].copy_from_slice(&self.destination.octets());
    }
}
