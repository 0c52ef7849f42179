//! Time since the start of a seed, in nanoseconds: the one scale of faults, answers and log lines.

use std::time::{Duration, Instant, SystemTime};

/// Nanoseconds since the start of the seed.
pub type Time = u64;

pub const MILLI: Time = 1_000_000;
pub const SECOND: Time = 1_000_000_000;

/// The start of a seed on two clocks.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    start: Instant,
    wall: SystemTime,
}

impl Clock {
    pub fn start() -> Self {
        Self { start: Instant::now(), wall: SystemTime::now() }
    }

    pub fn now(&self) -> Time {
        self.at(Instant::now())
    }

    /// 0 for what was before the start.
    pub fn at(&self, instant: Instant) -> Time {
        ns(instant.saturating_duration_since(self.start))
    }

    /// The same of a time on the wall, such as that of a log line.
    pub fn at_wall(&self, wall: SystemTime) -> Time {
        ns(wall.duration_since(self.wall).unwrap_or_default())
    }

    pub fn sleep_until(&self, time: Time) {
        std::thread::sleep(Duration::from_nanos(time.saturating_sub(self.now())));
    }
}

pub fn ns(duration: Duration) -> Time {
    Time::try_from(duration.as_nanos()).unwrap_or(Time::MAX)
}

pub fn millis(time: Time) -> f64 {
    time as f64 / MILLI as f64
}

pub fn seconds(time: Time) -> f64 {
    time as f64 / SECOND as f64
}
