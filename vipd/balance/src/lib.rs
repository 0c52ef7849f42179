//! Load balancing as functions of time and input: what a probe's result means for a target, a service and its sorry server.
//!
//! No clock, no input or output, and nothing of the configuration language. The daemon sends the probes and says what came of them, the
//! [`Judge`] says what is to be in the table, and a [`Backend`] brings the table there.
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
//! - Equal probes are sent once, at the shortest interval that any user asks for. Each user counts its own retries, and a failure that comes
//!   sooner than its `delay_before_retry` is not counted.
//! - A probe that has a verdict needs no new run: not after a reload, not for a further service, not after a restart.
//! - Who comes serves before who goes leaves, so a service is never empty in between. keepalived removes the sorry server first.
//! - The quorum is gained with all targets at the latest, also if `quorum` + `hysteresis` is above the sum of their weights.
//! - A table is compared with what is desired: an old weight, a stranger among the targets and changed thresholds are put right. EEXIST and
//!   ENOENT are failures, after which the table is read again.
//! - A failed target's weight by `misc_dynamic` is forgotten.
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
