//! Load balancing: a pair by NAT that is well, and one thing wrong at a time.

use super::*;
use vipd_common::wire::eth::MacAddr;

use crate::{
    control::model::{BalancingStatus, RealServerStatus, ServiceStatus},
    daemon::services::modules::IpvsPresence,
    host::FirstHop,
    stations::Stations,
};

const SERVICE: &str =
    "virtual_server 10.0.0.3 80 {\nprotocol TCP\nlb_algo rr\nlb_kind NAT\nreal_server 10.1.0.11 80 {\n}\n}\n";
const PAIR: &str = "vrrp_sync_group G {\ngroup {\nVI_1\nVI_2\n}\n}\nvrrp_instance VI_2 {\ninterface eth1\nvirtual_router_id 52\n\
                    virtual_ipaddress {\n10.1.0.1\n}\n}\n";

fn balancing() -> Facts {
    let mut facts = running();
    facts.configuration = parse(&[CONFIG, PAIR, SERVICE].concat());
    facts.survey.as_mut().unwrap().links.push(link(3, "eth1", "10.1.0.5"));
    let server = RealServerStatus { state: "up".into(), ..RealServerStatus::default() };
    let service = ServiceStatus { name: "web".into(), servers: vec![server], ..ServiceStatus::default() };
    let balancing = BalancingStatus { services: vec![service], ..BalancingStatus::default() };
    facts.running.as_mut().unwrap().balancing = Some(balancing);
    facts
}

/// The findings that are no good, of the checks of this file.
fn wrong(facts: &Facts) -> Vec<(Level, &'static str)> {
    let checks = [
        "ipvs",
        "ipvs-module",
        "forwarding",
        "service-vip",
        "servers-gateway",
        "servers-network",
        "servers-link",
        "servers-arp",
        "director-is-server",
        "services",
        "conntrack",
    ];
    let found = judge(facts).into_iter().filter(|found| checks.contains(&found.check));
    found.filter(|found| found.level > Level::Ok).map(|found| (found.level, found.check)).collect()
}

fn direct(facts: &mut Facts, server: &str) {
    let service = SERVICE.replace("NAT", "DR").replace("10.1.0.11", server);
    facts.configuration = parse(&[CONFIG, PAIR, &service].concat());
}

/// Addresses, each with the last octet of the MAC that answers for it.
fn stations(answers: &[(&str, u8)]) -> Stations {
    let mut stations = Stations::new();
    for (address, octet) in answers {
        stations.entry(ip(address)).or_default().insert(MacAddr([2, 0, 0, 0, 0, *octet]));
    }
    stations
}

/// A chain with one rule.
fn chain(hook: &str, policy: &str, rule: Value) -> Value {
    json!({ "nftables": [
        { "chain": { "family": "ip", "table": "t", "name": "c", "hook": hook, "policy": policy } },
        { "rule": { "family": "ip", "table": "t", "chain": "c", "expr": rule } },
    ] })
}

/// Rules of several chains; `c` is at the forward hook.
fn chains(policy: &str, rules: &[(&str, Value)]) -> Value {
    let hook = json!({ "chain": { "family": "ip", "table": "t", "name": "c", "hook": "forward", "policy": policy } });
    let rule = |(chain, rule): &(&str, Value)| json!({ "rule": { "family": "ip", "table": "t", "chain": chain, "expr": rule } });
    let objects: Vec<Value> = [hook].into_iter().chain(rules.iter().map(rule)).collect();
    json!({ "nftables": objects })
}

/// With a sorry server, and a real server that is well by this method.
fn sorry(facts: &mut Facts, method: &str, sorry: &str) {
    let service = SERVICE.replace("lb_kind NAT", &format!("lb_kind {method}\n{sorry}"));
    facts.configuration = parse(&[CONFIG, PAIR, &service].concat());
}

fn forward(policy: &str, rule: Value) -> Value {
    chain("forward", policy, rule)
}

/// What is no obstacle: each would be one with one thing otherwise.
#[test]
fn what_is_well_with_load_balancing_is_not_found_wrong() {
    let state = |right: Value| json!({ "match": { "op": "in", "left": { "ct": { "key": "state" } }, "right": right } });
    let known = json!([state(json!(["established", "related", "invalid"])), { "accept": null }]);
    let from_servers = json!([{ "match": { "left": { "meta": { "key": "iifname" } }, "right": "eth1" } }, { "accept": null }]);
    let masquerade = json!([{ "masquerade": null }]);
    type Change<'c> = &'c dyn Fn(&mut Facts);
    let cases: [(&str, Change<'_>); 14] = [
        ("the answers are accepted", &|f| f.ruleset = Ok(forward("drop", known.clone()))),
        ("the servers' link is accepted", &|f| f.ruleset = Ok(forward("drop", from_servers.clone()))),
        ("they are tracked", &|f| {
            f.ipvs_conntrack = Some(true);
            f.ruleset = Ok(forward("drop", json!([state(json!("established")), { "accept": null }])));
        }),
        ("untracked, so not masqueraded", &|f| {
            f.ruleset = Ok(chain("postrouting", "accept", masquerade.clone()))
        }),
        ("IPVS is not loaded", &|f| {
            f.ipvs_conntrack = None;
            f.ruleset = Ok(forward("drop", json!([])));
        }),
        ("only the owner answers", &|f| {
            direct(f, "10.0.0.11");
            f.stations = Ok(stations(&[("10.0.0.3", 9), ("10.0.0.11", 7)]));
        }),
        ("a mark has no address", &|f| {
            let service = SERVICE.replace("10.0.0.3 80", "fwmark 7").replace("protocol TCP\n", "");
            f.configuration = parse(&[CONFIG, PAIR, &service].concat());
        }),
        ("the server is in the network of a VIP alone", &|f| {
            direct(f, "10.2.0.11");
            let config = CONFIG.replace("10.0.0.3\n", "10.0.0.3\n10.2.0.3/24 dev eth1\n");
            let service = SERVICE.replace("NAT", "DR").replace("10.1.0.11", "10.2.0.11");
            f.configuration = parse(&[&config, PAIR, &service].concat());
        }),
        ("a route without a gateway leads to the server", &|f| {
            direct(f, "10.9.0.11");
            f.first_hops.insert(ip("10.9.0.11"), FirstHop { ifindex: 3, by_gateway: false });
        }),
        ("the sorry server is in the gateway's network", &|f| {
            sorry(f, "NAT", "sorry_server 10.1.0.12 80");
        }),
        ("the sorry server is this node", &|f| {
            f.forwarding = [Some(false); 2];
            sorry(f, "DR", "sorry_server 127.0.0.1 80\nsorry_server_lvs_method NAT");
        }),
        ("the chain is of another family", &|f| {
            let mut ruleset = forward("drop", json!([]));
            ruleset["nftables"][0]["chain"]["family"] = "ip6".into();
            f.ruleset = Ok(ruleset);
        }),
        ("everything else is dropped", &|f| {
            let other =
                json!({ "match": { "op": "!=", "left": { "ct": { "key": "state" } }, "right": "invalid" } });
            f.ruleset = Ok(forward("accept", json!([other, { "drop": null }])));
        }),
        ("the chain that would drop comes after one that accepts", &|f| {
            f.ruleset = Ok(chains(
                "drop",
                &[
                    ("c", json!([{ "jump": { "target": "first" } }])),
                    ("first", json!([{ "accept": null }])),
                    ("c", json!([state(json!("invalid")), { "drop": null }])),
                ],
            ));
        }),
    ];
    for (what, change) in cases {
        let mut facts = balancing();
        change(&mut facts);
        assert_eq!(wrong(&facts), [], "{what}");
    }
}

#[test]
fn what_is_wrong_with_load_balancing_is_found() {
    assert_eq!(wrong(&balancing()), []);
    let services = |facts: &mut Facts, change: &dyn Fn(&mut BalancingStatus)| {
        change(facts.running.as_mut().unwrap().balancing.as_mut().unwrap())
    };
    type Case<'c> = (Level, &'static str, &'c dyn Fn(&mut Facts));
    let cases: [Case<'_>; 31] = [
        (Level::Problem, "ipvs", &|f| f.ipvs = IpvsPresence::Missing),
        (Level::Skipped, "ipvs", &|f| f.ipvs = IpvsPresence::Unknown),
        (Level::Problem, "forwarding", &|f| f.forwarding = [Some(false), Some(true)]),
        (Level::Skipped, "forwarding", &|f| f.forwarding = [None, None]),
        (Level::Problem, "ipvs-module", &|f| f.missing_modules = vec!["ip_vs_mh".into()]),
        (Level::Warning, "service-vip", &|f| {
            let other = SERVICE.replace("10.0.0.3 80", "10.0.0.4 80");
            f.configuration = parse(&[CONFIG, PAIR, SERVICE, &other].concat());
        }),
        (Level::Warning, "servers-gateway", &|f| f.configuration = parse(&[CONFIG, SERVICE].concat())),
        (Level::Warning, "servers-gateway", &|f| {
            let pair = PAIR.replace("10.1.0.1", "10.2.0.1");
            f.configuration = parse(&[CONFIG, &pair, SERVICE].concat());
        }),
        (Level::Warning, "servers-network", &|f| {
            let server = SERVICE.replace("10.1.0.11", "10.0.0.11");
            f.configuration = parse(&[CONFIG, PAIR, &server].concat());
        }),
        (Level::Problem, "servers-link", &|f| direct(f, "10.9.0.11")),
        (Level::Problem, "servers-arp", &|f| {
            direct(f, "10.0.0.11");
            f.stations = Ok(stations(&[("10.0.0.3", 9), ("10.0.0.11", 7), ("10.0.0.3", 7)]));
        }),
        (Level::Warning, "servers-arp", &|f| {
            direct(f, "10.0.0.11");
            f.stations = Ok(stations(&[("10.0.0.3", 9), ("10.0.0.3", 8), ("10.0.0.11", 7)]));
        }),
        (Level::Skipped, "servers-arp", &|f| {
            direct(f, "10.0.0.11");
            f.stations = Err("eth0: Operation not permitted".into());
        }),
        (Level::Warning, "conntrack", &|f| f.ruleset = Ok(forward("drop", json!([])))),
        (Level::Warning, "conntrack", &|f| {
            let ask =
                json!({ "match": { "op": "==", "left": { "ct": { "key": "state" } }, "right": "invalid" } });
            f.ruleset = Ok(forward("accept", json!([ask, { "drop": null }])));
        }),
        (Level::Warning, "conntrack", &|f| {
            let ask = json!({ "match": { "op": "!=", "left": { "ct": { "key": "state" } }, "right": ["established", "related"] } });
            f.ruleset = Ok(forward("accept", json!([ask, { "drop": null }])));
        }),
        (Level::Warning, "conntrack", &|f| {
            let map = json!([["established", { "accept": null }], ["invalid", { "drop": null }]]);
            let map = json!({ "vmap": { "key": { "ct": { "key": "state" } }, "data": { "set": map } } });
            f.ruleset = Ok(forward("accept", json!([map])));
        }),
        (Level::Warning, "conntrack", &|f| {
            let map = json!({ "vmap": { "key": { "ct": { "key": "state" } }, "data": "@states" } });
            let mut ruleset = chains("accept", &[("c", json!([map])), ("last", json!([{ "drop": null }]))]);
            let named = json!({ "map": { "family": "ip", "table": "t", "name": "states",
                "elem": [["established", { "accept": null }], ["invalid", { "goto": { "target": "last" } }]] } });
            ruleset["nftables"].as_array_mut().unwrap().push(named);
            f.ruleset = Ok(ruleset);
        }),
        // The accept is of a chain that nothing of this leads to.
        (Level::Warning, "conntrack", &|f| {
            let known = json!({ "match": { "op": "in", "left": { "ct": { "key": "state" } }, "right": "established" } });
            f.ruleset = Ok(chains(
                "accept",
                &[
                    ("c", json!([known, { "jump": { "target": "further" } }])),
                    ("further", json!([{ "accept": null }])),
                    ("c", json!([{ "jump": { "target": "last" } }])),
                    ("last", json!([{ "return": null }])),
                    ("last", json!([{ "accept": null }])),
                    ("c", json!([{ "drop": null }])),
                ],
            ));
        }),
        (Level::Skipped, "conntrack", &|f| f.legacy_rules = true),
        (Level::Problem, "servers-link", &|f| {
            direct(f, "10.9.0.11");
            f.first_hops.insert(ip("10.9.0.11"), FirstHop { ifindex: 3, by_gateway: true });
        }),
        (Level::Problem, "servers-link", &|f| {
            sorry(f, "NAT", "sorry_server 10.9.0.11 80\nsorry_server_lvs_method DR")
        }),
        (Level::Warning, "servers-gateway", &|f| sorry(f, "NAT", "sorry_server 10.9.0.11 80")),
        (Level::Warning, "servers-network", &|f| {
            sorry(f, "DR", "sorry_server 10.0.0.12 80\nsorry_server_lvs_method NAT");
        }),
        (Level::Warning, "servers-network", &|f| {
            let config = CONFIG.replace("10.0.0.3\n", "10.2.0.3/24\n");
            let service = SERVICE.replace("10.0.0.3", "10.2.0.3").replace("10.1.0.11", "10.2.0.11");
            f.configuration = parse(&[&config, PAIR, &service].concat());
        }),
        (Level::Problem, "forwarding", &|f| {
            f.forwarding = [Some(false), Some(true)];
            sorry(f, "DR", "sorry_server 10.1.0.12 80\nsorry_server_lvs_method NAT");
        }),
        (Level::Warning, "conntrack", &|f| {
            f.ipvs_conntrack = Some(true);
            f.ruleset = Ok(chain("postrouting", "accept", json!([{ "masquerade": null }])));
        }),
        (Level::Problem, "director-is-server", &|f| {
            let server = SERVICE.replace("NAT", "DR").replace("10.1.0.11", "10.1.0.5");
            f.configuration = parse(&[CONFIG, PAIR, &server].concat());
        }),
        (Level::Problem, "services", &|f| services(f, &|it| it.services[0].servers[0].state = "down".into())),
        (Level::Warning, "services", &|f| {
            services(f, &|it| it.services[0].servers.push(RealServerStatus::default()));
        }),
        (Level::Problem, "services", &|f| {
            services(f, &|it| it.services[0].refused = Some("no such scheduler".into()))
        }),
    ];
    for (level, check, change) in cases {
        let mut facts = balancing();
        change(&mut facts);
        assert_eq!(wrong(&facts), [(level, check)]);
    }
    // Without services nothing is said of them.
    let mut facts = running();
    (facts.ipvs, facts.forwarding) = (IpvsPresence::Missing, [Some(false); 2]);
    assert_eq!(wrong(&facts), []);
}
