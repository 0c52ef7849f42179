//! Load balancing by the kernel's IPVS: a pair of directors that share the VIP and the servers' gateway, servers that fail and come back, a
//! reload, a crash, a stop. Debian's kernels have IPVS: `cargo xtask guest --kernel debian-12 balancing`.

#![allow(clippy::disallowed_methods, reason = "tests measure")]

mod support;

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use support::{
    directors::{Directors, ONE, SERVICE, SORRY, TWO, conf_of, web},
    web::{ask, is_loadable, table},
    *,
};
use vipd_tests::{Daemon, wait_for};

/// A server that stops is taken out and comes back; without any the sorry server serves; a reload touches nothing; a drained server gets no
/// new connections; a stop leaves nothing.
#[test]
fn servers_come_and_go() -> Result<()> {
    let Some(mut directors) = Directors::new()? else { return Ok(()) };
    let mut pair = directors.start_pair(&web(&["web1", "web2"]))?;
    for node in ["lb01", "lb02"] {
        directors.wait_table(directors.lab().node(node), &[ONE, TWO])?;
    }
    directors.wait_reached(&["web1", "web2"])?;

    directors.serve("web1", false)?;
    for node in ["lb01", "lb02"] {
        directors.wait_table(directors.lab().node(node), &[TWO])?;
    }
    directors.wait_reached(&["web2"])?;
    let told = directors.bed.told("lb01", &["services"])?;
    ensure!(
        told.contains("10.1.0.11:80  NAT     -       down") && told.contains("connection refused"),
        "{told}"
    );
    let down = directors.balancing("lb01")?["services"][0]["servers"][0].clone();
    ensure!(down["state"] == "down" && down["weight"].is_null(), "{down}");

    directors.serve("web2", false)?;
    directors.wait_table(directors.bed.lb01(), &[SORRY])?;
    directors.wait_reached(&["sorry"])?;
    directors.serve("web1", true)?;
    directors.serve("web2", true)?;
    directors.wait_table(directors.bed.lb01(), &[ONE, TWO])?;
    directors.wait_reached(&["web1", "web2"])?;

    // A service that was made anew would count from 0.
    let connections = || -> Result<u64> {
        let status = directors.balancing("lb01")?;
        status["services"][0]["traffic"]["connections"].as_u64().context("no count")
    };
    let before = connections()?;
    ensure!(before >= 8, "only {before} connections were counted");
    directors.bed.reloaded("lb01", &(conf_of(150, &web(&["web1", "web2"])) + "# a comment\n"))?;
    ensure!(connections()? >= before, "the reload has made the service anew");
    directors.wait_table(directors.bed.lb01(), &[ONE, TWO])?;

    let said = directors.bed.told("lb01", &["drain-server", SERVICE, "10.1.0.11:80"])?;
    ensure!(said.contains("gets no new connections"), "{said}");
    ensure!(directors.reached(4)? == ["web2".to_owned()].into(), "a drained server has got a connection");
    directors.bed.told("lb01", &["undrain-server", SERVICE, "10.1.0.11:80"])?;
    directors.wait_reached(&["web1", "web2"])?;

    for (at, node) in ["lb01", "lb02"].into_iter().enumerate() {
        directors.bed.told(node, &["stop"])?;
        let status = pair[at].wait(SOON)?;
        ensure!(status.success(), "{status}: {}", pair[at].log());
        ensure!(table(directors.lab().node(node))?.is_empty(), "services are left on {node}");
    }
    Ok(())
}

/// A server is served while the BFD session with it is up.
#[test]
fn a_session_of_bfd_is_a_check_of_a_server() -> Result<()> {
    let Some(directors) = Directors::new()? else { return Ok(()) };
    let session = "bfd_instance web1 {\n neighbor_ip 10.1.0.11\n min_rx 100\n min_tx 100\n multiplier 20\n checker\n}\n";
    let service = "virtual_server 10.0.0.3 80 {\n lb_algo rr\n lb_kind NAT\n protocol TCP\n sorry_server 10.1.0.13 80\n \
                   real_server 10.1.0.11 80 {\n  BFD_CHECK {\n   name web1\n  }\n }\n}\n";
    let _vipd = directors.bed.start("lb01", &conf_of(150, &(session.to_owned() + service)))?;
    directors.bed.wait("lb01", "MASTER")?;
    // One that has not been up yet is down.
    directors.wait_table(directors.bed.lb01(), &[SORRY])?;
    let frr = directors.lab().node("web1").start_frr_bfd(
        " peer 10.1.0.5 local-address 10.1.0.11 interface eth1\n  detect-multiplier 20\n  receive-interval 100\n  transmit-interval 100\n  \
         no shutdown\n exit\n",
    )?;
    directors.wait_table(directors.bed.lb01(), &[ONE]).with_context(|| frr.bfdd.log())?;
    directors.wait_reached(&["web1"])?;
    drop(frr);
    directors.wait_table(directors.bed.lb01(), &[SORRY])?;
    let down = directors.balancing("lb01")?["services"][0]["servers"][0].clone();
    ensure!(down.to_string().contains("diagnostic 1: detection time expired"), "{down}");
    Ok(())
}

/// A director that is killed is replaced, with the servers' gateway; one that starts again takes over what the killed one has left, and
/// removes what is not configured any more; `vipd cleanup` removes the rest. A backup forwards nothing, though its table is full.
#[test]
fn a_director_that_dies_is_replaced_and_takes_its_table_over() -> Result<()> {
    let Some(mut directors) = Directors::new()? else { return Ok(()) };
    let mut pair = directors.start_pair(&web(&["web1", "web2"]))?;
    directors.wait_reached(&["web1", "web2"])?;

    // What is sent to the backup's MAC is not forwarded by it.
    let mac = directors.bed.lb02().mac().to_string();
    let client = |words: &[&str]| directors.bed.client().exec(&[&["ip", "neigh"], words].concat());
    client(&["replace", "10.0.0.3", "lladdr", &mac, "dev", "eth0", "nud", "permanent"])?;
    let to: SocketAddr = SERVICE.parse()?;
    let answered = ask(directors.bed.client(), to, Duration::from_secs(3))?;
    ensure!(answered.is_none(), "the backup has served: {answered:?}");
    client(&["del", "10.0.0.3", "dev", "eth0"])?;
    let counted = directors.balancing("lb02")?["services"][0]["traffic"]["connections"].clone();
    ensure!(counted == 0, "the backup has scheduled {counted}");

    let killed = pair[0].kill9()?;
    directors.bed.wait("lb02", "MASTER")?;
    println!("the backup is master {:?} after the crash", killed.elapsed());
    directors.wait_reached(&["web1", "web2"])?;

    // The killed one's table stands, with a server that has died since, and one that is not configured any more.
    ensure!(table(directors.bed.lb01())?.len() == 3, "a crash has removed services");
    directors.serve("web1", false)?;
    let began = Instant::now();
    pair[0] = directors.bed.start("lb01", &conf_of(150, &web(&["web1"])))?;
    directors.wait_table(directors.bed.lb01(), &[SORRY])?;
    println!("the table is right {:?} after the start", began.elapsed());
    directors.serve("web1", true)?;
    directors.wait_table(directors.bed.lb01(), &[ONE])?;

    pair[0].kill9()?;
    directors.serve("web1", false)?;
    let pins = directors.bed.lb01().bpffs_dir().display().to_string();
    let left = directors.bed.told("lb01", &["cleanup", "--bpffs-dir", &pins, "--dry-run"])?;
    ensure!(left.contains("IPVS service TCP 10.0.0.3:80"), "{left}");
    directors.bed.told("lb01", &["cleanup", "--bpffs-dir", &pins])?;
    ensure!(table(directors.bed.lb01())?.is_empty(), "cleanup has left {:?}", table(directors.bed.lb01())?);
    Ok(())
}

/// A verdict survives a restart: a server that is known to be dead never gets a connection, though it has no `alpha`.
#[test]
fn a_restart_keeps_verdicts() -> Result<()> {
    let Some(mut directors) = Directors::new()? else { return Ok(()) };
    directors.serve("web1", false)?;
    // So long a first wait that no check runs after the restart.
    let slow = |warmup: &str| {
        web(&["web1", "web2"]).replace("delay_loop 1\n", &format!("delay_loop 1\n warmup {warmup}\n"))
    };
    let mut daemon = directors.bed.start("lb01", &conf_of(150, &slow("0")))?;
    directors.bed.wait("lb01", "MASTER")?;
    directors.wait_table(directors.bed.lb01(), &[TWO])?;
    directors.bed.told("lb01", &["stop", "--for-restart"])?;
    daemon.wait(SOON)?;
    directors.wait_table(directors.bed.lb01(), &[TWO])?;
    let _daemon = directors.bed.start("lb01", &conf_of(150, &slow("3600")))?;
    directors.bed.wait("lb01", "MASTER")?;
    let down = || -> Result<Value> { Ok(directors.balancing("lb01")?["services"][0]["servers"][0].clone()) };
    wait_for("the services", SOON, || down().is_ok_and(|down| !down.is_null()))?;
    ensure!(down()?["state"] == "down", "{}", down()?);
    directors.wait_table(directors.bed.lb01(), &[TWO])?;
    directors.wait_reached(&["web2"])
}

/// With `mh` both nodes have `sloppy_tcp`, and each runs the sync daemon of its role; a stop puts all of it back.
#[test]
fn connections_are_prepared_for_a_failover() -> Result<()> {
    let Some(directors) = Directors::new()? else { return Ok(()) };
    let services = web(&["web1", "web2"]).replace("lb_algo rr", "lb_algo mh\n mh-port");
    let services = services + "global_defs {\n lvs_sync_daemon eth1 VI_1\n lvs_timeouts tcp 600\n}\n";
    let sloppy = |node: &str| -> Result<String> {
        let text = directors.lab().node(node).exec(&["cat", "/proc/sys/net/ipv4/vs/sloppy_tcp"])?;
        Ok(text.trim().to_owned())
    };
    ensure!(sloppy("lb01")? == "0", "it is set before vipd has started");
    let mut pair = directors.start_pair(&services)?;
    let runs = |node: &str, role: &str| -> Result<()> {
        let expect = Value::from(vec![format!("{role} on eth1")]);
        let is_so = || directors.balancing(node).is_ok_and(|balancing| balancing["sync_daemons"] == expect);
        wait_for(format_args!("{expect} on {node}"), SOON, is_so)
            .with_context(|| format!("{:?}", directors.balancing(node)))?;
        Ok(())
    };
    runs("lb01", "master")?;
    runs("lb02", "backup")?;
    for node in ["lb01", "lb02"] {
        wait_for("sloppy_tcp", SOON, || sloppy(node).is_ok_and(|value| value == "1"))?;
    }
    directors.bed.told("lb01", &["handover", INSTANCE])?;
    runs("lb02", "master")?;
    runs("lb01", "backup")?;
    for (at, node) in ["lb01", "lb02"].into_iter().enumerate() {
        directors.bed.told(node, &["stop"])?;
        pair[at].wait(SOON)?;
        ensure!(sloppy(node)? == "0", "sloppy_tcp is left on {node}");
    }
    Ok(())
}

/// On a kernel without IPVS a configuration with services is refused with what to do, and the rest is served if the operator says so.
#[test]
fn without_ipvs_services_are_refused_and_the_rest_is_served() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    if is_loadable() {
        vipd_tests::skip("this kernel has IPVS");
        return Ok(());
    }
    let conf = node_conf(HIGH, "") + &web(&["web1"]);
    let node = bed.lb01();
    node.write_vipd_conf(&conf)?;
    let mut refused = node.start_vipd(&bed.vipd)?;
    let status = refused.wait(SOON)?;
    let log = refused.log();
    ensure!(
        !status.success()
            && log.contains("modprobe ip_vs")
            && log.contains("--allow-unsupported=virtual_server"),
        "{log}"
    );
    let mut command = node.vipd_run(&bed.vipd);
    command.arg("--allow-unsupported=virtual_server");
    let _daemon = Daemon::start("vipd on lb01", &mut command, &node.vipd_log())?;
    bed.wait("lb01", "MASTER")?;
    let problem = node.status(&bed.vipd)?["balancing"]["problem"].clone();
    ensure!(problem.as_str().is_some_and(|problem| problem.contains("no IPVS")), "{problem}");
    ensure!(bed.told("lb01", &["services"])?.contains("no IPVS"), "vipd services does not say why");
    // A reload that brings services is refused too where nobody has said so.
    bed.told("lb01", &["stop"])?;
    let _plain = bed.start("lb01", &node_conf(HIGH, ""))?;
    let reloaded = bed.reload("lb01", &conf)?;
    let said = String::from_utf8_lossy(&reloaded.stderr).into_owned();
    ensure!(!reloaded.status.success() && said.contains("modprobe ip_vs"), "{said}");
    bed.wait("lb01", "MASTER")
}
