//! The states of a machine, where a step leads, and the action queue as one instance sees it.

use std::{
    collections::VecDeque,
    net::{IpAddr, Ipv4Addr},
};

use vipd_common::Priority;

use super::{backup::Backup, master::Master};
use crate::{
    time::Instant,
    vrrp::{Action, Advert, InstanceId, Rank, Reason, Settings, StateName},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// With the end of the lease that a predecessor on this node left, if there is one.
    Init {
        inherited: Option<Instant>,
    },
    Fault,
    Backup(Backup),
    Master(Master),
    /// Master, but on the way out: answers until a successor is heard, advertises no more.
    Leaving(Leaving),
    Stopped,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Leaving {
    pub address: IpAddr,
    /// When waiting ends, and the lease with it.
    pub until: Instant,
}

impl State {
    pub fn name(&self) -> StateName {
        match self {
            Self::Init { .. } => StateName::Init,
            Self::Fault => StateName::Fault,
            Self::Backup(_) => StateName::Backup,
            Self::Master(_) | Self::Leaving(_) => StateName::Master,
            Self::Stopped => StateName::Stopped,
        }
    }

    pub fn address(&self) -> Option<IpAddr> {
        match self {
            Self::Init { .. } | Self::Fault | Self::Stopped => None,
            Self::Backup(backup) => Some(backup.address),
            Self::Master(master) => Some(master.address),
            Self::Leaving(leaving) => Some(leaving.address),
        }
    }

    pub fn rank(&self, settings: &Settings) -> Rank {
        let priority = match self {
            Self::Init { .. } | Self::Fault | Self::Stopped => return Rank::ABSENT,
            // Whoever speaks is our successor.
            Self::Master(Master { yielding: true, .. }) | Self::Leaving(_) => Priority::LEAVING,
            Self::Backup(_) | Self::Master(_) => settings.priority,
        };
        let address = if settings.is_deaf_owner() {
            // Nobody's address is greater, so no tie-break revokes the lease.
            Some(IpAddr::V4(Ipv4Addr::BROADCAST))
        } else {
            self.address()
        };
        Rank { priority, address, participating: true }
    }
}

/// Where a step leads; `reason` is there iff the named state changes.
pub(super) struct Next {
    pub state: State,
    pub reason: Option<Reason>,
    pub master: Option<(IpAddr, Priority)>,
}

impl Next {
    pub fn stay(state: State) -> Self {
        Self { state, reason: None, master: None }
    }

    pub fn to(state: State, reason: Reason) -> Self {
        Self { state, reason: Some(reason), master: None }
    }

    pub fn with_master(self, advert: &Advert) -> Self {
        Self { master: Some((advert.source, advert.priority)), ..self }
    }
}

/// The action queue, as one instance sees it.
pub(super) struct Out<'a> {
    pub id: InstanceId,
    pub queue: &'a mut VecDeque<Action>,
}

impl Out<'_> {
    pub fn push(&mut self, action: impl FnOnce(InstanceId) -> Action) {
        self.queue.push_back(action(self.id));
    }

    /// The end of every mastership: no answer, and no announcement that still waits.
    ///
    /// The driver may feed back a failure with actions of the mastership still in the queue; those that would go on
    /// the wire are taken out.
    pub fn release(&mut self) {
        let id = self.id;
        self.queue.retain(|action| match action {
            Action::Announce { instance, .. } | Action::Advertise { instance, renew_for: Some(_), .. } => {
                *instance != id
            }
            Action::Advertise { renew_for: None, .. }
            | Action::Release { .. }
            | Action::CancelAnnounce { .. }
            | Action::Publish { .. }
            | Action::Shorten { .. }
            | Action::Mirroring { .. }
            | Action::Transition { .. }
            | Action::LowerHeard { .. }
            | Action::Fence { .. }
            | Action::Removed { .. }
            | Action::Prepare { .. }
            | Action::Finished => true,
        });
        self.push(|instance| Action::Release { instance });
        self.push(|instance| Action::CancelAnnounce { instance });
    }

    pub fn announce(&mut self, repeat: u8) {
        if repeat > 0 {
            self.push(|instance| Action::Announce { instance, repeat });
        }
    }
}
