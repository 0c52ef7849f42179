//! Why a raw or a packet socket was refused: which capability that is, and who has taken it, as far as a process can know.

use std::{fs, io, path::Path};

/// `CAP_NET_RAW`.
const NET_RAW: u32 = 13;

/// Adds to an error of opening a raw or a packet socket what it lacks, and where that is given.
pub fn of_raw_socket(error: io::Error) -> anyhow::Error {
    match remedy(&error, &Circumstances::look()) {
        Some(remedy) => anyhow::Error::new(error).context(remedy),
        None => error.into(),
    }
}

/// What can be known about who decides what this process may do.
#[derive(Clone, Debug, Default)]
struct Circumstances {
    /// A bit for each capability.
    effective: u64,
    bounding: u64,
    /// A filter of system calls is in force.
    filtered: bool,
    /// Root of this process is somebody else outside.
    user_namespace: bool,
    /// The unit of the service manager.
    unit: Option<String>,
    container: bool,
}

impl Circumstances {
    fn look() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let mut found = Self::of(&read("/proc/thread-self/status"), &read("/proc/self/cgroup"));
        let mapped = read("/proc/self/uid_map");
        let fields: Vec<&str> = mapped.split_whitespace().collect();
        found.user_namespace = !fields.is_empty() && fields != ["0", "0", "4294967295"];
        found.container = found.container
            || ["/.dockerenv", "/run/.containerenv", "/run/systemd/container"]
                .iter()
                .any(|mark| Path::new(mark).exists());
        found
    }

    fn of(status: &str, cgroup: &str) -> Self {
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        let set = |name| field(name).and_then(|set| u64::from_str_radix(set, 16).ok()).unwrap_or(0);
        let groups =
            || cgroup.lines().filter_map(|line| line.rsplit(':').next()).flat_map(|path| path.split('/'));
        let of_containers = ["docker", "kubepods", "libpod", "lxc", "crio", "containerd"];
        Self {
            effective: set("CapEff:"),
            bounding: set("CapBnd:"),
            filtered: field("Seccomp:") == Some("2"),
            user_namespace: false,
            unit: groups().rfind(|group| group.ends_with(".service")).map(str::to_owned),
            container: groups().any(|group| of_containers.iter().any(|name| group.starts_with(name))),
        }
    }
}

/// What to do about a refusal; `None`: it is none of those that are known.
fn remedy(error: &io::Error, circumstances: &Circumstances) -> Option<String> {
    let Circumstances { effective, bounding, filtered, user_namespace, unit, container } = circumstances;
    let has = |set: &u64| set & 1 << NET_RAW != 0;
    let unit = unit.as_deref();
    let family = error.raw_os_error() == Some(libc::EAFNOSUPPORT);
    if !family && !matches!(error.raw_os_error(), Some(libc::EPERM | libc::EACCES)) {
        return None;
    }
    let by_container = "the container runtime has taken it: give the container NET_RAW (`--cap-add NET_RAW`, `capabilities: add`)";
    Some(if family || has(effective) && !*user_namespace {
        let what = if family { "the address family is blocked" } else { "CAP_NET_RAW is there, and blocked" };
        match unit {
            Some(unit) if *filtered => format!(
                "{what}: RestrictAddressFamilies= or SystemCallFilter= of {unit} (`systemctl cat {unit}`) must allow AF_PACKET and AF_INET, AF_INET6"
            ),
            _ if *filtered => {
                format!("{what}: the seccomp profile of the container or of whoever started vipd")
            }
            _ if family => "this kernel has no packet sockets (CONFIG_PACKET)".to_owned(),
            _ => format!("{what}: a security module of the host (SELinux, AppArmor) is left; see its log"),
        }
    } else if has(effective) {
        "CAP_NET_RAW is that of a user namespace, and the network namespace belongs to another: vipd must be root of the network namespace's"
            .to_owned()
    } else if has(bounding) {
        "CAP_NET_RAW is missing, and nobody has taken it: run vipd as root, or give a user's unit AmbientCapabilities=".to_owned()
    } else {
        let who = match (container, unit) {
            (true, _) => by_container.to_owned(),
            (false, Some(unit)) => {
                format!(
                    "CapabilityBoundingSet= of {unit} has taken it: add CAP_NET_RAW (`systemctl edit {unit}`)"
                )
            }
            (false, None) => "whoever started vipd has taken it out of the bounding set".to_owned(),
        };
        format!("CAP_NET_RAW is missing, and {who}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_taken_the_capability_is_named() {
        let (all, without) = ("000001ffffffffff", "000001ffffffdfff");
        let unit = "0::/system.slice/vipd.service\n";
        let pod = "0::/kubepods.slice/kubepods-pod1.slice/cri-containerd-1.scope\n";
        for (errno, (effective, bounding, seccomp), cgroup, user_namespace, expect) in [
            (
                libc::EPERM,
                (without, without, 0),
                unit,
                false,
                "CapabilityBoundingSet= of vipd.service has taken it",
            ),
            (libc::EPERM, (without, without, 2), pod, false, "the container runtime has taken it"),
            (libc::EPERM, (without, without, 0), "0::/\n", false, "whoever started vipd has taken it"),
            (libc::EPERM, ("0", all, 0), "0::/user.slice\n", false, "nobody has taken it: run vipd as root"),
            (
                libc::EAFNOSUPPORT,
                (all, all, 2),
                unit,
                false,
                "RestrictAddressFamilies= or SystemCallFilter= of vipd.service",
            ),
            (libc::EPERM, (all, all, 2), pod, false, "the seccomp profile of the container"),
            (libc::EPERM, (all, all, 0), unit, false, "a security module of the host"),
            (libc::EPERM, (all, all, 0), pod, true, "belongs to another"),
            (libc::EAFNOSUPPORT, (all, all, 0), unit, false, "no packet sockets"),
        ] {
            let status = format!("CapEff:\t{effective}\nCapBnd:\t{bounding}\nSeccomp:\t{seccomp}\n");
            let found = Circumstances { user_namespace, ..Circumstances::of(&status, cgroup) };
            let remedy = remedy(&io::Error::from_raw_os_error(errno), &found).unwrap_or_default();
            assert!(remedy.contains(expect), "{found:?}:\n{remedy}\n{expect}");
            assert!(errno != libc::EPERM || remedy.contains("CAP_NET_RAW"), "{remedy}");
        }
        assert_eq!(remedy(&io::Error::from_raw_os_error(libc::ENODEV), &Circumstances::default()), None);
    }
}
