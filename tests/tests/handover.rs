//! Handing over by command: no question is lost, and what cannot be handed over stays.

#![allow(clippy::disallowed_methods, reason = "tests measure")]

mod support;

use std::{
    process::{Child, Command, Stdio},
    thread::sleep,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use support::*;
use vipd_tests::{
    probe::{ArpProber, HttpProber},
    wait_for,
};

/// So slow that a busy machine is no silence.
const SLOW: &str = "1";

fn slow(priority: u8, extra: &str) -> String {
    node_conf(priority, extra).replace("advert_int 0.3", &format!("advert_int {SLOW}"))
}

fn slow_pair(extra: &str) -> Result<Option<Pair>> {
    pair(&slow(HIGH, extra), &slow(LOW, extra))
}

/// Between two requests.
const HTTP_PERIOD: Duration = Duration::from_millis(20);

/// The reason why it was not done.
fn refused(bed: &Bed, node: &str, arguments: &[&str]) -> Result<String> {
    let output = bed.ask(node, arguments).output()?;
    ensure!(output.status.code() == Some(1), "{arguments:?}: {output:?}");
    Ok(String::from_utf8_lossy(&output.stderr).into_owned())
}

/// Waits until a node has the priority, which is the last thing to change.
fn wait_priority(bed: &Bed, node: &str, priority: u8) -> Result<()> {
    wait_for(format_args!("{node} to have priority {priority}"), SOON, || {
        bed.status(node).is_ok_and(|status| status["priority"] == priority)
    })
    .map(drop)
}

/// Every question has an answer, but for the last ones, which may be on their way, and one for each takeover: the advert that
/// ends the one lease goes out just before the other begins, and on a veth it has arrived before its sender goes on.
fn check_none_lost(what: &str, prober: ArpProber, takeovers: usize) -> Result<()> {
    sleep(Duration::from_millis(300));
    let ended = std::time::Instant::now();
    let probes = prober.stop()?;
    let lost = probes.iter().filter(|p| p.sent < ended - MESSAGE_DELAY * 4 && p.answers.is_empty()).count();
    println!("{what}: {lost} of {} questions unanswered", probes.len());
    ensure!(
        probes.len() > 100 && lost <= takeovers,
        "{what}: {lost} of {} questions unanswered, {takeovers} takeovers",
        probes.len()
    );
    Ok(())
}

#[test]
fn handovers_lose_nothing() -> Result<()> {
    let Some(pair) = slow_pair("")? else { return Ok(()) };
    let bed = &pair.bed;
    let (listener, prober) = (bed.listener()?, bed.prober()?);
    let _nginx = [bed.lb01().start_nginx((VIP, 80))?, bed.lb02().start_nginx((VIP, 80))?];
    let client = HttpProber::start(bed.client().ns(), (VIP, 80).into(), HTTP_PERIOD, SOON)?;
    let rounds = times("VIPD_HANDOVERS", 4);
    for round in 0..rounds {
        let said = bed.told("lb01", &["handover", INSTANCE]).with_context(|| format!("round {round}"))?;
        ensure!(said == format!("{INSTANCE} is handed over to {LB02}\n"), "{said}");
        let (one, other) = (bed.status("lb01")?, bed.status("lb02")?);
        ensure!(one["state"] == "BACKUP" && one["priority"] == 1, "{one}");
        ensure!(one["reason"] == "handed over" && one["handed_over"] == true, "{one}");
        ensure!(other["state"] == "MASTER", "{other}");
        bed.told("lb01", &["handover", INSTANCE, "--to", "preferred"])?;
        bed.wait("lb01", "MASTER")?;
        bed.wait("lb02", "BACKUP")?;
    }
    check_none_lost(&format!("{} handovers there and back", rounds), prober, 2 * rounds)?;
    let requests = client.stop();
    let failed = requests.iter().filter(|request| request.answer.is_err()).count();
    println!("{failed} of {} requests failed", requests.len());
    ensure!(requests.len() > 20 && failed == 0, "{failed} of {} requests failed", requests.len());
    let goodbyes = adverts(&listener).iter().filter(|heard| heard.priority == 0).count();
    ensure!(goodbyes == rounds, "{goodbyes} goodbyes");
    Ok(())
}

/// It preempts, and does not as long as its successor lives.
#[test]
fn it_is_not_taken_back_before_the_successor_dies() -> Result<()> {
    let Some(mut pair) = slow_pair("")? else { return Ok(()) };
    pair.bed.told("lb01", &["handover", INSTANCE])?;
    let listener = pair.bed.listener()?;
    sleep(Duration::from_secs(5));
    ensure!(adverts(&listener).iter().all(|heard| heard.from == LB02), "{:?}", adverts(&listener));
    pair.lb02.kill9()?;
    pair.bed.wait("lb01", "MASTER")?;
    wait_priority(&pair.bed, "lb01", HIGH)?;
    ensure!(pair.bed.status("lb01")?["handed_over"] == false, "it is its own again");
    pair.lb02 = pair.bed.restart("lb02")?;
    pair.bed.wait("lb02", "BACKUP")?;
    Ok(())
}

/// A backup that does not preempt takes over all the same: the goodbye is for everyone.
#[test]
fn to_a_backup_that_does_not_preempt() -> Result<()> {
    let Some(pair) = slow_pair("nopreempt")? else { return Ok(()) };
    let prober = pair.bed.prober()?;
    pair.bed.told("lb01", &["handover", INSTANCE])?;
    ensure!(pair.bed.state("lb02")? == "MASTER");
    check_none_lost("nopreempt", prober, 1)
}

#[test]
fn without_a_backup_it_stays() -> Result<()> {
    let Some(mut pair) = slow_pair("")? else { return Ok(()) };
    pair.lb02.kill9()?;
    let prober = pair.bed.prober()?;
    let bed = &pair.bed;
    let why = refused(bed, "lb01", &["handover", INSTANCE])?;
    ensure!(why.contains("no backup has taken over: VI_1 stays MASTER here, and nothing was lost"), "{why}");
    let status = bed.status("lb01")?;
    ensure!(status["state"] == "MASTER" && status["priority"] == HIGH, "{status}");
    let why = refused(bed, "lb01", &["drain"])?;
    ensure!(why.contains("VI_1 stays MASTER") && why.contains("not drained"), "{why}");
    check_none_lost("no backup", prober, 0)?;
    let status = bed.status("lb01")?;
    ensure!(status["state"] == "MASTER" && status["became_master"] == 1, "{status}");

    for (arguments, reason) in [
        (&["handover", "VI_9"][..], "no instance is called VI_9 (did you mean VI_1?)"),
        (&["handover", INSTANCE, "--to", "preferred"][..], ""),
    ] {
        let output = bed.ask("lb01", arguments).output()?;
        let err = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success() == reason.is_empty() && err.contains(reason), "{output:?}");
    }
    Ok(())
}

#[test]
fn what_is_no_master_or_an_owner_is_refused() -> Result<()> {
    let Some(pair) = pair(&slow(255, ""), &slow(LOW, ""))? else { return Ok(()) };
    for command in [&["handover", INSTANCE][..], &["drain"]] {
        let why = refused(&pair.bed, "lb01", command)?;
        ensure!(why.contains("VI_1 owns its addresses (priority 255)"), "{why}");
    }
    let why = refused(&pair.bed, "lb02", &["handover", INSTANCE])?;
    ensure!(why.contains("VI_1 is BACKUP here, not MASTER"), "{why}");
    Ok(())
}

/// A drained node stays last in rank over a restart, and until it is undrained.
#[test]
fn a_drained_node_stays_drained() -> Result<()> {
    let Some(mut pair) = slow_pair("")? else { return Ok(()) };
    let prober = pair.bed.prober()?;
    let said = pair.bed.told("lb01", &["drain"])?;
    ensure!(said == format!("{INSTANCE} is handed over to {LB02}\nthis node is drained\n"), "{said}");
    ensure!(pair.bed.told("lb01", &["drain"])? == "drained already\n");
    pair.bed.lb01().stop_vipd(&pair.bed.vipd)?;
    ensure!(pair.lb01.wait(SOON)?.success());
    pair.lb01 = pair.bed.restart("lb01")?;
    pair.bed.wait("lb01", "BACKUP")?;
    let whole = pair.bed.lb01().status(&pair.bed.vipd)?;
    ensure!(whole["drained"] == true && whole["instances"][0]["priority"] == 1, "{whole}");
    sleep(Duration::from_secs(5));
    ensure!(pair.bed.state("lb01")? == "BACKUP", "it preempts though it is drained");
    // A reload does not forget it either.
    pair.bed.reloaded("lb01", &slow(HIGH + 1, ""))?;
    wait_priority(&pair.bed, "lb01", 1)?;
    ensure!(pair.bed.told("lb01", &["undrain"])? == "undrained\n");
    pair.bed.wait("lb01", "MASTER")?;
    wait_priority(&pair.bed, "lb01", HIGH + 1)?;
    ensure!(pair.bed.told("lb01", &["undrain"])? == "not drained\n");
    check_none_lost("drained, restarted, undrained", prober, 2)
}

/// An instance that a reload removes while others are offered it is waited for no more.
#[test]
fn what_is_removed_meanwhile_is_not_waited_for() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let two = |priority| {
        let other = slow(priority, "").replace(INSTANCE, "VI_2").replace("_id 51", "_id 52");
        let other = other.replace(&VIP.to_string(), "10.0.0.4");
        let (_, other) = other.split_once("vrrp_instance").context("an instance")?;
        anyhow::Ok(format!("{}vrrp_instance{other}", slow(priority, "")))
    };
    let lb01 = bed.start("lb01", &two(HIGH)?)?;
    bed.wait("lb01", "MASTER")?;
    // Nobody is there to take over, so both stay offered for a while.
    let asked = |name: &'static str| bed.ask("lb01", &["handover", name]).stderr(Stdio::piped()).spawn();
    let (first, second) = (asked(INSTANCE)?, asked("VI_2")?);
    wait_for("both to be offered", SOON, || {
        let offered = |name| bed.status_of("lb01", name).is_ok_and(|status| status["handed_over"] == true);
        offered(INSTANCE) && offered("VI_2")
    })?;
    bed.reloaded("lb01", &slow(HIGH, ""))?;
    let said = |child: Child| -> Result<String> {
        let output = child.wait_with_output()?;
        ensure!(output.status.code() == Some(1), "{output:?}");
        Ok(String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (first, second) = (said(first)?, said(second)?);
    ensure!(second.contains("no longer in the configuration"), "{second}");
    ensure!(first.contains("VI_1 stays MASTER"), "{first}");
    ensure!(bed.state("lb01")? == "MASTER", "{}", lb01.log());
    Ok(())
}

/// `vipd undrain` ends a drain that is still under way, also for good.
#[test]
fn undrained_meanwhile() -> Result<()> {
    let Some(mut pair) = slow_pair("")? else { return Ok(()) };
    pair.lb02.kill9()?;
    let node = pair.bed.lb01();
    let drain = pair.bed.ask("lb01", &["drain"]).stderr(Stdio::piped()).spawn()?;
    wait_priority(&pair.bed, "lb01", 1)?;
    ensure!(pair.bed.told("lb01", &["undrain"])? == "undrained\n");
    let output = drain.wait_with_output()?;
    let err = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(1) && err.contains("ended by `vipd undrain`"), "{output:?}");
    sleep(Duration::from_secs(5));
    let whole = node.status(&pair.bed.vipd)?;
    ensure!(whole["drained"] == false && !node.state_dir().join("drained").exists(), "{whole}");
    let status = pair.bed.status("lb01")?;
    ensure!(status["state"] == "MASTER" && status["priority"] == HIGH, "{status}");
    Ok(())
}

/// A drained node still serves when nobody else does.
#[test]
fn a_drained_node_is_better_than_none() -> Result<()> {
    let Some(mut pair) = slow_pair("")? else { return Ok(()) };
    pair.bed.told("lb01", &["drain"])?;
    pair.lb02.kill9()?;
    pair.bed.wait("lb01", "MASTER")?;
    let status = pair.bed.status("lb01")?;
    ensure!(status["priority"] == 1, "{status}");
    // And gives way to any other.
    pair.lb02 = pair.bed.restart("lb02")?;
    pair.bed.wait("lb02", "MASTER")?;
    pair.bed.wait("lb01", "BACKUP")
}

/// A file system of one page, with a file in it that fills it; unmounted with this.
struct FullDisk(std::path::PathBuf);

impl FullDisk {
    fn at(dir: std::path::PathBuf) -> Result<Self> {
        std::fs::create_dir_all(&dir)?;
        let mount =
            Command::new("mount").args(["-t", "tmpfs", "-o", "size=4096", "tiny"]).arg(&dir).output()?;
        ensure!(mount.status.success(), "{mount:?}");
        let disk = Self(dir);
        std::fs::write(disk.0.join("full"), [0; 4096])?;
        ensure!(std::fs::write(disk.0.join("more"), "x").is_err(), "the disk is not full");
        std::fs::remove_file(disk.0.join("more"))?;
        Ok(disk)
    }
}

impl Drop for FullDisk {
    fn drop(&mut self) {
        // With what a daemon may still have open there.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// A node that cannot remember that it is drained is not drained: nothing is handed over, and no restart finds a mark.
#[test]
fn a_drain_on_a_full_disk_is_refused() -> Result<()> {
    let Some(mut pair) = slow_pair("")? else { return Ok(()) };
    let state_dir = pair.bed.lb01().state_dir();
    let disk = FullDisk::at(state_dir.clone())?;
    let prober = pair.bed.prober()?;
    let why = refused(&pair.bed, "lb01", &["drain"])?;
    ensure!(why.contains("nothing is handed over") && why.contains("No space left on device"), "{why}");
    sleep(Duration::from_secs(2));
    let whole = pair.bed.lb01().status(&pair.bed.vipd)?;
    ensure!(whole["drained"] == false && whole["instances"][0]["state"] == "MASTER", "{whole}");
    let files: Vec<_> = std::fs::read_dir(&state_dir)?.flatten().map(|entry| entry.file_name()).collect();
    ensure!(files == ["full"], "{files:?}");
    ensure!(pair.bed.status("lb02")?["became_master"] == 0, "lb02 has taken over");
    check_none_lost("a refused drain", prober, 1)?;
    pair.bed.told("lb01", &["stop", "--for-restart"])?;
    pair.lb01.wait(SOON)?;
    pair.lb01 = pair.bed.restart("lb01")?;
    pair.bed.wait("lb01", "MASTER")?;
    ensure!(pair.bed.lb01().status(&pair.bed.vipd)?["drained"] == false);

    // Nobody takes over: nothing is remembered either.
    std::fs::remove_file(state_dir.join("full"))?;
    pair.bed.lb02().stop_vipd(&pair.bed.vipd)?;
    let why = refused(&pair.bed, "lb01", &["drain"])?;
    ensure!(why.contains("the node is not drained") && !state_dir.join("drained").exists(), "{why}");
    pair.lb02 = pair.bed.restart("lb02")?;
    pair.bed.wait("lb02", "BACKUP")?;
    pair.bed.told("lb01", &["drain"])?;
    ensure!(state_dir.join("drained").exists());
    drop(disk);
    Ok(())
}
