//! Early takeover (`probe { act takeover }`): a backup takes over from a host that is silent, and from nobody else; a node that can neither
//! speak nor is spoken to falls silent before.

#![allow(clippy::disallowed_methods, reason = "tests measure")]

mod support;

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use serde_json::Value;
use support::*;
use vipd_tests::{Block, Daemon, probe::neighbour::Probe, wait_for};

/// A silence of 240 ms, which a busy machine seldom makes by itself, beside adverts of a second.
const PROBE: &str = "probe {\n interval 60\n multiplier 4\n act takeover\n}\n";
/// Of [`PROBE`].
const DETECT: Duration = Duration::from_millis(240);
/// How long a takeover takes without probes, at least: two adverts.
const BY_VRRP: Duration = Duration::from_secs(2);
const HOST_SILENT: &str = "the master's host answers no probe";
const NO_ADVERT: &str = "no advert from a master";

fn early(priority: u8, extra: &str) -> String {
    conf("VI_1", "BACKUP", priority, &format!("{PROBE}{extra}")).replace("advert_int 0.3", "advert_int 1")
}

/// lb01 is master, and lb02 would act on its silence.
fn pair_of(bed: &Bed, conf: impl Fn(u8) -> String) -> Result<[Daemon; 2]> {
    let master = bed.start("lb01", &conf(HIGH))?;
    bed.wait("lb01", "MASTER")?;
    let backup = bed.start("lb02", &conf(LOW))?;
    wait_armed(bed, "lb02", true)?;
    Ok([master, backup])
}

fn host(bed: &Bed, node: &str) -> Result<Value> {
    let status = bed.lab.node(node).status(&bed.vipd)?;
    status["probes"].as_array().and_then(|hosts| hosts.first()).cloned().context("no host is probed")
}

/// Whether a silence of the other would be acted on.
fn wait_armed(bed: &Bed, node: &str, armed: bool) -> Result<()> {
    wait_for(format_args!("{node} to be armed: {armed}"), SOON, || {
        host(bed, node).is_ok_and(|host| host["armed"] == armed && host["peer_takes_over"] == armed)
    })
    .with_context(|| format!("{:?}", host(bed, node)))?;
    Ok(())
}

/// The reasons for which a node became master.
fn takeovers_of(bed: &Bed, node: &str) -> Result<Vec<String>> {
    let events = bed.events_named(node, "state_changed")?;
    let fields = events.iter().map(|event| &event["fields"]);
    let to_master = fields.filter(|fields| fields["to"] == "MASTER");
    Ok(to_master.map(|fields| fields["reason"].as_str().unwrap_or_default().to_owned()).collect())
}

fn check_taken_over(bed: &Bed, node: &str, why: &[&str]) -> Result<()> {
    let reasons = takeovers_of(bed, node)?;
    let fits = reasons.len() == why.len() && reasons.iter().zip(why).all(|(is, why)| is.starts_with(why));
    ensure!(fits, "{node} became master because of {reasons:?}, not {why:?}");
    Ok(())
}

/// lb01 has nobody to vouch for it, and a lease that would last for seconds: it answers nothing any more.
fn check_silent(bed: &Bed, probes: &[Probe], since: Instant) -> Result<()> {
    let late = answered_by(probes, bed.lb01().link("eth0").mac, since + 4 * DETECT, Instant::now());
    ensure!(late == 0, "lb01 answered {late} questions with nobody to vouch for it");
    Ok(())
}

/// The host is gone from the network, and its backup does not wait for adverts. When it is back, the claim ends, and the better one preempts.
#[test]
fn a_silent_host_is_taken_over_from() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let _daemons = pair_of(&bed, |priority| early(priority, ""))?;
    let (listener, prober) = (bed.listener()?, bed.prober()?);
    bed.lab.set_link("lb01", "eth0", false)?;
    bed.wait("lb02", "MASTER")?;
    check_taken_over(&bed, "lb02", &[HOST_SILENT])?;
    bed.lab.set_link("lb01", "eth0", true)?;
    bed.wait("lb01", "MASTER")?;
    bed.wait("lb02", "BACKUP")?;
    wait_for("the claim to be over", SOON, || {
        bed.status("lb02").is_ok_and(|status| status["priority"] == u64::from(LOW))
    })?;
    check_single_owner(&prober.stop()?, &listener)
}

/// The program answers for a dead daemon, so nobody takes over before its adverts are missed, and nobody notices.
#[test]
fn a_killed_daemon_is_no_dead_host() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let [mut master, _backup] = pair_of(&bed, |priority| early(priority, ""))?;
    let (listener, prober) = (bed.listener()?, bed.prober()?);
    master.kill9()?;
    let killed = Instant::now();
    bed.wait("lb02", "MASTER")?;
    let taken = Instant::now();
    check_taken_over(&bed, "lb02", &[NO_ADVERT])?;
    let probes = prober.stop()?;
    check_answered("after the kill", &probes, killed, taken)?;
    check_single_owner(&probes, &listener)
}

#[test]
fn a_frozen_daemon_is_no_dead_host() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let [mut master, _backup] = pair_of(&bed, |priority| early(priority, ""))?;
    let (listener, prober) = (bed.listener()?, bed.prober()?);
    master.signal(Signal::SIGSTOP)?;
    let frozen = Instant::now();
    bed.wait("lb02", "MASTER")?;
    let taken = Instant::now();
    check_taken_over(&bed, "lb02", &[NO_ADVERT])?;
    master.signal(Signal::SIGCONT)?;
    bed.wait("lb01", "MASTER")?;
    let probes = prober.stop()?;
    check_answered("while it was frozen", &probes, frozen, taken)?;
    check_single_owner(&probes, &listener)
}

/// R11: the way from the master to its backup is dead for longer than any lease. The backup takes over by its claim, and keeps the VIP when that is settled:
/// the better router knows that it would not be heard, says so, and preempts when it is.
#[test]
fn who_is_not_heard_preempts_nobody() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let _daemons = pair_of(&bed, |priority| early(priority, ""))?;
    let (listener, prober) = (bed.listener()?, bed.prober()?);
    bed.lab.block("lb01", "lb02", Block::All)?;
    bed.wait("lb02", "MASTER")?;
    bed.wait_event("lb02", "claim_settled", |_| true)?;
    let event = bed.wait_event("lb01", "heard_one_way", |fields| fields["instance"] == INSTANCE)?;
    ensure!(event["fields"]["peer"] == LB02.to_string(), "{event}");
    // Its question for the other's MAC is not heard any more.
    bed.lb02().exec(&["ip", "neigh", "flush", "dev", "eth0"])?;
    // Longer than the down timer after the last of its probes would be forgotten.
    thread::sleep(4 * BY_VRRP);
    let status = bed.status("lb01")?;
    ensure!(status["state"] == "BACKUP" && status["early"]["one_way"][0] == LB02.to_string(), "{status}");
    check_taken_over(&bed, "lb02", &[HOST_SILENT])?;
    bed.lab.unblock_all()?;
    bed.wait("lb01", "MASTER")?;
    bed.wait("lb02", "BACKUP")?;
    bed.wait_event("lb01", "one_way_ended", |_| true)?;
    check_single_owner(&prober.stop()?, &listener)
}

/// R11: the deaf node is killed and begins anew. It hears nobody and is master, and the better one, which cannot tell it, gives way.
#[test]
fn a_master_that_is_not_heard_gives_way() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let [_master, mut backup] = pair_of(&bed, |priority| early(priority, ""))?;
    bed.lab.block("lb01", "lb02", Block::All)?;
    bed.wait("lb02", "MASTER")?;
    bed.wait_event("lb01", "heard_one_way", |_| true)?;
    backup.kill9()?;
    bed.wait("lb01", "MASTER")?;
    let _backup = bed.start("lb02", &early(LOW, ""))?;
    bed.wait("lb02", "MASTER")?;
    bed.wait("lb01", "BACKUP")?;
    let status = bed.status("lb01")?;
    ensure!(
        status["reason_code"] == "one_way" && status["master"]["address"] == LB02.to_string(),
        "{status}"
    );
    // For longer than a down timer.
    thread::sleep(2 * BY_VRRP);
    check_taken_over(&bed, "lb01", &[NO_ADVERT, NO_ADVERT])
}

/// R9: a node whose daemon is frozen and that does not hear its backup any more has nobody who vouches for it. Its lease would last for four
/// more seconds; its backup does not wait.
#[test]
fn a_frozen_master_that_hears_nobody_is_silent() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let [mut master, _backup] = pair_of(&bed, |priority| early(priority, ""))?;
    let (listener, prober) = (bed.listener()?, bed.prober()?);
    master.signal(Signal::SIGSTOP)?;
    bed.lab.block("lb02", "lb01", Block::All)?;
    let cut = Instant::now();
    bed.wait("lb02", "MASTER")?;
    check_taken_over(&bed, "lb02", &[HOST_SILENT])?;
    thread::sleep(BY_VRRP);
    let probes = prober.stop()?;
    check_silent(&bed, &probes, cut)?;
    check_single_owner(&probes, &listener)
}

/// R9 (c): a backup that dies costs its master nothing.
#[test]
fn a_backup_that_dies_costs_nothing() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let _daemons = pair_of(&bed, |priority| early(priority, ""))?;
    let prober = bed.prober()?;
    let cut = Instant::now();
    bed.lab.set_link("lb02", "eth0", false)?;
    thread::sleep(BY_VRRP);
    let now = Instant::now();
    ensure!(bed.state("lb01")? == "MASTER");
    check_answered("after the backup's end", &prober.stop()?, cut, now)
}

/// Both nodes have to say `act takeover`; one that is told otherwise says so, and so does one that stops to probe.
#[test]
fn who_does_not_take_over_early_is_not_claimed_from() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let _daemons = pair_of(&bed, |priority| early(priority, ""))?;
    let measures = early(HIGH, "").replace("act takeover", "act no");
    bed.reloaded("lb01", &measures)?;
    wait_armed(&bed, "lb02", false)?;
    bed.reloaded("lb01", &early(HIGH, ""))?;
    wait_armed(&bed, "lb02", true)?;
    // It is not probed and answers nothing any more, which is no death.
    bed.reloaded("lb01", &early(HIGH, "").replace(PROBE, ""))?;
    thread::sleep(BY_VRRP);
    ensure!(bed.state("lb01")? == "MASTER" && bed.state("lb02")? == "BACKUP");
    check_taken_over(&bed, "lb02", &[])?;
    // Now adverts alone count.
    bed.lab.set_link("lb01", "eth0", false)?;
    bed.wait("lb02", "MASTER")?;
    check_taken_over(&bed, "lb02", &[NO_ADVERT])
}

/// A planned stop is a goodbye, and a restart is nothing.
#[test]
fn a_stop_and_a_restart_are_no_deaths() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let [mut master, _backup] = pair_of(&bed, |priority| early(priority, ""))?;
    let prober = bed.prober()?;
    let begin = Instant::now();
    master.kill9()?;
    let mut master = bed.restart("lb01")?;
    bed.wait("lb01", "MASTER")?;
    wait_armed(&bed, "lb02", true)?;
    check_taken_over(&bed, "lb02", &[])?;
    check_answered("over a restart", &prober.stop()?, begin, Instant::now())?;
    master.signal(Signal::SIGTERM)?;
    master.wait(SOON)?;
    bed.wait("lb02", "MASTER")?;
    let reasons = takeovers_of(&bed, "lb02")?;
    ensure!(reasons.len() == 1 && !reasons[0].starts_with(HOST_SILENT), "{reasons:?}");
    Ok(())
}

/// The file has no `probe` any more when vipd starts again: the backup is told by the new one, and does not take that for a death.
#[test]
fn a_restart_that_ends_probes_is_told() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    for without in [early(HIGH, "").replace(PROBE, ""), early(HIGH, "").replace("act takeover", "act no")] {
        let [mut master, _backup] = pair_of(&bed, |priority| early(priority, ""))?;
        master.kill9()?;
        let _master = bed.start("lb01", &without)?;
        thread::sleep(BY_VRRP);
        ensure!(bed.state("lb01")? == "MASTER" && bed.state("lb02")? == "BACKUP");
        check_taken_over(&bed, "lb02", &[])?;
        wait_armed(&bed, "lb02", false)?;
    }
    Ok(())
}

/// While one line delivers answers, nobody is silent.
#[test]
fn a_heartbeat_line_has_probes_too() -> Result<()> {
    let Some(bed) = Bed::two_lines()? else { return Ok(()) };
    let heartbeat = "heartbeat_interface {\n eth1\n}\n";
    let _daemons = pair_of(&bed, |priority| early(priority, heartbeat))?;
    bed.lab.partition_on("eth0", &["lb01"], &["lb02"])?;
    thread::sleep(BY_VRRP + BY_VRRP);
    ensure!(bed.state("lb01")? == "MASTER" && bed.state("lb02")? == "BACKUP");
    ensure!(host(&bed, "lb02")?["state"] == "up", "{:?}", host(&bed, "lb02"));
    check_taken_over(&bed, "lb02", &[])?;
    bed.lab.partition_on("eth1", &["lb01"], &["lb02"])?;
    bed.wait("lb02", "MASTER")?;
    check_taken_over(&bed, "lb02", &[HOST_SILENT])
}

/// In a partition the side of the arbiter goes on, and the other is silent long before its checks say so.
#[test]
fn an_arbiter_decides_a_partition() -> Result<()> {
    let Some(bed) = Bed::with_gateway()? else { return Ok(()) };
    let conf = |priority| {
        let arbiter = "arbiter gw {\n ping 10.0.0.1\n interval 0.5\n timeout 0.5\n fall 3\n rise 1\n}\n";
        arbiter.to_owned() + &early(priority, "track_arbiter {\n gw\n }")
    };
    let _daemons = pair_of(&bed, conf)?;
    // The backup is on the wrong side: it claims nothing.
    bed.lab.partition(&["lb02"], &["lb01", "gw"])?;
    bed.wait("lb02", "FAULT")?;
    check_taken_over(&bed, "lb02", &[])?;
    ensure!(bed.state("lb01")? == "MASTER");
    bed.lab.unblock_all()?;
    bed.wait("lb02", "BACKUP")?;
    wait_armed(&bed, "lb02", true)?;
    // And it has followed the master for a second.
    thread::sleep(BY_VRRP);
    // The master is.
    let prober = bed.prober()?;
    bed.lab.partition(&["lb01"], &["lb02", "gw"])?;
    let cut = Instant::now();
    bed.wait("lb02", "MASTER")?;
    check_taken_over(&bed, "lb02", &[HOST_SILENT])?;
    thread::sleep(DETECT * 4);
    check_silent(&bed, &prober.stop()?, cut)
}

/// A sync group is claimed as one, over both families.
#[test]
fn a_sync_group_is_taken_over_as_one() -> Result<()> {
    let Some(bed) = Bed::dual()? else { return Ok(()) };
    let conf = |priority| {
        let second = format!(
            "vrrp_instance VI_6 {{\n state BACKUP\n interface eth0\n virtual_router_id 52\n priority {priority}\n \
             advert_int 1\n {PROBE}\n virtual_ipaddress {{\n  fe80::100\n  2001:db8::100\n }}\n}}\n"
        );
        let group = "vrrp_sync_group G {\n group {\n VI_1\n VI_6\n }\n}\n";
        early(priority, "") + &second + group
    };
    let _daemons = pair_of(&bed, conf)?;
    wait_for("both families to be armed", SOON, || {
        let status = bed.lab.node("lb02").status(&bed.vipd).unwrap_or_default();
        status["probes"]
            .as_array()
            .is_some_and(|hosts| hosts.len() == 2 && hosts.iter().all(|host| host["armed"] == true))
    })?;
    bed.lab.set_link("lb01", "eth0", false)?;
    bed.wait("lb02", "MASTER")?;
    wait_for("both instances to be master", SOON, || {
        bed.status_of("lb02", "VI_6").is_ok_and(|status| status["state"] == "MASTER")
    })?;
    check_taken_over(&bed, "lb02", &[HOST_SILENT; 2])?;
    bed.lab.set_link("lb01", "eth0", true)?;
    bed.wait("lb01", "MASTER")?;
    bed.wait("lb02", "BACKUP")
}
