//! The rows of what may stand on a line of addresses, peers, routes or rules.

use vipd_common::Family;

use super::{Form, Keyword, tables::*};
use crate::{model::RouteKind, settings::Spanned};

use Form::{Bare, Choice, Interface, Mark, Named, Target, Unicast, Whole};

pub const VIP_OPTION: &[Keyword] = &[
    value("dev", None, Interface(|s, v| s.line.interface = Some(v))),
    value("no_track", None, Bare(|s, v| s.line.no_track = Some(v))),
    no_effect("brd", TEXT, NO_ADDRESS),
    no_effect("broadcast", TEXT, NO_ADDRESS),
    no_effect("scope", TEXT, NO_ADDRESS),
    no_effect("label", TEXT, NO_ADDRESS),
    no_effect("preferred_lft", TEXT, NO_ADDRESS),
    no_effect("-nodad", NOTHING, NO_ADDRESS),
    no_effect("nodad", NOTHING, NO_ADDRESS),
    no_effect("noprefixroute", NOTHING, NO_ADDRESS),
    no_effect("home", NOTHING, NO_ADDRESS),
    no_effect("mngtmpaddr", NOTHING, NO_ADDRESS),
    no_effect("autojoin", NOTHING, NO_ADDRESS),
    refused("peer", "vipd answers ARP and ND; a point-to-point link has neither"),
    refused("use_vmac", "write `use_vmac` in the instance, where it is for all its addresses"),
    no_effect("track_group", TEXT, NO_GROUP),
];

pub const PEER_OPTION: &[Keyword] = &[
    value("min_ttl", None, Whole { min: 0, max: 255, set: |s, v| s.line.min_ttl = Some(v) }),
    value("max_ttl", Some("255"), Whole { min: 0, max: 255, set: |s, v| s.line.max_ttl = Some(v) }),
];

pub const ROUTE: &[Keyword] = &[
    value("to", None, Target(|s, v| s.line.to = Some(v))),
    value("via", None, Unicast(|s, v| s.line.via = Some(v))),
    synonym("gw", "via", Unicast(|s, v| s.line.via = Some(v))),
    value("dev", None, Interface(|s, v| s.line.interface = Some(v))),
    synonym("oif", "dev", Interface(|s, v| s.line.interface = Some(v))),
    value("src", None, Unicast(|s, v| s.line.source = Some(v))),
    synonym("from", "src", Unicast(|s, v| s.line.source = Some(v))),
    value("table", Some("main"), TABLE),
    synonym("lookup", "table", TABLE),
    value("metric", None, NUMBER),
    synonym("priority", "metric", NUMBER),
    synonym("preference", "metric", NUMBER),
    value("scope", None, Named { of: SCOPES, min: 0, max: 255, set: |s, v| s.line.scope = Some(v) }),
    value("mtu", None, Whole { min: 68, max: 65_535, set: |s, v| s.line.mtu = Some(v) }),
    value("onlink", None, Bare(|s, v| s.line.onlink = Some(v))),
    synonym("unicast", "type", Bare(|s, v| s.line.kind = Some(kind(v, RouteKind::Unicast)))),
    synonym("blackhole", "type", Bare(|s, v| s.line.kind = Some(kind(v, RouteKind::Blackhole)))),
    synonym("unreachable", "type", Bare(|s, v| s.line.kind = Some(kind(v, RouteKind::Unreachable)))),
    synonym("prohibit", "type", Bare(|s, v| s.line.kind = Some(kind(v, RouteKind::Prohibit)))),
    synonym("throw", "type", Bare(|s, v| s.line.kind = Some(kind(v, RouteKind::Throw)))),
    no_effect("no_track", NOTHING, NOT_TRACKED),
    not_yet("local", REMOVE),
    not_yet("broadcast", REMOVE),
    not_yet("anycast", REMOVE),
    not_yet("multicast", REMOVE),
    not_yet("nat", REMOVE),
    not_yet("xresolve", REMOVE),
    refused("or", "write each way as `nexthop via ADDRESS`"),
    not_yet("tos", REMOVE),
    not_yet("dsfield", REMOVE),
    // vipd knows its own routes by their protocol.
    refused("protocol", "remove it: the routes of vipd have protocol 118"),
    not_yet("lock", REMOVE),
    not_yet("advmss", REMOVE),
    not_yet("hoplimit", REMOVE),
    not_yet("rtt", REMOVE),
    not_yet("rttvar", REMOVE),
    not_yet("rto_min", REMOVE),
    not_yet("window", REMOVE),
    not_yet("cwnd", REMOVE),
    not_yet("initcwnd", REMOVE),
    not_yet("initrwnd", REMOVE),
    not_yet("ssthresh", REMOVE),
    not_yet("reordering", REMOVE),
    not_yet("realms", REMOVE),
    not_yet("features", REMOVE),
    not_yet("quickack", REMOVE),
    not_yet("fastopen_no_cookie", REMOVE),
    not_yet("congctl", REMOVE),
    not_yet("expires", REMOVE),
    not_yet("pref", REMOVE),
    not_yet("encap", REMOVE),
    not_yet("as", REMOVE),
    not_yet("ttl-propagate", REMOVE),
    not_yet("vrf", REMOVE),
    not_yet("add", REMOVE),
    not_yet("append", REMOVE),
    not_yet("prepend", REMOVE),
    no_effect("track_group", TEXT, NO_GROUP),
];

pub const HOP: &[Keyword] = &[
    value("via", None, Unicast(|s, v| s.line.via = Some(v))),
    synonym("gw", "via", Unicast(|s, v| s.line.via = Some(v))),
    value("dev", None, Interface(|s, v| s.line.interface = Some(v))),
    synonym("oif", "dev", Interface(|s, v| s.line.interface = Some(v))),
    value("weight", Some("1"), Whole { min: 1, max: 255, set: |s, v| s.line.weight = Some(v) }),
    value("onlink", None, Bare(|s, v| s.line.onlink = Some(v))),
    not_yet("realms", REMOVE),
    not_yet("encap", REMOVE),
    not_yet("as", REMOVE),
];

pub const RULE: &[Keyword] = &[
    value("not", None, Bare(|s, v| s.line.not = Some(v))),
    value("from", None, Target(|s, v| s.line.from = Some(v))),
    value("to", None, Target(|s, v| s.line.to = Some(v))),
    value("iif", None, Interface(|s, v| s.line.iif = Some(v))),
    synonym("dev", "iif", Interface(|s, v| s.line.iif = Some(v))),
    value("oif", None, Interface(|s, v| s.line.oif = Some(v))),
    value("fwmark", None, Mark(|s, v| s.line.fwmark = Some(v))),
    value("preference", None, NUMBER),
    synonym("priority", "preference", NUMBER),
    synonym("order", "preference", NUMBER),
    value("table", None, TABLE),
    synonym("lookup", "table", TABLE),
    value("type", None, Choice { of: RULE_TYPES, set: |s, v| s.line.kind = Some(rule_type(v)) }),
    synonym("blackhole", "type", Bare(|s, v| s.line.kind = Some(kind(v, RouteKind::Blackhole)))),
    synonym("unreachable", "type", Bare(|s, v| s.line.kind = Some(kind(v, RouteKind::Unreachable)))),
    synonym("prohibit", "type", Bare(|s, v| s.line.kind = Some(kind(v, RouteKind::Prohibit)))),
    value("inet", None, Bare(|s, v| s.line.family = Some(Spanned { value: Family::V4, span: v.span }))),
    synonym("inet6", "inet", Bare(|s, v| s.line.family = Some(Spanned { value: Family::V6, span: v.span }))),
    no_effect("no_track", NOTHING, NOT_TRACKED),
    refused("protocol", "remove it: the rules of vipd have protocol 118"),
    not_yet("tos", REMOVE),
    not_yet("dsfield", REMOVE),
    not_yet("ipproto", REMOVE),
    not_yet("sport", REMOVE),
    not_yet("dport", REMOVE),
    not_yet("uidrange", REMOVE),
    not_yet("tunnel-id", REMOVE),
    not_yet("l3mdev", REMOVE),
    not_yet("goto", REMOVE),
    not_yet("nop", REMOVE),
    not_yet("realms", REMOVE),
    not_yet("suppress_prefixlength", REMOVE),
    not_yet("sup_pl", REMOVE),
    not_yet("suppress_ifgroup", REMOVE),
    not_yet("sup_group", REMOVE),
    no_effect("track_group", TEXT, NO_GROUP),
];

fn kind(word: Spanned<()>, value: RouteKind) -> Spanned<RouteKind> {
    Spanned { value, span: word.span }
}

fn rule_type(word: Spanned<&str>) -> Spanned<RouteKind> {
    let value = match word.value {
        "blackhole" => RouteKind::Blackhole,
        "unreachable" => RouteKind::Unreachable,
        "prohibit" => RouteKind::Prohibit,
        _ => RouteKind::Unicast,
    };
    Spanned { value, span: word.span }
}

/// 0 is no table. Names of `rt_tables` differ from machine to machine, numbers do not.
const TABLE: Form = Named {
    of: &[("main", 254), ("local", 255), ("default", 253)],
    min: 1,
    max: u32::MAX,
    set: |s, v| s.line.table = Some(v),
};
const NUMBER: Form = Whole { min: 0, max: u32::MAX, set: |s, v| s.line.metric = Some(v) };
/// `rtnetlink.h`.
const SCOPES: &[(&str, u32)] =
    &[("global", 0), ("universe", 0), ("site", 200), ("link", 253), ("host", 254), ("nowhere", 255)];
const RULE_TYPES: &[&str] = &["unicast", "blackhole", "unreachable", "prohibit"];

const NOT_TRACKED: &str = "no instance of vipd depends on its routes and rules";
const NO_GROUP: &str = "nothing that vipd does can have a track group";
