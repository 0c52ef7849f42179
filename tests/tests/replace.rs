//! A vipd that takes over from another one that runs: `vipd run --replace` and `vipd upgrade`.

#![allow(clippy::disallowed_methods, reason = "tests measure")]

mod support;

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    process::Command,
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use support::*;
use vipd_common::abi::ABI_VERSION;
use vipd_tests::{
    Daemon,
    probe::{HttpProber, Sniffer},
    wait_for,
};

const HTTP_PERIOD: Duration = Duration::from_millis(5);
/// Another virtual router, whose vipd nothing is done to.
const CONTROL: &str = "gw";
const OTHER_ABI: u32 = ABI_VERSION + 1;
const CONTROL_IP: std::net::IpAddr = std::net::IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));

/// What the next vipd is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// The same once more.
    Same,
    /// With another program for the same maps.
    OtherProgram,
    /// With other maps.
    OtherMaps,
}

/// A vipd that is to take over from the one on lb01.
fn successor(bed: &Bed, next: Next) -> Result<Daemon> {
    let mut command = bed.lb01().vipd_run(&bed.vipd);
    command.arg("--replace");
    match next {
        Next::Same => {}
        // Not even the verifier sees the same instructions.
        Next::OtherProgram => _ = command.arg("--log-xdp"),
        Next::OtherMaps => _ = command.env("VIPD_TEST_ABI", OTHER_ABI.to_string()),
    }
    Daemon::start("vipd on lb01, the next", &mut command, &bed.lb01().vipd_log())
}

/// Has it take over; returns how long the two have run beside each other.
fn replace(bed: &Bed, lb01: &mut Daemon, next: Next) -> Result<Duration> {
    let began = Instant::now();
    let next = successor(bed, next)?;
    let status = lb01.wait(SOON)?;
    ensure!(status.success(), "{status}: {}", lb01.log());
    let took = began.elapsed();
    *lb01 = next;
    bed.lb01().wait_ready(&bed.vipd, SOON)?;
    Ok(took)
}

fn at_interval(conf: &str, interval: Duration) -> String {
    conf.replace("advert_int 0.3", &format!("advert_int {}", interval.as_secs_f64()))
}

fn program_id(bed: &Bed) -> Result<Value> {
    let links: Value = serde_json::from_str(&bed.lb01().exec(&["ip", "-j", "-d", "link", "show", "eth0"])?)?;
    Ok(links[0]["xdp"]["prog"]["id"].clone())
}

/// The longest silence of a router that advertises all the time.
fn longest_gap(listener: &Sniffer, from: std::net::IpAddr) -> Duration {
    let times: Vec<Instant> =
        adverts(listener).iter().filter(|heard| heard.from == from).map(|heard| heard.at).collect();
    times.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Peer {
    Vipd,
    Keepalived,
}

/// Shorter intervals have leases that end while another tenant has the CPU of one node, and not that of the control: what is lost then
/// is printed, and counted by `cargo xtask bench start`.
const ROBUST_INTERVAL: Duration = Duration::from_millis(100);

/// Restarts and upgrades under traffic. What a machine that stands still does to a virtual router that nobody touches is not held
/// against the one that is restarted.
fn unnoticed(interval: Duration, peer: Peer) -> Result<()> {
    let Some(bed) = Bed::with_gateway()? else { return Ok(()) };
    let mut lb01 = bed.start("lb01", &at_interval(&node_conf(HIGH, ""), interval))?;
    bed.wait("lb01", "MASTER")?;
    let low = at_interval(&node_conf(LOW, ""), interval);
    let _lb02 = match peer {
        Peer::Vipd => bed.start("lb02", &low)?,
        Peer::Keepalived => bed.lb02().start_keepalived(&low)?,
    };
    let control =
        low.replace("virtual_router_id 51", "virtual_router_id 52").replace("10.0.0.3\n", "10.0.0.51\n");
    let _control = bed.start(CONTROL, &control)?;
    bed.wait(CONTROL, "MASTER")?;
    let _nginx = bed.lb01().start_nginx((VIP, 80))?;
    // The second burst of announcements of the one takeover there was.
    sleep(Duration::from_secs(6));
    let (listener, prober) = (bed.listener()?, bed.prober()?);
    let client = HttpProber::start(bed.client().ns(), (VIP, 80).into(), HTTP_PERIOD, SOON)?;
    wait_advert(&listener, LB01, Instant::now())?;
    let mut beside = Vec::new();
    let rounds = times("VIPD_REPLACEMENTS", 3);
    for i in 0..rounds {
        // A restart, then upgrades: to another program, to other maps, and back.
        for next in [Next::Same, Next::OtherProgram, Next::OtherMaps, Next::Same] {
            let before = program_id(&bed)?;
            beside.push(replace(&bed, &mut lb01, next)?);
            let is_other = || program_id(&bed).is_ok_and(|now| now != before);
            let maps = if next == Next::OtherMaps { OTHER_ABI } else { ABI_VERSION };
            let is_alone = || {
                let dirs = fs::read_dir(bed.lb01().bpffs_dir().join("vipd"))
                    .map(|dirs| dirs.flatten().collect::<Vec<_>>());
                dirs.is_ok_and(|dirs| {
                    dirs.len() == 1 && dirs[0].file_name().to_str() == Some(&format!("v{maps}"))
                })
            };
            wait_for("the maps of this version alone", SOON, is_alone)?;
            wait_for("its program", SOON, || program_id(&bed).is_ok_and(|now| !now.is_null()))?;
            if next == Next::OtherProgram {
                wait_for("the other program", SOON, is_other)?;
            }
            let refused = bed.lb01().vipd_run(&bed.vipd).output()?;
            let refused = String::from_utf8_lossy(&refused.stderr).into_owned();
            ensure!(refused.contains("already runs"), "round {i}: a second vipd was not refused: {refused}");
        }
    }
    sleep(Duration::from_secs(1));
    let ended = Instant::now();
    let (probes, requests) = (prober.stop()?, client.stop());
    let lost = probes.iter().filter(|p| p.sent < ended - MESSAGE_DELAY * 4 && p.answers.is_empty()).count();
    let failed = requests.iter().filter(|request| request.answer.is_err() || request.retried).count();
    let heard = adverts(&listener);
    let transitions = heard.windows(2).filter(|pair| pair[0].from == LB01 && pair[1].from == LB02).count()
        + heard
            .windows(3)
            .filter(|three| three[1].from == CONTROL_IP && three[0].from == LB01 && three[2].from == LB02)
            .count();
    let by_peer = heard.iter().filter(|heard| heard.from == LB02).count();
    let (gap, control_gap) = (longest_gap(&listener, LB01), longest_gap(&listener, CONTROL_IP));
    beside.sort();
    println!(
        "{} takeovers at {interval:?}, peer {peer:?}: {lost} of {} questions and {failed} of {} requests \
         lost, {by_peer} adverts of the peer in {transitions} takeovers; longest silence {gap:?}, of the control {control_gap:?}; \
         beside each other {:?} (median), {:?} (longest)",
        beside.len(),
        probes.len(),
        requests.len(),
        beside[beside.len() / 2],
        beside[beside.len() - 1]
    );
    ensure!(probes.len() > 500 && requests.len() > 100, "there was hardly any traffic");
    let owners: std::collections::BTreeSet<_> =
        probes.iter().flat_map(vipd_tests::probe::neighbour::Probe::owners).collect();
    if control_gap > interval * 3 {
        println!("the machine stood still: a peer of the control would have taken over as well");
        return check_single_owner(&probes, &listener);
    }
    if interval < ROBUST_INTERVAL {
        return check_single_owner(&probes, &listener);
    }
    ensure!(lost == 0 && failed == 0, "questions or requests were lost");
    ensure!(owners == [bed.lb01().mac()].into(), "answers of {owners:?}");
    ensure!(by_peer == 0, "the peer took over");
    ensure!(heard.iter().all(|heard| heard.priority != 0), "a goodbye was said");
    Ok(())
}

#[test]
fn at_10_ms_beside_a_vipd() -> Result<()> {
    unnoticed(Duration::from_millis(10), Peer::Vipd)
}

#[test]
fn at_10_ms_beside_a_keepalived() -> Result<()> {
    unnoticed(Duration::from_millis(10), Peer::Keepalived)
}

#[test]
fn at_100_ms_beside_a_vipd() -> Result<()> {
    unnoticed(Duration::from_millis(100), Peer::Vipd)
}

/// What has been verified is pinned for its owner only, and used again by whoever starts next; unless it is not what its name says.
#[test]
fn a_verified_program_is_used_again() -> Result<()> {
    let Some(mut pair) = pair(&node_conf(HIGH, ""), &node_conf(LOW, ""))? else { return Ok(()) };
    let pinned = |bed: &Bed| -> Result<Vec<PathBuf>> {
        let entries = fs::read_dir(pins(bed.lb01()))?.map(|entry| Ok(entry?.path()));
        let paths: Result<Vec<PathBuf>> = entries.collect();
        Ok(paths?.into_iter().filter(|path| path.to_string_lossy().contains("/program-")).collect())
    };
    let (before, id) = (pinned(&pair.bed)?, program_id(&pair.bed)?);
    ensure!(before.len() == 1, "{before:?}");
    ensure!(fs::metadata(&before[0])?.permissions().mode() & 0o777 == 0o600, "others may open it");
    pair.lb01.kill9()?;
    pair.lb01 = pair.bed.restart("lb01")?;
    pair.bed.lb01().wait_ready(&pair.bed.vipd, SOON)?;
    ensure!(program_id(&pair.bed)? == id, "verified again: {}", pair.lb01.log());
    pair.lb01.kill9()?;
    fs::remove_file(&before[0])?;
    let other_program = other_program(&pair.bed, &before[0])?;
    pair.lb01 = pair.bed.restart("lb01")?;
    pair.bed.wait("lb01", "MASTER")?;
    ensure!(pair.lb01.log().contains("is not what its name says"), "{}", pair.lb01.log());
    let now = program_id(&pair.bed)?;
    ensure!(now != id && now != other_program, "a program of another name or content was used");
    ensure!(pinned(&pair.bed)? == before, "the same program has the same name");
    Ok(())
}

/// Pins a program of the lab under that name; returns its id.
fn other_program(bed: &Bed, path: &std::path::Path) -> Result<Value> {
    let mut show = bed.lab.switch().command("ip");
    let shown = show.args(["-j", "-d", "link", "show", "port-lb01"]).output()?;
    let id = serde_json::from_slice::<Value>(&shown.stdout)?[0]["xdp"]["prog"]["id"].clone();
    let mut pin = Command::new("bpftool");
    let status = pin.args(["prog", "pin", "id", &id.to_string()]).arg(path).status()?;
    ensure!(status.success(), "bpftool pinned no program");
    Ok(id)
}

/// What does not succeed leaves the vipd that runs as it is, and says why.
#[test]
fn a_takeover_that_fails_changes_nothing() -> Result<()> {
    let Some(mut pair) = pair(&node_conf(HIGH, ""), &node_conf(LOW, ""))? else { return Ok(()) };
    let good = node_conf(HIGH, "");
    let since = pair.bed.status("lb01")?["since_unix_ms"].clone();
    for (what, conf, arguments, code, said) in [
        ("a bad configuration", good.replace("priority", "priorty"), &[][..], 6, "priorty"),
        ("a missing interface", good.replace("eth0", "eth7"), &[], 1, "eth7"),
        (
            "another BPF file system",
            good.clone(),
            &["--bpffs-dir", "/sys/fs/bpf/vipd-test-elsewhere"],
            1,
            "--bpffs-dir",
        ),
    ] {
        pair.bed.lb01().write_vipd_conf(&conf)?;
        let mut command = pair.bed.lb01().vipd_run(&pair.bed.vipd);
        // The last of two is taken for an error by clap.
        if !arguments.is_empty() {
            command = pair.bed.lb01().command(&pair.bed.vipd);
            command.arg("run").arg("-f").arg(pair.bed.lb01().vipd_conf()).args(arguments);
            command.arg("--runtime-dir").arg(pair.bed.lb01().runtime_dir());
            command.arg("--state-dir").arg(pair.bed.lb01().state_dir()).args(["--xdp-mode", "native"]);
        }
        let output = command.arg("--replace").output()?;
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(
            output.status.code() == Some(code) && text.contains(said),
            "{what}: {} {text}",
            output.status
        );
        ensure!(
            pair.lb01.is_running() && pair.bed.status("lb01")?["since_unix_ms"] == since,
            "{what}: noticed"
        );
    }
    pair.bed.lb01().write_vipd_conf(&good)?;
    // Bounded, and void afterwards: the one that was stopped goes on by itself.
    pair.lb01.sigstop()?;
    let output = pair.bed.lb01().vipd_run(&pair.bed.vipd).arg("--replace").output()?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.code() == Some(5) && text.contains("SIGKILL"), "{}: {text}", output.status);
    pair.lb01.sigcont()?;
    pair.bed.wait("lb01", "MASTER")?;
    ensure!(pair.lb01.is_running());
    // And it can be replaced later.
    replace(&pair.bed, &mut pair.lb01, Next::Same)?;
    pair.bed.wait("lb01", "MASTER")
}

/// Without a vipd that runs it is a start like any other.
#[test]
fn nothing_to_replace_is_a_start() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    bed.lb01().write_vipd_conf(&node_conf(HIGH, ""))?;
    let _lb01 = successor(&bed, Next::Same)?;
    bed.wait("lb01", "MASTER")
}

/// `vipd upgrade` starts the successor, and says what has come of it.
#[test]
fn an_upgrade_starts_its_successor() -> Result<()> {
    let Some(mut pair) = pair(&node_conf(HIGH, ""), &node_conf(LOW, ""))? else { return Ok(()) };
    let (good, pid_file) = (node_conf(HIGH, ""), pair.bed.lb01().runtime_dir().join("vipd.pid"));
    pair.bed.lb01().write_vipd_conf(&good.replace("priority", "priorty"))?;
    let output = pair.bed.ask("lb01", &["upgrade"]).output()?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(
        output.status.code() == Some(1) && text.contains("priorty") && text.contains("continues"),
        "{text}"
    );
    ensure!(pair.lb01.is_running(), "{}", pair.lb01.log());
    pair.bed.lb01().write_vipd_conf(&good)?;
    let told = pair.bed.told("lb01", &["upgrade"])?;
    ensure!(pair.lb01.wait(SOON)?.success(), "{}", pair.lb01.log());
    pair.bed.lb01().wait_ready(&pair.bed.vipd, SOON)?;
    let pid = fs::read_to_string(&pid_file)?;
    ensure!(told.contains(&format!("pid {},", pid.trim())), "{told}: {pid}");
    ensure!(pair.bed.state("lb01")? == "MASTER");
    // And once more, by the one that was started so.
    pair.bed.told("lb01", &["upgrade"])?;
    wait_for("the next pid", SOON, || fs::read_to_string(&pid_file).is_ok_and(|now| now != pid))?;
    pair.bed.lb01().wait_ready(&pair.bed.vipd, SOON)?;
    ensure!(pair.bed.state("lb01")? == "MASTER");
    pair.bed.told("lb01", &["stop"])?;
    pair.bed.wait("lb02", "MASTER")?;
    ensure!(!pid_file.exists() && !pins(pair.bed.lb01()).exists(), "something is left");
    Ok(())
}

/// Another configuration comes into force with the takeover: what stays goes on, what is new begins, what is gone ends.
#[test]
fn a_successor_brings_its_configuration() -> Result<()> {
    let gone = node_conf(HIGH, "")
        .replace("VI_1", "VI_2")
        .replace("id 51", "id 52")
        .replace("10.0.0.3\n", "10.0.0.52\n");
    let gone = gone.split_once("}\n").context("global_defs")?.1.to_owned();
    let new = gone.replace("VI_2", "VI_3").replace("id 52", "id 53").replace("10.0.0.52", "10.0.0.53");
    let Some(mut pair) = pair(&(node_conf(HIGH, "") + &gone), &node_conf(LOW, ""))? else { return Ok(()) };
    let since = pair.bed.status("lb02")?["since_unix_ms"].clone();
    let more = node_conf(HIGH, "").replace("10.0.0.3\n", "10.0.0.3\n        10.0.0.54\n");
    pair.bed.lb01().write_vipd_conf(&(more + &new))?;
    replace(&pair.bed, &mut pair.lb01, Next::Same)?;
    pair.bed.lb01().wait_state(&pair.bed.vipd, "VI_3", "MASTER", SOON)?;
    let instances = pair.bed.lb01().status(&pair.bed.vipd)?["instances"].clone();
    ensure!(instances.as_array().is_some_and(|all| all.len() == 2), "{instances}");
    ensure!(pair.bed.state("lb01")? == "MASTER");
    let routes = || pair.bed.lb01().exec(&["ip", "route", "show", "table", "local", "proto", "118"]);
    for vip in ["10.0.0.3", "10.0.0.53", "10.0.0.54"] {
        wait_for(format_args!("a route of {vip}"), SOON, || {
            routes().is_ok_and(|routes| routes.contains(vip))
        })?;
        let answered =
            || pair.bed.client().exec(&["arping", "-c", "1", "-w", "1", "-I", "eth0", vip]).is_ok();
        wait_for(format_args!("an answer for {vip}"), SOON, answered)?;
    }
    ensure!(!routes()?.contains("10.0.0.52"), "a route of a VIP that is gone: {}", routes()?);
    ensure!(pair.bed.status("lb02")?["since_unix_ms"] == since, "the peer has seen a transition");
    Ok(())
}
