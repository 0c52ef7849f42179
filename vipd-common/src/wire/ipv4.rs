//! The IPv4 header (RFC 791 3.1). What is sent has no options, and is marked as VRRP is.

use core::net::Ipv4Addr;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{Malformed, View, checksum::Checksum};

/// Octets of a header without options.
pub const HEADER: usize = size_of::<Header>();
/// Octets of the longest header: 15 words.
pub const MAX_HEADER: usize = 60;
pub const PROTOCOL_VRRP: u8 = 112;

/// The view of a header without its options.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
pub struct Header {
    version_ihl: u8,
    tos: u8,
    total_length: [u8; 2],
    id: [u8; 2],
    flags_fragment: [u8; 2],
    ttl: u8,
    protocol: u8,
    checksum: [u8; 2],
    source: [u8; 4],
    destination: [u8; 4],
}

impl View for Header {}

impl Header {
    /// Whether the version is 4, and the header no shorter than this view.
    #[inline(always)]
    pub fn is_well_formed(&self) -> bool {
        self.version_ihl >> 4 == 4 && self.length() >= HEADER
    }

    /// Octets of the header with its options: a multiple of 4, at most [`MAX_HEADER`].
    #[inline(always)]
    pub fn length(&self) -> usize {
        usize::from(self.version_ihl & 0x0f) * 4
    }

    /// Octets of the packet by the header's own account; Ethernet's padding is outside of it.
    #[inline(always)]
    pub fn total_length(&self) -> u16 {
        u16::from_be_bytes(self.total_length)
    }

    #[inline(always)]
    pub fn id(&self) -> u16 {
        u16::from_be_bytes(self.id)
    }

    /// Whether it is one of several fragments: more follow, or it is not the first.
    #[inline(always)]
    pub fn is_fragment(&self) -> bool {
        u16::from_be_bytes(self.flags_fragment) & (MORE_FRAGMENTS | FRAGMENT_OFFSET) != 0
    }

    #[inline(always)]
    pub fn ttl(&self) -> u8 {
        self.ttl
    }

    #[inline(always)]
    pub fn protocol(&self) -> u8 {
        self.protocol
    }

    #[inline(always)]
    pub fn source(&self) -> Ipv4Addr {
        Ipv4Addr::from_octets(self.source)
    }

    #[inline(always)]
    pub fn destination(&self) -> Ipv4Addr {
        Ipv4Addr::from_octets(self.destination)
    }

    /// Exchanges source and destination, which keeps the checksum right.
    #[inline(always)]
    pub fn swap_addresses(&mut self) {
        (self.source, self.destination) = (self.destination, self.source);
    }

    /// Takes one from a TTL that is not 0, and keeps the checksum right (RFC 1624).
    #[inline(always)]
    pub fn decrement_ttl(&mut self) {
        // The TTL is the upper octet of its word. A sum of 0xffff is the other zero.
        let sum = u32::from(u16::from_be_bytes(self.checksum)) + 0x0100;
        let sum = (sum + u32::from(sum >= 0xffff)) as u16;
        self.ttl = self.ttl.wrapping_sub(1);
        self.checksum = sum.to_be_bytes();
    }
}

/// The checked view of a packet: a header with its options, and what it carries.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    header: &'a Header,
    /// The whole header.
    options: &'a [u8],
    payload: &'a [u8],
}

impl<'a> Packet<'a> {
    /// The view of the packet that `octets` begin with. Padding may follow it.
    ///
    /// # Errors
    ///
    /// [`Malformed::Truncated`], [`Malformed::Version`]; [`Malformed::Length`] of a header below 20 octets, or of a packet that
    /// is shorter than its header.
    pub fn new_checked(octets: &'a [u8]) -> Result<Self, Malformed> {
        let (header, _) = Header::new_prefix(octets)?;
        if header.version_ihl >> 4 != 4 {
            return Err(Malformed::Version);
        }
        let total = usize::from(header.total_length());
        if !header.is_well_formed() || total < header.length() {
            return Err(Malformed::Length);
        }
        let (options, payload) = octets.get(..total).ok_or(Malformed::Truncated)?.split_at(header.length());
        Ok(Self { header, options, payload })
    }

    pub fn header(&self) -> &'a Header {
        self.header
    }

    pub fn payload(&self) -> &'a [u8] {
        self.payload
    }

    /// Over the header with its options.
    pub fn has_valid_checksum(&self) -> bool {
        Checksum::default().over(self.options).finish() == [0, 0]
    }
}

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
    /// Reads the header of a packet, without its options.
    ///
    /// # Errors
    ///
    /// [`Malformed::Checksum`].
    pub fn parse(packet: &Packet<'_>) -> Result<Self, Malformed> {
        if !packet.has_valid_checksum() {
            return Err(Malformed::Checksum);
        }
        let header = packet.header;
        Ok(Self {
            id: header.id(),
            ttl: header.ttl(),
            protocol: header.protocol(),
            source: header.source(),
            destination: header.destination(),
            payload_length: header.total_length() - header.length() as u16,
        })
    }

    pub fn emit(&self, buffer: &mut [u8; HEADER]) {
        let mut header = Header {
            version_ihl: 0x45,
            tos: TOS_CS6,
            total_length: self.payload_length.saturating_add(HEADER as u16).to_be_bytes(),
            id: self.id.to_be_bytes(),
            // No flags, no fragment.
            flags_fragment: [0; 2],
            ttl: self.ttl,
            protocol: self.protocol,
            checksum: [0; 2],
            source: self.source.octets(),
            destination: self.destination.octets(),
        };
        header.checksum = Checksum::default().over(header.as_bytes()).finish();
        *buffer = zerocopy::transmute!(header);
    }
}

/// CS6, internetwork control: universal practice for VRRP, though no RFC says so.
const TOS_CS6: u8 = 0xc0;
const MORE_FRAGMENTS: u16 = 0x2000;
const FRAGMENT_OFFSET: u16 = 0x1fff;
