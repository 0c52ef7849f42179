//! What a process of the simulation acts on. Each clock reading and each effect may take its time, and the rest of the
//! world goes on meanwhile: that is where a process is preempted, stopped or killed in the middle of a turn.

use std::{net::IpAddr, sync::Arc};

use vipd_common::{Priority, abi::mapped, types::ChecksumForm};
use vipd_core::{
    early::{PeerStamps, ProbeBlock, ProbeNode},
    lease_manager::{AdvertReport, Heard, Node, Transition},
    time::Instant,
    vrrp::{InstanceId, Rank},
};

use crate::{
    early::{Frame, Line},
    node::{Message, Packet},
    oracle::Write,
    world::World,
};

pub struct NodeIo<'w> {
    pub world: &'w mut World,
    pub node: usize,
    pub life: u32,
}

impl NodeIo<'_> {
    /// Whether the process still is: nothing it does counts otherwise.
    pub fn is_alive(&self) -> bool {
        let node = &self.world.nodes[self.node];
        node.life == self.life && node.running && self.world.violation.is_none()
    }

    pub fn next_message(&mut self) -> Option<Message> {
        if !self.is_alive() {
            return None;
        }
        self.world.nodes[self.node].mailbox.pop_front()
    }

    /// Lets time pass as it does while a process runs.
    fn pass(&mut self) {
        if !self.is_alive() {
            return;
        }
        let begin = self.world.now;
        let stall = self.world.stall(self.node);
        if stall > 0 {
            self.world.run_until(begin + stall);
        }
        while self.is_alive() && !self.world.nodes[self.node].can_run(self.world.now) {
            if !self.world.step() {
                return;
            }
        }
        // Longer than the stall, if another process that was to run meanwhile was held up in turn.
        let passed = self.world.now - begin;
        if passed > 0 && self.is_alive() {
            self.world.held_up(self.node, passed);
        }
    }

    fn local(&self) -> Instant {
        self.world.local(self.node)
    }

    fn word(&mut self, instance: InstanceId) -> &mut u64 {
        self.world.nodes[self.node].kernel.lease_mut(usize::from(instance.0))
    }

    fn write(&mut self, instance: InstanceId, until: Instant, write: Write) {
        let was = Instant::from_nanos(*self.word(instance));
        *self.word(instance) = until.as_nanos();
        self.world.written(self.node, usize::from(instance.0), was, until, write);
    }
}

impl Node for NodeIo<'_> {
    fn now(&mut self) -> Instant {
        self.pass();
        let now = self.local();
        self.world.read_clock(self.node);
        now
    }

    fn lease(&mut self, instance: InstanceId) -> Instant {
        Instant::from_nanos(*self.word(instance))
    }

    fn acquire(&mut self, instance: InstanceId, until: Instant) {
        self.pass();
        if self.is_alive() {
            self.write(instance, until, Write::Acquire);
        }
    }

    fn renew(&mut self, instance: InstanceId, from: Instant, until: Instant) -> bool {
        self.pass();
        if !self.is_alive() || *self.word(instance) != from.as_nanos() {
            return false;
        }
        self.write(instance, until, Write::Renew);
        true
    }

    fn release(&mut self, instance: InstanceId) {
        self.pass();
        if self.is_alive() {
            self.write(instance, Instant::default(), Write::Release);
        }
    }

    fn next_report(&mut self) -> Option<AdvertReport> {
        if !self.is_alive() {
            return None;
        }
        let report = self.world.nodes[self.node].kernel.ring.pop_front();
        if report.is_none() {
            self.world.drained(self.node);
        }
        report
    }

    fn heard(&mut self, instance: InstanceId) -> Heard {
        let record = &self.world.nodes[self.node].kernel.records[usize::from(instance.0)];
        Heard { generation: record.generation, at: Instant::from_nanos(record.heard_ns) }
    }

    fn resync(&mut self, instance: InstanceId) {
        if self.is_alive() {
            self.world.nodes[self.node].kernel.records[usize::from(instance.0)].resync = 1;
        }
    }

    fn publish(&mut self, instance: InstanceId, rank: Rank) {
        self.pass();
        if !self.is_alive() {
            return;
        }
        let node = &mut self.world.nodes[self.node];
        let record = &mut node.kernel.records[usize::from(instance.0)];
        record.primary = mapped(node.plan.address.octets());
        record.priority = rank.priority.get();
    }

    fn send(&mut self, instance: InstanceId, priority: Priority, checksum: ChecksumForm) -> bool {
        self.pass();
        if !self.is_alive() {
            return false;
        }
        let instance = usize::from(instance.0);
        let node = &self.world.nodes[self.node];
        if node.send_faults > 0 {
            self.world.send_failed(self.node);
            return false;
        }
        let settings = &node.settings[instance];
        let packet = Packet {
            from: self.node,
            instance,
            source: node.plan.address,
            version: settings.version,
            priority,
            interval: settings.advert_interval,
            checksum,
            sent: self.world.now,
            line: Line::Main,
        };
        self.world.broadcast(&packet);
        true
    }

    fn announce(&mut self, instance: InstanceId, _repeat: u8) {
        if self.is_alive() {
            self.world.announced(self.node, usize::from(instance.0));
        }
    }

    fn cancel_announce(&mut self, _instance: InstanceId) {}

    fn mirroring(&mut self, _instance: InstanceId, _checksum: ChecksumForm) {}

    fn lower_heard(&mut self, _instance: InstanceId) {}

    fn fence(&mut self, instance: InstanceId, round: u64) {
        if self.is_alive() {
            self.world.fence(self.node, usize::from(instance.0), round);
        }
    }

    fn prepare(&mut self, _instance: InstanceId, _takes_over: bool) {}

    fn transition(&mut self, transition: Transition) {
        if self.is_alive() {
            self.world.changed(self.node, &transition);
        }
    }

    fn removed(&mut self, instance: InstanceId) {
        if self.is_alive() {
            self.world.removed(self.node, usize::from(instance.0));
        }
    }

    fn finished(&mut self) {
        if self.is_alive() {
            self.world.nodes[self.node].finished = true;
        }
    }
}

impl NodeIo<'_> {
    fn peer(&self, address: IpAddr) -> Option<usize> {
        self.world.nodes.iter().position(|node| IpAddr::from(node.plan.address) == address)
    }
}

impl ProbeNode for NodeIo<'_> {
    fn stamps(&mut self, peer: IpAddr) -> PeerStamps {
        let peer = self.peer(peer);
        peer.map(|peer| self.world.nodes[self.node].kernel.probes.stamps[peer].clone()).unwrap_or_default()
    }

    fn probe(&mut self, peer: IpAddr, at: Instant, block: &Arc<ProbeBlock>) -> bool {
        self.pass();
        let Some(to) = self.peer(peer).filter(|_| self.is_alive()) else { return false };
        let node = &self.world.nodes[self.node];
        if node.send_faults > 0 {
            self.world.send_failed(self.node);
            return false;
        }
        let frame = Frame {
            from: self.node,
            to,
            source: node.plan.address,
            sent: self.world.now,
            line: Line::Main,
            at,
            block: Some(block.clone()),
        };
        self.world.probes(&frame);
        self.world.ask_arbiter(self.node);
        self.world.send_frame(&frame);
        true
    }

    fn beat(&mut self, at: Instant) {
        self.pass();
        if self.is_alive() {
            let sponsored = self.is_sponsored(at);
            self.world.nodes[self.node].kernel.probes.beat_ns = at.as_nanos();
            self.world.beats(self.node, at, sponsored);
        }
    }

    fn is_sponsored(&mut self, now: Instant) -> bool {
        self.world.nodes[self.node].kernel.probes.let_own(now.as_nanos())
    }

    fn arbiter(&mut self) -> Option<Instant> {
        self.world.plan.arbiter.then(|| self.world.nodes[self.node].arbiter)
    }
}
