//! ldirectord.cf: lines to virtual services.
//!
//! The grammar is the program's (4.12), not the manual's: global lines have no comment at their end, a service ends at the first line
//! that is indented by less than four blanks.

mod fields;
mod value;

use std::net::IpAddr;

pub(crate) use fields::{Check, Directives, Stated};

use crate::{
    ImportHost,
    note::{Note, NoteSink as _},
    text::{SourceText, TextPlace},
};

/// A file.
#[derive(Clone, Debug, Default)]
pub(crate) struct Director {
    pub fields: Directives,
    pub services: Vec<Service>,
}

/// A `virtual` or `virtual6`.
#[derive(Clone, Debug)]
pub(crate) struct Service {
    pub place: TextPlace,
    /// As the file has it.
    pub given: String,
    pub key: ServiceKey,
    pub ipv6: bool,
    pub fields: Directives,
    pub servers: Vec<RealServer>,
}

/// What a service is known by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ServiceKey {
    Address(IpAddr, u16),
    Fwmark(u32),
}

/// A way to forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Forwarding {
    Gate,
    Masq,
    Ipip,
}

/// A `real`, or the fallback. A range is several.
#[derive(Clone, Debug)]
pub(crate) struct RealServer {
    pub place: TextPlace,
    /// The host's name, where the file has no address.
    pub name: Option<String>,
    pub address: IpAddr,
    /// `None`: that of the service.
    pub port: Option<u16>,
    pub forwarding: Option<Forwarding>,
    pub weight: u32,
    pub lower: Option<u32>,
    pub upper: Option<u32>,
    pub request: Option<String>,
    pub receive: Option<String>,
}

/// Reads a file. What is not understood is an error among the notes, and left out.
pub(crate) fn read(text: &SourceText, outside: &dyn ImportHost, notes: &mut Vec<Note>) -> Director {
    let mut reader = DirectorReader { director: Director::default(), current: None, outside, notes };
    for (place, line) in text.lines() {
        reader.line(&place, line);
    }
    reader.finish()
}

struct DirectorReader<'a> {
    director: Director,
    /// The service whose lines are read.
    current: Option<Service>,
    outside: &'a dyn ImportHost,
    notes: &'a mut Vec<Note>,
}

impl DirectorReader<'_> {
    fn line(&mut self, place: &TextPlace, line: &str) {
        let is_indented = line.replace('\t', "    ").starts_with("    ");
        if !is_indented {
            self.director.services.extend(self.current.take());
        }
        let trimmed = line.trim();
        if trimmed.is_empty() || trimmed.starts_with('#') {
            return;
        }
        let start = line.len() - line.trim_start().len();
        let line = if self.current.is_some() { without_comment(line) } else { line.trim_end() };
        let Some((name, given)) = assignment(&line[start..]) else {
            self.notes.error(
                &place.at(line, start),
                "a line is `name = value`",
                "write `name = value`, or put # before it",
            );
            return;
        };
        let value = value::DirectiveValue { place: place.clone(), line, at: start + given.1, text: given.0 };
        let (outside, notes) = (self.outside, &mut *self.notes);
        match (&mut self.current, name) {
            (Some(service), "real" | "real6") => {
                service.servers.extend(value::servers(&value, service.ipv6, outside, notes));
            }
            (Some(service), _) => {
                service.fields.take(name, &value, fields::Scope::Service, outside, service.ipv6, notes);
            }
            (None, "virtual" | "virtual6") if !is_indented => self.begin(&value, name == "virtual6"),
            (None, _) if is_indented => notes.error(
                &place.at(line, start),
                format!("`{name}` is indented, and no service is open"),
                match name {
                    "virtual" | "virtual6" => "start the line of a service at its first column",
                    _ => "a blank line, or one that is indented by less than four blanks, ends a service: join the lines",
                },
            ),
            (None, _) => self.director.fields.take(name, &value, fields::Scope::Global, outside, false, notes),
        }
    }

    fn begin(&mut self, value: &value::DirectiveValue<'_>, ipv6: bool) {
        let Some(key) = value::key(value, ipv6, self.outside, self.notes) else { return };
        if let Some(before) = self.director.services.iter().find(|service| service.key == key) {
            self.notes.error(
                &value.place,
                format!("{} is a service already, at line {}", value.text, before.place.line),
                "remove one of the two",
            );
        }
        let (place, given) = (value.place.clone(), value.text.to_owned());
        self.current =
            Some(Service { place, given, key, ipv6, fields: Directives::default(), servers: Vec::new() });
    }

    fn finish(mut self) -> Director {
        self.director.services.extend(self.current);
        for service in &self.director.services {
            if service.servers.is_empty()
                && service.fields.fallback.is_none()
                && self.director.fields.fallback.is_none()
            {
                self.notes.warning(
                    &service.place,
                    format!("{} has no real server and no fallback", service.given),
                    "keepalived and vipd ignore a virtual_server without a server",
                );
            }
        }
        self.director
    }
}

/// The line up to its `#`, which ldirectord looks for inside quotes too.
fn without_comment(line: &str) -> &str {
    line.split('#').next().unwrap_or_default().trim_end()
}

/// A name, and its value with the octet at which it starts.
fn assignment(line: &str) -> Option<(&str, (&str, usize))> {
    let equals = line.find('=');
    let name = line[..equals.unwrap_or(line.len())].trim();
    if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c)) {
        return None;
    }
    match equals {
        // `supervised` alone is `supervised = yes`.
        None => (name == "supervised").then_some((name, ("yes", 0))),
        Some(at) => {
            let value = &line[at + 1..];
            let text = value.trim();
            Some((name, (text, at + 1 + (value.len() - value.trim_start().len()))))
        }
    }
}
