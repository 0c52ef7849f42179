//! A guest: one Debian kernel in qemu, without hardware virtualisation, on the host's root directory.
//!
//! ```text
//! host                             guest
//! /         --- read-only share --->  lower layer of / (an overlay: what the guest writes stays in its memory)
//! target/guest/run/<guest>/ <----->  /run/guest: agent.sh reads `script`, writes `output` and `status`
//! console.log  <------ ttyS0 -------  the kernel's messages
//! ```
//!
//! A guest with a disk of its own has the same share, and instead of the host's root directory what is on the disk, with
//! systemd as its first process (see `Disk`).
//!
//! A guest ends with its value, and with the thread that booted it: no qemu outlives `cargo xtask`.

use std::{
    fs::{self, File},
    io::Read,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use vipd_tests::Netns;

use super::{
    console, initramfs,
    kernel::Image,
    monitor,
    shares::{self, FileSystem, Servers},
};
use crate::sh;

/// A boot takes 5 s, and on a busy machine some times that.
const BOOT: Duration = Duration::from_secs(180);
/// With systemd it takes a minute, and a shutdown before it half of that.
const DISK_BOOT: Duration = Duration::from_secs(900);
const POWER_OFF: Duration = Duration::from_secs(30);
/// For systemd to stop all that runs.
const SHUTDOWN: Duration = Duration::from_secs(600);
const LOOK: Duration = Duration::from_millis(50);
const MEMORY: &str = "768M";
/// The socket of qemu's monitor, in the share.
const MONITOR: &str = "monitor.socket";

/// A running guest.
#[derive(Debug)]
pub struct Guest {
    name: String,
    qemu: Child,
    _servers: Servers,
    /// Removed with the guest.
    share: PathBuf,
    /// What `uname -r` says.
    pub release: String,
    /// How long the boot took.
    pub booted_in: Duration,
}

/// A network card of a guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nic {
    /// qemu's device and its properties, such as `e1000` or `virtio-net-pci,mq=on`.
    pub device: String,
    /// What it is plugged into, as qemu's `-netdev` has it, such as `tap,ifname=tap0,script=no`.
    pub network: String,
}

/// What a guest's NICs are plugged into.
#[derive(Debug, Clone, Copy)]
pub struct Network<'a> {
    /// The namespace that has the guest's taps.
    pub netns: &'a Netns,
    pub nics: &'a [Nic],
}

/// A disk to boot from, and where the guest's network is.
#[derive(Debug, Clone, Copy)]
pub struct Disk<'a> {
    /// An ext4 file system with systemd and its [`Disk::AGENT`]. What guests write is forgotten with them, and is there
    /// after a reboot.
    pub image: &'a Path,
    /// The namespace that has the guest's taps.
    pub netns: &'a Netns,
}

impl Disk<'_> {
    /// To be run by the disk's systemd in the directory `/run/guest`, where the share is mounted.
    pub const AGENT: &'static str = include_str!("disk-agent.sh");
    /// The tag of the share, a 9p file system.
    pub const SHARE: &'static str = shares::SHARE;
}

impl Guest {
    /// Boots from a disk, and waits until scripts can be run.
    pub fn boot_disk(name: &str, image: &Image, disk: Disk<'_>, nics: &[Nic]) -> Result<Self> {
        let start = Instant::now();
        let share = make_share(name)?;
        let wanted = ["virtio_pci", "virtio_blk", "crc32c_generic", "ext4"];
        let initramfs = initramfs::pack(image, &share, include_str!("disk-init.sh"), &wanted)?;
        let mut command = disk.netns.command("setpriv");
        qemu(&mut command, image, &initramfs, &share);
        command
            .args(["-smp", "1", "-m", "512M", "-append"])
            .arg(format!("{KERNEL_OPTIONS} net.ifnames=0 systemd.show_status=1"));
        // Writes go to a temporary file, which is gone with qemu.
        command.arg("-drive").arg(format!("file={},format=raw,if=virtio,snapshot=on", disk.image.display()));
        command.arg("-virtfs").arg(format!(
            "local,path={},mount_tag={},security_model=none",
            share.display(),
            Disk::SHARE
        ));
        Self::start(name, command, Servers::default(), share, nics, (start, DISK_BOOT))
    }

    /// Boots, and waits until scripts can be run. The name is unique among the guests of this process.
    ///
    /// Once more if the first attempt fails: a processor that stands still for a while is more than some drivers
    /// and clocks bear during a boot.
    pub fn boot(name: &str, image: &Image, network: Option<Network<'_>>) -> Result<Self> {
        Self::boot_once(name, image, network).or_else(|error| {
            eprintln!("guest: {error:#}\nguest: booting {name} once more");
            Self::boot_once(name, image, network)
        })
    }

    fn boot_once(name: &str, image: &Image, network: Option<Network<'_>>) -> Result<Self> {
        let start = Instant::now();
        let share = make_share(name)?;
        fs::write(share.join("agent.sh"), include_str!("agent.sh"))?;
        let file_system = FileSystem::of(image);
        let wanted = [&["virtio_pci", "overlay"], file_system.modules()].concat();
        let initramfs = initramfs::pack(image, &share, include_str!("init.sh"), &wanted)?;
        let setpriv = || Command::new("setpriv");
        let mut command = network.map_or_else(setpriv, |network| network.netns.command("setpriv"));
        qemu(&mut command, image, &initramfs, &share);
        command.args(["-smp", "2", "-m", MEMORY, "-no-reboot", "-append"]).arg(format!(
            "{KERNEL_OPTIONS} guest.kernel={} guest.shares={}",
            image.root.display(),
            file_system.name()
        ));
        let servers = file_system.serve(&mut command, &share, MEMORY)?;
        let nics = network.map(|network| network.nics).unwrap_or_default();
        Self::start(name, command, servers, share, nics, (start, BOOT))
    }

    fn start(
        name: &str,
        mut command: Command,
        servers: Servers,
        share: PathBuf,
        nics: &[Nic],
        (start, boot): (Instant, Duration),
    ) -> Result<Self> {
        for (n, nic) in nics.iter().enumerate() {
            command.arg("-netdev").arg(format!("{},id=net{n}", nic.network));
            command.arg("-device").arg(format!("{},netdev=net{n}", nic.device));
        }
        let errors = File::create(share.join("qemu.log"))?;
        command.stdin(Stdio::null()).stdout(errors.try_clone()?).stderr(errors);
        let qemu = command.spawn().context("cannot run qemu-system-x86_64; run: cargo xtask setup")?;
        let (release, booted_in) = (String::new(), Duration::ZERO);
        let mut guest = Self { name: name.to_owned(), qemu, _servers: servers, share, release, booted_in };
        guest.wait_boot(start, boot)?;
        Ok(guest)
    }

    fn wait_boot(&mut self, start: Instant, timeout: Duration) -> Result<()> {
        self.wait_for("its boot", timeout, |guest| guest.share.join("release").exists())?;
        self.release = self.read("release").trim().to_owned();
        self.booted_in = start.elapsed();
        Ok(())
    }

    /// Has a guest with a disk reboot, and waits until scripts can be run again.
    pub fn reboot(&mut self) -> Result<()> {
        let start = Instant::now();
        fs::remove_file(self.share.join("release")).context("a guest that has booted says so")?;
        self.systemctl_soon("reboot")?;
        self.wait_boot(start, DISK_BOOT)
    }

    /// Has the systemd of a guest with a disk power off, and waits for the end of qemu; how long it took.
    pub fn shut_down(mut self) -> Result<Duration> {
        let start = Instant::now();
        self.systemctl_soon("poweroff")?;
        self.wait_end(SHUTDOWN)?;
        Ok(start.elapsed())
    }

    /// The agent, which systemd ends too, first says that the script has ended.
    fn systemctl_soon(&mut self, verb: &str) -> Result<()> {
        let script = format!("(sleep 0.5; systemctl {verb}) >/dev/null 2>&1 &");
        self.run(&script, SHUTDOWN, |_| ()).map(drop)
    }

    /// Runs a bash script to its end, and returns its exit code. Each line of its output is given to `line` as it comes.
    pub fn run(&mut self, script: &str, timeout: Duration, mut line: impl FnMut(&str)) -> Result<i32> {
        for old in ["output", "status"] {
            let _ = fs::remove_file(self.share.join(old));
        }
        // The agent never sees half a script.
        fs::write(self.share.join("script.new"), script)?;
        fs::rename(self.share.join("script.new"), self.share.join("script"))?;
        let mut output = Lines::new(self.share.join("output"));
        let ended = self.wait_for("the end of a script", timeout, |guest| {
            // Before the last look at the output.
            let ended = guest.share.join("status").exists();
            output.read(&mut line);
            ended
        });
        output.rest(&mut line);
        ended?;
        let status = self.read("status");
        status.trim().parse().with_context(|| format!("{}: a script ended with {status:?}", self.name))
    }

    /// Pauses the machine. Its clock stands still until [`Guest::go_on`].
    pub fn pause(&self) -> Result<()> {
        monitor::execute(&self.share.join(MONITOR), "stop")
    }

    pub fn go_on(&self) -> Result<()> {
        monitor::execute(&self.share.join(MONITOR), "cont")
    }

    /// Stops qemu itself. The clock of the machine runs on until [`Guest::thaw`], and jumps then.
    pub fn freeze(&self) -> Result<()> {
        self.signal(Signal::SIGSTOP)
    }

    pub fn thaw(&self) -> Result<()> {
        self.signal(Signal::SIGCONT)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        // Not reaped before this value is dropped, but for a guest that has ended: its number may be another's only then.
        let qemu = Pid::from_raw(i32::try_from(self.qemu.id()).context("a process has a number")?);
        kill(qemu, signal).with_context(|| format!("{signal} to the qemu of {}", self.name))
    }

    /// A file of the share, seen from here; in the guest it is in `/run/guest`.
    pub fn shared(&self, file: &str) -> PathBuf {
        self.share.join(file)
    }

    /// What the kernel has said that it never says when all is well.
    pub fn complaints(&self) -> Vec<String> {
        console::complaints(&self.read("console.log"))
    }

    /// Powers off in an orderly way; `Err` if that takes too long. The directory of the guest goes in any case.
    pub fn power_off(mut self) -> Result<()> {
        fs::write(self.share.join("halt"), "")?;
        self.wait_end(POWER_OFF)
    }

    fn wait_end(&mut self, timeout: Duration) -> Result<()> {
        let deadline = Instant::now() + timeout;
        while self.qemu.try_wait()?.is_none() {
            if Instant::now() >= deadline {
                bail!("{} did not power off within {timeout:?}\n{}", self.name, self.last_words());
            }
            sleep(LOOK);
        }
        Ok(())
    }

    fn wait_for(&mut self, what: &str, timeout: Duration, mut done: impl FnMut(&Self) -> bool) -> Result<()> {
        let deadline = Instant::now() + timeout;
        while !done(self) {
            if let Some(status) = self.qemu.try_wait()? {
                bail!("the guest {} ended before {what} ({status})\n{}", self.name, self.last_words());
            }
            if Instant::now() >= deadline {
                bail!(
                    "the guest {}: waited {timeout:?} in vain for {what}\n{}",
                    self.name,
                    self.last_words()
                );
            }
            sleep(LOOK);
        }
        Ok(())
    }

    fn read(&self, file: &str) -> String {
        // A console has bytes that are no text.
        fs::read(self.share.join(file)).map(|b| String::from_utf8_lossy(&b).into_owned()).unwrap_or_default()
    }

    /// The end of what qemu and the kernel have said.
    fn last_words(&self) -> String {
        let said = self.read("qemu.log") + &self.read("console.log");
        let lines: Vec<_> = said.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
        let _ = fs::remove_dir_all(&self.share);
    }
}

/// Warnings and worse go to the console. A panic ends the guest. The check whether the timer ticks panics if the host gives
/// the guest no time during it.
const KERNEL_OPTIONS: &str = "console=ttyS0 loglevel=5 panic=-1 oops=panic mitigations=off no_timer_check";

/// Adds to a `setpriv` what guests have in common.
fn qemu(command: &mut Command, image: &Image, initramfs: &Path, share: &Path) {
    // The kernel ends it with the thread that started it: nothing is left by Ctrl-C or a kill.
    command.args(["--pdeathsig", "KILL", "qemu-system-x86_64"]);
    command.args(["-accel", "tcg,thread=multi", "-cpu", "max"]);
    command.args(["-nodefaults", "-no-user-config", "-display", "none"]);
    command.arg("-kernel").arg(&image.vmlinuz).arg("-initrd").arg(initramfs);
    command.arg("-serial").arg(format!("file:{}", share.join("console.log").display()));
    command.arg("-qmp").arg(format!("unix:{},server=on,wait=off", share.join(MONITOR).display()));
}

/// A new directory for what a guest and the host have in common.
fn make_share(name: &str) -> Result<PathBuf> {
    let runs = sh::workspace().join("target/guest/run");
    forget_the_dead(&runs);
    let share = runs.join(format!("{}-{name}", std::process::id()));
    fs::create_dir_all(&share).with_context(|| format!("make {}", share.display()))?;
    Ok(share)
}

/// Removes what runs have left that were killed.
fn forget_the_dead(runs: &Path) {
    for entry in fs::read_dir(runs).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let owner = name.split('-').next().unwrap_or_default();
        if !Path::new("/proc").join(owner).exists() {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// A file that grows, line by line.
struct Lines {
    path: PathBuf,
    file: Option<File>,
    begun: Vec<u8>,
}

impl Lines {
    fn new(path: PathBuf) -> Self {
        Self { path, file: None, begun: Vec::new() }
    }

    /// The lines that have been completed since the last time.
    fn read(&mut self, line: &mut impl FnMut(&str)) {
        if self.file.is_none() {
            self.file = File::open(&self.path).ok();
        }
        if let Some(file) = &mut self.file {
            let _ = file.read_to_end(&mut self.begun);
        }
        while let Some(end) = self.begun.iter().position(|&byte| byte == b'\n') {
            line(&String::from_utf8_lossy(&self.begun[..end]));
            self.begun.drain(..=end);
        }
    }

    /// The same, and a last line that has no end.
    fn rest(&mut self, line: &mut impl FnMut(&str)) {
        self.read(line);
        if !self.begun.is_empty() {
            line(&String::from_utf8_lossy(&self.begun));
            self.begun.clear();
        }
    }
}
