//! The lab of a seed: three nodes that share VIPs, an oracle that asks for them, a client that uses them.
//!
//! The oracle's cable is never cut: it sees every owner that there is, also those that clients cannot reach.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    os::unix::{fs::PermissionsExt, net::UnixStream},
    path::PathBuf,
    process::{Command, Output},
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use vipd_tests::{Daemon, Lab, Node, vipd_bin, wait_for};

use crate::{
    clock::{Clock, Time},
    conf::{self, Variant},
    fault::{Fault, NodeIndex, name},
    plan::{Family, Kind, NODES, Setup},
};

/// Ends a wait for what should have come long ago; as in the tests, for a machine that is busy with other labs.
pub const SOON: Duration = Duration::from_secs(60);

/// The lab, its daemons, and what has been done to them.
#[derive(Debug)]
pub struct Cluster {
    pub setup: Setup,
    pub clock: Clock,
    pub vipd: PathBuf,
    hosts: Vec<Mutex<Host>>,
    record: Mutex<Record>,
    // Last: daemons are ended before their namespaces.
    pub lab: Lab,
}

/// What runs on a node. Whoever does something to it holds the lock meanwhile.
#[derive(Debug)]
pub struct Host {
    pub daemon: Option<Daemon>,
    pub variant: Variant,
}

/// A fault as it came about.
#[derive(Debug, Clone, Copy)]
pub struct Happened {
    pub fault: Fault,
    pub start: Time,
    /// `Time::MAX` as long as it goes on.
    pub end: Time,
}

/// What has happened so far.
#[derive(Debug, Default)]
struct Record {
    faults: Vec<Happened>,
    /// Commands that did not do what they must.
    troubles: Vec<(Time, String)>,
}

impl Cluster {
    pub fn build(setup: &Setup) -> Result<Self> {
        let mut lab = Lab::builder();
        for node in 0..NODES {
            let host = node + 5;
            lab =
                lab.node(&name(node), &format!("10.0.0.{host}/24")).address(&format!("2001:db8::{host}/64"));
        }
        let lab = lab.node("client", "10.0.0.100/24").address("2001:db8::64/64");
        let lab = lab.node("oracle", "10.0.0.99/24").address("2001:db8::63/64").build()?;
        let hosts = setup.nodes.iter().map(|node| {
            let variant = Variant { priority: node.priority, more_vips: false };
            Mutex::new(Host { daemon: None, variant })
        });
        let hosts = hosts.collect();
        let cluster = Self {
            setup: setup.clone(),
            clock: Clock::start(),
            vipd: vipd_bin()?,
            hosts,
            record: Mutex::default(),
            lab,
        };
        for node in cluster.nodes() {
            let script = conf::notify_script(node);
            let log = conf::notify_log(node);
            fs::write(&script, format!("#!/bin/sh\necho \"$2 $3\" >> {}\n", log.display()))?;
            fs::set_permissions(&script, fs::Permissions::from_mode(0o755))?;
        }
        Ok(cluster)
    }

    /// Those that share the VIPs.
    pub fn nodes(&self) -> &[Node] {
        &self.lab.nodes()[..NODES]
    }

    pub fn node(&self, index: NodeIndex) -> &Node {
        &self.lab.nodes()[index]
    }

    pub fn host(&self, index: NodeIndex) -> MutexGuard<'_, Host> {
        self.hosts[index].lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn is_vipd(&self, index: NodeIndex) -> bool {
        self.setup.nodes[index].kind == Kind::Vipd
    }

    /// Those that run vipd.
    pub fn vipds(&self) -> impl Iterator<Item = NodeIndex> + '_ {
        (0..NODES).filter(|&index| self.is_vipd(index))
    }

    /// The variant that a node has when nothing is done to it.
    pub fn usual(&self, index: NodeIndex) -> Variant {
        Variant { priority: self.setup.nodes[index].priority, more_vips: false }
    }

    pub fn conf(&self, index: NodeIndex, variant: Variant) -> String {
        let peers: Vec<_> = (0..NODES).filter(|&peer| peer != index).map(|peer| self.node(peer)).collect();
        conf::text(&self.setup, self.setup.nodes[index].kind, self.node(index), &peers, variant)
    }

    /// Starts the daemon of a node with its variant, and waits until it takes part.
    pub fn start(&self, index: NodeIndex, host: &mut Host) -> Result<()> {
        self.launch(index, host)?;
        if !self.is_vipd(index) {
            return Ok(());
        }
        let answers = || {
            !host.daemon.as_mut().is_some_and(Daemon::is_running)
                || self.status(index).is_ok_and(|status| status["instances"][0]["state"].is_string())
        };
        wait_for(format_args!("vipd on {} to answer", name(index)), SOON, answers)?;
        let daemon = host.daemon.as_mut().context("it was started")?;
        ensure!(daemon.is_running(), "vipd on {} has ended by itself", name(index));
        Ok(())
    }

    /// Starts the daemon and waits for nothing.
    pub fn launch(&self, index: NodeIndex, host: &mut Host) -> Result<()> {
        let node = self.node(index);
        let conf = self.conf(index, host.variant);
        host.daemon = Some(if self.is_vipd(index) {
            node.write_vipd_conf(&conf)?;
            node.start_vipd(&self.vipd)?
        } else {
            // What a killed keepalived leaves on the interface, its successor does not always take away.
            for family in &self.setup.families {
                let vip = family.vip().to_string();
                let length = if *family == Family::V4 { "32" } else { "128" };
                let _ = node.exec(&["ip", "addr", "del", &format!("{vip}/{length}"), "dev", "eth0"]);
            }
            if self.setup.families.contains(&Family::V6) {
                let _ = node.exec(&["ip", "addr", "del", "fe80::3/128", "dev", "eth0"]);
            }
            // It would take the process of that number for itself, as long as nobody has reaped it.
            for file in ["keepalived.pid", "vrrp.pid", "checkers.pid"] {
                let _ = fs::remove_file(node.dir().join(file));
            }
            node.start_keepalived(&conf)?
        });
        Ok(())
    }

    /// What vipd on a node says of itself, from its control socket.
    pub fn status(&self, index: NodeIndex) -> Result<Value> {
        let path = self.node(index).runtime_dir().join("vipd.sock");
        let mut socket = UnixStream::connect(&path)?;
        socket.set_read_timeout(Some(SOON))?;
        socket.write_all(b"{\"command\":\"status\"}\n")?;
        let mut line = String::new();
        BufReader::new(socket).read_line(&mut line)?;
        serde_json::from_str(&line).with_context(|| format!("vipd on {} answered {line:?}", name(index)))
    }

    /// The state of each instance as vipd says it; of keepalived as its log does.
    pub fn states(&self, index: NodeIndex) -> Result<Vec<String>> {
        let families = self.setup.families.iter();
        if !self.is_vipd(index) {
            let state = |family: &Family| -> Result<String> {
                Ok(self.node(index).keepalived_state(family.instance())?.unwrap_or_default())
            };
            return families.map(state).collect();
        }
        let status = self.status(index)?;
        let instances = status["instances"].as_array().context("no instances")?;
        let state = |family: &Family| -> Result<String> {
            let ours = instances.iter().find(|i| i["name"] == family.instance());
            let ours = ours.with_context(|| format!("no {} in {status}", family.instance()))?;
            Ok(ours["state"].as_str().context("no state")?.to_owned())
        };
        families.map(state).collect()
    }

    /// A `vipd` command for the daemon of a node.
    pub fn ask(&self, index: NodeIndex, arguments: &[&str]) -> Result<Output> {
        Ok(self.node(index).vipd_ask(&self.vipd, arguments).output()?)
    }

    /// The same, which has to succeed.
    pub fn told(&self, index: NodeIndex, arguments: &[&str]) -> Result<String> {
        let output = self.ask(index, arguments)?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "vipd {} on {}: {}", arguments.join(" "), name(index), said.trim());
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Runs a command in the switch.
    pub fn at_switch(&self, argv: &[&str]) -> Result<String> {
        output(self.lab.switch().command(argv[0]).args(&argv[1..]))
    }

    /// Writes down that a fault begins; the number is for [`Cluster::is_over`].
    pub fn begins(&self, fault: Fault) -> usize {
        let mut record = self.record();
        record.faults.push(Happened { fault, start: self.clock.now(), end: Time::MAX });
        record.faults.len() - 1
    }

    pub fn is_over(&self, number: usize) {
        let now = self.clock.now();
        self.record().faults[number].end = now;
    }

    /// Writes down that something did not do what it must.
    pub fn trouble(&self, what: String) {
        let now = self.clock.now();
        self.record().troubles.push((now, what));
    }

    pub fn faults(&self) -> Vec<Happened> {
        self.record().faults.clone()
    }

    pub fn troubles(&self) -> Vec<(Time, String)> {
        self.record().troubles.clone()
    }

    pub fn sleep(&self, time: Time) {
        thread::sleep(Duration::from_nanos(time));
    }

    fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs a command to its end and returns its stdout; an error with its stderr when it fails.
pub fn output(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("cannot run {command:?}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?}: {}: {}", output.status, said.trim());
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
