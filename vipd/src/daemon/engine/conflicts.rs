//! Others that act as owners of our VIPs: adverts of rivals, claims by ARP or Neighbor Discovery, and the answers to what a
//! master asks the wire itself. `detection` judges; here is what it makes of an instance, as facts. Nothing is sent or told here.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use vipd_common::wire::eth::MacAddr;

use crate::{
    coordinator::{Advert, InstanceId},
    detection::{Claims, Contests, Evidence, Late, Limits, Over, Probes, Rival, RivalFinding, Rivals},
    time::Instant,
};

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

/// What is watched for all instances.
#[derive(Debug, Default)]
pub struct Conflicts {
    rivals: Rivals,
    probes: Probes,
    contests: Contests,
    limits: Limits<(InstanceId, LimitKind), ConflictNews>,
    watched: BTreeMap<InstanceId, WatchedInstance>,
}

/// What is watched for one instance.
#[derive(Debug, Default)]
struct WatchedInstance {
    is_master: bool,
    /// Whose adverts were heard, by the MAC; the latest last.
    peers: Vec<(MacAddr, IpAddr)>,
    claims: Claims,
    counts: ConflictCounts,
}

/// How often conflicts of an instance have begun.
#[derive(Clone, Copy, Debug, Default)]
pub struct ConflictCounts {
    pub address_conflicts: u64,
    pub split_brains: u64,
}

/// How an instance is when something is heard.
#[derive(Clone, Copy, Debug)]
pub struct Situation {
    /// It owns its VIPs.
    pub owns: bool,
    /// Its state was entered less than an advert interval ago.
    pub is_new: bool,
    pub now: Instant,
}

/// A VIP that another station claims.
#[derive(Clone, Copy, Debug)]
pub struct Claim {
    pub vip: IpAddr,
    pub mac: MacAddr,
    /// The VIP's place among those that the instance announces.
    pub place: usize,
    /// Whether the instance asks the wire for its VIPs.
    pub asks: bool,
}

/// What has a limit of its own for each instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum LimitKind {
    Rival,
    SplitBrain,
    Claim,
    LowerHeard,
}

/// What is to be told of the wire's doing.
#[derive(Clone, Copy, Debug)]
pub enum ConflictNews {
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

impl ConflictNews {
    fn kind(&self) -> LimitKind {
        match self {
            Self::Rival(_) => LimitKind::Rival,
            Self::SplitBrain(..) | Self::SplitBrainOver(_) => LimitKind::SplitBrain,
            Self::Claim { .. } => LimitKind::Claim,
            Self::LowerHeard => LimitKind::LowerHeard,
        }
    }
}

/// ConflictNews of an instance.
#[derive(Clone, Copy, Debug)]
pub struct Fact {
    pub instance: InstanceId,
    pub news: ConflictNews,
    /// Of news that had to wait.
    pub late: Option<Late>,
}

impl WatchedInstance {
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

impl Conflicts {
    /// When [`Self::take_due`], [`Self::next_question`] or [`Self::next_contest`] has something.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let next = [
            self.rivals.poll_timeout(),
            self.probes.poll_timeout(),
            self.contests.poll_timeout(),
            self.limits.poll_timeout(),
        ];
        next.into_iter().flatten().min()
    }

    /// Whether another acts as the owner of an instance's VIPs too.
    pub fn is_split(&self, instance: InstanceId) -> bool {
        self.rivals.is_split(instance)
    }

    /// Whether the instance is master.
    pub fn is_master(&self, instance: InstanceId) -> bool {
        self.watched.get(&instance).is_some_and(|watched| watched.is_master)
    }

    /// How often conflicts of an instance have begun.
    pub fn counts(&self, instance: InstanceId) -> ConflictCounts {
        self.watched.get(&instance).map(|watched| watched.counts).unwrap_or_default()
    }

    /// The instance is no more.
    pub fn forget(&mut self, instance: InstanceId) {
        self.probes.end(instance);
        self.contests.end(instance);
        self.rivals.yielded(instance);
        self.limits.retain(|(of, _)| *of != instance);
        self.watched.remove(&instance);
    }

    /// An advert was heard; one that has not `revoked` the lease of a master is a rival's.
    pub fn heard_advert(
        &mut self,
        instance: InstanceId,
        advert: &Advert,
        mac: MacAddr,
        revoked: bool,
        situation: Situation,
    ) -> Option<Fact> {
        let Advert { source: address, priority, interval, .. } = *advert;
        let watched = self.watched.entry(instance).or_default();
        watched.met(mac, address);
        if revoked || !watched.is_master || !situation.owns || priority.is_leaving() {
            return None;
        }
        let rival = Rival { address, mac, priority: Some(priority) };
        match self.rivals.seen(instance, rival, Evidence::Advert(interval), situation.now)? {
            // Of a router that this one has just taken over from, they are the last.
            RivalFinding::Seen if situation.is_new => None,
            RivalFinding::Seen => self.happened(instance, ConflictNews::Rival(rival), situation.now),
            RivalFinding::SplitBrain => self.split_brain(instance, rival, None, situation.now),
        }
    }

    /// Another station claims a VIP that the instance owns; returns what is to be told, and whether the VIP is to be defended.
    pub fn claimed(&mut self, instance: InstanceId, claim: Claim, situation: Situation) -> (Vec<Fact>, bool) {
        let Claim { vip, mac, .. } = claim;
        let now = situation.now;
        let watched = self.watched.entry(instance).or_default();
        watched.counts.address_conflicts += 1;
        let address = watched.address_of(mac);
        let mut facts = Vec::new();
        if watched.claims.note(mac, now) {
            facts.extend(self.happened(instance, ConflictNews::Claim { vip, mac, address }, now));
        }
        // A router of ours that answers for our VIPs and is not heard.
        if let Some(address) = address {
            facts.extend(self.claimed_by_peer(instance, claim, address, now));
        }
        // Its other claims may be lost, or not told of, and so may what is said against them.
        (facts, self.contests.claimed(instance, now))
    }

    fn claimed_by_peer(
        &mut self,
        instance: InstanceId,
        claim: Claim,
        address: IpAddr,
        now: Instant,
    ) -> Option<Fact> {
        let period = if claim.asks { CLAIMS_WITH_QUESTIONS } else { CLAIMS_WITHOUT_QUESTIONS };
        let rival = Rival { address, mac: claim.mac, priority: None };
        match self.rivals.seen(instance, rival, Evidence::Claim(period), now)? {
            RivalFinding::Seen => {
                self.probes.hasten(instance, claim.place, now + CONFIRM_AFTER);
                None
            }
            RivalFinding::SplitBrain => self.split_brain(instance, rival, Some(claim.vip), now),
        }
    }

    /// `vip`: what the rival claims, if that is how it was found.
    fn split_brain(
        &mut self,
        instance: InstanceId,
        rival: Rival,
        vip: Option<IpAddr>,
        now: Instant,
    ) -> Option<Fact> {
        self.watched.entry(instance).or_default().counts.split_brains += 1;
        self.happened(instance, ConflictNews::SplitBrain(rival, vip), now)
    }

    fn split_brain_over(&mut self, over: Over, now: Instant) -> Option<Fact> {
        let key = (over.instance, LimitKind::SplitBrain);
        let news = self.limits.ends(&key, ConflictNews::SplitBrainOver(over), now)?;
        Some(Fact { instance: over.instance, news, late: None })
    }

    /// Whether what is told late is so no more.
    pub fn is_over(&self, fact: &Fact) -> bool {
        let Some(late) = fact.late else {
            return matches!(fact.news, ConflictNews::LowerHeard) && !self.is_master(fact.instance);
        };
        match fact.news {
            ConflictNews::Rival(_) => !self.rivals.is_rivalled(fact.instance),
            // The end of a split brain that was not told is told in its place.
            ConflictNews::SplitBrain(..) | ConflictNews::SplitBrainOver(_) => false,
            ConflictNews::Claim { .. } | ConflictNews::LowerHeard => {
                !self.is_master(fact.instance) || !late.goes_on()
            }
        }
    }

    /// A master has heard a router that it beats.
    pub fn heard_lower(&mut self, instance: InstanceId, now: Instant) -> Option<Fact> {
        self.happened(instance, ConflictNews::LowerHeard, now)
    }

    /// What is to be told of it now; nothing if so much was told that it has to wait.
    fn happened(&mut self, instance: InstanceId, news: ConflictNews, now: Instant) -> Option<Fact> {
        let news = self.limits.begins((instance, news.kind()), news, now)?;
        Some(Fact { instance, news, late: None })
    }

    /// The instance has become master, or ceased to be, or its configuration is another one. `asks`: an interval, if it asks the
    /// wire for its VIPs.
    pub fn watch(
        &mut self,
        instance: InstanceId,
        is_master: bool,
        asks: Option<Duration>,
        now: Instant,
    ) -> Option<Fact> {
        self.watched.entry(instance).or_default().is_master = is_master;
        match asks.filter(|_| is_master) {
            Some(advert_interval) => {
                let wait = (advert_interval * 2).max(FIRST_QUESTION_AFTER);
                let spread = wait * u32::from(fastrand::u8(..)) / 256;
                self.probes.begin(instance, now + wait + spread);
            }
            None => self.probes.end(instance),
        }
        if is_master {
            return None;
        }
        self.contests.end(instance);
        let over = self.rivals.yielded(instance)?;
        self.split_brain_over(over, now)
    }

    /// Split brains that are over, and what has waited until it may be told.
    pub fn take_due(&mut self, now: Instant) -> Vec<Fact> {
        let over = self.rivals.take_over(now);
        let mut facts: Vec<Fact> =
            over.into_iter().filter_map(|over| self.split_brain_over(over, now)).collect();
        let due = self.limits.take_due(now).into_iter();
        facts.extend(due.map(|((instance, _), news, late)| Fact { instance, news, late: Some(late) }));
        facts
    }

    /// An instance that is to ask the wire for some of its VIPs: [`Self::questions`] says for which.
    pub fn next_question(&mut self, now: Instant) -> Option<InstanceId> {
        self.probes.due(now)
    }

    /// Which of `count` VIPs an instance is to ask for now; it asks for all of them in a `period`, or for none any more.
    pub fn questions(
        &mut self,
        instance: InstanceId,
        count: usize,
        period: Option<Duration>,
        now: Instant,
    ) -> Vec<usize> {
        let Some(period) = period else {
            self.probes.end(instance);
            return Vec::new();
        };
        let places = self.probes.take(instance, count, period, fastrand::u8(..), now);
        if let Some(place) = places.first().filter(|_| self.rivals.claims(instance)) {
            self.probes.hasten(instance, *place, now + CONFIRM_AFTER);
        }
        places
    }

    /// An instance that is to announce VIPs that somebody else claims: [`Self::contested`] says which.
    pub fn next_contest(&mut self, now: Instant) -> Option<InstanceId> {
        self.contests.due(now)
    }

    /// Which of `count` VIPs an instance is to announce now, if it `owns` them; else none any more.
    pub fn contested(&mut self, instance: InstanceId, count: usize, owns: bool, now: Instant) -> Vec<usize> {
        if owns {
            return self.contests.take(instance, count, now).into_iter().collect();
        }
        self.contests.end(instance);
        Vec::new()
    }
}
