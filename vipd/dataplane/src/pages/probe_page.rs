//! What the daemon says of each peer that is probed, and what the program has heard of it.

use std::{
    io,
    os::fd::AsFd,
    sync::atomic::{AtomicU32, AtomicU64, Ordering, fence},
};

use vipd_common::{
    abi::{MAX_EARLY_BACKUPS, MAX_PROBE_PEERS, NO_SPONSOR, ProbedPeer},
    address::Address,
    wire::probe::Router,
};
use vipd_core::time::Instant;
use zerocopy::FromZeros;

use super::Mapping;

/// How often a list is looked at that changes meanwhile; the next look is soon.
const LIST_READS: usize = 4;

/// The slots of `PROBE_PEERS`.
#[derive(Debug)]
pub struct ProbePage(Mapping<ProbedPeer>);

/// What the program has stamped of a peer. Zero: never.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProbeStamps {
    /// The last probe of its daemon.
    pub probed: Instant,
    /// The last answer of its host.
    pub answered: Instant,
    /// When the newest probe was sent that was answered.
    pub answers: Instant,
    /// Probes and answers that have arrived.
    pub probes: u64,
    pub answer_count: u64,
    /// Desired Min TX of its last probe, in microseconds.
    pub interval_us: u32,
    /// Detect Mult of its last probe.
    pub multiplier: u8,
    /// Of [`vipd_common::wire::probe::flag`], in its last probe.
    pub flags: u8,
    /// State in its last answer.
    pub answer_state: u8,
}

impl ProbePage {
    pub(in super::super) fn new(fd: impl AsFd) -> io::Result<Self> {
        Mapping::new(fd, MAX_PROBE_PEERS).map(Self)
    }

    /// Nothing is known any more of who had the slot. Nothing leads the program to it now.
    pub fn clear(&self, slot: u32) {
        let nobody = ProbedPeer { sponsor: NO_SPONSOR, ..ProbedPeer::new_zeroed() };
        // SAFETY: as in `InstancePage::write`.
        unsafe { self.0.slot(slot).write_volatile(nobody) };
    }

    /// Writes the daemon's half of a slot: this node's discriminator, and flags of `probe_flag`.
    pub fn describe(&self, slot: u32, discriminator: u32, flags: u32) {
        let peer = self.0.slot(slot);
        // SAFETY: fields of a mapped slot that only this process writes; the program reads each whole.
        unsafe {
            (&raw mut (*peer).discriminator).write_volatile(discriminator);
            (&raw mut (*peer).flags).write_volatile(flags);
        }
    }

    /// Which backup of [`SponsorPage`](super::SponsorPage) the peer's probes are stamped in too; `None`: in none.
    pub fn sponsor(&self, slot: u32) -> Option<u32> {
        // SAFETY: a field that only this process writes, or its predecessor.
        let sponsor = unsafe { (&raw const (*self.0.slot(slot)).sponsor).read_volatile() };
        (sponsor < MAX_EARLY_BACKUPS as u32).then_some(sponsor)
    }

    /// Has the program stamp them there, from the peer's next probe on.
    pub fn set_sponsor(&self, slot: u32, sponsor: Option<u32>) {
        // SAFETY: a field that only this process writes; the program reads it whole.
        unsafe {
            (&raw mut (*self.0.slot(slot)).sponsor).write_volatile(sponsor.unwrap_or(NO_SPONSOR));
        }
    }

    /// What the program has stamped.
    pub fn stamps(&self, slot: u32) -> ProbeStamps {
        let peer = self.0.slot(slot);
        // SAFETY: aligned words that the program writes whole; single octets in any state.
        unsafe {
            let word = |word: *mut u64| AtomicU64::from_ptr(word).load(Ordering::Acquire);
            ProbeStamps {
                // An answer that is stamped has its own time before it.
                answered: Instant::from_nanos(word(&raw mut (*peer).answer_ns)),
                answers: Instant::from_nanos(word(&raw mut (*peer).answers_ns)),
                probed: Instant::from_nanos(word(&raw mut (*peer).probe_ns)),
                probes: word(&raw mut (*peer).probes),
                answer_count: word(&raw mut (*peer).answers),
                interval_us: (&raw const (*peer).interval_us).read_volatile(),
                multiplier: (&raw const (*peer).multiplier).read_volatile(),
                flags: (&raw const (*peer).block_flags).read_volatile(),
                answer_state: (&raw const (*peer).answer_state).read_volatile(),
            }
        }
    }

    /// The last stranger that an entry for strangers has seen, and when.
    pub fn stranger(&self, slot: u32) -> Option<(Address, Instant)> {
        let peer = self.0.slot(slot);
        // SAFETY: as above; of two at once it may be a mixture.
        let (at, address) = unsafe {
            (
                AtomicU64::from_ptr(&raw mut (*peer).stranger_ns).load(Ordering::Acquire),
                (&raw const (*peer).stranger).read_volatile(),
            )
        };
        (at != 0).then_some((address, Instant::from_nanos(at)))
    }

    /// The routers that the peer's last probe listed, with the list's generation; `None` while they change.
    pub fn routers(&self, slot: u32) -> Option<(u32, Vec<Router>)> {
        let peer = self.0.slot(slot);
        // SAFETY: an aligned word that the program writes whole.
        let writes = || unsafe { AtomicU32::from_ptr(&raw mut (*peer).writes) }.load(Ordering::Acquire);
        for _ in 0..LIST_READS {
            let before = writes();
            if before & 1 != 0 {
                continue;
            }
            // SAFETY: fields of a mapped slot, plain data in any state.
            let (count, generation, list) = unsafe {
                (
                    (&raw const (*peer).routers).read_volatile(),
                    (&raw const (*peer).generation).read_volatile(),
                    (&raw const (*peer).list).read_volatile(),
                )
            };
            fence(Ordering::Acquire);
            if writes() == before {
                return Some((generation, list[..usize::from(count)].to_vec()));
            }
        }
        None
    }
}
