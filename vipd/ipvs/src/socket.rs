//! The socket to the kernel. The only file with system calls.

use std::io;

use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_GENERIC};
use nix::sys::{
    socket::{setsockopt, sockopt::ReceiveTimeout},
    time::{TimeVal, TimeValLike},
};

use crate::error::IpvsError;

/// Datagrams to the kernel and from it.
pub trait KernelChannel {
    /// Sends messages as one datagram. The kernel handles them in order, and before this returns.
    ///
    /// # Errors
    ///
    /// [`IpvsError::Socket`]
    fn send(&mut self, messages: &[u8]) -> Result<(), IpvsError>;

    /// Waits for a datagram of the kernel, which replaces what is in the buffer.
    ///
    /// # Errors
    ///
    /// [`IpvsError::Socket`], [`IpvsError::TimedOut`]
    fn receive(&mut self, buffer: &mut Vec<u8>) -> Result<(), IpvsError>;
}

/// A socket of generic netlink in the network namespace of the thread that opens it.
#[derive(Debug)]
pub struct NetlinkSocket {
    socket: Socket,
}

impl NetlinkSocket {
    /// Opens a socket. Needs no privilege.
    ///
    /// # Errors
    ///
    /// [`IpvsError::Socket`]
    pub fn open() -> Result<Self, IpvsError> {
        let mut socket = Socket::new(NETLINK_GENERIC).map_err(failed("open it"))?;
        socket.bind_auto().map_err(failed("bind it"))?;
        // An answer to a request that fails is not to have all of the request again.
        socket.set_cap_ack(true).map_err(failed("set NETLINK_CAP_ACK"))?;
        let limit = TimeVal::seconds(TIMEOUT_S);
        setsockopt(&socket, ReceiveTimeout, &limit).map_err(|e| failed("set a timeout")(e.into()))?;
        Ok(Self { socket })
    }
}

impl KernelChannel for NetlinkSocket {
    fn send(&mut self, messages: &[u8]) -> Result<(), IpvsError> {
        let kernel = SocketAddr::new(0, 0);
        let sent = retried(|| self.socket.send_to(messages, &kernel, 0)).map_err(failed("send"))?;
        if sent == messages.len() { Ok(()) } else { Err(failed("send all")(io::ErrorKind::WriteZero.into())) }
    }

    fn receive(&mut self, buffer: &mut Vec<u8>) -> Result<(), IpvsError> {
        loop {
            buffer.clear();
            buffer.reserve(MAX_DATAGRAM);
            let received = retried(|| self.socket.recv_from(buffer, libc::MSG_TRUNC));
            let (length, sender) = received.map_err(|error| match error.kind() {
                io::ErrorKind::WouldBlock => IpvsError::TimedOut,
                _ => failed("receive")(error),
            })?;
            if length > buffer.len() {
                return Err(failed("receive all")(io::ErrorKind::InvalidData.into()));
            }
            // Any process may send to the socket.
            if sender.port_number() == 0 {
                return Ok(());
            }
        }
    }
}

fn retried<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

fn failed(act: &'static str) -> impl FnOnce(io::Error) -> IpvsError {
    move |source| IpvsError::Socket { act, source }
}

/// The kernel answers at once, but for a module that it loads, and for a sync daemon that it waits for.
const TIMEOUT_S: i64 = 10;
/// The kernel makes datagrams of a dump 32 KiB long at most (`netlink_dump`).
const MAX_DATAGRAM: usize = 64 * 1024;
