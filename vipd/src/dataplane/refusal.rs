//! What to make of a kernel that does not attach the program.

use anyhow::anyhow;
use aya::{programs::ProgramError, sys::SyscallError};

/// Why the kernel did not attach the program, and what to do. The driver's own words stay in the kernel: it gives no
/// extended acknowledgement to link creation.
pub fn refusal(error: ProgramError, mtu: u32) -> anyhow::Error {
    let errno = match &error {
        ProgramError::SyscallError(SyscallError { io_error, .. }) => io_error.raw_os_error(),
        _ => None,
    };
    match errno.and_then(|errno| hint(errno, mtu)) {
        Some(hint) => anyhow!(error).context(hint),
        None => anyhow!(error),
    }
}

fn hint(errno: i32, mtu: u32) -> Option<String> {
    Some(match errno {
        libc::EOPNOTSUPP => "the driver has no XDP in this mode".into(),
        libc::EBUSY => "another XDP program is attached; detach it with its own tool".into(),
        libc::EINVAL | libc::ERANGE | libc::E2BIG | libc::EMSGSIZE => format!(
            "the driver does not take XDP with the interface as it is set up: its MTU of {mtu} may be too large for the \
             driver's XDP buffers (many take about 3,500), or LRO or the number of queues in the way (ethtool -k, -l)"
        ),
        libc::ENOMEM | libc::ENOSPC => {
            "the driver has no memory or queues left for XDP; fewer queues may help (ethtool -L)".into()
        }
        libc::EPERM => "attaching takes CAP_NET_ADMIN and CAP_BPF".into(),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn a_refusal_names_the_cause_and_the_fix() {
        for (errno, words) in [
            (libc::EOPNOTSUPP, "the driver has no XDP"),
            (libc::EBUSY, "detach it with its own tool"),
            (libc::ERANGE, "MTU of 9000"),
            (libc::EINVAL, "MTU of 9000"),
            (libc::ENOSPC, "ethtool -L"),
            (libc::EPERM, "CAP_NET_ADMIN"),
            (libc::ENOENT, "No such file"),
        ] {
            let io_error = io::Error::from_raw_os_error(errno);
            let error = ProgramError::SyscallError(SyscallError { call: "bpf_link_create", io_error });
            let shown = format!("{:#}", refusal(error, 9000));
            assert!(shown.contains(words) && shown.contains("bpf_link_create"), "{shown}");
        }
    }
}
