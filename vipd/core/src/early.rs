//! Early takeover: a backup that hears nothing of its master's host for a few probes outbids it, long before a down timer fires.
//!
//! Off unless somebody drives an [`EarlyTakeover`] beside the [`LeaseManager`]. The rules R1 to R10, why they are safe, and what they
//! cannot do: `docs/internals/early-takeover.md`. The kernel's part is `vipd_common::sponsor` and `vipd_common::rival`.
//!
//! As pure as the election: it sends, stamps and reads through a [`ProbeNode`], and the daemon's order of doing things is written here
//! once, for the simulation too.

mod probes;
mod session;
mod watch;

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

pub use self::probes::{PeerStamps, ProbeBlock, ProbeNode, ProbeTiming, RouterFlags};
use self::{session::ProbeSession, watch::GroupWatch};
use crate::{lease_manager::LeaseManager, time::Instant, vrrp::GroupId};

/// At most so many times as often as it is configured to does a node probe because another one does.
const MOST_OFTEN: u32 = 8;

/// Probes to the hosts that run the same routers, and what follows from their answers.
///
/// The driver calls [`turn`](Self::turn) after each turn of the lease manager and when [`poll_timeout`](Self::poll_timeout) has passed.
#[derive(Debug)]
pub struct EarlyTakeover {
    timing: ProbeTiming,
    sessions: BTreeMap<IpAddr, ProbeSession>,
    groups: BTreeMap<GroupId, GroupWatch>,
    next_probe: Instant,
    /// R10: it has slept, and only listens until then.
    listens_until: Option<Instant>,
    /// Its last probe.
    spoke_at: Instant,
    /// Its own last look at the clock.
    looked_at: Option<Instant>,
    leaving: bool,
}

impl EarlyTakeover {
    /// Probes `peers`. The first goes out with the first turn.
    pub fn new(timing: ProbeTiming, peers: impl IntoIterator<Item = IpAddr>) -> Self {
        Self {
            timing,
            sessions: peers.into_iter().map(|peer| (peer, ProbeSession::default())).collect(),
            groups: BTreeMap::new(),
            next_probe: Instant::default(),
            listens_until: None,
            spoke_at: Instant::default(),
            looked_at: None,
            leaving: false,
        }
    }

    /// Other intervals from now on: every session begins anew, so nobody is claimed from before both ends have said the same for a while.
    pub fn configure(&mut self, timing: ProbeTiming) {
        if timing != self.timing {
            self.timing = timing;
            self.sessions.values_mut().for_each(ProbeSession::restart);
        }
    }

    /// Says from now on that this node is on its way out: nobody is to take its silence for its death.
    pub fn leave(&mut self) {
        self.leaving = true;
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
        self.looked_at = Some(now);
        // The stamps are read after the clock: what has come by now is in them.
        for (peer, session) in &mut self.sessions {
            session.look(node.stamps(*peer), &self.timing, now);
        }
        let groups = leases.groups();
        for (id, members) in &groups {
            let watch = self.groups.entry(*id).or_default();
            watch.look(members, &mut self.sessions, &self.timing, self.leaving, leases, node, now);
        }
        self.groups.retain(|id, _| groups.iter().any(|(there, _)| there == id));
        if now >= self.next_probe {
            // In step with the last, unless some were missed.
            let (pace, next) = (self.pace(), self.next_probe + self.pace());
            self.next_probe = if next > now { next } else { now + pace };
            self.probe(leases, node);
        }
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
            self.next_probe = until;
            return;
        }
        let block = ProbeBlock::of(&self.timing, self.leaving, leases, node, at);
        self.spoke_at = at;
        let mut sent = false;
        for (peer, session) in &mut self.sessions {
            if node.probe(*peer, at, &block) {
                session.sent(at, &self.timing);
                sent = true;
            }
        }
        // With an arbiter the daemon vouches for this node only while it reaches it.
        if sent && node.arbiter().is_none_or(|asked| at.saturating_since(asked) <= self.timing.interval * 2) {
            node.beat(at);
        }
    }

    /// R10: who finds itself without a sponsor has slept. Somebody may have taken over, and is heard to say so within two intervals:
    /// it listens for as long before it speaks; until when.
    fn listens(&mut self, now: Instant, node: &mut impl ProbeNode) -> Option<Instant> {
        let listened =
            self.listens_until.take().filter(|until| now.saturating_since(*until) < self.timing.interval);
        let until = match listened {
            Some(until) => until,
            // One that probes and does not reach its arbiter has no beat, and is awake.
            None if now.saturating_since(self.spoke_at) <= self.timing.interval * 2 => return None,
            None if node.is_sponsored(now) => return None,
            None => now + self.timing.interval * 2,
        };
        if now >= until {
            return None;
        }
        self.listens_until = Some(until);
        Some(until)
    }
}
