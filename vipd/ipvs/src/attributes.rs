//! Attributes of netlink messages (`linux/netlink.h`): a checked view of a list, and how a list is made.
//!
//! Numbers are in the host's byte order, but for addresses and some ports.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use netlink_packet_core::{DefaultNla, Emitable, NLA_F_NESTED, NLA_HEADER_SIZE, NlasIterator};
use vipd_common::Family;

/// Why octets are no answer of IPVS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MalformedReply {
    /// The datagram ends before the message does, or the message before its header.
    #[error("a netlink message does not end inside its datagram")]
    Truncated,
    /// The list ends before the attribute does, or the attribute before its header.
    #[error("an attribute does not end inside its list")]
    Attribute,
    /// An attribute of this number has a length that its type cannot have.
    #[error("attribute {attribute} of {nest} has {octets} octets")]
    Length {
        /// What the attribute belongs to.
        nest: &'static str,
        /// Its number in `linux/ip_vs.h`.
        attribute: u16,
        /// Length of its value.
        octets: usize,
    },
    /// An attribute is not there that every answer has.
    #[error("{nest} has no attribute {attribute}")]
    Missing {
        /// What the attribute belongs to.
        nest: &'static str,
        /// Its number in `linux/ip_vs.h`.
        attribute: u16,
    },
    /// Neither `AF_INET` nor `AF_INET6`.
    #[error("address family {0} is neither IPv4 nor IPv6")]
    Family(u16),
    /// A firewall mark of 0, which is none.
    #[error("the firewall mark is 0")]
    Mark,
    /// The length of an IPv6 prefix is above 128.
    #[error("the mask of an IPv6 service is {0}, which is no prefix length")]
    Mask(u32),
    /// A forwarding method above 4.
    #[error("forwarding method {0} is unknown")]
    Forwarding(u32),
    /// A sync daemon that is neither master nor backup.
    #[error("sync daemon state {0} is neither master nor backup")]
    Role(u32),
    /// The sync id is above 255, which no message of the daemon can have.
    #[error("sync id {0} is above 255")]
    SyncId(u32),
    /// A name is empty, too long, or no UTF-8.
    #[error("a name in {nest} is empty, too long or no UTF-8")]
    Name {
        /// What the name belongs to.
        nest: &'static str,
    },
    /// Another command than the answer to the request has.
    #[error("the answer has command {0}")]
    Command(u8),
    /// The kernel said that the request was done, and did not send what was asked for.
    #[error("the answer is empty")]
    Empty,
}

/// The view of a list of attributes.
#[derive(Clone, Copy, Debug)]
pub struct AttributeList<'a> {
    octets: &'a [u8],
}

impl<'a> AttributeList<'a> {
    /// The view of a list that fills the octets.
    ///
    /// # Errors
    ///
    /// [`MalformedReply::Attribute`]
    pub fn new_checked(octets: &'a [u8]) -> Result<Self, MalformedReply> {
        if NlasIterator::new(octets).all(|attribute| attribute.is_ok()) {
            Ok(Self { octets })
        } else {
            Err(MalformedReply::Attribute)
        }
    }

    /// Number and value of each attribute, in order. A number may be there more than once: the last one counts, as it does for the
    /// kernel.
    pub fn iter(self) -> impl Iterator<Item = (u16, &'a [u8])> {
        NlasIterator::new(self.octets).flatten().map(|attribute| {
            let (number, end) = (attribute.kind(), usize::from(attribute.length()));
            (number, &attribute.into_inner()[NLA_HEADER_SIZE..end])
        })
    }

    /// The value of the last attribute with this number.
    pub fn find(self, number: u16) -> Option<&'a [u8]> {
        self.iter().filter(|(found, _)| *found == number).last().map(|(_, value)| value)
    }
}

/// A name as the kernel has it in a fixed array: 1 to `MAX` octets of UTF-8, none of them 0.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KernelName<const MAX: usize>(String);

impl<const MAX: usize> KernelName<MAX> {
    /// Returns `None` for a name that is empty, too long, or has a NUL.
    pub fn new(name: &str) -> Option<Self> {
        ((1..=MAX).contains(&name.len()) && !name.contains('\0')).then(|| Self(name.to_owned()))
    }

    /// The name without a terminator.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Of the value of an attribute: up to its first NUL.
    pub(crate) fn parse(nest: &'static str, value: &[u8]) -> Result<Self, MalformedReply> {
        let name = value.split(|octet| *octet == 0).next().unwrap_or_default();
        let name = std::str::from_utf8(name).ok().and_then(Self::new);
        name.ok_or(MalformedReply::Name { nest })
    }

    /// With the terminator, as an attribute has it.
    pub(crate) fn value(&self) -> Vec<u8> {
        [self.0.as_bytes(), &[0]].concat()
    }
}

impl<const MAX: usize> fmt::Display for KernelName<MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<const MAX: usize> fmt::Debug for KernelName<MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Reads values of attributes, and says which has a wrong length.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AttributeReader(pub &'static str);

impl AttributeReader {
    /// A value of a fixed length.
    pub fn fixed<const N: usize>(self, attribute: u16, value: &[u8]) -> Result<[u8; N], MalformedReply> {
        value.try_into().map_err(|_| self.length(attribute, value))
    }

    pub fn u8(self, attribute: u16, value: &[u8]) -> Result<u8, MalformedReply> {
        self.fixed(attribute, value).map(|[value]| value)
    }

    pub fn u16(self, attribute: u16, value: &[u8]) -> Result<u16, MalformedReply> {
        self.fixed(attribute, value).map(u16::from_ne_bytes)
    }

    /// A port in network byte order.
    pub fn port(self, attribute: u16, value: &[u8]) -> Result<u16, MalformedReply> {
        self.fixed(attribute, value).map(u16::from_be_bytes)
    }

    pub fn u32(self, attribute: u16, value: &[u8]) -> Result<u32, MalformedReply> {
        self.fixed(attribute, value).map(u32::from_ne_bytes)
    }

    pub fn u64(self, attribute: u16, value: &[u8]) -> Result<u64, MalformedReply> {
        self.fixed(attribute, value).map(u64::from_ne_bytes)
    }

    pub fn length(self, attribute: u16, value: &[u8]) -> MalformedReply {
        MalformedReply::Length { nest: self.0, attribute, octets: value.len() }
    }

    pub fn missing(self, attribute: u16) -> MalformedReply {
        MalformedReply::Missing { nest: self.0, attribute }
    }
}

/// `AF_INET` or `AF_INET6` as an attribute has it.
pub(crate) const fn family_number(family: Family) -> u16 {
    match family {
        Family::V4 => AF_INET,
        Family::V6 => AF_INET6,
    }
}

pub(crate) const fn parse_family(number: u16) -> Result<Family, MalformedReply> {
    match number {
        AF_INET => Ok(Family::V4),
        AF_INET6 => Ok(Family::V6),
        other => Err(MalformedReply::Family(other)),
    }
}

pub(crate) const fn family_of(address: IpAddr) -> Family {
    match address {
        IpAddr::V4(_) => Family::V4,
        IpAddr::V6(_) => Family::V6,
    }
}

/// `union nf_inet_addr`: an IPv4 address is in the first four octets.
pub(crate) fn address_octets(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => {
            let mut octets = [0; 16];
            octets[..4].copy_from_slice(&address.octets());
            octets
        }
        IpAddr::V6(address) => address.octets(),
    }
}

pub(crate) fn parse_address(family: Family, octets: [u8; 16]) -> IpAddr {
    match family {
        Family::V4 => {
            let [a, b, c, d, ..] = octets;
            Ipv4Addr::new(a, b, c, d).into()
        }
        Family::V6 => Ipv6Addr::from(octets).into(),
    }
}

pub(crate) fn attribute(number: u16, value: impl AsRef<[u8]>) -> DefaultNla {
    DefaultNla::new(number, value.as_ref().to_vec())
}

pub(crate) fn nest(number: u16, attributes: &[DefaultNla]) -> DefaultNla {
    DefaultNla::new(number | NLA_F_NESTED, octets_of(attributes))
}

/// The octets of a list.
pub(crate) fn octets_of(attributes: &[DefaultNla]) -> Vec<u8> {
    let mut octets = vec![0; attributes.buffer_len()];
    attributes.emit(&mut octets);
    octets
}

// linux/socket.h; an attribute has 16 bits of it.
const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_checked_as_a_whole() {
        // Each: octets, and the attributes of the list or none.
        type Row = (&'static str, &'static [u8], Option<&'static [(u16, &'static [u8])]>);
        let rows: [Row; 9] = [
            ("empty", &[], Some(&[])),
            ("one", &[6, 0, 1, 0, 7, 8, 0, 0], Some(&[(1, &[7, 8])])),
            ("without a value", &[4, 0, 3, 0], Some(&[(3, &[])])),
            ("flags of the number", &[5, 0, 2, 0xc0, 9, 0, 0, 0], Some(&[(2, &[9])])),
            ("last one without padding", &[5, 0, 2, 0, 9], Some(&[(2, &[9])])),
            ("a header that is cut", &[4, 0, 1], None),
            ("a length below the header", &[3, 0, 1, 0], None),
            ("a length of 0", &[0, 0, 1, 0], None),
            ("a value that is cut", &[4, 0, 1, 0, 9, 0, 1, 0, 1, 2, 3, 4], None),
        ];
        for (name, octets, expected) in rows {
            let list = AttributeList::new_checked(octets);
            let found = list.map(|list| list.iter().collect::<Vec<_>>());
            match expected {
                Some(expected) => assert_eq!(found.unwrap(), expected, "{name}"),
                None => assert_eq!(found, Err(MalformedReply::Attribute), "{name}"),
            }
        }
    }

    #[test]
    fn the_last_of_two_attributes_counts() {
        let list = AttributeList::new_checked(&[5, 0, 1, 0, 7, 0, 0, 0, 5, 0, 1, 0, 8, 0, 0, 0]).unwrap();
        assert_eq!(list.find(1), Some(&[8][..]));
        assert_eq!(list.find(2), None);
    }

    #[test]
    fn names_fit_the_kernels_arrays() {
        for (name, fits) in [
            ("", false),
            ("wlc", true),
            ("fifteen-octets-", true),
            ("sixteen-octets--", false),
            ("a\0", false),
        ] {
            assert_eq!(KernelName::<15>::new(name).is_some(), fits, "{name:?}");
        }
        let parsed = |value| KernelName::<15>::parse("it", value).map(|name| name.to_string());
        assert_eq!(parsed(b"rr\0rest"), Ok("rr".into()));
        assert_eq!(parsed(b"rr"), Ok("rr".into()));
        for value in [&b""[..], b"\0", b"\xff\0", b"sixteen-octets--\0"] {
            assert_eq!(parsed(value), Err(MalformedReply::Name { nest: "it" }), "{value:?}");
        }
    }
}
