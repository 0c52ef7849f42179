//! Where the XDP program can and cannot be loaded and attached.

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
use vipd_tests::probe::ArpProber;

/// A driver without XDP of its own, here macvlan's: the program runs in the stack, and says so.
#[test]
fn generic_mode_serves_where_the_driver_has_no_xdp() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let lb01 = bed.lb01();
    // The lower interface accepts frames to both addresses and hands each to its own.
    lb01.exec(&["ip", "link", "add", "mv0", "link", "eth0", "type", "macvlan", "mode", "bridge"])?;
    lb01.exec(&["ip", "address", "flush", "dev", "eth0"])?;
    lb01.exec(&["ip", "address", "add", "10.0.0.5/24", "dev", "mv0"])?;
    lb01.exec(&["ip", "link", "set", "mv0", "up"])?;
    let started = Instant::now();
    let vipd = bed.start("lb01", &node_conf(HIGH, "").replace("eth0", "mv0"))?;
    let prober = ArpProber::start(bed.client().ns(), "eth0", &[VIP], Duration::from_millis(5))?;
    bed.wait("lb01", "MASTER")?;
    let status = bed.status("lb01")?;
    ensure!(status["xdp_mode"] == "generic", "{status}");
    ensure!(vipd.log().contains("XDP runs in the stack"), "{}", vipd.log());
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
    let vipd = bed.start("lb01", &node_conf(HIGH, "").replace("eth0", "few"))?;
    bed.wait("lb01", "MASTER")?;
    ensure!(bed.status("lb01")?["xdp_mode"] == "generic", "veth took the program");
    let log = vipd.log();
    for words in [
        "the driver refused native mode",
        "XDP expects number of rx queues not less than peer tx queues",
        "`ethtool -L few rx N`",
        "No space left on device",
    ] {
        ensure!(log.contains(words), "{words} is not in {log}");
    }

    // The remedy is one.
    lb01.stop_vipd(&bed.vipd)?;
    lb01.exec(&["ethtool", "-L", "few", "rx", "2"])?;
    let _vipd = bed.start("lb01", &node_conf(HIGH, "").replace("eth0", "few"))?;
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
    let mut command = lb01.command("setpriv");
    command.args(["--bounding-set", "-perfmon,-sys_admin"]).arg(run.get_program()).args(run.get_args());
    let output = command.output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(1), "{:?}\n{said}", output.status);
    let paragraphs: Vec<&str> = said.lines().filter(|line| line.starts_with("vipd: ")).collect();
    let [paragraph] = paragraphs[..] else { anyhow::bail!("{said}") };
    ensure!(said.ends_with(&format!("{paragraph}\n")), "more lines follow: {said}");

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

    // With it the same node starts.
    let _vipd = bed.start("lb01", &node_conf(HIGH, ""))?;
    bed.wait("lb01", "MASTER")
}
