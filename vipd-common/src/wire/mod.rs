//! Wire formats: what the daemon sends. Each `emit` writes every octet of its part of the buffer.
//!
//! Nothing here parses: the daemon receives through XDP events only.

pub mod arp;
pub mod checksum;
pub mod eth;
pub mod ipv4;
pub mod ipv6;
pub mod ndp;
pub mod vrrp;

#[cfg(test)]
mod tests;
