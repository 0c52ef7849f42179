//! What is kept of the last run of a command.

use std::{fmt, os::unix::process::ExitStatusExt, time::Duration};

use tokio::time::Instant;

use super::{ScriptOutcome, ScriptRun};
use crate::control::model::RunStatus;

/// Between the lines of an output in an event.
pub const OUTPUT_SEPARATOR: &str = " | ";

/// The last run of a command.
#[derive(Clone, Debug)]
pub struct LastRun {
    /// In words, such as `exit code 1`.
    pub outcome: String,
    pub is_success: bool,
    /// `None`: it was ended by a signal, or has not run.
    pub exit_code: Option<i32>,
    pub signal: Option<i32>,
    pub timed_out: bool,
    /// The last lines that it has printed.
    pub output: Vec<String>,
    pub ended_at: Instant,
}

impl LastRun {
    /// Of a run that has just ended.
    pub fn of(run: &ScriptRun) -> Self {
        let status = if let ScriptOutcome::Exited(status) = &run.outcome { Some(status) } else { None };
        Self {
            outcome: run.outcome.to_string(),
            is_success: run.outcome.is_success(),
            exit_code: status.and_then(|status| status.code()),
            signal: status.and_then(ExitStatusExt::signal),
            timed_out: matches!(run.outcome, ScriptOutcome::TimedOut(_)),
            output: run.output.clone(),
            ended_at: Instant::now(),
        }
    }

    /// As the status shows it; `next`: when the next one is due.
    pub fn status(&self, next: Option<Instant>) -> RunStatus {
        let Self { outcome, is_success, exit_code, signal, timed_out, output, ended_at } = self;
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        RunStatus {
            outcome: outcome.clone(),
            succeeded: *is_success,
            exit_code: *exit_code,
            signal: *signal,
            timed_out: *timed_out,
            ended_ms_ago: millis(ended_at.elapsed()),
            next_in_ms: next.map(|at| millis(at.saturating_duration_since(Instant::now()))),
            output: output.clone(),
        }
    }
}

/// What has come of a run, and its last line if there is one: `exit code 1: connection refused`.
pub fn with_output(outcome: &impl fmt::Display, output: &[String]) -> String {
    match output.last() {
        Some(line) => format!("{outcome}: {line}"),
        None => outcome.to_string(),
    }
}
