//! Sync groups: instances that are master together or not at all.

use std::collections::HashMap;

use super::{
    diagnostic::Code,
    grammar::Value,
    lexer::Span,
    model::{Config, Instance, Statement},
    report::Report,
    statement::{find, text},
};

/// One `vrrp_sync_group`.
#[derive(Clone, Debug, PartialEq)]
pub struct SyncGroup {
    pub name: String,
    /// Names of instances; no other group has them.
    pub members: Vec<String>,
    /// `sync_group_tracking_weight`: what members track themselves may have weights.
    pub weighted: bool,
    pub statements: Vec<Statement>,
}

impl SyncGroup {
    /// All of a configuration.
    pub fn of(config: &Config) -> Vec<Self> {
        config.blocks.iter().filter(|block| block.keyword == "vrrp_sync_group").map(Self::new).collect()
    }

    fn new(block: &Statement) -> Self {
        let statements = block.inside.clone().unwrap_or_default();
        let lines =
            statements.iter().filter(|s| s.keyword == "group").flat_map(|s| s.inside.iter().flatten());
        let name = |value: &Value| if let Value::Of(_, name) = value { Some(name.clone()) } else { None };
        Self {
            name: text(&block.values, 0).to_owned(),
            members: lines.flat_map(|line| &line.values).filter_map(name).collect(),
            weighted: find(&statements, "sync_group_tracking_weight").is_some(),
            statements,
        }
    }

    /// Its members in the order of the configuration.
    pub fn instances<'c>(&self, config: &'c Config) -> impl Iterator<Item = &'c Instance> {
        config.instances.iter().filter(|instance| self.members.contains(&instance.name))
    }
}

/// What the members of a group must have in common; `members`: where each is named.
pub fn check(config: &Config, members: &HashMap<String, Span>, report: &mut Report) {
    for group in SyncGroup::of(config) {
        if !group.weighted && group.members.len() > 1 {
            for instance in group.instances(config).filter(|instance| instance.weighs_heartbeats()) {
                let Some(at) = members.get(&instance.name) else { continue };
                let message = format!("the weights of heartbeat interfaces of {} are ignored", instance.name);
                let hint = "in a sync group they count with `sync_group_tracking_weight` only";
                report.warning(Code::Ignored, *at, message, hint);
            }
        }
        let mut instances = group.instances(config);
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
