//! What must hold, whatever happens: `docs/internals/invariants.md` in code.
//!
//! The oracle sees what the world does, frame by frame and word by word, and knows the rules by heart: it shares no
//! timer arithmetic with the code it judges.

mod actions;
mod early;
mod environment_log;
mod groups;
mod owners;
mod settings;
mod timing;
mod violation;

use vipd_common::{Priority, Version};
use vipd_core::{
    time::Instant,
    vrrp::{Reason, Settings, StateName},
};

pub use self::violation::{Cause, Violation};
use self::{
    early::{EarlyLog, Glimpse},
    timing::is_deaf,
};
use crate::{
    clock::{Time, ns},
    world::World,
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
/// Long after the end.
const NOT_YET: Time = Time::MAX / 2;

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
    /// When its process began with it.
    began: Time,
    /// Why it is in that state, and which was before.
    reason: Option<Reason>,
    from: StateName,
    /// When its backup's wait ends at the earliest and at the latest, by what it has been sent.
    low: Time,
    high: Time,
    heard_at: Time,
    /// When the master that it followed has said that it is worse, its wait ends here.
    worse_from: Time,
    /// The interval that it follows, at the least and at the most.
    interval: (Time, Time),
    /// Whom it follows, and since when.
    master: Option<usize>,
    master_since: Time,
    /// When it last turned to another, or to none.
    followed_since: Time,
    /// Its priority and interval.
    master_says: Option<(Priority, Time)>,
    goodbye_at: Option<Time>,
    /// Last adverts of others, by what they mean to it.
    rival_at: Time,
    better_at: Time,
    revoked_at: Time,
    owned_since: Option<Time>,
    /// When it last owned, if it does no more.
    owned_until: Time,
    /// First advert since the lease was acquired.
    first_send: Option<Time>,
    /// It was held up between that and the lease.
    hesitated: bool,
    /// Its priority changed, or anything in its configuration.
    weighed_at: Time,
    configured_at: Time,
    /// Told to hand over and stop.
    asked: Option<Time>,
    /// Told to offer its mastership, and whether it has said so.
    offered: Option<Time>,
    /// What its adverts held then.
    offered_until: Instant,
    has_offered: bool,
    /// The last question whether its former master is fenced, and when the answer was that it is.
    fence_round: u64,
    fenced_at: Time,
    last_send: Time,
    last_priority: Priority,
    /// The lease word as the process last wrote it.
    lease_until: Instant,
    /// The same by its own adverts alone, whatever the others of its group have renewed.
    own_until: Instant,
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
            began: NEVER,
            reason: None,
            from: StateName::Init,
            low: NEVER,
            high: Time::MAX,
            heard_at: NEVER,
            worse_from: NEVER,
            interval: (0, 0),
            master: None,
            master_since: NEVER,
            followed_since: NEVER,
            master_says: None,
            goodbye_at: None,
            rival_at: NEVER,
            better_at: NEVER,
            revoked_at: NEVER,
            owned_since: None,
            owned_until: NEVER,
            first_send: None,
            hesitated: false,
            weighed_at: NEVER,
            configured_at: NEVER,
            asked: None,
            offered: None,
            offered_until: Instant::default(),
            has_offered: false,
            fence_round: 0,
            fenced_at: NEVER,
            last_send: NEVER,
            last_priority: Priority::LEAVING,
            lease_until: Instant::default(),
            own_until: Instant::default(),
            adverts: 0,
            takeovers: 0,
            changes: 0,
            burst: Burst { at: NEVER, adverts: 0, changes: 0 },
        }
    }
}

/// A look of a process at its clock, and what it could have known then.
#[derive(Clone, Debug, Default)]
struct Reading {
    at: Time,
    local: Instant,
    /// Of each router, the earliest end of the wait.
    low: Vec<Time>,
    /// Of each router, whom it follows; and what was heard of each host, if that is asked.
    masters: Vec<Option<usize>>,
    peers: Vec<Glimpse>,
    arbiter: Instant,
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
    /// What is to be used again.
    read_before: Vec<Reading>,
    turn_began: Time,
    /// When the machine was last paused until.
    woke: Time,
    /// What disturbed it last before that.
    disturbed_before: Time,
    send_failed: Time,
    /// When it last found no report waiting, and when it last had before this turn.
    drained: Time,
    drained_before: Time,
}

pub struct Oracle {
    tracks: Vec<Vec<Track>>,
    health: Vec<Health>,
    /// Last advert that did not come, or came late, by sender, receiver and router.
    missed: Vec<Vec<Vec<Time>>>,
    /// Since when two own a router's addresses.
    overlaps: Vec<((usize, usize, usize), Time)>,
    ownerless: Vec<Option<Time>>,
    /// Who owns each router's addresses, a bit a node: as was seen last, and now.
    owners: Vec<(u64, u64)>,
    settled: Option<Vec<Vec<u64>>>,
    early: EarlyLog,
}

impl Oracle {
    pub fn new(nodes: usize, routers: usize) -> Self {
        Self {
            tracks: vec![vec![Track::new(); routers]; nodes],
            health: vec![Health::default(); nodes],
            missed: vec![vec![vec![NEVER; routers]; nodes]; nodes],
            overlaps: Vec::new(),
            ownerless: vec![Some(0); routers],
            owners: vec![(0, 0); routers],
            settled: None,
            early: EarlyLog::new(nodes, routers),
        }
    }
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
        let all = self.plan.configurations();
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

    /// Whether a sync group does: there must be one order of its nodes.
    fn group_comes_to_rest(&self, router: usize) -> bool {
        self.plan.members(router).all(|member| self.comes_to_rest(member)) && self.is_ranked_alike(router)
    }
}
