//! Events for people: `vipd events`.

use std::{fmt::Write as _, io};

use serde_json::{Value, json};

use super::{EventRange, Record};
use vipd_system::calendar::date;

/// Writes a line for each event, and one before them if some were lost.
pub fn render(out: &mut impl io::Write, batch: &EventRange, json: bool) -> io::Result<()> {
    if batch.lost > 0 {
        match json {
            true => writeln!(out, "{}", json!({ "lost": batch.lost }))?,
            false => writeln!(out, "({} events lost)", batch.lost)?,
        }
    }
    for record in &batch.events {
        match json {
            true => writeln!(out, "{}", serde_json::to_string(record)?)?,
            false => writeln!(out, "{}", line(record))?,
        }
    }
    out.flush()
}

/// `TIME #SEQ LEVEL EVENT INSTANCE: MESSAGE FIELD=VALUE...`.
fn line(record: &Record) -> String {
    let Record { seq, time_unix_ms, level, event, message, fields } = record;
    let mut text = format!("{} #{seq} {level} {event}", time(*time_unix_ms));
    if let Some(name) = fields.get("instance") {
        let _ = write!(text, " {}", show(name));
    }
    let _ = write!(text, ": {message}");
    for (name, value) in fields.iter().filter(|(name, _)| *name != "instance") {
        let _ = write!(text, " {name}={}", show(value));
    }
    text
}

/// Text without blanks as it is, everything else as JSON: so no name or message starts a new line.
fn show(value: &Value) -> String {
    match value.as_str() {
        Some(text) if !text.is_empty() && !text.contains(|c: char| c.is_whitespace() || c.is_control()) => {
            text.to_owned()
        }
        _ => value.to_string(),
    }
}

/// As RFC 3339 has it, in UTC.
fn time(unix_ms: u64) -> String {
    format!("{}.{:03}Z", second(unix_ms / 1_000), unix_ms % 1_000)
}

/// The same, of microseconds.
pub fn time_us(unix_us: u64) -> String {
    format!("{}.{:06}Z", second(unix_us / 1_000_000), unix_us % 1_000_000)
}

fn second(unix_s: u64) -> String {
    let (year, month, day) = date(unix_s / 86_400);
    let (hour, minute, second) = (unix_s / 3_600 % 24, unix_s / 60 % 60, unix_s % 60);
    format!("{year}-{:02}-{day:02}T{hour:02}:{minute:02}:{second:02}", month + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        let fields = [
            ("instance", json!("VI_1")),
            ("from", json!("BACKUP")),
            ("reason", json!("no advert from a master")),
            ("master_priority", json!(150)),
        ];
        let record = Record {
            seq: 7,
            // `date -u -d @1709251199`.
            time_unix_ms: 1_709_251_199_001,
            level: "INFO".into(),
            event: "state_changed".into(),
            message: "state changed".into(),
            fields: fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
        };
        let batch = EventRange { lost: 3, events: vec![record] };
        let text = |json| {
            let mut out = Vec::new();
            render(&mut out, &batch, json).unwrap();
            String::from_utf8(out).unwrap()
        };
        assert_eq!(
            text(false),
            "(3 events lost)\n2024-02-29T23:59:59.001Z #7 INFO state_changed VI_1: state changed from=BACKUP \
             master_priority=150 reason=\"no advert from a master\"\n"
        );
        let json: Vec<Value> = text(true).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(json[0], json!({ "lost": 3 }));
        assert_eq!(json[1]["fields"]["reason"], "no advert from a master");
        assert_eq!(json[1]["seq"], 7);
    }
}
