//! One session with its neighbor: the state machine, its way, and its record in the program's map.

use std::{io, time::Duration};

use vipd_common::{
    abi::{BfdKey, BfdRecord, Count, Counters, check_bfd},
    wire::{
        View,
        bfd::{Control, Diagnostic, MANDATORY, Repr, SessionState},
    },
};
use vipd_config::BfdInstance;
use vipd_dataplane::{BfdIdentity, BfdPlane};

use super::{
    super::clock,
    datagrams::BfdDatagram,
    messages::HeardInterfaces,
    way::{self, BfdWay},
};
use crate::{
    bfd::{BfdChange, BfdLeft, BfdSession, BfdSettings, IntervalsInForce},
    control::model::BfdSessionStatus,
    host::{Egress, EgressLookup},
    time::Instant,
    tracking::BfdView,
};

/// A session.
#[derive(Debug)]
pub struct BfdPeer {
    spec: BfdInstance,
    slot: u32,
    session: BfdSession,
    way: Option<BfdWay>,
    /// What the program knows its packets by, if there is a way.
    key: Option<BfdKey>,
    problems: BfdProblems,
    /// When the way is to be looked at again.
    look_at: Instant,
    /// What was published of it last.
    told: Option<BfdView>,
    /// The intervals in its record.
    written: Option<IntervalsInForce>,
    since: Instant,
    since_unix_ms: u64,
    was_up: bool,
    sent: u64,
    /// Times that it went from Up to another state.
    downs: u64,
    /// Packets that the socket has heard: of the program's there are the record's.
    heard_by_socket: u64,
    /// Packets of the neighbor that the socket has heard and that failed a check.
    refused_by_socket: u64,
    /// The last such check, and the TTL or hop limit of that packet.
    socket_refusal: Option<(Count, u8)>,
    heard_at: Instant,
    port: Option<u16>,
    seed: u64,
}

/// What keeps a session from working; each is removed by what has shown it.
#[derive(Debug, Default)]
struct BfdProblems {
    /// Why there is no way.
    way: Option<String>,
    /// Why the program does not hear the neighbor.
    index: Option<String>,
    /// Why packets do not leave.
    sending: Option<String>,
}

impl BfdProblems {
    fn first(&self) -> Option<&String> {
        self.way.as_ref().or(self.index.as_ref()).or(self.sending.as_ref())
    }
}

/// A random number that is not 0.
pub fn random() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(0).max(1)
}

/// What the machine is given of a configuration.
fn settings(spec: &BfdInstance) -> BfdSettings {
    let us = |time: Duration| u32::try_from(time.as_micros()).unwrap_or(u32::MAX);
    BfdSettings {
        min_tx_us: us(spec.min_tx),
        min_rx_us: us(spec.min_rx),
        idle_tx_us: us(spec.idle_tx),
        multiplier: spec.multiplier,
        passive: spec.passive,
    }
}

impl BfdPeer {
    /// A session that begins Down in a free slot.
    pub fn new(spec: BfdInstance, slot: u32, discriminator: u32, now: Instant) -> Self {
        let seed = random();
        let session = BfdSession::new(settings(&spec), discriminator, seed, now);
        Self::of(spec, slot, session, seed, now)
    }

    /// One that the vipd before has left Up in its slot, if its neighbor was heard a moment ago.
    pub fn resumed(spec: BfdInstance, slot: u32, record: &BfdRecord, now: Instant) -> Option<Self> {
        let packet = Repr::parse(Control::of(&record.told));
        let is_up = record.state == SessionState::Up as u8 && packet.my_discriminator != 0;
        let heard_at = Instant::from_nanos(record.heard_ns);
        let seed = random();
        let left = BfdLeft {
            discriminator: record.local_discriminator,
            intervals: IntervalsInForce { tx_us: record.tx_us, rx_us: record.rx_us },
            packet,
            heard_at,
        };
        let machine = BfdSession::resumed(settings(&spec), &left, seed, now);
        let lasts = machine.detection_time().is_some_and(|time| heard_at + time > now);
        if !is_up || !lasts {
            return None;
        }
        let mut peer = Self::of(spec, slot, machine, seed, now);
        let age = now.saturating_since(Instant::from_nanos(record.state_since_ns));
        peer.since = now - age;
        peer.since_unix_ms = clock::unix_ms().saturating_sub(u64::try_from(age.as_millis()).unwrap_or(0));
        peer.was_up = true;
        (peer.heard_at, peer.port) = (heard_at, Some(record.source_port));
        Some(peer)
    }

    fn of(spec: BfdInstance, slot: u32, session: BfdSession, seed: u64, now: Instant) -> Self {
        Self {
            spec,
            slot,
            session,
            way: None,
            key: None,
            problems: BfdProblems::default(),
            look_at: now,
            told: None,
            written: None,
            since: now,
            since_unix_ms: clock::unix_ms(),
            was_up: false,
            sent: 0,
            downs: 0,
            heard_by_socket: 0,
            refused_by_socket: 0,
            socket_refusal: None,
            heard_at: Instant::default(),
            port: None,
            seed,
        }
    }

    pub fn spec(&self) -> &BfdInstance {
        &self.spec
    }

    pub fn slot(&self) -> u32 {
        self.slot
    }

    pub fn discriminator(&self) -> u32 {
        self.session.discriminator()
    }

    pub fn egress(&self) -> Option<Egress> {
        self.way.as_ref().map(|way| way.egress)
    }

    pub fn view(&self) -> BfdView {
        BfdView {
            state: self.session.state(),
            diagnostic: self.session.diagnostic(),
            was_up: self.was_up,
            is_reached: self.session.is_reached(),
            lack: None,
        }
    }

    /// Whether it is not as it was published last.
    pub fn has_news(&self) -> bool {
        self.told.as_ref() != Some(&self.view())
    }

    /// The view, which is published now.
    pub fn tell(&mut self) -> BfdView {
        self.told.insert(self.view()).clone()
    }

    /// Whether another configuration is of the same session, which goes on with other settings.
    pub fn is_same(&self, spec: &BfdInstance) -> bool {
        let ends = |spec: &BfdInstance| (spec.neighbor, spec.source, spec.interface.clone(), spec.multihop);
        self.spec.name == spec.name && ends(&self.spec) == ends(spec)
    }

    /// Takes over another configuration of the same session.
    pub fn configure(&mut self, spec: BfdInstance, plane: &BfdPlane, now: Instant) {
        self.session.handle_settings(settings(&spec), now);
        if spec.hop_limit != self.spec.hop_limit {
            (self.way, self.look_at) = (None, now);
        }
        plane.page().set_min_hop_limit(self.slot, spec.min_hop_limit);
        self.spec = spec;
    }

    /// Looks where packets go, if that is due: at once, and every second while the session is not Up or is not in the index. Returns whether the
    /// way is another one.
    pub fn look(
        &mut self,
        plane: &mut BfdPlane,
        lookup: &mut EgressLookup,
        heard: &HeardInterfaces,
        now: Instant,
    ) -> bool {
        if now < self.look_at {
            return false;
        }
        self.look_at = now + LOOK;
        if self.problems.index.is_some() {
            self.lead(plane, heard);
        }
        if self.way.is_some() && self.session.state() == SessionState::Up {
            return false;
        }
        let egress = way::find(&self.spec, lookup);
        if let Ok(egress) = &egress
            && self.egress() == Some(*egress)
        {
            return false;
        }
        let opened = egress.and_then(|egress| {
            self.way = None;
            BfdWay::open(&self.spec, egress, self.port, self.seed)
        });
        match opened {
            Ok(way) => {
                self.port = Some(way.source_port);
                self.way = Some(way);
                self.tell_problem(|problems| &mut problems.way, None);
                self.lead(plane, heard);
                true
            }
            Err(error) => {
                let problem = match self.spec.source {
                    Some(source) => format!("no packets can be sent from {source}: {error}"),
                    None => format!("no packets can be sent to {}: {error}", self.spec.neighbor),
                };
                self.tell_problem(|problems| &mut problems.way, Some(problem));
                false
            }
        }
    }

    /// Has the program know the session by the way that there is.
    pub fn lead(&mut self, plane: &mut BfdPlane, heard: &HeardInterfaces) {
        let Some(way) = &self.way else { return };
        let key = way::key(&self.spec, way.egress, heard);
        let identity = BfdIdentity {
            key,
            local_discriminator: self.session.discriminator(),
            min_hop_limit: self.spec.min_hop_limit,
            source_port: way.source_port,
        };
        let there = plane.page().read(self.slot);
        // What the program has heard meanwhile stays where a session is resumed.
        if there.key != key || there.local_discriminator != identity.local_discriminator {
            if let Err(error) = plane.remove(self.slot) {
                tracing::warn!(
                    session = self.spec.name,
                    error = format!("{error:#}"),
                    "a former address of a BFD session is still looked at"
                );
            }
            plane.page().begin(self.slot, &identity);
            self.write_state(plane);
        } else {
            plane.page().set_min_hop_limit(self.slot, identity.min_hop_limit);
        }
        self.written = None;
        self.key = Some(key);
        let led = plane.lead(&key, self.slot);
        self.tell_problem(|problems| &mut problems.index, led.err().map(|error| format!("{error:#}")));
    }

    fn tell_problem(
        &mut self,
        of: impl FnOnce(&mut BfdProblems) -> &mut Option<String>,
        problem: Option<String>,
    ) {
        let known = of(&mut self.problems);
        if *known == problem {
            return;
        }
        *known = problem;
        if let Some(problem) = known {
            tracing::warn!(
                session = self.spec.name,
                problem = problem.as_str(),
                "a BFD session has a problem"
            );
        }
    }

    fn write_state(&self, plane: &BfdPlane) {
        plane.page().set_state(self.slot, self.session.state(), self.session.diagnostic(), self.since);
    }

    /// A valid packet, of the program's ring.
    pub fn handle_packet(&mut self, packet: &Repr, heard_at: Instant, now: Instant) {
        if self.session.handle_packet(packet, heard_at, now) {
            self.heard_at = self.heard_at.max(heard_at);
        }
    }

    /// A datagram from the neighbor that the program has not taken. RFC 5880 6.8.6 and RFC 5881 5, as the program has them.
    pub fn handle_datagram(&mut self, datagram: &BfdDatagram, now: Instant) {
        let judged = match Control::new_prefix(&datagram.payload) {
            _ if datagram.hop_limit < self.spec.min_hop_limit => Err(Count::BfdTtlErrors),
            Err(_) => Err(Count::BfdLengthErrors),
            Ok((control, _)) => check_bfd(control, datagram.payload.len(), self.discriminator())
                .map(|()| Repr::parse(control)),
        };
        match judged {
            Ok(packet) => {
                self.heard_by_socket += 1;
                self.handle_packet(&packet, datagram.at, now);
            }
            Err(reason) => {
                self.refused_by_socket += 1;
                self.socket_refusal = Some((reason, datagram.hop_limit));
            }
        }
    }

    /// Judges the detection time by the program's stamp, which is read now: `now` is to be from before.
    pub fn handle_timeout(&mut self, plane: &BfdPlane, now: Instant) {
        if self.session.poll_timeout().is_some_and(|at| at <= now) {
            let heard_at = plane.page().heard(self.slot);
            self.heard_at = self.heard_at.max(heard_at);
            self.session.handle_heard(heard_at);
            self.session.handle_timeout(now);
        }
    }

    /// When [`Self::handle_timeout`], [`Self::send`] or [`Self::look`] is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let is_to_look =
            self.session.state() != SessionState::Up || self.way.is_none() || self.problems.index.is_some();
        let look = is_to_look.then_some(self.look_at);
        [self.session.poll_timeout(), look].into_iter().flatten().min()
    }

    /// Sends what is due.
    pub fn send(&mut self, now: Instant) {
        while let Some(packet) = self.session.poll_transmit(now) {
            let Some(way) = &self.way else { continue };
            let mut octets = [0; MANDATORY];
            packet.emit(&mut octets);
            let sent = way.send(&octets);
            self.note_sent(sent);
        }
    }

    fn note_sent(&mut self, sent: io::Result<()>) {
        match sent {
            Ok(()) => {
                self.sent += 1;
                self.tell_problem(|problems| &mut problems.sending, None);
            }
            // The queue of the interface is full: as if it were lost on the wire.
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock) => {}
            Err(error) => {
                let problem = format!("packets to {} do not leave: {error}", self.spec.neighbor);
                self.tell_problem(|problems| &mut problems.sending, Some(problem));
            }
        }
    }

    /// Writes to the program's map what has changed, and tells it.
    pub fn settle(&mut self, plane: &BfdPlane) {
        while self.poll_change(plane).is_some() {}
        let intervals = self.session.intervals();
        if self.key.is_some() && self.written != Some(intervals) {
            plane.page().set_intervals(self.slot, intervals.tx_us, intervals.rx_us);
            self.written = Some(intervals);
        }
    }

    fn poll_change(&mut self, plane: &BfdPlane) -> Option<BfdChange> {
        let change = self.session.poll_change()?;
        self.was_up |= change.to == SessionState::Up;
        if self.session.state() == change.to {
            (self.since, self.since_unix_ms) = (change.at, clock::unix_ms());
            self.write_state(plane);
        }
        let spec = &self.spec;
        if change.to == SessionState::Up {
            tracing::info!(
                target: "vipd::event",
                event = "bfd_up",
                session = spec.name,
                neighbor = %spec.neighbor,
                "a BFD session is up"
            );
        } else if change.from == SessionState::Up {
            self.downs += 1;
            tracing::warn!(
                target: "vipd::event",
                event = "bfd_down",
                session = spec.name,
                neighbor = %spec.neighbor,
                state = %change.to,
                diagnostic = change.diagnostic.number(),
                reason = %change.diagnostic,
                remote_state = change.remote.map(tracing::field::display),
                "a BFD session is down"
            );
        }
        Some(change)
    }

    /// The session ends, and its slot is free unless this says otherwise. The neighbor is told, which is no failure of the path (RFC 5882 4.1):
    /// by [`Self::say_farewell`], until [`Self::is_over`].
    ///
    /// # Errors
    ///
    /// The program goes on taking the neighbor's packets for this slot.
    pub fn end(&mut self, plane: &mut BfdPlane, now: Instant) -> anyhow::Result<()> {
        self.session.handle_end(now);
        self.send(now);
        plane.remove(self.slot)
    }

    /// Whether the neighbor was told, as far as it can be.
    pub fn is_over(&self) -> bool {
        self.way.is_none() || self.session.is_over()
    }

    /// Tells the neighbor of a session that has ended, if that is due.
    pub fn say_farewell(&mut self, now: Instant) {
        self.session.handle_timeout(now);
        self.send(now);
    }

    /// When [`Self::say_farewell`] is due.
    pub fn next_farewell(&self) -> Option<Instant> {
        self.session.poll_timeout()
    }

    pub fn status(&self, plane: &BfdPlane, hears: &str, now: Instant) -> BfdSessionStatus {
        let record = plane.page().read(self.slot);
        let remote = self.session.remote();
        let heard_at = self.heard_at.max(plane.page().heard(self.slot));
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let by_socket = self.socket_refusal.map(|(reason, hop_limit)| (reason as usize, hop_limit));
        let hop_limit = u8::try_from(record.refused_hop_limit).unwrap_or_default();
        let by_program = (record.refused > 0).then_some((record.refused_reason as usize, hop_limit));
        let refused = by_socket.or(by_program);
        let diagnostic = self.session.diagnostic();
        BfdSessionStatus {
            name: self.spec.name.clone(),
            neighbor: self.spec.neighbor,
            local: self.egress().map(|egress| egress.source),
            multihop: self.spec.multihop,
            passive: self.spec.passive,
            state: self.session.state().to_string(),
            diagnostic: diagnostic.number(),
            reason: (self.session.state() != SessionState::Up).then(|| self.view().why()),
            since_unix_ms: self.since_unix_ms,
            in_state_ms: now.millis_since(self.since),
            was_up: self.was_up,
            counts_as_up: self.session.is_reached(),
            downs: self.downs,
            remote_state: remote.map(|remote| remote.state.to_string()),
            remote_diagnostic: remote.map(|remote| remote.diagnostic).unwrap_or(Diagnostic::NONE).number(),
            local_discriminator: self.session.discriminator(),
            remote_discriminator: remote.map(|remote| remote.discriminator),
            transmit_interval_us: micros(self.session.transmit_interval()),
            detection_time_us: self.session.detection_time().map(micros),
            multiplier: self.spec.multiplier,
            remote_multiplier: remote.map(|remote| remote.multiplier),
            packets_sent: self.sent,
            packets_received: record.accepted + self.heard_by_socket,
            packets_refused: record.refused + self.refused_by_socket,
            refused_reason: refused
                .and_then(|(at, _)| Counters::NAMES.get(at))
                .map(|name| (*name).to_owned()),
            refused_hop_limit: refused.map(|(_, hop_limit)| hop_limit),
            min_hop_limit: self.spec.min_hop_limit,
            heard_ms_ago: (heard_at > Instant::default()).then(|| now.millis_since(heard_at)),
            hears_by: hears.to_owned(),
            problem: self.problems.first().cloned(),
            remedy: None,
        }
    }
}

/// Between two looks at the way of a session that is not Up.
const LOOK: Duration = Duration::from_secs(1);
