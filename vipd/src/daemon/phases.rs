//! How long each part of the start has taken, for the event `started`.

use std::{cell::RefCell, fmt, time::Duration};

use super::clock;
use crate::time::Instant;

/// The parts so far.
#[derive(Debug)]
pub struct Phases(RefCell<(Instant, Vec<Phase>)>);

/// A part of the start, and how long it has taken.
pub type Phase = (&'static str, Duration);

impl Phases {
    /// The first begins.
    pub fn begin() -> Self {
        Self(RefCell::new((clock::now(), Vec::new())))
    }

    /// One has ended, and the next begins.
    pub fn end(&self, name: &'static str) {
        let (since, phases) = &mut *self.0.borrow_mut();
        let now = clock::now();
        phases.push((name, now.saturating_since(*since)));
        *since = now;
    }

    /// The same for one that was measured in parts.
    pub fn end_with(&self, parts: &[Phase]) {
        let (since, phases) = &mut *self.0.borrow_mut();
        phases.extend_from_slice(parts);
        *since = clock::now();
    }
}

impl fmt::Display for Phases {
    /// `configuration 1.2 ms, load 30.4 ms`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (name, took)) in self.0.borrow().1.iter().enumerate() {
            let separator = if i > 0 { ", " } else { "" };
            write!(f, "{separator}{name} {:.1} ms", took.as_secs_f64() * 1e3)?;
        }
        Ok(())
    }
}
