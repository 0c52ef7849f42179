//! The world: one queue of things to come, the machines, the network between them, and what has become of it all.

mod configuration;
mod faults;
mod probes;

pub use self::probes::detect;

use std::{cmp::Reverse, collections::BinaryHeap};

use fastrand::Rng;
use vipd_core::{
    coordinator::{Input, InstanceId},
    early::EarlyTakeover,
    lease_manager::{LeaseManager, Node as _},
    time::Instant,
    vrrp::{Reason, StateName},
};

use crate::{
    clock::{MILLI, Time},
    early::{Frame, Line, Probes},
    node::{Message, Node, Packet, Verdict},
    node_io::NodeIo,
    oracle::{Cause, Oracle, Violation},
    plan::{Fault, Plan, chance},
};

/// A process that is held up for longer than this is said to have been.
pub const NOTABLE_STALL: Time = MILLI / 5;
/// Turns of one process at one moment from which on it is spinning.
const TURNS_AT_ONCE: u32 = 10_000;

#[derive(Debug)]
enum Item {
    Arrive { to: usize, packet: Packet },
    Probe(Frame),
    Arbiter { node: usize, life: u32, asked: Instant },
    Wake { node: usize },
    Tell { node: usize, life: u32, message: Message },
    Begin(Fault),
    End(Fault, Again),
    Start { node: usize },
}

/// What the end of a fault needs to know of its beginning.
#[derive(Clone, Copy, Debug)]
struct Again {
    /// The life of the process it ended, if it did.
    life: Option<u32>,
    was: u32,
}

#[derive(Debug)]
struct Entry {
    at: Time,
    number: u64,
    item: Item,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

/// What was counted in a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    pub events: u64,
    pub simulated: Time,
    pub adverts: u64,
    pub takeovers: u64,
    pub longest_overlap: Time,
    pub violations: u64,
}

impl std::ops::AddAssign for Stats {
    fn add_assign(&mut self, other: Self) {
        self.events += other.events;
        self.simulated += other.simulated;
        self.adverts += other.adverts;
        self.takeovers += other.takeovers;
        self.longest_overlap = self.longest_overlap.max(other.longest_overlap);
        self.violations += other.violations;
    }
}

/// A change of state.
#[derive(Clone, Copy, Debug)]
pub struct Change {
    pub at: Time,
    pub node: usize,
    pub router: usize,
    pub to: StateName,
    pub reason: Reason,
}

pub struct World {
    pub plan: Plan,
    pub now: Time,
    pub nodes: Vec<Node>,
    pub oracle: Oracle,
    pub violation: Option<Violation>,
    pub stats: Stats,
    pub history: Vec<Change>,
    /// What happened, if it is wanted.
    log: Option<Vec<(Time, String)>>,
    queue: BinaryHeap<Reverse<Entry>>,
    number: u64,
    rng: Rng,
    /// Faults that keep frames of one node from another, on each line.
    cuts: [Vec<Vec<u32>>; 2],
    /// Faults that keep a node from the arbiter.
    arbiter_cuts: Vec<u32>,
    losses: Vec<u32>,
    /// When the newest advert that has come was sent, by sender, receiver and router.
    newest: Vec<Vec<Vec<Time>>>,
    spinning: (Time, u32),
    in_flight: u64,
    pub delivered: u64,
    pub lost: u64,
}

impl World {
    pub fn new(plan: Plan, logging: bool) -> Self {
        let mut nodes: Vec<Node> = plan.nodes.iter().map(|node| Node::new(node, &plan.groups)).collect();
        for (this, node) in nodes.iter_mut().enumerate() {
            node.heartbeat = plan.heartbeat;
            let count = plan.nodes.len();
            node.probed_at = vec![Instant::default(); count];
            node.kernel.probes = Probes::new(node.plan.probes.is_some(), count);
            // The nearest.
            let counted = &mut node.kernel.probes.counted;
            (1..=node.plan.backups.min(count - 1)).for_each(|i| counted[(this + i) % count] = true);
        }
        let count = nodes.len();
        let mut world = Self {
            now: 0,
            oracle: Oracle::new(count, plan.nodes[0].instances.len()),
            violation: None,
            stats: Stats::default(),
            history: Vec::new(),
            log: logging.then(Vec::new),
            queue: BinaryHeap::new(),
            number: 0,
            rng: Rng::with_seed(plan.seed ^ 0x5eed),
            cuts: [vec![vec![0; count]; count], vec![vec![0; count]; count]],
            arbiter_cuts: vec![0; count],
            losses: Vec::new(),
            newest: vec![vec![vec![0; plan.nodes[0].instances.len()]; count]; count],
            spinning: (0, 0),
            in_flight: 0,
            delivered: 0,
            lost: 0,
            nodes,
            plan,
        };
        for node in 0..count {
            world.push(world.plan.nodes[node].starts, Item::Start { node });
        }
        for (at, fault) in world.plan.faults.clone() {
            world.push(at, Item::Begin(fault));
        }
        world
    }

    /// Runs to the end of the plan, or to the first violation.
    pub fn run(&mut self) {
        let (settled, end) = (self.plan.settled, self.plan.end);
        self.run_until(settled);
        self.settled();
        self.run_until(end);
        self.over();
        self.stats.simulated = self.now;
        self.stats.violations = self.violation.is_some().into();
    }

    /// What happened, oldest first; empty unless it was asked for.
    pub fn log(&self) -> &[(Time, String)] {
        self.log.as_deref().unwrap_or_default()
    }

    pub fn note(&mut self, text: impl FnOnce(&Self) -> String) {
        if self.log.is_some() {
            let text = text(self);
            self.log.iter_mut().for_each(|log| log.push((self.now, text.clone())));
        }
    }

    pub fn local(&self, node: usize) -> Instant {
        let node = &self.nodes[node];
        node.paused.unwrap_or_else(|| node.clock.read(self.now))
    }

    fn push(&mut self, at: Time, item: Item) {
        self.number += 1;
        self.queue.push(Reverse(Entry { at, number: self.number, item }));
    }

    /// Lets everything happen that is to happen until `until`, and makes it that time.
    pub fn run_until(&mut self, until: Time) {
        let until = until.min(self.plan.end);
        while self.violation.is_none() && self.queue.peek().is_some_and(|Reverse(next)| next.at <= until) {
            self.step();
        }
        if self.violation.is_none() {
            self.advance(until);
        }
    }

    /// Lets the next thing happen; false if there is nothing more in this plan.
    pub fn step(&mut self) -> bool {
        let next = self.queue.peek().map(|Reverse(next)| next.at);
        if self.violation.is_some() || next.is_none_or(|at| at > self.plan.end) {
            return false;
        }
        let Some(Reverse(entry)) = self.queue.pop() else { return false };
        self.advance(entry.at);
        if self.violation.is_some() {
            return false;
        }
        self.stats.events += 1;
        self.happen(entry.item);
        self.check();
        true
    }

    /// Moves the time, with a look at each moment at which a lease runs out.
    fn advance(&mut self, to: Time) {
        while let Some(expiry) = self.nodes.iter().filter_map(|node| node.next_expiry(self.now, to)).min() {
            self.pass_to(expiry.max(self.now));
            self.check();
        }
        self.pass_to(to.max(self.now));
    }

    fn pass_to(&mut self, to: Time) {
        if self.violation.is_none() {
            self.time_passes(to);
        }
        self.now = to;
    }

    fn happen(&mut self, item: Item) {
        match item {
            Item::Arrive { to, packet } => self.arrive(to, &packet),
            Item::Probe(frame) => self.arrive_probe(&frame),
            Item::Arbiter { node, life, asked } => self.arbiter_answers(node, life, asked),
            Item::Wake { node } => {
                if self.nodes[node].wakes_at == Some(self.now) {
                    self.nodes[node].wakes_at = None;
                    self.turn(node);
                }
            }
            Item::Tell { node, life, message } => {
                if self.nodes[node].life == life {
                    self.nodes[node].mailbox.push_back(message);
                    self.wake_soon(node);
                }
            }
            Item::Begin(fault) => self.begin(fault),
            Item::End(fault, again) => self.end(&fault, again),
            Item::Start { node } => self.start(node),
        }
    }

    // The network.

    pub fn broadcast(&mut self, packet: &Packet) {
        self.stats.adverts += 1;
        self.note(|_| {
            let Packet { instance, priority, .. } = packet;
            format!("node {} sends an advert of router {instance}, priority {priority}", packet.from)
        });
        self.sent(packet);
        for to in (0..self.nodes.len()).filter(|to| *to != packet.from) {
            let network = &self.plan.network;
            let calm = self.now >= self.plan.calm;
            let loss = self.losses.last().copied().unwrap_or(if calm { 0 } else { network.loss });
            let cut = self.cuts[0][packet.from][to] > 0;
            let second = self.broadcast_by_heartbeat(packet, to);
            if cut || !self.nodes[packet.from].is_reachable() || chance(&mut self.rng, loss) {
                if !second {
                    self.lose(packet, to);
                }
                continue;
            }
            let network = &self.plan.network;
            let mut delay = network.delay + self.rng.u64(0..=network.jitter);
            if !calm && chance(&mut self.rng, network.late) {
                delay += self.rng.u64(0..=network.lateness);
            }
            if delay > network.longest() {
                self.missed(packet, to);
            }
            let network = &self.plan.network;
            let twice = chance(&mut self.rng, network.duplicates);
            let again = delay + self.rng.u64(0..=network.jitter);
            self.in_flight += 1;
            self.push(self.now + delay, Item::Arrive { to, packet: *packet });
            if twice {
                self.in_flight += 1;
                self.push(self.now + again, Item::Arrive { to, packet: *packet });
            }
        }
    }

    fn lose(&mut self, packet: &Packet, to: usize) {
        self.lost += 1;
        self.note(|_| format!("lost: node {} to node {to}, router {}", packet.from, packet.instance));
        self.missed(packet, to);
    }

    fn arrive(&mut self, to: usize, packet: &Packet) {
        self.in_flight -= 1;
        if !self.is_reached(to, packet.line) {
            return self.lose(packet, to);
        }
        self.delivered += 1;
        let newest = &mut self.newest[packet.from][to][packet.instance];
        let overtaken = packet.sent < *newest;
        *newest = packet.sent.max(*newest);
        if overtaken || self.now - packet.sent > self.plan.network.longest() {
            // It comes, but not when the invariants count on it.
            self.missed(packet, to);
        }
        self.hears(to, packet.from);
        let now = self.local(to);
        let node = &mut self.nodes[to];
        if !node.is_vipd() {
            if node.running {
                node.peer.receive(packet);
                self.wake_soon(to);
            }
            return;
        }
        if !node.kernel.attached {
            return;
        }
        let was = node.kernel.lease(packet.instance);
        let events = node.kernel.ring.len();
        let verdict = node.kernel.receive(packet, now);
        let told = node.kernel.ring.len() > events;
        self.note(|_| {
            format!("node {to} hears node {} of router {}: {verdict:?}", packet.from, packet.instance)
        });
        match verdict {
            Verdict::Discarded => self.unheard(packet, to, was),
            Verdict::Unreported => {
                self.unheard(packet, to, was);
                self.missed(packet, to);
            }
            Verdict::Heard(_) => self.heard(packet, to, was),
        }
        if told {
            self.wake_soon(to);
        }
    }

    // Processes.

    /// How long a process is held up now.
    pub fn stall(&mut self, node: usize) -> Time {
        let network = &self.plan.network;
        let (share, at_most) = match self.nodes[node].busy_faults.iter().max() {
            Some(at_most) => (50_000, *at_most),
            None if self.now >= self.plan.calm => return 0,
            None => (network.stall, network.stall_at_most),
        };
        if at_most == 0 || !chance(&mut self.rng, share) {
            return 0;
        }
        // Most are short.
        let scale = [1000, 100, 10, 1][self.rng.usize(..4)];
        self.rng.u64(0..=at_most / scale)
    }

    fn wake_soon(&mut self, node: usize) {
        let latency = self.rng.u64(self.plan.network.wake.clone());
        self.wake_at(node, self.now + latency);
    }

    fn wake_at(&mut self, node: usize, at: Time) {
        if self.nodes[node].wakes_at.is_none_or(|before| at < before) {
            self.nodes[node].wakes_at = Some(at);
            self.push(at, Item::Wake { node });
        }
    }

    fn start(&mut self, i: usize) {
        let node = &mut self.nodes[i];
        if !node.up {
            return;
        }
        node.life += 1;
        (node.running, node.frozen_until, node.in_turn) = (true, 0, false);
        (node.finished, node.left, node.stopping, node.lease_manager) = (false, false, false, None);
        node.early = None;
        node.mailbox.clear();
        node.settings.clone_from(&node.configured);
        let (life, link) = (node.life, node.link());
        let tracked: Vec<_> = (0..node.configured.len())
            .map(|router| (node.track_faults[router] == 0, node.priority(router)))
            .collect();
        self.note(|_| format!("node {i} starts"));
        self.started(i);
        if std::mem::take(&mut self.nodes[i].unread) {
            self.reconfigured(i);
        }
        let node = &mut self.nodes[i];
        if node.is_vipd() {
            node.prepare();
            node.in_turn = true;
            let mut lease_manager = LeaseManager::default();
            let mut io = NodeIo { world: self, node: i, life };
            configuration::begin(&mut lease_manager, &mut io);
            if io.is_alive() {
                self.nodes[i].in_turn = false;
                self.nodes[i].lease_manager = Some(lease_manager);
                self.begin_to_probe(i);
            } else {
                return;
            }
        } else {
            node.peer.start();
        }
        // What it sees when it looks; a change since is told.
        let node = &mut self.nodes[i];
        node.mailbox.push_front(Message::Link(link));
        for (router, (well, priority)) in tracked.into_iter().enumerate() {
            node.told_well[router] = well;
            node.mailbox.push_front(Message::Priority { router, priority });
        }
        self.wake_soon(i);
    }

    /// Ends the process without asking it.
    fn kill(&mut self, i: usize) {
        let node = &mut self.nodes[i];
        node.life += 1;
        (node.running, node.in_turn, node.lease_manager, node.early) = (false, false, None, None);
        self.ended(i);
    }

    /// A turn of a process: what `daemon::engine` does between two waits.
    fn turn(&mut self, i: usize) {
        let node = &self.nodes[i];
        if !node.can_run(self.now) || node.in_turn {
            return;
        }
        self.spinning =
            if self.spinning.0 == self.now { (self.now, self.spinning.1 + 1) } else { (self.now, 0) };
        if self.spinning.1 > TURNS_AT_ONCE {
            self.fail(Cause::Spinning { node: i });
            return;
        }
        if !node.is_vipd() {
            return self.turn_of_peer(i);
        }
        let life = node.life;
        let Some(mut lease_manager) = self.nodes[i].lease_manager.take() else { return };
        let mut early = self.nodes[i].early.take();
        self.nodes[i].in_turn = true;
        self.turn_begins(i);
        let mut io = NodeIo { world: self, node: i, life };
        loop {
            while lease_manager.turn(&mut io) {}
            if let Some(early) = &mut early {
                io.ask_for_sponsors(early, true);
                early.turn(&mut lease_manager, &mut io);
                io.ask_for_sponsors(early, false);
            }
            let Some(message) = io.next_message() else { break };
            match message {
                Message::Link(up) => {
                    io.world.nodes[i].told_link = up;
                    for instance in lease_manager.ids() {
                        let input = io.world.nodes[i].as_told(instance);
                        lease_manager.input(input, &mut io);
                    }
                }
                Message::Tracked { router, well } => {
                    io.world.nodes[i].told_well[router] = well;
                    let input = io.world.nodes[i].as_told(InstanceId(router as u16));
                    lease_manager.input(input, &mut io);
                }
                Message::Priority { router, priority } => {
                    let instance = InstanceId(router as u16);
                    io.world.reprioritised(i, router, priority);
                    lease_manager.input(Input::Priority { instance, priority }, &mut io);
                }
                Message::Reload => configuration::reload(&mut lease_manager, &mut io),
                Message::Reprobe(timing) => {
                    if let Some(early) = &mut early {
                        io.world.reprobes(i, timing);
                        early.configure(timing);
                    }
                }
                Message::Remove { group } => configuration::remove(group, &mut lease_manager, &mut io),
                Message::Add { group } => configuration::add(group, &mut lease_manager, &mut io),
                Message::HandOver { router } => {
                    io.world.offered(i, router);
                    lease_manager.input(Input::HandOver { instance: InstanceId(router as u16) }, &mut io);
                }
                Message::Fenced { router, round, done } => {
                    io.world.fenced(i, router, round, done);
                    let instance = InstanceId(router as u16);
                    lease_manager.input(Input::Fenced { instance, round, done }, &mut io);
                }
                Message::Shutdown => {
                    io.world.nodes[i].stopping = true;
                    early.iter_mut().for_each(EarlyTakeover::leave);
                    lease_manager.input(Input::Shutdown, &mut io);
                }
                Message::Leave => {
                    lease_manager.leave(&mut io);
                    if io.is_alive() {
                        io.world.nodes[i].left = true;
                    }
                }
            }
        }
        if !io.is_alive() {
            return;
        }
        let now = io.now();
        if !io.is_alive() {
            return;
        }
        let next = lease_manager
            .poll_timeout()
            .into_iter()
            .chain(early.as_ref().map(EarlyTakeover::poll_timeout))
            .min();
        self.nodes[i].in_turn = false;
        let snapshots: Vec<_> =
            (0..self.nodes[i].settings.len()).map(|r| lease_manager.snapshot(InstanceId(r as u16))).collect();
        for router in 0..snapshots.len() {
            self.believes(i, router, &snapshots);
            if lease_manager.claim(InstanceId(router as u16)).is_none() {
                self.has_settled(i, router);
            }
        }
        self.is_of_one_mind(i);
        if self.nodes[i].finished {
            self.note(|_| format!("node {i} has handed over"));
            // Tables, routes and program go with it.
            self.nodes[i].forget();
            return self.kill(i);
        }
        if self.nodes[i].left {
            self.note(|_| format!("node {i} has left"));
            return self.kill(i);
        }
        (self.nodes[i].lease_manager, self.nodes[i].early) = (Some(lease_manager), early);
        if let Some(next) = next {
            let at = if next <= now { self.now } else { self.nodes[i].clock.when(next) };
            let latency = self.rng.u64(self.plan.network.wake.clone());
            self.wake_at(i, at + latency);
        }
        if !self.nodes[i].kernel.ring.is_empty() || !self.nodes[i].mailbox.is_empty() {
            self.wake_soon(i);
        }
    }

    fn turn_of_peer(&mut self, i: usize) {
        let now = self.now;
        let mut wanted = Vec::new();
        let Node { mailbox, peer, settings, plan, .. } = &mut self.nodes[i];
        let mut gone = false;
        while let Some(message) = mailbox.pop_front() {
            match message {
                Message::Link(up) => peer.link(up, settings, now),
                Message::Shutdown => {
                    wanted.extend(peer.stop());
                    gone = true;
                }
                // keepalived has no such thing, and the model of it tracks nothing.
                Message::Leave
                | Message::Tracked { .. }
                | Message::Priority { .. }
                | Message::Reload
                | Message::Reprobe(_)
                | Message::Remove { .. }
                | Message::Add { .. }
                | Message::HandOver { .. }
                | Message::Fenced { .. } => {}
            }
        }
        if !gone {
            wanted.extend(peer.turn(settings, plan.address, now));
        }
        let next = peer.deadline();
        for wanted in wanted {
            let settings = &self.nodes[i].settings[wanted.instance];
            let packet = Packet {
                from: i,
                instance: wanted.instance,
                source: self.nodes[i].plan.address,
                version: settings.version,
                priority: wanted.priority,
                interval: settings.advert_interval,
                checksum: settings.checksum,
                sent: now,
                line: Line::Main,
            };
            self.broadcast(&packet);
        }
        if gone {
            return self.kill(i);
        }
        if let Some(next) = next {
            let latency = self.rng.u64(self.plan.network.wake.clone());
            self.wake_at(i, next.max(now) + latency);
        }
    }

    /// Whether every frame to every node is accounted for.
    pub fn frames_add_up(&self) -> bool {
        let arriving =
            self.queue.iter().filter(|Reverse(e)| matches!(e.item, Item::Arrive { .. })).count() as u64;
        arriving == self.in_flight
    }
}
