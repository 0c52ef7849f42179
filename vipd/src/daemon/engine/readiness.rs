//! Whether an instance can take part in the election, by its links, its address, its host and what it tracks. PURE.

use super::super::router::Router;
use crate::{coordinator::FaultReason, tracking::TrackingResult};

/// Why a router cannot take part. `is_unserved`: the host cannot keep what packets to its VIPs need.
pub fn fault(router: &Router, result: &TrackingResult, is_unserved: bool) -> Option<FaultReason> {
    Some(match router.address() {
        _ if !router.is_up() && router.has_heartbeat() => FaultReason::CutOff,
        _ if router.refusal().is_some() => FaultReason::Refused,
        _ if !router.link().exists() => FaultReason::NoInterface,
        _ if !router.is_up() => FaultReason::LinkDown,
        None if router.spec().source.is_some() => FaultReason::NoSource,
        None => FaultReason::NoAddress,
        Some(_) if is_unserved => FaultReason::Unserved,
        Some(_) if result.isolated => FaultReason::Isolated,
        Some(_) if result.fault => FaultReason::Tracked,
        Some(_) => return None,
    })
}
