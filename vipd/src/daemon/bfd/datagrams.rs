//! Packets that the program has not taken: of sessions whose interfaces it does not hear. The kernel stamps them, so that a late reader knows
//! when they came, and lets through only those of configured neighbors.

use std::{
    io::{self, IoSliceMut},
    net::{IpAddr, SocketAddr, UdpSocket},
    os::fd::AsRawFd,
};

use nix::{
    cmsg_space,
    sys::{
        socket::{
            ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, setsockopt,
            sockopt::{
                Ipv4PacketInfo, Ipv4RecvTtl, Ipv6RecvHopLimit, Ipv6RecvPacketInfo, ReceiveTimestampns,
            },
        },
        time::TimeSpec,
    },
};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::io::{Interest, unix::AsyncFd};

use super::{
    super::clock,
    filter::{self, Sources},
    stamps::{self, ClockPair},
};
use crate::time::Instant;

/// A socket for all sessions of a family and a port.
#[derive(Debug)]
pub struct BfdDatagrams {
    socket: AsyncFd<UdpSocket>,
    v4: bool,
    /// What the kernel lets through.
    sources: Sources,
    /// When the socket was last found empty: what is read later came later.
    emptied: ClockPair,
}

/// A datagram.
#[derive(Debug)]
pub struct BfdDatagram {
    pub source: IpAddr,
    pub destination: IpAddr,
    /// The interface that it came in on.
    pub ifindex: u32,
    pub hop_limit: u8,
    /// When it came.
    pub at: Instant,
    pub payload: Vec<u8>,
}

impl BfdDatagrams {
    /// To be called on a runtime.
    ///
    /// # Errors
    ///
    /// Another program has the port.
    pub fn open(v4: bool, port: u16, sources: Sources) -> io::Result<Self> {
        let (domain, any): (_, SocketAddr) =
            if v4 { (Domain::IPV4, ([0; 4], port).into()) } else { (Domain::IPV6, ([0u16; 8], port).into()) };
        let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_nonblocking(true)?;
        if v4 {
            setsockopt(&socket, Ipv4RecvTtl, &true)?;
            setsockopt(&socket, Ipv4PacketInfo, &true)?;
        } else {
            socket.set_only_v6(true)?;
            setsockopt(&socket, Ipv6RecvHopLimit, &true)?;
            setsockopt(&socket, Ipv6RecvPacketInfo, &true)?;
        }
        setsockopt(&socket, ReceiveTimestampns, &true)?;
        // Before there are any.
        restrict(&SockRef::from(&socket), v4, &sources)?;
        let emptied = clocks();
        socket.bind(&any.into())?;
        let socket: UdpSocket = socket.into();
        // SAFETY: the socket owns its descriptor and never changes it.
        let socket = unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE)? };
        Ok(Self { socket, v4, sources, emptied })
    }

    /// The port that it is on.
    #[cfg(test)]
    pub fn port(&self) -> io::Result<u16> {
        Ok(self.socket.get_ref().local_addr()?.port())
    }

    /// Lets packets of others through from now on.
    ///
    /// # Errors
    ///
    /// The kernel refuses the filter; the former one stays.
    pub fn restrict(&mut self, sources: Sources) -> io::Result<()> {
        if sources != self.sources {
            restrict(&SockRef::from(self.socket.get_ref()), self.v4, &sources)?;
            self.sources = sources;
        }
        Ok(())
    }

    /// Waits until there may be datagrams. May be dropped while it waits.
    ///
    /// # Errors
    ///
    /// The runtime has ended.
    pub async fn readable(&self) -> io::Result<()> {
        self.socket.readable().await?.clear_ready();
        Ok(())
    }

    /// The next datagram, if one waits.
    pub fn next(&mut self) -> Option<BfdDatagram> {
        loop {
            let now = clocks();
            match self.receive(now) {
                Ok(Some(datagram)) => return Some(datagram),
                // Without what it has to say of itself.
                Ok(None) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => {
                    self.emptied = now;
                    return None;
                }
            }
        }
    }

    fn receive(&self, now: ClockPair) -> io::Result<Option<BfdDatagram>> {
        let mut buffer = [0; MOST];
        let mut parts = [IoSliceMut::new(&mut buffer)];
        let mut space = cmsg_space!(libc::in6_pktinfo, TimeSpec, libc::c_int);
        let fd = self.socket.get_ref().as_raw_fd();
        let received = recvmsg::<SockaddrStorage>(fd, &mut parts, Some(&mut space), MsgFlags::MSG_DONTWAIT)?;
        let (mut destination, mut hop_limit, mut stamp) = (None, None, None);
        for message in received.cmsgs()? {
            match message {
                ControlMessageOwned::Ipv4PacketInfo(info) => {
                    let address = IpAddr::from(info.ipi_addr.s_addr.to_ne_bytes());
                    destination = Some((address, info.ipi_ifindex.cast_unsigned()));
                }
                ControlMessageOwned::Ipv6PacketInfo(info) => {
                    destination = Some((IpAddr::from(info.ipi6_addr.s6_addr), info.ipi6_ifindex));
                }
                ControlMessageOwned::Ipv4Ttl(ttl) | ControlMessageOwned::Ipv6HopLimit(ttl) => {
                    hop_limit = u8::try_from(ttl).ok();
                }
                ControlMessageOwned::ScmTimestampns(time) => stamp = Some(nanos(time)),
                _ => {}
            }
        }
        let source = received.address.and_then(|address| {
            let v4 = address.as_sockaddr_in().map(|address| IpAddr::V4(address.ip()));
            v4.or_else(|| address.as_sockaddr_in6().map(|address| IpAddr::V6(address.ip())))
        });
        let length = received.bytes;
        let (Some(source), Some((destination, ifindex)), Some(hop_limit)) = (source, destination, hop_limit)
        else {
            return Ok(None);
        };
        let at = stamp.map_or(now.boot, |stamp| stamps::arrival(stamp, self.emptied, now));
        let payload = buffer[..length].to_vec();
        Ok(Some(BfdDatagram { source, destination, ifindex, hop_limit, at, payload }))
    }
}

fn restrict(socket: &SockRef<'_>, v4: bool, sources: &Sources) -> io::Result<()> {
    // Kernels before 6.8 have room for some 20 KiB.
    socket
        .attach_filter(&filter::program(v4, sources))
        .or_else(|_| socket.attach_filter(&filter::program_by_hop_limit(v4, sources)))
}

fn clocks() -> ClockPair {
    ClockPair { boot: clock::now(), unix_ns: clock::unix_ns() }
}

fn nanos(stamp: TimeSpec) -> u64 {
    crate::time::nanos(stamp.into())
}

/// Octets of the longest datagram that is read.
const MOST: usize = 256;

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    /// A socket on the loopback interface for some neighbors, and one that sends to it from `source` with a TTL or hop limit.
    fn pair(source: IpAddr, ttl: u32, sources: &[(IpAddr, u8)]) -> (BfdDatagrams, UdpSocket) {
        let to =
            BfdDatagrams::open(source.is_ipv4(), 0, sources.iter().copied().collect()).expect("a socket");
        let port = to.port().expect("a port");
        let from = UdpSocket::bind((source, 0)).expect("a socket");
        let loopback: IpAddr =
            if source.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() };
        from.connect((loopback, port)).expect("an address");
        let options = SockRef::from(&from);
        if source.is_ipv4() {
            options.set_ttl_v4(ttl).expect("a TTL");
        } else {
            options.set_unicast_hops_v6(ttl).expect("a hop limit");
        }
        (to, from)
    }

    /// Packets of neighbors alone get through, those with the right TTL always, and of others enough to be noticed.
    #[tokio::test]
    async fn the_kernel_keeps_back_what_is_of_no_session() {
        let v4 = |last: u8| IpAddr::from([127, 0, 0, last]);
        let v6 = IpAddr::from(Ipv6Addr::LOCALHOST);
        let near: Ipv6Addr = "::2:0:1".parse().expect("an address");
        const SENT: usize = 200;
        for (what, source, ttl, sources, wanted) in [
            ("a neighbor", v4(6), 255, &[(v4(5), 255), (v4(6), 255)][..], SENT..=SENT),
            ("over several hops", v4(6), 250, &[(v4(6), 250)], SENT..=SENT),
            ("too far, as another may be", v4(6), 249, &[(v4(5), 1), (v4(6), 250)], 1..=SENT / 4),
            ("nobody", v4(7), 255, &[(v4(5), 255), (v4(6), 255)], 0..=0),
            ("nobody, without any neighbor", v4(7), 255, &[], 0..=0),
            ("a neighbor over IPv6", v6, 255, &[(near.into(), 255), (v6, 255)], SENT..=SENT),
            ("too far over IPv6", v6, 64, &[(v6, 255)], 1..=SENT / 4),
            ("nobody over IPv6", v6, 255, &[(near.into(), 255)], 0..=0),
        ] {
            let (mut to, from) = pair(source, ttl, sources);
            let mut heard = Vec::new();
            for _ in 0..SENT {
                from.send(&[0x20; 24]).expect("sent");
                heard.extend(to.next());
            }
            assert!(wanted.contains(&heard.len()), "{what}: {} of {SENT}", heard.len());
            let is_it = |one: &BfdDatagram| {
                (one.source, u32::from(one.hop_limit), one.ifindex, one.payload.len()) == (source, ttl, 1, 24)
            };
            assert!(heard.iter().all(is_it), "{what}: {heard:?}");
        }
        // Another configuration, of a socket that is open.
        let (mut to, from) = pair(v4(6), 255, &[(v4(5), 255)]);
        from.send(&[0x20; 24]).expect("sent");
        assert!(to.next().is_none());
        to.restrict([(v4(6), 255)].into()).expect("a filter");
        from.send(&[0x20; 24]).expect("sent");
        assert!(to.next().is_some());
    }

    /// As many neighbors as there can be sessions.
    #[tokio::test]
    async fn a_filter_has_room_for_every_session() {
        let mut sources: Vec<(IpAddr, u8)> =
            (0..255u16).map(|i| (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, i).into(), 255)).collect();
        sources.push((Ipv6Addr::LOCALHOST.into(), 255));
        let (mut to, from) = pair(Ipv6Addr::LOCALHOST.into(), 255, &sources);
        from.send(&[0x20; 24]).expect("sent");
        assert!(to.next().is_some());
    }
}
