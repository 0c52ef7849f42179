//! From a seed to a cluster and its schedule. Pure: the same seed is always the same plan.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Duration,
};

use fastrand::Rng;

use crate::{
    clock::{MILLI, SECOND, Time, ns},
    fault::{Fault, NodeIndex, name},
};

pub const VIP: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 3);
pub const VIP6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 3);
/// How many nodes share the VIPs.
pub const NODES: usize = 3;

/// All that a seed decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    pub seed: u64,
    pub setup: Setup,
    pub rounds: Vec<Round>,
}

/// The cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setup {
    pub interval: Duration,
    pub version: u8,
    /// A virtual router for each.
    pub families: Vec<Family>,
    /// The virtual routers of both families are one sync group.
    pub grouped: bool,
    pub unicast: bool,
    pub vmac: bool,
    /// `lease strict`.
    pub strict: bool,
    pub nodes: [NodeSetup; NODES],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeSetup {
    pub kind: Kind,
    pub priority: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Vipd,
    Keepalived,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    V4,
    V6,
}

/// Faults from the start of the round on; then all is healed and judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Round {
    /// In order of time.
    pub faults: Vec<Planned>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Planned {
    pub at: Time,
    pub fault: Fault,
    /// 0 for what is not undone.
    pub lasts: Time,
}

impl Family {
    pub fn vip(self) -> IpAddr {
        match self {
            Self::V4 => VIP.into(),
            Self::V6 => VIP6.into(),
        }
    }

    pub fn instance(self) -> &'static str {
        match self {
            Self::V4 => "VI_4",
            Self::V6 => "VI_6",
        }
    }
}

impl Setup {
    /// The longest that a renewal lasts.
    pub fn lease(&self) -> Time {
        4 * ns(self.interval)
    }

    /// The longest that a backup of any priority waits.
    pub fn wait(&self) -> Time {
        4 * ns(self.interval)
    }

    /// Whom everyone prefers.
    pub fn best(&self) -> NodeIndex {
        let best = self.nodes.iter().enumerate().max_by_key(|(_, node)| node.priority);
        best.map_or(0, |(index, _)| index)
    }

    pub fn has_keepalived(&self) -> bool {
        self.nodes.iter().any(|node| node.kind == Kind::Keepalived)
    }
}

impl Plan {
    pub fn of(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let setup = setup(&mut rng);
        let rounds = (0..ROUNDS).map(|_| round(&mut rng, &setup)).collect();
        Self { seed, setup, rounds }
    }

    /// The same without what is done to the machine itself, on which others may work.
    pub fn without_hogs(mut self) -> Self {
        let hog = |planned: &Planned| matches!(planned.fault, Fault::Hog(_) | Fault::RealTimeHog(_));
        self.rounds.iter_mut().for_each(|round| round.faults.retain(|planned| !hog(planned)));
        self
    }
}

fn setup(rng: &mut Rng) -> Setup {
    let version = if one_in(rng, 8) { 2 } else { 3 };
    let families = match (version, rng.u8(..4)) {
        (2, _) | (3, 0) => vec![Family::V4],
        (_, 1) => vec![Family::V6],
        _ => vec![Family::V4, Family::V6],
    };
    let interval = match rng.u8(..8) {
        // Version 2 has whole seconds.
        _ if version == 2 => 1000,
        0 => 50,
        1 => 200,
        2 => 300,
        3 => 500,
        _ => 100,
    };
    let vmac = one_in(rng, 6);
    let unicast = !vmac && rng.u8(..5) < 2;
    let mut priorities = [200, 150, 100];
    rng.shuffle(&mut priorities);
    let mut nodes = priorities.map(|priority| NodeSetup { kind: Kind::Vipd, priority });
    // keepalived's virtual MAC is an interface with an address of its own, on which neither judge nor client relies.
    if !vmac && one_in(rng, 4) {
        nodes[rng.usize(..NODES)].kind = Kind::Keepalived;
    }
    Setup {
        interval: Duration::from_millis(interval),
        version,
        grouped: families.len() > 1 && one_in(rng, 3),
        families,
        unicast,
        vmac,
        strict: one_in(rng, 8),
        nodes,
    }
}

fn round(rng: &mut Rng, setup: &Setup) -> Round {
    // A fault alone, and for long, shows what does not settle; many show what does not mix.
    let alone = one_in(rng, 4);
    let wanted = if alone { 1 } else { rng.usize(3..=9) };
    let mut busy: Vec<(NodeIndex, Time, Time)> = Vec::new();
    let mut faults = Vec::new();
    for _ in 0..wanted * 4 {
        if faults.len() >= wanted {
            break;
        }
        let (fault, lasts) = draw(rng, setup);
        let at = if alone { 0 } else { rng.u64(..ROUND / MILLI) * MILLI };
        let lasts = if alone && lasts > 0 { lasts.max(ALONE).min(longest(&fault)) } else { lasts };
        // What is done to one daemon or host is done one after the other.
        let (from, to) = (at, at + lasts + AFTERWARDS);
        if let Some(host) = fault.host() {
            if busy.iter().any(|&(other, start, end)| other == host && from < end && start < to) {
                continue;
            }
            busy.push((host, from, to));
        }
        faults.push(Planned { at, fault, lasts });
        // A unicast advert waits for its peer's MAC. Who has forgotten it while one direction is cut asks in vain, and its
        // adverts wait although their own direction is open.
        if let (true, Some(node)) = (setup.unicast && rng.bool(), cut_off(&fault)) {
            let who = if rng.bool() { node } else { (node + rng.usize(1..NODES)) % NODES };
            faults.push(Planned { at: at + 20 * MILLI, fault: Fault::ForgetNeighbours(who), lasts: 0 });
        }
    }
    faults.sort_by_key(|planned| planned.at);
    Round { faults }
}

fn cut_off(fault: &Fault) -> Option<NodeIndex> {
    match *fault {
        Fault::CutOutput(node) | Fault::CutInput(node) | Fault::Partition(node) | Fault::Port(node) => {
            Some(node)
        }
        Fault::CutPair { from, .. } => Some(from),
        _ => None,
    }
}

/// A fault and how long it lasts.
fn draw(rng: &mut Rng, setup: &Setup) -> (Fault, Time) {
    let node = rng.usize(..NODES);
    let other = (node + rng.usize(1..NODES)) % NODES;
    let interval = ns(setup.interval);
    // Around the waits of the protocol, or anything.
    let lasts = match rng.bool() {
        true => rng.u64(interval / 4..6 * interval),
        false => rng.u64(SECOND / 5..3 * SECOND),
    };
    let lasts = lasts.min(6 * SECOND);
    let keepalived = setup.nodes[node].kind == Kind::Keepalived;
    let fault = loop {
        break match rng.u8(..64) {
            0..=6 => Fault::Kill(node),
            7..=12 => Fault::Freeze(node),
            13..=15 => Fault::Stop(node),
            16..=18 if !keepalived => Fault::Restart(node),
            19..=21 => Fault::Port(node),
            22..=23 if !keepalived => Fault::Link(node),
            24..=26 => Fault::CutOutput(node),
            27..=28 => Fault::CutInput(node),
            29..=30 => Fault::CutPair { from: node, to: other },
            31 => Fault::CutAdverts { from: node, to: other },
            32..=33 => Fault::Partition(node),
            34 => Fault::ForgetNeighbours(node),
            35 if !keepalived => Fault::ReloadSame(node),
            36..=37 if !keepalived => Fault::ReloadPriority(node, rng.u8(1..=253)),
            38..=39 if !keepalived => Fault::ReloadVips(node),
            40 if !keepalived => Fault::ReloadBad(node),
            41..=44 if !keepalived => Fault::Handover(node),
            45..=46 if !keepalived => Fault::Drain(node),
            47..=49 if !keepalived => Fault::Check(node),
            50..=51 if !keepalived => Fault::Address(node),
            52 if !keepalived => Fault::MoreAddresses(node),
            53..=54 if !keepalived => Fault::Rename(node),
            55 if !keepalived => Fault::Mac(node),
            56 if !keepalived => Fault::Connections(node, rng.u16(50..600)),
            57 => Fault::Hog(rng.u8(2..5)),
            58 => Fault::RealTimeHog(rng.u8(..2)),
            _ => continue,
        };
    };
    let at_once = matches!(fault, Fault::ReloadSame(_) | Fault::ReloadBad(_) | Fault::ForgetNeighbours(_));
    (fault, if at_once { 0 } else { lasts.min(longest(&fault)) })
}

/// Hogs take the whole machine, on which others work.
fn longest(fault: &Fault) -> Time {
    match fault {
        Fault::Hog(_) => SECOND / 2,
        Fault::RealTimeHog(_) => 120 * MILLI,
        _ => 8 * SECOND,
    }
}

fn one_in(rng: &mut Rng, n: u32) -> bool {
    rng.u32(..n) == 0
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Setup { interval, version, families, grouped, unicast, vmac, strict, nodes } = &self.setup;
        write!(f, "seed {}: adverts every {interval:?}, version {version}, {families:?}", self.seed)?;
        for (said, word) in
            [(*grouped, "sync group"), (*unicast, "unicast"), (*vmac, "use_vmac"), (*strict, "lease strict")]
        {
            if said {
                write!(f, ", {word}")?;
            }
        }
        for (index, node) in nodes.iter().enumerate() {
            write!(f, "; {} {:?} {}", name(index), node.kind, node.priority)?;
        }
        for (number, round) in self.rounds.iter().enumerate() {
            write!(f, "\n  round {}:", number + 1)?;
            for Planned { at, fault, lasts } in &round.faults {
                write!(f, "\n    {:6} ms {fault}", at / MILLI)?;
                if *lasts > 0 {
                    write!(f, " for {} ms", lasts / MILLI)?;
                }
            }
        }
        Ok(())
    }
}

/// Rounds of a seed.
const ROUNDS: usize = 4;
/// Faults begin within it.
const ROUND: Time = 7 * SECOND;
/// A fault that is alone lasts so long at least.
const ALONE: Time = 5 * SECOND;
/// What a daemon may have to do after a fault before the next one is done to it. Actors wait for as long as it takes.
const AFTERWARDS: Time = 400 * MILLI;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_seed_is_a_plan() {
        assert_eq!(Plan::of(7), Plan::of(7));
        assert_ne!(Plan::of(7).rounds, Plan::of(8).rounds);
    }

    #[test]
    fn every_kind_of_fault_and_of_setup_comes() {
        let plans: Vec<_> = (0..300).map(Plan::of).collect();
        let planned = plans.iter().flat_map(|plan| &plan.rounds).flat_map(|round| &round.faults);
        let kinds: BTreeSet<_> = planned.map(|planned| planned.fault.kind()).collect();
        assert_eq!(kinds.len(), 26, "{kinds:?}");
        let count = |like: fn(&Setup) -> bool| plans.iter().filter(|plan| like(&plan.setup)).count();
        for (what, seen) in [
            ("version 2", count(|s| s.version == 2)),
            ("unicast", count(|s| s.unicast)),
            ("virtual MACs", count(|s| s.vmac)),
            ("strict leases", count(|s| s.strict)),
            ("sync groups", count(|s| s.grouped)),
            ("keepalived", count(Setup::has_keepalived)),
            ("IPv6 alone", count(|s| s.families == [Family::V6])),
        ] {
            assert!(seen > 10, "{what}: {seen} of 300");
        }
    }

    #[test]
    fn without_hogs_all_else_stays() {
        let faults = |plan: &Plan| plan.rounds.iter().map(|round| round.faults.len()).sum::<usize>();
        let plans: Vec<_> = (0..100).map(Plan::of).collect();
        let fewer: Vec<_> = plans.iter().cloned().map(Plan::without_hogs).collect();
        assert!(
            fewer
                .iter()
                .flat_map(|p| &p.rounds)
                .flat_map(|r| &r.faults)
                .all(|p| !p.fault.kind().ends_with("hog"))
        );
        assert!(
            plans.iter().zip(&fewer).any(|(all, fewer)| faults(fewer) < faults(all) && faults(fewer) > 0)
        );
    }

    #[test]
    fn hogs_are_bounded_and_a_host_has_one_fault_at_a_time() {
        for plan in (0..300).map(Plan::of) {
            for round in &plan.rounds {
                assert!(!round.faults.is_empty());
                for (i, a) in round.faults.iter().enumerate() {
                    assert!(a.lasts <= longest(&a.fault) && a.at < 2 * ROUND);
                    let others = round.faults[i + 1..].iter();
                    let same =
                        others.filter(|b| a.fault.host().is_some() && a.fault.host() == b.fault.host());
                    assert!(
                        same.clone().all(|b| b.at >= a.at + a.lasts),
                        "{a:?}: {:?}",
                        same.collect::<Vec<_>>()
                    );
                }
            }
        }
    }
}
