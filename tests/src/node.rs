//! A node of a lab, and vipd on it. Other daemons: `keepalived.rs`, `frr.rs`, `nginx.rs`.

use std::{
    collections::BTreeMap,
    fs::{self, OpenOptions},
    io::{BufRead, BufReader, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::unix::{
        fs::{OpenOptionsExt, PermissionsExt},
        net::UnixStream,
    },
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::{
    Daemon, Mac, Netns, checked,
    probe::{Sniffer, packet::PacketSocket},
    wait_for,
};

/// One machine of the lab: a network namespace, a directory for files and one on bpffs for pins.
#[derive(Debug)]
pub struct Node {
    name: String,
    ns: Netns,
    dir: PathBuf,
    bpffs_dir: PathBuf,
    links: Vec<Link>,
}

/// An interface of a node and the port of the switch that it is plugged into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// `eth0`, `eth1` and so on.
    pub name: String,
    pub port: String,
    pub mac: Mac,
    pub ip: Option<Ipv4Addr>,
    /// The global one.
    pub ip6: Option<Ipv6Addr>,
    pub link_local: Ipv6Addr,
}

/// What a node's kernel holds of a neighbour.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Neighbour {
    pub mac: Option<Mac>,
    /// The kernel's word, such as `REACHABLE`.
    pub state: String,
}

impl Node {
    pub(crate) fn new(name: &str, ns: Netns, dir: PathBuf, bpffs_dir: PathBuf, eth0: Link) -> Self {
        Self { name: name.to_owned(), ns, dir, bpffs_dir, links: vec![eth0] }
    }

    pub(crate) fn push_link(&mut self, link: Link) {
        self.links.push(link);
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn ns(&self) -> &Netns {
        &self.ns
    }

    /// For files of this node; removed with the lab.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    pub fn bpffs_dir(&self) -> &Path {
        &self.bpffs_dir
    }

    pub fn runtime_dir(&self) -> PathBuf {
        self.dir.join("run")
    }

    /// What vipd remembers over reboots.
    pub fn state_dir(&self) -> PathBuf {
        self.dir.join("state")
    }

    pub fn vipd_conf(&self) -> PathBuf {
        self.dir.join("vipd.conf")
    }

    pub fn vipd_log(&self) -> PathBuf {
        self.dir.join("vipd.log")
    }

    /// `eth0` first.
    pub fn links(&self) -> &[Link] {
        &self.links
    }

    /// The interface of that name.
    ///
    /// # Panics
    ///
    /// If the node has no such interface: a mistake in the test.
    pub fn link(&self, ifname: &str) -> &Link {
        let link = self.links.iter().find(|l| l.name == ifname);
        link.unwrap_or_else(|| panic!("{} has no interface {ifname:?}", self.name))
    }

    /// The Ethernet address of `eth0`.
    pub fn mac(&self) -> Mac {
        self.links[0].mac
    }

    /// The IPv4 address of `eth0`.
    pub fn ip(&self) -> Option<Ipv4Addr> {
        self.links[0].ip
    }

    /// The global IPv6 address of `eth0`.
    pub fn ip6(&self) -> Option<Ipv6Addr> {
        self.links[0].ip6
    }

    /// The link-local address of `eth0`, such as `fe80::5` for a node with `10.0.0.5/24`.
    pub fn link_local(&self) -> Ipv6Addr {
        self.links[0].link_local
    }

    /// The interface of the switch that `eth0` is plugged into.
    pub fn port(&self) -> String {
        self.links[0].port.clone()
    }

    /// A command to be run on this node.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        self.ns.command(program)
    }

    /// Runs a command on this node to its end and returns its stdout; an error when it fails.
    pub fn exec(&self, argv: &[&str]) -> Result<String> {
        let (program, args) = argv.split_first().context("an empty command")?;
        checked(self.command(program).args(args))
    }

    /// Writes the configuration that `start_vipd` uses. Reload with [`Daemon::sighup`].
    pub fn write_vipd_conf(&self, text: &str) -> Result<()> {
        write_conf(&self.vipd_conf(), text)
    }

    /// `vipd run` with the node's configuration and directories; nothing of it is the machine's own.
    pub fn vipd_run(&self, vipd: &Path) -> Command {
        let mut command = self.command(vipd);
        command.arg("run").arg("-f").arg(self.vipd_conf());
        command.arg("--bpffs-dir").arg(&self.bpffs_dir).arg("--runtime-dir").arg(self.runtime_dir());
        command.arg("--state-dir").arg(self.state_dir()).args(self.xdp_mode());
        command
    }

    /// Native XDP, which vipd does not choose by itself on a veth, unless the configuration needs tc there.
    /// `VIPD_TEST_XDP_MODE` names another mode.
    fn xdp_mode(&self) -> [String; 2] {
        let needs_tc = fs::read_to_string(self.vipd_conf()).is_ok_and(|conf| conf.contains("use_vmac"));
        let mode = std::env::var("VIPD_TEST_XDP_MODE").ok();
        let mode = mode.unwrap_or_else(|| if needs_tc { "auto" } else { "native" }.to_owned());
        ["--xdp-mode".to_owned(), mode]
    }

    /// A command for the vipd of the node: what it is asked first.
    pub fn vipd_ask(&self, vipd: &Path, arguments: &[&str]) -> Command {
        let mut command = self.command(vipd);
        command.args(arguments).arg("--runtime-dir").arg(self.runtime_dir());
        command
    }

    /// Starts `vipd run`. Does not wait: see [`Node::wait_ready`], [`Node::wait_state`].
    pub fn start_vipd(&self, vipd: &Path) -> Result<Daemon> {
        Daemon::start(&format!("vipd on {}", self.name), &mut self.vipd_run(vipd), &self.vipd_log())
    }

    /// What `vipd status --json` says.
    pub fn status(&self, vipd: &Path) -> Result<Value> {
        let out = checked(&mut self.vipd_ask(vipd, &["status", "--json"]))?;
        serde_json::from_str(&out).with_context(|| format!("vipd status on {} said {out:?}", self.name))
    }

    /// The same from the control socket, for those who wait: a process for each question would keep a processor busy.
    fn polled_status(&self) -> Result<Value> {
        let path = self.runtime_dir().join("vipd.sock");
        let mut socket =
            UnixStream::connect(&path).with_context(|| format!("cannot connect to {}", path.display()))?;
        socket.set_read_timeout(Some(ANSWER))?;
        socket.write_all(b"{\"command\":\"status\"}\n")?;
        let mut line = String::new();
        BufReader::new(socket).read_line(&mut line)?;
        serde_json::from_str(&line).with_context(|| format!("vipd on {} answered {line:?}", self.name))
    }

    /// The state of one instance, such as `MASTER`.
    pub fn state(&self, vipd: &Path, instance: &str) -> Result<String> {
        let status = self.status(vipd)?;
        state_in(&status, instance)
            .map(str::to_owned)
            .with_context(|| format!("no state of {instance} on {}: {status}", self.name))
    }

    /// Waits until vipd answers on its control socket, and to `vipd status` too.
    pub fn wait_ready(&self, vipd: &Path, timeout: Duration) -> Result<Duration> {
        wait_for(format_args!("vipd on {} to answer", self.name), timeout, || {
            self.polled_status().is_ok() && self.status(vipd).is_ok()
        })
        .with_context(|| self.vipd_log_tail())
    }

    /// Waits until an instance is in a state, and `vipd status` says so.
    pub fn wait_state(
        &self,
        vipd: &Path,
        instance: &str,
        state: &str,
        timeout: Duration,
    ) -> Result<Duration> {
        wait_for(format_args!("{instance} on {} to be {state}", self.name), timeout, || {
            self.polled_status().is_ok_and(|status| state_in(&status, instance) == Some(state))
                && self.state(vipd, instance).is_ok_and(|s| s == state)
        })
        .with_context(|| self.vipd_log_tail())
    }

    /// Runs `vipd stop`.
    pub fn stop_vipd(&self, vipd: &Path) -> Result<()> {
        checked(&mut self.vipd_ask(vipd, &["stop"])).map(drop)
    }

    /// Puts a `vipd` into a directory that fills in this node's own directories, for people's PATH.
    pub fn write_vipd_wrapper(&self, vipd: &Path) -> Result<PathBuf> {
        let bin = self.dir.join("bin");
        fs::create_dir_all(&bin)?;
        let script = format!(
            "#!/bin/sh\ncase \"$1\" in\n\
             run) exec {vipd} \"$@\" --bpffs-dir {bpffs} --runtime-dir {run} --state-dir {} ;;\n\
             cleanup | doctor) exec {vipd} \"$@\" --bpffs-dir {bpffs} --runtime-dir {run} ;;\n\
             check | help | -*) exec {vipd} \"$@\" ;;\n\
             *) exec {vipd} \"$@\" --runtime-dir {run} ;;\nesac\n",
            self.state_dir().display(),
            bpffs = self.bpffs_dir.display(),
            vipd = vipd.display(),
            run = self.runtime_dir().display(),
        );
        let path = bin.join("vipd");
        fs::write(&path, script)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        Ok(bin)
    }

    /// What this node knows of its neighbours on all interfaces. Entries that hold nothing, such as a question under
    /// way, have no MAC.
    pub fn neighbours(&self) -> Result<BTreeMap<IpAddr, Neighbour>> {
        let out = self.exec(&["ip", "-json", "neighbour", "show", "nud", "all"])?;
        let entries: Vec<Value> = serde_json::from_str(&out).with_context(|| format!("ip said {out:?}"))?;
        let entry = |entry: &Value| {
            let address = entry["dst"].as_str()?.parse().ok()?;
            let mac = entry["lladdr"].as_str().and_then(|mac| mac.parse().ok());
            let state = entry["state"][0].as_str()?.to_owned();
            Some((address, Neighbour { mac, state }))
        };
        let parsed = entries.iter().map(|e| entry(e).with_context(|| format!("an odd neighbour: {e}")));
        parsed.collect()
    }

    /// Sends one Ethernet frame out of `eth0`.
    pub fn inject(&self, frame: &[u8]) -> Result<()> {
        self.ns.run(|| PacketSocket::open("eth0", 0)?.send(frame))?
    }

    /// Sends the same frame many times, as fast as it goes; returns how many were accepted.
    pub fn flood(&self, frame: &[u8], count: usize) -> Result<usize> {
        self.ns.run(|| {
            let socket = PacketSocket::open("eth0", 0)?;
            Ok((0..count).filter(|_| socket.send(frame).is_ok()).count())
        })?
    }

    /// Watches `eth0` from inside this node, in both directions. What XDP drops or sends there is not seen:
    /// [`crate::Lab::sniff_port`] sees the wire.
    pub fn sniff(&self) -> Result<Sniffer> {
        Sniffer::start(&self.ns, "eth0", |_| true)
    }

    fn vipd_log_tail(&self) -> String {
        let log = fs::read_to_string(self.vipd_log()).unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        format!(
            "the end of vipd's log on {}:\n{}",
            self.name,
            lines[lines.len().saturating_sub(20)..].join("\n")
        )
    }
}

fn state_in<'a>(status: &'a Value, instance: &str) -> Option<&'a str> {
    status["instances"].as_array()?.iter().find(|i| i["name"] == instance)?["state"].as_str()
}

/// How long a daemon may take to answer before it is asked again.
const ANSWER: Duration = Duration::from_secs(20);

/// keepalived refuses configurations that others may write or, with passwords in them, read.
pub(crate) fn write_conf(path: &Path, text: &str) -> Result<()> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut f| f.write_all(text.as_bytes()))
        .with_context(|| format!("cannot write {}", path.display()))
}
