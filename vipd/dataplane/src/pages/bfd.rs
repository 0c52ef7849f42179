//! The sessions of BFD: identities for the program to check packets against, and what it heard.

use std::{
    io,
    os::fd::AsFd,
    sync::atomic::{AtomicU64, Ordering},
};

use vipd_common::{
    abi::{BfdKey, BfdRecord, MAX_BFD_SESSIONS},
    wire::bfd::{Diagnostic, SessionState},
};
use vipd_core::time::Instant;
use zerocopy::FromZeros;

use super::Mapping;

/// What the program is to know of one session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BfdIdentity {
    pub key: BfdKey,
    /// Not 0.
    pub local_discriminator: u32,
    pub min_hop_limit: u8,
    pub source_port: u16,
}

/// The records.
#[derive(Debug)]
pub struct BfdPage(Mapping<BfdRecord>);

impl BfdPage {
    pub fn open(fd: impl AsFd) -> io::Result<Self> {
        Mapping::new(fd, MAX_BFD_SESSIONS).map(Self)
    }

    /// A record as it is at the moment.
    pub fn read(&self, slot: u32) -> BfdRecord {
        // SAFETY: a mapped slot, plain data in any state; the program may write its half meanwhile.
        unsafe { self.0.slot(slot).read_volatile() }
    }

    /// Has a slot begin anew with this identity: nothing was heard.
    pub fn begin(&self, slot: u32, identity: &BfdIdentity) {
        let record = BfdRecord {
            key: identity.key,
            local_discriminator: identity.local_discriminator,
            min_hop_limit: identity.min_hop_limit,
            source_port: identity.source_port,
            state: SessionState::Down as u8,
            ..BfdRecord::new_zeroed()
        };
        // SAFETY: a mapped slot; nothing leads the program there before it is in the index.
        unsafe { self.0.slot(slot).write_volatile(record) };
    }

    /// The session is in another state.
    pub fn set_state(&self, slot: u32, state: SessionState, diagnostic: Diagnostic, since: Instant) {
        let record = self.0.slot(slot);
        // SAFETY: fields of the daemon's half, which only this process writes.
        unsafe {
            (&raw mut (*record).state_since_ns).write_volatile(since.as_nanos());
            (&raw mut (*record).diagnostic).write_volatile(diagnostic.number());
            (&raw mut (*record).state).write_volatile(state as u8);
        }
    }

    /// The neighbor counts on other intervals: Desired Min TX and Required Min RX in force, in microseconds.
    pub fn set_intervals(&self, slot: u32, tx_us: u32, rx_us: u32) {
        let record = self.0.slot(slot);
        // SAFETY: as above.
        unsafe {
            (&raw mut (*record).tx_us).write_volatile(tx_us);
            (&raw mut (*record).rx_us).write_volatile(rx_us);
        }
    }

    /// Packets may arrive with this TTL from now on.
    pub fn set_min_hop_limit(&self, slot: u32, least: u8) {
        // SAFETY: as above.
        unsafe { (&raw mut (*self.0.slot(slot)).min_hop_limit).write_volatile(least) };
    }

    /// Nobody's slot any more.
    pub fn clear(&self, slot: u32) {
        // SAFETY: as in `begin`.
        unsafe { self.0.slot(slot).write_volatile(BfdRecord::new_zeroed()) };
    }

    /// When a valid packet was last heard; time 0 if never.
    pub fn heard(&self, slot: u32) -> Instant {
        let record = self.0.slot(slot);
        // SAFETY: an aligned 8-byte field that the program writes whole.
        let heard = unsafe { AtomicU64::from_ptr(&raw mut (*record).heard_ns) };
        Instant::from_nanos(heard.load(Ordering::Acquire))
    }
}
