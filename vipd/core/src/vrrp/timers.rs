//! The lengths of the protocol's timers, in whole nanoseconds.

use std::time::Duration;

use vipd_common::{Priority, Version};

use super::settings::{LeasePolicy, Settings};

/// Skew_Time: how much later than the best backup one of `priority` acts.
///
/// `interval` is the master's advert interval. Exact to the nanosecond: truncating to centiseconds makes all backups
/// of a 10 ms router fire together.
pub fn skew_time(version: Version, priority: Priority, interval: Duration) -> Duration {
    let unit = match version {
        // RFC 3768 6.1: ((256 - Priority) / 256) seconds, whatever the interval.
        Version::V2 => Duration::from_secs(1),
        // RFC 9568 6.1: ((256 - Priority) * Active_Adver_Interval) / 256.
        Version::V3 => interval,
    };
    unit.saturating_mul(256 - u32::from(priority.get())) / 256
}

/// Active_Down_Interval: how long a backup waits for the master's next advert.
pub fn master_down_interval(
    version: Version,
    priority: Priority,
    interval: Duration,
    down_timer_adverts: u8,
) -> Duration {
    // RFC 9568 6.1: 3 * Active_Adver_Interval + Skew_Time.
    // DEVIATION 6.1: the 3 is keepalived's `down_timer_adverts`.
    let silence = interval.saturating_mul(u32::from(down_timer_adverts));
    silence.saturating_add(skew_time(version, priority, interval))
}

impl Settings {
    /// Skew_Time of this router under a master that advertises every `interval`.
    pub fn skew_time(&self, interval: Duration) -> Duration {
        skew_time(self.version, self.priority, interval)
    }

    /// Active_Down_Interval of this router under a master that advertises every `interval`.
    pub fn master_down_interval(&self, interval: Duration) -> Duration {
        master_down_interval(self.version, self.priority, interval, self.down_timer_adverts)
    }

    /// How long each advert we send keeps our addresses answered.
    pub fn lease_length(&self) -> Duration {
        if let Some(shared) = self.shared {
            return shared.lease_length;
        }
        let adverts = u32::from(self.down_timer_adverts)
            + match self.lease {
                LeasePolicy::Overlap => 1,
                LeasePolicy::Strict => 0,
            };
        self.advert_interval.saturating_mul(adverts)
    }

    /// How long our last renewal may be ago before XDP lets anyone who speaks replace us.
    pub fn stale_after(&self) -> Duration {
        let interval = self.shared.map_or(self.advert_interval, |shared| shared.advert_interval);
        interval + interval / 2
    }

    /// How long a leaving master waits for its successor: the slowest backup's skew time and one interval.
    pub fn leaving_bound(&self) -> Duration {
        if let Some(shared) = self.shared {
            return shared.leaving_bound;
        }
        skew_time(self.version, Priority::new(1), self.advert_interval).saturating_add(self.advert_interval)
    }

    /// Least time between two adverts sent because a rival was heard.
    pub(super) fn immediate_advert_spacing(&self) -> Duration {
        (self.advert_interval / 4).max(Duration::from_millis(10))
    }

    /// Least time between two announcements made because a rival was heard.
    pub(super) fn rival_announce_spacing(&self) -> Duration {
        self.advert_interval.min(Duration::from_secs(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ns(n: u64) -> Duration {
        Duration::from_nanos(n)
    }

    /// F-05, F-06, V-01. Values of the closed formula, computed by hand in nanoseconds.
    #[test]
    fn f05_f06_v01_skew_and_down_interval() {
        let cs = |n: u64| Duration::from_millis(10 * n);
        let s = Duration::from_secs;
        let rows = [
            // version, priority, interval, skew, down
            (Version::V3, 1, cs(1), 9_960_937, 39_960_937),
            (Version::V3, 100, cs(1), 6_093_750, 36_093_750),
            (Version::V3, 254, cs(1), 78_125, 30_078_125),
            (Version::V3, 255, cs(1), 39_062, 30_039_062),
            (Version::V3, 1, cs(10), 99_609_375, 399_609_375),
            (Version::V3, 100, cs(10), 60_937_500, 360_937_500),
            (Version::V3, 254, cs(10), 781_250, 300_781_250),
            (Version::V3, 255, cs(10), 390_625, 300_390_625),
            (Version::V3, 1, cs(100), 996_093_750, 3_996_093_750),
            (Version::V3, 100, cs(100), 609_375_000, 3_609_375_000),
            (Version::V3, 254, cs(100), 7_812_500, 3_007_812_500),
            (Version::V3, 255, cs(100), 3_906_250, 3_003_906_250),
            (Version::V3, 1, cs(4095), 40_790_039_062, 163_640_039_062),
            (Version::V3, 100, cs(4095), 24_953_906_250, 147_803_906_250),
            (Version::V3, 254, cs(4095), 319_921_875, 123_169_921_875),
            (Version::V3, 255, cs(4095), 159_960_937, 123_009_960_937),
            (Version::V2, 100, s(1), 609_375_000, 3_609_375_000),
            (Version::V2, 100, s(10), 609_375_000, 30_609_375_000),
            (Version::V2, 255, s(255), 3_906_250, 765_003_906_250),
        ];
        for (version, priority, interval, skew, down) in rows {
            let priority = Priority::new(priority);
            let row = format!("{version:?} priority {priority} interval {interval:?}");
            assert_eq!(skew_time(version, priority, interval), ns(skew), "skew: {row}");
            assert_eq!(master_down_interval(version, priority, interval, 3), ns(down), "down: {row}");
        }
    }

    /// One lease covers a group, so it is as long as that of the slowest member.
    #[test]
    fn members_of_a_group_share_the_longest_lease() {
        let settings = |ms, adverts| Settings {
            advert_interval: Duration::from_millis(ms),
            down_timer_adverts: adverts,
            ..crate::vrrp::tests::settings(100)
        };
        let mut members = [settings(100, 9), settings(300, 3)];
        Settings::share(&mut members);
        for member in members {
            assert_eq!(member.lease_length(), Duration::from_millis(1200));
            assert_eq!(member.stale_after(), Duration::from_millis(450));
            assert_eq!(member.leaving_bound(), settings(300, 3).leaving_bound());
        }
        let (alone, _) = members.split_at_mut(1);
        Settings::share(alone);
        assert_eq!(alone, [settings(100, 9)]);
    }

    /// The overlapping lease outlasts every backup's wait, the strict one ends before any.
    #[test]
    fn a_lease_stands_on_its_side_of_every_backup() {
        for interval_ms in [10, 100, 1000, 40_950] {
            for adverts in [1, 3, 30] {
                for priority in 1..=255 {
                    let interval = Duration::from_millis(interval_ms);
                    let down = master_down_interval(Version::V3, Priority::new(priority), interval, adverts);
                    let settings = |lease| Settings {
                        advert_interval: interval,
                        down_timer_adverts: adverts,
                        lease,
                        ..crate::vrrp::tests::settings(100)
                    };
                    assert!(settings(LeasePolicy::Overlap).lease_length() > down);
                    assert!(settings(LeasePolicy::Strict).lease_length() < down);
                    assert!(settings(LeasePolicy::Overlap).leaving_bound() <= interval * 2);
                }
            }
        }
    }
}
