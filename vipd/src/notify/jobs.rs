//! The queue of notify scripts of an instance or sync group, and which of its entries are outdated.

use std::{collections::VecDeque, rc::Rc};

use super::{Change, ConflictKind, RunnableScripts};
use crate::coordinator::StateName;

/// Changes that wait for the scripts of one instance or group. Of more, only the newest of each kind is kept, so that slow scripts
/// learn the current state.
pub const JOBS: usize = 16;

/// RunnableScripts to run. They are those of the configuration at the time of the change.
#[derive(Debug)]
pub struct Job {
    pub scripts: Rc<RunnableScripts>,
    pub change: Change,
    pub priority: u8,
    /// Name of the instance that has changed.
    pub instance: String,
}

/// Of two jobs of the same kind the newer one replaces the older one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum JobKind {
    State,
    /// The end of an instance; its last state before is delivered too.
    End,
    LowerHeard,
    Priority,
    /// A conflict of an instance, with any rival.
    SplitBrain,
    AddressConflict,
}

impl JobKind {
    fn of(change: Change) -> Self {
        match change {
            Change::State(StateName::Stopped) | Change::Deleted => Self::End,
            Change::State(_) | Change::Inherited(_) => Self::State,
            Change::LowerHeard => Self::LowerHeard,
            Change::Priority(_) => Self::Priority,
            Change::Conflict(conflict) => match conflict.kind {
                ConflictKind::SplitBrain | ConflictKind::SplitBrainOver => Self::SplitBrain,
                ConflictKind::AddressConflict => Self::AddressConflict,
            },
        }
    }
}

impl Job {
    fn news(&self) -> (JobKind, Option<&str>) {
        let news = JobKind::of(self.change);
        // A group has one state, and is told of each instance's conflicts.
        let of_instance = matches!(news, JobKind::SplitBrain | JobKind::AddressConflict);
        (news, of_instance.then_some(self.instance.as_str()))
    }
}

/// Keeps the newest of each kind, in their order.
pub fn keep_newest(jobs: &mut VecDeque<Job>, _: usize) {
    let mut newest = VecDeque::new();
    while let Some(job) = jobs.pop_back() {
        if newest.iter().any(|newer: &Job| newer.news() == job.news()) {
            continue;
        }
        newest.push_front(job);
    }
    *jobs = newest;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::Conflict;

    fn kept(changes: &[(Change, &str)]) -> Vec<(Change, String)> {
        let scripts = Rc::new(RunnableScripts::none());
        let job = |(change, instance): &(Change, &str)| Job {
            scripts: Rc::clone(&scripts),
            change: *change,
            priority: 0,
            instance: (*instance).to_owned(),
        };
        let mut jobs: VecDeque<Job> = changes.iter().map(job).collect();
        keep_newest(&mut jobs, JOBS);
        jobs.into_iter().map(|job| (job.change, job.instance)).collect()
    }

    #[test]
    fn the_newest_of_each_kind_is_kept_in_order() {
        use StateName::{Backup, Fault, Master, Stopped};
        let state = Change::State;
        let conflict = |kind| {
            let mac = vipd_common::wire::eth::MacAddr([2, 0, 0, 0, 0, 5]);
            Change::Conflict(Conflict {
                kind,
                vip: [10, 0, 0, 3].into(),
                our_mac: mac,
                our_address: None,
                their_mac: mac,
                their_address: None,
            })
        };
        let (split, over) = (conflict(ConflictKind::SplitBrain), conflict(ConflictKind::SplitBrainOver));
        for (changes, expect) in [
            (vec![], vec![]),
            (
                vec![(state(Master), "A"), (state(Fault), "A"), (state(Backup), "A")],
                vec![(state(Backup), "A")],
            ),
            // At the end the last state and the end.
            (
                vec![(state(Fault), "A"), (state(Master), "A"), (state(Stopped), "A")],
                vec![(state(Master), "A"), (state(Stopped), "A")],
            ),
            (
                vec![
                    (state(Stopped), "A"),
                    (Change::Priority(Master), "A"),
                    (state(Master), "A"),
                    (Change::Deleted, "A"),
                ],
                vec![(Change::Priority(Master), "A"), (state(Master), "A"), (Change::Deleted, "A")],
            ),
            // The end of a conflict is its newest news, for each instance of a group.
            (
                vec![
                    (split, "A"),
                    (split, "B"),
                    (over, "A"),
                    (state(Master), "A"),
                    (Change::LowerHeard, "A"),
                ],
                vec![(split, "B"), (over, "A"), (state(Master), "A"), (Change::LowerHeard, "A")],
            ),
        ] {
            let expect: Vec<_> =
                expect.into_iter().map(|(change, name): (Change, &str)| (change, name.to_owned())).collect();
            assert_eq!(kept(&changes), expect, "{changes:?}");
        }
    }
}
