//! Why a run of a probe has not passed: the target's fault, or a reason of this host.

use std::{io, time::Duration};

use vipd_balance::ProbeOutcome;

/// The end of a run that has not passed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ProbeFault {
    /// The target's fault. Why, in lower case.
    Failed(String),
    /// A reason of this host: no verdict. Why, in lower case.
    NotSent(String),
}

impl ProbeFault {
    pub(crate) fn failed(why: impl Into<String>) -> Self {
        Self::Failed(why.into())
    }

    pub(crate) fn not_sent(why: impl Into<String>) -> Self {
        Self::NotSent(why.into())
    }

    /// An error while a socket is made: a socket, a bind, an option. It says nothing of the target.
    pub(crate) fn of_setup(what: &str, error: &io::Error) -> Self {
        Self::NotSent(format!("{what}: {}", error_text(error)))
    }

    /// An error of connecting, sending or receiving.
    pub(crate) fn of_io(error: &io::Error) -> Self {
        if error.raw_os_error().is_some_and(|code| OF_THIS_HOST.contains(&code)) {
            return Self::NotSent(error_text(error));
        }
        Self::Failed(error_text(error))
    }
}

impl From<ProbeFault> for ProbeOutcome {
    fn from(fault: ProbeFault) -> Self {
        match fault {
            ProbeFault::Failed(why) => Self::Failed(why),
            ProbeFault::NotSent(why) => Self::NotSent(why),
        }
    }
}

/// Text of an error in lower case, without the number that the standard library adds.
pub(crate) fn error_text(error: &io::Error) -> String {
    if error.kind() == io::ErrorKind::UnexpectedEof {
        return "the connection was closed".to_owned();
    }
    let text = match error.raw_os_error() {
        Some(code) => nix::errno::Errno::from_raw(code).desc().to_owned(),
        None => error.to_string(),
    };
    let mut letters = text.chars();
    match (letters.next(), letters.next()) {
        // Not of `TLS`, `HTTP`.
        (Some(first), Some(second)) if second.is_lowercase() || second == ' ' => {
            first.to_lowercase().chain(text.chars().skip(1)).collect()
        }
        _ => text,
    }
}

/// `5 s`, `0.25 s`.
pub(crate) fn seconds(time: Duration) -> String {
    format!("{} s", time.as_secs_f64())
}

/// Errors that say nothing of the target. An unreachable network is none of them: keepalived counts it as a failure too. EADDRNOTAVAIL
/// is a lack of free ports, EINVAL a link-local address without an interface, EPERM the host's own packet filter.
const OF_THIS_HOST: &[i32] = &[
    libc::EMFILE,
    libc::ENFILE,
    libc::EAGAIN,
    libc::ENOMEM,
    libc::ENOBUFS,
    libc::EADDRINUSE,
    libc::EADDRNOTAVAIL,
    libc::EAFNOSUPPORT,
    libc::EINVAL,
    libc::ENODEV,
    libc::EPERM,
];
