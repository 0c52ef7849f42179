//! Sessions of BFD.

use std::{net::IpAddr, time::Duration};

use super::weight::Weight;

/// One `bfd_instance`: a session with a neighbor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BfdInstance {
    pub name: String,
    /// `neighbor_ip`. Of two sessions with the same neighbor and `multihop`, both have a `source_ip` or an `interface`, and those differ.
    pub neighbor: IpAddr,
    /// `source_ip`, of the same family; `None`: the address that the routes to the neighbor choose.
    pub source: Option<IpAddr>,
    /// `interface`: where the neighbor is; `None`: where the routes to it lead. Always given of a link-local neighbor, never with `multihop`.
    pub interface: Option<String>,
    /// `min_rx`: the least interval between packets that this end wants to receive, 1 ms to 4,294,967 ms, in microseconds. 10 ms unless given.
    pub min_rx: Duration,
    /// `min_tx`: the same of packets that it sends while Up.
    pub min_tx: Duration,
    /// `idle_tx`: the interval while not Up, 1 s to 4,294,967 ms. 1 s unless given.
    pub idle_tx: Duration,
    /// `multiplier`, 1 to 255: intervals without a packet after which the neighbor takes this end for dead. 5 unless given.
    pub multiplier: u8,
    /// `passive`: whether it waits for the neighbor to speak first. Off unless given.
    pub passive: bool,
    /// `ttl`: the TTL or hop limit of packets that are sent, 1 to 255. 255 unless given.
    pub hop_limit: u8,
    /// From `ttl` and `max_hops`: the least TTL or hop limit that packets may arrive with.
    pub min_hop_limit: u8,
    /// `multihop`: whether packets go to the port of sessions over several hops. Off unless given.
    pub multihop: bool,
    /// `weight`, -253 to 253: what it does where a line of an instance does not say. 0 unless given.
    pub weight: Weight,
    /// Whether `track_bfd` may name it: not if `checker` alone is given.
    pub for_vrrp: bool,
    /// Whether BFD_CHECK may name it: not if `vrrp` alone is given.
    pub for_checkers: bool,
}
