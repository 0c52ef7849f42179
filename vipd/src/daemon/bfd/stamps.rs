//! Times of arrival of datagrams on the boot-time clock. The kernel stamps datagrams with the time of day, which somebody may set meanwhile.

use std::time::Duration;

use crate::time::Instant;

/// The two clocks at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockPair {
    pub boot: Instant,
    /// Nanoseconds since 1970.
    pub unix_ns: u64,
}

impl ClockPair {
    /// By how much the time of day is ahead.
    fn offset_ns(self) -> i128 {
        i128::from(self.unix_ns) - i128::from(self.boot.as_nanos())
    }
}

/// When a datagram came that the kernel stamped with `stamp_ns` since 1970. It is read `now`, and at `emptied` there was none.
///
/// If the time of day was set in between, the stamp says nothing: the datagram counts as of now, so that no session goes down for it.
pub fn arrival(stamp_ns: u64, emptied: ClockPair, now: ClockPair) -> Instant {
    let moved = (now.offset_ns() - emptied.offset_ns()).unsigned_abs();
    if moved > SLEWED.as_nanos() {
        return now.boot;
    }
    let at = i128::from(stamp_ns) - now.offset_ns();
    let at = Instant::from_nanos(u64::try_from(at.max(0)).unwrap_or(u64::MAX));
    at.max(emptied.boot).min(now.boot)
}

/// As far as the two clocks may drift apart, unless the time of day is set: 500 ppm for 20 s.
const SLEWED: Duration = Duration::from_millis(10);

#[cfg(test)]
mod tests {
    use super::*;

    /// `boot_ms` on the clock, and a time of day that is ahead by an hour and by `set_ms`.
    fn pair(boot_ms: u64, set_ms: i64) -> ClockPair {
        let unix_ms = boot_ms + 3_600_000;
        ClockPair {
            boot: Instant::from_nanos(boot_ms * 1_000_000),
            unix_ns: unix_ms.saturating_add_signed(set_ms) * 1_000_000,
        }
    }

    #[test]
    fn a_stamp_says_when_unless_the_time_of_day_was_set() {
        let emptied = pair(10_000, 0);
        for (what, stamp_ms, set_ms, wanted_ms) in [
            ("as it is", 12_000, 0, 12_000),
            ("slewed", 12_000, 5, 11_995),
            ("set forward by an hour", 12_000, 3_600_000, 13_000),
            ("set back by half an hour", 12_000, -1_800_000, 13_000),
            ("set forward by 2 s after it came", 12_000, 2_000, 13_000),
            ("before the socket was empty", 9_000, 0, 10_000),
            ("to come", 14_000, 0, 13_000),
        ] {
            let stamp_ns = (stamp_ms + 3_600_000) * 1_000_000;
            let at = arrival(stamp_ns, emptied, pair(13_000, set_ms));
            assert_eq!(at.as_nanos() / 1_000_000, wanted_ms, "{what}");
        }
    }
}
