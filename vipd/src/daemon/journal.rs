//! What a line of the log looks like: with time and level for people, and with a priority in front, `<4>`, for the journal,
//! which has a time of its own (sd-daemon(3)).
//!
//! Through standard error and its thread, not over the journal's own socket: a journal that is busy holds up no advert.

use std::{env, fmt, io::Write as _, os::fd::AsFd};

use nix::sys::stat::fstat;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::{
    fmt::{
        FmtContext, FormatEvent, FormatFields,
        format::{Format, Full, Writer, format},
        time::SystemTime,
    },
    registry::LookupSpan,
};

/// Whether the journal is at the other end: it says in `JOURNAL_STREAM` which file that would be.
pub fn reads(file: impl AsFd) -> bool {
    env::var("JOURNAL_STREAM").is_ok_and(|stream| is_stream(&stream, file))
}

/// Whether a file is the `DEVICE:INODE` that is named.
fn is_stream(stream: &str, file: impl AsFd) -> bool {
    fstat(file).is_ok_and(|stat| format!("{}:{}", stat.st_dev, stat.st_ino) == stream)
}

/// Says on standard error, outside of the log, what has gone wrong.
pub fn complain(text: &str) {
    let mut out = std::io::stderr().lock();
    let text = if reads(std::io::stderr()) { prefixed(Level::ERROR, text) } else { format!("{text}\n") };
    // There is nowhere else to say it.
    let _ = out.write_all(text.as_bytes());
}

/// To the journal each line is a message of its own.
fn prefixed(level: Level, text: &str) -> String {
    text.lines().map(|line| format!("<{}>{line}\n", priority(level))).collect()
}

/// How an event becomes lines.
#[derive(Debug)]
pub enum Lines {
    People(Format<Full, SystemTime>),
    Journal(Format<Full, ()>),
}

impl Lines {
    pub fn people() -> Self {
        Self::People(format().with_target(false))
    }

    pub fn journal() -> Self {
        Self::Journal(format().with_target(false).with_level(false).with_ansi(false).without_time())
    }
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        match self {
            Self::People(format) => format.format_event(context, writer, event),
            Self::Journal(format) => {
                let mut text = String::new();
                format.format_event(context, Writer::new(&mut text), event)?;
                writer.write_str(&prefixed(*event.metadata().level(), &text))
            }
        }
    }
}

/// As syslog(3) numbers them.
fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        Level::DEBUG | Level::TRACE => 7,
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs::File,
        io,
        os::unix::fs::MetadataExt,
        sync::{Arc, Mutex},
    };

    use super::*;

    /// Keeps what is logged.
    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(lines: Lines, log: impl FnOnce()) -> String {
        let kept = Kept::default();
        let writer = kept.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .event_format(lines)
            .finish();
        tracing::subscriber::with_default(subscriber, log);
        let bytes = kept.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn every_line_for_the_journal_has_its_priority_and_no_time() {
        let text = logged(Lines::journal(), || {
            tracing::info!(instance = "VI_1", "state changed");
            tracing::warn!("k.conf:4: odd\n  priority 7\n  ^^^^");
            tracing::error!("lost");
        });
        assert_eq!(
            text,
            "<6>state changed instance=\"VI_1\"\n<4>k.conf:4: odd\n<4>  priority 7\n<4>  ^^^^\n<3>lost\n"
        );
    }

    #[test]
    fn people_see_time_and_level() {
        let text = logged(Lines::people(), || tracing::warn!("odd"));
        let (time, rest) = text.split_once(' ').unwrap();
        assert!(time.ends_with('Z') && rest.trim_start() == "WARN odd\n", "{text:?}");
    }

    #[test]
    fn the_journal_is_known_by_its_file() {
        let file = File::open("/dev/null").unwrap();
        let metadata = file.metadata().unwrap();
        let (device, inode) = (metadata.dev(), metadata.ino());
        assert!(is_stream(&format!("{device}:{inode}"), &file));
        for other in [format!("{device}:{}", inode + 1), format!("{}:{inode}", device + 1), String::new()] {
            assert!(!is_stream(&other, &file), "{other}");
        }
    }
}
