//! A line for each instance.

use std::io::{self, Write};

use super::{BOLD, DIM, WARN, age, problems, style_of, tenths};
use crate::control::model::InstanceStatus;

const HEADS: [&str; 8] = ["INSTANCE", "STATE", "FOR", "PRIO", "MASTER", "UNTIL", "VIPS", "ADVERTS"];

pub fn render(out: &mut impl Write, instances: &[InstanceStatus]) -> io::Result<()> {
    let rows: Vec<[String; 8]> = instances.iter().map(cells).collect();
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([HEADS[column].len()]).max().unwrap_or_default()
    };
    let widths: [usize; 8] = std::array::from_fn(width);
    writeln!(out)?;
    let heads = HEADS.iter().zip(widths).map(|(head, width)| format!("{head:<width$}"));
    writeln!(out, "{DIM}{}{DIM:#}", heads.collect::<Vec<_>>().join("  ").trim_end())?;
    for (i, row) in instances.iter().zip(&rows) {
        let [name, state, rest @ ..] = row;
        let ([first, second, others @ ..], style) = (widths, style_of(&i.state));
        let rest = rest.iter().zip(others).map(|(cell, width)| format!("{cell:<width$}"));
        let rest = rest.collect::<Vec<_>>().join("  ");
        let problems = problems(i).join(", ");
        write!(out, "{BOLD}{name:<first$}{BOLD:#}  {style}{state:<second$}{style:#}  ")?;
        if problems.is_empty() {
            writeln!(out, "{}", rest.trim_end())?;
        } else {
            writeln!(out, "{rest}  {WARN}{problems}{WARN:#}")?;
        }
    }
    Ok(())
}

fn cells(i: &InstanceStatus) -> [String; 8] {
    let until = match (i.lease_remaining_ms, i.master_down_in_ms) {
        (Some(ms), _) => format!("lease {}", tenths(ms)),
        (None, Some(ms)) => format!("takeover {}", tenths(ms)),
        (None, None) => "-".into(),
    };
    [
        i.name.clone(),
        i.state.clone(),
        age(i.in_state_ms),
        i.priority.to_string(),
        i.master.as_ref().map_or("-".into(), |master| master.address.to_string()),
        until,
        (i.vips.len() + i.vips_excluded.len()).to_string(),
        format!("{} out, {} in", i.adverts_sent, i.adverts_received),
    ]
}
