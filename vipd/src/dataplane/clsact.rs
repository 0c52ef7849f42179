//! The qdisc that tc filters hang from where the kernel has no tcx (before Linux 6.6): made, and removed when nobody uses it.
//!
//! aya attaches and removes the filter. It does not say whether others hang from the same qdisc, nor remove it.

use std::io;

use aya::programs::tc::{self, TcError};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

// linux/rtnetlink.h, linux/netlink.h and linux/pkt_sched.h.
const RTM_DELQDISC: u16 = 37;
const RTM_NEWTFILTER: u16 = 44;
const RTM_GETTFILTER: u16 = 46;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLM_F_DUMP: u16 = 0x300;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const TC_H_CLSACT: u32 = 0xffff_fff1;
const INGRESS: u32 = 0xffff_fff2;
const EGRESS: u32 = 0xffff_fff3;

/// Length of a netlink message's header.
const HEADER: usize = 16;
/// Length of `struct tcmsg`.
const TC_MESSAGE: usize = 20;

/// Adds the qdisc to an interface; false if it is there.
pub fn add(interface: &str) -> Result<bool, TcError> {
    match tc::qdisc_add_clsact(interface) {
        Ok(()) => Ok(true),
        Err(TcError::NetlinkError(error)) if error.raw_os_error() == Some(libc::EEXIST) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Removes the qdisc, unless a filter hangs from it.
pub fn remove_if_unused(ifindex: u32) -> io::Result<()> {
    for parent in [INGRESS, EGRESS] {
        if has_filters(ifindex, parent)? {
            return Ok(());
        }
    }
    match request(RTM_DELQDISC, NLM_F_REQUEST | NLM_F_ACK, ifindex, TC_H_CLSACT, |_| ()) {
        // The interface is gone, or somebody else was quicker.
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENODEV | libc::ENOENT | libc::EINVAL)) => {
            Ok(())
        }
        result => result,
    }
}

fn has_filters(ifindex: u32, parent: u32) -> io::Result<bool> {
    let mut found = false;
    request(RTM_GETTFILTER, NLM_F_REQUEST | NLM_F_DUMP, ifindex, parent, |kind| {
        found |= kind == RTM_NEWTFILTER;
    })?;
    Ok(found)
}

/// Sends one request, tells the type of each message that answers it, and returns when the kernel has said all.
fn request(kind: u16, flags: u16, ifindex: u32, parent: u32, mut each: impl FnMut(u16)) -> io::Result<()> {
    let mut message = Vec::with_capacity(HEADER + TC_MESSAGE);
    message.extend(u32::try_from(HEADER + TC_MESSAGE).map_err(io::Error::other)?.to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend(flags.to_ne_bytes());
    // Sequence number and sender: one request on a socket of its own.
    message.extend([0; 8]);
    // Family and padding.
    message.extend([0; 4]);
    message.extend(ifindex.to_ne_bytes());
    // Handle: the kernel's own for this qdisc.
    message.extend(if kind == RTM_DELQDISC { TC_H_CLSACT & 0xffff_0000 } else { 0 }.to_ne_bytes());
    message.extend(parent.to_ne_bytes());
    message.extend([0; 4]);
    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.bind_auto()?;
    socket.send_to(&message, &SocketAddr::new(0, 0), 0)?;
    loop {
        let (answer, _) = socket.recv_from_full()?;
        let mut rest = answer.as_slice();
        while let Some((head, _)) = rest.split_at_checked(HEADER) {
            let length = u32::from_ne_bytes([head[0], head[1], head[2], head[3]]) as usize;
            if length < HEADER || length > rest.len() {
                return Err(io::Error::other("a netlink message is longer than its datagram"));
            }
            match u16::from_ne_bytes([head[4], head[5]]) {
                NLMSG_DONE => return Ok(()),
                NLMSG_ERROR => {
                    let code = rest.get(HEADER..HEADER + 4).and_then(|code| code.try_into().ok());
                    return match code.map(i32::from_ne_bytes) {
                        Some(0) => Ok(()),
                        Some(error) => Err(io::Error::from_raw_os_error(-error)),
                        None => Err(io::Error::other("a netlink error without a code")),
                    };
                }
                kind => each(kind),
            }
            rest = &rest[length.next_multiple_of(4).min(rest.len())..];
        }
    }
}
