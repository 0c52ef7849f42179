//! The misconfiguration monitor of the main thread, which looks now and then: counters that say that routers do not understand each other, and masters that
//! never heard anybody.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use vipd_common::abi::InstanceCounters;

use super::super::{
    clock,
    router::{self, Router},
};
use crate::{
    coordinator::StateName,
    dataplane::Pages,
    detection::{CounterSample, Limits, MismatchFinding, Mismatches, RefusedAdvert, Silence},
    notify::{Change, Notice},
    time::Instant,
};

/// Between two looks.
pub const PERIOD: Duration = Duration::from_secs(5);
/// A counter that stands still for so long, and for four adverts, is a mismatch that is over.
const QUIET: Duration = Duration::from_secs(30);

/// What is known of all instances, by name.
#[derive(Debug, Default)]
pub struct MisconfigurationMonitor {
    mismatches: Mismatches,
    silences: BTreeMap<String, Silence>,
    /// By instance and what does not fit.
    limits: Limits<(String, &'static str), MismatchFinding>,
}

impl MisconfigurationMonitor {
    /// Takes note of what has changed.
    pub fn changed(&mut self, notice: &Notice) {
        let silence = self.silences.entry(notice.instance.clone()).or_default();
        match notice.change {
            Change::State(state) => silence.state(state == StateName::Master, clock::now()),
            Change::Conflict(_) => silence.claimed(),
            _ => {}
        }
    }

    /// The mismatches of an instance that go on.
    pub fn going_on(&self, instance: &str) -> Vec<String> {
        self.mismatches.going_on(instance)
    }

    /// What a router differs in that advertises for an instance and whose adverts are discarded.
    pub fn refused_rival(&self, router: &Router) -> Option<String> {
        self.mismatches.refused_rival(router.name(), router.spec().advert_interval, clock::now())
    }

    /// Looks at the counters of all instances.
    pub fn check(&mut self, routers: &[Router], pages: &Pages) {
        let now = clock::now();
        let Ok(all) = pages.counters() else { return };
        let names: BTreeSet<&str> = routers.iter().map(Router::name).collect();
        self.limits.retain(|(name, _)| names.contains(name.as_str()));
        self.mismatches.retain(|name| names.contains(name));
        self.silences.retain(|name, _| names.contains(name.as_str()));
        for router in routers {
            self.check_one(router, pages, all.vrid_errors, now);
        }
        for ((name, _), finding, late) in self.limits.take_due(now) {
            tell_of_mismatch(&name, finding, Some(late.untold));
        }
    }

    /// `foreign`: adverts of virtual routers that this host has not.
    fn check_one(&mut self, router: &Router, pages: &Pages, foreign: u64, now: Instant) {
        let Self { mismatches, silences, limits } = self;
        let name = router.name();
        let Ok(counters) = pages.instance_counters(router.id().slot()) else { return };
        let interval = router.spec().advert_interval;
        let silence = silences.entry(name.to_owned()).or_default();
        let patience = router.settings().master_down_interval(interval) * 3;
        if silence.look(counters.adverts_received, patience, now) && !router.spec().priority.is_owner() {
            let discards = counters.iter().skip(InstanceCounters::FIRST_DISCARD);
            tell_of_silence(router, foreign > 0, discards.map(|(_, count)| count).sum());
        }
        let refused = pages.instances().refused(router.id().slot());
        let refused = refused.map(|(source, reason, ttl)| RefusedAdvert {
            source: router::address(source),
            reason,
            ttl,
        });
        let deaf = silence.is_deaf(patience, now);
        let sample = CounterSample { counters, refused, foreign, deaf };
        for finding in mismatches.look(name, &sample, QUIET.max(interval * 4), now) {
            let told = match finding {
                MismatchFinding::Seen { what, .. } => limits.begins((name.to_owned(), what), finding, now),
                MismatchFinding::Over { what, .. } => limits.ends(&(name.to_owned(), what), finding, now),
            };
            told.into_iter().for_each(|finding| tell_of_mismatch(name, finding, None));
        }
    }
}

/// `refused`: adverts for the instance that came in and were refused.
fn tell_of_silence(router: &Router, other_routers: bool, refused: u64) {
    let what = if refused > 0 { REFUSED } else { SILENT };
    tracing::info!(
        target: "vipd::event",
        event = "peer_never_heard",
        instance = router.name(),
        unicast = router.spec().unicast.is_some(),
        other_routers,
        refused,
        "{what}"
    );
}

const SILENT: &str = "master, and no other router was ever heard: so it is if this is the first to run, or the only one; if another is \
                      master too, look for a firewall (protocol 112), IGMP snooping without a querier, another VRID";
const REFUSED: &str = "master, and no valid advert was ever heard: adverts of another router arrive and are refused, see the event \
                       mismatch and `vipd doctor`";

/// `untold`: it stands for so many.
fn tell_of_mismatch(name: &str, finding: MismatchFinding, untold: Option<u64>) {
    match finding {
        MismatchFinding::Seen { what, fix, count, last } => tracing::warn!(
            target: "vipd::event",
            event = "mismatch",
            instance = name,
            what,
            count,
            sender = last.map(|last| tracing::field::display(last.source)),
            ttl = last.map(|last| last.ttl),
            fix,
            untold,
            "another router is configured differently"
        ),
        MismatchFinding::Over { what, count, lasted } => tracing::info!(
            target: "vipd::event",
            event = "mismatch_over",
            instance = name,
            what,
            count,
            lasted_ms = u64::try_from(lasted.as_millis()).unwrap_or(u64::MAX),
            untold,
            "no more adverts that differ"
        ),
    }
}
