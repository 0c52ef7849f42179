//! Sync groups: instances that are master together or not at all.

use super::{notify::Notify, tracking::Tracks};

/// One `vrrp_sync_group`.
#[derive(Clone, Debug, PartialEq)]
pub struct SyncGroup {
    pub name: String,
    /// `group`: names of instances; no other group has them.
    pub members: Vec<String>,
    /// `sync_group_tracking_weight`: what members track themselves may have weights. Off unless given.
    pub tracking_weight: bool,
    /// What all members depend on.
    pub tracks: Tracks,
    pub notify: Notify,
    /// `notify_priority_changes` of the members that do not say.
    pub notify_priority_changes: Option<bool>,
}
