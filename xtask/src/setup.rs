//! `setup`: what building, testing and the lab need, on Debian 12. Installs only what is missing.

use std::{
    env, fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail, ensure};
use vipd_tests::BPFFS;

use crate::{
    ebpf::{self, BPF_LINKER_VERSION},
    sh,
};

/// One thing that is missing: why it is wanted and how to get it.
struct Missing {
    what: String,
    why: &'static str,
    commands: Vec<String>,
}

/// Makes the machine ready, or says exactly what an administrator has to do.
pub fn run() -> Result<()> {
    warn_of_old_rust();
    let packages = missing_packages();
    let linker = missing_linker();
    let bpffs = missing_bpffs();
    let missing: Vec<_> = packages.iter().chain(&linker).chain(&bpffs).collect();
    if missing.is_empty() {
        eprintln!("setup: nothing to do");
        return Ok(());
    }
    for Missing { what, why, .. } in &missing {
        eprintln!("setup: {what} is missing ({why})");
    }
    let commands = commands_for(&packages)
        .into_iter()
        .chain(linker.iter().chain(&bpffs).flat_map(|m| m.commands.clone()));
    let commands: Vec<String> = commands.collect();
    let debian = is_debian_12();
    if !debian {
        eprintln!(
            "setup: this is not Debian 12; install the equivalents of the above. On Debian 12 it would be:"
        );
    } else if !sh::is_root() {
        eprintln!("setup: not root; run these as root (the cargo line as yourself):");
    }
    if !debian || !sh::is_root() {
        commands.iter().for_each(|c| eprintln!("    {c}"));
        bail!("{} of the things vipd needs are missing", missing.len());
    }
    install(&packages)?;
    for command in linker.iter().chain(&bpffs).flat_map(|m| &m.commands) {
        sh::run(
            Command::new("sh").args(["-c", command]).env_remove("CARGO_TARGET_DIR").env_remove("RUSTFLAGS"),
        )?;
    }
    Ok(())
}

fn missing_packages() -> Vec<Missing> {
    let build =
        |wanted: bool, list: &[(&'static str, &'static str)]| if wanted { list.to_vec() } else { vec![] };
    let linker_wanted = ebpf::bpf_linker().is_none();
    let packages = [
        LAB_PACKAGES.to_vec(),
        build(!ebpf::nightly_has_source(), COMPILER_PACKAGES),
        build(linker_wanted, LINKER_PACKAGES),
    ]
    .concat();
    packages
        .into_iter()
        .filter(|(name, _)| !installed(name))
        .map(|(name, why)| Missing { what: format!("package {name}"), why, commands: vec![name.to_owned()] })
        .collect()
}

fn missing_linker() -> Vec<Missing> {
    if ebpf::bpf_linker().is_some() {
        return Vec::new();
    }
    let command = format!(
        "LLVM_PREFIX=/usr/lib/llvm-22 cargo install bpf-linker --version {BPF_LINKER_VERSION} \
         --no-default-features --features llvm-22 --locked"
    );
    let why = "links BPF objects and writes their BTF";
    vec![Missing { what: format!("bpf-linker {BPF_LINKER_VERSION}"), why, commands: vec![command] }]
}

fn missing_bpffs() -> Vec<Missing> {
    let mounted = nix::sys::statfs::statfs(BPFFS)
        .is_ok_and(|fs| fs.filesystem_type() == nix::sys::statfs::BPF_FS_MAGIC);
    if mounted {
        return Vec::new();
    }
    let why = "pinned maps and links live there";
    let commands = vec![format!("mount -t bpf -o mode=0700 bpf {BPFFS}")];
    vec![Missing { what: format!("the BPF filesystem on {BPFFS}"), why, commands }]
}

fn commands_for(packages: &[Missing]) -> Vec<String> {
    if packages.is_empty() {
        return Vec::new();
    }
    let names: Vec<_> = packages.iter().flat_map(|m| m.commands.clone()).collect();
    vec!["apt-get update".to_owned(), format!("apt-get install --no-install-recommends {}", names.join(" "))]
}

/// Installs packages without letting any of them start a service.
fn install(packages: &[Missing]) -> Result<()> {
    if packages.is_empty() {
        return Ok(());
    }
    let _policy = NoServices::declare()?;
    let apt = |args: &[&str]| {
        let mut apt = Command::new("apt-get");
        apt.args(args).env("DEBIAN_FRONTEND", "noninteractive");
        apt
    };
    sh::run(&mut apt(&["update"]))?;
    let names: Vec<_> = packages.iter().flat_map(|m| &m.commands).collect();
    sh::run(apt(&["install", "--yes", "--no-install-recommends"]).args(&names))?;
    let services = SERVICES.iter().filter(|(package, _)| names.contains(&&(*package).to_owned()));
    services.map(|(_, unit)| unit).try_for_each(|unit| stay_off(unit))
}

/// Keeps a service that was just installed from starting at boot, and ends it if a policy-rc.d of the administrator's
/// let it start: the lab starts its own, in namespaces.
fn stay_off(unit: &str) -> Result<()> {
    if vipd_tests::find_program("systemctl").is_none() {
        return Ok(()); // A container: nothing starts services there.
    }
    // Disabling edits links and works without a running systemd; stopping needs one.
    sh::run(Command::new("systemctl").args(["disable", unit]))?;
    if Path::new("/run/systemd/system").exists() {
        sh::run(Command::new("systemctl").args(["stop", unit]))?;
    }
    Ok(())
}

/// A policy-rc.d that forbids starting services, for as long as the value lives. One that exists is the
/// administrator's and stays as it is.
struct NoServices {
    made: Option<PathBuf>,
}

impl NoServices {
    fn declare() -> Result<Self> {
        let path = PathBuf::from("/usr/sbin/policy-rc.d");
        if path.exists() {
            return Ok(Self { made: None });
        }
        let made = Self { made: Some(path.clone()) };
        fs::write(&path, "#!/bin/sh\nexit 101\n")
            .with_context(|| format!("cannot write {}", path.display()))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        Ok(made)
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        if let Some(path) = &self.made {
            let _ = fs::remove_file(path);
        }
    }
}

fn installed(package: &str) -> bool {
    let query = ["--show", "--showformat", "${db:Status-Status}", package];
    sh::output(Command::new("dpkg-query").args(query)).is_some_and(|status| status == "installed")
}

fn is_debian_12() -> bool {
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let has = |line: &str| release.lines().any(|l| l.replace('"', "") == line);
    has("ID=debian") && has("VERSION_ID=12")
}

/// Cargo itself refuses to build this workspace with an older compiler, but not in these words.
fn warn_of_old_rust() {
    let wanted = env!("CARGO_PKG_RUST_VERSION");
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    match sh::output(Command::new(rustc).arg("--version")).as_deref().and_then(check_version) {
        Some((found, false)) => eprintln!(
            "setup: the Rust in use is {found}, this workspace needs {wanted} (Debian 12's own rustc is older): \
             install it with rustup"
        ),
        Some((_, true)) => {}
        None => eprintln!("setup: cannot tell the version of rustc; this workspace needs {wanted}"),
    }
}

/// The version in `rustc 1.95.0 (…)`, and whether it is new enough.
fn check_version(text: &str) -> Option<(&str, bool)> {
    let number = |v: &str| -> Option<(u32, u32)> {
        let mut parts = v.split(['.', '-']).map(str::parse);
        Some((parts.next()?.ok()?, parts.next()?.ok()?))
    };
    let found = text.split_whitespace().nth(1)?;
    Some((found, number(found)? >= number(env!("CARGO_PKG_RUST_VERSION"))?))
}

/// For `lab` and `demo`, which without root cannot do anything.
pub fn ensure_for_root() -> Result<()> {
    ensure!(sh::is_root(), "network namespaces and XDP need root");
    run()
}

const LAB_PACKAGES: &[(&str, &str)] = &[
    ("gcc", "the linker for Rust programs"),
    ("g++", "builds libFuzzer and bpf-linker"),
    ("iproute2", "makes the lab's namespaces and links"),
    ("nftables", "blocks traffic inside a lab"),
    ("ethtool", "sets offloads of the lab's links"),
    ("libteam-utils", "sets up the lab's teams"),
    ("keepalived", "the other router of the interop tests"),
    ("frr", "the third router of the interop tests"),
    ("ldirectord", "the other director of the tests of `vipd import`"),
    ("ipvsadm", "empties the kernel's table between tests of load balancing"),
    ("wrk", "the clients of the benchmarks of load balancing"),
    ("nginx-light", "the service on the VIP"),
    ("python3-aiosmtpd", "the mail server of the notification tests"),
    ("haproxy", "the other service on the VIP"),
    ("curl", "asks for pages in a lab"),
    ("prometheus", "its promtool checks the metrics and runs the alerts"),
    ("tcpdump", "captures in a lab"),
    ("tshark", "a second opinion on our packets"),
    ("iputils-arping", "asks who owns a VIP"),
    ("bpftool", "shows programs and maps"),
    ("qemu-system-x86", "boots other kernels, for `cargo xtask guest`"),
    ("busybox-static", "the first root of a guest"),
    ("cpio", "packs the first root of a guest"),
    ("kmod", "finds the modules that a guest's kernel needs"),
    ("xz-utils", "unpacks modules of a guest's kernel"),
    ("debootstrap", "makes the machine of `cargo xtask dist --try`"),
];

/// The units of lab packages that are services.
const SERVICES: &[(&str, &str)] = &[
    ("keepalived", "keepalived.service"),
    ("frr", "frr.service"),
    ("ldirectord", "ldirectord.service"),
    ("nginx-light", "nginx.service"),
    ("haproxy", "haproxy.service"),
    ("prometheus", "prometheus.service"),
];

const COMPILER_PACKAGES: &[(&str, &str)] = &[
    ("rustc-web", "a rustc that compiles for BPF"),
    ("libstd-rust-web-dev-bpf", "its core library, built for BPF"),
];

const LINKER_PACKAGES: &[(&str, &str)] = &[
    ("llvm-22-dev", "to build bpf-linker"),
    ("libpolly-22-dev", "to build bpf-linker"),
    ("zlib1g-dev", "to build bpf-linker"),
    ("libzstd-dev", "to build bpf-linker"),
    ("pkg-config", "to build bpf-linker"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_old_rust_from_new() {
        for (text, expect) in [
            ("rustc 1.63.0", Some(("1.63.0", false))),
            ("rustc 1.95.0 (59807616e 2026-04-14)", Some(("1.95.0", true))),
            ("rustc 1.97.0-nightly (0123456 2026-05-01)", Some(("1.97.0-nightly", true))),
            ("rustc 2.0.0", Some(("2.0.0", true))),
            ("clang version 22", None),
        ] {
            assert_eq!(check_version(text), expect, "{text}");
        }
    }
}
