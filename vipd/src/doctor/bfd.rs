//! Sessions of BFD: whether each is up, and if it is not, what of it does not work.

use super::{Facts, Findings};
use crate::control::model::BfdSessionStatus;

pub fn judge(facts: &Facts, findings: &mut Findings) {
    let sessions = facts.running.iter().flat_map(|status| &status.bfd_sessions);
    sessions.for_each(|one| session(one, findings));
}

fn session(session: &BfdSessionStatus, findings: &mut Findings) {
    let BfdSessionStatus { name, neighbor, state, .. } = session;
    if let Some(problem) = &session.problem {
        let usual = "check the routes to the neighbor (ip route get), and who has the port (ss -lunp)";
        let fix = session.remedy.as_deref().unwrap_or(usual);
        return findings.problem(name, CHECK, format!("BFD session {name}: {problem}"), fix);
    }
    if session.is_up() {
        return findings.ok(name, CHECK, format!("BFD session {name} with {neighbor} is up"));
    }
    if session.remote_state.as_deref() == Some("AdminDown") {
        let what = format!("BFD session {name} is {state}: {neighbor} has taken it out of service");
        return findings.warning(name, CHECK, what, "put the session back into service on the neighbor");
    }
    if session.counts_as_up {
        let what = format!(
            "BFD session {name} is {state}, and counts as up: {neighbor} took it out of service, and nobody watches the path"
        );
        return findings.warning(name, CHECK, what, "put the session back into service on the neighbor");
    }
    let (why, fix) = why(session);
    findings.problem(name, CHECK, format!("BFD session {name} is {state}: {why}"), fix);
}

/// What keeps a session down, and what to do about it.
fn why(session: &BfdSessionStatus) -> (String, String) {
    let neighbor = session.neighbor;
    let local = session.local.map_or_else(|| "this node".to_owned(), |local| local.to_string());
    let port = if session.multihop { 4784 } else { 3784 };
    match (session.remote_state.as_deref(), session.refused_reason.as_deref()) {
        (Some(_), _) => (
            format!("{neighbor} is heard, and does not hear {local}"),
            format!("check the way from {local} to {neighbor}: firewalls, UDP port {port}, the TTL that it wants"),
        ),
        (None, Some("bfd_ttl_errors")) => (
            format!(
                "packets of {neighbor} arrive with TTL {}, and {} is the least",
                session.refused_hop_limit.unwrap_or_default(),
                session.min_hop_limit
            ),
            "if routers are between the two, say so with `multihop` and `max_hops` on both; else have the neighbor send 255"
                .to_owned(),
        ),
        (None, Some("bfd_authentication_errors")) => (
            format!("packets of {neighbor} are authenticated"),
            "vipd has no authentication of BFD: switch it off on the neighbor".to_owned(),
        ),
        (None, Some(reason)) if session.heard_ms_ago.is_none() => (
            format!("packets of {neighbor} are refused ({reason})"),
            "docs/reference/bpftool.md says what that check is".to_owned(),
        ),
        (None, _) if !session.was_up && session.passive => (
            format!("nothing was heard of {neighbor}, and this node waits to be spoken to (`passive`)"),
            "one of the two must not be passive".to_owned(),
        ),
        (None, _) if !session.was_up => (
            format!("nothing was heard of {neighbor} yet"),
            format!("check that it has a session with {local}, and that no firewall drops UDP port {port}"),
        ),
        (None, _) => (
            format!("nothing is heard of {neighbor} any more"),
            format!("check the neighbor, and the way to it: ping {neighbor}"),
        ),
    }
}

const CHECK: &str = "bfd";
