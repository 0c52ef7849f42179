//! `cluster_report_key`: the key of the reports between nodes.

use crate::{
    model::{config::Config, key::ReportKey},
    schema::{
        statement::{Statement, find},
        value::Value,
    },
    syntax::{diagnostic::Code, parser::SyntaxNode, report::Report},
};

const KEYWORD: &str = "cluster_report_key";

/// The key; `None` if there is none, or if [`check`] has refused it.
pub fn key(global: &[Statement]) -> Option<ReportKey> {
    match find(global, KEYWORD)?.values.first() {
        Some(Value::Secret(secret)) => ReportKey::new(secret.reveal()),
        _ => None,
    }
}

/// Whether the key is long enough, and used.
pub fn check(tree: &[SyntaxNode], config: &Config, report: &mut Report) {
    let inside = |node: &&SyntaxNode| node.words.first().is_some_and(|word| word.text == "global_defs");
    let lines = tree.iter().filter(inside).flat_map(|node| node.block.iter().flatten());
    for line in lines.filter(|line| line.words.first().is_some_and(|word| word.text == KEYWORD)) {
        let [keyword, key, ..] = &line.words[..] else { continue };
        if ReportKey::new(&key.text).is_none() {
            let message = format!("the key of `{KEYWORD}` is shorter than {} octets", ReportKey::MIN);
            let hint = "take 32 random octets, the same on every node: `openssl rand -hex 32`";
            report.error_hint(Code::BadValue, key.span, message, hint);
        } else if config.instances.iter().all(|instance| instance.cluster_report.is_none()) {
            let message = format!("`{KEYWORD}` is ignored: no instance sends reports");
            report.warning(
                Code::Ignored,
                keyword.span,
                message,
                "write `cluster_report 5`, or remove the key",
            );
        }
    }
}
