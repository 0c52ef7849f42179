//! A client that is not served although one node has the VIP: it was not told, or told wrongly, whose the VIP is.

use super::{Case, Finding, Kind, Verdict, causes::uncovered, intervals::Run};
use crate::{
    clock::{MILLI, SECOND, Time, millis, ns},
    cluster::Happened,
    fault::Class,
    plan::Family,
    watch::{Question, Request},
};

impl Case {
    /// Whether something is done to one of two owners, which the network keeps from each other, before they hear each other:
    /// then the one that stays never learns that it had a rival, and the other one cannot say so.
    fn loser_is_mute(&self, run: Run) -> bool {
        let apart = self.of_class(Class::Network).any(|f| f.start <= run.to && run.from <= f.end);
        let until = run.to + AFTER_CUT;
        let of_owner = |f: &Happened| f.fault.host().is_some_and(|node| run.owners & 1 << node != 0);
        apart && self.faults.iter().any(|f| of_owner(f) && f.start <= until && run.from <= f.end)
    }
}

/// Runs of requests without an answer.
pub fn astray(
    case: &Case,
    family: Family,
    requests: &[Request],
    questions: &[Question],
    none: &[Run],
) -> Vec<Finding> {
    let mut excused: Vec<(Time, Time)> = Vec::new();
    let slow = case.setup.has_keepalived();
    let after = if slow { SECOND + ns(case.setup.interval) } else { AFTER_TAKEOVER };
    let after_cut = if slow { NEIGHBOUR_PROBES } else { AFTER_CUT };
    for fault in case.of_class(Class::Network) {
        excused.push((fault.start, fault.end.saturating_add(case.setup.lease() + after_cut)));
    }
    for run in super::intervals::two_owners(questions) {
        if case.loser_is_mute(run) {
            excused.push((run.from, run.to + NEIGHBOUR_PROBES));
        }
    }
    excused.extend(case.of_class(Class::Machine).map(|f| (f.start, f.end.saturating_add(after))));
    excused.extend(none.iter().map(|run| (run.from.saturating_sub(after), run.to + after)));
    for pair in questions.windows(2) {
        if pair[0].owners != pair[1].owners {
            excused.push((pair[0].sent.saturating_sub(MARGIN), pair[1].answered + after));
        }
    }
    excused.sort();
    let unserved = requests.chunk_by(|a, b| a.served == b.served).filter(|part| !part[0].served);
    let long = unserved.filter(|part| part.len() >= FEW);
    long.map(|part| {
        let (from, to) = (part[0].sent, part[part.len() - 1].sent);
        let (start, end) = uncovered(&excused, from, to);
        let allowed = ALLOWED + case.tolerance(start, end);
        let verdict = if end - start <= allowed {
            let near = case.faults.iter().map(|f| (*f, f.start, f.end.saturating_add(after))).collect();
            Verdict::Explained(super::causes::Causes::new(near).named(from, to, super::STALL))
        } else {
            let owners = questions.iter().filter(|q| start <= q.sent && q.sent <= end);
            let owner = owners.fold(0, |all, q| all | q.owners);
            let what = format!(
                "one node ({}) had the VIP for {:.1} ms, and {:.1} ms are allowed",
                (owner.trailing_zeros() + 1),
                millis(end - start),
                millis(allowed)
            );
            Verdict::Violation(what)
        };
        Finding { kind: Kind::Astray, family: Some(family), from, to, owners: 0, verdict }
    })
    .collect()
}

/// Requests that the machine lost, or was late with.
const FEW: usize = 5;
const MARGIN: Time = 20 * MILLI;
const ALLOWED: Time = 100 * MILLI;
/// A takeover is announced at once.
const AFTER_TAKEOVER: Time = 150 * MILLI;
/// After a cut the former rival has to be heard, and the announcement to arrive.
const AFTER_CUT: Time = SECOND;
/// A rival that was never heard, and yields without a word: a keepalived, or one that is frozen. The client's kernel finds out by itself: 5 s
/// in DELAY, three probes.
const NEIGHBOUR_PROBES: Time = 10 * SECOND;
