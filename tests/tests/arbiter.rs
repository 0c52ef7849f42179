//! Arbiters: who gives the VIP up when a third station can no longer be reached, and who stays.

#![allow(clippy::disallowed_methods, reason = "tests measure")]

mod support;

use std::{
    net::TcpListener,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use support::*;
use vipd_tests::{Mac, probe::neighbour::Probe, wait_for};

/// An arbiter `gw`, and VI_1 tracking it. Three rounds of half a second: a busy machine may hold one up.
fn conf_of(priority: u8, targets: &str, more: &str) -> String {
    let arbiter =
        format!("arbiter gw {{\n {targets}\n interval 0.5\n timeout 0.5\n fall 3\n rise 1\n {more}\n}}\n");
    arbiter + &node_conf(priority, TRACKED)
}

const TRACKED: &str = "track_arbiter {\n gw\n }";
const PING: &str = "ping 10.0.0.1";

/// With adverts every 2 s a backup takes over after 6 s or more.
fn patient(conf: String) -> String {
    conf.replace("advert_int 0.3", "advert_int 2")
}

/// What `vipd status` says of the arbiter of a node.
fn arbiter(bed: &Bed, node: &str) -> Result<Value> {
    Ok(bed.lab.node(node).status(&bed.vipd)?["arbiters"][0].clone())
}

fn wait_reached(bed: &Bed, node: &str, reached: bool) -> Result<()> {
    wait_for(format_args!("the arbiter of {node} to be reached: {reached}"), SOON, || {
        arbiter(bed, node).is_ok_and(|arbiter| arbiter["reached"] == reached)
    })
    .map(drop)
}

/// The gateway answers one side no longer: that node says goodbye and falls silent, and the other takes over. And back.
#[test]
fn a_node_that_loses_its_gateway_gives_the_vip_up() -> Result<()> {
    let Some(bed) = Bed::with_gateway()? else { return Ok(()) };
    let lb01 = bed.start("lb01", &conf_of(HIGH, PING, ""))?;
    let _lb02 = bed.start("lb02", &conf_of(LOW, PING, ""))?;
    bed.wait("lb01", "MASTER")?;
    bed.wait("lb02", "BACKUP")?;
    let (listener, prober) = (bed.listener()?, bed.prober()?);

    bed.lab.partition(&["lb01"], &["gw"])?;
    bed.wait("lb02", "MASTER")?;
    bed.wait("lb01", "FAULT")?;
    let status = bed.status("lb01")?;
    ensure!(status["reason"] == "isolated: arbiter gw", "{}", status["reason"]);
    ensure!(status["lease_remaining_ms"].is_null());
    ensure!(adverts(&listener).iter().any(|heard| heard.from == LB01 && heard.priority == 0), "no goodbye");
    let known = arbiter(&bed, "lb01")?;
    let target = &known["targets"][0];
    ensure!(known["reached"] == false && target["answers"] == false, "{known}");
    ensure!(
        target["problem"] == "no answer within the timeout" && target["answered_ms_ago"].is_u64(),
        "{known}"
    );
    ensure!(lb01.log().contains("event=\"arbiter_isolated\""), "{}", lb01.log());

    bed.lab.unblock_all()?;
    bed.wait("lb01", "MASTER")?;
    bed.wait("lb02", "BACKUP")?;
    wait_reached(&bed, "lb01", true)?;
    ensure!(lb01.log().contains("event=\"arbiter_reached\""), "{}", lb01.log());
    check_single_owner(&prober.stop()?, &listener)
}

/// A node that never reached its arbiter was never the master. With the gateway gone for all there is none at all.
#[test]
fn without_a_verdict_nobody_becomes_master() -> Result<()> {
    let Some(bed) = Bed::with_gateway()? else { return Ok(()) };
    bed.lab.set_port("gw", false)?;
    let listener = bed.listener()?;
    let _lb01 = bed.start("lb01", &conf_of(HIGH, PING, ""))?;
    let _lb02 = bed.start("lb02", &conf_of(LOW, PING, ""))?;
    bed.wait("lb01", "FAULT")?;
    bed.wait("lb02", "FAULT")?;
    ensure!(bed.status("lb01")?["became_master"] == 0 && adverts(&listener).is_empty());
    bed.lab.set_port("gw", true)?;
    bed.wait("lb01", "MASTER")?;
    bed.wait("lb02", "BACKUP")
}

/// `lower` and `none` keep the VIP served when all have lost the gateway.
#[test]
fn with_lower_and_none_somebody_stays() -> Result<()> {
    for (action, alone) in [("lower 20", "BACKUP"), ("none", "MASTER")] {
        let Some(bed) = Bed::with_gateway()? else { return Ok(()) };
        let action = format!("isolated_action {action}");
        let lb01 = bed.start("lb01", &conf_of(HIGH, PING, &action))?;
        let _lb02 = bed.start("lb02", &conf_of(LOW, PING, &action))?;
        bed.wait("lb01", "MASTER")?;
        wait_reached(&bed, "lb01", true)?;
        wait_reached(&bed, "lb02", true)?;
        bed.lab.partition(&["lb01"], &["gw"])?;
        wait_reached(&bed, "lb01", false)?;
        bed.wait("lb01", alone)?;
        bed.lab.partition(&["lb02"], &["gw"])?;
        wait_reached(&bed, "lb02", false)?;
        bed.wait("lb01", "MASTER")?;
        bed.wait("lb02", "BACKUP")?;
        let prober = bed.prober()?;
        thread::sleep(INTERVAL * 4);
        let unanswered = prober.stop()?.iter().filter(|probe| probe.answers.is_empty()).count();
        ensure!(unanswered < 10, "{unanswered} questions were not answered");
        ensure!(lb01.log().contains("event=\"arbiter_isolated\""), "{}", lb01.log());
        ensure!(!lb01.log().contains("FAULT"), "{}", lb01.log());
    }
    Ok(())
}

/// All lines between the nodes are cut, and the gateway is on one side: the master on the other is silent before there is a new
/// one. Both sides ask for the VIP all the time.
#[test]
fn a_partition_never_has_two_owners() -> Result<()> {
    let Some(bed) = Bed::with_gateway()? else { return Ok(()) };
    let _lb01 = bed.start("lb01", &patient(conf_of(HIGH, PING, "")))?;
    let _lb02 = bed.start("lb02", &patient(conf_of(LOW, PING, "")))?;
    bed.wait("lb01", "MASTER")?;
    bed.wait("lb02", "BACKUP")?;
    wait_reached(&bed, "lb02", true)?;
    let there = bed.prober()?;
    let here = vipd_tests::probe::ArpProber::start(bed.lab.node("other").ns(), "eth0", &[VIP], PROBE_PERIOD)?;
    let settled = Instant::now();
    thread::sleep(Duration::from_millis(200));

    let cut = Instant::now();
    bed.lab.partition(&["lb01", "other"], &["lb02", "gw", "client"])?;
    bed.wait("lb01", "FAULT")?;
    bed.wait("lb02", "MASTER")?;
    thread::sleep(Duration::from_secs(1));
    let (here, there) = (here.stop()?, there.stop()?);

    let (lb01, lb02) = (bed.lb01().mac(), bed.lb02().mac());
    ensure!(answered_by(&here, lb01, settled, cut) > 0, "lb01 did not answer its own side before");
    let last = answers(&here, lb01).max().context("lb01 never answered")?;
    let first = answers(&there, lb02).min().context("lb02 never answered")?;
    println!(
        "lb01 answered for {:?} after the cut, lb02 after {:?}",
        last.saturating_duration_since(cut),
        first - cut
    );
    ensure!(last > cut, "lb01 fell silent before it could know");
    ensure!(last < first, "two owners for {:?}", last - first);
    ensure!(answers(&here, lb02).next().is_none(), "the partition leaks");
    Ok(())
}

/// When a station's answers came.
fn answers(probes: &[Probe], mac: Mac) -> impl Iterator<Item = Instant> {
    probes
        .iter()
        .flat_map(|probe| &probe.answers)
        .filter(move |answer| answer.mac == mac)
        .map(|answer| answer.at)
}

/// Of a connection that is accepted and closed, one that is refused, both echoes and an address of this host's own.
#[test]
fn what_is_an_answer() -> Result<()> {
    let Some(bed) = Bed::with_gateway()? else { return Ok(()) };
    let gw = bed.lab.node("gw");
    let listener = gw.ns().run(|| TcpListener::bind("[::]:80"))??;
    let targets = "ping 10.0.0.1 fe80::1%eth0 10.0.0.99 10.0.0.5 fe80::1%eth9\n \
                   tcp 10.0.0.1:80 [fe80::1%eth0]:80 10.0.0.1:81\n quorum 4\n";
    let _lb01 = bed.start("lb01", &conf_of(HIGH, targets, ""))?;
    bed.wait("lb01", "MASTER")?;
    let (mut stream, from) = listener.accept()?;
    ensure!(from.ip().to_canonical() == LB01 || from.ip() == bed.lb01().link_local(), "{from}");
    ensure!(std::io::Read::read(&mut stream, &mut [0])? == 0, "the connection is not closed");
    wait_for("a whole round", SOON, || arbiter(&bed, "lb01").is_ok_and(|a| a["targets"][0].is_object()))?;
    let known = arbiter(&bed, "lb01")?;
    let said = |target: &Value| {
        let kind = target["kind"].as_str().unwrap_or_default();
        let problem = target["problem"].as_str().map(str::to_owned);
        let said = problem.unwrap_or_else(|| format!("answers: {}", target["rtt_us"].is_u64()));
        format!("{kind} {}: {said}", target["target"].as_str().unwrap_or_default())
    };
    let said: Vec<String> = known["targets"].as_array().context("targets")?.iter().map(said).collect();
    let expected = [
        "ping 10.0.0.1: answers: true",
        "ping fe80::1%eth0: answers: true",
        "ping 10.0.0.99: no answer within the timeout",
        "ping 10.0.0.5: the address is one of this host's own",
        "ping fe80::1%eth9: there is no interface eth9",
        "tcp 10.0.0.1:80: answers: true",
        "tcp [fe80::1%eth0]:80: answers: true",
        "tcp 10.0.0.1:81: Connection refused (os error 111)",
    ];
    ensure!(said == expected, "{said:#?}");
    let text = bed.told("lb01", &["status"])?;
    let line = "arbiter gw: reached, 4 of 8 answer, quorum 4, isolated_action fault\n  ping       10.0.0.1: ";
    ensure!(text.contains(line), "{text}");

    drop(listener);
    bed.wait("lb01", "FAULT")
}

/// A restart goes on with the mastership though the first answers have not come, and a reload with all that is known.
#[test]
fn a_restart_and_a_reload_go_on() -> Result<()> {
    let Some(bed) = Bed::with_gateway()? else { return Ok(()) };
    let long = |conf: String| {
        conf.replace("advert_int 0.3", "advert_int 2\n down_timer_adverts 10").replace("fall 3", "fall 40")
    };
    let mut daemon = bed.start("lb01", &long(conf_of(HIGH, PING, "")))?;
    bed.wait("lb01", "MASTER")?;
    daemon.kill9()?;
    bed.lab.set_port("gw", false)?;
    let daemon = bed.restart("lb01")?;
    wait_for("a question that is lost", SOON, || {
        arbiter(&bed, "lb01").is_ok_and(|arbiter| arbiter["targets"][0]["answers"] == false)
    })?;
    ensure!(bed.state("lb01")? == "MASTER", "{}", daemon.log());
    ensure!(bed.status("lb01")?["reason"] == "lease inherited from the previous vipd");
    bed.lab.set_port("gw", true)?;
    wait_reached(&bed, "lb01", true)?;

    let asked = arbiter(&bed, "lb01")?["targets"][0]["questions"].as_u64().context("it has been asked")?;
    bed.reloaded("lb01", &long(conf_of(HIGH, PING, "")).replace("advert_int 2", "advert_int 3"))?;
    let known = arbiter(&bed, "lb01")?;
    ensure!(known["reached"] == true, "{known}");
    ensure!(known["targets"][0]["questions"].as_u64() >= Some(asked), "it has begun anew: {known}");
    // Another arbiter of that name begins with how the one before it was.
    bed.reloaded("lb01", &long(conf_of(HIGH, "ping 10.0.0.100", "")))?;
    ensure!(arbiter(&bed, "lb01")?["reached"] == true);
    ensure!(bed.state("lb01")? == "MASTER" && !daemon.log().contains("FAULT"), "{}", daemon.log());
    Ok(())
}
