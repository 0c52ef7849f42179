//! Logging to standard error, through a thread of its own: a terminal that is stopped or a full pipe never holds up an
//! advert. Lines beyond the queue's 128,000 are lost, not waited for. What the journal reads looks as it likes it ([`journal`]).

use std::io::IsTerminal;

use tracing_appender::non_blocking::WorkerGuard;
use tracing_subscriber::EnvFilter;

use super::journal::{self, Lines};

/// Starts logging at the level of `RUST_LOG`, `info` by default. Dropping the guard writes what is left.
pub fn start() -> WorkerGuard {
    let (writer, guard) = tracing_appender::non_blocking(std::io::stderr());
    let filter = EnvFilter::builder()
        .with_default_directive(tracing::Level::INFO.into())
        .from_env_lossy()
        // It warns of every notification that is still under way when its socket is closed.
        .add_directive("netlink_proto=error".parse().expect("a directive"));
    let started = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer)
        .with_ansi(std::io::stderr().is_terminal())
        .event_format(if journal::reads(std::io::stderr()) { Lines::journal() } else { Lines::people() })
        .try_init();
    if let Err(error) = started {
        eprintln!("vipd: logging was started before: {error}");
    }
    guard
}
