//! Who is told of changes of state.

use super::command::{Account, Command};

/// Who is told of changes, and who is run then: of an instance, or of a sync group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotifySettings {
    pub name: String,
    pub notify: Notify,
    /// Changes of its priority are written to the FIFOs.
    pub priorities: bool,
    /// Of a group: the names of its members.
    pub members: Option<Vec<String>>,
}

/// What is to be run when an instance or a sync group changes its state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Notify {
    /// `notify_master`.
    pub master: Option<Command>,
    /// `notify_backup`.
    pub backup: Option<Command>,
    /// `notify_fault`.
    pub fault: Option<Command>,
    /// `notify_stop`.
    pub stop: Option<Command>,
    /// `notify_deleted`; `None`: an instance that a new configuration does not have any more is told of as one in FAULT.
    pub deleted: Option<Deleted>,
    /// `notify_master_rx_lower_pri`: while it is master, and hears a router that it beats.
    pub lower_heard: Option<Command>,
    /// `notify_conflict`: when another router or station acts as the owner of a VIP, and when it has ceased to.
    pub conflict: Option<Command>,
    /// `notify`: at each change, with what has changed as arguments.
    pub any: Option<Command>,
}

/// `notify_deleted`: with a command of its own, or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deleted(pub Option<Command>);

/// A FIFO that changes are written to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fifo {
    pub path: String,
    /// Whom one that vipd makes belongs to, if not to whom `script_user` says.
    pub owner: Option<Account>,
    /// `notify_fifo_script` or `vrrp_notify_fifo_script`: started by vipd, with the path as its last argument.
    pub reader: Option<Command>,
}

impl NotifySettings {
    /// Of a group: the names of its members.
    pub fn members(&self) -> impl Iterator<Item = &str> {
        self.members.iter().flatten().map(String::as_str)
    }
}
