//! The documents with load balancing that the project was born from, played through. Document 004 is a pair of heartbeat and ldirectord:
//! its four files are as printed, with the line breaks that the page has lost, and `vipd import` makes the configuration of both directors.
//! Document 000 is a pair of keepalived.
//!
//! Needs IPVS in the kernel: `cargo xtask guest --kernel debian-12 balancing_seeds`.

mod support;

use std::{
    collections::BTreeSet,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use support::{
    backend::{Backend, Conversation},
    web::{ask, has_ipvs, table},
    *,
};
use vipd_tests::{Builder, Daemon, Lab, Node, wait_for};

/// For an answer on a slow machine.
const PATIENT: Duration = Duration::from_secs(10);
/// The directors, by their names in the documents.
const DIRECTORS: [(&str, &str); 2] = [("lb01", "node1"), ("lb02", "node2")];

fn seeds() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("conf/seeds")
}

/// What the kernel's tables, the client and the servers show of a document.
struct Played {
    bed: Bed,
    service: SocketAddr,
    servers: Vec<(&'static str, SocketAddr, Option<Backend>)>,
}

impl Played {
    /// `None` where there is no lab, or no IPVS.
    fn new(
        nodes: impl FnOnce(Builder) -> Builder,
        service: &str,
        servers: &[(&'static str, &str)],
    ) -> Result<Option<Self>> {
        let Some((lab, permit)) = lab(nodes)? else { return Ok(None) };
        if !has_ipvs() {
            return Ok(None);
        }
        let servers =
            servers.iter().map(|(name, at)| Ok((*name, at.parse()?, None))).collect::<Result<Vec<_>>>()?;
        let mut played = Self { bed: Bed::of(lab, permit)?, service: service.parse()?, servers };
        for at in 0..played.servers.len() {
            played.serve(at, true)?;
        }
        Ok(Some(played))
    }

    fn lab(&self) -> &Lab {
        &self.bed.lab
    }

    /// Starts or stops a server.
    fn serve(&mut self, at: usize, is_on: bool) -> Result<()> {
        let (name, address, _) = &self.servers[at];
        let server = is_on.then(|| Backend::start(self.lab().node(name), *address, name)).transpose()?;
        self.servers[at].2 = server;
        Ok(())
    }

    /// Whom the client reaches in `times` connections.
    fn reached(&self, times: usize) -> Result<BTreeSet<String>> {
        let one =
            || Ok(ask(self.bed.client(), self.service, PATIENT)?.unwrap_or_else(|| "nobody".to_owned()));
        (0..times).map(|_| one()).collect()
    }

    fn wait_reached(&self, names: &[&str]) -> Result<()> {
        let expect: BTreeSet<String> = names.iter().map(|name| (*name).to_owned()).collect();
        wait_for(format_args!("{expect:?} to serve"), SOON, || {
            self.reached(4).is_ok_and(|reached| reached == expect)
        })
        .with_context(|| format!("{:?}; {:?}", self.reached(4), table(self.bed.lb01())))?;
        Ok(())
    }

    /// Waits for the same table on both directors.
    fn wait_tables(&self, expect: &[&str]) -> Result<()> {
        for (node, _) in DIRECTORS {
            let node = self.lab().node(node);
            wait_for(format_args!("{expect:?} on {}", node.name()), SOON, || {
                table(node).is_ok_and(|table| without_ticks(table) == expect)
            })
            .with_context(|| format!("{:?}", table(node)))?;
        }
        Ok(())
    }
}

/// A table without the time of persistence, which the kernel prints in ticks of its own.
fn without_ticks(mut table: Vec<String>) -> Vec<String> {
    for line in &mut table {
        if let Some((head, tail)) = line.split_once("persistent ") {
            *line = format!("{head}persistent {}", tail.split_once(' ').map_or("", |(_, mask)| mask));
        }
    }
    table
}

/// Both directors, the network of the clients with the node that is asked whether a director is cut off, and the network of the servers.
fn heartbeat_pair() -> Result<Option<Played>> {
    let nodes = |lab: Builder| {
        let lab = lab.node("lb01", "192.168.1.116/24").link("192.168.2.116/24");
        let lab = lab.node("lb02", "192.168.1.117/24").link("192.168.2.117/24");
        let lab = lab.node("client", "192.168.1.50/24").node("gw", "192.168.1.1/24");
        // Their eth0 is of another network, so that answers go by the gateway.
        let lab = lab.node("rs1", "10.77.0.1/24").link("192.168.2.12/24");
        lab.node("rs2", "10.77.0.2/24").link("192.168.2.6/24")
    };
    let servers = [("rs1", "192.168.2.12:80"), ("rs2", "192.168.2.6:80")];
    let Some(played) = Played::new(nodes, "192.168.1.200:80", &servers)? else { return Ok(None) };
    for server in ["rs1", "rs2"] {
        played.lab().node(server).exec(&["ip", "route", "add", "default", "via", "192.168.2.200"])?;
    }
    for (node, _) in DIRECTORS {
        played.lab().node(node).ns().sysctl("net/ipv4/ip_forward", "1")?;
    }
    Ok(Some(played))
}

impl Played {
    /// What `vipd import` makes of the four files, in which `from` is replaced by `to`.
    fn imported(&self, from: &str, to: &str) -> Result<String> {
        let dir = self.bed.lb01().dir().join("ha.d");
        fs::create_dir_all(&dir)?;
        for name in ["ldirectord.cf", "ha.cf", "haresources", "authkeys"] {
            let text = fs::read_to_string(seeds().join("004").join(name))?;
            // haresources names ldirectord.cf by its place on the document's machine.
            let text = text.replace("/etc/ha.d/", &format!("{}/", dir.display()));
            fs::write(dir.join(name), text.replace(from, to))?;
        }
        let mut import = Command::new(&self.bed.vipd);
        let imported = import.arg("import").arg("--dir").arg(&dir).output()?;
        let notes = String::from_utf8_lossy(&imported.stderr).into_owned();
        ensure!(imported.status.success(), "{notes}");
        ensure!(notes.contains("0 errors"), "{notes}");
        Ok(String::from_utf8(imported.stdout)?)
    }

    /// Starts both directors with the same file, each with its name in the document.
    fn start_pair(&self, conf: &str) -> Result<Vec<Daemon>> {
        let start = |(name, id): (&str, &str)| -> Result<Daemon> {
            let node = self.lab().node(name);
            node.write_vipd_conf(conf)?;
            let mut command = node.vipd_run(&self.bed.vipd);
            command.args(["--config-id", id]);
            Daemon::start(&format!("vipd on {name}"), &mut command, &node.vipd_log())
        };
        let daemons = DIRECTORS.into_iter().map(start).collect::<Result<Vec<_>>>()?;
        self.wait_roles("lb01", "lb02")?;
        Ok(daemons)
    }

    /// Both instances are one sync group, so their VIPs are on one node.
    fn wait_roles(&self, master: &str, backup: &str) -> Result<()> {
        for instance in ["VI_eth0", "VI_eth1"] {
            let wait = |node: &str, state| {
                self.lab().node(node).wait_state(&self.bed.vipd, instance, state, SOON * 2).map(drop)
            };
            wait(master, "MASTER")?;
            wait(backup, "BACKUP")?;
        }
        Ok(())
    }
}

const HEAD: &str = "TCP 192.168.1.200:80 rr";
const RS1: &str = "  192.168.2.12:80 Masq 1";
const RS2: &str = "  192.168.2.6:80 Masq 1";
const RS1_AT_0: &str = "  192.168.2.12:80 Masq 0";
const RS2_AT_0: &str = "  192.168.2.6:80 Masq 0";

/// Document 004 to its end: both servers in turn, `hb_standby`, a server that is stopped, then the other, the fallback page.
#[test]
fn seeds_004_heartbeat_and_ldirectord() -> Result<()> {
    let Some(mut played) = heartbeat_pair()? else { return Ok(()) };
    let daemons = played.start_pair(&played.imported("", "")?)?;
    played.wait_tables(&[HEAD, RS1, RS2])?;
    played.wait_reached(&["rs1", "rs2"])?;

    // "Let the master node stop providing services": hb_standby.
    played.bed.told("lb01", &["drain"])?;
    played.wait_roles("lb02", "lb01")?;
    played.wait_reached(&["rs1", "rs2"])?;
    played.bed.told("lb01", &["undrain"])?;
    // auto_failback on.
    played.wait_roles("lb01", "lb02")?;
    played.wait_reached(&["rs1", "rs2"])?;

    // "Stop httpd service on a Real Server ... (Weight=0)": one failed check is enough, as failurecount is 1.
    played.serve(0, false)?;
    played.wait_tables(&[HEAD, RS1_AT_0, RS2])?;
    played.wait_reached(&["rs2"])?;
    let downs = events_of(&played, "192.168.2.12:80", "server_down")?;
    ensure!(downs == 1, "the server went down {downs} times");

    // "Stop the httpd service on Real Server2. At this time, only the information of the fallback page": which takes the line that the file has
    // as a comment.
    let fallback = played.imported("#fallback=", "fallback=")?;
    let pages = DIRECTORS
        .map(|(node, _)| Backend::start(played.lab().node(node), ([0, 0, 0, 0], 80).into(), "Sorry"));
    for (node, _) in DIRECTORS {
        played.bed.reloaded(node, &fallback)?;
    }
    played.serve(1, false)?;
    // The director itself: by NAT the kernel would forward nothing there.
    played.wait_tables(&[HEAD, "  127.0.0.1:80 Route 1", RS1_AT_0, RS2_AT_0])?;
    played.wait_reached(&["Sorry"])?;

    played.serve(0, true)?;
    played.wait_tables(&[HEAD, RS1, RS2_AT_0])?;
    played.wait_reached(&["rs1"])?;
    played.serve(1, true)?;
    played.wait_tables(&[HEAD, RS1, RS2])?;
    played.wait_reached(&["rs1", "rs2"])?;
    drop((pages, daemons));
    Ok(())
}

/// How many events of that name the first director has of a server.
fn events_of(played: &Played, server: &str, name: &str) -> Result<usize> {
    let events = played.bed.events_named("lb01", name)?;
    Ok(events.iter().filter(|event| event["fields"]["server"] == server).count())
}

/// With `scheduler=mh` connections through NAT go on at the other director after `hb_standby`, without a sync daemon.
#[test]
fn seeds_004_connections_go_on() -> Result<()> {
    const CONVERSATIONS: usize = 40;
    let Some(played) = heartbeat_pair()? else { return Ok(()) };
    let conf = played.imported("scheduler=rr", "scheduler=mh\n        schedflags=mh-port,mh-fallback")?;
    let _daemons = played.start_pair(&conf)?;
    played.wait_tables(&[&HEAD.replace("rr", "mh"), RS1, RS2])?;
    let open = |_| Conversation::open(played.bed.client(), played.service, PATIENT);
    let conversations: Vec<Conversation> = (0..CONVERSATIONS).map(open).collect::<Result<_>>()?;
    let all = |text: &str| -> Result<Vec<String>> {
        let say = |(at, conversation): (usize, &Conversation)| {
            conversation.say(text).with_context(|| format!("connection {at}, {text}"))
        };
        conversations.iter().enumerate().map(say).collect()
    };
    let before = all("before")?;
    let servers: BTreeSet<&String> = before.iter().collect();
    ensure!(servers.len() == 2, "all connections are at {servers:?}");
    for (leaves, stays) in [("lb01", "lb02"), ("lb02", "lb01")] {
        played.bed.told(leaves, &["drain"])?;
        played.wait_roles(stays, leaves)?;
        ensure!(all(stays)? == before, "connections have changed servers");
        played.bed.told(leaves, &["undrain"])?;
    }
    println!("{CONVERSATIONS} connections have gone on over two handovers");
    Ok(())
}

/// Document 000 says what LVS is for and refers to another page for its part of the file: the pair of 2.1.3, and that part, in front of the
/// document's web servers.
#[test]
fn seeds_000_a_pair_with_lvs() -> Result<()> {
    let nodes = |lab: Builder| {
        let lab = lab.node("lb01", "10.0.0.5/24").node("lb02", "10.0.0.6/24").node("client", "10.0.0.100/24");
        lab.node("web01", "10.0.0.7/24").node("web02", "10.0.0.8/24")
    };
    let servers = [("web01", "0.0.0.0:80"), ("web02", "0.0.0.0:80")];
    let Some(mut played) = Played::new(nodes, "10.0.0.3:80", &servers)? else { return Ok(()) };
    for name in ["web01", "web02"] {
        let web: &Node = played.lab().node(name);
        for (path, value) in [("arp_ignore", "1"), ("arp_announce", "2")] {
            web.ns().sysctl(&format!("net/ipv4/conf/all/{path}"), value)?;
        }
        web.exec(&["ip", "address", "add", "10.0.0.3/32", "dev", "lo"])?;
    }
    let part = |name: &str| fs::read_to_string(seeds().join(name)).with_context(|| name.to_owned());
    let lvs = part("000-lvs.conf")?;
    let mut lb01 = played.bed.start("lb01", &(part("000-single-lb01.conf")? + &lvs))?;
    let _lb02 = played.bed.start("lb02", &(part("000-single-lb02.conf")? + &lvs))?;
    played.bed.wait("lb01", "MASTER")?;
    played.bed.wait("lb02", "BACKUP")?;
    let head = "TCP 10.0.0.3:80 wrr persistent FFFFFFFF";
    let (web01, web02) = ("  10.0.0.7:80 Route 1", "  10.0.0.8:80 Route 1");
    played.wait_tables(&[head, web01, web02])?;
    // Persistence: a client stays with its server.
    let first = played.reached(4)?;
    ensure!(first.len() == 1 && !first.contains("nobody"), "{first:?}");

    lb01.kill9()?;
    played.bed.wait("lb02", "MASTER")?;
    ensure!(!played.reached(4)?.contains("nobody"), "the backup does not forward");
    let _lb01 = played.bed.restart("lb01")?;
    played.bed.wait("lb01", "MASTER")?;
    played.serve(0, false)?;
    played.wait_tables(&[head, web02])?;
    played.wait_reached(&["web02"])?;
    played.serve(0, true)?;
    played.wait_tables(&[head, web01, web02])?;
    played.serve(1, false)?;
    played.wait_tables(&[head, web01])?;
    played.wait_reached(&["web01"])
}
