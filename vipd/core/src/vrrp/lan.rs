//! A LAN of a few nodes in simulated time, for the properties: engines, their lease words, and XDP as the design has it.
//!
//! Every node is driven as the daemon drives an engine. The LAN checks after every step what must always hold, and
//! keeps what the properties ask about: how long two nodes owned the address at once, and the transitions.

use std::{
    collections::{HashMap, VecDeque},
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use vipd_common::types::ChecksumForm;

use super::{Action, Advert, FaultReason, InstanceId, Rank, Settings, Snapshot, StateName};
use crate::{
    engine::{Engine, Input},
    time::Instant,
};

const ID: InstanceId = InstanceId(0);
const NEVER: Instant = Instant::from_nanos(0);

pub(super) struct Lan {
    pub nodes: Vec<Node>,
    pub now: Instant,
    /// One way.
    delay: Duration,
    wire: VecDeque<(Instant, usize, Advert)>,
    /// Drop every n-th frame; 0: none.
    pub lose_every: usize,
    frames: usize,
    /// Since when two nodes have owned the address both.
    both_since: HashMap<(usize, usize), Instant>,
    pub longest_overlap: Duration,
}

pub(super) struct Node {
    engine: Engine,
    settings: Settings,
    address: IpAddr,
    lease: Instant,
    /// What the daemon last wrote to the lease word.
    written: Instant,
    renewed_at: Instant,
    rank: Rank,
    reported: Option<Advert>,
    stamp: Option<Instant>,
    inbox: VecDeque<(Advert, bool)>,
    /// The process gets no CPU; XDP goes on.
    pub frozen: bool,
    /// No frame passes in either direction, and nobody notices.
    pub cut: bool,
    /// The interface is down, and the daemon knows.
    pub down: bool,
    pub transitions: Vec<(Instant, StateName)>,
    pub sent: usize,
    pub finished: usize,
}

impl Lan {
    pub fn new(delay: Duration, nodes: Vec<Settings>) -> Self {
        let node = |(i, settings): (u8, Settings)| Node {
            engine: Engine::new(vec![settings.clone()]),
            settings,
            address: IpAddr::V4(Ipv4Addr::new(192, 0, 2, i)),
            lease: NEVER,
            written: NEVER,
            renewed_at: NEVER,
            rank: Rank::ABSENT,
            reported: None,
            stamp: None,
            inbox: VecDeque::new(),
            frozen: false,
            cut: false,
            down: true,
            transitions: Vec::new(),
            sent: 0,
            finished: 0,
        };
        Self {
            nodes: (1..).zip(nodes).map(node).collect(),
            now: Instant::from_nanos(1_000_000_000_000),
            delay,
            wire: VecDeque::new(),
            lose_every: 0,
            frames: 0,
            both_since: HashMap::new(),
            longest_overlap: Duration::ZERO,
        }
    }

    pub fn link(&mut self, i: usize, up: bool) {
        let address = self.nodes[i].address;
        self.nodes[i].down = !up;
        self.input(
            i,
            match up {
                true => Input::Ready { instance: ID, address },
                false => Input::Fault { instance: ID, reason: FaultReason::LinkDown },
            },
        );
    }

    /// Gives the second node the first one's address, before anything was sent.
    pub fn same_address(&mut self) {
        self.nodes[1].address = self.nodes[0].address;
        self.link(1, true);
    }

    pub fn shutdown(&mut self, i: usize) {
        self.input(i, Input::Shutdown);
    }

    /// Kills the daemon and starts another, which finds the lease word and what XDP was told.
    pub fn restart(&mut self, i: usize) {
        let node = &mut self.nodes[i];
        node.engine = Engine::new(vec![node.settings.clone()]);
        node.written = node.lease;
        (node.reported, node.stamp, node.frozen) = (None, None, false);
        node.inbox.clear();
        let (lease_until, up) = (node.lease, !node.down);
        self.input(i, Input::Inherited { instance: ID, lease_until });
        self.link(i, up);
    }

    pub fn thaw(&mut self, i: usize) {
        self.nodes[i].frozen = false;
        self.wake(i);
    }

    /// Nodes that answer for the address now.
    pub fn owners(&self) -> Vec<usize> {
        (0..self.nodes.len()).filter(|i| self.nodes[*i].lease > self.now).collect()
    }

    pub fn snapshot(&self, i: usize) -> Snapshot {
        self.nodes[i].engine.snapshot(ID).unwrap()
    }

    pub fn masters(&self) -> Vec<usize> {
        (0..self.nodes.len()).filter(|i| self.snapshot(*i).state == StateName::Master).collect()
    }

    pub fn run(&mut self, time: Duration) {
        let until = self.now + time;
        loop {
            let timers = self.nodes.iter().filter(|n| !n.frozen).filter_map(|n| n.engine.poll_timeout());
            let leases = self.nodes.iter().map(|n| n.lease).filter(|at| *at > self.now);
            let frames = self.wire.front().map(|frame| frame.0);
            let Some(next) = timers.chain(leases).chain(frames).min().filter(|at| *at <= until) else {
                break;
            };
            self.now = self.now.max(next);
            while let Some((_, to, advert)) = self.wire.pop_front_if(|frame| frame.0 <= self.now) {
                self.receive(to, advert);
            }
            for i in 0..self.nodes.len() {
                self.wake(i);
            }
            self.check();
        }
        self.now = until;
        self.check();
    }

    /// The daemon's turn: events, then stamps, then timers.
    fn wake(&mut self, i: usize) {
        if self.nodes[i].frozen {
            return;
        }
        while let Some((advert, revoked)) = self.nodes[i].inbox.pop_front() {
            self.input(i, Input::Advert { instance: ID, advert, revoked });
        }
        if self.nodes[i].engine.poll_timeout().is_none_or(|at| at > self.now) {
            return;
        }
        let due: Vec<InstanceId> = self.nodes[i].engine.due(self.now).collect();
        if let (false, Some(at)) = (due.is_empty(), self.nodes[i].stamp) {
            self.input(i, Input::Heard { instance: ID, at });
        }
        self.nodes[i].engine.handle_timeout(self.now);
        self.drain(i);
        let next = self.nodes[i].engine.poll_timeout();
        assert!(next.is_none_or(|at| at > self.now), "poll_timeout did not advance");
    }

    fn input(&mut self, i: usize, input: Input) {
        let before = self.snapshot(i).lease_until;
        self.nodes[i].engine.handle(input, self.now);
        let after = self.snapshot(i).lease_until;
        // A lease comes from a takeover or a sent advert, and is extended only to leave.
        let renews = matches!(input, Input::AdvertSent { .. } | Input::Shutdown);
        let starts = matches!(input, Input::Ready { .. });
        assert!(renews || starts || after.is_none() || after == before, "{input:?}: {before:?} to {after:?}");
        self.drain(i);
    }

    fn drain(&mut self, i: usize) {
        while let Some(action) = self.nodes[i].engine.poll_action() {
            self.perform(i, action);
        }
    }

    fn perform(&mut self, i: usize, action: Action) {
        let now = self.now;
        let node = &mut self.nodes[i];
        match action {
            Action::Acquire { until, .. } => {
                if node.lease > now {
                    return self.input(i, Input::LeaseLost { instance: ID });
                }
                (node.lease, node.written, node.renewed_at) = (until, until, now);
            }
            Action::Extend { until, .. } => {
                if node.lease != node.written {
                    return self.input(i, Input::LeaseLost { instance: ID });
                }
                (node.lease, node.written, node.renewed_at) = (until, until, now);
            }
            Action::Release { .. } => node.lease = NEVER,
            Action::Publish { rank, .. } => node.rank = rank,
            Action::Advertise { priority, renew_for, .. } => {
                if node.down {
                    if renew_for.is_some() {
                        self.input(i, Input::AdvertFailed { instance: ID });
                    }
                    return;
                }
                let renewal = renew_for.map(|length| now + length);
                let held = node.lease == node.written;
                if let (Some(until), true) = (renewal, held) {
                    (node.lease, node.written, node.renewed_at) = (until, until, now);
                }
                node.sent += 1;
                let advert = Advert {
                    source: node.address,
                    priority,
                    interval: node.settings.advert_interval,
                    checksum: ChecksumForm::PseudoHeader,
                    received_at: now + self.delay,
                };
                self.broadcast(i, advert);
                match (renewal, held) {
                    (Some(lease_until), true) => {
                        self.input(i, Input::AdvertSent { instance: ID, at: now, lease_until });
                    }
                    (Some(_), false) => self.input(i, Input::LeaseLost { instance: ID }),
                    (None, _) => {}
                }
            }
            Action::Transition { to, .. } => node.transitions.push((now, to)),
            Action::Finished => node.finished += 1,
            // XDP may have revoked the lease in this moment; the engine must not know.
            Action::Announce { .. } => {
                assert_eq!(self.snapshot(i).state, StateName::Master, "node {i} announces")
            }
            Action::CancelAnnounce { .. } | Action::Mirroring { .. } => {}
        }
    }

    fn broadcast(&mut self, from: usize, advert: Advert) {
        for to in (0..self.nodes.len()).filter(|to| *to != from) {
            self.frames += 1;
            let lost = self.lose_every != 0 && self.frames.is_multiple_of(self.lose_every);
            if !lost && !self.nodes[from].cut {
                self.wire.push_back((advert.received_at, to, advert));
            }
        }
    }

    /// XDP's part.
    fn receive(&mut self, to: usize, advert: Advert) {
        let now = self.now;
        let node = &mut self.nodes[to];
        if node.cut || node.down || !node.rank.participating {
            return;
        }
        let live = node.lease > now;
        let greater = node.rank.address.is_some_and(|own| advert.source > own);
        let better =
            advert.priority > node.rank.priority || (advert.priority == node.rank.priority && greater);
        let silent = now.saturating_since(node.renewed_at) * 2 > node.settings.advert_interval * 3;
        let revoked = live && !advert.priority.is_leaving() && (better || silent);
        if revoked {
            node.lease = NEVER;
        }
        let unchanged = node.reported.is_some_and(|last| {
            (last.source, last.priority, last.interval) == (advert.source, advert.priority, advert.interval)
        });
        node.stamp = Some(now);
        if live || !unchanged {
            node.reported = Some(advert);
            node.inbox.push_back((advert, revoked));
        }
    }

    /// What holds after every step, whatever happens to the nodes.
    fn check(&mut self) {
        for (i, node) in self.nodes.iter().enumerate() {
            let snapshot = node.engine.snapshot(ID).unwrap();
            let active = snapshot.state == StateName::Master;
            assert!(active || node.lease == NEVER, "node {i} holds a lease as {}", snapshot.state);
            if active && node.lease != NEVER {
                assert_eq!(
                    Some(node.lease),
                    snapshot.lease_until,
                    "node {i}: the engine knows another lease"
                );
            }
        }
        let owners = self.owners();
        self.both_since.retain(|(a, b), _| owners.contains(a) && owners.contains(b));
        for (n, a) in owners.iter().enumerate() {
            for b in &owners[n + 1..] {
                let since = *self.both_since.entry((*a, *b)).or_insert(self.now);
                self.longest_overlap = self.longest_overlap.max(self.now.saturating_since(since));
            }
        }
    }
}
