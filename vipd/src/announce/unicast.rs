//! A raw socket that sends whole IP packets to unicast peers.

use std::{
    io,
    net::{IpAddr, SocketAddr, SocketAddrV4, SocketAddrV6},
    os::fd::{AsRawFd, OwnedFd},
    ptr,
};

use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrStorage, getsockopt, sendto,
    setsockopt, socket, sockopt,
};
use vipd_common::Family;

/// Packets that wait for an unresolved neighbour count as sent but not yet gone, and the kernel keeps up to 208 KiB of
/// them for each. Doubled by the kernel, this is room for some 150 dead peers before they would keep adverts from the
/// living ones.
const SEND_BUFFER: usize = 16 << 20;

/// Sends IP packets that bring their own header; the kernel routes them and resolves the neighbour.
///
/// It is bound to nothing: the routing table decides where a packet leaves, whatever its source. It receives nothing.
#[derive(Debug)]
pub struct UnicastSocket {
    fd: OwnedFd,
    interface_index: u32,
}

impl UnicastSocket {
    /// The interface is where link-local peers are.
    ///
    /// # Errors
    ///
    /// Without CAP_NET_RAW and CAP_NET_ADMIN.
    pub fn open(family: Family, interface_index: u32) -> io::Result<Self> {
        let domain = match family {
            Family::V4 => AddressFamily::Inet,
            Family::V6 => AddressFamily::Inet6,
        };
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        // Protocol IPPROTO_RAW: the header is included, in both families.
        let fd = socket(domain, SockType::Raw, flags, SockProtocol::Raw)?;
        drop_all(&fd)?;
        setsockopt(&fd, sockopt::RcvBuf, &0)?;
        setsockopt(&fd, sockopt::SndBufForce, &SEND_BUFFER)?;
        // Else the kernel keeps it to itself that its transmit queue was full.
        match family {
            Family::V4 => setsockopt(&fd, sockopt::Ipv4RecvErr, &true)?,
            Family::V6 => setsockopt(&fd, sockopt::Ipv6RecvErr, &true)?,
        }
        Ok(Self { fd, interface_index })
    }

    /// Sends one packet, which must have a header of the socket's family, to a peer of that family. Never waits.
    ///
    /// Success means that the kernel has taken it. An IPv4 packet arrives as it is, except that the kernel fills in an
    /// identification of 0; an IPv6 packet arrives as it is.
    ///
    /// # Errors
    ///
    /// `NetworkUnreachable` without a route (so also if the link is down), `ENOBUFS` if the transmit queue is full,
    /// `EMSGSIZE` if the packet is longer than the MTU, `EPERM` if the packet filter drops it. A peer that does not answer
    /// ARP or Neighbor Discovery is no error: its packets wait in the kernel, and are dropped in silence.
    pub fn send(&self, packet: &[u8], to: IpAddr) -> io::Result<()> {
        let to = match to {
            IpAddr::V4(v4) => SocketAddr::V4(SocketAddrV4::new(v4, 0)),
            // The scope; the kernel looks at it for link-local addresses only.
            IpAddr::V6(v6) => SocketAddr::V6(SocketAddrV6::new(v6, 0, 0, self.interface_index)),
        };
        // Kernels without "RAW sockets using IPPROTO_RAW MUST drop incoming ICMP" (2026) let anybody who forges an ICMP error
        // about a packet of protocol 255 fail the next call on the socket: not this one.
        getsockopt(&self.fd, sockopt::SocketError)?;
        sendto(self.fd.as_raw_fd(), packet, &SockaddrStorage::from(to), MsgFlags::empty())?;
        Ok(())
    }
}

/// Keeps packets of protocol 255 out of the receive queue.
fn drop_all(fd: &OwnedFd) -> io::Result<()> {
    // BPF_RET | BPF_K with k = 0: keep no octet of any packet.
    let mut instruction = libc::sock_filter { code: 0x06, jt: 0, jf: 0, k: 0 };
    let program = libc::sock_fprog { len: 1, filter: &mut instruction };
    // SAFETY: a `sock_fprog` of that length, which points to one instruction; both outlive the call.
    let result = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            ptr::from_ref(&program).cast(),
            size_of::<libc::sock_fprog>() as libc::socklen_t,
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests;
