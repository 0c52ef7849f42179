//! One check of one target: counts results, and is up or down.

use vipd_core::time::Instant;

use super::probes::KnownVerdict;
use crate::model::{CheckWeight, ProbeId, ProbeOutcome, ProbeUse};

/// The meaning of an outcome for one user of the probe.
enum Judgement {
    Pass {
        value: Option<i64>,
    },
    Fail {
        why: String,
    },
    /// No verdict: everything stays.
    Nothing,
}

/// A check and its state.
///
/// ```text
///                    fail: the first run, or more than `retry` in a row
///  start ------> up -------------------------------------------------> down <--- start, `alpha`
///                ^ (fail, forgiven: next run after `delay_before_retry`) |
///                +------- pass: the first run, or `rise` in a row -------+
/// ```
#[derive(Clone, Debug)]
pub(super) struct LiveCheck {
    pub(super) spec: ProbeUse,
    pub(super) id: ProbeId,
    pub(super) up: bool,
    /// It has had a result.
    pub(super) has_run: bool,
    /// Failures in a row while it is up, all forgiven.
    failures: u32,
    /// When the last of them came.
    counted_at: Option<Instant>,
    /// Successes in a row while it is down.
    successes: u32,
    /// With [`CheckWeight::ExitCode`] the wanted weight, with [`CheckWeight::File`] the number in the file.
    value: Option<i64>,
    /// Why it failed last.
    pub(super) why: String,
}

impl LiveCheck {
    /// A check that starts. `known`: the probe's verdict, from other users or an earlier vipd. `serving`: its target is kept and alive.
    pub(super) fn new(spec: ProbeUse, id: ProbeId, known: Option<&KnownVerdict>, serving: bool) -> Self {
        let mut check = Self {
            // A target that serves is not taken out for a check that is new: the check has no verdict yet.
            up: !spec.alpha || serving,
            spec,
            id,
            has_run: false,
            failures: 0,
            counted_at: None,
            successes: 0,
            value: None,
            why: "not checked yet".to_owned(),
        };
        if let Some(known) = known {
            // The first result counts at once, so time is of no concern.
            check.handle(&known.outcome, Instant::from_nanos(0));
        }
        check
    }

    /// The same check after a reload. Intervals and retries may differ; its verdict stands.
    pub(super) fn reloaded(self, spec: ProbeUse) -> Self {
        // One more failure is enough if they are more than the new `retry` already.
        Self { spec, ..self }
    }

    /// Takes a result, at the time that `delay_before_retry` is counted from. Returns whether that may change anything for the target: most results do not.
    pub(super) fn handle(&mut self, outcome: &ProbeOutcome, now: Instant) -> bool {
        let before = (self.up, self.has_run, self.value);
        match self.judge(outcome) {
            Judgement::Nothing => return false,
            Judgement::Pass { value } => self.passed(value),
            Judgement::Fail { why } => self.failed(why, now),
        }
        self.has_run = true;
        before != (self.up, self.has_run, self.value)
    }

    fn passed(&mut self, value: Option<i64>) {
        (self.failures, self.counted_at, self.value) = (0, None, value);
        if self.up {
            return;
        }
        self.successes += 1;
        // What has never failed has nothing to prove.
        if !self.has_run || self.successes >= self.spec.rise {
            (self.up, self.successes) = (true, 0);
        }
    }

    fn failed(&mut self, why: String, now: Instant) {
        (self.successes, self.why) = (0, why);
        if self.up && self.has_run {
            // A probe that is shared may come sooner than this check asks for.
            let early = |at| now.saturating_since(at) < self.spec.delay_before_retry;
            if self.counted_at.is_some_and(early) {
                return;
            }
            (self.failures, self.counted_at) = (self.failures + 1, Some(now));
            if self.failures <= self.spec.retry {
                return;
            }
        }
        (self.up, self.failures, self.counted_at, self.value) = (false, 0, None, None);
    }

    fn judge(&self, outcome: &ProbeOutcome) -> Judgement {
        let failed = |why: &str| Judgement::Fail { why: why.to_owned() };
        match (outcome, self.spec.weight) {
            (ProbeOutcome::NotSent(_), _) => Judgement::Nothing,
            (ProbeOutcome::Failed(why), _) => failed(why),
            (ProbeOutcome::Passed | ProbeOutcome::Exited(0), _) => Judgement::Pass { value: None },
            (ProbeOutcome::Exited(code @ 2..), CheckWeight::ExitCode) => {
                Judgement::Pass { value: Some(i64::from(code - 2)) }
            }
            (ProbeOutcome::Exited(code), _) => failed(&format!("exit code {code}")),
            (ProbeOutcome::Value(value), CheckWeight::File { weight: 0, .. }) if *value != 0 => {
                failed(&format!("value {value}"))
            }
            (ProbeOutcome::Value(value), CheckWeight::File { weight, reverse }) => {
                if file_part(*value, weight, reverse) <= -FAULT {
                    return failed(&format!("value {value} takes all weight"));
                }
                Judgement::Pass { value: Some(*value) }
            }
            (ProbeOutcome::Value(_), CheckWeight::None | CheckWeight::ExitCode) => {
                Judgement::Pass { value: None }
            }
        }
    }

    /// The part that this check adds to a target's configured weight.
    pub(super) fn weight_part(&self, configured: u32) -> i64 {
        match (self.value, self.spec.weight) {
            (None, _) | (Some(_), CheckWeight::None) => 0,
            (Some(value), CheckWeight::ExitCode) => value - i64::from(configured),
            (Some(value), CheckWeight::File { weight, reverse }) => file_part(value, weight, reverse),
        }
    }

    /// A failure has been forgiven, and the next run is to come soon.
    pub(super) const fn is_retrying(&self) -> bool {
        self.up && self.failures > 0
    }

    /// It counts as failed because it has not passed yet.
    pub(super) const fn is_waiting(&self) -> bool {
        !self.up && !self.has_run
    }
}

/// A product of at least this takes a target out.
const FAULT: i64 = 1 << 31;

fn file_part(value: i64, weight: i32, reverse: bool) -> i64 {
    let product = value.saturating_mul(i64::from(weight));
    if reverse { product.saturating_neg() } else { product }
}
