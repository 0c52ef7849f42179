//! FRR's vrrpd on a node: another implementation of VRRP, always with virtual MACs.
//!
//! It runs no link of its own: for each family the administrator makes a macvlan interface with the virtual MAC and the
//! virtual addresses, and FRR, through zebra, takes its carrier away (protodown) while it is not master. FRR 8.4.4,
//! which Debian 12 has, sends and takes the checksum of version 3 over IPv4 with the pseudo-header only; it does not
//! know `checksum-with-ipv4-pseudoheader` yet.

use std::{
    fmt::Write,
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use vipd_common::Family;

use crate::{Daemon, Mac, Netns, Node, checked, checked_with_input, wait_for};

/// A virtual router as FRR is to be configured. Version 3; a family without addresses is not configured.
#[derive(Debug, Clone)]
pub struct VrrpSpec<'a> {
    pub interface: &'a str,
    pub vrid: u8,
    /// 1 to 254.
    pub priority: u8,
    /// A multiple of 10 ms.
    pub advert_interval: Duration,
    pub preempt: bool,
    pub addresses: &'a [IpAddr],
}

/// zebra and vrrpd with one virtual router; dropping it ends them and removes the router's interfaces.
#[derive(Debug)]
pub struct Frr {
    pub vrrpd: Daemon,
    /// Gives vrrpd the interfaces, and sets protodown for it.
    pub zebra: Daemon,
    ns: Netns,
    dir: PathBuf,
    macvlans: Vec<String>,
}

/// The virtual MAC of a virtual router (RFC 9568 7.3).
pub fn virtual_mac(vrid: u8, family: Family) -> Mac {
    Mac([0x00, 0x00, 0x5e, 0x00, if family == Family::V4 { 1 } else { 2 }, vrid])
}

impl Node {
    /// Makes the interfaces of a virtual router and starts zebra and vrrpd. Does not wait: see [`Frr::wait_state`].
    pub fn start_frr_vrrp(&self, spec: &VrrpSpec) -> Result<Frr> {
        let dir = self.dir().join("frr");
        fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
        fs::write(dir.join("zebra.conf"), "")?;
        fs::write(dir.join("vrrpd.conf"), spec.conf())?;
        // The daemons change to this user before they make their sockets.
        checked(std::process::Command::new("chown").args(["-R", "frr:frr"]).arg(&dir))?;

        let macvlans = self.make_macvlans(spec, &dir)?;
        // What a killed zebra left would look like a zebra that listens: vrrpd would find none, and try again in
        // seconds.
        let socket = dir.join("zserv.api");
        if socket.exists() {
            fs::remove_file(&socket).with_context(|| format!("cannot remove {}", socket.display()))?;
        }
        let zebra = self.start_frr_daemon("zebra", &dir)?;
        wait_for(format_args!("zebra on {}", self.name()), START, || socket.exists())
            .with_context(|| zebra.log())?;
        let vrrpd = self.start_frr_daemon("vrrpd", &dir)?;
        Ok(Frr { vrrpd, zebra, ns: self.ns().clone(), dir, macvlans })
    }

    pub(crate) fn start_frr_daemon(&self, name: &str, dir: &Path) -> Result<Daemon> {
        let program = Path::new(DAEMONS).join(name);
        ensure!(program.is_file(), "{} is not installed; run: cargo xtask setup", program.display());
        let mut command = self.command(program);
        let (pid, conf) = (dir.join(format!("{name}.pid")), dir.join(format!("{name}.conf")));
        command.arg("-i").arg(pid).arg("-f").arg(conf);
        command.arg("-z").arg(dir.join("zserv.api")).arg("--vty_socket").arg(dir);
        // Without a TCP port for its vty.
        command.args(["-P", "0", "--log", "stdout"]);
        Daemon::start(
            &format!("{name} on {}", self.name()),
            &mut command,
            &self.dir().join(format!("{name}.log")),
        )
    }

    /// The interfaces as FRR's manual wants them, and sysctls without which each interface of the node answers ARP for
    /// addresses of every other. Returns their names.
    fn make_macvlans(&self, spec: &VrrpSpec, dir: &Path) -> Result<Vec<String>> {
        let mut made = Vec::new();
        let mut batch = String::new();
        for family in [Family::V4, Family::V6] {
            if spec.addresses_of(family).next().is_none() {
                continue;
            }
            let name = format!("vrrp{}-{}", family as u8, spec.vrid);
            // In two steps: a new link has no IPv6 yet to set a mode of. Random: made from the MAC, every router would
            // have the same link-local address and advertise from it. Bridge mode: in the others the parent does not
            // hear the macvlan.
            let _ = writeln!(
                batch,
                "link add {name} link {} type macvlan mode bridge\n\
                 link set dev {name} address {} addrgenmode random",
                spec.interface,
                virtual_mac(spec.vrid, family)
            );
            for address in spec.addresses_of(family) {
                // A host's length each; a lab has no duplicates to wait for.
                let nodad = if family == Family::V6 { "nodad" } else { "" };
                let _ = writeln!(batch, "addr add {address} dev {name} {nodad}");
            }
            made.push(name);
        }
        checked_with_input(self.command("ip").args(["-batch", "-"]), &batch, &dir.join("batch"))?;
        let set = |ifname: &str, key: &str, value| {
            self.ns().sysctl(&format!("net/ipv4/conf/{ifname}/{key}"), value)
        };
        set(spec.interface, "arp_ignore", "1")?;
        set(spec.interface, "arp_filter", "1")?;
        for name in &made {
            set(name, "arp_ignore", "1")?;
            set(name, "rp_filter", "0")?;
            set(name, "accept_local", "1")?;
            self.exec(&["ip", "link", "set", "dev", name, "up"])?;
        }
        Ok(made)
    }
}

impl VrrpSpec<'_> {
    fn addresses_of(&self, family: Family) -> impl Iterator<Item = &IpAddr> {
        self.addresses.iter().filter(move |a| a.is_ipv4() == (family == Family::V4))
    }

    fn conf(&self) -> String {
        let (id, interval) = (self.vrid, self.advert_interval.as_millis());
        let no = if self.preempt { "" } else { "no " };
        let mut conf = format!(
            "interface {}\n vrrp {id} version 3\n vrrp {id} priority {}\n vrrp {id} advertisement-interval {interval}\n \
             {no}vrrp {id} preempt\n",
            self.interface, self.priority
        );
        for address in self.addresses {
            let family = if address.is_ipv4() { "ip" } else { "ipv6" };
            let _ = writeln!(conf, " vrrp {id} {family} {address}");
        }
        conf
    }
}

impl Frr {
    /// What vrrpd says of a virtual router: `Initialize`, `Backup` or `Master`.
    pub fn vrrp_state(&self, vrid: u8, family: Family) -> Result<String> {
        let mut vtysh = self.ns.command("vtysh");
        vtysh.arg("--vty_socket").arg(&self.dir).args(["-d", "vrrpd", "-c", "show vrrp json"]);
        let out = checked(&mut vtysh)?;
        let routers: Vec<Value> =
            serde_json::from_str(&out).with_context(|| format!("vtysh said {out:?}"))?;
        let ours = routers.iter().find(|router| router["vrid"] == vrid);
        let state = ours.and_then(|r| r[if family == Family::V4 { "v4" } else { "v6" }]["status"].as_str());
        state.map(str::to_owned).with_context(|| format!("no state of vrid {vrid} in {out}"))
    }

    /// Waits until a virtual router is in a state.
    pub fn wait_state(&self, vrid: u8, family: Family, state: &str, timeout: Duration) -> Result<Duration> {
        wait_for(format_args!("vrid {vrid} of {} to be {state}", self.vrrpd.name), timeout, || {
            self.vrrp_state(vrid, family).is_ok_and(|s| s == state)
        })
        .with_context(|| format!("{}{}", self.zebra.log(), self.vrrpd.log()))
    }
}

impl Drop for Frr {
    fn drop(&mut self) {
        // The daemons first: vrrpd would see its interface go and log that.
        for daemon in [&mut self.vrrpd, &mut self.zebra] {
            if daemon.is_running() {
                let _ = daemon.kill9();
            }
        }
        for name in &self.macvlans {
            let _ = self.ns.command("ip").args(["link", "delete", "dev", name]).output();
        }
    }
}

/// Where Debian puts zebra and vrrpd.
const DAEMONS: &str = "/usr/lib/frr";
const START: Duration = Duration::from_secs(10);
