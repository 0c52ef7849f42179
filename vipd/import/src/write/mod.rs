//! Writes the configuration: one file for both nodes, with the place that each part comes from.

mod checks;
mod services;
mod vrrp;

use std::fmt::Display;

use crate::{
    ImportHost,
    heartbeat::{ha_cf::Ha, haresources::ResourceGroup},
    ldirectord::Director,
    note::{Note, NoteSink as _},
    text::{TextPlace, quoted},
};

/// The whole configuration.
pub(crate) fn configuration(
    directors: &[Director],
    ha: Option<&Ha>,
    groups: Option<&[ResourceGroup]>,
    outside: &dyn ImportHost,
    notes: &mut Vec<Note>,
) -> String {
    let mut out = Output::default();
    out.line("# Written by `vipd import`; the same file on both nodes. `vipd check` says what is still to be done.");
    globals(directors, ha, groups, notes, &mut out);
    if let Some(groups) = groups {
        vrrp::write(groups, ha, outside, notes, &mut out);
    }
    for director in directors {
        services::write(director, notes, &mut out);
    }
    out.text
}

/// `global_defs`: mail, and what heartbeat's times give.
fn globals(
    directors: &[Director],
    ha: Option<&Ha>,
    groups: Option<&[ResourceGroup]>,
    notes: &mut Vec<Note>,
    out: &mut Output,
) {
    let fields: Vec<_> = directors.iter().map(|director| &director.fields).collect();
    let services = || directors.iter().flat_map(|director| &director.services).map(|service| &service.fields);
    let mut recipients: Vec<&str> = Vec::new();
    for fields in fields.iter().copied().chain(services()) {
        for to in fields.email_to.iter().flat_map(|given| &given.value) {
            recipients.push(to);
        }
    }
    recipients.extend(groups.unwrap_or_default().iter().flat_map(|group| &group.mail).map(String::as_str));
    let mut seen = Vec::new();
    recipients.retain(|to| {
        let new = !seen.contains(to);
        seen.push(*to);
        new
    });
    out.open("global_defs", None);
    if groups.is_some() {
        out.line("vrrp_version 3");
    }
    if let Some((initial, place)) = ha.and_then(|ha| ha.initial.as_ref()) {
        notes.warning(
            place,
            format!("initdead {} s has no equal", initial.as_secs_f64()),
            "a backup waits for its down timer, however long ago the machine was started",
        );
    }
    if !recipients.is_empty() {
        out.open("notification_email", None);
        for to in recipients {
            out.value(&[to], &TextPlace { file: String::new(), line: 0, column: 0 }, notes);
        }
        out.close();
        let from = fields.iter().find_map(|fields| fields.email_from.as_ref());
        if let Some(from) = from {
            out.value(&["notification_email_from", &from.value], &from.place, notes);
        }
        match fields.iter().find_map(|fields| fields.smtp.as_ref()) {
            Some(server) => out.value(&["smtp_server", &server.value], &server.place, notes),
            None => out.line("smtp_server 127.0.0.1    # ldirectord calls sendmail"),
        }
    }
    out.close();
}

/// Lines with their indentation.
#[derive(Debug, Default)]
struct Output {
    text: String,
    depth: usize,
}

impl Output {
    fn line(&mut self, line: impl Display) {
        let line = format!("{}{line}", "    ".repeat(self.depth));
        self.text.push_str(line.trim_end());
        self.text.push('\n');
    }

    /// A statement of words, each in quotes where it needs them.
    fn value(&mut self, words: &[&str], place: &TextPlace, notes: &mut Vec<Note>) {
        let mut line = String::new();
        for word in words {
            match quoted(word) {
                Ok(word) => line = format!("{line} {word}"),
                Err(what) => {
                    notes.error(
                        place,
                        format!("a value of `{}` has {what}, which a keepalived.conf cannot have", words[0]),
                        "put it into a script, and name the script",
                    );
                    return;
                }
            }
        }
        self.line(line.trim_start());
    }

    fn open(&mut self, head: &str, from: Option<&TextPlace>) {
        if self.depth == 0 {
            self.text.push('\n');
        }
        match from {
            Some(place) => self.line(format!("{head} {{    # {}", place.short())),
            None => self.line(format!("{head} {{")),
        }
        self.depth += 1;
    }

    fn close(&mut self) {
        self.depth -= 1;
        self.line("}");
    }
}
