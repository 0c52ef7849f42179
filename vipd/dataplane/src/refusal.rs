//! Attaches the XDP program, and says why a kernel does not: its own words if there are any, and what to do.

use std::os::fd::AsFd;

use anyhow::{Result, anyhow};
use aya::{
    programs::{ProgramError, Xdp, XdpError, XdpMode, xdp::XdpLinkId},
    sys::SyscallError,
};

use super::extack;

/// The largest MTU that most drivers take with XDP: a page less the room that they keep before and behind a frame.
pub const NATIVE_MTU: u32 = 3_498;

/// Attaches the program in one mode.
///
/// # Errors
///
/// Names the kernel's reason and the remedy.
pub fn attach(
    program: &mut Xdp,
    mode: XdpMode,
    interface: &str,
    ifindex: u32,
    mtu: u32,
) -> Result<XdpLinkId> {
    program.attach_to_if_index(ifindex, mode).map_err(|error| {
        let words = program.fd().ok().and_then(|fd| extack::words(fd.as_fd(), ifindex, mode));
        refusal(error, words.as_deref(), interface, mtu)
    })
}

/// Why the kernel did not attach the program, and what to do. `words` are the kernel's own.
fn refusal(error: ProgramError, words: Option<&str>, interface: &str, mtu: u32) -> anyhow::Error {
    let errno = match &error {
        ProgramError::SyscallError(SyscallError { io_error, .. }) => io_error.raw_os_error(),
        // aya asks rtnetlink itself where bpf(2) says EINVAL.
        ProgramError::XdpError(XdpError::NetlinkError(error)) => error.raw_os_error(),
        _ => None,
    };
    let by_number = || errno.and_then(|errno| by_number(errno, interface, mtu));
    let hint = match words {
        Some(words) => match by_words(words, interface, mtu).or_else(by_number) {
            Some(remedy) => Some(format!("the kernel says \"{words}\": {remedy}")),
            None => Some(format!("the kernel says \"{words}\"")),
        },
        None => by_number(),
    };
    match hint {
        Some(hint) => anyhow!(error).context(hint),
        None => anyhow!(error),
    }
}

/// What mends the setting that the words name. Drivers word one thing in many ways, so single words decide.
fn by_words(words: &str, interface: &str, mtu: u32) -> Option<String> {
    let words = words.to_ascii_lowercase();
    let has = |wanted: &[&str]| {
        words.split(|c: char| !c.is_ascii_alphanumeric()).any(|word| wanted.contains(&word))
    };
    let offloads = [
        (&["lro"][..], "lro off"),
        (&["gro", "tso", "tso4", "tso6"], "rx-gro-hw off"),
        (&["csum"], "rx off"),
    ];
    let offloads: Vec<&str> =
        offloads.into_iter().filter(|(names, _)| has(names)).map(|(_, setting)| setting).collect();
    Some(if words.contains("any_header_sg") {
        // virtio-net without VIRTIO_F_VERSION_1; nothing in the guest changes that.
        "the virtual machine's NIC is a legacy virtio device: have the hypervisor offer virtio 1 (QEMU: disable-legacy=on)"
            .to_owned()
    } else if !offloads.is_empty() {
        format!(
            "`ethtool -K {interface} {}`; if ethtool shows them as fixed, the hypervisor has to offer \
             virtio's ctrl_guest_offloads",
            offloads.join(" ")
        )
    } else if has(&["mtu", "jumbo"])
        || ["frame size", "single page", "linear frames"].iter().any(|it| words.contains(it))
    {
        if words.contains("peer") {
            format!("lower the MTU of the other end of {interface}: `ip link set dev PEER mtu {NATIVE_MTU}`")
        } else {
            format!("lower its MTU of {mtu}: `ip link set dev {interface} mtu {NATIVE_MTU}`")
        }
    } else if words.contains("rx queues") && words.contains("peer") {
        format!(
            "give it as many receive queues as its other end has transmit queues: `ethtool -L {interface} rx N` \
             (`ethtool -l` shows both)"
        )
    } else if has(&["queue", "queues", "channel", "channels", "ring", "rings"]) {
        format!(
            "use fewer queues, half of the most that `ethtool -l {interface}` shows: `ethtool -L {interface} combined N`"
        )
    } else if words.contains("already attached") || words.contains("active at the same time") {
        "another XDP program is attached; detach it with its own tool".to_owned()
    } else {
        return None;
    })
}

/// What an error number usually means, where the kernel says no more.
fn by_number(errno: i32, interface: &str, mtu: u32) -> Option<String> {
    Some(match errno {
        libc::EOPNOTSUPP => "the driver has no XDP in this mode".to_owned(),
        libc::EBUSY => "another XDP program is attached; detach it with its own tool".to_owned(),
        libc::EINVAL | libc::ERANGE | libc::E2BIG | libc::EMSGSIZE => format!(
            "the driver does not take XDP with the interface as it is set up, and `dmesg` may say why: its MTU of {mtu} may \
             be too large (`ip link set dev {interface} mtu {NATIVE_MTU}`), or LRO in the way (`ethtool -K {interface} lro \
             off`), or the number of queues (`ethtool -L {interface} combined N`)"
        ),
        libc::ENOMEM | libc::ENOSPC => format!(
            "the driver has no memory or queues left for XDP: fewer queues may help (`ethtool -L {interface} combined N`)"
        ),
        libc::EPERM => "attaching takes CAP_NET_ADMIN and CAP_BPF".to_owned(),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    fn shown(errno: i32, words: Option<&str>) -> String {
        let io_error = io::Error::from_raw_os_error(errno);
        let error = ProgramError::SyscallError(SyscallError { call: "bpf_link_create", io_error });
        format!("{:#}", refusal(error, words, "eth0", 9000))
    }

    #[test]
    fn a_number_alone_names_the_usual_cause_and_the_fix() {
        for (errno, words) in [
            (libc::EOPNOTSUPP, "the driver has no XDP"),
            (libc::EBUSY, "detach it with its own tool"),
            (libc::ERANGE, "MTU of 9000"),
            (libc::EINVAL, "`ethtool -K eth0 lro off`"),
            (libc::ENOSPC, "`ethtool -L eth0 combined N`"),
            (libc::EPERM, "CAP_NET_ADMIN"),
            (libc::ENOENT, "No such file"),
        ] {
            let shown = shown(errno, None);
            assert!(shown.contains(words) && shown.contains("bpf_link_create"), "{shown}");
            assert!(!shown.contains("the kernel says"), "{shown}");
        }
    }

    /// Words of drivers of Linux 6.1 to 6.18, with the error number that each returns.
    #[test]
    fn the_kernels_words_decide_before_the_number() {
        let mtu = "lower its MTU of 9000: `ip link set dev eth0 mtu 3498`";
        let fewer = "`ethtool -L eth0 combined N`";
        for (errno, words, remedy) in [
            (
                libc::EOPNOTSUPP,
                "virtio_net: Can't set XDP while host is implementing GRO_HW/CSUM, disable GRO_HW/CSUM first",
                "`ethtool -K eth0 rx-gro-hw off rx off`",
            ),
            (
                libc::EOPNOTSUPP,
                "Can't set XDP while host is implementing LRO/CSUM, disable LRO/CSUM first",
                "`ethtool -K eth0 lro off rx off`",
            ),
            (
                libc::EINVAL,
                "XDP expects header/data in single page, any_header_sg required",
                "QEMU: disable-legacy=on",
            ),
            (libc::EINVAL, "MTU too large to enable XDP without frags", mtu),
            (libc::EINVAL, "MTU too large for linear frames and XDP prog does not support frags", mtu),
            (libc::EINVAL, "Frame size too large for XDP", mtu),
            (libc::ERANGE, "veth: Peer MTU is too large to set XDP", "`ip link set dev PEER mtu 3498`"),
            (
                libc::ENOSPC,
                "veth: XDP expects number of rx queues not less than peer tx queues",
                "`ethtool -L eth0 rx N`",
            ),
            (
                libc::EINVAL,
                "Failed to set xdp program, the Rx/Tx channel count should be at most half",
                fewer,
            ),
            (libc::ENOMEM, "not enough XDP queues: need 8", fewer),
            (
                libc::EOPNOTSUPP,
                "can't set XDP while HW-GRO/LRO is on, disable them first",
                "lro off rx-gro-hw off`",
            ),
            (libc::EBUSY, "XDP program already attached", "detach it with its own tool"),
            // No word that is known: the number says more.
            (
                libc::EOPNOTSUPP,
                "Underlying driver does not support XDP in native mode",
                "the driver has no XDP",
            ),
        ] {
            let shown = shown(errno, Some(words));
            assert!(shown.starts_with(&format!("the kernel says \"{words}\": ")), "{shown}");
            assert!(shown.contains(remedy), "{shown}\nlacks {remedy}");
        }
        let neither = shown(libc::ENODEV, Some("a device of another kind"));
        assert!(
            neither.starts_with("the kernel says \"a device of another kind\": `bpf_link_create`"),
            "{neither}"
        );
        // Words are whole words: a group is no GRO.
        assert!(by_words("the group refuses", "eth0", 1500).is_none());
    }
}
