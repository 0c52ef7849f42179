//! What the election acts on: the lease page, the packet sockets, the announcements and the wishes for the host.

use std::{
    collections::{BTreeMap, BTreeSet},
    io, mem,
    net::IpAddr,
    sync::Arc,
    time::Duration,
};

use tokio::{
    io::unix::AsyncFd,
    sync::{mpsc, watch},
};
use vipd_common::{Priority, types::ChecksumForm, wire::eth::MacAddr};

use super::{
    clock,
    deferred::AllDeferred,
    detect::{Watch, Watched},
    driver::{Fence, Wishes},
    least::Least,
    lines::Lines,
    router::{self, Router},
    sockets::{Sent, Sockets, Unsent, Way},
};
use crate::{
    announce::{AnnounceQueue, Station},
    dataplane::{Events, Pages},
    engine::{InstanceId, Reason, StateName},
    keeper::{Heard, Node, Report, Transition},
    notify::{Change, Notice},
    time::Instant,
    vrrp::Rank,
};

/// One router as the engine thread keeps it.
#[derive(Debug)]
pub(super) struct Slot {
    pub router: Router,
    /// What it announces.
    pub stations: Arc<[Station]>,
    /// Whose adverts were heard last.
    pub master: Option<IpAddr>,
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
    /// The last advert has not left.
    unsent: bool,
    /// It has taken over for no time at all, which was told to nobody: its first advert has not left.
    untold: bool,
    /// Its own interface and its heartbeat lines.
    pub lines: Lines,
    /// How long the lease still had when it was renewed.
    pub lease_margin: Least,
    /// Others that act as owners.
    pub watched: Watched,
    /// Of the last event that was read.
    pub generation: u64,
    /// When to look for an event that XDP has deferred, since they came too fast.
    pub deferred_at: Option<Instant>,
}

impl Slot {
    pub fn new(router: Router, priority: Priority) -> Self {
        Self {
            stations: router.stations(),
            lines: Lines::new(&router, clock::now()),
            master: None,
            defended_at: None,
            since: clock::now(),
            priority,
            since_unix_ms: clock::unix_ms(),
            adverts_sent: 0,
            priority_zero_sent: 0,
            send_errors: 0,
            unsent: false,
            untold: false,
            lease_margin: Least::default(),
            watched: Watched::default(),
            generation: 0,
            deferred_at: None,
            router,
        }
    }

    /// Tells of the ways by which an advert has not left.
    fn note_unsent(&mut self, sent: io::Result<Sent>) {
        let unsent = match sent {
            Ok(Sent { unsent, .. }) => unsent,
            Err(error) => return self.not_sent(None, &error),
        };
        let mut lines = Vec::new();
        for Unsent { way, error } in unsent {
            match way {
                Way::Peer(peer) => self.not_sent(Some(peer), &error),
                Way::Line(number) => lines.push((number, error)),
            }
        }
        self.send_errors += u64::from(!lines.is_empty());
        if self.router.spec.unicast.is_none() {
            self.advert_left(&lines);
        }
    }

    /// Whether the state was entered less than an advert interval ago.
    pub fn is_new(&self, now: Instant) -> bool {
        now.saturating_since(self.since) < self.router.spec.advert_interval
    }

    /// The MAC that a VIP is answered for with.
    pub fn mac_of(&self, vip: IpAddr) -> MacAddr {
        let station = self.stations.iter().find(|station| station.address == vip);
        station.map_or(self.router.link().mac, |station| station.mac)
    }

    /// An advert could not be sent, to `peer` if others were reached.
    fn not_sent(&mut self, peer: Option<IpAddr>, error: &io::Error) {
        self.send_errors += 1;
        if self.watched.unsent.note(1, clock::now()).is_some() {
            tracing::warn!(
                target: "vipd::event",
                event = "advert_not_sent",
                instance = self.router.spec.name,
                peer = peer.map(tracing::field::display),
                %error,
                count = self.send_errors,
                "advert not sent"
            );
        }
    }
}

/// The engine thread's hands.
#[derive(Debug)]
pub(super) struct Effects {
    pub pages: Pages,
    pub events: AsyncFd<Events>,
    /// Of every instance that the election has.
    pub slots: BTreeMap<InstanceId, Slot>,
    pub sockets: Sockets,
    pub announcements: AnnounceQueue,
    pub watch: Watch,
    /// The MACs of this host's interfaces.
    pub own_macs: BTreeSet<MacAddr>,
    /// Adverts that XDP has deferred, of whichever instance.
    pub all_deferred: AllDeferred,
    pub wishes: watch::Sender<Wishes>,
    pub notices: mpsc::UnboundedSender<Notice>,
    pub fences: mpsc::UnboundedSender<Fence>,
    /// The election has ended.
    pub finished: bool,
}

impl Effects {
    fn slot(&mut self, instance: InstanceId) -> &mut Slot {
        self.slots.get_mut(&instance).expect("the election has instances with slots only")
    }

    fn group(&self, instance: InstanceId) -> u32 {
        self.slots[&instance].router.group
    }

    /// Has the main thread tell of a change.
    pub fn notice(&mut self, instance: InstanceId, change: Change) {
        let slot = &self.slots[&instance];
        let notice =
            Notice { instance: slot.router.spec.name.clone(), change, priority: slot.priority.get() };
        // The main thread may have failed.
        let _ = self.notices.send(notice);
    }

    /// Whether a change of state is one of a takeover that ends where it begins, and is told to nobody: an advert of the group
    /// has not left, and so each member steps down before anything else is done. Where that lasts, each end of the down timer
    /// would be two runs of every notify script; `advert_not_sent` tells of it, and the state is BACKUP all the time.
    fn is_takeover_in_vain(&mut self, instance: InstanceId, to: StateName) -> bool {
        let group = self.group(instance);
        let fails = self.slots.values().any(|slot| slot.router.group == group && slot.unsent);
        let slot = self.slot(instance);
        let was_untold = mem::take(&mut slot.untold);
        slot.untold = to == StateName::Master && fails;
        slot.untold || was_untold && to == StateName::Backup
    }

    /// Sends the announcements that are due.
    pub fn send_announcements(&mut self) {
        for batch in self.announcements.next_batch(clock::now()) {
            let name = u16::try_from(batch.key).ok().and_then(|id| self.slots.get(&InstanceId(id)));
            let Some(slot) = name else { continue };
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
        self.pages.leases().read(self.group(instance))
    }

    fn acquire(&mut self, instance: InstanceId, until: Instant) {
        self.pages.leases().acquire(self.group(instance), until);
    }

    fn renew(&mut self, instance: InstanceId, from: Instant, until: Instant) -> bool {
        let now = clock::now();
        // A goodbye shortens it.
        if until > from {
            self.slot(instance).lease_margin.note(from.saturating_since(now), now);
        }
        self.pages.leases().renew(self.group(instance), from, until).is_ok()
    }

    fn release(&mut self, instance: InstanceId) {
        self.pages.leases().release(self.group(instance));
    }

    fn next_report(&mut self) -> Option<Report> {
        while let Some(event) = self.events.get_mut().pop() {
            if let Some(report) = self.read(&event) {
                return Some(report);
            }
        }
        self.next_deferred()
    }

    fn heard(&mut self, instance: InstanceId) -> Heard {
        let any_may_be = self.all_deferred.poll_timeout().is_some();
        let slot = self.slot(instance);
        // Whoever asks is to have it all: what XDP holds back is the next report.
        if slot.deferred_at.is_some() || any_may_be {
            slot.deferred_at = Some(Instant::default());
        }
        let slot = slot.router.slot;
        self.pages.instances().heard(slot)
    }

    fn resync(&mut self, instance: InstanceId) {
        let slot = self.slot(instance).router.slot;
        self.pages.instances().resync(slot);
    }

    fn publish(&mut self, instance: InstanceId, rank: Rank) {
        let router = &self.slots[&instance].router;
        let primary = router.address.map_or([0; 16], router::octets);
        self.pages.instances().rank(router.slot, rank.priority.get(), primary);
    }

    fn send(&mut self, instance: InstanceId, priority: Priority, checksum: ChecksumForm) -> bool {
        let Self { slots, sockets, .. } = self;
        let slot = slots.get_mut(&instance).expect("the election has instances with slots only");
        let sent = sockets.advertise(&slot.router, priority, checksum);
        let counts = sent.as_ref().is_ok_and(|sent| sent.counts);
        if counts {
            slot.adverts_sent += 1;
            slot.priority_zero_sent += u64::from(priority.is_leaving());
        }
        slot.unsent = !counts;
        slot.note_unsent(sent);
        counts
    }

    fn announce(&mut self, instance: InstanceId, repeat: u8) {
        let slot = &self.slots[&instance];
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

    fn prepare(&mut self, instance: InstanceId, takes_over: bool) {
        self.wishes.send_if_modified(|wishes| {
            let wish = wishes.entry(instance).or_default();
            mem::replace(&mut wish.takes_over, takes_over) != takes_over
        });
    }

    fn transition(&mut self, transition: Transition) {
        let Transition { instance, from, to, reason, master } = transition;
        if self.is_takeover_in_vain(instance, to) {
            return;
        }
        let slot = self.slot(instance);
        let (master, master_priority) = master.unzip();
        tracing::info!(
            target: "vipd::event",
            event = "state_changed",
            instance = slot.router.spec.name,
            %from,
            %to,
            %reason,
            master = master.map(tracing::field::display),
            master_priority = master_priority.map(tracing::field::display),
            "state changed"
        );
        (slot.since, slot.since_unix_ms) = (clock::now(), clock::unix_ms());
        if reason == Reason::LeaseLapsed {
            slot.lease_margin.note(Duration::ZERO, slot.since);
        }
        self.watch(instance, to == StateName::Master);
        // To the world nothing has changed when a mastership goes on.
        let inherited = reason == Reason::Inherited;
        self.notice(instance, if inherited { Change::Inherited(to) } else { Change::State(to) });
        let slot = self.slot(instance);
        if to == StateName::Master {
            // Whoever is heard next is a new master to the kernel.
            slot.master = None;
        }
        self.wishes.send_if_modified(|wishes| {
            let wish = wishes.entry(instance).or_default();
            mem::replace(&mut wish.master, to == StateName::Master) != (to == StateName::Master)
        });
    }

    fn lower_heard(&mut self, instance: InstanceId) {
        self.heard_lower(instance);
    }

    fn fence(&mut self, instance: InstanceId, round: u64) {
        // Without the main thread there is nobody to fence, and this one ends.
        let _ = self.fences.send(Fence { instance, round });
    }

    fn removed(&mut self, instance: InstanceId) {
        // Its slot of `INSTANCES` stays as it is while the index leads the program there.
        self.slots.remove(&instance);
        self.watch.forget(instance);
        self.wishes.send_modify(|wishes| _ = wishes.remove(&instance));
    }

    fn finished(&mut self) {
        self.finished = true;
    }
}
