//! False failovers: takeovers while nothing is wrong with the master but that its machine is busy.
//!
//! All pairs are watched at the same time, each in a lab of its own, so that they suffer the same load. One watch of
//! `--watch` seconds for each load: `--runs` and `--intervals` have no say here. Master, backup and the bench share the
//! cores; the figures come from the kernel's times of the adverts.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use vipd_tests::Lab;

use crate::{
    Options,
    load::{self, Load, RT_PRIORITY},
    report::Report,
    routers::{self, Kind, Router, Spec},
    wire::Wire,
};

const PART: &str = "False failovers";
const INTERVALS: [Duration; 2] = [Duration::from_millis(100), Duration::from_millis(10)];
/// How long the wire has to be as it should before a watch.
const QUIET: Duration = Duration::from_secs(1);
/// What a pair may take for that. With its own load for the only one it may never succeed, which is a figure too.
const SETTLING: Duration = Duration::from_secs(30);
const INSTANCES: u8 = 255;

/// Who is watched: a daemon, and the priority it is asked to run at.
const CONTENDERS: [(Kind, Option<u8>); 4] =
    [(Kind::Vipd, None), (Kind::Keepalived, None), (Kind::Keepalived, Some(RT_PRIORITY)), (Kind::Frr, None)];

pub fn run(options: &Options, report: &mut Report) -> Result<()> {
    let watch = Duration::from_secs(options.watch);
    report.note(PART, format!("one watch of {} s for each load; {}", options.watch, load::throttling()));
    under_loads(watch, report)?;
    with_many_instances(watch, report)
}

fn under_loads(watch: Duration, report: &mut Report) -> Result<()> {
    let mut pairs = Vec::new();
    for interval in INTERVALS {
        for (kind, rt_priority) in CONTENDERS {
            pairs.push(Pair::start(kind, Spec { rt_priority, ..Spec::single(interval) })?);
        }
    }
    for load in Load::ALL {
        for pair in &pairs {
            pair.settle(load.name(), report)?;
        }
        let hogs = match load.start() {
            Ok(hogs) => hogs,
            Err(error) => {
                report.note(PART, format!("no load {:?}: {error:#}", load.name()));
                continue;
            }
        };
        pairs.iter().try_for_each(|pair| pair.wire.restart())?;
        thread::sleep(watch);
        drop(hogs);
        for pair in &mut pairs {
            pair.tell(load.name(), report)?;
        }
    }
    Ok(())
}

/// The pair's own work is the load, so one pair at a time.
fn with_many_instances(watch: Duration, report: &mut Report) -> Result<()> {
    let vips = (1..=INSTANCES).map(|i| vec![[10, 1, 0, i].into()]).collect::<Vec<_>>();
    let what = format!("{INSTANCES} instances");
    for (kind, rt_priority) in CONTENDERS.into_iter().filter(|(kind, _)| *kind != Kind::Frr) {
        let spec = Spec { rt_priority, vips: vips.clone(), ..Spec::single(INTERVALS[INTERVALS.len() - 1]) };
        let mut pair = Pair::start(kind, spec)?;
        pair.settle(&what, report)?;
        pair.wire.restart()?;
        thread::sleep(watch);
        pair.tell(&what, report)?;
    }
    Ok(())
}

/// A master, its backup, and the watch of their adverts at a client.
struct Pair {
    name: String,
    spec: Spec,
    // Before the lab: daemons end before their namespaces.
    routers: [Router; 2],
    wire: Wire,
    _lab: Lab,
}

impl Pair {
    fn start(kind: Kind, spec: Spec) -> Result<Self> {
        let name = match spec.rt_priority {
            Some(priority) => format!("{}, vrrp_rt_priority {priority}", kind.name()),
            None => kind.name().to_owned(),
        };
        let lab = routers::lab()?;
        let (lb01, lb02) = (lab.node("lb01"), lab.node("lb02"));
        let master = lb01.ip().context("a master has an address")?;
        let wire = Wire::watch(lab.node("client").ns(), spec.interval, &[master.into()], None)?;
        let better = Router::start(lb01, kind, &spec, 150)?;
        better.wait(lb01, "MASTER").with_context(|| name.clone())?;
        let routers = [better, Router::start(lb02, kind, &spec, 100)?];
        Ok(Self { name, spec, routers, wire, _lab: lab })
    }

    /// Waits until for some time the rightful master alone has advertised everything, and in time.
    fn settle(&self, what: &str, report: &mut Report) -> Result<()> {
        let begin = Instant::now();
        let all = self.spec.vips.len();
        while begin.elapsed() < SETTLING {
            self.wire.restart()?;
            thread::sleep(QUIET);
            let seen = self.wire.seen()?;
            if (seen.routers, seen.rightful, seen.changes) == (all, all, 0) {
                return Ok(());
            }
        }
        report.note(
            PART,
            format!(
                "{}, adverts every {} ms: not at rest before the watch ({what})",
                self.name,
                self.spec.interval.as_millis()
            ),
        );
        Ok(())
    }

    fn tell(&mut self, load: &str, report: &mut Report) -> Result<()> {
        let seen = self.wire.seen()?;
        let what = format!("{load}, adverts every {} ms", self.spec.interval.as_millis());
        for router in &mut self.routers {
            let daemon = router.daemon();
            ensure!(daemon.is_running(), "{} has ended:\n{}", daemon.name, daemon.log());
            // The kernel kills keepalived at its own limit of real time, and its parent starts it again, later each time.
            let deaths = daemon.log().matches("died: Respawning").count();
            if deaths > 0 {
                let who = format!("{} ({})", daemon.name, self.name);
                report.note(PART, format!("{what}: {who} was killed and restarted {deaths} times so far"));
            }
        }
        let gap = seen.longest_gap.as_secs_f64() / self.spec.interval.as_secs_f64();
        for (metric, unit, value) in [
            ("false failovers", "takeovers", seen.takeovers as f64),
            ("changes of the sender", "changes", seen.changes as f64),
            ("later than 1.5 intervals", "adverts", seen.late as f64),
            ("longest gap", "intervals", gap),
            ("silent at the end", "virtual routers", seen.silent as f64),
        ] {
            report.add(PART, &what, &self.name, metric, unit, value);
        }
        if seen.missed > 0 {
            report.note(PART, format!("{what}: {}: the watch missed {} frames", self.name, seen.missed));
        }
        Ok(())
    }
}
