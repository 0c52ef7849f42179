//! When a check has risen or fallen: after so many results in a row.

use vipd_config::{Arbiter, Script};

use super::result::Health;

/// Counts successes and failures in a row.
#[derive(Clone, Debug)]
pub struct Counter {
    rise: u32,
    fall: u32,
    /// `fall` before the first result.
    first_fall: u32,
    health: Health,
    /// Results in a row that contradict `health`.
    against: u32,
}

impl Counter {
    /// Starts in `health`; as in keepalived, one result is enough if it is unknown.
    pub fn of_script(script: &Script, health: Health) -> Self {
        Self { rise: script.rise, fall: script.fall, first_fall: 1, health, against: 0 }
    }

    /// The same, but one lost request is no result: it may be the first of a vipd that has inherited a mastership.
    pub fn of_arbiter(arbiter: &Arbiter, health: Health) -> Self {
        Self { rise: arbiter.rise, fall: arbiter.fall, first_fall: arbiter.fall, health, against: 0 }
    }

    /// Records one result; returns the health if it has changed.
    pub fn take(&mut self, success: bool) -> Option<Health> {
        let after = if success { Health::Well } else { Health::Unwell };
        if self.health == after {
            self.against = 0;
            return None;
        }
        self.against += 1;
        let enough = match (self.health, success) {
            (Health::Unknown, true) => 1,
            (Health::Unknown, false) => self.first_fall,
            (_, true) => self.rise,
            (_, false) => self.fall,
        };
        if self.against < enough {
            return None;
        }
        (self.health, self.against) = (after, 0);
        Some(after)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        for (rise, fall, first_fall, health, results, told) in [
            (1, 1, 1, Health::Unknown, "+-+-", "wuwu"),
            (3, 2, 1, Health::Unknown, "+-+--+++-", "w...u..w."),
            (3, 2, 1, Health::Unknown, "-+++", "u..w"),
            (3, 2, 1, Health::Unwell, "+++", "..w"),
            (3, 2, 1, Health::Unwell, "-+++", "...w"),
            (2, 3, 1, Health::Unknown, "+--+---", "w.....u"),
            (2, 2, 2, Health::Unknown, "-+--+-++", ".w.u...w"),
            (2, 2, 2, Health::Unknown, "--", ".u"),
            (2, 3, 3, Health::Well, "--+---", ".....u"),
        ] {
            let counter = Counter { rise, fall, first_fall, health, against: 0 };
            assert_eq!(run(counter, results), told, "{rise} {fall} {first_fall} {results}");
        }
    }
}
