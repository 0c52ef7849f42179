//! vipd keeps a virtual IP alive across machines: VRRP with an eBPF data plane.
//!
//! `ARCHITECTURE.md` has the parts and their boundaries.

pub mod announce;
pub mod beside;
pub mod capabilities;
pub mod cleanup;
pub mod cli;
pub mod control;
pub mod daemon;
pub mod dataplane;
mod denial;
pub mod detection;
pub mod doctor;
pub mod dump;
pub mod events;
pub mod files;
pub mod host;
mod interface_names;
pub mod machine;
pub mod metrics;
pub mod notify;
mod places;
mod printable;
mod processes;
mod resources;
pub mod scripts;
mod socket_filter;
pub mod tracking;

use printable::printable;
pub use vipd_core::{coordinator, lease_manager, time, vrrp};
