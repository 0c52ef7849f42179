//! Faults planted in the rules of early takeover, each of which the simulation must find: R1 to R11 of
//! `docs/internals/early-takeover.md`.

mod planted;

use planted::{Mutant, each_fails_a_story, each_has_its_place, each_is_found};

const SESSION: &str = "vipd/core/src/early/session.rs";
const PROBES: &str = "vipd/core/src/early/probes.rs";
const WATCH: &str = "vipd/core/src/early/watch.rs";
const CLAIMED: &str = "vipd/core/src/early/claimed.rs";
const EARLY: &str = "vipd/core/src/early.rs";
const LEASES: &str = "vipd/core/src/lease_manager.rs";
const CLAIM: &str = "vipd/core/src/vrrp/machine/claim.rs";
const RIVAL: &str = "vipd-common/src/rival.rs";
const SPONSOR: &str = "vipd-common/src/sponsor.rs";

const MUTANTS: &[Mutant] = &[
    Mutant {
        name: "R1: a silence may be shorter than the sponsors' is known to be",
        file: SESSION,
        from: "(*last + timing.answer_wait()).max(self.stamps.heard + timing.detect())",
        to: "*last + timing.answer_wait()",
    },
    Mutant {
        name: "R1: one that was late goes on counting",
        file: SESSION,
        from: "if now.saturating_since(self.last_sent) > timing.interval * 2 {",
        to: "if now.saturating_since(self.last_sent) > timing.interval * 1_000_000 {",
    },
    Mutant {
        name: "R1: only answers count as a word of the master",
        file: SESSION,
        from: "let heard = self.stamps.heard;",
        to: "let heard = self.stamps.answered;",
    },
    Mutant {
        name: "R2: who was armed when the silence began stays it",
        file: WATCH,
        from: "            silence.armed &= armed;\n",
        to: "",
    },
    Mutant {
        name: "R1: a worse backup does not wait for a better one",
        file: PROBES,
        from: "RANK_SKEW * better + behind",
        to: "RANK_SKEW * better.min(u32::from(behind.is_zero()))",
    },
    Mutant {
        name: "R1: the arbiter is not asked",
        file: WATCH,
        from: "Reason::HostSilent => reaches_arbiter(&masters, sessions, node),",
        to: "Reason::HostSilent => reaches_arbiter(&masters, sessions, node) || now >= due,",
    },
    Mutant {
        name: "R2: the age of the last answer does not matter",
        file: SESSION,
        from: "self.is_fresh(self.stamps.answered, timing.answer_limit(), now)",
        to: "self.is_fresh(self.stamps.answered, timing.answer_limit() * 1_000, now)",
    },
    Mutant {
        name: "R2: a silence counts from the first word on",
        file: SESSION,
        from: ">= timing.steadiness()",
        to: ">= Duration::ZERO",
    },
    Mutant {
        name: "R2: claims from a master that only measures",
        file: SESSION,
        from: "!timing.takes_over || block.takes_over && self.stamps.counted;",
        to: "!timing.takes_over || self.stamps.counted;",
    },
    Mutant {
        name: "R2: claims without being a sponsor",
        file: SESSION,
        from: "!timing.takes_over || block.takes_over && self.stamps.counted;",
        to: "!timing.takes_over || block.takes_over;",
    },
    Mutant {
        name: "R2: a false alarm has no consequence",
        file: WATCH,
        from: "followed && now >= self.disarmed_until && masters",
        to: "followed && masters",
    },
    Mutant {
        name: "R2: a router that fences its master claims",
        file: CLAIM,
        from: "!self.settings.fence && !matches!",
        to: "!matches!",
    },
    Mutant {
        name: "R3: claims at its own priority",
        file: CLAIM,
        from: "        self.claim = claim;",
        to: "        self.claim = claim.and(Some(self.settings.priority));",
    },
    Mutant {
        name: "R3: XDP is not told of the claim",
        file: LEASES,
        from: "Action::Publish { instance, rank } => node.publish(instance, rank),",
        to: "Action::Publish { instance, .. } if self.coordinator.claim(instance).is_some() => {}\n            Action::Publish { instance, rank } => node.publish(instance, rank),",
    },
    Mutant {
        name: "R3: the claim is not repeated",
        file: CLAIMED,
        from: "is_some_and(|at| now >= at) {",
        to: "is_some_and(|at| now >= at + Duration::from_millis(20)) {",
    },
    Mutant {
        name: "R4: a claim in a probe takes no lease",
        file: RIVAL,
        from: "            tenure => tenure,\n        }\n    }\n\n    /// As [`tenure`](Self::tenure), of an address owner",
        to: "            Tenure::Lost => Tenure::Kept,\n            tenure => tenure,\n        }\n    }\n\n    /// As [`tenure`](Self::tenure), of an address owner",
    },
    Mutant {
        name: "R4: one whose daemon is silent keeps its lease beside an owner",
        file: RIVAL,
        from: "Tenure::Kept if beat_is_stale && self.priority != 0 => Tenure::Lost,",
        to: "Tenure::Kept if beat_is_stale && self.priority == 255 => Tenure::Lost,",
    },
    Mutant {
        name: "R5: yields to a word that has crossed the claim",
        file: CLAIMED,
        from: "self.challenged_at = Some(now);",
        to: "self.challenged_at = Some(now - CHALLENGE);",
    },
    Mutant {
        name: "R5: never yields",
        file: WATCH,
        from: "if claimed.is_in_vain(sessions, leases, now) {",
        to: "if claimed.is_in_vain(sessions, leases, now) && now == Instant::default() {",
    },
    Mutant {
        name: "R6: the claim stands when the master has heard it",
        file: CLAIMED,
        from: "now.saturating_since(since) >= timing.interval * SETTLED_AFTER;",
        to: "now.saturating_since(since) >= timing.interval * SETTLED_AFTER * 1_000;",
    },
    Mutant {
        name: "R6: the claim stands when the master's lease has run out",
        file: CLAIMED,
        from: "now >= self.ends_at && self.silent",
        to: "now >= self.ends_at + Duration::from_secs(900) && self.silent",
    },
    Mutant {
        name: "R7: nobody misses an owner",
        file: WATCH,
        from: "    !owned && sources.all(speaks)",
        to: "    !owned && sources.all(speaks) && sessions.is_empty()",
    },
    Mutant {
        name: "R7: who says that he owns is not heard",
        file: WATCH,
        from: "    !owned && sources.all(speaks)",
        to: "    let _ = owned;\n    sources.all(speaks)",
    },
    Mutant {
        name: "R8: the return of the master is not answered",
        file: CLAIMED,
        from: "            assert = Some(true);",
        to: "            assert = Some(false);",
    },
    Mutant {
        name: "R9: who owns by its beat says so with the next probe",
        file: EARLY,
        from: "node.say(leases, &self.timing, self.leaving, beats, at)",
        to: "node.say(leases, &self.timing, self.leaving, false, at)",
    },
    Mutant {
        name: "R9: the lease alone counts",
        file: SPONSOR,
        from: "backups.iter().all(|backup| backup.lets_own(beat_ns, now))",
        to: "backups.iter().all(|backup| backup.lets_own(beat_ns, now) || now > 0)",
    },
    Mutant {
        name: "R9: one backup speaks for another",
        file: SPONSOR,
        from: "backups.iter().all(|backup| backup.lets_own(beat_ns, now))",
        to: "backups.iter().any(|backup| backup.lets_own(beat_ns, now))",
    },
    Mutant {
        name: "R9: a daemon that has outlived any probe owns",
        file: SPONSOR,
        from: "saturating_add(self.detect_ns.wrapping_mul(DARK_DETECTIONS.into()))",
        to: "saturating_add(0)",
    },
    Mutant {
        name: "R9: the beat says when it was stored",
        file: EARLY,
        from: "            node.beat(at);",
        to: "            let at = node.now();\n            node.beat(at);",
    },
    Mutant {
        name: "R11: preempts beside a peer that does not hear it",
        file: WATCH,
        from: "if leases.is_one_way(first) == self.one_way.is_empty() {",
        to: "if leases.is_one_way(first) {",
    },
    Mutant {
        name: "R11: a master that is not heard stays",
        file: WATCH,
        from: "leases.input(Input::GiveWay { instance: first }, node);",
        to: "",
    },
    Mutant {
        name: "R10: one that has slept speaks at once",
        file: EARLY,
        from: "            None => now + interval * 2,\n        };",
        to: "            None => now,\n        };",
    },
];

/// Found by a story of `tests/early.rs`: they want more things at once than seeds often bring.
const RARE: &[Mutant] = &[
    Mutant {
        name: "R2: claims a router that its master's probes do not list",
        file: WATCH,
        from: "let Some(RouterFlags { priority, .. }) = said.copied() else { return };",
        to: "let Some(RouterFlags { priority, .. }) = said.copied() else { continue };",
    },
    Mutant {
        name: "R3: outbids the last advert alone",
        file: CLAIM,
        from: "            _ => self.bids(),",
        to: "            _ => self.outbids().map(|(_, claim)| claim),",
    },
    Mutant {
        name: "R3: who claims many groups does not probe until it has claimed all",
        file: EARLY,
        from: "if watch.claims() {",
        to: "if watch.claims() && now < self.next_probe && now > self.next_probe {",
    },
    Mutant {
        name: "R5: takes a master that falls silent again for one that has heard",
        file: CLAIMED,
        from: "now >= until && (unheard || owner_at.is_some_and",
        to: "now >= until && (unheard && owner_at.is_some_and(|at| at > until - CHALLENGE) || owner_at.is_some_and",
    },
    Mutant {
        name: "R7: the arbiter is not asked",
        file: WATCH,
        from: "_ => timing.is_arbitrated(node.arbiter(), now),",
        to: "_ => true,",
    },
    Mutant {
        name: "R7: who is back at the arbiter takes an orphan at once",
        file: WATCH,
        from: "            self.orphaned_since = None;\n            return;\n        }\n        if now < due",
        to: "            return;\n        }\n        if now < due",
    },
    Mutant {
        name: "R9: who claims one router does not vouch for another",
        file: EARLY,
        from: "let said = node.say(leases, &self.timing, self.leaving, beats, at);",
        to: "let claims = leases.ids().into_iter().any(|id| leases.claim(id).is_some());\n        let timing = ProbeTiming { takes_over: self.timing.takes_over && !claims, ..self.timing };\n        let said = node.say(leases, &timing, self.leaving, beats, at);",
    },
    Mutant {
        name: "R9: a daemon that does not reach its arbiter vouches",
        file: EARLY,
        from: "if speaks && beats {",
        to: "if speaks {",
    },
    Mutant {
        name: "R9: sponsors are asked for no more at once",
        file: EARLY,
        from: "self.timing.takes_over && !self.leaving || self.sessions.values().any(|session| session.relies(now))",
        to: "self.timing.takes_over && !self.leaving && now > Instant::default()",
    },
    Mutant {
        name: "R10: a listener that sleeps again has listened",
        file: EARLY,
        from: "if gap > self.timing.interval && self.listens_until.is_some() {",
        to: "if gap > self.timing.interval * 1_000 && self.listens_until.is_some() {",
    },
];

/// More than enough for each: a cluster that probes takes ten times as long as one that does not.
const SEEDS: u64 = 4_000;

#[test]
fn each_fault_has_its_place() {
    each_has_its_place(MUTANTS.iter().chain(RARE).map(std::slice::from_ref));
}

#[test]
#[ignore = "long tier: builds the simulation once for each fault"]
fn each_planted_fault_of_early_takeover_is_found() {
    let edits: Vec<_> = MUTANTS.iter().map(std::slice::from_ref).collect();
    each_is_found("early-mutants", &["--early"], SEEDS, &edits);
}

#[test]
#[ignore = "long tier: builds the simulation once for each fault"]
fn each_rare_fault_of_early_takeover_fails_a_story() {
    each_fails_a_story("early-stories", "early", RARE);
}
