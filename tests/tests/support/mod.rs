//! What the namespace tests share: the lab of two nodes and a client, configurations, and what invariants I1 and I2
//! mean for what was seen on the wire.
//!
//! No test asserts how fast a busy machine is. Times are compared with each other, or with a bound that the protocol
//! itself gives; [`SOON`] only ends a wait for something that never comes.

#![allow(dead_code, reason = "each test binary uses a part")]

pub mod backend;
pub mod directors;
pub mod echo;
#[path = "../packets/frames.rs"]
pub mod frames;
pub mod host_state;
pub mod letters;
pub mod nobody;
pub mod served;
pub mod web;

use std::{
    fs,
    net::{IpAddr, Ipv4Addr},
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    process::{Command, Output},
    sync::{Condvar, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use vipd_common::abi::ABI_VERSION;
use vipd_tests::{
    Builder, Daemon, Lab, Mac, Node,
    probe::{ArpProber, Sniffer, neighbour::Probe},
    require_lab, vipd_bin,
};

pub const VIP: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 3);
pub const LB01: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 5));
pub const LB02: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 6));
pub const INSTANCE: &str = "VI_1";
/// Advert interval of [`conf`].
pub const INTERVAL: Duration = Duration::from_millis(300);
/// Priorities of lb01 and lb02. They are close, so that lb02's skew time leaves the lease a good part of an interval.
pub const HIGH: u8 = 150;
pub const LOW: u8 = 140;
/// Time between two questions of [`Bed::prober`].
pub const PROBE_PERIOD: Duration = Duration::from_millis(2);
/// Ends a wait for what should have come long ago. The kernel's rtnl lock and RCU are the whole machine's: beside other
/// labs, on busy processors, starting vipd or asking for its status has been seen to take 20 s.
pub const SOON: Duration = Duration::from_secs(60);
/// Farthest that an advert may be from the moment it takes effect: mostly tens of microseconds, but either end may be
/// kept from its processor for a while.
pub const MESSAGE_DELAY: Duration = Duration::from_millis(25);

/// A shell script in a node's directory; returns its path.
pub fn script(node: &Node, name: &str, text: &str) -> Result<String> {
    let path = node.dir().join(name);
    fs::write(&path, format!("#!/bin/sh\n{text}\n"))?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
    Ok(path.display().to_string())
}

/// VRRP version 3, adverts each [`INTERVAL`]. `extra` is put into the instance, one statement a line.
pub fn conf(name: &str, state: &str, priority: u8, extra: &str) -> String {
    instance("vrrp_version 3", name, state, priority, "0.3", extra)
}

/// VRRP version 2, adverts each second.
pub fn conf_v2(name: &str, state: &str, priority: u8, extra: &str) -> String {
    instance("vrrp_version 2", name, state, priority, "1", extra)
}

/// Where vipd on a node pins its maps and links.
pub fn pins(node: &Node) -> PathBuf {
    node.bpffs_dir().join("vipd").join(format!("v{ABI_VERSION}"))
}

/// The usual configuration of a node.
pub fn node_conf(priority: u8, extra: &str) -> String {
    conf(INSTANCE, "BACKUP", priority, extra)
}

fn instance(global: &str, name: &str, state: &str, priority: u8, advert_int: &str, extra: &str) -> String {
    format!(
        "global_defs {{\n    {global}\n}}\nvrrp_instance {name} {{\n    state {state}\n    interface eth0\n    \
         virtual_router_id 51\n    priority {priority}\n    advert_int {advert_int}\n    {extra}\n    \
         virtual_ipaddress {{\n        {VIP}\n    }}\n}}\n"
    )
}

/// Skew time of a version 3 router.
pub fn skew(priority: u8) -> Duration {
    INTERVAL * (256 - u32::from(priority)) / 256
}

/// Master-down interval of a version 3 router.
pub fn master_down(priority: u8) -> Duration {
    INTERVAL * 3 + skew(priority)
}

/// How long an advert keeps a VIP answered with the default lease.
pub const LEASE: Duration = Duration::from_millis(4 * 300);

/// A lab of lb01, lb02 and client, with nothing running, and the daemon to run in it.
///
/// Dropping it prints the logs, which libtest shows if the test has failed.
#[derive(Debug)]
pub struct Bed {
    pub lab: Lab,
    pub vipd: PathBuf,
    // Last: given back when the lab is gone.
    _permit: Permit,
}

impl Bed {
    /// Waits for its turn: a few labs at a time, lest the machine be the subject of the test. `None` where labs are
    /// impossible.
    pub fn new() -> Result<Option<Self>> {
        Self::with(|lab| {
            lab.node("lb01", "10.0.0.5/24").node("lb02", "10.0.0.6/24").node("client", "10.0.0.100/24")
        })
    }

    /// As [`Bed::new`], with IPv6 too: `2001:db8::5`, `::6` and `::64`, and as much IPv4 as 10,000 VIPs take.
    pub fn dual() -> Result<Option<Self>> {
        Self::with(|lab| {
            let lab = lab.node("lb01", "10.0.0.5/16").address("2001:db8::5/64");
            let lab = lab.node("lb02", "10.0.0.6/16").address("2001:db8::6/64");
            lab.node("client", "10.0.0.100/16").address("2001:db8::64/64")
        })
    }

    /// As [`Bed::dual`], with a second cable of lb01 and lb02 in another segment: their `eth1`, for bonds.
    pub fn two_cables() -> Result<Option<Self>> {
        Self::with(|lab| {
            let lab = lab.node("lb01", "10.0.0.5/16").address("2001:db8::5/64").link("10.9.0.5/24");
            let lab = lab.node("lb02", "10.0.0.6/16").address("2001:db8::6/64").link("10.9.0.6/24");
            lab.node("client", "10.0.0.100/16").address("2001:db8::64/64")
        })
    }

    /// As [`Bed::new`], with a gateway (10.0.0.1, `fe80::1`) and another client, `other`.
    pub fn with_gateway() -> Result<Option<Self>> {
        Self::with(|lab| {
            let lab = lab.node("lb01", "10.0.0.5/24").node("lb02", "10.0.0.6/24").node("gw", "10.0.0.1/24");
            lab.node("client", "10.0.0.100/24").node("other", "10.0.0.101/24")
        })
    }

    /// As [`Bed::new`], and a second network between lb01 and lb02 alone: their `eth1`.
    pub fn two_lines() -> Result<Option<Self>> {
        Self::with(|lab| {
            let lab = lab.node("lb01", "10.0.0.5/24").link("10.9.0.5/24");
            lab.node("lb02", "10.0.0.6/24").link("10.9.0.6/24").node("client", "10.0.0.100/24")
        })
    }

    fn with(nodes: impl FnOnce(Builder) -> Builder) -> Result<Option<Self>> {
        let Some((lab, permit)) = lab(nodes)? else { return Ok(None) };
        Self::of(lab, permit).map(Some)
    }

    /// In a lab that is there, of which lb01, lb02 and client are nodes.
    pub fn of(lab: Lab, permit: Permit) -> Result<Self> {
        Ok(Self { lab, vipd: vipd_bin()?, _permit: permit })
    }

    pub fn lb01(&self) -> &Node {
        self.lab.node("lb01")
    }

    pub fn lb02(&self) -> &Node {
        self.lab.node("lb02")
    }

    pub fn client(&self) -> &Node {
        self.lab.node("client")
    }

    /// Starts vipd on a node and waits until it answers on its control socket.
    pub fn start(&self, node: &str, conf: &str) -> Result<Daemon> {
        let node = self.lab.node(node);
        node.write_vipd_conf(conf)?;
        let mut daemon = node.start_vipd(&self.vipd)?;
        let answers = || !daemon.is_running() || node.status(&self.vipd).is_ok();
        vipd_tests::wait_for(format_args!("vipd on {} to answer", node.name()), SOON, answers)?;
        ensure!(daemon.is_running(), "vipd on {} has ended", node.name());
        Ok(daemon)
    }

    /// Starts vipd on a node with the configuration it has.
    pub fn restart(&self, node: &str) -> Result<Daemon> {
        self.lab.node(node).start_vipd(&self.vipd)
    }

    /// Waits until [`INSTANCE`] is in a state.
    pub fn wait(&self, node: &str, state: &str) -> Result<()> {
        self.lab.node(node).wait_state(&self.vipd, INSTANCE, state, SOON).map(drop)
    }

    /// What `vipd status --json` says of [`INSTANCE`].
    pub fn status(&self, node: &str) -> Result<Value> {
        self.status_of(node, INSTANCE)
    }

    /// What `vipd status --json` says of an instance.
    pub fn status_of(&self, node: &str, name: &str) -> Result<Value> {
        let status = self.lab.node(node).status(&self.vipd)?;
        let instances = status["instances"].as_array().context("no instances")?;
        let ours = instances.iter().find(|i| i["name"] == name);
        ours.cloned().with_context(|| format!("no {name} in {status}"))
    }

    /// Gives a node another configuration, and runs `vipd reload`.
    pub fn reload(&self, node: &str, conf: &str) -> Result<Output> {
        self.lab.node(node).write_vipd_conf(conf)?;
        Ok(self.ask(node, &["reload"]).output()?)
    }

    /// The same, which has to succeed; returns what it says.
    pub fn reloaded(&self, node: &str, conf: &str) -> Result<String> {
        said(self.reload(node, conf)?)
    }

    pub fn state(&self, node: &str) -> Result<String> {
        self.lab.node(node).state(&self.vipd, INSTANCE)
    }

    /// What `vipd events --json` with these arguments prints.
    pub fn events(&self, node: &str, arguments: &[&str]) -> Result<Vec<Value>> {
        let text = self.told(node, &[&["events", "--json"], arguments].concat())?;
        text.lines().map(|line| serde_json::from_str(line).with_context(|| line.to_owned())).collect()
    }

    /// A command for the vipd of a node.
    pub fn ask(&self, node: &str, arguments: &[&str]) -> Command {
        self.lab.node(node).vipd_ask(&self.vipd, arguments)
    }

    /// What such a command prints, which has to succeed.
    pub fn told(&self, node: &str, arguments: &[&str]) -> Result<String> {
        said(self.ask(node, arguments).output()?).with_context(|| format!("vipd {}", arguments.join(" ")))
    }

    /// The events of a node with this name.
    pub fn events_named(&self, node: &str, name: &str) -> Result<Vec<Value>> {
        Ok(self.events(node, &[])?.into_iter().filter(|event| event["event"] == name).collect())
    }

    /// Waits for an event of this name that is as wanted, and returns it.
    pub fn wait_event(&self, node: &str, name: &str, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
        let mut found = None;
        vipd_tests::wait_for(format_args!("{name} on {node}"), SOON, || {
            let events = self.events_named(node, name).unwrap_or_default();
            found = events.into_iter().find(|event| wanted(&event["fields"]));
            found.is_some()
        })?;
        found.context("found, then lost")
    }

    /// Asks for the VIP from the client, all the time.
    pub fn prober(&self) -> Result<ArpProber> {
        ArpProber::start(self.client().ns(), "eth0", &[VIP], PROBE_PERIOD)
    }

    /// Hears every advert and announcement, as the client does.
    pub fn listener(&self) -> Result<Sniffer> {
        self.lab.sniff_port("client")
    }
}

/// A lab of other nodes, and the right to have it. `None` where labs are impossible.
pub fn lab(nodes: impl FnOnce(Builder) -> Builder) -> Result<Option<(Lab, Permit)>> {
    let Some(()) = require_lab() else { return Ok(None) };
    let permit = Permit::wait();
    Ok(Some((nodes(Lab::builder()).build()?, permit)))
}

impl Drop for Bed {
    fn drop(&mut self) {
        for name in ["lb01", "lb02"] {
            let log = fs::read_to_string(self.lab.node(name).vipd_log());
            eprintln!("--- vipd on {name}\n{}", log.unwrap_or_default());
        }
    }
}

/// What a command that has succeeded has printed.
fn said(output: Output) -> Result<String> {
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

/// The rows whose names have a part that `VIPD_ROWS` names, with a comma between; all without it. `known`: the names of all rows of the file.
///
/// # Errors
///
/// A part is of no row: a run of nothing would pass.
pub fn named_rows<'r, R>(
    rows: &'r [R],
    name: impl Fn(&R) -> &'static str,
    known: &[&'static str],
) -> Result<Vec<&'r R>> {
    let named = std::env::var("VIPD_ROWS").unwrap_or_default();
    let parts: Vec<&str> = named.split(',').filter(|part| !part.is_empty()).collect();
    for part in &parts {
        ensure!(
            known.iter().any(|name| name.contains(part)),
            "VIPD_ROWS: no row is called `{part}`: {known:#?}"
        );
    }
    let wanted = |row: &&R| parts.is_empty() || parts.iter().any(|part| name(row).contains(part));
    Ok(rows.iter().filter(wanted).collect())
}

/// How often something is done, unless the variable says so.
pub fn times(variable: &str, usual: usize) -> usize {
    std::env::var(variable).ok().and_then(|count| count.parse().ok()).unwrap_or(usual)
}

/// Both nodes run vipd: lb01 is MASTER, lb02 is BACKUP, and adverts are flowing.
#[derive(Debug)]
pub struct Pair {
    pub lb01: Daemon,
    pub lb02: Daemon,
    pub bed: Bed,
}

/// A [`Pair`] with these configurations, of which lb01's must be the better.
pub fn pair(lb01: &str, lb02: &str) -> Result<Option<Pair>> {
    let Some(bed) = Bed::new()? else { return Ok(None) };
    pair_in(bed, lb01, lb02).map(Some)
}

/// The same in a lab that is there.
pub fn pair_in(bed: Bed, lb01: &str, lb02: &str) -> Result<Pair> {
    let pair = Pair { lb01: bed.start("lb01", lb01)?, lb02: bed.start("lb02", lb02)?, bed };
    pair.bed.wait("lb01", "MASTER")?;
    pair.bed.wait("lb02", "BACKUP")?;
    Ok(pair)
}

/// A pair with the default configuration plus `extra`.
pub fn usual_pair(extra: &str) -> Result<Option<Pair>> {
    pair(&node_conf(HIGH, extra), &node_conf(LOW, extra))
}

/// An advert as [`adverts`] keeps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heard {
    pub at: Instant,
    pub from: IpAddr,
    pub priority: u8,
}

/// The adverts a sniffer has seen, in order.
pub fn adverts(sniffer: &Sniffer) -> Vec<Heard> {
    let heard = sniffer.adverts().into_iter();
    heard.map(|(seen, advert)| Heard { at: seen.at, from: advert.src, priority: advert.priority }).collect()
}

/// The first advert of a node after an instant that is not a goodbye.
pub fn first_advert(sniffer: &Sniffer, from: IpAddr, after: Instant) -> Option<Instant> {
    let live = |h: &&Heard| h.from == from && h.at > after && h.priority > 0;
    adverts(sniffer).iter().find(live).map(|h| h.at)
}

/// The last advert of a node before an instant.
pub fn last_advert(sniffer: &Sniffer, from: IpAddr, before: Instant) -> Option<Instant> {
    adverts(sniffer).iter().rev().find(|h| h.from == from && h.at < before).map(|h| h.at)
}

/// The last advert of a node whose lease is sure to be written if its daemon was ended at this instant: a daemon sends,
/// then writes.
pub fn last_renewal(sniffer: &Sniffer, from: IpAddr, ended: Instant) -> Option<Instant> {
    last_advert(sniffer, from, ended - MESSAGE_DELAY)
}

/// Waits for the first advert of a node after an instant, and until its lease is sure to be written.
pub fn wait_renewal(sniffer: &Sniffer, from: IpAddr, after: Instant) -> Result<Instant> {
    let at = wait_advert(sniffer, from, after)?;
    std::thread::sleep(MESSAGE_DELAY * 2);
    Ok(at)
}

/// Waits for the first advert of a node after an instant.
pub fn wait_advert(sniffer: &Sniffer, from: IpAddr, after: Instant) -> Result<Instant> {
    let mut at = None;
    vipd_tests::wait_for(format_args!("an advert of {from}"), SOON, || {
        at = first_advert(sniffer, from, after);
        at.is_some()
    })?;
    at.context("found, then lost")
}

/// The moments at which another node than before began to advertise: where two owners may meet for an instant (I1).
pub fn takeovers(sniffer: &Sniffer) -> Vec<Instant> {
    let live: Vec<_> = adverts(sniffer).into_iter().filter(|h| h.priority > 0).collect();
    let first = live.first().map(|h| h.at);
    first.into_iter().chain(live.windows(2).filter(|w| w[0].from != w[1].from).map(|w| w[1].at)).collect()
}

/// I1: the questions that two stations answered although no takeover was on the wire at that moment.
///
/// A question is on its way from when the prober meant to send it to when its last answer came.
pub fn split_brain(probes: &[Probe], takeovers: &[Instant]) -> Vec<Probe> {
    let during = |p: &Probe| {
        takeovers.iter().any(|&at| p.sent < at + MESSAGE_DELAY && at < last_answer(p) + MESSAGE_DELAY)
    };
    probes.iter().filter(|p| p.owners().len() > 1 && !during(p)).cloned().collect()
}

/// Asserts I1 over everything that was asked and heard.
pub fn check_single_owner(probes: &[Probe], sniffer: &Sniffer) -> Result<()> {
    ensure!(!probes.is_empty(), "nothing was asked");
    let bad = split_brain(probes, &takeovers(sniffer));
    ensure!(
        bad.is_empty(),
        "{} of {} questions had two answers with no takeover near, the first {:?}",
        bad.len(),
        probes.len(),
        bad[0]
    );
    Ok(())
}

/// Asserts I2: of the questions asked in a span, hardly one went unanswered (a packet may be lost).
pub fn check_answered(what: &str, probes: &[Probe], from: Instant, to: Instant) -> Result<()> {
    let asked: Vec<_> = probes.iter().filter(|p| from <= p.sent && p.sent < to).collect();
    let unanswered = asked.iter().filter(|p| p.answers.is_empty()).count();
    println!("{what}: {unanswered} of {} unanswered", asked.len());
    ensure!(asked.len() >= 10, "{what}: only {} questions in {:?}", asked.len(), to - from);
    ensure!(
        unanswered <= 3 + asked.len() / 100,
        "{what}: {unanswered} of {} questions unanswered",
        asked.len()
    );
    Ok(())
}

/// Questions asked and answered by a station within a span.
pub fn answered_by(probes: &[Probe], mac: Mac, from: Instant, to: Instant) -> usize {
    let by = |p: &&Probe| p.answers.iter().any(|a| a.mac == mac && a.at < to);
    probes.iter().filter(|p| from <= p.sent).filter(by).count()
}

/// The questions asked and answered within a span that two stations answered.
pub fn answered_twice(probes: &[Probe], from: Instant, to: Instant) -> Vec<&Probe> {
    probes.iter().filter(|p| from <= p.sent && p.owners().len() > 1 && last_answer(p) < to).collect()
}

/// From the first to the last of [`answered_twice`].
pub fn overlap(probes: &[Probe], from: Instant, to: Instant) -> Duration {
    let both = answered_twice(probes, from, to);
    match (both.first(), both.last()) {
        (Some(first), Some(last)) => last_answer(last).saturating_duration_since(last_answer(first)),
        _ => Duration::ZERO,
    }
}

fn last_answer(probe: &Probe) -> Instant {
    probe.answers.iter().map(|a| a.at).max().unwrap_or(probe.sent)
}

/// The right to have a lab.
#[derive(Debug)]
pub struct Permit;

const LABS_AT_ONCE: usize = 2;
static LABS: Mutex<usize> = Mutex::new(0);
static LAB_GONE: Condvar = Condvar::new();

impl Permit {
    fn wait() -> Self {
        let labs = LABS.lock().unwrap_or_else(PoisonError::into_inner);
        let mut labs =
            LAB_GONE.wait_while(labs, |labs| *labs >= LABS_AT_ONCE).unwrap_or_else(PoisonError::into_inner);
        *labs += 1;
        Self
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        *LABS.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        LAB_GONE.notify_one();
    }
}
