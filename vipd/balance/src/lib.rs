//! Load balancing as functions of time and input: the typed configuration, the judge of targets and quorums, the comparison of tables.
//!
//! No clock, no input or output, and nothing of the configuration language. The daemon sends the probes and reports their outcomes. The
//! [`Judge`] decides the content of the table. A [`Backend`] compares the table with it.
//!
//! ```text
//!  BalanceConfig --Reload--+                              +--Change--> DesiredTable --> Backend::compare --> operations
//!  Schedule --> probe -----+--> Judge (table of events) --+--Notice--> commands, FIFO, mail, events
//!  lease, drain, time -----+                              +--ProbesChanged--> Schedule::sync
//! ```
//!
//! # Departures from keepalived
//!
//! A configuration of keepalived's means the same here, but for these:
//!
//! - Equal probes are sent once, at the shortest interval that any user asks for. Each user counts its own retries, and skips a
//!   failure that comes sooner than its `delay_before_retry`.
//! - A verdict survives a reload and a restart, and holds for every further service with the same probe.
//! - Targets enter before others leave, so a service is never empty in between. keepalived removes the sorry server first.
//! - The quorum is gained with all targets at the latest, also if `quorum` + `hysteresis` is above the sum of their weights.
//! - The table is compared with the desired one: old weights, unknown targets and changed thresholds are corrected. EEXIST and
//!   ENOENT are failures, and the table is read again.
//! - A failed check forgets its weight of `misc_dynamic`.
//! - There is one mail for each change of a target, as with keepalived's `no_checker_emails`, never one for each check.
//! - A run of HTTP_GET gets all of its URLs.

#![warn(missing_docs)]

mod backend;
mod desired;
mod judge;
mod model;
mod notice;
mod schedule;
#[cfg(test)]
mod tests;

pub use backend::{
    Backend, KernelBackend, OperationFailure, Reconcile, Reconciler, TableOperation, TableService,
    TableTarget,
};
pub use desired::{DesiredChange, DesiredService, DesiredTable, DesiredTarget};
pub use judge::{
    DrainScope, Judge, JudgeEvent, JudgeOutput, JudgedService, JudgedTarget, KnownVerdict, ProbeNeed,
    ProbePause, TargetReason,
};
pub use model::{
    BalanceConfig, CheckWeight, ForwardMethod, HttpProtocol, HttpUrl, NoticeCommand, Persistence, ProbeId,
    ProbeOutcome, ProbePeer, ProbeSpec, ProbeUse, Scheduler, SchedulerFlags, ServiceAddress, ServiceFault,
    ServiceId, ServiceSettings, ServiceTarget, SorryServer, TargetId, TlsSettings, TransportProtocol,
    TunnelChecksum, TunnelEncapsulation, VirtualServer,
};
pub use notice::{BalanceNotice, NoticeMail, QuorumCause};
pub use schedule::{FIRST_PROBE_DELAY, Schedule};
