//! Hears that somebody has removed something that vipd may have made: it says no more than that a look is worth while.
//!
//! The kernel's own filter decides what comes in, so that the churn of others costs this process nothing: a full BGP table arrives as
//! routes of another protocol. The socket's buffer is bounded; when it overflows, a look is worth while.
//!
//! The kernel tells nobody of a changed sysctl, of an explicit group that is removed from a NIC's filter, and of a pin or file that is
//! removed: those are found by the looks that come without a word.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, OwnedFd},
};

use futures_util::FutureExt;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, socket,
};
use tokio::io::{Interest, unix::AsyncFd};
use vipd_system::socket_filter::{FilterStep, attach};

use super::{PROTOCOL_TAG, VIRTUAL_TAG, netlink::LOOPBACK};

/// Notifications of the kernel about what was removed.
#[derive(Debug)]
pub struct HostWatch(AsyncFd<OwnedFd>);

impl HostWatch {
    /// Needs a tokio runtime.
    ///
    /// # Errors
    ///
    /// The kernel has no such socket, or no such filter.
    pub fn open() -> io::Result<Self> {
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let fd = socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkRoute)?;
        // Before the socket hears anything.
        attach(&fd, &filter())?;
        bind(fd.as_raw_fd(), &NetlinkAddr::new(0, GROUPS))?;
        // SAFETY: an `OwnedFd` owns its descriptor and never changes it.
        let fd = unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) };
        Ok(Self(fd?))
    }

    /// Waits until something was removed. May be dropped while it waits, and says so again until [`Self::drain`].
    ///
    /// # Errors
    ///
    /// The socket is of no use any more.
    pub async fn removed(&self) -> io::Result<()> {
        self.0.readable().await?.retain_ready();
        Ok(())
    }

    /// Forgets what was told so far: a look follows.
    pub fn drain(&self) {
        for _ in 0..MOST {
            let Some(Ok(mut guard)) = self.0.readable().now_or_never() else { return };
            let received = guard.try_io(|socket| {
                let mut message = [0; READ];
                Ok(recv(socket.as_fd().as_raw_fd(), &mut message, MsgFlags::MSG_DONTWAIT)?)
            });
            // An overflow is told as an error, once.
            if received.is_err() {
                return;
            }
        }
    }
}

/// Messages that are read before a look: more are read before the next one.
const MOST: usize = 1 << 16;
/// Messages are kept whole, although nobody reads them: the kernel may show the socket and other listeners one buffer, and a filter that
/// shortens it shortens it for all of them.
const WHOLE: u32 = u32::MAX;
/// Octets of a message that are read.
const READ: usize = 32;

// linux/rtnetlink.h: RTMGRP_*, and 1 << (RTNLGRP_IPV6_RULE - 1), which has no name of that kind.
const GROUPS: u32 = (libc::RTMGRP_LINK
    | libc::RTMGRP_NEIGH
    | libc::RTMGRP_IPV4_IFADDR
    | libc::RTMGRP_IPV4_ROUTE
    | libc::RTMGRP_IPV4_RULE
    | libc::RTMGRP_IPV6_IFADDR
    | libc::RTMGRP_IPV6_ROUTE) as u32
    | 1 << 18;

/// Where [`filter`] ends.
const DROP: u8 = 16;
const KEEP: u8 = 17;

/// What comes in: a route of ours that is gone, any rule or address that is gone, a filter's entry that is gone, a change of `lo`.
fn filter() -> [FilterStep; 18] {
    // A load gives the octets in network order: `struct nlmsghdr` has the type at 4, and what follows it is at 16.
    let kind = |value: u16| u32::from(value.to_be());
    [
        FilterStep::Load16(4),
        FilterStep::Equal { value: kind(libc::RTM_DELROUTE), then: 7, or: 2 },
        FilterStep::Equal { value: kind(libc::RTM_DELRULE), then: KEEP, or: 3 },
        FilterStep::Equal { value: kind(libc::RTM_DELADDR), then: KEEP, or: 4 },
        FilterStep::Equal { value: kind(libc::RTM_DELNEIGH), then: 10, or: 5 },
        FilterStep::Equal { value: kind(libc::RTM_NEWLINK), then: 14, or: 6 },
        FilterStep::Equal { value: kind(libc::RTM_DELLINK), then: 14, or: DROP },
        // `struct rtmsg`: the protocol is the sixth octet.
        FilterStep::Load8(16 + 5),
        FilterStep::Equal { value: PROTOCOL_TAG as u32, then: KEEP, or: 9 },
        FilterStep::Equal { value: VIRTUAL_TAG as u32, then: KEEP, or: DROP },
        // `struct ndmsg`: the family is the first octet, the flags are the eleventh. What bridges forget is not NTF_SELF.
        FilterStep::Load8(16),
        FilterStep::Equal { value: libc::AF_BRIDGE as u32, then: 12, or: DROP },
        FilterStep::Load8(16 + 10),
        FilterStep::AnyBit { bits: libc::NTF_SELF as u32, then: KEEP, or: DROP },
        // `struct ifinfomsg`: the index is the second word.
        FilterStep::Load32(16 + 4),
        FilterStep::Equal { value: LOOPBACK.to_be(), then: KEEP, or: DROP },
        FilterStep::Return(0),
        FilterStep::Return(WHOLE),
    ]
}
