//! A simulation of vipd clusters: the shipped election, the shipped keeping of leases and the shipped judgement of
//! adverts, over a made-up network, made-up clocks and made-up trouble.
//!
//! Everything follows from a seed. [`plan`] makes a cluster and a list of faults of it, [`world`] lets it run, and after
//! every event [`oracle`] checks the invariants of `docs/internals/invariants.md` against what has really happened, not against
//! what the nodes believe.

pub mod clock;
mod early;
mod node;
mod node_io;
pub mod oracle;
mod peer;
pub mod plan;
pub mod runner;
pub mod world;
