//! Connection tracking and IPVS. With `net.ipv4.vs.conntrack` 0, the kernel's default, connections of services are not tracked: to the packet filter
//! answers of servers are invalid, and its own NAT leaves them alone. With 1 both apply.

use serde_json::Value;
use vipd_balance::VirtualServer;
use vipd_common::Family;

use super::{
    Facts, Findings, balancing,
    firewall::{Chain, Ruleset, has, jump},
};

const ABOUT: &str = "firewall";
const CHECK: &str = "conntrack";

pub fn judge(facts: &Facts, findings: &mut Findings) {
    let Some(config) = facts.config() else { return };
    let of = |family| config.balance.servers().iter().find(|server| balancing::is_nat_of(server, family));
    let servers = [Family::V4, Family::V6].into_iter().filter_map(|family| Some((family, of(family)?)));
    let servers: Vec<(Family, &VirtualServer)> = servers.collect();
    let Some(is_on) = facts.ipvs_conntrack.filter(|_| !servers.is_empty()) else { return };
    if facts.legacy_rules {
        let tables =
            if is_on { "iptables-legacy -t nat -S POSTROUTING" } else { "iptables-legacy -S FORWARD" };
        let why = format!(
            "there are rules of iptables-legacy too, which may drop the answers of servers by NAT, or masquerade their connections: see {tables}"
        );
        findings.skipped(ABOUT, CHECK, why);
    }
    let Ok(ruleset) = &facts.ruleset else { return };
    let ruleset = Ruleset::of(ruleset);
    let mut is_well = true;
    for (family, server) in servers {
        is_well &= of_family(&ruleset, is_on, (family, server), findings);
    }
    if is_well {
        findings.ok(ABOUT, CHECK, "the packet filter leaves connections of servers by NAT alone");
    }
}

/// Returns whether nothing is wrong.
fn of_family(
    ruleset: &Ruleset<'_>,
    is_on: bool,
    (family, server): (Family, &VirtualServer),
    findings: &mut Findings,
) -> bool {
    let of_hook = |hook: &'static str| {
        ruleset.chains.iter().filter(move |chain| chain.hook == hook && chain.is_of(family))
    };
    let drops = |chain: &&Chain<'_>| drops_answers(ruleset, chain);
    let nats = |chain: &&Chain<'_>| {
        ruleset.rules_of(chain).into_iter().any(|rule| has(rule, &["masquerade", "snat"]))
    };
    match (is_on, of_hook("forward").find(drops), of_hook("postrouting").find(nats)) {
        (false, Some(chain), _) => {
            let what = format!(
                "the chain {} drops what connection tracking does not know, and IPVS keeps its connections out of that (net.ipv4.vs.conntrack is 0): answers of servers by NAT are dropped ({})",
                chain.name(),
                server.id
            );
            let fix = "sysctl -w net.ipv4.vs.conntrack=1, and in /etc/sysctl.d; or a rule before that accepts what comes from the servers";
            findings.warning(ABOUT, CHECK, what, fix);
            false
        }
        (true, _, Some(chain)) => {
            let what = format!(
                "net.ipv4.vs.conntrack is 1, so the chain {} may give packets to real servers another source too: then these see this node and not the client ({})",
                chain.name(),
                server.id
            );
            let fix = "see that its masquerade and snat rules do not match packets to real servers, or sysctl -w net.ipv4.vs.conntrack=0";
            findings.warning(ABOUT, CHECK, what, fix);
            false
        }
        _ => true,
    }
}

/// What becomes of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Accepted,
    Dropped {
        /// Because of its state, and not of what else is asked.
        by_state: bool,
    },
    /// No rule decides: back to the chain that led here.
    Returned,
}

/// Whether a chain drops what connection tracking does not know: to it the answers of servers are invalid.
fn drops_answers(ruleset: &Ruleset<'_>, chain: &Chain<'_>) -> bool {
    match walk(ruleset, chain, chain.chain, CHAINS_MOST) {
        Fate::Accepted => false,
        Fate::Dropped { .. } => true,
        Fate::Returned => chain.drops,
    }
}

/// What the rules of one chain do. A condition about anything but the state may hold or not: an accept behind it counts, a drop does not.
fn walk<'v>(ruleset: &Ruleset<'v>, of: &Chain<'v>, name: &str, depth: u32) -> Fate {
    if depth == 0 {
        return Fate::Returned;
    }
    for rule in ruleset.chain(of, name) {
        let by_state = asks_for_invalid(rule);
        let is_certain = !asks_else(rule);
        if by_state == Some(false) {
            continue;
        }
        let counts = |fate: Fate, by_state: bool, is_certain: bool| match fate {
            Fate::Dropped { by_state: deeper } if !(is_certain || by_state || deeper) => None,
            Fate::Dropped { by_state: deeper } => Some(Fate::Dropped { by_state: by_state || deeper }),
            Fate::Accepted => Some(Fate::Accepted),
            Fate::Returned => None,
        };
        for verdict in rule {
            let mapped = verdict.get("vmap").map(|map| state_of_map(ruleset, of, map));
            let (verdicts, by_state, is_certain) = match mapped {
                // The first verdict of a map by state is the only one.
                Some((verdicts, true)) => (verdicts, true, is_certain),
                Some((verdicts, false)) => (verdicts, by_state == Some(true), false),
                None => (vec![verdict], by_state == Some(true), is_certain),
            };
            for verdict in verdicts {
                let (fate, returns) = match jump(verdict) {
                    Some((returns, target)) => (walk(ruleset, of, target, depth - 1), returns),
                    None if has(std::slice::from_ref(verdict), &["accept"]) => (Fate::Accepted, true),
                    None if has(std::slice::from_ref(verdict), &["drop", "reject"]) => {
                        (Fate::Dropped { by_state }, true)
                    }
                    None if verdict.get("return").is_some() => (Fate::Returned, false),
                    None => continue,
                };
                match counts(fate, by_state, is_certain) {
                    Some(fate) => return fate,
                    // By goto or return, the chain is over for it.
                    None if !returns && is_certain => return Fate::Returned,
                    None => {}
                }
            }
        }
    }
    Fate::Returned
}

/// Whether what a rule asks of the state holds of answers; `None`: it asks nothing of it that is understood.
fn asks_for_invalid(rule: &[Value]) -> Option<bool> {
    let conditions = rule.iter().filter_map(|expression| expression.get("match"));
    let of_state = conditions.filter(|it| is_state(&it["left"]));
    let holds = |it: &Value| holds(&it["right"], "invalid") != (it["op"] == "!=");
    of_state.map(holds).reduce(|a, b| a && b)
}

/// Whether a rule asks for something else than the state.
fn asks_else(rule: &[Value]) -> bool {
    let asks = |expression: &Value| {
        let is_other = expression.get("match").is_some_and(|it| !is_state(&it["left"]));
        is_other || ["xt", "limit", "quota", "ct count"].iter().any(|name| expression.get(*name).is_some())
    };
    rule.iter().any(asks)
}

fn is_state(left: &Value) -> bool {
    left["ct"]["key"] == "state"
}

/// The verdicts of a map, and whether they follow from the state: then there is at most one.
fn state_of_map<'v>(ruleset: &Ruleset<'v>, of: &Chain<'v>, map: &'v Value) -> (Vec<&'v Value>, bool) {
    let by_state = is_state(&map["key"]);
    let verdicts = ruleset.verdicts(of, map).into_iter();
    let of_answers = verdicts.filter(|(key, _)| !by_state || holds(key, "invalid"));
    (of_answers.map(|(_, verdict)| verdict).collect(), by_state)
}

/// Names, and sets of them.
fn holds(value: &Value, state: &str) -> bool {
    match value {
        Value::String(name) => name == state,
        Value::Array(values) => values.iter().any(|value| holds(value, state)),
        Value::Object(object) => {
            ["set", "|"].iter().filter_map(|of| object.get(*of)).any(|of| holds(of, state))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// Chains behind each other, at most: the kernel allows as many jumps.
const CHAINS_MOST: u32 = 16;
