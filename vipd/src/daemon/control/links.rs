//! Events about the interfaces of instances: there or gone, up or down, refused.

use std::collections::BTreeMap;

use super::super::router::Router;

/// How each interface was when it was told of last.
#[derive(Debug, Default)]
pub struct LinkEventLog(BTreeMap<String, LinkCondition>);

/// How the interface of an instance is.
#[derive(Clone, Debug, PartialEq, Eq)]
struct LinkCondition {
    exists: bool,
    up: bool,
    /// Why it cannot be used.
    refused: Option<String>,
}

impl LinkEventLog {
    /// Tells of the interfaces that are another way now.
    pub fn follow(&mut self, routers: &[Router]) {
        let links = routers.iter().flat_map(Router::links);
        let now: BTreeMap<String, LinkCondition> = links
            .map(|link| {
                let refused = link.refusal().map(str::to_owned);
                (link.name().to_owned(), LinkCondition { exists: link.exists(), up: link.is_up(), refused })
            })
            .collect();
        for (interface, condition) in &now {
            tell(interface, self.0.get(interface), condition);
        }
        self.0 = now;
    }
}

fn tell(interface: &str, before: Option<&LinkCondition>, now: &LinkCondition) {
    let LinkCondition { exists, up, refused } = now;
    match (before, refused) {
        (Some(LinkCondition { refused: known, .. }), Some(_)) if known == refused => {}
        (_, Some(reason)) => tracing::warn!(
            target: "vipd::event",
            event = "interface_refused",
            interface,
            reason,
            "the interface cannot be used"
        ),
        (Some(LinkCondition { exists: true, .. }), None) if !exists => {
            tracing::warn!(target: "vipd::event", event = "interface_lost", interface, "interface disappeared");
        }
        (Some(LinkCondition { exists: false, .. }), None) if *exists => {
            tracing::info!(target: "vipd::event", event = "interface_found", interface, "interface appeared");
        }
        (Some(LinkCondition { up: true, .. }), None) if !up => {
            tracing::warn!(target: "vipd::event", event = "link_down", interface, "link down");
        }
        (Some(LinkCondition { up: false, .. }), None) if *up => {
            tracing::info!(target: "vipd::event", event = "link_up", interface, "link up");
        }
        _ => {}
    }
}
