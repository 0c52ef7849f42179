//! One `vrrp_script`: runs at its interval, and reports when it has risen or fallen.

use std::{mem, time::Duration};

use tokio::time::{Instant, sleep_until};
use vipd_config::Script;

use super::{NewsContent, counter::Counter, result::Health};
use crate::{
    resources::PATIENCE,
    scripts::{Executable, LastRun, OUTPUT_SEPARATOR, ScriptRun},
};

/// Runs a check for ever, and starts in `health`.
///
/// A check that cannot be run because of a shortage of the host says nothing about the service: it is tried again each second, and has
/// failed after [`PATIENCE`], or after three intervals if that is longer.
pub async fn watch(script: Script, executable: Executable, health: Health, tell: impl Fn(NewsContent)) {
    let mut counter = Counter::of_script(&script, health);
    let mut before = health;
    let mut next = Instant::now();
    let mut short_since = None;
    loop {
        sleep_until(next).await;
        let run = executable.run(script.timeout).await;
        match run.outcome.shortage() {
            Some(error) => {
                let now = Instant::now();
                let since = *short_since.get_or_insert_with(|| {
                    log_shortage(&script.name, error);
                    now
                });
                if now < since + PATIENCE.max(script.interval * 3) {
                    next = now + RETRY.min(script.interval);
                    continue;
                }
            }
            None => short_since = None,
        }
        // A run that took longer than the interval takes the place of those that it has delayed.
        next = (next + script.interval).max(Instant::now() + SHORTEST_PAUSE.min(script.interval));
        tell(NewsContent::Run(LastRun::of(&run), next));
        if let Some(health) = counter.take(run.outcome.is_success()) {
            log(&script.name, mem::replace(&mut before, health), health, &run);
            tell(NewsContent::Health(health));
        }
    }
}

fn log(name: &str, before: Health, health: Health, ScriptRun { outcome, output }: &ScriptRun) {
    let output = (!output.is_empty()).then(|| output.join(OUTPUT_SEPARATOR));
    if health == Health::Well && before == Health::Unknown {
        // It had not failed.
        tracing::info!(script = name, "the first run of the check succeeded");
    } else if health == Health::Well {
        tracing::info!(target: "vipd::event", event = "check_recovered", script = name, "check succeeded");
    } else {
        tracing::warn!(
            target: "vipd::event",
            event = "check_failed",
            script = name,
            %outcome,
            output,
            "check failed"
        );
    }
}

fn log_shortage(name: &str, error: &std::io::Error) {
    tracing::warn!(
        target: "vipd::event",
        event = "check_not_run",
        script = name,
        %error,
        "the check cannot be run now: vipd keeps its last result and tries again"
    );
}

/// Wait before a check that could not be run is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// Wait between two runs of a check that takes longer than its interval.
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);
