//! Sync groups: instances that are master together or not at all.

use std::collections::HashMap;

use super::{notify, tracking};
use crate::{
    model::{config::Config, group::SyncGroup},
    schema::{
        statement::{Statement, find, text},
        value::Value,
    },
    syntax::{diagnostic::Code, report::Report, span::Span},
};

/// `vrrp_sync_group`.
pub fn group(block: &Statement) -> SyncGroup {
    let inside = block.inside.as_deref().unwrap_or_default();
    let lines = inside.iter().filter(|statement| statement.keyword == "group").flat_map(Statement::lines);
    let name = |value: &Value| if let Value::Of(_, name) = value { Some(name.clone()) } else { None };
    SyncGroup {
        name: text(&block.values, 0).to_owned(),
        members: lines.flat_map(|line| &line.values).filter_map(name).collect(),
        tracking_weight: find(inside, "sync_group_tracking_weight").is_some(),
        tracks: tracking::tracks(inside),
        notify: notify::notify(inside),
        notify_priority_changes: notify::priority_changes(inside),
    }
}

/// What the members of a group must have in common; `members`: where each is named.
pub fn check(config: &Config, members: &HashMap<String, Span>, report: &mut Report) {
    for group in &config.sync_groups {
        if !group.tracking_weight {
            for instance in config.members(group).filter(|instance| instance.weighs_heartbeats()) {
                let Some(at) = members.get(&instance.name) else { continue };
                let message = format!("the weights of heartbeat interfaces of {} are ignored", instance.name);
                let hint = "in a sync group they count with `sync_group_tracking_weight` only";
                report.warning(Code::Ignored, *at, message, hint);
            }
        }
        let mut instances = config.members(group);
        let Some(first) = instances.next() else { continue };
        for other in instances {
            let Some(at) = members.get(&other.name) else { continue };
            let differ = |what: &str| format!("{} and {} differ in {what}", first.name, other.name);
            if first.lease != other.lease {
                let hint = "the instances of a sync group share a lease: write `lease` in global_defs";
                report.error_hint(Code::Conflict, *at, differ("`lease`"), hint);
            }
            if first.priority.is_owner() != other.priority.is_owner() {
                let hint = "an address owner is master at once, and a sync group is master as one";
                report.error_hint(Code::Conflict, *at, differ("`priority 255`"), hint);
            }
        }
    }
}
