//! BFD (RFC 5880), asynchronous mode: one session is a pure state machine, which is told of packets and of time.
//!
//! It never reads a clock and never sends. Each call that may change something takes `now` last; what is to be sent comes from
//! [`BfdSession::poll_transmit`], until it has nothing more, and [`BfdSession::poll_timeout`] says when to call
//! [`BfdSession::handle_timeout`] next. Echo, demand mode and authentication are not used; a neighbor may ask for demand mode.

mod intervals;
mod reach;
mod session;
#[cfg(test)]
mod tests;

use std::time::Duration;

pub use intervals::IntervalsInForce;
pub use session::{BfdChange, BfdLeft, BfdRemote, BfdSession};

/// What a session is configured with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BfdSettings {
    /// Desired Min TX Interval while Up, in microseconds, from 1.
    pub min_tx_us: u32,
    /// Required Min RX Interval, in microseconds, from 1.
    pub min_rx_us: u32,
    /// Desired Min TX Interval while not Up, in microseconds, from 1,000,000 (RFC 5880 6.8.3). Not below `min_tx_us` in any case.
    pub idle_tx_us: u32,
    /// Detect Mult, 1 to 255.
    pub multiplier: u8,
    /// Sends nothing before the neighbor has.
    pub passive: bool,
}

impl BfdSettings {
    /// Desired Min TX Interval while not Up.
    fn slow_tx_us(&self) -> u32 {
        self.idle_tx_us.max(self.min_tx_us)
    }
}

fn micros(us: u64) -> Duration {
    Duration::from_micros(us)
}
