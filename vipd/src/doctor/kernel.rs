//! The kernel, the privileges of vipd, and whether it can keep time.

use std::time::Duration;

use super::{Facts, Findings, MachineFacts, ProgramSupport};
use crate::dataplane::{OLDEST_KERNEL, Verified};

const KERNEL: &str = "kernel";

pub fn judge(facts: &Facts, findings: &mut Findings) {
    let machine = &facts.machine;
    release(machine, findings);
    bpffs(machine, findings);
    capabilities(machine, findings);
    programs(machine, findings);
    jit(machine, findings);
    memory(machine, findings);
    real_time(facts, findings);
    clock(machine, findings);
    time_namespace(machine, findings);
    preemption(facts, findings);
}

fn release(MachineFacts { release, .. }: &MachineFacts, findings: &mut Findings) {
    let mut numbers = release.split(['.', '-']).map_while(|part| part.parse::<u32>().ok());
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    let (major, minor) = OLDEST_KERNEL;
    if version < OLDEST_KERNEL {
        let what = format!("Linux {release} is older than {major}.{minor}");
        findings.problem(KERNEL, "release", what, format!("boot a kernel of {major}.{minor} or later"));
    } else {
        findings.ok(KERNEL, "release", format!("Linux {release}"));
    }
}

fn bpffs(MachineFacts { bpffs_dir, bpffs, bpffs_shared, .. }: &MachineFacts, findings: &mut Findings) {
    let dir = bpffs_dir.display();
    match (bpffs, bpffs_shared) {
        (true, None) => findings.ok(KERNEL, "bpffs", format!("a BPF file system is at {dir}")),
        (true, Some(mode)) => {
            let what = format!(
                "every user may create files in the BPF file system at {dir} (mode {mode:04o}), also under the names of vipd's pins"
            );
            let fix = format!("chmod 0700 {dir}, and mount it with the option mode=0700 in /etc/fstab");
            findings.warning(KERNEL, "bpffs", what, fix);
        }
        (false, _) => {
            let fix = format!("mount -t bpf -o mode=0700 bpf {dir}, and put it into /etc/fstab");
            findings.problem(KERNEL, "bpffs", format!("no BPF file system at {dir}"), fix);
        }
    }
}

fn capabilities(MachineFacts { capabilities, .. }: &MachineFacts, findings: &mut Findings) {
    let has = |number: u32| capabilities & (1 << number) != 0;
    let missing = |wanted: &[(&'static str, u32)]| {
        let lacks = |(_, number): &&(&str, u32)| {
            let replaced = matches!(*number, BPF | PERFMON) && has(SYS_ADMIN);
            !has(*number) && !replaced
        };
        wanted.iter().filter(lacks).map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
    };
    let needed = missing(&[
        ("CAP_NET_ADMIN", NET_ADMIN),
        ("CAP_NET_RAW", NET_RAW),
        ("CAP_BPF", BPF),
        ("CAP_PERFMON", PERFMON),
    ]);
    let wanted = missing(&[("CAP_SYS_NICE", SYS_NICE), ("CAP_IPC_LOCK", IPC_LOCK)]);
    if !needed.is_empty() {
        findings.problem(
            KERNEL,
            "capabilities",
            format!("missing {needed}"),
            format!("run it as root, or {UNIT}"),
        );
    } else if wanted.is_empty() {
        findings.ok(KERNEL, "capabilities", "all capabilities that vipd uses");
    }
    if !wanted.is_empty() {
        let what = format!("missing {wanted}: adverts may be late under load");
        findings.warning(KERNEL, "capabilities", what, UNIT);
    }
}

/// Whether the kernel loads the programs: verifiers differ from version to version.
fn programs(MachineFacts { programs, .. }: &MachineFacts, findings: &mut Findings) {
    match programs {
        ProgramSupport::Loaded(verified) => {
            for Verified { program, instructions } in verified {
                let walked = instructions.map(|count| format!(": its verifier walked {count} instructions"));
                let what = format!("the kernel loads {program}{}", walked.unwrap_or_default());
                findings.ok(KERNEL, "program", what);
            }
        }
        ProgramSupport::Refused { what, fix } => findings.problem(KERNEL, "program", what, fix),
        ProgramSupport::Untried(why) => {
            findings.skipped(
                KERNEL,
                "program",
                format!("not tested whether the kernel loads vipd's programs: {why}"),
            );
        }
    }
}

fn jit(MachineFacts { jit, .. }: &MachineFacts, findings: &mut Findings) {
    match jit {
        Some(0) => findings.warning(
            KERNEL,
            "jit",
            "BPF programs are interpreted: each packet costs several times as much",
            "sysctl -w net.core.bpf_jit_enable=1",
        ),
        Some(_) => findings.ok(KERNEL, "jit", "BPF programs are compiled"),
        None => {
            findings.skipped(KERNEL, "jit", "bpf_jit_enable is visible in the first network namespace only")
        }
    }
}

fn memory(MachineFacts { memlock, capabilities, .. }: &MachineFacts, findings: &mut Findings) {
    match memlock {
        Some(limit) if capabilities & (1 << IPC_LOCK) == 0 && *limit < LOCKED => {
            let what = format!("RLIMIT_MEMLOCK is {limit} octets: too little to lock memory");
            findings.warning(KERNEL, "memlock", what, "LimitMEMLOCK=infinity in the unit, or CAP_IPC_LOCK");
        }
        _ => findings.ok(KERNEL, "memlock", "memory may be locked"),
    }
}

fn real_time(facts: &Facts, findings: &mut Findings) {
    let MachineFacts { capabilities, rtprio, .. } = &facts.machine;
    let fix =
        "CAP_SYS_NICE, or LimitRTPRIO=60 in the unit; in a container also a real-time budget of its cgroup";
    match &facts.running {
        Some(status) if status.real_time => {
            findings.ok(KERNEL, "real-time", "vipd has real-time scheduling");
        }
        Some(_) => findings.warning(KERNEL, "real-time", "vipd runs without real-time scheduling", fix),
        None if capabilities & (1 << SYS_NICE) != 0 || *rtprio >= PRIORITY => {
            findings.ok(KERNEL, "real-time", "real-time scheduling is permitted");
        }
        None => findings.warning(KERNEL, "real-time", "real-time scheduling is not permitted", fix),
    }
}

fn clock(MachineFacts { clocksource, .. }: &MachineFacts, findings: &mut Findings) {
    match clocksource.as_deref() {
        Some(slow @ ("hpet" | "acpi_pm" | "jiffies" | "refined-jiffies" | "pit")) => {
            let what = format!("the clock source is {slow}: reading the clock is slow or coarse");
            let fix = "find out why the kernel rejected the TSC (dmesg); `clocksource=` on the kernel command line chooses another";
            findings.warning(KERNEL, "clock", what, fix);
        }
        Some(source) => findings.ok(KERNEL, "clock", format!("the clock source is {source}")),
        None => findings.skipped(KERNEL, "clock", "the clock source is not shown here"),
    }
}

/// Of this command; a vipd that runs has compared them when it was started.
fn time_namespace(MachineFacts { clock, .. }: &MachineFacts, findings: &mut Findings) {
    match clock {
        Some(Ok(())) => findings.ok(KERNEL, "time-namespace", "vipd and its programs have the same clock"),
        Some(Err(differs)) => {
            let what = format!(
                "this command is in a time namespace: its boot-time clock is not that of BPF programs, by {:.3} s",
                differs.by.as_secs_f64()
            );
            let fix = "start vipd outside of it: without `unshare --time`, without an offset of `boottime` for its container";
            findings.problem(KERNEL, "time-namespace", what, fix);
        }
        None => findings.skipped(
            KERNEL,
            "time-namespace",
            "the clocks are not compared: this command may run no BPF program",
        ),
    }
}

fn preemption(facts: &Facts, findings: &mut Findings) {
    let shortest = facts.instances().iter().map(|instance| instance.advert_interval).min();
    let preempts = facts.machine.version.contains("PREEMPT");
    match shortest {
        Some(interval) if interval < SHORT && !preempts => {
            let what =
                format!("adverts every {} ms on a kernel that is not preemptible", interval.as_millis());
            let fix =
                "boot a kernel with PREEMPT or PREEMPT_DYNAMIC (preempt=full), or a longer `advert_int`";
            findings.warning(KERNEL, "preemption", what, fix);
        }
        _ => findings.ok(
            KERNEL,
            "preemption",
            if preempts {
                "the kernel is preemptible"
            } else {
                "not preemptible; the advert intervals are long enough"
            },
        ),
    }
}

/// linux/capability.h.
const NET_ADMIN: u32 = 12;
const NET_RAW: u32 = 13;
const IPC_LOCK: u32 = 14;
const SYS_ADMIN: u32 = 21;
const SYS_NICE: u32 = 23;
const PERFMON: u32 = 38;
const BPF: u32 = 39;
/// More than vipd locks, with its maps.
const LOCKED: u64 = 64 << 20;
const UNIT: &str = "add them to AmbientCapabilities= and CapabilityBoundingSet= of the unit";
/// Real-time priority that the engine thread asks for.
const PRIORITY: u64 = 51;
/// Shorter advert intervals need a preemptible kernel.
const SHORT: Duration = Duration::from_millis(50);
