//! The loop of the thread of BFD: packets that say something new, detection times, packets that are due.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    time::Duration,
};

use anyhow::{Context, Result};
use tokio::{
    io::{Interest, unix::AsyncFd},
    sync::{mpsc, watch},
};
use vipd_common::{
    abi::{BfdRecord, MAX_BFD_SESSIONS},
    wire::bfd::{Control, Repr},
};
use vipd_config::BfdInstance;
use vipd_dataplane::BfdPlane;

use super::{
    super::{clock, engine::Timer},
    deadlines::Deadlines,
    listeners::{self, BfdListeners},
    messages::{BfdMessage, BfdWanted, HeardInterfaces},
    peer::{self, BfdPeer},
    slots::{BfdSlots, REST},
    unserved, way,
};
use crate::{
    control::model::BfdSessionStatus,
    host::EgressLookup,
    time::Instant,
    tracking::{BfdStates, BfdView},
};

/// Everything the thread owns.
pub struct BfdLoop {
    plane: AsyncFd<BfdPlane>,
    lookup: EgressLookup,
    slots: BfdSlots,
    /// By their slots.
    peers: BTreeMap<u32, BfdPeer>,
    deadlines: Deadlines,
    /// The configuration, in its order.
    wanted: Vec<BfdInstance>,
    /// Sessions without a slot.
    waiting: Vec<BfdInstance>,
    /// Sessions that are over, and until when their neighbors are told so.
    ending: Vec<(BfdPeer, Instant)>,
    heard: HeardInterfaces,
    listeners: BfdListeners,
    states_tx: watch::Sender<BfdStates>,
    timer: Timer,
    look_at: Instant,
}

impl BfdLoop {
    /// To be called on the thread's runtime.
    ///
    /// # Errors
    ///
    /// A shortage of the host.
    pub fn new(plane: BfdPlane, wanted: BfdWanted, states_tx: watch::Sender<BfdStates>) -> Result<Self> {
        // SAFETY: the ring owns its descriptor and never changes it.
        let plane = unsafe { AsyncFd::register_with_interest(plane, Interest::READABLE) };
        let now = clock::now();
        let mut this = Self {
            plane: plane.context("watch the ring of BFD")?,
            lookup: EgressLookup::open().context("open a socket for questions about routes")?,
            slots: BfdSlots::new(MAX_BFD_SESSIONS),
            peers: BTreeMap::new(),
            deadlines: Deadlines::default(),
            wanted: Vec::new(),
            waiting: Vec::new(),
            ending: Vec::new(),
            heard: HeardInterfaces::new(),
            listeners: BfdListeners::default(),
            states_tx,
            timer: Timer::new().context("make a timer")?,
            look_at: now,
        };
        this.configure(wanted, now);
        Ok(this)
    }

    /// Runs until it is told to end.
    ///
    /// # Errors
    ///
    /// The timer or the ring cannot be waited for.
    pub async fn run(mut self, mut messages_rx: mpsc::Receiver<BfdMessage>) -> Result<()> {
        loop {
            let more = self.turn();
            if more {
                tokio::task::yield_now().await;
            }
            let next = if more { Some(clock::now()) } else { self.poll_timeout() };
            self.timer.set(next).context("set the timer")?;
            tokio::select! {
                ready = wait(&self.plane) => ready.context("wait for packets")?,
                expired = self.timer.expired() => expired.context("wait for the timer")?,
                () = self.listeners.any_readable() => {}
                message = messages_rx.recv() => match message {
                    Some(BfdMessage::Configure(wanted)) => self.configure(wanted, clock::now()),
                    Some(BfdMessage::Heard(heard)) => self.hear(heard, clock::now()),
                    Some(BfdMessage::Status(reply)) => {
                        // Who asked may be gone.
                        let _ = reply.send(self.status());
                    }
                    Some(BfdMessage::Stop(reply)) => {
                        self.stop().await?;
                        let _ = reply.send(());
                        return Ok(());
                    }
                    // Without a word the daemon has gone: the next vipd is to find the sessions Up.
                    Some(BfdMessage::Leave) | None => return Ok(()),
                },
            }
        }
    }

    /// One look at everything that is due or has said something; returns whether another is wanted at once.
    fn turn(&mut self) -> bool {
        // From before the packets and stamps: who is judged by it has been heard of until then.
        let now = clock::now();
        let mut touched: BTreeSet<u32> = self.deadlines.due(now).collect();
        let more = self.take_packets(&mut touched, now) | self.take_datagrams(&mut touched, now);
        self.attend(touched, now);
        self.say_farewell(now);
        if self.look_at <= now {
            self.look(now);
        }
        more
    }

    /// Does what is due for these sessions.
    fn attend(&mut self, slots: impl IntoIterator<Item = u32>, now: Instant) {
        let plane = self.plane.get_mut();
        let (mut is_changed, mut has_moved) = (false, false);
        for slot in slots {
            let Some(peer) = self.peers.get_mut(&slot) else { continue };
            peer.handle_timeout(plane, now);
            has_moved |= peer.look(plane, &mut self.lookup, &self.heard, now);
            peer.send(now);
            peer.settle(plane);
            is_changed |= peer.has_news();
            self.deadlines.set(slot, peer.poll_timeout());
        }
        if has_moved {
            self.listeners.follow(self.peers.values(), &self.heard);
        }
        if is_changed {
            self.publish();
        }
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let look = (!self.wanted.is_empty()).then_some(self.look_at);
        let farewells =
            self.ending.iter().filter_map(|(peer, until)| Some(peer.next_farewell()?.min(*until))).min();
        [self.deadlines.next(), look, farewells].into_iter().flatten().min()
    }

    /// The packets of the program's ring; returns whether there may be more.
    fn take_packets(&mut self, touched: &mut BTreeSet<u32>, now: Instant) -> bool {
        for _ in 0..PACKETS {
            let Some(event) = self.plane.get_mut().pop() else { return false };
            // It may be of a session that has ended.
            let peer = self.peers.get_mut(&event.slot);
            if let Some(peer) = peer.filter(|peer| peer.discriminator() == event.local_discriminator) {
                let packet = Repr::parse(Control::of(&event.packet));
                peer.handle_packet(&packet, Instant::from_nanos(event.at_ns), now);
                touched.insert(event.slot);
            }
        }
        true
    }

    /// Those that the program has not taken; returns whether there may be more.
    fn take_datagrams(&mut self, touched: &mut BTreeSet<u32>, now: Instant) -> bool {
        let peers = &mut self.peers;
        self.listeners.read(PACKETS, |slot, datagram| {
            if let Some(peer) = peers.get_mut(&slot) {
                peer.handle_datagram(datagram, now);
                touched.insert(slot);
            }
        })
    }

    fn publish(&mut self) {
        let mut states: BfdStates = self
            .waiting
            .iter()
            .map(|spec| (spec.name.clone(), BfdView::lacking(unserved::NO_ROOM)))
            .collect();
        states.extend(self.peers.values_mut().map(|peer| (peer.spec().name.clone(), peer.tell())));
        self.states_tx.send_if_modified(|known| {
            let is_news = *known != states;
            *known = states;
            is_news
        });
    }

    /// Sessions that are the same go on; others end, or begin.
    fn configure(&mut self, BfdWanted { sessions, heard }: BfdWanted, now: Instant) {
        self.wanted.clone_from(&sessions);
        self.waiting.clear();
        let mut before = std::mem::take(&mut self.peers);
        let mut new = Vec::new();
        for spec in sessions {
            let slot = before.values().find(|peer| peer.is_same(&spec)).map(BfdPeer::slot);
            match slot.and_then(|slot| before.remove(&slot)) {
                Some(mut peer) => {
                    peer.configure(spec, self.plane.get_ref(), now);
                    self.peers.insert(peer.slot(), peer);
                }
                None => new.push(spec),
            }
        }
        before.into_values().for_each(|peer| self.end(peer, now));
        self.heard = heard;
        self.begin_all(new, now);
        self.hear(self.heard.clone(), now);
        self.publish();
        self.look(now);
    }

    /// The program hears other interfaces.
    fn hear(&mut self, heard: HeardInterfaces, now: Instant) {
        self.heard = heard;
        for peer in self.peers.values_mut() {
            peer.lead(self.plane.get_mut(), &self.heard);
        }
        let all: Vec<u32> = self.peers.keys().copied().collect();
        self.attend(all, now);
        self.listeners.follow(self.peers.values(), &self.heard);
    }

    /// Begins sessions: those that an earlier vipd has left Up in their slots, others in slots that are free when what nobody wants of the
    /// earlier vipd is removed.
    fn begin_all(&mut self, sessions: Vec<BfdInstance>, now: Instant) {
        let used = |this: &Self, slot: u32| this.peers.contains_key(&slot);
        let left: Vec<(u32, BfdRecord)> =
            self.plane.get_ref().left().filter(|(slot, _)| !used(self, *slot)).collect();
        let mut rest = Vec::new();
        for spec in sessions {
            match self.resume(&spec, &left, now) {
                Some(peer) => {
                    self.slots.claim(peer.slot());
                    self.peers.insert(peer.slot(), peer);
                }
                None => rest.push(spec),
            }
        }
        for (slot, _) in left {
            if used(self, slot) {
                continue;
            }
            match self.plane.get_mut().remove(slot) {
                Ok(()) => self.slots.free(slot, now),
                Err(error) => {
                    self.slots.claim(slot);
                    tracing::warn!(error = format!("{error:#}"), "an earlier BFD session is still looked at");
                }
            }
        }
        self.waiting = rest;
        self.begin_waiting(now);
        if !self.slots.has_resting() {
            for spec in &self.waiting {
                let problem = unserved::NO_ROOM;
                tracing::error!(session = spec.name, problem, "a BFD session does not run");
            }
        }
    }

    fn resume(&mut self, spec: &BfdInstance, left: &[(u32, BfdRecord)], now: Instant) -> Option<BfdPeer> {
        let egress = way::find(spec, &mut self.lookup).ok()?;
        let key = way::key(spec, egress, &self.heard);
        let is_of = |(slot, record): &&(u32, BfdRecord)| record.key == key && !self.peers.contains_key(slot);
        let (slot, record) = left.iter().find(is_of)?;
        BfdPeer::resumed(spec.clone(), *slot, record, now)
    }

    /// Begins sessions in free slots, as far as there are any.
    fn begin_waiting(&mut self, now: Instant) {
        for spec in std::mem::take(&mut self.waiting) {
            match self.slots.take(now) {
                Some(slot) => self.begin(spec, slot, now),
                None => self.waiting.push(spec),
            }
        }
    }

    fn begin(&mut self, spec: BfdInstance, slot: u32, now: Instant) {
        // A word of the former session with the same neighbor would take the new one down.
        let is_former =
            |peer: &BfdPeer| (peer.spec().neighbor, peer.spec().multihop) == (spec.neighbor, spec.multihop);
        self.ending.retain(|(peer, _)| !is_former(peer));
        let peer = BfdPeer::new(spec, slot, self.new_discriminator(), now);
        self.deadlines.set(slot, peer.poll_timeout());
        self.peers.insert(slot, peer);
    }

    /// Ends a session, whose slot is free then.
    fn end(&mut self, mut peer: BfdPeer, now: Instant) {
        let slot = peer.slot();
        self.deadlines.set(slot, None);
        match peer.end(self.plane.get_mut(), now) {
            Ok(()) => self.slots.free(slot, now),
            // The slot stays taken: what the program hears for it would be of another session.
            Err(error) => tracing::warn!(
                session = peer.spec().name,
                error = format!("{error:#}"),
                "a BFD session that has ended is still looked at"
            ),
        }
        self.ending.push((peer, now + FAREWELL));
    }

    /// Tells the neighbors of sessions that are over.
    fn say_farewell(&mut self, now: Instant) {
        self.ending.iter_mut().for_each(|(peer, _)| peer.say_farewell(now));
        self.ending.retain(|(peer, until)| *until > now && !peer.is_over());
    }

    /// Ends every session, and waits for a moment until each neighbor was told more than once.
    async fn stop(&mut self) -> Result<()> {
        let now = clock::now();
        std::mem::take(&mut self.peers).into_values().for_each(|peer| self.end(peer, now));
        let until = now + STOP;
        loop {
            let now = clock::now();
            self.say_farewell(now);
            let next = self.ending.iter().filter_map(|(peer, _)| peer.next_farewell()).min();
            let Some(next) = next.filter(|next| *next < until) else { return Ok(()) };
            self.timer.set(Some(next)).context("set the timer")?;
            self.timer.expired().await.context("wait for the timer")?;
        }
    }

    fn new_discriminator(&self) -> u32 {
        loop {
            let discriminator = peer::random() as u32;
            if discriminator != 0 && self.peers.values().all(|peer| peer.discriminator() != discriminator) {
                return discriminator;
            }
        }
    }

    /// What is looked at every second: sockets, and sessions without a slot.
    fn look(&mut self, now: Instant) {
        if !self.waiting.is_empty() {
            self.begin_waiting(now);
            self.publish();
        }
        self.listeners.follow(self.peers.values(), &self.heard);
        let is_resting = !self.waiting.is_empty() && self.slots.has_resting();
        self.look_at = now + if is_resting { REST } else { LOOK };
    }

    /// In the order of the configuration.
    fn status(&self) -> Vec<BfdSessionStatus> {
        let now = clock::now();
        let by_name: BTreeMap<&str, &BfdPeer> =
            self.peers.values().map(|peer| (peer.spec().name.as_str(), peer)).collect();
        let status = |spec: &BfdInstance| match by_name.get(spec.name.as_str()) {
            Some(peer) => self.status_of(peer, now),
            None => unserved::status(spec, None, (unserved::NO_ROOM, unserved::REMOVE_SOME)),
        };
        self.wanted.iter().map(status).collect()
    }

    fn status_of(&self, peer: &BfdPeer, now: Instant) -> BfdSessionStatus {
        let hears = match (listeners::hears_by_socket(peer, &self.heard), peer.spec().multihop) {
            (false, _) => "program",
            (true, false) => "socket",
            (true, true) => "program and socket",
        };
        let mut status = peer.status(self.plane.get_ref(), hears, now);
        let problem = self.listeners.problem(peer, &self.heard);
        status.problem = status.problem.or_else(|| problem.cloned());
        status
    }
}

async fn wait(plane: &AsyncFd<BfdPlane>) -> io::Result<()> {
    plane.readable().await?.clear_ready();
    Ok(())
}

/// Packets in one turn, of the ring and of each socket.
const PACKETS: usize = 256;
/// Between two looks at what the sockets are needed for.
const LOOK: Duration = Duration::from_secs(1);
/// As long the neighbor of a session that was removed is told of it, at most.
const FAREWELL: Duration = Duration::from_secs(5);
/// And as long when vipd stops.
const STOP: Duration = Duration::from_millis(500);
