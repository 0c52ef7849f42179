//! The modules of IPVS: whether they are there, and how they are loaded.
//!
//! The kernel loads `ip_vs` when its family is looked up, and a scheduler when it is asked for, where modules may be loaded at all. What cannot
//! be had by that is tried with `modprobe`.

use std::{fs, io, path::Path, time::Duration};

use nix::sys::utsname::uname;
use vipd_ipvs::{IpvsClient, IpvsError, ServiceProtocol, VirtualServiceKey};

use crate::scripts::{self, Executable};

/// Opens IPVS, and has its module loaded.
///
/// # Errors
///
/// [`IpvsError::NoIpvs`]: the kernel has none, with the remedy.
pub async fn open() -> Result<IpvsClient, IpvsError> {
    match IpvsClient::open() {
        Err(IpvsError::NoIpvs) if load().await => IpvsClient::open(),
        opened => opened,
    }
}

/// Runs `modprobe ip_vs`; returns whether it says that the module is there.
async fn load() -> bool {
    // What is not in PATH is not there in containers, where nothing can be loaded either.
    let Ok(Some(path)) = scripts::executable("modprobe") else { return false };
    let arguments = vec!["ip_vs".to_owned()];
    let modprobe = Executable { path, arguments, account: None, secure: false };
    let run = modprobe.run(LIMIT).await;
    tracing::debug!(outcome = %run.outcome, output = run.output.join(scripts::OUTPUT_SEPARATOR), "load the module");
    run.outcome.is_success()
}

/// Whether this kernel has IPVS, as far as can be seen without loading anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IpvsPresence {
    /// It is loaded, or built in.
    Loaded,
    /// It is not loaded, and the module's file is there.
    Loadable,
    /// There is neither.
    Missing,
    /// The directory of modules cannot be read, as in a container.
    Unknown,
}

/// Whether IPVS is in the kernel now.
pub fn is_loaded() -> bool {
    Path::new("/proc/net/ip_vs").exists()
}

/// Looks, and changes nothing.
pub fn presence() -> IpvsPresence {
    if is_loaded() {
        return IpvsPresence::Loaded;
    }
    let Some(dir) = modules_dir() else { return IpvsPresence::Unknown };
    match (lists(&dir, "modules.builtin", MODULE), lists(&dir, "modules.dep", MODULE)) {
        (Ok(true), _) => IpvsPresence::Loaded,
        (_, Ok(true)) => IpvsPresence::Loadable,
        (_, Ok(false)) => IpvsPresence::Missing,
        (_, Err(_)) => IpvsPresence::Unknown,
    }
}

/// Those of these modules that the kernel neither has nor can load; none if that cannot be seen.
pub fn missing(modules: impl IntoIterator<Item = String>) -> Vec<String> {
    let Some(dir) = modules_dir() else { return Vec::new() };
    let is_there = |name: &String| {
        Path::new("/sys/module").join(name).exists()
            || ["modules.builtin", "modules.dep"].iter().any(|list| lists(&dir, list, name).unwrap_or(true))
    };
    modules.into_iter().filter(|name| !is_there(name)).collect()
}

/// Whether a list of modules has one.
fn lists(dir: &str, list: &str, module: &str) -> io::Result<bool> {
    let text = fs::read_to_string(Path::new(dir).join(list))?;
    Ok(text.lines().any(|line| is_module(line, module)))
}

fn modules_dir() -> Option<String> {
    let release = uname().ok()?.release().to_str()?.to_owned();
    ["/lib/modules", "/usr/lib/modules"]
        .into_iter()
        .map(|root| format!("{root}/{release}"))
        .find(|dir| Path::new(dir).is_dir())
}

/// A line of a list of modules: `kernel/net/netfilter/ipvs/ip_vs.ko.xz: kernel/...`.
fn is_module(line: &str, module: &str) -> bool {
    let path = line.split(':').next().unwrap_or_default();
    let name = path.rsplit('/').next().unwrap_or_default();
    name.split('.').next() == Some(module)
}

/// A service, as `ipvsadm` is told it.
pub fn ipvsadm_words(key: &VirtualServiceKey) -> String {
    match key {
        VirtualServiceKey::Address { protocol, address, port } => {
            let option = match protocol {
                ServiceProtocol::Udp => "-u".to_owned(),
                ServiceProtocol::Sctp => "--sctp-service".to_owned(),
                ServiceProtocol::Tcp | ServiceProtocol::Other(_) => "-t".to_owned(),
            };
            format!("{option} {}", std::net::SocketAddr::new(*address, *port))
        }
        VirtualServiceKey::Mark { family, mark } => {
            let six = if *family == vipd_common::Family::V6 { " -6" } else { "" };
            format!("-f {mark}{six}")
        }
    }
}

const MODULE: &str = "ip_vs";
const LIMIT: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_module_is_found_by_its_name_alone() {
        for (line, expect) in [
            ("kernel/net/netfilter/ipvs/ip_vs.ko: kernel/net/netfilter/nf_conntrack.ko", true),
            ("kernel/net/netfilter/ipvs/ip_vs.ko.xz:", true),
            ("kernel/net/netfilter/ipvs/ip_vs.ko", true),
            ("kernel/net/netfilter/ipvs/ip_vs_rr.ko: kernel/net/netfilter/ipvs/ip_vs.ko", false),
            ("", false),
        ] {
            assert_eq!(is_module(line, MODULE), expect, "{line}");
        }
        assert!(is_module("kernel/net/netfilter/ipvs/ip_vs_rr.ko.zst:", "ip_vs_rr"));
    }
}
