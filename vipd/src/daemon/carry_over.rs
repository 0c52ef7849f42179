//! Leases of another version's maps: taken over when vipd is updated, so that a mastership goes on.

use std::collections::BTreeSet;

use anyhow::{Context, Result};

use super::{clock, router::Router};
use crate::{
    dataplane::{Pages, Predecessor},
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
    deadline: Instant,
    /// Where it is now.
    lease: GroupId,
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
        for (i, predecessor) in self.predecessors.iter().enumerate() {
            let held = predecessor.leases().unwrap_or_else(|error| {
                tracing::warn!("the leases of an earlier version are discarded: {error:#}");
                Vec::new()
            });
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
                let (from, deadline) = (first.lease_slot, *deadline);
                self.carried.push(Carried { predecessor: i, from, deadline, lease: *lease });
            }
        }
    }

    /// Releases what the predecessor's program has revoked since.
    pub fn release_revoked(&self, pages: &Pages) {
        for Carried { predecessor, from, deadline, lease } in &self.carried {
            if self.predecessors[*predecessor].lease(*from).is_ok_and(|now| now != *deadline) {
                pages.leases().release(lease.slot());
            }
        }
    }

    /// Ends it when this version's program is attached everywhere: until then the predecessor's may have revoked what was
    /// carried over.
    pub fn finish(&mut self, pages: &Pages) -> Result<()> {
        for Carried { predecessor, from, deadline, lease } in self.carried.drain(..) {
            let stands = self.predecessors[predecessor].lease(from).is_ok_and(|now| now == deadline);
            if !stands {
                pages.leases().release(lease.slot());
            }
        }
        let mut predecessors = self.predecessors.drain(..);
        predecessors.try_for_each(Predecessor::remove).context("remove an earlier version's pins")
    }
}
