//! What the checks of one instance look at.

use vipd_common::{Family, Priority, Version};

use super::given::{Draft, Given, Values};
use crate::{
    model::instance::WantedState,
    syntax::{report::Report, span::Span},
};

/// One instance on its way into the model.
pub struct LowerContext<'c> {
    /// As the file has it.
    pub draft: &'c Draft,
    pub global: &'c Given,
    /// What holds for the instance: its own values, and those of `global_defs` where there are none, but for what `vrrp_strict`
    /// takes back.
    pub values: Values,
    /// `vrrp_strict` has taken the `authentication` back.
    pub is_without_authentication: bool,
    pub family: Family,
    pub version: Version,
    pub priority: Priority,
    pub wanted: WantedState,
    pub report: &'c mut Report,
}

impl<'c> LowerContext<'c> {
    pub fn new(draft: &'c Draft, global: &'c Given, family: Family, report: &'c mut Report) -> Self {
        Self {
            draft,
            global,
            values: draft.given.values.or(&global.values),
            is_without_authentication: false,
            family,
            version: Version::V2,
            priority: Priority::DEFAULT,
            wanted: WantedState::Backup,
            report,
        }
    }

    /// Where the instance gives a keyword.
    pub fn seen_at(&self, means: &str) -> Option<Span> {
        self.draft.given.seen_at(means)
    }
}
