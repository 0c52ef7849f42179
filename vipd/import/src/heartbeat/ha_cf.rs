//! ha.cf: nodes, times, paths, and who is asked whether this node is cut off.

use std::{net::IpAddr, time::Duration};

use crate::{
    note::{Note, NoteSink as _},
    text::{SourceText, TextPlace, TextWord, words},
};

/// What of ha.cf has an equal.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ha {
    pub nodes: Vec<String>,
    /// `keepalive`.
    pub interval: Option<(Duration, TextPlace)>,
    /// `deadtime`.
    pub dead_time: Option<(Duration, TextPlace)>,
    pub initial: Option<(Duration, TextPlace)>,
    pub paths: Vec<Path>,
    /// `auto_failback off`.
    pub stay: bool,
    pub arbiters: Vec<PingGroup>,
    /// `deadping`.
    pub dead_ping: Option<Duration>,
}

/// A way that heartbeats take.
#[derive(Clone, Debug)]
pub(crate) struct Path {
    pub place: TextPlace,
    pub interface: String,
    /// Of `ucast`.
    pub peer: Option<IpAddr>,
}

/// `ping`: each address on its own; `ping_group`: any of them.
#[derive(Clone, Debug)]
pub(crate) struct PingGroup {
    pub place: TextPlace,
    pub name: String,
    pub addresses: Vec<IpAddr>,
}

/// Directives that need no equal.
const NEEDLESS: &[&str] = &[
    "logfile",
    "debugfile",
    "logfacility",
    "use_logd",
    "conn_logd_time",
    "debug",
    "coredumps",
    "compression",
    "compression_threshold",
    "traditional_compression",
    "msgfmt",
    "hopfudge",
    "hbgenmethod",
    "uuidfrom",
    "realtime",
    "rtprio",
    "udpport",
    "baud",
    "warntime",
    "apiauth",
    "autojoin",
    "logd_file",
    "memreserve",
    "quorum",
];

pub(crate) fn read(text: &SourceText, notes: &mut Vec<Note>) -> Ha {
    let mut ha = Ha::default();
    for (place, line) in text.lines() {
        let list = words(line.split('#').next().unwrap_or_default());
        if let Some((head, rest)) = list.split_first() {
            ha.take(&place, line, *head, rest, notes);
        }
    }
    if ha.nodes.len() < 2 {
        notes.push(Note::new(
            crate::NoteSeverity::Warning,
            &TextPlace { file: text.name.clone(), line: 0, column: 0 },
            "fewer than two nodes are named",
        ));
    }
    ha
}

impl Ha {
    fn take(
        &mut self,
        place: &TextPlace,
        line: &str,
        head: TextWord<'_>,
        rest: &[TextWord<'_>],
        notes: &mut Vec<Note>,
    ) {
        let argument = rest.first().map_or("", |word| word.text);
        let at = rest.first().map_or_else(|| place.at(line, head.at), |word| place.at(line, word.at));
        match head.text {
            "node" => self.nodes.extend(rest.iter().map(|word| word.text.to_owned())),
            "keepalive" => self.interval = time(argument, &at, notes).map(|time| (time, place.clone())),
            "deadtime" => self.dead_time = time(argument, &at, notes).map(|time| (time, place.clone())),
            "initdead" => self.initial = time(argument, &at, notes).map(|time| (time, place.clone())),
            "deadping" => self.dead_ping = time(argument, &at, notes),
            "auto_failback" | "nice_failback" => self.failback(head.text, argument, &at, notes),
            "bcast" | "mcast" | "mcast6" | "ucast" => self.path(place, line, head, rest, notes),
            "ping" | "ping_group" => self.ping(place, line, head, rest, notes),
            "crm" | "pacemaker" if ["off", "false", "no", "n", "0"].contains(&argument) => {}
            "crm" | "pacemaker" => notes.error(
                place,
                "Pacemaker decides in this cluster, and haresources is not used",
                "there is nothing to import: write an instance by hand, with `vipd init`",
            ),
            "respawn" if rest.iter().any(|word| word.text.ends_with("/ipfail")) => {
                notes.notice(place, "ipfail is not needed: arbiters do its work");
            }
            "respawn" => notes.warning(place, "`respawn` has no equal", "run the program by a systemd unit"),
            "stonith" | "stonith_host" => notes.warning(
                place,
                format!("`{}` has no equal", head.text),
                "a fence_script runs before a takeover out of silence, see docs/operate/maintenance.md",
            ),
            "watchdog" => notes.warning(
                place,
                "`watchdog` has no equal",
                "the unit's WatchdogSec watches vipd; RuntimeWatchdogSec of systemd watches the machine",
            ),
            "serial" | "hbaping" => notes.warning(
                place,
                format!("`{}` has no equal", head.text),
                "a second network between the nodes is a heartbeat_interface",
            ),
            word if NEEDLESS.contains(&word) => notes.notice(place, format!("`{word}` is not needed")),
            word => notes.error(
                &place.at(line, head.at),
                format!("unknown directive `{word}`"),
                "a directive and its values stand on one line, with blanks between them",
            ),
        }
    }

    fn failback(&mut self, word: &str, argument: &str, at: &TextPlace, notes: &mut Vec<Note>) {
        let yes = match argument.to_ascii_lowercase().as_str() {
            "true" | "on" | "yes" | "y" | "1" => true,
            "false" | "off" | "no" | "n" | "0" => false,
            "legacy" => true,
            other => {
                notes.error(at, format!("`{other}` is nothing that {word} may be"), "on, off or legacy");
                return;
            }
        };
        // The old word says the opposite.
        self.stay = if word == "nice_failback" { yes } else { !yes };
    }

    fn path(
        &mut self,
        place: &TextPlace,
        line: &str,
        head: TextWord<'_>,
        rest: &[TextWord<'_>],
        notes: &mut Vec<Note>,
    ) {
        let interfaces = if head.text == "bcast" { rest } else { rest.get(..1).unwrap_or_default() };
        if interfaces.is_empty() {
            notes.error(
                &place.at(line, head.at),
                format!("`{}` needs an interface", head.text),
                "write its name",
            );
        }
        let peer = match (head.text, rest.get(1)) {
            ("ucast", Some(word)) => match word.text.parse() {
                Ok(address) => Some(address),
                Err(_) => {
                    notes.error(
                        &place.at(line, word.at),
                        format!("`{}` is no address", word.text),
                        "write the peer's address",
                    );
                    None
                }
            },
            ("ucast", None) => {
                notes.error(
                    &place.at(line, head.at),
                    "`ucast` needs a peer",
                    "write `ucast INTERFACE ADDRESS`",
                );
                None
            }
            _ => None,
        };
        for word in interfaces {
            self.paths.push(Path { place: place.clone(), interface: word.text.to_owned(), peer });
        }
    }

    fn ping(
        &mut self,
        place: &TextPlace,
        line: &str,
        head: TextWord<'_>,
        rest: &[TextWord<'_>],
        notes: &mut Vec<Note>,
    ) {
        let (name, words) = match (head.text, rest.split_first()) {
            ("ping_group", Some((name, words))) => (Some(name.text), words),
            _ => (None, rest),
        };
        let mut addresses = Vec::new();
        for word in words {
            match word.text.parse::<IpAddr>() {
                Ok(address) => addresses.push(address),
                Err(_) => notes.error(
                    &place.at(line, word.at),
                    format!("`{}` is no address", word.text),
                    "write an address that both nodes reach",
                ),
            }
        }
        if let Some(name) = name {
            self.arbiters.push(PingGroup { place: place.clone(), name: name.to_owned(), addresses });
        } else {
            self.arbiters.extend(addresses.into_iter().map(|address| {
                let name = format!("ping_{address}").replace([':', '.'], "_");
                PingGroup { place: place.clone(), name, addresses: vec![address] }
            }));
        }
    }
}

/// Seconds, with decimals, or milliseconds.
fn time(text: &str, at: &TextPlace, notes: &mut Vec<Note>) -> Option<Duration> {
    let (number, unit) = match text.strip_suffix("ms") {
        Some(number) => (number, 1_000.0),
        None => (text.strip_suffix('s').unwrap_or(text), 1.0),
    };
    match number.parse::<f64>() {
        Ok(value) if value > 0.0 && value / unit <= 86_400.0 => Some(Duration::from_secs_f64(value / unit)),
        _ => {
            notes.error(at, format!("`{text}` is no time"), "write seconds, or milliseconds as 1500ms");
            None
        }
    }
}
