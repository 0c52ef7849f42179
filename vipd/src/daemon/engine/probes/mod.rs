//! Probes to the hosts that run the same virtual routers (`probe`): who is probed and answered, the sessions, and what they have shown.
//!
//! On the engine thread, because a probe says what this thread knows at the moment, and because its lateness is what a takeover would have. The
//! program answers and stamps; nothing here judges by the time at which this thread runs.
//!
//! Where probes only measure (`act no`) they decide nothing, and each session has its own pace. Where silence is acted on
//! (`act takeover`) [`EarlyTakeover`](vipd_core::early::EarlyTakeover) says when to probe: see [`early`].

mod arbiters;
mod claims;
mod early;
mod lapse;
mod lines;
mod plan;
mod session;
mod sponsors;
mod status;
mod vouching;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::Duration,
};

use anyhow::Result;
use vipd_common::{
    abi::{MAX_PROBE_PEERS, ProbeEntry, ProbeKey, probe_flag},
    address::Address,
    wire::probe::{Router, discriminator, router_flag},
};
use vipd_core::early::{HostId, ProbeDeparture, RouterFlags};

use self::{
    arbiters::EarlyArbiters,
    lapse::VouchingLapse,
    lines::{LineEntries, Outlets},
    plan::{HeartbeatLine, LinkKey, LinkPlan, ip_of, plan},
    session::{OwnBlock, PeerSession},
    sponsors::SponsorPlaces,
};
use super::{super::clock, instance::EngineInstance};
use crate::{
    control::model::ProbedPeerStatus,
    coordinator::InstanceId,
    dataplane::{Pages, ProbeTable},
    lease_manager::LeaseManager,
    time::Instant,
};

/// Between two looks at who is to be probed.
const REFRESH: Duration = Duration::from_millis(500);
/// Hosts of one link that have made themselves known; one more takes the place of one that is silent.
const MAX_LEARNED: usize = 16;
/// For how long a link that is not probed any more says so: probes get lost.
const FAREWELL: Duration = Duration::from_millis(500);
/// After so long without a word one of these is forgotten.
const FORGET_AFTER: Duration = Duration::from_secs(3_600);
/// The same, if another host wants its place.
const SILENT_FOR: Duration = Duration::from_secs(60);

/// All sessions. Nothing is probed until [`Self::configure`] was called.
#[derive(Debug, Default)]
pub struct HostProbes {
    links: BTreeMap<LinkKey, ProbedLink>,
    /// The slots of `PROBE_PEERS` that are in use; `None`: what a predecessor has left there is not known yet.
    slots: Option<BTreeSet<u32>>,
    sponsors: SponsorPlaces,
    arbiters: EarlyArbiters,
    lapse: VouchingLapse,
    /// The number of the next link.
    next_number: u32,
    refresh_at: Option<Instant>,
    looked_at: Instant,
    is_leaving: bool,
    lines: LineEntries,
    outlets: Outlets,
}

/// One address that is probed from.
#[derive(Debug)]
struct ProbedLink {
    plan: LinkPlan,
    /// Its name in [`HostId`].
    number: u32,
    slot: u32,
    /// It is not in the configuration any more, and says so until then at least.
    ends_at: Option<Instant>,
    sessions: BTreeMap<IpAddr, PeerSession>,
    /// What is said of this node's routers.
    routers: Vec<Router>,
    generation: u32,
}

/// What the sessions see of the election and of the program.
#[derive(Clone, Copy, Debug)]
pub struct Surroundings<'a> {
    pub instances: &'a BTreeMap<InstanceId, EngineInstance>,
    pub pages: &'a Pages,
}

impl HostProbes {
    /// The configuration, or an interface, is another one.
    pub fn configure(&mut self) {
        self.refresh_at = Some(clock::now());
    }

    /// Says from now on that this node is leaving.
    pub fn leave(&mut self, table: &ProbeTable) {
        self.is_leaving = true;
        let now = clock::now();
        for (key, link) in &mut self.links {
            link.say_farewell(*key, table, now);
        }
        // Where the pace is not this one's, the first such probe leaves at once.
        let hosts: Vec<HostId> = self.early_hosts().into_iter().collect();
        for host in hosts {
            self.probe(host, clock::now(), true);
        }
    }

    /// When [`Self::turn`] has something to do.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let paced = self.links.values().filter(|link| !link.is_early());
        let due = paced.flat_map(|link| {
            link.sessions.values().map(|session| session.due_at(&link.plan, self.looked_at))
        });
        due.chain(self.refresh_at).min()
    }

    /// Does what is due. Returns whether other hosts are to be watched than before, see [`Self::early_hosts`].
    pub fn turn(&mut self, leases: &LeaseManager, around: Surroundings<'_>) -> bool {
        let now = clock::now();
        let is_refreshed = self.refresh_at.is_some_and(|at| at <= now);
        if is_refreshed {
            let result = self.refresh(leases, around, now);
            // Whatever became of the table: what probes say has to be true.
            self.ask_for_sponsors(around, now);
            if let Err(error) = result {
                tracing::warn!(
                    error = format!("{error:#}"),
                    "the peers that are probed could not be changed"
                );
            }
            self.refresh_at = (!self.links.is_empty()).then(|| now + REFRESH);
        }
        let page = around.pages.probes().page();
        for (key, link) in self.links.iter_mut().filter(|(_, link)| !link.is_early()) {
            let due = |session: &PeerSession| session.due_at(&link.plan, self.looked_at) <= now;
            let due: Vec<IpAddr> =
                link.sessions.values().filter(|session| due(session)).map(|session| session.peer).collect();
            let mut is_said = false;
            for peer in due {
                let Some(session) = link.sessions.get_mut(&peer) else { continue };
                session.look(page, &link.plan, Instant::default());
                if session.next_at > now {
                    continue;
                }
                if !std::mem::replace(&mut is_said, true) {
                    let is_sponsored = around.pages.sponsors().is_sponsored(now);
                    link.say(leases, around, (&self.sponsors, is_sponsored), now);
                }
                let Self { is_leaving, outlets, .. } = self;
                link.probe(*key, peer, *is_leaving, clock::now(), outlets);
            }
        }
        self.looked_at = now;
        is_refreshed
    }

    /// Each peer, for the status.
    pub fn status(&self) -> Vec<ProbedPeerStatus> {
        let now = clock::now();
        let of_link = |(key, link): (&LinkKey, &ProbedLink)| {
            let of = |session: &PeerSession| status::peer(*key, &link.plan, session, now);
            link.sessions.values().map(of).collect::<Vec<_>>()
        };
        self.links.iter().flat_map(of_link).collect()
    }

    /// Brings the table and the sessions in line with what is to be probed.
    fn refresh(&mut self, leases: &LeaseManager, around: Surroundings<'_>, now: Instant) -> Result<()> {
        let table = around.pages.probes();
        let mut plans = plan(around.instances, leases);
        if self.slots.is_none() {
            self.adopt(&plans, around.pages, now)?;
        }
        for (key, link) in self.links.iter_mut().filter(|(key, _)| !plans.contains_key(key)) {
            if link.ends_at.is_none() {
                // Who is left without a word takes the silence for a death.
                link.ends_at = Some(now + FAREWELL);
                link.say_farewell(*key, table, now);
            }
        }
        let is_over = |(_, link): &(&LinkKey, &ProbedLink)| {
            !link.is_relied_on() && link.ends_at.is_some_and(|at| at <= now)
        };
        let gone: Vec<LinkKey> = self.links.iter().filter(is_over).map(|(key, _)| *key).collect();
        for key in gone {
            if let Some(link) = self.links.remove(&key) {
                link.sessions
                    .values()
                    .try_for_each(|session| self.free(table, key, Some(session.peer), session.slot))?;
                self.free(table, key, None, link.slot)?;
            }
        }
        for (key, link) in &mut self.links {
            let Some(plan) = plans.remove(key) else { continue };
            let returns = link.ends_at.take().is_some();
            if returns || plan.timing != link.plan.timing {
                link.sessions.values_mut().for_each(|session| session.measured.configure(now));
            }
            link.plan = plan;
            if returns {
                link.describe_all(*key, table, self.is_leaving);
            }
        }
        for (key, plan) in plans {
            let Some(slot) = self.take(table, key, None)? else { continue };
            let number = self.number();
            self.links.insert(key, ProbedLink::new(plan, number, slot, now));
        }
        let keys: Vec<LinkKey> = self.links.keys().copied().collect();
        keys.into_iter().try_for_each(|key| self.refresh_peers(key, table, now))?;
        self.lines.follow(hosts_of_lines(&self.links), table)?;
        Ok(())
    }

    /// Has the arbiters asked and the sponsors counted that early takeover needs now, and told to nobody who is not.
    fn ask_for_sponsors(&mut self, around: Surroundings<'_>, now: Instant) {
        let instances = around.instances.iter().filter(|(id, _)| self.early_link(**id).is_some());
        let arbiters: Vec<_> = instances.flat_map(|(_, instance)| instance.router().arbiters()).collect();
        self.arbiters.configure(arbiters);
        let early = self.links.values().filter(|link| link.is_early());
        let watched = early.flat_map(|link| link.sessions.values().map(|session| session.slot)).collect();
        self.sponsors.follow(around.pages, &watched, &self.sponsored_leases(around.instances), now);
        for link in self.links.values_mut() {
            let takes_over = link.takes_over();
            for session in link.sessions.values_mut() {
                session.is_counted = takes_over && !session.is_old && self.sponsors.counts(session.slot);
            }
        }
    }

    fn number(&mut self) -> u32 {
        self.next_number += 1;
        self.next_number
    }

    /// The peers of one link.
    fn refresh_peers(&mut self, key: LinkKey, table: &ProbeTable, now: Instant) -> Result<()> {
        let Some(link) = self.links.get(&key) else { return Ok(()) };
        let planned = link.plan.peers.iter().map(|peer| (*peer, false));
        let stranger = table.page().stranger(link.slot).map(|(address, _)| ip_of(address));
        let new: Vec<(IpAddr, bool)> = planned
            .chain(stranger.filter(|peer| link.plan.may_learn(*peer)).map(|peer| (peer, true)))
            .filter(|(peer, _)| !link.sessions.contains_key(peer))
            .collect();
        let old = link.old_peers(now, new.iter().any(|(_, is_learned)| *is_learned));
        let Some(link) = self.links.get_mut(&key) else { return Ok(()) };
        for session in link.sessions.values_mut() {
            session.is_old = old.contains(&session.peer);
            // One that has not been heard for long, and may be heard by it, is let go without a word: to leave is something else.
            let leaves = session.is_old && session.unheard_for(now) < SILENT_FOR;
            if std::mem::replace(&mut session.is_leaving, leaves) != leaves {
                describe(table, key, session.slot, leaves || self.is_leaving);
                session.measured.configure(now);
            }
        }
        // Who relies on this node is told first.
        let gone: Vec<PeerSession> = link
            .sessions
            .extract_if(.., |_, session| session.is_old && !session.is_relied_on)
            .map(|(_, session)| session)
            .collect();
        for session in gone {
            self.free(table, key, Some(session.peer), session.slot)?;
        }
        for (peer, is_learned) in new {
            let is_full = |link: &ProbedLink| link.learned().count() >= MAX_LEARNED;
            if is_learned && self.links.get(&key).is_none_or(is_full) {
                continue;
            }
            let Some(slot) = self.take(table, key, Some(peer))? else { continue };
            if let Some(link) = self.links.get_mut(&key) {
                link.sessions.insert(peer, PeerSession::new(peer, slot, is_learned, now));
            }
        }
        Ok(())
    }

    /// Goes on with what a predecessor has left in the table, as far as it is still wanted: its program has answered all the time. Where hosts
    /// may rely on what it has told them of early takeover, they are not let go without a word.
    fn adopt(&mut self, plans: &BTreeMap<LinkKey, LinkPlan>, pages: &Pages, now: Instant) -> Result<()> {
        let table = pages.probes();
        let is_relied_on = self.sponsors.inherit(pages.sponsors(), now);
        let mut slots = BTreeSet::new();
        let (links, peers): (Vec<_>, Vec<_>) =
            table.entries()?.into_iter().partition(|(key, _)| key.peer == Address::UNSPECIFIED);
        let rhythm =
            peers.iter().map(|(_, entry)| table.page().stamps(entry.slot)).find(|said| said.probes > 0);
        for (key, ProbeEntry { slot, .. }) in links {
            let link = link_of(&key);
            let planned = plans.get(&link).cloned();
            match planned.or_else(|| is_relied_on.then(|| LinkPlan::of_farewell(link, rhythm))) {
                Some(plan) if slots.insert(slot) => {
                    describe(table, link, slot, false);
                    let number = self.number();
                    self.links.insert(link, ProbedLink::new(plan, number, slot, now));
                }
                _ => table.remove(&key)?,
            }
        }
        for (key, ProbeEntry { slot, .. }) in peers {
            let (link, peer) = (link_of(&key), ip_of(key.peer));
            match self.links.get_mut(&link) {
                Some(found) if slots.insert(slot) => {
                    describe(table, link, slot, false);
                    let is_learned = !found.plan.peers.contains(&peer);
                    let mut session = PeerSession::new(peer, slot, is_learned, now);
                    session.is_relied_on = is_relied_on;
                    found.sessions.insert(peer, session);
                }
                _ => table.remove(&key)?,
            }
        }
        self.slots = Some(slots);
        Ok(())
    }

    /// A slot for two addresses, and the entry that leads to it; `None` if all are taken.
    fn take(&mut self, table: &ProbeTable, key: LinkKey, peer: Option<IpAddr>) -> Result<Option<u32>> {
        let slots = self.slots.get_or_insert_default();
        let Some(slot) = (0..MAX_PROBE_PEERS).find(|slot| !slots.contains(slot)) else {
            tracing::debug!(?peer, "there are {MAX_PROBE_PEERS} probed peers: one more is not probed");
            return Ok(None);
        };
        table.page().clear(slot);
        describe(table, key, slot, self.is_leaving);
        table.add(key.with(peer), ProbeEntry { slot, mac: [0; 6], reserved: [0; 2] })?;
        slots.insert(slot);
        Ok(Some(slot))
    }

    fn free(&mut self, table: &ProbeTable, key: LinkKey, peer: Option<IpAddr>, slot: u32) -> Result<()> {
        self.lines.forget(slot, table)?;
        table.remove(&key.with(peer))?;
        self.slots.get_or_insert_default().remove(&slot);
        Ok(())
    }
}

impl ProbedLink {
    fn new(plan: LinkPlan, number: u32, slot: u32, now: Instant) -> Self {
        // Another one than a predecessor's.
        let generation = now.as_nanos() as u32;
        let (sessions, routers) = (BTreeMap::new(), Vec::new());
        Self { plan, number, slot, ends_at: None, sessions, routers, generation }
    }

    /// Whether silence is acted on there.
    fn takes_over(&self) -> bool {
        self.plan.timing.takes_over && self.ends_at.is_none()
    }

    /// Whether probes there are sent as early takeover says: also for as long as hosts rely on what they have said.
    fn is_early(&self) -> bool {
        self.takes_over() || self.is_relied_on()
    }

    /// Whether hosts may rely on what probes have said: that silence is acted on, and that leases there need a sponsor.
    fn is_relied_on(&self) -> bool {
        self.sessions.values().any(|session| session.is_relied_on)
    }

    /// The next probe of each session says that this node leaves, and so do answers.
    fn say_farewell(&mut self, key: LinkKey, table: &ProbeTable, now: Instant) {
        self.describe_all(key, table, true);
        self.sessions.values_mut().for_each(|session| session.next_at = now);
    }

    fn describe_all(&self, key: LinkKey, table: &ProbeTable, is_leaving: bool) {
        self.sessions.values().for_each(|session| describe(table, key, session.slot, is_leaving));
    }

    /// What the next probes say of this node's routers; one that nobody vouches for does not answer.
    fn say(
        &mut self,
        leases: &LeaseManager,
        around: Surroundings<'_>,
        (places, is_sponsored): (&SponsorPlaces, bool),
        now: Instant,
    ) {
        let of = |id: &InstanceId| {
            let slot = around.instances.get(id)?.lease().slot();
            let lease = around.pages.leases().read(slot);
            let sponsored = is_sponsored || !places.covers(slot);
            RouterFlags::of(*id, leases, lease, sponsored, now).map(wire_router)
        };
        let said: Vec<Router> = self.plan.instances.iter().filter_map(of).collect();
        if said != self.routers {
            (self.routers, self.generation) = (said, self.generation.wrapping_add(1));
        }
    }

    /// Sends a probe to a peer of this link.
    fn probe(
        &mut self,
        key: LinkKey,
        peer: IpAddr,
        is_leaving: bool,
        at: Instant,
        outlets: &mut Outlets,
    ) -> ProbeDeparture {
        let is_leaving = is_leaving || self.ends_at.is_some();
        let Self { plan, sessions, routers, generation, .. } = self;
        let Some(session) = sessions.get_mut(&peer) else { return ProbeDeparture::Failed };
        // One that the program does not count is not to take over early.
        let is_leaving = is_leaving || session.is_leaving;
        let takes_over = session.is_counted && !is_leaving;
        let own = OwnBlock { is_leaving, takes_over, generation: *generation, routers };
        session.probe(key, plan, own, at, outlets)
    }

    fn learned(&self) -> impl Iterator<Item = &PeerSession> {
        self.sessions
            .values()
            .filter(|session| session.is_learned && !self.plan.peers.contains(&session.peer))
    }

    /// Peers that are not to be probed any more; with `wants_room` also one that is silent, if there is no room for another.
    fn old_peers(&self, now: Instant, wants_room: bool) -> Vec<IpAddr> {
        let is_old = |session: &&PeerSession| {
            // A master that was followed is learned, too, when it is not followed any more.
            !self.plan.peers.contains(&session.peer)
                && (self.plan.subnets.is_empty() || session.unheard_for(now) >= FORGET_AFTER)
        };
        let mut old: Vec<IpAddr> =
            self.sessions.values().filter(is_old).map(|session| session.peer).collect();
        if wants_room && self.learned().count() >= MAX_LEARNED {
            let silent = self.learned().max_by_key(|session| session.unheard_for(now));
            old.extend(silent.filter(|session| session.unheard_for(now) >= SILENT_FOR).map(|s| s.peer));
        }
        old
    }
}

/// Each host of a link is found on the link's heartbeat links too.
fn hosts_of_lines(
    links: &BTreeMap<LinkKey, ProbedLink>,
) -> impl Iterator<Item = (LinkKey, HeartbeatLine, IpAddr, u32)> {
    links.iter().flat_map(|(key, link)| {
        let sessions = || link.sessions.values();
        link.plan
            .lines
            .iter()
            .flat_map(move |line| sessions().map(move |session| (*key, *line, session.peer, session.slot)))
    })
}

fn link_of(key: &ProbeKey) -> LinkKey {
    LinkKey { ifindex: key.ifindex, vlan: key.vlan, local: ip_of(key.local) }
}

fn describe(table: &ProbeTable, key: LinkKey, slot: u32, is_leaving: bool) {
    let flags = if is_leaving { probe_flag::LEAVING } else { 0 };
    table.page().describe(slot, discriminator(key.local), flags);
}

fn wire_router(router: RouterFlags) -> Router {
    let RouterFlags { family, vrid, priority, participates, owner, claim } = router;
    let flags =
        [(participates, router_flag::PARTICIPATES), (owner, router_flag::OWNER), (claim, router_flag::CLAIM)];
    Router {
        family: family as u8,
        vrid: vrid.get(),
        priority: priority.get(),
        flags: flags.iter().filter(|(is_so, _)| *is_so).fold(0, |sum, (_, flag)| sum | flag),
    }
}
