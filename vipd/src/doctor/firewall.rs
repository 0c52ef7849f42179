//! Whether the packet filter blocks outgoing adverts. Incoming adverts reach XDP before any filter. Multicast adverts leave by a packet
//! socket, past all hooks but `egress`; unicast adverts pass the output chains.

use serde_json::Value;
use vipd_common::Family;

use super::{Facts, Findings};

const FIREWALL: &str = "firewall";

pub fn judge(facts: &Facts, findings: &mut Findings) {
    if facts.instances().is_empty() {
        return;
    }
    let unicast: Vec<Family> =
        facts.instances().iter().filter(|i| i.unicast.is_some()).map(|i| i.family).collect();
    let ruleset = match &facts.ruleset {
        Ok(ruleset) => Ruleset::of(ruleset),
        Err(error) => {
            findings.skipped(FIREWALL, "output", format!("cannot read the rules: {error}"));
            return;
        }
    };
    let mut clean = true;
    for chain in ruleset.chains.iter().filter(|chain| chain.concerns(&unicast)) {
        let name = chain.name();
        if ruleset.drops_vrrp(chain) {
            clean = false;
            let what = format!("a rule of the chain {name} drops VRRP, so adverts do not leave");
            findings.problem(FIREWALL, "output", what, "remove it: nft -a list ruleset shows its handle");
        } else if chain.drops && !ruleset.accepts_vrrp(chain) {
            clean = false;
            let what = format!("the chain {name} drops by default, and no rule accepts VRRP");
            let fix = format!("nft insert rule {name} meta l4proto 112 accept");
            findings.warning(FIREWALL, "output", what, fix);
        }
    }
    if clean {
        findings.ok(
            FIREWALL,
            "output",
            "no rule blocks outgoing adverts; incoming ones reach XDP before all rules",
        );
    }
    if facts.legacy_rules && !unicast.is_empty() {
        findings.skipped(
            FIREWALL,
            "legacy",
            "there are rules of iptables-legacy too: see iptables-legacy -S OUTPUT",
        );
    }
}

/// The relevant parts of `nft -j list ruleset`.
pub struct Ruleset<'v> {
    /// Chains with a hook.
    pub chains: Vec<Chain<'v>>,
    /// Family, table, chain and expressions.
    rules: Vec<(&'v str, &'v str, &'v str, &'v [Value])>,
    /// Named maps: family, table, name and elements.
    maps: Vec<(&'v str, &'v str, &'v str, &'v [Value])>,
}

pub struct Chain<'v> {
    family: &'v str,
    table: &'v str,
    pub chain: &'v str,
    pub hook: &'v str,
    /// By its policy.
    pub drops: bool,
}

impl Chain<'_> {
    pub fn name(&self) -> String {
        format!("{} {} {}", self.family, self.table, self.chain)
    }

    /// Whether packets of a family pass it.
    pub fn is_of(&self, family: Family) -> bool {
        match family {
            Family::V4 => matches!(self.family, "ip" | "inet"),
            Family::V6 => matches!(self.family, "ip6" | "inet"),
        }
    }

    fn concerns(&self, unicast: &[Family]) -> bool {
        match (self.family, self.hook) {
            ("netdev" | "inet", "egress") => true,
            ("inet", "output" | "postrouting") => !unicast.is_empty(),
            ("ip", "output" | "postrouting") => unicast.contains(&Family::V4),
            ("ip6", "output" | "postrouting") => unicast.contains(&Family::V6),
            _ => false,
        }
    }
}

impl<'v> Ruleset<'v> {
    pub fn of(ruleset: &'v Value) -> Self {
        let objects = ruleset["nftables"].as_array().map(Vec::as_slice).unwrap_or_default();
        let text = |object: &'v Value, key: &str| object[key].as_str().unwrap_or_default();
        let chain = |object: &'v Value| {
            let chain = object.get("chain")?;
            Some(Chain {
                family: text(chain, "family"),
                table: text(chain, "table"),
                chain: text(chain, "name"),
                hook: chain["hook"].as_str()?,
                drops: chain["policy"] == "drop",
            })
        };
        let rule = |object: &'v Value| {
            let rule = object.get("rule")?;
            Some((
                text(rule, "family"),
                text(rule, "table"),
                text(rule, "chain"),
                rule["expr"].as_array()?.as_slice(),
            ))
        };
        let map = |object: &'v Value| {
            let map = object.get("map")?;
            let elements = map["elem"].as_array()?.as_slice();
            Some((text(map, "family"), text(map, "table"), text(map, "name"), elements))
        };
        Self {
            chains: objects.iter().filter_map(chain).collect(),
            rules: objects.iter().filter_map(rule).collect(),
            maps: objects.iter().filter_map(map).collect(),
        }
    }

    /// The rules of one chain of the table that `of` is in.
    pub fn chain(&self, of: &Chain<'v>, name: &str) -> impl Iterator<Item = &'v [Value]> {
        let is_of = move |(family, table, chain, _): &&(&str, &str, &str, _)| {
            *family == of.family && *table == of.table && *chain == name
        };
        self.rules.iter().filter(is_of).map(|(.., expressions)| *expressions)
    }

    /// The keys of a verdict map and their verdicts, of a map that is named or written in the rule.
    pub fn verdicts(&self, of: &Chain<'v>, map: &'v Value) -> Vec<(&'v Value, &'v Value)> {
        let data = &map["data"];
        let elements = match data.as_str() {
            Some(name) => {
                let name = name.trim_start_matches('@');
                let is_it = |(family, table, known, _): &&(&str, &str, &str, _)| {
                    *family == of.family && *table == of.table && *known == name
                };
                self.maps.iter().find(is_it).map(|(.., elements)| *elements).unwrap_or_default()
            }
            None => data["set"].as_array().map(Vec::as_slice).unwrap_or_default(),
        };
        // A key may have a comment or counters of its own.
        let key = |key: &'v Value| key.get("elem").and_then(|elem| elem.get("val")).unwrap_or(key);
        elements.iter().map(|element| (key(&element[0]), &element[1])).collect()
    }

    /// The rules of a chain and of the chains that it jumps to.
    pub fn rules_of(&self, chain: &Chain<'v>) -> Vec<&'v [Value]> {
        let mut wanted = vec![chain.chain];
        let mut rules = Vec::new();
        let mut at = 0;
        while let Some(name) = wanted.get(at).copied() {
            at += 1;
            for expressions in self.chain(chain, name) {
                let maps = expressions.iter().filter_map(|expression| expression.get("vmap"));
                let mapped = maps.flat_map(|map| self.verdicts(chain, map)).map(|(_, verdict)| verdict);
                for (_, target) in expressions.iter().chain(mapped).filter_map(jump) {
                    if !wanted.contains(&target) {
                        wanted.push(target);
                    }
                }
                rules.push(expressions);
            }
        }
        rules
    }

    fn drops_vrrp(&self, chain: &Chain<'v>) -> bool {
        self.rules_of(chain).into_iter().any(|rule| names_vrrp(rule) && has(rule, &["drop", "reject"]))
    }

    /// A rule that names VRRP, or a rule without conditions.
    fn accepts_vrrp(&self, chain: &Chain<'v>) -> bool {
        let asks = |rule: &[Value]| rule.iter().any(|expression| expression.get("match").is_some());
        self.rules_of(chain)
            .into_iter()
            .any(|rule| has(rule, &["accept"]) && (names_vrrp(rule) || !asks(rule)))
    }
}

/// The chain that a verdict leads to, and whether it comes back.
pub fn jump(verdict: &Value) -> Option<(bool, &str)> {
    let verbs = [("jump", true), ("goto", false)];
    verbs.into_iter().find_map(|(verb, returns)| Some((returns, verdict[verb]["target"].as_str()?)))
}

pub fn has(rule: &[Value], verdicts: &[&str]) -> bool {
    rule.iter().any(|expression| verdicts.iter().any(|verdict| expression.get(*verdict).is_some()))
}

/// Whether a rule asks for protocol 112.
fn names_vrrp(rule: &[Value]) -> bool {
    rule.iter().filter_map(|expression| expression.get("match")).any(|condition| {
        let left = &condition["left"];
        let field = left["meta"]["key"].as_str().or(left["payload"]["field"].as_str());
        matches!(field, Some("l4proto" | "protocol" | "nexthdr"))
            && condition["op"] != "!="
            && holds_vrrp(&condition["right"])
    })
}

/// Numbers, names, and sets of them.
fn holds_vrrp(value: &Value) -> bool {
    match value {
        Value::Number(number) => number.as_u64() == Some(112),
        Value::String(name) => matches!(name.as_str(), "vrrp" | "carp" | "112"),
        Value::Array(values) => values.iter().any(holds_vrrp),
        Value::Object(object) => object.get("set").is_some_and(holds_vrrp),
        Value::Null | Value::Bool(_) => false,
    }
}
