//! Runs the commands of the configuration: with their user, in a process group of their own, and with a time limit.

mod child;
mod last_run;
mod output;
mod resolve;
mod secure;
mod tail;

use std::{
    fmt, io,
    os::{fd::OwnedFd, unix::process::ExitStatusExt},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use tokio::{
    process::{Child, Command},
    time::{sleep, timeout},
};

use crate::resources;
pub use child::RunAs;
use child::{Guard, Setup};

pub use last_run::{LastRun, OUTPUT_SEPARATOR, with_output};
pub use output::{Unread, read};
pub use resolve::{Accounts, Executable, UnusableCommand, executable};
pub use tail::Tail;

/// Time for a command to end after SIGTERM.
const GRACE: Duration = Duration::from_secs(2);

/// A run that is over.
#[derive(Debug)]
pub struct ScriptRun {
    pub outcome: ScriptOutcome,
    /// The last lines that it has printed; see [`Tail::finish`].
    pub output: Vec<String>,
}

/// Result of a run.
#[derive(Debug)]
pub enum ScriptOutcome {
    Exited(ExitStatus),
    /// It took longer than this; it and its process group were ended.
    TimedOut(Duration),
    NotRun(io::Error),
}

impl ScriptOutcome {
    /// The error if the command was not run because of a shortage of the host: it may succeed later.
    pub fn shortage(&self) -> Option<&io::Error> {
        match self {
            Self::NotRun(error) => Some(error).filter(|error| resources::is_shortage(error)),
            Self::Exited(_) | Self::TimedOut(_) => None,
        }
    }
}

impl ScriptOutcome {
    /// Whether it has exited with 0.
    pub fn is_success(&self) -> bool {
        matches!(self, Self::Exited(status) if status.success())
    }
}

impl fmt::Display for ScriptOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(status) => match (status.code(), status.signal()) {
                (Some(code), _) => write!(f, "exit code {code}"),
                (None, Some(signal)) => write!(f, "ended by signal {signal}"),
                (None, None) => write!(f, "{status}"),
            },
            Self::TimedOut(limit) => write!(f, "timed out after {} s", limit.as_secs_f64()),
            Self::NotRun(error) => write!(f, "cannot be run: {error}"),
        }
    }
}

impl Executable {
    /// Starts it with more arguments, in a process group of its own; it ends with vipd. What it prints is thrown away.
    pub fn spawn(&self, arguments: &[&str]) -> io::Result<Child> {
        self.spawn_with(arguments, None)
    }

    /// The same, and the end of what it prints.
    pub fn spawn_heard(&self, arguments: &[&str]) -> io::Result<(Child, Tail)> {
        let (tail, output) = Tail::new(self.account.as_ref())?;
        Ok((self.spawn_with(arguments, Some(output))?, tail))
    }

    /// It inherits no capability and no file. With `enable_script_security` the path is checked again, because it may have changed since the
    /// configuration was read.
    fn spawn_with(&self, arguments: &[&str], output: Option<OwnedFd>) -> io::Result<Child> {
        let checked =
            self.secure.then(|| secure::check(&self.path)).transpose().map_err(|why| match why {
                // Says nothing of the file, and whoever asked tries again.
                UnusableCommand::Unreadable { error, .. } if resources::is_shortage(&error) => error,
                why => io::Error::other(why),
            })?;
        let program = checked.as_ref().map_or(&self.path, |checked| &checked.program);
        let mut command = Command::new(program);
        command.arg0(&self.path).args(&self.arguments).args(arguments).current_dir("/");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        if let Some(output) = output {
            command.stdout(output.try_clone()?).stderr(output);
        }
        // What a shell, the dynamic linker or another vipd would be led astray by: it is vipd that the service manager watches.
        for variable in
            ["IFS", "LD_PRELOAD", "LD_LIBRARY_PATH", "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"]
        {
            command.env_remove(variable);
        }
        let same = checked.as_ref().and_then(|checked| checked.same.clone());
        let guard = self.account.is_some().then(Guard::new).transpose()?;
        let setup = Setup { account: self.account.clone(), same, guard: guard.as_ref().map(Guard::told) };
        // SAFETY: all that it does is async-signal-safe.
        unsafe { command.pre_exec(move || setup.apply()) };
        command.spawn()
    }

    /// Runs it until it ends, or for `limit`.
    pub async fn run(&self, limit: Duration) -> ScriptRun {
        let (mut child, mut tail) = match self.spawn_heard(&[]) {
            Ok(started) => started,
            Err(error) => return ScriptRun { outcome: ScriptOutcome::NotRun(error), output: Vec::new() },
        };
        let group = Group::of(&child);
        let ended = tokio::select! {
            ended = timeout(limit, child.wait()) => ended,
            () = tail.read() => unreachable!("it reads for ever"),
        };
        if ended.is_err() {
            end(&mut child).await;
        }
        // What it has started and left running is meant to be.
        group.leave();
        let outcome = match ended {
            Ok(ended) => ended.map_or_else(ScriptOutcome::NotRun, ScriptOutcome::Exited),
            Err(_) => ScriptOutcome::TimedOut(limit),
        };
        ScriptRun { outcome, output: tail.finish() }
    }
}

/// The process group of a command; dropping it kills the group.
struct Group(Option<Pid>);

impl Group {
    fn of(child: &Child) -> Self {
        Self(child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw))
    }

    fn leave(mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // It may have ended in this moment.
            let _ = killpg(group, Signal::SIGKILL);
        }
    }
}

/// Ends a command and everything in its process group.
pub async fn end(child: &mut Child) {
    let Some(group) = Group::of(child).0.take() else { return };
    // It may have ended by itself, but not what it has started.
    let _ = killpg(group, Signal::SIGTERM);
    tokio::select! {
        _ = child.wait() => {}
        () = sleep(GRACE) => {}
    }
    let _ = killpg(group, Signal::SIGKILL);
    if let Err(error) = child.wait().await {
        tracing::warn!(%error, "cannot wait for a command that was ended");
    }
}
