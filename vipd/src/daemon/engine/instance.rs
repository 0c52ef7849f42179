//! One virtual router as the engine thread keeps it: since when it is what it is, what it has sent, what its lease had left.

use std::{io, mem, net::IpAddr, sync::Arc, time::Duration};

use vipd_common::{Priority, wire::eth::MacAddr};

use super::{
    super::{
        clock,
        router::{Router, announced},
        sockets::{Sent, Unsent, Way},
    },
    events::EventCursor,
    heartbeat::HeartbeatLinks,
    windowed_minimum::WindowedMinimum,
};
use crate::{
    announce::AnnouncedAddress,
    coordinator::{Advert, StateName},
    dataplane::InstancePage,
    detection::RateLimiter,
    host::LinkState,
    time::Instant,
    tracking::Fault,
    vrrp::GroupId,
};

/// RFC 5227 2.4 (c): a VIP is defended against a claim that is no rival's once in this time.
const DEFEND_INTERVAL: Duration = Duration::from_secs(10);

/// An instance that the election has.
#[derive(Debug)]
pub struct EngineInstance {
    router: Router,
    announced: Arc<[AnnouncedAddress]>,
    /// Whose adverts were heard last.
    heard: Option<HeardRouter>,
    /// Whose adverts were heard last before it became master.
    predecessor: Option<HeardRouter>,
    /// Everything that keeps it from taking part.
    faults: Vec<Fault>,
    /// The router before a change of an interface.
    former: Option<Router>,
    /// Since when, of each of them.
    faults_since: Vec<Instant>,
    defended_at: Option<Instant>,
    /// When the state was entered.
    since: Instant,
    /// The same for people: looked up once, since the two clocks drift apart.
    since_unix_ms: u64,
    /// By what it tracks and by handovers.
    priority: Priority,
    sent: SendCounts,
    /// How often it was told that adverts are not sent.
    unsent_told: RateLimiter,
    /// The last advert has not left.
    is_unsent: bool,
    /// Why, or why not to one of the peers.
    advert_error: Option<String>,
    masterships: Masterships,
    /// It has taken over for no time at all, which was told to nobody: its first advert has not left.
    is_untold: bool,
    heartbeats: HeartbeatLinks,
    /// How long the lease still had when it was renewed.
    lease_margin: WindowedMinimum,
    cursor: EventCursor,
}

/// Another router that was heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeardRouter {
    pub address: IpAddr,
    /// In its last advert, but for a goodbye.
    pub priority: Priority,
    /// When the first of its adverts in a row was heard.
    pub since: Instant,
    /// Its last advert was a goodbye.
    pub has_left: bool,
}

/// Masterships that others have heard of.
#[derive(Clone, Copy, Debug, Default)]
pub struct Masterships {
    pub begun: u64,
    pub ended: u64,
}

/// Adverts that were sent, or not.
#[derive(Clone, Copy, Debug, Default)]
pub struct SendCounts {
    pub adverts: u64,
    pub priority_zero: u64,
    pub errors: u64,
}

impl EngineInstance {
    /// One that begins now.
    pub fn new(router: Router, priority: Priority) -> Self {
        Self {
            announced: announced(&router),
            heartbeats: HeartbeatLinks::new(&router, clock::now()),
            heard: None,
            predecessor: None,
            faults: Vec::new(),
            former: None,
            faults_since: Vec::new(),
            defended_at: None,
            since: clock::now(),
            since_unix_ms: clock::unix_ms(),
            priority,
            sent: SendCounts::default(),
            unsent_told: RateLimiter::default(),
            is_unsent: false,
            advert_error: None,
            masterships: Masterships::default(),
            is_untold: false,
            lease_margin: WindowedMinimum::default(),
            cursor: EventCursor::default(),
            router,
        }
    }

    /// Follows another configuration; returns whether other addresses are announced, or with another MAC.
    pub fn configure(&mut self, router: Router) -> bool {
        let addresses = announced(&router);
        let is_another = addresses != self.announced;
        self.heartbeats.renew(&router, clock::now());
        (self.router, self.announced) = (router, addresses);
        is_another
    }

    /// As it was before the change that is being told of: a goodbye leaves by it.
    pub fn remember_former(&mut self, former: Option<Router>) {
        self.former = former;
    }

    /// By what an advert of this priority leaves; `None`: by nothing.
    pub fn outlet(&self, priority: Priority) -> Option<&Router> {
        if !priority.is_leaving() {
            return Some(&self.router);
        }
        let leaves = |router: &&Router| {
            router.address().is_some() && (router.link().exists() || router.has_heartbeat())
        };
        Some(&self.router).filter(leaves).or_else(|| self.former.as_ref().filter(leaves))
    }

    /// Takes note of an interface; `None` if nothing about it is new, else whether a MAC is.
    pub fn update(&mut self, link: &LinkState) -> Option<bool> {
        let macs = |router: &Router| router.links().iter().map(|link| link.mac()).collect::<Vec<_>>();
        let before = macs(&self.router);
        if !self.router.update(link) {
            return None;
        }
        let has_new_mac = macs(&self.router) != before;
        if has_new_mac {
            self.announced = announced(&self.router);
        }
        Some(has_new_mac)
    }

    /// The interface is gone; returns whether it is one of this router's.
    pub fn gone(&mut self, ifindex: u32) -> bool {
        self.router.gone(ifindex)
    }

    /// The virtual router.
    pub fn router(&self) -> &Router {
        &self.router
    }

    /// Its name in the configuration.
    pub fn name(&self) -> &str {
        self.router.name()
    }

    /// Its lease.
    pub fn lease(&self) -> GroupId {
        self.router.lease()
    }

    /// What it announces.
    pub fn announced(&self) -> &Arc<[AnnouncedAddress]> {
        &self.announced
    }

    /// By what it tracks and by handovers.
    pub fn priority(&self) -> Priority {
        self.priority
    }

    /// Gives it another priority; returns the one before.
    pub fn rank(&mut self, priority: Priority) -> Priority {
        mem::replace(&mut self.priority, priority)
    }

    /// When the state was entered.
    pub fn since(&self) -> Instant {
        self.since
    }

    /// The same in milliseconds since 1970.
    pub fn since_unix_ms(&self) -> u64 {
        self.since_unix_ms
    }

    /// Whether the state was entered less than an advert interval ago.
    pub fn is_new(&self, now: Instant) -> bool {
        now.saturating_since(self.since) < self.router.spec().advert_interval
    }

    /// It is in another state from now on. `inherits`: a mastership of the vipd before goes on.
    pub fn enter(&mut self, from: StateName, to: StateName, inherits: bool) {
        (self.since, self.since_unix_ms) = (clock::now(), clock::unix_ms());
        self.masterships.ended += u64::from(from == StateName::Master);
        if let Some(heard) = self.heard.as_mut().filter(|_| from == StateName::Master) {
            // What it said beside this master, such as its last word when it yielded, was no mastership that lasts.
            heard.since = self.since;
        }
        match to {
            StateName::Master => {
                self.masterships.begun += u64::from(!inherits);
                // Whoever is heard next is a new master to the kernel.
                self.predecessor = self.heard.take();
            }
            // Of the way as it is when the fault is over nothing is known.
            StateName::Fault => (self.is_unsent, self.advert_error) = (false, None),
            StateName::Init | StateName::Backup | StateName::Stopped => {}
        }
    }

    /// Masterships that others have heard of.
    pub fn masterships(&self) -> Masterships {
        self.masterships
    }

    /// Takes note of whose adverts are heard; returns whether that is another router than before.
    pub fn hear(&mut self, advert: &Advert) -> bool {
        let (address, priority) = (advert.source, advert.priority);
        match &mut self.heard {
            // Not by its MAC, which is another on each link.
            Some(heard) if heard.address == address => {
                if heard.has_left && !priority.is_leaving() {
                    heard.since = advert.received_at;
                }
                heard.has_left = priority.is_leaving();
                // Of one that has said goodbye, what it had before.
                if !heard.has_left {
                    heard.priority = priority;
                }
                false
            }
            _ => {
                let has_left = priority.is_leaving();
                self.heard = Some(HeardRouter { address, priority, since: advert.received_at, has_left });
                true
            }
        }
    }

    /// Whose adverts were heard last; since it is master, if it is.
    pub fn heard(&self) -> Option<HeardRouter> {
        self.heard
    }

    /// Whose adverts were heard last before it became master.
    pub fn predecessor(&self) -> Option<HeardRouter> {
        self.predecessor
    }

    /// Everything that keeps it from taking part.
    pub fn faults(&self) -> &[Fault] {
        &self.faults
    }

    /// Since when it is kept from taking part, by each of [`Self::faults`].
    pub fn faults_since(&self) -> &[Instant] {
        &self.faults_since
    }

    /// Takes note of everything that keeps it from taking part.
    pub fn set_faults(&mut self, faults: Vec<Fault>) {
        let now = clock::now();
        let since = |fault: &Fault| {
            // In other words, such as another exit code, it is the same.
            let known = self.faults.iter().zip(&self.faults_since);
            let same = known.filter(|(of, _)| of.kind == fault.kind && of.ends_when == fault.ends_when);
            same.map(|(_, since)| *since).next().unwrap_or(now)
        };
        self.faults_since = faults.iter().map(since).collect();
        self.faults = faults;
    }

    /// Whether a change of state is one of a takeover that ends where it begins, and is told to nobody. `fails`: an advert of the
    /// group has not left.
    pub fn is_takeover_in_vain(&mut self, to: StateName, fails: bool) -> bool {
        let was_untold = mem::take(&mut self.is_untold);
        self.is_untold = to == StateName::Master && fails;
        self.is_untold || was_untold && to == StateName::Backup
    }

    /// The last advert has not left.
    pub fn is_unsent(&self) -> bool {
        self.is_unsent
    }

    /// Why the last advert has not left, or not to one of the peers.
    pub fn advert_error(&self) -> Option<&str> {
        self.advert_error.as_deref()
    }

    /// Adverts that were sent, or not.
    pub fn sent(&self) -> SendCounts {
        self.sent
    }

    /// Takes note of what has become of an advert; returns whether it counts.
    pub fn note_sent(&mut self, sent: io::Result<Sent>, priority: Priority) -> bool {
        let counts = sent.as_ref().is_ok_and(|sent| sent.counts);
        if counts {
            self.sent.adverts += 1;
            self.sent.priority_zero += u64::from(priority.is_leaving());
        }
        self.is_unsent = !counts;
        self.advert_error = match &sent {
            Ok(Sent { unsent, .. }) => unsent.first().map(|unsent| self.unsent_text(unsent)),
            Err(error) => Some(error.to_string()),
        };
        self.tell_unsent(sent);
        counts
    }

    fn unsent_text(&self, Unsent { way, error }: &Unsent) -> String {
        match way {
            Way::Peer(peer) => format!("to {peer}: {error}"),
            Way::Line(number) => {
                let port = self.router.advert_ports().nth(*number);
                format!("on {}: {error}", port.map_or("an interface", |port| port.name))
            }
        }
    }

    /// Tells of the ways by which an advert has not left.
    fn tell_unsent(&mut self, sent: io::Result<Sent>) {
        let unsent = match sent {
            Ok(Sent { unsent, .. }) => unsent,
            Err(error) => return self.not_sent(None, &error),
        };
        let mut links = Vec::new();
        for Unsent { way, error } in unsent {
            match way {
                Way::Peer(peer) => self.not_sent(Some(peer), &error),
                Way::Line(number) => links.push((number, error)),
            }
        }
        self.sent.errors += u64::from(!links.is_empty());
        if self.router.spec().unicast.is_none() {
            self.heartbeats.advert_left(&self.router, &links);
        }
    }

    /// An advert could not be sent, to `peer` if others were reached.
    fn not_sent(&mut self, peer: Option<IpAddr>, error: &io::Error) {
        self.sent.errors += 1;
        if self.unsent_told.note(1, clock::now()).is_some() {
            tracing::warn!(
                target: "vipd::event",
                event = "advert_not_sent",
                instance = self.router.name(),
                peer = peer.map(tracing::field::display),
                %error,
                count = self.sent.errors,
                "advert not sent"
            );
        }
    }

    /// The MAC that a VIP is answered for with.
    pub fn mac_of(&self, vip: IpAddr) -> MacAddr {
        let announced = self.announced.iter().find(|announced| announced.address == vip);
        announced.map_or(self.router.link().mac(), |announced| announced.mac)
    }

    /// Whether a VIP was defended a short time ago.
    pub fn is_defended(&self, now: Instant) -> bool {
        self.defended_at.is_some_and(|at| now.saturating_since(at) < DEFEND_INTERVAL)
    }

    /// Takes note that a VIP is being defended.
    pub fn defended(&mut self, now: Instant) {
        self.defended_at = Some(now);
    }

    /// Its own interface and its heartbeat links.
    pub fn heartbeats(&self) -> &HeartbeatLinks {
        &self.heartbeats
    }

    /// Looks at the heartbeat links, and tells of those that are another way.
    pub fn check_heartbeats(&mut self, patience: Option<Duration>, instances: &InstancePage, now: Instant) {
        self.heartbeats.check(&self.router, patience.map(|patience| (self.since, patience)), instances, now);
    }

    /// How long the lease still had when it was renewed.
    pub fn lease_margin(&mut self) -> &mut WindowedMinimum {
        &mut self.lease_margin
    }

    /// The least that the lease still had when it was renewed, lately.
    pub fn least_lease_margin(&self, now: Instant) -> Option<Duration> {
        self.lease_margin.get(now)
    }

    /// Which events of it were read.
    pub fn cursor(&mut self) -> &mut EventCursor {
        &mut self.cursor
    }

    /// When events that XDP has deferred are to be looked for.
    pub fn deferred_at(&self) -> Option<Instant> {
        self.cursor.deferred_at()
    }
}
