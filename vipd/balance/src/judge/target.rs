//! One target of a service: alive or not, drained or not, and with which weight.

use std::time::Duration;

use vipd_core::time::Instant;

use super::check::LiveCheck;
use crate::{
    desired::DesiredTarget,
    model::{MAX_WEIGHT, ServiceTarget},
    notice::TargetCause,
};

/// Whether an operator has taken a target out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DrainState {
    /// No.
    No,
    /// It keeps its connections, until then if there is a limit.
    Draining { until: Option<Instant> },
    /// It keeps nothing.
    Ended,
}

/// A target and its state.
#[derive(Clone, Debug)]
pub(super) struct LiveTarget {
    pub(super) config: ServiceTarget,
    pub(super) checks: Vec<LiveCheck>,
    /// No check has failed, as of the last notice.
    pub(super) alive: bool,
    /// It has been told to be down.
    told_down: bool,
    /// Its weight rises when it comes up: it has been up before, or the others serve already.
    ramps: bool,
    pub(super) drain: DrainState,
    /// Since when its weight rises.
    pub(super) ramp_from: Option<Instant>,
    /// The effective weight as of the last notice.
    pub(super) weight_told: u32,
}

impl LiveTarget {
    /// A target that starts.
    pub(super) fn new(config: ServiceTarget, checks: Vec<LiveCheck>) -> Self {
        let alive = checks.iter().all(|check| check.up);
        let mut target = Self {
            config,
            checks,
            alive,
            told_down: false,
            ramps: alive,
            drain: DrainState::No,
            ramp_from: None,
            weight_told: 0,
        };
        target.weight_told = target.effective_weight();
        target
    }

    /// The same target after a reload.
    pub(super) fn reloaded(self, config: ServiceTarget, checks: Vec<LiveCheck>) -> Self {
        Self { config, checks, ..self }
    }

    /// It comes to others that serve already.
    pub(super) const fn join(&mut self, now: Instant) {
        (self.ramps, self.ramp_from) = (true, Some(now));
    }

    /// The check that keeps it down; one that has run rather than one that has not.
    pub(super) fn failed_check(&self) -> Option<&LiveCheck> {
        let down = || self.checks.iter().filter(|check| !check.up);
        down().find(|check| check.has_run).or_else(|| down().next())
    }

    /// Whether it is down only because checks with `alpha` have not passed yet.
    pub(super) fn is_waiting(&self) -> bool {
        !self.alive && self.checks.iter().all(|check| check.up || check.is_waiting())
    }

    /// Judges its checks anew. `Some(up)` if that is to be told.
    pub(super) fn judge(&mut self, now: Instant) -> Option<bool> {
        let alive = self.checks.iter().all(|check| check.up);
        if alive == self.alive {
            // With `alpha` the first failure changes nothing, and is told.
            let failed = self.checks.iter().any(|check| !check.up && check.has_run);
            let tell = !alive && failed && !self.told_down;
            self.told_down |= tell;
            return tell.then_some(false);
        }
        (self.alive, self.told_down) = (alive, !alive);
        if alive {
            self.ramp_from = self.ramps.then_some(now);
            self.ramps = true;
        }
        Some(alive)
    }

    /// Why it is as [`judge`](Self::judge) has found it. `by`: the check that has just changed.
    pub(super) fn cause(&self, up: bool, by: Option<usize>) -> TargetCause<'_> {
        let by = by.and_then(|check| self.checks.get(check));
        match (up, by) {
            (true, Some(check)) => TargetCause::Passed(&check.spec.probe),
            (true, None) => TargetCause::NoCheckFails,
            (false, _) => self.failed_check().map_or(TargetCause::NoCheckFails, |check| {
                TargetCause::Failed(&check.spec.probe, &check.why)
            }),
        }
    }

    /// The configured weight and the parts of the checks, within 0 to 2^31 - 1.
    pub(super) fn effective_weight(&self) -> u32 {
        let configured = self.config.weight;
        let parts = self.checks.iter().map(|check| check.weight_part(configured));
        let sum = parts.fold(i64::from(configured), i64::saturating_add);
        u32::try_from(sum.clamp(0, i64::from(MAX_WEIGHT))).unwrap_or(0)
    }

    /// Its weight for the quorum: 0 while it is down or drained. A rising weight counts in full.
    pub(super) fn live_weight(&self) -> u64 {
        let counts = self.alive && self.drain == DrainState::No;
        if counts { u64::from(self.effective_weight()) } else { 0 }
    }

    /// The weight as it rises, at least 1 of a weight that is not 0.
    pub(super) fn ramped_weight(&self, ramp: Duration, now: Instant) -> u32 {
        let full = self.effective_weight();
        let Some(step) = self.ramp_step(ramp, now) else { return full };
        let part = u64::from(full) * (step + 1) / RAMP_STEPS;
        u32::try_from(part).unwrap_or(full).max(full.min(1))
    }

    /// Which step of the ramp it is on, from 0; `None`: none.
    fn ramp_step(&self, ramp: Duration, now: Instant) -> Option<u64> {
        let step_ns = ramp_step_ns(ramp)?;
        let step = now.saturating_since(self.ramp_from?).as_nanos() / u128::from(step_ns);
        u64::try_from(step).ok().filter(|step| *step + 1 < RAMP_STEPS)
    }

    /// When time changes something, after `now`.
    pub(super) fn due(&self, ramp: Duration, now: Instant) -> Option<Instant> {
        let drain = match self.drain {
            DrainState::Draining { until } => until.filter(|until| *until > now),
            DrainState::No | DrainState::Ended => None,
        };
        let ramp = self.alive.then(|| {
            let (step, step_ns) = (self.ramp_step(ramp, now)?, ramp_step_ns(ramp)?);
            Some(self.ramp_from? + Duration::from_nanos(step_ns.saturating_mul(step + 1)))
        });
        drain.into_iter().chain(ramp.flatten()).min()
    }

    /// As it is to be in the table with `weight`.
    pub(super) const fn desired(&self, weight: u32) -> DesiredTarget {
        DesiredTarget {
            weight,
            forward: self.config.forward,
            upper_threshold: self.config.upper_threshold,
            lower_threshold: self.config.lower_threshold,
            sorry: false,
        }
    }
}

/// Steps of a ramp: few, because some schedulers build a table for each.
const RAMP_STEPS: u64 = 10;

/// Length of one step; `None` without a ramp.
fn ramp_step_ns(ramp: Duration) -> Option<u64> {
    let step = vipd_core::time::nanos(ramp) / RAMP_STEPS;
    (step > 0).then_some(step)
}
