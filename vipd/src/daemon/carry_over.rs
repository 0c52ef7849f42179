//! Leases of another version's maps: taken over when vipd is updated, so that a mastership goes on.

use std::{collections::BTreeSet, sync::Arc};

use anyhow::{Context, Result};

use super::{clock, router::Router};
use crate::{
    dataplane::{FormerLeases, Pages, Predecessor},
    time::Instant,
    vrrp::GroupId,
};

/// What vipds of other versions have left, and which of their leases go on.
#[derive(Debug, Default)]
pub struct CarryOver {
    predecessors: Vec<Predecessor>,
    carried: Vec<Carried>,
}

/// A lease that an earlier version's vipd held.
#[derive(Debug)]
struct Carried {
    /// Which of the predecessors.
    predecessor: usize,
    /// Where it was.
    from: u32,
    /// Where it is now.
    lease: GroupId,
    /// Whether the engine renews it where it was, too.
    is_followed: bool,
}

impl CarryOver {
    /// Nothing is carried over yet.
    pub fn new(predecessors: Vec<Predecessor>) -> Self {
        Self { predecessors, carried: Vec::new() }
    }

    /// Takes over the leases that another version's maps hold for the same virtual routers; that of a sync group if it is of all
    /// its routers. Not before the table of VIPs is this configuration's: an earlier table of this version may have other VIPs
    /// in the same slots.
    pub fn begin(&mut self, routers: &[Router], pages: &Pages) {
        let groups: BTreeSet<GroupId> = routers.iter().map(Router::lease).collect();
        let mut former = FormerLeases::default();
        for (i, predecessor) in self.predecessors.iter().enumerate() {
            let held = predecessor.leases().unwrap_or_else(|error| {
                tracing::warn!("the leases of an earlier version are discarded: {error:#}");
                Vec::new()
            });
            let page = match predecessor.page() {
                Ok(page) => Some(Arc::new(page)),
                Err(error) => {
                    tracing::debug!("the leases of an earlier version are not renewed: {error:#}");
                    None
                }
            };
            for lease in &groups {
                let members = routers.iter().filter(|router| router.lease() == *lease);
                let heads = members.map(|router| held.iter().find(|(head, _)| head.key == router.key()));
                let Some(heads) = heads.collect::<Option<Vec<_>>>() else { continue };
                let Some((first, deadline)) = heads.first() else { continue };
                let same = heads.iter().all(|(head, _)| head.lease_slot == first.lease_slot);
                let slot = lease.slot();
                if !same || *deadline <= clock::now() || pages.leases().read(slot) >= *deadline {
                    continue;
                }
                pages.leases().acquire(slot, *deadline);
                let from = first.lease_slot;
                if let Some(page) = &page {
                    former.add(slot, page.clone(), from);
                }
                let is_followed = page.is_some();
                self.carried.push(Carried { predecessor: i, from, lease: *lease, is_followed });
            }
        }
        pages.leases().lead(former);
    }

    /// Releases what the predecessor's program has revoked since.
    pub fn release_revoked(&self, pages: &Pages) {
        for carried in &self.carried {
            if carried.is_the_same(pages)
                && self.predecessors[carried.predecessor].lease(carried.from).is_ok_and(is_revoked)
            {
                pages.leases().release(carried.lease.slot());
            }
        }
    }

    /// Ends it when this version's program is attached everywhere: until then the predecessor's may have revoked what was
    /// carried over.
    pub fn finish(&mut self, pages: &Pages) -> Result<()> {
        for carried in self.carried.drain(..) {
            let stands =
                self.predecessors[carried.predecessor].lease(carried.from).is_ok_and(|now| !is_revoked(now));
            if carried.is_the_same(pages) && !stands {
                pages.leases().release(carried.lease.slot());
            }
        }
        pages.leases().lead(FormerLeases::default());
        let mut predecessors = self.predecessors.drain(..);
        predecessors.try_for_each(Predecessor::remove).context("remove an earlier version's pins")
    }
}

impl Carried {
    /// Whether this node still holds the lease that was carried over, not another one that it has acquired since.
    fn is_the_same(&self, pages: &Pages) -> bool {
        !self.is_followed || pages.leases().leads(self.lease.slot())
    }
}

/// Whether the program, or the engine as it gave the lease up, has written so.
fn is_revoked(deadline: Instant) -> bool {
    deadline == Instant::default()
}
