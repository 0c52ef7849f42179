//! What several parts of vipd need of the system, apart from the data plane and the host's network: files that nobody else can have
//! planted, dates, the names of interfaces, processes, limits and shortages.

pub mod calendar;
pub mod files;
pub mod interface_names;
pub mod leftover;
mod problems;
pub mod processes;
pub mod resources;
pub mod socket_filter;
mod xdp_state;

pub use problems::Problems;
pub use xdp_state::XdpState;
