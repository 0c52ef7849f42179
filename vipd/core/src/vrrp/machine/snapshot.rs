//! A machine as others see it: what it is, and what it has counted.

use std::{net::IpAddr, time::Duration};

use vipd_common::{Priority, types::ChecksumForm};

use super::{Machine, state::State};
use crate::{
    time::Instant,
    vrrp::{Peer, Reason, StateName},
};

/// What the machine counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Times it became master.
    pub became_master: u64,
    /// Times it was master no longer.
    pub released_master: u64,
    /// Adverts of others heard while master.
    pub rivals_heard: u64,
    /// Adverts sent at once because of a rival.
    pub immediate_adverts: u64,
    /// Rivals not answered at once because of the rate limit; one advert answers them all when it allows.
    pub immediate_adverts_suppressed: u64,
    /// Adverts from our own address: a loop, or a router that has it too.
    pub own_source_heard: u64,
    /// Greatest lateness of the advert timer.
    pub advert_lateness_max: Duration,
}

/// A machine as `status` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The current state.
    pub state: StateName,
    /// Master, and on the way out: said goodbye and waits for the successor.
    pub leaving: bool,
    /// When `state` was entered.
    pub since: Instant,
    /// Effective priority.
    pub priority: Priority,
    /// Our primary address; `None` while not taking part.
    pub address: Option<IpAddr>,
    /// The master heard; `None` if none is known or we are the master.
    pub master: Option<Peer>,
    /// Source of the last advert of another router, whatever came of it.
    pub last_source: Option<IpAddr>,
    /// That advert's sender, as it was advertised.
    pub last_heard: Option<Peer>,
    /// Until when a backup tolerates a master of lower priority (`preempt_delay`); `None` if it does not.
    pub preempt_at: Option<Instant>,
    /// The interval in use: the one learned as a backup, our own otherwise.
    pub interval: Duration,
    /// When the lease of a master ends; `None` in other states.
    pub lease_until: Option<Instant>,
    /// When the down timer of a backup fires; `None` in other states.
    pub master_down_at: Option<Instant>,
    /// A backup that has waited, and waits until its master is fenced.
    pub fencing: bool,
    /// When a master advertises next; `None` in other states.
    pub next_advert: Option<Instant>,
    /// The form adverts are sent in; differs from the configured one if a peer's is mirrored.
    pub checksum: ChecksumForm,
    /// Cause of the last transition; `None` before the first.
    pub last_reason: Option<Reason>,
    /// Counts since the start.
    pub counters: Counters,
}

impl Machine {
    /// State, timers and counters now.
    pub fn snapshot(&self) -> Snapshot {
        let (master, interval) = match self.state {
            State::Backup(backup) => (backup.master, backup.interval),
            State::Init { .. } | State::Fault | State::Master(_) | State::Leaving(_) | State::Stopped => {
                (None, self.settings.advert_interval)
            }
        };
        Snapshot {
            state: self.state.name(),
            leaving: self.is_leaving() || self.is_yielding(),
            since: self.since,
            priority: self.standing().priority,
            address: self.state.address(),
            master,
            last_source: self.last_heard.map(|advert| advert.source),
            last_heard: self.last_heard.as_ref().map(Peer::from),
            preempt_at: if let State::Backup(backup) = self.state { backup.preempt_at } else { None },
            interval,
            lease_until: self.lease_until(),
            fencing: self.awaits_fence().is_some(),
            master_down_at: if let State::Backup(backup) = self.state { Some(backup.down_at) } else { None },
            next_advert: if let State::Master(master) = self.state { Some(master.next_advert) } else { None },
            checksum: self.checksum,
            last_reason: self.last_reason,
            counters: self.counters,
        }
    }
}
