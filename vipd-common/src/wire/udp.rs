//! The UDP header (RFC 768), over IPv4 and IPv6 (RFC 8200 8.1).

use core::net::IpAddr;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{Malformed, View, checksum::Checksum};

/// Octets of the header.
pub const HEADER: usize = size_of::<Header>();
pub const PROTOCOL_UDP: u8 = 17;

/// The view of a header.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
pub struct Header {
    source_port: [u8; 2],
    destination_port: [u8; 2],
    length: [u8; 2],
    checksum: [u8; 2],
}

impl View for Header {}

impl Header {
    #[inline(always)]
    pub fn source_port(&self) -> u16 {
        u16::from_be_bytes(self.source_port)
    }

    #[inline(always)]
    pub fn destination_port(&self) -> u16 {
        u16::from_be_bytes(self.destination_port)
    }

    /// Octets of the datagram with this header, by the header's own account.
    #[inline(always)]
    pub fn length(&self) -> u16 {
        u16::from_be_bytes(self.length)
    }

    /// Whether the sender computed none. Only IPv4 permits that.
    #[inline(always)]
    pub fn has_no_checksum(&self) -> bool {
        self.checksum == [0; 2]
    }

    /// The checksum, as it is on the wire.
    #[inline(always)]
    pub fn checksum(&self) -> [u8; 2] {
        self.checksum
    }

    /// The header of the answer: ports swapped, `checksum` as it is to be on the wire.
    #[inline(always)]
    pub fn answered(&self, checksum: [u8; 2]) -> Self {
        Self {
            source_port: self.destination_port,
            destination_port: self.source_port,
            length: self.length,
            checksum,
        }
    }
}

/// The checked view of a datagram.
#[derive(Clone, Copy, Debug)]
pub struct Datagram<'a> {
    header: &'a Header,
    octets: &'a [u8],
}

impl<'a> Datagram<'a> {
    /// The view of the datagram that `octets`, the payload of an IP packet, begin with. Octets may follow it (RFC 768 has its own length).
    ///
    /// # Errors
    ///
    /// [`Malformed::Truncated`]; [`Malformed::Length`] if the header's length is less than its own.
    pub fn new_checked(octets: &'a [u8]) -> Result<Self, Malformed> {
        let (header, _) = Header::new_prefix(octets)?;
        let length = usize::from(header.length());
        if length < HEADER {
            return Err(Malformed::Length);
        }
        Ok(Self { header, octets: octets.get(..length).ok_or(Malformed::Truncated)? })
    }

    pub fn header(&self) -> &'a Header {
        self.header
    }

    pub fn payload(&self) -> &'a [u8] {
        &self.octets[HEADER..]
    }

    /// Whether the checksum is right, or left out where IPv4 permits it.
    pub fn has_valid_checksum(&self, source: IpAddr, destination: IpAddr) -> bool {
        match (self.header.has_no_checksum(), source) {
            (true, IpAddr::V4(_)) => true,
            (true, IpAddr::V6(_)) => false,
            (false, _) => sum(self.octets, source, destination).finish() == [0; 2],
        }
    }
}

/// A header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repr {
    pub source_port: u16,
    pub destination_port: u16,
}

impl Repr {
    /// Reads the header of a datagram.
    ///
    /// # Errors
    ///
    /// [`Malformed::Checksum`].
    pub fn parse(datagram: &Datagram<'_>, source: IpAddr, destination: IpAddr) -> Result<Self, Malformed> {
        if !datagram.has_valid_checksum(source, destination) {
            return Err(Malformed::Checksum);
        }
        let header = datagram.header;
        Ok(Self { source_port: header.source_port(), destination_port: header.destination_port() })
    }

    /// Writes the header before the payload that is already in `datagram`, which is one UDP datagram of at most 65,535 octets.
    ///
    /// # Panics
    ///
    /// If `datagram` has no room for a header.
    pub fn emit(&self, datagram: &mut [u8], source: IpAddr, destination: IpAddr) {
        let length = u16::try_from(datagram.len()).unwrap_or(u16::MAX);
        let mut header = Header {
            source_port: self.source_port.to_be_bytes(),
            destination_port: self.destination_port.to_be_bytes(),
            length: length.to_be_bytes(),
            checksum: [0; 2],
        };
        datagram[..HEADER].copy_from_slice(header.as_bytes());
        header.checksum = match sum(datagram, source, destination).finish() {
            // RFC 768: a checksum of 0 is sent as all ones, since 0 says that there is none.
            [0, 0] => [0xff; 2],
            computed => computed,
        };
        datagram[..HEADER].copy_from_slice(header.as_bytes());
    }
}

fn sum(datagram: &[u8], source: IpAddr, destination: IpAddr) -> Checksum {
    let length = u16::try_from(datagram.len()).unwrap_or(u16::MAX);
    let begun = Checksum::default();
    let with_addresses = match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            begun.pseudo_header(&source.octets(), &destination.octets(), PROTOCOL_UDP, length)
        }
        (source, destination) => {
            begun.pseudo_header(&octets(source), &octets(destination), PROTOCOL_UDP, length)
        }
    };
    with_addresses.over(datagram)
}

fn octets(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}
