//! What makes sure that a master that is not heard any more serves no more.

use std::time::Duration;

use super::command::Command;

/// The fence of an instance, or of the sync group that it is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fence {
    /// `fence_script`.
    pub command: Command,
    /// `fence_timeout`: after which it has failed, and is ended, 0.1 to 3,600 s in steps of a microsecond. 10 s unless given.
    pub timeout: Duration,
    /// `fence_failed take_over`: whether this node takes over all the same when it has failed. Off unless given.
    pub takes_over_unfenced: bool,
}
