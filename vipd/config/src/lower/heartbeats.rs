//! `heartbeat_interface`: links that adverts go over besides the interface of the instance.

use vipd_common::abi::MAX_HEARTBEATS;

use super::{
    context::LowerContext,
    given::{Draft, Spanned},
    tracking::weight,
};
use crate::{
    model::instance::HeartbeatLink,
    schema::statement::{Statement, text},
    syntax::{diagnostic::Code, parser::SyntaxNode},
};

pub const KEYWORD: &str = "heartbeat_interface";

/// The links of an instance.
pub fn links(statements: &[Statement]) -> Vec<HeartbeatLink> {
    let blocks = statements.iter().filter(|block| block.keyword == KEYWORD);
    let link = |line: &Statement| HeartbeatLink {
        interface: text(&line.values, 0).to_owned(),
        weight: weight(line).filter(|weight| weight.value != 0),
    };
    blocks.flat_map(Statement::lines).map(link).collect()
}

/// The interfaces that a block names, and where.
pub fn named(block: &SyntaxNode) -> impl Iterator<Item = Spanned<String>> {
    let lines = block.block.iter().flatten().filter(|line| !line.unsupported);
    lines.filter_map(|line| line.words.first()).map(|word| Spanned::new(word.text.clone(), word))
}

/// Whether the links are links of their own, and adverts of this instance can go over them.
pub fn check(cx: &mut LowerContext<'_>) {
    let LowerContext { draft: Draft { given, title, .. }, report, .. } = cx;
    let Some(block) = given.seen_at(KEYWORD) else { return };
    if given.seen_at("unicast_peer").is_some() {
        let hint =
            "adverts to `unicast_peer` go where routes lead: give the peers a second path, or use multicast";
        let message = format!("`{KEYWORD}` with `unicast_peer`");
        report.error_hint(Code::Conflict, block, message, hint);
    }
    let own = given.values.text("interface");
    for (i, link) in given.heartbeat_links.iter().enumerate() {
        let Spanned { value: name, span } = link;
        if own.as_ref().is_some_and(|own| own.value == *name) {
            let hint = "a second line is one over another network";
            let message = format!("{name} is the interface of the instance itself");
            report.error_hint(Code::Conflict, *span, message, hint);
        }
        if let Some(first) = given.heartbeat_links[..i].iter().find(|first| first.value == *name) {
            let place = report.line_of(first.span, *span);
            let message = format!("heartbeat interface {name} is on {place} already");
            report.error_hint(Code::Duplicate, *span, message, "remove one");
        }
    }
    if let Some(beyond) = given.heartbeat_links.get(MAX_HEARTBEATS) {
        let count = given.heartbeat_links.len();
        let message = format!("{count} heartbeat interfaces of {title}, there is room for {MAX_HEARTBEATS}");
        report.error_hint(Code::TooMany, beyond.span, message, "remove the rest");
    }
}
