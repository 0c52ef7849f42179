//! A client that is not served although one node has the VIP: it was not told, or told wrongly, whose the VIP is.

use super::{Case, Finding, Kind, Verdict, causes::uncovered, intervals::Run};
use crate::{
    clock::{MILLI, SECOND, Time, millis, ns},
    fault::Class,
    plan::Family,
    watch::{Question, Request},
};

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
/// A keepalived that has been a rival without being heard yields without a word. The client's kernel finds out by itself: 5 s
/// in DELAY, three probes.
const NEIGHBOUR_PROBES: Time = 10 * SECOND;
