//! One virtual router as the daemon knows it: its configuration, its interfaces as last seen, its slot in the maps.

mod addresses;
mod announcements;
mod identity;
mod links;
mod records;
#[cfg(test)]
mod tests;
mod virtual_router;

pub use addresses::{address, octets};
pub use announcements::{announced, pace};
pub use identity::RouterIdentity;
pub use links::{HeartbeatPort, IngressPoint, Port, RouterLink, fit, interfaces};
pub use records::{index_entries, peer_entries, record, spec_in_force, vip_entries};
pub use virtual_router::Router;
