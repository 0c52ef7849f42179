//! Why each target is in or out, for status.

use std::fmt;

use super::{
    check::LiveCheck,
    service::LiveService,
    target::{DrainState, LiveTarget},
};
use crate::model::{ServiceId, TargetId};

/// A service as status shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JudgedService<'a> {
    /// Which.
    pub id: &'a ServiceId,
    /// It has its quorum.
    pub quorum_up: bool,
    /// Sum of the live weights.
    pub live_weight: u64,
    /// `quorum`, at most the sum of the weights.
    pub quorum: u64,
    /// `ha_suspend` holds its probes.
    pub suspended: bool,
    /// The sorry server serves.
    pub sorry: bool,
    /// `min_alive` is not reached, so failed targets serve too.
    pub failed_serve: bool,
    /// The targets, in the order of the configuration.
    pub targets: Vec<JudgedTarget<'a>>,
}

/// A target as status shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JudgedTarget<'a> {
    /// Which.
    pub id: TargetId,
    /// No check has failed.
    pub alive: bool,
    /// In the table; `None`: it is not there.
    pub weight: Option<u32>,
    /// The configured weight and the parts that checks add.
    pub full_weight: u32,
    /// Why.
    pub reason: TargetReason<'a>,
}

/// Why a target is in or out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetReason<'a> {
    /// It is well, and serves with its full weight.
    Serves,
    /// It has come back, and its weight rises.
    Ramp,
    /// Its weight is 0.
    NoWeight,
    /// A check failed.
    Failed {
        /// keepalived's keyword of the check.
        check: &'static str,
        /// Why.
        why: &'a str,
    },
    /// It has failed, and serves because of `min_alive`.
    FailedServes {
        /// keepalived's keyword of the check.
        check: &'static str,
        /// Why.
        why: &'a str,
    },
    /// A check with `alpha` has not passed yet.
    NotChecked,
    /// An operator has drained it.
    Draining,
    /// It was drained, and its time is over.
    Drained,
    /// It is well; the quorum is lost and the sorry server serves.
    Sorry,
}

impl fmt::Display for TargetReason<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Serves => f.write_str("serves"),
            Self::Ramp => f.write_str("has come back, its weight rises"),
            Self::NoWeight => f.write_str("weight 0"),
            Self::Failed { check, why } => write!(f, "{check}: {why}"),
            Self::FailedServes { check, why } => write!(f, "serves because of min_alive; {check}: {why}"),
            Self::NotChecked => f.write_str("not checked yet"),
            Self::Draining => f.write_str("is drained"),
            Self::Drained => f.write_str("was drained"),
            Self::Sorry => f.write_str("no quorum, the sorry server serves"),
        }
    }
}

pub(super) fn of(service: &LiveService) -> JudgedService<'_> {
    let targets = service.targets.iter().map(|target| target_view(service, target));
    JudgedService {
        id: service.id(),
        quorum_up: service.quorum_up,
        live_weight: service.live_weight(),
        quorum: service.effective_quorum,
        suspended: service.suspended,
        sorry: service.serving_sorry().is_some(),
        failed_serve: service.failed_serve,
        targets: targets.collect(),
    }
}

fn target_view<'a>(service: &'a LiveService, target: &'a LiveTarget) -> JudgedTarget<'a> {
    let published = service.published.as_ref().and_then(|published| published.targets.get(&target.config.id));
    let weight = published.filter(|there| !there.sorry).map(|there| there.weight);
    let full_weight = target.effective_weight();
    let sorry = service.serving_sorry().is_some();
    let failed = |check: &'a LiveCheck| (check.spec.probe.keyword(), check.why.as_str());
    let reason = match (target.drain, target.failed_check()) {
        (DrainState::Draining { .. }, _) => TargetReason::Draining,
        (DrainState::Ended, _) => TargetReason::Drained,
        (DrainState::No, Some(check)) if !check.has_run => TargetReason::NotChecked,
        (DrainState::No, Some(check)) => {
            let (check, why) = failed(check);
            if service.failed_serve {
                TargetReason::FailedServes { check, why }
            } else {
                TargetReason::Failed { check, why }
            }
        }
        (DrainState::No, None) if sorry => TargetReason::Sorry,
        (DrainState::No, None) if full_weight == 0 => TargetReason::NoWeight,
        (DrainState::No, None) if weight != Some(full_weight) => TargetReason::Ramp,
        (DrainState::No, None) => TargetReason::Serves,
    };
    JudgedTarget { id: target.config.id, alive: target.alive, weight, full_weight, reason }
}
