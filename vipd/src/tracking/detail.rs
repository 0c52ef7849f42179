//! What is known of a tracked object besides its health, and the words for it.

use tokio::time::Instant;
use vipd_config::{TrackedProcess, Weight};

use super::result::{Fault, Health};
use crate::{control::explain::becomes, scripts::LastRun};

/// What is known of a tracked object besides its health.
#[derive(Clone, Debug, Default)]
pub struct Detail {
    /// When its health became what it is; `None` before the first result.
    pub since: Option<Instant>,
    /// The last run of a check, and when the next one is due.
    pub run: Option<(LastRun, Instant)>,
    /// How many processes there are.
    pub count: Option<usize>,
    /// Why it cannot be watched.
    pub problem: Option<String>,
    /// The run with which a check has failed: ` (exit code 1): last line`.
    failed_with: String,
}

/// What something does to one instance now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effect {
    /// Keyword of its block; `interface` of an interface.
    pub keyword: &'static str,
    pub name: String,
    pub weight: Weight,
    /// What it adds to the priority.
    pub adds: i64,
    pub fault: bool,
    pub well: Option<bool>,
    /// How it is: `check chk_nginx failed (exit code 1)`.
    pub state: String,
}

impl Effect {
    /// As a fault, if it is one.
    pub(super) fn as_fault(&self) -> Fault {
        let kind = match self.keyword {
            "vrrp_script" => "check",
            "track_file" => "file",
            "vrrp_track_process" => "process",
            "bfd_instance" => "bfd",
            keyword => keyword,
        };
        let ends_when = if kind == "file" {
            format!("the number in file {} is another one", self.name)
        } else {
            becomes(self.keyword, &self.name, !self.weight.reverse)
        };
        Fault { kind, what: self.state.clone(), ends_when }
    }
}

impl Detail {
    /// Its health has become `health` at `now`.
    pub(super) fn changed(&mut self, health: Health, now: Instant) {
        self.since = Some(now);
        let failed = self.run.as_ref().filter(|_| health == Health::Unwell);
        self.failed_with = failed
            .map(|(run, _)| {
                let last = run.output.last().map(|line| format!(": {line}")).unwrap_or_default();
                format!(" ({}){last}", run.outcome)
            })
            .unwrap_or_default();
    }
}

pub(super) fn of_script(name: &str, health: Health, detail: &Detail) -> String {
    match health {
        Health::Well | Health::Value(_) => format!("check {name} succeeds"),
        Health::Unwell if detail.since.is_none() => format!("check {name} has not succeeded yet (init_fail)"),
        Health::Unwell => format!("check {name} failed{}", detail.failed_with),
        Health::Unknown => format!("check {name} has no result yet"),
    }
}

pub(super) fn of_process(process: &TrackedProcess, health: Health, detail: &Detail) -> String {
    let TrackedProcess { name, quorum, quorum_max, .. } = process;
    match (health, detail.count) {
        (Health::Well | Health::Value(_), _) => format!("process {name} runs"),
        (Health::Unwell, Some(0) | None) => format!("process {name} is not running"),
        (Health::Unwell, Some(count)) => match quorum_max {
            Some(most) if u32::try_from(count).unwrap_or(u32::MAX) > *most => {
                format!("process {name} runs {count} times, of at most {most}")
            }
            _ => format!("process {name} runs {count} times, of at least {quorum}"),
        },
        (Health::Unknown, _) => format!("process {name} has not been looked for yet"),
    }
}

pub(super) fn of_file(name: &str, health: Health, detail: &Detail) -> String {
    match (health, &detail.problem) {
        (Health::Value(value), None) => format!("file {name} has the value {value}"),
        (Health::Value(value), Some(problem)) => format!("file {name} has the value {value}: {problem}"),
        (_, _) => format!("file {name} has not been read yet"),
    }
}

pub(super) fn of_arbiter(name: &str, health: Health) -> String {
    match health {
        Health::Well | Health::Value(_) => format!("arbiter {name} is reached"),
        Health::Unwell => format!("arbiter {name} is not reached"),
        Health::Unknown => format!("arbiter {name} has no result yet"),
    }
}

pub(super) fn of_session(name: &str, health: Health, detail: &Detail) -> String {
    match (health, &detail.problem) {
        (Health::Well | Health::Value(_), None) => format!("bfd session {name} is up"),
        (Health::Well | Health::Value(_), Some(_)) => {
            format!("bfd session {name} was up when the neighbor took it out of service")
        }
        (Health::Unwell, Some(why)) => format!("bfd session {name} is down ({why})"),
        (Health::Unwell, None) => format!("bfd session {name} is down"),
        (Health::Unknown, _) => format!("bfd session {name} has not begun yet"),
    }
}

/// `up`: whether its link is; `None`: there is no such interface.
pub(super) fn of_interface(name: &str, up: Option<bool>) -> String {
    match up {
        Some(true) => format!("interface {name} is up"),
        Some(false) => format!("interface {name} is down"),
        None => format!("there is no interface {name}"),
    }
}
