//! Sync groups: all of their VIPs move at one instant, and one member's trouble is everybody's.

#![allow(clippy::disallowed_methods, reason = "tests measure")]

mod support;

use std::{
    collections::BTreeMap,
    fs,
    net::{IpAddr, Ipv4Addr},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use support::*;
use vipd_tests::{
    Lab, Mac, Node,
    probe::{ArpProber, neighbour::Probe},
    require_lab, vipd_bin, wait_for,
};

const MEMBERS: u8 = 20;

fn vip(n: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, 30 + n)
}

fn name(n: u8) -> String {
    format!("VI_{n}")
}

/// A group of instances `VI_1` and so on; `extra` of the first, `group` of the group.
fn conf(members: u8, priority: u8, extra: &str, group: &str) -> String {
    let instance = |n: u8| {
        let extra = if n == 1 { extra } else { "" };
        format!(
            "vrrp_instance {} {{\n interface eth0\n virtual_router_id {}\n priority {priority}\n advert_int 0.3\n {extra}\n \
             virtual_ipaddress {{\n {}\n }}\n}}\n",
            name(n),
            50 + n,
            vip(n)
        )
    };
    let names: Vec<String> = (1..=members).map(name).collect();
    let instances: String = (1..=members).map(instance).collect();
    format!(
        "global_defs {{\n vrrp_version 3\n}}\nvrrp_sync_group G {{\n group {{\n {}\n }}\n {group}\n}}\n{instances}",
        names.join("\n ")
    )
}

fn states(bed: &Bed, node: &Node) -> Result<Vec<String>> {
    let status = node.status(&bed.vipd)?;
    let instances = status["instances"].as_array().context("instances")?.clone();
    Ok(instances.iter().filter_map(|i| i["state"].as_str().map(str::to_owned)).collect())
}

fn wait_all(bed: &Bed, node: &Node, state: &str) -> Result<()> {
    let all = || states(bed, node).is_ok_and(|states| states.iter().all(|s| s == state));
    wait_for(format_args!("all of {} to be {state}", node.name()), SOON, all).map(drop)
}

/// Lease words that are not 0.
fn leases(node: &Node) -> Result<usize> {
    let path = pins(node).join("LEASES");
    let dump = node.exec(&["bpftool", "-j", "map", "dump", "pinned", &path.display().to_string()])?;
    let entries: Vec<Value> = serde_json::from_str(&dump)?;
    let is_held = |entry: &&Value| entry["formatted"]["value"].as_u64().is_some_and(|until| until != 0);
    Ok(entries.iter().filter(is_held).count())
}

/// When each VIP was answered by another station than before for the first time, after an instant.
fn moved(probes: &[Probe], from: Mac, after: Instant) -> BTreeMap<IpAddr, Instant> {
    let mut moved = BTreeMap::new();
    for probe in probes.iter().filter(|probe| probe.sent > after) {
        for answer in probe.answers.iter().filter(|answer| answer.mac != from) {
            moved.entry(probe.target).or_insert(answer.at);
        }
    }
    moved
}

/// One word for twenty routers: the client sees all of their VIPs move in the same round of questions.
#[test]
fn all_vips_of_a_group_move_at_one_instant() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let mut lb01 = bed.start("lb01", &conf(MEMBERS, HIGH, "", ""))?;
    let _lb02 = bed.start("lb02", &conf(MEMBERS, LOW, "", ""))?;
    wait_all(&bed, bed.lb01(), "MASTER")?;
    wait_all(&bed, bed.lb02(), "BACKUP")?;
    ensure!(leases(bed.lb01())? == 1, "{} leases for one group", leases(bed.lb01())?);
    let vips: Vec<Ipv4Addr> = (1..=MEMBERS).map(vip).collect();
    let prober = ArpProber::start(bed.client().ns(), "eth0", &vips, Duration::from_millis(5))?;
    sleep(INTERVAL * 2);

    let asked = Instant::now();
    lb01.sigterm()?;
    wait_all(&bed, bed.lb02(), "MASTER")?;
    lb01.wait(SOON)?;
    ensure!(leases(bed.lb02())? == 1);
    sleep(INTERVAL);
    let probes = prober.stop()?;
    let moved = moved(&probes, bed.lb01().mac(), asked);
    ensure!(moved.len() == usize::from(MEMBERS), "{moved:?}");
    let (first, last) = (moved.values().min().context("one")?, moved.values().max().context("one")?);
    let lost = probes.iter().filter(|probe| probe.answers.is_empty()).count();
    println!(
        "20 VIPs moved within {:?} of each other; {lost} of {} questions unanswered",
        *last - *first,
        probes.len()
    );
    ensure!(lost <= 3 + probes.len() / 100, "{lost} of {} questions unanswered", probes.len());
    // No VIP was still answered for by the old one when another was by the new one: but for what was on its way.
    let old = |probe: &&Probe| {
        probe
            .answers
            .iter()
            .any(|answer| answer.mac == bed.lb01().mac() && answer.at > *first + MESSAGE_DELAY)
    };
    ensure!(probes.iter().filter(old).count() == 0, "the old one went on");
    Ok(())
}

/// The link of one, or a check of one, takes all along; and back.
#[test]
fn a_fault_of_one_moves_all() -> Result<()> {
    let Some(()) = require_lab() else { return Ok(()) };
    let vipd = vipd_bin()?;
    let lab = Lab::builder()
        .node("lb01", "10.0.0.5/24")
        .link("10.1.0.5/24")
        .node("lb02", "10.0.0.6/24")
        .link("10.1.0.6/24")
        .build()?;
    let flag = lab.node("lb01").dir().join("healthy");
    fs::write(&flag, "")?;
    // The usual pair: outside and inside.
    let conf = |priority: u8| {
        let check =
            format!("vrrp_script c {{\n script \"/usr/bin/test -e {}\"\n interval 0.1\n}}\n", flag.display());
        check
            + &conf(2, priority, "", "track_script {\n c\n }")
                .replacen("eth0", "eth1", 1)
                .replace("10.0.0.31", "10.1.0.31")
    };
    for (node, priority) in [("lb01", HIGH), ("lb02", LOW)] {
        lab.node(node).write_vipd_conf(&conf(priority))?;
    }
    let both = |node: &str, state: &str| -> Result<()> {
        for name in ["VI_1", "VI_2"] {
            lab.node(node).wait_state(&vipd, name, state, SOON)?;
        }
        Ok(())
    };
    let _lb01 = lab.node("lb01").start_vipd(&vipd)?;
    both("lb01", "MASTER")?;
    let _lb02 = lab.node("lb02").start_vipd(&vipd)?;
    both("lb02", "BACKUP")?;
    lab.set_link("lb01", "eth1", false)?;
    both("lb01", "FAULT")?;
    both("lb02", "MASTER")?;
    lab.set_link("lb01", "eth1", true)?;
    both("lb01", "MASTER")?;
    both("lb02", "BACKUP")?;
    lab.set_link("lb01", "eth0", false)?;
    both("lb01", "FAULT")?;
    both("lb02", "MASTER")?;
    lab.set_link("lb01", "eth0", true)?;
    both("lb01", "MASTER")?;
    // The check is that of both nodes; lb02 has the better of it when it is back.
    fs::remove_file(&flag)?;
    both("lb01", "FAULT")?;
    both("lb02", "FAULT")?;
    fs::write(&flag, "")?;
    both("lb01", "MASTER")?;
    both("lb02", "BACKUP")?;
    for node in ["lb01", "lb02"] {
        lab.node(node).stop_vipd(&vipd)?;
    }
    Ok(())
}

/// The group is told of once for each change, with keepalived's words.
#[test]
fn a_group_tells_once() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let told = bed.lb01().dir().join("told");
    let script = script(bed.lb01(), "notify.sh", &format!("echo \"$@\" >> {}", told.display()))?;
    let group = format!(
        "notify_master \"{script} all master\"\n notify {script}\n notify_stop \"{script} all stop\""
    );
    let mut lb01 = bed.start("lb01", &conf(3, HIGH, "", &group))?;
    wait_all(&bed, bed.lb01(), "MASTER")?;
    lb01.sigterm()?;
    lb01.wait(SOON)?;
    let expected = "GROUP G BACKUP 0\nall master\nGROUP G MASTER 0\nall stop\nGROUP G STOP 0\n";
    let found = fs::read_to_string(&told)?;
    ensure!(found == expected, "{found}");
    Ok(())
}

/// A restart finds the group's lease; with another member in it, it does not.
#[test]
fn a_restart_keeps_a_groups_mastership() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let slow = |conf: String| conf.replace("advert_int 0.3", "advert_int 2");
    let mut lb01 = bed.start("lb01", &slow(conf(3, HIGH, "", "")))?;
    wait_all(&bed, bed.lb01(), "MASTER")?;
    let listener = bed.listener()?;
    lb01.kill9()?;
    let mut lb01 = bed.restart("lb01")?;
    bed.lb01().wait_ready(&bed.vipd, SOON)?;
    ensure!(states(&bed, bed.lb01())? == ["MASTER"; 3], "{}", lb01.log());
    ensure!(lb01.log().matches("lease inherited from the previous vipd").count() == 3, "{}", lb01.log());
    ensure!(adverts(&listener).iter().all(|heard| heard.priority == HIGH));
    // In another order it is the same group.
    lb01.kill9()?;
    let text = slow(conf(3, HIGH, "", ""));
    let (head, instances) = text.split_once("vrrp_instance").context("instances")?;
    let mut instances: Vec<&str> = instances.split("vrrp_instance").collect();
    instances.reverse();
    let instances: String = instances.iter().map(|text| format!("vrrp_instance{text}\n")).collect();
    bed.lb01().write_vipd_conf(&format!("{head}{instances}"))?;
    let mut lb01 = bed.restart("lb01")?;
    bed.lb01().wait_ready(&bed.vipd, SOON)?;
    ensure!(states(&bed, bed.lb01())? == ["MASTER"; 3], "{}", lb01.log());
    lb01.kill9()?;
    bed.lb01().write_vipd_conf(&slow(conf(4, HIGH, "", "")))?;
    let _lb01 = bed.restart("lb01")?;
    bed.lb01().wait_ready(&bed.vipd, SOON)?;
    ensure!(states(&bed, bed.lb01())? == ["BACKUP"; 4]);
    Ok(())
}

/// A keepalived with the same group is a peer like any other, in either role.
#[test]
fn a_group_pairs_with_keepalived() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let keepalived = bed.lb02().start_keepalived(&conf(3, LOW, "", ""))?;
    let mut vipd = bed.start("lb01", &conf(3, HIGH, "", ""))?;
    wait_all(&bed, bed.lb01(), "MASTER")?;
    let entered = |what: &str| keepalived.log().matches(what).count();
    wait_for("keepalived to be backup", SOON, || entered("Entering BACKUP STATE") >= 3)?;
    let masters = entered("Entering MASTER STATE");
    vipd.sigterm()?;
    vipd.wait(SOON)?;
    wait_for("keepalived to take over", SOON, || entered("Entering MASTER STATE") >= masters + 3)?;
    let _vipd = bed.restart("lb01")?;
    wait_all(&bed, bed.lb01(), "MASTER")
}
