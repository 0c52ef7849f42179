//! What a virtual router announces when it becomes master, and how fast.

use std::sync::Arc;

use super::virtual_router::Router;
use crate::announce::{AnnouncedAddress, Pace};

/// Each VIP on its interface, with the MAC that it is answered for with.
pub fn announced(router: &Router) -> Arc<[AnnouncedAddress]> {
    router
        .answering()
        .flat_map(|(link, mac)| {
            link.vips().iter().map(move |vip| AnnouncedAddress {
                ifindex: link.ifindex(),
                mac,
                address: *vip,
            })
        })
        .collect()
}

/// The configured pause between two announcements.
pub fn pace(router: &Router) -> Pace {
    let garp = &router.spec().garp;
    Pace { arp: garp.interval, na: garp.gna_interval }
}
