//! What the daemons cost while nothing happens: CPU time and wake-ups of master and backup. The kernel's own work on adverts,
//! XDP's too, is in no process and not in here.

use std::{fs, thread, time::Duration};

use anyhow::{Context, Result};

use crate::{
    Options,
    report::Report,
    routers::{self, Kind, Router, Spec},
};

const PART: &str = "CPU";
const WATCH: Duration = Duration::from_secs(3);

pub fn run(options: &Options, report: &mut Report) -> Result<()> {
    for _ in 0..options.runs {
        for interval in [10, 100] {
            for count in [1, 50, 255] {
                for kind in [Kind::Vipd, Kind::Keepalived] {
                    watch(kind, Duration::from_millis(interval), count, report)?;
                }
            }
        }
    }
    Ok(())
}

fn watch(kind: Kind, interval: Duration, count: u8, report: &mut Report) -> Result<()> {
    let lab = routers::lab()?;
    let vip = |i: u8| vec![std::net::Ipv4Addr::new(10, 1, 0, i).into()];
    let spec = Spec {
        interval,
        vips: (0..count).map(vip).collect(),
        use_vmac: false,
        rt_priority: None,
        xdp_mode: None,
    };
    let mut master = Router::start(lab.node("lb01"), kind, &spec, 150)?;
    master.wait(lab.node("lb01"), "MASTER")?;
    let mut backup = Router::start(lab.node("lb02"), kind, &spec, 100)?;
    backup.wait(lab.node("lb02"), "BACKUP")?;
    // keepalived's second burst of announcements, after 5 s, is part of its takeover.
    thread::sleep(Duration::from_secs(6));
    let pids = [("master", master.daemon().pid()), ("backup", backup.daemon().pid())];
    let before = pids.map(|(_, pid)| Usage::of(pid));
    thread::sleep(WATCH);
    for ((role, pid), before) in pids.into_iter().zip(before) {
        let (before, after) = (before?, Usage::of(pid)?);
        let seconds = WATCH.as_secs_f64();
        let what = format!("{role}, {count} routers, adverts every {} ms", interval.as_millis());
        let cpu = after.time.saturating_sub(before.time).as_secs_f64() / seconds * 100.0;
        report.add(PART, &what, kind.name(), "CPU", "% of a core", cpu);
        let wakeups = after.switches.saturating_sub(before.switches) as f64 / seconds;
        report.add(PART, &what, kind.name(), "wake-ups", "per second", wakeups);
    }
    Ok(())
}

/// What a process, its threads and its children have used.
struct Usage {
    /// On a CPU, in user and kernel mode.
    time: Duration,
    /// Voluntary context switches.
    switches: u64,
}

impl Usage {
    fn of(pid: u32) -> Result<Self> {
        let mut usage = Self { time: Duration::ZERO, switches: 0 };
        usage.add(pid).with_context(|| format!("process {pid}"))?;
        Ok(usage)
    }

    fn add(&mut self, pid: u32) -> Result<()> {
        for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
            let thread = thread?.path();
            // Documentation/scheduler/sched-stats.rst: time on a CPU, in nanoseconds, comes first.
            // A thread that has just ended is passed over.
            let Ok(schedstat) = fs::read_to_string(thread.join("schedstat")) else { continue };
            let time = schedstat.split(' ').next().context("schedstat")?;
            self.time += Duration::from_nanos(time.parse()?);
            let status = fs::read_to_string(thread.join("status")).unwrap_or_default();
            let switches = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
            self.switches += switches.and_then(|n| n.trim().parse::<u64>().ok()).unwrap_or(0);
            for child in fs::read_to_string(thread.join("children")).unwrap_or_default().split_whitespace() {
                self.add(child.parse()?)?;
            }
        }
        Ok(())
    }
}
