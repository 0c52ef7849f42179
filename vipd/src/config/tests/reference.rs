//! `docs/config.md`, made from the keyword table.

use std::{fmt::Write, fs, path::Path};

use crate::config::{
    keywords::{Block, Keyword, Status, rows},
    values::wants,
};

const HEAD: &str = "\
# The configuration, keyword by keyword

Made from the keyword table by `VIPD_WRITE_DOCS=1 cargo test -p vipd --lib reference`; a test compares. The language itself (comments,
includes, conditions, definitions, generators) is keepalived's, see the README.

What is marked *no effect* is read and mentioned, and changes nothing. What is *not yet* or *not* supported is refused, by line and
column, with the advice given here. Nothing is passed over in silence.
";

const BLOCKS: [(Block, &str); 9] = [
    (Block::Root, "Top level"),
    (Block::GlobalDefs, "`global_defs`"),
    (Block::Instance, "`vrrp_instance NAME`"),
    (Block::Authentication, "`authentication`"),
    (Block::VipOption, "After an address in `virtual_ipaddress` and `virtual_ipaddress_excluded`"),
    (Block::PeerOption, "After an address in `unicast_peer`"),
    (Block::Route, "On a line of `virtual_routes`"),
    (Block::Hop, "After `nexthop` on a line of `virtual_routes`"),
    (Block::Rule, "On a line of `virtual_rules`"),
];

fn document() -> String {
    let mut text = HEAD.to_owned();
    for (block, title) in BLOCKS {
        let _ = writeln!(text, "\n## {title}\n\n| keyword | takes | default |\n|---|---|---|");
        let of =
            |wanted: fn(&Status) -> bool| rows(block).iter().filter(move |keyword| wanted(&keyword.status));
        for keyword in of(|status| matches!(status, Status::Supported(_))) {
            let Status::Supported(form) = &keyword.status else { continue };
            let takes = match keyword.means {
                means if means == keyword.name => wants(form),
                means => format!("{}; sets what `{means}` sets", wants(form)),
            };
            let default = keyword.default.map_or(String::new(), |default| format!("`{default}`"));
            let _ = writeln!(text, "| `{}` | {} | {default} |", keyword.name, cell(&takes));
        }
        section(&mut text, "No effect", of(|status| matches!(status, Status::NoEffect { .. })));
        section(&mut text, "Not supported yet", of(|status| matches!(status, Status::NotYet(_))));
        section(&mut text, "Not supported", of(|status| matches!(status, Status::Refused(_))));
    }
    text
}

/// Keywords of one kind, those with the same reason together.
fn section(text: &mut String, title: &str, keywords: impl Iterator<Item = &'static Keyword>) {
    let mut reasons: Vec<(&str, Vec<String>)> = Vec::new();
    for keyword in keywords {
        let (Status::NoEffect { reason, .. } | Status::NotYet(reason) | Status::Refused(reason)) =
            &keyword.status
        else {
            continue;
        };
        let name = format!("`{}`", keyword.name);
        match reasons.iter_mut().find(|(of, _)| of == reason) {
            Some((_, names)) => names.push(name),
            None => reasons.push((reason, vec![name])),
        }
    }
    if !reasons.is_empty() {
        let _ = writeln!(text, "\n{title}:\n");
        for (reason, names) in reasons {
            let _ = writeln!(text, "- {}: {reason}.", names.join(", "));
        }
    }
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

#[test]
fn the_reference_is_that_of_the_table() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/config.md");
    let document = document();
    if std::env::var_os("VIPD_WRITE_DOCS").is_some() {
        fs::write(&path, &document).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    let first = document.lines().zip(written.lines()).position(|(wanted, found)| wanted != found);
    assert!(
        document == written,
        "{} is not what the table says from line {} on; write it with VIPD_WRITE_DOCS=1",
        path.display(),
        first.unwrap_or(document.lines().count().min(written.lines().count())) + 1
    );
}
