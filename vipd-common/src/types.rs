//! The protocol's small vocabulary, each a type of its own so that two of them cannot be swapped.

use core::{fmt, num::NonZeroU8};

/// VRRP protocol version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Version {
    /// RFC 3768: IPv4, whole-second intervals, optional RFC 2338 authentication.
    V2 = 2,
    /// RFC 9568: IPv4 and IPv6, centisecond intervals.
    V3 = 3,
}

/// Address family of a virtual router.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Family {
    V4 = 4,
    V6 = 6,
}

/// Virtual router identifier, 1 to 255 (RFC 9568 5.2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Vrid(NonZeroU8);

impl Vrid {
    /// Returns `None` for 0, which no virtual router can have.
    pub const fn new(vrid: u8) -> Option<Self> {
        match NonZeroU8::new(vrid) {
            Some(vrid) => Some(Self(vrid)),
            None => None,
        }
    }

    pub const fn get(self) -> u8 {
        self.0.get()
    }
}

impl fmt::Display for Vrid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Priority of a VRRP router as it stands in an advert (RFC 9568 5.2.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Priority(u8);

impl Priority {
    /// The master is leaving: backups take over after the skew time.
    pub const LEAVING: Self = Self(0);
    /// What a router uses that is configured without one.
    pub const DEFAULT: Self = Self(100);
    /// The router owns the addresses.
    pub const OWNER: Self = Self(255);

    pub const fn new(priority: u8) -> Self {
        Self(priority)
    }

    pub const fn get(self) -> u8 {
        self.0
    }

    pub const fn is_owner(self) -> bool {
        self.0 == Self::OWNER.0
    }

    pub const fn is_leaving(self) -> bool {
        self.0 == Self::LEAVING.0
    }
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Which octets the checksum of a v3 advert over IPv4 covers.
///
/// RFC 5798 5.2.8 asked for "a pseudo-header" and cited only the IPv6 one; RFC 9568 5.2.8 settles that IPv4 has none.
/// keepalived and FRR, as shipped, send and demand the pseudo-header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ChecksumForm {
    /// Source, destination, protocol 112 and length are summed too (RFC 5798 as most read it; all of IPv6).
    PseudoHeader = 0,
    /// Only the VRRP message (RFC 9568; all of v2).
    MessageOnly = 1,
}

impl ChecksumForm {
    pub const fn from_u8(form: u8) -> Self {
        match form {
            0 => Self::PseudoHeader,
            _ => Self::MessageOnly,
        }
    }
}
