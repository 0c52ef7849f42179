//! Real daemons on three nodes in network namespaces, faults from a seed, and a judge of what the wire showed.
//!
//! ```text
//! plan      seed -> setup and schedule                                    (pure)
//! fault     what a fault is, whom it concerns and what it may excuse      (pure)
//! conf      the configuration of a node
//! cluster   the lab and its daemons; actors applies a fault and undoes it
//! watch     who answers for the VIPs, whom a client reaches, when the machine itself stood still
//! judge     what was seen, beside docs/internals/invariants.md                      (pure)
//! healed    what must be true when every fault is over, and after the stop
//! run       one seed;  report  what a run has found
//! ```
//!
//! The schedule of a seed is always the same. What happens is not: the processes are real.

#![allow(
    clippy::disallowed_methods,
    reason = "the ban keeps clocks out of the daemon's pure core; this measures"
)]

pub mod actors;
pub mod clock;
pub mod cluster;
pub mod conf;
pub mod fault;
pub mod healed;
pub mod judge;
pub mod plan;
pub mod report;
pub mod run;
pub mod watch;
