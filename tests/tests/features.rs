//! What an instance can do besides: accept mode, address owners, virtual routes and rules, VIPs on another interface.

#![allow(clippy::disallowed_methods, reason = "tests measure")]

mod support;

use std::{
    net::{IpAddr, Ipv4Addr},
    time::Instant,
};

use anyhow::{Result, ensure};
use support::*;
use vipd_tests::{Lab, Node, probe::NeighbourProber, require_lab, vipd_bin, wait_for};

fn serves(client: &Node, vip: Ipv4Addr) -> bool {
    client.exec(&["curl", "-s", "-m", "1", &format!("http://{vip}/")]).is_ok()
}

/// D-04, D-05: without accept mode the VIP is answered for, and packets to it are not taken.
#[test]
fn a_vip_that_is_not_accepted_is_answered_for_and_nothing_more() -> Result<()> {
    for (lines, accepted) in [("no_accept", false), ("", true)] {
        let Some(bed) = Bed::new()? else { return Ok(()) };
        let _lb01 = bed.start("lb01", &node_conf(HIGH, lines))?;
        let _nginx = bed.lb01().start_nginx((VIP, 80))?;
        bed.wait("lb01", "MASTER")?;
        let prober = bed.prober()?;
        wait_for("an answer", SOON, || prober.current_owner(VIP).is_some())?;
        ensure!(serves(bed.client(), VIP) == accepted, "{lines:?}");
        let counters = bed.lb01().status(&bed.vipd)?["counters"].clone();
        ensure!((counters["ip_not_accepted"].as_u64() > Some(0)) != accepted, "{lines:?}: {counters}");
    }
    Ok(())
}

/// W-04, F-01, F-16: an owner has the address itself, is master at once, and takes it back at once.
#[test]
fn an_owner_is_master_at_once_and_shares_with_nobody() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    bed.lb01().exec(&["ip", "address", "add", "10.0.0.3/24", "dev", "eth0"])?;
    let (listener, prober) = (bed.listener()?, bed.prober()?);
    let mut lb01 = bed.start("lb01", &node_conf(255, ""))?;
    let _lb02 = bed.start("lb02", &node_conf(LOW, ""))?;
    bed.wait("lb02", "BACKUP")?;
    ensure!(bed.state("lb01")? == "MASTER", "{}", lb01.log());
    ensure!(
        adverts(&listener).iter().any(|heard| heard.from == LB01 && heard.priority == 255),
        "no 255 heard"
    );

    let killed = lb01.kill9()?;
    wait_advert(&listener, LB02, killed)?;
    bed.wait("lb02", "MASTER")?;
    let taken = Instant::now() + MESSAGE_DELAY;
    std::thread::sleep(INTERVAL * 3);
    let to = Instant::now() - MESSAGE_DELAY;
    let probes = prober.timeline();
    // The address stands on the dead owner's interface all the while.
    ensure!(answered_by(&probes, bed.lb01().mac(), taken, to) == 0, "the dead owner's kernel answers");
    check_answered("taken over", &probes, taken, to)?;

    let _lb01 = bed.restart("lb01")?;
    bed.wait("lb01", "MASTER")?;
    bed.wait("lb02", "BACKUP")?;
    check_single_owner(&prober.stop()?, &listener)?;
    let addresses = bed.lb01().exec(&["ip", "address", "show", "dev", "eth0"])?;
    ensure!(addresses.contains("10.0.0.3/24"), "the owner's address is gone: {addresses}");
    Ok(())
}

/// What maintenance.md says: the address is the owner's own, so its kernel answers for it when vipd has been stopped, beside the new
/// master, until somebody takes the address away.
#[test]
fn an_owner_that_is_stopped_answers_for_its_own_address() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    bed.lb01().exec(&["ip", "address", "add", "10.0.0.3/24", "dev", "eth0"])?;
    let prober = bed.prober()?;
    let _lb01 = bed.start("lb01", &node_conf(255, ""))?;
    let _lb02 = bed.start("lb02", &node_conf(LOW, ""))?;
    bed.wait("lb02", "BACKUP")?;
    bed.lb01().stop_vipd(&bed.vipd)?;
    bed.wait("lb02", "MASTER")?;
    let (stopped, both) = (Instant::now(), [bed.lb01().mac(), bed.lb02().mac()]);
    std::thread::sleep(INTERVAL * 3);
    let probes = prober.timeline();
    ensure!(
        both.iter().all(|mac| answered_by(&probes, *mac, stopped, Instant::now()) > 0),
        "the page is to be changed"
    );
    bed.lb01().exec(&["ip", "address", "del", "10.0.0.3/24", "dev", "eth0"])?;
    let taken = Instant::now() + MESSAGE_DELAY;
    std::thread::sleep(INTERVAL * 3);
    let probes = prober.stop()?;
    ensure!(answered_by(&probes, both[0], taken, Instant::now()) == 0, "the kernel has no such address");
    check_answered("of the new master", &probes, taken, Instant::now() - MESSAGE_DELAY)
}

/// virtual_routes and virtual_rules are there while the instance is master, and only then.
#[test]
fn virtual_routes_and_rules_follow_mastership() -> Result<()> {
    let lines = "virtual_routes {\n 192.0.2.0/24 via 10.0.0.100 dev eth0\n default via 10.0.0.100 table 77 metric 5\n \
                 blackhole 198.51.100.0/24\n }\n virtual_rules {\n from 10.0.0.3 table 77 preference 150\n }";
    let Some(mut pair) = usual_pair(lines)? else { return Ok(()) };
    let made = |node: &Node| -> Result<String> {
        let routes = node.exec(&["ip", "route", "show", "table", "all", "proto", "119"])?;
        Ok(routes + &node.exec(&["ip", "rule", "show", "pref", "150"])?)
    };
    let complete = |text: &str| {
        [
            "192.0.2.0/24 via 10.0.0.100",
            "default via 10.0.0.100",
            "table 77",
            "blackhole 198.51.100.0/24",
            "from 10.0.0.3",
        ]
        .iter()
        .all(|part| text.contains(part))
    };
    let has = |pair: &Pair, node: &str| made(pair.bed.lab.node(node)).is_ok_and(|text| complete(&text));
    let lacks = |pair: &Pair, node: &str| made(pair.bed.lab.node(node)).is_ok_and(|text| text.is_empty());
    wait_for("lb01's routes", SOON, || has(&pair, "lb01"))?;
    ensure!(lacks(&pair, "lb02"), "{}", made(pair.bed.lb02())?);

    pair.bed.lb01().stop_vipd(&pair.bed.vipd)?;
    ensure!(pair.lb01.wait(SOON)?.success(), "{}", pair.lb01.log());
    ensure!(lacks(&pair, "lb01"), "left: {}", made(pair.bed.lb01())?);
    wait_for("lb02's routes", SOON, || has(&pair, "lb02"))?;
    pair.lb01 = pair.bed.restart("lb01")?;
    pair.bed.wait("lb02", "BACKUP")?;
    wait_for("lb02's routes to go", SOON, || lacks(&pair, "lb02")).map(drop)
}

/// A virtual route that the kernel refuses holds up neither another instance nor a restart.
#[test]
fn a_refused_virtual_route_is_nobody_elses_problem() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let lb01 = bed.lb01();
    let refused = "virtual_routes {\n 192.0.2.0/24 dev absent0\n }";
    let made = "virtual_routes {\n 198.51.100.0/24 via 10.0.0.100\n }";
    let second = conf("VI_2", "BACKUP", HIGH, made);
    let second =
        second.replace("virtual_router_id 51", "virtual_router_id 52").replace("10.0.0.3", "10.0.0.4");
    let (_, second) = second.split_once("}\n").expect("global_defs end");
    // The lease outlasts a restart on a very busy machine.
    let conf = (node_conf(HIGH, refused) + second).replace("advert_int 0.3", "advert_int 3");
    let mut vipd = bed.start("lb01", &conf)?;
    let settled = || {
        let routes = lb01.exec(&["ip", "route", "show", "proto", "119"]).unwrap_or_default();
        let local = lb01.exec(&["ip", "route", "show", "table", "local", "10.0.0.4"]).unwrap_or_default();
        routes.contains("198.51.100.0/24 via 10.0.0.100") && !local.is_empty()
    };
    bed.wait("lb01", "MASTER")?;
    wait_for("the second instance's routes", SOON, settled)?;
    ensure!(vipd.log().contains("route 192.0.2.0/24 dev absent0"), "{}", vipd.log());

    vipd.kill9()?;
    let _vipd = bed.restart("lb01")?;
    lb01.wait_ready(&bed.vipd, SOON)?;
    ensure!(bed.state("lb01")? == "MASTER", "the restart did not go on");
    wait_for("the same after a restart", SOON, settled).map(drop)
}

/// A VIP with `dev` is answered for on that interface, and its link going down is a fault unless `no_track`.
#[test]
fn a_vip_on_another_interface_follows_its_instance() -> Result<()> {
    let Some(()) = require_lab() else { return Ok(()) };
    let lab = Lab::builder()
        .node("lb01", "10.0.0.5/24")
        .link("10.1.0.5/24")
        .node("client", "10.0.0.100/24")
        .link("10.1.0.100/24")
        .build()?;
    let vipd = vipd_bin()?;
    let (lb01, client) = (lab.node("lb01"), lab.node("client"));
    let far = Ipv4Addr::new(10, 1, 0, 3);
    lb01.write_vipd_conf(&node_conf(HIGH, &format!("virtual_ipaddress_excluded {{\n {far} dev eth1\n }}")))?;
    let _vipd = lb01.start_vipd(&vipd)?;
    lb01.wait_state(&vipd, INSTANCE, "MASTER", SOON)?;
    for (interface, vip, mac) in [("eth0", VIP, lb01.mac()), ("eth1", far, lb01.link("eth1").mac)] {
        let prober = NeighbourProber::start(client.ns(), interface, &[IpAddr::from(vip)], PROBE_PERIOD)?;
        wait_for(format_args!("{mac} to answer for {vip}"), SOON, || {
            prober.current_owner(vip).is_some_and(|answer| answer.mac == mac)
        })?;
    }
    lab.set_link("lb01", "eth1", false)?;
    lb01.wait_state(&vipd, INSTANCE, "FAULT", SOON)?;
    lab.set_link("lb01", "eth1", true)?;
    lb01.wait_state(&vipd, INSTANCE, "MASTER", SOON)?;
    lb01.stop_vipd(&vipd)
}
