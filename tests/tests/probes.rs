//! Probes between two vipd (`probe`): the program answers them, whatever becomes of the daemon, and the daemon measures.

#![allow(clippy::disallowed_methods, reason = "tests measure")]

mod support;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use serde_json::Value;
use support::*;
use vipd_tests::{Daemon, wait_for};

/// Slow enough for a busy machine, and quick beside adverts of 300 ms.
const PROBE: &str = "probe {\n interval 50\n multiplier 4\n act no\n}\n";
const NODES: [(&str, u8); 2] = [("lb01", HIGH), ("lb02", LOW)];

/// An instance for each family, with `extra` in it.
fn both_families(priority: u8, extra: &str) -> String {
    node_conf(priority, extra)
        + &format!(
            "vrrp_instance VI_6 {{\n state BACKUP\n interface eth0\n virtual_router_id 52\n priority {priority}\n \
             advert_int 0.3\n {extra}\n virtual_ipaddress {{\n  fe80::100\n  2001:db8::100\n }}\n}}\n"
        )
}

fn pair(bed: &Bed) -> Result<Vec<Daemon>> {
    let start = |(node, priority): (&str, u8)| bed.start(node, &both_families(priority, PROBE));
    NODES.into_iter().map(start).collect()
}

/// What a node says of the other, by family.
fn host(bed: &Bed, node: &str, family: &str) -> Result<Value> {
    let status = bed.lab.node(node).status(&bed.vipd)?;
    let hosts = status["probes"].as_array().context("the status has probes")?;
    let of = hosts.iter().find(|host| host["family"] == family);
    of.cloned().with_context(|| format!("no {family} host in {hosts:?}"))
}

fn wait_host(bed: &Bed, node: &str, what: &str, is: impl Fn(&Value) -> bool) -> Result<()> {
    for family in ["ipv4", "ipv6"] {
        wait_for(format_args!("the {family} host of {node} to be {what}"), SOON, || {
            host(bed, node, family).is_ok_and(|host| is(&host))
        })
        .with_context(|| format!("{:?}", host(bed, node, family)))?;
    }
    Ok(())
}

fn count(host: &Value, figure: &str) -> u64 {
    host[figure].as_u64().unwrap_or_default()
}

fn is_up(host: &Value) -> bool {
    host["state"] == "up" && host["daemon_speaks"] == true && count(host, "answers") > 3
}

/// The host answers while its daemon does not run, and at once again to the daemon that follows.
#[test]
fn a_host_answers_without_its_daemon() -> Result<()> {
    let Some(bed) = Bed::dual()? else { return Ok(()) };
    let mut daemons = pair(&bed)?;
    for (node, _) in NODES {
        wait_host(&bed, node, "up", is_up)?;
    }
    let seen = host(&bed, "lb02", "ipv4")?;
    ensure!(seen["peer"] == LB01.to_string() && seen["local"] == LB02.to_string(), "{seen}");
    ensure!(seen["peer_interval_us"] == 50_000 && seen["peer_multiplier"] == 4, "{seen}");
    ensure!(seen["round_trip_median_us"].is_u64(), "{seen}");
    let router = &seen["routers"][0];
    ensure!(router["vrid"] == 51 && router["priority"] == u64::from(HIGH), "{seen}");

    daemons[0].kill9()?;
    let before =
        [host(&bed, "lb02", "ipv4")?, host(&bed, "lb02", "ipv6")?].map(|host| count(&host, "answers"));
    wait_host(&bed, "lb02", "answered for", |host| {
        let least = before[usize::from(host["family"] == "ipv6")] + 20;
        host["state"] == "up" && host["daemon_speaks"] == false && count(host, "answers") >= least
    })?;
    ensure!(
        bed.events_named("lb02", "probe_down")?.is_empty(),
        "{:?}",
        bed.events_named("lb02", "probe_down")
    );

    daemons[0] = bed.start("lb01", &both_families(HIGH, PROBE))?;
    for (node, _) in NODES {
        wait_host(&bed, node, "up", is_up)?;
    }
    Ok(())
}

#[test]
fn a_frozen_daemon_is_no_dead_host() -> Result<()> {
    let Some(bed) = Bed::dual()? else { return Ok(()) };
    let mut daemons = pair(&bed)?;
    wait_host(&bed, "lb02", "up", is_up)?;
    daemons[0].signal(Signal::SIGSTOP)?;
    wait_host(&bed, "lb02", "silent, and up", |host| {
        host["state"] == "up" && host["daemon_speaks"] == false
    })?;
    daemons[0].signal(Signal::SIGCONT)?;
    wait_host(&bed, "lb02", "up", is_up)?;
    ensure!(bed.events_named("lb02", "probe_down")?.is_empty());
    Ok(())
}

/// Nothing gets through: the host is down, an event says so, and it is up again when the wire is mended.
#[test]
fn a_cut_wire_is_a_silence() -> Result<()> {
    let Some(bed) = Bed::dual()? else { return Ok(()) };
    let _daemons = pair(&bed)?;
    wait_host(&bed, "lb02", "armed", |host| is_up(host) && host["armed"] == true)?;
    bed.lab.partition(&["lb01"], &["lb02"])?;
    wait_host(&bed, "lb02", "down", |host| host["state"] == "down" && count(host, "downs") == 1)?;
    let down = bed.events_named("lb02", "probe_down")?;
    ensure!(down.len() == 2, "{down:?}");
    bed.lab.unblock_all()?;
    wait_host(&bed, "lb02", "up", |host| is_up(host) && count(host, "longest_silence_us") > 0)?;
    Ok(())
}

/// A vipd that stops says so, and nobody is alarmed; one whose `probe` a reload removes says so too, and answers no more.
#[test]
fn a_stop_is_told_and_a_reload_ends_probes() -> Result<()> {
    let Some(bed) = Bed::dual()? else { return Ok(()) };
    let mut daemons = pair(&bed)?;
    for (node, _) in NODES {
        wait_host(&bed, node, "up", is_up)?;
    }
    daemons[0].signal(Signal::SIGTERM)?;
    daemons[0].wait(SOON)?;
    wait_host(&bed, "lb02", "leaving or forgotten", |host| {
        host["state"] == "leaving" && count(host, "false_alarms") == 0
    })?;
    ensure!(!bed.events_named("lb02", "probe_leaving")?.is_empty());

    daemons[0] = bed.start("lb01", &both_families(HIGH, PROBE))?;
    wait_host(&bed, "lb02", "up again", is_up)?;
    bed.reloaded("lb01", &both_families(HIGH, ""))?;
    wait_for("lb01 to probe nobody", SOON, || {
        bed.lab
            .node("lb01")
            .status(&bed.vipd)
            .is_ok_and(|status| status["probes"] == Value::Array(Vec::new()))
    })?;
    wait_host(&bed, "lb02", "told", |host| host["state"] == "leaving" && count(host, "false_alarms") == 0)
}
