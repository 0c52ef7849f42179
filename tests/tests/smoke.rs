//! What a kernel has to be able to do: every part of vipd that depends on it, once. `cargo xtask guest` runs this file
//! on the kernels that are supported.
//!
//! A guest without hardware virtualisation is slow, so nothing here depends on how long anything takes: adverts are
//! seconds apart, and every wait ends with what it waits for.

#![allow(clippy::disallowed_methods, reason = "tests measure")]

mod support;

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use support::{host_state::HostState, served::*, *};
use vipd_tests::{Node, wait_for};

/// What a NIC is told to receive: multicast groups and virtual MACs.
fn filters(node: &Node) -> Result<String> {
    node.exec(&["bridge", "fdb", "show", "dev", "eth0"])
}

/// Start, election, ARP, ND, traffic, a reload, a stop that hands over, a stop that leaves the host as it was.
#[test]
fn a_pair_is_elected_serves_reloads_and_leaves_nothing() -> Result<()> {
    let Some(bed) = Bed::dual()? else { return Ok(()) };
    let before = [HostState::of(bed.lb01())?, HostState::of(bed.lb02())?];
    let filters_before = filters(bed.lb02())?;
    let mut pair = start_pair(bed, one_second)?;
    let bed = &pair.bed;
    for node in [bed.lb01(), bed.lb02()] {
        ensure!(bed.status(node.name())?["xdp_mode"] == "native", "{}", bed.status(node.name())?);
        ensure!(
            HostState::of(node)?.xdp.is_some() && pins(node).join("LEASES").exists(),
            "nothing is attached"
        );
    }
    let prober = ask(bed)?;
    check_answered_once(&prober, &owned_by(bed.lb01()))?;
    let _services = [Service::start(bed.lb01())?, Service::start(bed.lb02())?];
    wait_reached(bed, &[bed.client(), bed.lb02(), bed.lb01()], "lb01")?;

    for (node, priority) in [("lb02", LOW), ("lb01", HIGH)] {
        bed.reloaded(node, &dual(priority, "1", "", &[LATER_VIP]))?;
    }
    check_answered_once(&prober, &[(LATER_VIP.into(), bed.lb01().mac()), (VIP.into(), bed.lb01().mac())])?;
    wait_elected(bed)?;

    let listener = bed.listener()?;
    bed.told("lb01", &["stop"])?;
    let status = pair.lb01.wait(SOON)?;
    ensure!(status.success(), "{status}: {}", pair.lb01.log());
    ensure!(
        adverts(&listener).iter().any(|heard| heard.from == LB01 && heard.priority == 0),
        "no goodbye was said"
    );
    wait_state(bed, bed.lb02(), "MASTER")?;
    check_answered_once(&prober, &owned_by(bed.lb02()))?;
    wait_reached(bed, &[bed.client(), bed.lb01()], "lb02")?;

    bed.told("lb02", &["stop"])?;
    let status = pair.lb02.wait(SOON)?;
    ensure!(status.success(), "{status}: {}", pair.lb02.log());
    for (node, before) in [bed.lb01(), bed.lb02()].into_iter().zip(before) {
        let after = HostState::of(node)?;
        ensure!(after == before, "{}: {after:#?} instead of {before:#?}", node.name());
        ensure!(!pins(node).exists(), "pins were left on {}", node.name());
    }
    wait_for("the NIC's filters to be as before", SOON, || {
        filters(bed.lb02()).is_ok_and(|now| now == filters_before)
    })
    .with_context(|| format!("{:?} instead of {filters_before:?}", filters(bed.lb02())))?;
    Ok(())
}

/// I1, I2: a master whose daemon is dead, or frozen, is silenced by its successor's adverts; both come back by preemption.
#[test]
fn a_killed_and_a_frozen_master_are_replaced_and_come_back() -> Result<()> {
    let Some(bed) = Bed::dual()? else { return Ok(()) };
    let mut pair = start_pair(bed, one_second)?;
    let bed = &pair.bed;
    let prober = ask(bed)?;
    let moved = || -> Result<()> {
        wait_state(bed, bed.lb02(), "MASTER")?;
        check_answered_once(&prober, &owned_by(bed.lb02()))
    };
    let moved_back = || -> Result<()> {
        wait_elected(bed)?;
        check_answered_once(&prober, &owned_by(bed.lb01()))
    };

    pair.lb01.kill9()?;
    moved().context("killed")?;
    pair.lb01 = bed.restart("lb01")?;
    moved_back().context("restarted")?;
    pair.lb01.sigstop()?;
    moved().context("frozen")?;
    pair.lb01.sigcont()?;
    moved_back().context("thawed")?;

    // Two stations may answer the questions that are asked while a takeover's advert is on its way, which takes an emulated guest
    // on a busy machine more than one. Two owners would be seen by hundreds.
    let together = prober.questions_of_two_owners();
    let probes = prober.stop()?;
    let overlaps = probes.iter().filter(|probe| probe.answers.len() > 1);
    let overlaps: Vec<_> = overlaps.map(|probe| (probe.id, probe.target, answering(probe))).collect();
    ensure!(together <= 4, "two stations answered {together} questions in a row: {overlaps:?}");
    Ok(())
}

/// A restart within the lease, after `stop --for-restart` and after a kill: the lease is adopted from the maps that are
/// pinned, the program is replaced in its link, and neither the peer nor a client sees a thing.
#[test]
fn a_restart_changes_nothing() -> Result<()> {
    let Some(bed) = Bed::dual()? else { return Ok(()) };
    let mut pair = start_pair(bed, one_second)?;
    let bed = &pair.bed;
    let listener = bed.listener()?;
    // Elected in three seconds, and from here on with a lease of 40, within which the slowest guest restarts vipd.
    for (node, priority) in [("lb02", LOW), ("lb01", HIGH)] {
        bed.reloaded(node, &dual(priority, "10", "", &[]))?;
    }
    let lb01 = [LB01, bed.lb01().link_local().into()];
    let reloaded = Instant::now();
    lb01.iter().try_for_each(|address| wait_advert(&listener, *address, reloaded).map(drop))?;
    let prober = ask(bed)?;
    let begin = Instant::now();
    let peer_before = bed.status("lb02")?;
    for way in ["stop --for-restart", "kill -9"] {
        if way == "kill -9" {
            wait_advert(&listener, LB01, Instant::now())?;
            pair.lb01.kill9()?;
        } else {
            bed.told("lb01", &["stop", "--for-restart"])?;
            let status = pair.lb01.wait(SOON)?;
            ensure!(status.success(), "{way}: {status}: {}", pair.lb01.log());
        }
        pair.lb01 = bed.restart("lb01")?;
        bed.lb01().wait_ready(&bed.vipd, SOON)?;
        wait_elected(bed)?;
    }
    let end = Instant::now();
    let probes = prober.stop()?;
    let served: Vec<_> = probes.into_iter().filter(|probe| probe.target != LATER_VIP).collect();
    check_answered("while vipd was restarted", &served, begin, end - ASK)?;
    let others = served.iter().find(|probe| answering(probe).iter().any(|mac| *mac != bed.lb01().mac()));
    ensure!(others.is_none(), "another node answered: {others:?}");
    let others =
        adverts(&listener).into_iter().filter(|heard| !lb01.contains(&heard.from) || heard.priority != HIGH);
    let others: Vec<_> = others.collect();
    ensure!(others.is_empty(), "another node advertised, or a goodbye was said: {others:?}");
    let peer = bed.status("lb02")?;
    for field in ["state", "since_unix_ms", "became_master"] {
        ensure!(peer[field] == peer_before[field], "the peer saw a transition: {peer_before} then {peer}");
    }
    Ok(())
}

/// The virtual router's own MAC, in a sync group whose members move together.
#[test]
fn virtual_macs_move_with_their_sync_group() -> Result<()> {
    let conf = |priority| {
        let group = format!("vrrp_sync_group G {{\n group {{\n {}\n }}\n}}\n", INSTANCES.join("\n "));
        group + &dual(priority, "1", "use_vmac", &[])
    };
    let Some(bed) = Bed::dual()? else { return Ok(()) };
    let before = HostState::of(bed.lb01())?;
    let filters_before = filters(bed.lb01())?;
    let mut pair = start_pair(bed, conf)?;
    let bed = &pair.bed;
    let answers = [(VIP.into(), VIRTUAL_V4), (VIP_LINK_LOCAL.into(), VIRTUAL_V6), (VIP6.into(), VIRTUAL_V6)];
    let prober = ask(bed)?;
    check_answered_once(&prober, &answers)?;
    let _services = [Service::start(bed.lb01())?, Service::start(bed.lb02())?];
    wait_reached(bed, &[bed.client()], "lb01")?;

    bed.told("lb01", &["stop"])?;
    let status = pair.lb01.wait(SOON)?;
    ensure!(status.success(), "{status}: {}", pair.lb01.log());
    wait_state(bed, bed.lb02(), "MASTER")?;
    check_answered_once(&prober, &answers)?;
    wait_reached(bed, &[bed.client()], "lb02")?;
    let after = HostState::of(bed.lb01())?;
    ensure!(after == before, "{after:#?} instead of {before:#?}");
    ensure!(!pins(bed.lb01()).exists(), "pins were left");
    wait_for("the NIC's filters to be as before", SOON, || {
        filters(bed.lb01()).is_ok_and(|now| now == filters_before)
    })
    .with_context(|| format!("{:?} instead of {filters_before:?}", filters(bed.lb01())))?;
    Ok(())
}

/// Two vipds have a BFD session over each family, lose it with the wire, and get it back.
#[test]
fn sessions_of_bfd_come_up_and_go_down() -> Result<()> {
    let Some(bed) = Bed::dual()? else { return Ok(()) };
    let sessions = |four: &str, six: &str| {
        let one = |name: &str, neighbor: &str| {
            format!(
                "bfd_instance {name} {{\nneighbor_ip {neighbor}\nmin_rx 500\nmin_tx 500\nmultiplier 20\nhoplimit 255\n}}\n"
            )
        };
        one("four", four) + &one("six", six)
    };
    let _lb01 = bed.start("lb01", &(sessions("10.0.0.6", "2001:db8::6") + &node_conf(HIGH, "")))?;
    let _lb02 = bed.start("lb02", &(sessions("10.0.0.5", "2001:db8::5") + &node_conf(LOW, "")))?;
    let wait = |up: bool| {
        wait_for(format_args!("both sessions of both nodes to be up: {up}"), SOON, || {
            [bed.lb01(), bed.lb02()].into_iter().all(|node| {
                let status = node.status(&bed.vipd).unwrap_or_default();
                let sessions = status["bfd_sessions"].as_array().cloned().unwrap_or_default();
                sessions.len() == 2 && sessions.iter().all(|session| (session["state"] == "Up") == up)
            })
        })
    };
    wait(true)?;
    let heard = bed.lb01().status(&bed.vipd)?["bfd_sessions"][0].clone();
    ensure!(heard["hears_by"] == "program" && heard["packets_refused"] == 0, "{heard}");
    bed.lab.partition(&["lb01"], &["lb02"])?;
    wait(false)?;
    bed.lab.unblock_all()?;
    wait(true).map(drop)
}
