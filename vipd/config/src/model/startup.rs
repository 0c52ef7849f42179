//! What happens before the first election and after the last.

use std::time::Duration;

use super::command::Command;

/// The start and the stop of the daemon.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Startup {
    /// `vrrp_startup_delay`: how long no instance begins, in microseconds up to a week. Zero unless given.
    pub delay: Duration,
    /// `vrrp_delay_after_boot`: the same, counted from the start of the machine.
    pub delay_after_boot: Duration,
    /// `startup_script`: run before the start, which waits for its end.
    pub script: Option<TimedCommand>,
    /// `shutdown_script`: run when everything is removed.
    pub shutdown_script: Option<TimedCommand>,
}

/// A command that is waited for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimedCommand {
    pub command: Command,
    /// `startup_script_timeout`, `shutdown_script_timeout`: after which it is ended, in whole seconds, 1 to 1,000. 10 s unless given.
    pub timeout: Duration,
}
