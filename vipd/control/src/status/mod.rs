//! `vipd status` for people: details of a few instances, or a table of many.

mod bfd;
mod details;
mod early;
pub mod find;
mod probes;
pub mod services;
mod table;
#[cfg(test)]
mod tests;

use std::{collections::BTreeSet, io, time::Duration};

use anstyle::{AnsiColor, Style};

use crate::{
    explain::text as explained,
    model::{FaultStatus, HostWarning, InstanceStatus, Status},
};
pub use bfd::micros;
pub use find::Unknown;
pub use table::cut;

/// Times that differ by less are one.
const SAME_MOMENT_MS: u64 = 2_000;

/// More instances than this make a table, unless details are asked for.
const DETAILED: usize = 4;

/// Said of a master that answers nothing although its lease stands.
pub const UNVOUCHED: &str = "nobody vouches for this node: none of these VIPs is answered";

pub const BOLD: Style = Style::new().bold();
pub const DIM: Style = Style::new().dimmed();
pub const WARN: Style = AnsiColor::Yellow.on_default();

/// What is to be shown of a status.
#[derive(Clone, Debug, Default)]
pub struct StatusView {
    /// Only these instances, by name or VIP; all if there are none.
    pub instances: Vec<String>,
    /// Details, however many there are.
    pub long: bool,
    /// Columns of the terminal that it is shown on; none if it is shown elsewhere.
    pub width: Option<usize>,
}

impl StatusView {
    /// Leaves only the instances that are asked for, in the order of the configuration.
    ///
    /// # Errors
    ///
    /// One of them is not there.
    pub fn select(&self, mut status: Status) -> Result<Status, Unknown> {
        if self.instances.is_empty() {
            return Ok(status);
        }
        let mut wanted = BTreeSet::new();
        for name in &self.instances {
            wanted.extend(find::find(&status, name)?);
        }
        let mut positions = 0..;
        status.instances.retain(|_| positions.next().is_some_and(|at| wanted.contains(&at)));
        Ok(status)
    }

    /// Writes what was [selected](Self::select), with the escape sequences of colours.
    pub fn render(&self, out: &mut impl io::Write, status: &Status) -> io::Result<()> {
        header(out, status)?;
        let detailed = self.long || !self.instances.is_empty();
        if detailed || status.instances.len() <= DETAILED {
            details::instances(out, status)?;
        } else {
            table::render(out, &status.instances, self.width)?;
            writeln!(out, "\n{DIM}details: vipd status NAME..., or --long{DIM:#}")?;
        }
        if self.instances.is_empty() {
            if let Some(balancing) = &status.balancing {
                services::lines(out, balancing)?;
            }
            details::tracked(out, &status.tracked)?;
            details::arbiters(out, &status.arbiters)?;
            bfd::lines(out, &status.bfd_sessions)?;
            probes::lines(out, &status.probes)?;
            status.sponsors.iter().try_for_each(|sponsors| early::sponsors(out, sponsors))?;
        }
        if self.long {
            scripts(out, status)?;
            details::counters(out, &status.counters)?;
        }
        Ok(())
    }
}

/// What checks and notify scripts have said in their last run.
fn scripts(out: &mut impl io::Write, status: &Status) -> io::Result<()> {
    let checks: Vec<_> = status.tracked.iter().filter(|tracked| tracked.run.is_some()).collect();
    if checks.is_empty() && status.notify_scripts.is_empty() {
        return Ok(());
    }
    writeln!(out, "\n{BOLD}last runs{BOLD:#}")?;
    checks.into_iter().try_for_each(|check| explained::tracked(out, check))?;
    status.notify_scripts.iter().try_for_each(|notify| explained::notify(out, notify))
}

fn header(out: &mut impl io::Write, status: &Status) -> io::Result<()> {
    let Status { version, pid, uptime_ms, real_time, host, router_id, config_file, .. } = status;
    write!(out, "{BOLD}vipd {version}{BOLD:#}")?;
    // An older vipd says neither host nor file.
    if !host.is_empty() {
        write!(out, " on {BOLD}{host}{BOLD:#}")?;
    }
    write!(out, ", pid {pid}, up {}", age(*uptime_ms))?;
    if !real_time {
        write!(out, ", {WARN}without real-time scheduling{WARN:#}")?;
    }
    writeln!(out)?;
    let id = router_id.as_ref().map(|id| format!("router_id {id}"));
    let file = Some(config_file).filter(|file| !file.is_empty()).map(|file| format!("configuration {file}"));
    let given: Vec<String> = id.into_iter().chain(file).collect();
    if !given.is_empty() {
        writeln!(out, "{}", given.join(", "))?;
    }
    if let Some(problem) = &status.host_problem {
        writeln!(out, "{WARN}refused by this host{WARN:#}: {problem}")?;
    }
    for HostWarning { about, what, remedy, .. } in &status.host_warnings {
        writeln!(out, "{WARN}warning{WARN:#}: {about}: {what}; {remedy}")?;
    }
    let unvouched = status.instances.iter().filter(|i| i.is_unvouched());
    let unvouched: Vec<&str> = unvouched.map(|i| i.name.as_str()).collect();
    if !unvouched.is_empty() {
        let names = unvouched.join(", ");
        writeln!(out, "{WARN}nobody vouches for this node{WARN:#}: it answers for no VIP of {names}")?;
    }
    if status.drained {
        writeln!(out, "{WARN}drained{WARN:#}: every instance has the lowest priority until `vipd undrain`")?;
    }
    status.restart_needed.iter().try_for_each(|what| writeln!(out, "{WARN}{what}{WARN:#}"))
}

/// The colour of a state.
pub fn style_of(state: &str) -> Style {
    match state {
        "MASTER" => AnsiColor::Green.on_default().bold(),
        "BACKUP" => AnsiColor::Cyan.on_default(),
        "FAULT" => AnsiColor::Red.on_default().bold(),
        _ => DIM,
    }
}

/// What keeps an instance in FAULT, with how long unless that is as long as the FAULT.
pub fn fault_text(i: &InstanceStatus, fault: &FaultStatus) -> String {
    // A check has failed a moment before the state changes.
    let later = fault.since_ms.filter(|ms| ms.abs_diff(i.in_state_ms) >= SAME_MOMENT_MS);
    let since = later.map(|ms| format!(", for {}", age(ms))).unwrap_or_default();
    format!("{}{since}", fault.what)
}

/// Why an instance is in FAULT: the reason of its state, or, if there are several or it is another one by now, each with its age.
pub fn fault_reason(i: &InstanceStatus) -> Option<String> {
    let texts: Vec<String> = i.faults.iter().map(|fault| fault_text(i, fault)).collect();
    let is_plain = texts.iter().zip(&i.faults).all(|(text, fault)| *text == fault.what);
    if texts.is_empty() || texts.len() == 1 && is_plain { i.reason.clone() } else { Some(texts.join("; ")) }
}

/// What is wrong with an instance, or was: in words, nothing if all is well.
pub fn problems(i: &InstanceStatus) -> Vec<String> {
    let unvouched = i.is_unvouched().then(|| "not vouched for".to_owned());
    let counted = [
        (sum(i.discards.values()), "advert", "discarded"),
        (i.leases_revoked, "lease", "revoked"),
        (i.send_errors, "advert", "not sent"),
        (i.address_list_differs, "advert", "with other VIPs"),
    ]
    .into_iter()
    .filter(|(count, ..)| *count > 0)
    .map(|(count, of, what)| format!("{count} {of}{} {what}", if count == 1 { "" } else { "s" }));
    unvouched.into_iter().chain(counted).collect()
}

/// Of numbers that another process has said.
pub fn sum<'n>(numbers: impl Iterator<Item = &'n u64>) -> u64 {
    numbers.fold(0, |sum, number| sum.saturating_add(*number))
}

/// An instance in full, without colours.
pub fn details_of(i: &InstanceStatus) -> String {
    let mut out = Vec::new();
    details::instance(&mut out, i).expect("memory can be written to");
    anstream::adapter::strip_str(&String::from_utf8_lossy(&out)).to_string()
}

/// Two units at most: `3d 4h`, `12m 5s`, `850ms`.
pub fn age(ms: u64) -> String {
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
pub fn tenths(ms: u64) -> String {
    format!("{}.{}s", ms / 1000, ms % 1000 / 100)
}

/// The time between two looks at a status, as a number of seconds.
pub fn interval(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().filter(|seconds| (0.1..=3600.0).contains(seconds));
    let seconds: f64 = seconds.ok_or("expected a number of seconds, 0.1 to 3600")?;
    Ok(Duration::from_secs_f64(seconds))
}
