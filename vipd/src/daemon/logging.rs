//! Logging to standard error, through a thread of its own: a terminal that is stopped or a full pipe never holds up an
//! advert. Lines beyond the queue's 128,000 are lost, not waited for. What a line looks like: [`Lines`]. Events are collected beside
//! it, whatever the level.
//!
//! A statement below the level costs a look at a static: `tracing` keeps for each whether anybody wants it.

use std::{
    env,
    io::{self, IsTerminal, Write},
};

use tracing_appender::non_blocking::WorkerGuard;
use tracing_subscriber::{
    EnvFilter, Layer, Registry,
    filter::{LevelFilter, filter_fn},
    layer::SubscriberExt,
    reload,
    util::SubscriberInitExt,
};

use super::{
    clock,
    journal::{self, Form, Lines},
};
use crate::{
    capabilities,
    control::LogLevel,
    events::{self, Collected},
};

/// What is logged, to be changed while vipd runs.
#[derive(Clone, Debug)]
pub struct Levels {
    handle: reload::Handle<EnvFilter, Registry>,
    present: LogSetting,
}

/// What is logged.
#[derive(Clone, Debug, PartialEq, Eq)]
enum LogSetting {
    Of(LogLevel),
    /// Directives of `RUST_LOG`.
    Directives(String),
}

impl LogSetting {
    /// That of `RUST_LOG`, or info.
    fn at_start() -> Self {
        let given = env::var("RUST_LOG").unwrap_or_default();
        match given.trim().to_lowercase().as_str() {
            "" | "info" => Self::Of(LogLevel::Info),
            "error" => Self::Of(LogLevel::Error),
            "warn" => Self::Of(LogLevel::Warn),
            "debug" => Self::Of(LogLevel::Debug),
            "trace" => Self::Of(LogLevel::Trace),
            _ => Self::Directives(given),
        }
    }

    fn filter(&self) -> EnvFilter {
        // netlink_proto warns of every notification that is still under way when its socket is closed.
        let directives = match self {
            Self::Of(LogLevel::Error) => "error".to_owned(),
            Self::Of(LogLevel::Warn) => "warn,netlink_proto=error".to_owned(),
            Self::Of(LogLevel::Info | LogLevel::Default) => "info,netlink_proto=error".to_owned(),
            // What the libraries have to say is hundreds of lines about loading a program.
            Self::Of(LogLevel::Debug) => "info,vipd=debug,netlink_proto=error".to_owned(),
            Self::Of(LogLevel::Trace) => "trace".to_owned(),
            Self::Directives(given) => format!("info,netlink_proto=error,{given}"),
        };
        EnvFilter::builder().parse_lossy(directives)
    }

    fn name(&self) -> &str {
        match self {
            Self::Of(LogLevel::Error) => "error",
            Self::Of(LogLevel::Warn) => "warn",
            Self::Of(LogLevel::Info | LogLevel::Default) => "info",
            Self::Of(LogLevel::Debug) => "debug",
            Self::Of(LogLevel::Trace) => "trace",
            Self::Directives(given) => given,
        }
    }
}

impl Levels {
    /// Logs at another level from now on, if one is given; returns the name of the level then.
    ///
    /// # Errors
    ///
    /// Logging has ended.
    pub fn set(&mut self, level: Option<LogLevel>) -> Result<String, String> {
        let Some(level) = level else { return Ok(self.present.name().to_owned()) };
        let level = if level == LogLevel::Default { LogSetting::at_start() } else { LogSetting::Of(level) };
        self.handle
            .reload(level.filter())
            .map_err(|error| format!("the level cannot be changed: {error}"))?;
        self.present = level;
        tracing::info!(level = self.present.name(), "logging at another level");
        Ok(self.present.name().to_owned())
    }
}

/// Starts logging at the level of `RUST_LOG`, `info` by default, and the collection of events. Dropping the guard writes what
/// is left.
pub fn start(form: Form) -> (WorkerGuard, Collected, Levels) {
    let (writer, guard) = tracing_appender::non_blocking(Unprivileged::new(io::stderr()));
    let level = LogSetting::at_start();
    let (filter, handle) = reload::Layer::new(level.filter());
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(writer)
        .with_ansi(io::stderr().is_terminal())
        .event_format(Lines::new(form, journal::reads(io::stderr())))
        .with_filter(filter);
    let (collector, collected) = events::collector(clock::unix_ms);
    let collector = collector.with_filter(filter_fn(events::is_event).with_max_level_hint(LevelFilter::INFO));
    if let Err(error) = tracing_subscriber::registry().with(lines).with(collector).try_init() {
        eprintln!("vipd: logging was started before: {error}");
    }
    (guard, collected, Levels { handle, present: level })
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
