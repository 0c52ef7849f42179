//! Runs of questions that show the same thing.

use crate::{clock::Time, watch::Question};

/// From the first to the last question of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    pub from: Time,
    pub to: Time,
    /// All that answered in it.
    pub owners: u8,
}

impl Run {
    pub fn length(self) -> Time {
        self.to - self.from
    }
}

/// A single question counts: between a takeover and the arrival of its advert both answer.
pub fn two_owners(questions: &[Question]) -> Vec<Run> {
    runs(questions, |question| question.owners.count_ones() > 1, |question| question.answered)
}

/// A single question that was lost is none.
pub fn no_owner(questions: &[Question]) -> Vec<Run> {
    runs(questions, |question| question.owners == 0, |question| question.sent)
        .into_iter()
        .filter(|run| run.length() > 0)
        .collect()
}

fn runs(questions: &[Question], like: fn(&Question) -> bool, at: fn(&Question) -> Time) -> Vec<Run> {
    let parts = questions.chunk_by(|a, b| like(a) == like(b)).filter(|part| like(&part[0]));
    let run = |part: &[Question]| {
        let owners = part.iter().fold(0, |all, question| all | question.owners);
        Run { from: at(&part[0]), to: at(&part[part.len() - 1]), owners }
    };
    parts.map(run).collect()
}
