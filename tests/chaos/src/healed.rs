//! What must be true when every fault is over: who is master, what vipd says of itself, and what it holds.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result};
use serde_json::Value;
use vipd_tests::{Node, wait_for};

use crate::{
    cluster::{Cluster, SOON},
    conf::notify_log,
    fault::{NodeIndex, name},
};

/// What the kernel shows of a node's settings. Two that are equal: nothing was added in between, or left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostState {
    lines: BTreeSet<String>,
}

/// What a daemon holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holding {
    pid: u32,
    descriptors: usize,
    /// Memory of its own, in KiB.
    memory: usize,
}

/// How a settled cluster looks; what comes later is compared with it.
#[derive(Debug)]
pub struct Baseline {
    hosts: Vec<HostState>,
    holdings: Vec<Option<Holding>>,
}

impl HostState {
    pub fn of(node: &Node) -> Result<Self> {
        let mut lines = BTreeSet::new();
        for family in ["-4", "-6"] {
            for (what, object) in [("route", &["route", "show", "table", "all"][..]), ("rule", &["rule"])] {
                let said = node.exec(&[&["ip", family], object].concat())?;
                lines.extend(said.lines().map(|line| format!("{what} {family}: {}", line.trim())));
            }
            let said = node.exec(&["ip", family, "-o", "addr", "show"])?;
            // Without the number of the interface, and the line on lifetimes.
            let address =
                |line: &str| line.split('\\').next().map(|l| l.trim_end().to_owned()).unwrap_or_default();
            lines.extend(said.lines().map(|line| format!("address {}", address(line))));
        }
        let settings = node.ns().run(settings)??;
        lines.extend(settings);
        lines.extend(files(node.bpffs_dir()).iter().map(|path| format!("pin {}", path.display())));
        Ok(Self { lines })
    }

    /// What one has and the other has not, or empty.
    fn differs_from(&self, before: &Self) -> Vec<String> {
        let more = self.lines.difference(&before.lines).map(|line| format!("+ {line}"));
        let less = before.lines.difference(&self.lines).map(|line| format!("- {line}"));
        more.chain(less).collect()
    }
}

fn settings() -> Result<Vec<String>> {
    let mut lines = Vec::new();
    for interface in ["all", "default", "eth0", "lo"] {
        for name in ["arp_ignore", "arp_announce", "rp_filter", "accept_local", "arp_notify", "forwarding"] {
            let path = format!("/proc/sys/net/ipv4/conf/{interface}/{name}");
            let value = fs::read_to_string(&path).with_context(|| path.clone())?;
            lines.push(format!("{path} = {}", value.trim()));
        }
    }
    Ok(lines)
}

/// All files below a directory.
fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let inside = entries.flat_map(|entry| {
        let path = entry.path();
        if path.is_dir() { files(&path) } else { vec![path] }
    });
    inside.collect()
}

impl Holding {
    fn of(pid: u32) -> Result<Self> {
        let descriptors = fs::read_dir(format!("/proc/{pid}/fd"))?.count();
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).context("RssAnon")?;
        let memory = line.trim().trim_end_matches(" kB").trim().parse()?;
        Ok(Self { pid, descriptors, memory })
    }
}

impl Baseline {
    pub fn of(cluster: &Cluster) -> Result<Self> {
        let hosts = cluster.nodes().iter().map(HostState::of).collect::<Result<_>>()?;
        let holdings = (0..cluster.nodes().len()).map(|index| holding(cluster, index)).collect();
        Ok(Self { hosts, holdings })
    }

    /// What is not as it must be in a settled cluster. A daemon that is new since the last look is looked at for the first time.
    pub fn compare(&mut self, cluster: &Cluster) -> Result<Vec<String>> {
        let mut wrong = Vec::new();
        for (index, node) in cluster.nodes().iter().enumerate() {
            let differences = HostState::of(node)?.differs_from(&self.hosts[index]);
            wrong
                .extend(differences.into_iter().map(|line| format!("host state of {}: {line}", name(index))));
            let now = holding(cluster, index);
            if let (Some(before), Some(now)) = (self.holdings[index], now)
                && before.pid == now.pid
            {
                if now.descriptors > before.descriptors + MORE_DESCRIPTORS {
                    let (before, now) = (before.descriptors, now.descriptors);
                    wrong.push(format!("vipd on {} had {before} descriptors and has {now}", name(index)));
                }
                if now.memory > before.memory + MORE_MEMORY {
                    let (before, now) = (before.memory, now.memory);
                    wrong.push(format!("vipd on {} had {before} KiB and has {now}", name(index)));
                }
            } else {
                self.holdings[index] = now;
            }
        }
        Ok(wrong)
    }
}

fn holding(cluster: &Cluster, index: NodeIndex) -> Option<Holding> {
    let pid = cluster.host(index).daemon.as_ref()?.pid();
    cluster.is_vipd(index).then(|| Holding::of(pid).ok())?
}

/// Waits until the preferred node is master of everything and the others are backups; what is wrong if that never comes.
pub fn settle(cluster: &Cluster) -> Vec<String> {
    let settled = wait_for("the cluster to settle", SOON, || wrong_states(cluster).is_empty());
    if settled.is_ok() { Vec::new() } else { wrong_states(cluster) }
}

/// What is not as it must be, once it has been looked at for long enough to be over.
pub fn check(cluster: &Cluster, baseline: &mut Baseline) -> Result<Vec<String>> {
    let mut wrong = Vec::new();
    let _ = wait_for("what faults have left to go", LEFTOVERS, || {
        let now = look(cluster, baseline);
        wrong = now.unwrap_or_else(|error| vec![format!("{error:#}")]);
        wrong.is_empty()
    });
    if wrong.is_empty() {
        // It takes a second of processor time, so it is asked when all else is well.
        for index in cluster.vipds() {
            wrong.extend(doctor(cluster, index)?);
        }
    }
    Ok(wrong)
}

fn look(cluster: &Cluster, baseline: &mut Baseline) -> Result<Vec<String>> {
    let mut wrong = wrong_states(cluster);
    wrong.extend(baseline.compare(cluster)?);
    for index in cluster.vipds() {
        let status = cluster.status(index)?;
        let instances = status["instances"].as_array().context("no instances")?;
        for instance in instances {
            let says = |key: &str| instance[key].as_bool() == Some(true);
            for key in ["split_brain", "handed_over", "fencing"] {
                if says(key) {
                    wrong.push(format!("{} on {} says {key}", instance["name"], name(index)));
                }
            }
            if instance["priority"].as_u64() != Some(cluster.setup.nodes[index].priority.into()) {
                let (priority, name) = (&instance["priority"], name(index));
                wrong.push(format!("{} on {name} has priority {priority}", instance["name"]));
            }
        }
        if status["drained"].as_bool() == Some(true) {
            wrong.push(format!("{} is drained", name(index)));
        }
        wrong.extend(last_notification(cluster, index)?);
    }
    Ok(wrong)
}

fn wrong_states(cluster: &Cluster) -> Vec<String> {
    let best = cluster.setup.best();
    let mut wrong = Vec::new();
    for index in 0..cluster.nodes().len() {
        let expected = if index == best { "MASTER" } else { "BACKUP" };
        match cluster.states(index) {
            Ok(states) if states.iter().all(|state| state == expected) => {}
            Ok(states) => wrong.push(format!("{} is {states:?}, and not {expected}", name(index))),
            Err(error) => wrong.push(format!("{}: {error:#}", name(index))),
        }
    }
    wrong
}

/// The last word of the notify script must be the state.
fn last_notification(cluster: &Cluster, index: NodeIndex) -> Result<Vec<String>> {
    let told = fs::read_to_string(notify_log(cluster.node(index))).unwrap_or_default();
    let states = cluster.states(index)?;
    let both = cluster.setup.families.iter().zip(states);
    let wrong = both.filter_map(|(family, state)| {
        let instance = family.instance();
        let last = told.lines().rev().find_map(|line| line.strip_prefix(instance)?.strip_prefix(' '));
        let last = last.unwrap_or("nothing");
        (last != state)
            .then(|| format!("{instance} on {} is {state}, and notify was last told {last}", name(index)))
    });
    Ok(wrong.collect())
}

/// Problems and warnings of `vipd doctor`, but for what this machine is and what is kept of the past.
fn doctor(cluster: &Cluster, index: NodeIndex) -> Result<Vec<String>> {
    let node = cluster.node(index);
    let mut command = node.command(&cluster.vipd);
    command.args(["doctor", "--json", "-f"]).arg(node.vipd_conf());
    command.arg("--bpffs-dir").arg(node.bpffs_dir()).arg("--runtime-dir").arg(node.runtime_dir());
    let output = command.output()?;
    let said: Value = serde_json::from_slice(&output.stdout)
        .with_context(|| format!("doctor: {}", String::from_utf8_lossy(&output.stderr)))?;
    let findings = said["findings"].as_array().context("no findings")?;
    let bad = findings.iter().filter(|f| f["level"] == "problem" || f["level"] == "warning");
    // The nodes are on veths, and labs have native XDP there.
    let on_veth =
        |f: &Value| f["what"].as_str().is_some_and(|what| what.starts_with("native XDP on a veth "));
    let bad = bad.filter(|f| {
        f["about"] != "kernel" && !on_veth(f) && !NOT_OF_NOW.iter().any(|check| f["check"] == *check)
    });
    let told =
        bad.map(|f| format!("doctor on {}: {} {}: {}", name(index), f["about"], f["check"], f["what"]));
    Ok(told.collect())
}

/// Stops every daemon, and returns what is left of them.
pub fn stop(cluster: &Cluster, before: &[HostState]) -> Result<Vec<String>> {
    let mut wrong = Vec::new();
    for (index, node) in cluster.nodes().iter().enumerate() {
        let mut host = cluster.host(index);
        let Some(mut daemon) = host.daemon.take() else { continue };
        if cluster.is_vipd(index) {
            cluster.told(index, &["stop"])?;
        } else {
            daemon.sigterm()?;
        }
        let status = daemon.wait(SOON)?;
        if cluster.is_vipd(index) {
            if !status.success() {
                wrong.push(format!("vipd on {} stopped with {status}", name(index)));
            }
            let differences = HostState::of(node)?.differs_from(&before[index]);
            wrong.extend(differences.into_iter().map(|line| format!("left on {}: {line}", name(index))));
            let socket = node.runtime_dir().join("vipd.sock");
            if socket.exists() {
                wrong.push(format!("left on {}: {}", name(index), socket.display()));
            }
        }
    }
    Ok(wrong)
}

/// Counters of what was, which stay until the next start; and what the configuration leaves open, whatever happens.
const NOT_OF_NOW: [&str; 5] = ["lateness", "send-errors", "discards", "addresses", "unicast-source"];
/// A look at the right moment, such as a child that is being started.
const MORE_DESCRIPTORS: usize = 3;
/// Queues and buffers that are at their greatest once.
const MORE_MEMORY: usize = 4096;
/// What is promised for the slowest of what must go: `split_brain_over`.
const LEFTOVERS: Duration = Duration::from_secs(15);
