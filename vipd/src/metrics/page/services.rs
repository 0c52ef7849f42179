//! The services of load balancing on the status page.
//!
//! Of what a check has said only the start is served: answers of servers, patterns and paths stay with the operators of this node.

use serde::Serialize;

use super::{PageLevel, PageProblem};
use crate::control::model::{BalancingStatus, RealServerStatus, ServiceStatus, TrafficStatus};

#[derive(Debug, Serialize)]
pub struct PageServices<'s> {
    problem: Option<&'s str>,
    services: Vec<PageService<'s>>,
}

#[derive(Debug, Serialize)]
struct PageService<'s> {
    /// The worst of its problems.
    level: PageLevel,
    problems: Vec<PageProblem>,
    title: String,
    name: &'s str,
    addresses: &'s [String],
    scheduler: &'s str,
    persistence_s: Option<u32>,
    quorum: u64,
    live_weight: u64,
    sorry_server: Option<&'s str>,
    sorry_serves: bool,
    traffic: TrafficStatus,
    servers: Vec<PageServer<'s>>,
}

#[derive(Debug, Serialize)]
struct PageServer<'s> {
    server: &'s str,
    method: &'s str,
    state: &'s str,
    is_well: bool,
    why: String,
    in_state_ms: u64,
    weight: Option<u32>,
    full_weight: u32,
    active_connections: u64,
    inactive_connections: u64,
    traffic: TrafficStatus,
}

impl<'s> PageServices<'s> {
    pub fn of(balancing: &'s BalancingStatus) -> Self {
        Self {
            problem: balancing.problem.as_deref(),
            services: balancing.services.iter().map(PageService::of).collect(),
        }
    }
}

impl<'s> PageService<'s> {
    fn of(service: &'s ServiceStatus) -> Self {
        let problems = problems(service);
        Self {
            level: problems.iter().map(|problem| problem.level).max().unwrap_or(PageLevel::Ok),
            problems,
            title: service.title(),
            name: &service.name,
            addresses: &service.addresses,
            scheduler: &service.scheduler,
            persistence_s: service.persistence_s,
            quorum: service.quorum,
            live_weight: service.live_weight,
            sorry_server: service.sorry_server.as_deref(),
            sorry_serves: service.sorry_serves,
            traffic: service.traffic,
            servers: service.servers.iter().map(PageServer::of).collect(),
        }
    }
}

impl<'s> PageServer<'s> {
    fn of(server: &'s RealServerStatus) -> Self {
        Self {
            server: &server.server,
            method: &server.method,
            state: &server.state,
            is_well: server.is_well(),
            why: if server.state == "up" { passed(server) } else { start(&server.reason).to_owned() },
            in_state_ms: server.in_state_ms,
            weight: server.weight,
            full_weight: server.full_weight,
            active_connections: server.active_connections,
            inactive_connections: server.inactive_connections,
            traffic: server.traffic,
        }
    }
}

/// The checks of a server that is up, with how long each took.
fn passed(server: &RealServerStatus) -> String {
    let checks = server.checks.iter().map(|check| {
        let keyword = check.check.split(' ').next().unwrap_or_default();
        match check.latency_us {
            Some(us) => format!("{keyword} {us} µs"),
            None => keyword.to_owned(),
        }
    });
    checks.collect::<Vec<_>>().join(", ")
}

/// The start of a reason, up to the first path, quotation or bracket: `HTTP_GET: status 503, expected 200`.
fn start(reason: &str) -> &str {
    let end = reason.find(['/', '"', '`', '[', '{']).unwrap_or(reason.len());
    reason[..end].trim_end_matches([' ', ':', ',', '('])
}

fn problems(service: &ServiceStatus) -> Vec<PageProblem> {
    let (all, well) = (service.servers.len(), service.servers.iter().filter(|it| it.is_well()).count());
    let is_drained = |server: &&RealServerStatus| ["draining", "drained"].contains(&server.state.as_str());
    let down = all - well - service.servers.iter().filter(is_drained).count();
    let critical = |is: bool, text: String| is.then_some(PageProblem { level: PageLevel::Critical, text });
    let warning = |is: bool, text: String| is.then_some(PageProblem { level: PageLevel::Warning, text });
    [
        critical(service.refused.is_some(), service.refused.clone().unwrap_or_default()),
        critical(all > 0 && well == 0, format!("none of {all} servers is up")),
        warning(well > 0 && down > 0, format!("{well} of {all} servers are up")),
        warning(
            all > 0 && !service.quorum_up,
            format!("no quorum ({} of {})", service.live_weight, service.quorum),
        ),
        warning(service.sorry_serves, "the sorry server serves".to_owned()),
        warning(service.failed_serve, "failed servers serve (min_alive)".to_owned()),
    ]
    .into_iter()
    .flatten()
    .collect()
}

#[cfg(test)]
mod tests {
    use super::start;

    #[test]
    fn a_reason_ends_before_what_a_server_has_said_and_before_paths() {
        for (reason, expect) in [
            ("TCP_CHECK: connection refused", "TCP_CHECK: connection refused"),
            ("HTTP_GET: status 503, expected 200", "HTTP_GET: status 503, expected 200"),
            ("HTTP_GET: /health?token=S3cret: status 503", "HTTP_GET"),
            ("HTTP_GET: the body does not match \"S3cret\"", "HTTP_GET: the body does not match"),
            ("SMTP_CHECK: banner: \"554 S3cret\", expected 220", "SMTP_CHECK: banner"),
            (
                "UDP_CHECK: the answer does not match: 7 octets: \"S3cret\"",
                "UDP_CHECK: the answer does not match: 7 octets",
            ),
            ("DNS_CHECK: no record is \"S3cret\", but [\"S3cret\"]", "DNS_CHECK: no record is"),
            ("MISC_CHECK: cannot be run: /S3cret/check is not there", "MISC_CHECK: cannot be run"),
        ] {
            assert_eq!(start(reason), expect);
        }
    }
}
