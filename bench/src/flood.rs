//! Prebuilt messages, sent over and over: as fast as it goes, or at a steady rate.

use std::{
    io, mem,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    ptr, thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use nix::net::if_::if_nametoindex;

/// Messages in one system call.
const BATCH: usize = 64;

/// What was sent, and how long that took.
#[derive(Clone, Copy, Debug)]
pub struct Sent {
    pub count: u64,
    pub elapsed: Duration,
}

/// Sends `messages` in turn through a bound or connected socket for `span`, `rate` of them a second if given.
///
/// A message that the kernel has no room for is tried again and not counted.
pub fn flood(socket: &impl AsRawFd, messages: &[Vec<u8>], rate: Option<u64>, span: Duration) -> Result<Sent> {
    // SAFETY: a setting of this thread.
    unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1_000) };
    let count = messages.len().next_multiple_of(BATCH);
    let mut parts: Vec<libc::iovec> = (messages.iter().cycle().take(count))
        .map(|message| libc::iovec { iov_base: message.as_ptr().cast_mut().cast(), iov_len: message.len() })
        .collect();
    let mut headers: Vec<libc::mmsghdr> = parts
        .iter_mut()
        .map(|part| {
            // SAFETY: all zeroes is a message without address, parts and control data.
            let mut header: libc::mmsghdr = unsafe { mem::zeroed() };
            header.msg_hdr.msg_iov = ptr::from_mut(part);
            header.msg_hdr.msg_iovlen = 1;
            header
        })
        .collect();

    let begin = Instant::now();
    let (mut sent, mut at) = (0, 0);
    loop {
        let elapsed = begin.elapsed();
        if elapsed >= span {
            return Ok(Sent { count: sent, elapsed });
        }
        if let Some(rate) = rate {
            let due = Duration::from_nanos(sent * 1_000_000_000 / rate);
            if let Some(early) = due.checked_sub(elapsed) {
                thread::sleep(early);
            }
        }
        let batch = &mut headers[at..(at + BATCH).min(count)];
        // SAFETY: the headers, their parts and the messages outlive the call.
        let accepted =
            unsafe { libc::sendmmsg(socket.as_raw_fd(), batch.as_mut_ptr(), batch.len() as u32, 0) };
        if accepted < 0 {
            let error = io::Error::last_os_error();
            let full = matches!(error.raw_os_error(), Some(libc::ENOBUFS | libc::EAGAIN | libc::EINTR));
            ensure!(full, "sendmmsg: {error}");
            continue;
        }
        sent += accepted.unsigned_abs() as u64;
        at = (at + accepted.unsigned_abs() as usize) % count;
    }
}

/// A packet socket that sends straight to the interface of that name, past its queueing, and receives nothing.
pub fn packet_socket(ifname: &str) -> Result<OwnedFd> {
    // SAFETY: a new descriptor, checked below and owned from here on.
    let fd = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
    ensure!(fd >= 0, "packet socket: {}", io::Error::last_os_error());
    // SAFETY: just opened, and nobody else's.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    let bypass: libc::c_int = 1;
    // SAFETY: the value is of the size given.
    let set = unsafe {
        libc::setsockopt(
            fd,
            libc::SOL_PACKET,
            libc::PACKET_QDISC_BYPASS,
            (&raw const bypass).cast(),
            size_of_val(&bypass) as u32,
        )
    };
    ensure!(set == 0, "PACKET_QDISC_BYPASS: {}", io::Error::last_os_error());
    // SAFETY: all zeroes is a valid address.
    let mut address: libc::sockaddr_ll = unsafe { mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_ifindex = if_nametoindex(ifname).with_context(|| format!("no {ifname}"))?.cast_signed();
    // SAFETY: the pointer and the size are those of `address`.
    let bound = unsafe { libc::bind(fd, (&raw const address).cast(), size_of_val(&address) as u32) };
    ensure!(bound == 0, "bind to {ifname}: {}", io::Error::last_os_error());
    Ok(socket)
}
