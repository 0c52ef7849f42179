//! BFD sessions of vipd with FRR's bfdd and with Debian's keepalived, in both roles, and what they do to instances.

#![allow(clippy::disallowed_methods, reason = "tests measure")]

mod support;

use std::{
    net::IpAddr,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use support::*;
use vipd_tests::{Block, Daemon, FrrBfd, Node, wait_for};

const LB01_6: &str = "2001:db8::5";
const LB02_6: &str = "2001:db8::6";

/// Sessions of lb01 with lb02: one over IPv4, one over IPv6, one over several hops. Slow enough for a busy machine.
fn sessions(rest: &str) -> String {
    let one = |name: &str, lines: String| {
        format!("bfd_instance {name} {{\n{lines}\nmin_rx 200\nmin_tx 300\nmultiplier 20\n{rest}\n}}\n")
    };
    one("four", format!("neighbor_ip {LB02}"))
        + &one("six", format!("neighbor_ip {LB02_6}\nsource_ip {LB01_6}\nhoplimit 255"))
        + &one("far", format!("neighbor_ip {LB02}\nsource_ip {LB01}\nmultihop\nmax_hops 3"))
}

/// The same as bfdd has them.
fn frr_peers(rest: &str) -> String {
    let one = |peer: String| {
        format!(
            " peer {peer}\n  detect-multiplier 10\n  receive-interval 250\n  transmit-interval 400\n{rest}  no shutdown\n exit\n"
        )
    };
    one(format!("{LB01} local-address {LB02} interface eth0"))
        + &one(format!("{LB01_6} local-address {LB02_6} interface eth0"))
        + &one(format!("{LB01} multihop local-address {LB02}"))
}

const NAMES: [&str; 3] = ["four", "six", "far"];

/// The sessions of a node, by name.
fn session(bed: &Bed, node: &str, name: &str) -> Result<Value> {
    let node = bed.lab.node(node);
    let status = node.status(&bed.vipd)?;
    let sessions = status["bfd_sessions"].as_array().context("there are sessions")?;
    sessions
        .iter()
        .find(|session| session["name"] == name)
        .cloned()
        .with_context(|| format!("no {name} in {status}"))
}

fn wait_session(bed: &Bed, name: &str, what: &str, is: impl Fn(&Value) -> bool) -> Result<Value> {
    wait_for(format_args!("session {name} to be {what}"), SOON, || {
        session(bed, "lb01", name).is_ok_and(|session| is(&session))
    })
    .with_context(|| format!("{:?}", session(bed, "lb01", name)))?;
    session(bed, "lb01", name)
}

fn wait_up(bed: &Bed, names: &[&str]) -> Result<()> {
    names
        .iter()
        .try_for_each(|name| wait_session(bed, name, "Up", |session| session["state"] == "Up").map(drop))
}

fn wait_diagnostic(bed: &Bed, names: &[&str], diagnostic: u64) -> Result<()> {
    let is = |session: &Value| session["state"] != "Up" && session["diagnostic"] == diagnostic;
    names.iter().try_for_each(|name| wait_session(bed, name, "down", is).map(drop))
}

fn wait_frr(frr: &FrrBfd, neighbor: IpAddr, multihop: bool, status: &str) -> Result<Value> {
    let is = |peer: &Value| peer["status"] == status;
    wait_for(format_args!("bfdd to have {neighbor} {status}"), SOON, || {
        frr.peer(neighbor, multihop).is_ok_and(|peer| is(&peer))
    })
    .with_context(|| format!("{:?}", frr.peer(neighbor, multihop)))?;
    frr.peer(neighbor, multihop)
}

/// bfdd of lb02 takes its session with lb01 out of service, or puts it back.
fn put_into_service(frr: &FrrBfd, is_in: bool) -> Result<()> {
    let peer = format!("peer {LB01} local-address {LB02} interface eth0");
    frr.vtysh(&["configure terminal", "bfd", &peer, if is_in { "no shutdown" } else { "shutdown" }]).map(drop)
}

/// The sessions come up, both ends agree about the intervals, and every way of ending them is told by its diagnostic.
fn with_frr(ours: &str, theirs: &str) -> Result<()> {
    let Some(bed) = Bed::dual()? else { return Ok(()) };
    let _vipd = bed.start("lb01", &(sessions(ours) + &node_conf(HIGH, "")))?;
    let mut frr = bed.lb02().start_frr_bfd(&frr_peers(theirs))?;
    wait_up(&bed, &NAMES).with_context(|| frr.bfdd.log())?;
    for (name, address, multihop) in
        [("four", LB01, false), ("six", LB01_6.parse()?, false), ("far", LB01, true)]
    {
        let peer = wait_frr(&frr, address, multihop, "up")?;
        // After the poll: bfdd sends each 400 ms, vipd each 300.
        let seen = wait_session(&bed, name, "agreed", |session| {
            session["detection_time_us"] == 10 * 400_000 && session["transmit_interval_us"] == 300_000
        })?;
        ensure!(seen["remote_discriminator"] == peer["id"], "{seen} {peer}");
        ensure!(seen["local_discriminator"] == peer["remote-id"], "{seen} {peer}");
        wait_for("bfdd to know vipd's intervals", SOON, || {
            frr.peer(address, multihop).is_ok_and(|peer| {
                peer["remote-detect-multiplier"] == 20
                    && peer["remote-receive-interval"] == 200
                    && peer["remote-transmit-interval"] == 300
            })
        })
        .with_context(|| format!("{:?}", frr.peer(address, multihop)))?;
        ensure!(seen["packets_refused"] == 0, "{seen}");
    }
    let up = bed.events_named("lb01", "bfd_up")?;
    ensure!(up.len() == NAMES.len(), "{up:?}");

    // Out of service: no failure of the path, but the session is down all the same.
    put_into_service(&frr, false)?;
    wait_diagnostic(&bed, &["four"], 3)?;
    ensure!(session(&bed, "lb01", "four")?["remote_state"] == "AdminDown");
    put_into_service(&frr, true)?;
    wait_up(&bed, &["four"])?;

    // Killed: nothing is said, and the detection time runs out.
    frr.bfdd.kill9()?;
    wait_diagnostic(&bed, &NAMES, 1)?;
    let down = bed.events_named("lb01", "bfd_down")?;
    ensure!(
        down.iter().any(|event| event["fields"]["diagnostic"] == 1 && event["fields"]["session"] == "far"),
        "{down:?}"
    );
    drop(frr);
    let frr = bed.lb02().start_frr_bfd(&frr_peers(theirs))?;
    wait_up(&bed, &NAMES).with_context(|| frr.bfdd.log())?;

    // The wire is cut, and mended.
    bed.lab.partition(&["lb01"], &["lb02"])?;
    wait_diagnostic(&bed, &NAMES, 1)?;
    bed.lab.unblock_all()?;
    wait_up(&bed, &NAMES)?;

    // vipd stops: bfdd is told that it was meant.
    bed.lb01().stop_vipd(&bed.vipd)?;
    for (address, multihop) in [(LB01, false), (LB01_6.parse()?, false), (LB01, true)] {
        let peer = wait_frr(&frr, address, multihop, "down")?;
        ensure!(peer["remote-diagnostic"] == "administratively down", "{peer}");
    }
    Ok(())
}

#[test]
fn frr_and_vipd_both_active() -> Result<()> {
    with_frr("", "")
}

#[test]
fn frr_is_passive() -> Result<()> {
    with_frr("", "  passive-mode\n")
}

#[test]
fn vipd_is_passive() -> Result<()> {
    with_frr("passive", "")
}

/// What keepalived has on lb02; Debian's 2.2.7 knows no `multihop`.
fn keepalived_sessions(rest: &str) -> String {
    let one = |name: &str, lines: String| {
        format!("bfd_instance {name} {{\n{lines}\nmin_rx 250\nmin_tx 400\nmultiplier 10\n{rest}\n}}\n")
    };
    one("four", format!("neighbor_ip {LB01}\nsource_ip {LB02}"))
        + &one("six", format!("neighbor_ip {LB01_6}\nsource_ip {LB02_6}"))
}

/// keepalived sends hop limit 64 over IPv6 unless it is told otherwise, and vipd takes that unless it is.
fn with_keepalived(ours: &str, theirs: &str) -> Result<()> {
    let names = ["four", "six"];
    let Some(bed) = Bed::dual()? else { return Ok(()) };
    let _vipd = bed.start("lb01", &(sessions(ours).replace("hoplimit 255", "") + &node_conf(HIGH, "")))?;
    let conf = keepalived_sessions(theirs) + &node_conf(LOW, "");
    let mut keepalived = bed.lb02().start_keepalived_whole(&conf)?;
    wait_up(&bed, &names).with_context(|| keepalived.log())?;
    for name in names {
        wait_for(format_args!("keepalived's {name} to be Up"), SOON, || {
            bed.lb02().keepalived_session(name).as_deref() == Some("Up")
        })
        .with_context(|| keepalived.log())?;
        let seen = wait_session(&bed, name, "agreed", |session| {
            session["detection_time_us"] == 10 * 400_000 && session["transmit_interval_us"] == 300_000
        })?;
        ensure!(seen["packets_refused"] == 0, "{seen}");
    }
    keepalived.sigterm()?;
    keepalived.wait(SOON)?;
    for name in names {
        wait_session(&bed, name, "down", |session| session["state"] == "Down")?;
    }
    Ok(())
}

#[test]
fn keepalived_and_vipd_both_active() -> Result<()> {
    with_keepalived("", "")
}

#[test]
fn keepalived_is_passive() -> Result<()> {
    with_keepalived("", "passive")
}

#[test]
fn vipd_is_passive_to_keepalived() -> Result<()> {
    with_keepalived("passive", "")
}

/// bfdd of lb02 with one session, whose packets leave each 100 ms.
fn frr_of_lb02(bed: &Bed, multiplier: u32) -> Result<FrrBfd> {
    bed.lb02().start_frr_bfd(&format!(
        " peer {LB01} local-address {LB02} interface eth0\n  detect-multiplier {multiplier}\n  receive-interval 100\n  \
         transmit-interval 100\n  no shutdown\n exit\n"
    ))
}

fn uplink(rest: &str) -> String {
    format!("bfd_instance uplink {{\nneighbor_ip {LB02}\n{rest}\n}}\n")
}

/// A vipd that did not run for ten detection times finds by the program's stamps that its neighbor was never silent. keepalived takes such a
/// session down.
#[test]
fn a_late_daemon_takes_no_session_down() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    // bfdd waits for 30 s, vipd for 0.3 s: the pause is nothing to the one and everything to the other.
    let conf = uplink("min_rx 100\nmin_tx 1000\nmultiplier 30") + &node_conf(HIGH, "");
    let mut vipd = bed.start("lb01", &conf)?;
    let _frr = frr_of_lb02(&bed, 3)?;
    wait_session(&bed, "uplink", "agreed", |session| session["detection_time_us"] == 300_000)?;
    let before = session(&bed, "lb01", "uplink")?;
    vipd.sigstop()?;
    thread::sleep(Duration::from_secs(3));
    vipd.sigcont()?;
    thread::sleep(Duration::from_secs(1));
    let after = session(&bed, "lb01", "uplink")?;
    ensure!(after["state"] == "Up" && after["downs"] == before["downs"], "{before} {after}");
    ensure!(after["since_unix_ms"] == before["since_unix_ms"], "{before} {after}");
    // The control: without packets it is down.
    bed.lab.block("lb02", "lb01", Block::All)?;
    wait_diagnostic(&bed, &["uplink"], 1)
}

/// Over a restart, a kill and a replacement the session is the same one: same discriminator, Up all the time by the neighbor's account.
#[test]
fn a_session_outlives_the_daemon() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let conf = uplink("min_rx 100\nmin_tx 100\nmultiplier 255") + &node_conf(HIGH, "track_bfd {\nuplink\n}");
    let mut vipd = bed.start("lb01", &conf)?;
    let frr = frr_of_lb02(&bed, 255)?;
    wait_session(&bed, "uplink", "agreed", |session| session["detection_time_us"] == 25_500_000)?;
    bed.wait("lb01", "MASTER")?;
    let peer = frr.peer(LB01, false)?;
    let first = session(&bed, "lb01", "uplink")?;
    for how in ["restart", "kill", "replace"] {
        match how {
            "restart" => {
                bed.told("lb01", &["stop", "--for-restart"])?;
                vipd.wait(SOON)?;
            }
            "kill" => drop(vipd.kill9()?),
            _ => {}
        }
        if how == "replace" {
            let mut run = bed.lb01().vipd_run(&bed.vipd);
            run.arg("--replace");
            let log = bed.lb01().dir().join("replace.log");
            let next = Daemon::start("the next vipd", &mut run, &log)?;
            vipd.wait(SOON)?;
            vipd = next;
        } else {
            vipd = bed.restart("lb01")?;
        }
        bed.wait("lb01", "MASTER")?;
        let now = wait_session(&bed, "uplink", "Up", |session| session["state"] == "Up")?;
        for field in ["local_discriminator", "remote_discriminator"] {
            ensure!(now[field] == first[field], "{how}: {field}: {first} {now}");
        }
        // The state is that of the first vipd's session, and not one that was entered anew.
        let since = |session: &Value| session["since_unix_ms"].as_i64().context("it is a time");
        ensure!((since(&now)? - since(&first)?).abs() < 500, "{how}: {first} {now}");
        let after = frr.peer(LB01, false)?;
        ensure!(after["status"] == "up" && after["remote-id"] == peer["remote-id"], "{how}: {after}");
    }
    let counters = frr.counters()?;
    ensure!(counters[0]["session-down"] == 0, "{counters:?}");
    let changes = bed.events_named("lb01", "bfd_down")?;
    ensure!(changes.is_empty(), "{changes:?}");
    Ok(())
}

/// A reload leaves a session Up whose settings change, and ends one that is removed.
#[test]
fn a_reload_keeps_sessions() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let _vipd =
        bed.start("lb01", &(uplink("min_rx 200\nmin_tx 200\nmultiplier 50") + &node_conf(HIGH, "")))?;
    let frr = frr_of_lb02(&bed, 50)?;
    wait_session(&bed, "uplink", "agreed", |session| session["detection_time_us"] == 50 * 200_000)?;
    let before = session(&bed, "lb01", "uplink")?;
    bed.reloaded("lb01", &(uplink("min_rx 300\nmin_tx 150\nmultiplier 40") + &node_conf(HIGH, "")))?;
    let after = wait_session(&bed, "uplink", "agreed anew", |session| {
        session["detection_time_us"] == 50 * 300_000 && session["transmit_interval_us"] == 150_000
    })?;
    wait_for("bfdd to know the new intervals", SOON, || {
        frr.peer(LB01, false).is_ok_and(|peer| {
            peer["remote-receive-interval"] == 300 && peer["remote-detect-multiplier"] == 40
        })
    })?;
    ensure!(after["since_unix_ms"] == before["since_unix_ms"] && after["downs"] == 0, "{before} {after}");
    bed.reloaded("lb01", &node_conf(HIGH, ""))?;
    let peer = wait_frr(&frr, LB01, false, "down")?;
    ensure!(peer["remote-diagnostic"] == "administratively down", "{peer}");
    let status = bed.lb01().status(&bed.vipd)?;
    ensure!(status["bfd_sessions"] == Value::Array(Vec::new()), "{status}");
    Ok(())
}

/// Where the program is not attached a socket hears: lb02's `eth1` is none of an instance.
#[test]
fn a_session_on_another_interface_is_heard_by_a_socket() -> Result<()> {
    let Some(bed) = Bed::two_cables()? else { return Ok(()) };
    let conf =
        "bfd_instance uplink {\nneighbor_ip 10.9.0.6\nmin_rx 100\nmin_tx 1000\nmultiplier 30\n}\n".to_owned();
    let mut vipd = bed.start("lb01", &(conf + &node_conf(HIGH, "")))?;
    let mut frr = bed.lb02().start_frr_bfd(
        " peer 10.9.0.5 local-address 10.9.0.6 interface eth1\n  detect-multiplier 3\n  receive-interval 100\n  \
         transmit-interval 100\n  no shutdown\n exit\n",
    )?;
    let seen = wait_session(&bed, "uplink", "agreed", |session| session["detection_time_us"] == 300_000)?;
    ensure!(seen["hears_by"] == "socket" && seen["packets_received"].as_u64() > Some(0), "{seen}");
    vipd.sigstop()?;
    thread::sleep(Duration::from_secs(2));
    vipd.sigcont()?;
    thread::sleep(Duration::from_secs(1));
    let after = session(&bed, "lb01", "uplink")?;
    ensure!(after["state"] == "Up" && after["downs"] == 0, "{after}");
    // The kernel's stamps say when the packets came that are read late, and not when they are read.
    vipd.sigstop()?;
    thread::sleep(Duration::from_secs(1));
    frr.bfdd.kill9()?;
    let silent = Instant::now();
    thread::sleep(Duration::from_secs(3));
    vipd.sigcont()?;
    let down = wait_session(&bed, "uplink", "down", |session| session["state"] != "Up")?;
    let heard = Duration::from_millis(down["heard_ms_ago"].as_u64().context("it was heard")?);
    ensure!(
        heard >= Duration::from_secs(3) && heard <= silent.elapsed() + Duration::from_millis(500),
        "{down}"
    );
    Ok(())
}

/// A vipd that is back after the detection times of all its sessions finds their slots taken, and needs them.
#[test]
fn a_late_restart_has_room_for_every_session() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let names: Vec<String> = (0..200).map(|i| format!("host{i}")).collect();
    let one = |(i, name): (usize, &String)| {
        format!("bfd_instance {name} {{\nneighbor_ip 10.0.0.{}\npassive\n}}\n", 20 + i)
    };
    let sessions: String = names.iter().enumerate().map(one).collect();
    let tracked = "track_bfd {\nhost199\n}";
    let mut vipd = bed.start("lb01", &(sessions + &node_conf(HIGH, tracked)))?;
    for how in ["begun", "killed", "stopped for a restart"] {
        match how {
            "begun" => {}
            "killed" => {
                vipd.kill9()?;
                vipd = bed.restart("lb01")?;
            }
            _ => {
                bed.told("lb01", &["stop", "--for-restart"])?;
                vipd.wait(SOON)?;
                vipd = bed.restart("lb01")?;
            }
        }
        wait_for(format_args!("every session to run, {how}"), SOON, || {
            let status = bed.lb01().status(&bed.vipd);
            let runs = |session: &Value| session["problem"].is_null() && session["local_discriminator"] != 0;
            status.is_ok_and(|status| {
                let all = status["bfd_sessions"].as_array().cloned().unwrap_or_default();
                let seen: Vec<_> = all.iter().map(|session| session["name"].as_str().unwrap_or("")).collect();
                seen == names && all.iter().all(runs)
            })
        })?;
        bed.wait("lb01", "FAULT")?;
        let reason = bed.status("lb01")?["reason"].clone();
        ensure!(reason == "bfd session host199 is down (it has not been up yet)", "{how}: {reason}");
    }
    Ok(())
}

/// Neighbors with the same link-local address on two links: each session is of its link.
#[test]
fn link_local_neighbors_are_told_apart_by_their_links() -> Result<()> {
    let Some(bed) = Bed::two_lines()? else { return Ok(()) };
    for (node, address) in [(bed.lb01(), "fe80::b5/64"), (bed.lb02(), "fe80::b6/64")] {
        for interface in ["eth0", "eth1"] {
            node.exec(&["ip", "address", "add", address, "dev", interface, "nodad"])?;
        }
    }
    let session = |name: &str, interface: &str| {
        format!(
            "bfd_instance {name} {{\nneighbor_ip fe80::b6\nsource_ip fe80::b5\ninterface {interface}\nhoplimit 255\nmin_rx 100\nmin_tx 100\n\
             multiplier 20\n}}\n"
        )
    };
    let _vipd =
        bed.start("lb01", &(session("first", "eth0") + &session("second", "eth1") + &node_conf(HIGH, "")))?;
    let peer = |interface: &str| {
        format!(
            " peer fe80::b5 local-address fe80::b6 interface {interface}\n  detect-multiplier 20\n  receive-interval 100\n  \
             transmit-interval 100\n  no shutdown\n exit\n"
        )
    };
    let frr = bed.lb02().start_frr_bfd(&(peer("eth0") + &peer("eth1")))?;
    wait_up(&bed, &["first", "second"]).with_context(|| frr.bfdd.log())?;
    let [first, second] = ["first", "second"].map(|name| self::session(&bed, "lb01", name));
    let (first, second) = (first?, second?);
    ensure!(first["hears_by"] == "program" && second["hears_by"] == "socket", "{first} {second}");
    ensure!(first["remote_discriminator"] != second["remote_discriminator"], "{first} {second}");
    let shut = |interface: &str| format!("peer fe80::b5 local-address fe80::b6 interface {interface}");
    frr.vtysh(&["configure terminal", "bfd", &shut("eth1"), "shutdown"])?;
    wait_diagnostic(&bed, &["second"], 3)?;
    let first = self::session(&bed, "lb01", "first")?;
    ensure!(first["state"] == "Up" && first["downs"] == 0, "{first}");
    Ok(())
}

/// The priority of a node's last adverts.
fn priority(bed: &Bed, node: &Node) -> Option<u8> {
    let listener = bed.listener().ok()?;
    let address = IpAddr::V4(node.ip()?);
    thread::sleep(INTERVAL * 4);
    adverts(&listener).iter().rev().find(|heard| heard.from == address).map(|heard| heard.priority)
}

/// The same file in keepalived and in vipd: in FAULT before the session is up and when the neighbor is dead, not
/// when it has taken the session out of service; weights, and the reverse.
#[test]
fn a_tracked_session_does_what_it_does_in_keepalived() -> Result<()> {
    for line in [
        "peer",
        "peer weight 20",
        "peer weight -20",
        "peer weight 20 reverse",
        "peer weight -20 reverse",
        "peer weight 0 reverse",
    ] {
        let mut seen: Vec<Vec<Option<u8>>> = Vec::new();
        for is_vipd in [true, false] {
            let Some(bed) = Bed::new()? else { return Ok(()) };
            let session = "bfd_instance peer {\nneighbor_ip 10.0.0.6\nsource_ip 10.0.0.5\nmin_rx 100\nmin_tx 100\nmultiplier 20\n}\n";
            let conf = session.to_owned() + &node_conf(100, &format!("track_bfd {{\n{line}\n}}"));
            let _daemon =
                if is_vipd { bed.start("lb01", &conf)? } else { bed.lb01().start_keepalived_whole(&conf)? };
            let is_up = |wanted: bool| {
                wait_for(format_args!("the session to be up: {wanted}"), SOON, || {
                    let state = match is_vipd {
                        true => session_state(&bed),
                        false => bed.lb01().keepalived_session("peer"),
                    };
                    (state.as_deref() == Some("Up")) == wanted
                })
            };
            // Time for an election.
            thread::sleep(INTERVAL * 8);
            let mut priorities = vec![priority(&bed, bed.lb01())];
            let frr = frr_of_lb02(&bed, 20)?;
            is_up(true)?;
            thread::sleep(INTERVAL * 8);
            priorities.push(priority(&bed, bed.lb01()));
            // Out of service is no failure of the path.
            put_into_service(&frr, false)?;
            is_up(false)?;
            thread::sleep(INTERVAL * 8);
            priorities.push(priority(&bed, bed.lb01()));
            put_into_service(&frr, true)?;
            is_up(true)?;
            drop(frr);
            is_up(false)?;
            thread::sleep(INTERVAL * 8);
            priorities.push(priority(&bed, bed.lb01()));
            seen.push(priorities);
        }
        ensure!(seen[0] == seen[1], "{line}: vipd {:?}, keepalived {:?}", seen[0], seen[1]);
        let [before, up, out_of_service, dead] = seen[0][..] else { bail!("{seen:?}") };
        ensure!(before == dead && before != up && up == out_of_service, "{line}: {seen:?}");
    }
    Ok(())
}

fn session_state(bed: &Bed) -> Option<String> {
    session(bed, "lb01", "peer").ok()?["state"].as_str().map(str::to_owned)
}

/// An instance says which session keeps it in FAULT, and why the session is down.
#[test]
fn a_fault_names_the_session_and_its_diagnostic() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let conf = uplink("min_rx 100\nmin_tx 100\nmultiplier 20") + &node_conf(HIGH, "track_bfd {\nuplink\n}");
    let _vipd = bed.start("lb01", &conf)?;
    bed.wait("lb01", "FAULT")?;
    let status = bed.status("lb01")?;
    ensure!(status["reason"] == "bfd session uplink is down (it has not been up yet)", "{status}");
    let frr = frr_of_lb02(&bed, 20)?;
    bed.wait("lb01", "MASTER")?;
    drop(frr);
    bed.wait("lb01", "FAULT")?;
    let status = bed.status("lb01")?;
    ensure!(
        status["reason"] == "bfd session uplink is down (diagnostic 1: detection time expired)",
        "{status}"
    );
    let why = bed.told("lb01", &["explain", INSTANCE])?;
    ensure!(why.contains("bfd session uplink is down (diagnostic 1: detection time expired)"), "{why}");
    ensure!(why.contains("bfd session uplink is up"), "{why}");
    let shown = bed.told("lb01", &["status"])?;
    ensure!(shown.contains("bfd sessions") && shown.contains("uplink"), "{shown}");
    Ok(())
}

/// A group tracks a session for all of its members.
#[test]
fn a_sync_group_follows_a_session() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let second = node_conf(HIGH, "").replace(INSTANCE, "VI_2").replace("router_id 51", "router_id 52");
    let second = second
        .split_once("vrrp_instance")
        .context("it has an instance")?
        .1
        .replace(&VIP.to_string(), "10.0.0.33");
    let group =
        format!("vrrp_sync_group G {{\ngroup {{\n{INSTANCE}\nVI_2\n}}\ntrack_bfd {{\nuplink\n}}\n}}\n");
    let conf = uplink("min_rx 100\nmin_tx 100\nmultiplier 20")
        + &node_conf(HIGH, "")
        + "vrrp_instance"
        + &second
        + &group;
    let _vipd = bed.start("lb01", &conf)?;
    let both = |state: &str| {
        wait_for(format_args!("both to be {state}"), SOON, || {
            let of = |name: &str| bed.status_of("lb01", name).is_ok_and(|status| status["state"] == state);
            of(INSTANCE) && of("VI_2")
        })
        .with_context(|| format!("{:?}", bed.told("lb01", &["status"])))
    };
    both("FAULT")?;
    let frr = frr_of_lb02(&bed, 20)?;
    both("MASTER")?;
    // Out of service is no failure of the path.
    put_into_service(&frr, false)?;
    wait_session(&bed, "uplink", "down", |session| {
        session["state"] != "Up" && session["counts_as_up"] == true
    })?;
    both("MASTER")?;
    put_into_service(&frr, true)?;
    wait_up(&bed, &["uplink"])?;
    drop(frr);
    both("FAULT")?;
    let why = bed.told("lb01", &["explain", "VI_2"])?;
    ensure!(why.contains("bfd session uplink is down (diagnostic 1: detection time expired)"), "{why}");
    Ok(())
}

/// From the first packet to the last: one source port for each session, traffic class CS6, TTL 255, nothing malformed, and what RFC 5880 says.
#[test]
fn wireshark_decodes_what_vipd_sends() -> Result<()> {
    let Some(bed) = Bed::dual()? else { return Ok(()) };
    let file = bed.lab.dir().join("bfd.pcap");
    let mut tcpdump = bed.lb02().command("tcpdump");
    tcpdump.args(["-U", "-i", "eth0", "-w"]).arg(&file).args(["udp", "portrange", "3784-4784"]);
    let mut capture = Daemon::start("tcpdump", &mut tcpdump, &bed.lab.dir().join("tcpdump.log"))?;
    wait_for("tcpdump to listen", SOON, || capture.log().contains("listening on"))?;
    let _vipd = bed.start("lb01", &(sessions("") + &node_conf(HIGH, "")))?;
    let _frr = bed.lb02().start_frr_bfd(&frr_peers(""))?;
    wait_up(&bed, &NAMES)?;
    thread::sleep(Duration::from_secs(2));
    bed.lb01().stop_vipd(&bed.vipd)?;
    thread::sleep(Duration::from_secs(1));
    capture.sigterm()?;
    capture.wait(SOON)?;

    let fields = [
        "_ws.malformed",
        "_ws.expert",
        "udp.srcport",
        "udp.dstport",
        "ip.ttl",
        "ip.dsfield",
        "ipv6.hlim",
        "ipv6.tclass",
        "bfd.version",
        "bfd.message_length",
        "bfd.sta",
        "bfd.diag",
        "bfd.detect_time_multiplier",
        "bfd.flags.p",
        "bfd.flags.f",
        "bfd.my_discriminator",
    ];
    let mut tshark = std::process::Command::new("tshark");
    tshark.arg("-r").arg(&file).args(["-Y", &format!("ip.src == {LB01} or ipv6.src == {LB01_6}")]);
    tshark.args(["-T", "fields", "-E", "separator=,"]);
    fields.iter().for_each(|field| _ = tshark.args(["-e", field]));
    let out = String::from_utf8(tshark.output()?.stdout)?;
    let rows: Vec<Vec<&str>> = out.lines().map(|line| line.split(',').collect()).collect();
    let of = |row: &[&str], field: &str| {
        let at = fields.iter().position(|known| *known == field).unwrap_or_default();
        row.get(at).map(|text| (*text).to_owned()).unwrap_or_default()
    };
    ensure!(rows.len() > 20, "{out}");
    let mut ports = std::collections::BTreeMap::<String, std::collections::BTreeSet<String>>::new();
    for row in &rows {
        let text = |field| of(row, field);
        ensure!(text("_ws.malformed").is_empty(), "{row:?}");
        let (ttl, class) = (text("ip.ttl") + &text("ipv6.hlim"), text("ip.dsfield") + &text("ipv6.tclass"));
        ensure!(ttl == "255" && class.ends_with("c0"), "{ttl} {class} {row:?}");
        ensure!(text("bfd.version") == "1" && text("bfd.message_length") == "24", "{row:?}");
        ensure!(text("udp.srcport").parse::<u16>()? >= 49_152, "{row:?}");
        ports.entry(text("bfd.my_discriminator")).or_default().insert(text("udp.srcport"));
    }
    ensure!(ports.len() == NAMES.len() && ports.values().all(|ports| ports.len() == 1), "{ports:?}");
    let all: std::collections::BTreeSet<_> = ports.values().flatten().collect();
    ensure!(all.len() == NAMES.len(), "a port of its own for each session: {ports:?}");
    // AdminDown, and why: more than once, since one may be lost.
    let last = |row: &&Vec<&str>| of(row, "bfd.sta").ends_with('0') && of(row, "bfd.diag").ends_with('7');
    for discriminator in ports.keys() {
        let farewells =
            rows.iter().filter(last).filter(|row| of(row, "bfd.my_discriminator") == *discriminator);
        let count = farewells.count();
        ensure!((2..=3).contains(&count), "{count} of {discriminator}: {out}");
    }
    Ok(())
}

/// Sessions of 3 x 10 ms between vipd, bfdd and keepalived, each with each, for a minute: who takes whom for dead.
#[test]
#[ignore = "a measurement: its figures are those of the machine"]
fn false_alarms_at_three_times_ten_ms() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let client: IpAddr = bed.client().ip().context("it has an address")?.into();
    let session = |name: &str, neighbor: IpAddr, source: IpAddr| {
        format!(
            "bfd_instance {name} {{\nneighbor_ip {neighbor}\nsource_ip {source}\nmin_rx 10\nmin_tx 10\nmultiplier 3\n}}\n"
        )
    };
    let ours = session("frr", LB02, LB01) + &session("keepalived", client, LB01);
    let theirs = session("frr", LB02, client) + &session("vipd", LB01, client);
    let peer = |address: IpAddr| {
        format!(
            " peer {address} local-address {LB02} interface eth0\n  detect-multiplier 3\n  receive-interval 10\n  transmit-interval 10\n  \
             no shutdown\n exit\n"
        )
    };
    let _vipd = bed.start("lb01", &(ours + &node_conf(HIGH, "")))?;
    let frr = bed.lb02().start_frr_bfd(&(peer(LB01) + &peer(client)))?;
    let keepalived = bed.client().start_keepalived_whole(&(theirs + &node_conf(LOW, "")))?;
    wait_up(&bed, &["frr", "keepalived"])?;
    let load = || std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!("load before: {}", load());
    thread::sleep(Duration::from_secs(60));
    println!("load after: {}", load());
    for name in ["frr", "keepalived"] {
        let events = bed.events_named("lb01", "bfd_down")?;
        let of = |diagnostic: u64| {
            let is = |event: &&Value| {
                event["fields"]["session"] == name && event["fields"]["diagnostic"] == diagnostic
            };
            events.iter().filter(is).count()
        };
        println!("vipd, session with {name}: expired {}, signaled by it {}", of(1), of(3));
    }
    for counters in frr.counters()? {
        println!("bfdd, session with {}: down {}", counters["peer"], counters["session-down"]);
    }
    let log = keepalived.log();
    for name in ["frr", "vipd"] {
        let lines =
            |text: &str| log.lines().filter(|line| line.contains(&format!("({name}) {text}"))).count();
        println!(
            "keepalived, session with {name}: expired {}, down {}",
            lines("Expired"),
            lines("Entering Down")
        );
    }
    Ok(())
}
