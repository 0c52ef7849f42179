//! The kernel's IPVS over generic netlink (`net/netfilter/ipvs/ip_vs_ctl.c`, `linux/ip_vs.h`): its wire format, and a client that
//! reads the table and applies steps to it.
//!
//! Every nest of the format has a checked view of its octets, whose accessors cannot fail, and a type with typed fields that parses
//! it and emits it: [`VirtualService`], [`IpvsDestination`], [`TrafficStats`], [`SyncDaemon`], [`IpvsTimeouts`], [`IpvsInfo`].
//! [`IpvsStep`] is one change; [`IpvsClient`] sends steps and says of each what came of it.
//!
//! What to change is decided elsewhere. This crate has no clock, no thread and no state but its socket. It never takes EEXIST for
//! success: it reads what is there, and says whether that is what was asked for.
//!
//! The table belongs to a network namespace, that of the thread that opens the client. The kernel sends no notification of
//! changes.
#![warn(missing_docs)]

mod attributes;
mod client;
mod destination;
mod error;
mod info;
mod message;
mod service;
mod socket;
mod stats;
mod step;
mod sync_daemon;
mod table;
mod timeouts;

pub use attributes::{AttributeList, KernelName, MalformedReply};
pub use client::{IN_FLIGHT, IpvsClient};
pub use destination::{
    ConnectionCounts, DestinationKey, DestinationView, ForwardingMethod, GueChecksum, IpvsDestination, Tunnel,
};
pub use error::{Existing, IpvsError, StepRefusal, StepResult};
pub use info::IpvsInfo;
pub use message::{IpvsCommand, IpvsRequest, ReplyFrame, ReplyFrames};
pub use service::{
    PersistenceMask, ServiceFlags, ServiceProtocol, ServiceView, VirtualService, VirtualServiceKey,
};
pub use socket::{KernelChannel, NetlinkSocket};
pub use stats::{StatsView, TrafficStats};
pub use step::{IpvsStep, Unfit};
pub use sync_daemon::{SyncDaemon, SyncDaemonView, SyncRole};
pub use table::{IpvsTable, ServedDestination, ServedService};
pub use timeouts::IpvsTimeouts;
