//! What the election acts on: the lease page, the packet sockets, the announcements and the wishes for the host.

use std::{mem, sync::Arc};

use tokio::{
    io::unix::AsyncFd,
    sync::{mpsc, watch},
};
use vipd_common::{Priority, types::ChecksumForm};

use super::{
    clock,
    driver::Wish,
    router::{self, Router},
    sockets::Sockets,
};
use crate::{
    announce::{AnnounceQueue, Station},
    dataplane::{Dataplane, Events},
    engine::{InstanceId, Reason, StateName},
    keeper::{Heard, Node, Report, Transition},
    notify::Notice,
    time::Instant,
    vrrp::Rank,
};

/// One router as the engine thread keeps it.
#[derive(Debug)]
pub(super) struct Slot {
    pub router: Router,
    /// What it announces.
    pub stations: Arc<[Station]>,
    pub master_mac: Option<[u8; 6]>,
    pub defended_at: Option<Instant>,
    /// When the state was entered.
    pub since: Instant,
    /// As what it tracks has it.
    pub priority: Priority,
    /// The same for people: looked up once, since the two clocks drift apart.
    pub since_unix_ms: u64,
    pub adverts_sent: u64,
    pub priority_zero_sent: u64,
    pub send_errors: u64,
}

/// The engine thread's hands.
#[derive(Debug)]
pub(super) struct Effects {
    pub dataplane: Dataplane,
    pub events: AsyncFd<Events>,
    pub slots: Vec<Slot>,
    pub sockets: Sockets,
    pub announcements: AnnounceQueue,
    pub wishes: watch::Sender<Vec<Wish>>,
    pub notices: mpsc::UnboundedSender<Notice>,
    /// The election has ended.
    pub finished: bool,
}

impl Effects {
    pub fn new(
        dataplane: Dataplane,
        events: AsyncFd<Events>,
        routers: Vec<Router>,
        sockets: Sockets,
        wishes: watch::Sender<Vec<Wish>>,
        notices: mpsc::UnboundedSender<Notice>,
    ) -> Self {
        let slot = |router: Router| Slot {
            stations: router.stations(),
            master_mac: None,
            defended_at: None,
            since: clock::now(),
            priority: router.spec.priority,
            since_unix_ms: clock::unix_ms(),
            adverts_sent: 0,
            priority_zero_sent: 0,
            send_errors: 0,
            router,
        };
        Self {
            dataplane,
            events,
            slots: routers.into_iter().map(slot).collect(),
            sockets,
            announcements: AnnounceQueue::default(),
            wishes,
            notices,
            finished: false,
        }
    }

    fn slot(&mut self, instance: InstanceId) -> &mut Slot {
        &mut self.slots[usize::from(instance.0)]
    }

    fn group(&self, instance: InstanceId) -> u32 {
        self.slots[usize::from(instance.0)].router.group()
    }

    /// Sends the announcements that are due.
    pub fn send_announcements(&mut self) {
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

impl Node for Effects {
    fn now(&mut self) -> Instant {
        clock::now()
    }

    fn lease(&mut self, instance: InstanceId) -> Instant {
        self.dataplane.leases().read(self.group(instance))
    }

    fn acquire(&mut self, instance: InstanceId, until: Instant) {
        self.dataplane.leases().acquire(self.group(instance), until);
    }

    fn renew(&mut self, instance: InstanceId, from: Instant, until: Instant) -> bool {
        self.dataplane.leases().renew(self.group(instance), from, until).is_ok()
    }

    fn release(&mut self, instance: InstanceId) {
        self.dataplane.leases().release(self.group(instance));
    }

    fn next_report(&mut self) -> Option<Report> {
        loop {
            let event = self.events.get_mut().pop()?;
            if let Some(report) = self.read(&event) {
                return Some(report);
            }
        }
    }

    fn heard(&mut self, instance: InstanceId) -> Heard {
        let slot = self.slot(instance).router.slot;
        self.dataplane.instances().heard(slot)
    }

    fn resync(&mut self, instance: InstanceId) {
        let slot = self.slot(instance).router.slot;
        self.dataplane.instances().resync(slot);
    }

    fn publish(&mut self, instance: InstanceId, rank: Rank) {
        let router = &self.slots[usize::from(instance.0)].router;
        let primary = router.address.map_or([0; 16], router::octets);
        self.dataplane.instances().rank(router.slot, rank.priority.get(), primary);
    }

    fn send(&mut self, instance: InstanceId, priority: Priority, checksum: ChecksumForm) -> bool {
        let slot = &mut self.slots[usize::from(instance.0)];
        let result = self.sockets.advertise(&slot.router, priority, checksum).map(|unreached| {
            if let Some((peer, error)) = unreached {
                slot.send_errors += 1;
                tracing::warn!(instance = slot.router.spec.name, %peer, %error, "advert not sent to a peer");
            }
        });
        match result {
            Ok(()) => {
                slot.adverts_sent += 1;
                slot.priority_zero_sent += u64::from(priority.is_leaving());
                true
            }
            Err(error) => {
                slot.send_errors += 1;
                tracing::warn!(instance = slot.router.spec.name, %error, "advert not sent");
                false
            }
        }
    }

    fn announce(&mut self, instance: InstanceId, repeat: u8) {
        let slot = &self.slots[usize::from(instance.0)];
        let (stations, pace) = (Arc::clone(&slot.stations), slot.router.pace());
        // Sent when the turn is over: an advert that is due does not wait for another router's announcements.
        self.announcements.push(instance.0.into(), stations, repeat, pace, clock::now());
    }

    fn cancel_announce(&mut self, instance: InstanceId) {
        self.announcements.cancel(instance.0.into());
    }

    fn mirroring(&mut self, instance: InstanceId, checksum: ChecksumForm) {
        let name = &self.slot(instance).router.spec.name;
        tracing::info!(instance = name, ?checksum, "sending the form of checksum that the peer uses");
    }

    fn transition(&mut self, transition: Transition) {
        let Transition { instance, from, to, reason, master } = transition;
        let slot = self.slot(instance);
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
        (slot.since, slot.since_unix_ms) = (clock::now(), clock::unix_ms());
        // To the world nothing has changed when a mastership goes on.
        if reason != Reason::Inherited {
            let notice = Notice { instance: instance.0.into(), state: to, priority: slot.priority.get() };
            // The main thread may have failed.
            let _ = self.notices.send(notice);
        }
        let slot = self.slot(instance);
        if to == StateName::Master {
            // Whoever is heard next is a new master to the kernel.
            slot.master_mac = None;
        }
        self.wishes.send_if_modified(|wishes| {
            let wish = &mut wishes[usize::from(instance.0)];
            mem::replace(&mut wish.master, to == StateName::Master) != (to == StateName::Master)
        });
    }

    fn finished(&mut self) {
        self.finished = true;
    }
}
