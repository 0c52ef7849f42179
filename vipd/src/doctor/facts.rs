//! Facts about a host. Plain data, so that tests can make them up.

use std::{collections::BTreeMap, net::IpAddr, path::PathBuf};

use serde_json::Value;
use vipd_config::{Config, Failure, Instance, Loaded};

use crate::{
    beside::Speaker,
    control::model::{ArbiterStatus, InstanceStatus, Status},
    daemon::services::modules::IpvsPresence,
    dataplane::{ClockDiffers, Verified},
    host::{FirstHop, Leftover, Survey, SurveyedLink},
    stations::Stations,
};

/// A host, a configuration, and the running vipd if there is one.
#[derive(Debug)]
pub struct Facts {
    pub machine: MachineFacts,
    /// Its diagnostics have the path of the file.
    pub configuration: Result<Loaded, Failure>,
    pub running: Option<Status>,
    /// What is in the place of the runtime directory or of its socket, so that no vipd can be reached there.
    pub runtime_dir: Result<(), String>,
    /// Why one that seems to run could not be asked.
    pub unanswered: Option<Unanswered>,
    /// Or the reason why it failed.
    pub survey: Result<Survey, String>,
    /// `net.ipv4.ip_nonlocal_bind` and that of IPv6, if it can be read.
    pub nonlocal_bind: [Option<bool>; 2],
    /// `net.ipv4.ip_forward` and `net.ipv6.conf.all.forwarding`, if it can be read.
    pub forwarding: [Option<bool>; 2],
    pub ipvs: IpvsPresence,
    /// `net.ipv4.vs.conntrack`; `None` while IPVS is not loaded.
    pub ipvs_conntrack: Option<bool>,
    /// Modules of IPVS that the configuration needs and the kernel does not have, as far as that can be seen.
    pub missing_modules: Vec<String>,
    /// Where the kernel sends packets to real servers and sorry servers; those without a way are left out.
    pub first_hops: BTreeMap<IpAddr, FirstHop>,
    /// Who answers for the VIPs and the real servers of services by DR, on this host's links; or why nobody was asked.
    pub stations: Result<Stations, String>,
    /// By the name of the interface, and `all`.
    pub settings: BTreeMap<String, InterfaceSettings>,
    /// Multicast groups that this host has joined, with the interface.
    pub groups: Vec<(String, IpAddr)>,
    /// Where this host listens: `TCP` or `UDP`, the address, which may be that of all, and the port.
    pub listeners: Vec<(&'static str, IpAddr, u16)>,
    /// Output of `nft -j list ruleset`, or the reason why there is none.
    pub ruleset: Result<Value, String>,
    /// Whether rules of the legacy iptables are in use, which `nft` does not show.
    pub legacy_rules: bool,
    /// Other processes with VRRP sockets in this network namespace.
    pub speakers: Vec<Speaker>,
    /// keepalived processes in this network namespace that have none.
    pub idle_keepalived: Vec<u32>,
    /// What a vipd has made here, if none answers; or why that is not known.
    pub leftovers: Result<Vec<Leftover>, String>,
    /// Scripts of the configuration that cannot be run.
    pub broken: Vec<Broken>,
    /// From the running vipd, or from requests just now.
    pub arbiters: Vec<ArbiterStatus>,
}

/// The machine and what vipd may do on it.
#[derive(Clone, Debug)]
pub struct MachineFacts {
    /// As `uname -r` and `uname -v`.
    pub release: String,
    pub version: String,
    pub bpffs_dir: PathBuf,
    /// Whether a BPF file system is there.
    pub bpffs: bool,
    /// Its mode, if every user may create files in it.
    pub bpffs_shared: Option<u32>,
    /// Whether a vipd has left something pinned there.
    pub pinned: bool,
    /// The effective set (CAP_*, by number).
    pub capabilities: u64,
    /// RLIMIT_MEMLOCK in octets; `None`: no limit.
    pub memlock: Option<u64>,
    /// RLIMIT_RTPRIO.
    pub rtprio: u64,
    /// `net.core.bpf_jit_enable`; `None` in all but the first network namespace.
    pub jit: Option<u32>,
    pub clocksource: Option<String>,
    /// Whether this process has another boot-time clock than BPF programs; `None`: it is not known.
    pub clock: Option<Result<(), ClockDiffers>>,
    pub programs: ProgramSupport,
}

/// Whether the kernel loads vipd's eBPF programs.
#[derive(Clone, Debug)]
pub enum ProgramSupport {
    Loaded(Vec<Verified>),
    /// The kernel's answer, and the remedy.
    Refused {
        what: String,
        fix: String,
    },
    /// Why they were not loaded as a test.
    Untried(String),
}

/// Of `net.ipv4.conf.IFACE`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InterfaceSettings {
    pub rp_filter: u32,
    pub arp_ignore: u32,
    pub arp_announce: u32,
}

/// Why a vipd is not asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unanswered {
    /// This user may not connect to its socket, or what answers there is none; the reason.
    Unreachable(String),
    /// It is stopped, or hangs.
    Unresponsive(String),
}

/// A script that cannot be run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// Where the configuration names it.
    pub name: String,
    pub problem: String,
}

impl Facts {
    pub fn config(&self) -> Option<&Config> {
        self.configuration.as_ref().ok().map(|loaded| &loaded.config)
    }

    pub fn instances(&self) -> &[Instance] {
        self.config().map_or(&[], |config| &config.instances)
    }

    /// Status of an instance of the running vipd.
    pub fn status_of(&self, instance: &Instance) -> Option<&InstanceStatus> {
        self.running.as_ref()?.instances.iter().find(|status| status.name == instance.name)
    }

    pub fn link(&self, name: &str) -> Option<&SurveyedLink> {
        self.survey.as_ref().ok()?.links.iter().find(|link| link.state.name == name)
    }

    pub fn link_by_index(&self, index: u32) -> Option<&SurveyedLink> {
        self.survey.as_ref().ok()?.links.iter().find(|link| link.state.ifindex == index)
    }

    /// The interfaces of the configuration, each once, with the instances on them.
    pub fn interfaces(&self) -> BTreeMap<&str, Vec<&Instance>> {
        let mut interfaces: BTreeMap<&str, Vec<&Instance>> = BTreeMap::new();
        for instance in self.instances() {
            let of_vips =
                instance.vips.iter().chain(&instance.excluded).filter_map(|vip| vip.interface.as_deref());
            for name in [instance.interface.as_str()].into_iter().chain(of_vips) {
                let on_it = interfaces.entry(name).or_default();
                if !on_it.iter().any(|known| known.name == instance.name) {
                    on_it.push(instance);
                }
            }
        }
        interfaces
    }

    /// Of an interface: the kernel takes the greater of its own and that of all.
    pub fn setting(&self, interface: &str, of: fn(&InterfaceSettings) -> u32) -> Option<u32> {
        let own = of(self.settings.get(interface)?);
        Some(own.max(self.settings.get("all").map_or(0, of)))
    }
}
