//! Reads keepalived's configuration language into a configuration that cannot hold an invalid value.
//!
//! Text goes through `expand` (includes, conditions, definitions and generators), `lexer` (words), `parser` (a tree of statements), `lower` (the tree against the table
//! in `keywords`, giving `settings`; `sections` for what has no engine) and `validate` (settings that must fit together, giving `model`). Everything
//! wrong in a file is reported at once, each with its place. There is no clock, socket or task here; what a file asks of
//! the machine (other files, the environment, random numbers) it asks through [`Outside`].

mod arbiters;
mod audit;
mod command;
mod diagnostic;
mod dumps;
mod expand;
mod explain;
mod fence;
mod grammar;
mod groups;
mod heartbeats;
mod keywords;
mod lexer;
mod lines;
mod lower;
mod mail;
mod model;
mod parser;
mod report;
mod routes;
mod running;
mod scripts;
mod sections;
mod settings;
pub mod statement;
mod tracking;
mod validate;
mod values;
mod vmac;

#[cfg(test)]
mod tests;

use std::path::Path;

pub use arbiters::{Arbiter, IsolatedAction, Target};
pub use diagnostic::{Code, Diagnostic, Failure, Severity};
pub use dumps::Dumps;
pub use expand::{Nothing, Outside};
pub use explain::{Origins, explain, print};
pub use explain::{route, rule};
pub use fence::Fence;
pub use grammar::{Secret, Value};
pub use groups::SyncGroup;
pub use lower::Unsupported;
pub use mail::Mail;
pub use model::{
    Auth, Config, Garp, Hop, Instance, LeasePolicy, Prefix, RouteKind, RuleAction, Statement, Unicast,
    UnicastPeer, Vip, VirtualRoute, VirtualRule, WantedState,
};
pub use running::{XdpMode, XdpModes};
pub use scripts::{Account, Command, Deleted, Fifo, Notify, ScriptPolicy, Told};
pub use tracking::{
    LinkDelay, ParamMatch, Script, Track, Tracked, TrackedFile, TrackedProcess, Tracking, Weight,
};

use report::Report;

/// A configuration that can be run, and what its author may want to know about it.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    pub config: Config,
    /// Warnings and notices in the order of the file.
    pub warnings: Vec<Diagnostic>,
    /// Where what the configuration says was said.
    pub origins: Origins,
}

/// Reads and checks the file at `path`, and what it includes; `outside` is the machine it is for.
///
/// # Errors
///
/// The file cannot be read, or what it says cannot be run.
pub fn load(path: &Path, outside: &dyn Outside, unsupported: Unsupported) -> Result<Loaded, Failure> {
    match outside.read(path) {
        // Comments in other encodings are common and harmless; the lexer refuses such bytes in a word.
        Ok(bytes) => parse(path, &String::from_utf8_lossy(&bytes), outside, unsupported),
        Err(error) => Err(Failure::unreadable(&path.display().to_string(), &error)),
    }
}

/// Checks `text` as if it were in the file at `path`.
pub fn parse(
    path: &Path,
    text: &str,
    outside: &dyn Outside,
    unsupported: Unsupported,
) -> Result<Loaded, Failure> {
    let mut report = Report::default();
    let lines = expand::expand(path, text, outside, &mut report);
    let items = lexer::lex(lines, &mut report);
    report.hide_secrets(&items);
    let tree = parser::parse(items, &mut report);
    let (config, origins) = lower::lower(&tree, unsupported, &mut report);
    audit::commands(&tree, outside, &mut report);
    audit::passwords(&tree, outside, &mut report);
    let failed = report.has_errors();
    let mut diagnostics = audit::files(report.files(), outside);
    diagnostics.extend(report.finish());
    if failed { Err(Failure { diagnostics }) } else { Ok(Loaded { config, warnings: diagnostics, origins }) }
}
