//! The directives of ldirectord.cf, global and of a service.

use super::{
    RealServer,
    value::{self, DirectiveValue},
};
use crate::{
    ImportHost,
    note::{Note, NoteSink as _},
    text::TextPlace,
};

/// A value and where it was given.
#[derive(Clone, Debug)]
pub(crate) struct Stated<T> {
    pub value: T,
    pub place: TextPlace,
}

/// Where a directive stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    Global,
    Service,
}

/// `checktype`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Check {
    Negotiate,
    Connect,
    /// So many connections, then a negotiation.
    Alternate(u32),
    Ping,
    External,
    ExternalPerl,
    On,
    Off,
}

/// What was given. Times are seconds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Directives {
    pub check_timeout: Option<Stated<u32>>,
    pub negotiate_timeout: Option<Stated<u32>>,
    pub check_interval: Option<Stated<u32>>,
    pub check_count: Option<Stated<u32>>,
    pub failure_count: Option<Stated<u32>>,
    pub fallback: Option<Stated<RealServer>>,
    pub fallback_command: Option<Stated<String>>,
    pub quiescent: Option<Stated<bool>>,
    pub email_to: Option<Stated<Vec<String>>>,
    pub email_from: Option<Stated<String>>,
    pub smtp: Option<Stated<String>>,
    pub scheduler: Option<Stated<String>>,
    pub scheduler_flags: Option<Stated<String>>,
    pub persistent: Option<Stated<u32>>,
    pub netmask: Option<Stated<String>>,
    pub protocol: Option<Stated<String>>,
    pub one_packet: Option<Stated<bool>>,
    pub check: Option<Stated<Check>>,
    pub service: Option<Stated<String>>,
    pub check_port: Option<Stated<u32>>,
    pub request: Option<Stated<String>>,
    pub receive: Option<Stated<String>>,
    pub http_method: Option<Stated<String>>,
    pub virtual_host: Option<Stated<String>>,
    pub login: Option<Stated<String>>,
    pub database: Option<Stated<String>>,
    pub check_command: Option<Stated<String>>,
    pub service_name: Option<Stated<String>>,
}

const SERVICE_ONLY: &[&str] = &[
    "real",
    "real6",
    "scheduler",
    "schedflags",
    "persistent",
    "netmask",
    "protocol",
    "ops",
    "checktype",
    "service",
    "checkport",
    "request",
    "receive",
    "httpmethod",
    "virtualhost",
    "login",
    "passwd",
    "database",
    "secret",
    "checkcommand",
    "monitorfile",
    "servicename",
    "comment",
    "load",
];
const GLOBAL_ONLY: &[&str] = &[
    "autoreload",
    "callback",
    "cleanstop",
    "maintenancedir",
    "logfile",
    "supervised",
    "execute",
    "fork",
    "readdquiescent",
];

/// Directives without an equal: the severity is a notice where nothing is lost, else the remedy.
const WITHOUT_EQUAL: &[(&str, Option<&str>)] = &[
    (
        "autoreload",
        Some("run `vipd reload` after a change, or from a systemd path unit; a bad file changes nothing"),
    ),
    ("callback", Some("run the command beside `vipd reload`")),
    ("cleanstop", Some("`vipd stop --for-restart` leaves everything in place; `vipd stop` removes it")),
    ("maintenancedir", Some("set the weight of the real_server to 0 and run `vipd reload`")),
    ("logfile", None),
    ("supervised", None),
    ("fork", None),
    ("load", Some("a check that needs the load of a server is a MISC_CHECK with misc_dynamic")),
    ("readdquiescent", None),
    ("monitorfile", Some("`vipd events --follow --json` has every result that changes something")),
    ("emailalertfreq", Some("vipd sends a mail for each change, and does not repeat it")),
    ("emailalertstatus", Some("vipd sends a mail for each change")),
    ("comment", None),
];

macro_rules! put {
    ($field:expr, $value:expr, $given:expr) => {
        if let Some(value) = $given {
            $field = Some(Stated { value, place: $value.place.clone() });
        }
    };
}

impl Directives {
    /// Takes a directive, or says in the notes what is wrong with it.
    pub(super) fn take(
        &mut self,
        name: &str,
        value: &DirectiveValue<'_>,
        scope: Scope,
        outside: &dyn ImportHost,
        ipv6: bool,
        notes: &mut Vec<Note>,
    ) {
        let misplaced = match scope {
            Scope::Global => SERVICE_ONLY.contains(&name).then_some("inside a virtual"),
            Scope::Service => GLOBAL_ONLY.contains(&name).then_some("before the first virtual"),
        };
        if let Some(place) = misplaced {
            notes.error(&value.place, format!("`{name}` stands {place}"), "move the line");
            return;
        }
        if let Some((_, remedy)) = WITHOUT_EQUAL.iter().find(|(word, _)| *word == name) {
            without_equal(name, value, *remedy, notes);
            return;
        }
        if !self.checking(name, value, notes)
            && !self.service(name, value, notes)
            && !self.alerts(name, value, outside, ipv6, notes)
        {
            let help = match name {
                "connecttimeout" | "timeout" => "it is called `checktimeout`",
                _ => "ldirectord does not know it either",
            };
            let at = value.line.len() - value.line.trim_start().len();
            notes.error(&value.place.at(value.line, at), format!("unknown directive `{name}`"), help);
        }
    }

    /// How servers are checked.
    fn checking(&mut self, name: &str, value: &DirectiveValue<'_>, notes: &mut Vec<Note>) -> bool {
        match name {
            "checktimeout" => put!(self.check_timeout, value, value.number(1, notes)),
            "negotiatetimeout" => put!(self.negotiate_timeout, value, value.number(1, notes)),
            "checkinterval" => put!(self.check_interval, value, value.number(1, notes)),
            "checkcount" => put!(self.check_count, value, value.number(1, notes)),
            "failurecount" => put!(self.failure_count, value, value.number(1, notes)),
            "checktype" => put!(self.check, value, check_type(value, notes)),
            "service" => put!(self.service, value, Some(value.text.to_ascii_lowercase())),
            "checkport" => put!(self.check_port, value, value.number(0, notes).filter(|port| *port < 65_536)),
            "request" => put!(self.request, value, value.quoted(true, notes)),
            "receive" => put!(self.receive, value, value.quoted(true, notes)),
            "httpmethod" => put!(self.http_method, value, Some(value.text.to_ascii_uppercase())),
            "virtualhost" => put!(self.virtual_host, value, value.quoted(false, notes)),
            "login" => put!(self.login, value, value.quoted(true, notes)),
            "database" => put!(self.database, value, value.quoted(true, notes)),
            // Secrets are read past, and appear nowhere.
            "passwd" | "secret" => notes.warning(
                &value.place,
                format!("`{name}` is not written into the configuration"),
                "the check's script reads it from a file of its own, mode 0600",
            ),
            "checkcommand" => put!(self.check_command, value, value.quoted(false, notes)),
            "execute" => notes.warning(
                &value.place,
                format!("{} is a configuration of its own", value.text),
                "name it too: `vipd import --ldirectord FILE --ldirectord FILE`",
            ),
            _ => return false,
        }
        true
    }

    /// How a service is served.
    fn service(&mut self, name: &str, value: &DirectiveValue<'_>, notes: &mut Vec<Note>) -> bool {
        match name {
            "scheduler" => put!(self.scheduler, value, Some(value.text.to_owned())),
            "schedflags" => put!(self.scheduler_flags, value, value.quoted(false, notes)),
            "persistent" => put!(self.persistent, value, value.number(1, notes)),
            "netmask" => put!(self.netmask, value, Some(value.text.to_owned())),
            "protocol" => put!(self.protocol, value, protocol(value, notes)),
            "ops" => put!(self.one_packet, value, value.yes_or_no(notes)),
            "quiescent" => put!(self.quiescent, value, value.yes_or_no(notes)),
            "servicename" => put!(self.service_name, value, value.quoted(false, notes)),
            _ => return false,
        }
        true
    }

    /// The fallback and who is told.
    fn alerts(
        &mut self,
        name: &str,
        value: &DirectiveValue<'_>,
        outside: &dyn ImportHost,
        ipv6: bool,
        notes: &mut Vec<Note>,
    ) -> bool {
        match name {
            "fallback" | "fallback6" => {
                let ipv6 = ipv6 || name == "fallback6";
                put!(self.fallback, value, value::servers(value, ipv6, outside, notes).into_iter().next());
            }
            "fallbackcommand" => put!(self.fallback_command, value, value.quoted(false, notes)),
            "emailalert" => put!(
                self.email_to,
                value,
                value.quoted(false, notes).map(|text| {
                    text.split([',', ' ']).filter(|to| !to.is_empty()).map(str::to_owned).collect()
                })
            ),
            "emailalertfrom" => put!(self.email_from, value, value.quoted(false, notes)),
            "smtp" => put!(self.smtp, value, value.quoted(false, notes)),
            _ => return false,
        }
        true
    }
}

fn without_equal(name: &str, value: &DirectiveValue<'_>, remedy: Option<&str>, notes: &mut Vec<Note>) {
    // What says only what vipd does anyway is no loss.
    let nothing_lost = remedy.is_none()
        || matches!(
            (name, value.text),
            ("autoreload", "no")
                | ("cleanstop", "yes")
                | ("emailalertstatus", "all")
                | ("emailalertfreq", "0")
        );
    match remedy {
        Some(remedy) if !nothing_lost => {
            notes.warning(&value.place, format!("`{name}` has no equal"), remedy)
        }
        _ => notes.notice(&value.place, format!("`{name}` is not needed")),
    }
}

fn protocol(value: &DirectiveValue<'_>, notes: &mut Vec<Note>) -> Option<String> {
    if ["tcp", "udp", "fwm"].contains(&value.text) {
        return Some(value.text.to_owned());
    }
    notes.error(&value.start(), format!("`{}` is no protocol", value.text), "tcp, udp or fwm");
    None
}

fn check_type(value: &DirectiveValue<'_>, notes: &mut Vec<Note>) -> Option<Check> {
    Some(match value.text {
        "negotiate" | "combined" => Check::Negotiate,
        "connect" => Check::Connect,
        "ping" | "fping" => Check::Ping,
        "external" => Check::External,
        "external-perl" => Check::ExternalPerl,
        "on" => Check::On,
        "off" => Check::Off,
        number => match number.parse() {
            Ok(connects) if connects > 0 => Check::Alternate(connects),
            _ => {
                notes.error(
                    &value.start(),
                    format!("`{number}` is no checktype"),
                    "negotiate, connect, ping, external, external-perl, on, off, or a number",
                );
                return None;
            }
        },
    })
}
