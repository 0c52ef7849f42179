//! `vipd status` for people: details of a few instances, or a table of many.

mod details;
mod table;
#[cfg(test)]
mod tests;

use std::io;

use anstyle::{AnsiColor, Style};

use crate::control::model::{InstanceStatus, Status};

/// More instances than this make a table, unless details are asked for.
const DETAILED: usize = 4;

pub(super) const BOLD: Style = Style::new().bold();
pub(super) const DIM: Style = Style::new().dimmed();
pub(super) const WARN: Style = AnsiColor::Yellow.on_default();

/// What is to be shown of a status.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// Only these instances; all if there are none.
    pub instances: Vec<String>,
    /// Details, however many there are.
    pub long: bool,
}

/// An instance that was asked for and is not there.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no instance {wanted} (instances: {})", if there.is_empty() { "none".into() } else { there.join(", ") })]
pub struct Unknown {
    wanted: String,
    there: Vec<String>,
}

impl View {
    /// Leaves only the instances that are asked for, in the order of the configuration.
    ///
    /// # Errors
    ///
    /// One of them is not there.
    pub fn select(&self, mut status: Status) -> Result<Status, Unknown> {
        let names: Vec<&str> = status.instances.iter().map(|i| i.name.as_str()).collect();
        if let Some(wanted) = self.instances.iter().find(|name| !names.contains(&name.as_str())) {
            let there = names.into_iter().map(str::to_owned).collect();
            return Err(Unknown { wanted: wanted.clone(), there });
        }
        if !self.instances.is_empty() {
            status.instances.retain(|i| self.instances.contains(&i.name));
        }
        Ok(status)
    }

    /// Writes what was [selected](Self::select), with the escape sequences of colours.
    pub fn render(&self, out: &mut impl io::Write, status: &Status) -> io::Result<()> {
        header(out, status)?;
        let detailed = self.long || !self.instances.is_empty();
        if detailed || status.instances.len() <= DETAILED {
            details::instances(out, status)?;
        } else {
            table::render(out, &status.instances)?;
            writeln!(out, "\n{DIM}details: vipd status NAME..., or --long{DIM:#}")?;
        }
        if self.instances.is_empty() {
            details::tracked(out, &status.tracked)?;
            details::arbiters(out, &status.arbiters)?;
        }
        if self.long {
            details::counters(out, &status.counters)?;
        }
        Ok(())
    }
}

fn header(out: &mut impl io::Write, status: &Status) -> io::Result<()> {
    let Status { version, pid, uptime_ms, real_time, .. } = status;
    write!(out, "{BOLD}vipd {version}{BOLD:#}, pid {pid}, up {}", age(*uptime_ms))?;
    if !real_time {
        write!(out, ", {WARN}without real-time scheduling{WARN:#}")?;
    }
    writeln!(out)?;
    if status.drained {
        writeln!(out, "{WARN}drained{WARN:#}: every instance has the lowest priority until `vipd undrain`")?;
    }
    Ok(())
}

/// The colour of a state.
pub(super) fn style_of(state: &str) -> Style {
    match state {
        "MASTER" => AnsiColor::Green.on_default().bold(),
        "BACKUP" => AnsiColor::Cyan.on_default(),
        "FAULT" => AnsiColor::Red.on_default().bold(),
        _ => DIM,
    }
}

/// What is wrong with an instance, or was: in words, nothing if all is well.
pub(super) fn problems(i: &InstanceStatus) -> Vec<String> {
    [
        (sum(i.discards.values()), "discarded"),
        (i.leases_revoked, "revoked"),
        (i.send_errors, "not sent"),
        (i.address_list_differs, "with other VIPs"),
    ]
    .into_iter()
    .filter(|(count, _)| *count > 0)
    .map(|(count, what)| format!("{count} {what}"))
    .collect()
}

/// Of numbers that another process has said.
pub(super) fn sum<'n>(numbers: impl Iterator<Item = &'n u64>) -> u64 {
    numbers.fold(0, |sum, number| sum.saturating_add(*number))
}

/// An instance in full, without colours.
pub(super) fn details_of(i: &InstanceStatus) -> String {
    let mut out = Vec::new();
    details::instance(&mut out, i).expect("memory can be written to");
    anstream::adapter::strip_str(&String::from_utf8_lossy(&out)).to_string()
}

/// Two units at most: `3d 4h`, `12m 5s`, `850ms`.
pub(super) fn age(ms: u64) -> String {
    let s = ms / 1000;
    match s {
        0 => format!("{ms}ms"),
        1..60 => format!("{s}s"),
        60..3600 => format!("{}m {}s", s / 60, s % 60),
        3600..86_400 => format!("{}h {}m", s / 3600, s % 3600 / 60),
        _ => format!("{}d {}h", s / 86_400, s % 86_400 / 3600),
    }
}

/// To a tenth of a second: `3.2s`.
pub(super) fn tenths(ms: u64) -> String {
    format!("{}.{}s", ms / 1000, ms % 1000 / 100)
}
