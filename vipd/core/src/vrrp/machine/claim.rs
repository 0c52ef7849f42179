//! A claim: a backup takes over by outbidding the master that it follows, since a program in XDP that still lives believes that and
//! nothing less. Who claims and when is [`early`](crate::early)'s to say; a machine that is not told to never does.

use vipd_common::Priority;

use super::{
    Machine,
    backup::{Backup, FenceState},
    master::Master,
    state::{Out, State},
};
use crate::{
    time::Instant,
    vrrp::{Advert, Peer, Reason, Settings},
};

/// The highest priority of a router that does not own the addresses: no claim is higher.
const HIGHEST: Priority = Priority::new(254);

impl Machine {
    /// The settings with what this router advertises: a claim is its priority while it stands.
    pub(super) fn standing(&self) -> Settings {
        let priority = self.claim.map_or(self.settings.priority, |claim| claim.max(self.settings.priority));
        Settings { priority, ..self.settings }
    }

    /// The claim that stands; `None` of a router that has outbid nobody, or has settled.
    pub fn claim(&self) -> Option<Priority> {
        self.claim
    }

    /// The configuration, with the effective priority.
    pub fn settings(&self) -> Settings {
        self.settings
    }

    /// The master that a backup could outbid, and by what; `None` if there is none.
    pub fn outbids(&self) -> Option<(Peer, Priority)> {
        let State::Backup(Backup { master: Some(master), .. }) = self.state else { return None };
        Some((master, self.bid(master)?))
    }

    /// The same with what the master was heard to be compared as beside its adverts: its priority may have risen since the last.
    pub fn bids(&self) -> Option<Priority> {
        let (master, _) = self.outbids()?;
        let heard = self.master_rank.unwrap_or(master.priority);
        self.bid(Peer { priority: master.priority.max(heard), ..master })
    }

    /// What outbids a master; `None` if nothing that may be claimed does.
    fn bid(&self, master: Peer) -> Option<Priority> {
        let State::Backup(Backup { address, .. }) = self.state else { return None };
        if !self.is_free() {
            return None;
        }
        let own = self.settings.priority;
        let claim = match master.priority {
            // 255 is the address owner's alone: a version 2 owner that hears it stays deaf.
            priority if priority > HIGHEST => return None,
            HIGHEST if address > master.address => HIGHEST,
            HIGHEST => return None,
            priority => own.max(Priority::new(priority.get() + 1)),
        };
        Some(claim)
    }

    /// Whether it is a backup that may take over without a question.
    pub fn is_free(&self) -> bool {
        let State::Backup(Backup { fence, .. }) = self.state else { return false };
        // A master that is to be fenced first takes longer than any down timer anyhow.
        !self.settings.fence && !matches!(fence, FenceState::Asked(_)) && !self.settings.priority.is_owner()
    }

    /// The adverts of other routers that were reported last, one of each source, the newest first.
    pub fn heard_lately(&self) -> impl Iterator<Item = &Advert> {
        self.last_heard.iter().chain(self.heard_before.iter().rev())
    }

    /// The advert goes first and the lease comes with it, as in every takeover.
    ///
    /// `until` is the end of the lease until the first advert has been sent: a process that is held up on its way to the wire claims
    /// nothing, since the master may have been heard meanwhile.
    pub(super) fn make_claim(&mut self, reason: Reason, until: Instant, now: Instant, out: &mut Out<'_>) {
        let State::Backup(backup) = self.state else { return };
        let claim = match reason {
            // There is nobody to outbid.
            Reason::Orphaned => None,
            _ => self.bids(),
        };
        self.master_rank = None;
        let ready = if reason == Reason::Orphaned { self.is_free() } else { claim.is_some() };
        if now >= until || !ready {
            return;
        }
        self.claim = claim;
        let mut next = self.become_master(backup.address, reason, now, out);
        if let State::Master(master) = next.state {
            next.state = State::Master(Master { lease_until: until, ..master });
        }
        self.enter(next, now, out);
    }

    /// Without regard to the limit on answers: whoever asks for it does so a few times in a claim.
    pub(super) fn assert_mastership(&self, announce: bool, out: &mut Out<'_>) {
        if !matches!(self.state, State::Master(Master { yielding: false, .. })) {
            return;
        }
        self.advertise(out);
        if announce {
            out.announce(self.settings.garp.master_repeat);
        }
    }

    /// The end of a claim: own priority again, and who is better preempts as it is configured to.
    pub(super) fn settle(&mut self, yields: bool, now: Instant, out: &mut Out<'_>) {
        let State::Master(master) = self.state else { return };
        if self.claim.take().is_none() {
            return;
        }
        if yields {
            let backup = Backup::new(&self.settings, master.address, now);
            let next = self.step_down(backup, Reason::ClaimUnheard, out);
            return self.enter(next, now, out);
        }
        // Before the advert: who answers it must be compared with the new one.
        self.publish(&State::Master(master), out);
        self.advertise(out);
    }
}
