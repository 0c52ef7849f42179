//! Handing over by command, of one sync group or of all of the node, with somebody waiting for what comes of it.
//!
//! What is handed over ranks last until it is master again because nobody else is, so that it is not taken back at once.

use std::{collections::BTreeSet, time::Duration};

use tokio::sync::oneshot;
use vipd_common::Priority;

use super::{clock, driver::Driver};
use crate::{
    control::To,
    engine::{Input, InstanceId, StateName},
    time::Instant,
    tracking::Standing,
    vrrp::Settings,
};

/// The least priority that a router may have.
const LAST: Priority = Priority::new(1);

/// Who waits for a handover: the result, or why there is none, in words.
pub type Reply = oneshot::Sender<Result<String, String>>;

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

impl Handovers {
    pub fn new(drained: bool) -> Self {
        Self { drained, ..Self::default() }
    }

    pub fn is_drained(&self) -> bool {
        self.drained
    }

    /// Handed over, or drained.
    pub fn ranks_last(&self, instance: InstanceId) -> bool {
        self.drained || self.last.contains(&instance)
    }

    /// The priority of an instance that stands so.
    pub fn priority(&self, instance: InstanceId, standing: &Standing) -> Priority {
        let lowered = self.ranks_last(instance) && !standing.priority.is_owner();
        if lowered { LAST } else { standing.priority }
    }

    /// When [`Driver::settle_offers`] is next wanted.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.offers.iter().map(|offer| offer.until).min()
    }

    /// The instance is to go: nobody waits for it any more.
    pub fn forget(&mut self, instance: InstanceId) {
        self.last.remove(&instance);
        self.offers.iter_mut().for_each(|offer| _ = offer.instances.remove(&instance));
    }
}

impl Driver {
    /// Hands an instance over, with its sync group, or lets it rank as configured again.
    pub(super) fn hand_over(&mut self, name: &str, to: To, reply: Reply) {
        let found = self.effects.slots.iter().find(|(_, slot)| slot.router.spec.name == name);
        let Some((_, slot)) = found else {
            return answer(reply, Err(format!("no vrrp_instance is called `{name}`")));
        };
        let group = slot.router.group;
        let mates = self.effects.slots.iter().filter(|(_, slot)| slot.router.group == group);
        let mates: BTreeSet<InstanceId> = mates.map(|(id, _)| *id).collect();
        match to {
            To::Preferred if mates.iter().any(|id| self.handovers.last.contains(id)) => {
                self.rank_as_configured(&mates);
                answer(reply, Ok(format!("{name} has its configured priority")));
            }
            To::Preferred if self.handovers.drained => {
                answer(reply, Err("this node is drained: `vipd undrain` ends that for all instances".into()));
            }
            To::Preferred => answer(reply, Ok(format!("{name} was not handed over"))),
            To::Backup => match self.is_to_be_offered(&mates) {
                Ok(()) => {
                    self.handovers.last.extend(&mates);
                    self.offer(mates, false, reply);
                }
                Err(why) => answer(reply, Err(why)),
            },
        }
    }

    /// Why these cannot be offered to others.
    fn is_to_be_offered(&self, instances: &BTreeSet<InstanceId>) -> Result<(), String> {
        for id in instances {
            let (name, state) = (self.name(*id), self.state(*id));
            if self.effects.slots[id].router.spec.priority.is_owner() {
                return Err(format!("{name} owns its addresses (priority 255) and would take them back"));
            }
            if state != StateName::Master {
                return Err(format!("{name} is {state} here, not MASTER"));
            }
            if self.is_leaving(*id) {
                return Err(format!("{name} is being handed over already"));
            }
        }
        Ok(())
    }

    /// Hands all instances over, and has them rank last until [`Self::undrain`].
    pub(super) fn drain(&mut self, reply: Reply) {
        if self.handovers.drained {
            return answer(reply, Ok("drained already".into()));
        }
        let owner = self.effects.slots.values().find(|slot| slot.router.spec.priority.is_owner());
        if let Some(slot) = owner {
            let name = &slot.router.spec.name;
            return answer(
                reply,
                Err(format!("{name} owns its addresses (priority 255) and cannot be drained")),
            );
        }
        if let Some(id) = self.effects.slots.keys().find(|id| self.is_leaving(**id)) {
            return answer(reply, Err(format!("{} is being handed over: try again then", self.name(*id))));
        }
        self.handovers.drained = true;
        let all: Vec<InstanceId> = self.effects.slots.keys().copied().collect();
        let is_master = |id: &InstanceId| self.state(*id) == StateName::Master;
        let (masters, others): (BTreeSet<InstanceId>, BTreeSet<InstanceId>) =
            all.into_iter().partition(is_master);
        others.into_iter().for_each(|id| self.stand(id));
        self.offer(masters, true, reply);
    }

    /// Has all instances rank as they are configured to, those too that were handed over one by one.
    pub(super) fn undrain(&mut self, reply: Reply) {
        let was = std::mem::take(&mut self.handovers.drained);
        for offer in std::mem::take(&mut self.handovers.offers) {
            answer(offer.reply, Err("ended by `vipd undrain`".into()));
        }
        let all: BTreeSet<InstanceId> = self.effects.slots.keys().copied().collect();
        self.rank_as_configured(&all);
        if was {
            tracing::info!(target: "vipd::event", event = "undrained", "all instances have their configured priority again");
        }
        answer(reply, Ok(if was { "undrained" } else { "not drained" }.into()));
    }

    fn rank_as_configured(&mut self, instances: &BTreeSet<InstanceId>) {
        for id in instances {
            self.handovers.last.remove(id);
            self.stand(*id);
        }
    }

    /// Offers masters to others; they rank last already, and are told so here.
    fn offer(&mut self, instances: BTreeSet<InstanceId>, drains: bool, reply: Reply) {
        instances.iter().for_each(|id| self.stand(*id));
        let patience = instances.iter().map(|id| patience(&self.effects.slots[id].router.settings));
        let until = clock::now() + patience.max().unwrap_or_default();
        for id in &instances {
            // One of a group is enough, but there may be several groups.
            if self.keeper.snapshot(*id).is_some_and(|snapshot| !snapshot.leaving) {
                self.input(Input::HandOver { instance: *id });
            }
        }
        self.handovers.offers.push(Offer { instances, until, drains, reply });
        self.settle_offers();
    }

    /// Answers for the offers of which it is known what has come of them.
    pub(super) fn settle_offers(&mut self) {
        let now = clock::now();
        let offers = std::mem::take(&mut self.handovers.offers);
        for offer in offers {
            let kept = |id: &&InstanceId| self.state(**id) == StateName::Master;
            let kept: BTreeSet<InstanceId> = offer.instances.iter().filter(kept).copied().collect();
            if !kept.is_empty() && now < offer.until {
                self.handovers.offers.push(offer);
            } else if offer.instances.is_empty() && !offer.drains {
                answer(offer.reply, Err("the instance is no longer in the configuration".into()));
            } else if kept.is_empty() {
                self.handed_over(offer);
            } else {
                self.not_handed_over(offer, &kept);
            }
        }
        // Master again, because nobody else was.
        let waiting: BTreeSet<InstanceId> =
            self.handovers.offers.iter().flat_map(|offer| offer.instances.iter().copied()).collect();
        let back = |id: &InstanceId| !waiting.contains(id) && self.state(*id) == StateName::Master;
        let back: BTreeSet<InstanceId> = self.handovers.last.iter().copied().filter(back).collect();
        self.rank_as_configured(&back);
    }

    fn handed_over(&mut self, offer: Offer) {
        let mut to = Vec::new();
        for id in &offer.instances {
            let name = self.name(*id);
            let master = self.keeper.snapshot(*id).and_then(|snapshot| snapshot.master);
            let successor = master.map_or_else(|| "another node".into(), |master| master.address.to_string());
            tracing::info!(target: "vipd::event", event = "handed_over", instance = name, to = successor, "handed over");
            to.push(format!("{name} is handed over to {successor}"));
        }
        if offer.drains {
            tracing::info!(target: "vipd::event", event = "drained", "the node is drained: every instance has priority 1");
            to.push("this node is drained".into());
        }
        answer(offer.reply, Ok(to.join("\n")));
    }

    fn not_handed_over(&mut self, offer: Offer, kept: &BTreeSet<InstanceId>) {
        let names: Vec<&str> = kept.iter().map(|id| self.name(*id)).collect();
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
        if offer.drains {
            self.handovers.drained = false;
            message += "; the node is not drained";
            let all = self.effects.slots.keys().copied().collect();
            self.rank_as_configured(&all);
        } else {
            self.rank_as_configured(&offer.instances);
        }
        answer(offer.reply, Err(message));
    }

    /// Has said goodbye and waits for a successor, whatever for.
    fn is_leaving(&self, id: InstanceId) -> bool {
        self.keeper.snapshot(id).is_some_and(|snapshot| snapshot.leaving)
    }

    fn name(&self, id: InstanceId) -> &str {
        self.effects.slots.get(&id).map_or("?", |slot| &slot.router.spec.name)
    }

    fn state(&self, id: InstanceId) -> StateName {
        self.keeper.snapshot(id).map_or(StateName::Stopped, |snapshot| snapshot.state)
    }
}

/// How long a successor may take: after the goodbye as long as the slowest backup, and if that was lost, after the first advert
/// of a master that ranks last.
fn patience(settings: &Settings) -> Duration {
    settings.leaving_bound() * 2 + settings.advert_interval
}

fn answer(reply: Reply, answer: Result<String, String>) {
    // Who asked may be gone.
    let _ = reply.send(answer);
}
