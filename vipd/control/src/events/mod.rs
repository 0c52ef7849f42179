//! Events for the operator: collected from the log, kept in a journal, and shown by `vipd events`.
//!
//! An event is a `tracing` event with the target `vipd::event` and a field `event`, its name; `docs/operate/events.md` lists them
//! all. [`Collector`] takes them on any thread and never waits; [`Journal`] keeps the last ones on the main thread. The queue
//! between them holds 1,024; dropped events are counted and reported. [`Store`] writes what is kept to disk.

mod collector;
mod journal;
mod names;
mod store;
#[cfg(test)]
mod tests;
mod text;

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tracing::{Level, Metadata};

pub use collector::{Collected, Collector, collector};
pub use journal::{Followed, Journal};
pub use names::NAMES;
pub use store::{Store, StoreWriter};
pub use text::{render, time_us};

/// What goes on (clients that are turned away, news that is skipped) is one event in this time, with the number.
pub const SAY_EVERY: Duration = Duration::from_secs(60);
/// Events that are kept.
const KEPT: usize = 1000;
/// The target of events.
const TARGET: &str = "vipd::event";

/// Whether the collector takes it.
pub fn is_event(metadata: &Metadata<'_>) -> bool {
    metadata.target() == TARGET && *metadata.level() <= Level::INFO
}

/// One event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Its number, from 1 on; a restart goes on counting.
    pub seq: u64,
    pub time_unix_ms: u64,
    /// `ERROR`, `WARN` or `INFO`.
    pub level: String,
    /// Its name.
    pub event: String,
    pub message: String,
    pub fields: BTreeMap<String, Value>,
}

/// Filter for events.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventFilter {
    /// Only events after this number; absent: all that are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<u64>,
    /// Only events of this instance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// Only events of this name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<String>,
    /// Only events of this time or later, in milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since_unix_ms: Option<u64>,
    /// Only events before this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until_unix_ms: Option<u64>,
}

/// Events, and how many before them are no longer kept.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EventRange {
    pub lost: u64,
    pub events: Vec<Record>,
}

impl EventFilter {
    fn has(&self, record: &Record) -> bool {
        let of = |name: &String| record.fields.get("instance").is_some_and(|value| value == name);
        self.since.is_none_or(|since| record.seq > since)
            && self.instance.as_ref().is_none_or(of)
            && self.event.as_ref().is_none_or(|name| *name == record.event)
            && self.since_unix_ms.is_none_or(|since| record.time_unix_ms >= since)
            && self.until_unix_ms.is_none_or(|until| record.time_unix_ms < until)
    }
}
