//! Watches configured source addresses (`unicast_src_ip`, `mcast_src_ip`) that are on another interface than their instance's: of that
//! interface nothing is told.

use std::{collections::BTreeSet, mem};

use super::{driver::Message, main_loop::MainLoop};
use crate::host::LinkChange;

/// Interfaces of instances whose source had come or gone at the last look. The engine thread looks for itself, a moment later, and may have
/// seen another state: so it is told twice.
#[derive(Debug, Default)]
pub struct Sources(BTreeSet<u32>);

impl MainLoop<'_> {
    /// Has the instances whose source address has come or gone follow it.
    pub async fn check_sources(&mut self) {
        let changed = self.routers.iter().filter(|router| router.source_has_changed());
        let changed: BTreeSet<u32> = changed.map(|router| router.link().ifindex).collect();
        let again = mem::replace(&mut self.sources.0, changed.clone());
        for ifindex in changed.into_iter().chain(again) {
            // One that is gone meanwhile is told of by the kernel.
            let Ok(link) = self.made.host.link_by_index(ifindex).await else { continue };
            let change = LinkChange::State(link);
            self.follow(&change);
            self.send(Message::Link(change)).await;
        }
    }
}
