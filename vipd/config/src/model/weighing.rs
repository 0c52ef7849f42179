//! Whether the weights of what an instance tracks count: in a sync group and for an address owner they do not, as in keepalived.

use super::weight::Weight;

/// What becomes of the weights of what an instance tracks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weighing {
    /// They are added to its priority.
    Counts,
    /// It is in a sync group without `sync_group_tracking_weight`: a weight that moved one member alone would do nothing.
    Group,
    /// It owns the addresses: its priority is 255 whatever happens.
    Owner,
}

/// What is tracked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TrackKind {
    Script,
    Interface,
    File,
    Process,
    Arbiter,
    Bfd,
}

impl TrackKind {
    pub const ALL: [Self; 6] =
        [Self::Script, Self::Interface, Self::File, Self::Process, Self::Arbiter, Self::Bfd];
}

impl Weighing {
    /// The weight of something tracked; `None`: it is not tracked.
    ///
    /// keepalived 2.2.7, measured: where weights do not count, an interface loses its weight in a group and is ignored by an
    /// owner, a file of the default weight loses it, and scripts and files of other weights are ignored. Processes keep theirs. An arbiter,
    /// which keepalived does not have, is like an interface in a group.
    pub fn of(self, kind: TrackKind, weight: Weight) -> Option<Weight> {
        let fault = Weight { value: 0, ..weight };
        match (self, kind) {
            (Self::Counts, _) | (_, TrackKind::Process) | (Self::Owner, TrackKind::Arbiter) => Some(weight),
            _ if weight.value == 0 => Some(weight),
            (Self::Group, TrackKind::Interface | TrackKind::Arbiter) => Some(fault),
            (_, TrackKind::File) if weight.value == DEFAULT_OF_FILES => Some(fault),
            (_, TrackKind::File | TrackKind::Script | TrackKind::Bfd)
            | (Self::Owner, TrackKind::Interface) => None,
        }
    }
}

/// The weight of a `track_file` that gives none.
pub const DEFAULT_OF_FILES: i32 = 1;
