//! `heartbeat_interface`: lines that adverts go over besides the interface of the instance.

use vipd_common::abi::MAX_HEARTBEATS;

use super::{
    diagnostic::Code,
    lower::Draft,
    model::{Instance, Statement},
    parser::Node,
    report::Report,
    settings::Spanned,
    statement::text,
    tracking::{Track, Tracked, Weight},
};

pub const KEYWORD: &str = "heartbeat_interface";

impl Instance {
    /// Interfaces that adverts go out of and are heard on besides its own: [`MAX_HEARTBEATS`] at most, all different.
    pub fn heartbeats(&self) -> impl Iterator<Item = &str> {
        let blocks = self.statements.iter().filter(|block| block.keyword == KEYWORD);
        blocks.flat_map(Statement::lines).map(|line| text(&line.values, 0))
    }

    /// Whether the state of a heartbeat line is to change its priority.
    pub fn weighs_heartbeats(&self) -> bool {
        weighed(&self.statements).next().is_some()
    }
}

/// Heartbeat lines with a weight. Without one nothing depends on a line: that it is down is no FAULT.
pub fn weighed(statements: &[Statement]) -> impl Iterator<Item = Track> {
    let blocks = statements.iter().filter(|block| block.keyword == KEYWORD);
    blocks.flat_map(Statement::lines).filter_map(|line| {
        let weight = Weight::of(line).filter(|weight| weight.value != 0)?;
        Some(Track { what: Tracked::Interface(text(&line.values, 0).to_owned()), weight })
    })
}

/// The interfaces that a block names, and where.
pub fn named(block: &Node) -> impl Iterator<Item = Spanned<String>> {
    let lines = block.block.iter().flatten().filter(|line| !line.unsupported);
    lines.filter_map(|line| line.words.first()).map(|word| Spanned::new(word.text.clone(), word))
}

/// Whether the lines are lines of their own, and adverts of this instance can go over them.
pub fn check(draft: &Draft, report: &mut Report) {
    let Draft { settings, title, .. } = draft;
    let Some(block) = settings.seen_at(KEYWORD) else { return };
    if settings.seen_at("unicast_peer").is_some() {
        let hint =
            "adverts to `unicast_peer` go where routes lead: give the peers a second path, or use multicast";
        let message = format!("`{KEYWORD}` with `unicast_peer`");
        report.error_hint(Code::Conflict, block, message, hint);
    }
    let own = settings.interface.as_ref();
    for (i, line) in settings.heartbeats.iter().enumerate() {
        let Spanned { value: name, span } = line;
        if own.is_some_and(|own| own.value == *name) {
            let hint = "a second line is one over another network";
            let message = format!("{name} is the interface of the instance itself");
            report.error_hint(Code::Conflict, *span, message, hint);
        }
        if let Some(first) = settings.heartbeats[..i].iter().find(|first| first.value == *name) {
            let place = report.line_of(first.span, *span);
            let message = format!("heartbeat interface {name} is on {place} already");
            report.error_hint(Code::Duplicate, *span, message, "remove one");
        }
    }
    if let Some(beyond) = settings.heartbeats.get(MAX_HEARTBEATS) {
        let count = settings.heartbeats.len();
        let message = format!("{count} heartbeat interfaces of {title}, there is room for {MAX_HEARTBEATS}");
        report.error_hint(Code::TooMany, beyond.span, message, "remove the rest");
    }
}
