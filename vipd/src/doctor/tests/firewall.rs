//! Packet filters, as `nft -j list ruleset` shows them.

use super::*;

/// With a chain for what leaves, of this policy and with these rules, and a further chain.
fn filtered(family: &str, hook: &str, policy: &str, rules: &[(&str, Value)]) -> Facts {
    let chain = json!({ "chain": { "family": family, "table": "t", "name": "c", "type": "filter", "hook": hook, "policy": policy } });
    let rule = |(chain, expressions): &(&str, Value)| json!({ "rule": { "family": family, "table": "t", "chain": chain, "expr": expressions } });
    let objects: Vec<Value> = [chain].into_iter().chain(rules.iter().map(rule)).collect();
    Facts { ruleset: Ok(json!({ "nftables": objects })), ..idle() }
}

fn unicast(facts: Facts) -> Facts {
    let configuration =
        parse(&CONFIG.replace("authentication", "unicast_peer {\n10.0.0.6\n}\nauthentication"));
    Facts { configuration, ..facts }
}

/// Hook, policy, rules with their chains, and what is said.
type Row<'r> = (&'r str, &'r str, Vec<(&'r str, Value)>, Option<&'r str>);

#[test]
fn firewalls() {
    let vrrp = json!({ "match": { "op": "==", "left": { "meta": { "key": "l4proto" } }, "right": "vrrp" } });
    let in_set = json!({ "match": { "op": "==", "left": { "payload": { "protocol": "ip", "field": "protocol" } },
                         "right": { "set": ["tcp", 112] } } });
    let not = json!({ "match": { "op": "!=", "left": { "meta": { "key": "l4proto" } }, "right": 112 } });
    let tcp = json!({ "match": { "op": "==", "left": { "meta": { "key": "l4proto" } }, "right": "tcp" } });
    let (drop, accept) = (json!({ "drop": null }), json!({ "accept": null }));
    let jump = json!({ "jump": { "target": "further" } });
    let drops = "firewall: problem: a rule of the chain inet t c drops VRRP, so adverts do not leave";
    let lacks = "firewall: warning: the chain inet t c drops by default, and no rule accepts VRRP";
    let rows: Vec<Row<'_>> = vec![
        ("output", "accept", vec![], None),
        ("output", "accept", vec![("c", json!([vrrp, drop]))], Some(drops)),
        ("postrouting", "accept", vec![("c", json!([in_set, { "reject": null }]))], Some(drops)),
        ("output", "accept", vec![("c", json!([jump])), ("further", json!([vrrp, drop]))], Some(drops)),
        ("output", "accept", vec![("further", json!([vrrp, drop]))], None),
        ("output", "accept", vec![("c", json!([not, drop]))], None),
        ("output", "accept", vec![("c", json!([tcp, drop]))], None),
        ("output", "drop", vec![], Some(lacks)),
        ("output", "drop", vec![("c", json!([tcp, accept]))], Some(lacks)),
        ("output", "drop", vec![("c", json!([tcp, accept])), ("c", json!([vrrp, accept]))], None),
        ("output", "drop", vec![("c", json!([accept]))], None),
        ("input", "drop", vec![("c", json!([vrrp, drop]))], None),
        ("egress", "accept", vec![("c", json!([vrrp, drop]))], Some(drops)),
    ];
    for (hook, policy, rules, expected) in rows {
        let facts = unicast(filtered("inet", hook, policy, &rules));
        assert_eq!(
            said(&facts, |level| level >= Level::Warning),
            Vec::from_iter(expected),
            "{hook} {policy} {rules:?}"
        );
    }
    // Of another family, and of adverts that pass it by.
    let rules = [("c", json!([vrrp, drop]))];
    assert_eq!(
        said(&unicast(filtered("ip6", "output", "drop", &rules)), |level| level >= Level::Warning),
        [""; 0]
    );
    assert_eq!(said(&filtered("inet", "output", "drop", &rules), |level| level >= Level::Warning), [""; 0]);
    assert_eq!(said(&filtered("inet", "egress", "accept", &rules), |level| level >= Level::Warning), [drops]);
    let unknown = Facts { ruleset: Err("nft is not installed".to_owned()), ..idle() };
    let skipped = "firewall: skipped: cannot read the rules: nft is not installed".to_owned();
    assert!(said(&unknown, |level| level == Level::Skipped).contains(&skipped));
}
