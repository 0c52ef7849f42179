//! Another configuration while vipd runs, and interfaces that come, go and change their names.

#![allow(clippy::disallowed_methods, reason = "tests measure")]

mod support;

use std::{fs, net::Ipv4Addr, thread::sleep, time::Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use support::*;
use vipd_tests::{Daemon, Node, probe::ArpProber, wait_for};

const SECOND: &str = "VI_2";
const VIP2: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 4);

const GLOBAL: &str = "global_defs {\n vrrp_version 3\n}\n";

fn instance(name: &str, vrid: u8, priority: u8, vips: &[Ipv4Addr], extra: &str) -> String {
    let vips: Vec<String> = vips.iter().map(ToString::to_string).collect();
    format!(
        "vrrp_instance {name} {{\n interface eth0\n virtual_router_id {vrid}\n priority {priority}\n advert_int 0.3\n \
         {extra}\n virtual_ipaddress {{\n {}\n }}\n}}\n",
        vips.join("\n ")
    )
}

fn one(priority: u8, vips: &[Ipv4Addr]) -> String {
    GLOBAL.to_owned() + &instance(INSTANCE, 51, priority, vips, "")
}

fn two(priority: u8, second: &str) -> String {
    one(priority, &[VIP]) + &instance(SECOND, 52, priority, &[VIP2], second)
}

/// What a transition would change.
fn life(status: &Value) -> (Value, Value, Value) {
    (status["state"].clone(), status["since_unix_ms"].clone(), status["became_master"].clone())
}

fn no_gap(pair: &Pair, listener: &vipd_tests::probe::Sniffer) -> Result<()> {
    let heard = adverts(listener);
    ensure!(heard.iter().all(|advert| advert.from == LB01 && advert.priority == HIGH), "{heard:?}");
    let sent = pair.bed.status("lb01")?["adverts_sent"].as_u64();
    ensure!(heard.len() >= 2, "{sent:?} adverts sent");
    Ok(())
}

#[test]
fn a_bad_reload_changes_nothing_and_says_why() -> Result<()> {
    let Some(mut pair) = pair(&one(HIGH, &[VIP]), &one(LOW, &[VIP]))? else { return Ok(()) };
    let before = life(&pair.bed.status("lb01")?);
    let listener = pair.bed.listener()?;
    let bad = one(HIGH, &[VIP]).replace("priority", "pirority");
    let output = pair.bed.reload("lb01", &bad)?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(6), "{output:?}");
    for words in [
        "reload rejected: 1 error; the running configuration is unchanged",
        "vipd.conf:7:2",
        "`pirority`",
        "did you mean `priority`?",
    ] {
        ensure!(said.contains(words), "{words:?} is not in {said}");
    }
    // An interface that is not there is no reason to end either.
    let output = pair
        .bed
        .reload("lb01", &(one(HIGH, &[VIP]) + &instance("X", 9, 1, &[VIP2], "").replace("eth0", "eth9")))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(6) && said.contains("interface eth9 does not exist"), "{said}");
    fs::write(pair.bed.lb01().vipd_conf(), "vrrp_instance {")?;
    pair.lb01.sighup()?;
    wait_for("SIGHUP to be refused", SOON, || pair.lb01.log().matches("reload rejected").count() >= 3)?;
    // Each diagnostic has lines of its own.
    let log = pair.lb01.log();
    ensure!(log.contains("vipd.conf:1:") && !log.contains("\\n"), "{log}");
    sleep(INTERVAL * 4);
    ensure!(life(&pair.bed.status("lb01")?) == before);
    no_gap(&pair, &listener)
}

/// What stays is not touched: no transition, no announcement, no advert out of its time, no question unanswered.
#[test]
fn a_reload_touches_what_differs_only() -> Result<()> {
    let Some(pair) = pair(&two(HIGH, ""), &two(LOW, ""))? else { return Ok(()) };
    let bed = &pair.bed;
    bed.lb01().wait_state(&bed.vipd, SECOND, "MASTER", SOON)?;
    bed.lb02().wait_state(&bed.vipd, SECOND, "BACKUP", SOON)?;
    let before = (life(&bed.status("lb01")?), life(&bed.status("lb02")?));
    let prober = bed.prober()?;
    let mine = Ipv4Addr::new(10, 0, 0, 40);
    let second = ArpProber::start(bed.client().ns(), "eth0", &[VIP2, mine], PROBE_PERIOD)?;
    let said = bed.reloaded("lb01", &two(HIGH, ""))?;
    ensure!(said.contains("0 changed, 0 added, 0 removed"), "{said}");

    // Another VIP on the second instance, on both nodes.
    let more = |priority| one(priority, &[VIP]) + &instance(SECOND, 52, priority, &[VIP2, mine], "");
    let said = bed.reloaded("lb01", &more(HIGH))?;
    ensure!(said.contains("2 instances: 1 changed, 0 added, 0 removed"), "{said}");
    bed.reloaded("lb02", &more(LOW))?;
    wait_for("the new VIP", SOON, || second.current_owner(mine).is_some_and(|a| a.mac == bed.lb01().mac()))?;
    ensure!(bed.lb01().exec(&["ip", "route", "show", "table", "local"])?.contains("10.0.0.40"));
    ensure!(bed.status_of("lb01", SECOND)?["became_master"] == 1, "a VIP more is no takeover");

    // And without it again: nobody answers, nor does the kernel.
    bed.reloaded("lb01", &two(HIGH, ""))?;
    bed.reloaded("lb02", &two(LOW, ""))?;
    let gone = Instant::now() + MESSAGE_DELAY;
    sleep(INTERVAL * 3);
    let late = second.stop()?;
    let late = late
        .iter()
        .filter(|p| p.target == std::net::IpAddr::from(mine) && p.sent > gone && !p.answers.is_empty())
        .count();
    ensure!(late == 0, "{late} answers for a VIP that is gone");
    ensure!(!bed.lb01().exec(&["ip", "route", "show", "table", "all"])?.contains("10.0.0.40"));

    // Another interval, first on the master: the backup learns it from the adverts.
    let slow = |priority| two(priority, "").replacen("advert_int 0.3", "advert_int 0.9", 1);
    bed.reloaded("lb01", &slow(HIGH))?;
    wait_for("the new interval to be learned", SOON, || {
        bed.status("lb02").is_ok_and(|s| s["master_down_interval_cs"].as_u64() > Some(270))
    })?;
    bed.reloaded("lb02", &slow(LOW))?;
    sleep(INTERVAL * 12);
    ensure!((life(&bed.status("lb01")?), life(&bed.status("lb02")?)) == before, "a transition");

    // A priority moves the VIP, as it does at a start.
    bed.reloaded(
        "lb01",
        &slow(LOW - 20).replace(
            &format!("virtual_router_id 52\n priority {}", LOW - 20),
            &format!("virtual_router_id 52\n priority {HIGH}"),
        ),
    )?;
    bed.wait("lb02", "MASTER")?;
    bed.wait("lb01", "BACKUP")?;
    ensure!(bed.lb01().state(&bed.vipd, SECOND)? == "MASTER", "the other one stays");
    let probes = prober.stop()?;
    let lost = probes.iter().filter(|probe| probe.answers.is_empty()).count();
    println!("{lost} of {} questions unanswered", probes.len());
    ensure!(lost <= 3, "{lost} of {} questions unanswered: the VIP moved once", probes.len());
    Ok(())
}

/// An instance that goes is handed over, and told of as such; one that comes takes its part.
#[test]
fn instances_come_and_go() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let told = bed.lb01().dir().join("told");
    let script = script(bed.lb01(), "notify.sh", &format!("echo \"$@\" >> {}", told.display()))?;
    let (a, b) = (format!("notify {script}"), format!("notify {script}\n notify_deleted"));
    let all = |second: &str| one(HIGH, &[VIP]) + &instance(SECOND, 52, HIGH, &[VIP2], second);
    let _lb01 = bed.start("lb01", &all(&a))?;
    let _lb02 = bed.start("lb02", &two(LOW, ""))?;
    bed.lb01().wait_state(&bed.vipd, SECOND, "MASTER", SOON)?;
    bed.lb02().wait_state(&bed.vipd, SECOND, "BACKUP", SOON)?;
    let before = life(&bed.status("lb01")?);
    let prober = ArpProber::start(bed.client().ns(), "eth0", &[VIP2], PROBE_PERIOD)?;
    for (extra, word) in [(&a, "FAULT"), (&b, "DELETED")] {
        bed.reloaded("lb01", &all(extra))?;
        fs::write(&told, "")?;
        let said = bed.reloaded("lb01", &one(HIGH, &[VIP]))?;
        ensure!(said.contains("1 instances: 0 changed, 0 added, 1 removed"), "{said}");
        bed.lb02().wait_state(&bed.vipd, SECOND, "MASTER", SOON)?;
        ensure!(bed.status_of("lb01", SECOND).is_err(), "it is still there");
        let line = format!("INSTANCE {SECOND} {word} {HIGH}\n");
        wait_for("to be told", SOON, || fs::read_to_string(&told).is_ok_and(|told| told == line))?;
        let rules = bed.lb01().exec(&["ip", "route", "show", "table", "all", "proto", "118"])?;
        ensure!(!rules.contains(&VIP2.to_string()), "{rules}");
        let said = bed.reloaded("lb01", &all(extra))?;
        ensure!(said.contains("0 changed, 1 added, 0 removed"), "{said}");
        bed.lb01().wait_state(&bed.vipd, SECOND, "MASTER", SOON)?;
        bed.lb02().wait_state(&bed.vipd, SECOND, "BACKUP", SOON)?;
    }
    let probes = prober.stop()?;
    let lost = probes.iter().filter(|probe| probe.answers.is_empty()).count();
    println!("two removals and two returns: {lost} of {} questions unanswered", probes.len());
    ensure!(lost <= 3 + probes.len() / 100, "{lost} of {} questions unanswered", probes.len());
    ensure!(life(&bed.status("lb01")?) == before, "the other one was touched");
    Ok(())
}

const THIRD: &str = "VI_3";

/// lb01 is master of `VI_1` and `VI_3`, which nobody else serves and whose handover takes its time, and backup of `VI_2`.
fn a_long_goodbye(bed: &Bed) -> Result<(Daemon, Daemon)> {
    let third = instance(THIRD, 53, HIGH, &[Ipv4Addr::new(10, 0, 0, 43)], "")
        .replace("advert_int 0.3", "advert_int 2");
    let all = one(HIGH, &[VIP]) + &instance(SECOND, 52, LOW, &[VIP2], "") + &third;
    let lb02 = bed.start("lb02", &(one(LOW, &[VIP]) + &instance(SECOND, 52, HIGH, &[VIP2], "")))?;
    let lb01 = bed.start("lb01", &all)?;
    for (instance, state) in [(INSTANCE, "MASTER"), (SECOND, "BACKUP"), (THIRD, "MASTER")] {
        bed.lb01().wait_state(&bed.vipd, instance, state, SOON)?;
    }
    Ok((lb01, lb02))
}

/// Adverts for one that is gone, while another is still handed over, are nobody's.
#[test]
fn what_is_removed_harms_nobody_else() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let (mut lb01, _lb02) = a_long_goodbye(&bed)?;
    let before = life(&bed.status("lb01")?);
    // One that comes while another waits has its turn after it.
    bed.lb01().write_vipd_conf(&one(HIGH, &[VIP]))?;
    start_reload(&mut lb01)?;
    let said = bed.reloaded("lb01", &one(HIGH, &[VIP]))?;
    ensure!(said.contains("1 instances: 0 changed, 0 added, 0 removed"), "{said}");
    ensure!(lb01.log().contains("1 instances: 0 changed, 0 added, 2 removed"), "{}", lb01.log());
    sleep(INTERVAL * 4);
    let after = bed.status("lb01")?;
    ensure!(life(&after) == before && after["leases_revoked"] == 0, "{after}\n{}", lb01.log());
    // Their numbers are free, and begin from nothing.
    let said = bed.reloaded("lb01", &(one(HIGH, &[VIP]) + &instance("VI_9", 59, HIGH, &[VIP2], "")))?;
    ensure!(said.contains("0 changed, 1 added, 0 removed"), "{said}");
    bed.lb01().wait_state(&bed.vipd, "VI_9", "MASTER", SOON)?;
    ensure!(bed.status_of("lb01", "VI_9")?["adverts_received"] == 0, "the counters are another's");
    Ok(())
}

/// Asks for a reload that removes `VI_2` and `VI_3`, and waits until the first is gone: the file is read, and the other is handed over.
fn start_reload(daemon: &mut Daemon) -> Result<()> {
    daemon.sighup()?;
    let gone = format!("instance=\"{SECOND}\" from=BACKUP to=STOP");
    wait_for("the reload to begin", SOON, || daemon.log().contains(&gone)).map(drop)
}

/// What happens to a link while a reload waits for a handover counts.
#[test]
fn links_that_change_while_a_reload_waits_count() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let (mut lb01, _lb02) = a_long_goodbye(&bed)?;
    bed.lb01().write_vipd_conf(&one(HIGH, &[VIP]))?;
    start_reload(&mut lb01)?;
    bed.lab.set_port("lb01", false)?;
    wait_for("its end", SOON, || lb01.log().contains("the new configuration is in force"))?;
    bed.wait("lb01", "FAULT")?;
    bed.wait("lb02", "MASTER")?;
    sleep(INTERVAL * 6);
    ensure!(bed.state("lb01")? == "FAULT", "{}", lb01.log());
    bed.lab.set_port("lb01", true)?;
    bed.wait("lb01", "MASTER")
}

/// What the process and the kernel hold.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Holdings {
    descriptors: usize,
    rules: usize,
    routes: usize,
    memberships: usize,
    pins: usize,
}

fn holdings(bed: &Bed, daemon: &Daemon) -> Result<(Holdings, u64)> {
    let node = bed.lb01();
    let lines = |argv: &[&str]| -> Result<usize> { Ok(node.exec(argv)?.lines().count()) };
    let proc = format!("/proc/{}", daemon.pid());
    let resident = fs::read_to_string(format!("{proc}/status"))?;
    let resident = resident
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:")?.split_whitespace().next()?.parse().ok());
    let holdings = Holdings {
        descriptors: fs::read_dir(format!("{proc}/fd"))?.count(),
        rules: lines(&["ip", "rule", "show"])?,
        routes: lines(&["ip", "route", "show", "table", "all"])?,
        memberships: lines(&["ip", "maddress", "show", "dev", "eth0"])?,
        pins: fs::read_dir(pins(node))?.count(),
    };
    Ok((holdings, resident.context("VmRSS")?))
}

/// Two configurations in turn, while a client asks: the VIP of both is always answered for, and nothing piles up.
#[test]
fn reloads_lose_nothing_and_leak_nothing() -> Result<()> {
    let reloads = times("VIPD_RELOADS", 100);
    let check =
        |weight: u8| format!("vrrp_script c {{\n script /bin/true\n interval 5\n weight {weight}\n}}\n");
    let a = check(1) + &two(HIGH, "track_script {\n c\n }\n notify /bin/true");
    let b = check(2)
        + &one(HIGH, &[VIP])
        + &instance(
            "VI_3",
            53,
            HIGH,
            &[Ipv4Addr::new(10, 0, 0, 41), Ipv4Addr::new(10, 0, 0, 42)],
            "track_script {\n c\n }",
        );
    let Some(pair) = pair(&a, &one(LOW, &[VIP]))? else { return Ok(()) };
    let bed = &pair.bed;
    let before = life(&bed.status("lb01")?);
    bed.reloaded("lb01", &b)?;
    bed.reloaded("lb01", &a)?;
    // A backup has rules that a master has not.
    let settled = || bed.lb01().wait_state(&bed.vipd, SECOND, "MASTER", SOON);
    settled()?;
    let (held, resident) = holdings(bed, &pair.lb01)?;
    let (prober, listener) = (bed.prober()?, bed.listener()?);
    let began = Instant::now();
    for i in 0..reloads {
        bed.reloaded("lb01", if i % 2 == 0 { &b } else { &a })?;
    }
    if reloads % 2 == 1 {
        bed.reloaded("lb01", &a)?;
    }
    let took = began.elapsed();
    let probes = prober.stop()?;
    let lost = probes.iter().filter(|probe| probe.answers.is_empty()).count();
    settled()?;
    let (now, resident_now) = holdings(bed, &pair.lb01)?;
    println!(
        "{reloads} reloads in {took:?}: {lost} of {} questions unanswered; {resident} kB before, {resident_now} kB after",
        probes.len()
    );
    ensure!(lost <= probes.len() / 10_000, "{lost} of {} questions unanswered", probes.len());
    ensure!(life(&bed.status("lb01")?) == before, "a transition");
    ensure!(adverts(&listener).iter().all(|heard| heard.from == LB01), "another node advertised");
    // A script, or a client, may be there in one of the two.
    ensure!(now.descriptors <= held.descriptors + 3, "{now:?}, before {held:?}");
    ensure!(Holdings { descriptors: held.descriptors, ..now } == held, "{now:?}, before {held:?}");
    ensure!(resident_now < resident + 10_240, "{resident} kB, then {resident_now} kB");
    Ok(())
}

fn veth(node: &Node, address: bool) -> Result<()> {
    node.exec(&["ip", "link", "add", "eth7", "type", "veth", "peer", "name", "eth8"])?;
    if address {
        node.exec(&["ip", "address", "add", "10.7.0.5/24", "dev", "eth7"])?;
    }
    node.exec(&["ip", "link", "set", "eth8", "up"])?;
    node.exec(&["ip", "link", "set", "eth7", "up"]).map(drop)
}

/// An instance waits for its interface, follows it by its name, and leaves XDP on none that it has not.
#[test]
fn interfaces_come_go_and_change_their_names() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let node = bed.lb01();
    let conf = |dynamic: &str| {
        format!("global_defs {{\n vrrp_version 3\n {dynamic}\n}}\n")
            + &instance(INSTANCE, 51, HIGH, &[VIP], "")
            + &instance(SECOND, 52, HIGH, &[Ipv4Addr::new(10, 7, 0, 3)], "").replace("eth0", "eth7")
    };
    node.write_vipd_conf(&conf(""))?;
    let mut refused = bed.restart("lb01")?;
    ensure!(
        !refused.wait(SOON)?.success() && refused.log().contains("interface eth7 does not exist"),
        "{}",
        refused.log()
    );

    let daemon = bed.start("lb01", &conf("dynamic_interfaces"))?;
    bed.wait("lb01", "MASTER")?;
    let second = |state: &str| node.wait_state(&bed.vipd, SECOND, state, SOON).map(drop);
    second("FAULT")?;
    let before = life(&bed.status("lb01")?);
    let links = || -> Result<usize> {
        let names =
            fs::read_dir(pins(node))?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
        Ok(names.collect::<Result<Vec<_>>>()?.iter().filter(|name| name.starts_with("link-")).count())
    };
    ensure!(links()? == 1);
    for round in 0..3 {
        veth(node, round > 0)?;
        if round == 0 {
            second("FAULT")?;
            node.exec(&["ip", "address", "add", "10.7.0.5/24", "dev", "eth7"])?;
        }
        second("MASTER")?;
        ensure!(links()? == 2, "XDP is on both");
        // Its name is somebody else's now.
        node.exec(&["ip", "link", "set", "eth7", "name", "eth6"])?;
        second("FAULT")?;
        wait_for("XDP to be off", SOON, || links().is_ok_and(|links| links == 1))?;
        node.exec(&["ip", "link", "set", "eth6", "name", "eth7"])?;
        second("MASTER")?;
        node.exec(&["ip", "link", "del", "eth7"])?;
        second("FAULT")?;
        wait_for("its link to be unpinned", SOON, || links().is_ok_and(|links| links == 1))?;
    }
    ensure!(life(&bed.status("lb01")?) == before, "the other one was touched");
    // A reload does not ask for the interface either, while it is away.
    let said = bed.reloaded("lb01", &conf(""))?;
    ensure!(said.contains("0 added, 0 removed"), "{said}");
    veth(node, true)?;
    second("MASTER")?;
    bed.lb01().stop_vipd(&bed.vipd)?;
    drop(daemon);
    let left = node.exec(&["ip", "route", "show", "table", "all", "proto", "118"])?;
    ensure!(left.is_empty(), "{left}");
    Ok(())
}
