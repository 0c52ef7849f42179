//! What is remembered of services: over a restart, in the runtime directory; over a reboot too, which servers an operator has drained.
//!
//! The first file is written before a service is made in the kernel, so that whatever a killed vipd left is known. A file that cannot be read is
//! as good as none: checks are run anew, and what the kernel has is compared in any case.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    net::IpAddr,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use vipd_balance::{
    BalanceConfig, BalanceNotice, JudgedService, JudgedTarget, KnownVerdict, ProbeOutcome, ProbeSpec,
    ServiceAddress, ServiceId, TargetId, TargetReason, TransportProtocol,
};
use vipd_common::Family;

use crate::files;

/// Name of the file in the runtime directory.
pub const STATE_FILE: &str = "services.json";
/// Name of the file in the state directory.
const DRAINS_FILE: &str = "drained-servers.json";
/// Both are shorter: 100,000 probes make 16 MiB.
const LENGTH_MAX: u64 = 64 << 20;

/// What a vipd leaves for the next one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptServices {
    /// The boot of the machine that it is about: another boot has another table.
    boot: String,
    /// The services in the kernel's table that vipd has made or taken over.
    pub services: Vec<KeptAddress>,
    /// It runs sync daemons.
    #[serde(default)]
    pub syncs: bool,
    /// `sloppy_tcp` as it was before; `null`: vipd has not changed it.
    #[serde(default)]
    pub sloppy_tcp: Option<String>,
    /// By the digest of the probe, which may have secrets.
    #[serde(default)]
    verdicts: BTreeMap<String, KeptOutcome>,
    /// When a target has come up or gone down, in milliseconds since 1970: by service, then by target, as they are printed.
    #[serde(default)]
    pub since: BTreeMap<String, BTreeMap<String, u64>>,
    /// How each target was, as it was told last: by service, then by target. An earlier vipd has kept none of it.
    #[serde(default)]
    told: BTreeMap<String, BTreeMap<String, ToldTarget>>,
    /// Whether a service has its quorum, as it was told last; by service.
    #[serde(default)]
    pub quorums: BTreeMap<String, bool>,
}

/// What is known of a target by those who are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToldTarget {
    up: bool,
    /// The configured weight and the parts that checks add.
    pub weight: u32,
    /// An operator has drained it.
    draining: bool,
}

impl From<&JudgedTarget<'_>> for ToldTarget {
    fn from(judged: &JudgedTarget<'_>) -> Self {
        let draining = matches!(judged.reason, TargetReason::Draining | TargetReason::Drained);
        Self { up: judged.alive, weight: judged.full_weight, draining }
    }
}

/// An address of a service, as it is written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeptAddress {
    Socket { protocol: KeptProtocol, address: IpAddr, port: u16 },
    Mark { mark: u32, ipv6: bool },
}

/// A protocol, as it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeptProtocol {
    Tcp,
    Udp,
    Sctp,
}

/// The outcome of a probe, as it is written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum KeptOutcome {
    Passed,
    Failed(String),
    Exited(u8),
    Value(i64),
}

/// A server that an operator has drained.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptDrain {
    /// The service, as it is printed.
    pub service: String,
    /// The server.
    pub address: IpAddr,
    pub port: u16,
    /// When the rest of it is removed, in milliseconds since 1970; `null`: never, or as `drain_timeout` says.
    pub until_unix_ms: Option<u64>,
}

impl KeptDrain {
    /// The server.
    pub fn target(&self) -> TargetId {
        TargetId::new(self.address, self.port)
    }
}

impl KeptServices {
    /// Nothing yet, of this boot.
    pub fn of_this_boot() -> Self {
        Self { boot: this_boot(), ..Self::default() }
    }

    /// What the vipd before has left in the runtime directory `dir`, of this boot.
    pub fn read(dir: &Path) -> Self {
        let path = dir.join(STATE_FILE);
        let kept: Option<Self> = read(&path);
        kept.filter(|kept| kept.boot == this_boot()).unwrap_or_else(Self::of_this_boot)
    }

    /// Whether there is something in the kernel that is to be compared or removed.
    pub fn has_any(&self) -> bool {
        !self.services.is_empty() || self.syncs || self.sloppy_tcp.is_some()
    }

    /// Whether the vipd before has told the same already, of a target or a service that it had. The file may be another now.
    pub fn has_told(&self, notice: &BalanceNotice) -> bool {
        let knew = |service: &ServiceId, target: &TargetId, same: fn(&ToldTarget, u32) -> bool, weight| {
            let targets = self.since.get(&service.to_string());
            targets.is_some_and(|targets| targets.contains_key(&target.to_string()))
                && self.told(service, target).is_none_or(|told| same(&told, weight))
        };
        match notice {
            BalanceNotice::Target { service, target, up: false, .. } => {
                knew(service, target, |told, _| !told.up, 0)
            }
            BalanceNotice::Weight { service, target, to, .. } => {
                knew(service, target, |told, to| told.weight == to, *to)
            }
            BalanceNotice::Draining { service, target } => knew(service, target, |told, _| told.draining, 0),
            BalanceNotice::Quorum { service, up, .. } => self.quorums.get(&service.to_string()) == Some(up),
            BalanceNotice::Target { up: true, .. }
            | BalanceNotice::FailedServe { .. }
            | BalanceNotice::Drained { .. }
            | BalanceNotice::Undrained { .. } => false,
        }
    }

    /// How a target was, as it was told last.
    pub fn told(&self, service: &ServiceId, target: &TargetId) -> Option<ToldTarget> {
        self.told.get(&service.to_string())?.get(&target.to_string()).copied()
    }

    /// Takes note of how the targets are, all of which is told.
    pub fn set_told<'a>(&mut self, judged: impl IntoIterator<Item = JudgedService<'a>>) {
        let of = |service: JudgedService<'_>| {
            let targets = service.targets.iter().map(|target| (target.id.to_string(), target.into()));
            (service.id.to_string(), targets.collect())
        };
        self.told = judged.into_iter().map(of).collect();
    }

    /// Writes it (mode 0600), in place of what is there.
    pub fn write(&self, dir: &Path) -> Result<()> {
        let text = serde_json::to_string(self).context("write the state of services")?;
        files::replace(&dir.join(STATE_FILE), &text, 0o600)
    }

    /// Removes the file: nothing is left.
    pub fn remove(dir: &Path) -> Result<()> {
        match fs::remove_file(dir.join(STATE_FILE)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(error).context("remove the state of services")
            }
            _ => Ok(()),
        }
    }

    /// The services as addresses.
    pub fn addresses(&self) -> impl Iterator<Item = ServiceAddress> {
        self.services.iter().map(ServiceAddress::from)
    }

    /// Whether these services are those that it has.
    pub fn has_addresses(&self, addresses: &BTreeSet<ServiceAddress>) -> bool {
        self.services.len() == addresses.len() && self.addresses().all(|known| addresses.contains(&known))
    }

    /// Takes note of the services.
    pub fn set_addresses<'a>(&mut self, addresses: impl IntoIterator<Item = &'a ServiceAddress>) {
        self.services = addresses.into_iter().map(KeptAddress::from).collect();
    }

    /// Takes note of the verdicts.
    pub fn set_verdicts<'a>(&mut self, known: impl IntoIterator<Item = &'a KnownVerdict>) {
        let kept = |known: &KnownVerdict| {
            let outcome = match &known.outcome {
                ProbeOutcome::Passed => KeptOutcome::Passed,
                ProbeOutcome::Failed(why) => KeptOutcome::Failed(why.clone()),
                ProbeOutcome::Exited(code) => KeptOutcome::Exited(*code),
                ProbeOutcome::Value(value) => KeptOutcome::Value(*value),
                ProbeOutcome::NotSent(_) => return None,
            };
            Some((digest(&known.probe), outcome))
        };
        self.verdicts = known.into_iter().filter_map(kept).collect();
    }

    /// The verdicts of the probes that a configuration has.
    pub fn verdicts(&self, config: &BalanceConfig) -> Vec<KnownVerdict> {
        let targets = config.servers().iter().flat_map(|server| &server.targets);
        let probes = targets.flat_map(|target| &target.checks).map(|check| &check.probe);
        let known = |probe: &ProbeSpec| {
            let outcome = match self.verdicts.get(&digest(probe))?.clone() {
                KeptOutcome::Passed => ProbeOutcome::Passed,
                KeptOutcome::Failed(why) => ProbeOutcome::Failed(why),
                KeptOutcome::Exited(code) => ProbeOutcome::Exited(code),
                KeptOutcome::Value(value) => ProbeOutcome::Value(value),
            };
            Some(KnownVerdict { probe: probe.clone(), outcome })
        };
        if self.verdicts.is_empty() { Vec::new() } else { probes.filter_map(known).collect() }
    }
}

impl From<&KeptAddress> for ServiceAddress {
    fn from(kept: &KeptAddress) -> Self {
        match *kept {
            KeptAddress::Socket { protocol, address, port } => {
                let protocol = match protocol {
                    KeptProtocol::Tcp => TransportProtocol::Tcp,
                    KeptProtocol::Udp => TransportProtocol::Udp,
                    KeptProtocol::Sctp => TransportProtocol::Sctp,
                };
                Self::Socket { protocol, address, port }
            }
            KeptAddress::Mark { mark, ipv6 } => {
                Self::Mark { mark, family: if ipv6 { Family::V6 } else { Family::V4 } }
            }
        }
    }
}

impl From<&ServiceAddress> for KeptAddress {
    fn from(address: &ServiceAddress) -> Self {
        match *address {
            ServiceAddress::Socket { protocol, address, port } => {
                let protocol = match protocol {
                    TransportProtocol::Tcp => KeptProtocol::Tcp,
                    TransportProtocol::Udp => KeptProtocol::Udp,
                    TransportProtocol::Sctp => KeptProtocol::Sctp,
                };
                Self::Socket { protocol, address, port }
            }
            ServiceAddress::Mark { mark, family } => Self::Mark { mark, ipv6: family == Family::V6 },
        }
    }
}

/// The drains of operators, by the state directory.
#[derive(Clone, Debug)]
pub struct KeptDrains(PathBuf);

impl KeptDrains {
    pub fn new(state_dir: &Path) -> Self {
        Self(state_dir.join(DRAINS_FILE))
    }

    /// Those that there are.
    pub fn read(&self) -> Vec<KeptDrain> {
        read(&self.0).unwrap_or_default()
    }

    /// Writes them (mode 0600); the file is removed if there are none.
    ///
    /// # Errors
    ///
    /// The state directory cannot be written to.
    pub fn write(&self, drains: &[KeptDrain]) -> Result<()> {
        let write = || -> Result<()> {
            if drains.is_empty() {
                return match fs::remove_file(&self.0) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.into()),
                    _ => Ok(()),
                };
            }
            if let Some(dir) = self.0.parent() {
                fs::create_dir_all(dir)?;
            }
            files::replace(&self.0, &serde_json::to_string(drains)?, 0o600)
        };
        write().with_context(|| format!("remember drained servers in {}", self.0.display()))
    }
}

/// `None`, with a log message, if it cannot be read.
fn read<T: for<'d> Deserialize<'d>>(path: &Path) -> Option<T> {
    let text = match files::read_regular(path, LENGTH_MAX) {
        Ok(read) => read.bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "what was kept of services cannot be read");
            return None;
        }
    };
    serde_json::from_slice(&text)
        .inspect_err(|error| {
            tracing::warn!(path = %path.display(), %error, "what was kept of services is not understood");
        })
        .ok()
}

/// Probes that send and expect the same have the same digest. Another version's may differ, and then the probe has no verdict yet.
fn digest(probe: &ProbeSpec) -> String {
    let octets = Sha256::digest(format!("{probe:?}"));
    octets.iter().take(16).map(|octet| format!("{octet:02x}")).collect()
}

fn this_boot() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use vipd_balance::{ForwardMethod, ProbeUse, ServiceTarget, VirtualServer};

    use super::*;

    /// A directory that goes with the test.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            let dir = std::env::temp_dir().join(format!("vipd-services-{name}-{}", std::process::id()));
            fs::create_dir_all(&dir).unwrap();
            Self(dir)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn probe(port: u16) -> ProbeSpec {
        ProbeSpec::tcp(SocketAddr::from(([10, 0, 0, 1], port)))
    }

    fn config(ports: &[u16]) -> BalanceConfig {
        let vip = ServiceAddress::Socket {
            protocol: TransportProtocol::Tcp,
            address: [10, 9, 0, 1].into(),
            port: 80,
        };
        let mut server = VirtualServer::new(ServiceId::Single(vip), vec![vip]);
        for &port in ports {
            let id = TargetId::new([10, 0, 0, 1].into(), port);
            let mut target = ServiceTarget::new(id, ForwardMethod::Nat);
            target.checks.push(ProbeUse::new(probe(port)));
            server.targets.push(target);
        }
        BalanceConfig::new(vec![server], false).unwrap()
    }

    #[test]
    fn verdicts_and_services_are_kept_and_only_those_of_this_boot() {
        let scratch = Scratch::new("kept");
        assert!(!KeptServices::read(&scratch.0).has_any(), "there is none yet");
        let outcomes = [
            ProbeOutcome::Passed,
            ProbeOutcome::Failed("connection refused".into()),
            ProbeOutcome::Exited(12),
            ProbeOutcome::Value(-3),
        ];
        let known: Vec<_> =
            (1..).zip(outcomes).map(|(port, outcome)| KnownVerdict { probe: probe(port), outcome }).collect();
        let addresses = [
            ServiceAddress::Socket {
                protocol: TransportProtocol::Udp,
                address: "2001:db8::1".parse().unwrap(),
                port: 53,
            },
            ServiceAddress::Mark { mark: 7, family: Family::V6 },
        ];
        let mut kept = KeptServices::of_this_boot();
        kept.set_addresses(&addresses);
        kept.set_verdicts(&known);
        kept.since.entry("a".into()).or_default().insert("b".into(), 5);
        kept.write(&scratch.0).unwrap();
        let read = KeptServices::read(&scratch.0);
        assert_eq!(read, kept);
        assert!(read.addresses().eq(addresses));
        assert_eq!(read.verdicts(&config(&[1, 2, 3, 4, 5])), known, "of 5 nothing is known");
        assert_eq!(read.verdicts(&config(&[2])), known[1..2]);
        kept.boot = "another".into();
        kept.write(&scratch.0).unwrap();
        assert!(!KeptServices::read(&scratch.0).has_any());
        fs::write(scratch.0.join(STATE_FILE), "{").unwrap();
        assert!(!KeptServices::read(&scratch.0).has_any());
        KeptServices::remove(&scratch.0).unwrap();
        KeptServices::remove(&scratch.0).unwrap();
    }

    #[test]
    fn drains_are_remembered_until_there_are_none() {
        let scratch = Scratch::new("drains");
        let drains = KeptDrains::new(&scratch.0.join("state"));
        assert_eq!(drains.read(), []);
        let drain = KeptDrain {
            service: "[10.9.0.1]:tcp:80".into(),
            address: [10, 0, 0, 1].into(),
            port: 80,
            until_unix_ms: Some(7),
        };
        drains.write(std::slice::from_ref(&drain)).unwrap();
        assert_eq!(drains.read(), [drain]);
        drains.write(&[]).unwrap();
        assert_eq!(drains.read(), []);
        assert!(!scratch.0.join("state").join(DRAINS_FILE).exists());
        drains.write(&[]).unwrap();
    }
}
