//! What a reload changes, for those who asked and for the log.

use vipd_config::{Change, Comparison};

use crate::control::{Difference, Differences};

/// Changes that the log shows of a reload.
const LOGGED: usize = 16;

/// For those who asked.
pub fn differences(comparison: &Comparison, warnings: Vec<String>) -> Differences {
    let changes = comparison.changes.iter().map(difference).collect();
    Differences { what: comparison.to_string(), changes, warnings }
}

fn difference(change: &Change) -> Difference {
    let text = change.to_string();
    let Change { instance, place, keyword, before, after, effect } = change.clone();
    let kind = match (&before, &after) {
        (Some(_), Some(_)) => "changed",
        (None, _) => "added",
        (_, None) => "removed",
    };
    let effect = effect.map(str::to_owned);
    Difference { kind: kind.to_owned(), instance, place, keyword, before, after, effect, text }
}

/// For the log: the first ones; `None`: there are none.
pub fn first(comparison: &Comparison) -> Option<String> {
    let changes = &comparison.changes;
    let mut shown: Vec<String> = changes.iter().take(LOGGED).map(ToString::to_string).collect();
    let more = changes.len().saturating_sub(LOGGED);
    shown.extend((more > 0).then(|| format!("and {more} more")));
    (!shown.is_empty()).then(|| shown.join("; "))
}
