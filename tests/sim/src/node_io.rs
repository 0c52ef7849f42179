//! What a process of the simulation acts on. Each clock reading and each effect may take its time, and the rest of the
//! world goes on meanwhile: that is where a process is preempted, stopped or killed in the middle of a turn.

use std::{net::IpAddr, sync::Arc};

use vipd_common::{Priority, abi::mapped, types::ChecksumForm};
use vipd_core::{
    early::{
        EarlyTakeover, HostId, PATIENT_FOR, PeerStamps, ProbeBlock, ProbeDeparture, ProbeNode, ProbeTiming,
        RouterFlags, SLOW_PACE,
    },
    lease_manager::{AdvertReport, Heard, LeaseManager, Node, Transition},
    time::Instant,
    vrrp::{InstanceId, Rank},
};

use crate::{
    early::{Frame, Line},
    node::{Message, Packet},
    oracle::Write,
    world::World,
};

/// All nodes are on one.
pub const LINK: u32 = 0;

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

impl NodeIo<'_> {
    /// Has the program ask for sponsors before a probe may say so (`before`), or no more if nobody relies on it.
    pub fn ask_for_sponsors(&mut self, early: &EarlyTakeover, before: bool) {
        let asks = early.is_relied_on(self.local());
        if self.is_alive() && asks == before {
            self.world.nodes[self.node].kernel.probes.sponsored = asks;
        }
    }
}

impl ProbeNode for NodeIo<'_> {
    type Said = Arc<ProbeBlock>;

    fn link(&mut self, _instance: InstanceId) -> Option<u32> {
        Some(LINK)
    }

    fn stamps(&mut self, peer: HostId) -> PeerStamps {
        let Some(peer) = self.peer(peer.address) else { return PeerStamps::default() };
        let probes = &self.world.nodes[self.node].kernel.probes;
        PeerStamps { counted: probes.counted[peer], ..probes.stamps[peer].clone() }
    }

    fn say(
        &mut self,
        leases: &LeaseManager,
        timing: &ProbeTiming,
        leaving: bool,
        beats: bool,
        at: Instant,
    ) -> Arc<ProbeBlock> {
        let sponsored = beats || self.is_sponsored(at);
        let of = |instance| RouterFlags::of(instance, leases, self.lease(instance), sponsored, at);
        let routers = leases.ids().into_iter().filter_map(of).collect();
        let ProbeTiming { interval, multiplier, takes_over, .. } = *timing;
        Arc::new(ProbeBlock { interval, multiplier, takes_over, leaving, routers })
    }

    fn probe(
        &mut self,
        peer: HostId,
        at: Instant,
        block: &Arc<ProbeBlock>,
        may_rest: bool,
    ) -> ProbeDeparture {
        self.pass();
        let Some(to) = self.peer(peer.address).filter(|_| self.is_alive()) else {
            return ProbeDeparture::Failed;
        };
        let node = &self.world.nodes[self.node];
        if node.send_faults > 0 {
            self.world.send_failed(self.node);
            return ProbeDeparture::Failed;
        }
        let stamps = &node.kernel.probes.stamps[to];
        let heard = stamps.answered.max(stamps.probed);
        let is_heard = heard > Instant::default() && at.saturating_since(heard) <= PATIENT_FOR;
        if may_rest && !is_heard && at.saturating_since(node.probed_at[to]) < SLOW_PACE {
            self.world.ask_arbiter(self.node);
            self.world.rests(self.node, to, at);
            return ProbeDeparture::Resting;
        }
        self.world.nodes[self.node].probed_at[to] = at;
        let node = &self.world.nodes[self.node];
        let counted = node.kernel.probes.counted[to];
        let mut said = ProbeBlock::clone(block);
        said.takes_over &= counted;
        let unlisted = node.plan.unlisted.map(|router| router + 1);
        said.routers.retain(|flags| Some(usize::from(flags.vrid.get())) != unlisted);
        let frame = Frame {
            from: self.node,
            to,
            source: node.plan.address,
            sent: self.world.now,
            line: Line::Main,
            at,
            block: Some(Arc::new(said)),
        };
        self.world.probes(&frame);
        self.world.ask_arbiter(self.node);
        self.world.send_frame(&frame);
        ProbeDeparture::Left
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
