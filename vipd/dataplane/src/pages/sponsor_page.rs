//! Who vouches for this node's leases, in the memory that is shared with the program.

use std::{
    collections::BTreeSet,
    io,
    os::fd::AsFd,
    sync::atomic::{AtomicU64, Ordering},
};

use vipd_common::{
    abi::{MAX_LEASES, Sponsors},
    sponsor::{EarlyBackup, is_sponsored},
};
use vipd_core::time::Instant;
use zerocopy::FromZeros;

use super::Mapping;

/// The entry of `SPONSORS`.
#[derive(Debug)]
pub struct SponsorPage(Mapping<Sponsors>);

impl SponsorPage {
    pub(in super::super) fn new(fd: impl AsFd) -> io::Result<Self> {
        Mapping::new(fd, 1).map(Self)
    }

    /// The daemon has spoken: it read the clock at `at`, and then sent its probes.
    pub fn beat(&self, at: Instant) {
        // SAFETY: an aligned word of the mapping, which the program reads whole.
        unsafe { AtomicU64::from_ptr(&raw mut (*self.0.slot(0)).beat_ns) }
            .store(at.as_nanos(), Ordering::Release);
    }

    /// When the daemon has spoken last; zero if it never has.
    pub fn beat_at(&self) -> Instant {
        // SAFETY: as above.
        let beat_ns =
            unsafe { AtomicU64::from_ptr(&raw mut (*self.0.slot(0)).beat_ns) }.load(Ordering::Acquire);
        Instant::from_nanos(beat_ns)
    }

    /// The leases that need a sponsor.
    pub fn set_leases<'a>(&self, slots: impl IntoIterator<Item = &'a u32>) {
        let mut words = Sponsors::new_zeroed().leases;
        for slot in slots {
            let (word, bit) = Sponsors::place(*slot);
            words[word] |= bit;
        }
        for (index, word) in words.into_iter().enumerate() {
            // SAFETY: as above; `index` is one of this array's.
            unsafe { AtomicU64::from_ptr(&raw mut (*self.0.slot(0)).leases[index]) }
                .store(word, Ordering::Release);
        }
    }

    /// The slots of the leases that need a sponsor.
    pub fn leases(&self) -> BTreeSet<u32> {
        let page = self.0.slot(0);
        let needs = |slot: &u32| {
            let (word, bit) = Sponsors::place(*slot);
            // SAFETY: as above.
            unsafe { AtomicU64::from_ptr(&raw mut (*page).leases[word]) }.load(Ordering::Acquire) & bit != 0
        };
        (0..MAX_LEASES).filter(needs).collect()
    }

    /// Forgets what is stamped of a backup: it counts no more, until a probe of it is stamped again.
    pub fn clear(&self, backup: u32) {
        let page = self.0.slot(0);
        // SAFETY: as above; the index is checked. No probe of 0 ns ever counts, whatever its detection time.
        unsafe {
            let backup = &raw mut (*page).backups[backup as usize];
            AtomicU64::from_ptr(&raw mut (*backup).probe_ns).store(0, Ordering::Release);
        }
    }

    /// What the program knows of a backup.
    pub fn backup(&self, backup: u32) -> EarlyBackup {
        let page = self.0.slot(0);
        // SAFETY: aligned words that the program writes whole.
        unsafe {
            let backup = &raw mut (*page).backups[backup as usize];
            EarlyBackup {
                probe_ns: AtomicU64::from_ptr(&raw mut (*backup).probe_ns).load(Ordering::Acquire),
                detect_ns: AtomicU64::from_ptr(&raw mut (*backup).detect_ns).load(Ordering::Acquire),
            }
        }
    }

    /// Whether the program finds somebody who vouches for the leases that need it.
    pub fn is_sponsored(&self, now: Instant) -> bool {
        let beat_ns = self.beat_at().as_nanos();
        let backups: [EarlyBackup; vipd_common::abi::MAX_EARLY_BACKUPS] =
            std::array::from_fn(|index| self.backup(index as u32));
        is_sponsored(beat_ns, &backups, now.as_nanos())
    }
}
