//! A vipd that follows another on the same node: restarted, upgraded, or after something odd was left behind.

#![allow(clippy::disallowed_methods, reason = "tests measure")]

mod support;

use std::{
    fs,
    os::unix::fs::DirBuilderExt,
    path::PathBuf,
    process::Command,
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use serde_json::Value;
use support::*;
use vipd_common::abi::ABI_VERSION;
use vipd_tests::{Daemon, Lab, probe::HttpProber, wait_for};

/// The lease outlasts a restart on a very busy machine.
const SLOW: &str = "2";

fn slow(priority: u8) -> String {
    node_conf(priority, "").replace("advert_int 0.3", &format!("advert_int {SLOW}"))
}

fn slow_pair() -> Result<Option<Pair>> {
    pair(&slow(HIGH), &slow(LOW))
}

const HTTP_PERIOD: Duration = Duration::from_millis(20);

/// How one vipd ends and leaves its VIPs to the next.
#[derive(Clone, Copy, Debug)]
enum Way {
    Killed,
    StopForRestart,
    Quit,
}

fn end(daemon: &mut Daemon, bed: &Bed, way: Way) -> Result<()> {
    match way {
        Way::Killed => drop(daemon.kill9()?),
        Way::StopForRestart => {
            bed.told("lb01", &["stop", "--for-restart"])?;
            let status = daemon.wait(SOON)?;
            ensure!(status.success(), "{status}: {}", daemon.log());
        }
        Way::Quit => {
            daemon.signal(Signal::SIGQUIT)?;
            let status = daemon.wait(SOON)?;
            ensure!(status.success(), "{status}: {}", daemon.log());
        }
    }
    Ok(())
}

/// A restart faster than the lease changes nothing on the wire: no question is lost, nothing is announced, the peer sees
/// no transition and never advertises.
#[test]
fn restarts_change_nothing_on_the_wire() -> Result<()> {
    // Fifty restarts are more likely to meet a moment in which the machine stands still.
    let patient = |priority| slow(priority).replace("advert_int", "down_timer_adverts 6\n    advert_int");
    let Some(mut pair) = pair(&patient(HIGH), &patient(LOW))? else { return Ok(()) };
    // The second burst of announcements of the one takeover there was.
    sleep(Duration::from_secs(6));
    let (listener, prober) = (pair.bed.listener()?, pair.bed.prober()?);
    let _nginx = pair.bed.lb01().start_nginx((VIP, 80))?;
    let client = HttpProber::start(pair.bed.client().ns(), (VIP, 80).into(), HTTP_PERIOD, SOON)?;
    let peer_before = pair.bed.status("lb02")?;
    wait_advert(&listener, LB01, Instant::now())?;
    let began = Instant::now();
    let mut slowest = Duration::ZERO;
    // As many as an operator makes in a year.
    let restarts = times("VIPD_RESTARTS", 50);
    for i in 0..restarts {
        let way = [Way::Killed, Way::StopForRestart, Way::Quit][i % 3];
        let at = Instant::now();
        end(&mut pair.lb01, &pair.bed, way)?;
        pair.lb01 = pair.bed.restart("lb01")?;
        pair.bed.lb01().wait_ready(&pair.bed.vipd, SOON)?;
        slowest = slowest.max(at.elapsed());
        let status = pair.bed.status("lb01")?;
        ensure!(status["state"] == "MASTER", "restart {i} ({way:?}): {status}\n{}", pair.lb01.log());
    }
    sleep(Duration::from_secs(3));
    let ended = Instant::now();
    let (probes, requests) = (prober.stop()?, client.stop());
    println!(
        "{restarts} restarts, the slowest took {slowest:?}; {} questions, {} requests",
        probes.len(),
        requests.len()
    );
    let failed: Vec<_> =
        requests.iter().filter(|request| request.answer.is_err() || request.retried).collect();
    ensure!(
        requests.len() > 100 && failed.is_empty(),
        "{} of {} requests failed",
        failed.len(),
        requests.len()
    );

    let lost = probes.iter().filter(|p| p.sent < ended - MESSAGE_DELAY * 4 && p.answers.is_empty()).count();
    ensure!(lost == 0, "{lost} of {} questions unanswered", probes.len());
    let owners: std::collections::BTreeSet<_> =
        probes.iter().flat_map(vipd_tests::probe::neighbour::Probe::owners).collect();
    ensure!(owners == [pair.bed.lb01().mac()].into(), "answers of {owners:?}");
    let foreign: Vec<_> = adverts(&listener).into_iter().filter(|heard| heard.from != LB01).collect();
    ensure!(foreign.is_empty(), "another node advertised: {foreign:?}");
    ensure!(adverts(&listener).iter().all(|heard| heard.priority == HIGH), "a goodbye was said");
    let announced =
        listener.arps().into_iter().filter(|(seen, arp)| seen.at > began && arp.is_gratuitous()).count();
    ensure!(announced == 0, "{announced} announcements: to clients something has changed");

    let peer = pair.bed.status("lb02")?;
    for field in ["state", "since_unix_ms", "became_master"] {
        ensure!(
            peer[field] == peer_before[field],
            "the peer has seen a transition: {peer_before} then {peer}"
        );
    }
    Ok(())
}

/// The host's own connections to the VIP stay local while the master restarts (I5).
#[test]
fn a_restarted_master_keeps_its_vip_local() -> Result<()> {
    let Some(mut pair) = slow_pair()? else { return Ok(()) };
    let vip = VIP.to_string();
    let is_local = |pair: &Pair| {
        pair.bed.lb01().exec(&["ip", "route", "show", "table", "local", &vip]).map(|route| !route.is_empty())
    };
    ensure!(is_local(&pair)?);
    end(&mut pair.lb01, &pair.bed, Way::Killed)?;
    pair.lb01 = pair.bed.restart("lb01")?;
    let started = Instant::now();
    while started.elapsed() < SOON && pair.bed.status("lb01").is_err() {
        ensure!(is_local(&pair)?, "the VIP was not local for a while");
    }
    ensure!(pair.bed.state("lb01")? == "MASTER" && is_local(&pair)?);
    Ok(())
}

/// A node that was superseded while its daemon was dead starts as a backup.
#[test]
fn a_lease_that_was_revoked_is_not_adopted() -> Result<()> {
    let Some(mut pair) = usual_pair("")? else { return Ok(()) };
    let listener = pair.bed.listener()?;
    let killed = pair.lb01.kill9()?;
    wait_advert(&listener, LB02, killed)?;
    pair.bed.wait("lb02", "MASTER")?;
    pair.bed.lb01().write_vipd_conf(&node_conf(LOW - 10, ""))?;
    pair.lb01 = pair.bed.restart("lb01")?;
    pair.bed.wait("lb01", "BACKUP")?;
    sleep(INTERVAL * 5);
    ensure!(pair.bed.state("lb02")? == "MASTER" && pair.bed.state("lb01")? == "BACKUP");
    let late = adverts(&listener)
        .into_iter()
        .filter(|heard| heard.from == LB01 && heard.at > killed + MESSAGE_DELAY);
    ensure!(late.count() == 0, "the restarted node advertised");
    Ok(())
}

fn pins(lab: &Lab, version: u32) -> PathBuf {
    lab.node("lb01").bpffs_dir().join("vipd").join(format!("v{version}"))
}

/// Makes what vipd has pinned look like another version's.
fn age(lab: &Lab) -> Result<()> {
    fs::rename(pins(lab, ABI_VERSION), pins(lab, ABI_VERSION - 1)).context("rename the pin directory")
}

fn link_id(bed: &Bed) -> Result<Value> {
    let links: Value = serde_json::from_str(&bed.lb01().exec(&["ip", "-j", "-d", "link", "show", "eth0"])?)?;
    Ok(links[0]["xdp"]["prog"]["id"].clone())
}

/// A version with other maps takes over lease and link: no question is lost and the peer sees nothing.
#[test]
fn an_upgrade_carries_the_lease_over() -> Result<()> {
    let Some(mut pair) = slow_pair()? else { return Ok(()) };
    let (listener, prober) = (pair.bed.listener()?, pair.bed.prober()?);
    wait_advert(&listener, LB01, Instant::now())?;
    let before = link_id(&pair.bed)?;
    end(&mut pair.lb01, &pair.bed, Way::StopForRestart)?;
    age(&pair.bed.lab)?;
    pair.lb01 = pair.bed.restart("lb01")?;
    pair.bed.lb01().wait_ready(&pair.bed.vipd, SOON)?;
    ensure!(pair.bed.state("lb01")? == "MASTER", "{}", pair.lb01.log());
    ensure!(!pins(&pair.bed.lab, ABI_VERSION - 1).exists(), "the earlier version's pins are left");
    ensure!(link_id(&pair.bed)? != before, "the earlier version's program still runs");
    wait_advert(&listener, LB01, Instant::now())?;
    let ended = Instant::now();
    let probes = prober.stop()?;
    let lost = probes.iter().filter(|p| p.sent < ended - MESSAGE_DELAY * 4 && p.answers.is_empty()).count();
    ensure!(lost == 0, "{lost} of {} questions unanswered", probes.len());
    ensure!(adverts(&listener).iter().all(|heard| heard.from == LB01), "another node advertised");
    Ok(())
}

/// What cannot be understood is given up, not guessed at: the peer takes over, and nobody answers beside it.
#[test]
fn leftovers_that_make_no_sense_are_removed() -> Result<()> {
    for (what, spoil) in [
        ("another version's maps of another shape", foreign_version as fn(&Lab) -> Result<()>),
        ("a foreign map in the place of ours", foreign_map),
        ("half of the maps", half_made),
    ] {
        let Some(mut pair) = usual_pair("")? else { return Ok(()) };
        let (listener, prober) = (pair.bed.listener()?, pair.bed.prober()?);
        wait_advert(&listener, LB01, Instant::now())?;
        let killed = pair.lb01.kill9()?;
        spoil(&pair.bed.lab).with_context(|| what.to_owned())?;
        pair.lb01 = pair.bed.restart("lb01")?;
        pair.bed.lb01().wait_ready(&pair.bed.vipd, SOON).with_context(|| what.to_owned())?;
        // The better node is master again in the end, by election.
        pair.bed.wait("lb01", "MASTER")?;
        wait_advert(&listener, LB01, killed + MESSAGE_DELAY)?;
        sleep(INTERVAL * 2);
        let probes = prober.stop()?;
        check_single_owner(&probes, &listener).with_context(|| what.to_owned())?;
        ensure!(!pins(&pair.bed.lab, ABI_VERSION - 1).exists(), "{what}: another version's pins are left");
        println!(
            "{what}: {}",
            pair.lb01.log().lines().filter(|line| line.contains("WARN")).collect::<String>()
        );
    }
    Ok(())
}

fn foreign_version(lab: &Lab) -> Result<()> {
    age(lab)?;
    replace_leases(lab, ABI_VERSION - 1)
}

fn foreign_map(lab: &Lab) -> Result<()> {
    replace_leases(lab, ABI_VERSION)
}

fn replace_leases(lab: &Lab, version: u32) -> Result<()> {
    let path = pins(lab, version).join("LEASES");
    fs::remove_file(&path)?;
    let mut create = Command::new("bpftool");
    create.args(["map", "create"]).arg(path);
    create.args(["type", "array", "key", "4", "value", "4", "entries", "16", "name", "foreign"]);
    ensure!(create.status()?.success(), "bpftool made no map");
    Ok(())
}

fn half_made(lab: &Lab) -> Result<()> {
    for name in ["EVENTS", "VIPS_B", "COUNTERS"] {
        fs::remove_file(pins(lab, ABI_VERSION).join(name))?;
    }
    Ok(())
}

/// A directory of another version with nothing in it is no reason to stumble.
#[test]
fn an_empty_directory_of_another_version_is_removed() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let empty = pins(&bed.lab, ABI_VERSION - 1);
    fs::DirBuilder::new().recursive(true).mode(0o700).create(&empty)?;
    let _lb01 = bed.start("lb01", &node_conf(HIGH, ""))?;
    bed.wait("lb01", "MASTER")?;
    ensure!(!empty.exists());
    Ok(())
}

/// A master that has said goodbye is none any more, also if it does not live to see its successor.
#[test]
fn a_lease_that_was_being_handed_over_is_not_taken_over() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let mut lb01 = bed.start("lb01", &slow(HIGH))?;
    bed.wait("lb01", "MASTER")?;
    let listener = bed.listener()?;
    lb01.sigterm()?;
    wait_for("the goodbye", SOON, || adverts(&listener).iter().any(|heard| heard.priority == 0))?;
    lb01.kill9()?;
    let lb01 = bed.restart("lb01")?;
    bed.lb01().wait_ready(&bed.vipd, SOON)?;
    ensure!(bed.state("lb01")? == "BACKUP", "{}", lb01.log());
    ensure!(!lb01.log().contains("lease taken over"), "{}", lb01.log());
    bed.wait("lb01", "MASTER")
}
