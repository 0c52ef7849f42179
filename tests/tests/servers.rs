//! Peers of the daemon that are not routers: mail servers, clients, scripts, and whoever sends frames. Each attack here did harm once.

#![allow(clippy::disallowed_methods, reason = "tests measure")]

mod support;

use std::{
    fs,
    io::{Read, Write},
    net::Ipv4Addr,
    os::unix::net::UnixStream,
    process::Stdio,
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::resource::{Resource, getrlimit};
use support::{
    frames::{Ipv4, v3},
    *,
};
use vipd_tests::{Daemon, Node, wait_for};

/// A number of `/proc/PID/status`, in KiB.
fn memory(daemon: &Daemon, what: &str) -> Result<u64> {
    let text = fs::read_to_string(format!("/proc/{}/status", daemon.pid()))?;
    let line = text.lines().find_map(|line| line.strip_prefix(what)?.strip_prefix(':'));
    let number = line.and_then(|line| line.split_whitespace().next()).with_context(|| text.clone())?;
    Ok(number.parse()?)
}

/// Descriptors that a daemon has open.
fn descriptors(daemon: &Daemon) -> Result<usize> {
    Ok(fs::read_dir(format!("/proc/{}/fd", daemon.pid()))?.count())
}

/// Lets a daemon have so many descriptors: the soft limit.
fn limit_descriptors(daemon: &Daemon, limit: usize) -> Result<()> {
    let pid = daemon.pid().to_string();
    let out = std::process::Command::new("prlimit")
        .args(["--pid", &pid, &format!("--nofile={limit}:")])
        .output()?;
    ensure!(out.status.success(), "{out:?}");
    Ok(())
}

fn connect(node: &Node) -> Result<UnixStream> {
    Ok(UnixStream::connect(node.runtime_dir().join("vipd.sock"))?)
}

/// A check that succeeds as long as it can be run.
const CHECK: &str = "vrrp_script chk {\n script \"/bin/sh -c true\"\n interval 0.2\n fall 2\n rise 1\n}\n";

/// A mail server that sends an endless line took 9 GB in 34 s.
#[test]
fn a_mail_server_without_end_costs_no_memory() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let server = "import socket\ns = socket.socket()\ns.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)\n\
                  s.bind(('10.0.0.100', 2525))\ns.listen()\nprint('listens', flush=True)\nwhile True:\n \
                  c, _ = s.accept()\n try:\n  c.sendall(b'220 ')\n  while True: c.sendall(b'x' * 65536)\n \
                  except OSError as e: print('gone', e, flush=True)\n";
    let mut command = bed.client().command("/usr/bin/python3");
    let log = bed.client().dir().join("endless.log");
    let server = Daemon::start("endless mail server", command.args(["-u", "-c", server]), &log)?;
    wait_for("the mail server", SOON, || server.log().contains("listens"))?;
    let mail = "global_defs {\n notification_email {\n root@example.org\n }\n smtp_server 10.0.0.100 2525\n router_id LB\n}\n";
    let lb01 = bed.start("lb01", &(mail.to_owned() + &node_conf(HIGH, "smtp_alert")))?;
    let before = memory(&lb01, "VmHWM")?;
    bed.wait("lb01", "MASTER")?;
    // Twice: for two letters, or for one that is tried again.
    wait_for("the server to be given up", SOON, || server.log().matches("gone").count() >= 2)
        .with_context(|| lb01.log())?;
    let after = memory(&lb01, "VmHWM")?;
    ensure!(after < before + 64 * 1024, "{before} KiB before, {after} KiB after");
    ensure!(lb01.log().contains("longer than 1024 octets"), "{}", lb01.log());
    Ok(())
}

/// Clients of the control socket that only hold on: at the limit of descriptors the checks could not be run, which was FAULT and a
/// failover.
#[test]
fn clients_that_hold_on_cost_no_mastership() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let lb01 = bed.start("lb01", &(CHECK.to_owned() + &node_conf(HIGH, "track_script {\n chk\n }")))?;
    bed.wait("lb01", "MASTER")?;
    limit_descriptors(&lb01, descriptors(&lb01)? + 100)?;
    let mut held = Vec::new();
    for _ in 0..40 {
        // Those whose connection is closed come again.
        held.clear();
        for _ in 0..300 {
            let mut client = connect(bed.lb01())?;
            // An answer for one that may have a place, so that it keeps it longer.
            let _ = client.write_all(b"{\"command\":\"events\",\"follow\":true}\n");
            held.push(client);
        }
        sleep(Duration::from_millis(100));
    }
    ensure!(bed.state("lb01")? == "MASTER", "{}", lb01.log());
    for name in ["check_failed", "check_not_run"] {
        let events = bed.events_named("lb01", name)?;
        ensure!(events.is_empty(), "{events:?}");
    }
    bed.wait_event("lb01", "clients_turned_away", |fields| fields["server"] == "control")?;
    Ok(())
}

/// A check that cannot be run for lack of descriptors says nothing of what is checked: for a while it counts as it was.
#[test]
fn a_check_that_cannot_be_run_for_a_while_has_not_failed() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let lb01 = bed.start("lb01", &(CHECK.to_owned() + &node_conf(HIGH, "track_script {\n chk\n }")))?;
    bed.wait("lb01", "MASTER")?;
    // Not one is left.
    limit_descriptors(&lb01, 3)?;
    wait_for("a check that cannot be run", SOON, || lb01.log().contains("check_not_run"))
        .with_context(|| lb01.log())?;
    // Many intervals.
    sleep(Duration::from_secs(5));
    limit_descriptors(&lb01, 1000)?;
    ensure!(bed.state("lb01")? == "MASTER", "{}", lb01.log());
    ensure!(bed.events_named("lb01", "check_failed")?.is_empty(), "{}", lb01.log());

    // But not for ever.
    limit_descriptors(&lb01, 3)?;
    wait_for("the check to have failed", SOON * 2, || lb01.log().contains("check_failed"))
        .with_context(|| lb01.log())?;
    limit_descriptors(&lb01, 1000)?;
    bed.wait("lb01", "MASTER")
}

/// Children have the limit of descriptors that vipd was started with; vipd itself has more.
#[test]
fn children_have_the_limit_that_vipd_was_started_with() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let told = bed.lb01().dir().join("limit");
    let notify = script(bed.lb01(), "limit.sh", &format!("ulimit -Sn > {}", told.display()))?;
    let lb01 = bed.start("lb01", &node_conf(HIGH, &format!("notify_master {notify}")))?;
    bed.wait("lb01", "MASTER")?;
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let read = || fs::read_to_string(&told).unwrap_or_default();
    wait_for("the script to be run", SOON, || read().ends_with('\n'))?;
    ensure!(read().trim() == soft.to_string(), "{} and not {soft}", read());
    let limits = fs::read_to_string(format!("/proc/{}/limits", lb01.pid()))?;
    let line = limits.lines().find(|line| line.starts_with("Max open files")).context("no limit")?;
    let own: u64 = line.split_whitespace().nth(3).and_then(|n| n.parse().ok()).context("no number")?;
    ensure!(own == hard.min(65536).max(soft), "{line}");
    Ok(())
}

/// A request after 4,096 octets of junk on one line was executed.
#[test]
fn a_request_behind_junk_is_not_executed() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let mut lb01 = bed.start("lb01", &node_conf(HIGH, ""))?;
    bed.wait("lb01", "MASTER")?;
    let mut client = connect(bed.lb01())?;
    let _ = client.write_all(&[&[b' '; 4096], &b"{\"command\":\"stop\"}\n"[..]].concat());
    let mut said = Vec::new();
    let _ = client.read_to_end(&mut said);
    let said = String::from_utf8_lossy(&said).into_owned();
    ensure!(said.contains("longer than 4096 octets"), "{said}");
    sleep(INTERVAL * 4);
    ensure!(lb01.is_running() && bed.state("lb01")? == "MASTER", "{}", lb01.log());
    Ok(())
}

/// In the first third of a second of a start `vipd stop --for-restart` said that no vipd was running, and then one was.
#[test]
fn a_stop_during_the_start_is_a_stop() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let lb01 = bed.lb01();
    for arguments in [&["stop", "--for-restart"][..], &["stop"]] {
        lb01.write_vipd_conf(&node_conf(HIGH, ""))?;
        let socket = lb01.runtime_dir().join("vipd.sock");
        // On a busy machine the start may be over before the stop comes.
        let mut during = false;
        let starts = |log: &str| log.matches("event=\"started\"").count();
        for _ in 0..10 {
            let before = starts(&fs::read_to_string(lb01.vipd_log()).unwrap_or_default());
            let mut daemon = lb01.start_vipd(&bed.vipd)?;
            wait_for("the socket", SOON, || socket.exists())?;
            let asked = bed.ask("lb01", arguments).stdout(Stdio::null()).spawn()?;
            during = starts(&daemon.log()) == before;
            let out = asked.wait_with_output()?;
            ensure!(out.status.success(), "{arguments:?}: {out:?}\n{}", daemon.log());
            ensure!(daemon.wait(SOON)?.success(), "{}", daemon.log());
            if during {
                break;
            }
        }
        ensure!(during, "no stop came during a start");
    }
    Ok(())
}

/// 88 weak adverts made 22 runs of `notify_conflict` in 35 s. Each episode is a few adverts and the silence that ends it.
#[test]
fn weak_adverts_are_told_a_few_times_and_their_end_is_told() -> Result<()> {
    const EPISODES: usize = 11;
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let told = bed.lb01().dir().join("told");
    let conflict = script(bed.lb01(), "conflict.sh", &format!("echo \"$1\" >> {}", told.display()))?;
    let extra =
        format!("self_probe off\n notify_conflict {conflict}\n notify_master_rx_lower_pri {conflict}");
    let lb01 = bed.start("lb01", &node_conf(HIGH, &extra))?;
    bed.wait("lb01", "MASTER")?;
    // A router that was master just before is no rival.
    sleep(Duration::from_secs(2));
    let weak = Ipv4::advert(Ipv4Addr::new(10, 0, 0, 66), v3(51, 50, 10, &[VIP])).frame();
    let runs =
        || fs::read_to_string(&told).unwrap_or_default().lines().map(str::to_owned).collect::<Vec<_>>();
    let conflicts = || runs().iter().filter(|line| line.starts_with("split_brain")).count();
    let splits = || bed.status("lb01").ok().and_then(|status| status["split_brains"].as_u64()).unwrap_or(0);
    let begun = Instant::now();
    for episode in 1..=EPISODES {
        wait_for("a split brain", SOON, || {
            let _ = bed.client().inject(&weak);
            sleep(Duration::from_millis(120));
            splits() >= episode as u64
        })
        .with_context(|| lb01.log())?;
        wait_for("its end", SOON, || bed.status("lb01").is_ok_and(|status| status["split_brain"] == false))?;
    }
    let (first, minutes) = (conflicts(), begun.elapsed().as_secs() / 60);
    // Five at once, and one more a minute; each end is told too.
    let most = 14 + 2 * usize::try_from(minutes)?;
    ensure!(first <= most, "{first} runs for {EPISODES} episodes in {minutes} minutes: {:#?}", runs());
    // What was not told is told in one, and so is the end.
    let last = bed.wait_event("lb01", "split_brain_over", |fields| fields["untold"].as_u64() > Some(0))?;
    wait_for("the script to be told of the end", SOON, || {
        runs().iter().rev().find(|l| l.starts_with("split")).is_some_and(|l| l == "split_brain_over")
    })?;
    let counted = bed.events_named("lb01", "split_brain")?.len() as u64;
    let untold = last["fields"]["untold"].as_u64().unwrap_or(0);
    if counted + untold < EPISODES as u64 {
        bail!("{counted} told and {untold} untold of {EPISODES}: {:#?}", bed.events("lb01", &[])?);
    }
    // One run of the other script for each advert once.
    let lower = runs().len() - conflicts();
    ensure!(lower <= 12, "{lower} runs of notify_master_rx_lower_pri");
    Ok(())
}
