//! `virtual_routes` and `virtual_rules`.

use proptest::prelude::*;
use vipd_common::Family;

use super::{check_all, diagnostics, instance, ip, with};
use crate::{Hop, Prefix, RouteKind, RuleAction, VirtualRoute, VirtualRule};

fn routes(lines: &str) -> String {
    with(&format!("virtual_routes {{\n{lines}\n}}"))
}

fn rules(lines: &str) -> String {
    with(&format!("virtual_rules {{\n{lines}\n}}"))
}

fn route(destination: &str, len: u8) -> VirtualRoute {
    VirtualRoute {
        kind: RouteKind::Unicast,
        destination: Prefix { address: ip(destination), len },
        hops: Vec::new(),
        source: None,
        table: 254,
        metric: None,
        scope: None,
        mtu: None,
    }
}

fn hop(via: Option<&str>, interface: Option<&str>) -> Hop {
    Hop { via: via.map(ip), interface: interface.map(str::to_owned), weight: 1, onlink: false }
}

fn rule(action: RuleAction) -> VirtualRule {
    VirtualRule {
        not: false,
        family: Family::V4,
        from: None,
        to: None,
        iif: None,
        oif: None,
        fwmark: None,
        preference: None,
        action,
    }
}

#[test]
fn routes_mean_what_ip_route_means() {
    let via =
        |route: VirtualRoute, gateway: &str| VirtualRoute { hops: vec![hop(Some(gateway), None)], ..route };
    let dropping = |kind| VirtualRoute { kind, ..route("10.1.0.0", 16) };
    let rows = [
        ("10.1.0.0/16 via 10.0.0.1", via(route("10.1.0.0", 16), "10.0.0.1")),
        ("to 10.1.0.0/16 gw 10.0.0.1", via(route("10.1.0.0", 16), "10.0.0.1")),
        ("unicast 10.1.0.0/16 via inet 10.0.0.1", via(route("10.1.0.0", 16), "10.0.0.1")),
        ("via 10.0.0.1 10.1.2.3", via(route("10.1.2.3", 32), "10.0.0.1")),
        ("default via 10.0.0.1", via(route("0.0.0.0", 0), "10.0.0.1")),
        ("default via 2001:db8::1", via(route("::", 0), "2001:db8::1")),
        ("2001:db8::/32 via inet6 2001:db8::1", via(route("2001:db8::", 32), "2001:db8::1")),
        // An IPv4 route with an IPv6 gateway, as RFC 8950 speakers make them.
        (
            "10.1.0.0/16 via inet6 fe80::1 dev eth1",
            VirtualRoute { hops: vec![hop(Some("fe80::1"), Some("eth1"))], ..route("10.1.0.0", 16) },
        ),
        ("default dev eth1", VirtualRoute { hops: vec![hop(None, Some("eth1"))], ..route("0.0.0.0", 0) }),
        (
            "src 10.0.0.3 to 10.1.0.0/16 via 10.0.0.1 oif eth1 table 100 metric 7 scope link mtu 1400 onlink",
            VirtualRoute {
                source: Some(ip("10.0.0.3")),
                table: 100,
                metric: Some(7),
                scope: Some(253),
                mtu: Some(1400),
                hops: vec![Hop { onlink: true, ..hop(Some("10.0.0.1"), Some("eth1")) }],
                ..route("10.1.0.0", 16)
            },
        ),
        (
            "10.1.0.0/16 lookup local from 10.0.0.3 priority 8 scope 200 nexthop via 10.0.0.1 weight 3 nexthop dev eth1 onlink",
            VirtualRoute {
                source: Some(ip("10.0.0.3")),
                table: 255,
                metric: Some(8),
                scope: Some(200),
                hops: vec![
                    Hop { weight: 3, ..hop(Some("10.0.0.1"), None) },
                    Hop { onlink: true, ..hop(None, Some("eth1")) },
                ],
                ..route("10.1.0.0", 16)
            },
        ),
        ("blackhole 10.1.0.0/16", dropping(RouteKind::Blackhole)),
        ("unreachable 10.1.0.0/16", dropping(RouteKind::Unreachable)),
        ("prohibit 10.1.0.0/16", dropping(RouteKind::Prohibit)),
        ("throw 10.1.0.0/16 table default", VirtualRoute { table: 253, ..dropping(RouteKind::Throw) }),
    ];
    check_all(rows.iter().map(|(line, _)| (routes(line), [].as_slice())));
    for (line, expect) in rows {
        assert_eq!(instance(&routes(line)).virtual_routes, [expect], "{line}");
    }
}

#[test]
fn rules_mean_what_ip_rule_means() {
    let prefix = |address: &str, len| Some(Prefix { address: ip(address), len });
    let table = |table| rule(RuleAction::Table(table));
    let rows = [
        ("from 10.1.0.0/16 table 100", VirtualRule { from: prefix("10.1.0.0", 16), ..table(100) }),
        ("from all lookup main", table(254)),
        (
            "not from 10.1.2.3 to 10.2.0.0/16 iif eth0 oif eth1 fwmark 0x10/0xff preference 177 table 100",
            VirtualRule {
                not: true,
                from: prefix("10.1.2.3", 32),
                to: prefix("10.2.0.0", 16),
                iif: Some("eth0".to_owned()),
                oif: Some("eth1".to_owned()),
                fwmark: Some((0x10, 0xff)),
                preference: Some(177),
                ..table(100)
            },
        ),
        (
            "dev eth0 fwmark 9 order 101 type unicast table 5",
            VirtualRule {
                iif: Some("eth0".to_owned()),
                fwmark: Some((9, u32::MAX)),
                preference: Some(101),
                ..table(5)
            },
        ),
        (
            "inet6 iif eth0 table 5",
            VirtualRule { family: Family::V6, iif: Some("eth0".to_owned()), ..table(5) },
        ),
        (
            "to 2001:db8::/32 priority 103 blackhole",
            VirtualRule {
                family: Family::V6,
                to: prefix("2001:db8::", 32),
                preference: Some(103),
                ..rule(RuleAction::Blackhole)
            },
        ),
        (
            "from 10.1.2.3 type prohibit",
            VirtualRule { from: prefix("10.1.2.3", 32), ..rule(RuleAction::Prohibit) },
        ),
        (
            "to 10.1.2.3 unreachable",
            VirtualRule { to: prefix("10.1.2.3", 32), ..rule(RuleAction::Unreachable) },
        ),
    ];
    check_all(rows.iter().map(|(line, _)| (rules(line), [].as_slice())));
    for (line, expect) in rows {
        assert_eq!(instance(&rules(line)).virtual_rules, [expect], "{line}");
    }
}

#[test]
fn wrong_routes_are_told_where() {
    let rows: &[(&str, &[&str])] = &[
        ("via 10.0.0.1", &["3:1: error: this route has no destination"]),
        ("10.1.0.0/16", &["3:1: error: this route leads nowhere"]),
        (
            "10.1.0.0/16 nexthop weight 2",
            &["3:13: error: a way of this route has neither gateway nor interface"],
        ),
        ("blackhole 10.1.0.0/16 dev eth1", &["3:1: error: this route drops packets and leads somewhere"]),
        (
            "10.1.0.0/16 via 10.0.0.1 nexthop via 10.0.0.2",
            &["3:26: error: `nexthop` in a route that has `via` or `dev`"],
        ),
        ("10.1.0.0/16 via 2001:db8::1", &["3:17: error: IPv6 gateway in a line about IPv4"]),
        ("2001:db8::/32 via 10.0.0.1", &["3:19: error: IPv4 gateway in a line about IPv6"]),
        ("2001:db8::/32 via inet6 10.0.0.1", &["3:25: error: the gateway is an IPv4 address"]),
        ("10.1.0.0/16 dev eth1 src fe80::1", &["3:26: error: IPv6 source in a line about IPv4"]),
        (
            "10.1.0.0/33 dev eth1",
            &["3:1: error: to `10.1.0.0/33` has a prefix length that is out of range: 0 to 32"],
        ),
        ("10.1 dev eth1", &["3:1: error: to `10.1` is not an IP address"]),
        ("10.1.0.1/16 dev eth1", &["3:1: warning: 10.1.0.1/16 has bits beyond its length"]),
        ("10.1.0.0/16 10.2.0.0/16 dev eth1", &["3:13: warning: `to` given again: the last one counts"]),
        (
            "10.1.0.0/16 via 10.0.0.1 gw 10.0.0.2",
            &["3:26: warning: `via` given again with another keyword: the last one counts"],
        ),
        ("10.1.0.0/16 via default", &["3:17: error: via `default` is not an IP address"]),
        ("10.1.0.0/16 onlink", &["3:1: error: a way of this route has neither gateway nor interface"]),
        ("default via fe80::1", &["3:13: error: link-local gateway without interface"]),
        ("10.1.0.0/16 nexthop via x", &["3:25: error: via `x` is not an IP address"]),
        ("10.1.0.0/16 dev", &["3:13: error: `dev` needs a value"]),
        (
            "10.1.0.0/16 dev eth1 table lan",
            &["3:28: error: table `lan` is neither a number nor a known name"],
        ),
        ("10.1.0.0/16 dev eth1 table 0", &["3:28: error: table `0` is out of range: 1 to 4294967295"]),
        ("10.1.0.0/16 dev eth1 scope 256", &["3:28: error: scope `256` is out of range: 0 to 255"]),
        ("10.1.0.0/16 dev eth1 mtu 67", &["3:26: error: mtu `67` is out of range: 68 to 65535"]),
        ("10.1.0.0/16 dev eth1 mtu lock 1400", &["3:26: error: `lock` is not supported yet"]),
        ("10.1.0.0/16 nexthop dev eth1 weight 256", &["3:37: error: weight `256` is out of range: 1 to 255"]),
        ("10.1.0.0/16 nexthop dev eth1 wieght 2", &["3:30: error: unknown word `wieght` after `nexthop`"]),
        ("10.1.0.0/16 dve eth1", &["3:13: error: unknown word `dve` in a route"]),
        ("local 10.1.0.0/16 dev eth1", &["3:1: error: `local` is not supported yet"]),
        ("10.1.0.0/16 dev eth1 no_track", &["3:22: notice: `no_track` has no effect"]),
    ];
    check_all(rows.iter().map(|(line, expect)| (routes(line), *expect)));
    assert_eq!(diagnostics(&routes("10.1.0.0/16 dve eth1"))[0].hint.as_deref(), Some("did you mean `dev`?"));
}

#[test]
fn wrong_rules_are_told_where() {
    let rows: &[(&str, &[&str])] = &[
        ("from 10.1.0.0/16", &["3:1: error: this rule does nothing"]),
        ("from 10.1.0.0/16 type unicast", &["3:1: error: this rule does nothing"]),
        ("from 10.1.0.0/16 type local", &["3:23: error: type `local` is not a known value"]),
        ("table 5 blackhole", &["3:9: error: this rule drops packets and looks up a table"]),
        ("from 10.1.2.3 to fe80::1 table 5", &["3:18: error: IPv6 prefix in a line about IPv4"]),
        ("inet6 from 10.1.2.3 table 5", &["3:12: error: IPv4 prefix in a line about IPv6"]),
        ("from 10.1.2.3/8 table 5", &["3:6: warning: 10.1.2.3/8 has bits beyond its length"]),
        ("from 10.1.2.3 fwmark 0x table 5", &["3:22: error: fwmark `0x` is not a 32-bit mark"]),
        ("fwmark 1/2/3 table 5", &["3:8: error: fwmark `1/2/3` is not a 32-bit mark"]),
        ("fwmark 4294967296 table 5", &["3:8: error: fwmark `4294967296` is not a 32-bit mark"]),
        (
            "from 10.1.2.3 preference 100 table 5",
            &["3:26: error: preference 100 would come before local delivery"],
        ),
        ("from 10.1.2.3 goto 5", &["3:15: error: `goto` is not supported yet"]),
        ("from 10.1.2.3 protocol 5 table 5", &["3:15: error: `protocol` is not supported"]),
        ("form 10.1.2.3 table 5", &["3:1: error: unknown word `form` in a rule"]),
        ("10.1.2.3 table 5", &["3:1: error: unknown word `10.1.2.3` in a rule"]),
        ("iif eth0 table 5 no_track", &["3:18: notice: `no_track` has no effect"]),
        (
            "iif eth0 dev eth1 table 5",
            &["3:10: warning: `iif` given again with another keyword: the last one counts"],
        ),
    ];
    check_all(rows.iter().map(|(line, expect)| (rules(line), *expect)));
}

proptest! {
    #[test]
    fn a_prefix_has_no_bit_beyond_its_length(bits in any::<u128>(), len in 0u8..=128) {
        let v6 = Prefix::new(std::net::Ipv6Addr::from_bits(bits).into(), len);
        let v4 = Prefix::new(std::net::Ipv4Addr::from_bits(bits as u32).into(), len.min(32));
        for (prefix, kept) in [(v6, bits), (v4, u128::from(bits as u32))] {
            let (now, width) = match prefix.address {
                std::net::IpAddr::V4(v4) => (u128::from(v4.to_bits()), 32),
                std::net::IpAddr::V6(v6) => (v6.to_bits(), 128),
            };
            for bit in 0..width {
                let inside = width - bit <= u32::from(prefix.len);
                prop_assert_eq!(now >> bit & 1, if inside { kept >> bit & 1 } else { 0 }, "bit {}", bit);
            }
        }
    }
}
