//! Wire formats, each once: a view of its octets, and a `Repr` with typed fields.
//!
//! A view is a struct of octets, one field after the other. Its fields are private to its file, so an offset is written nowhere
//! and known nowhere else. User space gets a view from a slice, by `new_checked`; the program in the kernel gets one from a packet
//! pointer that it has compared with the frame's end (`vipd-ebpf/src/frame.rs`). The accessors of a view cannot fail.
//!
//! A message that is longer than its header has a second view, of a slice: it checks that the lengths in the header agree with
//! each other and with the slice. `Repr::parse` makes a `Repr` of it, and says of each message that is not valid why;
//! `Repr::emit` writes every octet of its buffer.
//!
//! The daemon receives through XDP events only, and what the program sends is made of the same views in place. So `parse` serves
//! tests, and whoever reads a raw socket. The tests' own decoder (`tests/src/probe/decode.rs`) shares nothing with this.

pub mod arp;
pub mod bfd;
pub mod checksum;
pub mod eth;
pub mod ipv4;
pub mod ipv6;
pub mod ndp;
pub mod probe;
pub mod udp;
pub mod vrrp;

use core::fmt;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// A struct of octets: any octets are one, at any address.
pub trait View: FromBytes + IntoBytes + KnownLayout + Immutable + Unaligned + Copy {
    /// The view of the first octets, and what follows them.
    ///
    /// # Errors
    ///
    /// [`Malformed::Truncated`] if there are too few.
    fn new_prefix(octets: &[u8]) -> Result<(&Self, &[u8]), Malformed> {
        Self::ref_from_prefix(octets).map_err(|_| Malformed::Truncated)
    }
}

/// Why octets are no message of their format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// The octets end before the message does.
    Truncated,
    /// The version is another.
    Version,
    /// The type of message, or the kinds of address in ARP, are others.
    Type,
    /// The ICMPv6 code is not 0.
    Code,
    /// A length contradicts another, or is below the least there can be.
    Length,
    /// No address is listed.
    AddressCount,
    /// The virtual router identifier is 0.
    Vrid,
    /// The authentication type is unknown.
    AuthType,
    /// The checksum is wrong.
    Checksum,
    /// BFD's detection multiplier is 0.
    Multiplier,
    /// BFD's multipoint bit is set.
    Multipoint,
    /// The sender's BFD discriminator is 0.
    Discriminator,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Truncated => "truncated",
            Self::Version => "another version",
            Self::Type => "another type",
            Self::Code => "the code is not 0",
            Self::Length => "a length is wrong",
            Self::AddressCount => "no address is listed",
            Self::Vrid => "the virtual router identifier is 0",
            Self::AuthType => "the authentication type is unknown",
            Self::Checksum => "the checksum is wrong",
            Self::Multiplier => "the detection multiplier is 0",
            Self::Multipoint => "the multipoint bit is set",
            Self::Discriminator => "the sender's discriminator is 0",
        })
    }
}

impl core::error::Error for Malformed {}

#[cfg(test)]
mod bfd_tests;
#[cfg(test)]
mod probe_tests;
#[cfg(test)]
mod tests;
