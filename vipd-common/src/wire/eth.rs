//! Ethernet: addresses, the header, and VLAN tags (IEEE 802.1Q).

use core::{fmt, net::IpAddr};

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{Malformed, View};
use crate::{Family, Vrid};

/// Octets of an Ethernet header without tags.
pub const HEADER: usize = size_of::<Header>();
pub const ETHERTYPE_IPV4: u16 = 0x0800;
pub const ETHERTYPE_ARP: u16 = 0x0806;
pub const ETHERTYPE_IPV6: u16 = 0x86dd;
/// The greatest VLAN identifier, and the bits that it takes in a tag.
pub const MAX_VLAN_ID: u16 = 0x0fff;

/// A 48-bit MAC address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MacAddr(pub [u8; 6]);

impl MacAddr {
    /// What links without an Ethernet address have.
    pub const ZERO: Self = Self([0; 6]);
    pub const BROADCAST: Self = Self([0xff; 6]);

    /// To all nodes of a link (RFC 2464 7, of `ff02::1`).
    pub const ALL_NODES: Self = Self([0x33, 0x33, 0, 0, 0, 1]);

    /// The MAC of a virtual router (RFC 9568 7.3).
    pub const fn virtual_router(family: Family, vrid: Vrid) -> Self {
        let [a, b, c, d] = VIRTUAL_ROUTERS;
        let family = match family {
            Family::V4 => FOR_IPV4,
            Family::V6 => FOR_IPV6,
        };
        Self([a, b, c, d, family, vrid.get()])
    }

    /// Whether it is a group's, or everybody's (IEEE 802.3 3.2.3).
    #[inline(always)]
    pub fn is_group(self) -> bool {
        self.0[0] & 1 != 0
    }

    /// The family and the VRID of the virtual router whose MAC this is; a VRID of 0 is no router's.
    #[inline(always)]
    pub fn of_virtual_router(self) -> Option<(Family, u8)> {
        let [a, b, c, d, family, vrid] = self.0;
        if [a, b, c, d] != VIRTUAL_ROUTERS {
            return None;
        }
        match family {
            FOR_IPV4 => Some((Family::V4, vrid)),
            FOR_IPV6 => Some((Family::V6, vrid)),
            _ => None,
        }
    }

    /// The MAC that a multicast group maps to: its low 23 bits (RFC 1112 6.4), in IPv6 32 (RFC 2464 7).
    pub const fn of_multicast(group: IpAddr) -> Self {
        match group {
            IpAddr::V4(v4) => {
                let [_, b, c, d] = v4.octets();
                Self([0x01, 0x00, 0x5e, b & 0x7f, c, d])
            }
            IpAddr::V6(v6) => {
                let [.., a, b, c, d] = v6.octets();
                Self([0x33, 0x33, a, b, c, d])
            }
        }
    }
}

impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// Whether a tag follows, by the type that stands before it.
#[inline(always)]
pub const fn is_tag(ethertype: u16) -> bool {
    matches!(ethertype, ETHERTYPE_VLAN | ETHERTYPE_QINQ)
}

/// The view of an Ethernet header.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
pub struct Header {
    destination: [u8; 6],
    source: [u8; 6],
    ethertype: [u8; 2],
}

impl View for Header {}

impl Header {
    #[inline(always)]
    pub fn destination(&self) -> MacAddr {
        MacAddr(self.destination)
    }

    #[inline(always)]
    pub fn source(&self) -> MacAddr {
        MacAddr(self.source)
    }

    /// The type of what follows: a tag's, if there is one.
    #[inline(always)]
    pub fn ethertype(&self) -> u16 {
        u16::from_be_bytes(self.ethertype)
    }

    #[inline(always)]
    pub fn set_destination(&mut self, mac: MacAddr) {
        self.destination = mac.0;
    }

    #[inline(always)]
    pub fn set_source(&mut self, mac: MacAddr) {
        self.source = mac.0;
    }
}

/// The view of what a VLAN tag adds to a header: the tag without its own type, which stands before it, and the type of what
/// follows.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
pub struct Tag {
    control: [u8; 2],
    ethertype: [u8; 2],
}

impl View for Tag {}

impl Tag {
    /// The VLAN's identifier; 0 in a tag that has a priority only.
    #[inline(always)]
    pub fn vlan_id(&self) -> u16 {
        u16::from_be_bytes(self.control) & MAX_VLAN_ID
    }

    #[inline(always)]
    pub fn ethertype(&self) -> u16 {
        u16::from_be_bytes(self.ethertype)
    }
}

/// An Ethernet header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repr {
    pub destination: MacAddr,
    pub source: MacAddr,
    pub ethertype: u16,
}

impl Repr {
    /// Reads the header of a frame; and what follows it.
    ///
    /// # Errors
    ///
    /// [`Malformed::Truncated`].
    pub fn parse(frame: &[u8]) -> Result<(Self, &[u8]), Malformed> {
        let (header, payload) = Header::new_prefix(frame)?;
        let (destination, source) = (header.destination(), header.source());
        Ok((Self { destination, source, ethertype: header.ethertype() }, payload))
    }

    pub fn emit(&self, buffer: &mut [u8; HEADER]) {
        *buffer = zerocopy::transmute!(Header {
            destination: self.destination.0,
            source: self.source.0,
            ethertype: self.ethertype.to_be_bytes(),
        });
    }
}

const ETHERTYPE_VLAN: u16 = 0x8100;
const ETHERTYPE_QINQ: u16 = 0x88a8;
/// IANA's block for VRRP, before the octet that names the family.
const VIRTUAL_ROUTERS: [u8; 4] = [0x00, 0x00, 0x5e, 0x00];
const FOR_IPV4: u8 = 1;
const FOR_IPV6: u8 = 2;
