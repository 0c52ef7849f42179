//! `vipd status` for people.

use std::{fmt::Display, io};

use crate::control::model::{ArbiterStatus, InstanceStatus, LineStatus, Status, TargetStatus};

/// Writes a block of lines for each instance.
pub fn render(out: &mut impl io::Write, status: &Status) -> io::Result<()> {
    writeln!(
        out,
        "vipd {}, pid {}, up {}{}",
        status.version,
        status.pid,
        age(status.uptime_ms),
        if status.real_time { "" } else { ", without real-time scheduling" }
    )?;
    if status.drained {
        writeln!(out, "drained: its instances rank last until `vipd undrain`")?;
    }
    status.instances.iter().try_for_each(|instance| render_instance(out, instance))?;
    status.arbiters.iter().try_for_each(|arbiter| render_arbiter(out, arbiter))
}

fn render_instance(out: &mut impl io::Write, i: &InstanceStatus) -> io::Result<()> {
    let reason = i.reason.as_deref().map(|reason| format!(" ({reason})")).unwrap_or_default();
    writeln!(out, "\n{}: {} for {}{reason}", i.name, i.state, age(i.in_state_ms))?;
    let mut row = |name: &str, value: &dyn Display| writeln!(out, "  {name:<10} {value}");
    row(
        "router",
        &format_args!("vrid {} on {}, VRRPv{}, XDP {}", i.vrid, i.interface, i.version, i.xdp_mode),
    )?;
    if let Some(group) = &i.sync_group {
        row("group", group)?;
    }
    row("priority", &format_args!("{}, adverts every {} ms", i.priority, i.advert_interval_ms))?;
    match &i.master {
        Some(master) => row("master", &format_args!("{} priority {}", master.address, master.priority))?,
        None => row("master", &"none heard")?,
    }
    match (i.lease_remaining_ms, i.master_down_in_ms) {
        (Some(ms), _) => row("lease", &format_args!("{ms} ms left ({})", i.lease))?,
        (None, Some(ms)) => row("takeover", &format_args!("in {ms} ms of silence"))?,
        (None, None) => {}
    }
    for line in i.lines.iter().filter(|_| i.lines.len() > 1) {
        row("line", &line_text(line))?;
    }
    if let Some(mac) = &i.virtual_mac {
        row("mac", mac)?;
    }
    if !i.unicast_peers.is_empty() {
        let peers: Vec<_> = i.unicast_peers.iter().map(ToString::to_string).collect();
        row("peers", &peers.join(" "))?;
    }
    let vips: Vec<_> = i.vips.iter().chain(&i.vips_excluded).map(ToString::to_string).collect();
    row("vips", &vips.join(" "))?;
    row("adverts", &format_args!("{} sent, {} received", i.adverts_sent, i.adverts_received))?;
    if !i.discards.is_empty() {
        let reasons: Vec<_> = i.discards.iter().map(|(reason, count)| format!("{reason} {count}")).collect();
        row("discarded", &reasons.join(", "))?;
    }
    Ok(())
}

/// A line that adverts go over.
fn line_text(line: &LineStatus) -> String {
    let what = if line.heartbeat { "heartbeat" } else { "own" };
    let heard = line.heard_ms_ago.map(|ms| format!(", advert {ms} ms ago")).unwrap_or_default();
    let sends = if line.sends_fail { ", adverts do not leave" } else { "" };
    format!("{} ({what}): {}{heard}{sends}", line.interface, line.state)
}

fn render_arbiter(out: &mut impl io::Write, arbiter: &ArbiterStatus) -> io::Result<()> {
    let ArbiterStatus { name, reached, quorum, isolated_action, targets, .. } = arbiter;
    let reached = match reached {
        Some(true) => "reached",
        Some(false) => "not reached",
        None => "not known yet",
    };
    let count = targets.iter().filter(|target| target.answers == Some(true)).count();
    writeln!(
        out,
        "\narbiter {name}: {reached}, {count} of {} answer, quorum {quorum}, isolated_action {isolated_action}",
        targets.len()
    )?;
    for TargetStatus { target, kind, rtt_us, problem, answered_ms_ago, .. } in targets {
        let last = match (rtt_us, problem, answered_ms_ago) {
            (Some(us), ..) => format!("{}.{:03} ms", us / 1000, us % 1000),
            (None, Some(problem), Some(ms)) => format!("{problem}; the last one {} ago", age(*ms)),
            (None, Some(problem), None) => format!("{problem}; never yet"),
            (None, None, _) => "not asked yet".to_owned(),
        };
        writeln!(out, "  {kind:<10} {target}: {last}")?;
    }
    Ok(())
}

/// Two units at most: `3d 4h`, `12m 5s`, `850ms`.
fn age(ms: u64) -> String {
    let s = ms / 1000;
    match s {
        0 => format!("{ms}ms"),
        1..60 => format!("{s}s"),
        60..3600 => format!("{}m {}s", s / 60, s % 60),
        3600..86_400 => format!("{}h {}m", s / 3600, s % 3600 / 60),
        _ => format!("{}d {}h", s / 86_400, s % 86_400 / 3600),
    }
}

#[cfg(test)]
mod tests {
    use super::{age, line_text};
    use crate::control::model::LineStatus;

    #[test]
    fn lines() {
        let line = LineStatus {
            interface: "eth1".into(),
            heartbeat: true,
            state: "up".into(),
            heard_ms_ago: Some(412),
            send_errors: 0,
            sends_fail: false,
        };
        assert_eq!(line_text(&line), "eth1 (heartbeat): up, advert 412 ms ago");
        let own = LineStatus { heartbeat: false, heard_ms_ago: None, sends_fail: true, ..line };
        assert_eq!(line_text(&own), "eth1 (own): up, adverts do not leave");
    }

    #[test]
    fn ages() {
        for (ms, expect) in [
            (0, "0ms"),
            (999, "999ms"),
            (1000, "1s"),
            (59_999, "59s"),
            (60_000, "1m 0s"),
            (3_599_000, "59m 59s"),
            (3_600_000, "1h 0m"),
            (86_399_000, "23h 59m"),
            (90_000_000, "1d 1h"),
        ] {
            assert_eq!(age(ms), expect, "{ms}");
        }
    }
}
