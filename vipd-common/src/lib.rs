//! What the two halves of vipd share: protocol types, the map ABI, and wire formats.
//!
//! `no_std`, no allocation, no IO. The XDP program (`vipd-ebpf`) and the daemon (`vipd`) both compile it.
#![no_std]

pub mod abi;
pub mod address;
pub mod bloom;
pub mod lease;
pub mod rival;
pub mod sponsor;
pub mod types;

pub mod wire;

pub use types::{Family, Priority, Version, Vrid};
