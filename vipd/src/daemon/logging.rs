//! Logging to standard error, through a thread of its own: a terminal that is stopped or a full pipe never holds up an
//! advert. Lines beyond the queue's 128,000 are lost, not waited for. What the journal reads looks as it likes it ([`journal`]). Events are
//! collected beside it, whatever `RUST_LOG` says.

use std::io::{self, IsTerminal, Write};

use tracing::Level;
use tracing_appender::non_blocking::WorkerGuard;
use tracing_subscriber::{
    EnvFilter, Layer,
    filter::{LevelFilter, filter_fn},
    layer::SubscriberExt,
    util::SubscriberInitExt,
};

use super::{
    clock,
    journal::{self, Lines},
};
use crate::{
    capabilities,
    events::{self, Collected},
};

/// Starts logging at the level of `RUST_LOG`, `info` by default, and the collection of events. Dropping the guard writes what
/// is left.
pub fn start() -> (WorkerGuard, Collected) {
    let (writer, guard) = tracing_appender::non_blocking(Unprivileged::new(io::stderr()));
    let filter = EnvFilter::builder()
        .with_default_directive(Level::INFO.into())
        .from_env_lossy()
        // It warns of every notification that is still under way when its socket is closed.
        .add_directive("netlink_proto=error".parse().expect("a directive"));
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(writer)
        .with_ansi(io::stderr().is_terminal())
        .event_format(if journal::reads(io::stderr()) { Lines::journal() } else { Lines::people() })
        .with_filter(filter);
    let (collector, collected) = events::collector(clock::unix_ms);
    let collector = collector.with_filter(filter_fn(events::is_event).with_max_level_hint(LevelFilter::INFO));
    if let Err(error) = tracing_subscriber::registry().with(lines).with(collector).try_init() {
        eprintln!("vipd: logging was started before: {error}");
    }
    (guard, collected)
}

/// A writer whose thread has no capability: it is the log's own, and needs none.
struct Unprivileged<W> {
    to: W,
    begun: bool,
}

impl<W> Unprivileged<W> {
    fn new(to: W) -> Self {
        Self { to, begun: false }
    }
}

impl<W: Write> Write for Unprivileged<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !self.begun {
            self.begun = true;
            // It is no worse off than before.
            let _ = capabilities::drop_all();
        }
        self.to.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}
