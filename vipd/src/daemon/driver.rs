//! The engine thread: events in, timers, actions out.
//!
//! It owns the data plane, the packet sockets and the election, and runs under SCHED_FIFO on a runtime of its own. It
//! never waits for anything but its own descriptors: the host's rules follow through a `watch` channel in which the
//! latest wish wins, and status answers go out through one-shot channels. It ends when the election has finished.

use std::{
    collections::HashMap,
    net::{Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

use anyhow::{Context, Result};
use tokio::{
    io::{Interest, unix::AsyncFd},
    sync::{mpsc, oneshot, watch},
};

use super::{
    clock, effects::Effects, realtime::Granted, router::Router, setup, sockets::Sockets, timer::Timer,
};
use crate::{
    control::model::Status,
    dataplane::{Dataplane, Events},
    engine::{FaultReason, Input, InstanceId},
    host::{LinkChange, LinkState},
    keeper::Keeper,
    notify::Notice,
    time::Instant,
    tracking::Standing,
};

/// What the main thread tells the engine thread.
#[derive(Debug)]
pub enum Message {
    /// An interface or its addresses changed, or it is gone.
    Link(LinkChange),
    /// What an instance tracks has changed how it stands.
    Standing {
        instance: usize,
        standing: Standing,
    },
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

/// Everything the engine thread owns.
#[derive(Debug)]
pub struct Driver {
    pub(super) keeper: Keeper,
    pub(super) effects: Effects,
    timer: Timer,
    messages: mpsc::Receiver<Message>,
    pub(super) modes: HashMap<u32, String>,
    pub(super) granted: Granted,
    pub(super) started: Instant,
    left: bool,
    standings: Vec<Standing>,
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
    pub notices: mpsc::UnboundedSender<Notice>,
    /// XDP mode of each interface.
    pub modes: HashMap<u32, String>,
    pub granted: Granted,
    /// Of each router.
    pub standings: Vec<Standing>,
}

impl Driver {
    /// To be called on the engine thread's runtime.
    pub fn new(parts: Parts) -> Result<Self> {
        let Parts {
            dataplane,
            events,
            routers,
            sockets,
            messages,
            wishes,
            notices,
            modes,
            granted,
            standings,
        } = parts;
        // SAFETY: the ring owns its descriptor and never changes it.
        let events = unsafe { AsyncFd::register_with_interest(events, Interest::READABLE) };
        let events = events.context("watch the event ring")?;
        let settings = routers.iter().map(|router| router.settings.clone()).collect();
        let mut effects = Effects::new(dataplane, events, routers, sockets, wishes, notices);
        Ok(Self {
            keeper: Keeper::new(settings, &mut effects),
            effects,
            timer: Timer::new().context("make a timer")?,
            messages,
            modes,
            granted,
            started: clock::now(),
            left: false,
            standings,
        })
    }

    /// Runs the election until it has ended; gives the data plane back, for the main thread to take down or leave.
    pub async fn run(mut self) -> Result<(Dataplane, End)> {
        for id in self.keeper.ids() {
            self.stand(id);
        }
        loop {
            let more = self.turn();
            if let Some(end) = self.end() {
                return Ok((self.effects.dataplane, end));
            }
            if more {
                continue;
            }
            let next = [self.keeper.poll_timeout(), self.effects.announcements.poll_timeout()]
                .into_iter()
                .flatten()
                .min();
            self.timer.set(next).context("set the timer")?;
            tokio::select! {
                ready = self.effects.events.readable() => ready.context("wait for events")?.clear_ready(),
                expired = self.timer.expired() => expired.context("wait for the timer")?,
                message = self.messages.recv() => match message {
                    Some(message) => self.message(message),
                    // The main thread is gone, which it never is before us: hand over rather than run headless.
                    None => self.input(Input::Shutdown),
                },
            }
        }
    }

    /// One look at everything that may have happened; returns whether another is wanted at once.
    fn turn(&mut self) -> bool {
        let more = self.keeper.turn(&mut self.effects);
        self.effects.send_announcements();
        more
    }

    fn end(&self) -> Option<End> {
        match (self.effects.finished, self.left) {
            (true, _) => Some(End::Finished),
            (false, true) => Some(End::Left),
            (false, false) => None,
        }
    }

    fn input(&mut self, input: Input) {
        self.keeper.input(input, &mut self.effects);
    }

    fn message(&mut self, message: Message) {
        match message {
            Message::Link(LinkChange::State(link)) => self.link(&link),
            Message::Link(LinkChange::Gone { ifindex }) => self.link_gone(ifindex),
            Message::Standing { instance, standing } => {
                let Some(id) = self.keeper.ids().nth(instance) else { return };
                self.standings[instance] = standing;
                self.stand(id);
            }
            Message::Status(reply) => {
                // A client that has hung up wants no answer.
                let _ = reply.send(self.status());
            }
            Message::Shutdown => self.input(Input::Shutdown),
            Message::Leave => {
                self.keeper.leave(&mut self.effects);
                self.left = true;
            }
        }
    }

    /// An interface changed: tell every router on it.
    fn link(&mut self, link: &LinkState) {
        let mut mac_changed = false;
        for id in self.keeper.ids() {
            let slot = &mut self.effects.slots[usize::from(id.0)];
            let macs = |router: &Router| router.links.iter().map(|link| link.mac).collect::<Vec<_>>();
            let before = macs(&slot.router);
            if !slot.router.update(link) {
                continue;
            }
            if macs(&slot.router) != before {
                mac_changed = true;
                slot.stations = slot.router.stations();
                if self.keeper.lease_written(id) > clock::now() {
                    // As a takeover: everyone has the old one in their caches.
                    let (key, repeat) = (id.0.into(), slot.router.spec.garp.repeat);
                    let stations = Arc::clone(&slot.stations);
                    self.effects.announcements.push(key, stations, repeat, slot.router.pace(), clock::now());
                }
                self.effects.dataplane.instances().set_mac(slot.router.slot, slot.router.link().mac.0);
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
        for id in self.keeper.ids() {
            if self.effects.slots[usize::from(id.0)].router.gone(ifindex) {
                self.link_to_engine(id);
            }
        }
    }

    fn fill_tables(&mut self) -> Result<()> {
        let Effects { dataplane, slots, .. } = &mut self.effects;
        dataplane.replace_tables(&setup::contents(slots.iter().map(|slot| &slot.router)))
    }

    /// Tells the election of what an instance tracks, and of its links, which decide with it.
    fn stand(&mut self, id: InstanceId) {
        let priority = self.standings[usize::from(id.0)].priority;
        self.effects.slots[usize::from(id.0)].priority = priority;
        self.input(Input::Priority { instance: id, priority });
        self.link_to_engine(id);
    }

    fn link_to_engine(&mut self, id: InstanceId) {
        let standing = self.standings[usize::from(id.0)];
        let router = &self.effects.slots[usize::from(id.0)].router;
        let (up, address) = (router.up(), router.address);
        let sources: Vec<_> = router.links.iter().map(|link| (link.source_v4, link.source_v6)).collect();
        self.effects.wishes.send_if_modified(|wishes| {
            let wish = &mut wishes[usize::from(id.0)];
            let changed = wish.sources != sources;
            wish.sources = sources;
            changed
        });
        // A mastership that is inherited does not wait for the first result of a check.
        let waits = !standing.known && self.keeper.lease_written(id) == Instant::default();
        self.input(match address {
            _ if !up => Input::Fault { instance: id, reason: FaultReason::LinkDown },
            None => Input::Fault { instance: id, reason: FaultReason::NoAddress },
            Some(_) if standing.fault => Input::Fault { instance: id, reason: FaultReason::Tracked },
            Some(_) if waits => return,
            Some(address) => Input::Ready { instance: id, address },
        });
    }
}
