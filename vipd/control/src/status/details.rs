//! A block of lines for each instance, and what is below them.

use std::{
    collections::BTreeMap,
    fmt::Display,
    io::{self, Write},
    net::IpAddr,
};

use anstyle::Style;

use super::{BOLD, DIM, WARN, age, early, fault_reason, fault_text, style_of, sum, tenths};
use crate::model::{
    ArbiterStatus, InstanceStatus, LineStatus, ProgramHook, Status, TargetStatus, TrackedStatus,
};

/// VIPs on one line.
const VIPS_A_LINE: usize = 3;
/// VIPs listed; the JSON has all of them.
const VIPS: usize = 12;

pub fn instances(out: &mut impl Write, status: &Status) -> io::Result<()> {
    status.instances.iter().try_for_each(|i| instance(out, i))
}

/// Where its program runs.
fn hook(i: &InstanceStatus) -> &'static str {
    match i.xdp_mode {
        ProgramHook::Native => ", XDP native",
        ProgramHook::Tc => ", tc ingress",
        ProgramHook::Nowhere => "",
    }
}

/// The block of one, with an empty line before it.
pub fn instance(out: &mut impl Write, i: &InstanceStatus) -> io::Result<()> {
    let (name, state, style) = (&i.name, &i.state, style_of(&i.state));
    let reason = shown_reason(i).map(|reason| format!(" {DIM}({reason}){DIM:#}")).unwrap_or_default();
    writeln!(out, "\n{BOLD}{name}{BOLD:#}: {style}{state}{style:#} for {}{reason}", age(i.in_state_ms))?;
    row(out, "router", format_args!("vrid {} on {}, VRRPv{}{}", i.vrid, i.interface, i.version, hook(i)))?;
    if let Some(reason) = &i.xdp_mode_reason {
        row(out, "not native", reason)?;
    }
    if let Some(group) = &i.sync_group {
        row(out, "sync group", group)?;
    }
    for (n, fault) in i.faults.iter().enumerate() {
        row(out, if n == 0 { "fault" } else { "" }, format_args!("{WARN}{}{WARN:#}", fault_text(i, fault)))?;
    }
    priority(out, i)?;
    master(out, i)?;
    if let Some(ms) = i.lease_remaining_ms {
        let least = i.lease_margin_least_us.map(|us| format!(", recent minimum {}", tenths(us / 1000)));
        let of = format_args!(
            "{} of {} left ({}){}",
            tenths(ms),
            tenths(i.lease_length_ms),
            i.lease,
            least.unwrap_or_default()
        );
        row(out, "lease", of)?;
    } else if i.fencing {
        row(out, "takeover", format_args!("{WARN}when fence_script has succeeded{WARN:#}"))?;
    } else if i.master_down_in_ms == Some(0) && i.sync_group.is_some() {
        row(out, "takeover", "when its sync group takes over")?;
    } else if let Some(ms) = i.master_down_in_ms {
        row(out, "takeover", format_args!("in {} without an advert", tenths(ms)))?;
    }
    for (n, line) in early::of_instance(i).into_iter().enumerate() {
        row(out, if n == 0 { "early" } else { "" }, line)?;
    }
    for line in i.lines.iter().filter(|_| i.lines.len() > 1) {
        row(out, "link", line_text(line))?;
    }
    if let Some(mac) = &i.virtual_mac {
        row(out, "mac", mac)?;
    }
    if !i.unicast_peers.is_empty() {
        row(out, "peers", join(&i.unicast_peers))?;
    }
    vips(out, "vips", &i.vips, &i.vip_answers)?;
    if !i.vips_excluded.is_empty() {
        vips(out, "excluded", &i.vips_excluded, &i.vip_answers)?;
    }
    row(out, "answered", format_args!("{} ARP and ND requests", sum(i.vip_answers.values())))?;
    row(out, "adverts", format_args!("{} sent, {} received", i.adverts_sent, i.adverts_received))?;
    if let Some(error) = &i.advert_error {
        let what =
            if i.adverts_blocked { "the last did not leave" } else { "the last did not leave everywhere" };
        row(out, "", format_args!("{WARN}{what}: {error}{WARN:#}"))?;
    }
    if i.split_brain {
        row(
            out,
            "conflict",
            format_args!("{WARN}split brain: another router acts as the owner too{WARN:#}"),
        )?;
        if let Some(cause) = &i.split_brain_cause {
            row(out, "", format_args!("{WARN}{cause}{WARN:#}"))?;
        }
    }
    if !i.split_brain && i.split_brains > 0 {
        let times = if i.split_brains == 1 { "once".to_owned() } else { format!("{} times", i.split_brains) };
        row(
            out,
            "conflict",
            format_args!(
                "{WARN}split brain {times} since the start, over now: vipd events {}{WARN:#}",
                i.name
            ),
        )?;
    }
    if i.address_conflicts > 0 {
        let times = match i.address_conflicts {
            1 => "once".to_owned(),
            count => format!("{count} times"),
        };
        let what = format_args!(
            "{WARN}other stations have claimed a VIP of this master {times}: vipd events {}{WARN:#}",
            i.name
        );
        row(out, "claimed", what)?;
    }
    if !i.mismatches.is_empty() {
        let what = i.mismatches.join(", ");
        row(out, "mismatch", format_args!("{WARN}other routers differ in {what}{WARN:#}"))?;
    }
    if !i.discards.is_empty() {
        let reasons: Vec<_> = i.discards.iter().map(|(reason, count)| format!("{reason} {count}")).collect();
        row(out, "discarded", format_args!("{WARN}{}{WARN:#}", reasons.join(", ")))?;
    }
    counted(out, i)
}

/// What has been counted that should not be, each in words.
fn counted(out: &mut impl Write, i: &InstanceStatus) -> io::Result<()> {
    let many = |count: u64, one: &str, more: &str| match count {
        1 => format!("1 {one}"),
        count => format!("{count} {more}"),
    };
    for (name, count, text) in [
        (
            "revoked",
            i.leases_revoked,
            many(
                i.leases_revoked,
                "time the eBPF program ended the lease",
                "times the eBPF program ended the lease",
            ),
        ),
        ("not sent", i.send_errors, many(i.send_errors, "advert", "adverts")),
        (
            "other VIPs",
            i.address_list_differs,
            many(i.address_list_differs, "advert that was heard", "adverts that were heard")
                + " with other addresses than this node's `virtual_ipaddress`",
        ),
    ] {
        if count > 0 {
            row(out, name, format_args!("{WARN}{text}{WARN:#}"))?;
        }
    }
    Ok(())
}

/// The reason of the state; of a FAULT with several causes, or whose first cause is over, the causes below have it.
fn shown_reason(i: &InstanceStatus) -> Option<&str> {
    let is_whole = i.state != "FAULT" || fault_reason(i) == i.reason;
    i.reason.as_deref().filter(|_| is_whole)
}

fn priority(out: &mut impl Write, i: &InstanceStatus) -> io::Result<()> {
    let last = if i.handed_over { " (handed over: lowest priority)" } else { "" };
    // An older vipd does not say it.
    let configured = Some(i.base_priority).filter(|base| *base != 0 && *base != i.priority);
    let configured = configured.map(|base| format!(" (configured {base})")).unwrap_or_default();
    let interval = i.advert_interval_ms;
    row(out, "priority", format_args!("{}{configured}{last}, adverts every {interval} ms", i.priority))?;
    for track in i.tracks.iter().filter(|track| track.adds != 0) {
        row(out, "", format_args!("{:+} {}", track.adds, track.state))?;
    }
    if !i.preempt && i.base_priority != 0 {
        row(out, "nopreempt", "a running master of lower priority is left alone")?;
    }
    if let Some(left) = i.preempt_delay_left_ms {
        row(out, "preempt", format_args!("preempt_delay ends in {}", tenths(left)))?;
    }
    Ok(())
}

fn master(out: &mut impl Write, i: &InstanceStatus) -> io::Result<()> {
    let Some(master) = &i.master else { return row(out, "master", "none heard") };
    let since = i.master_since_ms.filter(|_| i.state != "MASTER");
    let since = since.map(|ms| format!(", for {}", age(ms))).unwrap_or_default();
    row(out, "master", format_args!("{} priority {}{since}", master.address, master.priority))
}

/// A line that adverts go over.
pub fn line_text(line: &LineStatus) -> String {
    let what = if line.heartbeat { "heartbeat" } else { "own" };
    let heard = line.heard_ms_ago.map(|ms| format!(", advert {ms} ms ago")).unwrap_or_default();
    let sends = if line.sends_fail { format!(", {WARN}adverts do not leave{WARN:#}") } else { String::new() };
    let style = if line.state == "up" { Style::new() } else { WARN };
    format!("{} ({what}): {style}{}{style:#}{heard}{sends}", line.interface, line.state)
}

fn row(out: &mut impl Write, name: &str, value: impl Display) -> io::Result<()> {
    writeln!(out, "  {DIM}{name:<10}{DIM:#} {value}")
}

/// A few to the line, each with how often it was asked for.
fn vips(
    out: &mut impl Write,
    name: &str,
    vips: &[IpAddr],
    answers: &BTreeMap<IpAddr, u64>,
) -> io::Result<()> {
    let shown = &vips[..vips.len().min(VIPS)];
    let width = shown.iter().map(|vip| vip.to_string().len()).max().unwrap_or_default();
    for (n, line) in shown.chunks(VIPS_A_LINE).enumerate() {
        let cells: Vec<_> = line
            .iter()
            .map(|vip| match answers.get(vip) {
                Some(0) | None => format!("{:<width$}", vip.to_string()),
                Some(1) => format!("{:<width$} {DIM}(1 answer){DIM:#}", vip.to_string()),
                Some(count) => format!("{:<width$} {DIM}({count} answers){DIM:#}", vip.to_string()),
            })
            .collect();
        row(out, if n == 0 { name } else { "" }, cells.join("  ").trim_end())?;
    }
    if vips.len() > VIPS {
        row(out, "", format_args!("{DIM}and {} more{DIM:#}", vips.len() - VIPS))?;
    }
    Ok(())
}

fn join(addresses: &[IpAddr]) -> String {
    addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

/// A block for each arbiter.
pub fn arbiters(out: &mut impl Write, arbiters: &[ArbiterStatus]) -> io::Result<()> {
    arbiters.iter().try_for_each(|one| arbiter(out, one))
}

fn arbiter(out: &mut impl Write, arbiter: &ArbiterStatus) -> io::Result<()> {
    let ArbiterStatus { name, reached, quorum, isolated_action, targets, .. } = arbiter;
    let (reached, style) = match reached {
        Some(true) => ("reached", Style::new()),
        Some(false) => ("not reached", WARN),
        None => ("no result yet", DIM),
    };
    let count = targets.iter().filter(|target| target.answers == Some(true)).count();
    writeln!(
        out,
        "\n{BOLD}arbiter {name}{BOLD:#}: {style}{reached}{style:#}, {count} of {} answer, quorum {quorum}, \
         isolated_action {isolated_action}",
        targets.len()
    )?;
    for TargetStatus { target, kind, rtt_us, problem, answered_ms_ago, .. } in targets {
        let last = match (rtt_us, problem, answered_ms_ago) {
            (Some(us), ..) => format!("{}.{:03} ms", us / 1000, us % 1000),
            (None, Some(problem), Some(ms)) => format!("{problem}; last answer {} ago", age(*ms)),
            (None, Some(problem), None) => format!("{problem}; it has never answered"),
            (None, None, _) => "not asked yet".to_owned(),
        };
        row(out, kind, format_args!("{target}: {last}"))?;
    }
    Ok(())
}

/// A line for each thing that is tracked by a name.
pub fn tracked(out: &mut impl Write, tracked: &[TrackedStatus]) -> io::Result<()> {
    if tracked.is_empty() {
        return Ok(());
    }
    writeln!(out, "\n{BOLD}tracked{BOLD:#}")?;
    let width = tracked.iter().map(|t| t.name.chars().count()).max().unwrap_or_default();
    for TrackedStatus { keyword, name, well, value, .. } in tracked {
        let (style, how) = match (well, value) {
            (Some(true), _) => (style_of("MASTER"), "ok".to_owned()),
            (Some(false), _) => (style_of("FAULT"), "failed".to_owned()),
            (None, Some(number)) => (DIM, number.to_string()),
            (None, None) => (DIM, "no result yet".to_owned()),
        };
        writeln!(out, "  {name:<width$}  {style}{how}{style:#} {DIM}({keyword}){DIM:#}")?;
    }
    Ok(())
}

/// What the XDP program has counted, without what never was.
pub fn counters(out: &mut impl Write, counters: &BTreeMap<String, u64>) -> io::Result<()> {
    writeln!(out, "\n{BOLD}counters of all instances{BOLD:#}")?;
    let counted: Vec<_> = counters.iter().filter(|(_, count)| **count > 0).collect();
    if counted.is_empty() {
        return writeln!(out, "  {DIM}nothing counted{DIM:#}");
    }
    let width = counted.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
    counted.into_iter().try_for_each(|(name, count)| writeln!(out, "  {name:<width$}  {count}"))
}
