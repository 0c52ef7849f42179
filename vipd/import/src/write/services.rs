//! Services of ldirectord as `virtual_server` blocks.

use super::{Output, checks};
use crate::{
    ldirectord::{Directives, Director, Forwarding, RealServer, Service, ServiceKey, Stated},
    note::{Note, NoteSink as _},
    text::printable,
};

/// A directive of a service, else that of the file.
pub(super) fn either<'f, T>(
    service: &'f Directives,
    global: &'f Directives,
    field: impl Fn(&'f Directives) -> Option<&'f Stated<T>>,
) -> Option<&'f Stated<T>> {
    field(service).or_else(|| field(global))
}

pub(super) fn write(director: &Director, notes: &mut Vec<Note>, out: &mut Output) {
    for service in &director.services {
        let global = &director.fields;
        let head = match service.key {
            ServiceKey::Address(address, port) => format!("virtual_server {address} {port}"),
            ServiceKey::Fwmark(mark) => format!("virtual_server fwmark {mark}"),
        };
        out.open(&head, Some(&service.place));
        if let Some(name) = &service.fields.service_name {
            out.line(format!("# {}", printable(&name.value)));
        }
        write_service(service, global, notes, out);
        for server in &service.servers {
            write_server(service, server, global, notes, out);
        }
        out.close();
    }
}

/// `protocol` where it is given, else by port and mark.
pub(super) fn protocol(service: &Service) -> &str {
    match (&service.fields.protocol, service.key) {
        (Some(given), _) => &given.value,
        (None, ServiceKey::Fwmark(_)) => "fwm",
        (None, ServiceKey::Address(_, 53)) => "udp",
        (None, ServiceKey::Address(..)) => "tcp",
    }
}

fn method(forwarding: Forwarding) -> &'static str {
    match forwarding {
        Forwarding::Gate => "DR",
        Forwarding::Masq => "NAT",
        Forwarding::Ipip => "TUN",
    }
}

/// That of the first server; the others name theirs where it differs.
fn common_method(service: &Service) -> &'static str {
    let first = service.servers.first().and_then(|server| server.forwarding);
    method(first.unwrap_or(Forwarding::Gate))
}

fn write_service(service: &Service, global: &Directives, notes: &mut Vec<Note>, out: &mut Output) {
    let fields = &service.fields;
    let interval =
        either(fields, global, |fields| fields.check_interval.as_ref()).map_or(10, |given| given.value);
    out.line(format!(
        "delay_loop {interval}    # checkinterval: here from one check to the next, whatever the others take"
    ));
    match &fields.scheduler {
        Some(given) => out.value(&["lb_algo", &given.value], &given.place, notes),
        None => out.line("lb_algo wrr    # ldirectord's default"),
    }
    if let Some(flags) = &fields.scheduler_flags {
        let known = ["sh-port", "sh-fallback", "mh-port", "mh-fallback", "flag-1", "flag-2", "flag-3"];
        for flag in flags.value.split(',').map(str::trim) {
            if known.contains(&flag) {
                out.line(flag);
            } else {
                notes.error(
                    &flags.place,
                    format!("`{}` is no flag of a scheduler", printable(flag)),
                    known.join(", "),
                );
            }
        }
    }
    out.line(format!("lb_kind {}", common_method(service)));
    match protocol(service) {
        "fwm" => {
            if service.ipv6 {
                out.line("ip_family inet6");
            }
        }
        protocol => out.line(format!("protocol {}", protocol.to_ascii_uppercase())),
    }
    if let Some(given) = &fields.persistent {
        out.line(format!("persistence_timeout {}", given.value));
    }
    if let Some(given) = &fields.netmask {
        out.value(&["persistence_granularity", &given.value], &given.place, notes);
    }
    if fields.one_packet.as_ref().is_some_and(|given| given.value) {
        out.line("ops");
    }
    if either(fields, global, |fields| fields.email_to.as_ref()).is_some() {
        out.line("smtp_alert");
    }
    if let Some(given) = either(fields, global, |fields| fields.fallback.as_ref()) {
        fallback(service, given, notes, out);
    }
    if let Some(given) = either(fields, global, |fields| fields.fallback_command.as_ref()) {
        let address = match service.key {
            ServiceKey::Address(address, port) => format!("{address}:{port}"),
            ServiceKey::Fwmark(mark) => mark.to_string(),
        };
        for (word, verb) in [("quorum_down", "start"), ("quorum_up", "stop")] {
            let command = format!("{} {verb} {address} {}", given.value, protocol(service));
            out.value(&[word, &command], &given.place, notes);
        }
    }
}

fn fallback(service: &Service, given: &Stated<RealServer>, notes: &mut Vec<Note>, out: &mut Output) {
    let server = &given.value;
    let forwarding = server.forwarding.unwrap_or(Forwarding::Gate);
    let own = match service.key {
        ServiceKey::Address(_, port) => Some(port),
        ServiceKey::Fwmark(_) => None,
    };
    let mut port = server.port.filter(|port| *port > 0);
    if let Some(lost) = port.filter(|port| forwarding != Forwarding::Masq && Some(*port) != own) {
        port = None;
        let help = match own {
            Some(own) => format!(
                "have the fallback listen on port {own}, or write `masq` behind a fallback of another host"
            ),
            None => "have the fallback listen on the ports that the rule marks".to_owned(),
        };
        let message = format!(
            "the port {lost} of the fallback {} is left out: only masq changes the port",
            server.address
        );
        notes.warning(&given.place, message, help);
    }
    if forwarding == Forwarding::Masq && server.address.is_loopback() {
        let message = format!(
            "the fallback {} is never reached by masq: Linux forwards nothing to a loopback address",
            server.address
        );
        let help = "write `gate` behind it, and have the fallback listen on all addresses, at the port of the virtual service";
        notes.warning(&given.place, message, help);
    }
    match port.or(own) {
        Some(port) => out.line(format!("sorry_server {} {port}    # fallback", server.address)),
        None => out.line(format!("sorry_server {}    # fallback", server.address)),
    }
    let wanted = method(forwarding);
    if wanted != common_method(service) {
        out.line(format!("sorry_server_lvs_method {wanted}"));
    }
}

fn write_server(
    service: &Service,
    server: &RealServer,
    global: &Directives,
    notes: &mut Vec<Note>,
    out: &mut Output,
) {
    let fields = &service.fields;
    if fields.check.as_ref().is_some_and(|given| given.value == crate::ldirectord::Check::Off) {
        out.line(format!("# real_server {} is left out: checktype = off", server.address));
        notes.warning(
            &server.place,
            format!("{} is never in use with checktype = off", server.address),
            "the server is left out",
        );
        return;
    }
    let given = server.port.filter(|port| *port > 0);
    let port = given.or(match service.key {
        ServiceKey::Address(_, port) => Some(port),
        ServiceKey::Fwmark(_) => None,
    });
    let head = match port {
        Some(port) => format!("real_server {} {port}", server.address),
        None => format!("real_server {}", server.address),
    };
    out.open(&head, Some(&server.place));
    if let Some(name) = &server.name {
        out.line(format!("# {}", printable(name)));
    }
    out.line(format!("weight {}", server.weight));
    let own = method(server.forwarding.unwrap_or(Forwarding::Gate));
    if own != common_method(service) {
        out.line(format!("lvs_method {own}"));
    }
    if let Some(upper) = server.upper {
        out.line(format!("uthreshold {upper}"));
    }
    if let Some(lower) = server.lower {
        out.line(format!("lthreshold {lower}"));
    }
    if either(fields, global, |fields| fields.quiescent.as_ref()).is_some_and(|given| given.value) {
        out.line("inhibit_on_failure    # quiescent");
    }
    checks::write(service, server, global, notes, out);
    out.close();
}
