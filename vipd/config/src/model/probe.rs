//! Probes to the hosts that run the same virtual router.

use std::time::Duration;

/// `probe`: how often the others are probed, and when one is silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe {
    /// `interval`: between two probes, 1 to 1,000 ms in steps of a microsecond. 10 ms unless given.
    pub interval: Duration,
    /// `multiplier`: probes without an answer that are a silence, 2 to 255. 3 unless given.
    pub multiplier: u8,
    /// `act takeover`: whether a silence has this node take over. Off unless given.
    pub takes_over: bool,
}
