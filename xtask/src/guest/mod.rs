//! `guest`: other kernels, booted in qemu without hardware virtualisation, with the built vipd and tests inside.
//!
//! A guest has the host's root directory, so the test binaries and vipd run in it as they were built, by the same path.
//! Timings in it are slow: the tests that are meant for it assert none.

mod apt;
mod binaries;
mod console;
mod initramfs;
mod kernel;
mod machine;
mod monitor;
mod pause;
mod shares;
mod switch;

use std::{
    fmt::Write,
    fs,
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, ensure};

use binaries::{Binary, Tally, Wanted};
pub use kernel::{Image, Kernel, images};
pub use machine::{Disk, Guest, Network, Nic};
use switch::Switch;

use crate::{ebpf, setup, sh};

/// For a file of tests, unless the command line says otherwise.
const TIMEOUT: Duration = Duration::from_secs(900);
/// For the matrix of interfaces, which takes a quarter of an hour and more where the processors have other things to do.
const MATRIX_TIMEOUT: Duration = Duration::from_secs(3600);
/// For the rows of load balancing beside keepalived and ldirectord.
const BALANCING_TIMEOUT: Duration = Duration::from_secs(3600);
/// The tests of every kernel.
const SMOKE: &str = "smoke";
/// The test of NICs, and the models it is run with: what qemu has that Debian's kernels have a driver for. Each is there three
/// times, for two nodes and a client.
const NIC_TEST: &str = "interfaces::nics";
const NIC_MODELS: [&str; 7] = [
    "virtio-net-pci",
    "virtio-net-pci,mq=on,vectors=10",
    "virtio-net-pci,ctrl_guest_offloads=off",
    "virtio-net-pci,guest_csum=off,guest_tso4=off,guest_tso6=off,guest_ecn=off,guest_ufo=off",
    "e1000",
    "e1000e",
    "vmxnet3",
];
/// Load balancing, which takes a kernel with IPVS.
const BALANCING: [&str; 6] = [
    "balancing",
    "balancing_kinds",
    "balancing_successor",
    "balancing_seeds",
    "balancing_differential",
    "balancing_ldirectord",
];
/// The other kinds of interfaces, which need no NIC.
const INTERFACES: &str = "interfaces";
/// Between two probes of a pair whose master is paused, in milliseconds: what an emulated machine holds.
const PROBE_INTERVAL: &str = "50";
/// The file of the share that tests name what they skip in.
const SKIPPED: &str = "skipped";

#[derive(Debug, clap::Args)]
pub struct Args {
    /// A kernel to boot; may be repeated. Without it: debian-12 and backports, at once
    #[arg(long = "kernel", value_name = "K")]
    kernels: Vec<Kernel>,
    /// Ask Debian's archive for newer kernels first
    #[arg(long)]
    newest: bool,
    /// Give the guest a network card of this model, such as `e1000` or `virtio-net-pci,mq=on`; may be repeated. All
    /// cards of a guest are on one bridge, with nothing else
    #[arg(long = "nic", value_name = "MODEL")]
    nics: Vec<String>,
    /// Run the matrix of interfaces instead of tests: every kind that a kernel makes, then every model of NIC
    #[arg(long, conflicts_with_all = ["tests", "script", "nics"])]
    matrix: bool,
    /// Pause the machine of a master instead, 2 and 6 s, without probes and with `act takeover` and probes at this interval, and
    /// tell for how long nobody and two answer for its VIP
    #[arg(long, value_name = "MS", num_args = 0..=1, default_missing_value = PROBE_INTERVAL, conflicts_with_all = ["tests", "script", "nics", "matrix", "no_jit"])]
    pause: Option<f64>,
    /// Run a bash script instead of tests; the machine's files are there, and what it writes is forgotten
    #[arg(long, value_name = "SCRIPT", conflicts_with = "tests")]
    script: Option<String>,
    /// Have the tests' kernel interpret BPF programs, as with `net.core.bpf_jit_enable=0`
    #[arg(long, conflicts_with_all = ["matrix", "script"])]
    no_jit: bool,
    /// End what runs longer than this: a file of tests, or the script; the matrix has a limit of its own
    #[arg(long, value_name = "SECONDS", default_value_t = TIMEOUT.as_secs())]
    timeout: u64,
    /// Files of tests/tests, or a part of a test's name in one: `smoke`, `failover::abrupt`. Without it: smoke
    tests: Vec<String>,
}

/// What a guest is booted for.
#[derive(Debug)]
enum Job {
    Tests { binaries: Vec<Binary>, jit: bool },
    Script(String),
}

impl Job {
    fn tests(wanted: &[Wanted]) -> Result<Self> {
        Ok(Self::Tests { binaries: binaries::build(wanted)?, jit: true })
    }
}

/// What came of one kernel.
#[derive(Debug, Default)]
struct Report {
    /// `uname -r`; empty if it did not boot.
    release: String,
    booted_in: Duration,
    ran_for: Duration,
    tally: Tally,
    skipped: Vec<String>,
    /// Whatever else is wrong: with the guest, or said by its kernel.
    faults: Vec<String>,
}

pub fn run(args: &Args) -> Result<ExitCode> {
    setup::ensure_for_root()?;
    let kernels = if args.kernels.is_empty() { kernel::USUAL.to_vec() } else { args.kernels.clone() };
    if args.matrix {
        ebpf::build()?;
        let held = matrix(&kernels)?;
        return Ok(if held { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    if let Some(interval) = args.pause {
        ebpf::build()?;
        // The figures of one kernel are enough, unless more are named.
        let kernels = if args.kernels.is_empty() { &kernel::USUAL[..1] } else { &args.kernels };
        let held = pause(kernels, interval)?;
        return Ok(if held { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    let job = match &args.script {
        Some(script) => Job::Script(script.clone()),
        None => {
            let tests = if args.tests.is_empty() { vec![SMOKE.to_owned()] } else { args.tests.clone() };
            ebpf::build()?;
            let wanted: Vec<_> = tests.iter().map(|test| Wanted::parse(test)).collect();
            Job::Tests { binaries: binaries::build(&wanted)?, jit: !args.no_jit }
        }
    };
    let images = images(&kernels, args.newest)?;
    let held = boot_all(&images, &args.nics, &job, Duration::from_secs(args.timeout));
    Ok(if held { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The part of `test`: the smoke set on the usual kernels; whether all was well. Guests need root, so without it there is
/// nothing to be had.
pub fn test() -> Result<bool> {
    if !sh::is_root() {
        eprintln!("guest: not root: no other kernel is tried");
        return Ok(true);
    }
    let images = images(&kernel::USUAL, false)?;
    Ok(boot_all(&images, &[], &Job::tests(&[Wanted::parse(SMOKE)])?, TIMEOUT))
}

/// The part of `test --all`: the smoke set on the oldest kernel, which interprets the programs. No verifier of Debian's accepts less.
pub fn test_oldest() -> Result<bool> {
    if !sh::is_root() {
        return Ok(true);
    }
    let images = images(&[Kernel::Debian12Oldest], false)?;
    let job = Job::Tests { binaries: binaries::build(&[Wanted::parse(SMOKE)])?, jit: false };
    Ok(boot_all(&images, &[], &job, TIMEOUT))
}

/// The part of `test --all`: load balancing by the kernel's IPVS.
pub fn test_balancing() -> Result<bool> {
    if !sh::is_root() {
        return Ok(true);
    }
    let images = images(&kernel::USUAL, false)?;
    Ok(boot_all(&images, &[], &Job::tests(&BALANCING.map(Wanted::parse))?, BALANCING_TIMEOUT))
}

/// The part of `test --all`: every kind of interface and every model of NIC on the usual kernels.
pub fn test_interfaces() -> Result<bool> {
    if !sh::is_root() {
        return Ok(true);
    }
    matrix(&kernel::USUAL)
}

/// The part of `test --all`: the machine of a master is paused.
pub fn test_pause() -> Result<bool> {
    if !sh::is_root() {
        return Ok(true);
    }
    pause(&kernel::USUAL[..1], PROBE_INTERVAL.parse()?)
}

/// Whether all was well.
fn pause(kernels: &[Kernel], interval: f64) -> Result<bool> {
    sh::run(sh::cargo().arg("build"))?;
    let mut held = true;
    for image in images(kernels, false)? {
        for fault in pause::run(&image, interval)? {
            held = false;
            println!("FAIL {}: {fault}", image.kernel.name());
        }
    }
    Ok(held)
}

/// Goes on after a failure; whether all was well.
fn matrix(kernels: &[Kernel]) -> Result<bool> {
    let images = images(kernels, false)?;
    let mut held = boot_all(&images, &[], &Job::tests(&[Wanted::parse(INTERFACES)])?, MATRIX_TIMEOUT);
    let job = Job::tests(&[Wanted::parse(NIC_TEST)])?;
    for model in NIC_MODELS {
        println!("\n{model}");
        held &= boot_all(&images, &[model; 3].map(str::to_owned), &job, MATRIX_TIMEOUT);
    }
    Ok(held)
}

/// Boots all images at once and does the job in each; whether all was well.
fn boot_all(images: &[Image], nics: &[String], job: &Job, timeout: Duration) -> bool {
    let reports: Vec<Report> = thread::scope(|scope| {
        let start = |image| scope.spawn(move || try_on(image, nics, job, timeout));
        let threads: Vec<_> = images.iter().map(start).collect();
        let join = |thread: thread::ScopedJoinHandle<'_, Report>| {
            thread.join().unwrap_or_else(|_| Report::broken(&anyhow!("xtask panicked")))
        };
        threads.into_iter().map(join).collect()
    });
    println!();
    for (image, report) in images.iter().zip(&reports) {
        print!("{}", report.text(image));
    }
    reports.iter().all(Report::is_well)
}

/// One kernel, from boot to power off.
fn try_on(image: &Image, nics: &[String], job: &Job, timeout: Duration) -> Report {
    let mut report = Report::default();
    if let Err(error) = attempt(&mut report, image, nics, job, timeout) {
        report.faults.push(format!("{error:#}"));
    }
    report
}

fn attempt(report: &mut Report, image: &Image, nics: &[String], job: &Job, timeout: Duration) -> Result<()> {
    let name = image.kernel.name();
    let say = |line: &str| println!("[{name}] {line}");
    let switch = if nics.is_empty() { None } else { Some(Switch::new(nics)?) };
    let mut guest = Guest::boot(name, image, switch.as_ref().map(Switch::network))?;
    report.release.clone_from(&guest.release);
    report.booted_in = guest.booted_in;
    say(&format!("{} booted in {:.1} s", guest.release, guest.booted_in.as_secs_f64()));
    let start = Instant::now();
    let done = match job {
        Job::Script(script) => guest.run(script, timeout, say).map(|code| {
            if code != 0 {
                report.faults.push(format!("the script ended with {code}"));
            }
        }),
        Job::Tests { binaries, jit } => binaries.iter().try_for_each(|binary| {
            let before = before_tests(nics, *jit);
            run_binary(&mut guest, binary, &before, timeout, report, say)
        }),
    };
    report.ran_for = start.elapsed();
    let skipped = fs::read_to_string(guest.shared(SKIPPED)).unwrap_or_default();
    report.skipped = skipped.lines().map(str::to_owned).collect();
    report.faults.extend(guest.complaints().into_iter().map(|line| format!("the kernel said: {line}")));
    done?;
    guest.power_off()
}

fn run_binary(
    guest: &mut Guest,
    binary: &Binary,
    before: &str,
    timeout: Duration,
    report: &mut Report,
    say: impl Fn(&str),
) -> Result<()> {
    let Wanted { file, filter } = &binary.wanted;
    let path = binary.path.to_str().context("a path that is no text")?;
    let package = sh::workspace().join("tests");
    let script = format!(
        "cd '{}' || exit\n\
         export VIPD_REQUIRE_LAB=1 VIPD_SKIP_LOG=/run/guest/{SKIPPED}\n\
         {before}exec '{path}' --include-ignored {}\n",
        package.display(),
        filter.as_ref().map(|filter| format!("'{filter}'")).unwrap_or_default()
    );
    let mut tally = Tally::default();
    let ended = guest.run(&script, timeout, |line| {
        tally.line(line);
        say(line);
    });
    let (ran, failed) = (tally.passed + tally.ignored + tally.failed.len(), tally.failed.len());
    report.tally.add(tally);
    let code = ended.with_context(|| file.clone())?;
    ensure!(
        code != 0 || ran > 0,
        "no test of {file} has {:?} in its name",
        filter.as_deref().unwrap_or_default()
    );
    if code != 0 && failed == 0 {
        report.faults.push(format!("{file} ended with {code}"));
    }
    Ok(())
}

/// The script's lines before a file of tests.
fn before_tests(nics: &[String], jit: bool) -> String {
    let drivers = nics.first().map(|model| with_drivers(model)).unwrap_or_default();
    // Debian's kernels permit it (CONFIG_BPF_JIT_ALWAYS_ON is off).
    let interpreter = if jit { "" } else { "echo 0 >/proc/sys/net/core/bpf_jit_enable || exit\n" };
    drivers + interpreter
}

/// What loads the drivers of the NICs, as udev would, and tells the tests which model there is.
fn with_drivers(model: &str) -> String {
    // The driver of virtio's bus is loaded already, or built in.
    let load = "for device in /sys/bus/pci/devices/*; do\n\
                case $(<$device/class),$(<$device/vendor) in\n\
                *,0x1af4) ;;\n\
                0x02*) modprobe \"$(<$device/modalias)\" || exit;;\n\
                esac\n\
                done\n\
                for device in /sys/bus/virtio/devices/*; do\n\
                case $(<$device/modalias) in virtio:d00000001v*) modprobe virtio_net || exit;; esac\n\
                done\n";
    format!("{load}export VIPD_GUEST_NIC='{model}'\n")
}

impl Report {
    fn broken(error: &anyhow::Error) -> Self {
        Self { faults: vec![format!("{error:#}")], ..Self::default() }
    }

    fn is_well(&self) -> bool {
        self.faults.is_empty() && self.tally.failed.is_empty()
    }

    fn text(&self, image: &Image) -> String {
        let mut text = String::new();
        let _ = writeln!(
            text,
            "{} {} ({}): booted in {:.1} s, ran for {:.0} s: {} passed, {} failed, {} ignored, {} skipped",
            if self.is_well() { "PASS" } else { "FAIL" },
            image.kernel.name(),
            if self.release.is_empty() { &image.release } else { &self.release },
            self.booted_in.as_secs_f64(),
            self.ran_for.as_secs_f64(),
            self.tally.passed.saturating_sub(self.skipped.len()),
            self.tally.failed.len(),
            self.tally.ignored,
            self.skipped.len(),
        );
        for name in &self.tally.failed {
            let _ = writeln!(text, "  failed: {name}");
        }
        for fault in &self.faults {
            let _ = writeln!(text, "  {fault}");
        }
        for line in &self.skipped {
            let _ = writeln!(text, "  skipped: {line}");
        }
        text
    }
}
