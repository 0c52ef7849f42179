//! `vipd status --check`: one line and an exit code, as Nagios and its relatives take them.
//!
//! What is critical and what is a warning is documented in `docs/operate/monitoring.md`.

use std::{fmt, process::ExitCode};

use super::status::{age, fault_reason, sum};
use crate::{
    control::{
        ClientError,
        model::{BalancingStatus, InstanceStatus, LineStatus, RealServerStatus, Status, TrackedStatus},
    },
    events::Record,
};

/// Problems that the line has room for.
const TOLD: usize = 8;
/// How long an address conflict stays critical. While one goes on, its event comes at least once an hour.
const CONFLICT_MS: u64 = 3_600_000;

/// How well a node is, as an exit code of a monitoring plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum ServiceState {
    Ok = 0,
    Warning = 1,
    Critical = 2,
    Unknown = 3,
}

impl fmt::Display for ServiceState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ok => "OK",
            Self::Warning => "WARNING",
            Self::Critical => "CRITICAL",
            Self::Unknown => "UNKNOWN",
        })
    }
}

impl From<ServiceState> for ExitCode {
    fn from(health: ServiceState) -> Self {
        Self::from(health as u8)
    }
}

/// What is said of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MonitoringResult {
    pub health: ServiceState,
    text: String,
    /// Empty, or what follows the bar.
    performance: String,
}

impl fmt::Display for MonitoringResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A bar begins performance data, and there is one line only.
        let text = self.text.replace('|', "/").split_whitespace().collect::<Vec<_>>().join(" ");
        write!(f, "VIPD {} - {text}", self.health)?;
        if self.performance.is_empty() { Ok(()) } else { write!(f, " | {}", self.performance) }
    }
}

impl MonitoringResult {
    fn without_a_status(health: ServiceState, text: String) -> Self {
        Self { health, text, performance: String::new() }
    }

    /// Of what cannot be asked for, such as an instance that is not there.
    pub fn unknown(why: &dyn fmt::Display) -> Self {
        Self::without_a_status(ServiceState::Unknown, why.to_string())
    }

    /// Of a vipd that has not answered: without one the node serves nothing, unless only the right to ask is missing.
    pub fn of_silence(error: ClientError) -> Self {
        let health = match &error {
            ClientError::NotRunning(_) | ClientError::Unresponsive { .. } => ServiceState::Critical,
            ClientError::Io { source, .. } if source.kind() == std::io::ErrorKind::TimedOut => {
                ServiceState::Critical
            }
            _ => ServiceState::Unknown,
        };
        Self::without_a_status(health, format!("{:#}", anyhow::Error::new(error)))
    }

    /// Of a status. `whole` if no instance was asked for by name: then what is tracked counts too.
    pub fn of(status: &Status, whole: bool, events: &[Record]) -> Self {
        let mut problems = of_node(status, whole);
        problems.extend(status.instances.iter().flat_map(of_instance));
        problems.extend(conflicts(status, events));
        problems.extend(status.balancing.iter().filter(|_| whole).flat_map(of_services));
        // Stable: the worst first, each kind in the order of the configuration.
        problems.sort_by_key(|(health, _)| std::cmp::Reverse(*health));
        let health = problems.first().map_or(ServiceState::Ok, |(health, _)| *health);
        let texts: Vec<String> = problems.into_iter().map(|(_, text)| text).collect();
        let text = match texts.split_at(texts.len().min(TOLD)) {
            ([], _) => states(status),
            (all, []) => all.join("; "),
            (some, rest) => format!("{}; and {} more", some.join("; "), rest.len()),
        };
        Self { health, text, performance: performance(status) }
    }
}

type Problem = (ServiceState, String);

fn of_node(status: &Status, whole: bool) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut warn = |is: bool, text: String| {
        if is {
            problems.push((ServiceState::Warning, text));
        }
    };
    warn(status.drained, "the node is drained".into());
    warn(!status.real_time, "vipd has no real-time scheduling".into());
    for what in &status.restart_needed {
        warn(true, what.clone());
    }
    for TrackedStatus { keyword, name, .. } in
        status.tracked.iter().filter(|t| whole && t.well == Some(false))
    {
        warn(true, format!("{keyword} {name} fails"));
    }
    let ignored = |t: &&TrackedStatus| whole && t.keyword == "vrrp_script" && t.problem.is_some();
    for TrackedStatus { keyword, name, problem, .. } in status.tracked.iter().filter(ignored) {
        warn(true, format!("{keyword} {name} is ignored: {}", problem.as_deref().unwrap_or_default()));
    }
    problems
}

fn of_services(balancing: &BalancingStatus) -> Vec<Problem> {
    let mut problems: Vec<Problem> = Vec::new();
    if let Some(problem) = &balancing.problem {
        problems.push((ServiceState::Critical, format!("services: {problem}")));
    }
    for service in &balancing.services {
        let (name, all) = (service.title(), service.servers.len());
        let up = service.servers.iter().filter(|server| server.is_well()).count();
        let drained = |server: &&RealServerStatus| ["draining", "drained"].contains(&server.state.as_str());
        let down = all - up - service.servers.iter().filter(drained).count();
        if let Some(refused) = &service.refused {
            problems.push((ServiceState::Critical, format!("{name}: {refused}")));
        }
        match (up, down) {
            (0, _) if all > 0 => {
                problems.push((ServiceState::Critical, format!("{name}: none of {all} servers is up")))
            }
            (_, 1..) => {
                problems.push((ServiceState::Warning, format!("{name}: {up} of {all} servers are up")))
            }
            (_, 0) => {}
        }
    }
    problems
}

fn of_instance(i: &InstanceStatus) -> Vec<Problem> {
    let name = &i.name;
    let mut problems = Vec::new();
    let mut add = |health: ServiceState, is: bool, text: String| {
        if is {
            problems.push((health, format!("{name}: {text}")));
        }
    };
    let reason = fault_reason(i).unwrap_or_else(|| "no reason given".to_owned());
    add(ServiceState::Critical, i.state == "FAULT", format!("FAULT for {} ({reason})", age(i.in_state_ms)));
    let cause = i.split_brain_cause.as_ref().map(|cause| format!(" ({cause})")).unwrap_or_default();
    add(
        ServiceState::Critical,
        i.split_brain,
        format!("split brain, another router acts as the owner too{cause}"),
    );
    let without_lease = i.state == "MASTER" && i.lease_remaining_ms.is_none();
    add(ServiceState::Critical, without_lease, "MASTER without a lease, its VIPs are not answered".into());
    let unvouched = "MASTER, and nobody vouches for this node, its VIPs are not answered";
    add(ServiceState::Critical, i.is_unvouched(), unvouched.into());
    if let Some((health, text)) = unsent(i) {
        add(health, true, text);
    }
    let waits = !matches!(i.state.as_str(), "MASTER" | "BACKUP" | "FAULT");
    add(ServiceState::Warning, waits, format!("{} for {}", i.state, age(i.in_state_ms)));
    add(
        ServiceState::Warning,
        i.state == "BACKUP" && i.master.is_none(),
        "BACKUP, and no master has been heard".into(),
    );
    add(ServiceState::Warning, i.handed_over, "handed over, it ranks last".into());
    let differs = i.mismatches.join(", ");
    add(ServiceState::Warning, !i.mismatches.is_empty(), format!("other routers differ in {differs}"));
    let late = i.lease_margin_least_us.is_some_and(|us| us / 1000 < i.advert_interval_ms);
    add(ServiceState::Warning, late, "the lease nearly ran out in the last two minutes".into());
    for LineStatus { interface, state, sends_fail, .. } in &i.lines {
        add(
            ServiceState::Warning,
            i.state != "FAULT" && state != "up",
            format!("line {interface} is {state}"),
        );
        add(
            ServiceState::Warning,
            *sends_fail && !i.adverts_blocked,
            format!("adverts do not leave on {interface}"),
        );
    }
    problems
}

/// Adverts that do not leave. A backup has tried when it was to take over, and may yet hear a master since.
fn unsent(i: &InstanceStatus) -> Option<Problem> {
    let error = i.advert_error.as_deref()?;
    let text = match (i.state.as_str(), &i.master) {
        ("BACKUP", Some(_)) if i.adverts_blocked => {
            format!("its last advert did not leave ({error}), it may be unable to take over")
        }
        ("BACKUP", None) if i.adverts_blocked => {
            format!("its adverts do not leave ({error}), it cannot become MASTER")
        }
        (_, _) if i.adverts_blocked => format!("its adverts do not leave ({error})"),
        // Of its links it is said below.
        _ if i.lines.iter().any(|line| line.sends_fail) => return None,
        _ => format!("an advert does not leave ({error})"),
    };
    let is_alone = i.state == "MASTER" || i.master.is_none();
    let health = if i.adverts_blocked && is_alone { ServiceState::Critical } else { ServiceState::Warning };
    Some((health, text))
}

/// A conflict is told by its event, which says when it was; the count does not.
fn conflicts(status: &Status, events: &[Record]) -> Vec<Problem> {
    // What the daemon's clock says now.
    let Some(now) = status.instances.iter().map(|i| i.since_unix_ms.saturating_add(i.in_state_ms)).max()
    else {
        return Vec::new();
    };
    let of = |i: &InstanceStatus| {
        let text = |record: &Record, field: &str| {
            record.fields.get(field).and_then(|value| value.as_str()).unwrap_or("?").to_owned()
        };
        let last = events.iter().rev().find(|record| {
            record.event == "address_conflict"
                && record.fields.get("instance").and_then(|name| name.as_str()) == Some(&i.name)
        })?;
        let ago = now.saturating_sub(last.time_unix_ms);
        (ago < CONFLICT_MS).then(|| {
            let (vip, mac) = (text(last, "vip"), text(last, "their_mac"));
            (ServiceState::Critical, format!("{}: {mac} claimed {vip} {} ago", i.name, age(ago)))
        })
    };
    status.instances.iter().filter_map(of).collect()
}

fn count(status: &Status, state: &str) -> usize {
    status.instances.iter().filter(|i| i.state == state).count()
}

fn states(status: &Status) -> String {
    let instances = status.instances.len();
    let counts: Vec<String> = ["MASTER", "BACKUP"]
        .into_iter()
        .filter_map(|state| Some((count(status, state), state)).filter(|(count, _)| *count > 0))
        .map(|(count, state)| format!("{count} {state}"))
        .collect();
    format!("{instances} instance{}: {}", if instances == 1 { "" } else { "s" }, counts.join(", "))
}

/// Gauges and counters over all instances; of the lease the least.
fn performance(status: &Status) -> String {
    let total = |of: fn(&InstanceStatus) -> u64| {
        status.instances.iter().fold(0, |all: u64, i| all.saturating_add(of(i)))
    };
    let [masters, backups, faults] = ["MASTER", "BACKUP", "FAULT"].map(|state| count(status, state));
    let mut data = vec![
        format!("instances={}", status.instances.len()),
        format!("master={masters}"),
        format!("backup={backups}"),
        format!("fault={faults};;0"),
        format!("became_master={}c", total(|i| i.became_master)),
        format!("adverts_sent={}c", total(|i| i.adverts_sent)),
        format!("adverts_received={}c", total(|i| i.adverts_received)),
        format!("adverts_discarded={}c", total(|i| sum(i.discards.values()))),
        format!("address_conflicts={}c", total(|i| i.address_conflicts)),
        format!("answers={}c", total(|i| sum(i.vip_answers.values()))),
    ];
    if let Some(us) = status.instances.iter().filter_map(|i| i.lease_margin_least_us).min() {
        data.push(format!("lease_margin_least={us}us"));
    }
    data.join(" ")
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, io, path::PathBuf};

    use super::*;
    use crate::control::model::samples;

    /// A node with which all is well.
    fn healthy() -> Status {
        let mut status = samples::status();
        status.instances.truncate(2);
        status.instances[0].lines.clear();
        status.tracked.retain(|t| t.well != Some(false));
        status.balancing = None;
        status
    }

    fn block(i: &mut InstanceStatus) {
        (i.adverts_blocked, i.advert_error) = (true, Some("Operation not permitted".into()));
    }

    fn said(status: &Status) -> (ServiceState, String) {
        let verdict = MonitoringResult::of(status, true, &[]);
        (verdict.health, verdict.text)
    }

    #[test]
    fn the_line_is_one_with_performance_data() {
        let verdict = MonitoringResult::of(&healthy(), true, &[]);
        assert_eq!(
            verdict.to_string(),
            "VIPD OK - 2 instances: 1 MASTER, 1 BACKUP | instances=2 master=1 backup=1 fault=0;;0 became_master=2c \
             adverts_sent=600c adverts_received=3600c adverts_discarded=12c address_conflicts=0c answers=70000c \
             lease_margin_least=2987654us"
        );
        let mut odd = healthy();
        odd.instances[0].name = "a|b\nc".into();
        odd.instances[0].handed_over = true;
        let line = MonitoringResult::of(&odd, true, &[]).to_string();
        assert!(line.starts_with("VIPD WARNING - a/b c: handed over, it ranks last | "), "{line}");
        assert_eq!((line.lines().count(), line.matches('|').count()), (1, 1));
    }

    #[test]
    fn each_problem_has_its_severity() {
        type Change = fn(&mut Status);
        let cases: &[(Change, ServiceState, &str)] = &[
            (|_| {}, ServiceState::Ok, "2 instances: 1 MASTER, 1 BACKUP"),
            (|s| s.instances.truncate(1), ServiceState::Ok, "1 instance: 1 MASTER"),
            (
                |s| s.instances.push(samples::fault("VI_F", 7)),
                ServiceState::Critical,
                "VI_F: FAULT for 5s (link down); VI_F: other routers differ in interval",
            ),
            (
                |s| s.instances[0].split_brain = true,
                ServiceState::Critical,
                "VI_1: split brain, another router acts as the owner too",
            ),
            (
                |s| {
                    s.instances[0].split_brain = true;
                    s.instances[0].split_brain_cause = Some("make `advert_int` the same".into());
                },
                ServiceState::Critical,
                "VI_1: split brain, another router acts as the owner too (make `advert_int` the same)",
            ),
            (
                |s| s.instances[0].early = samples::unvouched().instances[0].early.clone(),
                ServiceState::Critical,
                "VI_1: MASTER, and nobody vouches for this node, its VIPs are not answered",
            ),
            (
                |s| s.instances[0].lease_remaining_ms = None,
                ServiceState::Critical,
                "VI_1: MASTER without a lease, its VIPs are not answered",
            ),
            (|s| s.drained = true, ServiceState::Warning, "the node is drained"),
            (
                |s| s.restart_needed = vec!["metrics_listen needs a restart".into()],
                ServiceState::Warning,
                "metrics_listen needs a restart",
            ),
            (|s| s.real_time = false, ServiceState::Warning, "vipd has no real-time scheduling"),
            (
                |s| s.tracked = samples::status().tracked,
                ServiceState::Warning,
                "vrrp_track_process haproxy fails",
            ),
            (
                |s| s.balancing = Some(samples::balancing()),
                ServiceState::Critical,
                "fwmark 7: none of 1 servers is up; 10.0.0.3:80 TCP: 1 of 3 servers are up",
            ),
            (|s| s.instances[1].state = "INIT".into(), ServiceState::Warning, "VI_6: INIT for 1h 0m"),
            (
                |s| s.instances[1].master = None,
                ServiceState::Warning,
                "VI_6: BACKUP, and no master has been heard",
            ),
            (
                |s| s.instances[1].handed_over = true,
                ServiceState::Warning,
                "VI_6: handed over, it ranks last",
            ),
            (
                |s| s.instances[1].mismatches = vec!["interval".into(), "version".into()],
                ServiceState::Warning,
                "VI_6: other routers differ in interval, version",
            ),
            (
                |s| s.instances[0].lease_margin_least_us = Some(999_999),
                ServiceState::Warning,
                "VI_1: the lease nearly ran out in the last two minutes",
            ),
            (
                |s| s.instances[0].lines = samples::master("", 1).lines,
                ServiceState::Warning,
                "VI_1: line eth1 is down",
            ),
            (
                |s| {
                    s.instances[0].lines = samples::master("", 1).lines;
                    s.instances[0].lines[1] = LineStatus {
                        state: "up".into(),
                        sends_fail: true,
                        ..s.instances[0].lines[1].clone()
                    };
                },
                ServiceState::Warning,
                "VI_1: adverts do not leave on eth1",
            ),
            (
                |s| block(&mut s.instances[0]),
                ServiceState::Critical,
                "VI_1: its adverts do not leave (Operation not permitted)",
            ),
            (
                |s| {
                    block(&mut s.instances[1]);
                    s.instances[1].master = None;
                },
                ServiceState::Critical,
                "VI_6: its adverts do not leave (Operation not permitted), it cannot become MASTER; VI_6: BACKUP, and no master has \
                 been heard",
            ),
            (
                |s| block(&mut s.instances[1]),
                ServiceState::Warning,
                "VI_6: its last advert did not leave (Operation not permitted), it may be unable to take over",
            ),
            (
                |s| s.instances[0].advert_error = Some("to 10.0.0.6: Operation not permitted".into()),
                ServiceState::Warning,
                "VI_1: an advert does not leave (to 10.0.0.6: Operation not permitted)",
            ),
        ];
        for (change, health, text) in cases {
            let mut status = healthy();
            change(&mut status);
            assert_eq!(said(&status), (*health, (*text).to_owned()));
        }
    }

    #[test]
    fn the_worst_comes_first_and_the_line_has_an_end() {
        let mut status = healthy();
        status.drained = true;
        status.instances[1].split_brain = true;
        let (health, text) = said(&status);
        assert_eq!(health, ServiceState::Critical);
        assert!(text.starts_with("VI_6: split brain") && text.ends_with("the node is drained"), "{text}");
        status.instances = (1..=20).map(|n| samples::fault(&format!("F{n}"), n)).collect();
        let (_, text) = said(&status);
        assert!(
            text.contains("F8: FAULT") && !text.contains("F9:") && text.ends_with("; and 33 more"),
            "{text}"
        );
    }

    #[test]
    fn what_is_tracked_counts_only_for_the_whole_node() {
        let mut status = healthy();
        status.tracked = samples::status().tracked;
        assert_eq!(MonitoringResult::of(&status, false, &[]).health, ServiceState::Ok);
        assert_eq!(MonitoringResult::of(&status, true, &[]).health, ServiceState::Warning);
    }

    #[test]
    fn a_conflict_is_critical_for_an_hour() {
        let status = healthy();
        let now = 1_700_000_000_000 + 3_600_000;
        let conflict = |ago: u64, instance: &str| Record {
            seq: 1,
            time_unix_ms: now - ago,
            level: "WARN".into(),
            event: "address_conflict".into(),
            message: String::new(),
            fields: [("instance", instance), ("vip", "10.0.0.3"), ("their_mac", "02:00:00:00:00:09")]
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value.into()))
                .collect::<BTreeMap<_, _>>(),
        };
        for (events, health) in [
            (vec![conflict(7_000_000, "VI_1"), conflict(90_000, "VI_1")], ServiceState::Critical),
            (vec![conflict(3_599_999, "VI_1")], ServiceState::Critical),
            (vec![conflict(3_600_001, "VI_1")], ServiceState::Ok),
            (vec![conflict(0, "VI_9")], ServiceState::Ok),
            (vec![Record { event: "rival_heard".into(), ..conflict(0, "VI_1") }], ServiceState::Ok),
        ] {
            let verdict = MonitoringResult::of(&status, true, &events);
            assert_eq!(verdict.health, health, "{events:?}: {verdict}");
            if events.len() == 2 {
                assert_eq!(verdict.text, "VI_1: 02:00:00:00:00:09 claimed 10.0.0.3 1m 30s ago");
            }
        }
    }

    #[test]
    fn without_an_answer() {
        let io = |kind| ClientError::Io { path: PathBuf::from("/s"), source: io::Error::from(kind) };
        for (error, health) in [
            (ClientError::NotRunning(PathBuf::from("/s")), ServiceState::Critical),
            (ClientError::Unresponsive { pid: Some(7) }, ServiceState::Critical),
            (io(io::ErrorKind::TimedOut), ServiceState::Critical),
            (io(io::ErrorKind::PermissionDenied), ServiceState::Unknown),
            (ClientError::Refused("the daemon is stopping".into()), ServiceState::Unknown),
        ] {
            let verdict = MonitoringResult::of_silence(error);
            assert_eq!(verdict.health, health, "{verdict}");
            assert!(!verdict.to_string().contains('|'));
        }
    }
}
