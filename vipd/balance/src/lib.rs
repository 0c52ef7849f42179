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
