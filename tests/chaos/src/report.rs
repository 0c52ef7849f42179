//! What many seeds have shown, as a table.

use std::{collections::BTreeMap, fmt};

use crate::{
    clock::{Time, millis, seconds},
    judge::{Kind, Verdict},
    run::Outcome,
};

/// Sums over seeds.
#[derive(Debug, Default)]
pub struct Report {
    pub seeds: usize,
    took: Time,
    faults: BTreeMap<&'static str, usize>,
    /// By kind and explanation: how many, and the longest.
    intervals: BTreeMap<(Kind, String), (usize, Time)>,
    violations: Vec<String>,
}

impl Report {
    pub fn add(&mut self, seed: u64, outcome: &Outcome) {
        self.seeds += 1;
        self.took += outcome.took;
        for fault in &outcome.faults {
            *self.faults.entry(fault.fault.kind()).or_default() += 1;
        }
        for finding in &outcome.findings {
            let why = match &finding.verdict {
                Verdict::Brief => "brief".to_owned(),
                Verdict::Explained(why) => why.clone(),
                Verdict::Violation(_) => "UNEXPLAINED".to_owned(),
            };
            let entry = self.intervals.entry((finding.kind, why)).or_default();
            *entry = (entry.0 + 1, entry.1.max(finding.length()));
        }
        self.violations.extend(outcome.violations().iter().map(|what| format!("seed {seed}: {what}")));
    }

    /// A seed that could not be judged.
    pub fn broke(&mut self, seed: u64, error: &anyhow::Error) {
        self.seeds += 1;
        self.violations.push(format!("seed {seed}: {error:#}"));
    }

    pub fn is_violation(&self) -> bool {
        !self.violations.is_empty()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let planned = self.faults.iter().filter(|(kind, _)| **kind != "heal");
        let count: usize = planned.clone().map(|(_, count)| count).sum();
        writeln!(f, "{} seeds, {:.0} s, {count} faults:", self.seeds, seconds(self.took))?;
        for (kind, count) in planned {
            writeln!(f, "  {count:6}  {kind}")?;
        }
        for kind in [Kind::TwoOwners, Kind::NoOwner, Kind::Astray, Kind::NoCause] {
            let ours = self.intervals.iter().filter(|((other, _), _)| *other == kind);
            let total: usize = ours.clone().map(|(_, (count, _))| count).sum();
            writeln!(f, "{kind}: {total}")?;
            for ((_, why), (count, longest)) in ours {
                writeln!(f, "  {count:6}  longest {:9.1} ms  {why}", millis(*longest))?;
            }
        }
        writeln!(f, "{} violations", self.violations.len())?;
        self.violations.iter().try_for_each(|what| writeln!(f, "  {what}"))
    }
}
