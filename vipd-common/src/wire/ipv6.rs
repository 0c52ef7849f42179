//! The IPv6 header, and extension headers (RFC 8200 3, 4).

use core::net::Ipv6Addr;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{Malformed, View};
use crate::address::Address;

/// Octets of the header.
pub const HEADER: usize = size_of::<Header>();
/// CS6, internetwork control, for VRRP as in IPv4.
pub const TRAFFIC_CLASS_CS6: u8 = 0xc0;

/// Extension headers, by the number of a Next Header field.
pub const HOP_BY_HOP: u8 = 0;
pub const ROUTING: u8 = 43;
pub const FRAGMENT: u8 = 44;
pub const DESTINATION_OPTIONS: u8 = 60;

/// The view of a header up to the number of the next one.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
pub struct Head {
    version_class_flow: [u8; 4],
    payload_length: [u8; 2],
    next_header: u8,
}

impl View for Head {}

impl Head {
    /// Whether the version is 6.
    #[inline(always)]
    pub fn is_well_formed(&self) -> bool {
        self.version_class_flow[0] >> 4 == 6
    }

    #[inline(always)]
    pub fn next_header(&self) -> u8 {
        self.next_header
    }
}

/// The view of a header.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
pub struct Header {
    head: Head,
    hop_limit: u8,
    source: [u8; 16],
    destination: [u8; 16],
}

impl View for Header {}

impl Header {
    /// With flow label 0, of addresses as the maps have them.
    #[inline(always)]
    pub(super) fn new(
        traffic_class: u8,
        payload_length: u16,
        next_header: u8,
        hop_limit: u8,
        source: Address,
        destination: Address,
    ) -> Self {
        Self {
            head: Head {
                version_class_flow: (6 << 28 | u32::from(traffic_class) << 20).to_be_bytes(),
                payload_length: payload_length.to_be_bytes(),
                next_header,
            },
            hop_limit,
            source: source.octets(),
            destination: destination.octets(),
        }
    }

    #[inline(always)]
    pub fn traffic_class(&self) -> u8 {
        (u32::from_be_bytes(self.head.version_class_flow) >> 20) as u8
    }

    /// Octets after the header, extension headers among them.
    #[inline(always)]
    pub fn payload_length(&self) -> u16 {
        u16::from_be_bytes(self.head.payload_length)
    }

    #[inline(always)]
    pub fn next_header(&self) -> u8 {
        self.head.next_header
    }

    #[inline(always)]
    pub fn hop_limit(&self) -> u8 {
        self.hop_limit
    }

    pub fn source(&self) -> Ipv6Addr {
        Ipv6Addr::from_octets(self.source)
    }

    pub fn destination(&self) -> Ipv6Addr {
        Ipv6Addr::from_octets(self.destination)
    }

    /// The source as the maps have it.
    #[inline(always)]
    pub fn source_words(&self) -> Address {
        zerocopy::transmute!(self.source)
    }

    /// The destination as the maps have it.
    #[inline(always)]
    pub fn destination_words(&self) -> Address {
        zerocopy::transmute!(self.destination)
    }

    /// Exchanges source and destination.
    #[inline(always)]
    pub fn swap_addresses(&mut self) {
        (self.source, self.destination) = (self.destination, self.source);
    }

    /// Takes one from a hop limit that is not 0.
    #[inline(always)]
    pub fn decrement_hop_limit(&mut self) {
        self.hop_limit = self.hop_limit.wrapping_sub(1);
    }
}

/// The view of what every extension header begins with, and a Fragment header's offset.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
pub struct Extension {
    next_header: u8,
    /// In units of 8 octets, without the first; reserved in a Fragment header, which has one unit.
    length: u8,
    fragment: [u8; 2],
}

impl View for Extension {}

impl Extension {
    #[inline(always)]
    pub fn next_header(&self) -> u8 {
        self.next_header
    }

    /// Octets of the header, if it is no [`FRAGMENT`]: at most 2,048.
    #[inline(always)]
    pub fn length(&self) -> usize {
        FRAGMENT_LENGTH + usize::from(self.length) * 8
    }

    /// Of a [`FRAGMENT`]: whether it is not the first, so that what follows is no header.
    #[inline(always)]
    pub fn is_later_fragment(&self) -> bool {
        u16::from_be_bytes(self.fragment) & FRAGMENT_OFFSET != 0
    }
}

/// Octets of a [`FRAGMENT`] header, and of the shortest others.
pub const FRAGMENT_LENGTH: usize = 8;

/// The checked view of a packet. Extension headers count as what it carries.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    header: &'a Header,
    payload: &'a [u8],
}

impl<'a> Packet<'a> {
    /// The view of the packet that `octets` begin with. Padding may follow it.
    ///
    /// # Errors
    ///
    /// [`Malformed::Truncated`], [`Malformed::Version`].
    pub fn new_checked(octets: &'a [u8]) -> Result<Self, Malformed> {
        let (header, rest) = Header::new_prefix(octets)?;
        if !header.head.is_well_formed() {
            return Err(Malformed::Version);
        }
        let payload = rest.get(..usize::from(header.payload_length())).ok_or(Malformed::Truncated)?;
        Ok(Self { header, payload })
    }

    pub fn header(&self) -> &'a Header {
        self.header
    }

    pub fn payload(&self) -> &'a [u8] {
        self.payload
    }
}

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
    /// Reads the header of a packet, without its flow label.
    pub fn parse(packet: &Packet<'_>) -> Self {
        let header = packet.header;
        Self {
            traffic_class: header.traffic_class(),
            hop_limit: header.hop_limit(),
            next_header: header.next_header(),
            source: header.source(),
            destination: header.destination(),
            payload_length: header.payload_length(),
        }
    }

    pub fn emit(&self, buffer: &mut [u8; HEADER]) {
        *buffer = zerocopy::transmute!(Header::new(
            self.traffic_class,
            self.payload_length,
            self.next_header,
            self.hop_limit,
            Address::from_octets(self.source.octets()),
            Address::from_octets(self.destination.octets()),
        ));
    }
}

/// In the third and fourth octet of a Fragment header.
const FRAGMENT_OFFSET: u16 = 0xfff8;
