//! The queue from `tracing` events to the journal. No thread ever waits for it.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use serde_json::Value;
use tokio::sync::mpsc;
use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{Layer, layer::Context};

use super::Record;

/// Length of the queue. While the main thread is delayed, more events than these are dropped.
const ON_THE_WAY: usize = 1024;

/// Takes the events that its filter lets through.
#[derive(Debug)]
pub struct Collector {
    records: mpsc::Sender<Record>,
    lost: Arc<AtomicU64>,
    unix_ms: fn() -> u64,
}

/// The other end of the queue.
#[derive(Debug)]
pub struct Collected {
    records: mpsc::Receiver<Record>,
    lost: Arc<AtomicU64>,
}

/// Both ends of the queue; `unix_ms` is the clock.
pub fn collector(unix_ms: fn() -> u64) -> (Collector, Collected) {
    let (records, queue) = mpsc::channel(ON_THE_WAY);
    let lost = Arc::new(AtomicU64::new(0));
    (Collector { records, lost: Arc::clone(&lost), unix_ms }, Collected { records: queue, lost })
}

impl<S: Subscriber> Layer<S> for Collector {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let Fields { name, message, others } = fields;
        let record = Record {
            seq: 0,
            time_unix_ms: (self.unix_ms)(),
            level: event.metadata().level().to_string(),
            event: name,
            message,
            fields: others,
        };
        if self.records.try_send(record).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Collected {
    /// The next event, without a number, and how many were dropped since the last; `None` at the end.
    pub async fn next(&mut self) -> Option<(Record, u64)> {
        let record = self.records.recv().await?;
        Some((record, self.lost.swap(0, Ordering::Relaxed)))
    }
}

/// The fields of one event.
#[derive(Default)]
struct Fields {
    name: String,
    message: String,
    others: BTreeMap<String, Value>,
}

impl Fields {
    fn add(&mut self, field: &Field, value: impl Into<Value>) {
        match (field.name(), value.into()) {
            ("event", Value::String(text)) => self.name = text,
            ("message", Value::String(text)) => self.message = text,
            (name, value) => _ = self.others.insert(name.to_owned(), value),
        }
    }
}

impl Visit for Fields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field, format!("{value:?}"));
    }
}
