//! Values of ldirectord.cf: services, servers, texts in quotes, numbers.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Forwarding, RealServer, ServiceKey};
use crate::{
    ImportHost,
    note::{Note, NoteSink as _},
    text::{TextPlace, words},
};

/// The most servers that one range may have.
const RANGE: u32 = 1024;

/// A value, and where it stands.
#[derive(Clone, Debug)]
pub(super) struct DirectiveValue<'t> {
    pub place: TextPlace,
    /// All of the line, for columns.
    pub line: &'t str,
    /// The octet of the line at which the value starts.
    pub at: usize,
    pub text: &'t str,
}

impl DirectiveValue<'_> {
    pub fn start(&self) -> TextPlace {
        self.place.at(self.line, self.at)
    }

    /// The text in its quotes; `required`: without them it is an error.
    pub fn quoted(&self, required: bool, notes: &mut Vec<Note>) -> Option<String> {
        if let Some(text) = self.text.strip_prefix('"').and_then(|text| text.strip_suffix('"')) {
            return Some(text.to_owned());
        }
        if required || self.text.is_empty() || self.text.starts_with('"') {
            notes.error(&self.start(), "a text in double quotes is expected", "write \"...\"");
            return None;
        }
        Some(self.text.to_owned())
    }

    /// The number at the start; the rest of the line is ignored, as ldirectord does.
    pub fn number(&self, minimum: u32, notes: &mut Vec<Note>) -> Option<u32> {
        let digits = self.text.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default();
        match digits.parse() {
            Ok(number) if number >= minimum => Some(number),
            _ => {
                notes.error(
                    &self.start(),
                    format!("`{}` is no number from {minimum} on", self.text),
                    "write a whole number",
                );
                None
            }
        }
    }

    pub fn yes_or_no(&self, notes: &mut Vec<Note>) -> Option<bool> {
        match self.text {
            "yes" => Some(true),
            "no" => Some(false),
            other => {
                let help = "the line ends behind it: a comment needs a line of its own";
                notes.error(&self.start(), format!("`{other}` is neither `yes` nor `no`"), help);
                None
            }
        }
    }
}

/// The key of a service.
pub(super) fn key(
    value: &DirectiveValue<'_>,
    ipv6: bool,
    outside: &dyn ImportHost,
    notes: &mut Vec<Note>,
) -> Option<ServiceKey> {
    if let Ok(mark) = value.text.parse::<u32>() {
        if mark == 0 {
            notes.error(&value.start(), "a firewall mark is a number from 1 on", "write the mark");
            return None;
        }
        return Some(ServiceKey::Fwmark(mark));
    }
    let place = value.start();
    let (host, port) = host_and_port(value.text);
    let Some(port) = port else {
        notes.error(
            &place,
            format!("`{}` has no port", value.text),
            "write ADDRESS:PORT, or a firewall mark",
        );
        return None;
    };
    let (address, _) = address(host, ipv6, &place, outside, notes)?;
    Some(ServiceKey::Address(address, self::port(port, &place, outside, notes)?))
}

/// The servers of a `real` line, or of a `fallback`.
pub(super) fn servers(
    value: &DirectiveValue<'_>,
    ipv6: bool,
    outside: &dyn ImportHost,
    notes: &mut Vec<Note>,
) -> Vec<RealServer> {
    let (before, texts) = match value.text.find('"') {
        Some(at) => (&value.text[..at], Some(&value.text[at..])),
        None => (value.text, None),
    };
    let list = words(before);
    let Some(head) = list.first() else {
        notes.error(&value.start(), "a server is expected", "write ADDRESS:PORT masq");
        return Vec::new();
    };
    let place = value.place.at(value.line, value.at + head.at);
    let Some((range, port)) = addresses(head.text, ipv6, &place, outside, notes) else { return Vec::new() };
    let mut server = RealServer {
        place: value.place.clone(),
        name: None,
        address: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        port,
        forwarding: None,
        weight: 1,
        lower: None,
        upper: None,
        request: None,
        receive: None,
    };
    for word in &list[1..] {
        let place = value.place.at(value.line, value.at + word.at);
        if !option(word.text, &mut server) {
            notes.error(
                &place,
                format!("`{}` is nothing that a server may have", word.text),
                "gate, masq, ipip, a weight, l:N or u:N",
            );
        }
    }
    if let Some(texts) = texts {
        let mut parts = texts.split('"').skip(1).step_by(2).map(str::to_owned);
        server.request = parts.next();
        server.receive = parts.next();
    }
    range.into_iter().map(|(address, name)| RealServer { address, name, ..server.clone() }).collect()
}

/// Whether a word of a `real` line is understood.
fn option(word: &str, server: &mut RealServer) -> bool {
    match word {
        "gate" => server.forwarding = Some(Forwarding::Gate),
        "masq" => server.forwarding = Some(Forwarding::Masq),
        "ipip" => server.forwarding = Some(Forwarding::Ipip),
        _ => {
            let (target, number) = match word.split_once(':') {
                Some(("l", number)) => (&mut server.lower, number),
                Some(("u", number)) => (&mut server.upper, number),
                _ => {
                    let Ok(weight) = word.parse() else { return false };
                    server.weight = weight;
                    return true;
                }
            };
            let Ok(number) = number.parse() else { return false };
            *target = Some(number);
        }
    }
    true
}

type Named = (IpAddr, Option<String>);

/// `HOST[->HOST][:PORT]`: every address of the range, and the port.
fn addresses(
    text: &str,
    ipv6: bool,
    place: &TextPlace,
    outside: &dyn ImportHost,
    notes: &mut Vec<Note>,
) -> Option<(Vec<Named>, Option<u16>)> {
    let (first, rest) = match text.split_once("->") {
        Some((first, rest)) => (Some(first), rest),
        None => (None, text),
    };
    let (host, port) = host_and_port(rest);
    let port = match port {
        Some(port) => Some(self::port(port, place, outside, notes)?),
        None => None,
    };
    let last = address(host, ipv6, place, outside, notes)?;
    let Some(first) = first else { return Some((vec![last], port)) };
    let first = address(first, ipv6, place, outside, notes)?;
    let (IpAddr::V4(from), IpAddr::V4(to)) = (first.0, last.0) else {
        notes.error(place, "a range is of IPv4 addresses", "write a line for each server");
        return None;
    };
    let (from, to) = (u32::from(from), u32::from(to));
    if to < from || to - from >= RANGE {
        notes.error(place, format!("`{text}` is no range of 1 to {RANGE} servers"), "write FIRST->LAST");
        return None;
    }
    Some(((from..=to).map(|address| (IpAddr::V4(address.into()), None)).collect(), port))
}

/// The host without the brackets of IPv6, and what follows the last colon.
fn host_and_port(text: &str) -> (&str, Option<&str>) {
    if let Some((host, rest)) = text.strip_prefix('[').and_then(|text| text.split_once(']')) {
        return (host, rest.strip_prefix(':'));
    }
    match text.split_once(':') {
        Some((host, port)) if !port.contains(':') => (host, Some(port)),
        _ => (text, None),
    }
}

fn address(
    host: &str,
    ipv6: bool,
    place: &TextPlace,
    outside: &dyn ImportHost,
    notes: &mut Vec<Note>,
) -> Option<Named> {
    let parsed = if ipv6 {
        host.parse::<Ipv6Addr>().map(IpAddr::V6).ok()
    } else {
        host.parse::<Ipv4Addr>().map(IpAddr::V4).ok()
    };
    if let Some(address) = parsed {
        return Some((address, None));
    }
    let family = if ipv6 { "IPv6" } else { "IPv4" };
    if host.parse::<IpAddr>().is_ok() || !is_name(host) {
        let help = if ipv6 { "write [ADDRESS]:PORT" } else { "IPv6 addresses stand in a virtual6" };
        notes.error(place, format!("`{host}` is no {family} address"), help);
        return None;
    }
    let Some(address) = outside.resolve(host, ipv6) else {
        notes.error(place, format!("the name `{host}` has no {family} address here"), "write the address");
        return None;
    };
    notes.notice(place, format!("`{host}` is written as {address}, its address today"));
    Some((address, Some(host.to_owned())))
}

fn is_name(host: &str) -> bool {
    !host.is_empty() && host.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c))
}

fn port(text: &str, place: &TextPlace, outside: &dyn ImportHost, notes: &mut Vec<Note>) -> Option<u16> {
    let port = text.parse().ok().or_else(|| outside.port(text, "tcp")).or_else(|| outside.port(text, "udp"));
    if port.is_none() {
        notes.error(
            place,
            format!("`{text}` is no port"),
            "write a number from 0 to 65535, or a name of /etc/services",
        );
    }
    port
}
