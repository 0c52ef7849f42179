//! One machine: its kernel with XDP and the maps, and the process on it.

use std::collections::VecDeque;

use vipd_common::{
    Priority, Version,
    abi::{InstanceRecord, mapped},
    address::Address,
    rival::{RivalAdvert, Tenure},
    sponsor::EarlyBackup,
    types::ChecksumForm,
};
use vipd_core::{
    coordinator::{FaultReason, Input},
    early::{EarlyTakeover, ProbeTiming},
    lease_manager::{AdvertReport, LeaseManager},
    time::Instant,
    vrrp::{Advert, InstanceId, Settings},
};
use zerocopy::FromZeros;

use crate::{
    clock::{Clock, Time, ns},
    early::{Line, Probes},
    peer::Peer,
    plan::{Kind, NodePlan},
};

/// An advert on its way.
#[derive(Clone, Copy, Debug)]
pub struct Packet {
    pub from: usize,
    pub instance: usize,
    pub source: std::net::Ipv4Addr,
    pub version: Version,
    pub priority: Priority,
    pub interval: std::time::Duration,
    pub checksum: ChecksumForm,
    pub sent: Time,
    pub line: Line,
}

/// What XDP makes of an advert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It fails a check.
    Discarded,
    /// The daemon would have to be told, and the ring is full: as if it had not come.
    Unreported,
    Heard(Tenure),
}

/// The pinned half: it outlives the process, and goes with the machine.
#[derive(Debug)]
pub struct Kernel {
    pub attached: bool,
    /// One word for each group, at the place of its first router.
    leases: Vec<u64>,
    groups: Vec<usize>,
    pub records: Vec<InstanceRecord>,
    /// Whether adverts of the router are looked at.
    known: Vec<bool>,
    pub probes: Probes,
    pub ring: VecDeque<AdvertReport>,
    ring_size: usize,
}

impl Kernel {
    fn new(groups: &[usize], ring_size: usize) -> Self {
        Self {
            attached: false,
            leases: vec![0; groups.len()],
            groups: groups.to_vec(),
            records: vec![InstanceRecord::new_zeroed(); groups.len()],
            known: vec![false; groups.len()],
            probes: Probes::default(),
            ring: VecDeque::new(),
            ring_size,
        }
    }

    /// The lease word of a router, which is its group's.
    pub fn lease(&self, instance: usize) -> u64 {
        self.leases[self.groups[instance]]
    }

    pub fn lease_mut(&mut self, instance: usize) -> &mut u64 {
        &mut self.leases[self.groups[instance]]
    }

    /// What a daemon writes before adverts are looked at, as `daemon::router` does.
    pub fn identify(&mut self, instance: usize, settings: &Settings, address: std::net::Ipv4Addr) {
        let record = &mut self.records[instance];
        record.primary = mapped(address.octets());
        record.priority = settings.priority.get();
        record.version = settings.version as u8;
        self.known[instance] = true;
        self.reconfigure(instance, settings);
    }

    /// What a daemon writes of another configuration. Whom the router is compared as is the election's to say.
    pub fn reconfigure(&mut self, instance: usize, settings: &Settings) {
        let record = &mut self.records[instance];
        record.lease_ns = ns(settings.lease_length());
        record.stale_after_ns = ns(settings.stale_after());
        record.interval_cs = (ns(settings.advert_interval) / 10_000_000) as u32;
        record.resync = 1;
    }

    /// Knows nothing of a router any more.
    pub fn forget(&mut self, instance: usize) {
        *self.lease_mut(instance) = 0;
        self.records[instance] = InstanceRecord::new_zeroed();
        self.known[instance] = false;
        // It is added again much later than what was heard of it is read.
        self.ring.retain(|report| usize::from(report.instance.0) != instance);
    }

    /// A probe says that its sender owns a router's addresses, or claims them: whether that has taken our lease.
    pub fn hear_owner(&mut self, instance: usize, rival: &RivalAdvert, detect_ns: u64, now: Instant) -> bool {
        if !self.known.get(instance).copied().unwrap_or(false) {
            return false;
        }
        let (word, record) = (&mut self.leases[self.groups[instance]], &self.records[instance]);
        let by = EarlyBackup { probe_ns: 0, detect_ns };
        let stale = by.is_stale(self.probes.beat_ns, now.as_nanos());
        // An address owner of version 2 is outranked by nobody.
        let priority = if record.version == 2 && record.priority == 255 { 1 } else { rival.priority };
        let rival = RivalAdvert { priority, ..*rival };
        let over = rival.tenure_by_probe(record, *word, stale, now.as_nanos()).is_over();
        if over {
            *word = 0;
        }
        over
    }

    /// `vipd-ebpf`'s checks as far as these packets can fail them, and what it does with a valid advert.
    pub fn receive(&mut self, packet: &Packet, now: Instant) -> Verdict {
        if !self.known[packet.instance] {
            return Verdict::Discarded;
        }
        let record = &mut self.records[packet.instance];
        let word = &mut self.leases[self.groups[packet.instance]];
        let interval_cs = (ns(packet.interval) / 10_000_000) as u32;
        // `OwnSource` and `VersionErrors`.
        if mapped(packet.source.octets()) == record.primary || packet.version as u8 != record.version {
            return Verdict::Discarded;
        }
        let rival = RivalAdvert {
            source: Address::from_v4(packet.source.octets()),
            priority: packet.priority.get(),
            interval_cs,
            checksum: packet.checksum as u8,
        };
        if record.version == 2 && record.priority == 255 {
            if rival.tenure_of_deaf_owner(record, *word, now.as_nanos()).is_over() {
                *word = 0;
            }
            return Verdict::Discarded;
        }
        if record.version == 2 && interval_cs != record.interval_cs {
            return Verdict::Discarded;
        }
        let tenure = rival.tenure(record, *word, now.as_nanos());
        if tenure.is_over() {
            *word = 0;
        }
        if rival.is_to_be_reported(record, tenure, now.as_nanos()) {
            if self.ring.len() >= self.ring_size {
                return Verdict::Unreported;
            }
            let generation = record.generation.wrapping_add(1);
            self.ring.push_back(AdvertReport {
                instance: InstanceId(packet.instance as u16),
                generation,
                before: Instant::from_nanos(record.heard_ns),
                advert: Advert {
                    source: packet.source.into(),
                    priority: packet.priority,
                    interval: packet.interval,
                    checksum: packet.checksum,
                    received_at: now,
                },
                revoked: tenure == Tenure::Lost,
            });
            rival.describe(record, generation, now.as_nanos());
        }
        record.heard_ns = now.as_nanos();
        Verdict::Heard(tenure)
    }
}

/// What the process is told besides adverts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message {
    Link(bool),
    /// Whether what a router tracks is well.
    Tracked {
        router: usize,
        well: bool,
    },
    Priority {
        router: usize,
        priority: Priority,
    },
    /// SIGHUP: the configuration may be another one.
    Reload,
    Reprobe(ProbeTiming),
    /// A group, by its first router, is in the configuration no longer, or is again.
    Remove {
        group: usize,
    },
    Add {
        group: usize,
    },
    /// An operator wants a router's group to be another's.
    HandOver {
        router: usize,
    },
    /// What has become of the fence that was asked for.
    Fenced {
        router: usize,
        round: u64,
        done: bool,
    },
    Shutdown,
    Leave,
}

/// What a process has of a router.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    Absent,
    Here,
    /// Asked to hand over and go.
    Going,
}

#[derive(Debug)]
pub struct Node {
    pub plan: NodePlan,
    /// With the priority that its process knows of.
    pub settings: Vec<Settings>,
    pub configured: Vec<Settings>,
    /// That is another one than what its process has read.
    pub unread: bool,
    /// Of each router, the first of its sync group.
    groups: Vec<usize>,
    /// Of each group: it is not in the configuration, by so many faults.
    pub removals: Vec<u32>,
    pub clock: Clock,
    // The machine.
    pub up: bool,
    /// Its clock when it was paused.
    pub paused: Option<Instant>,
    pub link_faults: u32,
    pub send_faults: u32,
    /// Of each router: what it tracks is not well, by so many faults.
    pub track_faults: Vec<u32>,
    /// Of each router: the priorities that faults give it, the last counts.
    pub priorities: Vec<Vec<Priority>>,
    /// The longest that its processes are held up now, and by how many faults.
    pub busy_faults: Vec<Time>,
    pub kernel: Kernel,
    // The process.
    /// Rises with each process.
    pub life: u32,
    pub running: bool,
    pub frozen_until: Time,
    /// On the stack: it is in the middle of a turn.
    pub in_turn: bool,
    pub lease_manager: Option<LeaseManager>,
    pub early: Option<EarlyTakeover>,
    /// When the arbiter was asked what it has answered last.
    pub arbiter: Instant,
    /// When each peer was last probed.
    pub probed_at: Vec<Instant>,
    /// There is a heartbeat line.
    pub heartbeat: bool,
    pub presence: Vec<Presence>,
    /// It was told to hand everything over.
    pub stopping: bool,
    pub mailbox: VecDeque<Message>,
    /// What it was told last.
    pub told_link: bool,
    pub told_well: Vec<bool>,
    pub wakes_at: Option<Time>,
    pub finished: bool,
    pub left: bool,
    /// What its keepalived is, if it is one.
    pub peer: Peer,
}

impl Node {
    pub fn new(plan: &NodePlan, groups: &[usize]) -> Self {
        let count = plan.instances.len();
        Self {
            settings: plan.instances.clone(),
            configured: plan.instances.clone(),
            unread: false,
            groups: groups.to_vec(),
            removals: vec![0; count],
            presence: vec![Presence::Absent; count],
            stopping: false,
            clock: Clock::new(0, plan.clock, plan.ppm),
            up: true,
            paused: None,
            link_faults: 0,
            send_faults: 0,
            track_faults: vec![0; count],
            priorities: vec![Vec::new(); count],
            busy_faults: Vec::new(),
            kernel: Kernel::new(groups, plan.ring),
            life: 0,
            running: false,
            frozen_until: 0,
            in_turn: false,
            lease_manager: None,
            early: None,
            arbiter: Instant::default(),
            probed_at: Vec::new(),
            heartbeat: false,
            mailbox: VecDeque::new(),
            told_link: false,
            told_well: vec![true; count],
            wakes_at: None,
            finished: false,
            left: false,
            peer: Peer::new(count),
            plan: plan.clone(),
        }
    }

    pub fn is_vipd(&self) -> bool {
        self.plan.kind == Kind::Vipd
    }

    pub fn link(&self) -> bool {
        self.link_faults == 0
    }

    /// What the daemon makes of what it was told.
    pub fn as_told(&self, instance: InstanceId) -> Input {
        match (self.told_link, self.told_well[usize::from(instance.0)]) {
            (true, true) => Input::Ready { instance, address: self.plan.address.into() },
            (false, _) if self.heartbeat => Input::Fault { instance, reason: FaultReason::CutOff },
            (false, _) => Input::Fault { instance, reason: FaultReason::LinkDown },
            (true, false) => Input::Fault { instance, reason: FaultReason::Tracked },
        }
    }

    /// The priority that a router is to have.
    pub fn priority(&self, router: usize) -> Priority {
        let configured = self.configured[router].priority;
        if configured.is_owner() {
            return configured;
        }
        self.priorities[router].last().copied().unwrap_or(configured)
    }

    /// The settings that a router is to have.
    pub fn wanted(&self, router: usize) -> Settings {
        Settings { priority: self.priority(router), ..self.configured[router] }
    }

    /// Whether a router is in the configuration.
    pub fn is_wanted(&self, router: usize) -> bool {
        self.removals[self.groups[router]] == 0
    }

    /// Whether what a router tracks may have a weight: not an owner's.
    pub fn has_weights(&self, router: usize) -> bool {
        self.is_vipd() && !self.configured[router].priority.is_owner()
    }

    /// Whether frames reach it and leave it.
    pub fn is_reachable(&self) -> bool {
        self.up && self.paused.is_none() && self.link()
    }

    /// Whether its process runs, or could.
    pub fn can_run(&self, now: Time) -> bool {
        self.running && self.up && self.paused.is_none() && self.frozen_until <= now
    }

    /// Whether the world sees it answer for the address.
    pub fn owns(&self, instance: usize, now: Time) -> bool {
        self.answers(now).is_some_and(|answers| answers.owns(instance))
    }

    /// What it answers for; `None` if for nothing.
    pub fn answers(&self, now: Time) -> Option<Answers<'_>> {
        if !self.is_reachable() {
            return None;
        }
        if !self.is_vipd() {
            return Some(Answers::OfPeer(&self.peer));
        }
        let local = self.clock.read(now).as_nanos();
        let answers = self.kernel.attached && self.kernel.probes.let_own(local);
        answers.then_some(Answers::OfKernel(&self.kernel, local))
    }

    /// The next moment at which a lease of it runs out, if that is no later than `to`.
    pub fn next_expiry(&self, now: Time, to: Time) -> Option<Time> {
        if !self.is_reachable() || !self.kernel.attached {
            return None;
        }
        let local = self.clock.read(now).as_nanos();
        let standing = self.kernel.leases.iter().copied().filter(|until| *until > local).min()?;
        let sponsors = self.kernel.probes.edges().filter(|at| *at > local);
        let first = sponsors.fold(standing, u64::min);
        // A clock's time is dear to find.
        if first > self.clock.read(to).as_nanos() {
            return None;
        }
        Some(self.clock.when(Instant::from_nanos(first))).filter(|at| *at <= to)
    }

    /// Everything that a boot takes away.
    pub fn forget(&mut self) {
        let probes = self.kernel.probes.cleared();
        self.kernel = Kernel { probes, ..Kernel::new(&self.groups, self.plan.ring) };
        self.peer = Peer::new(self.settings.len());
    }

    /// What a daemon that starts does before it attaches.
    pub fn prepare(&mut self) {
        if !self.kernel.attached {
            self.forget();
        }
        self.kernel.ring.clear();
        for router in 0..self.settings.len() {
            // One that was being handed over has a successor that waits already.
            if self.kernel.records[router].priority == 0 {
                *self.kernel.lease_mut(router) = 0;
            }
        }
        for router in 0..self.settings.len() {
            if self.is_wanted(router) {
                self.kernel.identify(router, &self.settings[router], self.plan.address);
                self.presence[router] = Presence::Here;
            } else {
                self.kernel.forget(router);
                self.presence[router] = Presence::Absent;
            }
        }
        self.kernel.attached = true;
    }
}

/// A node that answers for some addresses.
#[derive(Clone, Copy, Debug)]
pub enum Answers<'n> {
    /// For those whose lease stands, at a time of its clock.
    OfKernel(&'n Kernel, u64),
    OfPeer(&'n Peer),
}

impl Answers<'_> {
    pub fn owns(&self, instance: usize) -> bool {
        match self {
            Self::OfKernel(kernel, local) => *local < kernel.lease(instance),
            Self::OfPeer(peer) => peer.has_address(instance),
        }
    }
}
