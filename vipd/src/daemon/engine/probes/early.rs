//! The sessions whose silence is acted on, for [`EarlyTakeover`](vipd_core::early::EarlyTakeover): the links, the hosts, the stamps and the
//! probes that it asks for.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use vipd_core::early::{HostId, PeerStamps, ProbeDeparture, ProbeTiming};

use super::{
    HostProbes, LinkKey, ProbedLink, Surroundings,
    plan::{LinkPlan, address_of},
};
use crate::{
    coordinator::InstanceId, daemon::clock, daemon::engine::instance::EngineInstance,
    lease_manager::LeaseManager, time::Instant,
};

impl HostProbes {
    /// The rhythm of all sessions whose silence is acted on, or was: without those of the first kind it does not take over. `None` if there
    /// are none.
    pub fn early_timing(&self) -> Option<ProbeTiming> {
        let timings = self
            .early_links()
            .map(|(_, link)| ProbeTiming { takes_over: link.takes_over(), ..link.plan.timing });
        timings.min_by_key(|timing| (!timing.takes_over, timing.interval, timing.multiplier))
    }

    /// Whether hosts may rely on what a former process has told them.
    pub fn inherits(&self) -> bool {
        self.sponsors.inherits()
    }

    /// Who relies no more on what this node has said is not told of it any more; `relies` knows.
    pub fn note_reliance(&mut self, relies: impl Fn(HostId) -> bool) {
        for link in self.links.values_mut().filter(|link| link.is_early()) {
            let number = link.number;
            for session in link.sessions.values_mut() {
                session.is_relied_on = relies(HostId { link: number, address: session.peer });
            }
            if !link.is_early() {
                self.refresh_at = Some(clock::now());
            }
        }
    }

    /// Their hosts.
    pub fn early_hosts(&self) -> BTreeSet<HostId> {
        let of = |(_, link): (&LinkKey, &ProbedLink)| {
            let number = link.number;
            link.sessions.keys().map(move |peer| HostId { link: number, address: *peer }).collect::<Vec<_>>()
        };
        self.early_links().flat_map(of).collect()
    }

    /// The link of a router that is taken over early.
    pub fn early_link(&self, instance: InstanceId) -> Option<u32> {
        let is_there = |link: &ProbedLink| link.takes_over() && link.plan.early.contains(&instance);
        self.early_links().find(|(_, link)| is_there(link)).map(|(_, link)| link.number)
    }

    /// The leases of all routers that probes there list: a backup cannot tell one with `act no` from the others.
    pub(super) fn sponsored_leases(&self, instances: &BTreeMap<InstanceId, EngineInstance>) -> BTreeSet<u32> {
        let listed = self.early_links().flat_map(|(_, link)| &link.plan.instances);
        listed.filter_map(|id| instances.get(id)).map(|instance| instance.lease().slot()).collect()
    }

    /// What the program has stamped of a host by now.
    pub fn early_stamps(&mut self, host: HostId, around: Surroundings<'_>) -> PeerStamps {
        let Some((_, link)) = self.early_link_mut(host.link) else { return PeerStamps::default() };
        let ProbedLink { plan, sessions, .. } = link;
        let Some(session) = sessions.get_mut(&host.address) else { return PeerStamps::default() };
        let advert = last_advert(plan, host.address, around);
        session.look(around.pages.probes().page(), plan, advert)
    }

    /// What the probes of this moment are to say.
    pub fn say_early(
        &mut self,
        leases: &LeaseManager,
        around: Surroundings<'_>,
        (is_leaving, beats, now): (bool, bool, Instant),
    ) {
        self.is_leaving |= is_leaving;
        self.arbiters.ask(now);
        let is_sponsored = around.pages.sponsors().is_sponsored(now);
        self.note_vouching(around, is_sponsored, now);
        for link in self.links.values_mut().filter(|link| link.is_early()) {
            link.say(leases, around, (&self.sponsors, is_sponsored || beats), now);
        }
    }

    /// When what was asked of the arbiters that all of them have answered last; `None` without an arbiter.
    pub fn arbiter(&mut self) -> Option<Instant> {
        self.arbiters.answered()
    }

    /// Sends a probe to a host; none to one that has not been heard for long, if that `may_rest`.
    pub fn probe(&mut self, host: HostId, at: Instant, may_rest: bool) -> ProbeDeparture {
        let Self { links, is_leaving, outlets, .. } = self;
        let found = links.iter_mut().find(|(_, link)| link.is_early() && link.number == host.link);
        let Some((key, link)) = found else { return ProbeDeparture::Failed };
        let Some(session) = link.sessions.get(&host.address) else { return ProbeDeparture::Failed };
        if may_rest && session.rests(at) {
            return ProbeDeparture::Resting;
        }
        link.probe(*key, host.address, *is_leaving, at, outlets)
    }

    fn early_links(&self) -> impl Iterator<Item = (&LinkKey, &ProbedLink)> {
        self.links.iter().filter(|(_, link)| link.is_early())
    }

    fn early_link_mut(&mut self, number: u32) -> Option<(&LinkKey, &mut ProbedLink)> {
        self.links.iter_mut().find(|(_, link)| link.is_early() && link.number == number)
    }
}

/// When a host's advert was heard last, by whichever router of the link and on whichever line.
fn last_advert(plan: &LinkPlan, host: IpAddr, around: Surroundings<'_>) -> Instant {
    let host = address_of(host);
    let page = around.pages.instances();
    let of = |id: &InstanceId| {
        let (source, at) = page.last_advert(id.slot());
        (source == host).then_some(at)
    };
    plan.instances.iter().filter_map(of).max().unwrap_or_default()
}
