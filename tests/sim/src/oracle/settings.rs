//! What another configuration or another priority means to what may be expected of a router.

use vipd_common::{Priority, Version};
use vipd_core::vrrp::{Reason, Settings, Snapshot, StateName};

use super::{Burst, Cause, timing::*};
use crate::{clock::ns, node::Presence, world::World};

/// A router's election as it says of itself, and the adverts that it has sent.
type Word = (Option<Snapshot>, u64);

impl World {
    /// A process is told of another priority of a router.
    pub fn reprioritised(&mut self, node: usize, router: usize, priority: Priority) {
        let old = *self.settings(node, router);
        let absent = self.nodes[node].presence[router] == Presence::Absent;
        let fixed = old.priority.is_owner() || priority.is_owner();
        if absent || fixed || old.priority == priority {
            return;
        }
        self.note(|_| format!("node {node} has priority {priority} of router {router}"));
        self.nodes[node].settings[router].priority = priority;
        self.reweigh(node, router, &old);
    }

    /// A process is about to tell its election of other settings of a router, if they are.
    pub fn reconfigures(&mut self, node: usize, router: usize, new: Settings) {
        let old = *self.settings(node, router);
        if old == new {
            return;
        }
        self.note(|_| {
            format!(
                "node {node}, router {router}: priority {}, every {:?}, {} adverts, preempt {} after {:?}, {:?}",
                new.priority,
                new.advert_interval,
                new.down_timer_adverts,
                new.preempt,
                new.preempt_delay,
                new.lease
            )
        });
        self.nodes[node].settings[router] = new;
        let now = self.now;
        let drained = self.oracle.health[node].drained;
        let track = self.track(node, router);
        track.configured_at = now;
        track.burst = Burst { at: now, adverts: 0, changes: track.changes };
        // The pace of the master, as far as it is known to one or the other, or its own.
        let own = ns(new.advert_interval);
        let heard = track.master_says.filter(|_| track.master.is_some()).map(|(_, heard)| heard);
        let paces =
            [heard.unwrap_or(own), track.interval.0, track.interval.1].into_iter().filter(|pace| *pace > 0);
        let (fast, slow) = match new.version {
            Version::V2 => (own, own),
            Version::V3 => paces.fold((own, own), |(fast, slow), pace| (fast.min(pace), slow.max(pace))),
        };
        // What is still to be read is judged by the new settings.
        let pending = track.heard_at >= drained;
        let timing = |s: &Settings| (s.advert_interval, s.down_timer_adverts, preempts(s));
        let waits_anew = track.state == StateName::Backup && timing(&old) != timing(&new);
        if waits_anew {
            let soonest = track.low.min(track.heard_at + skew(&new, fast));
            track.low = if pending { soonest } else { now + down(&new, fast) };
            track.high = now + down(&new, slow);
            track.interval = (fast, slow);
        } else if old.preempt_delay != new.preempt_delay || pending {
            let wait = if pending { skew(&new, fast) } else { down(&new, fast) };
            track.low = track.low.min(track.heard_at + wait);
            track.high = track.high.max(now + down(&new, slow));
            track.interval = (fast, slow);
        }
        if old.fence && !new.fence {
            // From now on it is for us to say.
            track.high = track.high.max(now);
        }
        if new.priority.is_owner() {
            track.low = track.low.min(now);
        }
        if waits_anew && new.priority < old.priority {
            track.better_at = now;
        } else if !waits_anew && new.priority != old.priority {
            self.reweigh(node, router, &old);
        }
    }

    /// It has told it: that may have taken its time.
    pub fn has_reconfigured(&mut self, node: usize, router: usize) {
        let (now, settings) = (self.now, *self.settings(node, router));
        let track = self.track(node, router);
        if now > track.configured_at {
            track.configured_at = now;
            track.high = track.high.max(now + down(&settings, track.interval.1));
        }
    }

    /// It has told it of the settings that it has: nothing may come of it.
    pub fn idles(&mut self, node: usize, router: usize, before: &Word, after: &Word) {
        let state = |word: &Word| word.0.as_ref().map(|snapshot| (snapshot.state, snapshot.last_reason));
        let lapsed = state(after).is_some_and(|(_, reason)| reason == Some(Reason::LeaseLapsed));
        // That is a matter of the time that it took.
        let lapsed = lapsed && state(before) != state(after);
        if before != after && !lapsed {
            self.fail(Cause::IdleReload { router, node });
        }
    }

    /// A router is in the configuration again.
    pub fn added(&mut self, node: usize, router: usize) {
        self.note(|_| format!("node {node}, router {router}: added"));
        let asked = self.track(node, router).asked;
        self.begins_anew(node, router, false);
        let now = self.now;
        let track = self.track(node, router);
        (track.configured_at, track.asked) = (now, asked);
    }

    /// The priority was that of `old`.
    fn reweigh(&mut self, node: usize, router: usize, old: &Settings) {
        let now = self.now;
        let new = *self.settings(node, router);
        let priority = new.priority;
        let track = self.track(node, router);
        track.weighed_at = now;
        let (was, is) = (skew(old, track.interval.1), skew(&new, track.interval.1));
        track.low = (track.low + skew(&new, track.interval.0)).saturating_sub(skew(old, track.interval.0));
        // A wait that ends in the past by the new priority ends now.
        let ends = track.high.min(now);
        track.high = track.high.saturating_add(is).saturating_sub(was).max(ends);
        match track.master_says.filter(|_| track.master.is_some()) {
            // The timer runs, and is looked at less often than adverts come.
            Some((master, _)) if preempts(&new) && master < priority => track.low = track.low.min(now),
            Some((master, heard)) => {
                // It is followed, from now on or from its last advert on.
                let v2 = new.version == Version::V2;
                let interval = if v2 { ns(new.advert_interval) } else { heard };
                if master < old.priority {
                    track.interval = (track.interval.0.min(interval), track.interval.1.max(interval));
                }
                track.low = track.low.min(track.heard_at + down(&new, interval));
                track.high = track.high.max(now + down(&new, interval));
            }
            None => {}
        }
        if priority < old.priority {
            // What is still to be read may be better now.
            track.better_at = now;
        }
    }
}
