//! Checks of a target: uses of probes, and the outcomes of probes.

use std::time::Duration;

use super::ProbeSpec;

/// Outcome of one run of a probe.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ProbeOutcome {
    /// The target answered as it should.
    Passed,
    /// It did not; why, in lower case: `connection refused`.
    Failed(String),
    /// MISC_CHECK: the command exited with this code.
    Exited(u8),
    /// FILE_CHECK: the number in the file; 0 if there is no file.
    Value(i64),
    /// The probe could not be sent, for a reason of this host: no verdict. Why, in lower case.
    NotSent(String),
}

/// Effect of a probe's number on a target's weight.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum CheckWeight {
    /// Nothing.
    #[default]
    None,
    /// `misc_dynamic`: exit code 2 to 255 makes the weight code - 2, 0 makes it the configured one.
    ExitCode,
    /// FILE_CHECK: the number times this is added to the weight.
    File {
        /// `weight`, -(2^31 - 1) to 2^31 - 1. With 0 the check fails if the number is not 0.
        weight: i32,
        /// `reverse`: the product is subtracted. Without effect if `weight` is 0.
        reverse: bool,
    },
}

/// One check of a target: a probe, and how its results are counted. Targets with equal probes share them, each counts for itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeUse {
    /// The probe, which equal checks share.
    pub probe: ProbeSpec,
    /// Effect of the probe's number.
    pub weight: CheckWeight,
    /// `alpha`: the check counts as failed until it has passed once.
    pub alpha: bool,
    /// `retry`: failures in a row that are forgiven while the check is up. The check's first run is not.
    pub retry: u32,
    /// vipd's `rise`, from 1: successes in a row that a failed check needs. keepalived knows 1 only.
    pub rise: u32,
    /// `delay_loop`: pause between runs. From 1 us.
    pub delay_loop: Duration,
    /// `delay_before_retry`: pause after a failure that is forgiven. Sooner failures of a shared probe do not count.
    pub delay_before_retry: Duration,
    /// `warmup`: the first run comes after [`FIRST_PROBE_DELAY`](crate::FIRST_PROBE_DELAY) and a part of this.
    pub warmup: Duration,
}

impl ProbeUse {
    /// A check with keepalived's defaults for its kind. The `delay_before_retry` of DNS_CHECK is its `delay_loop`: set both.
    pub fn new(probe: ProbeSpec) -> Self {
        let delay_loop = Duration::from_secs(60);
        let (retry, delay_before_retry) = match &probe {
            ProbeSpec::Dns { .. } => (3, delay_loop),
            ProbeSpec::Misc { .. } => (0, Duration::from_secs(1)),
            ProbeSpec::Http { .. } => (1, Duration::from_secs(3)),
            // These act at once: their results are changes.
            ProbeSpec::File { .. } | ProbeSpec::Bfd { .. } => (0, Duration::ZERO),
            ProbeSpec::Tcp { .. }
            | ProbeSpec::Smtp { .. }
            | ProbeSpec::Udp { .. }
            | ProbeSpec::Ping { .. }
            | ProbeSpec::Text { .. } => (1, Duration::from_secs(1)),
        };
        Self {
            probe,
            weight: CheckWeight::None,
            alpha: false,
            retry,
            rise: 1,
            delay_loop,
            delay_before_retry,
            warmup: delay_loop,
        }
    }
}
