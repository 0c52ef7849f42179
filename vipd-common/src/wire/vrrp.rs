//! VRRP adverts: version 2 (RFC 3768 5.1, with RFC 2338's password) and version 3 (RFC 9568 5.1).

use core::{
    fmt,
    marker::PhantomData,
    net::{Ipv4Addr, Ipv6Addr},
};

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{Malformed, View, checksum::Checksum, ipv4::PROTOCOL_VRRP};
use crate::{Family, Priority, Vrid, types::ChecksumForm};

/// Octets before the addresses.
pub const HEADER: usize = size_of::<Header>();
/// Octets after them in version 2.
pub const AUTH_DATA: usize = 8;

/// RFC 2338 authentication types, as they stand in an advert of version 2.
pub mod auth_type {
    pub const NONE: u8 = 0;
    pub const SIMPLE_TEXT: u8 = 1;
    pub const IP_AH: u8 = 2;
}

/// The view of the first two octets, which say what the others are and whose.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
pub struct Head {
    version_type: u8,
    vrid: u8,
}

impl View for Head {}

impl Head {
    #[inline(always)]
    pub fn vrid(&self) -> u8 {
        self.vrid
    }
}

/// The view of what comes before the addresses.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
pub struct Header {
    head: Head,
    priority: u8,
    count: u8,
    /// Version 3: reserved bits and the advert interval; version 2: authentication type and advert interval.
    auth_interval: [u8; 2],
    checksum: [u8; 2],
}

impl View for Header {}

impl Header {
    #[inline(always)]
    pub fn version(&self) -> u8 {
        self.head.version_type >> 4
    }

    /// Whether its type is that of an advert, the only one there is.
    #[inline(always)]
    pub fn is_advertisement(&self) -> bool {
        self.head.version_type & 0x0f == TYPE_ADVERTISEMENT
    }

    #[inline(always)]
    pub fn vrid(&self) -> u8 {
        self.head.vrid
    }

    #[inline(always)]
    pub fn priority(&self) -> u8 {
        self.priority
    }

    /// Number of addresses.
    #[inline(always)]
    pub fn count(&self) -> u8 {
        self.count
    }

    /// Of version 2.
    #[inline(always)]
    pub fn auth_type(&self) -> u8 {
        self.auth_interval[0]
    }

    /// In centiseconds, by the version that the header has. RFC 9568 5.2.6: the reserved bits are ignored.
    #[inline(always)]
    pub fn interval_cs(&self) -> u32 {
        if self.version() == 2 {
            u32::from(self.auth_interval[1]) * 100
        } else {
            u32::from(u16::from_be_bytes(self.auth_interval) & MAX_INTERVAL_CS)
        }
    }

    /// As native-endian words, for the checksum.
    #[inline(always)]
    pub fn words(&self) -> u64 {
        zerocopy::transmute!(*self)
    }
}

/// Octets of an advert of a version that lists `count` addresses.
#[inline(always)]
pub const fn length(version: u8, family: Family, count: u8) -> usize {
    HEADER + count as usize * address_length(family) + trailer(version)
}

/// Octets of an address.
#[inline(always)]
pub const fn address_length(family: Family) -> usize {
    match family {
        Family::V4 => 4,
        Family::V6 => 16,
    }
}

/// Octets after the addresses.
#[inline(always)]
const fn trailer(version: u8) -> usize {
    if version == 2 { AUTH_DATA } else { 0 }
}

/// The checked view of an advert over the version of IP that `A` is of.
#[derive(Clone, Copy, Debug)]
pub struct Advert<'a, A> {
    header: &'a Header,
    octets: &'a [u8],
    family: PhantomData<A>,
}

impl<'a, A: ListedAddress> Advert<'a, A> {
    /// The view of an advert that takes all of `octets`, the payload of an IP packet.
    ///
    /// # Errors
    ///
    /// [`Malformed::Truncated`] of less than a header; [`Malformed::Version`], also of version 2 over IPv6; [`Malformed::Type`];
    /// [`Malformed::AddressCount`]; [`Malformed::Length`] of more or fewer octets than the addresses take.
    pub fn new_checked(octets: &'a [u8]) -> Result<Self, Malformed> {
        let (header, _) = Header::new_prefix(octets)?;
        match (header.version(), A::FAMILY) {
            (2, Family::V4) | (3, _) => {}
            _ => return Err(Malformed::Version),
        }
        if !header.is_advertisement() {
            return Err(Malformed::Type);
        }
        if header.count == 0 {
            return Err(Malformed::AddressCount);
        }
        if octets.len() != length(header.version(), A::FAMILY, header.count) {
            return Err(Malformed::Length);
        }
        Ok(Self { header, octets, family: PhantomData })
    }

    pub fn header(&self) -> &'a Header {
        self.header
    }

    pub fn addresses(&self) -> &'a [A::Octets] {
        let list = &self.octets[HEADER..self.octets.len() - trailer(self.header.version())];
        <[A::Octets]>::ref_from_bytes(list).expect("the length was checked, and octets have no alignment")
    }

    /// Of version 2, whatever its authentication type.
    pub fn auth_data(&self) -> Option<[u8; AUTH_DATA]> {
        if trailer(self.header.version()) == 0 { None } else { self.octets.last_chunk().copied() }
    }

    /// Which octets the checksum covers; `None` if it is wrong. Where both are right, the message only.
    pub fn checksum_form(&self, source: A, destination: A) -> Option<ChecksumForm> {
        let forms: &[_] = match (A::FAMILY, self.header.version()) {
            (Family::V4, 2) => &[ChecksumForm::MessageOnly],
            (Family::V4, _) => &[ChecksumForm::MessageOnly, ChecksumForm::PseudoHeader],
            (Family::V6, _) => &[ChecksumForm::PseudoHeader],
        };
        forms.iter().copied().find(|form| checksum(self.octets, *form, source, destination) == [0, 0])
    }
}

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
    type Octets: AsRef<[u8]> + Copy + Eq + fmt::Debug + FromBytes + IntoBytes + Immutable + Unaligned;

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
pub struct Repr<'a, A: ListedAddress> {
    pub vrid: Vrid,
    pub priority: Priority,
    /// 1 to 255; more are left out.
    pub addresses: &'a [A::Octets],
    pub body: Body,
}

impl<'a, A: ListedAddress> Repr<'a, A> {
    /// Reads an advert from `source` to `destination`.
    ///
    /// # Errors
    ///
    /// [`Malformed::Checksum`], [`Malformed::Vrid`]; [`Malformed::AuthType`] of any but none and a simple password.
    pub fn parse(advert: &Advert<'a, A>, source: A, destination: A) -> Result<Self, Malformed> {
        let header = advert.header;
        let checksum = advert.checksum_form(source, destination).ok_or(Malformed::Checksum)?;
        let body = match (advert.auth_data(), header.auth_type()) {
            (None, _) => Body::V3 { interval_cs: header.interval_cs() as u16, checksum },
            (Some(_), auth_type::NONE) => Body::V2 { interval_s: header.auth_interval[1], password: None },
            (Some(password), auth_type::SIMPLE_TEXT) => {
                Body::V2 { interval_s: header.auth_interval[1], password: Some(password) }
            }
            _ => return Err(Malformed::AuthType),
        };
        Ok(Self {
            vrid: Vrid::new(header.vrid()).ok_or(Malformed::Vrid)?,
            priority: Priority::new(header.priority),
            addresses: advert.addresses(),
            body,
        })
    }

    /// Octets of the message.
    pub fn length(&self) -> usize {
        length(self.version(), A::FAMILY, self.count())
    }

    /// Writes the message. Source and destination are for version 3's pseudo-header.
    ///
    /// # Panics
    ///
    /// If `buffer` is not [`length`](Self::length) octets long.
    pub fn emit(&self, buffer: &mut [u8], source: A, destination: A) {
        assert_eq!(buffer.len(), self.length(), "a buffer of the message's length");
        let (auth_interval, form, auth_data) = match self.body {
            Body::V2 { interval_s, password } => {
                let kind = if password.is_some() { auth_type::SIMPLE_TEXT } else { auth_type::NONE };
                ([kind, interval_s], ChecksumForm::MessageOnly, password.unwrap_or_default())
            }
            // RFC 9568 5.2.6: the reserved bits are 0. 5.2.8: IPv6 always has the pseudo-header, IPv4 only as RFC 5798 was read.
            Body::V3 { interval_cs, checksum } => {
                let form = if A::FAMILY == Family::V6 { ChecksumForm::PseudoHeader } else { checksum };
                ((interval_cs & MAX_INTERVAL_CS).to_be_bytes(), form, [0; AUTH_DATA])
            }
        };
        let mut header = Header {
            head: Head { version_type: self.version() << 4 | TYPE_ADVERTISEMENT, vrid: self.vrid.get() },
            priority: self.priority.get(),
            count: self.count(),
            auth_interval,
            checksum: [0; 2],
        };
        let addresses = self.addresses[..usize::from(self.count())].as_bytes();
        let (list, rest) = buffer[HEADER..].split_at_mut(addresses.len());
        list.copy_from_slice(addresses);
        rest.copy_from_slice(&auth_data[..trailer(self.version())]);
        buffer[..HEADER].copy_from_slice(header.as_bytes());
        header.checksum = checksum(buffer, form, source, destination);
        buffer[..HEADER].copy_from_slice(header.as_bytes());
    }

    fn version(&self) -> u8 {
        match self.body {
            Body::V2 { .. } => 2,
            Body::V3 { .. } => 3,
        }
    }

    fn count(&self) -> u8 {
        u8::try_from(self.addresses.len()).unwrap_or(u8::MAX)
    }
}

/// Of a whole message: 0 if the checksum in it is right.
fn checksum<A: ListedAddress>(message: &[u8], form: ChecksumForm, source: A, destination: A) -> [u8; 2] {
    let sum = Checksum::default().over(message);
    match form {
        ChecksumForm::MessageOnly => sum,
        ChecksumForm::PseudoHeader => sum.pseudo_header(
            source.octets().as_ref(),
            destination.octets().as_ref(),
            PROTOCOL_VRRP,
            // At most 4088.
            message.len() as u16,
        ),
    }
    .finish()
}

const TYPE_ADVERTISEMENT: u8 = 1;
/// Twelve bits (RFC 9568 5.2.7).
const MAX_INTERVAL_CS: u16 = 0x0fff;
