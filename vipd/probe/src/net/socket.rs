//! Makes the sockets of probes.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use nix::sys::socket::{setsockopt, sockopt::IpBindAddressNoPort};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::{
    net::{TcpSocket, TcpStream, UdpSocket},
    time::timeout,
};
use vipd_balance::ProbePeer;

use crate::fault::{ProbeFault, seconds};

/// A TCP connection to `peer`, within its `connect_timeout`, to be closed at once.
pub(crate) async fn connect(peer: &ProbePeer) -> Result<TcpStream, ProbeFault> {
    finish(peer, prepare(peer, Type::STREAM, Protocol::TCP)?).await
}

/// The same to be read from. What nobody has read yet is a [`RECEIVE_BUFFER`] at most.
pub(crate) async fn connect_to_read(peer: &ProbePeer) -> Result<TcpStream, ProbeFault> {
    let socket = prepare(peer, Type::STREAM, Protocol::TCP)?;
    socket.set_recv_buffer_size(RECEIVE_BUFFER).map_err(no_socket)?;
    finish(peer, socket).await
}

async fn finish(peer: &ProbePeer, socket: Socket) -> Result<TcpStream, ProbeFault> {
    let socket = TcpSocket::from_std_stream(socket.into());
    match timeout(peer.connect_timeout, socket.connect(peer.to)).await {
        Ok(connected) => connected.map_err(|error| ProbeFault::of_io(&error)),
        Err(_) => Err(ProbeFault::failed(format!("no connection within {}", seconds(peer.connect_timeout)))),
    }
}

/// A connected UDP socket, which hears of ICMP errors.
pub(crate) fn datagram(peer: &ProbePeer) -> Result<UdpSocket, ProbeFault> {
    connected(peer, prepare(peer, Type::DGRAM, Protocol::UDP)?)
}

/// A connected socket for ICMP echoes, and whether it is a raw one. Without `ping_group_range` only a raw one is permitted.
pub(crate) fn icmp(peer: &ProbePeer) -> Result<(UdpSocket, bool), ProbeFault> {
    let protocol = if peer.to.is_ipv4() { Protocol::ICMPV4 } else { Protocol::ICMPV6 };
    let domain = Domain::for_address(peer.to);
    let (socket, raw) = match Socket::new(domain, Type::DGRAM.nonblocking(), Some(protocol)) {
        Ok(socket) => (socket, false),
        Err(error) if matches!(error.raw_os_error(), Some(libc::EACCES | libc::EPERM)) => {
            (Socket::new(domain, Type::RAW.nonblocking(), Some(protocol)).map_err(no_socket)?, true)
        }
        Err(error) => return Err(no_socket(error)),
    };
    // The port of a ping socket is the echo's identifier.
    set_up(&ProbePeer { from_port: None, ..peer.clone() }, &socket, false)?;
    Ok((connected(peer, socket)?, raw))
}

/// Waits for `io` for the `connect_timeout`, and no longer.
pub(crate) async fn within<T>(
    limit: Duration,
    io: impl Future<Output = io::Result<T>>,
) -> Result<T, ProbeFault> {
    match timeout(limit, io).await {
        Ok(done) => done.map_err(|error| ProbeFault::of_io(&error)),
        Err(_) => Err(ProbeFault::failed(format!("no answer within {}", seconds(limit)))),
    }
}

fn no_socket(error: io::Error) -> ProbeFault {
    ProbeFault::of_setup("cannot make a socket", &error)
}

fn prepare(peer: &ProbePeer, kind: Type, protocol: Protocol) -> Result<Socket, ProbeFault> {
    let socket =
        Socket::new(Domain::for_address(peer.to), kind.nonblocking(), Some(protocol)).map_err(no_socket)?;
    set_up(peer, &socket, true)?;
    Ok(socket)
}

/// Binds and marks a socket as the configuration asks.
fn set_up(peer: &ProbePeer, socket: &Socket, has_ports: bool) -> Result<(), ProbeFault> {
    let setup = |what: &str, result: io::Result<()>| {
        result.map_err(|error| ProbeFault::of_setup(&format!("cannot {what}"), &error))
    };
    if peer.mark != 0 {
        setup(&format!("set fwmark {}", peer.mark), socket.set_mark(peer.mark))?;
    }
    if let Some(interface) = &peer.interface {
        setup(&format!("bind to {interface}"), socket.bind_device(Some(interface.as_bytes())))?;
    }
    if peer.from.is_none() && peer.from_port.is_none() {
        return Ok(());
    }
    let any: IpAddr = match peer.to {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let from = SocketAddr::new(peer.from.unwrap_or(any), peer.from_port.unwrap_or(0));
    if peer.from_port.is_some() {
        // The last run's connection may still be in TIME-WAIT.
        setup("set SO_REUSEADDR", socket.set_reuse_address(true))?;
    } else if has_ports {
        // The port is chosen when the target is known: the same port serves many targets.
        setup(
            "set IP_BIND_ADDRESS_NO_PORT",
            setsockopt(socket, IpBindAddressNoPort, &true).map_err(Into::into),
        )?;
    }
    setup(&format!("bind to {from}"), socket.bind(&from.into()))
}

fn connected(peer: &ProbePeer, socket: Socket) -> Result<UdpSocket, ProbeFault> {
    socket.connect(&peer.to.into()).map_err(|error| ProbeFault::of_io(&error))?;
    UdpSocket::from_std(socket.into()).map_err(no_socket)
}

/// Octets that a server may send ahead: without this limit the kernel takes megabytes of each.
const RECEIVE_BUFFER: usize = 64 * 1024;
