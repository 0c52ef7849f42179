//! A stranger on the segment who floods it while a pair is in service.
//!
//! What no rule of VRRP permits to have an effect, and claims of the VIPs, which hosts believe. An advert of a higher
//! priority is left out: taking over is then what VRRP asks for, and who can send one has the virtual router. The attacker
//! keeps to its own Ethernet address: with another's it would attack the switch. Attacker, switch, routers and client
//! share the cores, and every flooded frame reaches the client too, so not each lost echo is the routers' doing.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use vipd_tests::{
    Lab, Node,
    probe::{
        packet::PacketSocket,
        question::{arp_request, solicitation},
    },
    wait_for,
};

use crate::{
    Options,
    frames::{Advert, Wrong, gratuitous_arps, neighbour_advert},
    ping::Pinger,
    report::Report,
    routers::{Kind, PATIENCE, Router, Spec, VIP},
    wire::Wire,
};

const PART: &str = "Adversary";
const INTERVAL: Duration = Duration::from_millis(100);
const ATTACK: Duration = Duration::from_secs(2);
/// Between two echo requests of a family.
const PERIOD: Duration = Duration::from_millis(5);
/// Frames for one system call.
const BATCH: usize = 64;
const VIP6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 3);
/// keepalived wants a link-local address first.
const LINK_LOCAL_VIP6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 3);
/// An address that no station of the lab has.
const STRANGER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 66);
/// Of the virtual router over IPv4.
const VRID: u8 = 1;

pub fn run(options: &Options, report: &mut Report) -> Result<()> {
    report.note(PART, format!(
        "each attack lasts {} s; frames per second are those that came through the attacker's port; an advert of \
         a higher priority is a takeover by VRRP's rules, so it is not among the attacks",
        ATTACK.as_secs()
    ));
    for run in 0..options.runs {
        let mut kinds = [Kind::Vipd, Kind::Keepalived];
        kinds.rotate_left(run % 2);
        for kind in kinds {
            let stage = Stage::set(kind)?;
            for attack in stage.attacks()? {
                stage.endure(&attack, report).with_context(|| format!("{}, {}", attack.what, kind.name()))?;
            }
        }
    }
    Ok(())
}

struct Attack {
    what: &'static str,
    /// Sent over and over.
    frames: Vec<Vec<u8>>,
    /// From one frame to the next; `None` is flat out, in batches.
    pace: Option<Duration>,
}

impl Attack {
    fn flood(what: &'static str, frames: Vec<Vec<u8>>) -> Self {
        Self { what, frames, pace: None }
    }

    /// What goes out in one system call each.
    fn batches(&self) -> Vec<Vec<Vec<u8>>> {
        let batch = if self.pace.is_none() { BATCH } else { 1 };
        let count = self.frames.len().div_ceil(batch);
        let all: Vec<Vec<u8>> = self.frames.iter().cycle().take(count * batch).cloned().collect();
        all.chunks(batch).map(<[_]>::to_vec).collect()
    }
}

/// A pair with a VIP of each family, a client of both, and the attacker.
struct Stage {
    kind: Kind,
    pingers: [(&'static str, Pinger); 2],
    wire: Wire,
    // Before the lab: daemons end before their namespaces.
    _routers: [Router; 2],
    lab: Lab,
}

impl Stage {
    fn set(kind: Kind) -> Result<Self> {
        let lab = Lab::builder()
            .node("lb01", "10.0.0.5/8")
            .address("2001:db8::5/64")
            .node("lb02", "10.0.0.6/8")
            .address("2001:db8::6/64")
            .node("client", "10.0.0.100/8")
            .address("2001:db8::100/64")
            .node("attacker", "10.0.0.200/8")
            .address("2001:db8::200/64")
            .build()?;
        let spec = Spec {
            vips: vec![vec![VIP.into()], vec![LINK_LOCAL_VIP6.into(), VIP6.into()]],
            ..Spec::single(INTERVAL)
        };
        let [lb01, lb02, client, attacker] =
            ["lb01", "lb02", "client", "attacker"].map(|name| lab.node(name));
        let masters = [ip(lb01)?.into(), IpAddr::V6(lb01.link_local())];
        let wire = Wire::watch(client.ns(), INTERVAL, &masters, Some(attacker.mac()))?;
        let master = Router::start(lb01, kind, &spec, 150)?;
        master.wait(lb01, "MASTER")?;
        let routers = [master, Router::start(lb02, kind, &spec, 100)?];
        let pingers = [
            ("echoes lost, IPv4", Pinger::start(client.ns(), VIP, PERIOD)?),
            ("echoes lost, IPv6", Pinger::start(client.ns(), VIP6, PERIOD)?),
        ];
        Ok(Self { kind, pingers, wire, _routers: routers, lab })
    }

    fn attacks(&self) -> Result<Vec<Attack>> {
        let attacker = self.lab.node("attacker");
        let from = attacker.mac();
        let (master, backup) = (ip(self.lab.node("lb01"))?, ip(self.lab.node("lb02"))?);
        let interval_cs = u8::try_from(INTERVAL.as_millis() / 10)?;
        let advert = |source, vrid, priority, wrong| {
            Advert { source, vrid, priority, interval_cs, vip: VIP, wrong }.frame(from)
        };
        // Were one of these believed, its priority would take the router over.
        let malformed = |wrong| vec![advert(STRANGER, VRID, 254, Some(wrong))];
        let others = (1..=255).filter(|vrid| *vrid != VRID).map(|vrid| advert(STRANGER, vrid, 254, None));
        Ok(vec![
            Attack::flood("adverts with a bad checksum", malformed(Wrong::Checksum)),
            Attack::flood("adverts of version 4", malformed(Wrong::Version)),
            Attack::flood("adverts with TTL 64", malformed(Wrong::Ttl)),
            Attack::flood("adverts without an address", malformed(Wrong::Count)),
            Attack::flood("truncated adverts", malformed(Wrong::Truncated)),
            Attack::flood(
                "adverts of priority 50 from the backup's address",
                vec![advert(backup, VRID, 50, None)],
            ),
            Attack::flood(
                "adverts of priority 50 from the master's address",
                vec![advert(master, VRID, 50, None)],
            ),
            Attack::flood("goodbyes from a stranger's address", vec![advert(STRANGER, VRID, 0, None)]),
            // In a flood each would be followed by another before a backup has done anything. No multiple of the interval,
            // so that each meets another moment between two adverts.
            Attack {
                what: "a goodbye each 430 ms from a stranger's address",
                frames: vec![advert(STRANGER, VRID, 0, None)],
                pace: Some(INTERVAL * 43 / 10),
            },
            Attack::flood("adverts of 254 other virtual routers", others.collect()),
            Attack::flood("ARP requests for the VIP", vec![arp_request(from, ip(attacker)?, VIP)]),
            Attack::flood("gratuitous ARP for the VIP", gratuitous_arps(from, VIP)),
            Attack::flood("NS for the VIP", vec![solicitation(from, attacker.link_local(), VIP6)]),
            Attack::flood(
                "unsolicited NA for the VIP",
                vec![neighbour_advert(from, attacker.link_local(), VIP6)],
            ),
        ])
    }

    fn endure(&self, attack: &Attack, report: &mut Report) -> Result<()> {
        let what = attack.what;
        self.settle()?;
        let attacker = self.lab.node("attacker");
        let socket = attacker.ns().run(|| PacketSocket::open("eth0", 0))??;
        let batches = attack.batches();
        let before = self.received(attacker)?;
        self.wire.restart()?;
        let begin = Instant::now();
        let mut accepted = 0;
        for batch in batches.iter().cycle() {
            if begin.elapsed() >= ATTACK {
                break;
            }
            accepted += socket.send_all(batch)?;
            if let Some(pace) = attack.pace {
                thread::sleep(pace);
            }
        }
        let end = Instant::now();
        ensure!(accepted > 0, "the attacker's socket takes no frames");
        let carried = self.received(attacker)? - before;
        // The last answers.
        thread::sleep(Duration::from_millis(200));

        let seen = self.wire.seen()?;
        let mut add = |metric, unit, value| report.add(PART, what, self.kind.name(), metric, unit, value);
        add("state transitions", "changes of the sender", seen.changes as f64);
        add(
            "longest gap between adverts",
            "intervals",
            seen.longest_gap.as_secs_f64() / INTERVAL.as_secs_f64(),
        );
        for (metric, pinger) in &self.pingers {
            let sent = (end - begin).as_secs_f64() / PERIOD.as_secs_f64();
            add(metric, "%", 100.0 * pinger.seen(begin, end, PERIOD).lost as f64 / sent);
        }
        add("frames per second", "frames/s", carried as f64 / (end - begin).as_secs_f64());
        if seen.missed > 0 {
            report.note(PART, format!("{what}: {}: the watch missed {}", self.kind.name(), seen.missed));
        }
        Ok(())
    }

    /// Waits until the rightful master is alone and serves the client, which forgets what it was told.
    fn settle(&self) -> Result<()> {
        self.lab.node("client").exec(&["ip", "neighbour", "flush", "dev", "eth0"])?;
        let begin = Instant::now();
        loop {
            self.wire.restart()?;
            thread::sleep(INTERVAL * 5);
            let seen = self.wire.seen()?;
            if (seen.routers, seen.rightful, seen.changes) == (2, 2, 0) {
                break;
            }
            ensure!(begin.elapsed() < PATIENCE, "the pair does not come to rest: {seen:?}");
        }
        for (_, pinger) in &self.pingers {
            wait_for("the client to be served", PATIENCE, || pinger.is_answered(50))?;
        }
        Ok(())
    }

    /// Frames that came to the switch from a node so far.
    fn received(&self, node: &Node) -> Result<u64> {
        let mut command = self.lab.switch().command("ip");
        let out = command.args(["-json", "-statistics", "link", "show", "dev", &node.port()]).output()?;
        let links: serde_json::Value = serde_json::from_slice(&out.stdout).context("ip's statistics")?;
        links[0]["stats64"]["rx"]["packets"].as_u64().context("no count of received packets")
    }
}

fn ip(node: &Node) -> Result<Ipv4Addr> {
    node.ip().with_context(|| format!("{} has an address", node.name()))
}
