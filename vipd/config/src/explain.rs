//! The configuration as it is in force, written in the language it was read from: every value, and where each comes from.

use std::{fmt::Write, time::Duration};

use vipd_common::{Family, Version, types::ChecksumForm};

use crate::{
    lower::origins::{DEFAULT, Origins, instead},
    model::{
        address::{Prefix, Unicast, Vip},
        config::Config,
        garp::Garp,
        instance::{Auth, Instance, LeasePolicy, WantedState},
        route::{Hop, RouteKind, RuleAction, VirtualRoute, VirtualRule},
    },
    schema::{
        statement::Statement,
        words::{self, word},
    },
    syntax::report::showable,
};

/// The effective configuration, each value with its place in a comment; passwords are masked.
pub fn explain(config: &Config, origins: &Origins) -> String {
    let mut text = String::new();
    for ExplainedLine { depth, text: words, from, instance, .. } in lines(config, origins, false) {
        let statement = "    ".repeat(depth) + &showable(&words);
        let _ = match from {
            From::Nowhere => writeln!(text, "{statement}"),
            From::Keywords(keywords) => {
                writeln!(text, "{statement:<44} # {}", origins.of(instance, &keywords))
            }
            From::Place(place) => {
                writeln!(text, "{statement:<44} # {place}")
            }
        };
    }
    text
}

/// The same without comments, but with the passwords, so not to be shown: reading it gives the same configuration.
pub fn print(config: &Config, origins: &Origins) -> String {
    let line = |line: ExplainedLine| "\t".repeat(line.depth) + &line.text + "\n";
    lines(config, origins, true).into_iter().map(line).collect()
}

/// A statement, or the `}` of a block.
pub(crate) struct ExplainedLine {
    depth: usize,
    /// Empty on a line of a block of lines, and on a `}`.
    pub keyword: &'static str,
    pub text: String,
    pub kind: LineKind,
    pub from: From,
    pub instance: Option<usize>,
    /// Whether vipd does what it says.
    pub served: bool,
}

/// What a line is to the lines around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LineKind {
    Statement,
    /// Ends in `{`.
    Opens,
    /// `}`.
    Closes,
}

/// What is said about where a line comes from.
pub(crate) enum From {
    Nowhere,
    /// The place of the first of these that was given.
    Keywords(Vec<&'static str>),
    Place(String),
}

struct Printer {
    lines: Vec<ExplainedLine>,
    depth: usize,
    instance: Option<usize>,
    secrets: bool,
}

/// The lines of the configuration; passwords are masked unless `secrets`.
pub(crate) fn lines(config: &Config, origins: &Origins, secrets: bool) -> Vec<ExplainedLine> {
    let mut printer = Printer { lines: Vec::new(), depth: 0, instance: None, secrets };
    printer.global(config, origins);
    for (i, instance) in config.instances.iter().enumerate() {
        printer.instance = Some(i);
        printer.instance(instance, origins.written.instances.get(i).map_or(&[], Vec::as_slice));
    }
    printer.lines
}

impl Printer {
    fn line(&mut self, keyword: &'static str, words: String) {
        self.line_of(keyword, instead(keyword), words);
    }

    fn line_of(&mut self, keyword: &'static str, places: Vec<&'static str>, words: String) {
        self.push(keyword, words, LineKind::Statement, From::Keywords(places));
    }

    fn push(&mut self, keyword: &'static str, text: String, kind: LineKind, from: From) {
        let (depth, instance) = (self.depth, self.instance);
        self.lines.push(ExplainedLine { depth, keyword, text, kind, from, instance, served: true });
    }

    fn statement(&mut self, Statement { keyword, values, inside, place, served }: &Statement) {
        let values = values.iter().map(|value| value.print(self.secrets));
        let first = Some((*keyword).to_owned()).filter(|keyword| !keyword.is_empty());
        let words: Vec<String> = first.into_iter().chain(values).collect();
        let (kind, open) = if inside.is_some() { (LineKind::Opens, " {") } else { (LineKind::Statement, "") };
        let place = place.as_deref().unwrap_or(DEFAULT);
        let place = if *served { place.to_owned() } else { format!("{place}, not served") };
        let (depth, instance) = (self.depth, self.instance);
        let (text, from) = (words.join(" ") + open, From::Place(place));
        self.lines.push(ExplainedLine { depth, keyword, text, kind, from, instance, served: *served });
        if let Some(inside) = inside {
            self.depth += 1;
            inside.iter().for_each(|statement| self.statement(statement));
            self.close();
        }
    }

    fn value(&mut self, keyword: &'static str, value: impl std::fmt::Display) {
        self.line(keyword, format!("{keyword} {value}"));
    }

    /// A value that another keyword may have given.
    fn value_or_of(&mut self, keyword: &'static str, other: &'static str, value: impl std::fmt::Display) {
        self.line_of(keyword, vec![keyword, other], format!("{keyword} {value}"));
    }

    fn bare(&mut self, keyword: &'static str, given: bool) {
        if given {
            self.line(keyword, keyword.to_owned());
        }
    }

    fn open(&mut self, keyword: &'static str, words: &str, from: From) {
        self.push(keyword, format!("{words} {{"), LineKind::Opens, from);
        self.depth += 1;
    }

    fn close(&mut self) {
        self.depth -= 1;
        self.push("", "}".to_owned(), LineKind::Closes, From::Nowhere);
    }

    /// A block of lines, if there are any.
    fn block<T>(&mut self, keyword: &'static str, items: &[T], line: impl Fn(&T) -> String) {
        if !items.is_empty() {
            self.open(keyword, keyword, From::Keywords(instead(keyword)));
            for item in items {
                self.push("", line(item), LineKind::Statement, From::Nowhere);
            }
            self.close();
        }
    }

    fn global(&mut self, config: &Config, origins: &Origins) {
        self.open("global_defs", "global_defs", From::Nowhere);
        if let Some(id) = &config.router_id {
            self.value("router_id", word(id));
        }
        // All instances have the same.
        if let Some(Instance { garp: Garp { interval, gna_interval, .. }, .. }) = config.instances.first() {
            self.value("vrrp_garp_interval", seconds(*interval));
            self.value("vrrp_gna_interval", seconds(*gna_interval));
        }
        origins.written.global.iter().for_each(|statement| self.statement(statement));
        self.close();
        origins.written.blocks.iter().for_each(|statement| self.statement(statement));
        self.block("static_ipaddress", &config.static_addresses, vip);
        self.block("static_routes", &config.static_routes, route);
        self.block("static_rules", &config.static_rules, rule);
    }

    fn instance(&mut self, instance: &Instance, statements: &[Statement]) {
        let head = format!("vrrp_instance {}", word(&instance.name));
        self.open("vrrp_instance", &head, From::Nowhere);
        self.value("state", if instance.wanted == WantedState::Master { "MASTER" } else { "BACKUP" });
        self.value("interface", word(&instance.interface));
        self.value("virtual_router_id", instance.vrid.get());
        if instance.priority.is_owner() {
            self.value_or_of("priority", "state", 255);
        } else {
            self.value("priority", instance.priority.get());
        }
        let version = if instance.version == Version::V2 { 2 } else { 3 };
        // IPv6 is version 3, whatever `global_defs` says.
        let other = if instance.family == Family::V6 { "virtual_ipaddress" } else { "vrrp_version" };
        self.value_or_of("version", other, version);
        self.value("advert_int", seconds(instance.advert_interval));
        self.value("down_timer_adverts", instance.down_timer_adverts);
        self.authentication(&instance.auth);
        self.bare("nopreempt", !instance.preempt);
        self.value("preempt_delay", seconds(instance.preempt_delay));
        self.peers(instance);
        self.bare("use_vmac", instance.use_vmac);
        self.bare("vmac_xmit_base", instance.vmac_xmit_base);
        self.value("accept", on(instance.accept));
        self.garp(&instance.garp);
        if instance.version == Version::V3 && instance.family == Family::V4 {
            self.value("v3_checksum_as_v2", on(instance.checksum == ChecksumForm::MessageOnly));
        }
        self.value("lower_prio_no_advert", on(instance.lower_prio_no_advert));
        self.value("lease", if instance.lease == LeasePolicy::Strict { "strict" } else { "overlap" });
        self.value("self_probe", instance.self_probe.map_or("off".to_owned(), seconds));
        self.value("cluster_report", instance.cluster_report.map_or("off".to_owned(), seconds));
        self.block("virtual_ipaddress", &instance.vips, vip);
        self.block("virtual_ipaddress_excluded", &instance.excluded, vip);
        self.block("virtual_routes", &instance.virtual_routes, route);
        self.block("virtual_rules", &instance.virtual_rules, rule);
        statements.iter().for_each(|statement| self.statement(statement));
        self.close();
    }

    fn authentication(&mut self, auth: &Auth) {
        let Auth::Pass(octets) = auth else { return };
        self.open("authentication", "authentication", From::Keywords(instead("authentication")));
        self.value("auth_type", "PASS");
        let pass = String::from_utf8_lossy(octets);
        let pass = if self.secrets { word(pass.trim_end_matches('\0')) } else { "****".to_owned() };
        self.value("auth_pass", pass);
        self.close();
    }

    fn peers(&mut self, instance: &Instance) {
        let Some(Unicast { peers, ttl, check_source }) = &instance.unicast else {
            if let Some(source) = instance.source {
                self.value("mcast_src_ip", source);
            }
            let group = if instance.family == Family::V4 { "vrrp_mcast_group4" } else { "vrrp_mcast_group6" };
            return self.value_or_of("mcast_dst_ip", group, instance.group);
        };
        if let Some(source) = instance.source {
            self.value("unicast_src_ip", source);
        }
        self.block("unicast_peer", peers, |peer| {
            let min_ttl = peer.min_ttl.map(|min| format!(" min_ttl {min}")).unwrap_or_default();
            format!("{}{min_ttl} max_ttl {}", peer.address, peer.max_ttl)
        });
        self.value("unicast_ttl", ttl);
        self.value("check_unicast_src", on(*check_source));
    }

    fn garp(&mut self, garp: &Garp) {
        let or_zero = |time: Option<Duration>| seconds(time.unwrap_or_default());
        self.value("garp_master_delay", or_zero(garp.master_delay));
        self.value("garp_master_repeat", garp.master_repeat);
        self.value("garp_master_refresh", or_zero(garp.master_refresh));
        self.value("garp_master_refresh_repeat", garp.master_refresh_repeat);
        self.value("garp_lower_prio_delay", or_zero(garp.lower_prio_delay));
        self.value("garp_lower_prio_repeat", garp.lower_prio_repeat);
    }
}

fn vip(vip: &Vip) -> String {
    let mut text = format!("{}/{}", vip.address, vip.prefix_len);
    if let Some(interface) = &vip.interface {
        let _ = write!(text, " dev {}", word(interface));
    }
    if !vip.tracked {
        text += " no_track";
    }
    text
}

/// A line of `virtual_routes`.
pub fn route(route: &VirtualRoute) -> String {
    let kind = match route.kind {
        RouteKind::Unicast => "",
        RouteKind::Blackhole => "blackhole ",
        RouteKind::Unreachable => "unreachable ",
        RouteKind::Prohibit => "prohibit ",
        RouteKind::Throw => "throw ",
    };
    let mut text = format!("{kind}{}", prefix(&route.destination));
    if let Some(source) = route.source {
        let _ = write!(text, " src {source}");
    }
    let _ = write!(text, " table {}", route.table);
    for (word, value) in [("metric", route.metric), ("scope", route.scope.map(u32::from)), ("mtu", route.mtu)]
    {
        if let Some(value) = value {
            let _ = write!(text, " {word} {value}");
        }
    }
    // One way may stand in the route itself, but then it has no weight.
    if let [hop @ Hop { weight: 1, .. }] = &route.hops[..] {
        return text + &way(hop);
    }
    for hop in &route.hops {
        let _ = write!(text, " nexthop{} weight {}", way(hop), hop.weight);
    }
    text
}

fn way(hop: &Hop) -> String {
    let mut text = String::new();
    if let Some(via) = hop.via {
        let _ = write!(text, " via {via}");
    }
    if let Some(interface) = &hop.interface {
        let _ = write!(text, " dev {}", word(interface));
    }
    if hop.onlink {
        text += " onlink";
    }
    text
}

/// A line of `virtual_rules`.
pub fn rule(rule: &VirtualRule) -> String {
    let mut words = Vec::new();
    if rule.not {
        words.push("not".to_owned());
    }
    words.push(if rule.family == Family::V4 { "inet" } else { "inet6" }.to_owned());
    for (word, value) in [("from", rule.from), ("to", rule.to)] {
        words.extend(value.map(|value| format!("{word} {}", prefix(&value))));
    }
    for (name, value) in [("iif", &rule.iif), ("oif", &rule.oif)] {
        words.extend(value.as_ref().map(|value| format!("{name} {}", word(value))));
    }
    words.extend(rule.fwmark.map(|(mark, mask)| format!("fwmark {mark:#x}/{mask:#x}")));
    words.extend(rule.preference.map(|preference| format!("preference {preference}")));
    words.push(match rule.action {
        RuleAction::Table(table) => format!("table {table}"),
        RuleAction::Blackhole => "blackhole".to_owned(),
        RuleAction::Unreachable => "unreachable".to_owned(),
        RuleAction::Prohibit => "prohibit".to_owned(),
    });
    words.join(" ")
}

fn prefix(prefix: &Prefix) -> String {
    format!("{}/{}", prefix.address, prefix.len)
}

fn on(value: bool) -> &'static str {
    if value { "on" } else { "off" }
}

fn seconds(time: Duration) -> String {
    words::seconds(u64::try_from(time.as_micros()).unwrap_or(u64::MAX))
}
