//! A line for each instance, cut to the width of the terminal.

use std::io::{self, Write};

use super::{BOLD, DIM, WARN, age, find::vips, problems, style_of, tenths};
use crate::model::InstanceStatus;

const COLUMNS: usize = 11;
/// What has been counted that should not be has no head.
const HEADS: [&str; COLUMNS] =
    ["INSTANCE", "STATE", "FOR", "PRIO", "INTERFACE", "VRID", "MASTER", "UNTIL", "VIPS", "ADVERTS", ""];
const INSTANCE: usize = 0;
const STATE: usize = 1;
const FOR: usize = 2;
const INTERFACE: usize = 4;
const MASTER: usize = 6;
const UNTIL: usize = 7;
const VIPS: usize = 8;
const ADVERTS: usize = 9;
const PROBLEMS: usize = 10;
/// Between two columns.
const GAP: usize = 2;
/// What is done in turn until the table is narrow enough: a column is cut to so many characters, and left out with none.
const CUTS: [(usize, usize); 12] = [
    (VIPS, 32),
    (PROBLEMS, 16),
    (ADVERTS, 0),
    (VIPS, 15),
    (UNTIL, 0),
    (PROBLEMS, 0),
    (FOR, 0),
    (INSTANCE, 16),
    (MASTER, 12),
    (INTERFACE, 9),
    (MASTER, 0),
    (INSTANCE, 8),
];

/// Writes the table: at most `width` columns wide, or as wide as it is without a `width`.
pub fn render(out: &mut impl Write, instances: &[InstanceStatus], width: Option<usize>) -> io::Result<()> {
    let rows: Vec<[String; COLUMNS]> = instances.iter().map(cells).collect();
    let widths = fit(natural(&rows), width);
    let whole = width.unwrap_or(usize::MAX);
    writeln!(out)?;
    line(out, whole, (0..COLUMNS).map(|at| (widths[at], HEADS[at], DIM)))?;
    for (i, row) in instances.iter().zip(&rows) {
        line(
            out,
            whole,
            (0..COLUMNS).map(|at| {
                let style = match at {
                    INSTANCE => BOLD,
                    STATE => style_of(&i.state),
                    PROBLEMS => WARN,
                    _ => anstyle::Style::new(),
                };
                (widths[at], row[at].as_str(), style)
            }),
        )?;
    }
    Ok(())
}

/// Writes cells, each as wide as is said, together no wider than `whole`.
fn line<'c>(
    out: &mut impl Write,
    whole: usize,
    cells: impl Iterator<Item = (usize, &'c str, anstyle::Style)>,
) -> io::Result<()> {
    let cells: Vec<_> = cells.filter(|(width, ..)| *width > 0).collect();
    // Nothing is written behind the last cell that has something.
    let last = cells.iter().rposition(|(_, text, _)| !text.is_empty()).unwrap_or_default();
    let mut left = whole;
    for (at, (width, text, style)) in cells.into_iter().enumerate().take(last + 1) {
        let gap = if at == 0 { 0 } else { GAP };
        if left <= gap {
            break;
        }
        left -= gap;
        let width = width.min(left);
        left -= width;
        let text = cut(text, width);
        let fill = if at == last { 0 } else { width - text.chars().count() };
        write!(out, "{:gap$}{style}{text}{style:#}{:fill$}", "", "")?;
    }
    writeln!(out)
}

/// The text, with an ellipsis in place of what does not fit.
pub fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let kept: String = text.chars().take(width.saturating_sub(1)).collect();
    if width == 0 { kept } else { format!("{}…", kept.trim_end()) }
}

/// The width of each column that nothing is cut in.
fn natural(rows: &[[String; COLUMNS]]) -> [usize; COLUMNS] {
    std::array::from_fn(|at| {
        let cells = rows.iter().map(|row| row[at].chars().count());
        cells.chain([HEADS[at].len()]).max().unwrap_or_default()
    })
}

fn fit(natural: [usize; COLUMNS], width: Option<usize>) -> [usize; COLUMNS] {
    let mut widths = natural;
    let Some(width) = width else { return widths };
    for (column, least) in CUTS {
        let over = together(&widths).saturating_sub(width);
        if over == 0 {
            break;
        }
        let cut = widths[column].saturating_sub(over).max(least);
        widths[column] = if least == 0 { 0 } else { widths[column].min(cut) };
    }
    // A column that was left out may have been wider than was needed.
    widths[VIPS] = natural[VIPS].min(widths[VIPS] + width.saturating_sub(together(&widths)));
    widths
}

fn together(widths: &[usize; COLUMNS]) -> usize {
    let columns = widths.iter().filter(|width| **width > 0).count();
    widths.iter().sum::<usize>() + GAP * columns.saturating_sub(1)
}

fn cells(i: &InstanceStatus) -> [String; COLUMNS] {
    let until = match (i.lease_remaining_ms, i.master_down_in_ms) {
        (Some(ms), _) => format!("lease {}", tenths(ms)),
        (None, Some(0)) if i.sync_group.is_some() => "sync group".into(),
        (None, Some(ms)) => format!("takeover {}", tenths(ms)),
        (None, None) => "-".into(),
    };
    [
        i.name.clone(),
        i.state.clone(),
        age(i.in_state_ms),
        i.priority.to_string(),
        i.interface.clone(),
        i.vrid.to_string(),
        i.master.as_ref().map_or("-".into(), |master| master.address.to_string()),
        until,
        vips(i).map(|vip| vip.to_string()).collect::<Vec<_>>().join(" "),
        format!("{} out, {} in", i.adverts_sent, i.adverts_received),
        problems(i).join(", "),
    ]
}
