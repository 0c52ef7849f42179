//! From a seed to a cluster, its network and its troubles.

mod early;
mod style;

use std::{net::Ipv4Addr, ops::Range, time::Duration};

use fastrand::Rng;
use vipd_common::{Family, Priority, Version, Vrid, types::ChecksumForm};
use vipd_core::{
    early::ProbeTiming,
    vrrp::{GarpTiming, LeasePolicy, Settings},
};

use self::style::Style;
use crate::clock::{MICRO, MILLI, SECOND, Time, ns};

/// Everything that a run is made of.
#[derive(Clone, Debug)]
pub struct Plan {
    pub seed: u64,
    pub nodes: Vec<NodePlan>,
    /// Of each router, the first of its sync group: itself if it is in none. The same on every node, as it must be.
    pub groups: Vec<usize>,
    pub network: Network,
    /// Nodes ask an arbiter, which no link but theirs and `CutArbiter` parts from them, before they take over early.
    pub arbiter: bool,
    /// A second line between all nodes carries everything but the addresses.
    pub heartbeat: bool,
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
    /// It probes the others and answers them.
    pub probes: Option<ProbeTiming>,
    /// So many of them can its program count among the backups that take over early.
    pub backups: usize,
    /// A router without `probe`: its probes do not list it.
    pub unlisted: Option<usize>,
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
    /// Another configuration for a process that runs; none: it is told to read the one it has.
    Reload { node: usize, instances: Option<Vec<Settings>> },
    /// A router and the others of its sync group are taken out of the configuration, and put back.
    Remove { node: usize, router: usize, for_: Time },
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
    /// An operator offers a router and its sync group to the others, and has it rank last meanwhile or not.
    HandOver { node: usize, router: usize, lowers: bool, for_: Time },
    /// No frame from one to the other, and nobody is told.
    Cut { from: usize, to: usize, for_: Time },
    /// As `Cut`, on the heartbeat line.
    CutHeartbeat { from: usize, to: usize, for_: Time },
    /// No answer of the arbiter reaches it.
    CutArbiter { node: usize, for_: Time },
    /// Other intervals of probes for a process that runs.
    Reprobe { node: usize, timing: ProbeTiming },
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
            | Self::Remove { for_, .. }
            | Self::Stop { for_, .. }
            | Self::Crash { for_, .. }
            | Self::LinkDown { for_, .. }
            | Self::Tracked { for_, .. }
            | Self::Priority { for_, .. }
            | Self::HandOver { for_, .. }
            | Self::Cut { for_, .. }
            | Self::CutHeartbeat { for_, .. }
            | Self::CutArbiter { for_, .. }
            | Self::Partition { for_, .. }
            | Self::Loss { for_, .. }
            | Self::SendFails { for_, .. }
            | Self::Busy { for_, .. } => *for_,
            Self::Reload { .. } | Self::Reprobe { .. } => 0,
        }
    }

    /// The configuration that comes with it.
    pub fn instances(&self) -> Option<&Vec<Settings>> {
        match self {
            Self::Restart { instances, .. } | Self::Reload { instances, .. } => instances.as_ref(),
            _ => None,
        }
    }
}

/// Routers that share their fate.
#[derive(Clone, Copy, Debug)]
pub struct Members(u64);

impl Iterator for Members {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        let first = self.0.trailing_zeros() as usize;
        self.0 &= self.0.wrapping_sub(1);
        (first < 64).then_some(first)
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
        fence: false,
        shared: None,
    }
}

impl Plan {
    /// A cluster of healthy nodes that all start at once on a quiet network, and nothing else.
    pub fn quiet(nodes: Vec<Vec<Settings>>) -> Self {
        let slowest = slowest(nodes.iter().flatten());
        let groups = (0..nodes[0].len()).collect();
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
                backups: early::MAX_EARLY_BACKUPS,
                unlisted: None,
                probes: None,
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
        let (arbiter, heartbeat, faults) = (false, false, Vec::new());
        let (calm, settled, end) = (SECOND, SECOND, SECOND);
        Self { seed: 0, nodes, groups, network, arbiter, heartbeat, faults, calm, settled, end }.timed()
    }

    /// Makes one sync group of all routers.
    #[must_use]
    pub fn grouped(mut self) -> Self {
        self.groups.fill(0);
        for node in &mut self.nodes {
            style::share(&self.groups, &mut node.instances);
        }
        self
    }

    /// The routers of a router's sync group: itself if it is in none.
    pub fn members(&self, router: usize) -> Members {
        let of = self.groups[router];
        let member = |(i, group): (usize, &usize)| u64::from(*group == of) << i;
        Members(self.groups.iter().enumerate().map(member).fold(0, std::ops::BitOr::bitor))
    }

    pub fn is_grouped(&self, router: usize) -> bool {
        self.members(router).count() > 1
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
        self.configurations().flatten()
    }

    /// What any node has been configured to, now or later.
    pub fn configurations(&self) -> impl Iterator<Item = &Vec<Settings>> {
        let later = self.faults.iter().filter_map(|(_, fault)| fault.instances());
        self.nodes.iter().map(|node| &node.instances).chain(later)
    }

    /// The plan of a seed.
    pub fn of(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let mut style = Style::of(&mut rng);
        let count = pick(&mut rng, &[2, 2, 2, 2, 3, 3, 3, 4]);
        let instances = pick(&mut rng, &[1, 1, 1, 2, 2, 3]);
        let keepalived = chance(&mut rng, 150_000).then(|| rng.usize(..count));
        style.plain &= keepalived.is_none();
        // The model of keepalived knows no groups.
        style.group(&mut rng, instances, keepalived.is_none());
        let mut intervals: Vec<Duration> = (0..instances).map(|_| style.interval(&mut rng)).collect();
        // All nodes are given others, one after the other.
        let later: Option<Vec<Duration>> =
            chance(&mut rng, 100_000).then(|| intervals.iter().map(|_| style.interval(&mut rng)).collect());
        let ever = || intervals.iter().chain(later.iter().flatten()).copied().map(ns);
        let slow = ever().max().unwrap_or(SECOND);
        // The network is faster than what anyone may be configured to.
        let fast = match (style.plain, style.version) {
            (true, _) => ever().min().unwrap_or(SECOND),
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
                backups: early::MAX_EARLY_BACKUPS,
                unlisted: None,
                probes: None,
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
        let groups = style.groups.clone();
        let (arbiter, heartbeat, none) = (false, false, Vec::new());
        let plan = Self {
            seed,
            nodes,
            groups,
            network,
            arbiter,
            heartbeat,
            faults: none,
            calm: 0,
            settled: 0,
            end: 0,
        };
        let mut times: Vec<Time> = (0..faults).map(|_| begin + rng.u64(0..span)).collect();
        times.sort_unstable();
        let turn = rng.usize(..=faults);
        let mut list = Vec::new();
        for (i, at) in times.into_iter().enumerate() {
            if let (true, Some(later)) = (i == turn, &later) {
                intervals.clone_from(later);
                let mut at = at;
                for node in (0..count).filter(|node| keepalived != Some(*node)) {
                    let instances = style.with_intervals(&plan.nodes[node].instances, &intervals);
                    list.push((at, Fault::Reload { node, instances: Some(instances) }));
                    at += rng.u64(0..3 * slow);
                }
            }
            list.push((at, style::fault(&mut rng, &plan, &style, &intervals, slow)));
        }
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
