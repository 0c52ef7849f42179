//! The way of a session's packets: the interface and address that they leave by, and the socket that sends them.

use std::{
    io,
    net::{IpAddr, SocketAddr, SocketAddrV6, UdpSocket},
    num::NonZeroU32,
};

use nix::net::if_::if_nametoindex;
use socket2::{Domain, Protocol, Socket, Type};
use vipd_common::{
    abi::BfdKey,
    address::Address,
    wire::bfd::{PORT_CONTROL, PORT_MULTIHOP},
};
use vipd_config::BfdInstance;

use super::messages::HeardInterfaces;
use crate::host::{Egress, EgressLookup};

/// Where packets of one session go, and from where.
#[derive(Debug)]
pub struct BfdWay {
    socket: UdpSocket,
    pub egress: Egress,
    pub source_port: u16,
    to: SocketAddr,
}

impl BfdWay {
    /// Opens the socket. `port`: the one that the session has had before; `seed` chooses another one.
    ///
    /// # Errors
    ///
    /// The address is not one of this host.
    pub fn open(spec: &BfdInstance, egress: Egress, port: Option<u16>, seed: u64) -> io::Result<Self> {
        let Egress { ifindex, source } = egress;
        let socket =
            Socket::new(Domain::for_address(SocketAddr::new(source, 0)), Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_nonblocking(true)?;
        let ttl = spec.hop_limit.into();
        if source.is_ipv4() {
            socket.set_ttl_v4(ttl)?;
            socket.set_tos_v4(CLASS)?;
        } else {
            socket.set_unicast_hops_v6(ttl)?;
            socket.set_tclass_v6(CLASS)?;
        }
        if spec.interface.is_some() {
            let index = NonZeroU32::new(ifindex);
            if source.is_ipv4() {
                socket.bind_device_by_index_v4(index)?;
            } else {
                socket.bind_device_by_index_v6(index)?;
            }
        }
        // RFC 5881 4: one port from this range for the life of a session, another one for each.
        let chosen =
            (0..TRIES).map(|nth| FIRST_PORT + ((seed >> 16).wrapping_add(nth * 7_919) % PORTS) as u16);
        let mut bound = None;
        for port in port.into_iter().chain(chosen) {
            match socket.bind(&scoped(source, port, ifindex).into()) {
                Ok(()) => {
                    bound = Some(port);
                    break;
                }
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
                Err(error) => return Err(error),
            }
        }
        let source_port = bound.ok_or(io::ErrorKind::AddrInUse)?;
        let to = scoped(spec.neighbor, destination_port(spec), ifindex);
        Ok(Self { socket: socket.into(), egress, source_port, to })
    }

    /// Sends a packet.
    ///
    /// # Errors
    ///
    /// What the kernel says at once: there is no route, the interface is down.
    pub fn send(&self, packet: &[u8]) -> io::Result<()> {
        self.socket.send_to(packet, self.to).map(drop)
    }
}

/// An address that is of an interface alone says of which.
fn scoped(address: IpAddr, port: u16, ifindex: u32) -> SocketAddr {
    match address {
        IpAddr::V6(v6) if v6.is_unicast_link_local() => SocketAddrV6::new(v6, port, 0, ifindex).into(),
        _ => SocketAddr::new(address, port),
    }
}

/// The port that both ends send to.
pub fn destination_port(spec: &BfdInstance) -> u16 {
    if spec.multihop { PORT_MULTIHOP } else { PORT_CONTROL }
}

/// How packets get to the neighbor.
///
/// # Errors
///
/// There is no route, or no such interface or address.
pub fn find(spec: &BfdInstance, lookup: &mut EgressLookup) -> io::Result<Egress> {
    let ifindex = spec.interface.as_deref().map(if_nametoindex).transpose()?;
    lookup.find(spec.neighbor, spec.source, ifindex)
}

/// What the program is to know packets of a session by that come from the neighbor.
pub fn key(spec: &BfdInstance, egress: Egress, heard: &HeardInterfaces) -> BfdKey {
    let seen_at = heard.get(&egress.ifindex).copied().unwrap_or((egress.ifindex, 0));
    // RFC 5883: over several hops they may come in anywhere.
    let (ifindex, vlan) = if spec.multihop { (0, 0) } else { seen_at };
    BfdKey {
        remote: octets(spec.neighbor),
        local: octets(egress.source),
        ifindex,
        vlan,
        port: destination_port(spec),
        family: if egress.source.is_ipv4() { 4 } else { 6 },
    }
}

/// An address as the maps have it.
fn octets(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(v4) => Address::from_v4(v4.octets()).octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}

/// Traffic class CS6, as routers mark what keeps a network up.
const CLASS: u32 = 0xc0;
const FIRST_PORT: u16 = 49_152;
const PORTS: u64 = 16_384;
const TRIES: u64 = 32;
