//! What a line of the log looks like: with time and level for people, as a JSON object for programs, and with a priority in front,
//! `<4>`, for the journal, which has a time of its own (sd-daemon(3)).
//!
//! An event is one line, unless its message has several: then each has time and level. A value with blanks is quoted, and no value
//! starts a line.
//!
//! Through standard error and its thread, not over the journal's own socket: a journal that is busy holds up no advert.

use std::{env, fmt, io::Write as _, os::fd::AsFd};

use anstyle::{AnsiColor, Style};
use clap::ValueEnum;
use nix::sys::stat::fstat;
use serde_json::{Map, Value, json};
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    fmt::{
        FmtContext, FormatEvent, FormatFields,
        format::Writer,
        time::{FormatTime, SystemTime},
    },
    registry::LookupSpan,
};

/// How lines are written (`--log-format`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Form {
    /// Lines for people; under systemd with the priority in front and without a time
    #[default]
    Text,
    /// One JSON object a line: time, level, message, and the fields of the event
    Json,
}

/// Whether the journal is at the other end: it says in `JOURNAL_STREAM` which file that would be.
pub fn reads(file: impl AsFd) -> bool {
    env::var("JOURNAL_STREAM").is_ok_and(|stream| is_stream(&stream, file))
}

/// Whether a file is the `DEVICE:INODE` that is named.
fn is_stream(stream: &str, file: impl AsFd) -> bool {
    fstat(file).is_ok_and(|stat| format!("{}:{}", stat.st_dev, stat.st_ino) == stream)
}

/// Says on standard error, outside of the log, what has gone wrong, as a log line of that form would.
pub fn complain_as(form: Form, text: &str) {
    match form {
        Form::Text => complain(text),
        Form::Json => {
            let line = json!({ "level": Level::ERROR.as_str(), "message": text }).to_string();
            complain(&line);
        }
    }
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
#[derive(Clone, Copy, Debug)]
pub struct Lines {
    form: Form,
    /// The journal reads them.
    journal: bool,
}

impl Lines {
    pub fn new(form: Form, journal: bool) -> Self {
        Self { form, journal }
    }

    fn write_text(self, level: Level, fields: &LineFields, writer: &mut Writer<'_>) -> fmt::Result {
        let LineFields { message, others } = fields;
        let mut lines: Vec<&str> = message.lines().collect();
        if lines.is_empty() {
            lines.push("");
        }
        let last = lines.len() - 1;
        for (n, line) in lines.into_iter().enumerate() {
            self.write_head(level, writer)?;
            writer.write_str(&escaped(line))?;
            for (name, value, is_text) in others.iter().filter(|_| n == last) {
                let value = shown(value, *is_text);
                write!(writer, " {name}={value}")?;
            }
            writer.write_char('\n')?;
        }
        Ok(())
    }

    fn write_head(self, level: Level, writer: &mut Writer<'_>) -> fmt::Result {
        if self.journal {
            return write!(writer, "<{}>", priority(level));
        }
        let (dim, colour) = match writer.has_ansi_escapes() {
            true => (Style::new().dimmed(), colour(level)),
            false => (Style::new(), Style::new()),
        };
        write!(writer, "{dim}")?;
        SystemTime.format_time(writer)?;
        write!(writer, "{dim:#} {colour}{level:>5}{colour:#} ")
    }

    fn write_json(self, level: Level, fields: LineFields, writer: &mut Writer<'_>) -> fmt::Result {
        let mut time = String::new();
        SystemTime.format_time(&mut Writer::new(&mut time))?;
        let mut object = Map::new();
        object.insert("time".into(), time.into());
        object.insert("level".into(), level.as_str().into());
        object.insert("message".into(), fields.message.into());
        object.extend(fields.others.into_iter().map(|(name, value, _)| (name.to_owned(), value)));
        if self.journal {
            write!(writer, "<{}>", priority(level))?;
        }
        writeln!(writer, "{}", Value::Object(object))
    }
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut fields = LineFields::default();
        event.record(&mut fields);
        let level = *event.metadata().level();
        match self.form {
            Form::Text => self.write_text(level, &fields, &mut writer),
            Form::Json => self.write_json(level, fields, &mut writer),
        }
    }
}

/// The fields of an event, in their order.
#[derive(Default)]
struct LineFields {
    message: String,
    /// With whether it was given as text, not as something that has a text.
    others: Vec<(&'static str, Value, bool)>,
}

impl LineFields {
    fn add(&mut self, field: &Field, value: Value, is_text: bool) {
        match (field.name(), value) {
            ("message", Value::String(text)) => self.message = text,
            // What the `log` crate adds to a record of its own.
            (name, _) if name.starts_with("log.") => {}
            (name, value) => self.others.push((name, value, is_text)),
        }
    }
}

impl Visit for LineFields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field, value.into(), false);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, value.into(), false);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, value.into(), false);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, value.into(), false);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, value.into(), true);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field, format!("{value:?}").into(), false);
    }
}

/// Quoted where it is given as text, or could be read as more than one word.
fn shown(value: &Value, is_text: bool) -> String {
    match value {
        Value::String(text) if is_word(text) && !is_text => text.clone(),
        Value::String(text) => format!("{text:?}"),
        other => other.to_string(),
    }
}

fn is_word(text: &str) -> bool {
    !text.is_empty()
        && !text.contains(|c: char| c.is_whitespace() || c.is_control() || matches!(c, '"' | '='))
}

/// Without control characters but tabs.
fn escaped(line: &str) -> String {
    let escape = |c: char| match c {
        c if c.is_control() && c != '\t' => c.escape_default().to_string(),
        c => c.to_string(),
    };
    line.chars().map(escape).collect()
}

fn colour(level: Level) -> Style {
    match level {
        Level::ERROR => AnsiColor::Red.on_default(),
        Level::WARN => AnsiColor::Yellow.on_default(),
        Level::INFO => AnsiColor::Green.on_default(),
        Level::DEBUG => AnsiColor::Blue.on_default(),
        Level::TRACE => AnsiColor::Magenta.on_default(),
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
        let text = logged(Lines::new(Form::Text, true), || {
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
        let text = logged(Lines::new(Form::Text, false), || tracing::warn!("odd"));
        let (time, rest) = text.split_once(' ').unwrap();
        assert!(time.ends_with('Z') && rest.trim_start() == "WARN odd\n", "{text:?}");
    }

    #[test]
    fn a_value_with_blanks_is_quoted_and_starts_no_line() {
        let text = logged(Lines::new(Form::Text, true), || {
            let outcome = format_args!("exit code 1").to_string();
            tracing::info!(instance = "VI_1", from = %"BACKUP", %outcome, count = 3, up = true, "failed");
            tracing::info!(text = "a\nb \"c\" d=e\u{1b}[2J", "odd \u{1b}[2J");
        });
        assert_eq!(
            text,
            "<6>failed instance=\"VI_1\" from=BACKUP outcome=\"exit code 1\" count=3 up=true\n\
             <6>odd \\u{1b}[2J text=\"a\\nb \\\"c\\\" d=e\\u{1b}[2J\"\n"
        );
    }

    #[test]
    fn each_line_of_a_message_has_time_and_level() {
        let text = logged(Lines::new(Form::Text, false), || tracing::error!(n = 1, "one\n  two"));
        let lines: Vec<_> = text.lines().map(|line| line.split_once("Z ERROR ").unwrap().1).collect();
        assert_eq!(lines, ["one", "  two n=1"]);
    }

    #[test]
    fn programs_get_an_object_a_line() {
        let text = logged(Lines::new(Form::Json, false), || {
            tracing::info!(event = "state_changed", instance = "VI_1", priority = 150, to = %"MASTER", "state\nchanged");
        });
        assert_eq!(text.lines().count(), 1, "{text}");
        let line: Value = serde_json::from_str(&text).unwrap();
        assert!(line["time"].as_str().unwrap().ends_with('Z'));
        let fields = ["level", "message", "event", "instance", "to"].map(|name| line[name].as_str().unwrap());
        assert_eq!(fields, ["INFO", "state\nchanged", "state_changed", "VI_1", "MASTER"]);
        assert_eq!(line["priority"], 150);
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
