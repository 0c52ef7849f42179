//! Load balancing by the kernel's IPVS: a pair of directors that share the VIP and the servers' gateway, servers that fail and come back, a
//! reload, a crash, a stop. Debian's kernels have IPVS: `cargo xtask guest --kernel debian-12 balancing`.

#![allow(clippy::disallowed_methods, reason = "tests measure")]

mod support;

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use support::{
    web::{WebServer, ask, has_ipvs, is_loadable, table},
    *,
};
use vipd_tests::{Daemon, Lab, Node, wait_for};

const SERVICE: &str = "10.0.0.3:80";
/// For an answer on a slow machine.
const PATIENT: Duration = Duration::from_secs(10);

/// lb01 and lb02 are directors between the client's network and that of the servers web1, web2 and sorry, whose gateway is a second VIP.
struct Directors {
    bed: Bed,
    servers: Vec<Option<WebServer>>,
}

const SERVERS: [(&str, &str); 3] =
    [("web1", "10.1.0.11:80"), ("web2", "10.1.0.12:80"), ("sorry", "10.1.0.13:80")];

impl Directors {
    /// `None` where there is no lab, or no IPVS.
    fn new() -> Result<Option<Self>> {
        let nodes = |lab: vipd_tests::Builder| {
            let lab = lab.node("lb01", "10.0.0.5/24").link("10.1.0.5/24");
            let lab = lab.node("lb02", "10.0.0.6/24").link("10.1.0.6/24").node("client", "10.0.0.100/24");
            // Their eth0 is of another network, so that answers go by the gateway.
            let lab = lab.node("web1", "10.77.0.1/24").link("10.1.0.11/24");
            let lab = lab.node("web2", "10.77.0.2/24").link("10.1.0.12/24");
            lab.node("sorry", "10.77.0.3/24").link("10.1.0.13/24")
        };
        let Some((lab, permit)) = lab(nodes)? else { return Ok(None) };
        if !has_ipvs() {
            return Ok(None);
        }
        let mut directors = Self { bed: Bed::of(lab, permit)?, servers: Vec::new() };
        for node in ["lb01", "lb02"] {
            directors.lab().node(node).ns().sysctl("net/ipv4/ip_forward", "1")?;
        }
        for (name, _) in SERVERS {
            directors.lab().node(name).exec(&["ip", "route", "add", "default", "via", "10.1.0.1"])?;
            directors.servers.push(None);
            directors.serve(name, true)?;
        }
        Ok(Some(directors))
    }

    fn lab(&self) -> &Lab {
        &self.bed.lab
    }

    /// Starts or stops a web server.
    fn serve(&mut self, name: &str, is_on: bool) -> Result<()> {
        let at = SERVERS.iter().position(|(known, _)| *known == name).context("no such server")?;
        self.servers[at] = None;
        if is_on {
            let server = WebServer::start(self.lab().node(name), SERVERS[at].1.parse()?, name)?;
            self.servers[at] = Some(server);
        }
        Ok(())
    }

    /// Whom the client reaches in `times` connections.
    fn reached(&self, times: usize) -> Result<BTreeSet<String>> {
        let to: SocketAddr = SERVICE.parse()?;
        let mut reached = BTreeSet::new();
        for _ in 0..times {
            reached.insert(ask(self.bed.client(), to, PATIENT)?.unwrap_or_else(|| "nobody".to_owned()));
        }
        Ok(reached)
    }

    fn wait_reached(&self, names: &[&str]) -> Result<()> {
        let expect: BTreeSet<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let reaches = || self.reached(4).is_ok_and(|reached| reached == expect);
        wait_for(format_args!("{expect:?} to serve"), SOON, reaches)
            .with_context(|| format!("{:?}; {:?}", self.reached(4), table(self.bed.lb01())))?;
        Ok(())
    }

    fn wait_table(&self, node: &Node, servers: &[&str]) -> Result<()> {
        let head = format!("TCP {SERVICE} rr");
        let lines = servers.iter().map(|server| format!("  {server}"));
        let expect: Vec<String> = [head].into_iter().chain(lines).collect();
        wait_for(format_args!("{expect:?} on {}", node.name()), SOON, || {
            table(node).is_ok_and(|table| table == expect)
        })
        .with_context(|| format!("{:?}", table(node)))?;
        Ok(())
    }

    fn balancing(&self, node: &str) -> Result<Value> {
        Ok(self.lab().node(node).status(&self.bed.vipd)?["balancing"].clone())
    }

    fn start_pair(&self, services: &str) -> Result<[Daemon; 2]> {
        let pair = [
            self.bed.start("lb01", &conf_of(150, services))?,
            self.bed.start("lb02", &conf_of(100, services))?,
        ];
        self.bed.wait("lb01", "MASTER")?;
        self.bed.wait("lb02", "BACKUP")?;
        Ok(pair)
    }
}

/// The VIP of the clients and the gateway of the servers move together.
fn conf_of(priority: u8, services: &str) -> String {
    let instance = |name: &str, interface: &str, vrid: u8, vip: &str| {
        format!(
            "vrrp_instance {name} {{\n interface {interface}\n virtual_router_id {vrid}\n priority {priority}\n advert_int 1\n \
             virtual_ipaddress {{\n {vip}\n }}\n}}\n"
        )
    };
    format!(
        "global_defs {{\n vrrp_version 3\n}}\nvrrp_sync_group G {{\n group {{\n VI_1\n VI_IN\n }}\n}}\n{}{}{services}",
        instance(INSTANCE, "eth0", 51, "10.0.0.3/24"),
        instance("VI_IN", "eth1", 52, "10.1.0.1/24")
    )
}

/// Both servers, by NAT in turn, checked every second.
fn web(servers: &[&str]) -> String {
    let server = |name: &&str| {
        let (_, at) = SERVERS.iter().find(|(known, _)| known == name).copied().unwrap_or(("", "0.0.0.0:0"));
        format!(
            " real_server {} {{\n  TCP_CHECK {{\n   connect_timeout 5\n   retry 1\n   delay_before_retry 1\n  }}\n }}\n",
            at.replace(':', " ")
        )
    };
    format!(
        "virtual_server 10.0.0.3 80 {{\n delay_loop 1\n lb_algo rr\n lb_kind NAT\n protocol TCP\n sorry_server 10.1.0.13 80\n{}}}\n",
        servers.iter().map(server).collect::<String>()
    )
}

const ONE: &str = "10.1.0.11:80 Masq 1";
const TWO: &str = "10.1.0.12:80 Masq 1";
const SORRY: &str = "10.1.0.13:80 Masq 1";

/// A server that stops is taken out and comes back; without any the sorry server serves; a reload touches nothing; a drained server gets no
/// new connections; a stop leaves nothing.
#[test]
fn servers_come_and_go() -> Result<()> {
    let Some(mut directors) = Directors::new()? else { return Ok(()) };
    let mut pair = directors.start_pair(&web(&["web1", "web2"]))?;
    for node in ["lb01", "lb02"] {
        directors.wait_table(directors.lab().node(node), &[ONE, TWO])?;
    }
    directors.wait_reached(&["web1", "web2"])?;

    directors.serve("web1", false)?;
    for node in ["lb01", "lb02"] {
        directors.wait_table(directors.lab().node(node), &[TWO])?;
    }
    directors.wait_reached(&["web2"])?;
    let told = directors.bed.told("lb01", &["services"])?;
    ensure!(
        told.contains("10.1.0.11:80  NAT     -       down") && told.contains("connection refused"),
        "{told}"
    );
    let down = directors.balancing("lb01")?["services"][0]["servers"][0].clone();
    ensure!(down["state"] == "down" && down["weight"].is_null(), "{down}");

    directors.serve("web2", false)?;
    directors.wait_table(directors.bed.lb01(), &[SORRY])?;
    directors.wait_reached(&["sorry"])?;
    directors.serve("web1", true)?;
    directors.serve("web2", true)?;
    directors.wait_table(directors.bed.lb01(), &[ONE, TWO])?;
    directors.wait_reached(&["web1", "web2"])?;

    // A service that was made anew would count from 0.
    let connections = || -> Result<u64> {
        let status = directors.balancing("lb01")?;
        status["services"][0]["traffic"]["connections"].as_u64().context("no count")
    };
    let before = connections()?;
    ensure!(before >= 8, "only {before} connections were counted");
    directors.bed.reloaded("lb01", &(conf_of(150, &web(&["web1", "web2"])) + "# a comment\n"))?;
    ensure!(connections()? >= before, "the reload has made the service anew");
    directors.wait_table(directors.bed.lb01(), &[ONE, TWO])?;

    let said = directors.bed.told("lb01", &["drain-server", SERVICE, "10.1.0.11:80"])?;
    ensure!(said.contains("gets no new connections"), "{said}");
    ensure!(directors.reached(4)? == ["web2".to_owned()].into(), "a drained server has got a connection");
    directors.bed.told("lb01", &["undrain-server", SERVICE, "10.1.0.11:80"])?;
    directors.wait_reached(&["web1", "web2"])?;

    for (at, node) in ["lb01", "lb02"].into_iter().enumerate() {
        directors.bed.told(node, &["stop"])?;
        let status = pair[at].wait(SOON)?;
        ensure!(status.success(), "{status}: {}", pair[at].log());
        ensure!(table(directors.lab().node(node))?.is_empty(), "services are left on {node}");
    }
    Ok(())
}

/// A director that is killed is replaced, with the servers' gateway; one that starts again takes over what the killed one has left, and
/// removes what is not configured any more; `vipd cleanup` removes the rest. A backup forwards nothing, though its table is full.
#[test]
fn a_director_that_dies_is_replaced_and_takes_its_table_over() -> Result<()> {
    let Some(mut directors) = Directors::new()? else { return Ok(()) };
    let mut pair = directors.start_pair(&web(&["web1", "web2"]))?;
    directors.wait_reached(&["web1", "web2"])?;

    // What is sent to the backup's MAC is not forwarded by it.
    let mac = directors.bed.lb02().mac().to_string();
    let client = |words: &[&str]| directors.bed.client().exec(&[&["ip", "neigh"], words].concat());
    client(&["replace", "10.0.0.3", "lladdr", &mac, "dev", "eth0", "nud", "permanent"])?;
    let to: SocketAddr = SERVICE.parse()?;
    let answered = ask(directors.bed.client(), to, Duration::from_secs(3))?;
    ensure!(answered.is_none(), "the backup has served: {answered:?}");
    client(&["del", "10.0.0.3", "dev", "eth0"])?;
    let counted = directors.balancing("lb02")?["services"][0]["traffic"]["connections"].clone();
    ensure!(counted == 0, "the backup has scheduled {counted}");

    let killed = pair[0].kill9()?;
    directors.bed.wait("lb02", "MASTER")?;
    println!("the backup is master {:?} after the crash", killed.elapsed());
    directors.wait_reached(&["web1", "web2"])?;

    // The killed one's table stands, with a server that has died since, and one that is not configured any more.
    ensure!(table(directors.bed.lb01())?.len() == 3, "a crash has removed services");
    directors.serve("web1", false)?;
    let began = Instant::now();
    pair[0] = directors.bed.start("lb01", &conf_of(150, &web(&["web1"])))?;
    directors.wait_table(directors.bed.lb01(), &[SORRY])?;
    println!("the table is right {:?} after the start", began.elapsed());
    directors.serve("web1", true)?;
    directors.wait_table(directors.bed.lb01(), &[ONE])?;

    pair[0].kill9()?;
    directors.serve("web1", false)?;
    let pins = directors.bed.lb01().bpffs_dir().display().to_string();
    let left = directors.bed.told("lb01", &["cleanup", "--bpffs-dir", &pins, "--dry-run"])?;
    ensure!(left.contains("IPVS service TCP 10.0.0.3:80"), "{left}");
    directors.bed.told("lb01", &["cleanup", "--bpffs-dir", &pins])?;
    ensure!(table(directors.bed.lb01())?.is_empty(), "cleanup has left {:?}", table(directors.bed.lb01())?);
    Ok(())
}

/// A verdict survives a restart: a server that is known to be dead never gets a connection, though it has no `alpha`.
#[test]
fn a_restart_keeps_verdicts() -> Result<()> {
    let Some(mut directors) = Directors::new()? else { return Ok(()) };
    directors.serve("web1", false)?;
    // So long a first wait that no check runs after the restart.
    let slow = |warmup: &str| {
        web(&["web1", "web2"]).replace("delay_loop 1\n", &format!("delay_loop 1\n warmup {warmup}\n"))
    };
    let mut daemon = directors.bed.start("lb01", &conf_of(150, &slow("0")))?;
    directors.bed.wait("lb01", "MASTER")?;
    directors.wait_table(directors.bed.lb01(), &[TWO])?;
    directors.bed.told("lb01", &["stop", "--for-restart"])?;
    daemon.wait(SOON)?;
    directors.wait_table(directors.bed.lb01(), &[TWO])?;
    let _daemon = directors.bed.start("lb01", &conf_of(150, &slow("3600")))?;
    directors.bed.wait("lb01", "MASTER")?;
    let down = || -> Result<Value> { Ok(directors.balancing("lb01")?["services"][0]["servers"][0].clone()) };
    wait_for("the services", SOON, || down().is_ok_and(|down| !down.is_null()))?;
    ensure!(down()?["state"] == "down", "{}", down()?);
    directors.wait_table(directors.bed.lb01(), &[TWO])?;
    directors.wait_reached(&["web2"])
}

/// With `mh` both nodes have `sloppy_tcp`, and each runs the sync daemon of its role; a stop puts all of it back.
#[test]
fn connections_are_prepared_for_a_failover() -> Result<()> {
    let Some(directors) = Directors::new()? else { return Ok(()) };
    let services = web(&["web1", "web2"]).replace("lb_algo rr", "lb_algo mh\n mh-port");
    let services = services + "global_defs {\n lvs_sync_daemon eth1 VI_1\n lvs_timeouts tcp 600\n}\n";
    let sloppy = |node: &str| -> Result<String> {
        let text = directors.lab().node(node).exec(&["cat", "/proc/sys/net/ipv4/vs/sloppy_tcp"])?;
        Ok(text.trim().to_owned())
    };
    ensure!(sloppy("lb01")? == "0", "it is set before vipd has started");
    let mut pair = directors.start_pair(&services)?;
    let runs = |node: &str, role: &str| -> Result<()> {
        let expect = Value::from(vec![format!("{role} on eth1")]);
        let is_so = || directors.balancing(node).is_ok_and(|balancing| balancing["sync_daemons"] == expect);
        wait_for(format_args!("{expect} on {node}"), SOON, is_so)
            .with_context(|| format!("{:?}", directors.balancing(node)))?;
        Ok(())
    };
    runs("lb01", "master")?;
    runs("lb02", "backup")?;
    for node in ["lb01", "lb02"] {
        wait_for("sloppy_tcp", SOON, || sloppy(node).is_ok_and(|value| value == "1"))?;
    }
    directors.bed.told("lb01", &["handover", INSTANCE])?;
    runs("lb02", "master")?;
    runs("lb01", "backup")?;
    for (at, node) in ["lb01", "lb02"].into_iter().enumerate() {
        directors.bed.told(node, &["stop"])?;
        pair[at].wait(SOON)?;
        ensure!(sloppy(node)? == "0", "sloppy_tcp is left on {node}");
    }
    Ok(())
}

/// On a kernel without IPVS a configuration with services is refused with what to do, and the rest is served if the operator says so.
#[test]
fn without_ipvs_services_are_refused_and_the_rest_is_served() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    if is_loadable() {
        vipd_tests::skip("this kernel has IPVS");
        return Ok(());
    }
    let conf = node_conf(HIGH, "") + &web(&["web1"]);
    let node = bed.lb01();
    node.write_vipd_conf(&conf)?;
    let mut refused = node.start_vipd(&bed.vipd)?;
    let status = refused.wait(SOON)?;
    let log = refused.log();
    ensure!(
        !status.success()
            && log.contains("modprobe ip_vs")
            && log.contains("--allow-unsupported=virtual_server"),
        "{log}"
    );
    let mut command = node.vipd_run(&bed.vipd);
    command.arg("--allow-unsupported=virtual_server");
    let _daemon = Daemon::start("vipd on lb01", &mut command, &node.vipd_log())?;
    bed.wait("lb01", "MASTER")?;
    let problem = node.status(&bed.vipd)?["balancing"]["problem"].clone();
    ensure!(problem.as_str().is_some_and(|problem| problem.contains("no IPVS")), "{problem}");
    ensure!(bed.told("lb01", &["services"])?.contains("no IPVS"), "vipd services does not say why");
    // A reload that brings services is refused too where nobody has said so.
    bed.told("lb01", &["stop"])?;
    let _plain = bed.start("lb01", &node_conf(HIGH, ""))?;
    let reloaded = bed.reload("lb01", &conf)?;
    let said = String::from_utf8_lossy(&reloaded.stderr).into_owned();
    ensure!(!reloaded.status.success() && said.contains("modprobe ip_vs"), "{said}");
    bed.wait("lb01", "MASTER")
}
