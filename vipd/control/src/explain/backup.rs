//! Why a backup is not the master.

use super::{
    Cause, Kind, cause, discards,
    priority::{gains, weighed},
    seconds,
};
use crate::model::{InstanceStatus, MasterStatus, Status};

pub fn why(status: &Status, i: &InstanceStatus) -> Vec<Cause> {
    let mut why = Vec::new();
    if status.drained {
        let what = format!("the node is drained: priority {} instead of {}", i.priority, weighed(i, 0));
        why.push(cause(Kind::Drained, what));
    } else if i.handed_over {
        let what = format!("it was handed over: priority {} instead of {}", i.priority, weighed(i, 0));
        why.push(cause(Kind::HandedOver, what));
    }
    match &i.master {
        Some(master) => why.push(by_master(status, i, master)),
        None => why.extend(discards(i)),
    }
    if let Some(error) = i.advert_error.as_ref().filter(|_| i.adverts_blocked) {
        let what = format!("the first advert of its last takeover did not leave: {error}");
        why.push(cause(Kind::SendFailed, what));
    } else if i.reason_code.as_deref() == Some("send_failed") {
        let what = "the first advert of its last takeover did not leave: the event advert_not_sent has the kernel's reason";
        why.push(cause(Kind::SendFailed, what));
    }
    if i.fencing {
        why.push(cause(Kind::Fencing, "no advert of the master comes, and fence_script has not ended yet"));
    } else if i.master.is_none() {
        let after = match takeover_in(status, i) {
            _ if waits_for_group(status, i) => {
                "no master is heard: it takes over when its sync group does".into()
            }
            Some(ms) => format!("no master is heard: it takes over in {} without an advert", seconds(ms)),
            None => "no master is heard".into(),
        };
        why.push(cause(Kind::Waiting, after));
    }
    why.extend(by_group(status, i));
    if let Some(reason) = i.early.as_ref().and_then(|early| early.unarmed_reason.as_ref()) {
        let what = format!("silence of the master's host is not acted on (`act takeover`): {reason}");
        why.push(cause(Kind::Unarmed, what));
    }
    why
}

/// Members of its sync group that are backups, and itself.
fn backups<'s>(status: &'s Status, i: &'s InstanceStatus) -> impl Iterator<Item = &'s InstanceStatus> {
    let is_member = move |other: &&InstanceStatus| i.sync_group.is_some() && other.sync_group == i.sync_group;
    status.instances.iter().filter(move |other| other.name == i.name || is_member(other))
}

/// When it takes over without an advert: with the last of its sync group.
fn takeover_in(status: &Status, i: &InstanceStatus) -> Option<u64> {
    backups(status, i).filter_map(|member| member.master_down_in_ms).max()
}

/// Whether another member keeps the group from taking over: by the master that it follows, or since it is no backup.
fn waits_for_group(status: &Status, i: &InstanceStatus) -> bool {
    backups(status, i).filter(|member| member.name != i.name).any(|member| {
        let follows = |master: &MasterStatus| master.priority >= member.priority || !member.preempt;
        member.state != "BACKUP" || member.master.as_ref().is_some_and(follows)
    })
}

fn by_master(status: &Status, i: &InstanceStatus, master: &MasterStatus) -> Cause {
    let MasterStatus { address, priority } = master;
    let own = i.priority;
    if *priority > own {
        return cause(
            Kind::LowerPriority,
            format!("{address} is master with priority {priority}, and this node has {own}"),
        );
    }
    if *priority == own {
        let what = format!(
            "{address} is master with the same priority {own}: a master is replaced only by a higher priority"
        );
        return cause(Kind::EqualPriority, what);
    }
    let lower = format!("{address} is master with the lower priority {priority}, this node has {own}");
    if !i.preempt {
        return cause(Kind::Nopreempt, format!("{lower}; nopreempt leaves a running master alone"));
    }
    if let Some(node) = i.early.as_ref().and_then(|early| early.one_way.first()) {
        let what = format!(
            "{lower}; {node} is heard and does not hear this node, which would be a second master beside it"
        );
        return cause(Kind::OneWay, what);
    }
    match i.preempt_delay_left_ms {
        Some(left) => {
            let (delay, left) = (seconds(i.preempt_delay_ms), seconds(left));
            cause(Kind::PreemptDelay, format!("{lower}; preempt_delay of {delay} ends in {left}"))
        }
        None => {
            let within = match takeover_in(status, i) {
                _ if waits_for_group(status, i) => " when its sync group does".to_owned(),
                Some(ms) => format!(" within {}", seconds(ms)),
                None => String::new(),
            };
            cause(Kind::Waiting, format!("{lower}: it takes over{within}"))
        }
    }
}

/// Members of a sync group take over together, when each of them would.
fn by_group<'s>(status: &'s Status, i: &'s InstanceStatus) -> impl Iterator<Item = Cause> + 's {
    let others = status.instances.iter().filter(|other| other.name != i.name);
    let members = others.filter(|other| i.sync_group.is_some() && other.sync_group == i.sync_group);
    members.filter_map(|member| {
        let master = member.master.as_ref().filter(|_| member.state == "BACKUP")?;
        let waits = master.priority >= member.priority || !member.preempt;
        let what = format!(
            "sync group member {} follows {} with priority {}, its own is {}: members take over together",
            member.name, master.address, master.priority, member.priority
        );
        waits.then(|| cause(Kind::SyncGroup, what))
    })
}

pub fn changes_when(status: &Status, i: &InstanceStatus) -> Vec<String> {
    let down = seconds(i.master_down_interval_cs.saturating_mul(10));
    let Some(master) = &i.master else { return Vec::new() };
    let mut changes = Vec::new();
    let one_way = i
        .early
        .as_ref()
        .and_then(|early| early.one_way.first())
        .filter(|_| i.preempt && master.priority < i.priority);
    let silent = match one_way {
        // An offer is waited for like a silence: it may be taken back.
        Some(node) => {
            changes.push(format!("the way from this node to {node} is back"));
            format!("{} stops, or no advert of it comes for {down}", master.address)
        }
        None => format!("{} stops or hands over, or no advert of it comes for {down}", master.address),
    };
    if i.preempt {
        changes.extend(by_priority(status, i, master.priority));
    }
    if let Some(early) = i.early.as_ref().filter(|early| early.armed) {
        let after = f64::from(u32::try_from(early.acts_after_us).unwrap_or(u32::MAX)) / 1_000.0;
        changes.push(format!("the host of {} answers no probe for {after} ms", master.address));
    }
    changes.push(silent);
    changes
}

/// The ways to a priority above that of the master.
fn by_priority(status: &Status, i: &InstanceStatus, above: u8) -> Vec<String> {
    let rises = format!("the priority rises above {above}");
    if status.drained || i.handed_over {
        let ends = match status.drained {
            true => "after `vipd undrain`".to_owned(),
            false => format!("after `vipd handover {} --to preferred`", i.name),
        };
        let is = weighed(i, 0);
        let enough = if is > above { "" } else { ", which is not enough" };
        return vec![format!("{rises}: {ends} it is {is}{enough}")];
    }
    if i.priority > above {
        return Vec::new();
    }
    let gains = gains(i);
    let alone = gains.iter().filter(|gain| weighed(i, gain.by) > above);
    let mut ways: Vec<String> = alone
        .map(|gain| format!("{rises}: when {} it is {} ({:+})", gain.when, weighed(i, gain.by), gain.by))
        .collect();
    let all: i64 = gains.iter().map(|gain| gain.by).sum();
    if ways.is_empty() && weighed(i, all) > above {
        let when: Vec<&str> = gains.iter().map(|gain| gain.when.as_str()).collect();
        ways.push(format!("{rises}: when {} it is {} ({all:+})", when.join(" and "), weighed(i, all)));
    }
    if ways.is_empty() {
        let limit = match i.tracks.is_empty() {
            true => "it tracks nothing",
            false => "nothing that it tracks adds enough",
        };
        ways.push(format!("{rises} ({limit}), or that of the master falls below {}", i.priority));
    }
    ways
}
