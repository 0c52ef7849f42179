//! What has come of bringing what is there to what is desired.

use std::fmt;

use anyhow::Result;

use super::{
    attach::Lost, clock, messages::DesiredHostStates, phases::Phase, router::Router, sockets::Sockets,
};
use crate::{coordinator::InstanceId, host::Repairs, time::Instant};

/// What is done when the kernel refuses a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnRefusal {
    /// It ends: nothing runs yet.
    Stop,
    /// The rest is done all the same, and [`Outcome::problems`] names what was refused.
    GoOn,
}

/// What has come of it.
#[derive(Debug, Default)]
pub struct Outcome {
    pub changes: Changes,
    /// What was missing of it. The first time it is all of it; if nothing has changed, it is what somebody else has removed.
    pub repairs: Repairs,
    /// Where somebody else had detached the program.
    pub lost: Vec<Lost>,
    /// What the kernel has refused, to be tried again.
    pub problems: Vec<String>,
    /// An interface does not take the program: to be tried again.
    pub is_unattached: bool,
    /// If other ones are needed than before.
    pub sockets: Option<Sockets>,
    /// How long the steps have taken.
    pub phases: Vec<Phase>,
    /// How the host is for each instance.
    pub host_states: DesiredHostStates,
}

/// How what is desired differs from what was in force.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    instances: usize,
    changed: usize,
    added: usize,
    removed: usize,
}

impl Changes {
    /// Between what was in force and what is desired, of which `kept` says which routers go on.
    pub fn of(before: &[Router], now: &[Router], kept: &[Option<InstanceId>]) -> Self {
        let is_changed = |router: &&Router| {
            let same = before.iter().find(|before| before.id() == router.id());
            same.is_some_and(|before| !before.is_unchanged(router))
        };
        let going_on = now.iter().zip(kept).filter(|(_, kept)| kept.is_some()).map(|(router, _)| router);
        let going_on = going_on.collect::<Vec<_>>();
        Self {
            instances: now.len(),
            changed: going_on.iter().copied().filter(is_changed).count(),
            added: now.len() - going_on.len(),
            removed: before.len() - going_on.len(),
        }
    }

    /// Whether there are any.
    pub fn any(&self) -> bool {
        self.changed + self.added + self.removed > 0
    }
}

impl fmt::Display for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { instances, changed, added, removed } = self;
        write!(f, "{instances} instances: {changed} changed, {added} added, {removed} removed")
    }
}

/// What has come of the steps so far.
#[derive(Debug)]
pub struct Steps {
    pub on_refusal: OnRefusal,
    /// Since when the present one is under way.
    since: Instant,
    pub outcome: Outcome,
}

impl Steps {
    /// None is done yet.
    pub fn new(on_refusal: OnRefusal) -> Self {
        Self { on_refusal, since: clock::now(), outcome: Outcome::default() }
    }

    /// A step has ended, and the next begins.
    pub fn end(&mut self, name: &'static str) {
        let now = clock::now();
        self.outcome.phases.push((name, now.saturating_since(self.since)));
        self.since = now;
    }

    /// What a step has made; `None`: it was refused, and the rest is done all the same.
    pub fn note<T>(&mut self, result: Result<T>) -> Result<Option<T>> {
        match (result, self.on_refusal) {
            (Ok(made), _) => Ok(Some(made)),
            (Err(error), OnRefusal::Stop) => Err(error),
            (Err(error), OnRefusal::GoOn) => {
                self.outcome.problems.push(format!("{error:#}"));
                Ok(None)
            }
        }
    }
}
