//! One `vrrp_script`: run at its interval, and told of when it has risen or fallen.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::standing::Health;
use crate::{
    config::Script,
    scripts::{Executable, Outcome},
};

/// Successes and failures of a check, and what they come to.
#[derive(Clone, Debug)]
pub struct Counter {
    rise: u32,
    fall: u32,
    health: Health,
    /// Results in a row that are not what `health` says.
    against: u32,
}

impl Counter {
    /// Of a check that is known to be in this health: as in keepalived, one result is enough if it is not known.
    pub fn new(script: &Script, health: Health) -> Self {
        Self { rise: script.rise, fall: script.fall, health, against: 0 }
    }

    /// Takes one result; the health if it has changed.
    pub fn take(&mut self, success: bool) -> Option<Health> {
        let after = if success { Health::Well } else { Health::Unwell };
        if self.health == after {
            self.against = 0;
            return None;
        }
        self.against += 1;
        let enough = match self.health {
            // Also one failure.
            Health::Unknown => 0,
            _ if success => self.rise,
            _ => self.fall,
        };
        if self.against < enough {
            return None;
        }
        (self.health, self.against) = (after, 0);
        Some(after)
    }
}

/// Runs a check for ever. It begins in `health`.
pub async fn watch(script: Script, executable: Executable, health: Health, tell: impl Fn(Health)) {
    let mut counter = Counter::new(&script, health);
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

#[cfg(test)]
mod tests {
    use super::*;

    fn counter(rise: u32, fall: u32, init_fail: bool) -> Counter {
        let health = if init_fail { Health::Unwell } else { Health::Unknown };
        Counter { rise, fall, health, against: 0 }
    }

    fn run(mut counter: Counter, results: &str) -> String {
        let told = |c| match counter.take(c == '+') {
            Some(Health::Well) => 'w',
            Some(_) => 'u',
            None => '.',
        };
        results.chars().map(told).collect()
    }

    #[test]
    fn it_rises_and_falls() {
        for (rise, fall, init_fail, results, told) in [
            (1, 1, false, "+-+-", "wuwu"),
            (3, 2, false, "+-+--+++-", "w...u..w."),
            (3, 2, false, "-+++", "u..w"),
            (3, 2, true, "+++", "..w"),
            (3, 2, true, "-+++", "...w"),
            (2, 3, false, "+--+---", "w.....u"),
        ] {
            assert_eq!(run(counter(rise, fall, init_fail), results), told, "{rise} {fall} {results}");
        }
    }
}
