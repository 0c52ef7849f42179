//! Whether an instance can take part in the election, by its links, its address, its host and what it tracks. PURE.

use vipd_common::Family;

use super::super::router::Router;
use crate::{
    coordinator::FaultReason,
    tracking::{Fault, TrackingResult},
};

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

/// Everything that keeps a router from taking part. `unserved`: why the host cannot keep what packets to its VIPs need.
pub fn faults(router: &Router, result: &TrackingResult, unserved: Option<&str>) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (i, link) in router.links().iter().enumerate() {
        let (own, name) = (i == 0, link.name());
        let fault = |kind, what: String, ends_when: String| Fault { kind, what, ends_when };
        if let Some(why) = link.refusal().filter(|_| own || link.is_tracked()) {
            let what = format!("interface {name} cannot be used: {why}");
            faults.push(fault("interface_refused", what, format!("interface {name} can be used")));
        } else if !link.exists() && (own || link.is_tracked()) {
            let what = format!("there is no interface {name}");
            faults.push(fault("no_interface", what, format!("there is an interface {name}")));
        } else if own && !link.is_enabled() {
            let what = format!("interface {name} is turned off");
            faults.push(fault("interface_off", what, format!("`ip link set {name} up`")));
        } else if !link.is_up() && link.is_tracked() {
            let what = format!("interface {name} is down");
            faults.push(fault("interface_down", what, format!("interface {name} is up")));
        }
    }
    if router.address().is_none() && router.link().exists() {
        faults.push(no_address(router));
    }
    faults.extend(unserved.map(|why| Fault {
        kind: "unserved",
        what: format!("this host cannot serve the VIPs: {why}"),
        ends_when: "this host can serve them".into(),
    }));
    faults.extend(result.faults.iter().cloned());
    faults
}

fn no_address(router: &Router) -> Fault {
    let name = router.link().name();
    let family = if router.spec().family == Family::V4 { "IPv4" } else { "IPv6" };
    match (router.missing_source(), router.spec().source) {
        (Some(what), Some(source)) => {
            Fault { kind: "no_source", what, ends_when: format!("this host has the address {source}") }
        }
        _ => Fault {
            kind: "no_address",
            what: format!("interface {name} has no usable {family} address"),
            ends_when: format!("interface {name} has an {family} address"),
        },
    }
}
