//! From a seed to a cluster, its network and its troubles.

use std::{net::Ipv4Addr, ops::Range, time::Duration};

use fastrand::Rng;
use vipd_common::{Family, Priority, Version, Vrid, types::ChecksumForm};
use vipd_core::vrrp::{GarpTiming, LeasePolicy, Settings};

use crate::clock::{MICRO, MILLI, SECOND, Time, ns};

/// Everything that a run is made of.
#[derive(Clone, Debug)]
pub struct Plan {
    pub seed: u64,
    pub nodes: Vec<NodePlan>,
    pub network: Network,
    /// In order of time.
    pub faults: Vec<(Time, Fault)>,
    /// When every fault is over.
    pub calm: Time,
    /// From here on nothing may change.
    pub settled: Time,
    pub end: Time,
}

#[derive(Clone, Debug)]
pub struct NodePlan {
    pub kind: Kind,
    pub address: Ipv4Addr,
    /// One for each virtual router, the same number on every node.
    pub instances: Vec<Settings>,
    pub ppm: i32,
    /// Its clock at the start.
    pub clock: u64,
    pub starts: Time,
    /// Events that XDP can leave before it finds the ring full.
    pub ring: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Vipd,
    /// A model of keepalived: no lease, and its addresses stay when it is killed.
    Keepalived,
}

#[derive(Clone, Debug)]
pub struct Network {
    pub delay: Time,
    pub jitter: Time,
    /// Shares of 1,000,000.
    pub loss: u32,
    pub duplicates: u32,
    /// Frames that take far longer than `delay` and `jitter`.
    pub late: u32,
    pub lateness: Time,
    pub wake: Range<Time>,
    /// Shares of a million of the clock readings and effects of a process at which it is held up, for at most that long.
    pub stall: u32,
    pub stall_at_most: Time,
}

impl Network {
    /// The longest that a frame takes which is neither lost nor late.
    pub fn longest(&self) -> Time {
        self.delay + self.jitter
    }
}

/// What befalls the cluster. Nodes are named by index; everything ends by itself after `for_`.
#[derive(Clone, Debug)]
pub enum Fault {
    /// SIGSTOP, or no CPU: XDP goes on.
    Freeze { node: usize, for_: Time },
    /// The whole machine stands still, XDP too; with `clock_stops` it does not notice.
    Pause { node: usize, for_: Time, clock_stops: bool },
    /// kill -9; a new daemon after `for_`, which finds what is pinned.
    Kill { node: usize, for_: Time },
    /// `vipd stop --for-restart`, and perhaps another configuration.
    Restart { node: usize, for_: Time, instances: Option<Vec<Settings>> },
    /// Handover, then a start from nothing.
    Stop { node: usize, for_: Time },
    /// The machine is gone, and boots with nothing pinned.
    Crash { node: usize, for_: Time },
    /// No carrier; the daemon is told.
    LinkDown { node: usize, for_: Time },
    /// What a router tracks is not well.
    Tracked { node: usize, router: usize, for_: Time },
    /// What a router tracks gives it another priority.
    Priority { node: usize, router: usize, priority: u8, for_: Time },
    /// No frame from one to the other, and nobody is told.
    Cut { from: usize, to: usize, for_: Time },
    /// No frames between those with a bit of `side` and those without.
    Partition { side: u32, for_: Time },
    /// Frames get lost at another rate.
    Loss { share: u32, for_: Time },
    /// The socket refuses what is sent.
    SendFails { node: usize, for_: Time },
    /// A busy machine: the process is held up again and again.
    Busy { node: usize, for_: Time, at_most: Time },
}

impl Fault {
    pub fn duration(&self) -> Time {
        match self {
            Self::Freeze { for_, .. }
            | Self::Pause { for_, .. }
            | Self::Kill { for_, .. }
            | Self::Restart { for_, .. }
            | Self::Stop { for_, .. }
            | Self::Crash { for_, .. }
            | Self::LinkDown { for_, .. }
            | Self::Tracked { for_, .. }
            | Self::Priority { for_, .. }
            | Self::Cut { for_, .. }
            | Self::Partition { for_, .. }
            | Self::Loss { for_, .. }
            | Self::SendFails { for_, .. }
            | Self::Busy { for_, .. } => *for_,
        }
    }
}

/// A router of priority 100 that advertises every `interval`.
pub fn settings(vrid: u8, priority: u8, interval: Duration) -> Settings {
    Settings {
        version: Version::V3,
        family: Family::V4,
        vrid: Vrid::new(vrid).expect("1 to 255"),
        priority: Priority::new(priority),
        advert_interval: interval,
        down_timer_adverts: 3,
        preempt: true,
        preempt_delay: Duration::ZERO,
        lease: LeasePolicy::Overlap,
        garp: GarpTiming::default(),
        lower_prio_no_advert: false,
        checksum: ChecksumForm::PseudoHeader,
    }
}

impl Plan {
    /// A cluster of healthy nodes that all start at once on a quiet network, and nothing else.
    pub fn quiet(nodes: Vec<Vec<Settings>>) -> Self {
        let slowest = slowest(nodes.iter().flatten());
        let nodes = (1..)
            .zip(nodes)
            .map(|(i, instances)| NodePlan {
                kind: Kind::Vipd,
                address: Ipv4Addr::new(192, 0, 2, i),
                instances,
                ppm: 0,
                clock: u64::from(i) * 1_000 * SECOND,
                starts: SECOND,
                ring: 4096,
            })
            .collect();
        let network = Network {
            delay: slowest / 1000,
            jitter: 0,
            loss: 0,
            duplicates: 0,
            late: 0,
            lateness: 0,
            wake: 20 * MICRO..20 * MICRO + 1,
            stall: 0,
            stall_at_most: 0,
        };
        Self { seed: 0, nodes, network, faults: Vec::new(), calm: SECOND, settled: SECOND, end: SECOND }
            .timed()
    }

    /// Adds a fault.
    #[must_use]
    pub fn with(mut self, at: Time, fault: Fault) -> Self {
        self.faults.push((at, fault));
        self.timed()
    }

    /// The same cluster without a fault, and a network that loses nothing.
    #[must_use]
    pub fn faultless(mut self) -> Self {
        self.faults.clear();
        let Network { loss, duplicates, late, stall, .. } = &mut self.network;
        (*loss, *duplicates, *late, *stall) = (0, 0, 0, 0);
        self.timed()
    }

    /// Sets the times of the end from the faults.
    fn timed(mut self) -> Self {
        self.faults.sort_by_key(|(at, _)| *at);
        let starts = self.nodes.iter().map(|node| node.starts);
        let ends = self.faults.iter().map(|(at, fault)| at + fault.duration());
        self.calm = starts.chain(ends).max().unwrap_or(0) + self.network.longest() + self.network.lateness;
        let all = || self.instances_ever();
        let patience = all().map(|s| u64::from(s.down_timer_adverts)).max().unwrap_or(3) + 2;
        let delay = all().map(|s| ns(s.preempt_delay)).max().unwrap_or(0);
        let round = slowest(all()) * patience + self.network.stall_at_most;
        self.settled = self.calm + 4 * round + delay + SECOND / 10;
        self.end = self.settled + 3 * round;
        self
    }

    fn instances_ever(&self) -> impl Iterator<Item = &Settings> {
        let later = self.faults.iter().filter_map(|(_, fault)| match fault {
            Fault::Restart { instances, .. } => instances.as_ref(),
            _ => None,
        });
        self.nodes.iter().map(|node| &node.instances).chain(later).flatten()
    }

    /// The plan of a seed.
    pub fn of(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let mut style = Style::of(&mut rng);
        let count = pick(&mut rng, &[2, 2, 2, 2, 3, 3, 3, 4]);
        let instances = pick(&mut rng, &[1, 1, 1, 2, 2, 3]);
        let keepalived = chance(&mut rng, 150_000).then(|| rng.usize(..count));
        style.plain &= keepalived.is_none();
        let intervals: Vec<Duration> = (0..instances).map(|_| style.interval(&mut rng)).collect();
        let slow = intervals.iter().copied().map(ns).max().unwrap_or(SECOND);
        // The network is faster than what anyone may be configured to.
        let fast = match (style.plain, style.version) {
            (true, _) => intervals.iter().copied().map(ns).min().unwrap_or(SECOND),
            (false, Version::V2) => SECOND,
            (false, Version::V3) => 10 * MILLI,
        };
        let nodes: Vec<NodePlan> = (0..count)
            .map(|i| NodePlan {
                kind: if keepalived == Some(i) { Kind::Keepalived } else { Kind::Vipd },
                address: Ipv4Addr::new(192, 0, 2, 1 + i as u8),
                instances: style.instances(&mut rng, &intervals, i),
                ppm: rng.i32(-200..=200),
                clock: rng.u64(SECOND..1_000_000 * SECOND),
                starts: SECOND + if chance(&mut rng, 300_000) { rng.u64(0..8 * slow) } else { 0 },
                ring: pick(&mut rng, &[4096, 4096, 4096, 16]),
            })
            .collect();
        let delay = rng.u64(10 * MICRO..fast / 16);
        let stalls = pick(&mut rng, &[0, 0, 1, 1, 2]);
        let network = Network {
            delay,
            jitter: rng.u64(0..fast / 16),
            loss: pick(&mut rng, &[0, 0, 0, 0, 10_000, 100_000]),
            duplicates: pick(&mut rng, &[0, 0, 0, 10_000, 200_000]),
            late: pick(&mut rng, &[0, 0, 0, 0, 5_000]),
            lateness: 2 * fast,
            wake: 5 * MICRO..pick(&mut rng, &[30 * MICRO, 100 * MICRO, 300 * MICRO]),
            stall: [0, 20_000, 2_000][stalls],
            stall_at_most: [0, 10 * MICRO, 3 * slow][stalls],
        };
        let most = pick(&mut rng, &[0, 2, 6, 12, 30]);
        let faults = rng.usize(..=most);
        let begin = SECOND + 8 * slow;
        let span = (faults as u64 + 1) * rng.u64(slow / 2..8 * slow);
        let plan = Self { seed, nodes, network, faults: Vec::new(), calm: 0, settled: 0, end: 0 };
        let mut list: Vec<(Time, Fault)> = (0..faults)
            .map(|_| (begin + rng.u64(0..span), fault(&mut rng, &plan, &style, &intervals, slow)))
            .collect();
        list.sort_by_key(|(at, _)| *at);
        Self { faults: list, ..plan }.timed()
    }
}

fn slowest<'a>(settings: impl Iterator<Item = &'a Settings>) -> Time {
    settings.map(|s| ns(s.advert_interval)).max().unwrap_or(SECOND)
}

/// One of `from`.
fn pick<T: Clone>(rng: &mut Rng, from: &[T]) -> T {
    from[rng.usize(..from.len())].clone()
}

/// True in so many of a million cases.
pub fn chance(rng: &mut Rng, share: u32) -> bool {
    share > 0 && rng.u32(..1_000_000) < share
}

/// What the instances of one seed have in common.
struct Style {
    version: Version,
    strict: bool,
    /// One interval for all, as the RFC asks.
    plain: bool,
    /// Some node speaks another version.
    babel: bool,
    owners: bool,
}

impl Style {
    fn of(rng: &mut Rng) -> Self {
        Self {
            version: if chance(rng, 200_000) { Version::V2 } else { Version::V3 },
            strict: chance(rng, 300_000),
            plain: chance(rng, 850_000),
            babel: chance(rng, 30_000),
            owners: chance(rng, 100_000),
        }
    }

    fn interval(&self, rng: &mut Rng) -> Duration {
        match self.version {
            Version::V2 => Duration::from_secs(pick(rng, &[1, 1, 2])),
            Version::V3 => Duration::from_millis(pick(rng, &[10, 50, 100, 100, 1000, 1000])),
        }
    }

    fn instances(&self, rng: &mut Rng, intervals: &[Duration], node: usize) -> Vec<Settings> {
        let settings = (1..).zip(intervals).map(|(vrid, interval)| {
            let mut interval = *interval;
            if !self.plain && chance(rng, 300_000) {
                interval = self.interval(rng);
            }
            let preempt = chance(rng, 700_000);
            let delayed = preempt && chance(rng, 150_000);
            let priority = if self.owners && chance(rng, 400_000) {
                255
            } else {
                pick(rng, &[1, 50, 100, 100, 101, 150, 200, 254])
            };
            Settings {
                version: match (self.version, self.babel && node == 0) {
                    (Version::V3, true) if interval.subsec_nanos() == 0 => Version::V2,
                    (version, _) => version,
                },
                preempt,
                preempt_delay: if delayed { interval * rng.u32(1..6) } else { Duration::ZERO },
                lease: if self.strict { LeasePolicy::Strict } else { LeasePolicy::Overlap },
                down_timer_adverts: if self.plain { 3 } else { rng.u8(2..=5) },
                lower_prio_no_advert: chance(rng, 100_000),
                ..settings(vrid, priority, interval)
            }
        });
        settings.collect()
    }
}

fn fault(rng: &mut Rng, plan: &Plan, style: &Style, intervals: &[Duration], slow: Time) -> Fault {
    let count = plan.nodes.len();
    let node = rng.usize(..count);
    // Around the times at which something is about to happen: a wait, a lease.
    let for_ = match rng.u8(..4) {
        0 => rng.u64(0..slow / 2),
        1 => rng.u64(0..3 * slow),
        2 => rng.u64(5 * slow / 2..5 * slow),
        _ => rng.u64(0..12 * slow),
    };
    let router = rng.usize(..plan.nodes[node].instances.len());
    match rng.u8(..30) {
        0..5 => Fault::Freeze { node, for_ },
        5 | 6 => Fault::Pause { node, for_, clock_stops: rng.bool() },
        7..10 => Fault::Kill { node, for_ },
        10 | 11 => Fault::Restart { node, for_: for_ / 4, instances: None },
        12 => {
            let vipd = plan.nodes[node].kind == Kind::Vipd;
            let instances = vipd.then(|| style.instances(rng, intervals, node));
            Fault::Restart { node, for_: for_ / 4, instances }
        }
        13..16 => Fault::Stop { node, for_ },
        16 => Fault::Crash { node, for_ },
        17 | 18 => Fault::LinkDown { node, for_ },
        19 => Fault::Cut { from: node, to: (node + rng.usize(1..count)) % count, for_ },
        20 | 21 => Fault::Partition { side: rng.u32(1..1 << count), for_ },
        22 => Fault::Loss { share: pick(rng, &[50_000, 300_000, 900_000]), for_ },
        23 => Fault::SendFails { node, for_ },
        24 => Fault::Tracked { node, router, for_ },
        25..28 => Fault::Priority { node, router, priority: rng.u8(1..=254), for_ },
        _ => Fault::Busy { node, for_, at_most: rng.u64(MILLI / 10..2 * slow) },
    }
}
