//! What vipd decides, as functions of time and input: the election, and the keeping of the leases that it wins.
//!
//! No clock is read here and nothing is done. The daemon drives it with the real ones, the simulation with made-up ones.

pub mod coordinator;
pub mod lease_manager;
pub mod time;
pub mod vrrp;
