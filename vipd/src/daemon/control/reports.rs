//! What is to be reported to the other nodes: the virtual routers with `cluster_report`, as they are now.

use super::super::router::Router;
use crate::{
    cluster::{Destination, ReportPeer, ReportPlan, Segment},
    host::is_within,
};
use vipd_config::Config;

/// The virtual routers that report.
pub fn plan(routers: &[Router], config: &Config) -> ReportPlan {
    ReportPlan {
        segments: routers.iter().filter_map(segment).collect(),
        key: config.cluster_report_key.clone(),
    }
}

fn segment(router: &Router) -> Option<Segment> {
    let spec = router.spec();
    let interval = spec.cluster_report?;
    let is_on_link = |address| router.subnets().iter().any(|subnet| is_within(address, *subnet));
    let to = match &spec.unicast {
        None => Destination::Group(spec.group),
        Some(unicast) => Destination::Peers(
            unicast
                .peers
                .iter()
                .map(|peer| ReportPeer {
                    address: peer.address,
                    min_ttl: peer.min_ttl,
                    on_link: is_on_link(peer.address),
                })
                .collect(),
        ),
    };
    Some(Segment {
        name: spec.name.clone(),
        family: spec.family,
        vrid: spec.vrid.get(),
        interval,
        ifindex: router.link().ifindex(),
        source: router.address(),
        to,
    })
}
