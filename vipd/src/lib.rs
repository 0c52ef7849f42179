//! vipd keeps a virtual IP alive across machines: VRRP with an eBPF data plane.
//!
//! `ARCHITECTURE.md` has the parts and their boundaries.

pub mod beside;
pub mod capabilities;
pub mod cleanup;
pub mod cli;
pub mod cluster;
pub mod daemon;
mod denial;
pub mod detection;
pub mod doctor;
pub mod dump;
pub mod machine;
pub mod metrics;
pub mod notify;
mod printable;
pub mod scripts;
pub mod stations;
pub mod tracking;

use printable::printable;
use vipd_announce as announce;
use vipd_control as control;
use vipd_control::{events, places};
pub use vipd_core::{bfd, coordinator, lease_manager, time, vrrp};
use vipd_dataplane as dataplane;
use vipd_host as host;
use vipd_system::{files, interface_names, processes, resources, socket_filter};
