//! A client that asks a VIP for an ICMP echo, of either family, at a steady pace, through its kernel's neighbour cache as any client.
//!
//! It plays another machine: its threads run before everything else, so that what it is held up by is told from what nobody has answered.

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

/// Octets for replies that are still to be read: those of seconds.
const BUFFER: libc::c_int = 16 << 20;
/// Above vipd's own.
const PRIORITY: libc::c_int = 60;
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
    /// From the first question of the longest run that nobody has answered to the next one that somebody has.
    pub outage: Duration,
    pub lost: usize,
    /// The longest time in which the client asked nothing, less one period. It was held up itself, and an outage may be longer by so much.
    pub stall: Duration,
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
        let within: Vec<Echo> =
            record.iter().filter(|echo| from <= echo.sent && echo.sent < to).copied().collect();
        drop(record);
        seen(&within, to, period)
    }

    /// Whether the last `count` questions but one were all answered.
    pub fn is_answered(&self, count: usize) -> bool {
        let record = self.shared.record.lock().unwrap_or_else(PoisonError::into_inner);
        record.len() > count + 20
            && record[record.len() - count - 20..record.len() - 20].iter().all(|e| e.answered.is_some())
    }
}

fn seen(echoes: &[Echo], to: Instant, period: Duration) -> Seen {
    let is_lost = |echo: &Echo| echo.answered.is_none();
    let runs = echoes.chunk_by(|a, b| is_lost(a) == is_lost(b));
    let ends = runs.clone().skip(1).map(|next| next[0].sent).chain([to]);
    let outages = runs.zip(ends).filter(|(run, _)| is_lost(&run[0])).map(|(run, end)| end - run[0].sent);
    let pauses = echoes.windows(2).map(|pair| pair[1].sent - pair[0].sent);
    Seen {
        outage: outages.max().unwrap_or_default(),
        lost: echoes.iter().filter(|echo| is_lost(echo)).count(),
        stall: pauses.max().unwrap_or_default().saturating_sub(period),
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
    run_first();
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
        // Held up for a while: it asks on from here. A burst would overrun queues on its way.
        next = (next + period).max(Instant::now());
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    Ok(())
}

/// Has this thread run before all others that are not as urgent; where that is not permitted, it takes its turn.
fn run_first() {
    let parameters = libc::sched_param { sched_priority: PRIORITY };
    // SAFETY: a setting of this thread, from a structure on the stack.
    unsafe {
        libc::sched_setscheduler(0, libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK, &raw const parameters)
    };
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
    // Room for replies while the thread is held up all the same.
    set(socket, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, &BUFFER).context("SO_RCVBUFFORCE")?;
    run_first();
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_that_is_held_up_is_no_outage() {
        let begin = Instant::now();
        let at = |ms| begin + Duration::from_millis(ms);
        let echo = |ms, is_answered: bool| Echo { sent: at(ms), answered: is_answered.then(|| at(ms)) };
        let of = |echoes: &[Echo]| {
            let seen = seen(echoes, at(100), Duration::from_millis(1));
            (seen.outage.as_millis(), seen.lost, seen.stall.as_millis())
        };
        assert_eq!(of(&[]), (0, 0, 0));
        assert_eq!(of(&[echo(0, true), echo(1, true), echo(61, true)]), (0, 0, 59));
        assert_eq!(of(&[echo(0, true), echo(1, false), echo(2, false), echo(3, true)]), (2, 2, 0));
        // One that nobody has answered, whenever the next was asked.
        assert_eq!(of(&[echo(0, false), echo(1, true), echo(2, false), echo(7, true)]), (5, 2, 4));
        // And one that goes on.
        assert_eq!(of(&[echo(98, true), echo(99, false)]), (1, 1, 0));
    }
}
