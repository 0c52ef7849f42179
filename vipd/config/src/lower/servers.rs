//! `virtual_server`: what must fit together in one. vipd serves none yet.

use super::given::Section;
use crate::{
    schema::{
        statement::{Statement, number_of},
        words,
    },
    syntax::{
        diagnostic::Code,
        report::Report,
        span::{Span, Word},
    },
};

/// What a virtual server and its real servers must have in common.
pub fn check(section: &Section<'_>, report: &mut Report) {
    let Section { node, given, title, .. } = section;
    let number = |keyword: &str| number_of(&given.statements, keyword);
    let servers: Vec<&Statement> =
        given.statements.iter().filter(|statement| statement.keyword == "real_server").collect();
    if servers.is_empty() && !given.partial {
        let hint = "it serves nobody, but for a `sorry_server`";
        let message = format!("{title} has no `real_server`");
        let head = node.words.first().map_or(Span { line: 1, column: 1, width: 1 }, |word| word.span);
        report.warning(Code::EmptyBlock, head, message, hint);
    }
    let default = number("weight").unwrap_or(1);
    let inside = |server: &Statement| number_of(server.inside.as_deref()?, "weight");
    let weight = |server: &&Statement| inside(server).unwrap_or(default);
    let total: i64 = servers.iter().map(weight).sum();
    let quorum = number("quorum").unwrap_or(1);
    if let Some(at) = given.seen_at("quorum").filter(|_| quorum > total && !servers.is_empty()) {
        let message = format!("quorum {quorum} is above the weight of all real servers, {total}");
        report.warning(Code::Conflict, at, message, "the quorum is never reached");
    }
    check_families(section, report);
}

/// Real servers are of the family of the virtual one, but for those that are reached by tunnels.
fn check_families(section: &Section<'_>, report: &mut Report) {
    let Section { node, children, given, .. } = section;
    let family = |word: &Word| words::address(&word.text).ok().map(|address| address.is_ipv4());
    let tunnels = |statements: &[Statement], keywords: &[&str]| {
        let method = statements.iter().rfind(|statement| keywords.contains(&statement.keyword));
        method.map(|method| method.has("TUN"))
    };
    let default = tunnels(&given.statements, &["lb_kind", "lvs_method"]).unwrap_or(false);
    let servers = given.statements.iter().filter(|statement| statement.keyword == "real_server");
    let nodes =
        children.iter().filter(|node| node.words.first().is_some_and(|word| word.text == "real_server"));
    let mut first = node.words.get(1).and_then(family);
    for (server, node) in servers.zip(nodes) {
        let own = tunnels(server.inside.as_deref().unwrap_or_default(), &["lvs_method"]);
        let Some(address) = node.words.get(1).filter(|_| !own.unwrap_or(default)) else { continue };
        let Some(is_v4) = family(address) else { continue };
        if is_v4 != *first.get_or_insert(is_v4) {
            let message = format!("{} is of another family than its virtual server", report.quote(address));
            let hint = "only by `lvs_method TUN` the families may differ";
            report.error_hint(Code::MixedFamilies, address.span, message, hint);
        }
    }
}
