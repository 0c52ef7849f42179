//! A socket filter for sockets that are there for something else than to receive.

use std::{
    io,
    os::fd::{AsFd, AsRawFd},
};

/// Keeps every packet out of a socket's receive queue.
///
/// # Errors
///
/// What the kernel says, of a descriptor that is no socket for example.
pub fn drop_all(socket: &impl AsFd) -> io::Result<()> {
    // BPF_RET | BPF_K with k = 0: keep no octet of any packet.
    let mut instruction = libc::sock_filter { code: 0x06, jt: 0, jf: 0, k: 0 };
    let program = libc::sock_fprog { len: 1, filter: &mut instruction };
    // SAFETY: a `sock_fprog` of that length, which points to one instruction; both outlive the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            (&raw const program).cast(),
            size_of::<libc::sock_fprog>() as libc::socklen_t,
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
