//! An AF_PACKET socket with the kernel's arrival times.

use std::{
    io::{self, IoSlice, IoSliceMut},
    mem,
    os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd},
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context, Result, ensure};
use nix::{
    errno::Errno,
    net::if_::if_nametoindex,
    poll::{PollFd, PollFlags, ppoll},
    sys::{
        socket::{
            ControlMessageOwned, LinkAddr, MsgFlags, MultiHeaders, recvmsg, sendmmsg, setsockopt, sockopt,
        },
        time::TimeSpec,
    },
};

use super::Mac;

/// Bound to one interface of the namespace its opener was in.
#[derive(Debug)]
pub struct PacketSocket {
    fd: OwnedFd,
    mac: Mac,
}

/// A frame as it passed the interface.
#[derive(Debug, Clone)]
pub struct Frame {
    /// When the kernel saw it, not when we were scheduled to look.
    pub at: Instant,
    /// The same by the kernel's wall clock: the time between two frames has nothing of our own scheduling in it.
    pub stamp: SystemTime,
    pub outgoing: bool,
    pub bytes: Vec<u8>,
}

impl AsRawFd for PacketSocket {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        self.fd.as_raw_fd()
    }
}

impl PacketSocket {
    /// Opens on an interface for one EtherType, or for all (`ETH_P_ALL`), or only to send (0).
    pub fn open(ifname: &str, ethertype: u16) -> Result<Self> {
        // SAFETY: a plain system call with integers; the result is checked before it is owned.
        let fd = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
        ensure!(fd >= 0, "packet socket: {}", io::Error::last_os_error());
        // SAFETY: `fd` is a new descriptor that nobody else owns.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        setsockopt(&fd, sockopt::ReceiveTimestampns, &true).context("SO_TIMESTAMPNS")?;
        setsockopt(&fd, sockopt::RcvBufForce, &(16 << 20)).context("SO_RCVBUFFORCE")?;

        // SAFETY: all zeroes is a valid sockaddr_ll.
        let mut address: libc::sockaddr_ll = unsafe { mem::zeroed() };
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_protocol = ethertype.to_be();
        let ifindex = if_nametoindex(ifname).with_context(|| format!("no interface {ifname}"))?;
        address.sll_ifindex = i32::try_from(ifindex).context("ifindex")?;
        let size = size_of_val(&address) as libc::socklen_t;
        // SAFETY: the pointer and the size are those of `address`, which outlives the call.
        let bound = unsafe { libc::bind(fd.as_raw_fd(), (&raw const address).cast(), size) };
        ensure!(bound == 0, "bind to {ifname}: {}", io::Error::last_os_error());
        // The kernel fills in the interface's own address. Not nix: it wants all 20 bytes and gets 18.
        let mut size = size;
        // SAFETY: as above; the kernel writes at most `size` bytes.
        let named = unsafe { libc::getsockname(fd.as_raw_fd(), (&raw mut address).cast(), &raw mut size) };
        ensure!(named == 0, "getsockname: {}", io::Error::last_os_error());
        let [a, b, c, d, e, f, ..] = address.sll_addr;
        Ok(Self { fd, mac: Mac([a, b, c, d, e, f]) })
    }

    /// The interface's own address.
    pub fn mac(&self) -> Mac {
        self.mac
    }

    pub fn send(&self, frame: &[u8]) -> Result<()> {
        let sent = nix::sys::socket::send(self.fd.as_raw_fd(), frame, MsgFlags::empty()).context("send")?;
        ensure!(sent == frame.len(), "sent {sent} of {} bytes", frame.len());
        Ok(())
    }

    /// Sends frames in one system call; returns how many were accepted.
    pub fn send_all(&self, frames: &[Vec<u8>]) -> Result<usize> {
        let parts: Vec<_> = frames.iter().map(|frame| [IoSlice::new(frame)]).collect();
        let to = vec![None::<LinkAddr>; frames.len()];
        let mut headers = MultiHeaders::preallocate(frames.len(), None);
        match sendmmsg(self.fd.as_raw_fd(), &mut headers, &parts, to, [], MsgFlags::empty()) {
            Ok(sent) => Ok(sent.count()),
            // The device's queue is full.
            Err(Errno::ENOBUFS | Errno::EINTR) => Ok(0),
            Err(error) => Err(error).context("sendmmsg"),
        }
    }

    /// Lets the kernel keep only frames that a classic BPF program takes, from now on.
    pub fn attach_filter(&self, program: &mut [libc::sock_filter]) -> Result<()> {
        let length = u16::try_from(program.len()).context("filter too long")?;
        let filter = libc::sock_fprog { len: length, filter: program.as_mut_ptr() };
        let size = size_of_val(&filter) as libc::socklen_t;
        // SAFETY: `filter` and the program that it points to outlive the call, which copies both.
        let attached = unsafe {
            libc::setsockopt(
                self.fd.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_ATTACH_FILTER,
                (&raw const filter).cast(),
                size,
            )
        };
        ensure!(attached == 0, "SO_ATTACH_FILTER: {}", io::Error::last_os_error());
        Ok(())
    }

    /// How many frames found no room in the socket since this was last asked.
    pub fn dropped(&self) -> Result<u32> {
        // struct tpacket_stats: tp_packets, tp_drops.
        let mut statistics = [0_u32; 2];
        let mut size = size_of_val(&statistics) as libc::socklen_t;
        // SAFETY: the kernel writes at most `size` bytes.
        let read = unsafe {
            libc::getsockopt(
                self.fd.as_raw_fd(),
                libc::SOL_PACKET,
                libc::PACKET_STATISTICS,
                statistics.as_mut_ptr().cast(),
                &raw mut size,
            )
        };
        ensure!(read == 0, "PACKET_STATISTICS: {}", io::Error::last_os_error());
        Ok(statistics[1])
    }

    /// The next frame, or `None` after `timeout`.
    pub fn receive(&self, timeout: Duration) -> Result<Option<Frame>> {
        // Not poll(2), whose unit is a millisecond.
        match ppoll(&mut [PollFd::new(self.fd.as_fd(), PollFlags::POLLIN)], Some(timeout.into()), None) {
            Ok(0) | Err(Errno::EINTR) => return Ok(None),
            other => other.context("poll")?,
        };
        let mut buffer = [0; 2048];
        let mut space = nix::cmsg_space!(TimeSpec);
        let mut parts = [IoSliceMut::new(&mut buffer)];
        let flags = MsgFlags::MSG_DONTWAIT;
        let message = match recvmsg::<LinkAddr>(self.fd.as_raw_fd(), &mut parts, Some(&mut space), flags) {
            // The link going down is reported once as an error of the socket.
            Err(Errno::EAGAIN | Errno::EINTR | Errno::ENETDOWN) => return Ok(None),
            other => other.context("recvmsg")?,
        };
        let stamp = message.cmsgs().context("control messages")?.find_map(|c| match c {
            ControlMessageOwned::ScmTimestampns(stamp) => {
                Some(SystemTime::UNIX_EPOCH + Duration::from(stamp))
            }
            _ => None,
        });
        let (wall, now) = (SystemTime::now(), Instant::now());
        let stamp = stamp.unwrap_or(wall);
        let outgoing = message.address.is_some_and(|a| a.pkttype() == libc::PACKET_OUTGOING);
        let length = message.bytes;
        let age = wall.duration_since(stamp).unwrap_or_default();
        let at = now.checked_sub(age).unwrap_or(now);
        Ok(Some(Frame { at, stamp, outgoing, bytes: buffer[..length.min(2048)].to_vec() }))
    }
}
