//! Why a node is the master.

use super::{
    Cause, Kind, cause, discards,
    priority::{losses, may_fail, weighed},
    seconds,
};
use crate::model::{InstanceStatus, MasterStatus};

pub fn why(i: &InstanceStatus) -> Vec<Cause> {
    let mut why = Vec::new();
    if i.base_priority == 255 {
        why.push(cause(Kind::Owner, "the node owns the addresses (priority 255)"));
    }
    why.extend(became(i));
    if i.is_unvouched() {
        let what = "nobody vouches for this node (`act takeover`), so it answers for none of the VIPs: its arbiter is not reached, or \
                    its probes do not leave, and a backup is silent";
        why.push(cause(Kind::Unvouched, what));
    }
    if i.handed_over {
        why.push(cause(Kind::HandedOver, "it is to be handed over, and no other router has taken over yet"));
    }
    if let Some(error) = &i.advert_error {
        let what = if i.adverts_blocked { "" } else { " everywhere" };
        why.push(cause(Kind::SendFailed, format!("its last advert did not leave{what}: {error}")));
    }
    why.push(rivals(i));
    why.extend(discards(i));
    why
}

/// How it became master.
fn became(i: &InstanceStatus) -> Option<Cause> {
    let down = seconds(i.master_down_interval_cs.saturating_mul(10));
    let former = i.predecessor.as_ref().map(|MasterStatus { address, priority }| (address, priority));
    let what = match (i.reason_code.as_deref()?, former) {
        ("master_down", Some((address, priority))) => {
            format!("no advert of {address} (priority {priority}) came for {down}")
        }
        ("master_down", None) => format!("no router was heard for {down}"),
        ("master_left", Some((address, _))) => format!("{address} said goodbye"),
        ("master_left", None) => "the former master said goodbye".into(),
        ("preempting", Some((address, priority))) => {
            format!("it preempted {address} (priority {priority}) with its priority {}", i.priority)
        }
        ("host_silent", Some((address, priority))) => {
            format!("the host of {address} (priority {priority}) answered no probe: it outbid the master")
        }
        ("inherited", _) => "vipd was started anew, and the lease of the vipd before it still stood".into(),
        _ => i.reason.clone()?,
    };
    Some(cause(Kind::BecameMaster, what))
}

fn rivals(i: &InstanceStatus) -> Cause {
    let rival = i.last_adv_source.zip(i.last_adv_age_ms);
    // Whoever has been silent for so long is none any more.
    let recent = rival.filter(|(_, ms)| *ms < i.advert_interval_ms.saturating_mul(3));
    match recent {
        _ if i.split_brain => {
            let who = rival.map(|(source, _)| format!(": {source}")).unwrap_or_default();
            let see = match &i.split_brain_cause {
                Some(cause) => cause.clone(),
                None => format!("vipd events {}", i.name),
            };
            cause(Kind::Rival, format!("split brain, another router acts as the owner too{who}: {see}"))
        }
        Some((source, ms)) if ms < i.in_state_ms => {
            let ago = seconds(ms);
            cause(Kind::Rival, format!("{source} advertised {ago} ago with a lower priority or address"))
        }
        _ => cause(Kind::NoRival, "no other router advertises"),
    }
}

pub fn changes_when(i: &InstanceStatus) -> Vec<String> {
    let mut changes = Vec::new();
    let own = i.priority;
    if own < 255 {
        let tie = i.address.map(|address| format!(", or with {own} and an address above {address}"));
        let tie = tie.unwrap_or_default();
        changes.push(format!("a router with a priority above {own}{tie} advertises"));
    }
    for loss in losses(i).iter().filter(|_| own < 255) {
        let is = weighed(i, loss.by);
        changes.push(format!(
            "{}: then the priority is {is} ({:+}), and a router above {is} takes over",
            loss.when, loss.by
        ));
    }
    changes.extend(may_fail(i).into_iter().map(|when| format!("{when}: then it is in FAULT")));
    if i.tracks_interface {
        changes.push(format!("interface {} goes down: then it is in FAULT", i.interface));
    }
    if own < 255 {
        changes.push(format!("`vipd handover {}`, `vipd drain` or `vipd stop`", i.name));
    } else {
        changes.push("`vipd stop`".into());
    }
    changes
}
