//! From a seed to a cluster that takes over early, and to troubles of the length of a few probes.

use std::{net::Ipv4Addr, ops::Range, time::Duration};

use fastrand::Rng;
use vipd_common::Version;
use vipd_core::early::ProbeTiming;

use super::{Fault, Kind, Network, NodePlan, Plan, chance, pick, style, style::Style};
use crate::clock::{MICRO, MILLI, SECOND, Time, ns};

/// More than there are nodes.
pub const MAX_EARLY_BACKUPS: usize = 16;

/// What the probes of one seed have in common.
struct Rhythm {
    timing: ProbeTiming,
    detect: Time,
    interval: Time,
}

impl Plan {
    /// The plan of a seed in which nodes take over early.
    pub fn early(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed ^ 0x0ea7_1e57);
        let mut style = Style::of(&mut rng);
        // A second is long in probes, and version 2 has nothing shorter.
        style.version = if chance(&mut rng, 330_000) { Version::V2 } else { Version::V3 };
        let slow = chance(&mut rng, 30_000);
        style.plain = chance(&mut rng, 950_000);
        style.babel = false;
        style.owners &= rng.bool();
        let count = pick(&mut rng, &[2, 2, 2, 3, 3, 4]);
        let instances = pick(&mut rng, &[1, 1, 1, 2, 3]);
        style.group(&mut rng, instances, true);
        let pace = |rng: &mut Rng| match (style.version, slow) {
            (Version::V2, true) => 2000,
            (Version::V2, false) | (Version::V3, true) => 1000,
            (Version::V3, false) => pick(rng, &[50, 100, 100, 200]),
        };
        let intervals: Vec<Duration> =
            (0..instances).map(|_| Duration::from_millis(pace(&mut rng))).collect();
        let rhythm = rhythm(&mut rng, style.version);
        let nodes = (0..count).map(|i| node(&mut rng, &style, &intervals, &rhythm, i)).collect();
        let arbiter = chance(&mut rng, 150_000);
        let heartbeat = chance(&mut rng, 150_000);
        let groups = style.groups.clone();
        let (network, faults) = (network(&mut rng, &rhythm), Vec::new());
        let plan =
            Self { seed, nodes, groups, network, arbiter, heartbeat, faults, calm: 0, settled: 0, end: 0 };
        let faults = troubles(&mut rng, &plan, &style, &intervals, &rhythm);
        // With probes there is ten times as much to do in a second of rest.
        let plan = Self { faults, ..plan }.timed();
        Self { end: plan.settled + (plan.end - plan.settled) / 3, ..plan }
    }

    /// The same cluster with these probes on every node.
    #[must_use]
    pub fn probing(mut self, timing: ProbeTiming) -> Self {
        self.network.delay = 100 * MICRO;
        for node in &mut self.nodes {
            node.probes = Some(timing);
        }
        self
    }
}

fn rhythm(rng: &mut Rng, version: Version) -> Rhythm {
    let (interval, multiplier) = match version {
        // More seeds in the same time.
        Version::V2 => pick(rng, &[(3_300, 3), (5_000, 4), (10_000, 3), (20_000, 3), (20_000, 3)]),
        Version::V3 => pick(rng, &[(3_300, 3), (3_300, 3), (3_300, 4), (5_000, 3), (10_000, 3)]),
    };
    let damping = Duration::from_millis(pick(rng, &[0, 300, 2000]));
    let timing = ProbeTiming {
        steady: Duration::from_millis(pick(rng, &[60, 100, 300])),
        damping,
        damping_max: damping * 4,
        ..ProbeTiming::new(Duration::from_micros(interval), multiplier, true)
    };
    Rhythm { timing, detect: ns(timing.detect()), interval: ns(timing.interval) }
}

fn node(rng: &mut Rng, style: &Style, intervals: &[Duration], rhythm: &Rhythm, i: usize) -> NodePlan {
    let measures = ProbeTiming { takes_over: false, ..rhythm.timing };
    NodePlan {
        kind: Kind::Vipd,
        address: Ipv4Addr::new(192, 0, 2, 1 + i as u8),
        instances: style.instances(rng, intervals, i),
        ppm: rng.i32(-200..=200),
        clock: rng.u64(SECOND..1_000_000 * SECOND),
        starts: SECOND + if chance(rng, 200_000) { rng.u64(0..SECOND) } else { 0 },
        ring: pick(rng, &[4096, 4096, 4096, 16]),
        unlisted: None,
        backups: if chance(rng, 100_000) { 1 } else { MAX_EARLY_BACKUPS },
        probes: match rng.u8(..20) {
            0 => None,
            1 => Some(measures),
            _ => Some(rhythm.timing),
        },
    }
}

fn network(rng: &mut Rng, rhythm: &Rhythm) -> Network {
    let stalls = pick(rng, &[0, 0, 1, 1, 2, 3]);
    Network {
        delay: rng.u64(20 * MICRO..250 * MICRO),
        jitter: rng.u64(0..200 * MICRO),
        loss: pick(rng, &[0, 0, 0, 0, 1_000, 20_000]),
        duplicates: pick(rng, &[0, 0, 0, 10_000]),
        late: pick(rng, &[0, 0, 0, 0, 1_000]),
        lateness: 2 * rhythm.detect,
        wake: 5 * MICRO..pick(rng, &[30 * MICRO, 100 * MICRO, 300 * MICRO]),
        stall: [0, 20_000, 300, 100][stalls],
        stall_at_most: [0, 10 * MICRO, rhythm.detect, 60 * MILLI][stalls],
    }
}

fn troubles(
    rng: &mut Rng,
    plan: &Plan,
    style: &Style,
    intervals: &[Duration],
    rhythm: &Rhythm,
) -> Vec<(Time, Fault)> {
    let slow = super::slowest(plan.nodes.iter().flat_map(|node| &node.instances));
    let starts = plan.nodes.iter().map(|node| node.starts).max().unwrap_or(0);
    let begin = starts + 6 * slow + ns(rhythm.timing.steady) + SECOND / 10;
    let most = pick(rng, &[1, 2, 4, 6]);
    let spells = rng.usize(..=most);
    let mut at = begin;
    let mut list = Vec::new();
    for _ in 0..spells {
        at += rng.u64(slow / 4..6 * slow) + rng.u64(0..400 * MILLI);
        if rng.u8(..4) == 0 {
            coincidence(rng, plan, rhythm, at, &mut list);
            continue;
        }
        // Several things that happen within a few probes of each other, most of them to the same two nodes.
        let (a, b) = (rng.usize(..plan.nodes.len()), rng.usize(..plan.nodes.len()));
        for _ in 0..pick(rng, &[1, 1, 2, 2, 3]) {
            let when = at + rng.u64(0..3 * rhythm.detect);
            let node = if rng.u8(..5) == 0 { rng.usize(..plan.nodes.len()) } else { pick(rng, &[a, b]) };
            list.push((when, fault(rng, plan, style, intervals, rhythm, node, slow)));
        }
    }
    list
}

/// Two or three things whose times fit each other, where the rules meet.
fn coincidence(rng: &mut Rng, plan: &Plan, rhythm: &Rhythm, at: Time, list: &mut Vec<(Time, Fault)>) {
    let count = plan.nodes.len();
    let a = rng.usize(..count);
    let b = (a + rng.usize(1..count)) % count;
    let (td, interval) = (rhythm.detect, rhythm.interval);
    let near = |rng: &mut Rng, at: Time| at + rng.u64(0..2 * interval);
    let long = rng.u64(td..20 * td);
    let cut = |from, to, for_| Fault::Cut { from, to, for_ };
    match rng.u8(..7) {
        // A backup that sleeps while its master's word gets lost.
        0 => {
            let for_ = rng.u64(2 * interval..td + interval);
            list.push((at, Fault::Pause { node: b, for_, clock_stops: false }));
            list.push((near(rng, at), cut(a, b, td + for_)));
        }
        // A daemon that freezes about as long after its way was cut as its sponsors count.
        1 => {
            list.push((at, cut(b, a, long + 4 * td)));
            let froze = at + rng.u64(0..3 * td);
            list.push((froze, Fault::Freeze { node: a, for_: long }));
        }
        // Both ways dark for about as long as a silence takes.
        2 => {
            let for_ = td + rng.u64(0..3 * interval);
            list.push((at, cut(a, b, for_)));
            list.push((near(rng, at), cut(b, a, for_)));
        }
        // A machine that sleeps a little longer than it is missed.
        3 => {
            list.push((
                at,
                Fault::Pause { node: a, for_: td + rng.u64(0..4 * td), clock_stops: rng.u8(..4) == 0 },
            ));
        }
        // The claimant dies.
        4 => {
            list.push((at, cut(a, b, long)));
            list.push((at, cut(b, a, long)));
            list.push((at + td + rng.u64(0..2 * td), Fault::Kill { node: b, for_: long }));
        }
        // The way back stays dark, and the master freezes when it is heard again.
        5 => {
            list.push((at, cut(b, a, long + 6 * td)));
            list.push((near(rng, at), cut(a, b, td + rng.u64(0..2 * td))));
            list.push((at + 2 * td + rng.u64(0..2 * td), Fault::Freeze { node: a, for_: long }));
        }
        // A master that sleeps and cannot hear the claim at first.
        _ => {
            list.push((at, Fault::Freeze { node: a, for_: td + rng.u64(0..2 * td) }));
            list.push((near(rng, at), cut(b, a, td + rng.u64(0..3 * td))));
        }
    }
}

fn fault(
    rng: &mut Rng,
    plan: &Plan,
    style: &Style,
    intervals: &[Duration],
    rhythm: &Rhythm,
    node: usize,
    slow: Time,
) -> Fault {
    let count = plan.nodes.len();
    let span = |rng: &mut Rng, range: Range<Time>| rng.u64(range);
    let for_ = match rng.u8(..6) {
        0 => span(rng, 0..rhythm.detect),
        1 | 2 => span(rng, rhythm.detect / 2..2 * rhythm.detect),
        3 => span(rng, 2 * rhythm.detect..8 * rhythm.detect),
        4 => span(rng, 0..3 * slow),
        _ => span(rng, 0..8 * slow),
    };
    let to = (node + rng.usize(1..count)) % count;
    match rng.u8(..32) {
        0..6 => Fault::Freeze { node, for_ },
        6..9 => Fault::Pause { node, for_, clock_stops: rng.u8(..4) == 0 },
        9 | 10 => Fault::Kill { node, for_ },
        11 => Fault::Restart { node, for_: for_ / 4, instances: None },
        12 | 13 => Fault::Crash { node, for_: for_.max(20 * MILLI) },
        14 | 15 => Fault::LinkDown { node, for_ },
        16..20 => Fault::Cut { from: node, to, for_ },
        20 | 21 => Fault::Cut { from: to, to: node, for_ },
        22 | 23 => Fault::Partition { side: rng.u32(1..1 << count), for_ },
        24 if plan.heartbeat => Fault::CutHeartbeat { from: node, to, for_ },
        24 | 25 if plan.arbiter => Fault::CutArbiter { node, for_ },
        24 => Fault::Busy { node, for_, at_most: rng.u64(MILLI / 10..3 * rhythm.detect) },
        25 => Fault::Reprobe { node, timing: reprobed(rng, rhythm) },
        26 => Fault::Loss { share: pick(rng, &[50_000, 300_000]), for_ },
        27 => Fault::SendFails { node, for_ },
        _ => style::fault(rng, plan, style, intervals, slow),
    }
}

/// Another interval: what the others keep, unless they are told the same.
fn reprobed(rng: &mut Rng, rhythm: &Rhythm) -> ProbeTiming {
    let factor = pick(rng, &[1, 2, 2, 3]);
    let interval = Duration::from_nanos(rhythm.interval) * factor / pick(rng, &[1, 2]);
    let takes_over = rng.u8(..4) > 0;
    ProbeTiming { interval: interval.max(Duration::from_micros(3_300)), takes_over, ..rhythm.timing }
}
