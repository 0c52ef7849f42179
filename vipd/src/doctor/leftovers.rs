//! What a vipd that does not run has left in the kernel: its programs drop what comes for the VIPs, whoever serves them now.

use std::collections::BTreeMap;

use super::{Facts, Findings};
use crate::host::{Leftover, LeftoverKind};

const ABOUT: &str = "vipd";
const CHECK: &str = "leftovers";

pub fn judge(facts: &Facts, findings: &mut Findings) {
    if facts.running.is_some() || facts.unanswered.is_some() {
        return;
    }
    let left = match &facts.leftovers {
        Ok(left) => left.iter().filter(|left| left.kind != LeftoverKind::File).collect::<Vec<&Leftover>>(),
        Err(why) => {
            return findings.skipped(
                ABOUT,
                CHECK,
                format!("what a vipd may have left is not looked at: {why}"),
            );
        }
    };
    if left.is_empty() {
        return findings.ok(ABOUT, CHECK, "no vipd has left anything here");
    }
    // With another runtime directory, or in a container with the host's network.
    let maker = facts.speakers.iter().find(|speaker| speaker.name == "vipd" || speaker.pid.is_none());
    if let Some(speaker) = maker {
        let what = format!("{} here is a vipd's, and {speaker} may be the one that uses it", counted(&left));
        return findings.skipped(ABOUT, CHECK, what);
    }
    let what = format!(
        "a vipd that does not run any more has left {}: this host does not answer for these VIPs, whoever serves them now",
        counted(&left)
    );
    let fix = "vipd cleanup (--dry-run lists all of it), or start vipd, which takes it over";
    findings.problem(ABOUT, CHECK, what, fix);
}

/// `1 program, 2 routes`.
fn counted(left: &[&Leftover]) -> String {
    let mut counts: BTreeMap<(LeftoverKind, &str, &str), usize> = BTreeMap::new();
    for one in left {
        let (one_of, many) = words(one.kind);
        *counts.entry((one.kind, one_of, many)).or_default() += 1;
    }
    let counted = counts.iter().map(|((_, one, many), count)| match count {
        1 => format!("1 {one}"),
        _ => format!("{count} {many}"),
    });
    counted.collect::<Vec<_>>().join(", ")
}

fn words(kind: LeftoverKind) -> (&'static str, &'static str) {
    match kind {
        LeftoverKind::VisibleAddress => ("address of vip_visible", "addresses of vip_visible"),
        LeftoverKind::VirtualRule => ("virtual rule", "virtual rules"),
        LeftoverKind::VirtualRoute => ("virtual route", "virtual routes"),
        LeftoverKind::Route => ("route", "routes"),
        LeftoverKind::Rule => ("rule", "rules"),
        LeftoverKind::Address => ("address on lo", "addresses on lo"),
        LeftoverKind::MacFilter => ("MAC filter entry", "MAC filter entries"),
        LeftoverKind::Promiscuous => ("promiscuous interface", "promiscuous interfaces"),
        LeftoverKind::RxVlan => ("rxvlan setting", "rxvlan settings"),
        LeftoverKind::Sysctl => ("sysctl", "sysctls"),
        LeftoverKind::Service => ("service of IPVS", "services of IPVS"),
        LeftoverKind::Program => ("program", "programs"),
        LeftoverKind::Pins => ("pin directory", "pin directories"),
        LeftoverKind::File => ("file", "files"),
    }
}
