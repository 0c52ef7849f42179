//! The program is detached by somebody else while vipd runs: it is seen, told, and attached again; where that is impossible the
//! instance is in FAULT.

#![allow(clippy::disallowed_methods, reason = "tests measure")]

mod support;

use std::{fs, path::PathBuf, time::Duration};

use anyhow::{Context, Result, ensure};
use support::*;
use vipd_tests::{Node, wait_for, xdp::Program};

fn conf_of_mode(mode: &str) -> String {
    format!("global_defs {{ xdp_mode {mode} }}\n{}", node_conf(HIGH, ""))
}

/// What holds the program on the node's interface.
fn attachment(node: &Node) -> Result<PathBuf> {
    let is_one = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        ["link-", "tcx-", "filter-", "qdisc-"].iter().any(|prefix| name.starts_with(prefix))
    };
    let mut paths = fs::read_dir(pins(node))?.flatten().map(|entry| entry.path());
    paths.find(is_one).context("nothing is attached")
}

/// Detaches it, as an operator does: by bpftool, or by tc where a filter holds it (before Linux 6.6).
fn detach(node: &Node) -> Result<()> {
    let path = attachment(node)?;
    if path.to_string_lossy().contains("/filter-") || path.to_string_lossy().contains("/qdisc-") {
        return node.exec(&["tc", "filter", "del", "dev", "eth0", "ingress"]).map(drop);
    }
    node.exec(&["bpftool", "link", "detach", "pinned", &path.display().to_string()]).map(drop)
}

/// Detaches it, then waits until it is told, attached and answers.
fn is_mended(mode: &str, detach: fn(&Node) -> Result<()>) -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let _vipd = bed.start("lb01", &conf_of_mode(mode))?;
    bed.wait("lb01", "MASTER")?;
    let prober = bed.prober()?;
    let answers = || prober.current_owner(VIP).map(|answer| answer.at);
    wait_for("an answer", SOON, || answers().is_some())?;
    let before = answers();
    detach(bed.lb01())?;
    for name in ["program_detached", "program_attached"] {
        let event = bed.wait_event("lb01", name, |_| true)?;
        let fields = &event["fields"];
        ensure!(fields["interface"] == "eth0" && fields["mode"] == mode, "{event}");
    }
    wait_for("an answer after that", SOON, || answers() > before)?;
    bed.wait("lb01", "MASTER")?;
    let status = bed.status("lb01")?;
    ensure!(status["xdp_mode"] == mode, "{status}");
    bed.lb01().stop_vipd(&bed.vipd)?;
    ensure!(!pins(bed.lb01()).exists(), "pins are left");
    Ok(())
}

#[test]
fn a_tc_program_that_is_detached_is_attached_again() -> Result<()> {
    is_mended("tc", detach)
}

#[test]
fn an_xdp_program_that_is_detached_is_attached_again() -> Result<()> {
    is_mended("native", detach)
}

/// The repair is a look at all that is in force: what else has gone with the program is put back with it.
#[test]
fn what_else_was_removed_is_put_back_with_the_program() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let _vipd = bed.start("lb01", &conf_of_mode("tc"))?;
    bed.wait("lb01", "MASTER")?;
    let lb01 = bed.lb01();
    let route = format!("local {VIP} dev eth0");
    let local =
        || lb01.exec(&["ip", "route", "show", "table", "local"]).is_ok_and(|all| all.contains(&route));
    let quiet =
        || lb01.exec(&["sysctl", "-n", "net.ipv4.conf.all.arp_ignore"]).is_ok_and(|one| one.trim() == "1");
    ensure!(local() && quiet(), "{}", lb01.exec(&["ip", "route", "show", "table", "local"])?);
    lb01.exec(&["ip", "route", "del", "local", &VIP.to_string(), "dev", "eth0", "table", "local"])?;
    lb01.exec(&["sysctl", "-w", "net.ipv4.conf.all.arp_ignore=0"])?;
    detach(lb01)?;
    bed.wait_event("lb01", "program_attached", |_| true)?;
    wait_for("the route and the sysctl", SOON, || local() && quiet())?;
    bed.wait("lb01", "MASTER")
}

/// Another program is in the place: the instance is no MASTER of what nothing answers for, and says why, until the place is free.
#[test]
fn a_place_that_is_taken_is_a_fault() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let lb01 = bed.lb01();
    let _vipd = bed.start("lb01", &conf_of_mode("native"))?;
    bed.wait("lb01", "MASTER")?;
    let mut other = None;
    // vipd may be quicker.
    wait_for("another program to be in the place", SOON, || {
        let detached = detach(lb01);
        other = Program::pass().and_then(|program| program.attach(lb01.ns(), "eth0")).ok();
        detached.is_ok() && other.is_some()
    })?;
    bed.wait("lb01", "FAULT")?;
    wait_for("the reason", SOON, || {
        let reason = bed.status("lb01").map(|status| status["reason"].to_string()).unwrap_or_default();
        ["detached from eth0 by somebody else", "already has an XDP program"]
            .iter()
            .all(|words| reason.contains(words))
    })
    .with_context(|| {
        bed.status("lb01").map_or_else(|error| error.to_string(), |status| status.to_string())
    })?;
    let status = bed.status("lb01")?;
    ensure!(status["xdp_mode"] == "", "{status}");
    let doctor = bed.ask("lb01", &["doctor", "-f", &lb01.vipd_conf().display().to_string()]).output()?;
    let doctor = String::from_utf8_lossy(&doctor.stdout).into_owned();
    ensure!(doctor.contains("its program is not attached"), "{doctor}");
    drop(other);
    bed.wait("lb01", "MASTER")?;
    bed.wait_event("lb01", "program_attached", |_| true)?;
    ensure!(bed.status("lb01")?["xdp_mode"] == "native");
    Ok(())
}

/// A handover takes as long as the slowest backup, whether for a reload or for a stop.
#[test]
fn a_program_that_is_detached_during_a_handover_is_attached_again() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let stays = conf_of_mode("native");
    // Nobody takes over: vipd waits for several of these intervals.
    let goes = "vrrp_instance VI_2 {\n interface eth0\n virtual_router_id 52\n priority 100\n advert_int 2\n \
                virtual_ipaddress {\n 10.0.0.44\n }\n}\n";
    let mut vipd = bed.start("lb01", &(stays.clone() + goes))?;
    let is_master = |name: &str| {
        bed.lb01().status(&bed.vipd).is_ok_and(|status| {
            let instances = status["instances"].as_array().cloned().unwrap_or_default();
            instances.iter().any(|instance| instance["name"] == name && instance["state"] == "MASTER")
        })
    };
    let told = |daemon: &vipd_tests::Daemon, words: &str| daemon.log().matches(words).count();
    wait_for("both to be MASTER", SOON, || ["VI_1", "VI_2"].into_iter().all(is_master))?;
    bed.lb01().write_vipd_conf(&stays)?;
    let reload = std::thread::scope(|scope| -> Result<()> {
        let reload = scope.spawn(|| bed.ask("lb01", &["reload"]).output());
        wait_for("the goodbye of VI_2", SOON, || told(&vipd, "reloading") == 1)?;
        std::thread::sleep(Duration::from_millis(300));
        detach(bed.lb01())?;
        wait_for("the program to be attached again", SOON, || told(&vipd, "program_attached") == 1)?;
        ensure!(told(&vipd, "event=\"reloaded\"") == 0, "after the handover:\n{}", vipd.log());
        let output = reload.join().expect("no panic")?;
        ensure!(output.status.success(), "{output:?}");
        Ok(())
    });
    reload?;
    bed.wait("lb01", "MASTER")?;

    bed.lb01().write_vipd_conf(&(stays + goes))?;
    bed.told("lb01", &["reload"])?;
    wait_for("VI_2 to be MASTER again", SOON, || is_master("VI_2"))?;
    vipd.sigterm()?;
    wait_for("the stop", SOON, || told(&vipd, "event=\"stopping\"") == 1)?;
    std::thread::sleep(Duration::from_millis(300));
    detach(bed.lb01())?;
    wait_for("the program to be attached again", SOON, || told(&vipd, "program_attached") == 2)?;
    vipd.wait(SOON)?;
    ensure!(!pins(bed.lb01()).exists(), "pins are left");
    Ok(())
}

/// An interface that goes takes its program with it: nobody has detached it.
#[test]
fn an_interface_that_goes_is_no_detachment() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let lb01 = bed.lb01();
    let up = || {
        for command in [
            "ip link add d0 type veth peer name d1",
            "ip address add 10.9.0.5/24 dev d0",
            "ip link set d1 up",
            "ip link set d0 up",
        ] {
            lb01.exec(&command.split(' ').collect::<Vec<_>>())?;
        }
        Ok::<_, anyhow::Error>(())
    };
    up()?;
    let conf = format!("global_defs {{\n dynamic_interfaces\n}}\n{}", node_conf(HIGH, ""));
    let _vipd = bed.start("lb01", &conf.replace("eth0", "d0"))?;
    for _ in 0..3 {
        bed.wait("lb01", "MASTER")?;
        lb01.exec(&["ip", "link", "del", "d0"])?;
        bed.wait("lb01", "FAULT")?;
        std::thread::sleep(Duration::from_millis(1500));
        up()?;
    }
    bed.wait("lb01", "MASTER")?;
    ensure!(bed.events_named("lb01", "program_detached")?.is_empty(), "{:?}", bed.events("lb01", &[])?);
    Ok(())
}
