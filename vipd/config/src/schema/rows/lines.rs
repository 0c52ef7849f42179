//! The rows of what may stand on a line of addresses, peers, routes or rules.

use super::common::*;
use crate::schema::keyword::{Keyword, KeywordForm};

use KeywordForm::{Bare, Choice, Interface, Mark, Named, Network, Stands, Unicast, Whole};

pub const VIP_OPTION: &[Keyword] = &[
    value("dev", None, Interface),
    value("no_track", None, Bare),
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
    value("min_ttl", None, Whole { min: 0, max: 255 }),
    value("max_ttl", Some("255"), Whole { min: 0, max: 255 }),
];

pub const ROUTE: &[Keyword] = &[
    value("to", None, Network),
    value("via", None, Unicast),
    synonym("gw", "via", Unicast),
    value("dev", None, Interface),
    synonym("oif", "dev", Interface),
    value("src", None, Unicast),
    synonym("from", "src", Unicast),
    value("table", Some("main"), TABLE),
    synonym("lookup", "table", TABLE),
    value("metric", None, NUMBER),
    synonym("priority", "metric", NUMBER),
    synonym("preference", "metric", NUMBER),
    value("scope", None, Named { of: SCOPES, min: 0, max: 255 }),
    value("mtu", None, Whole { min: 68, max: 65_535 }),
    value("onlink", None, Bare),
    synonym("unicast", "type", Stands("unicast")),
    synonym("blackhole", "type", Stands("blackhole")),
    synonym("unreachable", "type", Stands("unreachable")),
    synonym("prohibit", "type", Stands("prohibit")),
    synonym("throw", "type", Stands("throw")),
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
    value("via", None, Unicast),
    synonym("gw", "via", Unicast),
    value("dev", None, Interface),
    synonym("oif", "dev", Interface),
    value("weight", Some("1"), Whole { min: 1, max: 255 }),
    value("onlink", None, Bare),
    not_yet("realms", REMOVE),
    not_yet("encap", REMOVE),
    not_yet("as", REMOVE),
];

pub const RULE: &[Keyword] = &[
    value("not", None, Bare),
    value("from", None, Network),
    value("to", None, Network),
    value("iif", None, Interface),
    synonym("dev", "iif", Interface),
    value("oif", None, Interface),
    value("fwmark", None, Mark),
    value("preference", None, NUMBER),
    synonym("priority", "preference", NUMBER),
    synonym("order", "preference", NUMBER),
    value("table", None, TABLE),
    synonym("lookup", "table", TABLE),
    value("type", None, Choice(RULE_TYPES)),
    synonym("blackhole", "type", Stands("blackhole")),
    synonym("unreachable", "type", Stands("unreachable")),
    synonym("prohibit", "type", Stands("prohibit")),
    value("inet", None, Stands("inet")),
    synonym("inet6", "inet", Stands("inet6")),
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

/// 0 is no table. Names of `rt_tables` differ from machine to machine, numbers do not.
const TABLE: KeywordForm =
    Named { of: &[("main", 254), ("local", 255), ("default", 253)], min: 1, max: u32::MAX };
const NUMBER: KeywordForm = Whole { min: 0, max: u32::MAX };
/// `rtnetlink.h`.
const SCOPES: &[(&str, u32)] =
    &[("global", 0), ("universe", 0), ("site", 200), ("link", 253), ("host", 254), ("nowhere", 255)];
const RULE_TYPES: &[&str] = &["unicast", "blackhole", "unreachable", "prohibit"];

const NOT_TRACKED: &str = "no instance of vipd depends on its routes and rules";
const NO_GROUP: &str = "nothing that vipd does can have a track group";
