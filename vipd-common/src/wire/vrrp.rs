//! VRRP adverts: version 2 (RFC 3768 5.1, with RFC 2338's password) and version 3 (RFC 9568 5.1).

use core::net::{Ipv4Addr, Ipv6Addr};

use super::{checksum::Checksum, ipv4::PROTOCOL_VRRP};
use crate::{Family, Priority, Vrid, types::ChecksumForm};

/// Octets before the addresses.
pub const HEADER: usize = 8;
/// Octets after them in version 2.
pub const AUTH_DATA: usize = 8;
const TYPE_ADVERTISEMENT: u8 = 1;
const AUTH_NONE: u8 = 0;
const AUTH_SIMPLE_TEXT: u8 = 1;

/// What depends on the version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// Over IPv4 only.
    V2 {
        /// 1 to 255 seconds.
        interval_s: u8,
        /// Password, zero-filled; authentication type 0 without.
        password: Option<[u8; 8]>,
    },
    V3 {
        /// 1 to 4095 centiseconds.
        interval_cs: u16,
        /// Of IPv4; IPv6 knows only the pseudo-header.
        checksum: ChecksumForm,
    },
}

/// What an advert lists: addresses of the version of IP that carries it (RFC 9568 5.2.9).
pub trait ListedAddress: Copy {
    const FAMILY: Family;
    type Octets: AsRef<[u8]>;

    fn octets(self) -> Self::Octets;
}

impl ListedAddress for Ipv4Addr {
    const FAMILY: Family = Family::V4;
    type Octets = [u8; 4];

    fn octets(self) -> Self::Octets {
        Self::octets(&self)
    }
}

impl ListedAddress for Ipv6Addr {
    const FAMILY: Family = Family::V6;
    type Octets = [u8; 16];

    fn octets(self) -> Self::Octets {
        Self::octets(&self)
    }
}

/// An advert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repr<'a, A> {
    pub vrid: Vrid,
    pub priority: Priority,
    /// 1 to 255; more are left out.
    pub addresses: &'a [A],
    pub body: Body,
}

impl<A: ListedAddress> Repr<'_, A> {
    /// Octets of the message.
    pub fn length(&self) -> usize {
        let trailer = match self.body {
            Body::V2 { .. } => AUTH_DATA,
            Body::V3 { .. } => 0,
        };
        HEADER + usize::from(self.count()) * size_of::<A::Octets>() + trailer
    }

    /// Writes the message. Source and destination are for version 3's pseudo-header.
    ///
    /// # Panics
    ///
    /// If `buffer` is not [`length`](Self::length) octets long.
    pub fn emit(&self, buffer: &mut [u8], source: A, destination: A) {
        assert_eq!(buffer.len(), self.length(), "a buffer of the message's length");
        let (version, word) = match self.body {
            Body::V2 { interval_s, password } => {
                (2u8, [if password.is_some() { AUTH_SIMPLE_TEXT } else { AUTH_NONE }, interval_s])
            }
            // RFC 9568 5.2.6: the reserved bits are 0.
            Body::V3 { interval_cs, .. } => (3, (interval_cs & 0x0fff).to_be_bytes()),
        };
        buffer[0] = version << 4 | TYPE_ADVERTISEMENT;
        buffer[1] = self.vrid.get();
        buffer[2] = self.priority.get();
        buffer[3] = self.count();
        buffer[4..6].copy_from_slice(&word);
        buffer[6..8].fill(0);
        let addresses = &self.addresses[..usize::from(self.count())];
        let (slots, trailer) = buffer[HEADER..].split_at_mut(addresses.len() * size_of::<A::Octets>());
        for (slot, address) in slots.chunks_exact_mut(size_of::<A::Octets>()).zip(addresses) {
            slot.copy_from_slice(address.octets().as_ref());
        }
        if let Body::V2 { password, .. } = self.body {
            trailer.copy_from_slice(&password.unwrap_or_default());
        }
        let sum = Checksum::default().over(buffer);
        let sum = match (A::FAMILY, self.body) {
            // RFC 9568 5.2.8: always in IPv6; in IPv4 only as RFC 5798 was read.
            (Family::V6, _) | (Family::V4, Body::V3 { checksum: ChecksumForm::PseudoHeader, .. }) => sum
                .pseudo_header(
                    source.octets().as_ref(),
                    destination.octets().as_ref(),
                    PROTOCOL_VRRP,
                    // At most 4088.
                    buffer.len() as u16,
                ),
            (Family::V4, Body::V2 { .. } | Body::V3 { checksum: ChecksumForm::MessageOnly, .. }) => sum,
        };
        buffer[6..8].copy_from_slice(&sum.finish());
    }

    fn count(&self) -> u8 {
        u8::try_from(self.addresses.len()).unwrap_or(u8::MAX)
    }
}
