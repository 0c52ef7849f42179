//! Unicast peers whose MAC the kernel does not know: what waits for it has reached nobody.

#![allow(clippy::disallowed_methods, reason = "tests measure")]

mod support;

use std::{
    net::{IpAddr, Ipv4Addr, TcpStream},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use support::{
    frames::{Ipv4, checksum},
    *,
};
use vipd_tests::{Block, probe::neighbour::Probe};

/// The configuration of a node whose only peer is `peer`.
fn unicast_conf(priority: u8, peer: IpAddr) -> String {
    node_conf(priority, &format!("unicast_peer {{\n        {peer}\n    }}"))
}

/// What `vipd doctor` says on lb01.
fn doctor(bed: &Bed) -> Result<String> {
    let conf = bed.lb01().vipd_conf().display().to_string();
    let output = bed.ask("lb01", &["doctor", "-f", &conf]).output()?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Whether a question that was asked since then was answered by nobody but `mac`, each of the last few.
fn is_alone(probes: &[Probe], mac: vipd_tests::Mac) -> bool {
    let last = probes.iter().rev().filter(|probe| !probe.answers.is_empty()).take(100);
    let owners: Vec<_> = last.map(Probe::owners).collect();
    owners.len() == 100 && owners.iter().all(|owners| owners.iter().eq([&mac]))
}

/// A master is cut off in one direction, and its kernel has forgotten the peer's MAC. While its adverts wait for an answer
/// nobody gets any; when the cut heals, the peer must hear of it with the next advert. Left alone the kernel asks for the MAC
/// again when its time has come, here after a minute: for so long both would own the VIP.
#[test]
fn a_cut_that_heals_leaves_no_second_owner_behind_an_unknown_mac() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let pair = pair_in(bed, &unicast_conf(HIGH, LB02), &unicast_conf(LOW, LB01))?;
    let lb01 = pair.bed.lb01();
    for setting in ["retrans_time_ms", "base_reachable_time_ms"] {
        lb01.ns().sysctl(&format!("net/ipv4/neigh/eth0/{setting}"), "60000")?;
    }
    // lb02 has no reason to ask for lb01, which would tell lb01 its MAC.
    let mac = lb01.mac().to_string();
    pair.bed.lb02().exec(&[
        "ip",
        "neighbour",
        "replace",
        "10.0.0.5",
        "lladdr",
        &mac,
        "dev",
        "eth0",
        "nud",
        "permanent",
    ])?;
    let prober = pair.bed.prober()?;
    pair.bed.lab.block("lb01", "lb02", Block::All)?;
    lb01.exec(&["ip", "neighbour", "replace", "10.0.0.6", "dev", "eth0", "nud", "failed"])?;
    pair.bed.wait("lb02", "MASTER")?;
    // Both own it, each in the right by what it hears; lb01 goes on, though its peer might as well be dead.
    sleep(LEASE * 2);
    ensure!(pair.bed.state("lb01")? == "MASTER", "a master that hears nobody gave up");
    let known = lb01.neighbours()?.get(&LB02).and_then(|neighbour| neighbour.mac);
    ensure!(known.is_none(), "the kernel knows the peer's MAC: nothing waits");

    let healed = Instant::now();
    pair.bed.lab.unblock_all()?;
    pair.bed.wait("lb02", "BACKUP")?;
    vipd_tests::wait_for("one owner", SOON, || is_alone(&prober.timeline(), lb01.mac()))?;
    let both = overlap(&prober.stop()?, healed, Instant::now());
    println!("two owners for {both:?} after the cut healed; the kernel would have asked in a minute");
    ensure!(both < Duration::from_secs(30), "two owners for {both:?} after the cut healed");
    Ok(())
}

/// The peer is dead and was never there: the master goes on alone, and asks for it at a bounded rate.
#[test]
fn a_dead_peer_costs_nobody_the_lease() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let wire = bed.listener()?;
    let absent: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 77);
    let conf =
        unicast_conf(HIGH, absent.into()).replace("advert_int 0.3", "advert_int 0.02\n    lease strict");
    let _vipd = bed.start("lb01", &conf)?;
    bed.wait("lb01", "MASTER")?;
    let prober = bed.prober()?;
    let (began, span) = (Instant::now(), Duration::from_secs(4));
    sleep(span);
    let took = began.elapsed();
    let asked = wire.arps().iter().filter(|(seen, arp)| seen.at >= began && arp.target_ip == absent).count();
    check_answered("beside a dead peer", &prober.stop()?, began, began + span)?;
    let status = bed.status("lb01")?;
    ensure!(status["state"] == "MASTER" && status["send_errors"] == 0, "{status}");
    // Ten in a second of vipd's, one of the kernel's, and the edges.
    let most = took.as_millis() / 100 + took.as_millis() / 1000 + 5;
    ensure!(asked > 4 && asked as u128 <= most, "{asked} questions in {took:?}");
    let taken = bed.events_named("lb01", "state_changed")?;
    let masters = taken.iter().filter(|event| event["fields"]["to"] == "MASTER").count();
    ensure!(masters == 1, "{masters} takeovers");
    Ok(())
}

/// A master whose adverts cannot leave, for a reason of this host, loses the lease that nobody knows of.
#[test]
fn questions_that_cannot_leave_renew_nothing() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let lb01 = bed.lb01();
    let absent: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 77);
    let _vipd = bed.start("lb01", &unicast_conf(HIGH, absent.into()))?;
    bed.wait("lb01", "MASTER")?;
    // The queue of the interface takes no frame at all, and says so.
    lb01.exec(&["tc", "qdisc", "add", "dev", "eth0", "root", "bfifo", "limit", "1"])?;
    let lapsed = |fields: &serde_json::Value| {
        fields["from"] == "MASTER" && fields["reason"].as_str().is_some_and(|reason| reason.contains("lease"))
    };
    bed.wait_event("lb01", "state_changed", lapsed)?;
    lb01.exec(&["tc", "qdisc", "del", "dev", "eth0", "root"])?;
    bed.wait("lb01", "MASTER").context("it takes over again")
}

/// The address that peers send to is removed from the interface: FAULT with the reason and the remedy, until it is back, and no
/// takeover after another. So too if another address is left to send from.
#[test]
fn a_source_that_is_removed_is_a_fault_until_it_is_back() -> Result<()> {
    for others in [false, true] {
        let Some(bed) = Bed::new()? else { return Ok(()) };
        let lb01 = bed.lb01();
        if others {
            lb01.exec(&["ip", "address", "add", "10.0.0.55/24", "dev", "eth0"])?;
        }
        let ran = lb01.dir().join("ran");
        let notify = script(lb01, "notify.sh", &format!("echo $3 >> {}", ran.display()))?;
        let conf = unicast_conf(HIGH, LB02).replace(
            "unicast_peer",
            &format!("notify {notify}\n    unicast_src_ip 10.0.0.5\n    unicast_peer"),
        );
        let _vipd = bed.start("lb01", &conf)?;
        bed.wait("lb01", "MASTER")?;
        // A secondary address would go with it.
        lb01.ns().sysctl("net/ipv4/conf/eth0/promote_secondaries", "1")?;
        lb01.exec(&["ip", "address", "del", "10.0.0.5/24", "dev", "eth0"])?;
        bed.wait("lb01", "FAULT")?;
        sleep(master_down(HIGH) * 3);
        let status = bed.status("lb01")?;
        let reason = status["reason"].as_str().unwrap_or_default().to_owned();
        for words in ["source address", "unicast_src_ip 10.0.0.5 is not on any interface", "ip address add"] {
            ensure!(status["state"] == "FAULT" && reason.contains(words), "{words}: {status}");
        }
        let doctor = doctor(&bed)?;
        ensure!(doctor.contains("it does not have 10.0.0.5"), "{doctor}");

        lb01.exec(&["ip", "address", "add", "10.0.0.5/24", "dev", "eth0"])?;
        bed.wait("lb01", "MASTER")?;
        let lines = || std::fs::read_to_string(&ran).unwrap_or_default();
        vipd_tests::wait_for("the last run of notify", SOON, || {
            lines().ends_with("FAULT\nBACKUP\nMASTER\n")
        })?;
        ensure!(lines().matches("FAULT").count() == 1, "{}", lines());
        ensure!(lines().matches("MASTER").count() == 2, "{}", lines());
    }
    Ok(())
}

/// A packet filter that drops every advert: the instance is a backup that cannot take over, which nobody is told as a takeover
/// after another.
#[test]
fn takeovers_in_vain_are_told_to_no_script() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let lb01 = bed.lb01();
    let ran = lb01.dir().join("ran");
    let notify = script(lb01, "notify.sh", &format!("echo $3 >> {}", ran.display()))?;
    let rules = lb01.dir().join("rules.nft");
    std::fs::write(
        &rules,
        "table inet dumb { chain out { type filter hook output priority 0; meta l4proto 112 drop; }; }\n",
    )?;
    lb01.exec(&["nft", "-f", &rules.display().to_string()])?;
    let conf =
        unicast_conf(HIGH, LB02).replace("unicast_peer", &format!("notify {notify}\n    unicast_peer"));
    let _vipd = bed.start("lb01", &conf)?;
    vipd_tests::wait_for("two takeovers in vain", SOON, || {
        bed.status("lb01").is_ok_and(|status| status["send_errors"].as_u64() > Some(2))
    })?;
    let status = bed.status("lb01")?;
    ensure!(status["state"] == "BACKUP" && status["reason"] == "first advert could not be sent", "{status}");
    ensure!(!bed.events_named("lb01", "advert_not_sent")?.is_empty(), "nobody is told");
    let doctor = doctor(&bed)?;
    ensure!(doctor.contains("cannot take over"), "{doctor}");

    lb01.exec(&["nft", "flush", "ruleset"])?;
    bed.wait("lb01", "MASTER")?;
    let lines = || std::fs::read_to_string(&ran).unwrap_or_default();
    vipd_tests::wait_for("the run of notify", SOON, || lines().contains("MASTER"))?;
    ensure!(lines() == "BACKUP\nMASTER\n", "{}", lines());
    Ok(())
}

/// A rival is seen by its claims alone: the cut takes what lb01 says, and all adverts of lb02. It has taken the client with it; when
/// the cut has healed the client comes back, without waiting for its entry to expire.
#[test]
fn a_client_comes_back_from_a_rival_that_was_only_seen_to_claim() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let pair = pair_in(bed, &unicast_conf(HIGH, LB02), &unicast_conf(LOW, LB01))?;
    let bed = &pair.bed;
    let client = bed.client();
    // Whom it knows it knows for good, unless it is told otherwise.
    for (setting, value) in [("base_reachable_time_ms", "3600000"), ("delay_first_probe_time", "3600")] {
        client.ns().sysctl(&format!("net/ipv4/neigh/eth0/{setting}"), value)?;
    }
    let known = || client.neighbours().ok()?.get(&IpAddr::V4(VIP))?.mac;
    // Nobody listens there.
    let answer = client.ns().run(|| TcpStream::connect_timeout(&(VIP, 9).into(), SOON))?;
    ensure!(answer.is_err());
    ensure!(known() == Some(bed.lb01().mac()), "{:?}", known());
    // What belongs to the takeover is said.
    sleep(Duration::from_secs(6));

    for to in ["lb02", "client"] {
        bed.lab.block("lb01", to, Block::All)?;
    }
    bed.lab.block("lb02", "lb01", Block::Adverts)?;
    bed.wait("lb02", "MASTER")?;
    vipd_tests::wait_for("the client to follow lb02", SOON, || known() == Some(bed.lb02().mac()))?;
    bed.wait_event("lb01", "address_conflict", |_| true)?;
    sleep(Duration::from_secs(2));
    bed.lab.unblock_all()?;
    bed.lab.block("lb02", "lb01", Block::Adverts)?;
    bed.wait("lb02", "BACKUP")?;
    ensure!(bed.state("lb01")? == "MASTER");
    vipd_tests::wait_for("the client to come back to lb01", SOON, || known() == Some(bed.lb01().mac()))?;
    Ok(())
}

/// The same in a sync group, of which another member's adverts leave: it steps down with the first, and tells nobody either.
#[test]
fn takeovers_in_vain_of_a_group_are_told_to_no_script() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let lb01 = bed.lb01();
    let rules = lb01.dir().join("rules.nft");
    std::fs::write(
        &rules,
        "table inet dumb { chain out { type filter hook output priority 0; meta l4proto 112 drop; }; }\n",
    )?;
    lb01.exec(&["nft", "-f", &rules.display().to_string()])?;
    let ran = lb01.dir().join("ran");
    let notify = script(lb01, "notify.sh", &format!("echo $2 $3 >> {}", ran.display()))?;
    let first = unicast_conf(HIGH, LB02);
    let second = node_conf(HIGH, &format!("notify {notify}"));
    let (_, second) = second.split_once("vrrp_instance").context("no instance")?;
    let second = second
        .replace(INSTANCE, "VI_2")
        .replace("router_id 51", "router_id 52")
        .replace("10.0.0.3", "10.0.0.4");
    let conf =
        format!("{first}vrrp_instance{second}vrrp_sync_group G {{\n group {{\n {INSTANCE}\n VI_2\n }}\n}}\n");
    let _vipd = bed.start("lb01", &conf)?;
    vipd_tests::wait_for("takeovers in vain", SOON, || {
        bed.status("lb01").is_ok_and(|status| status["send_errors"].as_u64() > Some(2))
    })?;
    ensure!(bed.status_of("lb01", "VI_2")?["state"] == "BACKUP");
    lb01.exec(&["nft", "flush", "ruleset"])?;
    bed.wait("lb01", "MASTER")?;
    lb01.wait_state(&bed.vipd, "VI_2", "MASTER", SOON)?;
    let lines = || std::fs::read_to_string(&ran).unwrap_or_default();
    vipd_tests::wait_for("the run of notify", SOON, || lines().contains("MASTER"))?;
    ensure!(lines() == "VI_2 BACKUP\nVI_2 MASTER\n", "{}", lines());
    Ok(())
}

/// Anybody's "fragmentation needed", which quotes what no socket has sent, makes the kernel believe in a small path MTU for ten
/// minutes. Adverts left in fragments, which no router of ours takes, and both nodes were masters.
#[test]
fn a_forged_path_mtu_fragments_no_adverts() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let many: String = (1..=180).map(|n| format!("        10.0.9.{n}\n")).collect();
    let conf = |priority, peer| {
        unicast_conf(priority, peer).replace(&format!("        {VIP}\n"), &format!("        {VIP}\n{many}"))
    };
    let pair = pair_in(bed, &conf(HIGH, LB02), &conf(LOW, LB01))?;
    let lb01 = pair.bed.lb01();
    let (Some(ours), IpAddr::V4(theirs)) = (lb01.ip(), LB02) else { anyhow::bail!("IPv4 addresses") };
    // RFC 792: unreachable, fragmentation needed, MTU 600; then the header of an echo reply of ours, and its first octets.
    let mut quoted = Ipv4 { protocol: 1, ttl: 64, destination: theirs, ..Ipv4::advert(ours, vec![0; 8]) };
    quoted.payload[2..4].copy_from_slice(&[0xff, 0xff]);
    let quoted = quoted.frame();
    let mut message = vec![3, 4, 0, 0, 0, 0, 2, 88];
    message.extend(&quoted[14..]);
    let sum = checksum(&[&message]);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    let error = Ipv4 {
        protocol: 1,
        ttl: 64,
        destination: ours,
        ..Ipv4::advert(Ipv4Addr::new(10, 0, 0, 100), message)
    };
    let mut frame = error.frame();
    frame[..6].copy_from_slice(&lb01.mac().0);
    vipd_tests::wait_for("the kernel to believe it", SOON, || {
        pair.bed.client().inject(&frame).is_ok()
            && lb01.exec(&["ip", "route", "get", "10.0.0.6"]).is_ok_and(|route| route.contains("mtu 600"))
    })?;
    let heard = |bed: &Bed| -> Result<u64> {
        bed.status("lb02")?["adverts_received"].as_u64().context("a number of adverts")
    };
    let before = heard(&pair.bed)?;
    vipd_tests::wait_for("adverts at lb02", SOON, || heard(&pair.bed).is_ok_and(|now| now > before + 5))?;
    ensure!(pair.bed.state("lb02")? == "BACKUP" && pair.bed.state("lb01")? == "MASTER");
    Ok(())
}
