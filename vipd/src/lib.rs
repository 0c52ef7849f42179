//! vipd keeps a virtual IP alive across machines: VRRP elections over an XDP data plane.
//!
//! The parts and who may use whom are described in `ARCHITECTURE.md`.

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
pub use vipd_core::{engine, keeper, time, vrrp};
