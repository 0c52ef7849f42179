//! A packet socket that only sends.

use std::{
    io,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
};

/// Frames handed to the kernel in one system call.
const CHUNK: usize = 64;

/// An `AF_PACKET` socket bound to one interface. It receives nothing: protocol 0 keeps it off the receive path.
#[derive(Debug)]
pub struct PacketSocket(OwnedFd);

impl PacketSocket {
    /// # Errors
    ///
    /// Without CAP_NET_RAW, or if the interface does not exist.
    pub fn open(ifindex: u32) -> io::Result<Self> {
        let kind = libc::SOCK_RAW | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
        // SAFETY: no pointers.
        let fd = unsafe { libc::socket(libc::AF_PACKET, kind, 0) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: a new descriptor that nobody else has.
        let socket = Self(unsafe { OwnedFd::from_raw_fd(fd) });
        let address = link_address(ifindex)?;
        // SAFETY: a `sockaddr_ll` of that length, which outlives the call.
        let bound = unsafe {
            libc::bind(fd, (&raw const address).cast(), size_of::<libc::sockaddr_ll>() as libc::socklen_t)
        };
        if bound < 0 { Err(io::Error::last_os_error()) } else { Ok(socket) }
    }

    /// Sends one frame.
    ///
    /// # Errors
    ///
    /// The frame has not left, also because of a full queue (`ENOBUFS`): then the lease must not be renewed.
    pub fn send(&self, frame: &[u8]) -> io::Result<()> {
        // SAFETY: a buffer of that length, which outlives the call.
        let sent = unsafe { libc::send(self.0.as_raw_fd(), frame.as_ptr().cast(), frame.len(), 0) };
        if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Sends one frame by another interface than the socket's, or by the same.
    ///
    /// # Errors
    ///
    /// As [`Self::send`].
    pub fn send_by(&self, ifindex: u32, frame: &[u8]) -> io::Result<()> {
        let address = link_address(ifindex)?;
        // SAFETY: a buffer and a `sockaddr_ll` of their lengths, which outlive the call.
        let sent = unsafe {
            libc::sendto(
                self.0.as_raw_fd(),
                frame.as_ptr().cast(),
                frame.len(),
                0,
                (&raw const address).cast(),
                size_of::<libc::sockaddr_ll>() as libc::socklen_t,
            )
        };
        if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Sends frames in order; returns how many have left, and the error that stopped the rest.
    pub fn send_batch(&self, frames: &[impl AsRef<[u8]>]) -> (usize, Option<io::Error>) {
        let mut sent = 0;
        for chunk in frames.chunks(CHUNK) {
            let mut vectors: Vec<libc::iovec> = chunk
                .iter()
                .map(|frame| libc::iovec {
                    iov_base: frame.as_ref().as_ptr().cast_mut().cast(),
                    iov_len: frame.as_ref().len(),
                })
                .collect();
            let mut messages: Vec<libc::mmsghdr> = vectors
                .iter_mut()
                .map(|vector| {
                    // SAFETY: a plain structure of numbers and null pointers.
                    let mut message: libc::mmsghdr = unsafe { std::mem::zeroed() };
                    message.msg_hdr.msg_iov = vector;
                    message.msg_hdr.msg_iovlen = 1;
                    message
                })
                .collect();
            // SAFETY: each message points to one of `vectors`, each of which points to a frame; all outlive the call,
            // which only reads the frames.
            let count = unsafe {
                libc::sendmmsg(self.0.as_raw_fd(), messages.as_mut_ptr(), messages.len() as libc::c_uint, 0)
            };
            match usize::try_from(count) {
                Ok(count) => sent += count,
                Err(_) => return (sent, Some(io::Error::last_os_error())),
            }
            if count.unsigned_abs() as usize != chunk.len() {
                // The kernel tells why it stopped only to a call whose first frame fails.
                let error = self.send(chunk[count.unsigned_abs() as usize].as_ref()).err();
                return (sent, Some(error.unwrap_or_else(|| io::ErrorKind::WouldBlock.into())));
            }
        }
        (sent, None)
    }
}

fn link_address(ifindex: u32) -> io::Result<libc::sockaddr_ll> {
    // SAFETY: a plain structure of numbers.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::AF_PACKET as libc::c_ushort;
    address.sll_ifindex = libc::c_int::try_from(ifindex).map_err(io::Error::other)?;
    Ok(address)
}
