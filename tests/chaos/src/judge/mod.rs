//! What was seen, beside what docs/internals/invariants.md promises. Pure.
//!
//! Lengths are lower bounds: between the first and the last question that showed a thing. A question that the machine kept
//! from being asked shows nothing. A stall of the machine that was measured lengthens every bound by twice its time.

pub mod causes;
mod client;
mod intervals;
#[cfg(test)]
mod tests;

use std::fmt;

use self::causes::Causes;
use crate::{
    clock::{MILLI, Time, millis, ns, seconds},
    cluster::Happened,
    fault::{Class, Fault, NodeIndex, name},
    plan::{Family, NODES, Setup},
    watch::Seen,
};

/// All that a verdict rests on.
#[derive(Debug, Clone)]
pub struct Case {
    pub setup: Setup,
    pub faults: Vec<Happened>,
    pub seen: Seen,
    pub changes: Vec<Change>,
}

/// A change of state that a vipd told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    pub at: Time,
    pub node: NodeIndex,
    pub instance: String,
    pub from: String,
    pub to: String,
}

/// What was found, and what explains it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub kind: Kind,
    pub family: Option<Family>,
    pub from: Time,
    pub to: Time,
    /// A bit for each node.
    pub owners: u8,
    pub verdict: Verdict,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Two nodes or more answered for a VIP.
    TwoOwners,
    /// Nobody did.
    NoOwner,
    /// One node did, and the client was not served.
    Astray,
    /// A node changed its state.
    NoCause,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Within what the invariants allow without any reason.
    Brief,
    /// By these kinds of faults, or by stalls of the machine.
    Explained(String),
    /// What was promised, and for how long it was broken.
    Violation(String),
}

impl Finding {
    pub fn is_violation(&self) -> bool {
        matches!(self.verdict, Verdict::Violation(_))
    }

    pub fn length(&self) -> Time {
        self.to - self.from
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TwoOwners => "two-owners",
            Self::NoOwner => "no-owner",
            Self::Astray => "client-astray",
            Self::NoCause => "no-cause",
        })
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.kind)?;
        if let Some(family) = self.family {
            write!(f, " of {}", family.vip())?;
        }
        write!(f, " at {:.3} s for {:.1} ms", seconds(self.from), millis(self.length()))?;
        let owners: Vec<_> = (0..NODES).filter(|node| self.owners & 1 << node != 0).map(name).collect();
        if !owners.is_empty() {
            write!(f, " ({})", owners.join(", "))?;
        }
        match &self.verdict {
            Verdict::Brief => write!(f, ": brief"),
            Verdict::Explained(why) => write!(f, ": by {why}"),
            Verdict::Violation(what) => write!(f, ": VIOLATION: {what}"),
        }
    }
}

/// Everything worth telling, in order of time.
pub fn judge(case: &Case) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (index, &family) in case.setup.families.iter().enumerate() {
        let questions = case.seen.questions.get(index).map_or(&[][..], Vec::as_slice);
        let two = intervals::two_owners(questions);
        let none = intervals::no_owner(questions);
        findings.extend(two.iter().map(|run| case.judge_two(family, *run)));
        findings.extend(none.iter().map(|run| case.judge_none(family, *run)));
        let requests = case.seen.requests.get(index).map_or(&[][..], Vec::as_slice);
        findings.extend(client::astray(case, family, requests, questions, &none));
    }
    findings.extend(case.without_cause());
    findings.sort_by_key(|finding| (finding.from, finding.kind));
    findings
}

impl Case {
    /// I1: nothing that happens to a process makes two owners; what the network does, until the longest lease has run out.
    fn judge_two(&self, family: Family, run: intervals::Run) -> Finding {
        let touches = |fault: &Happened| fault.fault.nodes().iter().any(|&node| run.owners & 1 << node != 0);
        let excuses = self.of_class(Class::Network).filter(|fault| touches(fault));
        let excuses: Vec<_> =
            excuses.map(|f| (*f, f.start, f.end.saturating_add(self.setup.lease()))).collect();
        let causes = Causes::new(excuses);
        let (from, to) = causes.uncovered(run.from, run.to);
        let allowed = self.tolerance(from, to);
        let verdict = if run.length() <= TOLERANCE {
            Verdict::Brief
        } else if to - from <= allowed {
            Verdict::Explained(causes.named(run.from, run.to, STALL))
        } else {
            let bound = millis(allowed);
            let over = millis(to - from);
            Verdict::Violation(format!(
                "{over:.1} ms from {:.3} s, and {bound:.1} ms are allowed",
                seconds(from)
            ))
        };
        Finding {
            kind: Kind::TwoOwners,
            family: Some(family),
            from: run.from,
            to: run.to,
            owners: run.owners,
            verdict,
        }
    }

    /// I2: no gap while things happen to processes alone; else none once a healthy backup's wait is over.
    fn judge_none(&self, family: Family, run: intervals::Run) -> Finding {
        let wait = self.setup.wait();
        let tolerance = self.tolerance(run.from, run.to);
        let healthy = (0..NODES).filter_map(|node| self.healthy_since(node, run.to)).min();
        let near = |f: &&Happened| f.start <= run.to && f.end.saturating_add(wait + tolerance) >= run.from;
        let near: Vec<_> = self.faults.iter().filter(near).copied().collect();
        let seamless = near.iter().all(|f| f.fault.class(&self.setup) != Class::Network);
        // A master whose check fails gives up at once, and its successor takes over after its skew time, shorter than an interval.
        let check_failed = near.iter().any(|f| {
            let runs = f.start..=f.start.saturating_add(CHECK + tolerance);
            matches!(f.fault, Fault::Check(_)) && runs.contains(&run.from)
        });
        let skew = if self.setup.strict || check_failed { ns(self.setup.interval) } else { 0 };
        let names =
            Causes::new(near.iter().map(|f| (*f, f.start, f.end)).collect()).named(0, Time::MAX, STALL);

        let ready = healthy.is_some_and(|since| since + wait + tolerance <= run.from);
        // The last time that anything began or ended, before the end of the gap.
        let edges = self.faults.iter().filter(|f| f.fault.class(&self.setup) != Class::Machine);
        let edges = edges.flat_map(|f| [f.start, f.end]).filter(|&edge| edge <= run.to);
        let edge = edges.chain(check_failed.then_some(run.from)).max().unwrap_or(0);
        let deadline = healthy.map(|since| since.max(edge) + wait + self.tolerance(edge, run.to));
        let verdict = if run.length() <= TOLERANCE {
            Verdict::Brief
        } else if seamless && ready && run.length() > tolerance + skew {
            let allowed = millis(tolerance + skew);
            let what = if near.is_empty() { "nothing" } else { names.as_str() };
            Verdict::Violation(format!("{what} near, a backup was ready, and {allowed:.1} ms are allowed"))
        } else if let Some(deadline) =
            deadline.filter(|deadline| run.length() > tolerance && run.to > *deadline)
        {
            let over = millis(run.to - deadline);
            Verdict::Violation(format!("a backup's wait was over {over:.1} ms before the end"))
        } else {
            Verdict::Explained(names)
        };
        Finding { kind: Kind::NoOwner, family: Some(family), from: run.from, to: run.to, owners: 0, verdict }
    }

    /// I3: a change has a cause. What begins or ends is a cause for as long as the slowest of its consequences takes.
    fn without_cause(&self) -> impl Iterator<Item = Finding> + '_ {
        let lasts = 2 * self.setup.wait() + CHECK;
        let caused = move |change: &&Change| {
            // A check is told to succeed again before its next run has told so.
            let told = |f: &Happened| matches!(f.fault, Fault::Check(_)).then(|| f.end.saturating_sub(CHECK));
            let edges = self.faults.iter().flat_map(|f| [Some(f.start), told(f), Some(f.end)]).flatten();
            let stalls =
                self.stalled(change.at.saturating_sub(lasts), change.at) > ns(self.setup.interval) / 4;
            let caused = edges
                .into_iter()
                .any(|edge| edge <= change.at + UNDOING && change.at <= edge.saturating_add(lasts));
            // A process began: it did what it does first, however long that took.
            caused || stalls || change.from == "INIT"
        };
        self.changes.iter().filter(move |change| !caused(change)).map(|change| {
            let Change { at, node, instance, from, to } = change;
            let what = format!("{instance} on {} went from {from} to {to}", name(*node));
            let verdict = Verdict::Violation(what);
            Finding { kind: Kind::NoCause, family: None, from: *at, to: *at, owners: 1 << node, verdict }
        })
    }

    /// Since when a vipd could have taken over at a time; `None` if it could not, or is a keepalived.
    fn healthy_since(&self, node: NodeIndex, at: Time) -> Option<Time> {
        if self.setup.nodes[node].kind == crate::plan::Kind::Keepalived {
            return None;
        }
        let its =
            self.faults.iter().filter(|f| f.fault.nodes().contains(&node) && !f.fault.leaves_eligible());
        let before: Vec<_> = its.filter(|f| f.start <= at).collect();
        before.iter().all(|f| f.end <= at).then(|| before.iter().map(|f| f.end).max().unwrap_or(0))
    }

    fn of_class(&self, class: Class) -> impl Iterator<Item = &Happened> {
        self.faults.iter().filter(move |f| f.fault.class(&self.setup) == class)
    }

    /// For how long a thing may be seen in a span without a reason: *D* and what the machine adds to it. A keepalived works
    /// through netlink after its advert, at no priority.
    fn tolerance(&self, from: Time, to: Time) -> Time {
        let slow = if self.setup.has_keepalived() { ns(self.setup.interval) + 150 * MILLI } else { 0 };
        let before = ns(self.setup.interval);
        TOLERANCE + slow + 2 * self.stalled(from.saturating_sub(before), to)
    }

    /// How long the machine stood still in a span.
    fn stalled(&self, from: Time, to: Time) -> Time {
        let mut total = 0;
        let mut until = from;
        for stall in self.seen.stalls.iter().take_while(|stall| stall.from < to) {
            total += stall.to.min(to).saturating_sub(stall.from.max(until));
            until = until.max(stall.to);
        }
        total
    }
}

/// *D*, and the distance of two questions.
const TOLERANCE: Time = 15 * MILLI;
/// What undoes a fault is a command, and the fault is over when that has ended.
const UNDOING: Time = 500 * MILLI;
/// A `vrrp_script` runs each second.
const CHECK: Time = 1500 * MILLI;
const STALL: &str = "a stall of the machine";
