//! Probes and their answers on the wire, the arbiter, and the heartbeat line.

use vipd_common::{address::Address, rival::RivalAdvert};
use vipd_core::{
    early::{EarlyTakeover, HostId, ProbeTiming},
    time::Instant,
};

use super::{Item, World};
use crate::{
    clock::{Time, ns},
    early::{Frame, Line},
    node::{Node, Packet},
    node_io::LINK,
    plan::chance,
};

impl World {
    /// A process that has just started probes all others that do.
    pub(super) fn begin_to_probe(&mut self, node: usize) {
        let Some(timing) = self.nodes[node].plan.probes else { return };
        let peers = self.nodes.iter().enumerate();
        let peers = peers.filter(|(i, other)| *i != node && other.plan.probes.is_some());
        let host = |(_, other): (usize, &Node)| HostId { link: LINK, address: other.plan.address.into() };
        let peers: Vec<HostId> = peers.map(host).collect();
        let mut early = EarlyTakeover::new(timing, peers);
        if self.nodes[node].kernel.probes.sponsored {
            early.inherit();
        }
        self.nodes[node].early = Some(early);
        self.nodes[node].arbiter = Instant::default();
        self.nodes[node].probed_at.fill(Instant::default());
    }

    /// A process is told of other intervals.
    pub(super) fn reprobes(&mut self, node: usize, timing: ProbeTiming) {
        self.note(|_| format!("node {node} probes every {:?}, {} times", timing.interval, timing.multiplier));
        if self.nodes[node].plan.probes.replace(timing) != Some(timing) {
            self.begins_to_probe_anew(node);
        }
    }

    /// Whether frames by a line reach a node, and leave it.
    pub(super) fn is_reached(&self, node: usize, line: Line) -> bool {
        let node = &self.nodes[node];
        node.up && node.paused.is_none() && (line == Line::Heartbeat || node.link())
    }

    /// How long a frame takes by a line; `None` if it is lost.
    fn way(&mut self, from: usize, to: usize, line: Line) -> Option<Time> {
        let network = &self.plan.network;
        let calm = self.now >= self.plan.calm;
        let loss = self.losses.last().copied().unwrap_or(if calm { 0 } else { network.loss });
        let cut = self.cuts[line as usize][from][to] > 0;
        if cut || !self.is_reached(from, line) || chance(&mut self.rng, loss) {
            return None;
        }
        let network = &self.plan.network;
        let mut delay = network.delay + self.rng.u64(0..=network.jitter);
        if !calm && chance(&mut self.rng, network.late) {
            delay += self.rng.u64(0..=network.lateness);
        }
        Some(delay)
    }

    /// The lines that there are.
    fn lines(&self) -> &'static [Line] {
        if self.plan.heartbeat { &[Line::Main, Line::Heartbeat] } else { &[Line::Main] }
    }

    /// Puts a probe or an answer on its way, by every line.
    pub fn send_frame(&mut self, frame: &Frame) {
        for line in self.lines() {
            match self.way(frame.from, frame.to, *line) {
                Some(delay) => {
                    if delay > self.plan.network.longest() {
                        self.frame_missed(frame.from, frame.to, *line);
                    }
                    self.push(self.now + delay, Item::Probe(Frame { line: *line, ..frame.clone() }));
                }
                None => self.frame_missed(frame.from, frame.to, *line),
            }
        }
    }

    /// Whether an advert is under way by the heartbeat line too.
    pub(super) fn broadcast_by_heartbeat(&mut self, packet: &Packet, to: usize) -> bool {
        if !self.plan.heartbeat {
            return false;
        }
        let Some(delay) = self.way(packet.from, to, Line::Heartbeat) else { return false };
        self.in_flight += 1;
        self.push(self.now + delay, Item::Arrive { to, packet: Packet { line: Line::Heartbeat, ..*packet } });
        true
    }

    pub(super) fn arrive_probe(&mut self, frame: &Frame) {
        let (from, to) = (frame.from, frame.to);
        if !self.is_reached(to, frame.line) {
            return self.frame_missed(from, to, frame.line);
        }
        let node = &self.nodes[to];
        if !node.is_vipd() || !node.kernel.attached || !node.kernel.probes.enabled {
            return;
        }
        let now = self.local(to);
        let Some(block) = &frame.block else {
            self.nodes[to].kernel.probes.hear_answer(from, frame.at, now);
            return self.heard_answer(frame);
        };
        // R4: what it says of ownership is as good as an advert, between two that take over early.
        let detect_ns = ns(block.interval) * u64::from(block.multiplier);
        let counts = block.takes_over && !block.leaving && self.nodes[to].kernel.probes.sponsored;
        for router in block.routers.iter().filter(|router| counts && (router.owner || router.claim)) {
            let instance = usize::from(router.vrid.get()) - 1;
            let rival = RivalAdvert {
                source: Address::from_v4(frame.source.octets()),
                priority: router.priority.get(),
                interval_cs: 0,
                checksum: 0,
            };
            let was = self.nodes[to].kernel.lease(instance);
            if self.nodes[to].kernel.hear_owner(instance, &rival, detect_ns, now) {
                self.note(|_| {
                    format!("node {to} hears a probe of node {from}, which takes router {instance}")
                });
            }
            self.heard_owner(frame, router, was);
        }
        self.nodes[to].kernel.probes.hear_probe(from, block, now);
        self.heard_probe(frame);
        let answer = Frame {
            from: to,
            to: from,
            source: self.nodes[to].plan.address,
            sent: self.now,
            line: frame.line,
            at: frame.at,
            block: None,
        };
        match self.way(to, from, frame.line) {
            Some(delay) => {
                if delay > self.plan.network.longest() {
                    self.frame_missed(to, from, frame.line);
                }
                self.push(self.now + delay, Item::Probe(answer));
            }
            None => self.frame_missed(to, from, frame.line),
        }
    }

    /// A frame of a peer has come, of whatever kind.
    pub(super) fn hears(&mut self, to: usize, from: usize) {
        let now = self.local(to);
        self.nodes[to].kernel.probes.hear(from, now);
        self.heard_anything(to, from);
    }

    // The arbiter.

    pub(super) fn cut_arbiter(&mut self, node: usize, cut: bool) {
        let count = &mut self.arbiter_cuts[node];
        *count = if cut { *count + 1 } else { *count - 1 };
    }

    pub fn reaches_arbiter(&self, node: usize) -> bool {
        self.arbiter_cuts[node] == 0 && self.nodes[node].is_reachable()
    }

    /// A process asks the arbiter, as often as it probes.
    pub fn ask_arbiter(&mut self, node: usize) {
        if self.plan.arbiter && self.reaches_arbiter(node) {
            let network = &self.plan.network;
            let delay = 2 * network.delay + self.rng.u64(0..=2 * network.jitter);
            let (life, asked) = (self.nodes[node].life, self.local(node));
            self.push(self.now + delay, Item::Arbiter { node, life, asked });
        }
    }

    pub(super) fn arbiter_answers(&mut self, node: usize, life: u32, asked: Instant) {
        if self.nodes[node].life == life && self.reaches_arbiter(node) {
            let before = std::mem::replace(&mut self.nodes[node].arbiter, asked);
            self.arbiter_answered(node, asked.saturating_since(before).as_nanos() as Time);
        }
    }
}

/// The time of a probe's silence.
pub fn detect(timing: &ProbeTiming) -> Time {
    ns(timing.interval) * Time::from(timing.multiplier)
}
