//! Multicast membership without reception.

use std::{
    io,
    net::Ipv4Addr,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    ptr,
};

use vipd_common::wire::ipv4::PROTOCOL_VRRP;

/// Joins an IPv4 group on a link; the membership (IGMP reports, NIC filter) lasts as long as the descriptor.
///
/// The socket is a raw one of protocol 112 whose filter drops everything: adverts are received in XDP. A raw socket
/// rather than UDP, because while one exists the kernel does not answer unicast adverts with "protocol unreachable".
/// Needs CAP_NET_RAW.
pub fn join(ifindex: u32, group: Ipv4Addr) -> io::Result<OwnedFd> {
    // SAFETY: socket() takes no pointers.
    let fd = unsafe {
        libc::socket(
            libc::AF_INET,
            libc::SOCK_RAW | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC,
            i32::from(PROTOCOL_VRRP),
        )
    };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor was just made and nobody else has it.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };

    // BPF_RET | BPF_K with k = 0: keep no octet of any packet.
    let mut drop_all = libc::sock_filter { code: 0x06, jt: 0, jf: 0, k: 0 };
    let program = libc::sock_fprog { len: 1, filter: &mut drop_all };
    set(&fd, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &program)?;
    set(&fd, libc::SOL_SOCKET, libc::SO_RCVBUF, &0i32)?;
    set(&fd, libc::IPPROTO_IP, libc::IP_MULTICAST_ALL, &0i32)?;
    drain(&fd);

    let request = libc::ip_mreqn {
        imr_multiaddr: libc::in_addr { s_addr: u32::from_ne_bytes(group.octets()) },
        imr_address: libc::in_addr { s_addr: 0 },
        imr_ifindex: i32::try_from(ifindex).map_err(|_| io::Error::from_raw_os_error(libc::ENODEV))?,
    };
    set(&fd, libc::IPPROTO_IP, libc::IP_ADD_MEMBERSHIP, &request)?;
    Ok(fd)
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
