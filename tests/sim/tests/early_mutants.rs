//! Faults planted in the rules of early takeover, each of which the simulation must find: R1 to R10 of
//! `docs/internals/early-takeover.md`.

mod planted;

use planted::{Mutant, each_is_found};

const SESSION: &str = "vipd/core/src/early/session.rs";
const PROBES: &str = "vipd/core/src/early/probes.rs";
const WATCH: &str = "vipd/core/src/early/watch.rs";
const EARLY: &str = "vipd/core/src/early.rs";
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
        from: "reason == Reason::HostSilent && !reaches_arbiter(&masters, sessions, node)",
        to: "reason == Reason::Preempting && !reaches_arbiter(&masters, sessions, node)",
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
        from: ">= timing.steady.max(timing.detect() * DARK_DETECTIONS)",
        to: ">= Duration::ZERO",
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
        name: "R3: the claim is not repeated",
        file: WATCH,
        from: "now >= claimed.at + *after)",
        to: "now >= claimed.at + *after * 10)",
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
        file: WATCH,
        from: "claimed.challenged_at = Some(now);",
        to: "claimed.challenged_at = Some(now - CHALLENGE);",
    },
    Mutant {
        name: "R5: never yields",
        file: WATCH,
        from: "if claimed.challenged_at.is_some_and(in_vain) {",
        to: "if claimed.challenged_at.is_some_and(|at| in_vain(at) && at > now) {",
    },
    Mutant {
        name: "R5: takes a master that falls silent again for one that has heard",
        file: WATCH,
        from: "(unheard || owner_at.is_some_and",
        to: "(unheard && owner_at.is_some() || owner_at.is_some_and",
    },
    Mutant {
        name: "R6: the claim stands when the master has heard it",
        file: WATCH,
        from: "now.saturating_since(since) >= timing.interval * SETTLED_AFTER);",
        to: "now.saturating_since(since) >= timing.interval * SETTLED_AFTER * 1_000);",
    },
    Mutant {
        name: "R6: the claim stands when the master's lease has run out",
        file: WATCH,
        from: "now >= claimed.ends_at && !is_heard",
        to: "now >= claimed.ends_at + Duration::from_secs(900) && !is_heard",
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
        file: WATCH,
        from: "            assert = Some(true);",
        to: "            assert = Some(false);",
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
        from: "saturating_add(self.detect_ns.saturating_mul(DARK_DETECTIONS.into()))",
        to: "saturating_add(0)",
    },
    Mutant {
        name: "R9: the beat says when it was stored",
        file: EARLY,
        from: "            node.beat(at);",
        to: "            let at = node.now();\n            node.beat(at);",
    },
    Mutant {
        name: "R9: a daemon that does not reach its arbiter vouches",
        file: EARLY,
        from: "at.saturating_since(asked) <= self.timing.interval * 2)",
        to: "at.saturating_since(asked) <= self.timing.interval * 2_000_000)",
    },
    Mutant {
        name: "R10: one that has slept speaks at once",
        file: EARLY,
        from: "            None => now + self.timing.interval * 2,\n        };",
        to: "            None => now,\n        };",
    },
];

/// More than enough for each: a cluster that probes takes ten times as long as one that does not.
const SEEDS: u64 = 4_000;

#[test]
#[ignore = "long tier: builds the simulation once for each fault"]
fn each_planted_fault_of_early_takeover_is_found() {
    let edits: Vec<_> = MUTANTS.iter().map(std::slice::from_ref).collect();
    each_is_found("early-mutants", &["--early"], SEEDS, &edits);
}
