//! The time of the world, and what the clock of a node makes of it.

use std::time::Duration;

use vipd_core::time::Instant;

/// Nanoseconds of the world's own time.
pub type Time = u64;

pub const SECOND: Time = 1_000_000_000;
pub const MILLI: Time = 1_000_000;
pub const MICRO: Time = 1_000;

/// Nanoseconds of a duration.
pub fn ns(d: Duration) -> Time {
    d.as_nanos() as Time
}

const MILLION: i128 = 1_000_000;

/// A node's boot-time clock: it starts anywhere and runs a little fast or slow.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    world: Time,
    local: u64,
    /// Parts per million by which it runs fast.
    ppm: i128,
}

impl Clock {
    pub fn new(world: Time, local: u64, ppm: i32) -> Self {
        Self { world, local, ppm: ppm.into() }
    }

    /// What the clock shows at `at`.
    pub fn read(&self, at: Time) -> Instant {
        if let Some(local) = self.read_soon(at) {
            return Instant::from_nanos(local);
        }
        let passed = i128::from(at) - i128::from(self.world);
        let local = i128::from(self.local) + (passed * (MILLION + self.ppm)).div_euclid(MILLION);
        Instant::from_nanos(local.max(0) as u64)
    }

    /// The same for a year from `world` on, in fewer steps.
    fn read_soon(&self, at: Time) -> Option<u64> {
        const YEAR: Time = 365 * 86_400 * SECOND;
        let passed = i64::try_from(at.checked_sub(self.world).filter(|passed| *passed < YEAR)?).ok()?;
        let drift = (passed * self.ppm as i64).div_euclid(MILLION as i64);
        self.local.checked_add(passed as u64)?.checked_add_signed(drift)
    }

    /// The first moment at which the clock shows `local` or later.
    pub fn when(&self, local: Instant) -> Time {
        let wanted = i128::from(local.as_nanos()) - i128::from(self.local);
        let passed = match i64::try_from(wanted).ok().and_then(|wanted| wanted.checked_mul(MILLION as i64)) {
            Some(wanted) => wanted.div_euclid((MILLION + self.ppm) as i64).into(),
            None => (wanted * MILLION).div_euclid(MILLION + self.ppm),
        };
        let mut at = (i128::from(self.world) + passed).clamp(0, u64::MAX.into()) as Time;
        while self.read(at) < local && at < u64::MAX {
            at += 1;
        }
        at
    }

    /// Has stood still since it showed `local`, and goes on at `at`.
    pub fn resume(&mut self, local: Instant, at: Time) {
        (self.world, self.local) = (at, local.as_nanos());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn when_inverts_read() {
        for ppm in [-200, 0, 1, 200] {
            let clock = Clock::new(5 * SECOND, 77 * SECOND, ppm);
            for local in [77 * SECOND, 78 * SECOND + 1, 1_000 * SECOND + 12_345] {
                let at = clock.when(Instant::from_nanos(local));
                assert!(clock.read(at) >= Instant::from_nanos(local));
                assert!(clock.read(at - 1) < Instant::from_nanos(local), "{ppm} {local}");
            }
        }
    }
}
