//! Every kind of virtual router at once on one interface: both families, the virtual MAC and the interface's, multicast
//! and unicast.

#![allow(clippy::disallowed_methods, reason = "tests measure")]

mod support;

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv6Addr},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use support::*;
use vipd_tests::{
    Daemon, Mac, Node,
    probe::{
        NeighbourProber, Sniffer,
        neighbour::{Answer, Probe},
        question::Form,
    },
    wait_for,
};

const INSTANCES: [&str; 4] = ["MAC4", "MAC6", "UNI4", "UNI6"];
const VIRTUAL_V4: Mac = Mac([0, 0, 0x5e, 0, 1, 51]);
const VIRTUAL_V6: Mac = Mac([0, 0, 0x5e, 0, 2, 51]);
const SERVICE: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x100);

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// The VIPs, with the MAC that answers for them; `None`: the owner's own.
fn vips() -> Vec<(IpAddr, Option<Mac>)> {
    vec![
        (ip("10.0.0.3"), Some(VIRTUAL_V4)),
        (ip("2001:db8::33"), Some(VIRTUAL_V4)),
        (ip("fe80::100"), Some(VIRTUAL_V6)),
        (SERVICE.into(), Some(VIRTUAL_V6)),
        (ip("10.0.0.4"), None),
        (ip("2001:db8::200"), None),
    ]
}

/// One instance of each kind. The virtual routers of the two families share a VRID.
fn conf(priority: u8, own: &str, peer: &str) -> String {
    let instance = |name: &str, vrid: u8, lines: &str| {
        format!(
            "vrrp_instance {name} {{\n version 3\n interface eth0\n virtual_router_id {vrid}\n priority {priority}\n \
             advert_int 0.3\n {lines}\n}}\n"
        )
    };
    let unicast4 = format!(
        "unicast_peer {{\n 10.0.0.{peer}\n }}\n check_unicast_src\n virtual_ipaddress {{\n 10.0.0.4\n }}"
    );
    let unicast6 = format!(
        "unicast_src_ip 2001:db8::{own}\n unicast_peer {{\n 2001:db8::{peer}\n }}\n virtual_ipaddress {{\n \
         2001:db8::200\n }}"
    );
    let mac4 =
        "use_vmac\n virtual_ipaddress {\n 10.0.0.3\n }\n virtual_ipaddress_excluded {\n 2001:db8::33\n }";
    let mac6 = format!("use_vmac\n virtual_ipaddress {{\n {SERVICE}\n fe80::100\n }}");
    [
        instance("MAC4", 51, mac4),
        instance("MAC6", 51, &mac6),
        instance("UNI4", 52, &unicast4),
        instance("UNI6", 52, &unicast6),
    ]
    .concat()
}

struct Routers {
    lb01: Daemon,
    lb02: Daemon,
    bed: Bed,
}

impl Routers {
    fn start() -> Result<Option<Self>> {
        let Some(bed) = Bed::dual()? else { return Ok(None) };
        let lb01 = bed.start("lb01", &conf(HIGH, "5", "6"))?;
        let lb02 = bed.start("lb02", &conf(LOW, "6", "5"))?;
        let routers = Self { lb01, lb02, bed };
        routers.wait_all("lb01", "MASTER")?;
        routers.wait_all("lb02", "BACKUP")?;
        Ok(Some(routers))
    }

    fn wait_all(&self, node: &str, state: &str) -> Result<()> {
        let node = self.bed.lab.node(node);
        INSTANCES.iter().try_for_each(|name| node.wait_state(&self.bed.vipd, name, state, SOON).map(drop))
    }

    fn ask(&self, form: Form) -> Result<NeighbourProber> {
        let targets: Vec<IpAddr> = vips().into_iter().map(|(vip, _)| vip).collect();
        NeighbourProber::start_as(form, self.bed.client().ns(), "eth0", &targets, PROBE_PERIOD * 3)
    }

    fn discards(&self, node: &str) -> Result<Vec<Value>> {
        let status = self.bed.lab.node(node).status(&self.bed.vipd)?;
        let instances = status["instances"].as_array().context("no instances")?;
        Ok(instances.iter().map(|instance| instance["discards"].clone()).collect())
    }
}

/// Each VIP is answered for by the MAC it must be, and by no other; NAs as RFC 9568 and RFC 4861 have them.
fn check_answers(probes: &[Probe], owner: &Node, from: Instant, to: Instant, solicited: bool) -> Result<()> {
    for (vip, mac) in vips() {
        let expected = mac.unwrap_or(owner.mac());
        let asked: Vec<_> =
            probes.iter().filter(|p| p.target == vip && from <= p.sent && p.sent < to).collect();
        ensure!(asked.len() >= 10, "{vip}: hardly asked");
        if !solicited {
            // These do not tell which question they answer: a late one is taken for the next question's.
            let of_vip = || probes.iter().filter(|p| p.target == vip);
            let answers: usize = of_vip().map(|p| p.answers.len()).sum();
            ensure!(
                answers <= of_vip().count(),
                "{vip}: {answers} answers to {} questions",
                of_vip().count()
            );
        }
        for probe in asked {
            let answers = probe.answers.len();
            ensure!(answers <= 1 || !solicited, "{vip}: {answers} answers to one question");
            let Some(Answer { mac, src_mac, neighbour_advert, .. }) = probe.answers.first() else { continue };
            ensure!(*mac == expected && *src_mac == expected, "{vip} is at {mac}, from {src_mac}");
            if let Some(advert) = neighbour_advert {
                let flags = (advert.router, advert.solicited, advert.overrides);
                ensure!(flags == (true, solicited, true), "{vip}: {advert:?}");
                ensure!(advert.hop_limit == 255 && advert.checksum_valid, "{vip}: {advert:?}");
                ensure!(IpAddr::from(advert.src) == vip, "{vip}: {advert:?}");
            }
        }
    }
    Ok(())
}

/// What answered the page request.
fn page(node: &Node) -> String {
    let url = format!("http://[{SERVICE}]/");
    node.exec(&["curl", "-s", "-m", "5", &url])
        .map_or_else(|e| format!("{e:#}"), |page| page.trim().to_owned())
}

/// The neighbours that the client knows for VIPs behind a virtual MAC.
fn neighbours(client: &Node) -> Result<BTreeMap<IpAddr, Option<Mac>>> {
    let behind_virtual = |vip: &IpAddr| vips().iter().any(|(v, mac)| v == vip && mac.is_some());
    let known = client.neighbours()?.into_iter().filter(|(address, _)| behind_virtual(address));
    Ok(known.map(|(address, neighbour)| (address, neighbour.mac)).collect())
}

/// The adverts' Ethernet sources by IP source, hop limits and destinations.
fn check_adverts(wire: &Sniffer, node: &Node, peer: &Node) -> Result<()> {
    let (own, other) = (node.ip().context("IPv4")?, peer.ip().context("IPv4")?);
    let (own6, other6) = (node.ip6().context("IPv6")?, peer.ip6().context("IPv6")?);
    let own_local = node.link_local();
    for (source, vrid, mac, destination) in [
        (IpAddr::from(own), 51, VIRTUAL_V4, ip("224.0.0.18")),
        (own_local.into(), 51, VIRTUAL_V6, ip("ff02::12")),
        (own.into(), 52, node.mac(), other.into()),
        (own6.into(), 52, node.mac(), other6.into()),
    ] {
        let adverts = wire.adverts().into_iter().filter(|(_, a)| a.src == source && a.vrid == vrid);
        let adverts: Vec<_> = adverts.collect();
        ensure!(!adverts.is_empty(), "no advert of VRID {vrid} from {source}");
        for (seen, advert) in adverts {
            ensure!(seen.src_mac == mac, "VRID {vrid} from {source} at {}, expected {mac}", seen.src_mac);
            ensure!(advert.dst == destination && advert.ttl == 255, "{advert:?}");
        }
    }
    Ok(())
}

/// N-02 to N-06, N-09, A-02, A-03, D-05, I4, I5: elected, killed, returned and stopped.
#[test]
fn every_kind_of_router_is_elected_taken_over_and_handed_back() -> Result<()> {
    let Some(mut routers) = Routers::start()? else { return Ok(()) };
    let bed = &routers.bed;
    let (lb01, lb02, client) = (bed.lb01(), bed.lb02(), bed.client());
    let _nginx = [lb01.start_nginx((SERVICE, 80))?, lb02.start_nginx((SERVICE, 80))?];
    let cable = bed.lab.sniff_port("lb01")?;
    let wire = bed.lab.sniff_port("client")?;
    let prober = routers.ask(Form::Resolve)?;
    let elected = Instant::now();
    sleep(INTERVAL * 4);

    for node in [client, lb02, lb01] {
        ensure!(page(node) == "lb01", "{} was served by {}", node.name(), page(node));
    }
    check_adverts(&cable, lb01, lb02)?;
    for mac in [VIRTUAL_V4, VIRTUAL_V6] {
        ensure!(bed.lab.fdb_port_of(mac)?.as_deref() == Some("lb01"), "the switch has {mac} elsewhere");
        let filter = lb01.exec(&["bridge", "fdb", "show", "dev", "eth0"])?;
        ensure!(filter.contains(&mac.to_string()), "{mac} is not in the filter:\n{filter}");
    }
    let addresses = lb01.exec(&["ip", "-6", "address"])?;
    ensure!(!addresses.contains("2001:db8::100"), "N-09: nothing that DAD would be done for: {addresses}");
    let groups = lb02.exec(&["ip", "maddress", "show", "dev", "eth0"])?;
    for group in ["224.0.0.18", "ff02::12", "ff02::1:ff00:100", "ff02::1:ff00:200", "ff02::1:ff00:33"] {
        ensure!(groups.contains(group), "{group} is not joined:\n{groups}");
    }
    let known = neighbours(client)?;
    ensure!(known.get(&SERVICE.into()) == Some(&Some(VIRTUAL_V6)), "{known:?}");

    let killed = routers.lb01.kill9()?;
    check_answers(&prober.timeline(), lb01, elected, killed, true)?;
    routers.wait_all("lb02", "MASTER")?;
    let bed = &routers.bed;
    let (lb02, client) = (bed.lb02(), bed.client());
    let settled = Instant::now() + MESSAGE_DELAY;
    sleep(INTERVAL * 3);
    for mac in [VIRTUAL_V4, VIRTUAL_V6] {
        ensure!(bed.lab.fdb_port_of(mac)?.as_deref() == Some("lb02"), "the switch has {mac} elsewhere");
    }
    for (vip, mac) in &known {
        ensure!(neighbours(client)?.get(vip) == Some(mac), "the client's neighbour {vip} changed");
    }
    // A dead daemon's host keeps its own traffic to itself.
    for node in [client, lb02] {
        ensure!(page(node) == "lb02", "{} was served by {}", node.name(), page(node));
    }
    let taken_over = Instant::now();
    check_answers(&prober.timeline(), lb02, settled, taken_over - MESSAGE_DELAY, true)?;

    routers.lb01 = routers.bed.restart("lb01")?;
    routers.wait_all("lb01", "MASTER")?;
    let bed = &routers.bed;
    let returned = Instant::now() + MESSAGE_DELAY;
    sleep(INTERVAL * 3);
    let still = Instant::now();
    let probes = prober.stop()?;
    check_answers(&probes, bed.lb01(), returned, still - MESSAGE_DELAY * 4, true)?;
    let lost = probes.iter().filter(|p| p.sent > elected && p.sent < still - MESSAGE_DELAY * 4);
    let lost = lost.filter(|p| p.answers.is_empty()).count();
    println!("{lost} of {} questions unanswered", probes.len());
    ensure!(lost <= 3 + probes.len() / 100, "{lost} of {} questions unanswered", probes.len());
    ensure!(wire.icmp_errors().is_empty(), "errors were provoked: {:?}", wire.icmp_errors());
    for node in ["lb01", "lb02"] {
        let discards = routers.discards(node)?;
        ensure!(
            discards.iter().all(|d| d.as_object().is_some_and(serde_json::Map::is_empty)),
            "{discards:?}"
        );
    }
    let bed = &routers.bed;
    for (node, daemon) in [("lb02", &mut routers.lb02), ("lb01", &mut routers.lb01)] {
        bed.lab.node(node).stop_vipd(&bed.vipd)?;
        ensure!(daemon.wait(SOON)?.success(), "{}", daemon.log());
        let left = bed.lab.node(node).exec(&["ip", "-6", "address", "show", "dev", "lo"])?;
        let filter = bed.lab.node(node).exec(&["bridge", "fdb", "show", "dev", "eth0"])?;
        let rules = bed.lab.node(node).exec(&["ip", "-6", "rule"])?;
        ensure!(!left.contains("2001:db8") && !filter.contains("00:00:5e"), "{left}{filter}");
        ensure!(rules.starts_with("0:") && !rules.contains("90:"), "{rules}");
    }
    Ok(())
}

/// N-03: DAD probes and ARP probes are answered to everyone, with S clear.
#[test]
fn probes_of_stations_without_an_address_are_answered() -> Result<()> {
    let Some(routers) = Routers::start()? else { return Ok(()) };
    let prober = routers.ask(Form::Claim)?;
    let from = Instant::now();
    sleep(INTERVAL * 3);
    let to = Instant::now() - MESSAGE_DELAY;
    let probes = prober.stop()?;
    check_answers(&probes, routers.bed.lb01(), from, to, false)?;
    let answered = probes.iter().filter(|p| !p.answers.is_empty()).count();
    ensure!(answered * 10 > probes.len() * 9, "{answered} of {} answered", probes.len());
    Ok(())
}

/// Many routers whose timers end within microseconds of each other: none takes over a healthy master.
#[test]
fn a_hundred_backups_leave_their_masters_alone() -> Result<()> {
    let Some(bed) = Bed::dual()? else { return Ok(()) };
    let conf = |priority: u8| -> String {
        (1..=50)
            .map(|n| {
                let head = format!("interface eth0\n virtual_router_id {n}\n priority {priority}\n advert_int 0.3\n version 3");
                format!(
                    "vrrp_instance A{n} {{\n {head}\n virtual_ipaddress {{\n 10.0.9.{n}\n }}\n}}\nvrrp_instance B{n} {{\n \
                     {head}\n virtual_ipaddress {{\n fe80::9:{n}\n }}\n}}\n"
                )
            })
            .collect()
    };
    let lb01 = bed.start("lb01", &conf(HIGH))?;
    wait_for("the masters", SOON, || lb01.log().matches("to=MASTER").count() == 100)?;
    let lb02 = bed.start("lb02", &conf(LOW))?;
    // Longer than three master-down intervals, each of which ends once for every router.
    sleep(Duration::from_secs(8));
    let transitions = |daemon: &Daemon| daemon.log().matches("state changed").count();
    ensure!(transitions(&lb02) == 100, "{}", lb02.log());
    ensure!(transitions(&lb01) == 200, "{}", lb01.log());
    Ok(())
}
