//! The engine thread's look at others that act as owners of our VIPs: adverts of rivals, claims by ARP or Neighbor
//! Discovery, and the answers to what a master asks the wire itself. `detection` judges; here is when, and who is told.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use vipd_common::{Priority, wire::eth::MacAddr};

use super::{clock, effects::Effects, router::Router};
use crate::{
    announce::Question,
    detection::{
        Cadence, Claims, Contests, Evidence, Late, Limits, Over, Probes, Rival, RivalFinding, Rivals,
    },
    engine::{Advert, InstanceId},
    keeper::Node,
    notify::{Change, Conflict, ConflictKind},
    time::Instant,
};

/// RFC 5227 2.4 (c): a VIP is defended against a claim that is no rival's once in this time.
const DEFEND_INTERVAL: Duration = Duration::from_secs(10);
/// After the first claim of a peer the wire is asked again and again, until it is answered no more: XDP tells of one claim in a
/// second.
const CONFIRM_AFTER: Duration = Duration::from_millis(1200);
/// After a takeover the wire is asked when this has passed, and two adverts; a former master may be in the way no longer.
const FIRST_QUESTION_AFTER: Duration = Duration::from_secs(1);
/// Such questions without an answer: five.
const CLAIMS_WITH_QUESTIONS: Duration = Duration::from_secs(6);
/// Where a master asks nothing, a peer that claims no VIP for so long has given way.
const CLAIMS_WITHOUT_QUESTIONS: Duration = Duration::from_secs(60);
/// Other routers of an instance that are known by their MAC; more than these, the oldest is forgotten.
const PEERS: usize = 8;

const RIVAL_IS_HEARD: &str =
    "another router advertises that this one beats: it has not heard this one for a while";
const RIVAL_WAS_HEARD: &str = "another router has advertised that this one beats, and does no more";

/// How a rival was found, and what to look for.
const HEARD: (&str, &str) = (
    "adverts",
    "it does not hear this router's adverts: look for a firewall on it, or a link that works one way",
);
const SILENT: (&str, &str) = (
    "claims",
    "its adverts do not come in: it is cut off, or its daemon was killed and has left the address on its interface",
);

/// What is watched for all instances.
#[derive(Debug, Default)]
pub(super) struct Watch {
    rivals: Rivals,
    probes: Probes,
    contests: Contests,
    limits: Limits<(InstanceId, Kind), News>,
}

/// What has a limit of its own for each instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Rival,
    SplitBrain,
    Claim,
    LowerHeard,
}

/// What is told of the wire's doing.
#[derive(Clone, Copy, Debug)]
enum News {
    Rival(Rival),
    /// With what the rival claims, if that is how it was found.
    SplitBrain(Rival, Option<IpAddr>),
    SplitBrainOver(Over),
    Claim {
        vip: IpAddr,
        mac: MacAddr,
        address: Option<IpAddr>,
    },
    LowerHeard,
}

impl News {
    fn kind(&self) -> Kind {
        match self {
            Self::Rival(_) => Kind::Rival,
            Self::SplitBrain(..) | Self::SplitBrainOver(_) => Kind::SplitBrain,
            Self::Claim { .. } => Kind::Claim,
            Self::LowerHeard => Kind::LowerHeard,
        }
    }
}

/// What is watched for one instance.
#[derive(Debug, Default)]
pub(super) struct Watched {
    /// It is master.
    pub master: bool,
    /// Whose adverts were heard, by the MAC; the latest last.
    peers: Vec<(MacAddr, IpAddr)>,
    claims: Claims,
    pub address_conflicts: u64,
    pub split_brains: u64,
    /// Adverts that could not be sent.
    pub unsent: Cadence,
}

impl Watch {
    pub fn poll_timeout(&self) -> Option<Instant> {
        let next = [
            self.rivals.poll_timeout(),
            self.probes.poll_timeout(),
            self.contests.poll_timeout(),
            self.limits.poll_timeout(),
        ];
        next.into_iter().flatten().min()
    }

    pub fn is_split(&self, instance: InstanceId) -> bool {
        self.rivals.is_split(instance)
    }

    /// The instance is no more.
    pub fn forget(&mut self, instance: InstanceId) {
        self.probes.end(instance);
        self.contests.end(instance);
        self.rivals.yielded(instance);
        self.limits.retain(|(of, _)| *of != instance);
    }
}

impl Watched {
    fn met(&mut self, mac: MacAddr, address: IpAddr) {
        if self.peers.last() == Some(&(mac, address)) {
            return;
        }
        self.peers.retain(|(of, _)| *of != mac);
        if self.peers.len() == PEERS {
            self.peers.remove(0);
        }
        self.peers.push((mac, address));
    }

    fn address_of(&self, mac: MacAddr) -> Option<IpAddr> {
        self.peers.iter().find(|(of, _)| *of == mac).map(|(_, address)| *address)
    }
}

impl Effects {
    /// An advert was heard; one that has not `revoked` the lease of a master is a rival's.
    pub(super) fn heard_advert(
        &mut self,
        instance: InstanceId,
        advert: &Advert,
        mac: MacAddr,
        revoked: bool,
    ) {
        let Advert { source: address, priority, interval, .. } = *advert;
        let now = clock::now();
        let owned = self.lease(instance) > now;
        let Some(slot) = self.slots.get_mut(&instance) else { return };
        slot.watched.met(mac, address);
        if revoked || !slot.watched.master || !owned || priority.is_leaving() {
            return;
        }
        let rival = Rival { address, mac, priority: Some(priority) };
        let finding = self.watch.rivals.seen(instance, rival, Evidence::Advert(interval), now);
        match finding {
            // Of a router that this one has just taken over from, they are the last.
            Some(RivalFinding::Seen) if !slot.is_new(now) => self.happened(instance, News::Rival(rival)),
            Some(RivalFinding::SplitBrain) => self.split_brain(instance, &rival, None),
            Some(RivalFinding::Seen) | None => {}
        }
    }

    /// Another station claims a VIP that we own.
    pub(super) fn claimed(&mut self, instance: InstanceId, vip: IpAddr, mac: MacAddr) {
        let now = clock::now();
        let Some(slot) = self.slots.get_mut(&instance) else { return };
        let name = &slot.router.spec.name;
        if slot.is_new(now) {
            // The former master's last words, sent before it heard of us.
            tracing::debug!(instance = name, %vip, %mac, "another station claims a VIP just taken over");
            return self.defend(instance, vip);
        }
        if self.own_macs.contains(&mac) {
            tracing::debug!(instance = name, %vip, %mac, "another interface of this host claims a VIP");
            return self.defend(instance, vip);
        }
        slot.watched.address_conflicts += 1;
        let their_address = slot.watched.address_of(mac);
        if slot.watched.claims.note(mac, now) {
            self.happened(instance, News::Claim { vip, mac, address: their_address });
        }
        // A router of ours that answers for our VIPs and is not heard.
        if let Some(address) = their_address {
            self.claimed_by_peer(instance, vip, Rival { address, mac, priority: None }, now);
        }
        // Its other claims may be lost, or not told of, and so may what is said against them.
        if self.watch.contests.claimed(instance, now) {
            self.defend(instance, vip);
        }
    }

    fn claimed_by_peer(&mut self, instance: InstanceId, vip: IpAddr, rival: Rival, now: Instant) {
        let slot = &self.slots[&instance];
        let period = slot.router.spec.self_probe;
        let period = if period.is_some() { CLAIMS_WITH_QUESTIONS } else { CLAIMS_WITHOUT_QUESTIONS };
        match self.watch.rivals.seen(instance, rival, Evidence::Claim(period), now) {
            Some(RivalFinding::Seen) => {
                let place = slot.stations.iter().position(|station| station.address == vip);
                self.watch.probes.hasten(instance, place.unwrap_or(0), now + CONFIRM_AFTER);
            }
            Some(RivalFinding::SplitBrain) => self.split_brain(instance, &rival, Some(vip)),
            None => {}
        }
    }

    /// `vip`: what the rival claims, if that is how it was found.
    fn split_brain(&mut self, instance: InstanceId, rival: &Rival, vip: Option<IpAddr>) {
        let Some(slot) = self.slots.get_mut(&instance) else { return };
        slot.watched.split_brains += 1;
        self.happened(instance, News::SplitBrain(*rival, vip));
    }

    fn split_brain_over(&mut self, over: &Over) {
        let key = (over.instance, Kind::SplitBrain);
        if let Some(news) = self.watch.limits.ends(&key, News::SplitBrainOver(*over), clock::now()) {
            self.tell_news(over.instance, &news, None);
        }
    }

    /// A master has heard a router that it beats.
    pub(super) fn heard_lower(&mut self, instance: InstanceId) {
        self.happened(instance, News::LowerHeard);
    }

    /// Tells of it, unless so much was told that it has to wait.
    fn happened(&mut self, instance: InstanceId, news: News) {
        if let Some(news) = self.watch.limits.begins((instance, news.kind()), news, clock::now()) {
            self.tell_news(instance, &news, None);
        }
    }

    /// Log, events, scripts and mail. What is told late may be over: that is said, and no script is run for it.
    fn tell_news(&mut self, instance: InstanceId, news: &News, late: Option<Late>) {
        let is_over = late.is_some_and(|late| self.is_over(instance, news, late));
        let (untold, ago) = late.map(|late| (late.untold, late.ago)).unzip();
        let ago_ms = ago.map(millis);
        let (rival_heard, claimed) = if is_over {
            (RIVAL_WAS_HEARD, "another station has claimed a VIP")
        } else {
            (RIVAL_IS_HEARD, "another station claims a VIP")
        };
        let Some(slot) = self.slots.get(&instance) else { return };
        let name = &slot.router.spec.name;
        match *news {
            News::Rival(rival) => tracing::warn!(
                target: "vipd::event",
                event = "rival_heard",
                instance = name,
                rival = %rival.address,
                rival_mac = %rival.mac,
                rival_priority = rival.priority.map(Priority::get),
                untold,
                ago_ms,
                "{rival_heard}"
            ),
            News::SplitBrain(rival, vip) => {
                let (by, hint) = if vip.is_some() { SILENT } else { HEARD };
                tracing::error!(
                    target: "vipd::event",
                    event = "split_brain",
                    instance = name,
                    rival = %rival.address,
                    rival_mac = %rival.mac,
                    rival_priority = rival.priority.map(Priority::get),
                    by,
                    hint,
                    untold,
                    "two masters: another router acts as the owner too and does not give way"
                );
                let vip = vip.unwrap_or_else(|| first_vip(&slot.router));
                self.tell_of(instance, ConflictKind::SplitBrain, vip, rival.mac, Some(rival.address));
            }
            News::SplitBrainOver(Over { rival, lasted, .. }) => {
                tracing::info!(
                    target: "vipd::event",
                    event = "split_brain_over",
                    instance = name,
                    rival = %rival.address,
                    rival_mac = %rival.mac,
                    lasted_ms = millis(lasted),
                    untold,
                    "one master again"
                );
                let vip = first_vip(&slot.router);
                self.tell_of(instance, ConflictKind::SplitBrainOver, vip, rival.mac, Some(rival.address));
            }
            News::Claim { vip, mac, address } => {
                let our_mac = slot.mac_of(vip);
                tracing::warn!(
                    target: "vipd::event",
                    event = "address_conflict",
                    instance = name,
                    %vip,
                    %our_mac,
                    their_mac = %mac,
                    their_address = address.map(tracing::field::display),
                    count = slot.watched.address_conflicts,
                    untold,
                    ago_ms,
                    "{claimed}"
                );
                if is_over {
                    return;
                }
                self.tell_of(instance, ConflictKind::AddressConflict, vip, mac, address);
            }
            News::LowerHeard if is_over => {}
            News::LowerHeard => self.notice(instance, Change::LowerHeard),
        }
    }

    /// Whether what is told late is so no more.
    fn is_over(&self, instance: InstanceId, news: &News, late: Late) -> bool {
        let is_master = self.slots.get(&instance).is_some_and(|slot| slot.watched.master);
        match news {
            News::Rival(_) => !self.watch.rivals.is_rivalled(instance),
            // The end of a split brain that was not told is told in its place.
            News::SplitBrain(..) | News::SplitBrainOver(_) => false,
            News::Claim { .. } | News::LowerHeard => !is_master || !late.goes_on(),
        }
    }

    fn tell_of(
        &mut self,
        instance: InstanceId,
        kind: ConflictKind,
        vip: IpAddr,
        their_mac: MacAddr,
        their_address: Option<IpAddr>,
    ) {
        let slot = &self.slots[&instance];
        let (our_mac, our_address) = (slot.mac_of(vip), slot.router.address);
        let conflict = Conflict { kind, vip, our_mac, our_address, their_mac, their_address };
        self.notice(instance, Change::Conflict(conflict));
    }

    /// The instance has become master, or ceased to be, or its configuration is another one.
    pub(super) fn watch(&mut self, instance: InstanceId, master: bool) {
        let now = clock::now();
        let Some(slot) = self.slots.get_mut(&instance) else { return };
        slot.watched.master = master;
        if master && slot.router.spec.self_probe.is_some() {
            let wait = (slot.router.spec.advert_interval * 2).max(FIRST_QUESTION_AFTER);
            let spread = wait * u32::from(fastrand::u8(..)) / 256;
            self.watch.probes.begin(instance, now + wait + spread);
        } else {
            self.watch.probes.end(instance);
        }
        if !master {
            self.watch.contests.end(instance);
            if let Some(over) = self.watch.rivals.yielded(instance) {
                self.split_brain_over(&over);
            }
        }
    }

    /// Does what is due: asks the wire for VIPs, announces those that others claim, and tells of split brains that are over.
    pub(super) fn detect(&mut self) {
        let Some(at) = self.watch.poll_timeout() else { return };
        let now = clock::now();
        if now < at {
            return;
        }
        for over in self.watch.rivals.take_over(now) {
            self.split_brain_over(&over);
        }
        for ((instance, _), news, late) in self.watch.limits.take_due(now) {
            self.tell_news(instance, &news, Some(late));
        }
        while let Some(instance) = self.watch.probes.due(now) {
            self.ask(instance, now);
        }
        while let Some(instance) = self.watch.contests.due(now) {
            self.contest(instance, now);
        }
    }

    /// Announces VIPs of an instance that somebody else claims.
    fn contest(&mut self, instance: InstanceId, now: Instant) {
        let owned = self.lease(instance) > now;
        let Some(slot) = self.slots.get(&instance).filter(|_| owned) else {
            return self.watch.contests.end(instance);
        };
        let said = self.watch.contests.take(instance, slot.stations.len(), now);
        // A burst that is under way says it as well.
        if !self.announcements.is_announcing(instance.0.into()) {
            let stations = said.into_iter().map(|place| slot.stations[place]).collect();
            self.announcements.push(instance.0.into(), stations, 1, slot.router.pace(), now);
        }
    }

    /// Asks the wire for some of an instance's VIPs: whoever else has one answers, and XDP tells of a claim.
    fn ask(&mut self, instance: InstanceId, now: Instant) {
        let owned = self.lease(instance) > now;
        let Some(slot) = self.slots.get(&instance) else { return self.watch.probes.end(instance) };
        let Some(period) = slot.router.spec.self_probe else { return self.watch.probes.end(instance) };
        let asked = self.watch.probes.take(instance, slot.stations.len(), period, fastrand::u8(..), now);
        if let Some(place) = asked.first().filter(|_| self.watch.rivals.claims(instance)) {
            self.watch.probes.hasten(instance, *place, now + CONFIRM_AFTER);
        }
        if !owned {
            return;
        }
        let mut questions: BTreeMap<u32, Vec<Question>> = BTreeMap::new();
        for station in asked.into_iter().map(|place| &slot.stations[place]) {
            questions.entry(station.ifindex).or_default().push(Question::about(station));
        }
        for (ifindex, questions) in questions {
            if let Some(error) = self.sockets.ask(ifindex, &questions) {
                tracing::debug!(instance = slot.router.spec.name, %error, "a VIP was not asked for");
            }
        }
    }

    /// Says once more who has the VIP, if we do and have not just said so.
    pub(super) fn defend(&mut self, instance: InstanceId, vip: IpAddr) {
        let now = clock::now();
        let owned = self.lease(instance) > now;
        let Some(slot) = self.slots.get_mut(&instance) else { return };
        let defended = slot.defended_at.is_some_and(|at| now.saturating_since(at) < DEFEND_INTERVAL);
        // A burst that is under way says it as well.
        if owned && !defended && !self.announcements.is_announcing(instance.0.into()) {
            slot.defended_at = Some(now);
            let station = slot.stations.iter().filter(|station| station.address == vip).copied().collect();
            self.announcements.push(instance.0.into(), station, 1, slot.router.pace(), now);
        }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Unspecified where a file is run without those of its lines that hold the VIPs.
fn first_vip(router: &Router) -> IpAddr {
    router.spec.vips.first().map_or(std::net::Ipv4Addr::UNSPECIFIED.into(), |vip| vip.address)
}
