//! Neighbor Discovery for IPv6 over Ethernet (RFC 4861): the announcement of an address, and the question who has one.

use core::net::Ipv6Addr;

use super::{checksum::Checksum, eth::MacAddr};

/// Octets of the message with its one option.
pub const LENGTH: usize = 32;
pub const NEXT_HEADER_ICMPV6: u8 = 58;
/// RFC 4861 7.1.2: receivers discard any other.
pub const HOP_LIMIT: u8 = 255;
/// The all-nodes group of a link.
pub const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// Octets of a solicitation without an option.
pub const SOLICITATION_LENGTH: usize = 24;

const TYPE_NEIGHBOR_SOLICITATION: u8 = 135;
const TYPE_NEIGHBOR_ADVERTISEMENT: u8 = 136;
/// RFC 9568 6.4.2 asks for R, also of a host that forwards nothing; the others as RFC 4861 7.2.6: not an answer, and
/// caches that know another MAC take this one.
const ROUTER_UNSOLICITED_OVERRIDE: u8 = 0xa0;
const OPTION_TARGET_LINK_LAYER_ADDRESS: u8 = 2;

/// An unsolicited Neighbor Advertisement: `target` is at `mac`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repr {
    pub target: Ipv6Addr,
    pub mac: MacAddr,
}

impl Repr {
    /// Writes the message. Source and destination are for the checksum's pseudo-header.
    pub fn emit(&self, buffer: &mut [u8; LENGTH], source: Ipv6Addr, destination: Ipv6Addr) {
        // Type, code, checksum, flags and reserved bits.
        buffer[..8].copy_from_slice(&[
            TYPE_NEIGHBOR_ADVERTISEMENT,
            0,
            0,
            0,
            ROUTER_UNSOLICITED_OVERRIDE,
            0,
            0,
            0,
        ]);
        buffer[8..24].copy_from_slice(&self.target.octets());
        // The option's length, in units of 8 octets.
        buffer[24..26].copy_from_slice(&[OPTION_TARGET_LINK_LAYER_ADDRESS, 1]);
        buffer[26..].copy_from_slice(&self.mac.0);
        let sum = Checksum::default()
            .over(buffer)
            .pseudo_header(&source.octets(), &destination.octets(), NEXT_HEADER_ICMPV6, LENGTH as u16)
            .finish();
        buffer[2..4].copy_from_slice(&sum);
    }
}

/// The Neighbor Solicitation of Duplicate Address Detection (RFC 4862 5.4.2): sent from the unspecified address, without an
/// option, to the target's group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe {
    pub target: Ipv6Addr,
}

impl Probe {
    pub fn emit(&self, buffer: &mut [u8; SOLICITATION_LENGTH]) {
        // Type, code, checksum, reserved bits.
        buffer[..8].copy_from_slice(&[TYPE_NEIGHBOR_SOLICITATION, 0, 0, 0, 0, 0, 0, 0]);
        buffer[8..].copy_from_slice(&self.target.octets());
        let (source, group) = (Ipv6Addr::UNSPECIFIED, solicited_node(self.target));
        let sum = Checksum::default()
            .over(buffer)
            .pseudo_header(&source.octets(), &group.octets(), NEXT_HEADER_ICMPV6, SOLICITATION_LENGTH as u16)
            .finish();
        buffer[2..4].copy_from_slice(&sum);
    }
}

/// The group that solicitations of an address are sent to (RFC 4291 2.7.1).
pub const fn solicited_node(target: Ipv6Addr) -> Ipv6Addr {
    let [.., high, low] = target.segments();
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | (high & 0xff), low)
}
