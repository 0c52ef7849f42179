//! What the daemons cost while nothing happens: CPU time and wake-ups of master and backup. The kernel's own work on adverts,
//! XDP's too, is in no process and not in here.

use std::{collections::BTreeMap, fs, thread, time::Duration};

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
        beside: None,
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
        let Usage { time, switches } = after.since(before);
        let cpu = time.as_secs_f64() / seconds * 100.0;
        report.add(PART, &what, kind.name(), "CPU", "% of a core", cpu);
        let wakeups = switches as f64 / seconds;
        report.add(PART, &what, kind.name(), "wake-ups", "per second", wakeups);
    }
    Ok(())
}

/// What threads have used.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// On a CPU, in user and kernel mode.
    pub time: Duration,
    /// Voluntary context switches.
    pub switches: u64,
}

impl Usage {
    /// Of a process, its threads and its children.
    fn of(pid: u32) -> Result<Self> {
        let threads = threads(pid)?;
        let mut usage = Self::sum(&threads, |_| true);
        for thread in threads.keys() {
            let children = fs::read_to_string(format!("/proc/{pid}/task/{thread}/children"));
            for child in children.unwrap_or_default().split_whitespace() {
                usage.add(Self::of(child.parse()?)?);
            }
        }
        Ok(usage)
    }

    /// Of the threads with such names.
    pub fn sum(threads: &BTreeMap<u32, Thread>, is_one: impl Fn(&str) -> bool) -> Self {
        let mut usage = Self::default();
        threads.values().filter(|thread| is_one(&thread.name)).for_each(|thread| usage.add(thread.usage));
        usage
    }

    pub fn since(self, before: Self) -> Self {
        Self {
            time: self.time.saturating_sub(before.time),
            switches: self.switches.saturating_sub(before.switches),
        }
    }

    fn add(&mut self, other: Self) {
        self.time += other.time;
        self.switches += other.switches;
    }
}

#[derive(Debug)]
pub struct Thread {
    pub name: String,
    pub usage: Usage,
}

/// The threads of a process; one that has just ended is passed over.
pub fn threads(pid: u32) -> Result<BTreeMap<u32, Thread>> {
    let mut threads = BTreeMap::new();
    for thread in fs::read_dir(format!("/proc/{pid}/task")).with_context(|| format!("process {pid}"))? {
        let thread = thread?;
        let read = |name| fs::read_to_string(thread.path().join(name));
        let (Ok(name), Ok(schedstat), Ok(status)) = (read("comm"), read("schedstat"), read("status")) else {
            continue;
        };
        // Documentation/scheduler/sched-stats.rst: time on a CPU, in nanoseconds, comes first.
        let time = Duration::from_nanos(schedstat.split(' ').next().context("schedstat")?.parse()?);
        let switches = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        let switches = switches.and_then(|n| n.trim().parse().ok()).unwrap_or(0);
        let of = Thread { name: name.trim().to_owned(), usage: Usage { time, switches } };
        threads.insert(thread.file_name().to_string_lossy().parse()?, of);
    }
    Ok(threads)
}
