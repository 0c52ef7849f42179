//! The MACs of this host's own interfaces.
//!
//! A second interface on the network of a VIP, a slave of a bond or the parent of a macvlan may show up there with a MAC of its
//! own. What it says about a VIP is said by this host, and no conflict.

use std::collections::{BTreeMap, BTreeSet};

use vipd_common::wire::eth::MacAddr;

use crate::host::LinkChange;

/// Of all interfaces of the network namespace, by their indexes.
#[derive(Debug)]
pub struct OwnMacs(BTreeMap<u32, MacAddr>);

impl OwnMacs {
    pub fn new(by_interface: BTreeMap<u32, MacAddr>) -> Self {
        Self(by_interface)
    }

    /// Takes note of an interface; returns whether it has another MAC now.
    pub fn follow(&mut self, change: &LinkChange) -> bool {
        match change {
            LinkChange::State(link) => self.0.insert(link.ifindex, link.mac) != Some(link.mac),
            LinkChange::Gone { ifindex } => self.0.remove(ifindex).is_some(),
        }
    }

    pub fn all(&self) -> BTreeSet<MacAddr> {
        self.0.values().copied().filter(|mac| *mac != MacAddr::ZERO).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::LinkState;

    #[test]
    fn they_follow_the_interfaces() {
        let mac = |n| MacAddr([2, 0, 0, 0, 0, n]);
        let link = |ifindex, mac| LinkChange::State(LinkState { ifindex, mac, ..LinkState::absent("eth") });
        let mut own = OwnMacs::new(BTreeMap::from([(1, MacAddr::ZERO), (2, mac(2))]));
        assert_eq!(own.all(), BTreeSet::from([mac(2)]), "`lo` has none");
        assert!(own.follow(&link(3, mac(3))) && !own.follow(&link(3, mac(3))));
        // Slaves of a bond share one.
        assert!(own.follow(&link(2, mac(3))));
        assert_eq!(own.all(), BTreeSet::from([mac(3)]));
        assert!(
            own.follow(&LinkChange::Gone { ifindex: 2 }) && !own.follow(&LinkChange::Gone { ifindex: 2 })
        );
        assert_eq!(own.all(), BTreeSet::from([mac(3)]));
    }
}
