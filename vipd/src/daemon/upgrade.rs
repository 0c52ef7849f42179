//! A vipd that starts its own successor, `vipd upgrade`: the installed program with the arguments of this process and `--replace`.
//!
//! The successor is to be a child of the service manager, as this process is: only then does the service manager wait for its end. So it
//! is started by way of a process that ends at once. What tells of its end is the pipe that it has for its standard input: it
//! writes there why it does not take over.

use std::{
    env,
    ffi::OsString,
    fs::File,
    io::{self, Write},
    os::{
        fd::{AsFd, OwnedFd},
        unix::process::CommandExt,
    },
    path::PathBuf,
    process::{Command, Stdio},
};

use anyhow::{Context, Result};
use nix::{
    fcntl::OFlag,
    unistd::{dup2_stdin, pipe2},
};
use tokio::{io::AsyncReadExt, net::unix::pipe};

use crate::resources;

/// Set for a successor: its standard input is the pipe.
const MARK: &str = "VIPD_UPGRADE";
const REPLACE: &str = "--replace";
/// Of a reason that is too long the rest is in the log.
const LONGEST_REASON: u64 = 4096;

/// How this process was started.
#[derive(Clone, Debug, Default)]
pub struct Invocation {
    /// Where the program was then. There may be another by now.
    program: PathBuf,
    arguments: Vec<OsString>,
}

impl Invocation {
    /// Of this process. To be called before the program may be replaced.
    pub fn of_this_process() -> Self {
        let program = env::current_exe().unwrap_or_else(|_| PathBuf::from("/usr/sbin/vipd"));
        Self { program, arguments: env::args_os().skip(1).filter(|argument| argument != REPLACE).collect() }
    }

    /// Starts a successor.
    pub fn start_successor(&self) -> Result<Started> {
        let (read, write) = pipe2(OFlag::O_CLOEXEC).context("make a pipe")?;
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).arg(REPLACE).stdin(Stdio::from(write)).env(MARK, "1");
        // It names the process that is to feed the watchdog, which is another one from then on.
        command.env_remove("WATCHDOG_PID");
        // SAFETY: both functions are async-signal-safe.
        unsafe {
            command.pre_exec(resources::restore_descriptors);
            command.pre_exec(leave_to_init);
        }
        let what = || format!("start {}", self.program.display());
        let mut between = command.spawn().with_context(what)?;
        // It has ended already, or could not fork.
        let status = between.wait().with_context(what)?;
        // With it the other end of the pipe here.
        drop(command);
        anyhow::ensure!(status.success(), "{}: {status}", what());
        let read = pipe::Receiver::from_owned_fd(read).context("watch the successor")?;
        Ok(Started { reason: read })
    }
}

/// Goes on in a process whose parent has ended. Async-signal-safe.
fn leave_to_init() -> io::Result<()> {
    // SAFETY: this process has one thread, between fork and exec; both ends go on with async-signal-safe calls only.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(()),
        // SAFETY: it ends this process without anything else.
        _ => unsafe { libc::_exit(0) },
    }
}

/// A successor that was started.
#[derive(Debug)]
pub struct Started {
    reason: pipe::Receiver,
}

impl Started {
    /// Waits until it has ended, and returns why, in its words. May be dropped while it waits.
    pub async fn failed(&mut self) -> String {
        let mut reason = Vec::new();
        // A signal that ends it leaves nothing to read.
        let _ = (&mut self.reason).take(LONGEST_REASON).read_to_end(&mut reason).await;
        let reason = String::from_utf8_lossy(&reason).trim().to_owned();
        if reason.is_empty() { "it ended without a word".to_owned() } else { reason }
    }
}

/// Where a successor says why it does not take over.
#[derive(Debug)]
pub struct Reason(File);

impl Reason {
    /// `None`: this process is no successor that another vipd has started. To be called before anything else is started.
    pub fn of_this_process() -> Option<Self> {
        env::var_os(MARK)?;
        let pipe = io::stdin().as_fd().try_clone_to_owned().ok()?;
        // Scripts are not to hold it.
        let null: OwnedFd = File::open("/dev/null").ok()?.into();
        dup2_stdin(null).ok()?;
        Some(Self(pipe.into()))
    }

    /// Says it.
    pub fn tell(mut self, reason: &str) {
        // Who waits for it may be gone.
        let _ = self.0.write_all(reason.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn invocation(script: &str) -> Invocation {
        Invocation { program: "/bin/sh".into(), arguments: vec!["-c".into(), script.into(), "sh".into()] }
    }

    #[tokio::test]
    async fn a_successor_is_nobodys_child_and_says_why_it_fails() {
        let mut started =
            invocation("echo \"$VIPD_UPGRADE $1 of $PPID\" >&0; exit 6").start_successor().unwrap();
        let said = started.failed().await;
        let parent = said.strip_prefix("1 --replace of ").unwrap_or_else(|| panic!("{said}"));
        assert_ne!(parent, std::process::id().to_string());
        let mut started = invocation("kill -9 $$").start_successor().unwrap();
        assert_eq!(started.failed().await, "it ended without a word");
        let missing = Invocation { program: "/nonexistent/vipd".into(), arguments: Vec::new() };
        let error = format!("{:#}", missing.start_successor().unwrap_err());
        assert!(error.contains("start /nonexistent/vipd"), "{error}");
    }
}
