//! The arbiters in the status.

use vipd_config::{Arbiter, IsolatedAction};

use super::{Health, TargetState};
use crate::control::model::{ArbiterStatus, TargetStatus};

/// An arbiter in the status.
pub fn arbiter_status(arbiter: &Arbiter, health: Health, targets: &[TargetState]) -> ArbiterStatus {
    ArbiterStatus {
        name: arbiter.name.clone(),
        reached: match health {
            Health::Well => Some(true),
            Health::Unwell => Some(false),
            Health::Unknown | Health::Value(_) => None,
        },
        quorum: arbiter.quorum,
        isolated_action: match arbiter.action {
            IsolatedAction::Fault => "fault",
            IsolatedAction::Lower(_) => "lower",
            IsolatedAction::None => "none",
        }
        .into(),
        interval_ms: whole(arbiter.interval.as_millis()),
        timeout_ms: whole(arbiter.timeout.as_millis()),
        targets: targets.iter().map(target_status).collect(),
    }
}

fn target_status(state: &TargetState) -> TargetStatus {
    let last = state.last.as_ref();
    TargetStatus {
        target: state.target.to_string(),
        kind: if state.target.port.is_some() { "tcp" } else { "ping" }.into(),
        answers: last.map(Result::is_ok),
        rtt_us: last.and_then(|last| last.as_ref().ok()).map(|rtt| whole(rtt.as_micros())),
        problem: last.and_then(|last| last.as_ref().err()).map(ToString::to_string),
        answered_ms_ago: state.answered_at.map(|at| whole(at.elapsed().as_millis())),
        questions: state.asked,
        answered: state.answered,
    }
}

fn whole(n: u128) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}
