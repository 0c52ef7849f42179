//! The status page at `/`: a document, a style and a script that are part of vipd, and the data that the script asks for.
//!
//! The data is a list of what may be seen by whoever reaches the port: what is not named here is not served. What checks and scripts
//! print is not, nor any path.

mod services;

use std::{collections::BTreeMap, net::IpAddr};

use hyper::{
    HeaderMap,
    header::{
        CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderName, HeaderValue, REFERRER_POLICY,
        X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
    },
};
use serde::Serialize;

use self::services::PageServices;
use crate::{
    cluster,
    control::model::{
        ArbiterStatus, InstanceStatus, LineStatus, MasterStatus, NodeStatus, ProgramHook, ReportsStatus,
        Status, TrackStatus, TrackedStatus,
    },
};

/// Nothing but its own files, and no frame around it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; base-uri 'none'; \
                      form-action 'none'; frame-ancestors 'none'";

/// A file of the page: its content type and text.
pub fn file(path: &str) -> Option<(&'static str, &'static str)> {
    match path {
        "/" => Some(("text/html; charset=utf-8", include_str!("page/page.html"))),
        "/page.css" => Some(("text/css; charset=utf-8", include_str!("page/page.css"))),
        "/page.js" => Some(("text/javascript; charset=utf-8", include_str!("page/page.js"))),
        _ => None,
    }
}

/// What keeps a browser from doing more with the page than to show it.
pub fn secure(headers: &mut HeaderMap) {
    let same_origin = (HeaderName::from_static("cross-origin-resource-policy"), "same-origin");
    for (name, value) in [
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_FRAME_OPTIONS, "DENY"),
        (REFERRER_POLICY, "no-referrer"),
        (CACHE_CONTROL, "no-store"),
        same_origin,
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
}

/// The data, as JSON.
pub fn data(status: &Status) -> String {
    serde_json::to_string(&Page::of(status)).expect("its keys are strings")
}

#[derive(Debug, Serialize)]
struct Page<'s> {
    host: &'s str,
    router_id: Option<&'s str>,
    version: &'s str,
    uptime_ms: u64,
    real_time: bool,
    drained: bool,
    cluster_reports: &'s ReportsStatus,
    instances: Vec<PageInstance<'s>>,
    tracked: Vec<PageTracked<'s>>,
    arbiters: &'s [ArbiterStatus],
    balancing: Option<PageServices<'s>>,
}

#[derive(Debug, Serialize)]
struct PageInstance<'s> {
    /// The worst of its problems.
    level: PageLevel,
    problems: Vec<PageProblem>,
    name: &'s str,
    state: &'s str,
    in_state_ms: u64,
    reason: Option<&'s str>,
    sync_group: Option<&'s str>,
    interface: &'s str,
    vrid: u8,
    version: u8,
    family: &'s str,
    virtual_mac: Option<&'s str>,
    address: Option<IpAddr>,
    unicast_peers: &'s [IpAddr],
    priority: u8,
    base_priority: u8,
    handed_over: bool,
    tracks: Vec<PageTrack<'s>>,
    advert_interval_ms: u64,
    master: Option<&'s MasterStatus>,
    last_adv_age_ms: Option<u64>,
    master_down_in_ms: Option<u64>,
    lease_remaining_ms: Option<u64>,
    lease_length_ms: u64,
    vips: &'s [IpAddr],
    vips_excluded: &'s [IpAddr],
    vip_answers: &'s BTreeMap<IpAddr, u64>,
    adverts_sent: u64,
    adverts_received: u64,
    became_master: u64,
    leases_revoked: u64,
    send_errors: u64,
    discards: &'s BTreeMap<String, u64>,
    xdp_mode: ProgramHook,
    xdp_mode_reason: Option<&'s str>,
    lines: &'s [LineStatus],
    nodes: &'s [NodeStatus],
}

/// Something that an instance tracks.
#[derive(Debug, Serialize)]
struct PageTrack<'s> {
    adds: i64,
    fault: bool,
    state: &'s str,
}

#[derive(Debug, Serialize)]
struct PageTracked<'s> {
    keyword: &'s str,
    name: &'s str,
    well: Option<bool>,
    value: Option<i32>,
    in_state_ms: Option<u64>,
    /// How the last run of a check ended, without what it printed.
    outcome: Option<&'s str>,
    problem: Option<&'s str>,
}

/// How bad something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
enum PageLevel {
    Ok,
    Warning,
    Critical,
}

#[derive(Debug, Serialize)]
struct PageProblem {
    level: PageLevel,
    text: String,
}

impl<'s> Page<'s> {
    fn of(status: &'s Status) -> Self {
        let reports = status.cluster_reports.instances > 0;
        Self {
            host: &status.host,
            router_id: status.router_id.as_deref(),
            version: &status.version,
            uptime_ms: status.uptime_ms,
            real_time: status.real_time,
            drained: status.drained,
            cluster_reports: &status.cluster_reports,
            instances: status.instances.iter().map(|i| PageInstance::of(i, reports)).collect(),
            tracked: status.tracked.iter().map(PageTracked::of).collect(),
            arbiters: &status.arbiters,
            balancing: status.balancing.as_ref().map(PageServices::of),
        }
    }
}

impl<'s> PageInstance<'s> {
    fn of(i: &'s InstanceStatus, reports: bool) -> Self {
        let problems = problems(i, reports);
        Self {
            level: problems.iter().map(|problem| problem.level).max().unwrap_or(PageLevel::Ok),
            problems,
            name: &i.name,
            state: &i.state,
            in_state_ms: i.in_state_ms,
            reason: i.reason.as_deref().map(cluster::without_output),
            sync_group: i.sync_group.as_deref(),
            interface: &i.interface,
            vrid: i.vrid,
            version: i.version,
            family: &i.family,
            virtual_mac: i.virtual_mac.as_deref(),
            address: i.address,
            unicast_peers: &i.unicast_peers,
            priority: i.priority,
            base_priority: i.base_priority,
            handed_over: i.handed_over,
            tracks: i.tracks.iter().map(PageTrack::of).collect(),
            advert_interval_ms: i.advert_interval_ms,
            master: i.master.as_ref(),
            last_adv_age_ms: i.last_adv_age_ms,
            master_down_in_ms: i.master_down_in_ms,
            lease_remaining_ms: i.lease_remaining_ms,
            lease_length_ms: i.lease_length_ms,
            vips: &i.vips,
            vips_excluded: &i.vips_excluded,
            vip_answers: &i.vip_answers,
            adverts_sent: i.adverts_sent,
            adverts_received: i.adverts_received,
            became_master: i.became_master,
            leases_revoked: i.leases_revoked,
            send_errors: i.send_errors,
            discards: &i.discards,
            xdp_mode: i.xdp_mode,
            xdp_mode_reason: i.xdp_mode_reason.as_deref(),
            lines: &i.lines,
            nodes: &i.nodes,
        }
    }
}

impl<'s> PageTrack<'s> {
    fn of(track: &'s TrackStatus) -> Self {
        Self { adds: track.adds, fault: track.fault, state: cluster::without_output(&track.state) }
    }
}

impl<'s> PageTracked<'s> {
    fn of(tracked: &'s TrackedStatus) -> Self {
        Self {
            keyword: &tracked.keyword,
            name: &tracked.name,
            well: tracked.well,
            value: tracked.value,
            in_state_ms: tracked.in_state_ms,
            outcome: tracked.run.as_ref().map(|run| run.outcome.as_str()),
            problem: tracked.problem.as_deref(),
        }
    }
}

/// What is wrong with an instance: here, then in the cluster.
fn problems(i: &InstanceStatus, reports: bool) -> Vec<PageProblem> {
    let mut problems = Vec::new();
    let mut add = |level, is: bool, text: String| {
        if is {
            problems.push(PageProblem { level, text });
        }
    };
    let without_lease = i.state == "MASTER" && i.lease_remaining_ms.is_none();
    add(PageLevel::Critical, without_lease, "MASTER without a lease: its VIPs are not answered".into());
    let unvouched = "nobody vouches for this node: its VIPs are not answered";
    add(PageLevel::Critical, i.is_unvouched(), unvouched.into());
    add(PageLevel::Critical, i.xdp_mode == ProgramHook::Nowhere, "the eBPF program is not attached".into());
    for line in &i.lines {
        let what = if line.heartbeat { "heartbeat link" } else { "link" };
        add(PageLevel::Warning, line.state != "up", format!("{what} {} is {}", line.interface, line.state));
        add(PageLevel::Warning, line.sends_fail, format!("adverts do not leave by {}", line.interface));
    }
    let claimed = format!("other stations have claimed a VIP {} times", i.address_conflicts);
    add(PageLevel::Warning, i.address_conflicts > 0, claimed);
    add(PageLevel::Warning, i.handed_over, "handed over: lowest priority".into());
    let masters = cluster::masters(i).len();
    for text in cluster::problems(i, reports) {
        let of_owners = masters != 1 && (text.starts_with("no node") || text.contains(" masters: "));
        let is_critical = of_owners || text.contains(" is in FAULT") || text.starts_with("split brain: ");
        add(if is_critical { PageLevel::Critical } else { PageLevel::Warning }, true, text);
    }
    problems
}
