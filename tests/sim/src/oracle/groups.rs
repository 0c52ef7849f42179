//! Sync groups: what is one for all members, and what follows from one for the others.

use std::cmp::Ordering;

use vipd_core::vrrp::{FaultReason, Reason, StateName};

use super::{Cause, Reading, Track, timing::*};
use crate::{clock::Time, node::Node, world::World};

impl World {
    /// The tracks of a router and of the others of its sync group, on one node.
    pub(super) fn tracks(&self, node: usize, router: usize) -> impl Iterator<Item = &Track> {
        self.plan.members(router).map(move |member| &self.oracle.tracks[node][member])
    }

    /// The latest of the group.
    pub(super) fn latest(&self, node: usize, router: usize, of: impl Fn(&Track) -> Time) -> Time {
        self.tracks(node, router).map(of).max().unwrap_or(0)
    }

    /// How long a renewal lasts: as long as that of the slowest member.
    pub(super) fn length_of_lease(&self, node: usize, router: usize) -> Time {
        self.plan.members(router).map(|r| lease_length(self.settings(node, r))).max().unwrap_or(0)
    }

    /// How long a leaving master waits: for the slowest member's successor.
    pub(super) fn length_of_farewell(&self, node: usize, router: usize) -> Time {
        self.plan.members(router).map(|r| farewell(self.settings(node, r))).max().unwrap_or(0)
    }

    /// The earliest takeover by what could be known at a clock reading: when the last member's wait ends.
    pub(super) fn due(&self, node: usize, router: usize, read: &Reading) -> Time {
        let health = &self.oracle.health[node];
        let high = self.latest(node, router, |track| track.high);
        let due = |member: usize| {
            let (track, low) = (&self.oracle.tracks[node][member], read.low[member]);
            // After a pause of the machine the master gets the time for another advert: once.
            let first = health.disturbed_before <= low;
            if self.settings(node, member).preempt_delay.is_zero()
                && track.weighed_at.max(track.configured_at) < health.woke
                && first
                // A timer that has fired and waits for the answer of a fence is not late.
                && track.fence_round == 0
                && health.woke > high.saturating_add(track.interval.1 * 5 / 4)
                && read.at >= health.woke
            {
                let reprieve = health.woke + track.interval.0;
                low.max(if track.worse_from > health.woke {
                    reprieve.min(track.worse_from)
                } else {
                    reprieve
                })
            } else {
                low
            }
        };
        self.plan.members(router).map(due).max().unwrap_or(0)
    }

    /// Whether another member has stepped down in this turn, and not for the group's sake.
    pub(super) fn another_stepped_down(&self, node: usize, router: usize) -> bool {
        let turn_began = self.oracle.health[node].turn_began;
        let others = self.plan.members(router).filter(|member| *member != router);
        others.map(|member| &self.oracle.tracks[node][member]).any(|other| {
            other.since >= turn_began
                && other.from == StateName::Master
                && other.state != StateName::Master
                && other.reason.is_some_and(|reason| reason != Reason::Group)
        })
    }

    /// Whether a process was told of what it calls a fault.
    pub(super) fn is_told_of(&self, node: usize, router: usize, reason: FaultReason) -> bool {
        let Node { told_link: link, told_well: well, .. } = &self.nodes[node];
        match reason {
            FaultReason::LinkDown => !link,
            FaultReason::CutOff => !link && self.plan.heartbeat,
            // The simulated nodes have one line each, which is there; and to the election an arbiter is one more thing that is tracked.
            FaultReason::NoAddress
            | FaultReason::NoSource
            | FaultReason::NoInterface
            | FaultReason::Unserved
            | FaultReason::Refused
            | FaultReason::Isolated => false,
            FaultReason::Tracked => *link && !well[router],
            FaultReason::Group => {
                let mut others = self.plan.members(router).filter(|member| *member != router);
                others.any(|member| !link || !well[member])
            }
        }
    }

    /// Whether the members, which are all of the process's own account, are in one state.
    pub fn is_of_one_mind(&mut self, node: usize) {
        for router in 0..self.plan.groups.len() {
            let state = |router: usize| self.oracle.tracks[node][router].state;
            if state(router) != state(self.plan.groups[router]) {
                return self.fail(Cause::SplitGroup { router, node });
            }
        }
    }

    /// Whether of any two nodes the same one is the better for every member.
    pub(super) fn is_ranked_alike(&self, router: usize) -> bool {
        let rank = |node: usize, r: usize| (self.settings(node, r).priority, self.nodes[node].plan.address);
        let order = |a: usize, b: usize, r: usize| -> Ordering { rank(a, r).cmp(&rank(b, r)) };
        let count = self.nodes.len();
        (0..count)
            .all(|a| (0..a).all(|b| self.plan.members(router).all(|r| order(a, b, r) == order(a, b, router))))
    }
}
