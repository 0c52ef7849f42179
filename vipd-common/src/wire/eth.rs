//! Ethernet: addresses and the header.

use core::{fmt, net::IpAddr};

use crate::{Family, Vrid};

/// Octets of an Ethernet header without tags.
pub const HEADER: usize = 14;
pub const ETHERTYPE_IPV4: u16 = 0x0800;
pub const ETHERTYPE_ARP: u16 = 0x0806;
pub const ETHERTYPE_IPV6: u16 = 0x86dd;

/// A 48-bit MAC address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MacAddr(pub [u8; 6]);

impl MacAddr {
    /// What links without an Ethernet address have.
    pub const ZERO: Self = Self([0; 6]);
    pub const BROADCAST: Self = Self([0xff; 6]);

    /// The MAC of a virtual router (RFC 9568 7.3).
    pub const fn virtual_router(family: Family, vrid: Vrid) -> Self {
        match family {
            Family::V4 => Self([0x00, 0x00, 0x5e, 0x00, 0x01, vrid.get()]),
            Family::V6 => Self([0x00, 0x00, 0x5e, 0x00, 0x02, vrid.get()]),
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

/// An Ethernet header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repr {
    pub destination: MacAddr,
    pub source: MacAddr,
    pub ethertype: u16,
}

impl Repr {
    pub fn emit(&self, buffer: &mut [u8; HEADER]) {
        buffer[..6].copy_from_slice(&self.destination.0);
        buffer[6..12].copy_from_slice(&self.source.0);
        buffer[12..].copy_from_slice(&self.ethertype.to_be_bytes());
    }
}
