//! Every way to forward, with real packets: two directors, two servers and a client. In each row the right servers answer through the owner of the
//! VIP, the backup drops what is sent to it before IPVS sees it, and the other director serves after a crash.
//!
//! Needs IPVS in the kernel: `cargo xtask guest --kernel debian-12 balancing_kinds`.

#![allow(clippy::disallowed_methods, reason = "tests measure")]

mod support;

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use support::{
    web::{DatagramServer, WebServer, ask, ask_datagrams, has_ipvs},
    *,
};
use vipd_tests::{Daemon, Lab, Node, skip, wait_for};

/// For an answer on a slow machine.
const PATIENT: Duration = Duration::from_secs(10);
const WEB: u16 = 80;

/// The network of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    V4,
    V6,
}

/// How packets come to the servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Nat,
    Direct,
    Ipip,
    Gue,
    Gre,
}

/// A row: a service, and what its servers need.
#[derive(Clone, Copy, Debug)]
struct Kind {
    family: Family,
    way: Way,
    is_udp: bool,
    /// By a firewall mark that the directors set.
    is_marked: bool,
    /// More lines of the service.
    extra: &'static str,
}

const NAT: Kind = Kind { family: Family::V4, way: Way::Nat, is_udp: false, is_marked: false, extra: "" };
const DIRECT: Kind = Kind { way: Way::Direct, ..NAT };

impl Family {
    fn vip(self) -> IpAddr {
        match self {
            Self::V4 => VIP.into(),
            Self::V6 => "2001:db8::3".parse().expect("an address"),
        }
    }

    /// The server `n`, 11 or 12, as it is reached by DR and tunnels, in the clients' network.
    fn beside(self, n: u8) -> IpAddr {
        match self {
            Self::V4 => IpAddr::from([10, 0, 0, n]),
            Self::V6 => format!("2001:db8::{n}").parse().expect("an address"),
        }
    }

    /// By NAT, in a network behind the directors.
    fn behind(self, n: u8) -> IpAddr {
        match self {
            Self::V4 => IpAddr::from([10, 1, 0, n]),
            Self::V6 => format!("2001:db8:1::{n}").parse().expect("an address"),
        }
    }

    fn gateway(self) -> &'static str {
        match self {
            Self::V4 => "10.1.0.1",
            Self::V6 => "2001:db8:1::1",
        }
    }

    /// The option of `ip`.
    fn option(self) -> &'static str {
        match self {
            Self::V4 => "-4",
            Self::V6 => "-6",
        }
    }
}

impl Kind {
    fn service(&self) -> SocketAddr {
        SocketAddr::new(self.family.vip(), WEB)
    }

    fn server(&self, n: u8) -> IpAddr {
        if self.way == Way::Nat { self.family.behind(n) } else { self.family.beside(n) }
    }

    /// Two virtual routers of each family that move together, and the service.
    fn conf(&self, priority: u8) -> String {
        let instance = |name: &str, interface: &str, vrid: u8, vips: &str| {
            format!(
                "vrrp_instance {name} {{\n interface {interface}\n virtual_router_id {vrid}\n priority {priority}\n advert_int 1\n \
                 virtual_ipaddress {{\n {vips}\n }}\n}}\n"
            )
        };
        let head = match self.is_marked {
            true => "fwmark 7".to_owned(),
            false => format!("{} {WEB}", self.family.vip()),
        };
        let family = if self.family == Family::V4 { "inet" } else { "inet6" };
        let way = match self.way {
            Way::Nat => "NAT",
            Way::Direct => "DR",
            Way::Ipip => "TUN",
            Way::Gue => "TUN type gue port 6080",
            Way::Gre => "TUN type gre",
        };
        let protocol = match (self.is_marked, self.is_udp) {
            (true, _) => format!("ip_family {family}"),
            (false, true) => "protocol UDP".to_owned(),
            (false, false) => "protocol TCP".to_owned(),
        };
        let check = match self.is_udp {
            true => String::new(),
            false => format!("TCP_CHECK {{\n connect_port {WEB}\n connect_timeout 5\n }}"),
        };
        let servers: String =
            [11, 12].map(|n| format!(" real_server {} {WEB} {{\n {check}\n }}\n", self.server(n))).concat();
        format!(
            "global_defs {{\n vrrp_version 3\n}}\nvrrp_sync_group G {{\n group {{\n VI_1\n VI_IN\n VI_6\n VI_IN6\n }}\n}}\n{}{}{}{}\
             virtual_server {head} {{\n delay_loop 1\n lb_algo rr\n lb_kind {way}\n {protocol}\n {}\n{servers}}}\n",
            instance(INSTANCE, "eth0", 51, "10.0.0.3/24"),
            instance("VI_IN", "eth1", 52, "10.1.0.1/24"),
            instance("VI_6", "eth0", 53, "fe80::3\n 2001:db8::3/64"),
            instance("VI_IN6", "eth1", 54, "fe80::4\n 2001:db8:1::1/64"),
            self.extra
        )
    }
}

/// What runs.
struct Game {
    bed: Bed,
    kind: Kind,
    web: Vec<WebServer>,
    _datagrams: Vec<DatagramServer>,
}

impl Game {
    /// `None` where there is no lab, or a module is not there.
    fn new(kind: Kind) -> Result<Option<Self>> {
        let nodes = |mut lab: vipd_tests::Builder| {
            for (name, n) in [("lb01", 5), ("lb02", 6), ("web1", 11), ("web2", 12)] {
                lab = lab.node(name, &format!("10.0.0.{n}/24")).address(&format!("2001:db8::{n}/64"));
                lab = lab.link(&format!("10.1.0.{n}/24")).address(&format!("2001:db8:1::{n}/64"));
            }
            lab.node("client", "10.0.0.100/24").address("2001:db8::100/64")
        };
        let Some((lab, permit)) = lab(nodes)? else { return Ok(None) };
        if !has_ipvs() {
            return Ok(None);
        }
        for module in kind.modules() {
            if !Command::new("modprobe").arg(module).status()?.success() {
                skip(format!("this kernel has no {module}"));
                return Ok(None);
            }
        }
        let mut game = Self { bed: Bed::of(lab, permit)?, kind, web: Vec::new(), _datagrams: Vec::new() };
        for node in ["lb01", "lb02"] {
            game.set_director_up(node)?;
        }
        for (name, n) in [("web1", 11), ("web2", 12)] {
            game.set_server_up(name, n)?;
            game.serve(name, n)?;
        }
        Ok(Some(game))
    }

    fn lab(&self) -> &Lab {
        &self.bed.lab
    }

    /// Forwarding is for NAT alone.
    fn set_director_up(&self, name: &str) -> Result<()> {
        let node = self.lab().node(name);
        if self.kind.way == Way::Nat {
            node.ns().sysctl("net/ipv4/ip_forward", "1")?;
            node.ns().sysctl("net/ipv6/conf/all/forwarding", "1")?;
        }
        if self.kind.is_marked {
            let (table, address) = match self.kind.family {
                Family::V4 => ("ip", "ip daddr"),
                Family::V6 => ("ip6", "ip6 daddr"),
            };
            let vip = self.kind.family.vip().to_string();
            node.exec(&["nft", "add", "table", table, "marks"])?;
            node.exec(&[
                "nft",
                "add chain",
                table,
                "marks pre { type filter hook prerouting priority -150 ; }",
            ])?;
            let rule = format!("{address} {vip} tcp dport {WEB} meta mark set 7");
            node.exec(&["nft", "add rule", table, "marks pre", &rule])?;
        }
        Ok(())
    }

    /// NAT takes a gateway; the others the VIP on `lo`, hidden from ARP, and tunnels their end.
    fn set_server_up(&self, name: &str, n: u8) -> Result<()> {
        let (node, family) = (self.lab().node(name), self.kind.family);
        let ip = |words: &[&str]| node.exec(&[&["ip", family.option()], words].concat());
        let (own, vip) = (self.kind.server(n).to_string(), family.vip().to_string());
        if self.kind.way == Way::Nat {
            // It has an address in the clients' network, too.
            ip(&["rule", "add", "from", &own, "lookup", "100", "preference", "100"])?;
            ip(&["route", "add", "default", "via", family.gateway(), "table", "100"])?;
            return Ok(());
        }
        node.ns().sysctl("net/ipv4/conf/all/arp_ignore", "1")?;
        node.ns().sysctl("net/ipv4/conf/all/arp_announce", "2")?;
        ip(&["address", "add", &vip, "dev", "lo"])?;
        let tunnel: &[&str] = match self.kind.way {
            Way::Nat | Way::Direct => return Ok(()),
            Way::Ipip => &["type", "ipip", "local", &own],
            Way::Gue => {
                ip(&["fou", "add", "port", "6080", "gue"])?;
                &["type", "ipip", "local", &own, "encap", "gue", "encap-sport", "auto", "encap-dport", "6080"]
            }
            Way::Gre => &["type", "gre", "local", &own],
        };
        ip(&[&["link", "add", "tunnel1"], tunnel].concat())?;
        ip(&["link", "set", "tunnel1", "up"])?;
        // What comes out of it is from a client, whom no route by it leads to.
        for interface in ["all", "tunnel1"] {
            node.ns().sysctl(&format!("net/ipv4/conf/{interface}/rp_filter"), "0")?;
        }
        Ok(())
    }

    fn serve(&mut self, name: &str, n: u8) -> Result<()> {
        let node = self.bed.lab.node(name);
        if self.kind.is_udp {
            // An answer is from the address that was asked.
            let at = if self.kind.way == Way::Nat { self.kind.server(n) } else { self.kind.family.vip() };
            self._datagrams.push(DatagramServer::start(node, SocketAddr::new(at, WEB), name)?);
            return Ok(());
        }
        let any: IpAddr = if self.kind.family == Family::V4 { [0; 4].into() } else { [0; 16].into() };
        self.web.push(WebServer::start(node, SocketAddr::new(any, WEB), name)?);
        Ok(())
    }

    /// Who answers the client in `times` questions; `nobody` if one is not answered.
    fn reached(&self, times: usize, limit: Duration) -> Result<BTreeSet<String>> {
        if self.kind.is_udp {
            return ask_datagrams(self.bed.client(), self.kind.service(), times, limit);
        }
        let mut reached = BTreeSet::new();
        for _ in 0..times {
            let answer = ask(self.bed.client(), self.kind.service(), limit)?;
            reached.insert(answer.unwrap_or_else(|| "nobody".to_owned()));
        }
        Ok(reached)
    }

    fn wait_reached(&self, names: &[&str]) -> Result<()> {
        let expect: BTreeSet<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let reaches = || self.reached(4, PATIENT).is_ok_and(|reached| reached == expect);
        wait_for(format_args!("{expect:?} to serve"), SOON, reaches).with_context(|| {
            let table = ["lb01", "lb02"].map(|name| self.lab().node(name).exec(&["cat", "/proc/net/ip_vs"]));
            format!("{:?}: {:?}; {table:?}", self.kind, self.reached(4, PATIENT))
        })?;
        Ok(())
    }

    fn start(&self) -> Result<[Daemon; 2]> {
        let pair =
            [self.bed.start("lb01", &self.kind.conf(150))?, self.bed.start("lb02", &self.kind.conf(100))?];
        self.wait_masters("lb01")?;
        self.bed.wait("lb02", "BACKUP")?;
        for node in ["lb01", "lb02"] {
            let is_settled = || self.balancing(node).is_ok_and(|it| it["settled"] == true);
            wait_for(format_args!("the table of {node}"), SOON, is_settled)?;
        }
        Ok(pair)
    }

    fn wait_masters(&self, node: &str) -> Result<()> {
        for name in [INSTANCE, "VI_IN", "VI_6", "VI_IN6"] {
            self.lab().node(node).wait_state(&self.bed.vipd, name, "MASTER", SOON)?;
        }
        Ok(())
    }

    fn balancing(&self, node: &str) -> Result<serde_json::Value> {
        Ok(self.lab().node(node).status(&self.bed.vipd)?["balancing"].clone())
    }

    /// The packets that IPVS of a node has taken. Other counts than those of each processor are two seconds old.
    fn scheduled(&self, node: &str) -> Result<u64> {
        let text = self.lab().node(node).exec(&["cat", "/proc/net/ip_vs_stats_percpu"])?;
        let rows = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        // The number of the processor, then connections, packets and octets in and out; below `~` are sums and rates.
        let of_processors = rows.skip(2).take_while(|row| row.first().is_some_and(|first| *first != "~"));
        let packets = of_processors.map(|row| u64::from_str_radix(row.get(2).copied().unwrap_or("none"), 16));
        packets.sum::<Result<u64, _>>().with_context(|| text.clone())
    }

    /// What is sent to the backup's MAC is dropped before IPVS.
    fn backup_drops(&self) -> Result<()> {
        let (client, vip) = (self.bed.client(), self.kind.family.vip().to_string());
        let mac = self.bed.lb02().mac().to_string();
        let neighbour =
            |words: &[&str]| client.exec(&[&["ip", self.kind.family.option(), "neigh"], words].concat());
        neighbour(&["replace", &vip, "lladdr", &mac, "dev", "eth0", "nud", "permanent"])?;
        let gated = || -> Result<u64> {
            let counters = self.bed.lab.node("lb02").status(&self.bed.vipd)?["counters"].clone();
            counters["ip_gated"].as_u64().with_context(|| format!("{counters}"))
        };
        let before = gated()?;
        let answered = self.reached(1, Duration::from_secs(3))?;
        ensure!(answered == ["nobody".to_owned()].into(), "the backup has served: {answered:?}");
        neighbour(&["del", &vip, "dev", "eth0"])?;
        // They have come to the backup, and it is vipd that has dropped them.
        let dropped = gated()? - before;
        ensure!(dropped > 0, "the backup has dropped nothing: {before} packets before and after");
        let counted = self.scheduled("lb02")?;
        ensure!(counted == 0, "IPVS of the backup has seen {counted} packets");
        Ok(())
    }
}

impl Kind {
    fn modules(&self) -> &'static [&'static str] {
        match self.way {
            Way::Nat | Way::Direct => &[],
            Way::Ipip => &["ipip"],
            Way::Gue => &["ipip", "fou"],
            Way::Gre => &["ip_gre"],
        }
    }
}

fn play(kind: Kind) -> Result<()> {
    let Some(game) = Game::new(kind)? else { return Ok(()) };
    let [mut first, _second] = game.start()?;
    game.wait_reached(&["web1", "web2"])?;
    ensure!(game.scheduled("lb01")? > 0, "the owner has counted nothing");
    game.backup_drops()?;
    game.wait_reached(&["web1", "web2"])?;
    first.kill9()?;
    game.wait_masters("lb02")?;
    game.wait_reached(&["web1", "web2"])?;
    ensure!(game.scheduled("lb02")? > 0, "the other director has counted nothing");
    Ok(())
}

#[test]
fn direct_routing() -> Result<()> {
    play(DIRECT)
}

#[test]
fn ipip_tunnels() -> Result<()> {
    play(Kind { way: Way::Ipip, ..NAT })
}

#[test]
fn gue_tunnels() -> Result<()> {
    play(Kind { way: Way::Gue, ..NAT })
}

#[test]
fn gre_tunnels() -> Result<()> {
    play(Kind { way: Way::Gre, ..NAT })
}

#[test]
fn nat_of_ipv6() -> Result<()> {
    play(Kind { family: Family::V6, ..NAT })
}

#[test]
fn direct_routing_of_ipv6() -> Result<()> {
    play(Kind { family: Family::V6, ..DIRECT })
}

#[test]
fn a_firewall_mark() -> Result<()> {
    play(Kind { is_marked: true, ..NAT })
}

#[test]
fn a_firewall_mark_of_ipv6() -> Result<()> {
    play(Kind { is_marked: true, family: Family::V6, ..DIRECT })
}

/// All packets are from one port: without `ops` one server would get them all.
#[test]
fn datagrams_one_by_one() -> Result<()> {
    play(Kind { is_udp: true, extra: "ops", ..DIRECT })
}

/// A client keeps its server, also at the other director, whose kernel has heard of it by the sync daemon.
#[test]
fn persistence() -> Result<()> {
    let extra = "persistence_timeout 300";
    let Some(mut game) = Game::new(Kind { extra, ..NAT })? else { return Ok(()) };
    let conf = |priority| game.kind.conf(priority) + "global_defs {\n lvs_sync_daemon eth1 VI_1\n}\n";
    let mut first = game.bed.start("lb01", &conf(150))?;
    let _second = game.bed.start("lb02", &conf(100))?;
    game.wait_masters("lb01")?;
    game.bed.wait("lb02", "BACKUP")?;
    let mut server = None;
    wait_for("an answer", SOON, || {
        server = game.reached(1, PATIENT).ok().filter(|reached| !reached.contains("nobody"));
        server.is_some()
    })?;
    let server = server.context("found, then lost")?;
    ensure!(game.reached(6, PATIENT)? == server, "the client has got another server");
    game.backup_drops()?;
    let knows =
        |node: &Node| node.exec(&["cat", "/proc/net/ip_vs_conn"]).is_ok_and(|it| it.lines().count() > 1);
    wait_for("the backup to hear of the client", SOON, || {
        // Each connection is told once, after three packets.
        let _ = game.reached(1, PATIENT);
        knows(game.bed.lb02())
    })?;
    first.kill9()?;
    game.wait_masters("lb02")?;
    let [only] = server.iter().map(String::as_str).collect::<Vec<_>>()[..] else { unreachable!() };
    game.wait_reached(&[only])?;
    // And not by chance: a server that is gone is replaced.
    let at = usize::from(only == "web2");
    drop(game.web.remove(at));
    let other = if at == 0 { "web2" } else { "web1" };
    game.wait_reached(&[other])
}
