//! Commands of the configuration, run: as whom, in a process group of their own, and ended when they take too long.

mod child;
mod output;
mod resolve;
mod secure;

use std::{
    fmt, io,
    os::unix::process::ExitStatusExt,
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

pub use output::{Unread, read};
pub use resolve::{Accounts, Executable, Unusable, executable};

/// What a command that is told to end is given to do so.
const GRACE: Duration = Duration::from_secs(2);

/// How a run has ended.
#[derive(Debug)]
pub enum Outcome {
    Exited(ExitStatus),
    /// It, and what it had started, was ended.
    TimedOut,
    NotRun(io::Error),
}

impl Outcome {
    /// Why it was not run, if the host is short of something: it may be run a little later.
    pub fn shortage(&self) -> Option<&io::Error> {
        match self {
            Self::NotRun(error) => Some(error).filter(|error| resources::is_shortage(error)),
            Self::Exited(_) | Self::TimedOut => None,
        }
    }
}

impl Outcome {
    pub fn is_success(&self) -> bool {
        matches!(self, Self::Exited(status) if status.success())
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(status) => match (status.code(), status.signal()) {
                (Some(code), _) => write!(f, "exit code {code}"),
                (None, Some(signal)) => write!(f, "ended by signal {signal}"),
                (None, None) => write!(f, "{status}"),
            },
            Self::TimedOut => f.write_str("timed out"),
            Self::NotRun(error) => write!(f, "cannot be run: {error}"),
        }
    }
}

impl Executable {
    /// Starts it with more arguments; it has a process group of its own, and ends when vipd is gone.
    ///
    /// It inherits no capability and no file. What only root may change is looked at once more: the file was checked when the
    /// configuration was read, and may be another one now.
    pub fn spawn(&self, arguments: &[&str]) -> io::Result<Child> {
        let checked =
            self.secure.then(|| secure::check(&self.path)).transpose().map_err(|why| match why {
                // Says nothing of the file, and whoever asked tries again.
                Unusable::Unreadable { error, .. } if resources::is_shortage(&error) => error,
                why => io::Error::other(why),
            })?;
        let program = checked.as_ref().map_or(&self.path, |checked| &checked.program);
        let mut command = Command::new(program);
        command.arg0(&self.path).args(&self.arguments).args(arguments).current_dir("/");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
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

    /// Runs it to its end, or for `limit`.
    pub async fn run(&self, limit: Duration) -> Outcome {
        let mut child = match self.spawn(&[]) {
            Ok(child) => child,
            Err(error) => return Outcome::NotRun(error),
        };
        let group = Group::of(&child);
        let ended = timeout(limit, child.wait()).await;
        if ended.is_err() {
            end(&mut child).await;
        }
        // What it has started and left running is meant to be.
        group.leave();
        match ended {
            Ok(ended) => ended.map_or_else(Outcome::NotRun, Outcome::Exited),
            Err(_) => Outcome::TimedOut,
        }
    }
}

/// The process group of a command: killed if whoever waits for the command is gone.
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
        tracing::warn!(%error, "a command that was ended cannot be waited for");
    }
}
