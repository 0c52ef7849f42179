//! The IPv4 header (RFC 791), as VRRP sends it.

use core::net::Ipv4Addr;

use super::checksum::Checksum;

/// Octets of a header without options.
pub const HEADER: usize = 20;
pub const PROTOCOL_VRRP: u8 = 112;
/// CS6, internetwork control: universal practice for VRRP, though no RFC says so.
const TOS_CS6: u8 = 0xc0;

/// A header without options.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repr {
    pub id: u16,
    pub ttl: u8,
    pub protocol: u8,
    pub source: Ipv4Addr,
    pub destination: Ipv4Addr,
    /// Octets after the header.
    pub payload_length: u16,
}

impl Repr {
    pub fn emit(&self, buffer: &mut [u8; HEADER]) {
        buffer[0] = 0x45;
        buffer[1] = TOS_CS6;
        buffer[2..4].copy_from_slice(&self.payload_length.saturating_add(HEADER as u16).to_be_bytes());
        buffer[4..6].copy_from_slice(&self.id.to_be_bytes());
        // No flags, no fragment.
        buffer[6..8].fill(0);
        buffer[8] = self.ttl;
        buffer[9] = self.protocol;
        buffer[10..12].fill(0);
        buffer[12..16].copy_from_slice(&self.source.octets());
        buffer[16..].copy_from_slice(&self.destination.octets());
        let sum = Checksum::default().over(buffer).finish();
        buffer[10..12].copy_from_slice(&sum);
    }
}
