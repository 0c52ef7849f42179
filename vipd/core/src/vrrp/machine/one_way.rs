//! One way: a peer is heard that does not hear this router. As its master, this router would be one of two, so it preempts nobody, and
//! gives way to such a peer that is master.
//!
//! Who hears whom is [`early`](crate::early)'s to say; a machine that is not told acts as it is configured to.

use super::{
    Machine,
    backup::Backup,
    master::Master,
    state::{Out, State},
};
use crate::{
    time::Instant,
    vrrp::{Advert, Reason, Settings},
};

impl Machine {
    /// Whether a peer is heard that does not hear this router.
    pub fn is_one_way(&self) -> bool {
        self.one_way
    }

    /// Settings by which a backup listens. An address owner preempts whatever they say.
    pub(super) fn heeding(&self, settings: Settings) -> Settings {
        Settings { preempt: settings.preempt && !self.one_way, ..settings }
    }

    /// The configuration, as a backup listens by it.
    pub(super) fn heeded(&self) -> Settings {
        self.heeding(self.settings)
    }

    /// A backup that hears an advert. A master that offers its mastership and hears no successor goes on with it, so a successor that it
    /// would not hear waits for as long as for one that is silent.
    pub(super) fn heed(&self, backup: Backup, advert: &Advert) -> Backup {
        let heard = backup.hear(&self.heeded(), advert);
        if !self.one_way || !advert.priority.is_leaving() || heard == backup {
            return heard;
        }
        let down_at = advert.received_at + self.settings.master_down_interval(heard.interval);
        Backup { down_at: heard.down_at.max(down_at), ..heard }
    }

    /// A timer that runs towards a takeover from a living master is that master's again; one of a master that has left is the usual one when
    /// every peer hears this router.
    pub(super) fn set_one_way(&mut self, one_way: bool, now: Instant) {
        self.one_way = one_way;
        let State::Backup(backup) = self.state else { return };
        let followed = self.last_heard.filter(|advert| {
            !advert.priority.is_leaving() && backup.master.is_some_and(|peer| peer.address == advert.source)
        });
        self.state = State::Backup(match followed {
            Some(advert) if backup.on_expiry == Reason::Preempting && !self.heeded().preempts() => {
                let heard = backup.hear(&self.heeded(), &advert);
                // A master that has been silent since for so long is not waited for once more.
                let silent = Backup { on_expiry: Reason::MasterDown, ..backup };
                if heard.down_at > backup.down_at.max(now) { heard } else { silent }
            }
            None if backup.on_expiry == Reason::MasterLeft && !one_way => {
                let left_at = self.last_heard.map_or(now, |advert| advert.received_at);
                let due = now.max(left_at + self.settings.skew_time(backup.interval));
                Backup { down_at: backup.down_at.min(due), ..backup }
            }
            _ => backup,
        });
    }

    /// This router is master, and so is one that does not hear it: only this one can end that.
    pub(super) fn give_way(&mut self, now: Instant, out: &mut Out<'_>) {
        let State::Master(Master { yielding: false, address, .. }) = self.state else { return };
        if !self.one_way || self.settings.priority.is_owner() {
            return;
        }
        let backup = Backup::new(&self.settings, address, now);
        let next = match self.last_heard.filter(|advert| !advert.priority.is_leaving()) {
            Some(advert) => {
                self.step_down(self.heed(backup, &advert), Reason::OneWay, out).with_master(&advert)
            }
            // A member of the sync group that has heard nobody itself.
            None => self.step_down(backup, Reason::OneWay, out),
        };
        self.enter(next, now, out);
    }
}
