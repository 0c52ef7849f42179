//! What probes say, what XDP stamps of a peer, and the node that early takeover acts on.

use std::{net::IpAddr, sync::Arc, time::Duration};

use vipd_common::{
    Family, Priority, Vrid,
    sponsor::{ANSWER_WAY_NS, DARK_DETECTIONS},
};

use crate::{
    lease_manager::{LeaseManager, Node},
    time::Instant,
    vrrp::InstanceId,
};

/// A host that is probed: its address on one of this node's links.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostId {
    /// The link, as [`ProbeNode::link`] numbers them.
    pub link: u32,
    /// The host's address there.
    pub address: IpAddr,
}

/// What became of a probe that was due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbeDeparture {
    /// It has left, on one line at least.
    Left,
    /// It has left on none.
    Failed,
    /// None was wanted: nothing has been heard of the host for long.
    Resting,
}

/// The rhythm of probes, and how careful a takeover is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProbeTiming {
    /// T: between two probes.
    pub interval: Duration,
    /// k: unanswered probes that are a silence.
    pub multiplier: u8,
    /// Whether a silence has this node take over (`act takeover`) or is only measured (`act no`).
    pub takes_over: bool,
    /// For how long both ends must have heard each other before silence counts, since whatever happened last.
    pub steady: Duration,
    /// For how long nothing is claimed after the first false alarm; it doubles with each.
    pub damping: Duration,
    /// The most that it becomes.
    pub damping_max: Duration,
}

/// R1: how much later each backup of lower rank claims.
const RANK_SKEW: Duration = Duration::from_micros(1500);

impl ProbeTiming {
    /// This rhythm with the product's care: a second of steadiness, half a minute to ten minutes of damping.
    pub const fn new(interval: Duration, multiplier: u8, takes_over: bool) -> Self {
        Self {
            interval,
            multiplier,
            takes_over,
            steady: Duration::from_secs(1),
            damping: Duration::from_secs(30),
            damping_max: Duration::from_secs(600),
        }
    }

    /// Td: how long a silence lasts that is acted on.
    pub fn detect(&self) -> Duration {
        self.interval * u32::from(self.multiplier)
    }

    /// How long a probe may go without an answer.
    pub fn answer_wait(&self) -> Duration {
        (self.interval / 2).max(Duration::from_millis(2))
    }

    /// R2: the age of the last answer from which on the path to the master may have been cut long before the master fell silent.
    pub fn answer_limit(&self) -> Duration {
        (self.detect() * DARK_DETECTIONS).saturating_sub(Duration::from_nanos(ANSWER_WAY_NS))
    }

    /// R2, R9: for how long both ends must have heard each other before a silence is acted on.
    pub fn steadiness(&self) -> Duration {
        self.steady.max(self.detect() * DARK_DETECTIONS)
    }

    /// R7, R9: whether a node that asked its arbiter what was answered last at `asked` reaches it; one without an arbiter has none to reach.
    pub fn is_arbitrated(&self, asked: Option<Instant>, now: Instant) -> bool {
        asked.is_none_or(|asked| now.saturating_since(asked) <= self.interval * 2)
    }

    /// How long after the silence a backup claims beside so many better ones that are alive: their probes may end up to an interval later.
    pub fn early_skew(&self, better: u32) -> Duration {
        let behind = if better > 0 { self.interval } else { Duration::ZERO };
        RANK_SKEW * better + behind
    }
}

/// What a probe says of one virtual router.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouterFlags {
    /// Family of the router, which with the VRID is its name on the link.
    pub family: Family,
    /// Its VRID.
    pub vrid: Vrid,
    /// What its sender is compared as: its effective priority, or its claim.
    pub priority: Priority,
    /// Whether the sender is a backup, or the master.
    pub participates: bool,
    /// The sender owns the addresses, by the beat that comes with the probe if by nothing else.
    pub owner: bool,
    /// The sender has outbid the master, and the claim stands.
    pub claim: bool,
}

/// What a probe says besides "answer me".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeBlock {
    /// The sender's T.
    pub interval: Duration,
    /// The sender's k.
    pub multiplier: u8,
    /// The sender takes over early.
    pub takes_over: bool,
    /// The sender is on its way out (AdminDown).
    pub leaving: bool,
    /// The sender's virtual routers.
    pub routers: Vec<RouterFlags>,
}

impl RouterFlags {
    /// What there is to say of a router `now`; `lease` is its lease word. `None` if there is no such router.
    ///
    /// One that nobody vouches for (`sponsored`) does not answer.
    pub fn of(
        instance: InstanceId,
        leases: &LeaseManager,
        lease: Instant,
        sponsored: bool,
        now: Instant,
    ) -> Option<Self> {
        let (settings, snapshot) = (leases.settings(instance)?, leases.snapshot(instance)?);
        let written = leases.lease_written(instance);
        Some(Self {
            family: settings.family,
            vrid: settings.vrid,
            priority: snapshot.priority,
            participates: super::takes_part(instance, leases),
            // XDP may have revoked it, and that be still to be read.
            owner: sponsored && now < written && lease == written,
            claim: leases.claim(instance).is_some(),
        })
    }
}

impl ProbeBlock {
    /// What it says of a router; `None` if the sender has no such router.
    pub fn router(&self, family: Family, vrid: Vrid) -> Option<&RouterFlags> {
        self.routers.iter().find(|router| (router.family, router.vrid) == (family, vrid))
    }
}

/// What XDP has stamped of a peer's host. Zero: never.
#[derive(Clone, Debug, Default)]
pub struct PeerStamps {
    /// Anything at all: an answer, a probe, an advert, on whatever line.
    pub heard: Instant,
    /// The last answer to a probe of ours.
    pub answered: Instant,
    /// When the probe was sent that it answers, by our clock.
    pub answers: Instant,
    /// The last probe of its daemon.
    pub probed: Instant,
    /// What that said.
    pub block: Option<Arc<ProbeBlock>>,
    /// R9: XDP counts the peer among the backups that take over early. Only then do probes to it say that this node does.
    pub counted: bool,
}

/// What early takeover acts on, beside what the lease manager does.
pub trait ProbeNode: Node {
    /// What the probes of one moment say.
    type Said;

    /// The link that a router's adverts are heard on; `None` of one that is not taken over early.
    fn link(&mut self, instance: InstanceId) -> Option<u32>;
    /// XDP's stamps of a peer's host.
    fn stamps(&mut self, peer: HostId) -> PeerStamps;
    /// What the probes of this moment are to say: [`RouterFlags::of`] for each router. `beats`: a beat follows, if one of them leaves.
    fn say(
        &mut self,
        leases: &LeaseManager,
        timing: &ProbeTiming,
        leaving: bool,
        beats: bool,
        at: Instant,
    ) -> Self::Said;
    /// Sends one probe, on every line. `at` comes back in the answer. One to a peer that has not been heard for long rests, if it `may_rest`.
    fn probe(&mut self, peer: HostId, at: Instant, said: &Self::Said, may_rest: bool) -> ProbeDeparture;
    /// R9: has XDP know that this daemon has spoken at `at`.
    fn beat(&mut self, at: Instant);
    /// R9: whether XDP finds somebody who vouches for this node, whatever its leases say.
    fn is_sponsored(&mut self, now: Instant) -> bool;
    /// When the arbiter was asked what it answered last, zero if it never has; `None` without an arbiter.
    fn arbiter(&mut self) -> Option<Instant>;
}
