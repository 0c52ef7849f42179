//! What is written when a signal asks for it, and where: `state_dump_file` and what belongs to it.

use super::{
    model::{Config, Statement},
    statement::{find, number, text},
};

/// Where dumps go, and what they look like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dumps {
    /// `state_dump_file`; this and the next two: `None`: keepalived's place.
    pub data_file: Option<String>,
    pub stats_file: Option<String>,
    pub json_file: Option<String>,
    /// 1 or 2.
    pub json_version: u8,
    /// `instance`, if `data_use_instance` wants it in the name of the first.
    pub instance: Option<String>,
}

impl Dumps {
    pub fn of(config: &Config) -> Self {
        let global = &config.statements;
        let version = find(global, "json_version").and_then(|given| number(&given.values));
        let named = find(global, "data_use_instance").is_some_and(Statement::is_on);
        Self {
            data_file: given(global, "state_dump_file"),
            stats_file: given(global, "stats_dump_file"),
            json_file: given(global, "json_dump_file"),
            json_version: version.and_then(|version| u8::try_from(version).ok()).unwrap_or(1),
            instance: given(&config.blocks, "instance").filter(|_| named),
        }
    }
}

fn given(statements: &[Statement], keyword: &str) -> Option<String> {
    find(statements, keyword).map(|given| text(&given.values, 0).to_owned())
}
