//! A pair that serves a VIP of each family, and a client that asks for them and reaches them: what smoke tests and the
//! interface matrix have in common.
//!
//! Nothing here depends on how long anything takes: adverts are a second apart, and every wait ends with what it waits for.

#![allow(clippy::disallowed_methods, reason = "tests measure")]

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
use vipd_tests::{
    Mac, Netns, Node,
    probe::{NeighbourProber, neighbour::Probe},
    wait_for,
};

use super::{Bed, HIGH, LOW, Pair, SOON, VIP};

pub const VIP6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 3);
pub const VIP_LINK_LOCAL: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 3);
/// Comes with a reload.
pub const LATER_VIP: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 4);
pub const VIRTUAL_V4: Mac = Mac([0, 0, 0x5e, 0, 1, 51]);
pub const VIRTUAL_V6: Mac = Mac([0, 0, 0x5e, 0, 2, 51]);
/// Both families, one virtual router each.
pub const INSTANCES: [&str; 2] = ["VI_1", "VI_6"];
/// Between two rounds of questions.
pub const ASK: Duration = Duration::from_millis(200);
/// Questions for each VIP that have to be answered as they should.
pub const QUESTIONS: usize = 5;
/// Where the service on the VIPs listens.
pub const PORT: u16 = 7000;

/// A node's configuration; `extra` is put into both instances, `vips` are IPv4 VIPs beside [`VIP`].
pub fn dual(priority: u8, advert_int: &str, extra: &str, vips: &[Ipv4Addr]) -> String {
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

pub fn one_second(priority: u8) -> String {
    dual(priority, "1", "", &[])
}

/// Starts vipd on both nodes and waits for the election.
pub fn start_pair(bed: Bed, conf: impl Fn(u8) -> String) -> Result<Pair> {
    let pair = Pair { lb01: bed.start("lb01", &conf(HIGH))?, lb02: bed.start("lb02", &conf(LOW))?, bed };
    wait_elected(&pair.bed)?;
    Ok(pair)
}

/// Waits until lb01 is master, and lb02 backup, of both instances.
pub fn wait_elected(bed: &Bed) -> Result<()> {
    wait_state(bed, bed.lb01(), "MASTER")?;
    wait_state(bed, bed.lb02(), "BACKUP")
}

/// Waits until both instances of a node are in a state.
pub fn wait_state(bed: &Bed, node: &Node, state: &str) -> Result<()> {
    let all = || -> Result<bool> {
        let status = node.status(&bed.vipd)?;
        let instances = status["instances"].as_array().context("no instances")?;
        Ok(instances.len() == INSTANCES.len() && instances.iter().all(|i| i["state"] == state))
    };
    let what = format!("both instances of {} to be {state}", node.name());
    wait_for(what, SOON, || all().is_ok_and(|all| all)).map(drop)
}

/// The VIPs of both families with the MAC of a node.
pub fn owned_by(node: &Node) -> Vec<(IpAddr, Mac)> {
    [VIP.into(), VIP_LINK_LOCAL.into(), VIP6.into()].map(|vip| (vip, node.mac())).into()
}

/// Asks for every VIP by ARP and by neighbour solicitation, all the time.
///
/// One for each test: the answers to two of them could not be told apart.
pub fn ask(bed: &Bed) -> Result<NeighbourProber> {
    ask_on(bed, "eth0")
}

/// The same on another interface of the client.
pub fn ask_on(bed: &Bed, interface: &str) -> Result<NeighbourProber> {
    let vips: [IpAddr; 4] = [VIP.into(), LATER_VIP.into(), VIP_LINK_LOCAL.into(), VIP6.into()];
    NeighbourProber::start(bed.client().ns(), interface, &vips, ASK)
}

/// From now on each question for these VIPs has one answer, with the MAC expected.
pub fn check_answered_once(prober: &NeighbourProber, expect: &[(IpAddr, Mac)]) -> Result<()> {
    expect.iter().try_for_each(|&(vip, mac)| check_answered_by(prober, vip, &[mac]))
}

/// From now on each question for a VIP has one answer, with one of these MACs.
pub fn check_answered_by(prober: &NeighbourProber, vip: IpAddr, expect: &[Mac]) -> Result<()> {
    for macs in answered_from_now(prober, vip)? {
        ensure!(
            macs.len() == 1 && expect.contains(&macs[0]),
            "{vip} was answered with {macs:?} instead of {expect:?}"
        );
    }
    Ok(())
}

/// From now on each question for a VIP is answered with these MACs only, which are one node's.
pub fn check_answered_by_a_node(prober: &NeighbourProber, vip: IpAddr, expect: &[Mac]) -> Result<()> {
    for macs in answered_from_now(prober, vip)? {
        let only = macs.iter().all(|mac| expect.contains(mac));
        ensure!(only, "{vip} was answered with {macs:?} instead of {expect:?}");
    }
    Ok(())
}

/// The answers to each question that is asked from now on and has some.
fn answered_from_now(prober: &NeighbourProber, vip: IpAddr) -> Result<Vec<Vec<Mac>>> {
    let now = Instant::now();
    let answered = || {
        let asked = prober.timeline().into_iter().filter(|p| p.target == vip && p.sent >= now);
        asked.filter(|probe| !probe.answers.is_empty()).map(|probe| answering(&probe)).collect::<Vec<_>>()
    };
    wait_for(format_args!("{QUESTIONS} answers for {vip}"), SOON, || answered().len() >= QUESTIONS)?;
    Ok(answered())
}

/// The station of each answer to a question.
pub fn answering(probe: &Probe) -> Vec<Mac> {
    probe.answers.iter().map(|answer| answer.mac).collect()
}

/// A TCP service on all addresses of a node, which says the node's name.
pub struct Service {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Service {
    pub fn start(node: &Node) -> Result<Self> {
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
pub fn reached(client: &Netns, vip: IpAddr) -> Result<String> {
    client.run(|| {
        let mut stream = TcpStream::connect_timeout(&SocketAddr::new(vip, PORT), Duration::from_secs(5))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        let mut name = String::new();
        stream.read_to_string(&mut name)?;
        Ok(name)
    })?
}

/// Waits until the client, and the other node, reach a node at the VIPs of both families.
pub fn wait_reached(bed: &Bed, from: &[&Node], node: &str) -> Result<()> {
    for from in from {
        for vip in [VIP.into(), VIP6.into()] {
            let what = format!("{} to reach {node} at {vip}", from.name());
            wait_for(what, SOON, || reached(from.ns(), vip).is_ok_and(|name| name == node))
                .with_context(|| format!("{:?}", reached(bed.client().ns(), vip)))?;
        }
    }
    Ok(())
}
