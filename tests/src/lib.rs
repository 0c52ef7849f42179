//! The lab: nodes in network namespaces around one switch, the daemons that run in them, and probes that watch
//! the wire. Used by the namespace tests and by `cargo xtask demo` and `lab`.
//!
//! It never touches the host's own network: every interface is created inside a namespace of the lab, and no
//! frame leaves it. Names are unique for each lab, so labs of several processes run side by side. It never
//! depends on the `vipd` crate, because xtask uses it before the XDP object exists.

#![allow(
    clippy::disallowed_methods,
    reason = "the ban keeps clocks out of the daemon's pure core; a lab measures"
)]

mod bfd;
pub mod frr;
pub mod janitor;
mod keepalived;
pub mod lab;
pub mod netns;
mod nginx;
pub mod node;
pub mod prefix;
pub mod probe;
pub mod process;
pub mod xdp;

use std::{
    env,
    fmt::Display,
    fs::{self, File, OpenOptions},
    io::Write,
    path::PathBuf,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};

pub use bfd::FrrBfd;
pub use lab::{Block, Builder, Lab};
pub use netns::Netns;
pub use node::Node;
pub use probe::Mac;
pub use process::Daemon;

/// Says whether namespace tests can run here: `None` (with a printed reason) if not.
///
/// # Panics
///
/// With `VIPD_REQUIRE_LAB=1` in the environment, which `cargo xtask test` sets for root: there nothing may be
/// skipped silently.
pub fn require_lab() -> Option<()> {
    let Err(reason) = lab_possible() else {
        return Some(());
    };
    assert!(
        env::var_os("VIPD_REQUIRE_LAB").is_none_or(|v| v != "1"),
        "the lab is required here but impossible: {reason:#}"
    );
    skip(format_args!("{reason:#}"));
    None
}

/// Says that a test, or a part of it, is not run here, and why. `cargo xtask test` counts and shows it.
///
/// # Panics
///
/// If the file named by `VIPD_SKIP_LOG` cannot be written: a skip that nobody hears of looks like a test that passed.
pub fn skip(reason: impl Display) {
    eprintln!("SKIP {}: {reason}", thread::current().name().unwrap_or("?"));
    // libtest hides the output of tests that pass; `cargo xtask test` reads this file.
    if let Some(path) = env::var_os("VIPD_SKIP_LOG") {
        let log = OpenOptions::new().append(true).create(true).open(path);
        log.and_then(|mut log| writeln!(log, "{reason}")).expect("a skip can be noted");
    }
}

/// Polls `cond` until it holds and returns how long that took; an error naming `what` after `timeout`.
pub fn wait_for(what: impl Display, timeout: Duration, mut cond: impl FnMut() -> bool) -> Result<Duration> {
    let start = Instant::now();
    loop {
        let asked = Instant::now();
        if cond() {
            return Ok(start.elapsed());
        }
        if start.elapsed() >= timeout {
            bail!("waited {timeout:?} in vain for {what}");
        }
        // Asking may cost a process. On a slow machine it would be all that the machine does.
        thread::sleep(asked.elapsed().clamp(Duration::from_millis(5), Duration::from_millis(500)));
    }
}

/// The `vipd` binary under test: `VIPD_BIN`, or the one that was built next to the running test.
pub fn vipd_bin() -> Result<PathBuf> {
    if let Some(path) = env::var_os("VIPD_BIN") {
        return Ok(path.into());
    }
    let exe = env::current_exe().context("where is this test's executable?")?;
    // target/debug/deps/test-hash or target/debug/xtask
    for dir in exe.ancestors().skip(1).take(2) {
        let bin = dir.join("vipd");
        if bin.is_file() {
            return Ok(bin);
        }
    }
    bail!("no vipd binary near {}; build it first: cargo build --package vipd", exe.display())
}

fn lab_possible() -> Result<()> {
    ensure!(nix::unistd::geteuid().is_root(), "namespaces and XDP need root");
    for tool in ["ip", "bridge", "ethtool", "nft"] {
        ensure!(find_program(tool).is_some(), "{tool} is not installed; run: cargo xtask setup");
    }
    let bpffs = nix::sys::statfs::statfs(BPFFS).with_context(|| format!("{BPFFS} is missing"))?;
    ensure!(
        bpffs.filesystem_type() == nix::sys::statfs::BPF_FS_MAGIC,
        "{BPFFS} is not a BPF filesystem; run: cargo xtask setup"
    );
    xdp::Program::pass().context("BPF programs cannot be loaded").map(drop)
}

/// Looks a program up as a shell would, plus the directories of system tools.
pub fn find_program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin", "/usr/bin", "/bin"].map(PathBuf::from))
        .map(|dir| dir.join(name))
        .find(|candidate| candidate.is_file())
}

/// Runs a command to its end and returns its stdout; an error with its stderr when it fails.
pub(crate) fn checked(command: &mut Command) -> Result<String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().with_context(|| format!("cannot run {program}"))?;
    ensure!(
        output.status.success(),
        "{program} {:?}: {}: {}",
        command.get_args().collect::<Vec<_>>(),
        output.status,
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The same, feeding `input` to its stdin.
pub(crate) fn checked_with_input(
    command: &mut Command,
    input: &str,
    scratch: &std::path::Path,
) -> Result<String> {
    fs::write(scratch, input).with_context(|| format!("cannot write {}", scratch.display()))?;
    let stdin = File::open(scratch)?;
    checked(command.stdin(stdin)).with_context(|| format!("with input:\n{input}"))
}

/// Where BPF pins live on every machine vipd supports.
pub const BPFFS: &str = "/sys/fs/bpf";
