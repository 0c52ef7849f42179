//! The runner of MISC_CHECK's commands, which the daemon has. This crate starts no process.

use std::{pin::Pin, time::Duration};

/// A command of MISC_CHECK.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProbeScript<'a> {
    /// `misc_path` and its arguments; one word at least.
    pub words: &'a [String],
    /// User and group; `None`: as `script_user` says.
    pub account: Option<&'a (String, Option<String>)>,
    /// `misc_timeout`, in keepalived whole seconds: then the command gets SIGTERM, and 2 s later SIGKILL.
    pub timeout: Duration,
}

/// The end of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScriptEnd {
    /// With this exit code. 0 is success; with `misc_dynamic` 2 to 255 are a weight plus 2.
    Exited(u8),
    /// By this signal.
    Signalled(i32),
    /// It took longer than its timeout, and was ended.
    TimedOut,
    /// It cannot be run. Why, in lower case. A failure.
    NotRun(String),
    /// This host could not start it now. Why, in lower case. No verdict.
    Shortage(String),
}

/// The future of a run.
pub type ScriptFuture<'a> = Pin<Box<dyn Future<Output = ScriptEnd> + Send + 'a>>;

/// Runs commands. Its futures are polled on the prober's thread, in a tokio runtime with timers and IO.
pub trait RunScript: Send + Sync + 'static {
    /// Runs a command with its user, in a process group of its own, until it ends or its timeout has passed. When the future is dropped, the
    /// command is ended: the probe is no longer wanted.
    fn run<'a>(&'a self, script: ProbeScript<'a>) -> ScriptFuture<'a>;
}
