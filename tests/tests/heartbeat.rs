//! Two vipd nodes with a second network between them: what its heartbeats keep together, and what is told when one
//! fails.

#![allow(clippy::disallowed_methods, reason = "tests measure")]

mod support;

use std::{fs, net::IpAddr, time::Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use support::*;
use vipd_tests::{
    Mac,
    probe::{
        ArpProber,
        capture::{Advert, Seen},
    },
    wait_for,
    xdp::Program,
};

const HEARTBEAT: &str = "heartbeat_interface {\n        eth1\n    }";

/// Adverts each second: a machine that is busy for a while is no silence.
fn heart_conf(priority: u8, extra: &str) -> String {
    node_conf(priority, extra).replace("advert_int 0.3", "advert_int 1")
}

/// lb01 is MASTER, lb02 is BACKUP, and adverts have been heard on both lines.
fn heart_pair(extra: &str) -> Result<Option<Pair>> {
    let Some(bed) = Bed::two_lines()? else { return Ok(None) };
    let pair = pair_in(bed, &heart_conf(HIGH, extra), &heart_conf(LOW, extra))?;
    for number in 0..2 {
        wait_line(&pair.bed, "lb02", number, |line| line["heard_ms_ago"].is_u64())?;
    }
    Ok(Some(pair))
}

/// Waits until a line of a node is as asked for; 0 is eth0.
fn wait_line(bed: &Bed, node: &str, number: usize, is: impl Fn(&Value) -> bool) -> Result<()> {
    let mut last = Value::Null;
    let waited = wait_for(format_args!("line {number} of {node}"), SOON, || {
        last = bed.status(node).map(|status| status["lines"][number].clone()).unwrap_or_default();
        is(&last)
    });
    waited.with_context(|| format!("it is {last}")).map(drop)
}

fn wait_line_state(bed: &Bed, node: &str, number: usize, state: &str) -> Result<()> {
    wait_line(bed, node, number, |line| line["state"] == state)
}

/// No node has changed its state since the pair was made.
fn check_unmoved(pair: &Pair) -> Result<()> {
    let (one, two) = (pair.bed.status("lb01")?, pair.bed.status("lb02")?);
    ensure!(one["state"] == "MASTER" && one["became_master"] == 1, "{one}");
    ensure!(two["state"] == "BACKUP" && two["became_master"] == 0, "{two}");
    Ok(())
}

/// Whether a node has told of an event about an interface.
fn told(log: &str, event: &str, interface: &str) -> bool {
    let (event, interface) = (format!("event=\"{event}\""), format!("interface=\"{interface}\""));
    log.lines().any(|line| line.contains(&event) && line.contains(&interface))
}

/// I1, I3: either line will do. Without both the backup is on its own, and takes over.
#[test]
fn one_line_is_enough_and_without_both_the_backup_takes_over() -> Result<()> {
    let Some(pair) = heart_pair(HEARTBEAT)? else { return Ok(()) };
    let (bed, prober) = (&pair.bed, pair.bed.prober()?);
    let lines = [("eth0", 0), ("eth1", 1)];
    for (ifname, number) in lines {
        ensure!(!told(&pair.lb02.log(), "heartbeat_lost", ifname), "{ifname} was lost before");
        bed.lab.partition_on(ifname, &["lb01"], &["lb02"])?;
        // It has waited in vain there for as long as it would have waited for a master.
        wait_line_state(bed, "lb02", number, "lost")?;
        check_unmoved(&pair)?;
        ensure!(told(&pair.lb02.log(), "heartbeat_lost", ifname), "nothing was told of {ifname}");
        bed.lab.unblock_all()?;
        wait_line_state(bed, "lb02", number, "up")?;
        ensure!(told(&pair.lb02.log(), "heartbeat_heard", ifname), "{ifname} is well, and nothing was told");
    }
    check_unmoved(&pair)?;
    let so_far = prober.timeline();
    ensure!(answered_by(&so_far, bed.lb02().mac(), so_far[0].sent, Instant::now()) == 0, "lb02 answered");
    ensure!(so_far.iter().filter(|probe| !probe.answers.is_empty()).count() > 10, "nobody answered");

    for (ifname, _) in lines {
        bed.lab.partition_on(ifname, &["lb01"], &["lb02"])?;
    }
    bed.wait("lb02", "MASTER")?;
    ensure!(bed.status("lb02")?["reason"] == "no advert from a master", "{}", bed.status("lb02")?);
    bed.lab.unblock_all()?;
    bed.wait("lb02", "BACKUP")
}

/// I2: a master without its own link says so over the other, and is relieved after the skew time; one without
/// heartbeats is missed for the whole of the master-down interval.
#[test]
fn a_master_without_its_link_says_goodbye_over_a_heartbeat_line() -> Result<()> {
    for (extra, reason, goodbyes, fault) in [
        (HEARTBEAT, "master left", 1, "link down, a heartbeat link is up"),
        ("", "no advert from a master", 0, "link down"),
    ] {
        let Some(bed) = Bed::two_lines()? else { return Ok(()) };
        let pair = pair_in(bed, &heart_conf(HIGH, extra), &heart_conf(LOW, extra))?;
        let bed = &pair.bed;
        bed.lab.set_port("lb01", false)?;
        bed.wait("lb01", "FAULT")?;
        bed.wait("lb02", "MASTER")?;
        let (one, two) = (bed.status("lb01")?, bed.status("lb02")?);
        ensure!(one["reason"] == fault, "{one}");
        ensure!(one["priority_zero_sent"] == goodbyes, "{one}");
        ensure!(two["reason"] == reason, "{two}");
        ensure!(two["priority_zero_received"] == goodbyes, "{two}");

        // It hears its successor over the other line, and comes back.
        bed.lab.set_port("lb01", true)?;
        bed.wait("lb01", "MASTER")?;
        bed.wait("lb02", "BACKUP")?;
    }
    Ok(())
}

/// I1: who is heard on a heartbeat line alone goes on, since nobody takes over. A strict lease asks for its own
/// interface: the owner falls silent on all lines then, and comes not back while it is dumb.
#[test]
fn a_master_that_cannot_send_by_its_own_interface() -> Result<()> {
    for lease in ["overlap", "strict"] {
        let Some(pair) = heart_pair(&format!("lease {lease}\n    {HEARTBEAT}"))? else { return Ok(()) };
        let bed = &pair.bed;
        let rules = bed.lb01().dir().join("rules");
        let dumb = "table netdev dumb { chain out { type filter hook egress device \"eth0\" priority 0; ip protocol 112 drop; }; }\n";
        fs::write(&rules, dumb)?;
        bed.lb01().exec(&["nft", "-f", &rules.display().to_string()])?;
        if lease == "overlap" {
            // More than a lease.
            wait_line(bed, "lb01", 0, |line| line["send_errors"].as_u64() > Some(5))?;
            wait_line_state(bed, "lb02", 0, "lost")?;
            check_unmoved(&pair)?;
            let line = &bed.status("lb01")?["lines"];
            ensure!(line[0]["sends_fail"] == true && line[1]["sends_fail"] == false, "{line}");
            ensure!(told(&pair.lb01.log(), "advert_send_failed", "eth0"), "it was not told");
            bed.lb01().exec(&["nft", "flush", "ruleset"])?;
            wait_line(bed, "lb01", 0, |line| line["sends_fail"] == false)?;
            check_unmoved(&pair)?;
        } else {
            bed.wait("lb02", "MASTER")?;
            ensure!(bed.status("lb01")?["reason"] == "lease lapsed", "{}", bed.status("lb01")?);
            // It tries to take over, as the better one.
            wait_for("a first advert that is not sent", SOON, || {
                bed.status("lb01").is_ok_and(|status| status["reason"] == "first advert could not be sent")
            })?;
            let successor = bed.status("lb02")?;
            ensure!(successor["state"] == "MASTER" && successor["released_master"] == 0, "{successor}");
            bed.lb01().exec(&["nft", "flush", "ruleset"])?;
            bed.wait("lb01", "MASTER")?;
        }
    }
    Ok(())
}

/// A heartbeat line that is down is no FAULT, and is told of; adverts have gone over the other all the time.
#[test]
fn a_heartbeat_line_that_is_down_is_an_event_only() -> Result<()> {
    let Some(pair) = heart_pair(HEARTBEAT)? else { return Ok(()) };
    for up in [false, true] {
        pair.bed.lab.set_link("lb01", "eth1", up)?;
        let (state, event) = if up { ("up", "heartbeat_up") } else { ("down", "heartbeat_down") };
        wait_line_state(&pair.bed, "lb01", 1, state)?;
        wait_for(event, SOON, || told(&pair.lb01.log(), event, "eth1"))?;
        check_unmoved(&pair)?;
    }
    wait_line(&pair.bed, "lb02", 1, |line| line["state"] == "up" && line["heard_ms_ago"].is_u64())?;
    check_unmoved(&pair)
}

/// The same message with the line's own MAC, and nothing but adverts.
#[test]
fn heartbeats_are_adverts_with_the_lines_own_mac() -> Result<()> {
    let extra = format!("use_vmac\n    {HEARTBEAT}");
    let Some(bed) = Bed::two_lines()? else { return Ok(()) };
    // From before the takeover, which is announced.
    let (own, other) = (bed.lab.sniff_port("lb01")?, bed.lab.sniff_link("lb01", "eth1")?);
    let pair = pair_in(bed, &heart_conf(HIGH, &extra), &heart_conf(LOW, &extra))?;
    let bed = &pair.bed;
    let both = || adverts(&own).len() >= 3 && adverts(&other).len() >= 3;
    wait_for("adverts of lb01 on both lines", SOON, both)?;

    let virtual_mac = Mac([0, 0, 0x5e, 0, 1, 51]);
    let of_lb01 = |(seen, advert): &(Seen, Advert)| {
        (advert.src == LB01).then(|| (seen.src_mac, seen.dst_mac, advert.message.clone()))
    };
    ensure!(own.arps().iter().any(|(_, arp)| arp.is_gratuitous()), "nothing was announced at all");
    let own: Vec<_> = own.adverts().iter().filter_map(of_lb01).collect();
    let heartbeats: Vec<_> = other.adverts().iter().filter_map(of_lb01).collect();
    let group = Mac([0x01, 0, 0x5e, 0, 0, 0x12]);
    ensure!(own.iter().all(|(mac, to, _)| (*mac, *to) == (virtual_mac, group)), "{own:?}");
    let line = bed.lb01().link("eth1").mac;
    ensure!(heartbeats.iter().all(|(mac, to, _)| (*mac, *to) == (line, group)), "{heartbeats:?}");
    ensure!(
        own.iter().map(|(_, _, message)| message).all(|message| heartbeats.iter().any(|h| &h.2 == message))
    );
    let about_the_vip =
        other.arps().into_iter().find(|(_, arp)| arp.sender_ip == VIP || arp.target_ip == VIP);
    ensure!(about_the_vip.is_none(), "on a heartbeat line: {about_the_vip:?}");

    // Nor does the kernel answer there, to which the VIP is a local address.
    let asking = ArpProber::start(bed.lb02().ns(), "eth1", &[VIP], PROBE_PERIOD)?;
    let questions = || asking.timeline().len() >= 100;
    wait_for("questions on the heartbeat line", SOON, questions)?;
    let answered = asking.stop()?.into_iter().find(|probe| !probe.answers.is_empty());
    ensure!(answered.is_none(), "answered on a heartbeat line: {answered:?}");
    Ok(())
}

#[test]
fn heartbeats_of_ipv6_are_heard() -> Result<()> {
    let Some(bed) = Bed::two_lines()? else { return Ok(()) };
    let v6 = |priority| {
        heart_conf(priority, HEARTBEAT).replace(&VIP.to_string(), "fe80::3/64\n        2001:db8::3")
    };
    let pair = pair_in(bed, &v6(HIGH), &v6(LOW))?;
    let bed = &pair.bed;
    let wire = bed.lab.sniff_link("lb01", "eth1")?;
    wait_line(bed, "lb02", 1, |line| line["heard_ms_ago"].is_u64())?;
    wait_for("adverts on the line", SOON, || wire.adverts().len() > 1)?;
    let from: Vec<IpAddr> = wire.adverts().iter().map(|(_, advert)| advert.src).collect();
    ensure!(from.iter().all(|from| *from == bed.lb01().link_local()), "not from eth0's address: {from:?}");
    let joined = bed.lb02().exec(&["ip", "maddress", "show", "dev", "eth1"])?;
    ensure!(joined.contains("ff02::12"), "{joined}");
    bed.lab.partition_on("eth0", &["lb01"], &["lb02"])?;
    wait_line_state(bed, "lb02", 0, "lost")?;
    check_unmoved(&pair)
}

/// A line need not be there, is followed by its name, and comes and goes with a reload: without a transition.
#[test]
fn heartbeat_lines_come_and_go() -> Result<()> {
    let lines = "heartbeat_interface {\n        eth1\n        eth9\n    }";
    let Some(pair) = heart_pair(lines)? else { return Ok(()) };
    let bed = &pair.bed;
    wait_line_state(bed, "lb01", 2, "absent")?;
    wait_for("the absent line to be told of", SOON, || told(&pair.lb01.log(), "heartbeat_down", "eth9"))?;
    let xdp = |ifname: &str| -> Result<bool> {
        Ok(bed.lb01().exec(&["ip", "link", "show", "dev", ifname])?.contains("xdp"))
    };
    ensure!(xdp("eth1")?, "no XDP on a heartbeat line");

    bed.reloaded("lb01", &heart_conf(HIGH, ""))?;
    ensure!(bed.status("lb01")?["lines"].as_array().is_some_and(|lines| lines.len() == 1));
    ensure!(!xdp("eth1")?, "XDP is left on what is no line any more");
    wait_line_state(bed, "lb02", 1, "lost")?;
    check_unmoved(&pair)?;

    bed.reloaded("lb01", &heart_conf(HIGH, lines))?;
    wait_line_state(bed, "lb02", 1, "up")?;
    check_unmoved(&pair)?;

    // Another interface of lb01 bears the name of the second line now, and the first is gone.
    for step in [&["down"][..], &["name", "eth9"]] {
        bed.lb01().exec(&[&["ip", "link", "set", "dev", "eth1"], step].concat())?;
    }
    bed.lb01().exec(&["ip", "link", "set", "dev", "eth9", "up"])?;
    wait_line_state(bed, "lb01", 1, "absent")?;
    wait_line_state(bed, "lb01", 2, "up")?;
    let wire = bed.lab.sniff_link("lb01", "eth1")?;
    wait_for("adverts by the renamed line", SOON, || adverts(&wire).iter().any(|heard| heard.from == LB01))?;
    check_unmoved(&pair)
}

/// A line where XDP cannot be attached is no reason not to start, and is used when it can be.
#[test]
fn a_heartbeat_line_with_somebody_elses_program_waits() -> Result<()> {
    let Some(bed) = Bed::two_lines()? else { return Ok(()) };
    let other = Program::pass()?.attach(bed.lb01().ns(), "eth1")?;
    let pair = pair_in(bed, &heart_conf(HIGH, HEARTBEAT), &heart_conf(LOW, HEARTBEAT))?;
    wait_line_state(&pair.bed, "lb01", 1, "absent")?;
    ensure!(pair.lb01.log().contains("already has an XDP program"), "{}", pair.lb01.log());
    // A reload is not refused for it.
    pair.bed.reloaded("lb01", &heart_conf(HIGH - 1, HEARTBEAT))?;
    drop(other);
    wait_line_state(&pair.bed, "lb01", 1, "up")?;
    wait_line(&pair.bed, "lb02", 1, |line| line["heard_ms_ago"].is_u64())?;
    check_unmoved(&pair)
}
