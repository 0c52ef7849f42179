//! The whole status: what the engine thread knows and what the main thread knows, made one.

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    path, process,
};

use nix::unistd::gethostname;
use tokio::time::Instant;

use super::{
    super::{
        messages::{EngineInstanceStatus, EngineStatus},
        reconcile::Installed,
        router::Router,
    },
    misconfiguration::MisconfigurationMonitor,
    tracking::TrackingResults,
    upkeep::Upkeep,
};
use crate::{
    control::model::{
        ArbiterStatus, HostWarning, InstanceStatus, NotifyStatus, RepairStatus, ReportsStatus, SCHEMA,
        Status, TrackStatus, TrackedStatus,
    },
    coordinator::InstanceId,
    machine::Source,
    notify::Notifier,
    tracking::{Effect, Health, HealthDetail, arbiter_status},
};
use vipd_config::Unsupported;

/// The main thread's part of the status.
#[derive(Debug)]
pub struct ControlStatus {
    instances: HashMap<InstanceId, ControlInstanceStatus>,
    tracked: Vec<TrackedStatus>,
    arbiters: Vec<ArbiterStatus>,
    notify_scripts: Vec<NotifyStatus>,
    host_repairs: BTreeMap<String, u64>,
    latest_repairs: Vec<RepairStatus>,
    host_problem: Option<String>,
    host_warnings: Vec<HostWarning>,
}

/// What the main thread knows of an instance.
#[derive(Debug)]
struct ControlInstanceStatus {
    /// The requests about each VIP that were answered.
    vip_answers: BTreeMap<IpAddr, u64>,
    mismatches: Vec<String>,
    /// What a router differs in that advertises too, and whose adverts are discarded.
    refused_rival: Option<String>,
    tracks: Vec<TrackStatus>,
}

impl ControlStatus {
    /// What is known now.
    pub fn of(
        installed: &Installed,
        tracking: &TrackingResults,
        monitor: &MisconfigurationMonitor,
        notifier: &Notifier,
        upkeep: &Upkeep,
    ) -> Self {
        let instance = |router: &Router| ControlInstanceStatus {
            vip_answers: installed.answers(router),
            mismatches: monitor.going_on(router.name()),
            refused_rival: monitor.refused_rival(router),
            tracks: tracking.effects(router.position()).into_iter().map(track).collect(),
        };
        Self {
            instances: installed.routers().iter().map(|router| (router.id(), instance(router))).collect(),
            tracked: tracking.all().map(tracked).collect(),
            notify_scripts: notifier.runs(),
            arbiters: tracking.arbiters().map(|a| arbiter_status(a.arbiter, a.health, a.targets)).collect(),
            host_repairs: upkeep.counts(),
            latest_repairs: upkeep.latest(),
            host_problem: upkeep.problem().map(str::to_owned),
            host_warnings: upkeep.warnings(),
        }
    }
}

/// On which host the daemon runs, and what it was given.
#[derive(Debug)]
pub struct NodeIdentity {
    host: String,
    router_id: Option<String>,
    config_file: String,
    config_id: Option<String>,
    allow_unsupported: bool,
    allow_unsupported_only: Vec<String>,
}

impl NodeIdentity {
    /// As it is now.
    pub fn of(source: &Source, router_id: Option<&str>) -> Self {
        // An empty path, which was never read, has no absolute form.
        let file = path::absolute(&source.path).unwrap_or_else(|_| source.path.clone());
        Self {
            host: gethostname().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(),
            router_id: router_id.map(str::to_owned),
            config_file: file.display().to_string(),
            config_id: source.config_id.clone(),
            allow_unsupported: source.unsupported != Unsupported::Refused,
            allow_unsupported_only: match &source.unsupported {
                Unsupported::Only(names) => names.iter().cloned().collect(),
                Unsupported::Refused | Unsupported::Ignored => Vec::new(),
            },
        }
    }
}

/// The status that is shown.
pub fn merge(engine: EngineStatus, mut control: ControlStatus, node: NodeIdentity) -> Status {
    let instance = |instance: EngineInstanceStatus| {
        let known = control.instances.remove(&instance.id);
        known.map_or_else(|| instance.status.clone(), |known| complete(&instance, known))
    };
    Status {
        schema: SCHEMA,
        version: env!("CARGO_PKG_VERSION").into(),
        pid: process::id(),
        uptime_ms: engine.uptime_ms,
        real_time: engine.real_time,
        drained: engine.drained,
        instances: engine.instances.into_iter().map(instance).collect(),
        probes: engine.probes,
        sponsors: engine.sponsors,
        counters: engine.counters,
        tracked: control.tracked,
        arbiters: control.arbiters,
        bfd_sessions: Vec::new(),
        notify_scripts: control.notify_scripts,
        host_repairs: control.host_repairs,
        latest_repairs: control.latest_repairs,
        host_problem: control.host_problem,
        host_warnings: control.host_warnings,
        host: node.host,
        router_id: node.router_id,
        config_file: node.config_file,
        config_id: node.config_id,
        allow_unsupported: node.allow_unsupported,
        allow_unsupported_only: node.allow_unsupported_only,
        cluster_reports: ReportsStatus::default(),
        restart_needed: Vec::new(),
        balancing: None,
    }
}

fn complete(engine: &EngineInstanceStatus, control: ControlInstanceStatus) -> InstanceStatus {
    // Only masters advertise, and each of the two discards what the other says.
    let is_split =
        engine.status.split_brain || engine.status.state == "MASTER" && control.refused_rival.is_some();
    InstanceStatus {
        split_brain: is_split,
        split_brain_cause: control.refused_rival.filter(|_| is_split),
        vip_answers: control.vip_answers,
        mismatches: control.mismatches,
        tracks: control.tracks,
        ..engine.status.clone()
    }
}

fn track(effect: Effect) -> TrackStatus {
    let Effect { keyword, name, weight, adds, fault, well, state } = effect;
    let (weight, reverse) = (weight.value, weight.reverse);
    TrackStatus { keyword: keyword.to_owned(), name, weight, reverse, adds, fault, well, state }
}

/// How something is that is tracked by a name.
fn tracked(HealthDetail { keyword, name, health, detail }: HealthDetail<'_>) -> TrackedStatus {
    let millis = |since: Instant| u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX);
    TrackedStatus {
        keyword: keyword.to_owned(),
        name: name.to_owned(),
        well: match health {
            Health::Well => Some(true),
            Health::Unwell => Some(false),
            Health::Unknown | Health::Value(_) => None,
        },
        value: if let Health::Value(number) = health { Some(number) } else { None },
        in_state_ms: detail.since.map(millis),
        run: detail.run.as_ref().map(|(run, next)| run.status(Some(*next))),
        count: detail.count.and_then(|count| u64::try_from(count).ok()),
        problem: detail.problem.clone(),
    }
}
