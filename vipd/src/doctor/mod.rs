//! `vipd doctor`: finds problems of a host and prints their remedies.
//!
//! [`Facts::gather`] reads the host and changes nothing. [`judge`] is a function of these facts, without files, sockets or a clock. A fact
//! that could not be read is a finding too: `skipped`, with the reason.

mod balancing;
mod bfd;
mod configuration;
mod conntrack;
mod early;
mod facts;
mod firewall;
mod gather;
mod heartbeats;
mod kernel;
mod leftovers;
mod links;
mod probes;
mod real_servers;
mod routers;
mod routing;
mod services;
mod unicast;
mod upkeep;

#[cfg(test)]
mod tests;

use std::fmt;

use serde::Serialize;

pub use facts::{Broken, Facts, InterfaceSettings, MachineFacts, ProgramSupport, Unanswered};
pub use gather::FactSources;

/// Severity of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    Ok,
    /// Not checked.
    Skipped,
    /// It works, but not as well, or not always.
    Warning,
    /// It does not work.
    Problem,
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ok => "ok",
            Self::Skipped => "skipped",
            Self::Warning => "warning",
            Self::Problem => "problem",
        })
    }
}

/// Result of one check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Subject: `kernel`, an interface, an instance and so on.
    pub about: String,
    /// Name of the check, which never changes.
    pub check: &'static str,
    pub level: Level,
    pub what: String,
    /// Remedy; `None` if there is nothing to do.
    pub fix: Option<String>,
}

/// All findings, in the best order for a repair.
pub fn judge(facts: &Facts) -> Vec<Finding> {
    let mut findings = Findings::default();
    kernel::judge(facts, &mut findings);
    configuration::judge(facts, &mut findings);
    links::judge(facts, &mut findings);
    heartbeats::judge(facts, &mut findings);
    bfd::judge(facts, &mut findings);
    probes::judge(facts, &mut findings);
    early::judge(facts, &mut findings);
    unicast::judge(facts, &mut findings);
    routing::judge(facts, &mut findings);
    upkeep::judge(facts, &mut findings);
    services::judge(facts, &mut findings);
    balancing::judge(facts, &mut findings);
    real_servers::judge(facts, &mut findings);
    conntrack::judge(facts, &mut findings);
    firewall::judge(facts, &mut findings);
    leftovers::judge(facts, &mut findings);
    routers::judge(facts, &mut findings);
    findings.0
}

/// The findings so far.
#[derive(Debug, Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn ok(&mut self, about: &str, check: &'static str, what: impl Into<String>) {
        self.add(about, check, Level::Ok, what.into(), None);
    }

    fn skipped(&mut self, about: &str, check: &'static str, why: impl Into<String>) {
        self.add(about, check, Level::Skipped, why.into(), None);
    }

    fn warning(&mut self, about: &str, check: &'static str, what: impl Into<String>, fix: impl Into<String>) {
        self.add(about, check, Level::Warning, what.into(), Some(fix.into()));
    }

    fn problem(&mut self, about: &str, check: &'static str, what: impl Into<String>, fix: impl Into<String>) {
        self.add(about, check, Level::Problem, what.into(), Some(fix.into()));
    }

    fn add(&mut self, about: &str, check: &'static str, level: Level, what: String, fix: Option<String>) {
        self.0.push(Finding { about: about.to_owned(), check, level, what, fix });
    }
}
