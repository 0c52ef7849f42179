//! Events about the interfaces of instances: there or gone, up or down, refused.

use std::collections::BTreeMap;

use super::super::router::Router;

/// How each interface was when it was told of last.
#[derive(Debug, Default)]
pub struct LinkEventLog(BTreeMap<String, Condition>);

/// How the interface of an instance is.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Condition {
    exists: bool,
    up: bool,
    /// Why it cannot be used.
    refused: Option<String>,
}

impl LinkEventLog {
    /// Tells of the interfaces that are another way now.
    pub fn follow(&mut self, routers: &[Router]) {
        let links = routers.iter().flat_map(Router::links);
        let now: BTreeMap<String, Condition> = links
            .map(|link| {
                let refused = link.refusal().map(str::to_owned);
                (link.name().to_owned(), Condition { exists: link.exists(), up: link.is_up(), refused })
            })
            .collect();
        for (interface, condition) in &now {
            tell(interface, self.0.get(interface), condition);
        }
        self.0 = now;
    }
}

fn tell(interface: &str, before: Option<&Condition>, now: &Condition) {
    let Condition { exists, up, refused } = now;
    match (before, refused) {
        (Some(Condition { refused: known, .. }), Some(_)) if known == refused => {}
        (_, Some(reason)) => tracing::warn!(
            target: "vipd::event",
            event = "interface_refused",
            interface,
            reason,
            "the interface cannot be used"
        ),
        (Some(Condition { exists: true, .. }), None) if !exists => {
            tracing::warn!(target: "vipd::event", event = "interface_lost", interface, "interface disappeared");
        }
        (Some(Condition { exists: false, .. }), None) if *exists => {
            tracing::info!(target: "vipd::event", event = "interface_found", interface, "interface appeared");
        }
        (Some(Condition { up: true, .. }), None) if !up => {
            tracing::warn!(target: "vipd::event", event = "link_down", interface, "link down");
        }
        (Some(Condition { up: false, .. }), None) if *up => {
            tracing::info!(target: "vipd::event", event = "link_up", interface, "link up");
        }
        _ => {}
    }
}
