//! Spans of time that faults excuse.

use std::collections::BTreeSet;

use crate::{clock::Time, cluster::Happened};

/// Faults, each with the span that it excuses.
#[derive(Debug)]
pub struct Causes(Vec<(Happened, Time, Time)>);

impl Causes {
    pub fn new(mut spans: Vec<(Happened, Time, Time)>) -> Self {
        spans.sort_by_key(|span| span.1);
        Self(spans)
    }

    /// The longest part of a span that nothing excuses.
    pub fn uncovered(&self, from: Time, to: Time) -> (Time, Time) {
        let spans: Vec<_> = self.0.iter().map(|&(_, start, end)| (start, end)).collect();
        uncovered(&spans, from, to)
    }

    /// The kinds of those that touch a span; `otherwise` if there is none.
    pub fn named(&self, from: Time, to: Time, otherwise: &str) -> String {
        let near = self.0.iter().filter(|(_, start, end)| *start <= to && from <= *end);
        let kinds: BTreeSet<_> = near.map(|(happened, ..)| happened.fault.kind()).collect();
        if kinds.is_empty() {
            otherwise.to_owned()
        } else {
            kinds.into_iter().collect::<Vec<_>>().join(" + ")
        }
    }
}

/// The longest part of a span that no other span, sorted by their starts, covers.
pub fn uncovered(spans: &[(Time, Time)], from: Time, to: Time) -> (Time, Time) {
    let mut longest = (from, from);
    let mut at = from;
    for &(start, end) in spans.iter().chain([&(to, to)]) {
        let free = start.min(to);
        if free.saturating_sub(at) > longest.1 - longest.0 {
            longest = (at, free);
        }
        at = at.max(end);
    }
    longest
}
