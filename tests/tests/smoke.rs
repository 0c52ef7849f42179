//! What a kernel has to be able to do: every part of vipd that depends on it, once. `cargo xtask guest` runs this file
//! on the kernels that are supported.
//!
//! A guest without hardware virtualisation is slow, so nothing here depends on how long anything takes: adverts are
//! seconds apart, and every wait ends with what it waits for.

#![allow(clippy::disallowed_methods, reason = "tests measure")]

mod support;

use std::{
    io::{ErrorKind, Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{JoinHandle, sleep},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use support::{host_state::HostState, *};
use vipd_tests::{
    Mac, Netns, Node,
    probe::{NeighbourProber, neighbour::Probe},
    wait_for,
};

const VIP6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 3);
const VIP_LINK_LOCAL: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 3);
/// Comes with a reload.
const LATER_VIP: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 4);
const VIRTUAL_V4: Mac = Mac([0, 0, 0x5e, 0, 1, 51]);
const VIRTUAL_V6: Mac = Mac([0, 0, 0x5e, 0, 2, 51]);
/// Both families, one virtual router each.
const INSTANCES: [&str; 2] = ["VI_1", "VI_6"];
/// Between two rounds of questions.
const ASK: Duration = Duration::from_millis(200);
/// Questions for each VIP that have to be answered as they should.
const QUESTIONS: usize = 5;
/// Where the service on the VIPs listens.
const PORT: u16 = 7000;

/// A node's configuration; `extra` is put into both instances, `vips` are IPv4 VIPs beside [`VIP`].
fn dual(priority: u8, advert_int: &str, extra: &str, vips: &[Ipv4Addr]) -> String {
    let vips: Vec<String> = [VIP].iter().chain(vips).map(Ipv4Addr::to_string).collect();
    let instance = |name: &str, vips: &str| {
        format!(
            "vrrp_instance {name} {{\n state BACKUP\n interface eth0\n virtual_router_id 51\n priority {priority}\n \
             advert_int {advert_int}\n {extra}\n virtual_ipaddress {{\n {vips}\n }}\n}}\n"
        )
    };
    format!(
        "global_defs {{\n vrrp_version 3\n}}\n{}{}",
        instance(INSTANCES[0], &vips.join("\n ")),
        instance(INSTANCES[1], &format!("{VIP_LINK_LOCAL}\n {VIP6}/64"))
    )
}

fn one_second(priority: u8) -> String {
    dual(priority, "1", "", &[])
}

/// Waits until both instances are in these states.
fn wait_states(bed: &Bed, lb01: &str, lb02: &str) -> Result<()> {
    for (node, state) in [(bed.lb01(), lb01), (bed.lb02(), lb02)] {
        for instance in INSTANCES {
            node.wait_state(&bed.vipd, instance, state, SOON)?;
        }
    }
    Ok(())
}

/// The VIPs of both families with the MAC of a node.
fn owned_by(node: &Node) -> Vec<(IpAddr, Mac)> {
    [VIP.into(), VIP_LINK_LOCAL.into(), VIP6.into()].map(|vip| (vip, node.mac())).into()
}

/// Asks for every VIP by ARP and by neighbour solicitation, all the time.
///
/// One for each test: the answers to two of them could not be told apart.
fn ask(bed: &Bed) -> Result<NeighbourProber> {
    let vips: [IpAddr; 4] = [VIP.into(), LATER_VIP.into(), VIP_LINK_LOCAL.into(), VIP6.into()];
    NeighbourProber::start(bed.client().ns(), "eth0", &vips, ASK)
}

/// From now on each question for these VIPs has one answer, with the MAC expected.
fn check_answered_once(prober: &NeighbourProber, expect: &[(IpAddr, Mac)]) -> Result<()> {
    let now = Instant::now();
    let asked = |vip: IpAddr| prober.timeline().into_iter().filter(move |p| p.target == vip && p.sent >= now);
    for &(vip, mac) in expect {
        wait_for(format_args!("{QUESTIONS} answers for {vip}"), SOON, || {
            asked(vip).filter(|probe| !probe.answers.is_empty()).count() >= QUESTIONS
        })?;
        for probe in asked(vip).filter(|probe| !probe.answers.is_empty()) {
            let macs = answering(&probe);
            ensure!(macs == [mac], "{vip} was answered with {macs:?} instead of {mac}");
        }
    }
    Ok(())
}

/// The station of each answer to a question.
fn answering(probe: &Probe) -> Vec<Mac> {
    probe.answers.iter().map(|answer| answer.mac).collect()
}

/// A TCP service on all addresses of a node, which says the node's name.
struct Service {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Service {
    fn start(node: &Node) -> Result<Self> {
        let listener = node.ns().run(|| TcpListener::bind((Ipv6Addr::UNSPECIFIED, PORT)))??;
        listener.set_nonblocking(true)?;
        let stop = Arc::new(AtomicBool::new(false));
        let (name, stopped) = (node.name().to_owned(), stop.clone());
        let serve = move || {
            while !stopped.load(Ordering::Relaxed) {
                match listener.accept() {
                    // Who gives up early is no fault of the service.
                    Ok((mut stream, _)) => drop(stream.write_all(name.as_bytes())),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => sleep(Duration::from_millis(20)),
                    Err(_) => return,
                }
            }
        };
        Ok(Self { stop, thread: Some(node.ns().spawn("service", serve)?) })
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Whom a client reaches at a VIP.
fn reached(client: &Netns, vip: IpAddr) -> Result<String> {
    client.run(|| {
        let mut stream = TcpStream::connect_timeout(&SocketAddr::new(vip, PORT), Duration::from_secs(5))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        let mut name = String::new();
        stream.read_to_string(&mut name)?;
        Ok(name)
    })?
}

/// Waits until the client, and the other node, reach a node at the VIPs of both families.
fn wait_reached(bed: &Bed, from: &[&Node], node: &str) -> Result<()> {
    for from in from {
        for vip in [VIP.into(), VIP6.into()] {
            let what = format!("{} to reach {node} at {vip}", from.name());
            wait_for(what, SOON, || reached(from.ns(), vip).is_ok_and(|name| name == node))
                .with_context(|| format!("{:?}", reached(bed.client().ns(), vip)))?;
        }
    }
    Ok(())
}

/// What a NIC is told to receive: multicast groups and virtual MACs.
fn filters(node: &Node) -> Result<String> {
    node.exec(&["bridge", "fdb", "show", "dev", "eth0"])
}

/// Start, election, ARP, ND, traffic, a reload, a stop that hands over, a stop that leaves the host as it was.
#[test]
fn a_pair_is_elected_serves_reloads_and_leaves_nothing() -> Result<()> {
    let Some(bed) = Bed::dual()? else { return Ok(()) };
    let before = [HostState::of(bed.lb01())?, HostState::of(bed.lb02())?];
    let filters_before = filters(bed.lb02())?;
    let mut pair = pair_in(bed, &one_second(HIGH), &one_second(LOW))?;
    let bed = &pair.bed;
    wait_states(bed, "MASTER", "BACKUP")?;
    for node in [bed.lb01(), bed.lb02()] {
        ensure!(bed.status(node.name())?["xdp_mode"] == "native", "{}", bed.status(node.name())?);
        ensure!(
            HostState::of(node)?.xdp.is_some() && pins(node).join("LEASES").exists(),
            "nothing is attached"
        );
    }
    let prober = ask(bed)?;
    check_answered_once(&prober, &owned_by(bed.lb01()))?;
    let _services = [Service::start(bed.lb01())?, Service::start(bed.lb02())?];
    wait_reached(bed, &[bed.client(), bed.lb02(), bed.lb01()], "lb01")?;

    for (node, priority) in [("lb02", LOW), ("lb01", HIGH)] {
        bed.reloaded(node, &dual(priority, "1", "", &[LATER_VIP]))?;
    }
    check_answered_once(&prober, &[(LATER_VIP.into(), bed.lb01().mac()), (VIP.into(), bed.lb01().mac())])?;
    wait_states(bed, "MASTER", "BACKUP")?;

    let listener = bed.listener()?;
    bed.told("lb01", &["stop"])?;
    let status = pair.lb01.wait(SOON)?;
    ensure!(status.success(), "{status}: {}", pair.lb01.log());
    ensure!(
        adverts(&listener).iter().any(|heard| heard.from == LB01 && heard.priority == 0),
        "no goodbye was said"
    );
    for instance in INSTANCES {
        bed.lb02().wait_state(&bed.vipd, instance, "MASTER", SOON)?;
    }
    check_answered_once(&prober, &owned_by(bed.lb02()))?;
    wait_reached(bed, &[bed.client(), bed.lb01()], "lb02")?;

    bed.told("lb02", &["stop"])?;
    let status = pair.lb02.wait(SOON)?;
    ensure!(status.success(), "{status}: {}", pair.lb02.log());
    for (node, before) in [bed.lb01(), bed.lb02()].into_iter().zip(before) {
        let after = HostState::of(node)?;
        ensure!(after == before, "{}: {after:#?} instead of {before:#?}", node.name());
        ensure!(!pins(node).exists(), "pins were left on {}", node.name());
    }
    wait_for("the NIC's filters to be as before", SOON, || {
        filters(bed.lb02()).is_ok_and(|now| now == filters_before)
    })
    .with_context(|| format!("{:?} instead of {filters_before:?}", filters(bed.lb02())))?;
    Ok(())
}

/// I1, I2: a master whose daemon is dead, or frozen, is silenced by its successor's adverts; both come back by preemption.
#[test]
fn a_killed_and_a_frozen_master_are_replaced_and_come_back() -> Result<()> {
    let Some(bed) = Bed::dual()? else { return Ok(()) };
    let mut pair = pair_in(bed, &one_second(HIGH), &one_second(LOW))?;
    let bed = &pair.bed;
    wait_states(bed, "MASTER", "BACKUP")?;
    let prober = ask(bed)?;
    let moved = || -> Result<()> {
        for instance in INSTANCES {
            bed.lb02().wait_state(&bed.vipd, instance, "MASTER", SOON)?;
        }
        check_answered_once(&prober, &owned_by(bed.lb02()))
    };
    let moved_back = || -> Result<()> {
        wait_states(bed, "MASTER", "BACKUP")?;
        check_answered_once(&prober, &owned_by(bed.lb01()))
    };

    pair.lb01.kill9()?;
    moved().context("killed")?;
    pair.lb01 = bed.restart("lb01")?;
    moved_back().context("restarted")?;
    pair.lb01.sigstop()?;
    moved().context("frozen")?;
    pair.lb01.sigcont()?;
    moved_back().context("thawed")?;

    // Two stations may answer one question that is asked while a takeover's advert is on its way.
    let together = prober.owners_seen_twice();
    let probes = prober.stop()?;
    let overlaps = probes.iter().filter(|probe| probe.answers.len() > 1);
    let overlaps: Vec<_> = overlaps.map(|probe| (probe.id, probe.target, answering(probe))).collect();
    ensure!(together <= 1, "two stations answered one question after another: {overlaps:?}");
    Ok(())
}

/// A restart within the lease, after `stop --for-restart` and after a kill: the lease is adopted from the maps that are
/// pinned, the program is replaced in its link, and neither the peer nor a client sees a thing.
#[test]
fn a_restart_changes_nothing() -> Result<()> {
    let Some(bed) = Bed::dual()? else { return Ok(()) };
    let mut pair = pair_in(bed, &one_second(HIGH), &one_second(LOW))?;
    let bed = &pair.bed;
    wait_states(bed, "MASTER", "BACKUP")?;
    let listener = bed.listener()?;
    // Elected in three seconds, and from here on with a lease of 40, within which the slowest guest restarts vipd.
    for (node, priority) in [("lb02", LOW), ("lb01", HIGH)] {
        bed.reloaded(node, &dual(priority, "10", "", &[]))?;
    }
    let lb01 = [LB01, bed.lb01().link_local().into()];
    let reloaded = Instant::now();
    lb01.iter().try_for_each(|address| wait_advert(&listener, *address, reloaded).map(drop))?;
    let prober = ask(bed)?;
    let begin = Instant::now();
    let peer_before = bed.status("lb02")?;
    for way in ["stop --for-restart", "kill -9"] {
        if way == "kill -9" {
            wait_advert(&listener, LB01, Instant::now())?;
            pair.lb01.kill9()?;
        } else {
            bed.told("lb01", &["stop", "--for-restart"])?;
            let status = pair.lb01.wait(SOON)?;
            ensure!(status.success(), "{way}: {status}: {}", pair.lb01.log());
        }
        pair.lb01 = bed.restart("lb01")?;
        bed.lb01().wait_ready(&bed.vipd, SOON)?;
        wait_states(bed, "MASTER", "BACKUP")?;
    }
    let end = Instant::now();
    let probes = prober.stop()?;
    let served: Vec<_> = probes.into_iter().filter(|probe| probe.target != LATER_VIP).collect();
    check_answered("while vipd was restarted", &served, begin, end - ASK)?;
    let others = served.iter().find(|probe| answering(probe).iter().any(|mac| *mac != bed.lb01().mac()));
    ensure!(others.is_none(), "another node answered: {others:?}");
    let others =
        adverts(&listener).into_iter().filter(|heard| !lb01.contains(&heard.from) || heard.priority != HIGH);
    let others: Vec<_> = others.collect();
    ensure!(others.is_empty(), "another node advertised, or a goodbye was said: {others:?}");
    let peer = bed.status("lb02")?;
    for field in ["state", "since_unix_ms", "became_master"] {
        ensure!(peer[field] == peer_before[field], "the peer saw a transition: {peer_before} then {peer}");
    }
    Ok(())
}

/// The virtual router's own MAC, in a sync group whose members move together.
#[test]
fn virtual_macs_move_with_their_sync_group() -> Result<()> {
    let conf = |priority| {
        let group = format!("vrrp_sync_group G {{\n group {{\n {}\n }}\n}}\n", INSTANCES.join("\n "));
        group + &dual(priority, "1", "use_vmac", &[])
    };
    let Some(bed) = Bed::dual()? else { return Ok(()) };
    let before = HostState::of(bed.lb01())?;
    let filters_before = filters(bed.lb01())?;
    let mut pair = pair_in(bed, &conf(HIGH), &conf(LOW))?;
    let bed = &pair.bed;
    wait_states(bed, "MASTER", "BACKUP")?;
    let answers = [(VIP.into(), VIRTUAL_V4), (VIP_LINK_LOCAL.into(), VIRTUAL_V6), (VIP6.into(), VIRTUAL_V6)];
    let prober = ask(bed)?;
    check_answered_once(&prober, &answers)?;
    let _services = [Service::start(bed.lb01())?, Service::start(bed.lb02())?];
    wait_reached(bed, &[bed.client()], "lb01")?;

    bed.told("lb01", &["stop"])?;
    let status = pair.lb01.wait(SOON)?;
    ensure!(status.success(), "{status}: {}", pair.lb01.log());
    for instance in INSTANCES {
        bed.lb02().wait_state(&bed.vipd, instance, "MASTER", SOON)?;
    }
    check_answered_once(&prober, &answers)?;
    wait_reached(bed, &[bed.client()], "lb02")?;
    let after = HostState::of(bed.lb01())?;
    ensure!(after == before, "{after:#?} instead of {before:#?}");
    ensure!(!pins(bed.lb01()).exists(), "pins were left");
    wait_for("the NIC's filters to be as before", SOON, || {
        filters(bed.lb01()).is_ok_and(|now| now == filters_before)
    })
    .with_context(|| format!("{:?} instead of {filters_before:?}", filters(bed.lb01())))?;
    Ok(())
}
