//! What `vipd top` looks like.
//!
//! ```text
//! vipd 0.1.0 on lb01  up 1d 2h  real-time            header: the daemon
//! INSTANCE  STATE   FOR    PRIO  MASTER  LEASE ...   a row for each instance
//! +- VI_1 ----------------+ +- XDP ---------------+  the selected one; what the program counts
//! |                       | +- tracked -----------+
//! q quit  ? help  / search ...                       footer: keys, or the search
//! ```

use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    style::{Color, Modifier, Style},
    text::{Line, Span},
    widgets::{Block, Cell, Paragraph, Row, Table, TableState},
};

use super::{
    filter::Filter,
    help,
    state::{Rates, Top, latest_us, part, states},
};
use vipd_control::{
    model::{InstanceStatus, TrackedStatus},
    status::{age, cut, details_of, tenths},
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

const DIM: Style = Style::new().add_modifier(Modifier::DIM);
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
    instances(frame, table, top);
    if panels.height > 0 {
        lower(frame, panels, top);
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
            let (shown, all) = (top.instances().len(), status.instances.len());
            let text = format!("{shown} of {all} shown ({})  ", top.filter);
            second.push(Span::styled(text, Color::Yellow));
        }
        for (state, count) in states(status) {
            second.push(Span::styled(format!("{count} {state}  "), style_of(state)));
        }
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

/// A column of the table of instances.
struct Column {
    head: &'static str,
    /// So that what changes does not push the others about.
    least_width: usize,
    /// On a terminal that is too narrow the last ones are left out.
    rank: u8,
    cell: fn(&InstanceStatus, &Rates, &Filter) -> Line<'static>,
}

const COLUMNS: [Column; 12] = [
    column("INSTANCE", 8, 0, |i, _, _| i.name.clone().into()),
    column("STATE", 6, 1, |i, _, _| Line::styled(i.state.clone(), style_of(&i.state))),
    column("FOR", 8, 6, |i, _, _| age(i.in_state_ms).into()),
    column("PRIO", 4, 4, |i, _, _| i.priority.to_string().into()),
    column("MASTER", 6, 5, |i, _, _| i.master.as_ref().map_or("-".into(), |m| m.address.to_string()).into()),
    column("LEASE", BAR + 8, 2, |i, _, _| lease(i)),
    column("VIP", 15, 3, |i, _, filter| filter.vip(i).into()),
    column("OUT/s", 7, 7, |_, rates, _| number(rates.sent).into()),
    column("IN/s", 7, 8, |_, rates, _| number(rates.received).into()),
    column("ARP+ND/s", 8, 9, |_, rates, _| number(rates.answered).into()),
    column("REVOKED", 7, 11, |i, _, _| alarming(i.leases_revoked.to_string(), i.leases_revoked > 0)),
    column("DISC/s", 7, 10, |_, rates, _| alarming(number(rates.discarded), rates.discarded > Some(0.0))),
];

/// A name or an address that is wider than this part of the terminal is cut where that keeps other columns.
const WIDEST_PART: usize = 6;
const WIDEST_LEAST: usize = 13;

const fn column(
    head: &'static str,
    least_width: usize,
    rank: u8,
    cell: fn(&InstanceStatus, &Rates, &Filter) -> Line<'static>,
) -> Column {
    Column { head, least_width, rank, cell }
}

fn instances(frame: &mut Frame<'_>, area: Rect, top: &Top) {
    let shown: Vec<_> = top.instances().into_iter().map(|i| (i, top.rates(i))).collect();
    let widest = (usize::from(area.width) / WIDEST_PART).max(WIDEST_LEAST);
    let mut columns: Vec<_> = COLUMNS
        .iter()
        .map(|column| {
            let cells: Vec<_> = shown.iter().map(|(i, rates)| (column.cell)(i, rates, &top.filter)).collect();
            let natural = cells.iter().map(Line::width).max().unwrap_or_default().max(column.least_width);
            (column, natural.min(widest).max(column.least_width), natural, cells.into_iter())
        })
        .collect();
    // A column between each two.
    let whole = usize::from(area.width) + 1;
    while columns.iter().map(|(_, width, ..)| width + 1).sum::<usize>() > whole && columns.len() > 1 {
        let last = columns.iter().map(|(column, ..)| column.rank).max().unwrap_or_default();
        columns.retain(|(column, ..)| column.rank != last);
    }
    // What is left over is for what was cut.
    let mut left = whole.saturating_sub(columns.iter().map(|(_, width, ..)| width + 1).sum());
    for (_, width, natural, _) in &mut columns {
        let more = left.min(natural.saturating_sub(*width));
        *width += more;
        left -= more;
    }
    let widths =
        columns.iter().map(|(_, width, ..)| Constraint::Length(u16::try_from(*width).unwrap_or(u16::MAX)));
    let (widths, heads): (Vec<_>, Vec<_>) =
        widths.zip(columns.iter().map(|(column, ..)| column.head)).unzip();
    let rows: Vec<_> = (0..shown.len())
        .map(|_| {
            let cells = columns
                .iter_mut()
                .filter_map(|(_, width, _, cells)| cells.next().map(|line| shortened(line, *width)));
            Row::new(cells.collect::<Vec<_>>())
        })
        .collect();
    let style = if top.trouble.is_some() { DIM } else { Style::new() };
    let table = Table::new(rows, widths)
        .header(Row::new(heads).style(Modifier::UNDERLINED))
        .style(style)
        .row_highlight_style(Modifier::REVERSED);
    // The offset is found anew with each picture, so that the selected row is in it.
    let mut state = TableState::new().with_selected(top.selected().map(|(at, _)| at));
    frame.render_stateful_widget(table, area, &mut state);
}

/// A line that is no wider, with an ellipsis where it was cut.
fn shortened(line: Line<'static>, width: usize) -> Line<'static> {
    if line.width() <= width {
        return line;
    }
    let text: String = line.spans.iter().map(|span| span.content.as_ref()).collect();
    Line::styled(cut(&text, width), line.style)
}

fn alarming(text: String, alarm: bool) -> Line<'static> {
    Line::styled(text, if alarm { Style::from(Color::Yellow) } else { Style::new() })
}

/// The lease of a master, the time until it takes over of a backup: how much of the whole is left.
fn lease(i: &InstanceStatus) -> Line<'static> {
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
    let rows = if tracked.is_empty() { 0 } else { tracked.len() + 2 };
    let rows = u16::try_from(rows).unwrap_or(u16::MAX).min(right.height / 2);
    let [above, below] = Layout::vertical([Constraint::Min(3), Constraint::Length(rows)]).areas(right);
    counters(frame, above, top);
    if rows > 0 {
        frame.render_widget(
            Paragraph::new(tracked_lines(tracked)).block(Block::bordered().title(" tracked ")),
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
            format!("s sort: {}{order}", top.sort.name()),
            "enter details".to_owned(),
            "↑↓ select".to_owned(),
            "r reverse".to_owned(),
        ];
        Line::from(fitting(area.width, parts.into_iter().map(Span::raw))).style(DIM)
    };
    frame.render_widget(Paragraph::new(line), area);
}

fn style_of(state: &str) -> Style {
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
