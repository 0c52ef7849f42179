//! The kernel's own words about a refused attachment.
//!
//! bpf(2) answers with an error number. rtnetlink answers the same request with the words of the driver as well, its extended
//! acknowledgement (Documentation/userspace-api/netlink/intro.rst), so a request that bpf(2) refused is made once more there.

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd},
};

use aya::programs::XdpMode;
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

/// Why the kernel does not attach the program there; `None` if it does not say.
///
/// A request that is granted this time is undone at once.
pub fn words(program: BorrowedFd<'_>, ifindex: u32, mode: XdpMode) -> Option<String> {
    let flags = match mode {
        XdpMode::Skb => XDP_FLAGS_SKB_MODE,
        XdpMode::Driver => XDP_FLAGS_DRV_MODE,
        XdpMode::Default | XdpMode::Hardware => return None,
    };
    let program = program.as_raw_fd();
    let attach = request(
        ifindex,
        &[
            (IFLA_XDP_FD, program.to_ne_bytes()),
            (IFLA_XDP_FLAGS, (flags | XDP_FLAGS_UPDATE_IF_NOEXIST).to_ne_bytes()),
        ],
    );
    let said = |answer: io::Result<Answer>| {
        answer.inspect_err(|error| tracing::debug!(ifindex, %error, "no answer from rtnetlink")).ok()
    };
    let answer = said(ask(&attach))?;
    if answer.errno == 0 {
        let detach = request(
            ifindex,
            &[
                (IFLA_XDP_FD, (-1_i32).to_ne_bytes()),
                (IFLA_XDP_FLAGS, (flags | XDP_FLAGS_REPLACE).to_ne_bytes()),
                (IFLA_XDP_EXPECTED_FD, program.to_ne_bytes()),
            ],
        );
        if let Some(Answer { errno, .. }) = said(ask(&detach)).filter(|answer| answer.errno != 0) {
            tracing::error!(ifindex, errno, "could not detach an XDP program that was attached as a trial");
        }
    }
    answer.words
}

/// What the kernel says to a request.
#[derive(Debug, PartialEq, Eq)]
struct Answer {
    /// 0 if it was granted.
    errno: i32,
    words: Option<String>,
}

/// `RTM_SETLINK` with the attributes in `IFLA_XDP`.
fn request(ifindex: u32, attributes: &[(u16, [u8; 4])]) -> Vec<u8> {
    let nested = ATTRIBUTE_HEADER + attributes.len() * (ATTRIBUTE_HEADER + 4);
    let length = MESSAGE_HEADER + INTERFACE_HEADER + nested;
    let mut message = Vec::with_capacity(length);
    // struct nlmsghdr: length, type, flags, sequence number, port.
    message.extend((length as u32).to_ne_bytes());
    message.extend(libc::RTM_SETLINK.to_ne_bytes());
    message.extend(((libc::NLM_F_REQUEST | libc::NLM_F_ACK) as u16).to_ne_bytes());
    message.extend([0; 8]);
    // struct ifinfomsg: family, type, index, flags, which flags to change.
    message.extend([0; 4]);
    message.extend(ifindex.to_ne_bytes());
    message.extend([0; 8]);
    message.extend((nested as u16).to_ne_bytes());
    message.extend((libc::IFLA_XDP | libc::NLA_F_NESTED as u16).to_ne_bytes());
    for (kind, value) in attributes {
        message.extend(((ATTRIBUTE_HEADER + value.len()) as u16).to_ne_bytes());
        message.extend(kind.to_ne_bytes());
        message.extend(value);
    }
    message
}

/// The kernel has answered when the request is sent: nothing is waited for.
fn ask(request: &[u8]) -> io::Result<Answer> {
    let socket = Socket::new(NETLINK_ROUTE)?;
    socket.set_ext_ack(true)?;
    socket.set_cap_ack(true)?;
    socket.send_to(request, &SocketAddr::new(0, 0), 0)?;
    let mut answer = Vec::with_capacity(LONGEST_ANSWER);
    socket.recv(&mut answer, libc::MSG_DONTWAIT)?;
    read(&answer).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))
}

/// Reads `struct nlmsgerr` and the attributes behind it; the kernel leaves the request itself out (`NETLINK_CAP_ACK`).
fn read(message: &[u8]) -> Option<Answer> {
    let kind = u16::from_ne_bytes(message.get(4..6)?.try_into().ok()?);
    if i32::from(kind) != libc::NLMSG_ERROR {
        return None;
    }
    let (error, attributes) = message.get(MESSAGE_HEADER..)?.split_first_chunk::<4>()?;
    Some(Answer {
        errno: i32::from_ne_bytes(*error).saturating_neg(),
        words: words_in(attributes.get(MESSAGE_HEADER..).unwrap_or_default()),
    })
}

fn words_in(mut attributes: &[u8]) -> Option<String> {
    while let [a, b, c, d, rest @ ..] = attributes {
        let (length, kind) = (u16::from_ne_bytes([*a, *b]), u16::from_ne_bytes([*c, *d]));
        let length = usize::from(length).checked_sub(ATTRIBUTE_HEADER)?;
        let value = rest.get(..length)?;
        if kind == NLMSGERR_ATTR_MSG {
            let text = String::from_utf8_lossy(value);
            let text = text.trim_end_matches('\0').trim();
            return (!text.is_empty()).then(|| text.to_owned());
        }
        attributes = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    None
}

/// Octets of `struct nlmsghdr`, `struct ifinfomsg` and `struct nlattr`.
const MESSAGE_HEADER: usize = 16;
const INTERFACE_HEADER: usize = 16;
const ATTRIBUTE_HEADER: usize = 4;
/// The kernel's words fit into 80 octets; the other attributes are numbers.
const LONGEST_ANSWER: usize = 4096;
// linux/netlink.h, linux/if_link.h.
const NLMSGERR_ATTR_MSG: u16 = 1;
const IFLA_XDP_FD: u16 = 1;
const IFLA_XDP_FLAGS: u16 = 3;
const IFLA_XDP_EXPECTED_FD: u16 = 8;
const XDP_FLAGS_UPDATE_IF_NOEXIST: u32 = 1 << 0;
const XDP_FLAGS_SKB_MODE: u32 = 1 << 1;
const XDP_FLAGS_DRV_MODE: u32 = 1 << 2;
const XDP_FLAGS_REPLACE: u32 = 1 << 4;

#[cfg(test)]
mod tests {
    use std::{os::fd::AsFd, process::Command, thread};

    use super::*;
    use crate::{
        missing_capabilities,
        programs::{XDP_OBJECT, load_object, verified_xdp},
    };

    /// Runs it and returns what it prints.
    fn run(command: &str) -> String {
        let mut words = command.split(' ');
        let output = Command::new(words.next().unwrap()).args(words).output().unwrap();
        assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// In a network namespace that ends with the test's thread.
    #[test]
    fn a_refusal_has_words_and_a_request_that_is_granted_is_undone() {
        let missing = missing_capabilities();
        if !missing.is_empty() {
            eprintln!("skipped: without {missing:?}");
            return;
        }
        let test = || {
            // SAFETY: only this thread, made for the test, changes namespace; its children inherit it.
            assert_eq!(unsafe { libc::unshare(libc::CLONE_NEWNET) }, 0, "{}", io::Error::last_os_error());
            run("ip link add v0 numrxqueues 2 type veth peer name v1 numtxqueues 2");
            let ifindex = nix::net::if_::if_nametoindex("v0").unwrap();
            let mut loaded = load_object(XDP_OBJECT, None, false).unwrap();
            let program = verified_xdp(&mut loaded).unwrap().fd().unwrap().as_fd();
            for mode in [XdpMode::Driver, XdpMode::Skb] {
                assert_eq!(words(program, ifindex, mode), None);
                assert!(!run("ip link show v0").contains("xdp"), "{mode:?}: it is attached");
            }
            run("ethtool -L v0 rx 1");
            run("ethtool -L v1 tx 2");
            let said = words(program, ifindex, XdpMode::Driver).expect("veth says why");
            assert!(said.contains("XDP expects number of rx queues not less than peer tx queues"), "{said}");
            assert_eq!(words(program, u32::MAX >> 1, XdpMode::Driver), None, "no interface, no words");
        };
        thread::scope(|scope| scope.spawn(test).join()).unwrap();
    }

    /// As Linux 6.18 answers, little-endian, to an interface that does not exist, and one that takes no program.
    #[test]
    fn answers_are_read() {
        let header = |length: u8, flags: u8| vec![length, 0, 0, 0, 2, 0, 0, flags, 0, 0, 0, 0, 9, 0, 0, 0];
        let answer = |error: i32, attributes: &[u8]| {
            let mut message = header(36 + attributes.len() as u8, 3);
            message.extend(error.to_ne_bytes());
            message.extend([52, 0, 0, 0, 19, 0, 5, 0, 0, 0, 0, 0, 9, 0, 0, 0]);
            message.extend(attributes);
            message
        };
        let said = [6, 0, 2, 0, 1, 2, 0, 0, 11, 0, 1, 0, b'n', b'o', b' ', b'X', b'D', b'P', 0, 0];
        let expected = |errno, words: Option<&str>| Some(Answer { errno, words: words.map(str::to_owned) });
        assert_eq!(read(&answer(-19, &[])), expected(19, None));
        assert_eq!(read(&answer(-95, &said)), expected(95, Some("no XDP")));
        assert_eq!(read(&answer(0, &[])), expected(0, None));
        // Cut off, or of a length that is none.
        assert_eq!(read(&answer(-95, &said[..14])), expected(95, None));
        assert_eq!(read(&answer(-95, &[0, 0, 1, 0])), expected(95, None));
        assert_eq!(read(&header(16, 0)), None);
        assert_eq!(read(&[]), None);
    }
}
