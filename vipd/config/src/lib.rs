//! Reads keepalived's configuration language into a configuration that cannot hold an invalid value.
//!
//! There is no clock, socket, file or task here: what a file asks of the machine (other files, the environment, random numbers,
//! users) it asks through [`Outside`]. Everything wrong in a file is reported at once, each finding with its place.
//!
//! The layers, in the order in which text goes through them; `tests/layers.rs` checks who imports whom:
//!
//! - `source`: text to lines that know where they come from (includes, conditions, definitions, generators);
//! - `syntax`: lines to words, words to a tree of statements; diagnostics;
//! - `schema`: the keywords, a row each: what may follow, what absence means, whether vipd does it;
//! - `lower`: the tree against the schema, to the model;
//! - `model`: the configuration as vipd uses it, plain values;
//! - `explain`: the model as the language has it, each value with its place;
//! - `compare`: how two configurations differ, by the lines of `explain`.

mod compare;
mod explain;
mod lower;
mod model;
mod schema;
mod source;
mod syntax;

#[cfg(test)]
mod tests;

use std::path::Path;

pub use compare::{Change, Comparison, compare};
pub use explain::{explain, print, route, rule};
pub use lower::{Unsupported, origins::Origins};
pub use model::{
    address::{Prefix, Unicast, UnicastPeer, Vip},
    arbiter::{Arbiter, IsolatedAction, Target},
    bfd::BfdInstance,
    command::{Account, Command, ScriptPolicy},
    config::Config,
    dump::Dumps,
    fence::Fence,
    garp::Garp,
    group::SyncGroup,
    instance::{Auth, HeartbeatLink, Instance, LeasePolicy, WantedState},
    key::ReportKey,
    listen::MetricsListen,
    lvs::{ConnectionSync, FlushScope, LvsSettings, LvsTimeouts},
    mail::Mail,
    notify::{Deleted, Fifo, Notify, NotifySettings},
    probe::Probe,
    route::{Hop, RouteKind, RuleAction, VirtualRoute, VirtualRule},
    startup::{Startup, TimedCommand},
    tracking::{
        LinkDelay, ParamMatch, Script, Track, TrackLine, Tracked, TrackedFile, TrackedProcess, Tracking,
        Tracks,
    },
    weight::Weight,
    xdp::{XdpMode, XdpModes},
};
pub use source::{HostInterface, Nothing, Outside};
pub use syntax::diagnostic::{Code, Diagnostic, Failure, Severity};

use schema::keyword::BALANCES;
use syntax::{brackets, lexer, parser, report::Report};

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
    parse_as(path, text, outside, unsupported, BALANCES)
}

/// `balances`: whether services are served.
fn parse_as(
    path: &Path,
    text: &str,
    outside: &dyn Outside,
    unsupported: Unsupported,
    balances: bool,
) -> Result<Loaded, Failure> {
    let mut report = Report::default();
    let lines = source::expand(path, text, outside, &mut report);
    let items = lexer::lex(lines, &mut report);
    report.hide_secrets(&items);
    let items = brackets::mend(items, &mut report);
    let tree = parser::parse(items, &mut report);
    let (config, origins) = lower::lower(&tree, unsupported, balances, outside, &mut report);
    lower::audit_commands(&tree, outside, balances, &mut report);
    lower::audit_passwords(&tree, outside, &mut report);
    lower::audit_unused_interfaces(&tree, &config, &mut report);
    lower::audit_links(&tree, &config, outside, &mut report);
    let failed = report.has_errors();
    let mut diagnostics = lower::audit_files(report.files(), outside);
    diagnostics.extend(report.finish());
    if failed { Err(Failure { diagnostics }) } else { Ok(Loaded { config, warnings: diagnostics, origins }) }
}
