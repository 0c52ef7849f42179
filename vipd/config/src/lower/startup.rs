//! `vrrp_startup_delay`, `startup_script` and what belongs to them.

use std::time::Duration;

use super::notify::command_of;
use crate::{
    model::startup::{Startup, TimedCommand},
    schema::statement::{Statement, find, number_of, seconds},
};

/// What `global_defs` says of the start and the stop.
pub fn startup(global: &[Statement]) -> Startup {
    let delay = |keyword| find(global, keyword).and_then(|given| seconds(given, 0)).unwrap_or_default();
    let timed = |keyword, timeout| {
        let timeout = number_of(global, timeout).and_then(|s| u64::try_from(s).ok());
        let timeout = timeout.map_or(TIMEOUT, Duration::from_secs);
        Some(TimedCommand { command: command_of(global, keyword)?, timeout })
    };
    Startup {
        delay: delay("vrrp_startup_delay"),
        delay_after_boot: delay("vrrp_delay_after_boot"),
        script: timed("startup_script", "startup_script_timeout"),
        shutdown_script: timed("shutdown_script", "shutdown_script_timeout"),
    }
}

/// keepalived's.
const TIMEOUT: Duration = Duration::from_secs(10);
