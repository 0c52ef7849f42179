//! Who vouches for a lease when backups take over early: the second half of "does this node own the VIP now".
//!
//! A lease outlives its daemon by seconds, and a backup that takes over after a few probes does not wait for that. So with such
//! backups a node owns iff its lease stands **and** somebody vouches for it ([`is_sponsored`]): its own daemon, by the beat that it
//! stores after each probe it has sent, or the backup, by the probes that arrive. A node that can neither speak nor is spoken to falls
//! silent before a backup acts on it. The rules and the argument: `docs/internals/early-takeover.md`.
//!
//! Nobody that takes over early is known: the lease alone counts, as ever.

use zerocopy::{FromBytes, Immutable, IntoBytes};

/// By how much a sponsor is given up before its detection time is over, besides what clocks differ by.
pub const SPONSOR_MARGIN_NS: u64 = 300_000;

/// For how many detection times the way to a master may have been dark before its backup takes over early. A backup whose last answer
/// is so old, less [`ANSWER_WAY_NS`], leaves it to the down timer; and a daemon that has outlived the backup's last probe by so much needs no
/// sponsor. Three: one is the silence itself, and a backup that is not the best waits.
pub const DARK_DETECTIONS: u32 = 3;

/// More than an answer is on its way, until the engine thread of the asker has it.
pub const ANSWER_WAY_NS: u64 = 1_000_000;

/// A backup that takes over early, as this node's program knows it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable)]
pub struct EarlyBackup {
    /// When its last probe arrived; 0: none ever did.
    pub probe_ns: u64,
    /// After how long a silence it takes over, as that probe said: its interval times its multiplier.
    pub detect_ns: u64,
}

impl EarlyBackup {
    /// Takes note of one of its probes, after what it says of routers: a claim has taken the lease of the router that is claimed, and
    /// the probe vouches for the others.
    #[inline(always)]
    pub fn hear(&mut self, takes_over: bool, detect_ns: u64, now: u64) {
        *self = if takes_over { Self { probe_ns: now, detect_ns } } else { Self::default() };
    }

    /// The age at which a stamp is worth nothing any more: before the backup's detection time is over, by any two clocks that
    /// differ by 400 ppm.
    #[inline(always)]
    pub fn stale_after_ns(&self) -> u64 {
        self.detect_ns.saturating_sub(SPONSOR_MARGIN_NS + self.detect_ns / 2048)
    }

    /// Whether a stamp is that old.
    #[inline(always)]
    pub fn is_stale(&self, stamp: u64, now: u64) -> bool {
        now.saturating_sub(stamp) >= self.stale_after_ns()
    }

    /// Whether somebody vouches for this node as far as this backup is concerned; `beat_ns` is of this node's daemon.
    #[inline(always)]
    fn lets_own(&self, beat_ns: u64, now: u64) -> bool {
        if self.probe_ns == 0 {
            return true;
        }
        let is_fresh = |stamp: u64| !self.is_stale(stamp, now);
        // The daemon speaks; or the backup does, and hears the program's answers.
        is_fresh(beat_ns)
            || is_fresh(self.probe_ns)
            // Or the daemon has outlived the backup's last probe by so much that the backup, if it lives, has seen that no answer
            // comes, and will not take over early any more.
            // (No detection time comes near overflow, and the program's target has no multiplication that notices one.)
            || beat_ns > self.probe_ns.saturating_add(self.detect_ns.wrapping_mul(DARK_DETECTIONS.into()))
    }
}

/// Whether this node may answer for the VIPs of a lease that stands.
///
/// `beat_ns` is when its daemon read the clock before the last probe that it has sent. Each backup counts for itself: one that still
/// probes says nothing of another that is cut off.
#[inline(always)]
pub fn is_sponsored(beat_ns: u64, backups: &[EarlyBackup], now: u64) -> bool {
    backups.iter().all(|backup| backup.lets_own(beat_ns, now))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DETECT: u64 = 10_000_000;

    fn backup(probe_ns: u64) -> EarlyBackup {
        EarlyBackup { probe_ns, detect_ns: DETECT }
    }

    /// Each row: beat, the backups' last probes, now, and whether the node may own.
    #[test]
    fn a_lease_has_two_sponsors() {
        let ms = 1_000_000;
        let rows: &[(u64, &[u64], u64, bool)] = &[
            (0, &[], 900 * ms, true),
            (0, &[0], 900 * ms, true),
            // The daemon speaks, the backup speaks, neither.
            (100 * ms, &[50 * ms], 109 * ms, true),
            (50 * ms, &[100 * ms], 109 * ms, true),
            (100 * ms, &[100 * ms], 109 * ms, true),
            (100 * ms, &[100 * ms], 110 * ms, false),
            // Given up before the detection time is over.
            (100 * ms, &[100 * ms], 109_690_000, true),
            (100 * ms, &[100 * ms], 109_700_000, false),
            // The daemon outlived the last probe by three detection times.
            (230 * ms, &[200 * ms], 900 * ms, false),
            (230 * ms + 1, &[200 * ms], 900 * ms, true),
            // Each backup for itself.
            (100 * ms, &[105 * ms, 99 * ms], 112 * ms, false),
            (100 * ms, &[105 * ms, 60 * ms], 112 * ms, true),
            // A stamp of another CPU, a little later than this one's clock.
            (100 * ms, &[101 * ms], 100 * ms, true),
        ];
        for (beat, probes, now, owns) in rows {
            let mut backups = [EarlyBackup::default(); 2];
            probes.iter().zip(&mut backups).for_each(|(at, slot)| *slot = backup(*at));
            assert_eq!(is_sponsored(*beat, &backups[..probes.len()], *now), *owns, "{beat} {probes:?} {now}");
        }
    }

    #[test]
    fn a_stamp_is_stale_before_the_slowest_clock_has_counted_the_detection_time() {
        for detect_ns in [3_000_000, DETECT, 250_000_000, 10_000_000_000] {
            let of = EarlyBackup { probe_ns: 1, detect_ns };
            // 200 ppm slow here, 200 ppm fast there.
            let there = u128::from(of.stale_after_ns()) * 1_000_200 / 999_800;
            assert!(there + u128::from(SPONSOR_MARGIN_NS) * 99 / 100 < u128::from(detect_ns), "{detect_ns}");
        }
    }
}
