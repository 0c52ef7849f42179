//! `virtual_routes` and `virtual_rules`.

use vipd_common::Family;
use vipd_config::{Hop, Prefix, RouteKind, RuleAction, VirtualRoute, VirtualRule};

use super::*;

fn routes() -> Vec<String> {
    let v4 = lines(&ip("-4 route show table all proto 119"));
    sorted([v4, lines(&ip("-6 route show table all proto 119"))].concat())
}

fn rules() -> Vec<String> {
    let all = [lines(&ip("-4 rule show")), lines(&ip("-6 rule show"))].concat();
    all.into_iter().filter(|rule| rule.ends_with("proto 119")).collect()
}

fn hop(via: Option<&str>, interface: Option<&str>) -> Hop {
    Hop { via: via.map(addr), interface: interface.map(str::to_owned), weight: 1, onlink: false }
}

fn route(destination: (&str, u8), hops: Vec<Hop>) -> VirtualRoute {
    VirtualRoute {
        kind: RouteKind::Unicast,
        destination: Prefix { address: addr(destination.0), len: destination.1 },
        hops,
        source: None,
        table: 254,
        metric: None,
        scope: None,
        mtu: None,
    }
}

fn rule() -> VirtualRule {
    VirtualRule {
        not: false,
        family: Family::V4,
        from: None,
        to: None,
        iif: None,
        oif: None,
        fwmark: None,
        preference: None,
        action: RuleAction::Table(100),
    }
}

/// Every field at least once, in both families.
fn all_routes() -> Vec<VirtualRoute> {
    let weighted = |via, weight| Hop { weight, ..hop(Some(via), Some("v0")) };
    vec![
        route(("192.0.2.0", 24), vec![hop(Some("10.0.0.254"), None)]),
        VirtualRoute {
            source: Some(addr("10.0.0.100")),
            metric: Some(7),
            mtu: Some(1400),
            table: 100,
            ..route(("0.0.0.0", 0), vec![hop(Some("10.0.0.254"), Some("v0"))])
        },
        VirtualRoute { scope: Some(253), ..route(("198.51.100.1", 32), vec![hop(None, Some("v0"))]) },
        VirtualRoute { kind: RouteKind::Unreachable, ..route(("192.0.2.0", 25), vec![]) },
        route(("203.0.113.0", 24), vec![weighted("10.0.0.253", 1), weighted("10.0.0.254", 20)]),
        VirtualRoute {
            table: 100,
            ..route(("10.99.0.0", 16), vec![Hop { onlink: true, ..hop(Some("172.16.0.1"), Some("v0")) }])
        },
        route(("10.98.0.0", 16), vec![hop(Some("fe80::1"), Some("v0"))]),
        route(("2001:db8:1::5", 48), vec![hop(Some("2001:db8::fe"), None)]),
        VirtualRoute {
            table: 100,
            metric: Some(5),
            ..route(("::", 0), vec![hop(Some("fe80::1"), Some("v0"))])
        },
        VirtualRoute { kind: RouteKind::Blackhole, ..route(("2001:db8:2::", 48), vec![]) },
        VirtualRoute { kind: RouteKind::Prohibit, ..route(("10.97.0.0", 16), vec![]) },
        VirtualRoute { kind: RouteKind::Throw, table: 100, ..route(("10.96.0.0", 16), vec![]) },
        route(("2001:db8:3::", 48), vec![weighted("2001:db8::fd", 2), weighted("2001:db8::fe", 1)]),
    ]
}

fn all_rules() -> Vec<VirtualRule> {
    vec![
        VirtualRule { from: Some(Prefix { address: addr("10.0.0.100"), len: 32 }), ..rule() },
        VirtualRule {
            not: true,
            to: Some(Prefix { address: addr("10.5.0.0"), len: 16 }),
            iif: Some("v0".to_owned()),
            fwmark: Some((0x10, 0xff)),
            preference: Some(500),
            action: RuleAction::Blackhole,
            ..rule()
        },
        VirtualRule {
            family: Family::V6,
            oif: Some("absent0".to_owned()),
            from: Some(Prefix { address: addr("::"), len: 0 }),
            preference: Some(600),
            action: RuleAction::Unreachable,
            ..rule()
        },
        VirtualRule {
            family: Family::V6,
            to: Some(Prefix { address: addr("2001:db8:7::"), len: 48 }),
            action: RuleAction::Prohibit,
            ..rule()
        },
        VirtualRule { preference: Some(601), action: RuleAction::Table(70_000), ..rule() },
    ]
}

async fn plan(host: &Host, routes: Vec<VirtualRoute>, rules: Vec<VirtualRule>) -> Plan {
    let link = host.link("v0").await.unwrap();
    let link = PlannedLink {
        ifindex: link.ifindex,
        interface: "v0".to_owned(),
        source_v4: link.primary_v4(),
        source_v6: None,
        vips: vec![addr("10.0.0.100")],
        connected: Vec::new(),
        subnets: Vec::new(),
        announces_own_mac: true,
    };
    let instance = PlannedInstance {
        key: 3,
        families: Vec::new(),
        links: vec![link],
        filters: Vec::new(),
        routes,
        rules,
        visible: false,
    };
    Plan { instances: vec![instance] }
}

#[test]
fn they_follow_mastership() {
    in_namespace("virtual", async |dir| {
        ip("addr add 2001:db8::1/64 dev v0 nodad");
        let (mut host, _events) = Host::open(&dir).unwrap();
        let plan = plan(&host, all_routes(), all_rules()).await;
        host.install(&plan).await.unwrap();
        host.sync_virtual().await.unwrap();
        assert!(routes().is_empty() && rules().is_empty());

        host.set(3, Ownership::Master).await.unwrap();
        host.sync_virtual().await.unwrap();
        let mut expected = vec![
            "192.0.2.0/24 via 10.0.0.254 dev v0",
            "default via 10.0.0.254 dev v0 table 100 src 10.0.0.100 metric 7 mtu 1400",
            "198.51.100.1 dev v0 scope link",
            "unreachable 192.0.2.0/25",
            "203.0.113.0/24 nexthop via 10.0.0.253 dev v0 weight 1 nexthop via 10.0.0.254 dev v0 weight 20",
            "10.99.0.0/16 via 172.16.0.1 dev v0 table 100 onlink",
            "10.98.0.0/16 via inet6 fe80::1 dev v0",
            "2001:db8:1::/48 via 2001:db8::fe dev v0 metric 1024 pref medium",
            "default via fe80::1 dev v0 table 100 metric 5 pref medium",
            "blackhole 2001:db8:2::/48 dev lo metric 1024 pref medium",
            "prohibit 10.97.0.0/16",
            "throw 10.96.0.0/16 table 100",
            "2001:db8:3::/48 metric 1024 pref medium nexthop via 2001:db8::fd dev v0 weight 2 \
             nexthop via 2001:db8::fe dev v0 weight 1",
        ];
        expected.sort_unstable();
        // A multipath route takes several lines.
        assert_eq!(sorted(routes().join(" ").split(' ').map(str::to_owned).collect()), {
            sorted(expected.join(" ").split(' ').map(str::to_owned).collect())
        });
        for line in expected.iter().filter(|line| !line.contains("nexthop")) {
            assert!(routes().contains(&(*line).to_owned()), "{line} is not in {:#?}", routes());
        }
        let expected_rules = [
            "500: not from all to 10.5.0.0/16 fwmark 0x10/0xff iif v0 blackhole proto 119",
            "601: from all lookup 70000 proto 119",
            "16384: from 10.0.0.100 lookup 100 proto 119",
            "600: from all oif absent0 [detached] unreachable proto 119",
            "16384: from all to 2001:db8:7::/48 prohibit proto 119",
        ];
        assert_eq!(rules(), expected_rules);

        // Again, and by a restart that adopts mastership: nothing is touched.
        let before = routes();
        let mut monitor = ipv4::Monitor::start(None);
        for _ in 0..2 {
            host.set(3, Ownership::Master).await.unwrap();
            host.install(&plan).await.unwrap();
            host.sync_virtual().await.unwrap();
            drop(host);
            (host, _) = Host::open(&dir).unwrap();
            host.set(3, Ownership::Master).await.unwrap();
            host.install(&plan).await.unwrap();
            host.sync_virtual().await.unwrap();
        }
        ip("route add 192.0.2.0/26 dev v0");
        let touched = monitor.stop("192.0.2.0/26").into_iter().filter(|line| line.contains("proto 119"));
        assert_eq!(touched.collect::<Vec<_>>(), [""; 0]);
        ip("route del 192.0.2.0/26 dev v0");
        assert_eq!((routes(), rules().len()), (before, 5));

        host.set(3, Ownership::None).await.unwrap();
        host.sync_virtual().await.unwrap();
        assert!(routes().is_empty() && rules().is_empty());
        assert_eq!(ip("-4 route show proto 118 table all"), "");
    });
}

#[test]
fn a_refused_one_is_named_and_the_others_are_made() {
    in_namespace("refused", async |dir| {
        let (mut host, _events) = Host::open(&dir).unwrap();
        ip("route add 198.51.100.0/24 dev v0");
        let wanted = vec![
            VirtualRoute { metric: Some(9), ..route(("192.0.2.0", 24), vec![hop(Some("172.16.9.9"), None)]) },
            route(("192.0.2.128", 25), vec![hop(None, Some("absent0"))]),
            route(("198.51.100.0", 24), vec![hop(None, Some("v0"))]),
            route(("203.0.113.0", 24), vec![hop(None, Some("v0"))]),
        ];
        let plan = plan(&host, wanted, vec![rule()]).await;
        host.install(&plan).await.unwrap();
        host.sync_virtual().await.unwrap();
        host.set(3, Ownership::Master).await.unwrap();
        let error = format!("{:#}", host.sync_virtual().await.unwrap_err());
        for part in [
            "route 192.0.2.0/24 via 172.16.9.9 metric 9 (is the gateway on a link of this host?)",
            "route 192.0.2.128/25 dev absent0: interface absent0",
            "route 198.51.100.0/24 dev v0 (made by somebody else)",
        ] {
            assert!(error.contains(part), "{part} is not in {error}");
        }
        assert_eq!(routes(), ["203.0.113.0/24 dev v0 scope link"]);
        assert_eq!(rules(), ["16384: from all lookup 100 proto 119"]);
        // What is made beside a refusal is told of.
        let made: Vec<_> = host.take_repairs().iter().map(ToString::to_string).collect();
        assert!(made.iter().any(|name| name.contains("203.0.113.0/24")), "{made:?}");

        // The interface has come.
        ip("link set v1 down");
        ip("link set v1 name absent0");
        ip("link set absent0 up");
        ip("route del 198.51.100.0/24 dev v0");
        host.sync_virtual().await.unwrap_err();
        let made = ["192.0.2.128/25 dev absent0 scope link", "198.51.100.0/24 dev v0 scope link"];
        assert_eq!(routes(), [made[0], made[1], "203.0.113.0/24 dev v0 scope link"]);
    });
}

#[test]
fn leftovers_and_changes_are_put_right() {
    in_namespace("virtual-left", async |dir| {
        let (mut host, _events) = Host::open(&dir).unwrap();
        let old = plan(&host, all_routes(), all_rules()).await;
        ip("addr add 2001:db8::1/64 dev v0 nodad");
        host.install(&old).await.unwrap();
        host.set(3, Ownership::Master).await.unwrap();
        host.sync_virtual().await.unwrap();

        // A crash; the new configuration leads one of them elsewhere and has no rules.
        drop(host);
        let (mut host, _events) = Host::open(&dir).unwrap();
        let changed = vec![route(("192.0.2.0", 24), vec![hop(Some("10.0.0.253"), None)])];
        let new = plan(&host, changed, Vec::new()).await;
        host.set(3, Ownership::Master).await.unwrap();
        host.install(&new).await.unwrap();
        host.sync_virtual().await.unwrap();
        assert_eq!(routes(), ["192.0.2.0/24 via 10.0.0.253 dev v0"]);
        assert!(rules().is_empty());

        // Another crash; this time it is not master.
        drop(host);
        let (mut host, _events) = Host::open(&dir).unwrap();
        host.install(&new).await.unwrap();
        host.sync_virtual().await.unwrap();
        assert!(routes().is_empty());

        host.set(3, Ownership::Master).await.unwrap();
        host.sync_virtual().await.unwrap();
        drop(host);
        let (mut host, _events) = Host::open(&dir).unwrap();
        host.remove_all().await.unwrap();
        assert!(routes().is_empty());
    });
}
