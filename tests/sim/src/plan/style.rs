//! What the clusters of a seed have in common, and what befalls them.

use std::time::Duration;

use fastrand::Rng;
use vipd_common::Version;
use vipd_core::vrrp::{LeasePolicy, Settings};

use super::{Fault, Kind, Plan, chance, pick, settings};
use crate::clock::{MILLI, Time};

/// What the instances of one seed have in common.
pub struct Style {
    pub version: Version,
    strict: bool,
    /// One interval for all, as the RFC asks.
    pub plain: bool,
    /// Some node speaks another version.
    pub babel: bool,
    pub owners: bool,
    fences: bool,
    /// See [`Plan::groups`].
    pub groups: Vec<usize>,
}

impl Style {
    pub fn of(rng: &mut Rng) -> Self {
        Self {
            version: if chance(rng, 200_000) { Version::V2 } else { Version::V3 },
            strict: chance(rng, 300_000),
            plain: chance(rng, 850_000),
            babel: chance(rng, 30_000),
            owners: chance(rng, 100_000),
            fences: chance(rng, 100_000),
            groups: Vec::new(),
        }
    }

    /// Has some of the routers be a sync group, or not.
    pub fn group(&mut self, rng: &mut Rng, instances: usize, allowed: bool) {
        self.groups = (0..instances).collect();
        if instances < 2 || !allowed || !chance(rng, 300_000) {
            return;
        }
        let out = (instances > 2 && rng.bool()).then(|| rng.usize(..instances));
        let first = if out == Some(0) { 1 } else { 0 };
        for (router, group) in self.groups.iter_mut().enumerate() {
            if out != Some(router) {
                *group = first;
            }
        }
    }

    pub fn interval(&self, rng: &mut Rng) -> Duration {
        match self.version {
            Version::V2 => Duration::from_secs(pick(rng, &[1, 1, 2])),
            Version::V3 => Duration::from_millis(pick(rng, &[10, 50, 100, 100, 1000, 1000])),
        }
    }

    pub fn instances(&self, rng: &mut Rng, intervals: &[Duration], node: usize) -> Vec<Settings> {
        let alike = chance(rng, 800_000);
        let settings = (1..).zip(intervals).map(|(vrid, interval)| {
            let mut interval = *interval;
            if !self.plain && chance(rng, 300_000) {
                interval = self.interval(rng);
            }
            let preempt = chance(rng, 700_000);
            let delayed = preempt && chance(rng, 150_000);
            let priority = if self.owners && chance(rng, 400_000) {
                255
            } else {
                pick(rng, &[1, 50, 100, 100, 101, 150, 200, 254])
            };
            Settings {
                version: match (self.version, self.babel && node == 0) {
                    (Version::V3, true) if interval.subsec_nanos() == 0 => Version::V2,
                    (version, _) => version,
                },
                preempt,
                preempt_delay: if delayed { interval * rng.u32(1..6) } else { Duration::ZERO },
                lease: if self.strict { LeasePolicy::Strict } else { LeasePolicy::Overlap },
                down_timer_adverts: if self.plain { 3 } else { rng.u8(2..=5) },
                lower_prio_no_advert: chance(rng, 100_000),
                fence: self.fences && chance(rng, 500_000),
                ..settings(vrid, priority, interval)
            }
        });
        let mut settings: Vec<Settings> = settings.collect();
        self.unite(&mut settings, alike);
        settings
    }

    /// The same but for the intervals.
    pub fn with_intervals(&self, instances: &[Settings], intervals: &[Duration]) -> Vec<Settings> {
        let with = |(settings, interval): (&Settings, &Duration)| Settings {
            advert_interval: match settings.version {
                Version::V2 if interval.subsec_nanos() > 0 => settings.advert_interval,
                Version::V2 | Version::V3 => *interval,
            },
            ..*settings
        };
        let mut settings: Vec<Settings> = instances.iter().zip(intervals).map(with).collect();
        share(&self.groups, &mut settings);
        settings
    }

    /// Another configuration of some routers, for a process that runs: the version stays.
    fn reloaded(&self, rng: &mut Rng, plan: &Plan, intervals: &[Duration], node: usize) -> Vec<Settings> {
        let before = &plan.nodes[node].instances;
        let before = if self.plain { self.with_intervals(before, intervals) } else { before.clone() };
        let after = self.instances(rng, intervals, node);
        let paces: Vec<Duration> = after.iter().map(|settings| settings.advert_interval).collect();
        let after = after.iter().zip(&before).map(|(after, before)| Settings {
            version: before.version,
            advert_interval: before.advert_interval,
            ..*after
        });
        let after = self.with_intervals(&after.collect::<Vec<_>>(), &paces);
        let together = chance(rng, 700_000);
        let changes: Vec<bool> = before.iter().map(|_| rng.bool()).collect();
        let pick = |router: usize| {
            let changed = changes[if together { self.groups[router] } else { router }];
            if changed { after[router] } else { before[router] }
        };
        let mut settings: Vec<Settings> = (0..before.len()).map(pick).collect();
        self.unite(&mut settings, false);
        settings
    }

    /// What the members of a sync group must have in common, and with `alike` what they had better have.
    fn unite(&self, settings: &mut [Settings], alike: bool) {
        for router in 0..settings.len() {
            let first = settings[self.groups[router]];
            let own = &mut settings[router];
            if alike || own.priority.is_owner() || first.priority.is_owner() {
                own.priority = first.priority;
            }
            if alike {
                (own.preempt, own.preempt_delay) = (first.preempt, first.preempt_delay);
            }
        }
        share(&self.groups, settings);
    }
}

/// Has the members of each sync group share what belongs to their lease.
pub fn share(groups: &[usize], instances: &mut [Settings]) {
    for group in 0..groups.len() {
        let members = || (0..groups.len()).filter(|router| groups[*router] == group);
        let mut shared: Vec<Settings> = members().map(|router| instances[router]).collect();
        Settings::share(&mut shared);
        members().zip(shared).for_each(|(router, settings)| instances[router] = settings);
    }
}

pub fn fault(rng: &mut Rng, plan: &Plan, style: &Style, intervals: &[Duration], slow: Time) -> Fault {
    let count = plan.nodes.len();
    let node = rng.usize(..count);
    // Around the times at which something is about to happen: a wait, a lease.
    let for_ = match rng.u8(..4) {
        0 => rng.u64(0..slow / 2),
        1 => rng.u64(0..3 * slow),
        2 => rng.u64(5 * slow / 2..5 * slow),
        _ => rng.u64(0..12 * slow),
    };
    let router = rng.usize(..plan.nodes[node].instances.len());
    let vipd = plan.nodes[node].kind == Kind::Vipd;
    match rng.u8(..37) {
        0..5 => Fault::Freeze { node, for_ },
        5 | 6 => Fault::Pause { node, for_, clock_stops: rng.bool() },
        7..10 => Fault::Kill { node, for_ },
        10 | 11 => Fault::Restart { node, for_: for_ / 4, instances: None },
        12 => {
            let instances = vipd.then(|| style.instances(rng, intervals, node));
            Fault::Restart { node, for_: for_ / 4, instances }
        }
        13..16 => Fault::Stop { node, for_ },
        16 => Fault::Crash { node, for_ },
        17 | 18 => Fault::LinkDown { node, for_ },
        19 => Fault::Cut { from: node, to: (node + rng.usize(1..count)) % count, for_ },
        20 | 21 => Fault::Partition { side: rng.u32(1..1 << count), for_ },
        22 => Fault::Loss { share: pick(rng, &[50_000, 300_000, 900_000]), for_ },
        23 => Fault::SendFails { node, for_ },
        24 => Fault::Tracked { node, router, for_ },
        25..28 => Fault::Priority { node, router, priority: rng.u8(1..=254), for_ },
        28 | 29 if vipd => {
            Fault::Reload { node, instances: Some(style.reloaded(rng, plan, intervals, node)) }
        }
        30 if vipd => Fault::Reload { node, instances: None },
        31 if vipd => Fault::Remove { node, router, for_ },
        32..35 if vipd => Fault::HandOver { node, router, lowers: rng.bool(), for_ },
        _ => Fault::Busy { node, for_, at_most: rng.u64(MILLI / 10..2 * slow) },
    }
}
