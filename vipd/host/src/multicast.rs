//! Multicast membership without reception.

use std::{
    collections::BTreeSet,
    fs, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    path::Path,
    ptr,
};

use vipd_common::{Family, wire::ipv4::PROTOCOL_VRRP};

use super::netlink::family;
use vipd_system::socket_filter::drop_all;

/// Groups that are joined on links; the memberships (reports to switches, NIC filter) last as long as this.
///
/// The sockets are raw ones of protocol 112 whose filter drops everything: adverts are received in XDP. Raw sockets rather
/// than UDP, because while one exists the kernel does not answer unicast adverts with "protocol unreachable" or, IPv6, with
/// a parameter problem. So there is one of each family even without a group.
#[derive(Debug)]
pub struct Memberships {
    v4: Vec<OwnedFd>,
    /// Empty where the kernel has no IPv6.
    v6: Vec<OwnedFd>,
}

impl Memberships {
    /// Joins each group on its link, with as many sockets as the kernel's limits per socket ask for
    /// (`net.ipv4.igmp_max_memberships`; for IPv6 `net.core.optmem_max`). Needs CAP_NET_RAW.
    pub fn join(wanted: impl IntoIterator<Item = (u32, IpAddr)>) -> io::Result<Self> {
        let v6 = match open(Family::V6) {
            Ok(socket) => vec![socket],
            Err(error) if error.raw_os_error() == Some(libc::EAFNOSUPPORT) => Vec::new(),
            Err(error) => return Err(error),
        };
        let mut memberships = Self { v4: vec![open(Family::V4)?], v6 };
        // A socket joins a group on a link once.
        for (ifindex, group) in wanted.into_iter().collect::<BTreeSet<_>>() {
            memberships.add(ifindex, group).map_err(|error| {
                io::Error::new(error.kind(), format!("join {group} on interface {ifindex}: {error}"))
            })?;
        }
        Ok(memberships)
    }

    fn add(&mut self, ifindex: u32, group: IpAddr) -> io::Result<()> {
        let family = family(group);
        let sockets = match family {
            Family::V4 => &mut self.v4,
            Family::V6 => &mut self.v6,
        };
        if let Some(socket) = sockets.last() {
            match add_membership(socket, ifindex, group) {
                Err(error) if matches!(error.raw_os_error(), Some(libc::ENOBUFS | libc::ENOMEM)) => {}
                joined => return joined,
            }
        }
        let socket = open(family)?;
        add_membership(&socket, ifindex, group)?;
        sockets.push(socket);
        Ok(())
    }
}

/// Those of the groups that the kernel does not have on their link, although it does multicast there: with an interface that was away
/// its groups are lost.
pub fn missing(wanted: &BTreeSet<(u32, IpAddr)>) -> io::Result<Vec<(u32, IpAddr)>> {
    let mut joined = BTreeSet::new();
    for (file, parse) in [("igmp", igmp as Parse), ("igmp6", igmp6 as Parse)] {
        match fs::read_to_string(Path::new("/proc/thread-self/net").join(file)) {
            Ok(text) => joined.extend(parse(&text)),
            // The kernel has no such family.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    let links: BTreeSet<(u32, bool)> =
        joined.iter().map(|(ifindex, group)| (*ifindex, group.is_ipv4())).collect();
    let is_missing = |wanted: &&(u32, IpAddr)| {
        !joined.contains(*wanted) && links.contains(&(wanted.0, wanted.1.is_ipv4()))
    };
    Ok(wanted.iter().filter(is_missing).copied().collect())
}

/// The groups of each link, by a file of `/proc/net`.
type Parse = fn(&str) -> Vec<(u32, IpAddr)>;

/// A line with a link's index, then one for each group, in octets of the machine's order.
fn igmp(text: &str) -> Vec<(u32, IpAddr)> {
    let (mut ifindex, mut groups) = (0, Vec::new());
    for line in text.lines().skip(1) {
        let first = line.split_whitespace().next().unwrap_or_default();
        if !line.starts_with(char::is_whitespace) {
            ifindex = first.parse().unwrap_or_default();
        } else if let Ok(group) = u32::from_str_radix(first, 16) {
            groups.push((ifindex, Ipv4Addr::from(group.to_ne_bytes()).into()));
        }
    }
    groups
}

/// A line for each group: the link's index and name, the group.
fn igmp6(text: &str) -> Vec<(u32, IpAddr)> {
    let group = |line: &str| {
        let mut fields = line.split_whitespace();
        let ifindex = fields.next()?.parse().ok()?;
        let group = u128::from_str_radix(fields.nth(1)?, 16).ok()?;
        Some((ifindex, Ipv6Addr::from(group).into()))
    };
    text.lines().filter_map(group).collect()
}

#[cfg(test)]
impl Memberships {
    pub(super) fn sockets(&self) -> impl Iterator<Item = &OwnedFd> {
        self.v4.iter().chain(&self.v6)
    }
}

fn open(family: Family) -> io::Result<OwnedFd> {
    let domain = match family {
        Family::V4 => libc::AF_INET,
        Family::V6 => libc::AF_INET6,
    };
    let kind = libc::SOCK_RAW | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: socket() takes no pointers.
    let fd = unsafe { libc::socket(domain, kind, i32::from(PROTOCOL_VRRP)) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor was just made and nobody else has it.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };

    drop_all(&fd)?;
    set(&fd, libc::SOL_SOCKET, libc::SO_RCVBUF, &0i32)?;
    match family {
        Family::V4 => set(&fd, libc::IPPROTO_IP, libc::IP_MULTICAST_ALL, &0i32)?,
        Family::V6 => set(&fd, libc::IPPROTO_IPV6, libc::IPV6_MULTICAST_ALL, &0i32)?,
    }
    drain(&fd);
    Ok(fd)
}

fn add_membership(fd: &OwnedFd, ifindex: u32, group: IpAddr) -> io::Result<()> {
    match group {
        IpAddr::V4(group) => {
            let request = libc::ip_mreqn {
                imr_multiaddr: libc::in_addr { s_addr: u32::from_ne_bytes(group.octets()) },
                imr_address: libc::in_addr { s_addr: 0 },
                imr_ifindex: i32::try_from(ifindex)
                    .map_err(|_| io::Error::from_raw_os_error(libc::ENODEV))?,
            };
            set(fd, libc::IPPROTO_IP, libc::IP_ADD_MEMBERSHIP, &request)
        }
        IpAddr::V6(group) => {
            let request = libc::ipv6_mreq {
                ipv6mr_multiaddr: libc::in6_addr { s6_addr: group.octets() },
                ipv6mr_interface: ifindex,
            };
            set(fd, libc::IPPROTO_IPV6, libc::IPV6_ADD_MEMBERSHIP, &request)
        }
    }
}

/// Discards what came before the filter stood.
fn drain(fd: &OwnedFd) {
    let mut byte = 0u8;
    // SAFETY: the buffer is one live octet; a longer packet is cut off. Ends when the non-blocking socket is empty.
    while unsafe { libc::recv(fd.as_raw_fd(), ptr::from_mut(&mut byte).cast(), 1, 0) } >= 0 {}
}

fn set<T>(fd: &OwnedFd, level: i32, option: i32, value: &T) -> io::Result<()> {
    // SAFETY: `value` outlives the call and its true size is given; pointers inside it do too (the filter program).
    let result = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            level,
            option,
            ptr::from_ref(value).cast(),
            size_of::<T>() as libc::socklen_t,
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
