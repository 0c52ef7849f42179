//! How many questions for a VIP are answered, ARP and NS, from one asker and from very many: by vipd's XDP program, and by
//! the kernel with the address on its interface.
//!
//! At steady rates the questions go through the lab's switch, as any client's do. Asker and answerer share the machine, and most of
//! what a frame costs is the way there and back, two veths and a bridge each: that bounds the rate, not who answers. So flat
//! out the asker is XDP at the other end of the node's cable, which costs little. It runs on the answerer's core, and no
//! question is sent before the last 64 are done with: the slower the answers, the fewer questions.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use vipd_tests::{
    Lab, Mac, Node,
    probe::question::{arp_request, solicitation},
    xdp::{Counter, Generator, Program, Varying},
};

use crate::{
    Options,
    flood::{Sent, flood, packet_socket},
    report::Report,
    routers::{Kind, PATIENCE, Router, Spec, VIP, vipd},
};

const PART: &str = "ARP and NS answers";
/// Of one measurement.
const SPAN: Duration = Duration::from_secs(1);
/// For the last answers to arrive.
const STRAGGLERS: Duration = Duration::from_millis(100);
const ASKERS: [usize; 2] = [1, 65_536];
/// Questions per second.
const RATES: [u64; 3] = [20_000, 100_000, 300_000];
/// Questions that the generator sends without a look at the clock.
const VOLLEY: u32 = 65_536;
const ASKER: Mac = Mac([0x02, 0, 0, 0, 0, 0x64]);
const VIP6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 3);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answerer {
    Vipd,
    Kernel,
}

pub fn run(options: &Options, report: &mut Report) -> Result<()> {
    report.note(PART, format!(
        "the kernel answers only askers that it has room for among its neighbours, {} (gc_thresh3) in all namespaces \
         together",
        std::fs::read_to_string("/proc/sys/net/ipv4/neigh/default/gc_thresh3")?.trim()
    ));
    for run in 0..options.runs {
        // In turns, and not always the same first.
        let mut answerers = [Answerer::Vipd, Answerer::Kernel];
        answerers.rotate_left(run % 2);
        for answerer in answerers {
            at_steady_rates(answerer, report)?;
            flat_out(answerer, report)?;
        }
    }
    Ok(())
}

fn at_steady_rates(answerer: Answerer, report: &mut Report) -> Result<()> {
    let lab = Lab::builder()
        .node("lb01", "10.0.0.5/8")
        .address("2001:db8::5/64")
        .node("client", "10.0.0.100/8")
        .address("2001:db8::100/64")
        .build()?;
    let (node, client) = (lab.node("lb01"), lab.node("client"));
    let router = answerer.set(node)?;
    for vip in [IpAddr::from(VIP), IpAddr::from(VIP6)] {
        // In XDP at the client, and dropped there: the client's kernel would cost more than the answers.
        let counter = Counter::new(&answers_to(client.mac(), vip))?;
        let _attached = counter.attach(client.ns(), "eth0")?;
        for askers in ASKERS {
            let questions: Vec<_> =
                (0..=u16::MAX).take(askers).map(|n| question(client.mac(), n, vip)).collect();
            for rate in RATES {
                // Neighbours that the last askers made would be in the way of these.
                node.exec(&["ip", "neighbour", "flush", "dev", "eth0"])?;
                let before = counter.count()?;
                let send = || flood(&packet_socket("eth0")?, &questions, Some(rate), SPAN);
                let asked = client.ns().run(send)??;
                thread::sleep(STRAGGLERS);
                let answers = counter.count()? - before;
                let what = what(vip, askers, &format!("{}k/s", rate / 1_000));
                tell(report, answerer, &what, asked, answers);
            }
        }
    }
    check(router, node)
}

fn flat_out(answerer: Answerer, report: &mut Report) -> Result<()> {
    let lab = Lab::builder().node("lb01", "10.0.0.5/8").address("2001:db8::5/64").build()?;
    let node = lab.node("lb01");
    let port = lab.take_port("lb01")?;
    let router = answerer.set(node)?;
    // What the kernel answers is on its way through an XDP program too, or the port would not take frames from XDP.
    let pass = Program::pass()?;
    let _passing = (answerer == Answerer::Kernel).then(|| pass.attach(node.ns(), "eth0")).transpose()?;
    for vip in [IpAddr::from(VIP), IpAddr::from(VIP6)] {
        let counter = Counter::new(&answers_to(ASKER, vip))?;
        let _attached = counter.attach(lab.switch(), port)?;
        for askers in ASKERS {
            node.exec(&["ip", "neighbour", "flush", "dev", "eth0"])?;
            let generator = Generator::new(question(ASKER, 0, vip), (askers > 1).then(|| sender(vip)))?;
            let before = counter.count()?;
            let mut asked = Sent { count: 0, elapsed: Duration::ZERO };
            let begin = Instant::now();
            while asked.elapsed < SPAN {
                generator.send(lab.switch(), port, VOLLEY)?;
                asked = Sent { count: asked.count + u64::from(VOLLEY), elapsed: begin.elapsed() };
            }
            thread::sleep(STRAGGLERS);
            let answers = counter.count()? - before;
            tell(report, answerer, &what(vip, askers, "flat out"), asked, answers);
        }
    }
    check(router, node)
}

fn what(vip: IpAddr, askers: usize, rate: &str) -> String {
    format!("{}, {askers} askers, {rate}", if vip.is_ipv4() { "ARP" } else { "NS" })
}

fn tell(report: &mut Report, answerer: Answerer, what: &str, asked: Sent, answers: u64) {
    let (seconds, answers) = (asked.elapsed.as_secs_f64(), answers as f64);
    let daemon = answerer.name();
    report.add(PART, what, daemon, "asked", "1/s", asked.count as f64 / seconds);
    report.add(PART, what, daemon, "answers", "1/s", answers / seconds);
    report.add(PART, what, daemon, "answered", "%", 100.0 * answers / asked.count as f64);
}

fn check(router: Option<Router>, node: &Node) -> Result<()> {
    if let Some(router) = router {
        ensure!(router.is(node, "MASTER"), "vipd is no longer master: the figures are of someone else");
    }
    Ok(())
}

impl Answerer {
    fn name(self) -> &'static str {
        match self {
            Self::Vipd => "vipd",
            Self::Kernel => "kernel",
        }
    }

    /// Makes the node answer for both VIPs.
    fn set(self, node: &Node) -> Result<Option<Router>> {
        match self {
            Self::Vipd => {
                let mut spec = Spec::single(Duration::from_secs(1));
                spec.vips.push(vec![VIP6.into()]);
                let router = Router::start(node, Kind::Vipd, &spec, 150)?;
                for instance in ["VI_1", "VI_2"] {
                    node.wait_state(&vipd()?, instance, "MASTER", PATIENCE)?;
                }
                Ok(Some(router))
            }
            Self::Kernel => {
                node.exec(&["ip", "address", "add", &format!("{VIP}/8"), "dev", "eth0"])?;
                node.exec(&["ip", "address", "add", &format!("{VIP6}/64"), "dev", "eth0", "nodad"])?;
                Ok(None)
            }
        }
    }
}

/// Where the sender's address, with which askers differ, has its last two octets.
fn sender(vip: IpAddr) -> Varying {
    match vip {
        IpAddr::V4(_) => Varying { word: 30, complement: None },
        // The two octets before make up for it in the checksum.
        IpAddr::V6(_) => Varying { word: 36, complement: Some(34) },
    }
}

/// From the asker of that number, who has the station `from`.
fn question(from: Mac, asker: u16, vip: IpAddr) -> Vec<u8> {
    let [high, low] = asker.to_be_bytes();
    match vip {
        IpAddr::V4(vip) => arp_request(from, Ipv4Addr::new(10, 1, high, low), vip),
        IpAddr::V6(vip) => solicitation(from, Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, !asker, asker), vip),
    }
}

/// What a [`Counter`] is to look for: ARP replies, or NAs, to this station.
fn answers_to(Mac([a, b, c, d, e, f]): Mac, vip: IpAddr) -> Vec<(u16, u16)> {
    let words = [[a, b], [c, d], [e, f]].map(u16::from_be_bytes);
    let mut kind: Vec<_> = [0, 2, 4].into_iter().zip(words).collect();
    kind.extend(match vip {
        // The operation.
        IpAddr::V4(_) => [(12, 0x0806), (20, 2)],
        // Type and code.
        IpAddr::V6(_) => [(12, 0x86dd), (54, 136 << 8)],
    });
    kind
}
