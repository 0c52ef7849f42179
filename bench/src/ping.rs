//! A client that asks a VIP for an ICMP echo, of either family, at a steady pace, through its kernel's neighbour cache as any client.

use std::{
    net::{IpAddr, SocketAddr},
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use nix::sys::socket::{MsgFlags, SockaddrStorage, recv, sendto};
use vipd_tests::Netns;

const ECHO_REQUEST: u8 = 8;
const ECHO_REPLY: u8 = 0;
const ECHO_REQUEST6: u8 = 128;
const ECHO_REPLY6: u8 = 129;
/// `ICMPV6_FILTER` of linux/icmpv6.h.
const FILTER6: libc::c_int = 1;

/// A running pinger; dropping it stops it.
#[derive(Debug)]
pub struct Pinger {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<Result<Result<()>>>>,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    record: Mutex<Vec<Echo>>,
}

/// One question, and when it was answered.
#[derive(Clone, Copy, Debug)]
pub struct Echo {
    pub sent: Instant,
    pub answered: Option<Instant>,
}

/// What a client saw in a span of time.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// From the last question answered before the longest time without an answer to the first one after it, less one period.
    pub outage: Duration,
    pub lost: usize,
}

impl Pinger {
    /// Asks `target` every `period` from inside `ns`.
    pub fn start(ns: &Netns, target: impl Into<IpAddr>, period: Duration) -> Result<Self> {
        let target = target.into();
        let shared = Arc::new(Shared::default());
        let sending = Arc::new(ns.run(|| open(target))??);
        let (asking, listening) = (Arc::clone(&sending), sending);
        let (here, there) = (Arc::clone(&shared), Arc::clone(&shared));
        let threads = vec![
            ns.spawn("pinger", move || ask(&asking, target, period, &here))?,
            ns.spawn("ping-listener", move || listen(&listening, &there))?,
        ];
        Ok(Self { shared, threads })
    }

    /// What was seen of the questions asked from `from` on and until `to`.
    pub fn seen(&self, from: Instant, to: Instant, period: Duration) -> Seen {
        let record = self.shared.record.lock().unwrap_or_else(PoisonError::into_inner);
        let within: Vec<&Echo> = record.iter().filter(|echo| from <= echo.sent && echo.sent < to).collect();
        let answered: Vec<Instant> =
            within.iter().filter(|echo| echo.answered.is_some()).map(|echo| echo.sent).collect();
        let ends = [from].into_iter().chain(answered).chain([to]).collect::<Vec<_>>();
        let longest = ends.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default();
        Seen {
            outage: longest.saturating_sub(period),
            lost: within.iter().filter(|echo| echo.answered.is_none()).count(),
        }
    }

    /// Whether the last `count` questions but one were all answered.
    pub fn is_answered(&self, count: usize) -> bool {
        let record = self.shared.record.lock().unwrap_or_else(PoisonError::into_inner);
        record.len() > count + 20
            && record[record.len() - count - 20..record.len() - 20].iter().all(|e| e.answered.is_some())
    }
}

impl Drop for Pinger {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn open(target: IpAddr) -> Result<OwnedFd> {
    let (domain, protocol) = match target {
        IpAddr::V4(_) => (libc::AF_INET, libc::IPPROTO_ICMP),
        IpAddr::V6(_) => (libc::AF_INET6, libc::IPPROTO_ICMPV6),
    };
    // SAFETY: a new descriptor, checked below and owned from here on.
    let fd = unsafe { libc::socket(domain, libc::SOCK_RAW | libc::SOCK_CLOEXEC, protocol) };
    if fd < 0 {
        return Err(std::io::Error::last_os_error()).context("open a raw socket");
    }
    // SAFETY: just opened, and nobody else's.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    if target.is_ipv6() {
        // A bit set is a type not wanted: neighbour discovery comes this way too, and would take the replies' room.
        let mut unwanted = [u32::MAX; 8];
        unwanted[usize::from(ECHO_REPLY6 / 32)] &= !(1 << (ECHO_REPLY6 % 32));
        set(&fd, libc::SOL_ICMPV6, FILTER6, &unwanted).context("ICMPV6_FILTER")?;
    }
    Ok(fd)
}

fn set<T: Copy>(socket: &OwnedFd, level: libc::c_int, name: libc::c_int, value: &T) -> std::io::Result<()> {
    let size = size_of::<T>() as libc::socklen_t;
    // SAFETY: the value is of the size given.
    match unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, (&raw const *value).cast(), size) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    }
}

fn ask(socket: &OwnedFd, target: IpAddr, period: Duration, shared: &Shared) -> Result<()> {
    // SAFETY: a setting of this thread.
    unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1_000) };
    let to = SockaddrStorage::from(SocketAddr::new(target, 0));
    let mut next = Instant::now();
    while !shared.stop.load(Ordering::Relaxed) {
        let number = {
            let mut record = shared.record.lock().unwrap_or_else(PoisonError::into_inner);
            record.push(Echo { sent: Instant::now(), answered: None });
            (record.len() - 1) as u32
        };
        // No neighbour, no link: a question that is not answered.
        let _ = sendto(socket.as_raw_fd(), &request(target, number), &to, MsgFlags::MSG_DONTWAIT);
        next += period;
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    Ok(())
}

/// The number in identifier and sequence number. Over IPv6 the kernel writes a checksum of its own.
fn request(target: IpAddr, number: u32) -> [u8; 16] {
    let mut packet = [0; 16];
    packet[0] = if target.is_ipv4() { ECHO_REQUEST } else { ECHO_REQUEST6 };
    packet[4..8].copy_from_slice(&number.to_be_bytes());
    let sum: u32 = packet.chunks(2).map(|word| u32::from(u16::from_be_bytes([word[0], word[1]]))).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    packet[2..4].copy_from_slice(&(!((folded + (folded >> 16)) as u16)).to_be_bytes());
    packet
}

fn listen(socket: &OwnedFd, shared: &Shared) -> Result<()> {
    let timeout = libc::timeval { tv_sec: 0, tv_usec: 50_000 };
    set(socket, libc::SOL_SOCKET, libc::SO_RCVTIMEO, &timeout).context("SO_RCVTIMEO")?;
    let mut buffer = [0; 2048];
    while !shared.stop.load(Ordering::Relaxed) {
        let Ok(length) = recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty()) else { continue };
        let now = Instant::now();
        // The kernel gives raw sockets the IP header too, of IPv4 only; no ICMPv6 message that passes starts like one.
        let header = if buffer[0] == ECHO_REPLY6 { 0 } else { usize::from(buffer[0] & 0x0f) * 4 };
        let Some(&[ECHO_REPLY | ECHO_REPLY6, _, _, _, a, b, c, d]) =
            buffer[..length].get(header..header + 8).and_then(|icmp| icmp.first_chunk())
        else {
            continue;
        };
        let mut record = shared.record.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(echo) = record.get_mut(u32::from_be_bytes([a, b, c, d]) as usize) {
            echo.answered.get_or_insert(now);
        }
    }
    Ok(())
}
