//! Who vouches for this node's leases (`SPONSORS`, one entry): its daemon, and the backups that take over early. See [`crate::sponsor`].

use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::leases::MAX_LEASES;
use crate::sponsor::{EarlyBackup, is_sponsored};

/// Backups that take over early and count on one node. A power of two: the program bounds an index by a mask.
pub const MAX_EARLY_BACKUPS: usize = 16;
const WORDS: usize = MAX_LEASES as usize / 64;

/// The value of `SPONSORS`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable)]
pub struct Sponsors {
    // Written by the daemon.
    /// When it read the clock before the last probe that it has sent.
    pub beat_ns: u64,
    /// A bit for each lease that needs a sponsor: bit n % 64 of word n / 64 for lease slot n.
    pub leases: [u64; WORDS],

    // Written by the program; the daemon clears one before it leads a peer to it.
    pub backups: [EarlyBackup; MAX_EARLY_BACKUPS],
}

impl Sponsors {
    /// The word of `leases` that has the bit of a lease, and the bit.
    #[inline(always)]
    pub const fn place(slot: u32) -> (usize, u64) {
        (slot as usize / 64 % WORDS, 1 << (slot % 64))
    }

    /// Whether the lease in `slot` needs a sponsor.
    #[inline(always)]
    pub fn covers(&self, slot: u32) -> bool {
        let (word, bit) = Self::place(slot);
        self.leases[word] & bit != 0
    }

    /// Whether the lease in `slot` counts, if it stands.
    #[inline(always)]
    pub fn let_own(&self, slot: u32, now: u64) -> bool {
        !self.covers(slot) || is_sponsored(self.beat_ns, &self.backups, now)
    }
}

const _: () = {
    assert!(MAX_EARLY_BACKUPS.is_power_of_two() && WORDS.is_power_of_two());
    assert!(size_of::<Sponsors>() == 392);
    assert!(size_of::<Sponsors>().is_multiple_of(8));
};

#[cfg(test)]
mod tests {
    use zerocopy::FromZeros;

    use super::*;

    #[test]
    fn a_lease_that_needs_no_sponsor_stands_alone() {
        let backup = EarlyBackup { probe_ns: 100_000_000, detect_ns: 10_000_000 };
        let mut sponsors = Sponsors::new_zeroed();
        sponsors.backups[MAX_EARLY_BACKUPS - 1] = backup;
        let (word, bit) = Sponsors::place(77);
        sponsors.leases[word] = bit;
        for (slot, now, owns) in [(77, 105, true), (77, 110, false), (76, 110, true), (13, 110, true)] {
            assert_eq!(sponsors.let_own(slot, now * 1_000_000), owns, "{slot} {now}");
        }
        // Each slot has a bit of its own.
        let mut words = [0; WORDS];
        for (word, bit) in (0..MAX_LEASES).map(Sponsors::place) {
            assert_eq!(words[word] & bit, 0);
            words[word] |= bit;
        }
    }
}
