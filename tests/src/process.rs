//! A process that the lab started: signalled by its own id only, ended and reaped on drop.

use std::{
    fs::OpenOptions,
    io,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use nix::{
    sys::signal::{Signal, kill, killpg},
    unistd::Pid,
};

/// A running daemon with its log file.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    whole_group: bool,
    killed: bool,
    log: PathBuf,
    pub name: String,
}

impl Daemon {
    /// Starts `command` in a process group of its own, appending its output to `log`.
    pub fn start(name: &str, command: &mut Command, log: &Path) -> Result<Self> {
        let out = OpenOptions::new()
            .create(true)
            .append(true)
            .open(log)
            .with_context(|| format!("cannot open {}", log.display()))?;
        let err = out.try_clone()?;
        let child = command
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            .spawn()
            .with_context(|| format!("cannot start {name} ({})", command.get_program().display()))?;
        Ok(Self { child, whole_group: false, killed: false, log: log.to_owned(), name: name.to_owned() })
    }

    /// Makes signals go to the daemon's process group: for daemons that work in child processes (keepalived).
    pub fn signal_group(mut self) -> Self {
        self.whole_group = true;
        self
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn log_path(&self) -> &Path {
        &self.log
    }

    /// What the daemon has said so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_else(|e| format!("({}: {e})", self.log.display()))
    }

    /// Kills without warning and reaps; returns the instant just before the signal.
    pub fn kill9(&mut self) -> Result<Instant> {
        let at = Instant::now();
        self.signal(Signal::SIGKILL)?;
        self.killed = true;
        self.child.wait().with_context(|| format!("cannot reap {}", self.name))?;
        Ok(at)
    }

    /// Whether [`Daemon::kill9`] has ended it.
    pub fn was_killed(&self) -> bool {
        self.killed
    }

    pub fn sigterm(&mut self) -> Result<()> {
        self.signal(Signal::SIGTERM)
    }

    pub fn sighup(&mut self) -> Result<()> {
        self.signal(Signal::SIGHUP)
    }

    pub fn sigstop(&mut self) -> Result<()> {
        self.signal(Signal::SIGSTOP)
    }

    pub fn sigcont(&mut self) -> Result<()> {
        self.signal(Signal::SIGCONT)
    }

    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        // `try_wait` keeps the process id ours: it is not reused before it is reaped.
        if let Some(status) = self.child.try_wait()? {
            bail!("{} has already ended ({status}); its log:\n{}", self.name, self.log());
        }
        let pid = Pid::from_raw(i32::try_from(self.child.id()).context("pid out of range")?);
        let sent = if self.whole_group { killpg(pid, signal) } else { kill(pid, signal) };
        sent.with_context(|| format!("cannot send {signal} to {} ({pid})", self.name))
    }

    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits for the daemon to end by itself.
    pub fn wait(&mut self, timeout: Duration) -> Result<ExitStatus> {
        let deadline = Instant::now() + timeout;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if Instant::now() >= deadline {
                bail!("{} still runs after {timeout:?}; its log:\n{}", self.name, self.log());
            }
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// Gives the process up: it runs on after this handle is gone, until the lab is cleaned up.
    pub fn leave_running(self) {
        std::mem::forget(self);
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if self.is_running() {
            let _ = self.signal(Signal::SIGKILL);
            let _: io::Result<ExitStatus> = self.child.wait();
        }
    }
}
