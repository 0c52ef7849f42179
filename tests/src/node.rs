//! A node of a lab and the daemons it can run: vipd, keepalived, nginx.

use std::{
    fs::{self, OpenOptions},
    io::Write,
    net::{Ipv4Addr, SocketAddrV4},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
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
    mac: Mac,
    ip: Option<Ipv4Addr>,
}

impl Node {
    pub(crate) fn new(
        name: &str,
        ns: Netns,
        dir: PathBuf,
        bpffs_dir: PathBuf,
        mac: Mac,
        ip: Option<Ipv4Addr>,
    ) -> Self {
        Self { name: name.to_owned(), ns, dir, bpffs_dir, mac, ip }
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

    pub fn vipd_conf(&self) -> PathBuf {
        self.dir.join("vipd.conf")
    }

    pub fn vipd_log(&self) -> PathBuf {
        self.dir.join("vipd.log")
    }

    /// The address of `eth0`.
    pub fn mac(&self) -> Mac {
        self.mac
    }

    pub fn ip(&self) -> Option<Ipv4Addr> {
        self.ip
    }

    /// The interface of the switch that this node is plugged into.
    pub fn port(&self) -> String {
        format!("port-{}", self.name)
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

    /// Starts `vipd run`. Does not wait: see [`Node::wait_ready`], [`Node::wait_state`].
    pub fn start_vipd(&self, vipd: &Path) -> Result<Daemon> {
        let mut command = self.command(vipd);
        command.arg("run").arg("-f").arg(self.vipd_conf());
        command.arg("--bpffs-dir").arg(&self.bpffs_dir).arg("--runtime-dir").arg(self.runtime_dir());
        Daemon::start(&format!("vipd on {}", self.name), &mut command, &self.vipd_log())
    }

    /// What `vipd status --json` says.
    pub fn status(&self, vipd: &Path) -> Result<Value> {
        let mut command = self.command(vipd);
        let out = checked(command.args(["status", "--json", "--runtime-dir"]).arg(self.runtime_dir()))?;
        serde_json::from_str(&out).with_context(|| format!("vipd status on {} said {out:?}", self.name))
    }

    /// The state of one instance, such as `MASTER`.
    pub fn state(&self, vipd: &Path, instance: &str) -> Result<String> {
        let status = self.status(vipd)?;
        status["instances"]
            .as_array()
            .and_then(|all| all.iter().find(|i| i["name"] == instance))
            .and_then(|i| i["state"].as_str())
            .map(str::to_owned)
            .with_context(|| format!("no state of {instance} on {}: {status}", self.name))
    }

    /// Waits until vipd answers on its control socket.
    pub fn wait_ready(&self, vipd: &Path, timeout: Duration) -> Result<Duration> {
        wait_for(format_args!("vipd on {} to answer", self.name), timeout, || self.status(vipd).is_ok())
            .with_context(|| self.vipd_log_tail())
    }

    /// Waits until an instance is in a state.
    pub fn wait_state(
        &self,
        vipd: &Path,
        instance: &str,
        state: &str,
        timeout: Duration,
    ) -> Result<Duration> {
        wait_for(format_args!("{instance} on {} to be {state}", self.name), timeout, || {
            self.state(vipd, instance).is_ok_and(|s| s == state)
        })
        .with_context(|| self.vipd_log_tail())
    }

    /// Runs `vipd stop`.
    pub fn stop_vipd(&self, vipd: &Path) -> Result<()> {
        checked(self.command(vipd).args(["stop", "--runtime-dir"]).arg(self.runtime_dir())).map(drop)
    }

    /// Puts a `vipd` into a directory that fills in this node's own directories, for people's PATH.
    pub fn write_vipd_wrapper(&self, vipd: &Path) -> Result<PathBuf> {
        let bin = self.dir.join("bin");
        fs::create_dir_all(&bin)?;
        let script = format!(
            "#!/bin/sh\ncase \"$1\" in\n\
             run) exec {vipd} \"$@\" --bpffs-dir {} --runtime-dir {run} ;;\n\
             check | help | -*) exec {vipd} \"$@\" ;;\n\
             *) exec {vipd} \"$@\" --runtime-dir {run} ;;\nesac\n",
            self.bpffs_dir.display(),
            vipd = vipd.display(),
            run = self.runtime_dir().display(),
        );
        let path = bin.join("vipd");
        fs::write(&path, script)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        Ok(bin)
    }

    /// Starts Debian's keepalived with `conf`, VRRP only.
    pub fn start_keepalived(&self, conf: &str) -> Result<Daemon> {
        let file = self.dir.join("keepalived.conf");
        write_conf(&file, conf)?;
        let mut command = self.command("keepalived");
        // -n -G -l: in the foreground, no syslog, to the console (here the log): without a syslog daemon it
        // would otherwise write to the machine's console and stall.
        command.args(["-n", "-G", "-l", "-D", "-P", "-f"]).arg(&file);
        for (flag, name) in [("-p", "keepalived.pid"), ("-r", "vrrp.pid"), ("-c", "checkers.pid")] {
            command.arg(flag).arg(self.dir.join(name));
        }
        let log = self.dir.join("keepalived.log");
        Ok(Daemon::start(&format!("keepalived on {}", self.name), &mut command, &log)?.signal_group())
    }

    /// Starts an nginx that answers every request with this node's name, and waits until it listens.
    ///
    /// The address must be bindable: vipd makes a VIP bindable on every node; for others set
    /// [`Node::allow_nonlocal_bind`] first.
    pub fn start_nginx(&self, listen: SocketAddrV4) -> Result<Daemon> {
        let dir = self.dir.join("nginx");
        fs::create_dir_all(&dir)?;
        let d = dir.display();
        let conf = format!(
            "daemon off;\nmaster_process off;\nuser root;\npid {d}/pid;\nerror_log {d}/error.log;\n\
             events {{ worker_connections 1024; }}\n\
             http {{\n  access_log off;\n  keepalive_timeout 0;\n  default_type text/plain;\n\
             \x20 client_body_temp_path {d}/body;\n  proxy_temp_path {d}/proxy;\n  fastcgi_temp_path {d}/fastcgi;\n\
             \x20 uwsgi_temp_path {d}/uwsgi;\n  scgi_temp_path {d}/scgi;\n\
             \x20 server {{ listen {listen}; location / {{ return 200 \"{}\\n\"; }} }}\n}}\n",
            self.name
        );
        let file = dir.join("nginx.conf");
        fs::write(&file, conf)?;
        let mut command = self.command("nginx");
        command.arg("-p").arg(&dir).arg("-c").arg(&file).arg("-e").arg(dir.join("error.log"));
        let mut nginx =
            Daemon::start(&format!("nginx on {}", self.name), &mut command, &dir.join("nginx.log"))?;
        let tcp = format!("/proc/{}/net/tcp", nginx.pid());
        let listening = format!(
            "{:08X}:{:04X} 00000000:0000 0A",
            u32::from_ne_bytes(listen.ip().octets()),
            listen.port()
        );
        wait_for(
            format_args!("nginx on {} to listen on {listen}", self.name),
            Duration::from_secs(5),
            || !nginx.is_running() || fs::read_to_string(&tcp).is_ok_and(|t| t.contains(&listening)),
        )?;
        anyhow::ensure!(nginx.is_running(), "nginx on {} ended: {}", self.name, nginx.log());
        Ok(nginx)
    }

    /// Lets programs of this node bind to addresses it does not have.
    pub fn allow_nonlocal_bind(&self) -> Result<()> {
        self.ns.sysctl("net/ipv4/ip_nonlocal_bind", "1")
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

/// keepalived refuses configurations that others may write or, with passwords in them, read.
fn write_conf(path: &Path, text: &str) -> Result<()> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut f| f.write_all(text.as_bytes()))
        .with_context(|| format!("cannot write {}", path.display()))
}
