//! What must hold, whatever happens: `docs/invariants.md` in code.
//!
//! The oracle sees what the world does, frame by frame and word by word, and knows the rules by heart: it shares no
//! timer arithmetic with the code it judges.

mod violation;

use vipd_common::Version;
use vipd_core::{
    keeper::Transition,
    time::Instant,
    vrrp::{LeasePolicy, Reason, Settings, Snapshot, StateName},
};

pub use violation::{Cause, Violation};

use crate::{
    clock::{MICRO, MILLI, Time, ns},
    node::{Message, Packet},
    world::{Change, NOTABLE_STALL, World},
};

/// A write to a lease word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Write {
    Acquire,
    Renew,
    Release,
}

/// Long ago.
const NEVER: Time = 0;

/// Adverts within one interval.
#[derive(Clone, Copy, Debug)]
struct Burst {
    /// When it began.
    at: Time,
    adverts: u32,
    /// Changes of state until then.
    changes: u64,
}

/// One virtual router on one node.
#[derive(Clone, Copy, Debug)]
struct Track {
    state: StateName,
    since: Time,
    /// Why it is in that state.
    reason: Option<Reason>,
    /// When its backup's wait ends at the earliest and at the latest, by what it has been sent.
    low: Time,
    high: Time,
    heard_at: Time,
    /// The interval that it follows, at the least and at the most.
    interval: (Time, Time),
    /// Whom it follows.
    master: Option<usize>,
    goodbye_at: Option<Time>,
    /// Last adverts of others, by what they mean to it.
    rival_at: Time,
    better_at: Time,
    revoked_at: Time,
    owned_since: Option<Time>,
    /// First advert since the lease was acquired.
    first_send: Option<Time>,
    /// It was held up between that and the lease.
    hesitated: bool,
    last_send: Time,
    /// The lease word as the process last wrote it.
    lease_until: Instant,
    adverts: u64,
    takeovers: u64,
    changes: u64,
    burst: Burst,
}

impl Track {
    fn new() -> Self {
        Self {
            state: StateName::Init,
            since: NEVER,
            reason: None,
            low: NEVER,
            high: Time::MAX,
            heard_at: NEVER,
            interval: (0, 0),
            master: None,
            goodbye_at: None,
            rival_at: NEVER,
            better_at: NEVER,
            revoked_at: NEVER,
            owned_since: None,
            first_send: None,
            hesitated: false,
            last_send: NEVER,
            lease_until: Instant::default(),
            adverts: 0,
            takeovers: 0,
            changes: 0,
            burst: Burst { at: NEVER, adverts: 0, changes: 0 },
        }
    }
}

/// A look of a process at its clock, and what it could have known then.
#[derive(Clone, Debug)]
struct Reading {
    at: Time,
    local: Instant,
    /// Of each router, the earliest end of the wait.
    low: Vec<Time>,
}

/// One machine.
#[derive(Clone, Debug, Default)]
struct Health {
    /// Last end of anything that kept its process from running.
    disturbed: Time,
    /// Last change of anything that keeps the machine from hearing and being heard.
    deafened: Time,
    /// Its clock, as its process has read it in this turn.
    reads: Vec<Reading>,
    turn_began: Time,
    /// When the machine was last paused until.
    woke: Time,
    /// What disturbed it last before that.
    disturbed_before: Time,
    send_failed: Time,
    /// When it last found no report waiting, and when it last had before this turn.
    drained: Time,
    drained_before: Time,
    asked_to_stop: Option<Time>,
}

pub struct Oracle {
    tracks: Vec<Vec<Track>>,
    health: Vec<Health>,
    /// Last advert that did not come, or came late, by sender, receiver and router.
    missed: Vec<Vec<Vec<Time>>>,
    /// Since when two own a router's addresses.
    overlaps: Vec<((usize, usize, usize), Time)>,
    ownerless: Vec<Option<Time>>,
    settled: Option<Vec<Vec<u64>>>,
}

impl Oracle {
    pub fn new(nodes: usize, routers: usize) -> Self {
        Self {
            tracks: vec![vec![Track::new(); routers]; nodes],
            health: vec![Health::default(); nodes],
            missed: vec![vec![vec![NEVER; routers]; nodes]; nodes],
            overlaps: Vec::new(),
            ownerless: vec![Some(0); routers],
            settled: None,
        }
    }
}

/// RFC 9568 6.1, RFC 3768 6.1.
fn skew(settings: &Settings, interval: Time) -> Time {
    let unit = if settings.version == Version::V2 { 1_000_000_000 } else { interval };
    unit * (256 - Time::from(settings.priority.get())) / 256
}

fn down(settings: &Settings, interval: Time) -> Time {
    Time::from(settings.down_timer_adverts) * interval + skew(settings, interval)
}

/// What two clocks of 200 ppm each make of a time.
fn drift(time: Time) -> Time {
    time / 2000 + MICRO
}

/// RFC 9568 6.1: the owner does in any case.
fn preempts(settings: &Settings) -> bool {
    settings.preempt || settings.priority.is_owner()
}

/// RFC 3768 7.1.
fn is_deaf(settings: &Settings) -> bool {
    settings.version == Version::V2 && settings.priority.is_owner()
}

fn lease_length(settings: &Settings) -> Time {
    let adverts = Time::from(settings.down_timer_adverts);
    let more = if settings.lease == LeasePolicy::Overlap { 1 } else { 0 };
    (adverts + more) * ns(settings.advert_interval)
}

/// How long a leaving master waits: the slowest backup's skew time and an interval.
fn farewell(settings: &Settings) -> Time {
    let interval = ns(settings.advert_interval);
    let unit = if settings.version == Version::V2 { 1_000_000_000 } else { interval };
    unit * 255 / 256 + interval
}

impl World {
    pub fn fail(&mut self, cause: Cause) {
        if self.violation.is_none() {
            self.note(|_| format!("VIOLATION: {cause:?}"));
            self.violation = Some(Violation { at: self.now, cause });
        }
    }

    fn settings(&self, node: usize, router: usize) -> &Settings {
        &self.nodes[node].settings[router]
    }

    fn track(&mut self, node: usize, router: usize) -> &mut Track {
        &mut self.oracle.tracks[node][router]
    }

    /// The longest interval that anyone uses for a router, now or later.
    fn slowest(&self, router: usize) -> Time {
        use crate::plan::Fault;
        let later = self.plan.faults.iter().filter_map(|(_, fault)| match fault {
            Fault::Restart { instances, .. } => instances.as_ref(),
            _ => None,
        });
        let all = self.plan.nodes.iter().map(|node| &node.instances).chain(later);
        all.map(|instances| ns(instances[router].advert_interval)).max().unwrap_or(0)
    }

    /// Whether everyone who speaks for a router can hear everyone else.
    fn speaks_one_language(&self, router: usize) -> bool {
        let all = || self.nodes.iter().map(|node| &node.settings[router]);
        let Some(first) = all().next() else { return true };
        let deaf = all().filter(|s| is_deaf(s)).count();
        let mut addresses: Vec<_> = self.nodes.iter().map(|node| node.plan.address).collect();
        addresses.sort_unstable();
        addresses.dedup();
        addresses.len() == self.nodes.len()
            && all().all(|s| s.version == first.version)
            && deaf < 2
            && (first.version == Version::V3 || all().all(|s| s.advert_interval == first.advert_interval))
    }

    /// Whether a router comes to rest when nothing disturbs it.
    ///
    /// With several intervals VRRP itself need not: a backup that learned the short interval of a third router takes over
    /// between two adverts of a slow master, time and again.
    fn comes_to_rest(&self, router: usize) -> bool {
        let all = || self.nodes.iter().map(|node| &node.settings[router]);
        let Some(first) = all().next() else { return true };
        let one_interval = all().all(|s| s.advert_interval == first.advert_interval);
        self.speaks_one_language(router) && one_interval
    }

    // What the world tells.

    pub fn started(&mut self, node: usize) {
        self.oracle.health[node].disturbed = self.now;
        self.oracle.health[node].asked_to_stop = None;
        self.oracle.health[node].reads.clear();
        // A boot sets the clock.
        let pinned = self.nodes[node].kernel.attached;
        for router in 0..self.nodes[node].settings.len() {
            let old = *self.track(node, router);
            *self.track(node, router) = Track {
                owned_since: old.owned_since,
                first_send: old.first_send,
                hesitated: old.hesitated,
                last_send: old.last_send,
                lease_until: if pinned { old.lease_until } else { Instant::default() },
                adverts: old.adverts,
                changes: old.changes,
                rival_at: old.rival_at,
                revoked_at: old.revoked_at,
                burst: old.burst,
                ..Track::new()
            };
        }
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
            self.oracle.health[node].asked_to_stop = Some(self.now);
        }
    }

    pub fn turn_begins(&mut self, node: usize) {
        let now = self.now;
        let health = &mut self.oracle.health[node];
        health.reads.clear();
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
        let low = self.oracle.tracks[node].iter().map(|track| track.low).collect();
        let reading = Reading { at: self.now, local: self.local(node), low };
        self.oracle.health[node].reads.push(reading);
    }

    pub fn sent(&mut self, packet: &Packet) {
        let (node, router, now) = (packet.from, packet.instance, self.now);
        let interval = ns(packet.interval);
        let track = self.track(node, router);
        if packet.priority.is_leaving() {
            track.goodbye_at = Some(now);
            return;
        }
        track.adverts += 1;
        track.last_send = now;
        track.first_send.get_or_insert(now);
        if now - track.burst.at > interval {
            track.burst = Burst { at: now, adverts: 0, changes: track.changes };
        }
        track.burst.adverts += 1;
        let adverts = track.burst.adverts;
        // The period's two, and an answer each quarter of it; the first and the last words of a mastership.
        let changes = (track.changes - track.burst.changes) as u32;
        if self.nodes[node].is_vipd() && adverts > 7 + 3 * changes {
            self.fail(Cause::Storm { router, node, adverts });
        }
    }

    /// An advert does not come to `to`, or too late.
    pub fn missed(&mut self, packet: &Packet, to: usize) {
        self.oracle.missed[packet.from][to][packet.instance] = self.now;
    }

    /// An advert that the daemon is not told of has come to `to`, where the lease word was `was`.
    pub fn unheard(&mut self, packet: &Packet, to: usize, was: u64) {
        let now = self.now;
        if was != 0 && self.nodes[to].kernel.leases[packet.instance] == 0 {
            self.track(to, packet.instance).revoked_at = now;
        }
    }

    /// An advert has passed XDP's checks at `to`, where the lease word was `was`.
    pub fn heard(&mut self, packet: &Packet, to: usize, was: u64) {
        let (router, now) = (packet.instance, self.now);
        let word = self.nodes[to].kernel.leases[router];
        let settings = self.settings(to, router).clone();
        let own = self.nodes[to].plan.address;
        let (priority, heard) = (packet.priority, ns(packet.interval));
        let track = self.track(to, router);
        if was != 0 && word == 0 {
            track.revoked_at = now;
        }
        if is_deaf(&settings) && track.goodbye_at.is_none() {
            return;
        }
        track.heard_at = now;
        if priority.is_leaving() {
            if track.master.is_some_and(|master| master != packet.from) {
                return;
            }
            track.master = None;
            track.low = now + skew(&settings, track.interval.0);
            track.high = now + skew(&settings, track.interval.1);
            return;
        }
        track.rival_at = now;
        track.master = Some(packet.from);
        if (priority, packet.source) > (settings.priority, own) {
            track.better_at = now;
        }
        let v2 = settings.version == Version::V2;
        let interval = if v2 { ns(settings.advert_interval) } else { heard };
        let due = now + down(&settings, interval);
        if priority >= settings.priority || !preempts(&settings) {
            track.interval = (interval, interval);
            (track.low, track.high) = (due, due);
        } else if !settings.preempt_delay.is_zero() {
            // Tolerated or not.
            track.interval = (track.interval.0.min(interval), track.interval.1.max(interval));
            (track.low, track.high) = (track.low.min(due), track.high.max(due));
        }
    }

    /// A process has written a lease word.
    pub fn written(&mut self, node: usize, router: usize, was: Instant, until: Instant, write: Write) {
        self.note(|world| {
            let left = i128::from(until.as_nanos()) - i128::from(world.local(node).as_nanos());
            format!("node {node}, router {router}: {write:?}, {:.3} ms from now", left.max(0) as f64 / 1e6)
        });
        let settings = self.settings(node, router).clone();
        let local = self.local(node);
        let track = *self.track(node, router);
        match write {
            Write::Acquire => {
                if track.last_send < self.oracle.health[node].turn_began {
                    self.fail(Cause::Unannounced { router, node });
                }
                if track.state == StateName::Master && was == Instant::default() {
                    self.fail(Cause::TakenBack { router, node });
                }
                let hesitated = self.now - track.last_send > NOTABLE_STALL;
                let track = self.track(node, router);
                (track.first_send, track.hesitated) = (Some(track.last_send), hesitated);
            }
            Write::Renew => {
                let lapsed = self.nodes[node].clock.when(was);
                if local >= was && track.rival_at > lapsed {
                    self.fail(Cause::LapsedLeaseRenewed { router, node });
                }
                if track.goodbye_at.is_some() {
                    self.fail(Cause::RenewedAfterGoodbye { router, node });
                }
            }
            Write::Release => {
                let health = &self.oracle.health[node];
                if let Some(asked) = health.asked_to_stop
                    && was != Instant::default()
                {
                    // How long that is was checked when it was written.
                    let waited = local >= track.lease_until;
                    let relieved = track.rival_at.max(track.revoked_at) >= asked.min(health.drained_before);
                    if !waited && !relieved && health.deafened + MILLI < asked && self.nodes[node].link() {
                        self.fail(Cause::LeftTooSoon { router, node });
                    }
                }
                return;
            }
        }
        self.track(node, router).lease_until = until;
        let expected = lease_length(&settings);
        let from_a_reading = |length: Time| {
            let from = until.as_nanos().wrapping_sub(length);
            self.oracle.health[node].reads.iter().any(|read| read.local.as_nanos() == from)
        };
        let shortened = self.oracle.health[node].asked_to_stop.is_some()
            && until <= was
            && (until == was || from_a_reading(farewell(&settings)));
        if !shortened && !from_a_reading(expected) {
            let length = until.as_nanos().saturating_sub(local.as_nanos());
            self.fail(Cause::LeaseLength { router, node, length, expected });
        }
    }

    pub fn announced(&mut self, node: usize, router: usize) {
        let track = &self.oracle.tracks[node][router];
        let revoked = track.revoked_at >= self.oracle.health[node].turn_began;
        if self.nodes[node].kernel.leases[router] == 0 && !revoked {
            self.fail(Cause::StrayAnnouncement { router, node });
        }
    }

    /// A state has changed, by the election's own account.
    pub fn changed(&mut self, node: usize, transition: &Transition) {
        let router = usize::from(transition.instance.0);
        let Transition { to, reason, .. } = *transition;
        self.note(|_| format!("node {node}, router {router}: {to}, {reason}"));
        let now = self.now;
        let settings = self.settings(node, router).clone();
        self.history.push(Change { at: now, node, router, to, reason });
        let Some(cause) = self.has_cause(node, router, transition) else {
            return self.fail(Cause::NoCause { router, node, reason });
        };
        if cause > 0 {
            return self.fail(Cause::TakeoverTooSoon { router, node, by: cause });
        }
        // What it takes for now it has read in this turn.
        let read_at = self.oracle.health[node].reads.first().map_or(now, |read| read.at);
        let drained = self.oracle.health[node].drained_before;
        let own = ns(settings.advert_interval);
        let track = self.track(node, router);
        if to == StateName::Master {
            track.takeovers += u64::from(reason != Reason::Inherited);
            self.stats.takeovers += u64::from(reason != Reason::Inherited);
        } else if to == StateName::Backup {
            let waited_for = down(&settings, own);
            // What is still to be read may set the timer back to when it came.
            let pending = track.heard_at >= drained;
            if matches!(reason, Reason::BetterMaster | Reason::Superseded) || pending {
                track.low = track.low.min(read_at + waited_for);
                let (low, high) = track.interval;
                track.interval = (low.min(own), high.max(own));
                track.high = (now + down(&settings, own.max(high))).max(track.high.min(now + waited_for));
            } else {
                track.interval = (own, own);
                track.master = None;
                (track.low, track.high) = (read_at + waited_for, now + waited_for);
            }
        }
        let track = self.track(node, router);
        (track.state, track.since, track.reason) = (to, now, Some(reason));
        track.changes += 1;
        if to == StateName::Master {
            track.goodbye_at = None;
        }
    }

    /// Whether a change of state has a cause in what happened; a takeover also by how much it comes too soon.
    fn has_cause(&self, node: usize, router: usize, transition: &Transition) -> Option<Time> {
        let track = &self.oracle.tracks[node][router];
        let health = &self.oracle.health[node];
        let settings = self.settings(node, router);
        let spell = track.since.min(health.turn_began).min(health.drained_before);
        let cause = match transition.reason {
            Reason::MasterDown | Reason::MasterLeft | Reason::Preempting => {
                // A decision stands by what was known when it was made. Time runs by its own clock.
                let tolerance = drift(down(settings, self.slowest(router)));
                // After a pause of the machine the master gets the time for another advert.
                let due = |read: &Reading| {
                    let low = read.low[router];
                    let known = settings.preempt_delay.is_zero();
                    // It waits once.
                    let first = health.disturbed_before <= low;
                    if known
                        && first
                        && health.woke > low + track.interval.1 * 5 / 4
                        && read.at >= health.woke
                    {
                        low.max(health.woke + track.interval.0)
                    } else {
                        low
                    }
                };
                let early = health.reads.iter().map(|read| due(read).saturating_sub(read.at)).min();
                return early.map(|early| if early > tolerance { early } else { 0 });
            }
            Reason::Started => true,
            Reason::Owner => settings.priority.is_owner(),
            Reason::Inherited => {
                let word = self.nodes[node].kernel.leases[router];
                let stood = health.reads.iter().any(|read| read.local.as_nanos() < word);
                stood || track.revoked_at >= health.turn_began
            }
            Reason::BetterMaster => track.better_at >= spell,
            Reason::Superseded | Reason::LeaseRevoked => {
                // Or held up for so long between the advert of its takeover and the lease that it let it be.
                let local = |read: &Reading| read.local.as_nanos();
                let turn = health.reads.last().map_or(0, local) - health.reads.first().map_or(0, local);
                let given_up = turn >= ns(settings.advert_interval) && track.owned_since.is_none();
                track.revoked_at >= spell || track.revoked_at >= track.since || given_up
            }
            Reason::LeaseLapsed => {
                // Also one that was held up between its decision to take over and the wire.
                health.reads.iter().any(|read| read.local >= track.lease_until)
            }
            Reason::SendFailed => health.send_failed >= health.turn_began,
            Reason::Fault(_) => true,
            Reason::Shutdown | Reason::HandedOver | Reason::NoSuccessor => health.asked_to_stop.is_some(),
        };
        cause.then_some(0)
    }

    /// What a node's election says of itself at the end of a turn.
    pub fn believes(&mut self, node: usize, router: usize, snapshot: Option<&Snapshot>) {
        let Some(snapshot) = snapshot else { return };
        let word = self.nodes[node].kernel.leases[router];
        let track = *self.track(node, router);
        if snapshot.state != track.state {
            return self.fail(Cause::HostDisagrees { router, node });
        }
        let counted = snapshot.counters.became_master;
        if counted != track.takeovers {
            return self.fail(Cause::Miscounted { router, node, counted, seen: track.takeovers });
        }
        let known = match snapshot.state {
            StateName::Master => snapshot.lease_until.is_some_and(|until| until.as_nanos() == word),
            StateName::Init => true,
            StateName::Backup | StateName::Fault | StateName::Stopped => false,
        };
        if word != 0 && !known {
            self.fail(Cause::StrayLease { router, node, state: snapshot.state });
        }
    }

    // What the oracle looks at by itself.

    /// Nothing has changed since `now`, and it will be `to`.
    pub fn time_passes(&mut self, to: Time) {
        for i in 0..self.oracle.overlaps.len() {
            let ((router, a, b), since) = self.oracle.overlaps[i];
            let Some(until) = self.may_overlap_until(router, a, b, since) else { continue };
            if to > until {
                let (for_, allowed) = (to - since, until.saturating_sub(since));
                return self.fail(Cause::TwoOwners { router, nodes: (a, b), for_, allowed });
            }
        }
        for router in 0..self.oracle.ownerless.len() {
            let Some(since) = self.oracle.ownerless[router] else { continue };
            for node in 0..self.nodes.len() {
                if self.should_own_by(node, router).is_some_and(|due| to > due) {
                    return self.fail(Cause::NoOwner { router, node, for_: to - since });
                }
            }
        }
    }

    /// Until when two that both own may; `None` if they cannot be blamed.
    fn may_overlap_until(&self, router: usize, a: usize, b: usize, since: Time) -> Option<Time> {
        let longest = self.plan.network.longest();
        let slow = self.slowest(router);
        let (one, other) = (self.settings(a, router), self.settings(b, router));
        if !self.speaks_one_language(router) {
            return None;
        }
        let missed = self.oracle.missed[a][b][router].max(self.oracle.missed[b][a][router]);
        let health = |node: usize| &self.oracle.health[node];
        let last = [missed, health(a).disturbed, health(b).disturbed, health(a).deafened, health(b).deafened];
        // What nobody can hear any more ends with the lease.
        let adverts = Time::from(one.down_timer_adverts.max(other.down_timer_adverts)) + 1;
        let general = last.into_iter().fold(since, Time::max) + adverts.max(3) * slow + 4 * longest + MILLI;
        for peer in [a, b] {
            let node = &self.nodes[peer];
            if !node.is_vipd() && !node.can_run(self.now) {
                // What it owns stays with a keepalived that is gone.
                return None;
            }
        }
        // The later owner.
        let spell = |node: usize| self.oracle.tracks[node][router].owned_since.unwrap_or(since);
        let (old, new) = if spell(a) <= spell(b) { (a, b) } else { (b, a) };
        let horizon = since.saturating_sub(4 * slow * (Time::from(one.down_timer_adverts) + 3));
        // Anybody's interval may have been learned by either.
        let plain = self.nodes.iter().map(|node| &node.settings[router]).all(|s| {
            s.advert_interval == one.advert_interval && s.down_timer_adverts == one.down_timer_adverts
        }) && !(one.priority.is_owner() && other.priority.is_owner())
            && self.nodes[a].is_vipd()
            && self.nodes[b].is_vipd();
        let whole = missed < horizon.max(1)
            && health(a).deafened < horizon.max(1)
            && health(b).deafened < horizon.max(1);
        if !plain || !whole || self.oracle.tracks[new][router].hesitated {
            return Some(general);
        }
        // The network carries everything: the later owner's first advert ends it, or the answer of one that has come back
        // to life in this very moment.
        let Some(first) = self.oracle.tracks[new][router].first_send else { return Some(general) };
        let replaced = &self.oracle.tracks[old][router];
        if self.outwaited(router, old, new) {
            return Some(since);
        }
        if replaced.last_send > since {
            return Some(first.max(replaced.last_send) + 2 * longest + MICRO);
        }
        Some(first.max(since) + longest + MICRO)
    }

    /// Whether `new` took over because it heard nothing of `old` for longer than any strict lease, which it could.
    fn outwaited(&self, router: usize, old: usize, new: usize) -> bool {
        let strict = |node: usize| self.settings(node, router).lease == LeasePolicy::Strict;
        let (Some(owned_since), track) =
            (self.oracle.tracks[old][router].owned_since, &self.oracle.tracks[new][router])
        else {
            return false;
        };
        let silent = track.state == StateName::Master
            && track.reason == Some(Reason::MasterDown)
            && !is_deaf(self.settings(new, router));
        // What it had still to read, and what it had decided before, was settled an interval ago.
        let settled = track.first_send.is_some_and(|first| {
            let before = first.saturating_sub(ns(self.settings(new, router).advert_interval));
            owned_since < before && self.oracle.health[new].disturbed < before && track.since >= first
        });
        strict(old) && strict(new) && silent && settled
    }

    /// By when a healthy backup of a router without an owner must have taken over.
    fn should_own_by(&self, node: usize, router: usize) -> Option<Time> {
        let (n, track) = (&self.nodes[node], &self.oracle.tracks[node][router]);
        let healthy = n.is_vipd()
            && n.can_run(self.now)
            && !n.in_turn
            && n.is_reachable()
            && n.send_faults == 0
            && track.state == StateName::Backup
            && n.mailbox.is_empty();
        let slack = drift(track.high.saturating_sub(track.since)) + 3 * MILLI;
        let settings = self.settings(node, router);
        let disturbed = self.oracle.health[node].disturbed;
        // A timer that is seen to have fired long ago waits for one more advert.
        let interval = track.interval.1;
        let late = disturbed > track.low;
        let reprieve = if late { interval + skew(settings, interval) } else { 0 };
        healthy.then(|| track.high.max(disturbed.saturating_add(reprieve)).saturating_add(slack))
    }

    /// Who owns what now.
    pub fn check(&mut self) {
        if self.violation.is_some() {
            return;
        }
        let now = self.now;
        for router in 0..self.oracle.ownerless.len() {
            let owners: Vec<usize> =
                (0..self.nodes.len()).filter(|node| self.nodes[*node].owns(router, now)).collect();
            for node in 0..self.nodes.len() {
                let track = &mut self.oracle.tracks[node][router];
                match (owners.contains(&node), track.owned_since) {
                    (true, None) => track.owned_since = Some(now),
                    (false, Some(_)) => track.owned_since = None,
                    _ => {}
                }
            }
            self.oracle.ownerless[router] = match (owners.is_empty(), self.oracle.ownerless[router]) {
                (true, since) => since.or(Some(now)),
                (false, _) => None,
            };
            let together = |a: usize, b: usize| owners.contains(&a) && owners.contains(&b);
            let longest = &mut self.stats.longest_overlap;
            self.oracle.overlaps.retain(|((of, a, b), since)| {
                let goes_on = *of != router || together(*a, *b);
                if !goes_on {
                    *longest = (*longest).max(now - since);
                }
                goes_on
            });
            for (i, a) in owners.iter().enumerate() {
                for b in &owners[i + 1..] {
                    let key = (router, *a, *b);
                    if !self.oracle.overlaps.iter().any(|(other, _)| *other == key) {
                        self.oracle.overlaps.push((key, now));
                    }
                }
            }
        }
    }

    /// Who owns a router's addresses now.
    pub fn owners(&self, router: usize) -> Vec<usize> {
        (0..self.nodes.len()).filter(|node| self.nodes[*node].owns(router, self.now)).collect()
    }

    /// Adverts with a priority that a node has sent.
    pub fn adverts(&self, node: usize, router: usize) -> u64 {
        self.oracle.tracks[node][router].adverts
    }

    /// Every fault is long over.
    pub fn settled(&mut self) {
        for router in 0..self.oracle.ownerless.len() {
            if !self.comes_to_rest(router) {
                continue;
            }
            let owners = self.owners(router);
            let [owner] = owners[..] else { return self.fail(Cause::Owners { router, owners }) };
            let of = self.settings(owner, router).priority;
            let better = (0..self.nodes.len()).find(|node| {
                let settings = self.settings(*node, router);
                preempts(settings) && settings.priority > of
            });
            if let Some(better) = better {
                return self.fail(Cause::NotTheBest { router, owner, better });
            }
        }
        let changes = |tracks: &Vec<Track>| tracks.iter().map(|track| track.changes).collect();
        self.oracle.settled = Some(self.oracle.tracks.iter().map(changes).collect());
    }

    /// The end: nothing has changed since all was settled.
    pub fn over(&mut self) {
        if self.violation.is_some() {
            return;
        }
        if !self.frames_add_up() {
            return self.fail(Cause::FramesMiscounted);
        }
        let Some(settled) = self.oracle.settled.take() else { return };
        for (node, before) in settled.iter().enumerate() {
            for (router, before) in before.iter().enumerate() {
                if self.comes_to_rest(router) && self.oracle.tracks[node][router].changes != *before {
                    return self.fail(Cause::Restless { router, node });
                }
            }
        }
    }
}
