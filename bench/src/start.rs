//! How long a start takes, by its parts, and for how long nobody advertises while vipd is restarted or replaced.

use std::{
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use vipd_tests::{Daemon, Node, probe::Sniffer, wait_for};

use crate::{
    Options,
    report::Report,
    routers::{self, PATIENCE},
};

const PART: &str = "Start and restart";
/// Short, so that the first advert says when the engine began; and more of them in a lease than a start takes.
const CONF: &str = "global_defs {
    vrrp_version 3
}
vrrp_instance VI_1 {
    state MASTER
    interface eth0
    virtual_router_id 51
    priority 150
    advert_int 0.01
    down_timer_adverts 100
    virtual_ipaddress {
        10.0.0.3
    }
}
";

/// Another build to compare with, if the variable names one: it need not know `--replace`.
const BEFORE: &str = "VIPD_BEFORE";

pub fn run(options: &Options, report: &mut Report) -> Result<()> {
    let now = routers::vipd()?;
    let before = std::env::var_os(BEFORE).map(PathBuf::from);
    // In turn, so that a busy minute is no one build's.
    for _ in 0..options.runs {
        if let Some(before) = &before {
            measure(before, "vipd before", false, report)?;
        }
        measure(&now, "vipd", true, report)?;
    }
    Ok(())
}

fn measure(vipd: &Path, name: &str, replaces: bool, report: &mut Report) -> Result<()> {
    let lab = routers::lab()?;
    let lb01 = lab.node("lb01");
    let address: IpAddr = lb01.ip().context("lb01 has an address")?.into();
    lb01.write_vipd_conf(CONF)?;
    let wire = lab.sniff_port("client")?;
    let began = Instant::now();
    let mut daemon = lb01.start_vipd(vipd)?;
    lb01.wait_ready(vipd, PATIENCE)?;
    let ready = began.elapsed();
    report.add(PART, "first start", name, "start until it answers", "ms", millis(ready));
    phases(lb01, "first start", name, report)?;
    lb01.wait_state(vipd, "VI_1", "MASTER", PATIENCE)?;

    let stopped = Instant::now();
    ensure!(lb01.vipd_ask(vipd, &["stop", "--for-restart"]).status()?.success(), "it was not stopped");
    ensure!(daemon.wait(PATIENCE)?.success(), "{}", daemon.log());
    daemon = lb01.start_vipd(vipd)?;
    lb01.wait_ready(vipd, PATIENCE)?;
    report.add(
        PART,
        "stop --for-restart and a start",
        name,
        "adverts stop for",
        "ms",
        silence(&wire, address, stopped)?,
    );
    phases(lb01, "restart", name, report)?;

    if replaces {
        let began = Instant::now();
        let mut command = lb01.vipd_run(vipd);
        let next = Daemon::start("the next vipd", command.arg("--replace"), &lb01.vipd_log())?;
        ensure!(daemon.wait(PATIENCE)?.success(), "{}", daemon.log());
        report.add(PART, "run --replace", name, "both run for", "ms", millis(began.elapsed()));
        daemon = next;
        lb01.wait_ready(vipd, PATIENCE)?;
        report.add(PART, "run --replace", name, "adverts stop for", "ms", silence(&wire, address, began)?);
        phases(lb01, "run --replace", name, report)?;
    }
    drop(daemon);
    Ok(())
}

/// The longest time between two adverts since then, once they come again.
fn silence(wire: &Sniffer, from: IpAddr, since: Instant) -> Result<f64> {
    let times = || -> Vec<Instant> {
        wire.adverts_from(from)
            .iter()
            .map(|(seen, _)| seen.at)
            .filter(|at| *at + Duration::from_millis(50) > since)
            .collect()
    };
    let heard = Instant::now();
    wait_for("adverts", PATIENCE, || times().iter().filter(|at| **at > heard).count() > 5)?;
    thread::sleep(Duration::from_millis(20));
    let times = times();
    let gaps = times.windows(2).map(|pair| pair[1].duration_since(pair[0]));
    Ok(millis(gaps.max().context("two adverts")?))
}

/// Reads the last event `started` from the log: `phases="configuration and locks 1.2 ms, interfaces 3.4 ms"`.
fn phases(node: &Node, what: &str, name: &str, report: &mut Report) -> Result<()> {
    let log = fs::read_to_string(node.vipd_log())?;
    // An earlier version says none.
    let Some((_, phases)) = log.rsplit_once("phases=") else { return Ok(()) };
    let line = phases.lines().next().unwrap_or_default().trim_matches('"');
    for phase in line.split(", ") {
        let words: Vec<&str> = phase.trim_end_matches('"').rsplitn(3, ' ').collect();
        let [_, number, part] = words[..] else { continue };
        let Ok(number) = number.parse() else { continue };
        report.add(PART, what, name, part, "ms", number);
    }
    Ok(())
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
