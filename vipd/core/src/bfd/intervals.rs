//! The intervals of a session: which are in force while a change of them is being told to the neighbor, and their jitter.

use std::time::Duration;

use super::{BfdSettings, micros};

/// Our intervals that are in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IntervalsInForce {
    /// Desired Min TX Interval by which packets are sent.
    pub tx_us: u32,
    /// Required Min RX Interval by which the detection time is computed.
    pub rx_us: u32,
}

impl IntervalsInForce {
    /// Of a session that is not Up.
    pub fn slow(settings: &BfdSettings) -> Self {
        Self { tx_us: settings.slow_tx_us(), rx_us: settings.min_rx_us }
    }

    /// Of a session that is Up and whose neighbor knows them.
    pub fn fast(settings: &BfdSettings) -> Self {
        Self { tx_us: settings.min_tx_us, rx_us: settings.min_rx_us }
    }

    /// Of a session that is Up while the neighbor may not know them yet (RFC 5880 6.8.3): it is not to wait for packets that come less
    /// often, nor to be waited for as if it sent more often.
    pub fn until_known(self, settings: &BfdSettings) -> Self {
        Self { tx_us: self.tx_us.min(settings.min_tx_us), rx_us: self.rx_us.max(settings.min_rx_us) }
    }
}

/// The jitter of a session: it only has to differ between routers that began together.
#[derive(Clone, Copy, Debug)]
pub struct Jitter(u64);

impl Jitter {
    pub fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    /// RFC 5880 6.8.7: 75 to 100 percent of the interval, 75 to 90 if the multiplier is 1, so that one packet at least comes within the
    /// detection time.
    pub fn apply(&mut self, interval_us: u32, multiplier: u8) -> Duration {
        // Marsaglia's xorshift64.
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        let span = if multiplier == 1 { 15 } else { 25 };
        let interval = u64::from(interval_us);
        let least = interval * 75 / 100;
        let most = (interval * (75 + span) / 100).max(least + 1);
        micros(least + self.0 % (most - least))
    }
}
