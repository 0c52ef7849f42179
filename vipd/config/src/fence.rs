//! `fence_script`: what makes sure that a master that is not heard any more serves no more.

use std::time::Duration;

use super::{
    model::Instance,
    scripts::Command,
    statement::{find, seconds},
};

/// The fence of an instance, or of the sync group that it is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fence {
    pub command: Command,
    /// After which it has failed, and is ended.
    pub timeout: Duration,
    /// Whether this node takes over all the same when it has failed.
    pub takes_over_unfenced: bool,
}

impl Fence {
    pub fn of(instance: &Instance) -> Option<Self> {
        let statements = &instance.statements;
        let find = |keyword| find(statements, keyword);
        Some(Self {
            command: find("fence_script").and_then(Command::of)?,
            timeout: find("fence_timeout").and_then(|s| seconds(s, 0)).unwrap_or(Duration::from_secs(10)),
            takes_over_unfenced: find("fence_failed").is_some_and(|s| s.has("take_over")),
        })
    }
}
