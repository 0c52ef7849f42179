//! Handing over by command, of one sync group or of all of the node, with somebody waiting for what comes of it.
//!
//! What is handed over ranks last until it is master again because nobody else is, so that it is not taken back at once. This
//! decides, and says what is to be done as [`Step`]s; the engine loop does it.

use std::{collections::BTreeSet, net::IpAddr, time::Duration};

use vipd_common::Priority;

use super::{super::messages::Reply, instance::EngineInstance};
use crate::{
    control::To,
    coordinator::{InstanceId, Snapshot, StateName},
    time::Instant,
    vrrp::{GroupId, Settings},
};

/// The least priority that a router may have.
const LAST: Priority = Priority::new(1);

/// What ranks last, and what is on its way to others.
#[derive(Debug, Default)]
pub struct Handovers {
    /// The node is drained: all of it ranks last.
    drained: bool,
    /// Handed over, one by one.
    last: BTreeSet<InstanceId>,
    offers: Vec<Offer>,
}

/// Instances that others were offered.
#[derive(Debug)]
struct Offer {
    instances: BTreeSet<InstanceId>,
    /// When nobody has taken over.
    until: Instant,
    drains: bool,
    reply: Reply,
}

/// How an instance is.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    pub id: InstanceId,
    pub name: &'a str,
    pub group: GroupId,
    /// Its priority is 255: it would take its addresses back.
    pub is_owner: bool,
    pub settings: &'a Settings,
    pub state: StateName,
    /// Has said goodbye and waits for a successor, whatever for.
    pub is_leaving: bool,
    /// Whom it follows.
    pub master: Option<IpAddr>,
}

impl<'a> Candidate<'a> {
    /// How an instance is by the election; `None`: that has none of this number.
    pub fn of(instance: &'a EngineInstance, snapshot: Option<&Snapshot>) -> Self {
        let router = instance.router();
        Self {
            id: router.id(),
            name: router.name(),
            group: router.lease(),
            is_owner: router.spec().priority.is_owner(),
            settings: router.settings(),
            state: snapshot.map_or(StateName::Stopped, |snapshot| snapshot.state),
            is_leaving: snapshot.is_some_and(|snapshot| snapshot.leaving),
            master: snapshot.and_then(|snapshot| snapshot.master).map(|master| master.address),
        }
    }
}

/// What the engine loop is to do, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The instance ranks otherwise from now on.
    Rank(InstanceId),
    /// Offer the instance and its sync group to whoever wants them, unless it is leaving by then.
    Offer(InstanceId),
}

impl Handovers {
    /// `drained`: the node was before, and is until that is undone.
    pub fn new(drained: bool) -> Self {
        Self { drained, ..Self::default() }
    }

    /// Whether the node is drained.
    pub fn is_drained(&self) -> bool {
        self.drained
    }

    /// Handed over, or drained.
    pub fn ranks_last(&self, instance: InstanceId) -> bool {
        self.drained || self.last.contains(&instance)
    }

    /// The priority of an instance that has this one by what it tracks.
    pub fn priority(&self, instance: InstanceId, tracked: Priority) -> Priority {
        let lowered = self.ranks_last(instance) && !tracked.is_owner();
        if lowered { LAST } else { tracked }
    }

    /// When [`Self::settle`] is next wanted at the latest.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.offers.iter().map(|offer| offer.until).min()
    }

    /// Whether [`Self::settle`] has to know of an instance. Of none: it has nothing to do.
    pub fn concerns(&self, instance: InstanceId) -> bool {
        let is_offered = |offer: &Offer| offer.drains || offer.instances.contains(&instance);
        self.last.contains(&instance) || self.offers.iter().any(is_offered)
    }

    /// The instance is to go: nobody waits for it any more.
    pub fn forget(&mut self, instance: InstanceId) {
        self.last.remove(&instance);
        self.offers.iter_mut().for_each(|offer| _ = offer.instances.remove(&instance));
    }

    /// Hands an instance over, with its sync group, or lets it rank as configured again.
    pub fn hand_over(
        &mut self,
        all: &[Candidate<'_>],
        name: &str,
        to: To,
        reply: Reply,
        now: Instant,
    ) -> Vec<Step> {
        let Some(found) = all.iter().find(|candidate| candidate.name == name) else {
            return refuse(reply, format!("no vrrp_instance is called `{name}`"));
        };
        let group: Vec<Candidate<'_>> =
            all.iter().filter(|candidate| candidate.group == found.group).copied().collect();
        let ids = || group.iter().map(|candidate| candidate.id);
        match to {
            To::Preferred if ids().any(|id| self.last.contains(&id)) => {
                answer(reply, Ok(format!("{name} has its configured priority")));
                self.rank_as_configured(ids())
            }
            To::Preferred if self.drained => {
                refuse(reply, "this node is drained: `vipd undrain` ends that for all instances".into())
            }
            To::Preferred => {
                answer(reply, Ok(format!("{name} was not handed over")));
                Vec::new()
            }
            To::Backup => match why_not_offered(&group) {
                Some(why) => refuse(reply, why),
                None => {
                    self.last.extend(ids());
                    self.offer(&group, false, reply, now)
                }
            },
        }
    }

    /// Hands all instances over, and has them rank last until [`Self::undrain`].
    pub fn drain(&mut self, all: &[Candidate<'_>], reply: Reply, now: Instant) -> Vec<Step> {
        if self.drained {
            answer(reply, Ok("drained already".into()));
            return Vec::new();
        }
        if let Some(Candidate { name, .. }) = all.iter().find(|candidate| candidate.is_owner) {
            return refuse(reply, format!("{name} owns its addresses (priority 255) and cannot be drained"));
        }
        if let Some(Candidate { name, .. }) = all.iter().find(|candidate| candidate.is_leaving) {
            return refuse(reply, format!("{name} is being handed over: try again then"));
        }
        self.drained = true;
        let (masters, others): (Vec<Candidate<'_>>, Vec<_>) =
            all.iter().partition(|candidate| candidate.state == StateName::Master);
        let mut steps: Vec<Step> = others.iter().map(|candidate| Step::Rank(candidate.id)).collect();
        steps.extend(self.offer(&masters, true, reply, now));
        steps
    }

    /// Has all instances rank as they are configured to, those too that were handed over one by one.
    pub fn undrain(&mut self, all: &[Candidate<'_>], reply: Reply) -> Vec<Step> {
        let was = std::mem::take(&mut self.drained);
        for offer in std::mem::take(&mut self.offers) {
            answer(offer.reply, Err("ended by `vipd undrain`".into()));
        }
        if was {
            tracing::info!(target: "vipd::event", event = "undrained", "all instances have their configured priority again");
        }
        answer(reply, Ok(if was { "undrained" } else { "not drained" }.into()));
        self.rank_as_configured(all.iter().map(|candidate| candidate.id))
    }

    fn rank_as_configured(&mut self, instances: impl Iterator<Item = InstanceId>) -> Vec<Step> {
        let rank = |id| {
            self.last.remove(&id);
            Step::Rank(id)
        };
        instances.map(rank).collect()
    }

    /// Offers masters to others; they rank last already, which they are told here.
    fn offer(&mut self, masters: &[Candidate<'_>], drains: bool, reply: Reply, now: Instant) -> Vec<Step> {
        let patience = masters.iter().map(|master| patience(master.settings)).max();
        let until = now + patience.unwrap_or_default();
        let instances: BTreeSet<InstanceId> = masters.iter().map(|master| master.id).collect();
        let ranks = instances.iter().copied().map(Step::Rank);
        // One of a group is enough, but there may be several groups.
        let steps = ranks.chain(instances.iter().copied().map(Step::Offer)).collect();
        self.offers.push(Offer { instances, until, drains, reply });
        steps
    }

    /// Answers for the offers of which it is known what has come of them. `all`: those that this [concerns](Self::concerns), in
    /// the order of their numbers.
    pub fn settle(&mut self, all: &[Candidate<'_>], now: Instant) -> Vec<Step> {
        let is_master =
            |id: &InstanceId| find(*id, all).is_some_and(|candidate| candidate.state == StateName::Master);
        let mut steps = Vec::new();
        for offer in std::mem::take(&mut self.offers) {
            let kept: BTreeSet<InstanceId> = offer.instances.iter().copied().filter(is_master).collect();
            if !kept.is_empty() && now < offer.until {
                self.offers.push(offer);
            } else if offer.instances.is_empty() && !offer.drains {
                answer(offer.reply, Err("the instance is no longer in the configuration".into()));
            } else if kept.is_empty() {
                handed_over(offer, all);
            } else {
                steps.extend(self.not_handed_over(offer, &kept, all));
            }
        }
        // Master again, because nobody else was.
        let waiting: BTreeSet<InstanceId> =
            self.offers.iter().flat_map(|offer| offer.instances.iter().copied()).collect();
        let is_back = |id: &InstanceId| !waiting.contains(id) && is_master(id);
        let back: Vec<InstanceId> = self.last.iter().copied().filter(is_back).collect();
        steps.extend(self.rank_as_configured(back.into_iter()));
        steps
    }

    fn not_handed_over(
        &mut self,
        offer: Offer,
        kept: &BTreeSet<InstanceId>,
        all: &[Candidate<'_>],
    ) -> Vec<Step> {
        let names: Vec<&str> = kept.iter().map(|id| name(*id, all)).collect();
        let names = names.join(", ");
        tracing::warn!(
            target: "vipd::event",
            event = "handover_failed",
            instances = names,
            "no backup has taken over: the node stays MASTER"
        );
        let stay = if kept.len() == 1 { "stays" } else { "stay" };
        let mut message =
            format!("no backup has taken over: {names} {stay} MASTER here, and nothing was lost");
        let steps = if offer.drains {
            self.drained = false;
            message += "; the node is not drained";
            self.rank_as_configured(all.iter().map(|candidate| candidate.id))
        } else {
            self.rank_as_configured(offer.instances.into_iter())
        };
        answer(offer.reply, Err(message));
        steps
    }
}

/// Why these cannot be offered to others.
fn why_not_offered(group: &[Candidate<'_>]) -> Option<String> {
    group.iter().find_map(|Candidate { name, is_owner, state, is_leaving, .. }| {
        if *is_owner {
            Some(format!("{name} owns its addresses (priority 255) and would take them back"))
        } else if *state != StateName::Master {
            Some(format!("{name} is {state} here, not MASTER"))
        } else {
            is_leaving.then(|| format!("{name} is being handed over already"))
        }
    })
}

fn handed_over(offer: Offer, all: &[Candidate<'_>]) {
    let mut to = Vec::new();
    for id in &offer.instances {
        let candidate = find(*id, all);
        let name = candidate.map_or("?", |candidate| candidate.name);
        let master = candidate.and_then(|candidate| candidate.master);
        let successor = master.map_or_else(|| "another node".into(), |master| master.to_string());
        tracing::info!(target: "vipd::event", event = "handed_over", instance = name, to = successor, "handed over");
        to.push(format!("{name} is handed over to {successor}"));
    }
    if offer.drains {
        tracing::info!(target: "vipd::event", event = "drained", "the node is drained: every instance has priority 1");
        to.push("this node is drained".into());
    }
    answer(offer.reply, Ok(to.join("\n")));
}

fn name<'a>(id: InstanceId, all: &[Candidate<'a>]) -> &'a str {
    find(id, all).map_or("?", |candidate| candidate.name)
}

/// They are in the order of their numbers.
fn find<'c, 'a>(id: InstanceId, all: &'c [Candidate<'a>]) -> Option<&'c Candidate<'a>> {
    all.binary_search_by_key(&id, |candidate| candidate.id).ok().map(|place| &all[place])
}

/// How long a successor may take: after the goodbye as long as the slowest backup, and if that was lost, after the first advert
/// of a master that ranks last.
fn patience(settings: &Settings) -> Duration {
    settings.leaving_bound() * 2 + settings.advert_interval
}

fn refuse(reply: Reply, why: String) -> Vec<Step> {
    answer(reply, Err(why));
    Vec::new()
}

fn answer(reply: Reply, answer: Result<String, String>) {
    // Who asked may be gone.
    let _ = reply.send(answer);
}
