//! One `vrrp_script`: run at its interval, and told of when it has risen or fallen.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::{counter::Counter, standing::Health};
use crate::{
    config::Script,
    scripts::{Executable, Outcome},
};

/// Runs a check for ever. It begins in `health`.
pub async fn watch(script: Script, executable: Executable, health: Health, tell: impl Fn(Health)) {
    let mut counter = Counter::of_script(&script, health);
    let mut next = Instant::now();
    loop {
        sleep_until(next).await;
        let outcome = executable.run(script.timeout).await;
        if let Some(health) = counter.take(outcome.is_success()) {
            log(&script.name, health, &outcome);
            tell(health);
        }
        // A run that took longer than the interval takes the place of those that it has delayed.
        next = (next + script.interval).max(Instant::now() + SHORTEST_PAUSE.min(script.interval));
    }
}

fn log(name: &str, health: Health, outcome: &Outcome) {
    if health == Health::Well {
        tracing::info!(target: "vipd::event", event = "check_recovered", script = name, "the check succeeds");
    } else {
        tracing::warn!(target: "vipd::event", event = "check_failed", script = name, %outcome, "the check fails");
    }
}

/// Between two runs of one that takes longer than its interval.
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);
