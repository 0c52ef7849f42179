//! The host's routes and rules, as the election wishes them.

use std::time::Duration;

use anyhow::Result;
use tokio::time::Instant;

use super::driver::{Wish, Wishes};
use crate::{
    engine::InstanceId,
    host::{Host, LinkChange, Plan, Problems},
};

/// Wait before the host is asked again to do what it has refused.
const HOST_RETRY: Duration = Duration::from_secs(1);

/// Brings the host's routes and rules in line with the engine's wishes.
#[derive(Debug)]
pub struct HostWishes {
    plan: Plan,
    /// What was done of the last wishes.
    applied: Wishes,
    /// Whether the routes are to be looked at, whatever the wishes are.
    again: bool,
    /// Whether virtual routes and rules are to be brought in line.
    virtual_again: bool,
}

impl HostWishes {
    /// `applied` is how `install` has left the host.
    pub fn new(plan: Plan, applied: Wishes) -> Self {
        Self { plan, applied, again: false, virtual_again: true }
    }

    /// Another plan: its instances are masters or not as they were.
    pub fn replan(&mut self, plan: Plan) {
        self.plan = plan;
        let keys: Vec<u16> = self.plan.instances.iter().map(|instance| instance.key).collect();
        self.applied.retain(|id, _| keys.contains(&id.0));
        self.again = true;
    }

    /// Whether the change is one of an interface in use, for VIPs or by a virtual route.
    pub fn concern(&self, change: &LinkChange) -> bool {
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

    /// Returns when to try again, if not all of it could be done.
    pub async fn apply(&mut self, host: &mut Host, wished: &Wishes) -> Option<Instant> {
        let error = self.try_apply(host, wished).await.err()?;
        tracing::error!("the host's routing is not as it should be, trying again: {error:#}");
        Some(Instant::now() + HOST_RETRY)
    }

    async fn try_apply(&mut self, host: &mut Host, wished: &Wishes) -> Result<()> {
        let mut problems = Problems::default();
        for instance in &self.plan.instances {
            let id = InstanceId(instance.key);
            // Of one that is gone nothing is wished.
            let wish = wished.get(&id).copied().unwrap_or_default();
            let applied: &mut Wish = self.applied.entry(id).or_default();
            if wish.ownership() != applied.ownership() {
                self.virtual_again |= wish.master != applied.master;
                match host.set(instance.key, wish.ownership()).await {
                    Ok(()) => (applied.master, applied.takes_over) = (wish.master, wish.takes_over),
                    // The others must not wait for this one.
                    Err(error) => problems.note(Err(error)),
                }
            }
            if wish.masters_heard != applied.masters_heard && !wish.master {
                applied.masters_heard = wish.masters_heard;
                for link in &instance.links {
                    problems.note(host.forget_neighbours(link.ifindex, &link.vips).await);
                }
            }
        }
        if self.again {
            self.virtual_again = true;
            match host.install(&self.plan).await {
                Ok(()) => self.again = false,
                Err(error) => problems.note(Err(error)),
            }
        }
        if self.virtual_again {
            match host.sync_virtual().await {
                Ok(()) => self.virtual_again = false,
                Err(error) => problems.note(Err(error)),
            }
        }
        problems.into_result()
    }
}
