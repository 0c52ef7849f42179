//! Early takeover: a backup that hears nothing of its master's host for a few probes outbids it, long before a down timer fires.
//!
//! Off unless somebody drives an [`EarlyTakeover`] beside the [`LeaseManager`]. The rules R1 to R11, why they are safe, and what they
//! cannot do: `docs/internals/early-takeover.md`. The kernel's part is `vipd_common::sponsor` and `vipd_common::rival`.
//!
//! As pure as the election: it sends, stamps and reads through a [`ProbeNode`], and the daemon's order of doing things is written here
//! once, for the simulation too.

mod changes;
mod claimed;
mod measure;
mod probes;
mod round_trips;
mod session;
mod watch;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

pub use self::changes::{EarlyChange, EarlyFigures};
pub use self::measure::{
    MeasuredSession, PATIENT_FOR, SLOW_PACE, SessionChange, SessionFigures, SessionState,
};
pub use self::probes::{HostId, PeerStamps, ProbeBlock, ProbeDeparture, ProbeNode, ProbeTiming, RouterFlags};
pub use self::round_trips::RoundTrips;
pub use self::watch::GroupEarly;
use self::{changes::ClaimChanges, session::ProbeSession, watch::GroupWatch};
use crate::{
    lease_manager::LeaseManager,
    time::Instant,
    vrrp::{GroupId, InstanceId, StateName},
};

/// At most so many times as often as it is configured to does a node probe because another one does.
const MOST_OFTEN: u32 = 8;

/// Probes to the hosts that run the same routers, and what follows from their answers.
///
/// The driver calls [`turn`](Self::turn) after each turn of the lease manager and when [`poll_timeout`](Self::poll_timeout) has passed.
#[derive(Debug)]
pub struct EarlyTakeover {
    timing: ProbeTiming,
    sessions: BTreeMap<HostId, ProbeSession>,
    groups: BTreeMap<GroupId, GroupWatch>,
    next_probe: Instant,
    /// R10: it has slept, and only listens until then.
    listens_until: Option<Instant>,
    /// Its last probe.
    spoke_at: Instant,
    /// The routers that it takes part in, by its last probes: another set is told at once, also to who rests.
    took_part: BTreeSet<InstanceId>,
    /// Its own last look at the clock.
    looked_at: Option<Instant>,
    leaving: bool,
    changes: ClaimChanges,
}

impl EarlyTakeover {
    /// Probes `peers`. The first goes out with the first turn.
    pub fn new(timing: ProbeTiming, peers: impl IntoIterator<Item = HostId>) -> Self {
        Self {
            timing,
            sessions: peers.into_iter().map(|peer| (peer, ProbeSession::default())).collect(),
            groups: BTreeMap::new(),
            next_probe: Instant::default(),
            listens_until: None,
            spoke_at: Instant::default(),
            took_part: BTreeSet::new(),
            looked_at: None,
            leaving: false,
            changes: ClaimChanges::default(),
        }
    }

    /// Other intervals from now on: every session begins anew, so nobody is claimed from before both ends have said the same for a while.
    pub fn configure(&mut self, timing: ProbeTiming) {
        if timing != self.timing {
            self.timing = timing;
            self.sessions.values_mut().for_each(ProbeSession::restart);
            if self.listens_until.take().is_some() {
                self.next_probe = Instant::default();
            }
        }
    }

    /// Its rhythm.
    pub fn timing(&self) -> ProbeTiming {
        self.timing
    }

    /// Probes these hosts from now on. What is known of those that stay is kept.
    pub fn set_peers(&mut self, peers: &BTreeSet<HostId>) {
        self.sessions.retain(|peer, _| peers.contains(peer));
        for peer in peers {
            self.sessions.entry(*peer).or_default();
        }
    }

    /// Each group of routers as an operator sees it.
    pub fn groups(&self, now: Instant) -> impl Iterator<Item = (GroupId, GroupEarly)> {
        self.groups.iter().map(move |(id, watch)| (*id, watch.state(&self.sessions, &self.timing, now)))
    }

    /// What has become of claims since this was last asked for, the oldest first; of many that nobody asks for, the newest.
    pub fn poll_change(&mut self) -> Option<(GroupId, EarlyChange)> {
        self.changes.pop()
    }

    /// Says from now on that this node is on its way out: nobody is to take its silence for its death.
    pub fn leave(&mut self) {
        self.leaving = true;
    }

    /// R9: the program asks for sponsors already, for a former process: peers may rely on it.
    pub fn inherit(&mut self) {
        self.sessions.values_mut().for_each(ProbeSession::inherit);
    }

    /// R9: whether the program is to ask for sponsors, for a peer's sake at least. It begins to before a probe says so, and goes on for
    /// a while after probes have ceased to: until they have, nobody can have noticed.
    pub fn is_relied_on(&self, now: Instant) -> bool {
        self.timing.takes_over && !self.leaving || self.sessions.values().any(|session| session.relies(now))
    }

    /// R9: whether the program must still count a peer among the backups that take over early.
    pub fn relies(&self, peer: HostId, now: Instant) -> bool {
        self.sessions.get(&peer).is_some_and(|session| session.relies(now))
    }

    /// When [`turn`](Self::turn) is next wanted, if nothing is heard before.
    pub fn poll_timeout(&self) -> Instant {
        let groups = self.groups.values().filter_map(|group| group.deadline(&self.sessions, &self.timing));
        // What a look at that moment did not act on waits for the next probe.
        let ahead = groups.filter(|at| self.looked_at.is_none_or(|last| *at > last));
        ahead.fold(self.next_probe, Instant::min)
    }

    /// One look at XDP's stamps and what follows: claims, their end, and a probe if one is due.
    pub fn turn(&mut self, leases: &mut LeaseManager, node: &mut impl ProbeNode) {
        let now = node.now();
        let gap = self.looked_at.replace(now).map_or(Duration::ZERO, |last| now.saturating_since(last));
        if gap > self.timing.interval && self.listens_until.is_some() {
            // R10: it may have slept again, and heard nothing.
            self.listens_until = Some(now + self.timing.interval * 2);
        }
        // The stamps are read after the clock: what has come by now is in them.
        for (peer, session) in &mut self.sessions {
            session.look(node.stamps(*peer), &self.timing, now);
        }
        let groups = leases.groups();
        let mut suspects = BTreeSet::new();
        for (id, members) in &groups {
            let watch = self.groups.entry(*id).or_default();
            watch.look(members, &mut self.sessions, &self.timing, self.leaving, leases, node, now);
            watch.take_changes().for_each(|change| self.changes.push(*id, change));
            if watch.suspects(&self.sessions, &self.timing, now) {
                suspects.insert(*id);
            }
            if watch.claims() {
                // Those of many groups take longer than a probe may be late by, and an owner needs its beat.
                self.probe_if_due(node.now(), leases, node);
            }
        }
        leases.suspect(suspects, node);
        self.groups.retain(|id, _| groups.iter().any(|(there, _)| there == id));
        self.probe_if_due(now, leases, node);
    }

    fn probe_if_due(&mut self, now: Instant, leases: &LeaseManager, node: &mut impl ProbeNode) {
        if now < self.next_probe {
            return;
        }
        // In step with the last, unless some were missed.
        let (pace, next) = (self.pace(), self.next_probe + self.pace());
        self.next_probe = if next > now { next } else { now + pace };
        self.probe(leases, node);
    }

    /// R9: as often as the quickest early backup probes, whose detection time the beat must not outlast.
    fn pace(&self) -> Duration {
        let blocks = self.sessions.values().filter_map(|session| session.stamps.block.as_ref());
        let paces = blocks.filter(|block| block.takes_over && !block.leaving).map(|block| block.interval);
        paces.fold(self.timing.interval, Duration::min).max(self.timing.interval / MOST_OFTEN)
    }

    /// A probe to everyone, then the beat that says so.
    fn probe(&mut self, leases: &LeaseManager, node: &mut impl ProbeNode) {
        // Before the first is sent: a beat that is later than its probe would vouch for longer than a backup waits.
        let at = node.now();
        if let Some(until) = self.listens(at, node) {
            self.next_probe = until.min(at + self.timing.interval / 2);
            return;
        }
        // With an arbiter the daemon vouches for this node only while it reaches it. Whom the beat makes an owner says so with the probe:
        // a backup that hears of it an interval later may take an orphan meanwhile.
        let beats = self.timing.is_arbitrated(node.arbiter(), at);
        let said = node.say(leases, &self.timing, self.leaving, beats, at);
        self.spoke_at = at;
        // R4: a master that has slept hears of the claim with the next probe.
        let claimed: BTreeSet<HostId> = self.groups.values().flat_map(GroupWatch::claimed_from).collect();
        let takes_part: BTreeSet<InstanceId> =
            leases.ids().into_iter().filter(|id| takes_part(*id, leases)).collect();
        let may_rest = takes_part == self.took_part;
        self.took_part = takes_part;
        let departures: BTreeMap<HostId, ProbeDeparture> = self
            .sessions
            .keys()
            .map(|peer| (*peer, node.probe(*peer, at, &said, may_rest && !claimed.contains(peer))))
            .collect();
        let reached = departures.iter().filter(|(_, departure)| **departure == ProbeDeparture::Left);
        let reached: BTreeSet<HostId> = reached.map(|(peer, _)| *peer).collect();
        // Who rests takes over no more, and hears this daemon when it is back. But it does not make up for one that cannot be reached.
        let rests = departures.values().all(|departure| *departure == ProbeDeparture::Resting);
        let speaks = rests && !departures.is_empty() || !reached.is_empty();
        if speaks && beats {
            node.beat(at);
        }
        // One that was held up on its way to the wire cannot have been answered sooner.
        let left = node.now();
        for (peer, session) in &mut self.sessions {
            if reached.contains(peer) {
                session.sent(at, left, &self.timing);
                let takes_over = self.timing.takes_over && session.stamps.counted && !self.leaving;
                session.told(takes_over, left, &self.timing);
            } else if !self.timing.takes_over || !session.stamps.counted || self.leaving {
                session.untold(left, &self.timing);
            }
        }
    }

    /// R10: who finds itself without a sponsor has slept. Somebody may have taken over, and is heard to say so within two intervals:
    /// it listens for as long before it speaks; until when.
    fn listens(&mut self, now: Instant, node: &mut impl ProbeNode) -> Option<Instant> {
        let interval = self.timing.interval;
        let listened = self.listens_until.take().filter(|until| now.saturating_since(*until) < interval);
        let held_up = self.looked_at.is_some_and(|looked| now.saturating_since(looked) > interval);
        let until = match listened {
            Some(until) if !held_up => until,
            Some(_) => now + interval * 2,
            // One that probes and does not reach its arbiter has no beat, and is awake.
            None if now.saturating_since(self.spoke_at) <= interval * 2 => return None,
            None if node.is_sponsored(now) => return None,
            None => now + interval * 2,
        };
        if now >= until {
            return None;
        }
        self.listens_until = Some(until);
        Some(until)
    }
}

/// Whether this node is a backup of a router, or its master.
fn takes_part(instance: InstanceId, leases: &LeaseManager) -> bool {
    let state = leases.snapshot(instance).map(|snapshot| snapshot.state);
    matches!(state, Some(StateName::Backup | StateName::Master))
}
