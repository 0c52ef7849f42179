//! The UDP sockets of reports: what comes, with how it came; and sending by an interface, from an address.
//!
//! They join no group: the host has joined those of the adverts already, and reports go to the same.

use std::{
    io::{self, IoSlice, IoSliceMut},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6},
    os::fd::AsRawFd,
};

use nix::{
    libc,
    sys::socket::{
        ControlMessage, ControlMessageOwned, MsgFlags, SockaddrIn, SockaddrIn6, SockaddrStorage, recvmsg,
        sendmsg, setsockopt, sockopt,
    },
};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::{Interest, unix::AsyncFd};
use vipd_common::Family;

use super::{key::ReportPath, segment::Arrival, wire::MAX_DATAGRAM};

/// Source and destination port of reports.
pub const PORT: u16 = 9_813;
/// TTL and hop limit: a neighbour sees that no router has forwarded the report.
const HOP_LIMIT: u32 = 255;

/// One socket, for one family.
#[derive(Debug)]
pub struct ReportSocket {
    family: Family,
    socket: AsyncFd<Socket>,
}

impl ReportSocket {
    /// Binds [`PORT`]. To be called on the runtime that reads it.
    ///
    /// # Errors
    ///
    /// Another process has the port; the kernel has no such family.
    pub fn bind(family: Family) -> io::Result<Self> {
        let (domain, any) = match family {
            Family::V4 => (Domain::IPV4, IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
            Family::V6 => (Domain::IPV6, IpAddr::V6(Ipv6Addr::UNSPECIFIED)),
        };
        let socket = Socket::new(domain, Type::DGRAM.nonblocking().cloexec(), Some(Protocol::UDP))?;
        match family {
            Family::V4 => {
                setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?;
                setsockopt(&socket, sockopt::Ipv4RecvTtl, &true)?;
                socket.set_ttl_v4(HOP_LIMIT)?;
                socket.set_multicast_ttl_v4(HOP_LIMIT)?;
                socket.set_multicast_loop_v4(false)?;
            }
            Family::V6 => {
                socket.set_only_v6(true)?;
                setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &true)?;
                setsockopt(&socket, sockopt::Ipv6RecvHopLimit, &true)?;
                socket.set_unicast_hops_v6(HOP_LIMIT)?;
                socket.set_multicast_hops_v6(HOP_LIMIT)?;
                socket.set_multicast_loop_v6(false)?;
            }
        }
        socket.bind(&SocketAddr::new(any, PORT).into())?;
        // SAFETY: a socket keeps its descriptor for as long as it lives, and `AsyncFd` drops it with the registration.
        let socket = unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE)? };
        Ok(Self { family, socket })
    }

    /// The family that it is for.
    pub fn family(&self) -> Family {
        self.family
    }

    /// Sends a datagram by an interface, or where routes lead with 0.
    ///
    /// # Errors
    ///
    /// What the kernel says, a full queue too: a report that cannot go now does not go.
    pub fn send(&self, path: ReportPath, ifindex: u32, datagram: &[u8]) -> io::Result<()> {
        let fd = self.socket.get_ref().as_raw_fd();
        let octets = [IoSlice::new(datagram)];
        match (path.source, path.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let info = libc::in_pktinfo {
                    ipi_ifindex: ifindex.cast_signed(),
                    ipi_spec_dst: libc::in_addr { s_addr: source.to_bits().to_be() },
                    ipi_addr: libc::in_addr { s_addr: 0 },
                };
                let to = SockaddrIn::from(SocketAddrV4::new(destination, PORT));
                sendmsg(fd, &octets, &[ControlMessage::Ipv4PacketInfo(&info)], MsgFlags::empty(), Some(&to))?;
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                let info = libc::in6_pktinfo {
                    ipi6_addr: libc::in6_addr { s6_addr: source.octets() },
                    ipi6_ifindex: ifindex,
                };
                let to = SockaddrIn6::from(SocketAddrV6::new(destination, PORT, 0, ifindex));
                sendmsg(fd, &octets, &[ControlMessage::Ipv6PacketInfo(&info)], MsgFlags::empty(), Some(&to))?;
            }
            _ => return Err(io::ErrorKind::InvalidInput.into()),
        }
        Ok(())
    }

    /// Waits for a datagram. `None`: it came in a way that cannot be judged.
    ///
    /// # Errors
    ///
    /// What the kernel says. A single error is no reason to give the socket up.
    pub async fn receive(&self, buffer: &mut [u8; MAX_DATAGRAM + 1]) -> io::Result<Option<(Arrival, usize)>> {
        let received = self.socket.async_io(Interest::READABLE, |socket| receive(socket, buffer)).await?;
        Ok(received)
    }
}

/// Reads one datagram. A longer one than any report fills the buffer, and is refused for its length.
fn receive(socket: &Socket, buffer: &mut [u8; MAX_DATAGRAM + 1]) -> io::Result<Option<(Arrival, usize)>> {
    let mut control = nix::cmsg_space!(libc::in6_pktinfo, libc::in_pktinfo, libc::c_int, libc::c_int);
    let mut octets = [IoSliceMut::new(buffer)];
    let message =
        recvmsg::<SockaddrStorage>(socket.as_raw_fd(), &mut octets, Some(&mut control), MsgFlags::empty())?;
    let source: Option<IpAddr> = message.address.as_ref().and_then(|address| {
        let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
        v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
    });
    let (mut to, mut hop_limit) = (None, None);
    for part in message.cmsgs()? {
        match part {
            ControlMessageOwned::Ipv4PacketInfo(info) => {
                let destination = Ipv4Addr::from_bits(u32::from_be(info.ipi_addr.s_addr));
                to = Some((IpAddr::V4(destination), info.ipi_ifindex.cast_unsigned()));
            }
            ControlMessageOwned::Ipv6PacketInfo(info) => {
                to = Some((IpAddr::V6(info.ipi6_addr.s6_addr.into()), info.ipi6_ifindex));
            }
            ControlMessageOwned::Ipv4Ttl(limit) | ControlMessageOwned::Ipv6HopLimit(limit) => {
                hop_limit = u8::try_from(limit).ok();
            }
            _ => {}
        }
    }
    let length = message.bytes;
    let arrival = source.zip(to).zip(hop_limit).map(|((source, (destination, ifindex)), hop_limit)| {
        Arrival { source, destination, ifindex, hop_limit }
    });
    Ok(arrival.map(|arrival| (arrival, length)))
}
