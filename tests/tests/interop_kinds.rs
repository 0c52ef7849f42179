//! vipd as one virtual router with keepalived 2.2.7 and FRR 8.4.4 beyond IPv4 multicast: IPv6, the virtual MAC, unicast.
//!
//! Each pair: the better router is elected, leaves in order, comes back and preempts; then the lesser one leaves. A killed
//! keepalived or vrrpd goes on answering for good, see `interop.rs`.

#![allow(clippy::disallowed_methods, reason = "tests measure")]

mod support;

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use support::{Bed, INSTANCE, MESSAGE_DELAY, SOON};
use vipd_common::Family;
use vipd_tests::{
    Daemon, Mac, Node,
    frr::{Frr, VrrpSpec},
    probe::{NeighbourProber, Sniffer, capture::Advert},
};

const VRID: u8 = 51;
const VIP4: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 3);
const VIP6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 3);
const INTERVAL: Duration = Duration::from_millis(200);
const BETTER: &str = "lb01";
const LESSER: &str = "lb02";
/// A kernel that has just lost its address, or got it, may still answer: keepalived works through netlink, after its advert.
const KERNEL_DELAY: Duration = Duration::from_millis(150);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Other {
    Keepalived,
    Frr,
}

/// What the two have in common.
#[derive(Clone, Copy, Debug)]
struct Kind {
    other: Other,
    family: Family,
    virtual_mac: bool,
    unicast: bool,
}

const PLAIN6: Kind =
    Kind { other: Other::Keepalived, family: Family::V6, virtual_mac: false, unicast: false };
const MAC4: Kind = Kind { family: Family::V4, virtual_mac: true, ..PLAIN6 };
const MAC6: Kind = Kind { virtual_mac: true, ..PLAIN6 };
const UNICAST4: Kind = Kind { family: Family::V4, unicast: true, ..PLAIN6 };
const UNICAST6: Kind = Kind { unicast: true, ..PLAIN6 };
const FRR4: Kind = Kind { other: Other::Frr, family: Family::V4, virtual_mac: true, unicast: false };
const FRR6: Kind = Kind { family: Family::V6, ..FRR4 };

#[test]
fn keepalived_over_ipv6_vipd_better() -> Result<()> {
    share_a_vip(PLAIN6, BETTER)
}

#[test]
fn keepalived_over_ipv6_vipd_lesser() -> Result<()> {
    share_a_vip(PLAIN6, LESSER)
}

#[test]
fn keepalived_with_use_vmac_vipd_better() -> Result<()> {
    share_a_vip(MAC4, BETTER)
}

#[test]
fn keepalived_with_use_vmac_vipd_lesser() -> Result<()> {
    share_a_vip(MAC4, LESSER)
}

#[test]
fn keepalived_with_use_vmac_over_ipv6_vipd_better() -> Result<()> {
    share_a_vip(MAC6, BETTER)
}

#[test]
fn keepalived_with_use_vmac_over_ipv6_vipd_lesser() -> Result<()> {
    share_a_vip(MAC6, LESSER)
}

#[test]
fn keepalived_by_unicast_vipd_better() -> Result<()> {
    share_a_vip(UNICAST4, BETTER)
}

#[test]
fn keepalived_by_unicast_vipd_lesser() -> Result<()> {
    share_a_vip(UNICAST4, LESSER)
}

#[test]
fn keepalived_by_unicast_over_ipv6_vipd_better() -> Result<()> {
    share_a_vip(UNICAST6, BETTER)
}

#[test]
fn keepalived_by_unicast_over_ipv6_vipd_lesser() -> Result<()> {
    share_a_vip(UNICAST6, LESSER)
}

#[test]
fn frr_over_ipv4_vipd_better() -> Result<()> {
    share_a_vip(FRR4, BETTER)
}

#[test]
fn frr_over_ipv4_vipd_lesser() -> Result<()> {
    share_a_vip(FRR4, LESSER)
}

#[test]
fn frr_over_ipv6_vipd_better() -> Result<()> {
    share_a_vip(FRR6, BETTER)
}

#[test]
fn frr_over_ipv6_vipd_lesser() -> Result<()> {
    share_a_vip(FRR6, LESSER)
}

fn share_a_vip(kind: Kind, vipd_on: &'static str) -> Result<()> {
    let Some(mut pair) = Pair::new(kind, vipd_on)? else { return Ok(()) };
    pair.run(BETTER)?;
    pair.wait_master(BETTER)?;
    pair.run(LESSER)?;
    pair.owns_alone(BETTER)?;

    let left = pair.end(BETTER)?;
    pair.wait_master(LESSER)?;
    pair.owns_alone(LESSER)?;
    if vipd_on == BETTER {
        pair.lost_nothing_since(left)?;
    }

    pair.run(BETTER)?;
    pair.wait_master(BETTER)?;
    pair.owns_alone(BETTER)?;
    pair.end(LESSER)?;
    pair.owns_alone(BETTER)?;

    pair.print_summary();
    Ok(())
}

enum Running {
    Vipd(Daemon),
    Keepalived(Daemon),
    Frr(Frr),
}

struct Pair {
    // Before the lab they run in.
    better: Option<Running>,
    lesser: Option<Running>,
    prober: NeighbourProber,
    wire: Sniffer,
    kind: Kind,
    vipd_on: &'static str,
    bed: Bed,
}

impl Pair {
    fn new(kind: Kind, vipd_on: &'static str) -> Result<Option<Self>> {
        let Some(bed) = Bed::dual()? else { return Ok(None) };
        for node in [bed.lb01(), bed.lb02()] {
            // keepalived leaves this to the operator: without it the master's kernel asks in the VIP's name with its own MAC.
            node.ns().sysctl("net/ipv4/conf/eth0/arp_announce", "2")?;
        }
        let prober =
            NeighbourProber::start(bed.client().ns(), "eth0", &[vip(kind.family)], Duration::from_millis(5))?;
        let wire = bed.lab.sniff_port(vipd_on)?;
        Ok(Some(Self { better: None, lesser: None, prober, wire, kind, vipd_on, bed }))
    }

    fn slot(&mut self, name: &str) -> &mut Option<Running> {
        if name == BETTER { &mut self.better } else { &mut self.lesser }
    }

    fn node(&self, name: &str) -> &Node {
        self.bed.lab.node(name)
    }

    fn run(&mut self, name: &'static str) -> Result<()> {
        let running = match (name == self.vipd_on, self.kind.other) {
            (true, _) => Running::Vipd(self.bed.start(name, &self.conf(name))?),
            (false, Other::Keepalived) => {
                Running::Keepalived(self.node(name).start_keepalived(&self.conf(name))?)
            }
            (false, Other::Frr) => Running::Frr(self.node(name).start_frr_vrrp(&VrrpSpec {
                interface: "eth0",
                vrid: VRID,
                priority: priority(name),
                advert_interval: INTERVAL,
                preempt: true,
                addresses: &[vip(self.kind.family)],
            })?),
        };
        *self.slot(name) = Some(running);
        Ok(())
    }

    /// A configuration that vipd and keepalived both read.
    fn conf(&self, name: &str) -> String {
        let Kind { family, virtual_mac, unicast, .. } = self.kind;
        let address = |node: &Node| match family {
            Family::V4 => node.ip().map(IpAddr::from),
            Family::V6 => node.ip6().map(IpAddr::from),
        };
        let peer = if name == BETTER { LESSER } else { BETTER };
        let text = |address: Option<IpAddr>| address.map_or_else(String::new, |address| address.to_string());
        let unicast = if unicast {
            let (own, peer) = (text(address(self.node(name))), text(address(self.node(peer))));
            format!(" unicast_src_ip {own}\n unicast_peer {{\n {peer}\n }}\n")
        } else {
            String::new()
        };
        let first = if family == Family::V6 { " fe80::3\n" } else { "" };
        let vmac = if virtual_mac { " use_vmac\n" } else { "" };
        format!(
            "global_defs {{\n vrrp_version 3\n}}\nvrrp_instance {INSTANCE} {{\n state BACKUP\n interface eth0\n \
             virtual_router_id {VRID}\n priority {}\n advert_int 0.2\n{vmac}{unicast} virtual_ipaddress {{\n{first} {}\n \
             }}\n}}\n",
            priority(name),
            vip(family)
        )
    }

    /// Ends a node's daemon in order. Returns the moment before.
    fn end(&mut self, name: &'static str) -> Result<Instant> {
        let running = self.slot(name).take().with_context(|| format!("nothing runs on {name}"))?;
        let at = Instant::now();
        match running {
            Running::Vipd(mut daemon) => {
                self.node(name).stop_vipd(&self.bed.vipd)?;
                ensure!(daemon.wait(SOON)?.success(), "{}", daemon.log());
            }
            Running::Keepalived(mut daemon) => {
                daemon.sigterm()?;
                daemon.wait(SOON)?;
            }
            Running::Frr(mut frr) => {
                frr.vrrpd.sigterm()?;
                frr.vrrpd.wait(SOON)?;
            }
        }
        Ok(at)
    }

    /// Waits until a node's daemon says that it is the master, and the other, if it runs, that it is not.
    fn wait_master(&self, name: &str) -> Result<()> {
        for (node, running) in [(BETTER, &self.better), (LESSER, &self.lesser)] {
            let master = node == name;
            match running {
                Some(Running::Vipd(_)) => self.bed.wait(node, if master { "MASTER" } else { "BACKUP" })?,
                Some(Running::Keepalived(_)) => {
                    let state = if master { "MASTER" } else { "BACKUP" };
                    self.node(node).wait_keepalived(INSTANCE, state, SOON).map(drop)?;
                }
                Some(Running::Frr(frr)) => {
                    let state = if master { "Master" } else { "Backup" };
                    frr.wait_state(VRID, self.kind.family, state, SOON).map(drop)?;
                }
                None => {}
            }
        }
        Ok(())
    }

    /// For several adverts' time one node owns the VIP, and only it advertises; vipd finds no fault with what it hears.
    fn owns_alone(&self, name: &'static str) -> Result<()> {
        self.wait_master(name)?;
        let mac = self.answering_mac(name);
        let answer_after = |from| {
            vipd_tests::wait_for(format_args!("{name} to answer"), SOON, || {
                self.prober.first_answer_by(mac, from).is_some()
            })
        };
        // The kernel sends nothing from an interface that a daemon has just made until a work queue has run, a second
        // later where many interfaces come and go.
        if name != self.vipd_on {
            answer_after(Instant::now())?;
        }
        std::thread::sleep(KERNEL_DELAY);
        // On a busy machine the other daemon and the kernel are late; what they do late they do not go on doing.
        let mut alone = self.is_alone(name, mac, answer_after);
        for _ in 0..2 {
            let Err(error) = &alone else { break };
            println!("{name} is not alone: {error:#}");
            alone = self.is_alone(name, mac, answer_after);
        }
        alone?;
        let vipd_runs = if self.vipd_on == BETTER { &self.better } else { &self.lesser };
        if vipd_runs.is_some() {
            let status = self.bed.status(self.vipd_on)?;
            ensure!(status["discards"] == serde_json::json!({}), "{status}");
        }
        Ok(())
    }

    /// For several adverts' time one node answers for the VIP, and only it advertises.
    fn is_alone(
        &self,
        name: &'static str,
        mac: Mac,
        answer_after: impl Fn(Instant) -> Result<Duration>,
    ) -> Result<()> {
        let from = Instant::now();
        std::thread::sleep(INTERVAL * 6);
        let to = Instant::now();
        // A macvlan hears broadcasts from a work queue too; answers come in the order of the questions.
        answer_after(to)?;
        let probes = self.prober.timeline();
        support::check_answered(&format!("{name} alone"), &probes, from, to)?;
        let asked: Vec<_> = probes.iter().filter(|p| from <= p.sent && p.sent < to).collect();
        let strange = asked.iter().find(|p| p.owners().iter().any(|owner| *owner != mac));
        ensure!(strange.is_none(), "{name} owns the VIP with {mac}: {strange:?}");
        // A kernel whose macvlan is behind answers a few twice. Two owners with one MAC answer each of them.
        let twice: Vec<_> = asked.iter().filter(|p| p.answers.len() > 1).collect();
        let few = if name == self.vipd_on { 0 } else { asked.len() / 4 };
        ensure!(twice.len() <= few, "{} of {} answered twice: {:?}", twice.len(), asked.len(), twice.first());
        let adverts: Vec<Advert> = self
            .wire
            .adverts()
            .into_iter()
            .filter(|(s, _)| from < s.at && s.at < to)
            .map(|(_, a)| a)
            .collect();
        ensure!(adverts.len() >= 3, "{name} hardly advertises: {adverts:?}");
        let strange = adverts.iter().find(|advert| advert.priority != priority(name));
        ensure!(strange.is_none(), "another than {name} advertises: {strange:?}");
        if self.kind.virtual_mac {
            ensure!(
                self.bed.lab.fdb_port_of(mac)?.as_deref() == Some(name),
                "the switch has {mac} elsewhere"
            );
        }
        if self.better.is_some() && self.lesser.is_some() {
            // Where no daemon runs the kernel refuses unicast adverts, and rightly.
            let provoked =
                self.wire.icmp_errors().into_iter().filter(|(s, _)| from < s.at && s.at < to).count();
            ensure!(provoked == 0, "{provoked} ICMP errors were provoked");
        }
        Ok(())
    }

    /// Planned handover: vipd answers until the other has the VIP.
    fn lost_nothing_since(&self, left: Instant) -> Result<()> {
        let takeover = self
            .wire
            .adverts()
            .into_iter()
            .find(|(seen, advert)| seen.at > left && advert.priority == priority(LESSER));
        let takeover = takeover.context("nobody took over")?.0.at;
        let probes = self.prober.timeline();
        let asked = probes.iter().filter(|p| left <= p.sent && p.sent < takeover - MESSAGE_DELAY);
        let (lost, all) =
            asked.fold((0, 0), |(lost, all), p| (lost + u32::from(p.answers.is_empty()), all + 1));
        println!("{lost} of {all} questions lost between the goodbye and the successor's advert");
        ensure!(lost <= 1 + all / 100, "{lost} of {all} questions lost while handing over");
        Ok(())
    }

    /// Which MAC answers for the VIP when a node owns it.
    fn answering_mac(&self, name: &str) -> Mac {
        let octet = if self.kind.family == Family::V4 { 1 } else { 2 };
        if self.kind.virtual_mac { Mac([0, 0, 0x5e, 0, octet, VRID]) } else { self.node(name).mac() }
    }

    /// For people: the first adverts after each change of the speaker.
    fn print_summary(&self) {
        let mut speaker = None;
        let start = self.wire.adverts().first().map(|(seen, _)| seen.at);
        for (seen, a) in self.wire.adverts() {
            if speaker.replace((a.src, a.priority)) != Some((a.src, a.priority)) {
                println!(
                    "{:8.3}s {} {} > {} ttl {} VRRPv{} vrid {} prio {} intvl {:?} addrs {:?} checksum {:?}",
                    (seen.at - start.unwrap_or(seen.at)).as_secs_f64(),
                    seen.src_mac,
                    a.src,
                    a.dst,
                    a.ttl,
                    a.version,
                    a.vrid,
                    a.priority,
                    a.interval,
                    a.addresses,
                    a.checksum
                );
            }
        }
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        let other = if self.vipd_on == BETTER { LESSER } else { BETTER };
        let log = std::fs::read_to_string(self.node(other).dir().join("keepalived.log"));
        eprintln!("--- keepalived\n{}", log.unwrap_or_default());
    }
}

fn vip(family: Family) -> IpAddr {
    match family {
        Family::V4 => VIP4.into(),
        Family::V6 => VIP6.into(),
    }
}

fn priority(name: &str) -> u8 {
    if name == BETTER { 150 } else { 100 }
}
