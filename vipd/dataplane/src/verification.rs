//! What the kernel answers to the program itself: how far its verifier walked, or why it does not load.
//!
//! Loading fails before anything is attached. [`LoadRefused`] says in one paragraph which kernel refused what, what that means and
//! what to do; the verifier's log, hundreds of lines long, stays apart from the text.

use std::{fmt, io, path::PathBuf};

use anyhow::anyhow;
use aya::{
    EbpfError,
    maps::MapError,
    programs::{ProgramError, ProgramInfo},
};
use nix::{errno::Errno, sys::utsname::uname};

use super::{OLDEST_KERNEL, privileges::missing_capabilities};

/// A program that the kernel has loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    pub program: &'static str,
    /// Instructions that the verifier walked, along all paths together; none before Linux 5.16.
    pub instructions: Option<u32>,
}

impl Verified {
    pub(super) fn new(program: &'static str, info: Result<ProgramInfo, ProgramError>) -> Self {
        Self { program, instructions: info.ok().and_then(|info| info.verified_instruction_count()) }
    }
}

/// The kernel does not load a program or its maps.
#[derive(Debug)]
pub struct LoadRefused {
    /// One sentence without a full stop.
    what: String,
    /// One sentence without a full stop.
    remedy: String,
    log: Option<VerifierLog>,
}

#[derive(Debug)]
struct VerifierLog {
    text: String,
    /// Where the whole log was put.
    path: Option<Result<PathBuf, String>>,
}

impl LoadRefused {
    /// What the kernel answered, with the last lines of the verifier's log if there is one.
    pub fn what(&self) -> String {
        let last = self.log.as_ref().map(|log| last_lines(&log.text));
        match last.filter(|last| !last.is_empty()) {
            Some(last) => format!("{}; the verifier's last words: {last}", self.what),
            None => self.what.clone(),
        }
    }

    /// What the operator can do.
    pub fn remedy(&self) -> &str {
        &self.remedy
    }

    /// Has `keep` put the verifier's log, if there is one, into a file, whose path the text then names.
    pub fn kept<E: fmt::Display>(mut self, keep: impl FnOnce(&str) -> Result<PathBuf, E>) -> Self {
        if let Some(log) = &mut self.log {
            log.path = Some(keep(&log.text).map_err(|error| format!("{error:#}")));
        }
        self
    }

    /// The error of an object: [`LoadRefused`] if the kernel does not make one of its maps.
    pub(super) fn of_object(error: EbpfError) -> anyhow::Error {
        match error {
            EbpfError::MapError(MapError::CreateError { name, io_error }) => {
                Self::new(&format!("the BPF map {name}"), &io_error, &missing_capabilities()).into()
            }
            other => anyhow!(other).context("load the BPF object"),
        }
    }

    /// The error of a program: [`LoadRefused`] if the kernel does not load it.
    pub(super) fn of_program(program: &str, error: ProgramError) -> anyhow::Error {
        match error {
            ProgramError::LoadError { io_error, verifier_log } => {
                let log = verifier_log.to_string();
                let missing = missing_capabilities();
                if log.trim().is_empty() {
                    Self::new(&format!("the BPF program {program}"), &io_error, &missing).into()
                } else {
                    Self::by_verifier(program, &io_error, &missing, log).into()
                }
            }
            other => anyhow!(other).context(format!("load the BPF program {program}")),
        }
    }

    fn by_verifier(program: &str, error: &io::Error, missing: &[&str], text: String) -> Self {
        let (why, remedy) = if text.contains(NO_BTF) {
            (
                "without BTF of its own its verifier does not know the types of the program's functions",
                "Boot a kernel with CONFIG_DEBUG_INFO_BTF=y, as distributions build theirs; it has the file \
                 /sys/kernel/btf/vmlinux"
                    .to_owned(),
            )
        } else {
            let why = "its verifier did not find the program safe to run";
            let remedy = if missing.is_empty() {
                "Boot a kernel that the README names as tried, and report this one with the log".to_owned()
            } else {
                let missing = missing.join(" and ");
                format!("Without {missing} the verifier accepts less: run vipd as root, or {ADD_TO_UNIT}")
            };
            (why, remedy)
        };
        Self {
            what: format!(
                "{} refuses the BPF program {program}: {why} ({}), so vipd does not start",
                kernel(),
                name(error)
            ),
            remedy,
            log: Some(VerifierLog { text, path: None }),
        }
    }

    /// `object`, such as `the BPF map LEASES`, met an error that says nothing about the program's instructions.
    fn new(object: &str, error: &io::Error, missing: &[&str]) -> Self {
        let (major, minor) = OLDEST_KERNEL;
        let (why, remedy) = match error.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) if !missing.is_empty() => {
                let missing = missing.join(" and ");
                (
                    format!("this process runs without {missing}"),
                    format!("Run vipd as root, or {ADD_TO_UNIT}"),
                )
            }
            Some(libc::EPERM | libc::EACCES) => (
                "the capabilities are there, so a security module, kernel lockdown, a seccomp filter or a user \
                 namespace of its own forbids bpf(2)"
                    .to_owned(),
                "Run vipd on the host or in a privileged container; `cat /sys/kernel/security/lockdown` and `dmesg` show \
                 the first two"
                    .to_owned(),
            ),
            Some(libc::ENOSYS) => (
                "this kernel has no bpf(2)".to_owned(),
                "Boot a kernel with CONFIG_BPF_SYSCALL=y".to_owned(),
            ),
            Some(libc::ENOMEM) => (
                "the memory limit of vipd's control group is reached, or the machine's memory".to_owned(),
                "Raise MemoryMax= of the unit; vipd's maps take some megabytes".to_owned(),
            ),
            Some(libc::EINVAL | libc::E2BIG | libc::EOPNOTSUPP | ENOTSUPP) => (
                "this kernel lacks what vipd uses".to_owned(),
                format!("Boot Linux {major}.{minor} or later, with CONFIG_BPF_SYSCALL=y and CONFIG_BPF_JIT=y"),
            ),
            _ => (
                "vipd knows no usual reason for this answer".to_owned(),
                "See `dmesg`, and report the answer with this kernel's name".to_owned(),
            ),
        };
        Self {
            what: format!("{} does not load {object} ({}): {why}", kernel(), name(error)),
            remedy,
            log: None,
        }
    }
}

impl fmt::Display for LoadRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}. ", self.what())?;
        if let Some(VerifierLog { text, path: Some(path) }) = &self.log {
            match path {
                Ok(path) => {
                    write!(f, "The whole log, {} lines, is in {}. ", text.lines().count(), path.display())?;
                }
                Err(error) => write!(f, "The whole log could not be kept: {error}. ")?,
            }
        }
        write!(f, "{}.", self.remedy)
    }
}

impl std::error::Error for LoadRefused {}

/// As `uname` has it: release, build, architecture.
fn kernel() -> String {
    let Ok(name) = uname() else { return "this kernel".to_owned() };
    format!(
        "Linux {} ({}, {})",
        name.release().to_string_lossy(),
        name.version().to_string_lossy(),
        name.machine().to_string_lossy()
    )
}

fn name(error: &io::Error) -> String {
    error.raw_os_error().map_or_else(|| error.to_string(), |number| Errno::from_raw(number).to_string())
}

/// The instruction that was refused and why: the last lines but for the statistics that follow them.
fn last_lines(log: &str) -> String {
    let is_statistics = |line: &&str| {
        ["verification time", "stack depth", "processed", "mark_precise"]
            .iter()
            .any(|word| line.starts_with(word))
    };
    let lines: Vec<&str> = log
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .filter(|line| !is_statistics(line))
        .collect();
    let shown = lines.len().saturating_sub(LAST_LINES);
    let shorten = |line: &&str| match line.char_indices().nth(LONGEST_LINE) {
        Some((end, _)) => format!("`{}...`", &line[..end]),
        None => format!("`{line}`"),
    };
    lines[shown..].iter().map(shorten).collect::<Vec<_>>().join(" ")
}

/// What btf_get_prog_ctx_type (kernel/bpf/btf.c) says to a function that is given the context, where CONFIG_DEBUG_INFO_BTF is off: the
/// context is taken for memory then, and its first use is refused.
const NO_BTF: &str = "btf_vmlinux is malformed";
/// Enough for the instruction and the complaint about it.
const LAST_LINES: usize = 3;
/// The verifier prints the state of all registers behind an instruction.
const LONGEST_LINE: usize = 200;
const ADD_TO_UNIT: &str =
    "add what is missing to AmbientCapabilities= and CapabilityBoundingSet= of the unit";
/// The kernel's own number for "operation is not supported", which libc does not name.
const ENOTSUPP: i32 = 524;

#[cfg(test)]
mod tests;
