//! The session with one peer: its stamps, its probes, and what is told of it.

use std::{io, net::IpAddr, sync::Arc, time::Duration};

use vipd_common::{
    Family, Priority, Vrid,
    wire::{
        bfd,
        probe::{Router, flag, router_flag},
    },
};
use vipd_core::early::{
    MeasuredSession, PeerStamps, ProbeBlock, ProbeDeparture, RouterFlags, SessionChange, SessionState,
};

use super::{
    super::super::clock,
    lines::{LineSockets, Outlets},
    plan::{LinkKey, LinkPlan},
};
use crate::{
    announce::{Departure, HostProbeSpec, UnicastSocket, probe_packet},
    dataplane::{ProbePage, ProbeStamps},
    time::Instant,
};

/// A session that goes down again within this time is not told again.
const TOLD_EVERY: Duration = Duration::from_secs(10);

/// One peer of one link.
#[derive(Debug)]
pub struct PeerSession {
    pub peer: IpAddr,
    pub slot: u32,
    pub measured: MeasuredSession,
    /// Its program's or its daemon's own word for what it is: not in the configuration, and no master.
    pub is_learned: bool,
    /// The program counts it among the early backups, so that it is told that it may take over.
    pub is_counted: bool,
    /// It may rely on what it was told of early takeover: it is not let go before it knows better.
    pub is_relied_on: bool,
    /// It is let go as soon as it does not rely on this node any more.
    pub is_old: bool,
    /// The same, and it is told that this node leaves.
    pub is_leaving: bool,
    pub next_at: Instant,
    /// The stamps of the last look.
    pub stamps: ProbeStamps,
    /// What its last probe listed, with the list's generation.
    pub routers: (u32, Vec<Router>),
    block: Option<Arc<ProbeBlock>>,
    socket: Option<UnicastSocket>,
    pub send_errors: u64,
    pub send_error: Option<String>,
    told_down_at: Option<Instant>,
    /// Its last change was not told.
    is_muted: bool,
}

/// What this node says in a probe.
#[derive(Clone, Copy, Debug)]
pub struct OwnBlock<'a> {
    pub is_leaving: bool,
    /// Whether it may be taken over early by the peer, and takes over from it.
    pub takes_over: bool,
    pub generation: u32,
    pub routers: &'a [Router],
}

impl PeerSession {
    pub fn new(peer: IpAddr, slot: u32, is_learned: bool, now: Instant) -> Self {
        Self {
            peer,
            slot,
            measured: MeasuredSession::new(now),
            is_learned,
            is_counted: false,
            is_relied_on: false,
            is_old: false,
            is_leaving: false,
            next_at: now,
            stamps: ProbeStamps::default(),
            routers: (0, Vec::new()),
            block: None,
            socket: None,
            send_errors: 0,
            send_error: None,
            told_down_at: None,
            is_muted: false,
        }
    }

    /// For how long neither an answer nor a probe of it has come.
    pub fn unheard_for(&self, now: Instant) -> Duration {
        let heard = self.stamps.answered.max(self.stamps.probed);
        now.saturating_since(heard.max(self.measured.figures().since))
    }

    /// When something is due.
    pub fn due_at(&self, plan: &LinkPlan, looked_at: Instant) -> Instant {
        let silent_at = self.measured.silent_at(&plan.timing).filter(|at| *at > looked_at);
        silent_at.map_or(self.next_at, |at| at.min(self.next_at))
    }

    /// Whether nothing has been heard of it for long, and the time for the next probe has not come.
    pub fn rests(&self, now: Instant) -> bool {
        self.measured.is_resting(now) && self.next_at > now
    }

    /// Takes note of what the program has stamped by now; `advert`: when the peer's last advert was heard.
    pub fn look(&mut self, page: &ProbePage, plan: &LinkPlan, advert: Instant) -> PeerStamps {
        // The stamps are read after the clock: what has come by now is in them.
        let now = clock::now();
        let stamps = page.stamps(self.slot);
        if stamps.probes > 0 && (self.block.is_none() || stamps != self.stamps) {
            self.read_block(page, &stamps);
        }
        self.stamps = stamps;
        let heard = stamps.answered.max(stamps.probed);
        let ProbeStamps { answered, answers, probed, .. } = stamps;
        let answers_leaving =
            stamps.answer_count > 0 && stamps.answer_state == bfd::SessionState::AdminDown as u8;
        let is_leaving = answers_leaving || stamps.flags & flag::LEAVING != 0;
        let block = self.block.clone();
        let peer = PeerStamps { heard, answered, answers, probed, block, counted: self.is_counted };
        let change = self.measured.look(peer.clone(), is_leaving, &plan.timing, plan.replaced_after, now);
        if let Some(change) = change {
            self.tell(&plan.interface, change, now);
        }
        PeerStamps { heard: heard.max(advert), ..peer }
    }

    /// What its daemon has said, if that is news.
    fn read_block(&mut self, page: &ProbePage, stamps: &ProbeStamps) {
        if let Some(routers) = page.routers(self.slot) {
            self.routers = routers;
        }
        let known = |router: &Router| {
            Some(RouterFlags {
                family: if router.family == 6 { Family::V6 } else { Family::V4 },
                vrid: Vrid::new(router.vrid)?,
                priority: Priority::new(router.priority),
                participates: router.flags & router_flag::PARTICIPATES != 0,
                owner: router.flags & router_flag::OWNER != 0,
                claim: router.flags & router_flag::CLAIM != 0,
            })
        };
        let block = ProbeBlock {
            interval: Duration::from_micros(stamps.interval_us.into()),
            multiplier: stamps.multiplier,
            takes_over: stamps.flags & flag::TAKES_OVER != 0,
            leaving: stamps.flags & flag::LEAVING != 0,
            routers: self.routers.1.iter().filter_map(known).collect(),
        };
        if self.block.as_deref() != Some(&block) {
            self.block = Some(Arc::new(block));
        }
    }

    /// What its daemon has said last; `None` if it never has.
    pub fn said(&self) -> Option<&ProbeBlock> {
        self.block.as_deref()
    }

    /// Sends a probe that bears the clock `at`.
    pub fn probe(
        &mut self,
        link: LinkKey,
        plan: &LinkPlan,
        own: OwnBlock<'_>,
        at: Instant,
        outlets: &mut Outlets,
    ) -> ProbeDeparture {
        let departure = match self.send(link, plan, own, at, outlets) {
            // One that waits for the MAC of the peer has not left, and proves nothing.
            Ok(Departure::Waits) if self.measured.is_resting(at) => ProbeDeparture::Resting,
            Ok(Departure::Waits) => ProbeDeparture::Failed,
            Ok(Departure::Left | Departure::LeftByLastMac) => {
                self.measured.sent(at, clock::now(), &plan.timing);
                self.send_error = None;
                ProbeDeparture::Left
            }
            Err(error) => {
                self.send_errors += 1;
                self.send_error = Some(error.to_string());
                // Another one next time: the interface may be another.
                self.socket = None;
                ProbeDeparture::Failed
            }
        };
        self.next_at = self.measured.next_after(self.next_at, &plan.timing, at);
        departure
    }

    fn send(
        &mut self,
        link: LinkKey,
        plan: &LinkPlan,
        own: OwnBlock<'_>,
        at: Instant,
        outlets: &mut Outlets,
    ) -> io::Result<Departure> {
        let leaving = if own.is_leaving { flag::LEAVING } else { 0 };
        let takes_over = if own.takes_over { flag::TAKES_OVER } else { 0 };
        let spec = HostProbeSpec {
            source: link.local,
            destination: self.peer,
            interval_us: u32::try_from(plan.timing.interval.as_micros()).unwrap_or(u32::MAX),
            multiplier: plan.timing.multiplier,
            flags: leaving | takes_over,
            generation: own.generation,
            clock_ns: at.as_nanos(),
            routers: own.routers,
        };
        let Outlets { packet, lines } = outlets;
        probe_packet(&spec, packet)?;
        // One line is enough.
        let has_left = plan.lines.iter().filter(|line| lines.send(line, packet).is_ok()).count() > 0;
        match self.send_by_link(plan, packet, lines) {
            Err(_) | Ok(Departure::Waits) if has_left => Ok(Departure::Left),
            departure => departure,
        }
    }

    /// To the MAC that the kernel has, or that the last probe has left to: a peer may be heard that does not hear the question for it.
    fn send_by_link(
        &mut self,
        plan: &LinkPlan,
        packet: &[u8],
        frames: &mut LineSockets,
    ) -> io::Result<Departure> {
        if self.socket.is_none() {
            self.socket = Some(UnicastSocket::open(self.peer, plan.ifindex)?);
        }
        let socket = self.socket.as_mut().ok_or(io::ErrorKind::NotConnected)?;
        let Some(mac) = plan.mac else { return socket.send(packet) };
        let sent = socket.send_or_by_last_mac(packet, frames.socket(plan.ifindex)?, (plan.ifindex, mac));
        if sent.is_err() {
            frames.forget(plan.ifindex);
        }
        sent
    }

    fn tell(&mut self, interface: &str, change: SessionChange, now: Instant) {
        let peer = self.peer.to_string();
        match change.to {
            SessionState::Down => {
                self.is_muted = self.told_down_at.is_some_and(|at| now.saturating_since(at) < TOLD_EVERY);
                if self.is_muted {
                    return;
                }
                self.told_down_at = Some(now);
                tracing::warn!(
                    target: "vipd::event",
                    event = "probe_down",
                    interface,
                    peer,
                    silent_us = u64::try_from(change.silent_for.as_micros()).unwrap_or(u64::MAX),
                    "a peer's host does not answer probes"
                );
            }
            SessionState::Up if !std::mem::take(&mut self.is_muted) => tracing::info!(
                target: "vipd::event",
                event = "probe_up",
                interface,
                peer,
                "a peer's host answers probes"
            ),
            SessionState::AdminDown => tracing::info!(
                target: "vipd::event",
                event = "probe_leaving",
                interface,
                peer,
                "a peer is leaving: its silence is not its death"
            ),
            SessionState::Up => {}
        }
    }
}
