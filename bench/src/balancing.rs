//! Load balancing beside keepalived: the removal of many servers, and a reload under load. It needs a kernel with IPVS.

use std::{
    fs,
    path::Path,
    process::{Child, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use vipd_tests::{Daemon, Lab, Node, wait_for};

use crate::{
    Options,
    report::Report,
    routers::{self, Kind, PATIENCE},
};

const PART: &str = "Load balancing";
const SERVICES: u32 = 300;
const SERVERS: u32 = 100;
/// Services of the reload, with two servers each.
const MANY: u32 = 1_000;

pub fn run(options: &Options, report: &mut Report) -> Result<()> {
    need_ipvs()?;
    for _ in 0..options.runs {
        for kind in [Kind::Vipd, Kind::Keepalived] {
            reload(kind, report)?;
            removal(kind, report)?;
        }
    }
    Ok(())
}

pub fn need_ipvs() -> Result<()> {
    // The module may be built in, or loaded.
    let _ = std::process::Command::new("modprobe").arg("ip_vs").output();
    ensure!(Path::new("/proc/net/ip_vs").exists(), "this kernel has no IPVS");
    Ok(())
}

/// A director between a client and two web servers, whose gateway it is; it has the VIP as an address of its own.
fn lab() -> Result<Lab> {
    let lab = Lab::builder().node("lb01", "10.0.0.5/8").link("172.16.0.1/16").node("client", "10.0.0.100/8");
    let lab = lab.node("web1", "10.77.0.1/24").link("172.16.0.11/16");
    let lab = lab.node("web2", "10.77.0.2/24").link("172.16.0.12/16").build()?;
    lab.node("lb01").exec(&["ip", "address", "add", "10.0.0.3/32", "dev", "eth0"])?;
    lab.node("lb01").ns().sysctl("net/ipv4/ip_forward", "1")?;
    for name in ["web1", "web2"] {
        lab.node(name).exec(&["ip", "route", "add", "default", "via", "172.16.0.1"])?;
    }
    Ok(lab)
}

/// A director that balances and does nothing else.
struct Director<'l> {
    node: &'l Node,
    kind: Kind,
    daemon: Daemon,
}

impl<'l> Director<'l> {
    fn start(node: &'l Node, kind: Kind, conf: &str) -> Result<Self> {
        let daemon = match kind {
            Kind::Vipd => {
                node.write_vipd_conf(conf)?;
                node.start_vipd(&routers::vipd()?)?
            }
            Kind::Keepalived => node.start_keepalived_checkers(conf)?,
            Kind::Frr => bail!("FRR balances nothing"),
        };
        Ok(Self { node, kind, daemon })
    }

    fn reload(&mut self, conf: &str) -> Result<()> {
        match self.kind {
            Kind::Vipd => self.node.write_vipd_conf(conf)?,
            _ => fs::write(self.node.dir().join("keepalived.conf"), conf)?,
        }
        self.daemon.sighup()
    }

    /// The kernel's table, a line for each service and each server.
    fn table(&self) -> Result<String> {
        self.node.exec(&["cat", "/proc/net/ip_vs"])
    }

    fn wait_lines(&self, count: usize) -> Result<()> {
        // Three lines are the head.
        // Reading a long table takes time from the daemon that fills it.
        let is_so = || {
            thread::sleep(Duration::from_secs(1));
            self.table().is_ok_and(|table| table.lines().count() == count + 3)
        };
        wait_for(format_args!("{count} lines"), PATIENCE, is_so)
            .with_context(|| format!("{:?}", self.table().map(|table| table.lines().count())))
            .map(drop)
    }
}

/// How long a stop takes that removes all services.
fn removal(kind: Kind, report: &mut Report) -> Result<()> {
    let lab = lab()?;
    let mut conf = String::new();
    for service in 0..SERVICES {
        conf += &format!(
            "virtual_server 10.0.0.3 {} {{\n delay_loop 60\n lb_algo rr\n lb_kind NAT\n protocol TCP\n",
            1_000 + service
        );
        for server in 0..SERVERS {
            conf +=
                &format!(" real_server 172.16.{}.{} 80 {{\n weight 1\n }}\n", 1 + service % 200, 1 + server);
        }
        conf += "}\n";
    }
    let mut director = Director::start(lab.node("lb01"), kind, &conf)?;
    director.wait_lines(usize::try_from(SERVICES * (SERVERS + 1))?)?;
    let began = Instant::now();
    director.daemon.sigterm()?;
    director.daemon.wait(PATIENCE)?;
    let took = began.elapsed();
    let left = director.table()?.lines().count() - 3;
    let what = format!("a stop with {SERVICES} services of {SERVERS} servers");
    report.add(PART, &what, kind.name(), "takes", "s", took.as_secs_f64());
    report.add(PART, &what, kind.name(), "lines left in the table", "", f64::from(u32::try_from(left)?));
    Ok(())
}

/// What clients see of a reload that changes a weight of the service that they use.
fn reload(kind: Kind, report: &mut Report) -> Result<()> {
    let lab = lab()?;
    let web = [
        lab.node("web1").start_nginx(([0, 0, 0, 0], 80))?,
        lab.node("web2").start_nginx(([0, 0, 0, 0], 80))?,
    ];
    let conf = |weight: u32| -> String {
        let service = |at: u32| {
            let weight = if at == 0 { weight } else { 1 };
            let server = |n| {
                format!(
                    " real_server 172.16.0.1{n} 80 {{\n weight {weight}\n TCP_CHECK {{\n connect_timeout 5\n }}\n }}\n"
                )
            };
            format!(
                "virtual_server 10.0.0.3 {} {{\n delay_loop 20\n lb_algo wrr\n lb_kind NAT\n protocol TCP\n{}{}}}\n",
                80 + at,
                server(1),
                server(2)
            )
        };
        (0..MANY).map(service).collect()
    };
    let mut director = Director::start(lab.node("lb01"), kind, &conf(1))?;
    director.wait_lines(usize::try_from(MANY * 3)?)?;
    let load = Wrk::start(lab.node("client"), "http://10.0.0.3/", 20, 15)?;
    thread::sleep(Duration::from_secs(5));
    let began = Instant::now();
    director.reload(&conf(2))?;
    let changed = || {
        let table = director.table().unwrap_or_default();
        // The first service's port is 80.
        let of_service = table.split("0A000003:0050").nth(1).unwrap_or_default();
        of_service.lines().skip(1).take(2).filter(|line| line.split_whitespace().nth(3) == Some("2")).count()
            == 2
    };
    wait_for("the weights", PATIENCE, changed)?;
    let what = format!("a reload of {MANY} services, one changed, 20 clients");
    report.add(PART, &what, kind.name(), "until the weight is there", "s", began.elapsed().as_secs_f64());
    load.finish(PART, &what, kind, report)?;
    drop(web);
    Ok(())
}

/// Debian's wrk in a namespace.
pub struct Wrk(Child);

impl Wrk {
    pub fn start(node: &Node, url: &str, clients: u32, seconds: u32) -> Result<Self> {
        let mut command = node.command("wrk");
        command.args([
            "-t",
            "1",
            "-c",
            &clients.to_string(),
            "-d",
            &format!("{seconds}s"),
            "--timeout",
            "5s",
            url,
        ]);
        let child = command.stdout(Stdio::piped()).spawn().context("wrk; apt-get install wrk")?;
        Ok(Self(child))
    }

    /// Waits for its end: requests, and those that have failed.
    pub fn finish(self, part: &str, what: &str, kind: Kind, report: &mut Report) -> Result<()> {
        let output = self.0.wait_with_output()?;
        let text = String::from_utf8(output.stdout)?;
        // `  1234 requests in 15.00s, 1.00MB read`, and where there are any `  Socket errors: connect 0, read 1, write 0, timeout 0`.
        let requests = text.lines().find_map(|line| line.trim().split_once(" requests in")?.0.parse().ok());
        let errors = text.lines().find_map(|line| line.trim().strip_prefix("Socket errors:"));
        let bad = text.lines().find_map(|line| line.trim().strip_prefix("Non-2xx or 3xx responses:"));
        let numbers = |line: &str| -> f64 {
            line.split(|c: char| !c.is_ascii_digit()).filter_map(|number| number.parse::<f64>().ok()).sum()
        };
        report.add(part, what, kind.name(), "requests", "", requests.with_context(|| text.clone())?);
        let failed = errors.map_or(0.0, numbers) + bad.map_or(0.0, numbers);
        report.add(part, what, kind.name(), "failed requests", "", failed);
        Ok(())
    }
}
