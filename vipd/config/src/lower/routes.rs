//! The lines of `virtual_routes` and `virtual_rules`, in the language of `ip route` and `ip rule`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use vipd_common::Family;

use super::{
    given::{Given, Spanned, Values},
    lowering::Lowering,
    values,
};
use crate::{
    model::{
        address::Prefix,
        route::{Hop, RouteKind, RuleAction, VirtualRoute, VirtualRule},
    },
    schema::{
        keyword::{Block, Support},
        table,
        words::{self as readers, Network},
    },
    syntax::{
        diagnostic::Code,
        report::Report,
        span::{Span, Word},
    },
};

impl Lowering<'_> {
    pub fn route_line(&mut self, words: &[Word], given: &mut Given) {
        let Some(first) = words.first().map(|word| word.span) else { return };
        let at_nexthop = words.iter().filter(|word| word.text == "nexthop").map(|word| word.span);
        let mut parts = words.split(|word| word.text == "nexthop");
        let route = self.part(parts.next().unwrap_or_default(), first, Block::Route);
        let mut hops: Vec<RoutePart> =
            parts.zip(at_nexthop).map(|(part, at)| self.part(part, at, Block::Hop)).collect();
        let partial = route.words.partial || hops.iter().any(|hop| hop.words.partial);
        let Some(to) = route.words.values.network("to") else {
            if !partial && route.words.seen_at("to").is_none() {
                let hint = "write it first, as in `10.1.0.0/16 via 10.0.0.1` or `default via 10.0.0.1`";
                self.report.error_hint(Code::BadRoute, first, "this route has no destination", hint);
            }
            return;
        };
        let line = &route.words.values;
        let kind = kind(line).map_or(RouteKind::Unicast, |kind| kind.value);
        let family = route_family(line, &to, &hops);
        let source = line.address("src");
        if let Some(source) = &source {
            same_family("source", readers::family_of(source.value), source.span, family, self.report);
        }
        let read = VirtualRoute {
            kind,
            destination: prefix(&to, family, self.report),
            hops: Vec::new(),
            source: source.map(|source| source.value),
            table: line.number("table").map_or(MAIN, |table| table.value),
            metric: line.number("metric").map(|metric| metric.value),
            scope: line.octet("scope"),
            mtu: line.number("mtu").map(|mtu| mtu.value),
        };
        if ["via", "dev", "onlink"].iter().any(|word| route.words.seen_at(word).is_some()) {
            if let Some(hop) = hops.first() {
                let hint = "give each way a `nexthop` of its own";
                self.report.error_hint(
                    Code::BadRoute,
                    hop.at,
                    "`nexthop` in a route that has `via` or `dev`",
                    hint,
                );
            }
            hops.insert(0, route);
        }
        if !partial || !hops.is_empty() {
            self.check_leads(kind, !hops.is_empty(), first);
        }
        let hops = hops.iter().map(|hop| self.hop(hop, family)).collect();
        given.routes.push(VirtualRoute { hops, ..read });
    }

    /// A route leads somewhere if and only if it drops no packets.
    fn check_leads(&mut self, kind: RouteKind, leads: bool, at: Span) {
        match (kind, leads) {
            (RouteKind::Unicast, false) => {
                let hint = "add `via GATEWAY`, `dev INTERFACE` or `nexthop via GATEWAY`";
                self.report.error_hint(Code::BadRoute, at, "this route leads nowhere", hint);
            }
            (RouteKind::Unicast, true) | (_, false) => {}
            (_, true) => {
                let hint = "remove `via`, `dev`, `onlink` and `nexthop`, or the word that drops the packets";
                self.report.error_hint(
                    Code::BadRoute,
                    at,
                    "this route drops packets and leads somewhere",
                    hint,
                );
            }
        }
    }

    fn hop(&mut self, part: &RoutePart, family: Family) -> Hop {
        let line = &part.words.values;
        let named = ["via", "dev"].iter().any(|word| part.words.seen_at(word).is_some());
        if !named && !part.words.partial {
            let hint = "add `via GATEWAY` or `dev INTERFACE`";
            self.report.error_hint(
                Code::BadRoute,
                part.at,
                "a way of this route has neither gateway nor interface",
                hint,
            );
        }
        let via = line.address("via");
        if let Some(via) = &via {
            let own = readers::family_of(via.value);
            if part.gateway.is_some_and(|said| said != own) {
                let message = format!("the gateway is an {} address", readers::name(own));
                self.report.error_hint(
                    Code::MixedFamilies,
                    via.span,
                    message,
                    "remove `inet` or `inet6` before it",
                );
            } else if (family, part.gateway) != (Family::V4, Some(Family::V6)) {
                // Otherwise it is an IPv4 route with an IPv6 gateway, which Linux has and `inet6` asks for.
                same_family("gateway", own, via.span, family, self.report);
            }
        }
        if let Some(via) = via.as_ref().filter(|via| readers::is_link_local(via.value))
            && part.words.seen_at("dev").is_none()
        {
            let hint = "every interface has the same link-local addresses: add `dev INTERFACE`";
            self.report.error_hint(Code::BadRoute, via.span, "link-local gateway without interface", hint);
        }
        Hop {
            via: via.map(|via| via.value),
            interface: line.text("dev").map(|interface| interface.value),
            weight: line.octet("weight").unwrap_or(1),
            onlink: line.at("onlink").is_some(),
        }
    }

    pub fn rule_line(&mut self, words: &[Word], given: &mut Given) {
        let Some(first) = words.first().map(|word| word.span) else { return };
        let mut rule = Given::default();
        self.options(words, Block::Rule, &mut rule);
        let line = &rule.values;
        let (from, to) = (line.network("from"), line.network("to"));
        let of_target = |target: &Spanned<Network>| match target.value {
            Network::Everything => None,
            Network::Prefix { address, .. } => Some(readers::family_of(address)),
        };
        let of_side = [&from, &to].into_iter().flatten().find_map(of_target);
        // As `ip rule` has it: IPv4 unless something says otherwise.
        let own = line.word("inet").map(|word| if word.value == "inet6" { Family::V6 } else { Family::V4 });
        let family = own.or(of_side).unwrap_or(Family::V4);
        let mut side = |target: &Option<Spanned<Network>>| {
            let target = target.as_ref().filter(|target| target.value != Network::Everything)?;
            Some(prefix(target, family, self.report))
        };
        let (from, to) = (side(&from), side(&to));
        let Some(action) = self.action(&rule, first) else { return };
        let preference = line.number("preference");
        if let Some(preference) = preference.as_ref().filter(|preference| preference.value <= LOCAL_RULE) {
            let message = format!("preference {} would come before local delivery", preference.value);
            let hint = "vipd moves the `local` rule to 100: use a greater preference";
            self.report.error_hint(Code::BadRule, preference.span, message, hint);
        }
        given.rules.push(VirtualRule {
            not: line.at("not").is_some(),
            family,
            from,
            to,
            iif: line.text("iif").map(|iif| iif.value),
            oif: line.text("oif").map(|oif| oif.value),
            fwmark: line.mark("fwmark"),
            preference: preference.map(|preference| preference.value),
            action,
        });
    }

    /// What a rule does with a packet; `at`: its first word.
    fn action(&mut self, rule: &Given, at: Span) -> Option<RuleAction> {
        let kind = kind(&rule.values);
        Some(match (&kind, &rule.values.number("table")) {
            (Some(Spanned { value: RouteKind::Blackhole, .. }), None) => RuleAction::Blackhole,
            (Some(Spanned { value: RouteKind::Unreachable, .. }), None) => RuleAction::Unreachable,
            (Some(Spanned { value: RouteKind::Prohibit, .. }), None) => RuleAction::Prohibit,
            (Some(Spanned { value: RouteKind::Unicast, .. }) | None, Some(table)) => {
                RuleAction::Table(table.value)
            }
            (Some(kind), Some(_)) => {
                let hint = "keep one of the two";
                self.report.error_hint(
                    Code::BadRule,
                    kind.span,
                    "this rule drops packets and looks up a table",
                    hint,
                );
                return None;
            }
            (_, None) => {
                // `type unicast` needs a table; another word after `type` has been reported.
                let typed = rule.seen_at("type").is_some() && kind.is_none();
                if !rule.partial && !typed && rule.seen_at("table").is_none() {
                    let hint = "add `table N`, `blackhole`, `unreachable` or `prohibit`";
                    self.report.error_hint(Code::BadRule, at, "this rule does nothing", hint);
                }
                return None;
            }
        })
    }

    /// Reads the words of a route or of one `nexthop`.
    fn part(&mut self, words: &[Word], at: Span, block: Block) -> RoutePart {
        let mut gateway = None;
        let mut kept = Vec::with_capacity(words.len());
        for (i, word) in words.iter().enumerate() {
            let after_via = i > 0 && matches!(words[i - 1].text.as_str(), "via" | "gw");
            match word.text.as_str() {
                "inet" if after_via => gateway = Some(Family::V4),
                "inet6" if after_via => gateway = Some(Family::V6),
                _ => kept.push(word.clone()),
            }
        }
        let mut read = Given::default();
        self.options(&kept, block, &mut read);
        RoutePart { words: read, gateway, at }
    }

    /// Takes a word that is no keyword as the destination of a route, if it looks like one.
    pub fn destination(&mut self, word: &Word, block: Block, line: &mut Given) -> bool {
        let address = word.text.starts_with(|c: char| c.is_ascii_digit()) || word.text.contains(':');
        let target = address || matches!(word.text.as_str(), "default" | "any" | "all");
        let Some(to) = table::find(Block::Route, "to").filter(|_| target && block == Block::Route) else {
            return false;
        };
        self.mark_seen(to, word, line);
        if let Support::Supported(form) = &to.status {
            let statement = [Word { text: to.name.to_owned(), span: word.span }, word.clone()];
            values::set(to, form, &statement, block, line, self.report);
        }
        true
    }
}

/// What a route says up to the first `nexthop`, or one `nexthop`.
struct RoutePart {
    words: Given,
    /// Which family the gateway is said to have.
    gateway: Option<Family>,
    /// The `nexthop`, or the start of the line.
    at: Span,
}

/// `default` has the family of the addresses around it, else IPv4, as `ip route` has it.
fn route_family(line: &Values, to: &Spanned<Network>, hops: &[RoutePart]) -> Family {
    if let Network::Prefix { address, .. } = to.value {
        return readers::family_of(address);
    }
    let gateways =
        std::iter::once(line.address("via")).chain(hops.iter().map(|hop| hop.words.values.address("via")));
    let near = std::iter::once(line.address("src")).chain(gateways).flatten().next();
    near.map_or(Family::V4, |address| readers::family_of(address.value))
}

/// What a route or rule does with a packet, where it says more than `table`.
fn kind(line: &Values) -> Option<Spanned<RouteKind>> {
    let word = line.word("type")?;
    let value = match word.value {
        "blackhole" => RouteKind::Blackhole,
        "unreachable" => RouteKind::Unreachable,
        "prohibit" => RouteKind::Prohibit,
        "throw" => RouteKind::Throw,
        _ => RouteKind::Unicast,
    };
    Some(Spanned { value, span: word.span })
}

fn prefix(target: &Spanned<Network>, family: Family, report: &mut Report) -> Prefix {
    let (address, len) = match (target.value, family) {
        (Network::Prefix { address, len }, _) => (address, len),
        (Network::Everything, Family::V4) => (IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0),
        (Network::Everything, Family::V6) => (IpAddr::V6(Ipv6Addr::UNSPECIFIED), 0),
    };
    same_family("prefix", readers::family_of(address), target.span, family, report);
    let prefix = Prefix::new(address, len);
    if prefix.address != address {
        let message = format!("{address}/{len} has bits beyond its length");
        report.warning(Code::HostBits, target.span, message, format!("write `{}/{len}`", prefix.address));
    }
    prefix
}

fn same_family(what: &str, own: Family, at: Span, family: Family, report: &mut Report) {
    if own != family {
        let message = format!("{} {what} in a line about {}", readers::name(own), readers::name(family));
        report.error_hint(Code::MixedFamilies, at, message, "use addresses of one family");
    }
}

/// `RT_TABLE_MAIN`.
const MAIN: u32 = 254;

/// Where the host's `local` rule stands while vipd runs.
const LOCAL_RULE: u32 = 100;
