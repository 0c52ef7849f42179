//! The tree to the model, a file for each section: what statements say, defaults, and what must fit together.

mod addressing;
mod arbiters;
mod audit;
mod audit_links;
mod balance;
mod bfd;
mod context;
mod fence;
mod garp;
mod given;
mod global;
mod grammars;
mod groups;
mod heartbeats;
mod instance;
mod lines;
mod lowering;
mod mail;
mod names;
mod notify;
pub mod origins;
mod probe;
mod reports;
mod routes;
mod startup;
mod statements;
mod strict;
mod tracked;
mod tracking;
mod unique;
mod unsupported;
mod values;
mod vmac;

use std::collections::HashSet;

use crate::{
    model::config::Config,
    schema::keyword::Block,
    source::Outside,
    syntax::{diagnostic::Code, parser::SyntaxNode, report::Report, span::Span},
};
pub use audit::{
    commands as audit_commands, files as audit_files, passwords as audit_passwords,
    unused_interfaces as audit_unused_interfaces,
};
pub use audit_links::links as audit_links;
use given::{Given, Names};
use lowering::Lowering;
use origins::Origins;
pub use unsupported::Unsupported;

/// Everything wrong goes to `report`; the configuration is of use only if there were no errors.
/// `balances`: whether services are served.
pub fn lower(
    tree: &[SyntaxNode],
    unsupported: Unsupported,
    balances: bool,
    outside: &dyn Outside,
    report: &mut Report,
) -> (Config, Origins) {
    let mut lowering = Lowering {
        report,
        unsupported,
        balances,
        global: Given::default(),
        statics: Given::default(),
        drafts: Vec::new(),
        names: Names::default(),
        noticed: HashSet::new(),
    };
    let mut top = Given::default();
    lowering.statements(tree, Block::Root, "at the top level", &mut top);
    lowering.check_taken();
    lowering.check_names(&top);
    let Lowering { report, global, statics, drafts, names, .. } = lowering;
    unique::check(&drafts, report);
    // After an error it may be the instance that could not be read.
    let serves =
        top.statements.iter().any(|statement| statement.keyword == "virtual_server" && statement.served);
    if drafts.is_empty() && !serves && !report.has_errors() {
        let start = Span { line: 1, column: 1, width: 1 };
        let hint = "vipd serves no address until there is one";
        report.warning(Code::NoInstance, start, "no vrrp_instance in this file", hint);
    }
    // Only now, because `global_defs` counts wherever it stands.
    let instances = drafts.iter().filter_map(|draft| instance::instance(draft, &global, report)).collect();
    let mut config = global::config(&global, &top, statics, &drafts, instances);
    let known = (config.instances.as_slice(), config.files.as_slice());
    config.balance = balance::services(tree, &top.statements, &global.statements, known, outside, report);
    groups::check(&config, &names.members, report);
    tracked::check_weights(&config, &drafts, &names.groups, report);
    arbiters::check(&config, &names.arbiters, report);
    probe::check(&config, &drafts, report);
    bfd::check(&config, &names.sessions, (&drafts, &names.groups), report);
    reports::check(tree, &config, report);
    let origins = Origins::new(global, top, drafts, report);
    (config, origins)
}
