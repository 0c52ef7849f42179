//! Other processes that speak VRRP in this network namespace: keepalived above all, in BACKUP and FAULT too.
//!
//! What counts is a raw socket of protocol 112 (`/proc/net/raw`), which takes CAP_NET_RAW, not a process's name, which anybody can choose.
//! Reads `/proc` and keepalived's configuration only.

use std::{
    collections::BTreeSet,
    fmt, fs,
    path::{Path, PathBuf},
};

use nix::unistd::Uid;
use vipd_common::{Family, wire::ipv4::PROTOCOL_VRRP};
use vipd_config::{Config, Instance, Unsupported};

use crate::{files, machine::Source, processes::Process};

/// A process that has a VRRP socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Speaker {
    /// `None`: it is not seen from here, as one in another PID namespace is not.
    pub pid: Option<u32>,
    pub name: String,
    /// Its configuration, if it is a keepalived.
    pub config: Option<PathBuf>,
    /// What that has; `None`: it is not known.
    pub routers: Option<BTreeSet<VirtualRouter>>,
}

/// What two routers must not both be on one host.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct VirtualRouter {
    pub interface: String,
    pub vrid: u8,
    pub is_v6: bool,
}

impl From<&Instance> for VirtualRouter {
    fn from(instance: &Instance) -> Self {
        Self {
            interface: instance.interface.clone(),
            vrid: instance.vrid.get(),
            is_v6: instance.family == Family::V6,
        }
    }
}

impl fmt::Display for VirtualRouter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let family = if self.is_v6 { " (IPv6)" } else { "" };
        write!(f, "VRID {} on {}{family}", self.vrid, self.interface)
    }
}

/// `keepalived (pid 7)`.
impl fmt::Display for Speaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.pid {
            Some(pid) => write!(f, "{} (pid {pid})", self.name),
            None => f.write_str("a process that is not seen from here (in another container?)"),
        }
    }
}

impl Speaker {
    /// Which of these it has too; `None`: that is not known.
    pub fn shares<'i>(
        &self,
        instances: impl IntoIterator<Item = &'i Instance>,
    ) -> Option<Vec<VirtualRouter>> {
        let theirs = self.routers.as_ref()?;
        Some(instances.into_iter().map(VirtualRouter::from).filter(|ours| theirs.contains(ours)).collect())
    }
}

/// Every process but this one and `but` that has a VRRP socket in this network namespace, as far as this user may look.
pub fn speakers(but: Option<u32>) -> Vec<Speaker> {
    let mut sockets: BTreeSet<u64> = ["raw", "raw6"]
        .iter()
        .filter_map(|file| fs::read_to_string(Path::new("/proc/thread-self/net").join(file)).ok())
        .flat_map(|table| vrrp_sockets(&table))
        .collect();
    let own: BTreeSet<u64> = Process::of(None).sockets().collect();
    sockets.retain(|inode| !own.contains(inode));
    let mut speakers = Vec::new();
    // Mostly there is none: then no process is looked at.
    let mut processes = if sockets.is_empty() { None } else { Some(Process::all()) };
    for process in processes.iter_mut().flatten() {
        let its: Vec<u64> = process.sockets().filter(|inode| sockets.contains(inode)).collect();
        its.iter().for_each(|inode| _ = sockets.remove(inode));
        if !its.is_empty() && Some(process.id()) != but {
            speakers.push(speaker(&process));
        }
    }
    // Other users' descriptors are not seen by all.
    if !sockets.is_empty() && Uid::effective().is_root() {
        speakers.push(Speaker { pid: None, name: String::new(), config: None, routers: None });
    }
    speakers
}

/// Says in the log who speaks VRRP on this host beside a vipd that starts with this configuration.
pub fn warn(config: &Config) {
    for speaker in speakers(None) {
        let file = speaker.config.as_ref().map(|config| config.display().to_string());
        match (speaker.shares(&config.instances), &speaker.routers) {
            (Some(shared), _) if !shared.is_empty() => {
                let shared: Vec<String> = shared.iter().map(ToString::to_string).collect();
                tracing::warn!(
                    pid = speaker.pid,
                    config = file,
                    "{speaker} runs on this host too and has {}: stop it, or the two take the VIPs from each other",
                    shared.join(", ")
                );
            }
            (_, Some(_)) => {
                tracing::info!(
                    pid = speaker.pid,
                    config = file,
                    "{speaker} runs on this host too, with no virtual router of vipd's"
                );
            }
            (_, None) => tracing::warn!(
                pid = speaker.pid,
                config = file,
                "{speaker} speaks VRRP on this host too, for virtual routers that are not known: it must have none of vipd's"
            ),
        }
    }
}

/// The inodes of the sockets of protocol 112 in `/proc/net/raw` or `raw6`, whose "port" is the protocol.
fn vrrp_sockets(table: &str) -> Vec<u64> {
    let socket = |line: &str| {
        let mut words = line.split_whitespace();
        let (_, protocol) = words.nth(1)?.split_once(':')?;
        let is_vrrp = u16::from_str_radix(protocol, 16) == Ok(u16::from(PROTOCOL_VRRP));
        // local, then remote, state, queues, timer, retransmissions, uid, timeout, inode.
        words.nth(7)?.parse().ok().filter(|_| is_vrrp)
    };
    table.lines().skip(1).filter_map(socket).collect()
}

fn speaker(process: &Process) -> Speaker {
    let name = process.name().unwrap_or_default();
    let mut speaker = Speaker { pid: Some(process.id()), name, config: None, routers: None };
    if speaker.name == KEEPALIVED {
        // The process that was started has the arguments, and is the one to be stopped.
        let parent = process.parent().filter(|parent| parent.name().as_deref() == Some(KEEPALIVED));
        let first = parent.as_ref().unwrap_or(process);
        speaker.pid = Some(first.id());
        let config = keepalived_config(first);
        speaker.routers = virtual_routers(first, &config);
        speaker.config = Some(config);
    }
    speaker
}

/// The file that a keepalived was started with.
pub fn keepalived_config(process: &Process) -> PathBuf {
    let path = config_argument(&process.arguments());
    // Where it was started is as good as known.
    process.directory().map_or_else(|| path.clone(), |directory| directory.join(&path))
}

fn config_argument(arguments: &[String]) -> PathBuf {
    let mut given = None;
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        if argument == "-f" || argument == "--use-file" {
            given = arguments.next().cloned();
        } else if let Some(path) = argument.strip_prefix("--use-file=").or(argument.strip_prefix("-f")) {
            given = Some(path.to_owned());
        }
    }
    given.unwrap_or_else(|| "/etc/keepalived/keepalived.conf".to_owned()).into()
}

fn virtual_routers(process: &Process, config: &Path) -> Option<BTreeSet<VirtualRouter>> {
    if process.sees_other_files() {
        return None;
    }
    // A file that cannot be read as a regular one is not opened twice.
    files::read_regular(config, 1).ok()?;
    let source = Source { path: config.to_owned(), config_id: None, unsupported: Unsupported::Ignored };
    let loaded = source.load().ok()?;
    Some(loaded.config.instances.iter().map(VirtualRouter::from).collect())
}

/// The name of keepalived's processes.
pub const KEEPALIVED: &str = "keepalived";

#[cfg(test)]
mod tests {
    use super::*;

    /// As Linux 6.18 shows them: a socket of ICMP, and two of VRRP.
    #[test]
    fn vrrp_sockets_are_found() {
        let raw = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops\n   \
                   1: 00000000:0001 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 4711 2 0000000000000000 0\n \
                   112: 00000000:0070 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 61357 2 0000000000000000 0\n \
                   112: 0500000A:0070 00000000:0000 07 00000000:00000000 00:00000000 00000000   107        0 61358 2 0000000000000000 0\n";
        assert_eq!(vrrp_sockets(raw), [61357, 61358]);
        let raw6 = "  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops\n \
                    112: 00000000000000000000000000000000:0070 00000000000000000000000000000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 8 2 0000000000000000 0\n";
        assert_eq!(vrrp_sockets(raw6), [8]);
    }

    #[test]
    fn the_file_of_a_keepalived_is_known() {
        for (line, path) in [
            ("keepalived", "/etc/keepalived/keepalived.conf"),
            ("keepalived -n -f /a.conf", "/a.conf"),
            ("keepalived -f/a.conf -l", "/a.conf"),
            ("keepalived --use-file=/a.conf", "/a.conf"),
            ("keepalived --use-file /a.conf -n", "/a.conf"),
        ] {
            let arguments: Vec<String> = line.split(' ').map(str::to_owned).collect();
            assert_eq!(config_argument(&arguments), Path::new(path), "{line}");
        }
    }
}
