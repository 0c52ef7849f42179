//! Virtual services: `IPVS_CMD_ATTR_SERVICE` (`ip_vs_genl_parse_service`, `ip_vs_genl_fill_service`).

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    num::NonZeroU32,
};

use netlink_packet_core::DefaultNla;
use vipd_common::Family;

use crate::{
    attributes::{
        AttributeList, AttributeReader, KernelName, MalformedReply, address_octets, attribute, family_number,
        family_of, octets_of, parse_address, parse_family,
    },
    stats::StatsView,
    step::Unfit,
};

/// The protocol of a service, as IP has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ServiceProtocol {
    /// 6
    Tcp,
    /// 17
    Udp,
    /// 132
    Sctp,
    /// Another number, which the kernel takes and schedules nothing for.
    Other(u16),
}

impl ServiceProtocol {
    /// The number that stands in an IP header.
    pub const fn number(self) -> u16 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Sctp => 132,
            Self::Other(number) => number,
        }
    }

    /// The protocol with this number.
    pub const fn from_number(number: u16) -> Self {
        match number {
            6 => Self::Tcp,
            17 => Self::Udp,
            132 => Self::Sctp,
            other => Self::Other(other),
        }
    }
}

impl fmt::Display for ServiceProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp => f.write_str("TCP"),
            Self::Udp => f.write_str("UDP"),
            Self::Sctp => f.write_str("SCTP"),
            Self::Other(number) => write!(f, "protocol {number}"),
        }
    }
}

/// What a service is known by. The kernel has one service for each key in a network namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum VirtualServiceKey {
    /// Packets to an address and a port.
    Address {
        /// The protocol.
        protocol: ServiceProtocol,
        /// The virtual address.
        address: IpAddr,
        /// The virtual port. 0: every port that has no service of its own; for persistent services only.
        port: u16,
    },
    /// Packets with a firewall mark, whatever their address and port.
    Mark {
        /// IPv4 and IPv6 have a service each for the same mark.
        family: Family,
        /// The mark.
        mark: NonZeroU32,
    },
}

impl VirtualServiceKey {
    /// The address family of the clients.
    pub const fn family(&self) -> Family {
        match self {
            Self::Address { address, .. } => family_of(*address),
            Self::Mark { family, .. } => *family,
        }
    }

    pub(crate) fn attributes(&self) -> Vec<DefaultNla> {
        let family = attribute(AF, family_number(self.family()).to_ne_bytes());
        match self {
            Self::Address { protocol, address, port } => vec![
                family,
                attribute(PROTOCOL, protocol.number().to_ne_bytes()),
                attribute(ADDR, address_octets(*address)),
                attribute(PORT, port.to_be_bytes()),
            ],
            // A mark of 0 would make it a TCP service of the address 0; the type has none.
            Self::Mark { mark, .. } => vec![family, attribute(FWMARK, mark.get().to_ne_bytes())],
        }
    }
}

impl fmt::Display for VirtualServiceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address { protocol, address, port } => {
                write!(f, "{protocol} {}", SocketAddr::new(*address, *port))
            }
            Self::Mark { family: Family::V4, mark } => write!(f, "firewall mark {mark}"),
            Self::Mark { family: Family::V6, mark } => write!(f, "firewall mark {mark} of IPv6"),
        }
    }
}

/// Flags of a service that user space may set (`IP_VS_SVC_F_*`).
///
/// The flag `HASHED` is the kernel's own: it is neither read nor written. Flags of later kernels stay as they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ServiceFlags(u32);

impl ServiceFlags {
    /// No flag.
    pub const NONE: Self = Self(0);
    /// A client stays with its server for the timeout of the service.
    pub const PERSISTENT: Self = Self(1);
    /// Each packet is scheduled for itself. The kernel ignores the flag but for UDP.
    pub const ONE_PACKET: Self = Self(4);
    /// The first flag of the scheduler; for `sh` and `mh`: look further if the server of a client is not available.
    pub const SCHEDULER_1: Self = Self(8);
    /// The second flag of the scheduler; for `sh` and `mh`: the client's port counts too.
    pub const SCHEDULER_2: Self = Self(0x10);
    /// The third flag of the scheduler.
    pub const SCHEDULER_3: Self = Self(0x20);
    /// What user space may set.
    const SETTABLE: u32 = 0x3d;

    /// The flags among these bits that user space may set.
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits & Self::SETTABLE)
    }

    /// As the kernel has them.
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// These flags and others.
    #[must_use]
    pub const fn with(self, others: Self) -> Self {
        Self(self.0 | others.0)
    }

    /// Whether all of others are among these flags.
    pub const fn contains(self, others: Self) -> bool {
        self.0 & others.0 == others.0
    }

    /// `struct ip_vs_flags`: the flags, and the mask of those that are to change.
    fn value(self) -> [u8; 8] {
        let mut value = [0; 8];
        value[..4].copy_from_slice(&self.0.to_ne_bytes());
        value[4..].copy_from_slice(&Self::SETTABLE.to_ne_bytes());
        value
    }
}

/// The part of a client's address that counts for persistence. The kernel keeps it for other services too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PersistenceMask {
    /// A mask, which may have holes. 255.255.255.255 unless wanted otherwise.
    V4(Ipv4Addr),
    /// The length of a prefix, 1 to 128. 128 unless wanted otherwise.
    V6(u8),
}

impl PersistenceMask {
    /// The whole address.
    pub const fn whole(family: Family) -> Self {
        match family {
            Family::V4 => Self::V4(Ipv4Addr::BROADCAST),
            Family::V6 => Self::V6(128),
        }
    }

    const fn family(self) -> Family {
        match self {
            Self::V4(_) => Family::V4,
            Self::V6(_) => Family::V6,
        }
    }

    /// `IPVS_SVC_ATTR_NETMASK`: the mask in network order, or the length as a number.
    fn value(self) -> [u8; 4] {
        match self {
            Self::V4(mask) => mask.octets(),
            Self::V6(length) => u32::from(length).to_ne_bytes(),
        }
    }

    fn parse(family: Family, value: [u8; 4]) -> Result<Self, MalformedReply> {
        match family {
            Family::V4 => Ok(Self::V4(value.into())),
            Family::V6 => {
                let length = u32::from_ne_bytes(value);
                let checked = u8::try_from(length).ok().filter(|length| *length <= 128);
                checked.map(Self::V6).ok_or(MalformedReply::Mask(length))
            }
        }
    }
}

/// A virtual service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VirtualService {
    /// What it is known by.
    pub key: VirtualServiceKey,
    /// Name of the scheduler, such as `wlc`: the module `ip_vs_NAME`. A service without one, which only others can have made,
    /// has `none`.
    pub scheduler: KernelName<15>,
    /// Name of the persistence engine: the module `ip_vs_pe_NAME`. The kernel has `sip`, for UDP.
    pub persistence_engine: Option<KernelName<16>>,
    /// Its flags.
    pub flags: ServiceFlags,
    /// How long a client stays with its server after its last connection has ended, in seconds, 0 to 4,294,967. Without effect
    /// unless [`ServiceFlags::PERSISTENT`].
    pub timeout_s: u32,
    /// What counts as one client; of the family of the key.
    pub mask: PersistenceMask,
}

impl VirtualService {
    /// A service that is not persistent.
    pub const fn new(key: VirtualServiceKey, scheduler: KernelName<15>) -> Self {
        Self {
            key,
            scheduler,
            persistence_engine: None,
            flags: ServiceFlags::NONE,
            timeout_s: 0,
            mask: PersistenceMask::whole(key.family()),
        }
    }

    /// Reads the view.
    ///
    /// # Errors
    ///
    /// What a field has that it cannot have.
    pub fn parse(view: &ServiceView<'_>) -> Result<Self, MalformedReply> {
        let family = parse_family(view.family)?;
        let key = match view.identity {
            ServiceIdentity::Mark(mark) => {
                VirtualServiceKey::Mark { family, mark: NonZeroU32::new(mark).ok_or(MalformedReply::Mark)? }
            }
            ServiceIdentity::Address { protocol, address, port } => VirtualServiceKey::Address {
                protocol: ServiceProtocol::from_number(protocol),
                address: parse_address(family, address),
                port,
            },
        };
        Ok(Self {
            key,
            scheduler: KernelName::parse(SERVICE.0, view.scheduler)?,
            persistence_engine: view.engine.map(|name| KernelName::parse(SERVICE.0, name)).transpose()?,
            flags: ServiceFlags::from_bits(view.flags),
            timeout_s: view.timeout_s,
            mask: PersistenceMask::parse(family, view.netmask)?,
        })
    }

    /// The octets of the nest, as NEW_SERVICE and SET_SERVICE want them.
    pub fn emit(&self) -> Vec<u8> {
        octets_of(&self.attributes())
    }

    pub(crate) fn attributes(&self) -> Vec<DefaultNla> {
        let mut attributes = self.key.attributes();
        attributes.push(attribute(SCHED_NAME, self.scheduler.value()));
        // Without the attribute SET_SERVICE takes the engine away.
        attributes.extend(self.persistence_engine.as_ref().map(|name| attribute(PE_NAME, name.value())));
        attributes.extend([
            attribute(FLAGS, self.flags.value()),
            attribute(TIMEOUT, self.timeout_s.to_ne_bytes()),
            attribute(NETMASK, self.mask.value()),
        ]);
        attributes
    }

    /// What the kernel would refuse with a bare EINVAL, or misread.
    pub(crate) fn check(&self) -> Result<(), Unfit> {
        if self.mask.family() != self.key.family() {
            return Err(Unfit::MaskFamily);
        }
        if let PersistenceMask::V6(length) = self.mask
            && !(1..=128).contains(&length)
        {
            return Err(Unfit::MaskLength(length));
        }
        if self.timeout_s > MAX_TIMEOUT_S {
            return Err(Unfit::Timeout { seconds: self.timeout_s, max_s: MAX_TIMEOUT_S });
        }
        Ok(())
    }
}

/// The view of a service.
#[derive(Clone, Copy, Debug)]
pub struct ServiceView<'a> {
    family: u16,
    identity: ServiceIdentity,
    scheduler: &'a [u8],
    engine: Option<&'a [u8]>,
    flags: u32,
    timeout_s: u32,
    netmask: [u8; 4],
    stats: Option<StatsView>,
}

#[derive(Clone, Copy, Debug)]
enum ServiceIdentity {
    Mark(u32),
    Address { protocol: u16, address: [u8; 16], port: u16 },
}

impl<'a> ServiceView<'a> {
    /// The view of the nest.
    ///
    /// # Errors
    ///
    /// [`MalformedReply::Attribute`], [`MalformedReply::Length`], [`MalformedReply::Missing`]
    pub fn new_checked(octets: &'a [u8]) -> Result<Self, MalformedReply> {
        let (mut family, mut mark, mut protocol, mut address, mut port) = (None, None, None, None, None);
        let (mut scheduler, mut engine, mut flags, mut timeout, mut netmask) = (None, None, None, None, None);
        let (mut stats, mut narrow) = (None, None);
        for (number, value) in AttributeList::new_checked(octets)?.iter() {
            match number {
                AF => family = Some(SERVICE.u16(number, value)?),
                PROTOCOL => protocol = Some(SERVICE.u16(number, value)?),
                ADDR => address = Some(SERVICE.fixed(number, value)?),
                PORT => port = Some(SERVICE.port(number, value)?),
                FWMARK => mark = Some(SERVICE.u32(number, value)?),
                SCHED_NAME => scheduler = Some(value),
                PE_NAME => engine = Some(value),
                // The mask that follows has a meaning in requests only.
                FLAGS => {
                    let [a, b, c, d, ..]: [u8; 8] = SERVICE.fixed(number, value)?;
                    flags = Some(u32::from_ne_bytes([a, b, c, d]));
                }
                TIMEOUT => timeout = Some(SERVICE.u32(number, value)?),
                NETMASK => netmask = Some(SERVICE.fixed(number, value)?),
                STATS => narrow = Some(StatsView::new_checked_narrow(value)?),
                STATS64 => stats = Some(StatsView::new_checked(value)?),
                _ => {}
            }
        }
        let missing = |number| SERVICE.missing(number);
        let identity = match mark {
            Some(mark) => ServiceIdentity::Mark(mark),
            None => ServiceIdentity::Address {
                protocol: protocol.ok_or(missing(PROTOCOL))?,
                address: address.ok_or(missing(ADDR))?,
                port: port.ok_or(missing(PORT))?,
            },
        };
        Ok(Self {
            family: family.ok_or(missing(AF))?,
            identity,
            scheduler: scheduler.ok_or(missing(SCHED_NAME))?,
            engine,
            flags: flags.ok_or(missing(FLAGS))?,
            timeout_s: timeout.ok_or(missing(TIMEOUT))?,
            netmask: netmask.ok_or(missing(NETMASK))?,
            stats: stats.or(narrow),
        })
    }

    /// `AF_INET`, `AF_INET6`, or whatever is there.
    pub const fn family(&self) -> u16 {
        self.family
    }

    /// Statistics, those of 64 bits if there are such. `None`: neither.
    pub const fn stats(&self) -> Option<StatsView> {
        self.stats
    }
}

const SERVICE: AttributeReader = AttributeReader("a service");

/// The kernel multiplies by HZ, at most 1,000, in 32 bits.
const MAX_TIMEOUT_S: u32 = u32::MAX / 1000;

// IPVS_SVC_ATTR_*
const AF: u16 = 1;
const PROTOCOL: u16 = 2;
const ADDR: u16 = 3;
const PORT: u16 = 4;
const FWMARK: u16 = 5;
const SCHED_NAME: u16 = 6;
const FLAGS: u16 = 7;
const TIMEOUT: u16 = 8;
const NETMASK: u16 = 9;
const STATS: u16 = 10;
const PE_NAME: u16 = 11;
const STATS64: u16 = 12;
