//! `checktype` and `service` as checkers.

use std::net::IpAddr;

use super::{Output, services::protocol};
use crate::{
    ldirectord::{Check, Directives, RealServer, Service, ServiceKey},
    note::{Note, NoteSink as _},
};

/// Ports by which ldirectord knows a service.
const PORTS: &[(u16, &str)] = &[
    (21, "ftp"),
    (25, "smtp"),
    (53, "dns"),
    (80, "http"),
    (110, "pop"),
    (119, "nntp"),
    (143, "imap"),
    (389, "ldap"),
    (443, "https"),
    (587, "submission"),
    (636, "ldaps"),
    (993, "imaps"),
    (995, "pops"),
    (1521, "oracle"),
    (1812, "radius"),
    (3128, "http_proxy"),
    (3306, "mysql"),
    (5432, "pgsql"),
    (5060, "sip"),
];

/// What the checkers of one server are made of.
struct CheckTarget<'s> {
    service: &'s Service,
    server: &'s RealServer,
    global: &'s Directives,
    /// Where the check goes: `checkport`, else the server's port, else the service's.
    port: u16,
    /// That of the server, to which a checker goes by itself.
    own_port: Option<u16>,
}

pub(super) fn write(
    service: &Service,
    server: &RealServer,
    global: &Directives,
    notes: &mut Vec<Note>,
    out: &mut Output,
) {
    let own_port = server.port.filter(|port| *port > 0).or(match service.key {
        ServiceKey::Address(_, port) => Some(port),
        ServiceKey::Fwmark(_) => None,
    });
    let name = service_name(service, own_port);
    let given = service.fields.check_port.as_ref().and_then(|given| u16::try_from(given.value).ok());
    let known = PORTS.iter().find(|(_, known)| *known == name).map(|(port, _)| *port);
    let port = given.filter(|port| *port > 0).or(own_port).or(known).unwrap_or(0);
    let checked = CheckTarget { service, server, global, port, own_port };
    let kind = service.fields.check.as_ref().map_or(Check::Negotiate, |given| given.value);
    match kind {
        Check::Negotiate => checked.negotiate(&name, None, notes, out),
        Check::Connect if protocol(service) == "udp" => checked.ping(out),
        Check::Connect => checked.tcp(checked.connect_timeout(), out),
        Check::Alternate(connects) => {
            checked.tcp(checked.connect_timeout(), out);
            checked.negotiate(&name, Some(connects), notes, out);
        }
        Check::Ping => checked.ping(out),
        Check::External | Check::ExternalPerl => checked.external(kind == Check::ExternalPerl, notes, out),
        Check::On | Check::Off => out.line("# no check: checktype = on"),
    }
}

fn service_name(service: &Service, port: Option<u16>) -> String {
    match (&service.fields.service, service.key) {
        (Some(given), _) => given.value.clone(),
        (None, ServiceKey::Fwmark(_)) => "none".to_owned(),
        (None, ServiceKey::Address(_, virtual_port)) => {
            let port = port.unwrap_or(virtual_port);
            PORTS.iter().find(|(known, _)| *known == port).map_or("none", |(_, name)| *name).to_owned()
        }
    }
}

impl CheckTarget<'_> {
    fn number(&self, field: impl for<'f> Fn(&'f Directives) -> Option<u32>) -> Option<u32> {
        field(&self.service.fields).or_else(|| field(self.global))
    }

    /// `checktimeout`, which `negotiatetimeout` stands in for.
    fn connect_timeout(&self) -> u32 {
        self.number(|fields| {
            fields.check_timeout.as_ref().or(fields.negotiate_timeout.as_ref()).map(|given| given.value)
        })
        .unwrap_or(5)
    }

    /// `negotiatetimeout`, which `checktimeout` stands in for.
    fn negotiate_timeout(&self) -> u32 {
        self.number(|fields| {
            fields.negotiate_timeout.as_ref().or(fields.check_timeout.as_ref()).map(|given| given.value)
        })
        .unwrap_or(30)
    }

    /// Failures in a row until a server is down, as keepalived counts them.
    fn retries(&self, out: &mut Output) {
        let failures =
            self.number(|fields| fields.failure_count.as_ref().map(|given| given.value)).unwrap_or(1);
        let interval =
            self.number(|fields| fields.check_interval.as_ref().map(|given| given.value)).unwrap_or(10);
        out.line(format!("retry {}    # failurecount {failures}", failures - 1));
        if failures > 1 {
            out.line(format!("delay_before_retry {interval}"));
        }
    }

    /// Where the check goes, where that is not the server's own port.
    fn port(&self, out: &mut Output) {
        if Some(self.port) != self.own_port && self.port > 0 {
            out.line(format!("connect_port {}", self.port));
        }
    }

    fn tcp(&self, timeout: u32, out: &mut Output) {
        out.open("TCP_CHECK", None);
        out.line(format!("connect_timeout {timeout}"));
        self.port(out);
        self.retries(out);
        out.close();
    }

    fn ping(&self, out: &mut Output) {
        let tries = self.number(|fields| fields.check_count.as_ref().map(|given| given.value)).unwrap_or(1);
        out.open("PING_CHECK", None);
        out.line(format!("connect_timeout {}", self.connect_timeout()));
        if tries > 1 {
            out.line(format!("retry {}    # checkcount {tries}", tries - 1));
            out.line("delay_before_retry 0");
        } else {
            self.retries(out);
        }
        out.close();
    }

    /// `checkcommand` with the four words that it is given.
    fn external(&self, perl: bool, notes: &mut Vec<Note>, out: &mut Output) {
        let command = self.service.fields.check_command.as_ref();
        let place = command.map_or(&self.service.place, |given| &given.place);
        let command = command.map_or("/bin/true", |given| &given.value);
        let (address, port) = match self.service.key {
            ServiceKey::Address(address, port) => (address.to_string(), port),
            ServiceKey::Fwmark(mark) => (mark.to_string(), 0),
        };
        let perl = if perl { "/usr/bin/perl " } else { "" };
        let (real, real_port) = (self.server.address, self.own_port.unwrap_or(0));
        self.misc(
            &format!("{perl}{command} {address} {port} {real} {real_port}"),
            self.connect_timeout(),
            place,
            notes,
            out,
        );
    }

    fn misc(
        &self,
        command: &str,
        timeout: u32,
        place: &crate::text::TextPlace,
        notes: &mut Vec<Note>,
        out: &mut Output,
    ) {
        out.open("MISC_CHECK", None);
        out.value(&["misc_path", command], place, notes);
        out.line(format!("misc_timeout {timeout}"));
        self.retries(out);
        out.close();
    }

    /// The check of `service`; `every`: only once in so many intervals.
    fn negotiate(&self, name: &str, every: Option<u32>, notes: &mut Vec<Note>, out: &mut Output) {
        match name {
            "http" | "https" => self.http(name == "https", every, notes, out),
            "smtp" | "submission" => {
                out.open("SMTP_CHECK", None);
                out.line(format!("connect_timeout {}", self.negotiate_timeout()));
                self.port(out);
                self.retries(out);
                self.pace(every, out);
                out.close();
            }
            "dns" => self.dns(every, notes, out),
            "none" => out.line("# no check: service = none"),
            "pop" | "pops" | "imap" | "imaps" if self.service.fields.login.is_none() => {
                self.connect_only(name, "the connection", notes, out);
            }
            "nntp" | "sip" | "simpletcp" => self.connect_only(name, "the connection", notes, out),
            "http_proxy" => {
                let url = self.request().unwrap_or_else(|| "http://localhost/".to_owned());
                let proxy = socket(self.server.address, self.port);
                let command = format!("/usr/bin/curl -sf -o /dev/null -x http://{proxy} {url}");
                self.misc(&command, self.negotiate_timeout(), &self.service.place, notes, out);
            }
            "ldap" | "ldaps" if self.service.fields.login.is_none() => {
                let base = self.request().unwrap_or_default();
                let server = socket(self.server.address, self.port);
                let command = format!(
                    "/usr/bin/ldapsearch -x -LLL -s base -b '{}' -H {name}://{server} dn",
                    base.trim_start_matches('/')
                );
                self.misc(&command, self.negotiate_timeout(), &self.service.place, notes, out);
            }
            "pop" | "pops" | "imap" | "imaps" | "ldap" | "ldaps" | "ftp" | "mysql" | "pgsql" | "oracle"
            | "radius" => {
                let script = format!("/etc/vipd/checks/{name} {} {}", self.server.address, self.port);
                notes.warning(
                    &self.service.place,
                    format!("a check of {name} needs a script"),
                    format!("write /etc/vipd/checks/{name}: it gets address and port, logs in, and exits with 0 if the server is well"),
                );
                self.misc(&script, self.negotiate_timeout(), &self.service.place, notes, out);
            }
            other => notes.error(
                self.service.fields.service.as_ref().map_or(&self.service.place, |given| &given.place),
                format!("unknown service `{other}`"),
                "ldirectord does not know it either",
            ),
        }
    }

    fn connect_only(&self, name: &str, what: &str, notes: &mut Vec<Note>, out: &mut Output) {
        if self.request().is_some() || self.receive().is_some() || matches!(name, "nntp" | "sip") {
            notes.warning(
                &self.service.place,
                format!("of {name} only {what} is checked, not what the server says"),
                "a MISC_CHECK runs a script that talks to the server",
            );
        }
        self.tcp(self.negotiate_timeout(), out);
    }

    fn pace(&self, every: Option<u32>, out: &mut Output) {
        if let Some(every) = every {
            let interval =
                self.number(|fields| fields.check_interval.as_ref().map(|given| given.value)).unwrap_or(10);
            out.line(format!("delay_loop {}    # checktype = {every}", interval.saturating_mul(every)));
        }
    }

    fn request(&self) -> Option<String> {
        self.server
            .request
            .clone()
            .or_else(|| self.service.fields.request.as_ref().map(|given| given.value.clone()))
    }

    fn receive(&self) -> Option<String> {
        self.server
            .receive
            .clone()
            .or_else(|| self.service.fields.receive.as_ref().map(|given| given.value.clone()))
    }

    fn http(&self, tls: bool, every: Option<u32>, notes: &mut Vec<Note>, out: &mut Output) {
        let place = &self.server.place;
        let fields = &self.service.fields;
        out.open(if tls { "SSL_GET" } else { "HTTP_GET" }, None);
        match fields.http_method.as_ref() {
            Some(given) if given.value == "HEAD" => out.line("http_method HEAD"),
            Some(given) if given.value != "GET" => notes.warning(
                &given.place,
                format!("httpmethod {} is sent as GET", given.value),
                "the checker has GET and HEAD",
            ),
            _ => {}
        }
        if tls {
            out.line("enable_sni");
        }
        out.line("http_protocol 1.1");
        if let Some(given) = &fields.virtual_host {
            out.value(&["virtualhost", &given.value], &given.place, notes);
        }
        out.open("url", None);
        let path = self.request().unwrap_or_default();
        let path = if path.starts_with('/') { path } else { format!("/{path}") };
        out.value(&["path", &path], place, notes);
        if let Some(receive) = self.receive().filter(|text| !text.is_empty()) {
            out.value(&["regex", &receive], place, notes);
        }
        out.line("status_code 200-299");
        out.close();
        out.line(format!(
            "connect_timeout {}    # for each step; ldirectord's is for the whole exchange",
            self.negotiate_timeout()
        ));
        self.port(out);
        self.retries(out);
        self.pace(every, out);
        out.close();
    }

    fn dns(&self, every: Option<u32>, notes: &mut Vec<Note>, out: &mut Output) {
        let request = self.request().unwrap_or_default();
        if let Some(receive) = self.receive() {
            notes.warning(
                &self.service.place,
                format!("the answer is not compared with {receive:?}"),
                "the checker takes any answer without an error; a MISC_CHECK with `dig` compares",
            );
        }
        out.open("DNS_CHECK", None);
        if !request.is_empty() {
            out.line("type A");
            out.value(&["name", &request], &self.service.place, notes);
        }
        out.line(format!("connect_timeout {}", self.negotiate_timeout()));
        self.port(out);
        self.retries(out);
        self.pace(every, out);
        out.close();
    }
}

fn socket(address: IpAddr, port: u16) -> String {
    std::net::SocketAddr::new(address, port).to_string()
}
