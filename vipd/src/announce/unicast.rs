//! A raw socket that sends whole IP packets to one unicast peer, and detects whether they have left.

use std::{
    io::{self, IoSliceMut},
    net::{IpAddr, SocketAddr, SocketAddrV4, SocketAddrV6},
    os::fd::{AsRawFd, OwnedFd},
    ptr,
};

use nix::{
    cmsg_space,
    errno::Errno,
    sys::socket::{
        AddressFamily, ControlMessageOwned, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrStorage,
        TimestampingFlag, getsockopt, recvmsg, sendto, setsockopt, socket, sockopt,
    },
};

/// Packets that wait for an unresolved neighbour occupy the send buffer, and the kernel keeps up to 208 KiB of
/// them. The kernel doubles this value, which leaves room for all of those and for the packets after the neighbour is found.
const SEND_BUFFER: usize = 1 << 20;
/// Room for the kernel's timestamps of packets, and for ICMP errors, which use the same queue.
const NOTE_BUFFER: usize = 64 << 10;
/// Timestamps read at once: more than fit into [`NOTE_BUFFER`], which the kernel doubles. So a flood of ICMP errors causes no delay.
const NOTES: usize = 1024;

/// Progress of a packet that the kernel has accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Departure {
    /// The interface has it, as a frame.
    Left,
    /// It waits for the MAC of its neighbour. The kernel sends it when the MAC is known, or drops it silently.
    Waits,
}

/// Sends IP packets that bring their own header; the kernel routes them and resolves the neighbour.
///
/// It is bound to nothing: the routing table decides where a packet leaves, whatever its source. It receives nothing.
#[derive(Debug)]
pub struct UnicastSocket {
    fd: OwnedFd,
    peer: SockaddrStorage,
}

/// Sets an option of a socket that is a number.
fn set_option(fd: &OwnedFd, level: libc::c_int, option: libc::c_int, value: libc::c_int) -> io::Result<()> {
    let length = libc::socklen_t::try_from(size_of_val(&value)).expect("four octets");
    // SAFETY: the kernel reads `length` octets of the number, which outlives the call.
    let result =
        unsafe { libc::setsockopt(fd.as_raw_fd(), level, option, (&raw const value).cast(), length) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

impl UnicastSocket {
    /// The interface is where a link-local peer is.
    ///
    /// # Errors
    ///
    /// Without CAP_NET_RAW and CAP_NET_ADMIN.
    pub fn open(peer: IpAddr, interface_index: u32) -> io::Result<Self> {
        let (domain, address) = match peer {
            IpAddr::V4(v4) => (AddressFamily::Inet, SocketAddr::V4(SocketAddrV4::new(v4, 0))),
            // The scope; the kernel looks at it for link-local addresses only.
            IpAddr::V6(v6) => {
                (AddressFamily::Inet6, SocketAddr::V6(SocketAddrV6::new(v6, 0, 0, interface_index)))
            }
        };
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        // Protocol IPPROTO_RAW: the header is included, in both families.
        let fd = socket(domain, SockType::Raw, flags, SockProtocol::Raw)?;
        drop_all(&fd)?;
        setsockopt(&fd, sockopt::RcvBuf, &NOTE_BUFFER)?;
        setsockopt(&fd, sockopt::SndBufForce, &SEND_BUFFER)?;
        // Else the kernel keeps it to itself that its transmit queue was full.
        match peer {
            IpAddr::V4(_) => setsockopt(&fd, sockopt::Ipv4RecvErr, &true)?,
            IpAddr::V6(_) => setsockopt(&fd, sockopt::Ipv6RecvErr, &true)?,
        }
        // Else one forged "fragmentation needed" or "packet too big" of anybody's has adverts leave in fragments, which no router
        // of ours takes, or not at all, for ten minutes: the MTU is the interface's.
        let by_interface = libc::IP_PMTUDISC_INTERFACE;
        match peer {
            IpAddr::V4(_) => set_option(&fd, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, by_interface)?,
            IpAddr::V6(_) => set_option(&fd, libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, by_interface)?,
        }
        // The kernel makes a note (without the packet) when a packet comes to an interface's queue, whatever the driver.
        let noted = libc::SOF_TIMESTAMPING_TX_SCHED
            | libc::SOF_TIMESTAMPING_SOFTWARE
            | libc::SOF_TIMESTAMPING_OPT_TSONLY;
        setsockopt(&fd, sockopt::Timestamping, &TimestampingFlag::from_bits_retain(noted))?;
        Ok(Self { fd, peer: address.into() })
    }

    /// Sends one packet, which must have a header of the peer's family. Never waits.
    ///
    /// A packet with a known neighbour reaches the interface before the kernel's call returns, so its timestamp is available. Without a
    /// timestamp (the kernel encrypts in the background, say) the packet counts as one that waits. The timestamp of an earlier
    /// packet to the same peer that leaves during this call is as good: the peer hears it after the call began.
    ///
    /// An IPv4 packet arrives as it is, except that the kernel fills in an identification of 0; an IPv6 packet arrives as it is.
    ///
    /// # Errors
    ///
    /// `NetworkUnreachable` without a route (so also if the link is down), `ENOBUFS` if the transmit queue is full,
    /// `EMSGSIZE` if the packet is longer than the MTU, `EPERM` if the packet filter drops it.
    pub fn send(&self, packet: &[u8]) -> io::Result<Departure> {
        // Kernels without "RAW sockets using IPPROTO_RAW MUST drop incoming ICMP" (2026) let anybody who forges an ICMP error
        // about a packet of protocol 255 fail the next call on the socket: not this one.
        getsockopt(&self.fd, sockopt::SocketError)?;
        // Of packets before this one.
        self.take_notes();
        let send = || sendto(self.fd.as_raw_fd(), packet, &self.peer, MsgFlags::empty());
        // One that came between the two calls fails this one, and is gone then.
        send().or_else(|_| send())?;
        Ok(if self.take_notes() { Departure::Left } else { Departure::Waits })
    }

    /// Reads the kernel's timestamps; whether a packet has left.
    fn take_notes(&self) -> bool {
        let mut left = false;
        for _ in 0..NOTES {
            let mut space = cmsg_space!([libc::timespec; 3], libc::sock_extended_err, libc::sockaddr_in6);
            let mut nothing = [0; 0];
            let mut vector = [IoSliceMut::new(&mut nothing)];
            let flags = MsgFlags::MSG_ERRQUEUE | MsgFlags::MSG_DONTWAIT;
            let note = recvmsg::<SockaddrStorage>(self.fd.as_raw_fd(), &mut vector, Some(&mut space), flags);
            let note = match note {
                Ok(note) => note,
                Err(Errno::EINTR) => continue,
                Err(_) => break,
            };
            let Ok(parts) = note.cmsgs() else { continue };
            left |= parts.into_iter().any(|part| match part {
                ControlMessageOwned::Ipv4RecvErr(note, _) | ControlMessageOwned::Ipv6RecvErr(note, _) => {
                    note.ee_origin == libc::SO_EE_ORIGIN_TIMESTAMPING
                }
                _ => false,
            });
        }
        left
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
