//! Why an instance cannot take part, or has not begun.

use super::{Cause, Kind, cause};
use crate::{model::InstanceStatus, status::fault_text};

pub fn why(i: &InstanceStatus) -> Vec<Cause> {
    if i.faults.is_empty() {
        let reason = i.reason.clone().unwrap_or_else(|| "no reason is known".into());
        return vec![cause(Kind::Fault, reason)];
    }
    i.faults.iter().map(|fault| cause(Kind::Fault, fault_text(i, fault))).collect()
}

pub fn changes_when(i: &InstanceStatus) -> Vec<String> {
    if i.faults.is_empty() {
        return Vec::new();
    }
    let ends: Vec<&str> = i.faults.iter().map(|fault| fault.ends_when.as_str()).collect();
    let then = match &i.master {
        Some(master) if !i.preempt => {
            format!("a backup of {}, since nopreempt leaves a running master alone", master.address)
        }
        Some(master) if i.priority > master.priority => {
            format!(
                "the master: its priority {} is above the {} of {}",
                i.priority, master.priority, master.address
            )
        }
        Some(master) => {
            format!(
                "a backup: its priority {} is not above the {} of {}",
                i.priority, master.priority, master.address
            )
        }
        None => "the master, unless another router is heard".into(),
    };
    vec![format!("{}: then it becomes {then}", ends.join(" and "))]
}

pub fn why_not_started(i: &InstanceStatus) -> Vec<Cause> {
    let waits = i.tracks.iter().filter(|track| track.weight == 0 && track.well.is_none());
    let mut why: Vec<Cause> = waits.map(|track| cause(Kind::Starting, track.state.as_str())).collect();
    if why.is_empty() {
        why.push(cause(Kind::Starting, format!("it waits for interface {}", i.interface)));
    }
    why
}
