//! Connections through a pair of directors whose master loses its power: how many go on, and what new clients see. It needs a kernel with IPVS.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use vipd_tests::{Daemon, Lab, Node, wait_for};

use crate::{
    Options,
    balancing::{Wrk, need_ipvs},
    report::Report,
    routers::{self, Kind, PATIENCE},
};

const PART: &str = "Load balancing: failover";
const CONNECTIONS: usize = 200;
/// For an answer on a connection that goes on.
const ANSWER: Duration = Duration::from_secs(10);
const WAYS: [(&str, &str, &str); 3] = [
    ("rr", "rr", ""),
    ("rr, sync daemon", "rr", "lvs_sync_daemon eth1 VI_1\n"),
    ("mh", "mh\n mh-port\n mh-fallback", ""),
];

pub fn run(options: &Options, report: &mut Report) -> Result<()> {
    need_ipvs()?;
    for _ in 0..options.runs {
        for way in WAYS {
            for kind in [Kind::Vipd, Kind::Keepalived] {
                cut(way, kind, report)?;
            }
        }
    }
    Ok(())
}

fn lab() -> Result<Lab> {
    let lab = Lab::builder().node("lb01", "10.0.0.5/24").link("10.1.0.5/24");
    let lab = lab.node("lb02", "10.0.0.6/24").link("10.1.0.6/24").node("client", "10.0.0.100/24");
    // Their eth0 is of another network, so that answers go by the gateway.
    let lab = lab.node("web1", "10.77.0.1/24").link("10.1.0.11/24");
    let lab = lab.node("web2", "10.77.0.2/24").link("10.1.0.12/24").build()?;
    for name in ["lb01", "lb02"] {
        lab.node(name).ns().sysctl("net/ipv4/ip_forward", "1")?;
    }
    for name in ["web1", "web2"] {
        lab.node(name).exec(&["ip", "route", "add", "default", "via", "10.1.0.1"])?;
    }
    Ok(lab)
}

/// The VIP and the servers' gateway move together; port 80 is for new connections, port 7 for those that stay.
fn conf(priority: u8, (_, algorithm, global): (&str, &str, &str)) -> String {
    let instance = |name: &str, interface: &str, vrid: u8, vip: &str| {
        format!(
            "vrrp_instance {name} {{\n interface {interface}\n virtual_router_id {vrid}\n priority {priority}\n advert_int 1\n \
             virtual_ipaddress {{\n {vip}\n }}\n}}\n"
        )
    };
    let server = |at: &str, port: u16| {
        format!(" real_server {at} {port} {{\n TCP_CHECK {{\n connect_timeout 5\n }}\n }}\n")
    };
    let service = |port: u16| {
        format!(
            "virtual_server 10.0.0.3 {port} {{\n delay_loop 5\n lb_algo {algorithm}\n lb_kind NAT\n protocol TCP\n inhibit_on_failure\n{}{}}}\n",
            server("10.1.0.11", port),
            server("10.1.0.12", port)
        )
    };
    format!(
        "global_defs {{\n vrrp_version 3\n {global}}}\nvrrp_sync_group G {{\n group {{\n VI_1\n VI_IN\n }}\n}}\n{}{}{}{}",
        instance("VI_1", "eth0", 51, "10.0.0.3/24"),
        instance("VI_IN", "eth1", 52, "10.1.0.1/24"),
        service(80),
        service(7)
    )
}

fn start(node: &Node, kind: Kind, priority: u8, way: (&str, &str, &str)) -> Result<Daemon> {
    let conf = conf(priority, way);
    if kind == Kind::Keepalived {
        return node.start_keepalived_whole(&conf);
    }
    node.write_vipd_conf(&conf)?;
    node.start_vipd(&routers::vipd()?)
}

fn wait(node: &Node, kind: Kind, state: &str) -> Result<()> {
    let vipd = routers::vipd()?;
    let is_so = || match kind {
        Kind::Keepalived => node.keepalived_state("VI_1").is_ok_and(|s| s.as_deref() == Some(state)),
        _ => node.state(&vipd, "VI_1").is_ok_and(|s| s == state),
    };
    wait_for(format_args!("{state} on {}", node.name()), PATIENCE, is_so).map(drop)
}

fn cut(way: (&str, &str, &str), kind: Kind, report: &mut Report) -> Result<()> {
    let lab = lab()?;
    let mut servers = Vec::new();
    for name in ["web1", "web2"] {
        servers.push(lab.node(name).start_nginx(([0, 0, 0, 0], 80))?);
        echo(lab.node(name))?;
    }
    let (lb01, lb02, client) = (lab.node("lb01"), lab.node("lb02"), lab.node("client"));
    let daemons = [start(lb01, kind, 150, way)?, start(lb02, kind, 100, way)?];
    wait(lb01, kind, "MASTER")?;
    wait(lb02, kind, "BACKUP")?;
    let to: SocketAddr = "10.0.0.3:7".parse()?;
    wait_for("a connection", PATIENCE, || talk(client, to).is_ok_and(|mut talk| says(&mut talk)))?;
    let mut talks = (0..CONNECTIONS).map(|_| talk(client, to)).collect::<Result<Vec<_>>>()?;
    // The sync daemon has a connection at its third packet, and sends every second.
    for _ in 0..5 {
        talks.iter_mut().for_each(|talk| _ = says(talk));
    }
    let load = Wrk::start(client, "http://10.0.0.3/", 20, 15)?;
    thread::sleep(Duration::from_secs(4));

    let began = Instant::now();
    for interface in ["eth0", "eth1"] {
        lab.set_link("lb01", interface, false)?;
    }
    wait(lb02, kind, "MASTER")?;
    report.add(PART, way.0, kind.name(), "until the backup is master", "s", began.elapsed().as_secs_f64());
    thread::sleep(Duration::from_secs(1));
    let kept: Vec<bool> = thread::scope(|scope| {
        let threads: Vec<_> = talks.iter_mut().map(|talk| scope.spawn(|| says(talk))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap_or(false)).collect()
    });
    let share = 100.0 * kept.iter().filter(|kept| **kept).count() as f64 / CONNECTIONS as f64;
    report.add(PART, way.0, kind.name(), "connections that go on", "%", share);
    load.finish(PART, way.0, kind, report)?;
    drop((daemons, servers));
    Ok(())
}

/// A server of lines on port 7; it ends with the process.
fn echo(node: &Node) -> Result<()> {
    let listener = node.ns().run(|| TcpListener::bind("0.0.0.0:7"))??;
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            thread::spawn(move || {
                let mut lines = BufReader::new(stream.try_clone()?).lines();
                while let Some(Ok(line)) = lines.next() {
                    stream.write_all(format!("{line}\n").as_bytes())?;
                }
                std::io::Result::Ok(())
            });
        }
    });
    Ok(())
}

fn talk(client: &Node, to: SocketAddr) -> Result<TcpStream> {
    client.ns().run(|| -> Result<TcpStream> {
        let stream = TcpStream::connect_timeout(&to, ANSWER).context("connect")?;
        stream.set_read_timeout(Some(ANSWER))?;
        Ok(stream)
    })?
}

/// Whether a line comes back.
fn says(stream: &mut TcpStream) -> bool {
    let mut answer = [0; 6];
    stream.write_all(b"hello\n").is_ok() && stream.read_exact(&mut answer).is_ok() && answer == *b"hello\n"
}
