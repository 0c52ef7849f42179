//! Shortages of the host: descriptors, processes, memory. They say nothing about a service that is checked.

use std::{io, sync::OnceLock, time::Duration};

use nix::sys::resource::{Resource, getrlimit, rlim_t, setrlimit};

/// Descriptors that vipd asks for, if the hard limit permits it.
const DESCRIPTORS: rlim_t = 65536;
/// For so long a check that cannot be run, or a target that cannot be asked, keeps its result; then it has failed. A host that starts no
/// process for so long is in trouble itself.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Soft and hard limit of descriptors at the start of vipd.
static DESCRIPTORS_AT_START: OnceLock<(rlim_t, rlim_t)> = OnceLock::new();

/// Raises the soft limit of descriptors: a default of 1,024 is for programs that use select(2).
pub fn raise_descriptors() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE).and_then(|(soft, hard)| {
        let _ = DESCRIPTORS_AT_START.set((soft, hard));
        let wanted = hard.min(DESCRIPTORS).max(soft);
        if wanted > soft { setrlimit(Resource::RLIMIT_NOFILE, wanted, hard) } else { Ok(()) }
    });
    if let Err(error) = raised {
        tracing::warn!(%error, "the limit of open files could not be raised");
    }
}

/// Gives a child the soft limit that vipd was started with. Async-signal-safe: it is called between fork and exec.
pub fn restore_descriptors() -> io::Result<()> {
    match DESCRIPTORS_AT_START.get() {
        Some((soft, hard)) => Ok(setrlimit(Resource::RLIMIT_NOFILE, *soft, *hard)?),
        None => Ok(()),
    }
}

/// Whether the error is a shortage of the host.
pub fn is_shortage(error: &io::Error) -> bool {
    let shortages = [libc::EMFILE, libc::ENFILE, libc::EAGAIN, libc::ENOMEM, libc::ENOBUFS];
    error.raw_os_error().is_some_and(|code| shortages.contains(&code))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shortage_is_told_from_what_is_wrong_with_a_command() {
        for (code, expect) in [
            (libc::EMFILE, true),
            (libc::EAGAIN, true),
            (libc::ENOMEM, true),
            (libc::ENOENT, false),
            (libc::EACCES, false),
        ] {
            assert_eq!(is_shortage(&io::Error::from_raw_os_error(code)), expect, "{code}");
        }
        assert!(!is_shortage(&io::Error::other("no code")));
    }
}
