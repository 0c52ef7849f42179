//! A Debian with systemd on a node of a lab: namespaces around a root directory that forgets everything.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use vipd_tests::{Node, find_program, wait_for};

use crate::sh;

const SUITE: &str = "bookworm";
/// systemd starts in a second or two, but not beside a build.
const BOOT: Duration = Duration::from_secs(90);

/// A machine that runs. Dropping it ends all that runs on it.
#[derive(Debug)]
pub struct Machine {
    unshare: Child,
    /// systemd's id, seen from here.
    init: Pid,
    cgroup: PathBuf,
}

/// The Debian that machines start from: made once, with debootstrap.
pub fn base() -> Result<PathBuf> {
    let base = sh::workspace().join("target/dist").join(SUITE);
    if base.exists() {
        return Ok(base);
    }
    ensure!(
        find_program("debootstrap").is_some(),
        "debootstrap makes the machine to try on, and is not installed: apt-get install debootstrap"
    );
    let unfinished = base.with_extension("unfinished");
    if unfinished.exists() {
        fs::remove_dir_all(&unfinished)?;
    }
    // udev and kmod are for machines with a kernel of their own.
    let include = "--include=systemd,systemd-sysv,iproute2,udev,kmod";
    sh::run(Command::new("debootstrap").args(["--variant=minbase", include, SUITE]).arg(&unfinished))?;
    fs::rename(&unfinished, &base)?;
    Ok(base)
}

impl Machine {
    /// Boots on a node: it has the node's network.
    pub fn boot(node: &Node, base: &Path) -> Result<Self> {
        let top = node.dir().join("machine");
        fs::create_dir(&top)?;
        let script = node.dir().join("boot.sh");
        fs::write(&script, include_str!("boot.sh"))?;
        let cgroup = cgroup2()?.join(format!("vipd-try-{}", std::process::id()));
        fs::create_dir(&cgroup).with_context(|| format!("make {}", cgroup.display()))?;
        let mut command = node.command("sh");
        command.args(["-c", "echo 0 >\"$0/cgroup.procs\" && exec unshare \"$@\""]).arg(&cgroup);
        command.args(["--mount", "--pid", "--fork", "--cgroup", "--uts", "--ipc", "sh"]);
        command.args([&script, base, &top]);
        let unshare = command.stdin(Stdio::null()).spawn().context("run unshare")?;
        let mut machine = Self { init: Pid::from_raw(0), unshare, cgroup };
        wait_for("unshare to fork", BOOT, || machine.find_init())?;
        wait_for("systemd to boot", BOOT, || machine.is_up())?;
        Ok(machine)
    }

    fn find_init(&mut self) -> bool {
        let id = self.unshare.id();
        let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap_or_default();
        let Some(child) = children.split_whitespace().next().and_then(|child| child.parse().ok()) else {
            return false;
        };
        self.init = Pid::from_raw(child);
        true
    }

    fn is_up(&self) -> bool {
        thread::sleep(Duration::from_millis(200));
        let booted = fs::read_to_string(self.path("proc/1/comm")).is_ok_and(|comm| comm.trim() == "systemd");
        let state = booted.then(|| self.run(&["systemctl", "is-system-running"])).transpose();
        let text = |output: Output| String::from_utf8_lossy(&output.stdout).trim().to_owned();
        state.ok().flatten().is_some_and(|output| ["running", "degraded"].contains(&text(output).as_str()))
    }

    /// Where a file of the machine is, seen from here.
    pub fn path(&self, file: &str) -> PathBuf {
        // Joined, an absolute path would be the host's.
        PathBuf::from(format!("/proc/{}/root", self.init)).join(file.trim_start_matches('/'))
    }

    /// Writes a file, making its directory.
    pub fn write(&self, file: &str, text: &str) -> Result<()> {
        let path = self.path(file);
        fs::create_dir_all(path.parent().context("a file has a directory")?)?;
        fs::write(&path, text).with_context(|| format!("write {file}"))
    }

    /// Runs a command there.
    pub fn run(&self, command: &[&str]) -> Result<Output> {
        let mut nsenter = Command::new("nsenter");
        nsenter.args(["--mount", "--pid", "--net", "--cgroup", "--uts", "--ipc", "--target"]);
        nsenter.arg(self.init.to_string()).args(["--", "env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin"]);
        nsenter.args(["DEBIAN_FRONTEND=noninteractive"]).args(command.iter().map(OsString::from));
        nsenter.stdin(Stdio::null()).output().with_context(|| format!("cannot run {command:?}"))
    }

    /// The same, which has to succeed; returns what it prints.
    pub fn exec(&self, command: &[&str]) -> Result<String> {
        let output = self.run(command)?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(
            output.status.success(),
            "{}: {}\n{text}{}",
            command.join(" "),
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(text)
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // With its first process a pid namespace ends. Not 0, which would be our own group.
        if self.init.as_raw() > 1 {
            let _ = kill(self.init, Signal::SIGKILL);
        }
        let _ = self.unshare.kill();
        let _ = self.unshare.wait();
        // The kernel takes its time to empty them.
        let gone = wait_for("the machine's control groups", Duration::from_secs(10), || {
            Command::new("find")
                .arg(&self.cgroup)
                .args(["-depth", "-type", "d", "-exec", "rmdir", "{}", ";"])
                .stderr(Stdio::null())
                .status()
                .is_ok()
                && !self.cgroup.exists()
        });
        if let Err(error) = gone {
            eprintln!("dist: {error:#}");
        }
    }
}

/// Where the unified hierarchy is mounted.
fn cgroup2() -> Result<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").context("read the mounts")?;
    let place = mounts.lines().find_map(|line| {
        let mut words = line.split(' ').skip(1);
        let place = words.next()?;
        (words.next()? == "cgroup2").then(|| PathBuf::from(place))
    });
    place.context("systemd needs control groups of version 2, which are not mounted here")
}
