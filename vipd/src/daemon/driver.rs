//! The engine thread: events in, timers, actions out.
//!
//! It owns the data plane, the packet sockets and the election, and runs under SCHED_FIFO on a runtime of its own. It
//! never waits for anything but its own descriptors: the host's rules follow through a `watch` channel in which the
//! latest wish wins, and status answers go out through one-shot channels. It ends when the election has finished.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result};
use tokio::{
    io::{Interest, unix::AsyncFd},
    sync::{mpsc, oneshot, watch},
};
use vipd_common::{
    Priority,
    abi::{Event, event_kind},
    types::ChecksumForm,
    wire::eth::MacAddr,
};

use super::{
    clock,
    realtime::Granted,
    router::{self, Router},
    setup,
    sockets::Sockets,
    timer::Timer,
};
use crate::{
    announce::{AnnounceQueue, Station},
    control::model::Status,
    dataplane::{Dataplane, Events},
    engine::{Action, Advert, Engine, FaultReason, Input, InstanceId, Reason, StateName},
    host::{LinkChange, LinkState},
    time::Instant,
};

/// Events handled in one turn, so that a flood of them cannot keep the timers waiting.
const EVENTS_A_TURN: usize = 256;
/// RFC 5227 2.4 (c): a VIP is defended against another station's claim once in this time.
const DEFEND_INTERVAL: Duration = Duration::from_secs(10);

/// What the main thread tells the engine thread.
#[derive(Debug)]
pub enum Message {
    /// An interface or its addresses changed, or it is gone.
    Link(LinkChange),
    Status(oneshot::Sender<Status>),
    /// Hand everything over and finish.
    Shutdown,
    /// Finish at once and leave every lease to the next vipd.
    Leave,
}

/// How the election has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Everything is handed over: what was made is to be removed.
    Finished,
    /// Leases, tables, routes and the attached program are to stand for the next vipd.
    Left,
}

/// What the host's rules are to say about one router: the latest wish is the one that counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wish {
    pub master: bool,
    /// Our own addresses on each of its interfaces, the sources of the host's own traffic to the VIPs.
    pub sources: Vec<(Option<Ipv4Addr>, Option<Ipv6Addr>)>,
    /// Rises when another master than before was heard: what the kernel knows of the VIPs' neighbours is out of date.
    pub masters_heard: u64,
}

/// One router as the driver keeps it.
#[derive(Debug)]
pub(super) struct Slot {
    pub router: Router,
    /// What it announces.
    stations: Arc<[Station]>,
    /// The lease word as last written; 0 when released.
    held: Instant,
    /// Generation of the last event: a stamp of another one is of an advert that is still to come.
    generation: u64,
    master_mac: Option<[u8; 6]>,
    defended_at: Option<Instant>,
    /// When the state was entered, for people: looked up once, since the two clocks drift apart.
    pub since_unix_ms: u64,
    pub adverts_sent: u64,
    pub priority_zero_sent: u64,
    pub send_errors: u64,
}

/// Everything the engine thread owns.
#[derive(Debug)]
pub struct Driver {
    pub(super) dataplane: Dataplane,
    events: AsyncFd<Events>,
    pub(super) engine: Engine,
    pub(super) slots: Vec<Slot>,
    sockets: Sockets,
    announcements: AnnounceQueue,
    timer: Timer,
    messages: mpsc::Receiver<Message>,
    wishes: watch::Sender<Vec<Wish>>,
    pub(super) modes: HashMap<u32, String>,
    pub(super) granted: Granted,
    pub(super) started: Instant,
    end: Option<End>,
}

/// What the driver starts from. The data plane is filled and attached.
#[derive(Debug)]
pub struct Parts {
    pub dataplane: Dataplane,
    pub events: Events,
    pub routers: Vec<Router>,
    pub sockets: Sockets,
    pub messages: mpsc::Receiver<Message>,
    pub wishes: watch::Sender<Vec<Wish>>,
    /// XDP mode of each interface.
    pub modes: HashMap<u32, String>,
    pub granted: Granted,
}

impl Driver {
    /// To be called on the engine thread's runtime.
    pub fn new(parts: Parts) -> Result<Self> {
        let Parts { dataplane, events, routers, sockets, messages, wishes, modes, granted } = parts;
        // SAFETY: the ring owns its descriptor and never changes it.
        let events = unsafe { AsyncFd::register_with_interest(events, Interest::READABLE) };
        let events = events.context("watch the event ring")?;
        let engine = Engine::new(routers.iter().map(|router| router.settings.clone()).collect());
        let slots = routers
            .into_iter()
            .map(|router| Slot {
                // What a predecessor left; nobody else writes to the word before we do, but XDP.
                held: dataplane.leases().read(router.group()),
                stations: router.stations(),
                generation: 0,
                master_mac: None,
                defended_at: None,
                since_unix_ms: clock::unix_ms(),
                adverts_sent: 0,
                priority_zero_sent: 0,
                send_errors: 0,
                router,
            })
            .collect();
        Ok(Self {
            dataplane,
            events,
            engine,
            slots,
            sockets,
            announcements: AnnounceQueue::default(),
            timer: Timer::new().context("make a timer")?,
            messages,
            wishes,
            modes,
            granted,
            started: clock::now(),
            end: None,
        })
    }

    /// Runs the election until it has ended; gives the data plane back, for the main thread to take down or leave.
    pub async fn run(mut self) -> Result<(Dataplane, End)> {
        for id in self.ids() {
            let lease_until = self.slots[usize::from(id.0)].held;
            if lease_until != Instant::default() {
                self.input(Input::Inherited { instance: id, lease_until });
            }
            self.link_to_engine(id);
        }
        loop {
            let more = self.turn();
            if let Some(end) = self.end {
                return Ok((self.dataplane, end));
            }
            if more {
                continue;
            }
            let next =
                [self.engine.poll_timeout(), self.announcements.poll_timeout()].into_iter().flatten().min();
            self.timer.set(next).context("set the timer")?;
            tokio::select! {
                ready = self.events.readable() => ready.context("wait for events")?.clear_ready(),
                expired = self.timer.expired() => expired.context("wait for the timer")?,
                message = self.messages.recv() => match message {
                    Some(message) => self.message(message),
                    // The main thread is gone, which it never is before us: hand over rather than run headless.
                    None => self.input(Input::Shutdown),
                },
            }
        }
    }

    /// One look at everything that may have happened: events first, so that no timer acts on old news.
    ///
    /// Returns whether another is wanted at once: more events wait, of which the ring gives no second notice.
    fn turn(&mut self) -> bool {
        let mut events = 0;
        while events < EVENTS_A_TURN
            && let Some(event) = self.events.get_mut().pop()
        {
            events += 1;
            self.event(&event);
        }
        for id in self.ids() {
            let slot = &self.slots[usize::from(id.0)];
            if slot.held != Instant::default()
                && self.dataplane.leases().read(slot.router.group()) != slot.held
            {
                self.input(Input::LeaseLost { instance: id });
            }
        }
        let now = clock::now();
        let due: Vec<InstanceId> = self.engine.due(now).collect();
        for id in due {
            let slot = &self.slots[usize::from(id.0)];
            let heard = self.dataplane.instances().heard(slot.router.slot);
            if heard.generation == slot.generation {
                self.input(Input::Heard { instance: id, at: heard.at });
            }
        }
        // The same `now`: a down timer that fires only after the stamps were read must wait for the next turn's.
        if self.engine.poll_timeout().is_some_and(|at| at <= now) {
            self.engine.handle_timeout(now);
            self.act();
        }
        self.announce();
        events == EVENTS_A_TURN
    }

    fn ids(&self) -> impl Iterator<Item = InstanceId> + use<> {
        (0..u16::try_from(self.slots.len()).unwrap_or(u16::MAX)).map(InstanceId)
    }

    fn input(&mut self, input: Input) {
        self.engine.handle(input, clock::now());
        self.act();
    }

    fn message(&mut self, message: Message) {
        match message {
            Message::Link(LinkChange::State(link)) => self.link(&link),
            Message::Link(LinkChange::Gone { ifindex }) => self.link_gone(ifindex),
            Message::Status(reply) => {
                // A client that has hung up wants no answer.
                let _ = reply.send(self.status());
            }
            Message::Shutdown => self.input(Input::Shutdown),
            Message::Leave => self.leave(),
        }
    }

    /// Renews every lease once more, so that the next vipd has all of its length, and ends.
    fn leave(&mut self) {
        for id in self.ids() {
            if let Some(master) = self
                .engine
                .snapshot(id)
                .filter(|snapshot| snapshot.state == StateName::Master && !snapshot.leaving)
            {
                let renew_for = self.slots[usize::from(id.0)].router.settings.lease_length();
                self.advertise(id, master.priority, master.checksum, Some(renew_for));
            }
        }
        self.end = Some(End::Left);
    }

    /// An interface changed: tell every router on it.
    fn link(&mut self, link: &LinkState) {
        let mut mac_changed = false;
        for id in self.ids() {
            let slot = &mut self.slots[usize::from(id.0)];
            let macs = |router: &Router| router.links.iter().map(|link| link.mac).collect::<Vec<_>>();
            let before = macs(&slot.router);
            if !slot.router.update(link) {
                continue;
            }
            if macs(&slot.router) != before {
                mac_changed = true;
                slot.stations = slot.router.stations();
                if slot.held > clock::now() {
                    // As a takeover: everyone has the old one in their caches.
                    let (key, repeat) = (id.0.into(), slot.router.spec.garp.repeat);
                    let stations = Arc::clone(&slot.stations);
                    self.announcements.push(key, stations, repeat, slot.router.pace(), clock::now());
                }
                self.dataplane.instances().set_mac(slot.router.slot, slot.router.link().mac.0);
            }
            self.link_to_engine(id);
        }
        if mac_changed {
            tracing::info!(interface = link.name, mac = %link.mac, "MAC changed, answering with the new one");
            if let Err(error) = self.fill_tables() {
                tracing::error!(error = format!("{error:#}"), "the table of VIPs still has the old MAC");
            }
        }
    }

    fn link_gone(&mut self, ifindex: u32) {
        for id in self.ids() {
            if self.slots[usize::from(id.0)].router.gone(ifindex) {
                self.link_to_engine(id);
            }
        }
    }

    fn fill_tables(&mut self) -> Result<()> {
        let Self { dataplane, slots, .. } = self;
        dataplane.replace_tables(&setup::contents(slots.iter().map(|slot| &slot.router)))
    }

    fn link_to_engine(&mut self, id: InstanceId) {
        let router = &self.slots[usize::from(id.0)].router;
        let (up, address) = (router.up(), router.address);
        let sources: Vec<_> = router.links.iter().map(|link| (link.source_v4, link.source_v6)).collect();
        self.wishes.send_if_modified(|wishes| {
            let wish = &mut wishes[usize::from(id.0)];
            let changed = wish.sources != sources;
            wish.sources = sources;
            changed
        });
        self.input(match address {
            _ if !up => Input::Fault { instance: id, reason: FaultReason::LinkDown },
            None => Input::Fault { instance: id, reason: FaultReason::NoAddress },
            Some(address) => Input::Ready { instance: id, address },
        });
    }

    fn event(&mut self, event: &Event) {
        let Some(id) = self.ids().find(|id| self.slots[usize::from(id.0)].router.slot == event.instance)
        else {
            return;
        };
        let slot = &mut self.slots[usize::from(id.0)];
        let name = &slot.router.spec.name;
        let source = router::address(event.source);
        let revoked = match event.kind {
            event_kind::ADVERT => false,
            event_kind::REVOKED => true,
            event_kind::CONFLICT => {
                self.conflict(id, source, MacAddr(event.mac));
                return;
            }
            kind => {
                tracing::error!(kind, "unknown event");
                return;
            }
        };
        slot.generation = event.generation;
        if event.address_list_differs != 0 {
            tracing::warn!(instance = name, peer = %source, "advert lists other addresses than ours");
        }
        if event.interval_cs != router::centiseconds(slot.router.spec.advert_interval) {
            tracing::warn!(
                instance = name,
                peer = %source,
                interval_ms = event.interval_cs * 10,
                "advert interval differs from ours"
            );
        }
        if slot.master_mac.replace(event.mac) != Some(event.mac) {
            self.wishes.send_modify(|wishes| wishes[usize::from(id.0)].masters_heard += 1);
        }
        let advert = Advert {
            source,
            priority: Priority::new(event.priority),
            interval: Duration::from_millis(u64::from(event.interval_cs) * 10),
            checksum: ChecksumForm::from_u8(event.checksum),
            received_at: Instant::from_nanos(event.at_ns),
        };
        self.input(Input::Advert { instance: id, advert, revoked });
    }

    /// Another station claims a VIP that we own.
    fn conflict(&mut self, id: InstanceId, vip: IpAddr, mac: MacAddr) {
        let router = &self.slots[usize::from(id.0)].router;
        let name = &router.spec.name;
        let since = self.engine.snapshot(id).map(|snapshot| snapshot.since);
        if since.is_some_and(|since| clock::now().saturating_since(since) < router.spec.advert_interval) {
            // The former master's last words, sent before it heard of us.
            tracing::debug!(instance = name, %vip, %mac, "another station claims a VIP just taken over");
        } else {
            tracing::warn!(instance = name, %vip, %mac, "another station claims a VIP");
        }
        self.defend(id, vip);
    }

    /// Says once more who has the VIP, if we do and have not just said so.
    fn defend(&mut self, id: InstanceId, vip: IpAddr) {
        let now = clock::now();
        let slot = &mut self.slots[usize::from(id.0)];
        let defended = slot.defended_at.is_some_and(|at| now.saturating_since(at) < DEFEND_INTERVAL);
        // A burst that is under way says it as well.
        if slot.held > now && !defended && !self.announcements.is_announcing(id.0.into()) {
            slot.defended_at = Some(now);
            let station = slot.stations.iter().filter(|station| station.address == vip).copied().collect();
            self.announcements.push(id.0.into(), station, 1, slot.router.pace(), now);
        }
    }

    fn act(&mut self) {
        while let Some(action) = self.engine.poll_action() {
            self.perform(action);
        }
    }

    fn perform(&mut self, action: Action) {
        let now = clock::now();
        match action {
            Action::Acquire { instance, until } => {
                let slot = &mut self.slots[usize::from(instance.0)];
                self.dataplane.leases().acquire(slot.router.group(), until);
                slot.held = until;
            }
            Action::Advertise { instance, priority, checksum, renew_for } => {
                self.advertise(instance, priority, checksum, renew_for);
            }
            Action::Release { instance } => {
                let slot = &mut self.slots[usize::from(instance.0)];
                self.dataplane.leases().release(slot.router.group());
                slot.held = Instant::default();
            }
            Action::Announce { instance, repeat } => {
                let slot = &self.slots[usize::from(instance.0)];
                let (stations, pace) = (Arc::clone(&slot.stations), slot.router.pace());
                self.announcements.push(instance.0.into(), stations, repeat, pace, now);
                self.announce();
            }
            Action::CancelAnnounce { instance } => self.announcements.cancel(instance.0.into()),
            Action::Publish { instance, rank } => {
                let router = &self.slots[usize::from(instance.0)].router;
                let primary = router.address.map_or([0; 16], router::octets);
                self.dataplane.instances().rank(router.slot, rank.priority.get(), primary);
            }
            Action::Extend { instance, until } => {
                let slot = &mut self.slots[usize::from(instance.0)];
                match self.dataplane.leases().renew(slot.router.group(), slot.held, until) {
                    Ok(()) => slot.held = until,
                    Err(_) => self.engine.handle(Input::LeaseLost { instance }, now),
                }
            }
            Action::Mirroring { instance, checksum } => {
                let name = &self.slots[usize::from(instance.0)].router.spec.name;
                tracing::info!(instance = name, ?checksum, "sending the form of checksum that the peer uses");
            }
            Action::Transition { instance, from, to, reason, master } => {
                self.transition(instance, from, to, reason, master);
            }
            Action::Finished => self.end = Some(End::Finished),
        }
    }

    /// Sends one advert. A lease is renewed only if the word is still what we wrote and after the send has succeeded.
    fn advertise(
        &mut self,
        instance: InstanceId,
        priority: Priority,
        checksum: ChecksumForm,
        renew_for: Option<Duration>,
    ) {
        let slot = &mut self.slots[usize::from(instance.0)];
        let group = slot.router.group();
        if renew_for.is_some() && self.dataplane.leases().read(group) != slot.held {
            // A process that wakes up without its lease sends nothing.
            self.engine.handle(Input::LeaseLost { instance }, clock::now());
            return;
        }
        let at = clock::now();
        let result = self.sockets.advertise(&slot.router, priority, checksum).map(|unreached| {
            if let Some((peer, error)) = unreached {
                slot.send_errors += 1;
                tracing::warn!(instance = slot.router.spec.name, %peer, %error, "advert not sent to a peer");
            }
        });
        match &result {
            Ok(()) if priority.is_leaving() => {
                slot.adverts_sent += 1;
                slot.priority_zero_sent += 1;
            }
            Ok(()) => slot.adverts_sent += 1,
            Err(error) => {
                slot.send_errors += 1;
                tracing::warn!(instance = slot.router.spec.name, %error, "advert not sent");
            }
        }
        let Some(renew_for) = renew_for else { return };
        let input = match result {
            Ok(()) => {
                let lease_until = at + renew_for;
                match self.dataplane.leases().renew(group, slot.held, lease_until) {
                    Ok(()) => {
                        slot.held = lease_until;
                        Input::AdvertSent { instance, at, lease_until }
                    }
                    Err(_) => Input::LeaseLost { instance },
                }
            }
            Err(_) => Input::AdvertFailed { instance },
        };
        self.engine.handle(input, clock::now());
    }

    fn transition(
        &mut self,
        instance: InstanceId,
        from: StateName,
        to: StateName,
        reason: Reason,
        master: Option<(IpAddr, Priority)>,
    ) {
        let slot = &mut self.slots[usize::from(instance.0)];
        let (master, master_priority) = master.unzip();
        tracing::info!(
            instance = slot.router.spec.name,
            %from,
            %to,
            %reason,
            master = master.map(tracing::field::display),
            master_priority = master_priority.map(tracing::field::display),
            "state changed"
        );
        slot.since_unix_ms = clock::unix_ms();
        if to == StateName::Master {
            // Whoever is heard next is a new master to the kernel.
            slot.master_mac = None;
        }
        self.wishes.send_if_modified(|wishes| {
            let wish = &mut wishes[usize::from(instance.0)];
            std::mem::replace(&mut wish.master, to == StateName::Master) != (to == StateName::Master)
        });
    }

    /// Sends the announcements that are due.
    fn announce(&mut self) {
        for batch in self.announcements.next_batch(clock::now()) {
            let Some(slot) = self.slots.get(batch.key) else { continue };
            if let (sent, Some(error)) = self.sockets.announce(&batch) {
                // Announcements are repeated, and every client asks again by itself.
                let of = batch.frames.len();
                tracing::debug!(instance = slot.router.spec.name, sent, of, %error, "not all announced");
            }
        }
    }
}
