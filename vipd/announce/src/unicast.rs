//! A raw socket that sends whole IP packets to one unicast peer, and detects whether they have left, and how.
//!
//! The kernel's neighbour table is not this host's alone: stations that fill it (`gc_thresh3`) have the kernel forget the peer's MAC
//! and learn no other. So the Ethernet header of the last packet that left is kept, and used where the kernel has none.

use std::{
    io::{self, IoSliceMut},
    net::{IpAddr, SocketAddr, SocketAddrV4, SocketAddrV6},
    os::fd::{AsRawFd, OwnedFd},
};

use nix::{
    cmsg_space,
    errno::Errno,
    sys::socket::{
        AddressFamily, ControlMessageOwned, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrStorage,
        TimestampingFlag, getsockopt, recvmsg, sendto, setsockopt, socket, sockopt,
    },
};
use vipd_common::wire::eth::{self, MacAddr};

use super::PacketSocket;
use vipd_system::socket_filter::drop_all;

/// Packets that wait for an unresolved neighbour occupy the send buffer, and the kernel keeps up to 208 KiB of
/// them. The kernel doubles this value, which leaves room for all of those and for the packets after the neighbour is found.
const SEND_BUFFER: usize = 1 << 20;
/// Room for the kernel's timestamps of packets, and for ICMP errors, which use the same queue.
const NOTE_BUFFER: usize = 64 << 10;
/// Timestamps read at once: more than fit into [`NOTE_BUFFER`], which the kernel doubles. So a flood of ICMP errors causes no delay.
const NOTES: usize = 1024;
/// Room for a packet that the kernel shows in a note: an advert with its Ethernet header. The rest is not needed.
const SHOWN: usize = 128;

/// Progress of a packet that the kernel has accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Departure {
    /// The interface has it, as a frame.
    Left,
    /// The same, to the MAC that an earlier packet left to: the kernel has none for the peer now.
    LeftByLastMac,
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
    last: Option<NextHop>,
}

/// Where a packet to the peer leaves this host, as the last one did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct NextHop {
    ifindex: u32,
    header: [u8; eth::HEADER],
}

/// What the kernel has noted.
#[derive(Debug, Default)]
struct Notes {
    left: bool,
    /// Of the first packet that left; `None`: it went as no plain Ethernet frame.
    next_hop: Option<NextHop>,
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
            IpAddr::V4(_) => {
                setsockopt(&fd, sockopt::Ipv4RecvErr, &true)?;
                setsockopt(&fd, sockopt::Ipv4PacketInfo, &true)?;
            }
            IpAddr::V6(_) => {
                setsockopt(&fd, sockopt::Ipv6RecvErr, &true)?;
                setsockopt(&fd, sockopt::Ipv6RecvPacketInfo, &true)?;
            }
        }
        // Else one forged "fragmentation needed" or "packet too big" of anybody's has adverts leave in fragments, which no router
        // of ours takes, or not at all, for ten minutes: the MTU is the interface's.
        let by_interface = libc::IP_PMTUDISC_INTERFACE;
        match peer {
            IpAddr::V4(_) => set_option(&fd, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, by_interface)?,
            IpAddr::V6(_) => set_option(&fd, libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, by_interface)?,
        }
        // The kernel makes a note when a packet comes to an interface's queue, whatever the driver, with the frame that it has become
        // and the interface.
        let noted = libc::SOF_TIMESTAMPING_TX_SCHED
            | libc::SOF_TIMESTAMPING_SOFTWARE
            | libc::SOF_TIMESTAMPING_OPT_CMSG;
        setsockopt(&fd, sockopt::Timestamping, &TimestampingFlag::from_bits_retain(noted))?;
        Ok(Self { fd, peer: address.into(), last: None })
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
    pub fn send(&mut self, packet: &[u8]) -> io::Result<Departure> {
        // Kernels without "RAW sockets using IPPROTO_RAW MUST drop incoming ICMP" (2026) let anybody who forges an ICMP error
        // about a packet of protocol 255 fail the next call on the socket: not this one.
        getsockopt(&self.fd, sockopt::SocketError)?;
        // Of packets before this one.
        self.take_notes(packet);
        let send = || sendto(self.fd.as_raw_fd(), packet, &self.peer, MsgFlags::empty());
        // One that came between the two calls fails this one, and is gone then.
        send().or_else(|_| send())?;
        let notes = self.take_notes(packet);
        Ok(if notes.left { Departure::Left } else { Departure::Waits })
    }

    /// As [`Self::send`], and by `frames` to the MAC that the last packet left to if the kernel has none for the peer now, whether it
    /// waits for an answer or has no room in its table. `mac` is that of the interface `ifindex`, where the packet may leave.
    ///
    /// # Errors
    ///
    /// As [`Self::send`].
    pub fn send_or_by_last_mac(
        &mut self,
        packet: &[u8],
        frames: &PacketSocket,
        (ifindex, mac): (u32, MacAddr),
    ) -> io::Result<Departure> {
        let sent = self.send(packet);
        let has_no_mac = match &sent {
            Ok(Departure::Waits) => true,
            Ok(_) => false,
            Err(error) => lacks_neighbour(error),
        };
        let Some(NextHop { ifindex: by, mut header }) = self.last.filter(|_| has_no_mac) else { return sent };
        if by == ifindex {
            // It may be another one now.
            header[6..12].copy_from_slice(&mac.0);
        }
        match frames.send_by(by, &[&header[..], packet].concat()) {
            Ok(()) => Ok(Departure::LeftByLastMac),
            Err(_) => sent,
        }
    }

    /// Reads the kernel's timestamps of packets like this one: whether any has left, and how, which is remembered.
    fn take_notes(&mut self, packet: &[u8]) -> Notes {
        let mut notes = Notes::default();
        for _ in 0..NOTES {
            let mut space = cmsg_space!(
                [libc::timespec; 3],
                libc::sock_extended_err,
                libc::sockaddr_in6,
                libc::in6_pktinfo,
                libc::in_pktinfo
            );
            let mut shown = [0; SHOWN];
            let mut vector = [IoSliceMut::new(&mut shown)];
            let flags = MsgFlags::MSG_ERRQUEUE | MsgFlags::MSG_DONTWAIT;
            let note = recvmsg::<SockaddrStorage>(self.fd.as_raw_fd(), &mut vector, Some(&mut space), flags);
            let note = match note {
                Ok(note) => note,
                Err(Errno::EINTR) => continue,
                Err(_) => break,
            };
            let length = note.bytes;
            let Ok(parts) = note.cmsgs() else { continue };
            let (mut is_ours, mut ifindex) = (false, None);
            for part in parts {
                match part {
                    ControlMessageOwned::Ipv4RecvErr(note, _) | ControlMessageOwned::Ipv6RecvErr(note, _) => {
                        is_ours |= note.ee_origin == libc::SO_EE_ORIGIN_TIMESTAMPING;
                    }
                    ControlMessageOwned::Ipv4PacketInfo(info) => {
                        ifindex = u32::try_from(info.ipi_ifindex).ok()
                    }
                    ControlMessageOwned::Ipv6PacketInfo(info) => ifindex = Some(info.ipi6_ifindex),
                    _ => {}
                }
            }
            if !is_ours {
                continue;
            }
            // An interface on top of others makes a note for each, its own first.
            if !std::mem::replace(&mut notes.left, true) {
                let frame = shown.get(..length).unwrap_or(&shown);
                notes.next_hop = ifindex.and_then(|ifindex| NextHop::of(frame, packet, ifindex));
            }
        }
        if notes.left {
            self.last = notes.next_hop;
        }
        notes
    }
}

impl NextHop {
    /// Of a frame that has an IP packet like `packet` behind a plain Ethernet header: an interface that encapsulates or encrypts shows
    /// another.
    fn of(frame: &[u8], packet: &[u8], ifindex: u32) -> Option<Self> {
        let (header, rest) = frame.split_first_chunk::<{ eth::HEADER }>()?;
        let ethertype = match packet.first()? >> 4 {
            4 => eth::ETHERTYPE_IPV4,
            _ => eth::ETHERTYPE_IPV6,
        };
        let is_like = header[12..] == ethertype.to_be_bytes() && rest.first() == packet.first();
        is_like.then_some(Self { ifindex, header: *header })
    }
}

/// Whether the kernel refused a packet because it has no room for its neighbour, or may have.
fn lacks_neighbour(error: &io::Error) -> bool {
    // IPv4 and IPv6 say it differently. A full transmit queue is ENOBUFS too, and refuses the frame again.
    matches!(error.raw_os_error(), Some(libc::ENOBUFS | libc::EINVAL | libc::EHOSTUNREACH))
}

#[cfg(test)]
mod tests;
