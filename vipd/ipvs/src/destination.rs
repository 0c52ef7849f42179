//! Destinations, the real servers of a service: `IPVS_CMD_ATTR_DEST` (`ip_vs_genl_parse_dest`, `ip_vs_genl_fill_dest`).

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    num::NonZeroU16,
};

use netlink_packet_core::DefaultNla;
use vipd_common::Family;

use crate::{
    attributes::{
        AttributeList, AttributeReader, MalformedReply, address_octets, attribute, family_number, family_of,
        octets_of, parse_address, parse_family,
    },
    stats::StatsView,
    step::Unfit,
};

/// What a destination is known by within its service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DestinationKey {
    /// The server's address. Of the service's family, unless the method is a tunnel.
    pub address: IpAddr,
    /// The server's port. The kernel uses it for masquerading only, and else shows it.
    pub port: u16,
}

impl DestinationKey {
    pub(crate) fn attributes(self) -> Vec<DefaultNla> {
        vec![
            // DEL_DEST too finds a destination by its family.
            attribute(ADDR_FAMILY, family_number(family_of(self.address)).to_ne_bytes()),
            attribute(ADDR, address_octets(self.address)),
            attribute(PORT, self.port.to_be_bytes()),
        ]
    }
}

impl fmt::Display for DestinationKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        SocketAddr::new(self.address, self.port).fmt(f)
    }
}

/// How packets get to a destination (`IP_VS_CONN_F_FWD_MASK`).
///
/// The kernel delivers to this host whatever has a local address, and shows the method that was asked for all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ForwardingMethod {
    /// Address and port are translated; replies have to pass this host.
    Masquerade,
    /// To this host.
    Local,
    /// In a tunnel; the server replies to the client itself.
    Tunnel(Tunnel),
    /// To the server's MAC address, with the virtual address; the server replies to the client itself. Also called direct
    /// routing.
    Route,
    /// Past a cache. The kernel uses it for connections of its own making.
    Bypass,
}

/// The kind of a tunnel, with its options (`IP_VS_CONN_F_TUNNEL_TYPE_*`, Linux 5.3 and later; before it is always IPIP).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Tunnel {
    /// IP in IP: IPv4 or IPv6 in either.
    Ipip,
    /// Generic UDP Encapsulation.
    Gue {
        /// The UDP port of the server's end.
        port: NonZeroU16,
        /// The checksum of the outer packet.
        checksum: GueChecksum,
    },
    /// Generic Routing Encapsulation.
    Gre {
        /// Whether GRE's own checksum is there.
        checksum: bool,
    },
    /// What another program has set that is none of these.
    Other {
        /// `IPVS_DEST_ATTR_TUN_TYPE`
        kind: u8,
        /// `IPVS_DEST_ATTR_TUN_PORT`
        port: u16,
        /// `IPVS_DEST_ATTR_TUN_FLAGS`
        flags: u16,
    },
}

/// The checksum of Generic UDP Encapsulation (`IP_VS_TUNNEL_ENCAP_FLAG_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GueChecksum {
    /// None in UDP's header.
    None,
    /// One in UDP's header.
    Full,
    /// Remote checksum offload: the server's end computes the inner one.
    Remote,
}

impl Tunnel {
    /// Kind, port and flags.
    const fn fields(self) -> (u8, u16, u16) {
        match self {
            Self::Ipip => (IPIP, 0, 0),
            Self::Gue { port, checksum } => {
                let flags = match checksum {
                    GueChecksum::None => 0,
                    GueChecksum::Full => CSUM,
                    GueChecksum::Remote => REMCSUM,
                };
                (GUE, port.get(), flags)
            }
            Self::Gre { checksum } => (GRE, 0, if checksum { CSUM } else { 0 }),
            Self::Other { kind, port, flags } => (kind, port, flags),
        }
    }

    fn parse(kind: u8, port: u16, flags: u16) -> Self {
        let checksum = match flags {
            0 => Some(GueChecksum::None),
            CSUM => Some(GueChecksum::Full),
            REMCSUM => Some(GueChecksum::Remote),
            _ => None,
        };
        match (kind, NonZeroU16::new(port), checksum) {
            (IPIP, None, Some(GueChecksum::None)) => Self::Ipip,
            (GUE, Some(port), Some(checksum)) => Self::Gue { port, checksum },
            (GRE, None, Some(GueChecksum::None)) => Self::Gre { checksum: false },
            (GRE, None, Some(GueChecksum::Full)) => Self::Gre { checksum: true },
            _ => Self::Other { kind, port, flags },
        }
    }
}

/// A destination of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IpvsDestination {
    /// What it is known by.
    pub key: DestinationKey,
    /// How packets get there.
    pub forwarding: ForwardingMethod,
    /// Its share of new connections, 0 to 2,147,483,647. 0: none, and established ones go on.
    pub weight: u32,
    /// With this number of connections it gets no new one; 0 for no limit.
    pub upper_threshold: u32,
    /// Below this number of connections it gets new ones again, at most the upper threshold. 0: three quarters of that.
    pub lower_threshold: u32,
}

impl IpvsDestination {
    /// A destination without thresholds.
    pub const fn new(key: DestinationKey, forwarding: ForwardingMethod, weight: u32) -> Self {
        Self { key, forwarding, weight, upper_threshold: 0, lower_threshold: 0 }
    }

    /// Reads the view of a destination of a service with this family.
    ///
    /// # Errors
    ///
    /// What a field has that it cannot have.
    pub fn parse(view: &DestinationView, service: Family) -> Result<Self, MalformedReply> {
        // Kernels before 3.18 have no mixed families, and no attribute.
        let family = view.family.map_or(Ok(service), parse_family)?;
        let (kind, port, flags) = view.tunnel;
        Ok(Self {
            key: DestinationKey { address: parse_address(family, view.address), port: view.port },
            forwarding: match view.forwarding & FORWARDING_MASK {
                MASQ => ForwardingMethod::Masquerade,
                LOCALNODE => ForwardingMethod::Local,
                TUNNEL => ForwardingMethod::Tunnel(Tunnel::parse(kind, port, flags)),
                DROUTE => ForwardingMethod::Route,
                BYPASS => ForwardingMethod::Bypass,
                other => return Err(MalformedReply::Forwarding(other)),
            },
            weight: view.weight,
            upper_threshold: view.upper_threshold,
            lower_threshold: view.lower_threshold,
        })
    }

    /// The octets of the nest, as NEW_DEST and SET_DEST want them.
    pub fn emit(&self) -> Vec<u8> {
        octets_of(&self.attributes())
    }

    pub(crate) fn attributes(&self) -> Vec<DefaultNla> {
        let (method, tunnel) = match self.forwarding {
            ForwardingMethod::Masquerade => (MASQ, None),
            ForwardingMethod::Local => (LOCALNODE, None),
            ForwardingMethod::Tunnel(tunnel) => (TUNNEL, Some(tunnel)),
            ForwardingMethod::Route => (DROUTE, None),
            ForwardingMethod::Bypass => (BYPASS, None),
        };
        let mut attributes = self.key.attributes();
        attributes.extend([
            attribute(FWD_METHOD, method.to_ne_bytes()),
            attribute(WEIGHT, self.weight.to_ne_bytes()),
            attribute(U_THRESH, self.upper_threshold.to_ne_bytes()),
            attribute(L_THRESH, self.lower_threshold.to_ne_bytes()),
        ]);
        if let Some((kind, port, flags)) = tunnel.map(Tunnel::fields) {
            attributes.extend([
                attribute(TUN_TYPE, [kind]),
                attribute(TUN_PORT, port.to_be_bytes()),
                attribute(TUN_FLAGS, flags.to_ne_bytes()),
            ]);
        }
        attributes
    }

    /// What the kernel would refuse with a bare EINVAL or ERANGE.
    pub(crate) fn check(&self, service: Family) -> Result<(), Unfit> {
        if self.weight > MAX_WEIGHT {
            return Err(Unfit::Weight(self.weight));
        }
        if self.lower_threshold > self.upper_threshold {
            return Err(Unfit::Thresholds { lower: self.lower_threshold, upper: self.upper_threshold });
        }
        let is_tunnel = matches!(self.forwarding, ForwardingMethod::Tunnel(_));
        if family_of(self.key.address) != service && !is_tunnel {
            return Err(Unfit::Families);
        }
        Ok(())
    }
}

/// The connections of a destination.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConnectionCounts {
    /// Established ones.
    pub active: u32,
    /// Others that the kernel still remembers.
    pub inactive: u32,
    /// Clients that are bound to the destination by persistence.
    pub persistent: u32,
}

/// The view of a destination.
#[derive(Clone, Copy, Debug)]
pub struct DestinationView {
    family: Option<u16>,
    address: [u8; 16],
    port: u16,
    forwarding: u32,
    weight: u32,
    upper_threshold: u32,
    lower_threshold: u32,
    tunnel: (u8, u16, u16),
    connections: ConnectionCounts,
    stats: Option<StatsView>,
}

impl DestinationView {
    /// The view of the nest.
    ///
    /// # Errors
    ///
    /// [`MalformedReply::Attribute`], [`MalformedReply::Length`], [`MalformedReply::Missing`]
    pub fn new_checked(octets: &[u8]) -> Result<Self, MalformedReply> {
        let (mut family, mut address, mut port, mut tunnel) = (None, None, None, (IPIP, 0, 0));
        let (mut forwarding, mut weight, mut upper_threshold, mut lower_threshold) = (None, None, None, None);
        let (mut stats, mut narrow) = (None, None);
        let mut connections = ConnectionCounts::default();
        for (number, value) in AttributeList::new_checked(octets)?.iter() {
            match number {
                ADDR => address = Some(DESTINATION.fixed(number, value)?),
                PORT => port = Some(DESTINATION.port(number, value)?),
                FWD_METHOD => forwarding = Some(DESTINATION.u32(number, value)?),
                WEIGHT => weight = Some(DESTINATION.u32(number, value)?),
                U_THRESH => upper_threshold = Some(DESTINATION.u32(number, value)?),
                L_THRESH => lower_threshold = Some(DESTINATION.u32(number, value)?),
                ACTIVE_CONNS => connections.active = DESTINATION.u32(number, value)?,
                INACT_CONNS => connections.inactive = DESTINATION.u32(number, value)?,
                PERSIST_CONNS => connections.persistent = DESTINATION.u32(number, value)?,
                STATS => narrow = Some(StatsView::new_checked_narrow(value)?),
                ADDR_FAMILY => family = Some(DESTINATION.u16(number, value)?),
                STATS64 => stats = Some(StatsView::new_checked(value)?),
                TUN_TYPE => tunnel.0 = DESTINATION.u8(number, value)?,
                TUN_PORT => tunnel.1 = DESTINATION.port(number, value)?,
                TUN_FLAGS => tunnel.2 = DESTINATION.u16(number, value)?,
                _ => {}
            }
        }
        let missing = |number| DESTINATION.missing(number);
        Ok(Self {
            family,
            address: address.ok_or(missing(ADDR))?,
            port: port.ok_or(missing(PORT))?,
            forwarding: forwarding.ok_or(missing(FWD_METHOD))?,
            weight: weight.ok_or(missing(WEIGHT))?,
            upper_threshold: upper_threshold.ok_or(missing(U_THRESH))?,
            lower_threshold: lower_threshold.ok_or(missing(L_THRESH))?,
            tunnel,
            connections,
            stats: stats.or(narrow),
        })
    }

    /// Its connections.
    pub const fn connections(&self) -> ConnectionCounts {
        self.connections
    }

    /// Statistics, those of 64 bits if there are such. `None`: neither.
    pub const fn stats(&self) -> Option<StatsView> {
        self.stats
    }
}

const DESTINATION: AttributeReader = AttributeReader("a destination");

/// The kernel has a signed number.
const MAX_WEIGHT: u32 = i32::MAX.cast_unsigned();

// IPVS_DEST_ATTR_*
const ADDR: u16 = 1;
const PORT: u16 = 2;
const FWD_METHOD: u16 = 3;
const WEIGHT: u16 = 4;
const U_THRESH: u16 = 5;
const L_THRESH: u16 = 6;
const ACTIVE_CONNS: u16 = 7;
const INACT_CONNS: u16 = 8;
const PERSIST_CONNS: u16 = 9;
const STATS: u16 = 10;
const ADDR_FAMILY: u16 = 11;
const STATS64: u16 = 12;
const TUN_TYPE: u16 = 13;
const TUN_PORT: u16 = 14;
const TUN_FLAGS: u16 = 15;

// IP_VS_CONN_F_*
const FORWARDING_MASK: u32 = 7;
const MASQ: u32 = 0;
const LOCALNODE: u32 = 1;
const TUNNEL: u32 = 2;
const DROUTE: u32 = 3;
const BYPASS: u32 = 4;

// IP_VS_CONN_F_TUNNEL_TYPE_*
const IPIP: u8 = 0;
const GUE: u8 = 1;
const GRE: u8 = 2;

// IP_VS_TUNNEL_ENCAP_FLAG_*
const CSUM: u16 = 1;
const REMCSUM: u16 = 2;
