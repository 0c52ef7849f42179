//! Neighbor Discovery for IPv6 over Ethernet (RFC 4861): Neighbor Solicitations and Neighbor Advertisements.

use core::net::Ipv6Addr;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{
    Malformed, View,
    checksum::{self, Checksum},
    eth::MacAddr,
    ipv6,
};
use crate::address::Address;

pub const NEXT_HEADER_ICMPV6: u8 = 58;
/// RFC 4861 7.1: receivers discard any other, so that no router has forwarded it.
pub const HOP_LIMIT: u8 = 255;
/// The all-nodes group of a link.
pub const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
/// Octets of a message without options.
pub const HEADER: usize = size_of::<Header>();
/// Octets of an advertisement with its one option.
pub const ADVERTISEMENT: usize = size_of::<Advertisement>();
/// Messages and options are made of units of so many octets.
pub const UNIT: usize = 8;

/// Which of the two a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Solicitation,
    Advertisement,
}

/// The view of an ICMPv6 message's first octet.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
pub struct Type(u8);

impl View for Type {}

impl Type {
    /// `None` if the message is neither.
    #[inline(always)]
    pub fn kind(&self) -> Option<Kind> {
        match self.0 {
            TYPE_SOLICITATION => Some(Kind::Solicitation),
            TYPE_ADVERTISEMENT => Some(Kind::Advertisement),
            _ => None,
        }
    }
}

/// The view of a message without its options (RFC 4861 4.3, 4.4).
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
pub struct Header {
    kind: Type,
    code: u8,
    checksum: [u8; 2],
    /// Of an advertisement.
    flags: u8,
    reserved: [u8; 3],
    target: [u8; 16],
}

impl View for Header {}

impl Header {
    /// `None` if the message is neither.
    #[inline(always)]
    pub fn kind(&self) -> Option<Kind> {
        self.kind.kind()
    }

    #[inline(always)]
    pub fn code(&self) -> u8 {
        self.code
    }

    /// Of an advertisement: the sender is a router.
    #[inline(always)]
    pub fn is_router(&self) -> bool {
        self.flags & Flags::ROUTER != 0
    }

    /// Of an advertisement: it answers a solicitation.
    #[inline(always)]
    pub fn is_solicited(&self) -> bool {
        self.flags & Flags::SOLICITED != 0
    }

    /// Of an advertisement: caches that know another link-layer address take this one.
    #[inline(always)]
    pub fn overrides(&self) -> bool {
        self.flags & Flags::OVERRIDE != 0
    }

    pub fn target(&self) -> Ipv6Addr {
        Ipv6Addr::from_octets(self.target)
    }

    /// The target as the maps have it.
    #[inline(always)]
    pub fn target_words(&self) -> Address {
        zerocopy::transmute!(self.target)
    }
}

/// What the option of a link-layer address is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum LinkAddressOf {
    Source = OPTION_SOURCE_LINK_LAYER_ADDRESS,
    Target = OPTION_TARGET_LINK_LAYER_ADDRESS,
}

/// The view of an option's first unit (RFC 4861 4.6): all of the option with a link-layer address of Ethernet.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
pub struct LinkAddress {
    kind: u8,
    units: u8,
    mac: [u8; 6],
}

impl View for LinkAddress {}

impl LinkAddress {
    #[inline(always)]
    pub fn new(of: LinkAddressOf, mac: MacAddr) -> Self {
        Self { kind: of as u8, units: 1, mac: mac.0 }
    }

    #[inline(always)]
    pub fn is(&self, of: LinkAddressOf) -> bool {
        self.kind == of as u8
    }

    /// Units of the option, this one among them; 0 is invalid.
    #[inline(always)]
    pub fn units(&self) -> u8 {
        self.units
    }

    /// If the option has a link-layer address: RFC 4861 4.6.1 has one of Ethernet take one unit.
    #[inline(always)]
    pub fn mac(&self) -> MacAddr {
        MacAddr(self.mac)
    }
}

/// The view of an advertisement with the option that it needs, and no other.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
pub struct Advertisement {
    header: Header,
    option: LinkAddress,
}

impl View for Advertisement {}

impl Advertisement {
    /// That `target` is at `mac`; with a checksum of 0.
    #[inline(always)]
    fn new(flags: Flags, target: Address, mac: MacAddr) -> Self {
        Self {
            header: Header::new(TYPE_ADVERTISEMENT, flags.octet(), target.octets()),
            option: LinkAddress::new(LinkAddressOf::Target, mac),
        }
    }
}

/// The view of an IPv6 packet that carries such an advertisement.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
pub struct AdvertisementPacket {
    ip: ipv6::Header,
    message: Advertisement,
}

impl View for AdvertisementPacket {}

impl AdvertisementPacket {
    /// Sent by `target`, which is at `mac`, to `destination`; complete, with its checksum.
    #[inline(always)]
    pub fn new(flags: Flags, target: Address, mac: MacAddr, destination: Address) -> Self {
        const LENGTH: u16 = ADVERTISEMENT as u16;
        let ip = ipv6::Header::new(0, LENGTH, NEXT_HEADER_ICMPV6, HOP_LIMIT, target, destination);
        let mut message = Advertisement::new(flags, target, mac);
        let [first, _, _, last]: [u64; ADVERTISEMENT / 8] = zerocopy::transmute!(message);
        let sum = checksum::pseudo_header(target, destination, NEXT_HEADER_ICMPV6, LENGTH)
            + checksum::word_pair(first)
            + checksum::address(target)
            + checksum::word_pair(last);
        message.header.checksum = checksum::of_words(sum);
        Self { ip, message }
    }
}

impl Header {
    #[inline(always)]
    fn new(kind: u8, flags: u8, target: [u8; 16]) -> Self {
        Self { kind: Type(kind), code: 0, checksum: [0; 2], flags, reserved: [0; 3], target }
    }
}

/// The flags of an advertisement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flags {
    pub router: bool,
    pub solicited: bool,
    pub overrides: bool,
}

impl Flags {
    const ROUTER: u8 = 0x80;
    const SOLICITED: u8 = 0x40;
    const OVERRIDE: u8 = 0x20;

    #[inline(always)]
    fn octet(self) -> u8 {
        let flag = |set, flag| if set { flag } else { 0 };
        flag(self.router, Self::ROUTER)
            | flag(self.solicited, Self::SOLICITED)
            | flag(self.overrides, Self::OVERRIDE)
    }
}

/// The checked view of a message with its options.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    header: &'a Header,
    kind: Kind,
    /// From its type to its end.
    octets: &'a [u8],
    link_address: Option<&'a LinkAddress>,
}

impl<'a> Message<'a> {
    /// The view of a message that takes all of `octets`, the payload of an IPv6 packet.
    ///
    /// # Errors
    ///
    /// [`Malformed::Truncated`], [`Malformed::Type`], [`Malformed::Code`]; [`Malformed::Length`] if the message or an option is not
    /// made of whole units, an option has none, or that of a link-layer address has more than one.
    pub fn new_checked(octets: &'a [u8]) -> Result<Self, Malformed> {
        let (header, options) = Header::new_prefix(octets)?;
        let kind = header.kind().ok_or(Malformed::Type)?;
        if header.code != 0 {
            return Err(Malformed::Code);
        }
        let wanted = match kind {
            Kind::Solicitation => LinkAddressOf::Source,
            Kind::Advertisement => LinkAddressOf::Target,
        };
        Ok(Self { header, kind, octets, link_address: link_address(options, wanted)? })
    }

    pub fn kind(&self) -> Kind {
        self.kind
    }

    pub fn header(&self) -> &'a Header {
        self.header
    }

    /// Of the source in a solicitation, of the target in an advertisement. Of several, the first.
    pub fn link_address(&self) -> Option<MacAddr> {
        self.link_address.map(LinkAddress::mac)
    }

    pub fn has_valid_checksum(&self, source: Ipv6Addr, destination: Ipv6Addr) -> bool {
        checksum_of(self.octets, source, destination) == [0, 0]
    }
}

/// Walks the options.
fn link_address(mut options: &[u8], wanted: LinkAddressOf) -> Result<Option<&LinkAddress>, Malformed> {
    let mut found = None;
    while !options.is_empty() {
        let (option, _) = LinkAddress::new_prefix(options).map_err(|_| Malformed::Length)?;
        let length = usize::from(option.units) * UNIT;
        if length == 0 || option.is(wanted) && length != UNIT {
            return Err(Malformed::Length);
        }
        if option.is(wanted) {
            found = found.or(Some(option));
        }
        options = options.get(length..).ok_or(Malformed::Length)?;
    }
    Ok(found)
}

/// What vipd sends, and what it is told by other stations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repr {
    Solicitation {
        target: Ipv6Addr,
        /// Of the sender.
        link_address: Option<MacAddr>,
    },
    Advertisement {
        flags: Flags,
        target: Ipv6Addr,
        /// Of the target.
        link_address: Option<MacAddr>,
    },
}

impl Repr {
    /// An unsolicited Neighbor Advertisement: `target` is at `mac`.
    ///
    /// RFC 9568 6.4.2 asks for R, also of a host that forwards nothing; the others as RFC 4861 7.2.6: nothing has solicited it,
    /// and caches that know another MAC take this one.
    pub const fn unsolicited(target: Ipv6Addr, mac: MacAddr) -> Self {
        let flags = Flags { router: true, solicited: false, overrides: true };
        Self::Advertisement { flags, target, link_address: Some(mac) }
    }

    /// The Neighbor Solicitation of Duplicate Address Detection (RFC 4862 5.4.2): without an option. It is sent from the unspecified
    /// address to the target's solicited-node group.
    pub const fn probe(target: Ipv6Addr) -> Self {
        Self::Solicitation { target, link_address: None }
    }

    /// Reads a message from `source` to `destination`.
    ///
    /// # Errors
    ///
    /// [`Malformed::Checksum`].
    pub fn parse(message: &Message<'_>, source: Ipv6Addr, destination: Ipv6Addr) -> Result<Self, Malformed> {
        if !message.has_valid_checksum(source, destination) {
            return Err(Malformed::Checksum);
        }
        let (target, link_address) = (message.header.target(), message.link_address());
        Ok(match message.kind {
            Kind::Solicitation => Self::Solicitation { target, link_address },
            Kind::Advertisement => Self::Advertisement {
                flags: Flags {
                    router: message.header.is_router(),
                    solicited: message.header.is_solicited(),
                    overrides: message.header.overrides(),
                },
                target,
                link_address,
            },
        })
    }

    /// Octets of the message.
    pub const fn length(&self) -> usize {
        let (Self::Solicitation { link_address, .. } | Self::Advertisement { link_address, .. }) = self;
        if link_address.is_some() { HEADER + UNIT } else { HEADER }
    }

    /// Writes the message. Source and destination are for the checksum's pseudo-header.
    ///
    /// # Panics
    ///
    /// If `buffer` is not [`length`](Self::length) octets long.
    pub fn emit(&self, buffer: &mut [u8], source: Ipv6Addr, destination: Ipv6Addr) {
        assert_eq!(buffer.len(), self.length(), "a buffer of the message's length");
        let (header, of, link_address) = match *self {
            Self::Solicitation { target, link_address } => {
                (Header::new(TYPE_SOLICITATION, 0, target.octets()), LinkAddressOf::Source, link_address)
            }
            Self::Advertisement { flags, target, link_address } => {
                let header = Header::new(TYPE_ADVERTISEMENT, flags.octet(), target.octets());
                (header, LinkAddressOf::Target, link_address)
            }
        };
        let (fixed, option) = buffer.split_at_mut(HEADER);
        fixed.copy_from_slice(header.as_bytes());
        if let Some(mac) = link_address {
            option.copy_from_slice(LinkAddress::new(of, mac).as_bytes());
        }
        let checksum = checksum_of(buffer, source, destination);
        let message = Header::mut_from_prefix(buffer).map(|(header, _)| header);
        message.expect("the buffer is as long as the message").checksum = checksum;
    }
}

fn checksum_of(message: &[u8], source: Ipv6Addr, destination: Ipv6Addr) -> [u8; 2] {
    // What does not fit is longer than any IPv6 packet without the jumbo option, and its checksum is wrong.
    let length = u16::try_from(message.len()).unwrap_or(u16::MAX);
    Checksum::default()
        .over(message)
        .pseudo_header(&source.octets(), &destination.octets(), NEXT_HEADER_ICMPV6, length)
        .finish()
}

/// The group that solicitations of an address are sent to (RFC 4291 2.7.1).
pub const fn solicited_node(target: Ipv6Addr) -> Ipv6Addr {
    let [.., high, low] = target.segments();
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | (high & 0xff), low)
}

const TYPE_SOLICITATION: u8 = 135;
const TYPE_ADVERTISEMENT: u8 = 136;
const OPTION_SOURCE_LINK_LAYER_ADDRESS: u8 = 1;
const OPTION_TARGET_LINK_LAYER_ADDRESS: u8 = 2;
