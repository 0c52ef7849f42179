//! Which hook serves an interface, and where the program can and cannot be attached.

#![allow(clippy::disallowed_methods, reason = "tests measure")]

mod support;

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use support::*;
use vipd_tests::{Daemon, Node, probe::ArpProber, xdp::Program};

/// Gives `lb01` a macvlan on `eth0` in its stead.
fn add_macvlan(lb01: &Node) -> Result<()> {
    // The lower interface accepts frames to both addresses and hands each to its own.
    lb01.exec(&["ip", "link", "add", "mv0", "link", "eth0", "type", "macvlan", "mode", "bridge"])?;
    lb01.exec(&["ip", "address", "flush", "dev", "eth0"])?;
    lb01.exec(&["ip", "address", "add", "10.0.0.5/24", "dev", "mv0"])?;
    lb01.exec(&["ip", "link", "set", "mv0", "up"]).map(drop)
}

fn conf_of_mode(mode: &str) -> String {
    format!("global_defs {{ xdp_mode {mode} }}\n{}", node_conf(HIGH, ""))
}

/// Whether a tc program is pinned, by tcx or by a filter where the kernel has no tcx.
fn has_tc_program(lb01: &Node) -> bool {
    let names = fs::read_dir(pins(lb01)).into_iter().flatten().flatten().map(|entry| entry.file_name());
    names
        .filter_map(|name| name.into_string().ok())
        .any(|name| ["tcx-", "filter-", "qdisc-"].iter().any(|prefix| name.starts_with(prefix)))
}

/// An interface that XDP in a driver does not see: tc ingress of the interface itself answers, and says so.
#[test]
fn tc_serves_a_macvlan() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let lb01 = bed.lb01();
    add_macvlan(lb01)?;
    let started = Instant::now();
    let conf = conf_of_mode("auto").replace("eth0", "mv0");
    let _vipd = bed.start("lb01", &conf)?;
    let prober = ArpProber::start(bed.client().ns(), "eth0", &[VIP], Duration::from_millis(5))?;
    bed.wait("lb01", "MASTER")?;
    let status = bed.status("lb01")?;
    ensure!(status["xdp_mode"] == "tc", "{status}");
    ensure!(status["xdp_mode_reason"].as_str().is_some_and(|reason| reason.contains("macvlan")), "{status}");
    ensure!(has_tc_program(lb01), "no tc program");
    vipd_tests::wait_for("an answer", SOON, || prober.current_owner(VIP).is_some())?;

    lb01.stop_vipd(&bed.vipd)?;
    let stopped = Instant::now();
    std::thread::sleep(INTERVAL);
    let probes = prober.stop()?;
    let link: Value = serde_json::from_str(&lb01.exec(&["ip", "-j", "link", "show", "mv0"])?)?;
    let mac = link[0]["address"].as_str().context("no address")?.parse()?;
    ensure!(answered_by(&probes, mac, started, stopped) > 0, "another MAC than mv0's answered");
    ensure!(
        answered_by(&probes, mac, stopped + MESSAGE_DELAY, Instant::now()) == 0,
        "answered after the stop"
    );
    ensure!(!has_tc_program(lb01), "a tc program was left");
    let qdiscs = lb01.exec(&["tc", "qdisc", "show", "dev", "mv0"])?;
    ensure!(!qdiscs.contains("clsact"), "a qdisc was left: {qdiscs}");
    Ok(())
}

/// A veth loses what XDP sends back unless its other end has an XDP program: vipd chooses tc by itself.
#[test]
fn tc_serves_a_veth() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let _vipd = bed.start("lb01", &conf_of_mode("auto"))?;
    bed.wait("lb01", "MASTER")?;
    let status = bed.status("lb01")?;
    ensure!(status["xdp_mode"] == "tc", "{status}");
    let prober = ArpProber::start(bed.client().ns(), "eth0", &[VIP], Duration::from_millis(5))?;
    vipd_tests::wait_for("an answer", SOON, || prober.current_owner(VIP).is_some())?;
    prober.stop().map(drop)
}

/// The other hook of a restart takes over from the one before it, and none is left of that.
#[test]
fn a_restart_may_change_the_hook() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let lb01 = bed.lb01();
    for (mode, xdp, tc) in [("native", true, false), ("tc", false, true), ("native", true, false)] {
        let mut vipd = bed.start("lb01", &conf_of_mode(mode))?;
        bed.wait("lb01", "MASTER")?;
        ensure!(bed.status("lb01")?["xdp_mode"] == mode, "{}", bed.status("lb01")?);
        let link = lb01.exec(&["ip", "link", "show", "eth0"])?;
        ensure!(link.contains("prog/xdp") == xdp, "{mode}: {link}");
        ensure!(has_tc_program(lb01) == tc, "{mode}: tc program");
        let prober = ArpProber::start(bed.client().ns(), "eth0", &[VIP], Duration::from_millis(5))?;
        vipd_tests::wait_for("an answer", SOON, || prober.current_owner(VIP).is_some())?;
        prober.stop()?;
        vipd.kill9()?;
    }
    Ok(())
}

/// What cannot be had is refused with the reason and what to write.
#[test]
fn native_mode_is_refused_where_it_would_be_blind() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    add_macvlan(bed.lb01())?;
    let lb01 = bed.lb01();
    lb01.write_vipd_conf(&conf_of_mode("native").replace("eth0", "mv0"))?;
    let mut vipd = Daemon::start("vipd", &mut lb01.vipd_run(&bed.vipd), &lb01.vipd_log())?;
    ensure!(!vipd.wait(SOON)?.success(), "{}", vipd.log());
    for words in ["mv0", "xdp_mode native", "macvlan", "xdp_mode auto"] {
        ensure!(vipd.log().contains(words), "{words}: {}", vipd.log());
    }
    Ok(())
}

/// Somebody else's XDP program stays, and tc serves the interface beside it.
#[test]
fn another_xdp_program_is_left_alone() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let lb01 = bed.lb01();
    let other = Program::pass()?.attach(lb01.ns(), "eth0")?;
    let shown = || lb01.exec(&["ip", "-d", "link", "show", "eth0"]);
    let before = shown()?;
    ensure!(before.contains("xdp"), "{before}");
    let _vipd = bed.start("lb01", &conf_of_mode("auto"))?;
    bed.wait("lb01", "MASTER")?;
    ensure!(bed.status("lb01")?["xdp_mode"] == "tc", "{}", bed.status("lb01")?);
    ensure!(shown()? == before, "{} became {}", before, shown()?);
    lb01.stop_vipd(&bed.vipd)?;
    ensure!(shown()? == before, "{} became {}", before, shown()?);
    drop(other);
    Ok(())
}

/// Somebody turns the stripping of VLAN tags on below native XDP: it is turned off again, and told.
#[test]
fn rxvlan_is_kept_off_below_native_xdp() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let lb01 = bed.lb01();
    let strips =
        || Ok::<_, anyhow::Error>(lb01.exec(&["ethtool", "-k", "eth0"])?.contains("rx-vlan-offload: on"));
    let before = strips()?;
    let _vipd = bed.start("lb01", &conf_of_mode("native"))?;
    bed.wait("lb01", "MASTER")?;
    ensure!(!strips()?);
    for round in 1..=2 {
        lb01.exec(&["ethtool", "-K", "eth0", "rxvlan", "on"])?;
        vipd_tests::wait_for("rxvlan to be off", SOON, || strips().is_ok_and(|on| !on))?;
        vipd_tests::wait_for("an event", SOON, || {
            bed.events_named("lb01", "rx_vlan_restored").is_ok_and(|events| events.len() == round)
        })?;
    }
    let event = bed.wait_event("lb01", "rx_vlan_restored", |_| true)?;
    ensure!(event["fields"]["interface"] == "eth0" && event["level"] == "WARN", "{event}");
    ensure!(bed.state("lb01")? == "MASTER");
    lb01.stop_vipd(&bed.vipd)?;
    ensure!(strips()? == before);
    Ok(())
}

/// At tc ingress the tags are seen wherever they are: the NIC's setting is nobody's business.
#[test]
fn rxvlan_is_left_alone_at_tc() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let lb01 = bed.lb01();
    let _vipd = bed.start("lb01", &conf_of_mode("tc"))?;
    bed.wait("lb01", "MASTER")?;
    lb01.exec(&["ethtool", "-K", "eth0", "rxvlan", "off"])?;
    lb01.exec(&["ethtool", "-K", "eth0", "rxvlan", "on"])?;
    // A look comes every 5 s.
    std::thread::sleep(Duration::from_secs(6));
    ensure!(lb01.exec(&["ethtool", "-k", "eth0"])?.contains("rx-vlan-offload: on"));
    ensure!(bed.events_named("lb01", "rx_vlan_restored")?.is_empty());
    Ok(())
}

/// veth refuses native XDP to an end with fewer receive queues than its peer has transmit queues. bpf(2) says ENOSPC, and no more.
#[test]
fn a_native_mode_that_is_refused_is_explained_in_the_kernels_words() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let lb01 = bed.lb01();
    for command in [
        "ip link add few numrxqueues 2 type veth peer name many numtxqueues 2",
        "ip address add 10.9.0.5/24 dev few",
        "ethtool -L few rx 1",
        "ethtool -L many tx 2",
        "ip link set many up",
        "ip link set few up",
    ] {
        lb01.exec(&command.split(' ').collect::<Vec<_>>())?;
    }
    let conf = conf_of_mode("native").replace("eth0", "few");
    lb01.write_vipd_conf(&conf)?;
    let mut vipd = Daemon::start("vipd", &mut lb01.vipd_run(&bed.vipd), &lb01.vipd_log())?;
    ensure!(!vipd.wait(SOON)?.success(), "veth took the program");
    let log = vipd.log();
    for words in [
        "the driver of few refused native XDP",
        "XDP expects number of rx queues not less than peer tx queues",
        "`ethtool -L few rx N`",
        "No space left on device",
    ] {
        ensure!(log.contains(words), "{words} is not in {log}");
    }

    // The remedy is one.
    lb01.exec(&["ethtool", "-L", "few", "rx", "2"])?;
    let _vipd = bed.start("lb01", &conf)?;
    bed.wait("lb01", "MASTER")?;
    ensure!(bed.status("lb01")?["xdp_mode"] == "native", "veth refuses the program");
    Ok(())
}

/// Without CAP_PERFMON every kernel's verifier refuses the program.
#[test]
fn a_kernel_that_refuses_the_program_is_said_in_one_paragraph() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let lb01 = bed.lb01();
    lb01.write_vipd_conf(&node_conf(HIGH, ""))?;
    let run = lb01.vipd_run(&bed.vipd);
    let mut command = lb01.command("timeout");
    command.args(["60", "setpriv", "--bounding-set", "-perfmon,-sys_admin"]);
    command.arg(run.get_program()).args(run.get_args());
    let output = command.output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(1), "{:?}\n{said}", output.status);
    let paragraphs: Vec<&str> = said.lines().filter(|line| line.starts_with("vipd: ")).collect();
    let [paragraph, "vipd: not started: 1 error"] = paragraphs[..] else { anyhow::bail!("{said}") };
    ensure!(said.ends_with(&format!("{paragraph}\n{}\n", paragraphs[1])), "more lines follow: {said}");

    let path = lb01.runtime_dir().join("verifier.log");
    let log = fs::read_to_string(&path)?;
    let lines = log.lines().count();
    for words in [
        "vipd: Linux ".to_owned(),
        "refuses the BPF program vipd_xdp: its verifier".to_owned(),
        "the verifier's last words: `".to_owned(),
        format!("The whole log, {lines} lines, is in {}.", path.display()),
        "Without CAP_PERFMON the verifier accepts less".to_owned(),
    ] {
        ensure!(paragraph.contains(&words), "{words} is not in {paragraph}");
    }
    ensure!(log.contains("processed "), "{log}");
    ensure!(fs::metadata(&path)?.permissions().mode() & 0o777 == 0o600);
    ensure!(!lb01.bpffs_dir().exists(), "something stays pinned");

    // With it the same node starts; and what it leaves behind when it is killed outlives another refusal. A pinned program needs
    // no verifier, so these are removed, as they are no use to a vipd of another version.
    let mut vipd = bed.start("lb01", &node_conf(HIGH, ""))?;
    bed.wait("lb01", "MASTER")?;
    vipd.kill9()?;
    for entry in fs::read_dir(pins(lb01))? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with("program-") {
            fs::remove_file(entry.path())?;
        }
    }
    let pinned = || -> Result<usize> { Ok(fs::read_dir(pins(lb01))?.count()) };
    let before = pinned()?;
    ensure!(!command.output()?.status.success());
    ensure!(pinned()? == before, "{before} pins became {}", pinned()?);
    ensure!(lb01.exec(&["ip", "link", "show", "eth0"])?.contains("prog/xdp"), "detached");
    Ok(())
}
