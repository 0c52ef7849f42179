//! A line for each session of BFD.

use std::io::{self, Write};

use super::{BOLD, DIM, WARN, age, style_of};
use crate::model::BfdSessionStatus;

/// The sessions.
pub fn lines(out: &mut impl Write, sessions: &[BfdSessionStatus]) -> io::Result<()> {
    if sessions.is_empty() {
        return Ok(());
    }
    writeln!(out, "\n{BOLD}bfd sessions{BOLD:#}")?;
    let width = sessions.iter().map(|session| session.name.chars().count()).max().unwrap_or_default();
    sessions.iter().try_for_each(|session| line(out, session, width))
}

fn line(out: &mut impl Write, session: &BfdSessionStatus, width: usize) -> io::Result<()> {
    let BfdSessionStatus { name, state, neighbor, reason, problem, remedy, .. } = session;
    let style = style_of(if session.is_up() { "MASTER" } else { "FAULT" });
    write!(out, "  {name:<width$}  {style}{state}{style:#} for {}", age(session.in_state_ms))?;
    if let Some(reason) = reason {
        write!(out, " ({reason})")?;
    }
    write!(out, " {DIM}with {neighbor}")?;
    match session.detection_time_us {
        Some(detection) => write!(
            out,
            ", sends every {}, detects in {}",
            micros(session.transmit_interval_us),
            micros(detection)
        )?,
        None => write!(out, ", hears nothing")?,
    }
    write!(out, "{DIM:#}")?;
    if let Some(problem) = problem {
        write!(out, " {WARN}{problem}{WARN:#}")?;
    }
    if let Some(remedy) = remedy {
        write!(out, " {DIM}({remedy}){DIM:#}")?;
    }
    writeln!(out)
}

/// Microseconds as `3.333 ms` or `41 µs`.
pub fn micros(us: u64) -> String {
    let (whole, rest) = (us / 1_000, us % 1_000);
    if whole == 0 {
        return format!("{us} µs");
    }
    if rest == 0 { format!("{whole} ms") } else { format!("{whole}.{rest:03} ms") }
}
