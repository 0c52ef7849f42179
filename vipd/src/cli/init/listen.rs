//! The virtual routers that advertise on an interface, heard for a moment.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    time::Duration,
};

use nix::{
    errno::Errno,
    libc,
    sys::{
        socket::{
            IpMembershipRequest, SockaddrStorage, recvfrom, setsockopt,
            sockopt::{BindToDevice, IpAddMembership, ReceiveTimeout},
        },
        time::{TimeVal, TimeValLike},
    },
};
use vipd_common::wire::{
    ipv4::{self, PROTOCOL_VRRP},
    vrrp::Advert,
};

use super::survey::Interface;

/// VRRP over IPv4 and IPv6 (RFC 9568 5.1.1.2, 5.1.2.2).
const GROUP_V4: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 18);
const GROUP_V6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x12);
/// Virtual routers that are remembered; there are no more VRIDs.
const VRIDS: usize = 255;

/// The VRIDs in use on an interface, each with a router that advertises it.
///
/// # Errors
///
/// Without CAP_NET_RAW.
pub fn vrids(
    interface: &Interface,
    is_v6: bool,
    time: Duration,
    now_ms: fn() -> u64,
) -> io::Result<BTreeMap<u8, IpAddr>> {
    let socket = open(interface, is_v6)?;
    let mut heard = BTreeMap::new();
    let mut buffer = [0; 2048];
    let end = now_ms() + u64::try_from(time.as_millis()).unwrap_or(0);
    while heard.len() < VRIDS {
        let left = end.saturating_sub(now_ms());
        if left == 0 {
            break;
        }
        setsockopt(&socket, ReceiveTimeout, &TimeVal::milliseconds(i64::try_from(left).unwrap_or(1)))?;
        match recvfrom::<SockaddrStorage>(socket.as_raw_fd(), &mut buffer) {
            Ok((length, from)) => {
                let octets = buffer.get(..length).unwrap_or_default();
                heard.extend(advert(octets, is_v6).and_then(|vrid| Some((vrid, address(from?)?))));
            }
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(heard)
}

/// A raw socket of protocol 112 on the interface, which has joined VRRP's group.
fn open(interface: &Interface, is_v6: bool) -> io::Result<OwnedFd> {
    let family = if is_v6 { libc::AF_INET6 } else { libc::AF_INET };
    // SAFETY: no pointers.
    let fd = unsafe { libc::socket(family, libc::SOCK_RAW | libc::SOCK_CLOEXEC, PROTOCOL_VRRP.into()) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a new descriptor that nobody else has.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    setsockopt(&socket, BindToDevice, &OsString::from(&interface.name))?;
    if is_v6 {
        join_v6(&socket, interface.index)?;
    } else {
        let own = interface.addresses.iter().find_map(|(address, _)| match address {
            IpAddr::V4(own) => Some(*own),
            IpAddr::V6(_) => None,
        });
        setsockopt(&socket, IpAddMembership, &IpMembershipRequest::new(GROUP_V4, own))?;
    }
    Ok(socket)
}

/// nix cannot name the interface.
fn join_v6(socket: &OwnedFd, ifindex: u32) -> io::Result<()> {
    let request = libc::ipv6_mreq {
        ipv6mr_multiaddr: libc::in6_addr { s6_addr: GROUP_V6.octets() },
        ipv6mr_interface: ifindex,
    };
    // SAFETY: a structure of that length, which outlives the call.
    let joined = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_IPV6,
            libc::IPV6_ADD_MEMBERSHIP,
            (&raw const request).cast(),
            size_of::<libc::ipv6_mreq>() as libc::socklen_t,
        )
    };
    if joined < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// The VRID of an advert; over IPv4 with the header of the packet.
fn advert(octets: &[u8], is_v6: bool) -> Option<u8> {
    if is_v6 {
        return Some(Advert::<Ipv6Addr>::new_checked(octets).ok()?.header().vrid());
    }
    let packet = ipv4::Packet::new_checked(octets).ok()?;
    Some(Advert::<Ipv4Addr>::new_checked(packet.payload()).ok()?.header().vrid())
}

fn address(from: SockaddrStorage) -> Option<IpAddr> {
    let v4 = from.as_sockaddr_in().map(|from| IpAddr::from(from.ip()));
    v4.or_else(|| from.as_sockaddr_in6().map(|from| IpAddr::from(from.ip())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_adverts_are_heard() {
        // RFC 3768 5.1: version 2, type 1, VRID 51, priority 100, one address, no authentication, interval 1.
        let vrrp = [0x21, 51, 100, 1, 0, 1, 0, 0, 10, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0];
        let mut packet = vec![0x45, 0xc0, 0, 40, 0, 0, 0, 0, 255, 112, 0, 0, 10, 0, 0, 5, 224, 0, 0, 18];
        packet.extend(vrrp);
        assert_eq!(advert(&packet, false), Some(51));
        assert_eq!(advert(&packet[..30], false), None);
        assert_eq!(advert(&[], false), None);
        assert_eq!(advert(&vrrp, true), None, "version 2 is not spoken over IPv6");
    }
}
