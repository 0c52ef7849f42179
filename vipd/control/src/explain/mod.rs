//! Why an instance is in its state, and what would change that: the answer of `vipd explain`.
//!
//! [`explain`] is a function of the status, without sockets, files or a clock. What it says is computed from the numbers of the
//! status: a check is named as a way to become master only if its weight is enough.

mod backup;
mod fault;
mod master;
mod priority;
#[cfg(test)]
mod tests;
pub mod text;
mod words;

use std::net::IpAddr;

use schemars::JsonSchema;
use serde::Serialize;

pub use words::becomes;

use crate::model::{InstanceStatus, NotifyStatus, SCHEMA, Status, TrackStatus, TrackedStatus};

/// Why an instance is in its state.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct Explanation {
    /// Version of the description, that of the status.
    pub schema: u32,
    /// Name of the host.
    pub host: String,
    /// Name of the instance.
    pub instance: String,
    /// As in the status.
    pub state: String,
    /// As in the status.
    pub in_state_ms: u64,
    /// As in the status.
    pub reason: Option<String>,
    /// As in the status.
    pub reason_code: Option<String>,
    /// As in the status.
    pub interface: String,
    /// Where the priority comes from.
    pub priority: PriorityExplained,
    /// The known master; `null` without one.
    pub master: Option<MasterExplained>,
    /// Why the instance is, or is not, the master.
    pub why: Vec<Cause>,
    /// What would make it master, or end its mastership: each of these alone.
    pub changes_when: Vec<String>,
    /// Checks, files, processes and arbiters that it tracks, as in the status.
    pub tracked: Vec<TrackedStatus>,
    /// Its notify scripts and those of its sync group that have run, as in the status.
    pub notify_scripts: Vec<NotifyStatus>,
}

/// Where the priority comes from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct PriorityExplained {
    /// The priority of the adverts and of the election.
    pub effective: u8,
    /// `priority` of the configuration.
    pub configured: u8,
    /// `drain` or `handover` if the node has the lowest priority because of that; else `null`.
    pub lowered_by: Option<&'static str>,
    /// Everything tracked, with what it adds.
    pub tracks: Vec<TrackStatus>,
}

/// The master.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct MasterExplained {
    /// Whether it is this node.
    pub here: bool,
    /// Its address.
    pub address: IpAddr,
    /// Its priority.
    pub priority: u8,
    /// Time since it became the master, or its adverts began.
    pub since_ms: Option<u64>,
    /// Time since its last advert; `null` if it is this node.
    pub last_advert_ms_ago: Option<u64>,
}

/// One cause of a state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Cause {
    /// For programs.
    pub kind: Kind,
    /// In words.
    pub what: String,
}

/// What kind of cause it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Something keeps the instance from taking part.
    Fault,
    /// The master has a higher priority.
    LowerPriority,
    /// The master has the same priority.
    EqualPriority,
    /// `nopreempt`.
    Nopreempt,
    /// A node is heard that does not hear this one.
    OneWay,
    /// `preempt_delay` is not over.
    PreemptDelay,
    /// The node is drained.
    Drained,
    /// The instance was handed over.
    HandedOver,
    /// `fence_script` has not succeeded.
    Fencing,
    /// The takeover is on its way.
    Waiting,
    /// Another member of the sync group is no master.
    SyncGroup,
    /// Adverts arrive, and are refused.
    AdvertsRefused,
    /// Adverts are heard, and say that the other router is configured differently.
    Mismatch,
    /// Adverts do not leave.
    SendFailed,
    /// The first result of a check, or an interface, is waited for.
    Starting,
    /// A check of the node cannot be run, and counts for nothing.
    CheckIgnored,
    /// vipd is being stopped.
    Stopped,
    /// How this node became master.
    BecameMaster,
    /// The node owns the addresses.
    Owner,
    /// No other router advertises.
    NoRival,
    /// Another router advertises too.
    Rival,
    /// Nobody vouches for the node, so that it answers for nothing.
    Unvouched,
    /// A silence of the master's host is not acted on.
    Unarmed,
}

/// Explains the instance at a position of the status; `None` if there is none.
pub fn explain(status: &Status, position: usize) -> Option<Explanation> {
    let i = status.instances.get(position)?;
    let (mut why, changes_when) = match i.state.as_str() {
        "MASTER" => (master::why(i), master::changes_when(i)),
        "BACKUP" => (backup::why(status, i), backup::changes_when(status, i)),
        "FAULT" => (fault::why(i), fault::changes_when(i)),
        "STOP" => (
            vec![cause(Kind::Stopped, "vipd is being stopped, or a reload removes the instance")],
            Vec::new(),
        ),
        _ => (fault::why_not_started(i), Vec::new()),
    };
    why.extend(differs(i, &why));
    why.extend(ignored(status));
    let is_its = |t: &&TrackedStatus| i.tracks.iter().any(|of| of.keyword == t.keyword && of.name == t.name);
    let is_notified = |n: &&NotifyStatus| match n.kind.as_str() {
        "GROUP" => i.sync_group.as_deref() == Some(n.name.as_str()),
        _ => n.name == i.name,
    };
    Some(Explanation {
        schema: SCHEMA,
        host: status.host.clone(),
        instance: i.name.clone(),
        state: i.state.clone(),
        in_state_ms: i.in_state_ms,
        reason: i.reason.clone(),
        reason_code: i.reason_code.clone(),
        interface: i.interface.clone(),
        priority: PriorityExplained {
            effective: i.priority,
            configured: i.base_priority,
            lowered_by: match (status.drained, i.handed_over) {
                (true, _) => Some("drain"),
                (false, true) => Some("handover"),
                (false, false) => None,
            },
            tracks: i.tracks.clone(),
        },
        master: known_master(i),
        why,
        changes_when,
        tracked: status.tracked.iter().filter(is_its).cloned().collect(),
        notify_scripts: status.notify_scripts.iter().filter(is_notified).cloned().collect(),
    })
}

/// Checks that cannot be run: as in keepalived it is as if nobody tracked them, whichever instance does.
fn ignored(status: &Status) -> impl Iterator<Item = Cause> {
    status.tracked.iter().filter(|t| t.keyword == "vrrp_script").filter_map(|t| {
        let problem = t.problem.as_ref()?;
        let what =
            format!("the check {} of this node cannot be run, and counts for nothing: {problem}", t.name);
        Some(cause(Kind::CheckIgnored, &what))
    })
}

/// What other routers differ in, unless it is among the causes already.
fn differs(i: &InstanceStatus, why: &[Cause]) -> Option<Cause> {
    if i.mismatches.is_empty() || why.iter().any(|cause| cause.kind == Kind::AdvertsRefused) {
        return None;
    }
    let what = i.mismatches.join(", ");
    Some(cause(
        Kind::Mismatch,
        format!("other routers differ in {what}: vipd events {} says what to make the same", i.name),
    ))
}

fn known_master(i: &InstanceStatus) -> Option<MasterExplained> {
    let master = i.master.as_ref()?;
    let here = i.state == "MASTER";
    Some(MasterExplained {
        here,
        address: master.address,
        priority: master.priority,
        since_ms: if here { Some(i.in_state_ms) } else { i.master_since_ms },
        last_advert_ms_ago: i.last_adv_age_ms.filter(|_| !here),
    })
}

fn cause(kind: Kind, what: impl Into<String>) -> Cause {
    Cause { kind, what: what.into() }
}

/// `3.6 s`.
fn seconds(ms: u64) -> String {
    format!("{}.{} s", ms / 1000, ms % 1000 / 100)
}

/// The reasons for which adverts were refused: `auth_failures 9, ip_ttl_errors 3`.
fn discards(i: &InstanceStatus) -> Option<Cause> {
    if i.discards.is_empty() {
        return None;
    }
    let reasons: Vec<String> = i.discards.iter().map(|(reason, count)| format!("{reason} {count}")).collect();
    let what = match i.mismatches.as_slice() {
        [] => format!("adverts arrived and were refused: {}", reasons.join(", ")),
        differ => format!(
            "adverts arrive and are refused ({}): other routers differ in {}",
            reasons.join(", "),
            differ.join(", ")
        ),
    };
    Some(cause(Kind::AdvertsRefused, what))
}
