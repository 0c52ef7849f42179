//! `keepalived_check.data`: virtual servers, real servers and checks, with the labels and in the order of keepalived 2.2.7. What vipd does not have has no
//! line.

use std::collections::HashSet;

use vipd_balance::{
    ForwardMethod, NoticeCommand, Persistence, ProbeUse, Scheduler, ServiceAddress, ServiceId, ServiceTarget,
    TunnelEncapsulation, VirtualServer,
};
use vipd_common::Family;
use vipd_config::Config;

use super::{
    lines::{Text, enabled, yes},
    quoted,
};
use crate::control::model::{RealServerStatus, ServerCheckStatus, ServiceStatus, Status};

/// The text of `keepalived_check.data`.
pub fn checkers(config: &Config, status: &Status) -> String {
    let mut text = Text::default();
    text.line("------< Global definitions >------");
    text.global("Router ID", config.router_id.as_ref());
    text.line("------< LVS Topology >------");
    let servers = config.balance.servers();
    groups(&mut text, servers);
    for server in servers {
        let shown = ServiceShown { config: server, status: of_service(status, server) };
        shown.service(&mut text);
        server.targets.iter().for_each(|target| shown.target(&mut text, target));
    }
    text.line("------< Health checkers >------");
    for server in servers {
        let shown = ServiceShown { config: server, status: of_service(status, server) };
        server.targets.iter().for_each(|target| shown.checks(&mut text, target));
    }
    text.0
}

fn of_service<'s>(status: &'s Status, server: &VirtualServer) -> Option<&'s ServiceStatus> {
    let name = server.id.to_string();
    status.balancing.as_ref()?.services.iter().find(|service| service.name == name)
}

/// Each group once, with each of its addresses, ranges written out: several virtual servers may have one.
fn groups(text: &mut Text, servers: &[VirtualServer]) {
    let mut groups: Vec<(&str, Vec<&ServiceAddress>)> = Vec::new();
    for server in servers {
        let ServiceId::Group { name, .. } = &server.id else { continue };
        match groups.iter_mut().find(|(known, _)| known == name) {
            Some((_, addresses)) => addresses.extend(&server.addresses),
            None => groups.push((name, server.addresses.iter().collect())),
        }
    }
    for (name, addresses) in groups {
        let has = |family: Family| yes(addresses.iter().any(|address| address.family() == family));
        text.line(" ------< Virtual server group >------");
        text.line(format_args!(
            " Virtual Server Group = {name}, IPv4 = {}, IPv6 = {}",
            has(Family::V4),
            has(Family::V6)
        ));
        let mut written = HashSet::new();
        for line in addresses.into_iter().map(address) {
            if written.insert(line.clone()) {
                text.line(format_args!("   {line}"));
            }
        }
    }
}

fn address(address: &ServiceAddress) -> String {
    match address {
        ServiceAddress::Socket { address, port, .. } => format!("VIP = {address}, VPORT = {port}"),
        ServiceAddress::Mark { mark, .. } => format!("FWMARK = {mark}"),
    }
}

/// A virtual server with its status.
struct ServiceShown<'s> {
    config: &'s VirtualServer,
    status: Option<&'s ServiceStatus>,
}

impl ServiceShown<'_> {
    fn service(&self, text: &mut Text) {
        let server = self.config;
        text.line(" ------< Virtual server >------");
        match (&server.id, server.addresses.first()) {
            (ServiceId::Group { name, ordinal }, _) => {
                text.line(format_args!(" VS GROUP = [{name}]:{ordinal}"))
            }
            (ServiceId::Single(only), _) => text.line(format_args!(" VS {}", address(only))),
        }
        let family = server.addresses.first().map_or(Family::V4, ServiceAddress::family);
        text.field("Address family", if family == Family::V4 { "inet" } else { "inet6" });
        text.field("lvs_sched", server.settings.scheduler.name());
        flags(text, server);
        text.field("One packet scheduling", enabled(server.settings.one_packet));
        if let Some(persistence) = server.settings.persistence {
            text.field("persistence timeout", persistence.timeout_s);
            text.field("persistence granularity", granularity(persistence, family));
        }
        match self.protocol() {
            NO_PROTOCOL => text.field("protocol", NO_PROTOCOL),
            protocol => text.field("protocol", protocol.to_uppercase()),
        }
        text.line(format_args!("   omega is {}", on(server.omega)));
        text.field("quorum", format_args!("{}, hysteresis = {}", server.quorum, server.hysteresis));
        command(text, "  Quorum up notify script", server.quorum_up.as_ref());
        command(text, "  Quorum down notify script", server.quorum_down.as_ref());
        text.field("Using smtp notification", yes(server.mail));
        if let Some(sorry) = server.sorry {
            text.field(
                "sorry server",
                format_args!("[{}]:{}:{}", sorry.id.address, self.protocol(), sorry.id.port),
            );
            text.line(format_args!("     forwarding method = {}", method(sorry.forward)));
            text.line(format_args!("     Inhibit on failure is {}", on(sorry.inhibit)));
        }
        text.field("alive", u8::from(self.status.is_some_and(|it| it.live_weight > 0 || it.sorry_serves)));
        text.field("quorum_state_up", u8::from(self.status.is_some_and(|status| status.quorum_up)));
    }

    fn target(&self, text: &mut Text, target: &ServiceTarget) {
        let status = self.of_target(target);
        let weight = status.map_or(target.weight, |status| status.full_weight);
        text.line("   ------< Real server >------");
        text.field(
            "RIP",
            format_args!(
                "{}, RPORT = {}, WEIGHT = {} EFF WEIGHT = {weight}",
                target.id.address, target.id.port, target.weight
            ),
        );
        text.field("forwarding method", method(target.forward));
        text.field(
            "connection limit range",
            format_args!("{} -> {}", target.lower_threshold, target.upper_threshold),
        );
        text.line(format_args!("   Inhibit on failure is {}", on(target.inhibit)));
        command(text, "    RS up notify script", target.notify_up.as_ref());
        command(text, "    RS down notify script", target.notify_down.as_ref());
        text.field("Using smtp notification", yes(target.mail));
        text.field("initial weight", target.weight);
        text.field("effective weight", weight);
        text.field("alive", u8::from(status.is_some_and(RealServerStatus::is_well)));
        let failed =
            status.map_or(0, |it| it.checks.iter().filter(|check| check.passed == Some(false)).count());
        text.field("num failed checkers", failed);
        text.field("RS set", u8::from(status.is_some_and(|status| status.weight.is_some())));
    }

    fn checks(&self, text: &mut Text, target: &ServiceTarget) {
        let status = self.of_target(target);
        for (n, check) in target.checks.iter().enumerate() {
            let run = status.and_then(|status| status.checks.get(n));
            let (to, protocol) = (target.id, self.protocol());
            text.line(format_args!(" {} -> [{}]:{protocol}:{}", self.config.id, to.address, to.port));
            let suspended = self.status.is_some_and(|status| status.suspended);
            text.field("Enabled", yes(!suspended));
            self.check(text, check, run);
        }
    }

    fn check(&self, text: &mut Text, check: &ProbeUse, run: Option<&ServerCheckStatus>) {
        let passed = run.and_then(|run| run.passed);
        text.field("Up", yes(passed.unwrap_or(!check.alpha)));
        text.field("Has run", yes(run.is_some_and(|run| run.ran_ms_ago.is_some())));
        text.field("Alpha", yes(check.alpha));
        text.field("Delay loop", format_args!("{} us", check.delay_loop.as_micros()));
        text.field("Warmup", format_args!("{} us", check.warmup.as_micros()));
        text.field("Retries", check.retry);
        text.field("Delay before retry", format_args!("{} us", check.delay_before_retry.as_micros()));
        text.field("Keepalive method", check.probe.keyword());
    }

    fn protocol(&self) -> &'static str {
        let of = |address: &ServiceAddress| match address {
            ServiceAddress::Socket { protocol, .. } => Some(protocol.name()),
            ServiceAddress::Mark { .. } => None,
        };
        self.config.addresses.iter().find_map(of).unwrap_or(NO_PROTOCOL)
    }

    fn of_target(&self, target: &ServiceTarget) -> Option<&RealServerStatus> {
        let name = target.id.to_string();
        self.status?.servers.iter().find(|server| server.server == name)
    }
}

/// By their names with sh and mh.
fn flags(text: &mut Text, server: &VirtualServer) {
    let flags = server.settings.flags;
    let own = match server.settings.scheduler {
        Scheduler::SourceHash => "sh",
        Scheduler::MaglevHash => "mh",
        _ => {
            for (name, is_on) in [("flag-1", flags.first), ("flag-2", flags.second), ("flag-3", flags.third)]
            {
                text.field(name, enabled(is_on));
            }
            return;
        }
    };
    text.field(&format!("{own}-port"), enabled(flags.second));
    text.field(&format!("{own}-fallback"), enabled(flags.first));
}

fn granularity(persistence: Persistence, family: Family) -> String {
    match family {
        Family::V4 => std::net::Ipv4Addr::from_bits(persistence.granularity).to_string(),
        Family::V6 => persistence.granularity.to_string(),
    }
}

fn method(forward: ForwardMethod) -> &'static str {
    match forward {
        ForwardMethod::Nat => "NAT",
        ForwardMethod::Direct => "DR",
        ForwardMethod::Tunnel(TunnelEncapsulation::Ipip) => "TUN, type = IPIP",
        ForwardMethod::Tunnel(TunnelEncapsulation::Gue { .. }) => "TUN, type = GUE",
        ForwardMethod::Tunnel(TunnelEncapsulation::Gre { .. }) => "TUN, type = GRE",
    }
}

fn command(text: &mut Text, name: &str, command: Option<&NoticeCommand>) {
    if let Some(command) = command {
        text.line(format_args!(" {name} = {}", quoted(&command.words)));
    }
}

fn on(is_on: bool) -> &'static str {
    if is_on { "ON" } else { "OFF" }
}

/// Of a service by firewall mark.
const NO_PROTOCOL: &str = "none";
