//! The decisions of vipd as functions of time and input: the election, and the lease manager.
//!
//! No clock, no input or output. The daemon drives them with the real ones, the simulation with made-up ones.

#![warn(missing_docs)]

pub mod bfd;
pub mod coordinator;
pub mod early;
pub mod lease_manager;
pub mod time;
pub mod vrrp;
