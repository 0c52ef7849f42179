//! Watches configured source addresses (`unicast_src_ip`, `mcast_src_ip`) that are on another interface than their instance's: of that
//! interface nothing is told.

use std::{collections::BTreeSet, mem};

use super::super::router::Router;

/// Interfaces of instances whose source had come or gone at the last look. The engine thread looks for itself, a moment later, and may have
/// seen another state: so it is told twice.
#[derive(Debug, Default)]
pub struct SourceAddresses(BTreeSet<u32>);

impl SourceAddresses {
    /// The interfaces of instances that are to follow their source address.
    pub fn changed(&mut self, routers: &[Router]) -> BTreeSet<u32> {
        let changed = routers.iter().filter(|router| router.source_has_changed());
        let changed: BTreeSet<u32> = changed.map(|router| router.link().ifindex()).collect();
        let again = mem::replace(&mut self.0, changed.clone());
        changed.into_iter().chain(again).collect()
    }
}
