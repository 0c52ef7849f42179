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
// The attributes of a filter, and those of a BPF filter (linux/pkt_cls.h).
const TCA_OPTIONS: u16 = 2;
const TCA_BPF_ID: u16 = 11;
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
    match request(RTM_DELQDISC, NLM_F_REQUEST | NLM_F_ACK, ifindex, TC_H_CLSACT, |_, _| ()) {
        // The interface is gone, or somebody else was quicker.
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENODEV | libc::ENOENT | libc::EINVAL)) => {
            Ok(())
        }
        result => result,
    }
}

fn has_filters(ifindex: u32, parent: u32) -> io::Result<bool> {
    let mut found = false;
    request(RTM_GETTFILTER, NLM_F_REQUEST | NLM_F_DUMP, ifindex, parent, |kind, _| {
        found |= kind == RTM_NEWTFILTER;
    })?;
    Ok(found)
}

/// Whether an ingress filter of this priority and handle has the program with this id.
pub fn has_program(ifindex: u32, priority: u16, handle: u32, program: u32) -> io::Result<bool> {
    has_filter_of(ifindex, priority, handle, Some(program))
}

/// Whether there is an ingress filter of this priority and handle.
pub fn has_filter(ifindex: u32, priority: u16, handle: u32) -> io::Result<bool> {
    has_filter_of(ifindex, priority, handle, None)
}

fn has_filter_of(ifindex: u32, priority: u16, handle: u32, program: Option<u32>) -> io::Result<bool> {
    let mut found = false;
    request(RTM_GETTFILTER, NLM_F_REQUEST | NLM_F_DUMP, ifindex, INGRESS, |kind, body| {
        found |= kind == RTM_NEWTFILTER && is_filter(body, priority, handle, program);
    })?;
    Ok(found)
}

/// The ids of the programs of ingress filters that a frame meets before the filter of this priority and handle: the kernel lists them in
/// the order in which it runs them.
pub fn programs_before(ifindex: u32, priority: u16, handle: u32) -> io::Result<Vec<u32>> {
    let (mut before, mut is_behind) = (Vec::new(), false);
    request(RTM_GETTFILTER, NLM_F_REQUEST | NLM_F_DUMP, ifindex, INGRESS, |kind, body| {
        is_behind |= kind == RTM_NEWTFILTER && is_filter(body, priority, handle, None);
        if kind == RTM_NEWTFILTER && !is_behind {
            before.extend(program_of(body));
        }
    })?;
    Ok(if is_behind { before } else { Vec::new() })
}

/// The id of the program of a filter.
fn program_of(body: &[u8]) -> Option<u32> {
    let options = body.get(TC_MESSAGE..).and_then(|rest| attribute(rest, TCA_OPTIONS))?;
    Some(u32::from_ne_bytes(attribute(options, TCA_BPF_ID)?.try_into().ok()?))
}

/// Whether the body of an RTM_NEWTFILTER message, `struct tcmsg` and its attributes, is that filter; `None`: with any program.
fn is_filter(body: &[u8], priority: u16, handle: u32, program: Option<u32>) -> bool {
    let word = |at: usize| Some(u32::from_ne_bytes(body.get(at..at + 4)?.try_into().ok()?));
    // The upper half of tcm_info is the priority.
    let is_it = word(8) == Some(handle) && word(16).is_some_and(|info| info >> 16 == u32::from(priority));
    is_it && program.is_none_or(|program| program_of(body) == Some(program))
}

/// The value of the first attribute of a kind.
fn attribute(mut rest: &[u8], kind: u16) -> Option<&[u8]> {
    loop {
        let (head, _) = rest.split_first_chunk::<4>()?;
        let length = usize::from(u16::from_ne_bytes([head[0], head[1]]));
        let value = rest.get(4..length)?;
        // Two bits of the kind are flags.
        if u16::from_ne_bytes([head[2], head[3]]) & 0x3fff == kind {
            return Some(value);
        }
        rest = rest.get(length.next_multiple_of(4)..)?;
    }
}

/// Sends one request, tells the type and the body of each message that answers it, and returns when the kernel has said all.
fn request(
    kind: u16,
    flags: u16,
    ifindex: u32,
    parent: u32,
    mut each: impl FnMut(u16, &[u8]),
) -> io::Result<()> {
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
                kind => each(kind, &rest[HEADER..length]),
            }
            rest = &rest[length.next_multiple_of(4).min(rest.len())..];
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{process::Command, thread};

    use aya::programs::{
        TcAttachType,
        tc::{NlOptions, TcAttachOptions, TcHandle},
    };
    use nix::{net::if_::if_nametoindex, sched::CloneFlags};

    use super::super::{
        attachment::{FILTER_HANDLE, FILTER_PRIORITY},
        programs::{TC_OBJECT, load_object, verified_tc},
    };
    use super::*;

    fn run(command: &str) {
        let words: Vec<&str> = command.split_whitespace().collect();
        let output = Command::new(words[0]).args(&words[1..]).output().unwrap();
        assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// Somebody's filter of the same priority is put before those that are there, and vipd's before it again.
    fn comes_first(ifindex: u32, object: &mut aya::Ebpf) {
        let before = || programs_before(ifindex, FILTER_PRIORITY, FILTER_HANDLE.into()).unwrap();
        assert!(before().is_empty());
        let id = verified_tc(object).unwrap().info().unwrap().id();
        let add = |handle: TcHandle, object: &mut aya::Ebpf| {
            let options = NlOptions { priority: FILTER_PRIORITY, handle, classid: None };
            let options = TcAttachOptions::Netlink(options);
            let program = verified_tc(object).unwrap();
            let link = program.attach_with_options("v0", TcAttachType::Ingress, options).unwrap();
            std::mem::forget(program.take_link(link).unwrap());
        };
        add(TcHandle::new(0, 7), object);
        assert_eq!(before(), [id]);
        drop(super::super::attachment::filter("v0").unwrap());
        add(FILTER_HANDLE, object);
        assert!(before().is_empty());
    }

    /// In a network namespace that ends with the test's thread.
    fn watch_a_filter() {
        nix::sched::unshare(CloneFlags::CLONE_NEWNET).unwrap();
        run("ip link add v0 type veth peer name v1");
        let ifindex = if_nametoindex("v0").unwrap();
        let mut object = load_object(TC_OBJECT, None, false).unwrap();
        let id = verified_tc(&mut object).unwrap().info().unwrap().id();
        let seen = || has_program(ifindex, FILTER_PRIORITY, FILTER_HANDLE.into(), id).unwrap();
        assert!(add("v0").unwrap() && !seen(), "a qdisc alone");
        let attach = |object: &mut aya::Ebpf| {
            let options = NlOptions { priority: FILTER_PRIORITY, handle: FILTER_HANDLE, classid: None };
            let program = verified_tc(object).unwrap();
            let options = TcAttachOptions::Netlink(options);
            let link = program.attach_with_options("v0", TcAttachType::Ingress, options).unwrap();
            std::mem::forget(program.take_link(link).unwrap());
        };
        attach(&mut object);
        assert!(seen());
        // As a BPF file system leaves it that was unmounted.
        let nowhere = std::path::Path::new("/nonexistent");
        let left = super::super::leftovers::leftovers(nowhere, &std::collections::BTreeMap::new()).unwrap();
        assert!(matches!(&left[..], [one] if one.what == "tc filter of v0, whose pin is gone"), "{left:?}");
        super::super::leftovers::remove_leftovers(nowhere).unwrap();
        assert!(
            !seen()
                && super::super::leftovers::leftovers(nowhere, &std::collections::BTreeMap::new())
                    .unwrap()
                    .is_empty()
        );
        attach(&mut object);
        assert!(!has_program(ifindex, FILTER_PRIORITY + 1, FILTER_HANDLE.into(), id).unwrap());
        assert!(!has_program(ifindex, FILTER_PRIORITY, u32::from(FILTER_HANDLE) + 1, id).unwrap());
        assert!(
            !has_program(ifindex, FILTER_PRIORITY, FILTER_HANDLE.into(), id + 1).unwrap(),
            "another program"
        );
        comes_first(ifindex, &mut object);
        run("tc filter del dev v0 ingress");
        assert!(!seen(), "the filter is gone");
        attach(&mut object);
        assert!(seen());
        run("tc qdisc del dev v0 clsact");
        assert!(!seen(), "the qdisc is gone");
    }

    #[test]
    fn a_filter_is_seen_until_somebody_removes_it() {
        if !nix::unistd::geteuid().is_root() {
            return vipd_tests::skip(format_args!("a filter needs root"));
        }
        if let Err(panic) = thread::scope(|scope| scope.spawn(watch_a_filter).join()) {
            std::panic::resume_unwind(panic);
        }
    }
}
