//! The typed configuration of load balancing: every value is valid, and none is left to be defaulted.
//!
//! Plain values. No keyword and no file of the language is here; the names of fields are keepalived's keywords where it has one.

mod check;
mod config;
mod probe;
mod server;
mod target;

pub use check::{CheckWeight, ProbeOutcome, ProbeUse};
pub use config::{BalanceConfig, MAX_WEIGHT, ServiceFault};
pub use probe::{HttpProtocol, HttpUrl, ProbeId, ProbePeer, ProbeSpec, TlsSettings};
pub use server::{
    NoticeCommand, Persistence, Scheduler, SchedulerFlags, ServiceAddress, ServiceId, ServiceSettings,
    SorryServer, TransportProtocol, VirtualServer,
};
pub use target::{ForwardMethod, ServiceTarget, TargetId, TunnelChecksum, TunnelEncapsulation};
