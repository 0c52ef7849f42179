//! One seed: builds its cluster, does its faults, heals, and judges.

use std::{fs, path::Path, thread, time::SystemTime};

use anyhow::{Context, Result};

use crate::{
    actors,
    clock::{Clock, MILLI, SECOND, Time, seconds},
    cluster::{Cluster, Happened},
    fault::{NodeIndex, name},
    healed::{self, Baseline, HostState},
    judge::{self, Case, Change, Finding},
    plan::{Plan, Round},
    watch::Watch,
};

/// What a seed has shown.
#[derive(Debug)]
pub struct Outcome {
    pub faults: Vec<Happened>,
    pub findings: Vec<Finding>,
    /// What was wrong although every fault was over, and commands that failed.
    pub wrong: Vec<String>,
    pub took: Time,
    /// All that happened, for people.
    pub story: String,
}

impl Outcome {
    /// A line for each promise that was broken.
    pub fn violations(&self) -> Vec<String> {
        let found = self.findings.iter().filter(|finding| finding.is_violation()).map(Finding::to_string);
        found.chain(self.wrong.iter().cloned()).collect()
    }
}

/// Runs a seed; logs of a seed with a violation are copied to a directory below `keep`.
pub fn run(plan: &Plan, keep: &Path) -> Result<Outcome> {
    let cluster = Cluster::build(&plan.setup)?;
    let before = cluster.nodes().iter().map(HostState::of).collect::<Result<Vec<_>>>()?;
    let mut wrong = Vec::new();
    let played = play(&cluster, plan, &before, &mut wrong);
    let outcome = match played {
        Ok(outcome) => outcome,
        Err(error) => {
            keep_logs(&cluster, plan, keep, "")?;
            return Err(error.context(format!("seed {}", plan.seed)));
        }
    };
    if !outcome.violations().is_empty() {
        keep_logs(&cluster, plan, keep, &outcome.story)?;
    }
    Ok(outcome)
}

fn play(cluster: &Cluster, plan: &Plan, before: &[HostState], wrong: &mut Vec<String>) -> Result<Outcome> {
    for index in 0..cluster.nodes().len() {
        let mut host = cluster.host(index);
        cluster.start(index, &mut host)?;
    }
    let unsettled = healed::settle(cluster);
    anyhow::ensure!(unsettled.is_empty(), "the cluster has never settled: {unsettled:?}");
    // What comes a moment after a takeover, such as the questions of the self probe, is over too.
    cluster.sleep(2 * SECOND);
    let mut baseline = Baseline::of(cluster)?;
    let watch = Watch::start(cluster)?;
    let watched = cluster.clock.now();
    cluster.sleep(300 * MILLI);
    for (number, round) in plan.rounds.iter().enumerate() {
        let found = play_round(cluster, number, round, &mut baseline)?;
        wrong.extend(found.into_iter().map(|what| format!("after round {}: {what}", number + 1)));
    }
    let until = cluster.clock.now();
    let seen = watch.stop()?;
    wrong.extend(healed::stop(cluster, before)?);
    wrong.extend(cluster.troubles().into_iter().map(|(at, what)| format!("at {:.3} s: {what}", seconds(at))));

    let mut changes = changes(cluster);
    changes.retain(|change| watched <= change.at && change.at < until);
    let case = Case { setup: plan.setup.clone(), faults: cluster.faults(), seen, changes };
    let findings = judge::judge(&case);
    let story = tell(&case, &findings, wrong);
    Ok(Outcome { faults: case.faults, findings, wrong: wrong.clone(), took: cluster.clock.now(), story })
}

fn play_round(
    cluster: &Cluster,
    number: usize,
    round: &Round,
    baseline: &mut Baseline,
) -> Result<Vec<String>> {
    let start = cluster.clock.now();
    thread::scope(|scope| {
        for (place, planned) in round.faults.iter().enumerate() {
            scope.spawn(move || {
                cluster.clock.sleep_until(start + planned.at);
                actors::play(cluster, number * 100 + place, planned.fault, planned.lasts);
            });
        }
    });
    for index in 0..cluster.nodes().len() {
        actors::heal(cluster, index).with_context(|| format!("healing {}", name(index)))?;
    }
    let mut wrong = healed::settle(cluster);
    if wrong.is_empty() {
        // Long enough for what has no cause any more to be found.
        cluster.sleep(2 * cluster.setup.wait() + 2 * SECOND);
        wrong = healed::check(cluster, baseline)?;
    }
    Ok(wrong)
}

/// What the logs of all vipds tell of changes of state.
fn changes(cluster: &Cluster) -> Vec<Change> {
    let mut all = Vec::new();
    for index in cluster.vipds() {
        let log = fs::read_to_string(cluster.node(index).vipd_log()).unwrap_or_default();
        all.extend(log.lines().filter_map(|line| change(cluster.clock, index, line)));
    }
    all.sort_by_key(|change| change.at);
    all
}

fn change(clock: Clock, node: NodeIndex, line: &str) -> Option<Change> {
    if !line.contains("state changed") {
        return None;
    }
    let field = |key: &str| -> Option<String> {
        let (_, rest) = line.split_once(&format!(" {key}="))?;
        Some(rest.trim_start_matches('"').split(['"', ' ']).next()?.to_owned())
    };
    let at = clock.at_wall(stamp(line)?);
    Some(Change { at, node, instance: field("instance")?, from: field("from")?, to: field("to")? })
}

/// The time at the start of a log line, such as `2026-11-28T21:45:35.123456Z`.
pub fn stamp(line: &str) -> Option<SystemTime> {
    let (date, rest) = line.split_once('T')?;
    let (time, _) = rest.split_once('Z')?;
    let mut date = date.splitn(3, '-').map(str::parse::<i64>);
    let (year, month, day) = (date.next()?.ok()?, date.next()?.ok()?, date.next()?.ok()?);
    let mut time = time.splitn(3, ':').map(str::parse::<f64>);
    let (hour, minute, second) = (time.next()?.ok()?, time.next()?.ok()?, time.next()?.ok()?);
    // Days since 1970 by the Gregorian calendar, with years that begin in March.
    let (year, month) = if month <= 2 { (year - 1, month + 9) } else { (year, month - 3) };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1 - 719_468;
    let seconds = days as f64 * 86_400.0 + hour * 3600.0 + minute * 60.0 + second;
    Some(SystemTime::UNIX_EPOCH + std::time::Duration::from_secs_f64(seconds))
}

/// Faults, changes of state and findings in order of time.
fn tell(case: &Case, findings: &[Finding], wrong: &[String]) -> String {
    let mut lines: Vec<(Time, String)> = Vec::new();
    for fault in &case.faults {
        lines.push((fault.start, format!("{} begins", fault.fault)));
        lines.push((fault.end, format!("{} is over", fault.fault)));
    }
    for Change { at, node, instance, from, to } in &case.changes {
        lines.push((*at, format!("    {} {instance}: {from} -> {to}", name(*node))));
    }
    lines.extend(findings.iter().map(|finding| (finding.from, format!("  * {finding}"))));
    for (index, family) in case.setup.families.iter().enumerate() {
        for pair in case.seen.questions.get(index).into_iter().flat_map(|questions| questions.windows(2)) {
            if pair[0].owners != pair[1].owners {
                let owners =
                    |owners: u8| -> Vec<_> { (0..3).filter(|n| owners & 1 << n != 0).map(name).collect() };
                let (before, after) = (owners(pair[0].owners), owners(pair[1].owners));
                lines.push((
                    pair[1].sent,
                    format!("        {} answered by {before:?}, then {after:?}", family.vip()),
                ));
            }
        }
    }
    lines.sort();
    let mut story: String =
        lines.iter().map(|(at, line)| format!("{:10.4} {line}\n", seconds(*at))).collect();
    for what in wrong {
        story += &format!("wrong: {what}\n");
    }
    story
}

fn keep_logs(cluster: &Cluster, plan: &Plan, keep: &Path, story: &str) -> Result<()> {
    let dir = keep.join(format!("seed-{}", plan.seed));
    fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
    fs::write(dir.join("story"), format!("{plan}\n\n{story}"))?;
    for (index, node) in cluster.nodes().iter().enumerate() {
        for (log, kind) in [
            (node.vipd_log(), "log"),
            (node.vipd_conf(), "conf"),
            (node.dir().join("keepalived.log"), "keepalived"),
        ] {
            if log.exists() {
                fs::copy(&log, dir.join(format!("{}.{kind}", name(index))))?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test")]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_a_log_line() {
        let at = |line: &str| stamp(line).unwrap().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        assert_eq!(at("1970-01-01T00:00:00Z x").as_secs(), 0);
        assert_eq!(at("2000-02-29T12:00:00.5Z x").as_millis(), 951_825_600_500);
        assert_eq!(at("2026-11-28T21:45:35.123456Z  INFO x").as_secs(), 1_795_902_335);
        assert!(stamp("no time").is_none() && stamp("2026-11T1Z").is_none());
    }
}
