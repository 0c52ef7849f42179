//! The whole status: what the engine thread knows and what the main thread knows, made one.

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    path, process,
};

use nix::unistd::gethostname;

use super::{
    super::{
        messages::{EngineInstanceStatus, EngineStatus},
        reconcile::Installed,
        router::Router,
    },
    misconfiguration::MisconfigurationMonitor,
    tracking::TrackingResults,
};
use crate::{
    control::model::{ArbiterStatus, InstanceStatus, SCHEMA, Status, TrackedStatus},
    coordinator::{FaultReason, InstanceId, Reason},
    machine::Source,
    tracking::{Health, arbiter_status},
};
use vipd_config::Unsupported;

/// The main thread's part of the status.
#[derive(Debug)]
pub struct ControlStatus {
    instances: HashMap<InstanceId, ControlInstanceStatus>,
    tracked: Vec<TrackedStatus>,
    arbiters: Vec<ArbiterStatus>,
}

/// What the main thread knows of an instance.
#[derive(Debug)]
struct ControlInstanceStatus {
    /// The requests about each VIP that were answered.
    vip_answers: BTreeMap<IpAddr, u64>,
    mismatches: Vec<String>,
    /// Why an interface that it depends on cannot be used.
    refusal: Option<String>,
    /// What is to be done about a source address that is missing.
    missing_source: Option<String>,
    /// The arbiters that are not reached.
    isolated_by: Vec<String>,
    /// What it tracks and puts it in FAULT.
    faults: Vec<String>,
}

impl ControlStatus {
    /// What is known now.
    pub fn of(installed: &Installed, tracking: &TrackingResults, monitor: &MisconfigurationMonitor) -> Self {
        let instance = |router: &Router| ControlInstanceStatus {
            vip_answers: installed.answers(router),
            mismatches: monitor.going_on(router.name()),
            refusal: router.refusal().map(str::to_owned),
            missing_source: router.missing_source(),
            isolated_by: tracking.isolated_by(router.position()).map(str::to_owned).collect(),
            faults: tracking.faults(router.position()),
        };
        Self {
            instances: installed.routers().iter().map(|router| (router.id(), instance(router))).collect(),
            tracked: tracking.healths().map(tracked).collect(),
            arbiters: tracking.arbiters().map(|a| arbiter_status(a.arbiter, a.health, a.targets)).collect(),
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
        counters: engine.counters,
        tracked: control.tracked,
        arbiters: control.arbiters,
        host: node.host,
        router_id: node.router_id,
        config_file: node.config_file,
        config_id: node.config_id,
        allow_unsupported: node.allow_unsupported,
        allow_unsupported_only: node.allow_unsupported_only,
    }
}

fn complete(engine: &EngineInstanceStatus, control: ControlInstanceStatus) -> InstanceStatus {
    // The election knows that it is in fault, not why.
    let detail = match engine.last_reason {
        Some(Reason::Fault(FaultReason::Isolated)) if !control.isolated_by.is_empty() => {
            Some(format!("arbiter {}", control.isolated_by.join(", ")))
        }
        Some(Reason::Fault(FaultReason::Refused)) => control.refusal,
        Some(Reason::Fault(FaultReason::NoSource)) => control.missing_source,
        _ => None,
    };
    let reason = engine.last_reason.map(|reason| match detail {
        _ if reason == Reason::Fault(FaultReason::Tracked) && !control.faults.is_empty() => {
            control.faults.join(", ")
        }
        Some(detail) => format!("{reason}: {detail}"),
        None => reason.to_string(),
    });
    InstanceStatus {
        reason,
        vip_answers: control.vip_answers,
        mismatches: control.mismatches,
        ..engine.status.clone()
    }
}

/// How something is that is tracked by a name.
fn tracked((keyword, name, health): (&str, &str, Health)) -> TrackedStatus {
    TrackedStatus {
        keyword: keyword.to_owned(),
        name: name.to_owned(),
        well: match health {
            Health::Well => Some(true),
            Health::Unwell => Some(false),
            Health::Unknown | Health::Value(_) => None,
        },
        value: if let Health::Value(number) = health { Some(number) } else { None },
    }
}
