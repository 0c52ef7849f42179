//! How soon a changed interface is looked at again: at once, unless one changes all the time. PURE.
//!
//! An interface that is gone, or has another name, is out of use at once, whatever this says. What waits is its return: it attaches
//! programs, opens sockets and has instances begin anew, which scripts and peers are told of.

use std::time::Duration;

use tokio::time::Instant;

/// Changes in a row that nobody has to wait for; each one after them doubles the wait.
const PATIENT: u32 = 5;
/// What comes so soon after another is in its row.
const AGAIN: Duration = Duration::from_secs(30);
const LEAST: Duration = Duration::from_millis(200);
/// The longest wait, and the one of a row that goes on and on.
const MOST: Duration = Duration::from_secs(2);
const LASTING: u32 = 20;
const MOST_LASTING: Duration = Duration::from_secs(10);

/// The row of changes so far.
#[derive(Debug, Default)]
pub struct RebuildPace {
    in_a_row: u32,
    last: Option<Instant>,
    /// One is due then, for all changes until it.
    until: Option<Instant>,
}

/// When to look at the interfaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RebuildTime {
    Now,
    /// Said for each change until then: another look may have come first, and forgotten the one that was due.
    In(Duration),
}

impl RebuildPace {
    /// An interface in use has changed.
    pub fn changed(&mut self, now: Instant) -> RebuildTime {
        if let Some(until) = self.until.filter(|until| now < *until) {
            return RebuildTime::In(until - now);
        }
        let goes_on = self.last.is_some_and(|last| now.saturating_duration_since(last) < AGAIN);
        (self.in_a_row, self.last) = (if goes_on { self.in_a_row.saturating_add(1) } else { 1 }, Some(now));
        let Some(more) = self.in_a_row.checked_sub(PATIENT).filter(|more| *more > 0) else {
            return RebuildTime::Now;
        };
        let most = if self.in_a_row < LASTING { MOST } else { MOST_LASTING };
        let wait = LEAST.saturating_mul(2_u32.saturating_pow(more - 1)).min(most);
        self.until = Some(now + wait);
        RebuildTime::In(wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_changes_all_the_time_is_looked_at_now_and_then() {
        let (mut pace, began) = (RebuildPace::default(), Instant::now());
        let (mut waits, mut due) = (Vec::new(), began);
        for n in 0..6_000 {
            let now = began + Duration::from_millis(10) * n;
            match pace.changed(now) {
                RebuildTime::Now => waits.push(0),
                RebuildTime::In(wait) if now < due => assert_eq!(now + wait, due, "the same one"),
                RebuildTime::In(wait) => {
                    waits.push(wait.as_millis());
                    due = now + wait;
                }
            }
        }
        assert_eq!(waits[..11], [0, 0, 0, 0, 0, 200, 400, 800, 1_600, 2_000, 2_000]);
        assert!(waits.len() < 28 && waits.ends_with(&[10_000, 10_000]), "{waits:?}");
        let later = began + Duration::from_secs(120);
        assert_eq!(pace.changed(later), RebuildTime::Now, "it begins anew");
    }
}
