//! What `vipd top` looks like.
//!
//! ```text
//! vipd 0.1.0 on lb01  up 1d 2h  real-time            header: the daemon
//! INSTANCE  STATE   FOR    PRIO  MASTER  LEASE ...   a row for each instance; or for each real server (`services`), or neighbor
//! +- VI_1 ----------------+ +- XDP ---------------+  the selected one; what the program counts
//! |                       | +- tracked and probed -+
//! q quit  ? help  / search ...                       footer: keys, or the search
//! ```

use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    style::{Color, Modifier, Style},
    text::{Line, Span},
    widgets::{Block, Cell, Paragraph, Row, Table},
};

use super::{
    columns::{Column, DIM, column, table},
    filter::Filter,
    help, neighbors, services,
    state::{Rates, Top, View, latest_us, part, states},
};
use vipd_control::{
    model::{InstanceStatus, ProbedPeerStatus, TrackedStatus},
    status::{age, details_of, tenths},
};

/// Cells of the bar of a lease.
const BAR: usize = 10;
/// A terminal with fewer rows than this has room for the table only.
const ROWS_FOR_PANELS: u16 = 16;
/// Rows of the panels below the table.
const PANELS: u16 = 14;
/// Columns of what the program counts.
const COUNTERS: u16 = 46;
/// Width below which the panels are not side by side: the selected instance is shown alone.
const COLUMNS_FOR_TWO: u16 = 90;

const BOLD: Style = Style::new().add_modifier(Modifier::BOLD);

pub fn draw(frame: &mut Frame<'_>, top: &Top) {
    let area = frame.area();
    let panels = match (area.height < ROWS_FOR_PANELS, top.enlarged) {
        (true, false) => 0,
        (true, true) => area.height.saturating_sub(6),
        (false, true) => area.height.saturating_sub(8),
        (false, false) => PANELS.min(area.height / 2),
    };
    let parts = Layout::vertical([
        Constraint::Length(2),
        Constraint::Min(3),
        Constraint::Length(panels),
        Constraint::Length(1),
    ]);
    let [head, table, panels, foot] = parts.areas(area);
    header(frame, head, top);
    match top.view {
        View::Routers => instances(frame, table, top),
        View::Services => services::servers(frame, table, top),
        View::Neighbors => neighbors::neighbors(frame, table, top),
    }
    match top.view {
        _ if panels.height == 0 => {}
        View::Routers => lower(frame, panels, top),
        View::Services => services::details(frame, panels, top),
        View::Neighbors => neighbors::details(frame, panels, top),
    }
    footer(frame, foot, top);
    if top.help {
        help::draw(frame, area);
    }
}

fn header(frame: &mut Frame<'_>, area: Rect, top: &Top) {
    let mut first = vec![];
    let mut second = vec![];
    if let Some(status) = top.status() {
        let host = if status.host.is_empty() { String::new() } else { format!(" on {}", status.host) };
        first = fitting(
            area.width,
            [
                Span::styled(format!("vipd {}{host}", status.version), BOLD),
                Span::raw(format!("up {}", age(status.uptime_ms))),
                match status.real_time {
                    true => Span::styled("real-time", Color::Green),
                    false => Span::styled("no real-time scheduling", Color::Yellow),
                },
                Span::raw(format!("adverts at most {} late", lateness(latest_us(status)))),
                Span::raw(format!("pid {}", status.pid)),
            ],
        );
        if status.drained {
            second.push(Span::styled("drained  ", Color::Yellow));
        }
        if top.filter.is_on() {
            let (shown, all) = top.shown();
            let text = format!("{shown} of {all} shown ({})  ", top.filter);
            second.push(Span::styled(text, Color::Yellow));
        }
        for (state, count) in states(status) {
            second.push(Span::styled(format!("{count} {state}  "), style_of(state)));
        }
        second.extend(services::summary(status));
        second.extend(neighbors::summary(status));
    } else {
        first.push(Span::styled("vipd top", BOLD));
    }
    if let Some(why) = &top.trouble {
        let old = if top.status().is_some() { "; what is shown is old" } else { "" };
        second = vec![Span::styled(format!(" {why}{old}; trying again "), (Color::Black, Color::Yellow))];
    }
    frame.render_widget(Paragraph::new(vec![Line::from(first), Line::from(second)]), area);
}

/// The parts of a line that fit in it, two columns apart; the first is always there.
fn fitting<'t>(width: u16, parts: impl IntoIterator<Item = Span<'t>>) -> Vec<Span<'t>> {
    let mut line: Vec<Span<'t>> = Vec::new();
    let mut left = usize::from(width);
    for part in parts {
        let gap = if line.is_empty() { 0 } else { 2 };
        if line.is_empty() || part.width() + gap <= left {
            left = left.saturating_sub(part.width() + gap);
            line.extend([Span::raw(" ".repeat(gap)), part]);
        }
    }
    line
}

/// A row of the table of instances.
struct InstanceRow<'t> {
    instance: &'t InstanceStatus,
    rates: Rates,
    filter: &'t Filter,
}

fn columns<'t>() -> [Column<InstanceRow<'t>>; 12] {
    [
        column("INSTANCE", 8, 0, |row| row.instance.name.clone().into()),
        column("STATE", 6, 1, |row| Line::styled(row.instance.state.clone(), style_of(&row.instance.state))),
        column("FOR", 8, 6, |row| age(row.instance.in_state_ms).into()),
        column("PRIO", 4, 4, |row| row.instance.priority.to_string().into()),
        column("MASTER", 6, 5, |row| {
            row.instance.master.as_ref().map_or("-".into(), |master| master.address.to_string()).into()
        }),
        column("LEASE", BAR + 8, 2, |row| lease(row.instance)),
        column("VIP", 15, 3, |row| row.filter.vip(row.instance).into()),
        column("OUT/s", 7, 7, |row| number(row.rates.sent).into()),
        column("IN/s", 7, 8, |row| number(row.rates.received).into()),
        column("ARP+ND/s", 8, 9, |row| number(row.rates.answered).into()),
        column("REVOKED", 7, 11, |row| {
            alarming(row.instance.leases_revoked.to_string(), row.instance.leases_revoked > 0)
        }),
        column("DISC/s", 7, 10, |row| alarming(number(row.rates.discarded), row.rates.discarded > Some(0.0))),
    ]
}

fn instances(frame: &mut Frame<'_>, area: Rect, top: &Top) {
    let row = |instance| InstanceRow { instance, rates: top.rates(instance), filter: &top.filter };
    let rows: Vec<_> = top.instances().into_iter().map(row).collect();
    let selected = top.selected().map(|(at, _)| at);
    table(frame, area, &columns(), &rows, selected, top.trouble.is_some());
}

fn alarming(text: String, alarm: bool) -> Line<'static> {
    Line::styled(text, if alarm { Style::from(Color::Yellow) } else { Style::new() })
}

/// The lease of a master, the time until it takes over of a backup: how much of the whole is left.
fn lease(i: &InstanceStatus) -> Line<'static> {
    if i.is_unvouched() {
        return Line::styled("unvouched", Color::Red);
    }
    let (left, whole, colours) = match (i.lease_remaining_ms, i.master_down_in_ms) {
        (Some(left), _) => (left, i.lease_length_ms, [Color::Red, Color::Yellow, Color::Green]),
        (None, Some(left)) => (left, i.master_down_interval_cs.saturating_mul(10), [Color::Cyan; 3]),
        (None, None) => return Line::from("-"),
    };
    let eighths = part(left, whole, 8 * BAR);
    let colour = colours[if eighths < 2 * BAR {
        0
    } else if eighths < 4 * BAR {
        1
    } else {
        2
    }];
    Line::from(vec![Span::styled(bar(eighths), colour), Span::raw(format!(" {}", tenths(left)))])
}

/// A bar of [`BAR`] cells, to an eighth of a cell.
fn bar(eighths: usize) -> String {
    const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    let text = "█".repeat(eighths / 8) + EIGHTHS[eighths % 8];
    format!("{text:·<BAR$}")
}

fn lower(frame: &mut Frame<'_>, area: Rect, top: &Top) {
    if area.width < COLUMNS_FOR_TWO {
        details(frame, area, top);
        return;
    }
    let [left, right] = Layout::horizontal([Constraint::Min(40), Constraint::Length(COUNTERS)]).areas(area);
    details(frame, left, top);
    let tracked: &[TrackedStatus] = top.status().map_or(&[], |status| &status.tracked);
    let probed: &[ProbedPeerStatus] = top.status().map_or(&[], |status| &status.probes);
    let lines = [tracked_lines(tracked), probed_lines(probed)].concat();
    let rows = if lines.is_empty() { 0 } else { lines.len() + 2 };
    let rows = u16::try_from(rows).unwrap_or(u16::MAX).min(right.height / 2);
    let [above, below] = Layout::vertical([Constraint::Min(3), Constraint::Length(rows)]).areas(right);
    counters(frame, above, top);
    if rows > 0 {
        frame.render_widget(
            Paragraph::new(lines).block(Block::bordered().title(match probed.is_empty() {
                true => " tracked ",
                false => " tracked and probed ",
            })),
            below,
        );
    }
}

fn details(frame: &mut Frame<'_>, area: Rect, top: &Top) {
    let Some((_, selected)) = top.selected() else {
        frame.render_widget(Block::bordered().title(" no instance "), area);
        return;
    };
    let text = details_of(selected);
    let text = text.trim_start();
    // Two rows are the frame's.
    let hidden = text.lines().count().saturating_sub(area.height.saturating_sub(2).into());
    let mut block = Block::bordered().title(format!(" {} ", selected.name));
    if hidden > 0 {
        block = block.title_bottom(format!(" {hidden} more line{} ", if hidden == 1 { "" } else { "s" }));
    }
    frame.render_widget(Paragraph::new(text).block(block), area);
}

fn counters(frame: &mut Frame<'_>, area: Rect, top: &Top) {
    let rows = top.counters().into_iter().map(|(name, count, rate)| {
        Row::new([Cell::from(name.to_owned()), Cell::from(count.to_string()), Cell::from(number(rate))])
    });
    let widths = [Constraint::Min(20), Constraint::Length(12), Constraint::Length(8)];
    let table = Table::new(rows, widths)
        .header(Row::new(["XDP", "frames", "per s"]).style(DIM))
        .block(Block::bordered().title(" all instances "));
    frame.render_widget(table, area);
}

fn tracked_lines(tracked: &[TrackedStatus]) -> Vec<Line<'_>> {
    // What is not well has to be seen.
    let (unwell, others): (Vec<_>, Vec<_>) = tracked.iter().partition(|t| t.well == Some(false));
    unwell.into_iter().chain(others).map(tracked_line).collect()
}

/// A line for each host that is probed, those that do not answer first.
fn probed_lines(probed: &[ProbedPeerStatus]) -> Vec<Line<'static>> {
    let (silent, others): (Vec<_>, Vec<_>) = probed.iter().partition(|host| host.state != "up");
    silent.into_iter().chain(others).map(probed_line).collect()
}

fn probed_line(host: &ProbedPeerStatus) -> Line<'static> {
    let name = host.peer.map(|peer| peer.to_string()).unwrap_or_default();
    let style = Style::from(if host.state == "up" { Color::Green } else { Color::Red });
    let mut line = vec![Span::raw(format!("{name}: ")), Span::styled(host.state.clone(), style)];
    line.extend(host.round_trip_last_us.map(|us| Span::raw(format!(" {}", lateness(us)))));
    if host.takes_over {
        line.push(if host.armed { Span::raw(" armed") } else { Span::styled(" not armed", Color::Yellow) });
    }
    if host.false_alarms > 0 {
        let plural = if host.false_alarms == 1 { "" } else { "s" };
        line.push(Span::styled(format!(" {} false alarm{plural}", host.false_alarms), Color::Yellow));
    }
    Line::from(line)
}

fn tracked_line(tracked: &TrackedStatus) -> Line<'_> {
    let (how, style) = match (tracked.well, tracked.value) {
        (Some(true), _) => ("ok".to_owned(), Style::from(Color::Green)),
        (Some(false), _) => ("failed".to_owned(), Style::from(Color::Red)),
        (None, Some(number)) => (number.to_string(), Style::new()),
        (None, None) => ("no result yet".to_owned(), DIM),
    };
    Line::from(vec![Span::raw(format!("{}: ", tracked.name)), Span::styled(how, style)])
}

fn footer(frame: &mut Frame<'_>, area: Rect, top: &Top) {
    let line = if top.filter.editing {
        Line::from(vec![
            Span::styled(format!("/{}", top.filter.search()), BOLD),
            Span::styled("▏ enter: keep, esc: clear", DIM),
        ])
    } else {
        let order = if top.reversed { ", reversed" } else { "" };
        let parts = [
            "q quit".to_owned(),
            "? help".to_owned(),
            "/ search".to_owned(),
            format!("f state: {}", top.filter.state_name()),
            format!("s sort: {}{order}", top.sort_name()),
            match top.next_view() {
                next if next == top.view => String::new(),
                View::Routers => "v routers".to_owned(),
                View::Services => "v services".to_owned(),
                View::Neighbors => "v neighbors".to_owned(),
            },
            "enter details".to_owned(),
            "↑↓ select".to_owned(),
            "r reverse".to_owned(),
        ];
        let parts = parts.into_iter().filter(|part| !part.is_empty());
        Line::from(fitting(area.width, parts.map(Span::raw))).style(DIM)
    };
    frame.render_widget(Paragraph::new(line), area);
}

pub fn style_of(state: &str) -> Style {
    match state {
        "MASTER" => Style::from(Color::Green).add_modifier(Modifier::BOLD),
        "BACKUP" => Style::from(Color::Cyan),
        "FAULT" => Style::from(Color::Red).add_modifier(Modifier::BOLD),
        _ => DIM,
    }
}

/// Three digits or so: `0`, `0.3`, `12.5`, `1250`, `71k`.
fn number(rate: Option<f64>) -> String {
    match rate {
        None => "-".into(),
        Some(0.0) => "0".into(),
        Some(rate) if rate < 100.0 => format!("{rate:.1}"),
        Some(rate) if rate < 10_000.0 => format!("{rate:.0}"),
        Some(rate) if rate < 10_000_000.0 => format!("{:.0}k", rate / 1e3),
        Some(rate) => format!("{:.0}M", rate / 1e6),
    }
}

fn lateness(us: u64) -> String {
    match us {
        0..10_000 => format!("{us} µs"),
        _ => format!("{} ms", us / 1000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_short() {
        for (rate, expect) in [
            (None, "-"),
            (Some(0.0), "0"),
            (Some(0.33), "0.3"),
            (Some(99.94), "99.9"),
            (Some(1250.4), "1250"),
            (Some(71_234.0), "71k"),
            (Some(12e6), "12M"),
        ] {
            assert_eq!(number(rate), expect, "{rate:?}");
        }
    }

    #[test]
    fn bars_are_as_long_as_what_is_left() {
        for (left, expect) in [
            (0, "··········"),
            (500, "█████·····"),
            (520, "█████▏····"),
            (999, "█████████▉"),
            (9_000, "██████████"),
        ] {
            assert_eq!(bar(part(left, 1_000, 8 * BAR)), expect, "{left}");
        }
        assert_eq!(part(5, 0, 80), 0);
    }
}
