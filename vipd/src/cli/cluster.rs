//! `vipd cluster`, for people: a block for each virtual router, a line for each of its nodes.

use std::{
    fmt::Display,
    io::{self, Write},
};

use anstyle::Style;
use vipd_control::status::{BOLD, DIM, WARN, age, style_of};

use crate::{
    cluster::{ClusterView, RouterView, node_name},
    control::model::{NodeStatus, ReportsStatus},
};

const COLUMNS: usize = 8;
const HEADS: [&str; COLUMNS] = ["NODE", "ADDRESS", "STATE", "FOR", "PRIO", "HEARD", "VERSION", "LINKS"];
const STATE: usize = 2;

/// Writes the view, with the escape sequences of colours.
pub fn render(out: &mut impl Write, view: &ClusterView<'_>) -> io::Result<()> {
    writeln!(
        out,
        "{BOLD}vipd {}{BOLD:#} on {BOLD}{}{BOLD:#}, {}",
        view.version,
        view.host,
        reports(view.cluster_reports)
    )?;
    if let Some(problem) = &view.cluster_reports.problem {
        writeln!(out, "{WARN}{problem}{WARN:#}")?;
    }
    view.cluster_reports.refused_lately.iter().try_for_each(|text| writeln!(out, "{WARN}{text}{WARN:#}"))?;
    let refused: u64 = view.cluster_reports.refused.values().sum();
    if refused > 0 {
        let reasons = view.cluster_reports.refused.iter().filter(|(_, count)| **count > 0);
        let reasons: Vec<String> = reasons.map(|(reason, count)| format!("{reason} {count}")).collect();
        writeln!(out, "{WARN}{refused} reports were not believed: {}{WARN:#}", reasons.join(", "))?;
    }
    view.routers.iter().try_for_each(|router| block(out, router))
}

fn reports(reports: &ReportsStatus) -> String {
    let ReportsStatus { instances, signed, .. } = reports;
    match (instances, signed) {
        (0, _) => "without cluster_report: of other nodes only adverts are known".to_owned(),
        (_, true) => "nodes report themselves, signed".to_owned(),
        (_, false) => "nodes report themselves, unsigned".to_owned(),
    }
}

fn block(out: &mut impl Write, router: &RouterView<'_>) -> io::Result<()> {
    let RouterView { name, interface, vrid, vips, sync_group, problems, nodes, .. } = router;
    let group = sync_group.map(|group| format!(", sync group {group}")).unwrap_or_default();
    let more = vips.len().saturating_sub(1);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let vip = vips.first().map(|vip| format!(", {vip}{more}")).unwrap_or_default();
    writeln!(out, "\n{BOLD}{name}{BOLD:#}: vrid {vrid} on {interface}{vip}{group}")?;
    problems.iter().try_for_each(|problem| writeln!(out, "  {WARN}! {problem}{WARN:#}"))?;
    let rows: Vec<[String; COLUMNS]> = nodes.iter().map(cells).collect();
    let width = |at: usize| {
        rows.iter().map(|row| row[at].chars().count()).chain([HEADS[at].len()]).max().unwrap_or_default()
    };
    let widths: [usize; COLUMNS] = std::array::from_fn(width);
    line(out, &widths, &HEADS.map(str::to_owned), |_| DIM)?;
    for (node, row) in nodes.iter().zip(&rows) {
        let style = |at| match at {
            _ if node.lost => DIM,
            STATE => style_of(node.state.as_deref().unwrap_or_default()),
            _ => Style::new(),
        };
        line(out, &widths, row, style)?;
        notes(node).into_iter().try_for_each(|note| writeln!(out, "      {DIM}{note}{DIM:#}"))?;
    }
    Ok(())
}

fn line(
    out: &mut impl Write,
    widths: &[usize; COLUMNS],
    cells: &[String; COLUMNS],
    style: impl Fn(usize) -> Style,
) -> io::Result<()> {
    let last = cells.iter().rposition(|cell| !cell.is_empty()).unwrap_or_default();
    write!(out, "  ")?;
    for (at, cell) in cells.iter().enumerate().take(last + 1) {
        let (style, fill) = (style(at), if at == last { 0 } else { widths[at] + 2 - cell.chars().count() });
        write!(out, "{style}{cell}{style:#}{:fill$}", "")?;
    }
    writeln!(out)
}

fn cells(node: &NodeStatus) -> [String; COLUMNS] {
    let or_unknown = |text: Option<String>| text.unwrap_or_else(|| "?".to_owned());
    let name = match node.known_by.as_str() {
        "self" => format!("{} (here)", node_name(node)),
        "report" => node_name(node),
        _ => "?".to_owned(),
    };
    let priority = match (node.priority, node.base_priority) {
        (Some(effective), Some(base)) if effective != base => format!("{effective} of {base}"),
        (Some(effective), _) => effective.to_string(),
        (None, _) => "?".to_owned(),
    };
    let ago = |what: &str| node.heard_ms_ago.map(|ms| format!("{what} {} ago", age(ms)));
    let heard = match node.known_by.as_str() {
        "self" => Some(String::new()),
        "advert" => ago("advert"),
        _ => ago("report"),
    };
    let links: Vec<String> =
        node.links.iter().map(|link| format!("{} {}", link.interface, link.state)).collect();
    let state = if node.lost { "lost".to_owned() } else { or_unknown(node.state.clone()) };
    let in_state = node.in_state_ms.filter(|_| !node.lost).map(age).unwrap_or_default();
    [
        name,
        or_unknown(node.address.map(|address| address.to_string())),
        state,
        in_state,
        priority,
        heard.unwrap_or_else(|| "never".to_owned()),
        node.version.clone().unwrap_or_default(),
        links.join(", "),
    ]
}

/// What a node has to be said of besides.
fn notes(node: &NodeStatus) -> Vec<String> {
    let mut notes = Vec::new();
    let mut note = |wanted: bool, text: &dyn Display| {
        if wanted {
            notes.push(text.to_string());
        }
    };
    note(node.lost, &format_args!("was {} when it was heard last", node.state.as_deref().unwrap_or("?")));
    note(node.drained, &"drained: lowest priority until `vipd undrain`");
    note(node.handed_over && !node.drained, &"handed over: lowest priority");
    if let Some(faults) = &node.faults {
        note(true, faults);
    }
    note(
        node.address_conflicts > 0,
        &format_args!("other stations claimed a VIP {} times", node.address_conflicts),
    );
    note(
        node.known_by == "advert",
        &"known by its adverts alone: a keepalived, or a vipd without cluster_report",
    );
    note(
        node.known_by == "peer",
        &"a unicast_peer of which nothing is heard: a backup without cluster_report, or nobody",
    );
    notes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::model::samples;

    fn shown() -> String {
        let status = samples::cluster();
        let mut out = Vec::new();
        render(&mut out, &ClusterView::of(&status)).unwrap();
        anstream::adapter::strip_str(&String::from_utf8(out).unwrap()).to_string()
    }

    #[test]
    fn every_node_is_a_line() {
        let text = shown();
        for line in [
            "vipd 0.1.0 on lb01.example.net, nodes report themselves, signed",
            "7 reports were not believed: hop_limit 4, signature 3",
            "VI_1: vrid 51 on eth0, 10.0.0.3, sync group G",
            "  NODE                     ADDRESS   STATE   FOR    PRIO       HEARD           VERSION  LINKS",
            "  lb01.example.net (here)  10.0.0.5  MASTER  1m 1s  150                        0.1.0    eth0 up, eth1 down",
            "  lb02.example.net         10.0.0.6  FAULT   10s    90 of 140  report 2s ago   0.2.0    eth0 up",
            "      drained: lowest priority until `vipd undrain`",
            "      check chk_nginx failed (exit code 1)",
            "  lb03.example.net         10.0.0.7  lost           120        report 2m 0s ago  0.1.0    eth0 up",
            "  ! lb03.example.net is lost: no report for 120 s",
            "  ?                        fe80::6         MASTER  ",
        ] {
            let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(
                text.lines().any(|shown| words(shown).starts_with(&words(line))),
                "{line} is not in\n{text}"
            );
        }
    }
}
