//! What the main thread looks at now and then: counters that say that routers do not understand each other, and masters that
//! never heard anybody.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{
    clock,
    main_loop::MainLoop,
    router::{self, Router},
};
use crate::{
    control::model::Status,
    detection::{Limits, MismatchFinding, Mismatches, Refused, Sample, Silence},
    engine::StateName,
    notify::{Change, Notice},
};

/// Between two looks.
pub const LOOK: Duration = Duration::from_secs(5);
/// A counter that stands still for so long, and for four adverts, is a mismatch that is over.
const QUIET: Duration = Duration::from_secs(30);

/// What is known of all instances, by name.
#[derive(Debug, Default)]
pub struct Conditions {
    mismatches: Mismatches,
    silences: BTreeMap<String, Silence>,
    /// By instance and what does not fit.
    limits: Limits<(String, &'static str), MismatchFinding>,
}

impl Conditions {
    /// Takes note of what has changed.
    pub fn changed(&mut self, notice: &Notice) {
        let silence = self.silences.entry(notice.instance.clone()).or_default();
        match notice.change {
            Change::State(state) => silence.state(state == StateName::Master, clock::now()),
            Change::Conflict(_) => silence.claimed(),
            _ => {}
        }
    }

    /// Fills in what is known here only.
    pub fn complete(&self, status: &mut Status) {
        for instance in &mut status.instances {
            instance.mismatches = self.mismatches.going_on(&instance.name);
        }
    }
}

impl MainLoop<'_> {
    /// Looks at the counters of all instances.
    pub fn look(&mut self) {
        let now = clock::now();
        let pages = self.made.dataplane.pages();
        let Ok(all) = pages.counters() else { return };
        let names: BTreeSet<&str> = self.routers.iter().map(|router| router.spec.name.as_str()).collect();
        let Conditions { mismatches, silences, limits } = &mut self.conditions;
        limits.retain(|(name, _)| names.contains(name.as_str()));
        mismatches.retain(|name| names.contains(name));
        silences.retain(|name, _| names.contains(name.as_str()));
        for router in &self.routers {
            let name = &router.spec.name;
            let Ok(counters) = pages.instance_counters(router.slot) else { continue };
            let interval = router.spec.advert_interval;
            let silence = silences.entry(name.clone()).or_default();
            let patience = router.settings.master_down_interval(interval) * 3;
            if silence.look(counters.adverts_received, patience, now) && !router.spec.priority.is_owner() {
                tell_of_silence(router, all.vrid_errors > 0);
            }
            let refused = pages.instances().refused(router.slot).map(|(source, reason, ttl)| Refused {
                source: router::address(source),
                reason,
                ttl,
            });
            let deaf = silence.is_deaf(patience, now);
            let sample = Sample { counters, refused, foreign: all.vrid_errors, deaf };
            for finding in mismatches.look(name, &sample, QUIET.max(interval * 4), now) {
                let told = match finding {
                    MismatchFinding::Seen { what, .. } => limits.begins((name.clone(), what), finding, now),
                    MismatchFinding::Over { what, .. } => limits.ends(&(name.clone(), what), finding, now),
                };
                told.into_iter().for_each(|finding| tell_of_mismatch(name, finding, None));
            }
        }
        for ((name, _), finding, late) in limits.take_due(now) {
            tell_of_mismatch(&name, finding, Some(late.untold));
        }
    }
}

fn tell_of_silence(router: &Router, other_routers: bool) {
    tracing::info!(
        target: "vipd::event",
        event = "peer_never_heard",
        instance = router.spec.name,
        unicast = router.spec.unicast.is_some(),
        other_routers,
        "master, and no other router was ever heard: so it is if this is the first to run, or the only one; if another is \
         master too, look for a firewall (protocol 112), IGMP snooping without a querier, another VRID"
    );
}

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
