//! Notices of changes: commands, FIFO lines and mails as keepalived has them, and events.

use std::fmt;

use crate::model::{NoticeCommand, ProbeSpec, ServiceId, TargetId};

/// A mail. The sender puts `[router_id] ` before the subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoticeMail {
    /// `Realserver R of virtual server V - DOWN`.
    pub subject: String,
    /// `=> TCP CHECK failed on service <=`.
    pub body: String,
}

/// When a quorum was judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuorumCause {
    /// For the first time.
    Start,
    /// Live weights, or the quorum itself, changed.
    Change,
    /// The service goes.
    Removed,
    /// vipd stops, and the service has `omega`.
    Stop,
}

/// Something that happened to a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BalanceNotice {
    /// A target came up or went down.
    Target {
        /// Of which service.
        service: ServiceId,
        /// Which.
        target: TargetId,
        /// Up.
        up: bool,
        /// Why: `TCP_CHECK 10.0.0.1:80: connection refused`.
        reason: String,
        /// `notify_up` or `notify_down`.
        command: Option<NoticeCommand>,
        /// The line for `lvs_notify_fifo` and `notify_fifo`, without its end.
        fifo: String,
        /// If `smtp_alert` is on.
        mail: Option<NoticeMail>,
    },
    /// A service gained or lost its quorum.
    Quorum {
        /// Which service.
        service: ServiceId,
        /// Gained.
        up: bool,
        /// When.
        cause: QuorumCause,
        /// Sum of the live weights.
        weight: u64,
        /// The weight that gains it, or that keeps it.
        threshold: u64,
        /// `quorum_up` or `quorum_down`.
        command: Option<NoticeCommand>,
        /// The line for the FIFOs, without its end.
        fifo: String,
        /// If `smtp_alert` is on.
        mail: Option<NoticeMail>,
    },
    /// The weight that checks or a reload give a target changed.
    Weight {
        /// Of which service.
        service: ServiceId,
        /// Which.
        target: TargetId,
        /// Before.
        from: u32,
        /// Now.
        to: u32,
    },
    /// `min_alive`: failed targets serve too, or no longer.
    FailedServe {
        /// Which service.
        service: ServiceId,
        /// They do.
        on: bool,
        /// Targets that are alive, of those that are not drained.
        alive: usize,
        /// Targets that are not drained.
        of: usize,
    },
    /// A target gets no new connections, by an operator or because a reload removes it.
    Draining {
        /// Of which service.
        service: ServiceId,
        /// Which.
        target: TargetId,
    },
    /// The deadline of a drain has come, and the target is out of the table.
    Drained {
        /// Of which service.
        service: ServiceId,
        /// Which.
        target: TargetId,
    },
    /// A drain was taken back.
    Undrained {
        /// Of which service.
        service: ServiceId,
        /// Which.
        target: TargetId,
    },
}

/// Why a target changed, for its notice.
#[derive(Clone, Copy, Debug)]
pub(crate) enum TargetCause<'a> {
    /// It serves from the start, and `rs_init_notifies` is on.
    Start,
    /// The check that was the last to pass.
    Passed(&'a ProbeSpec),
    /// A check that failed, and why.
    Failed(&'a ProbeSpec, &'a str),
    /// A reload took away the check that had failed, or all.
    NoCheckFails,
    /// A reload removed it.
    Removed,
    /// vipd stops.
    Stop,
}

impl TargetCause<'_> {
    /// The body of keepalived's mail.
    fn mail_body(self) -> String {
        match self {
            Self::Start | Self::NoCheckFails => "=> Service is up <=".to_owned(),
            Self::Passed(probe) => format!("=> {}CHECK succeed on service <=", prefix(probe)),
            Self::Failed(probe, why) => {
                let timeout = matches!(probe, ProbeSpec::Misc { .. }) && why.contains("timed out");
                let what = if timeout { "timed out" } else { "failed" };
                format!("=> {}CHECK {what} on service <=", prefix(probe))
            }
            Self::Removed => "=> Removing <=".to_owned(),
            Self::Stop => "=> Shutting down <=".to_owned(),
        }
    }
}

/// `TCP `; nothing for HTTP_GET and SSL_GET.
fn prefix(probe: &ProbeSpec) -> String {
    if matches!(probe, ProbeSpec::Http { .. }) {
        return String::new();
    }
    format!("{} ", probe.keyword().trim_end_matches("_CHECK"))
}

impl fmt::Display for TargetCause<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start => f.write_str("starts"),
            Self::Passed(probe) => write!(f, "{probe} passed"),
            Self::Failed(probe, why) => write!(f, "{probe}: {why}"),
            Self::NoCheckFails => f.write_str("no check fails"),
            Self::Removed => f.write_str("removed from the configuration"),
            Self::Stop => f.write_str("vipd stops"),
        }
    }
}

/// `UP` or `DOWN`.
pub(crate) const fn word(up: bool) -> &'static str {
    if up { "UP" } else { "DOWN" }
}

/// Real servers as keepalived names them: `[10.0.0.1]:tcp:80`, with `none` for a service by mark.
pub(crate) fn target_name(target: TargetId, protocol: Option<&str>) -> String {
    format!("[{}]:{}:{}", target.address, protocol.unwrap_or("none"), target.port)
}

/// The mail about a target.
pub(crate) fn target_mail(target: &str, service: &ServiceId, up: bool, cause: TargetCause<'_>) -> NoticeMail {
    let subject = format!("Realserver {target} of virtual server {service} - {}", word(up));
    NoticeMail { subject, body: cause.mail_body() }
}

/// The mail about a quorum.
pub(crate) fn quorum_mail(
    service: &ServiceId,
    up: bool,
    cause: QuorumCause,
    (quorum, hysteresis): (u64, u64),
    (threshold, weight): (u64, u64),
) -> NoticeMail {
    let subject = format!("Virtualserver {service} - {}", word(up));
    let what = match (cause, up) {
        (QuorumCause::Stop, _) => return NoticeMail { subject, body: "=> Shutting down <=".to_owned() },
        (QuorumCause::Start, true) => "Starting with quorum up",
        (QuorumCause::Start, false) => "Starting with quorum down",
        (QuorumCause::Change | QuorumCause::Removed, true) => "Gained quorum",
        (QuorumCause::Change | QuorumCause::Removed, false) => "Lost quorum",
    };
    NoticeMail { subject, body: format!("=> {what} {quorum}+{hysteresis}={threshold} <= {weight} <=") }
}
