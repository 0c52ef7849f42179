//! The host's routes, rules and addresses as the election has them: what of the desired state is in place, and what is not yet.

use std::{collections::BTreeSet, mem};

use anyhow::{Error, Result};

use super::messages::{DesiredHostState, DesiredHostStates};
use crate::{
    coordinator::InstanceId,
    host::{Host, LinkChange, Ownership, Plan, Problems, Repairs},
};

/// Brings the host in line with a plan and with the state that is desired of each instance.
#[derive(Debug, Default)]
pub struct HostState {
    plan: Plan,
    /// Whether there was one: until then all that is there is a predecessor's.
    is_planned: bool,
    /// The states that the host is in.
    applied: DesiredHostStates,
    /// Whether the routes of VIPs are to be looked at, whatever is desired.
    routes_unsure: bool,
    /// Whether the ways to the clients are to be looked at.
    ways_unsure: bool,
    /// Whether virtual routes and rules are to be looked at.
    virtual_unsure: bool,
    /// Something else is desired than at the last [`Self::apply`].
    is_new: bool,
    /// Those whose VIPs this host could not serve, so that they do not own them: whether it can by now is tried.
    tried: BTreeSet<u16>,
}

/// What has come of a step that goes on after an error.
#[derive(Debug)]
pub struct Applied {
    /// What was missing and is there now.
    pub repairs: Repairs,
    /// Something else was desired than before: what was missing was never there.
    pub is_new: bool,
    /// The routes, rules and addresses of VIPs.
    pub vips: Result<()>,
    /// Virtual routes and rules, without which a VIP is served all the same.
    pub virtual_routes: Result<()>,
}

impl Applied {
    /// What went wrong, all of it.
    pub fn error(self) -> Option<Error> {
        let mut problems = Problems::default();
        problems.note(self.vips);
        problems.note(self.virtual_routes);
        problems.into_result().err()
    }
}

impl HostState {
    /// Another plan, or the same that is to be looked at again: its instances are masters or not as they were.
    pub fn plan(&mut self, plan: Plan) {
        (self.plan, self.is_planned) = (plan, true);
        let keys: Vec<u16> = self.plan.instances.iter().map(|instance| instance.key).collect();
        self.applied.retain(|id, _| keys.contains(&id.0));
        (self.routes_unsure, self.ways_unsure, self.virtual_unsure) = (true, true, true);
        self.is_new = true;
    }

    /// What was made is to be looked at, whatever is desired.
    pub fn look_again(&mut self) {
        let unsure = self.is_planned;
        (self.routes_unsure, self.ways_unsure, self.virtual_unsure) = (unsure, unsure, unsure);
    }

    /// Whether the VIPs of these instances could be served is to be tried by each [`Self::apply`].
    pub fn try_to_serve(&mut self, keys: BTreeSet<u16>) {
        self.tried = keys;
    }

    /// Whether the change is one of an interface in use, for VIPs or by a virtual route.
    pub fn concerns(&self, change: &LinkChange) -> bool {
        let (ifindex, name) = match change {
            LinkChange::State(link) => (link.ifindex, Some(&link.name)),
            // Routes go with their interface, and are made again when it is back.
            LinkChange::Gone { ifindex } => (*ifindex, None),
        };
        self.plan.instances.iter().any(|instance| {
            let mut hops = instance.routes.iter().flat_map(|route| &route.hops);
            instance.links.iter().any(|link| link.ifindex == ifindex)
                || hops.any(|hop| hop.interface.is_some() && hop.interface.as_ref() == name)
        })
    }

    /// Does what is missing. What fails is tried again by the next call, and holds up nothing else.
    pub async fn apply(&mut self, host: &mut Host, desired: &DesiredHostStates) -> Applied {
        let mut problems = Problems::default();
        problems.note(self.follow_masters(host, desired).await);
        if self.routes_unsure {
            let installed = host.install(&self.plan).await;
            self.routes_unsure = installed.is_err();
            problems.note(installed);
        }
        if self.ways_unsure {
            let looked = host.look_at_ways().await;
            self.ways_unsure = looked.is_err();
            problems.note(looked);
        }
        for key in &self.tried {
            if desired.get(&InstanceId(*key)).copied().unwrap_or_default().ownership() == Ownership::None {
                problems.note(host.probe(*key).await);
            }
        }
        let mut virtual_routes = Ok(());
        if self.virtual_unsure {
            virtual_routes = host.sync_virtual().await;
            self.virtual_unsure = virtual_routes.is_err();
        }
        let (repairs, is_new) = (host.take_repairs(), mem::take(&mut self.is_new));
        Applied { repairs, is_new, vips: problems.into_result(), virtual_routes }
    }

    async fn follow_masters(&mut self, host: &mut Host, desired: &DesiredHostStates) -> Result<()> {
        let mut problems = Problems::default();
        for instance in &self.plan.instances {
            let id = InstanceId(instance.key);
            // Of one that is gone nothing is desired.
            let state = desired.get(&id).copied().unwrap_or_default();
            let applied: &mut DesiredHostState = self.applied.entry(id).or_default();
            if state.ownership() != applied.ownership() {
                self.virtual_unsure |= state.master != applied.master;
                self.is_new = true;
                match host.set(instance.key, state.ownership()).await {
                    Ok(()) => (applied.master, applied.takes_over) = (state.master, state.takes_over),
                    // The others must not wait for this one.
                    Err(error) => problems.note(Err(error)),
                }
            }
            if state.masters_heard != applied.masters_heard && !state.master {
                applied.masters_heard = state.masters_heard;
                for link in &instance.links {
                    problems.note(host.forget_neighbours(link.ifindex, &link.vips).await);
                }
            }
        }
        problems.into_result()
    }
}
