//! `vipd explain`, for people.

use std::{
    fmt::Display,
    io::{self, Write},
};

use super::{Explanation, MasterExplained, PriorityExplained};
use crate::{
    model::{NotifyStatus, RunStatus, TrackStatus, TrackedStatus},
    status::{BOLD, DIM, WARN, age, style_of, tenths},
};

/// Writes one explanation, with the escape sequences of colours.
pub fn render(out: &mut impl Write, explanation: &Explanation) -> io::Result<()> {
    let Explanation { host, instance, state, in_state_ms, reason, why, changes_when, .. } = explanation;
    let style = style_of(state);
    let on = if host.is_empty() { String::new() } else { format!(" on {host}") };
    // The causes of a FAULT are below, each with how long it has been.
    let reason = reason
        .as_ref()
        .filter(|_| state != "FAULT" || why.len() < 2)
        .map(|reason| format!(" {DIM}({reason}){DIM:#}"))
        .unwrap_or_default();
    writeln!(out, "{BOLD}{instance}{BOLD:#}{on}: {style}{state}{style:#} for {}{reason}", age(*in_state_ms))?;
    for (n, cause) in why.iter().enumerate() {
        row(out, if n == 0 { "why" } else { "" }, &cause.what)?;
    }
    priority(out, &explanation.priority)?;
    master(out, explanation.master.as_ref())?;
    let head = match state.as_str() {
        "MASTER" => "ends when",
        "FAULT" => "over when",
        _ => "MASTER if",
    };
    for (n, change) in changes_when.iter().enumerate() {
        row(out, if n == 0 { head } else { "or" }, change)?;
    }
    explanation.tracked.iter().try_for_each(|one| tracked(out, one))?;
    explanation.notify_scripts.iter().try_for_each(|one| notify(out, one))
}

fn row(out: &mut impl Write, name: &str, value: impl Display) -> io::Result<()> {
    writeln!(out, "  {DIM}{name:<10}{DIM:#} {value}")
}

fn priority(out: &mut impl Write, priority: &PriorityExplained) -> io::Result<()> {
    let PriorityExplained { effective, configured, lowered_by, tracks } = priority;
    let lowered = match lowered_by {
        Some("drain") => ", the lowest since the node is drained",
        Some(_) => ", the lowest since it was handed over",
        None => "",
    };
    row(out, "priority", format_args!("{effective} (configured {configured}){lowered}"))?;
    tracks.iter().filter(|track| track.weight != 0).try_for_each(|track| {
        let TrackStatus { adds, weight, state, .. } = track;
        let of = if *adds == 0 { format!(" (weight {weight:+})") } else { String::new() };
        row(out, "", format_args!("{adds:+} {state}{of}"))
    })
}

fn master(out: &mut impl Write, master: Option<&MasterExplained>) -> io::Result<()> {
    let Some(MasterExplained { here, address, priority, since_ms, last_advert_ms_ago }) = master else {
        return row(out, "master", "none heard");
    };
    if *here {
        return row(out, "master", format_args!("this node, {address} with priority {priority}"));
    }
    let since = since_ms.map(|ms| format!(", for {}", age(ms))).unwrap_or_default();
    let last = last_advert_ms_ago.map(|ms| format!(", last advert {} ago", tenths(ms))).unwrap_or_default();
    row(out, "master", format_args!("{address} with priority {priority}{since}{last}"))
}

/// How something tracked is, with the last run of a check.
pub fn tracked(out: &mut impl Write, tracked: &TrackedStatus) -> io::Result<()> {
    let TrackedStatus { keyword, name, well, value, in_state_ms, run, count, problem } = tracked;
    let label = match keyword.as_str() {
        "vrrp_script" => "check",
        "track_file" => "file",
        "vrrp_track_process" => "process",
        other => other,
    };
    let state = match (well, value) {
        (Some(true), _) => "ok".to_owned(),
        (Some(false), _) => "failed".to_owned(),
        (None, Some(number)) => format!("has the value {number}"),
        (None, None) => "no result yet".to_owned(),
    };
    let since = in_state_ms.map(|ms| format!(" for {}", age(ms))).unwrap_or_default();
    let count = count.map(|count| format!(", {count} running")).unwrap_or_default();
    let style = if *well == Some(false) { WARN } else { anstyle::Style::new() };
    row(out, label, format_args!("{name}: {style}{state}{style:#}{since}{count}{}", last_run(run.as_ref())))?;
    if let Some(problem) = problem {
        row(out, "", format_args!("{WARN}{problem}{WARN:#}"))?;
    }
    run.iter().try_for_each(|run| output(out, run))
}

/// The last run of a notify script.
pub fn notify(out: &mut impl Write, notify: &NotifyStatus) -> io::Result<()> {
    let NotifyStatus { kind, name, script, run } = notify;
    let of = if kind == "GROUP" { "group " } else { "" };
    let style = if run.succeeded { anstyle::Style::new() } else { WARN };
    let RunStatus { outcome, ended_ms_ago, .. } = run;
    row(
        out,
        "notify",
        format_args!("{script} of {of}{name}: {style}{outcome}{style:#}, {} ago", age(*ended_ms_ago)),
    )?;
    output(out, run)
}

fn last_run(run: Option<&RunStatus>) -> String {
    let Some(RunStatus { outcome, ended_ms_ago, next_in_ms, .. }) = run else { return String::new() };
    let next = next_in_ms.map(|ms| format!(", next run in {}", tenths(ms))).unwrap_or_default();
    format!("; last run {} ago: {outcome}{next}", tenths(*ended_ms_ago))
}

fn output(out: &mut impl Write, run: &RunStatus) -> io::Result<()> {
    run.output.iter().try_for_each(|line| row(out, "", format_args!("{DIM}|{DIM:#} {line}")))
}
