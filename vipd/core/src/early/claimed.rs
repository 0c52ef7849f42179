//! A claim that stands: what is heard of the masters that it has outbid, and what follows.

use std::time::Duration;

use super::{
    HostId, ProbeTiming,
    watch::{Followed, Sessions, flags, last_heard},
};
use crate::{lease_manager::LeaseManager, time::Instant, vrrp::InstanceId};

/// R3: how long after the claim its advert is repeated.
const REPEATS: [Duration; 2] = [Duration::from_millis(1), Duration::from_millis(3)];
/// R5: how long a master that was outbid may still be heard as the owner after the challenge: longer than both ways and a wake-up.
const CHALLENGE: Duration = Duration::from_millis(8);
/// R6: how long it must have been heard, and not as the owner, in probe intervals.
const SETTLED_AFTER: u32 = 4;

/// A claim that stands.
#[derive(Clone, Debug)]
pub(super) struct Claimed {
    masters: Vec<Followed>,
    at: Instant,
    repeats: usize,
    /// When the lease of the master has run out at the latest.
    ends_at: Instant,
    /// The masters are silent, or have become so again.
    silent: bool,
    /// R8: when they were heard again, until an advert has told them.
    returned_at: Option<Instant>,
    challenged_at: Option<Instant>,
    /// Since when a master is heard that does not say it owns.
    quiet_since: Option<Instant>,
}

impl Claimed {
    /// Made at `at`; the longest lease that one of `masters` can have ends at `ends_at`.
    pub fn new(masters: Vec<Followed>, at: Instant, ends_at: Instant) -> Self {
        Self {
            masters,
            at,
            repeats: 0,
            ends_at,
            silent: true,
            returned_at: None,
            challenged_at: None,
            quiet_since: None,
        }
    }

    /// The hosts that it was made from.
    pub fn from(&self) -> impl Iterator<Item = HostId> {
        self.masters.iter().map(|(_, master)| *master)
    }

    /// When it was made.
    pub fn made_at(&self) -> Instant {
        self.at
    }

    /// R3: when its advert is next repeated.
    pub fn repeats_at(&self) -> Option<Instant> {
        REPEATS.get(self.repeats).map(|after| self.at + *after)
    }

    /// R6: whether it has done its work.
    pub fn is_settled(&self, timing: &ProbeTiming, now: Instant) -> bool {
        let quiet = |since| now.saturating_since(since) >= timing.interval * SETTLED_AFTER;
        self.quiet_since.is_some_and(quiet) || now >= self.ends_at && self.silent
    }

    /// Takes note of what is heard of the masters; whether the claim is to be advertised once more, and announced.
    pub fn hear(
        &mut self,
        first: InstanceId,
        sessions: &Sessions,
        timing: &ProbeTiming,
        leases: &LeaseManager,
        now: Instant,
    ) -> Option<bool> {
        let mut assert = None;
        if self.repeats_at().is_some_and(|at| now >= at) {
            self.repeats += 1;
            assert = Some(false);
        }
        let heard = last_heard(&self.masters, sessions);
        let is_heard = heard > self.at && now.saturating_since(heard) < timing.detect();
        if is_heard && self.silent {
            self.returned_at = Some(now);
        } else if self.returned_at.is_some_and(|at| has_advertised(first, at, leases)) {
            self.returned_at = None;
        }
        self.silent = !is_heard;
        if self.returned_at.is_some() {
            // R8: what the other's kernel has answered meanwhile is corrected.
            assert = Some(true);
        }
        match (self.owner_at(sessions, leases), self.challenged_at) {
            // R5: its word and our claim may have crossed on the wire.
            (Some(_), None) => {
                self.challenged_at = Some(now);
                self.quiet_since = None;
                assert = Some(assert.unwrap_or(false));
            }
            (Some(at), Some(challenged)) if at > challenged => self.quiet_since = None,
            // R6: what it said before the challenge is no word any more, if its daemon has died since.
            _ if is_heard => _ = self.quiet_since.get_or_insert(now),
            _ => self.quiet_since = None,
        }
        if self.challenged_at.is_some_and(|at| have_yielded(&self.masters, at, sessions, leases)) {
            self.challenged_at = None;
        }
        assert
    }

    /// When one of the masters has said since the claim that it owns the addresses.
    fn owner_at(&self, sessions: &Sessions, leases: &LeaseManager) -> Option<Instant> {
        owner_heard_at(&self.masters, sessions, leases).filter(|at| *at > self.at)
    }

    /// R5: whether the masters have been challenged, and do not hear this router.
    pub fn is_in_vain(&self, sessions: &Sessions, leases: &LeaseManager, now: Instant) -> bool {
        let Some(until) = self.challenged_at.map(|challenged| challenged + CHALLENGE) else { return false };
        // A master hears it when its program has answered a probe that bears the claim, and then it owns no more.
        let unheard = last_answered(&self.masters, sessions) < self.at;
        let owner_at = self.owner_at(sessions, leases);
        now >= until && (unheard || owner_at.is_some_and(|at| at > until))
    }
}

/// When the newest probe was sent that the masters' hosts have all answered.
fn last_answered(masters: &[Followed], sessions: &Sessions) -> Instant {
    let answers =
        masters.iter().filter_map(|(_, peer)| sessions.get(peer)).map(|session| session.stamps.answers);
    answers.min().unwrap_or_default()
}

/// R8: whether an advert of this router has left since.
fn has_advertised(instance: InstanceId, since: Instant, leases: &LeaseManager) -> bool {
    let until = leases.snapshot(instance).and_then(|snapshot| snapshot.lease_until);
    let settings = leases.settings(instance);
    until.zip(settings).is_some_and(|(until, settings)| until >= since + settings.lease_length())
}

/// R5: whether every master that was outbid has said since then that it does not own the addresses.
fn have_yielded(masters: &[Followed], since: Instant, sessions: &Sessions, leases: &LeaseManager) -> bool {
    masters.iter().all(|(member, master)| {
        sessions.get(master).is_some_and(|session| {
            let router = flags(*member, session, leases);
            session.stamps.probed > since && router.is_some_and(|router| !router.owner)
        })
    })
}

/// When one of the masters that were outbid was last heard to own the addresses.
fn owner_heard_at(masters: &[Followed], sessions: &Sessions, leases: &LeaseManager) -> Option<Instant> {
    let owners = masters.iter().filter_map(|(member, master)| {
        let session = sessions.get(master)?;
        flags(*member, session, leases)?.owner.then_some(session.stamps.probed)
    });
    owners.max()
}
