//! A backup's wait as the coordinator sees it: it has the members of a sync group take over together, and only when their master is
//! fenced.

use std::time::Duration;

use super::{
    Machine,
    backup::{Backup, FenceState},
    state::State,
};
use crate::{
    time::Instant,
    vrrp::{Advert, Reason},
};

impl Machine {
    /// When the down timer of a backup fires, and the interval that it follows; `None` if it is none.
    pub fn wait(&self) -> Option<(Instant, Duration)> {
        if let State::Backup(backup) = self.state { Some((backup.down_at, backup.interval)) } else { None }
    }

    /// For how long before its down timer fires a backup is about to take over: half of the time after the next advert is due.
    pub fn takeover_lead(&self) -> Duration {
        let State::Backup(backup) = self.state else { return Duration::ZERO };
        self.settings.master_down_interval(backup.interval).saturating_sub(backup.interval) / 2
    }

    /// When the down timer of a backup would fire if the advert last reported had been heard again `at` that time; `None` if it is none.
    pub fn down_at_if_heard(&self, at: Instant) -> Option<Instant> {
        let State::Backup(backup) = self.state else { return None };
        let advert = self.last_heard.filter(|advert| at > advert.received_at && at >= backup.began);
        let heard = advert.map(|advert| backup.hear(&self.heeded(), &Advert { received_at: at, ..advert }));
        Some(heard.unwrap_or(backup).down_at)
    }

    /// A backup whose sync group waits until `at` waits as long.
    pub fn wait_for_group(&mut self, at: Instant) {
        if let State::Backup(backup) = &mut self.state {
            backup.down_at = backup.down_at.max(at);
        }
    }

    /// Whether this is a backup whose down timer has fired, and is not found to be so late that it waits once more.
    pub fn is_to_take_over(&mut self, now: Instant) -> bool {
        let State::Backup(backup) = &mut self.state else { return false };
        if now < backup.down_at {
            return false;
        }
        match backup.reprieve(&self.settings, now) {
            Some(reprieved) => {
                *backup = reprieved;
                false
            }
            None => true,
        }
    }

    /// Whether it is a backup that takes over only when its master is fenced, and that is not done.
    pub fn wants_fence(&self) -> bool {
        let silent =
            |backup: Backup| backup.on_expiry == Reason::MasterDown && backup.fence != FenceState::Done;
        self.settings.fence && matches!(self.state, State::Backup(backup) if silent(backup))
    }

    /// A backup that waits for the answer to question `round`, or to none.
    pub fn await_fence(&mut self, round: u64) {
        if let State::Backup(backup) = &mut self.state {
            backup.fence = FenceState::Asked(round);
        }
    }

    /// The question it waits for the answer to, if nothing was heard since it was put.
    pub fn awaits_fence(&self) -> Option<u64> {
        match self.state {
            State::Backup(Backup { fence: FenceState::Asked(round), .. }) => Some(round),
            _ => None,
        }
    }

    /// The answer: takes over with its next timeout, or waits once more.
    pub fn fenced(&mut self, done: bool, now: Instant) {
        if let State::Backup(backup) = &mut self.state {
            let wait = self.settings.master_down_interval(backup.interval);
            (backup.fence, backup.down_at) =
                if done { (FenceState::Done, now) } else { (FenceState::Failed, now + wait) };
        }
    }
}
