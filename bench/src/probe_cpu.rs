//! What probes cost a master's daemon while nothing happens: CPU time of each of its threads, beside the same pair without probes.
//!
//! The program's work on probes and answers is in no process and not in here: `xdp-cost` has it.

use std::{net::Ipv4Addr, thread, time::Duration};

use anyhow::{Context, Result};
use vipd_tests::{Lab, wait_for};

use crate::{
    Options,
    cpu::{Usage, threads},
    report::Report,
    routers::{Beside, Kind, PATIENCE, Router, Spec, vipd},
};

const PART: &str = "CPU of probes";
const INTERVAL: Duration = Duration::from_secs(1);
const WATCH: Duration = Duration::from_secs(30);
const MASTER: &str = "lb01";
const ENGINE: &str = "engine";

pub fn run(options: &Options, report: &mut Report) -> Result<()> {
    for _ in 0..options.runs {
        for backups in [1, 2, 8] {
            for routers in [1, 255] {
                for beside in [Beside::Nothing, Beside::QuickProbes] {
                    watch(beside, backups, routers, report)?;
                }
            }
        }
    }
    Ok(())
}

fn watch(beside: Beside, backups: u8, routers: u8, report: &mut Report) -> Result<()> {
    let names: Vec<String> = (1..=backups + 1).map(|i| format!("lb{i:02}")).collect();
    let mut lab = Lab::builder();
    for (i, name) in (5..).zip(&names) {
        lab = lab.node(name, &format!("10.0.0.{i}/8"));
    }
    let lab = lab.build()?;
    let peer = lab.node(MASTER).ip().context("a node has an address")?;
    let vips = (1..=routers).map(|i| vec![Ipv4Addr::new(10, 1, 0, i).into()]).collect();
    let spec = Spec { beside: Some((beside, peer)), vips, ..Spec::single(INTERVAL) };
    let mut daemons = Vec::new();
    for (priority, name) in (0..=150).rev().step_by(10).zip(&names) {
        daemons.push(Router::start(lab.node(name), Kind::Vipd, &spec, priority)?);
        if name == MASTER {
            daemons[0].wait(lab.node(name), "MASTER")?;
        }
    }
    // The master probes whoever probes it.
    let wanted = if beside == Beside::Nothing { 0 } else { usize::from(backups) };
    let vipd = vipd()?;
    wait_for("every backup to be probed", PATIENCE, || {
        let status = lab.node(MASTER).status(&vipd);
        status.is_ok_and(|status| {
            let hosts = status["probes"].as_array().map_or(&[][..], Vec::as_slice);
            hosts.iter().filter(|host| host["peer_takes_over"] == true).count() == wanted
        })
    })?;
    thread::sleep(Duration::from_secs(8));
    let pids = [("master", daemons[0].daemon().pid()), ("backup", daemons[1].daemon().pid())];
    let before = pids.map(|(_, pid)| threads(pid));
    thread::sleep(WATCH);
    let with = if beside == Beside::Nothing { "no probes" } else { "probes every 3.3 ms" };
    for ((role, pid), before) in pids.into_iter().zip(before) {
        let (before, after) = (before?, threads(pid)?);
        let what = format!("{role}, {backups} backups, {routers} routers");
        let used = |is_it: fn(&str) -> bool| {
            let [before, after] = [&before, &after].map(|threads| Usage::sum(threads, is_it));
            after.since(before)
        };
        for (threads, is_it) in
            [("engine", (|name| name == ENGINE) as fn(&str) -> bool), ("others", |name| name != ENGINE)]
        {
            let Usage { time, switches } = used(is_it);
            let seconds = WATCH.as_secs_f64();
            report.add(PART, &what, with, threads, "% of a core", time.as_secs_f64() / seconds * 100.0);
            let metric = format!("{threads}, wake-ups");
            report.add(PART, &what, with, &metric, "per second", switches as f64 / seconds);
        }
    }
    Ok(())
}
