//! What happens to machines, and what is on the wire: what the oracle knows beside what the processes say.

use vipd_common::Version;
use vipd_core::{time::Instant, vrrp::StateName};

use super::{Burst, NOT_YET, Track, timing::*};
use crate::{
    clock::{MICRO, Time, ns},
    node::{Message, Packet, Presence},
    oracle::Cause,
    world::{NOTABLE_STALL, World},
};

impl World {
    pub fn started(&mut self, node: usize) {
        self.oracle.health[node].disturbed = self.now;
        self.oracle.health[node].reads.clear();
        // A boot sets the clock.
        let pinned = self.nodes[node].kernel.attached;
        for router in 0..self.nodes[node].settings.len() {
            self.begins_anew(node, router, pinned);
        }
        self.early_started(node, pinned);
    }

    /// What is known of a router on a node but for the kernel's part, if that goes on.
    pub(super) fn begins_anew(&mut self, node: usize, router: usize, pinned: bool) {
        let old = *self.track(node, router);
        *self.track(node, router) = Track {
            owned_since: old.owned_since,
            owned_until: old.owned_until,
            began: self.now,
            first_send: old.first_send,
            hesitated: old.hesitated,
            last_send: old.last_send,
            lease_until: if pinned { old.lease_until } else { Instant::default() },
            own_until: if pinned { old.lease_until } else { Instant::default() },
            adverts: old.adverts,
            changes: old.changes,
            rival_at: old.rival_at,
            revoked_at: old.revoked_at,
            configured_at: old.configured_at,
            burst: old.burst,
            ..Track::new()
        };
        self.early_begins_anew(node, router);
    }

    pub fn ended(&mut self, node: usize) {
        self.oracle.health[node].disturbed = self.now;
    }

    pub fn reconfigured(&mut self, node: usize) {
        self.oracle.health[node].deafened = self.now;
    }

    pub fn resumed(&mut self, node: usize) {
        self.oracle.health[node].disturbed = self.now;
    }

    /// The machine was paused until now, and its clock says so.
    pub fn woke(&mut self, node: usize) {
        self.oracle.health[node].disturbed_before = self.oracle.health[node].disturbed;
        self.linked(node);
        self.oracle.health[node].woke = self.now;
    }

    /// Its clock knows nothing of the last `for_`.
    pub fn clock_stood(&mut self, node: usize, for_: Time) {
        for track in &mut self.oracle.tracks[node] {
            track.low = track.low.saturating_add(for_);
            track.high = track.high.saturating_add(for_);
        }
        self.early_clock_stood(node, for_);
    }

    /// The machine can be reached again, or no longer.
    pub fn linked(&mut self, node: usize) {
        self.oracle.health[node].disturbed = self.now;
        self.oracle.health[node].deafened = self.now;
    }

    pub fn held_up(&mut self, node: usize, for_: Time) {
        if for_ > NOTABLE_STALL {
            self.oracle.health[node].disturbed = self.now;
            self.note(|_| format!("node {node} was held up for {} us", for_ / MICRO));
        }
    }

    pub fn asked(&mut self, node: usize, message: Message) {
        if message == Message::Shutdown {
            for router in 0..self.nodes[node].settings.len() {
                self.asked_to_go(node, router);
            }
        }
    }

    pub fn asked_to_go(&mut self, node: usize, router: usize) {
        let now = self.now;
        self.track(node, router).asked.get_or_insert(now);
    }

    /// A process is about to tell its election to offer a router's group to others.
    pub fn offered(&mut self, node: usize, router: usize) {
        let now = self.now;
        for member in self.plan.members(router) {
            let track = self.track(node, member);
            track.offered = (track.state == StateName::Master).then_some(now);
            track.offered_until = track.own_until;
        }
    }

    /// A process wants to know whether the former master of a router's group serves no more.
    pub fn asks_for_fence(&mut self, node: usize, router: usize, round: u64) {
        for member in self.plan.members(router) {
            self.track(node, member).fence_round = round;
        }
        if let Some(by) = self.is_too_soon(node, router).filter(|by| *by > 0) {
            self.fail(Cause::TakeoverTooSoon { router, node, by });
        }
    }

    /// A process knows what has become of a fence.
    pub fn fenced(&mut self, node: usize, router: usize, round: u64, done: bool) {
        self.note(|_| format!("node {node}, router {router}: fenced: {done}"));
        let now = self.now;
        for member in self.plan.members(router) {
            let track = self.track(node, member);
            if done && track.fence_round == round {
                track.fenced_at = now;
            }
        }
    }

    pub fn turn_begins(&mut self, node: usize) {
        let now = self.now;
        let health = &mut self.oracle.health[node];
        health.read_before.append(&mut health.reads);
        health.turn_began = now;
        health.drained_before = health.drained;
    }

    pub fn send_failed(&mut self, node: usize) {
        self.oracle.health[node].send_failed = self.now;
    }

    pub fn drained(&mut self, node: usize) {
        self.oracle.health[node].drained = self.now;
    }

    pub fn read_clock(&mut self, node: usize) {
        let mut reading = self.oracle.health[node].read_before.pop().unwrap_or_default();
        (reading.at, reading.local, reading.arbiter) = (self.now, self.local(node), self.nodes[node].arbiter);
        let tracks = &self.oracle.tracks[node];
        reading.low.clear();
        reading.low.extend(tracks.iter().map(|track| track.low));
        reading.masters.clear();
        reading.masters.extend(tracks.iter().map(|track| track.master));
        reading.peers.clear();
        reading.peers.extend(self.glimpses(node));
        self.oracle.health[node].reads.push(reading);
    }

    pub fn sent(&mut self, packet: &Packet) {
        let (node, router, now) = (packet.from, packet.instance, self.now);
        let interval = ns(packet.interval);
        // Of the last look at the clock before it.
        let read = self.oracle.health[node].reads.last().map_or(Instant::default(), |read| read.local);
        let own_until = read + std::time::Duration::from_nanos(self.length_of_lease(node, router));
        let n = &self.nodes[node];
        let goes = n.stopping || n.presence[router] == Presence::Going;
        let track = self.track(node, router);
        if packet.priority.is_leaving() {
            if track.offered.is_some() && !goes {
                track.has_offered = true;
            } else {
                track.goodbye_at = Some(now);
            }
            return;
        }
        track.adverts += 1;
        track.last_send = now;
        track.last_priority = packet.priority;
        track.own_until = own_until;
        track.first_send.get_or_insert(now);
        if now - track.burst.at > interval {
            track.burst = Burst { at: now, adverts: 0, changes: track.changes };
        }
        track.burst.adverts += 1;
        let adverts = track.burst.adverts;
        self.early_sent(node, router);
        let track = self.track(node, router);
        // The period's two, and an answer each quarter of it; the first and the last words of a mastership.
        let changes = (track.changes - track.burst.changes) as u32;
        // A claim is said three times, and its challenge, its return and its end once.
        let claims = if self.is_early() { 8 + 6 * changes } else { 0 };
        if self.nodes[node].is_vipd() && adverts > 7 + 3 * changes + claims {
            self.fail(Cause::Storm { router, node, adverts });
        }
    }

    /// An advert does not come to `to`, or too late.
    pub fn missed(&mut self, packet: &Packet, to: usize) {
        self.oracle.missed[packet.from][to][packet.instance] = self.now;
    }

    /// As [`unheard`](Self::unheard), of a probe.
    pub(super) fn unheard_probe(&mut self, node: usize, router: usize, was: u64) {
        self.is_revoked(node, router, was);
    }

    /// An advert that the daemon is not told of has come to `to`, where the lease word was `was`.
    pub fn unheard(&mut self, packet: &Packet, to: usize, was: u64) {
        self.is_revoked(to, packet.instance, was);
    }

    /// The lease word was `was`, and is what it is: of all the group.
    fn is_revoked(&mut self, node: usize, router: usize, was: u64) {
        let now = self.now;
        if was != 0 && self.nodes[node].kernel.lease(router) == 0 {
            for member in self.plan.members(router) {
                self.track(node, member).revoked_at = now;
            }
        }
    }

    /// An advert has passed XDP's checks at `to`, where the lease word was `was`.
    pub fn heard(&mut self, packet: &Packet, to: usize, was: u64) {
        let (router, now) = (packet.instance, self.now);
        let settings = *self.settings(to, router);
        let own = self.nodes[to].plan.address;
        let (priority, heard) = (packet.priority, ns(packet.interval));
        self.is_revoked(to, router, was);
        let one_way = self.is_perhaps_one_way(to);
        let track = self.track(to, router);
        if is_deaf(&settings) && track.goodbye_at.is_none() {
            return;
        }
        track.heard_at = now;
        if priority.is_leaving() {
            if track.master.is_some_and(|master| master != packet.from) {
                return;
            }
            track.master = None;
            track.followed_since = now;
            // A master that was frozen begins to wait at its own pace.
            let own = ns(settings.advert_interval);
            let master = track.state == StateName::Master;
            let fastest = if master { track.interval.0.min(own) } else { track.interval.0 };
            track.low = now + skew(&settings, fastest);
            // R11: it waits for one that may not be heard to leave.
            let (skew, down) = (skew(&settings, track.interval.1), down(&settings, track.interval.1));
            track.high = now + if one_way { down } else { skew };
            return;
        }
        track.rival_at = now;
        // Nobody outbids 254.
        let claimable = track.master_says.is_none_or(|(says, _)| says.get() < 254);
        let anew = track.master != Some(packet.from) || track.followed_since == NOT_YET;
        if anew || !claimable {
            track.master_since = now;
        }
        if anew {
            track.followed_since = now;
        }
        let followed = track.master == Some(packet.from)
            && track.master_says.is_some_and(|(before, _)| before >= settings.priority);
        (track.master, track.master_says) = (Some(packet.from), Some((priority, heard)));
        if (priority, packet.source) > (settings.priority, own) {
            track.better_at = now;
        }
        let v2 = settings.version == Version::V2;
        let interval = if v2 { ns(settings.advert_interval) } else { heard };
        let due = now + down(&settings, interval);
        if priority >= settings.priority || !preempts(&settings) {
            track.interval = (interval, interval);
            (track.low, track.high) = (due, due);
        } else if settings.preempt_delay.is_zero() || settings.priority.is_owner() {
            if followed {
                // It says that it is worse than it was.
                track.worse_from = now + skew(&settings, track.interval.0);
                track.low = track.low.min(track.worse_from);
            }
            if one_way {
                // R11: tolerated or not.
                track.interval = (track.interval.0.min(interval), track.interval.1.max(interval));
                (track.low, track.high) = (track.low.min(due), track.high.max(due));
            }
        } else {
            // Tolerated or not.
            track.interval = (track.interval.0.min(interval), track.interval.1.max(interval));
            (track.low, track.high) = (track.low.min(due), track.high.max(due));
        }
    }
}
