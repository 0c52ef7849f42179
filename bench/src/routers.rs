//! vipd, keepalived and FRR behind one face: the same virtual router, in the same lab.

use std::{
    fmt::Write,
    fs,
    net::{IpAddr, Ipv4Addr},
    path::PathBuf,
    time::Duration,
};

use anyhow::{Context, Result};
use nix::sys::signal::Signal;
use vipd_common::Family;
use vipd_tests::{
    Daemon, Lab, Node,
    frr::{Frr, VrrpSpec},
    vipd_bin, wait_for,
};

/// The address that everyone has of a single VIP.
pub const VIP: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 3);
pub const VRID: u8 = 51;
/// What a lab may take to come to rest; never a figure.
pub const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Vipd,
    Keepalived,
    Frr,
}

impl Kind {
    pub const ALL: [Self; 3] = [Self::Vipd, Self::Keepalived, Self::Frr];

    pub fn name(self) -> &'static str {
        match self {
            Self::Vipd => "vipd",
            Self::Keepalived => "keepalived",
            Self::Frr => "FRR",
        }
    }
}

/// What watches the peer beside VRRP's timer, three in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beside {
    Nothing,
    /// vipd's probes (`act takeover`), every 10 ms.
    Probes,
    /// The same, every 3.3 ms.
    QuickProbes,
    /// A BFD session, every 10 ms, whose end lets the backup take part: it is in FAULT while the session is up.
    Bfd,
}

impl Beside {
    pub fn suffix(self) -> &'static str {
        match self {
            Self::Nothing => "",
            Self::Probes => " and probes, 10 ms",
            Self::QuickProbes => " and probes, 3.3 ms",
            Self::Bfd => " and BFD, 10 ms",
        }
    }

    /// `probe` of an instance.
    fn probe(self) -> Option<String> {
        let interval = match self {
            Self::Nothing | Self::Bfd => return None,
            Self::Probes => "10",
            Self::QuickProbes => "3.3",
        };
        Some(format!(" probe {{\n  interval {interval}\n  multiplier 3\n  act takeover\n }}\n"))
    }
}

/// One or more virtual routers on one interface, version 3.
#[derive(Clone, Debug)]
pub struct Spec {
    pub interval: Duration,
    /// Of each virtual router, whose ids count from [`VRID`] on.
    pub vips: Vec<Vec<IpAddr>>,
    pub use_vmac: bool,
    /// `vrrp_rt_priority`: keepalived runs under SCHED_FIFO only if asked to; vipd does whenever it may.
    pub rt_priority: Option<u8>,
    /// `xdp_mode` of vipd; the lab's own without it.
    pub xdp_mode: Option<&'static str>,
    /// And the peer that is watched.
    pub beside: Option<(Beside, Ipv4Addr)>,
}

impl Spec {
    /// One virtual router with one VIP.
    pub fn single(interval: Duration) -> Self {
        Self {
            interval,
            vips: vec![vec![VIP.into()]],
            use_vmac: false,
            rt_priority: None,
            xdp_mode: None,
            beside: None,
        }
    }

    /// How long a backup of the priority waits.
    pub fn master_down(&self, priority: u8) -> Duration {
        self.interval * 3 + self.interval * (256 - u32::from(priority)) / 256
    }

    /// The configuration of vipd and of keepalived.
    pub fn conf(&self, priority: u8) -> String {
        let mut text = String::from("global_defs {\n vrrp_version 3\n vrrp_garp_master_refresh 0\n");
        if let Some(priority) = self.rt_priority {
            let _ = writeln!(text, " vrrp_rt_priority {priority}");
        }
        if let Some(mode) = self.xdp_mode {
            let _ = writeln!(text, " xdp_mode {mode}");
        }
        text.push_str("}\n");
        let tracked = self.beside.is_some_and(|(beside, _)| beside == Beside::Bfd);
        if let Some((Beside::Bfd, peer)) = self.beside {
            let _ = write!(
                text,
                "bfd_instance peer {{\n neighbor_ip {peer}\n min_rx 10\n min_tx 10\n multiplier 3\n}}\n"
            );
        }
        for (i, vips) in self.vips.iter().enumerate() {
            let vmac = if self.use_vmac { " use_vmac\n" } else { "" };
            let _ = write!(
                text,
                "vrrp_instance VI_{} {{\n state BACKUP\n interface eth0\n virtual_router_id {}\n priority {priority}\n \
                 advert_int {}\n{vmac}",
                i + 1,
                usize::from(VRID) - 50 + i,
                self.interval.as_secs_f64(),
            );
            let (main, excluded) = vips.split_at(vips.len().min(20));
            for (block, vips) in [("virtual_ipaddress", main), ("virtual_ipaddress_excluded", excluded)] {
                if !vips.is_empty() {
                    let _ = writeln!(text, " {block} {{");
                    vips.iter().for_each(|vip| {
                        let _ = writeln!(text, "  {vip}");
                    });
                    text.push_str(" }\n");
                }
            }
            if let Some(probe) = self.beside.and_then(|(beside, _)| beside.probe()) {
                text.push_str(&probe);
            }
            // The master tracks nothing: it would be in FAULT for as long as it has a backup.
            if tracked && priority < 150 {
                text.push_str(" track_bfd {\n  peer weight 0 reverse\n }\n");
            }
            text.push_str("}\n");
        }
        text
    }
}

/// A daemon on a node.
#[derive(Debug)]
pub enum Router {
    Vipd(Daemon),
    Keepalived(Daemon),
    Frr(Frr),
}

impl Router {
    pub fn start(node: &Node, kind: Kind, spec: &Spec, priority: u8) -> Result<Self> {
        Ok(match kind {
            Kind::Vipd => {
                node.write_vipd_conf(&spec.conf(priority))?;
                Self::Vipd(node.start_vipd(&vipd()?)?)
            }
            Kind::Keepalived => {
                // One that was killed leaves them, and where nobody reaps orphans they name what looks like processes.
                for name in ["keepalived.pid", "vrrp.pid", "checkers.pid", "bfd.pid"] {
                    let _ = fs::remove_file(node.dir().join(name));
                }
                let conf = spec.conf(priority);
                Self::Keepalived(match spec.beside {
                    Some((Beside::Bfd, _)) => node.start_keepalived_whole(&conf)?,
                    _ => node.start_keepalived(&conf)?,
                })
            }
            Kind::Frr => Self::Frr(node.start_frr_vrrp(&VrrpSpec {
                interface: "eth0",
                vrid: VRID - 50,
                priority,
                advert_interval: spec.interval,
                preempt: true,
                addresses: &spec.vips[0],
            })?),
        })
    }

    /// The process that holds elections.
    pub fn daemon(&mut self) -> &mut Daemon {
        match self {
            Self::Vipd(daemon) | Self::Keepalived(daemon) => daemon,
            Self::Frr(frr) => &mut frr.vrrpd,
        }
    }

    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        self.daemon().signal(signal)
    }

    /// Ends it in order, and waits for that.
    pub fn terminate(&mut self) -> Result<()> {
        self.signal(Signal::SIGTERM)?;
        self.daemon().wait(PATIENCE).map(drop)
    }

    /// The state of the first virtual router.
    pub fn is(&self, node: &Node, state: &str) -> bool {
        match self {
            Self::Vipd(_) => vipd().and_then(|vipd| node.state(&vipd, "VI_1")).is_ok_and(|s| s == state),
            Self::Keepalived(_) => node.keepalived_state("VI_1").is_ok_and(|s| s.as_deref() == Some(state)),
            Self::Frr(frr) => {
                frr.vrrp_state(VRID - 50, Family::V4).is_ok_and(|s| s.eq_ignore_ascii_case(state))
            }
        }
    }

    pub fn wait(&self, node: &Node, state: &str) -> Result<()> {
        wait_for(format_args!("{state} on {}", node.name()), PATIENCE, || self.is(node, state)).map(drop)
    }
}

/// Two nodes of priority 150 and 100 around a switch, with a client.
pub fn lab() -> Result<Lab> {
    Lab::builder()
        .node("lb01", "10.0.0.5/8")
        .node("lb02", "10.0.0.6/8")
        .node("client", "10.0.0.100/8")
        .build()
}

/// The release build, which `cargo xtask bench` names.
pub fn vipd() -> Result<PathBuf> {
    vipd_bin().context("run it as `cargo xtask bench`")
}
