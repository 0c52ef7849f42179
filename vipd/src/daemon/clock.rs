//! The one file that reads a clock.
#![allow(clippy::disallowed_methods, reason = "this is the file that may")]

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::time::{ClockId, clock_gettime};

use crate::time::Instant;

/// Now, on the boot-time clock.
pub fn now() -> Instant {
    let time = clock_gettime(ClockId::CLOCK_BOOTTIME).expect("Linux has had CLOCK_BOOTTIME since 2.6.39");
    Instant::from_nanos(crate::time::nanos(time.into()))
}

/// Milliseconds since 1970; for people, never for decisions.
pub fn unix_ms() -> u64 {
    u64::try_from(since_1970().as_millis()).unwrap_or(u64::MAX)
}

/// Nanoseconds since 1970; for people, never for decisions.
pub fn unix_ns() -> u64 {
    u64::try_from(since_1970().as_nanos()).unwrap_or(u64::MAX)
}

fn since_1970() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO)
}

/// Microseconds since 1970; decides nothing but whether a signed report of another node is a recent one.
pub fn unix_us() -> u64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(since_1970.as_micros()).unwrap_or(u64::MAX)
}

/// Time that this thread has had of processors, its system calls included; decides nothing but how often something is done.
pub fn thread_processor_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(Duration::ZERO, Into::into)
}
