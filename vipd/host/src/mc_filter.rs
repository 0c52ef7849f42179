//! Multicast MACs in the filters of NICs without a membership: what `ip maddress add` does.
//!
//! A membership ends with the socket that holds it, and with it the filter's entry. A master that was killed would then be
//! deaf to its successor's adverts, and answer beside it until its lease has run out.

use std::{
    fs, io, mem,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
};

use vipd_common::wire::eth::MacAddr;

use vipd_system::interface_names::name_of;

/// Adds one. `false`: somebody else has added it, or the driver has no filter.
pub fn add(ifindex: u32, mac: MacAddr) -> io::Result<bool> {
    if is_present(ifindex, mac)? {
        return Ok(false);
    }
    match request(libc::SIOCADDMULTI as libc::Ioctl, ifindex, mac) {
        // net/core/dev_ioctl.c says so of a driver that receives everything.
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Ok(false),
        result => result.map(|()| true),
    }
}

/// Removes one that may be gone.
pub fn remove(ifindex: u32, mac: MacAddr) -> io::Result<()> {
    match request(libc::SIOCDELMULTI as libc::Ioctl, ifindex, mac) {
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENODEV)) => Ok(()),
        result => result,
    }
}

/// Whether it is there by somebody's explicit wish. The kernel counts these apart from memberships.
fn is_present(ifindex: u32, mac: MacAddr) -> io::Result<bool> {
    let list = fs::read_to_string("/proc/thread-self/net/dev_mcast")?;
    let wanted: String = mac.0.iter().map(|octet| format!("{octet:02x}")).collect();
    Ok(list.lines().any(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        matches!(fields[..], [index, _, _, explicit, address]
            if index.parse() == Ok(ifindex) && address == wanted && explicit != "0")
    }))
}

/// The ioctl knows interfaces by their names only. One that is renamed at this moment is looked up again.
fn request(code: libc::Ioctl, ifindex: u32, mac: MacAddr) -> io::Result<()> {
    let name = || name_of(ifindex)?.ok_or_else(|| io::Error::from_raw_os_error(libc::ENODEV));
    let mut known = name()?;
    loop {
        match request_by_name(code, &known, mac) {
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => {
                let renamed = name()?;
                if renamed == known {
                    return Err(error);
                }
                known = renamed;
            }
            result => return result,
        }
    }
}

fn request_by_name(code: libc::Ioctl, name: &str, mac: MacAddr) -> io::Result<()> {
    // SAFETY: socket() takes no pointers.
    let fd = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor was just made and nobody else has it.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    // SAFETY: all zero is a valid `ifreq`.
    let mut request: libc::ifreq = unsafe { mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.as_bytes()) {
        *to = from.cast_signed();
    }
    let mut address = libc::sockaddr { sa_family: libc::AF_UNSPEC as libc::sa_family_t, sa_data: [0; 14] };
    for (to, from) in address.sa_data.iter_mut().zip(mac.0) {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_hwaddr = address;
    // SAFETY: `request` lives through the call, which reads no more than it.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), code, &raw const request) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
