//! What a kernel of the simulation knows of probes: its stamps, its reflector, and who vouches for it.

use std::{net::Ipv4Addr, sync::Arc};

use vipd_common::sponsor::{EarlyBackup, is_sponsored};
use vipd_core::{
    early::{PeerStamps, ProbeBlock},
    time::Instant,
};

use crate::clock::{Time, ns};

/// The way that a frame takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line {
    /// Where the addresses are.
    Main,
    Heartbeat,
}

/// A probe, or the answer to one.
#[derive(Clone, Debug)]
pub struct Frame {
    pub from: usize,
    pub to: usize,
    pub source: Ipv4Addr,
    pub sent: Time,
    pub line: Line,
    /// When the probe was sent, by the clock of who sent it.
    pub at: Instant,
    /// Of a probe what it says; an answer says nothing.
    pub block: Option<Arc<ProbeBlock>>,
}

/// By peer, what XDP keeps of probes.
#[derive(Clone, Debug, Default)]
pub struct Probes {
    pub enabled: bool,
    /// The leases need a sponsor: the daemon takes over early itself, or its peers may believe so.
    pub sponsored: bool,
    /// Of each peer: whether the program has a place for it among the backups that take over early.
    pub counted: Vec<bool>,
    pub stamps: Vec<PeerStamps>,
    pub backups: Vec<EarlyBackup>,
    pub beat_ns: u64,
}

impl Probes {
    pub fn new(enabled: bool, nodes: usize) -> Self {
        Self {
            enabled,
            sponsored: false,
            counted: vec![false; nodes],
            stamps: vec![PeerStamps::default(); nodes],
            backups: vec![EarlyBackup::default(); nodes],
            beat_ns: 0,
        }
    }

    /// As after a boot.
    pub fn cleared(&self) -> Self {
        Self { counted: self.counted.clone(), ..Self::new(self.enabled, self.stamps.len()) }
    }

    /// Whether a lease that stands counts.
    pub fn let_own(&self, now: u64) -> bool {
        !self.sponsored || is_sponsored(self.beat_ns, &self.backups, now)
    }

    /// When a sponsor may fall silent.
    pub fn edges(&self) -> impl Iterator<Item = u64> {
        let known = self.backups.iter().filter(|backup| backup.probe_ns > 0);
        known.flat_map(|backup| [self.beat_ns, backup.probe_ns].map(|stamp| stamp + backup.stale_after_ns()))
    }

    pub fn hear(&mut self, from: usize, now: Instant) {
        if self.enabled {
            self.stamps[from].heard = now;
        }
    }

    /// An answer of a peer's program.
    pub fn hear_answer(&mut self, from: usize, at: Instant, now: Instant) {
        let stamps = &mut self.stamps[from];
        (stamps.heard, stamps.answered, stamps.answers) = (now, now, stamps.answers.max(at));
    }

    /// A probe of a peer's daemon. What it says of routers is looked at first.
    pub fn hear_probe(&mut self, from: usize, block: &Arc<ProbeBlock>, now: Instant) {
        let detect_ns = ns(block.interval) * u64::from(block.multiplier);
        let takes_over = block.takes_over && !block.leaving && self.counted[from];
        self.backups[from].hear(takes_over, detect_ns, now.as_nanos());
        let stamps = &mut self.stamps[from];
        (stamps.heard, stamps.probed, stamps.block) = (now, now, Some(block.clone()));
    }
}
