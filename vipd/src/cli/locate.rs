//! `vipd where` and `vipd is-master`: whether this node owns a VIP, and who does as far as this node knows.

use std::io::{self, Write};

use super::{
    Exit,
    status::{Unknown, age, find, tenths},
};
use crate::control::model::{InstanceStatus, Status};

/// Says where `wanted`, a VIP or an instance, is: success if this node owns it, failure if not.
///
/// # Errors
///
/// No instance of this vipd has that name or VIP.
pub fn locate(
    out: &mut impl Write,
    status: &Status,
    wanted: &str,
) -> Result<(Exit, io::Result<()>), Unknown> {
    let found: Vec<&InstanceStatus> =
        find::find(status, wanted)?.into_iter().filter_map(|at| status.instances.get(at)).collect();
    let exit = if found.iter().any(|i| i.owns()) { Exit::Success } else { Exit::Failure };
    let printed = found.iter().try_for_each(|i| writeln!(out, "{}", sentence(i, wanted)));
    Ok((exit, printed))
}

fn sentence(i: &InstanceStatus, wanted: &str) -> String {
    let InstanceStatus { name, vrid, interface, state, .. } = i;
    let here = if i.owns() { "is here" } else { "is not here" };
    let router = format!(
        "{wanted} {here}: {name} (vrid {vrid} on {interface}) has been {state} for {}",
        age(i.in_state_ms)
    );
    if i.owns() {
        let rival = if i.split_brain { "; SPLIT BRAIN: another router acts as the owner too" } else { "" };
        return format!("{router}, priority {}{rival}", i.priority);
    }
    if i.is_unvouched() && i.lease_remaining_ms.is_some() {
        return format!(
            "{router}, but nobody vouches for this node, so that it answers for no VIP: see `vipd status`"
        );
    }
    if state == "MASTER" {
        return format!("{router}, but its lease has run out");
    }
    let reason = i.reason.as_deref().filter(|_| state == "FAULT");
    let reason = reason.map(|reason| format!(" ({reason})")).unwrap_or_default();
    let master = match &i.master {
        Some(master) => {
            let heard = i.last_adv_age_ms.filter(|_| i.last_adv_source == Some(master.address));
            let heard = heard.map(|ms| format!(", last heard {} ago", tenths(ms))).unwrap_or_default();
            format!("the master is {} with priority {}{heard}", master.address, master.priority)
        }
        None => "no master has been heard".into(),
    };
    format!("{router}{reason}; {master}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::model::samples;

    fn said(status: &Status, wanted: &str) -> (Exit, String) {
        let mut out = Vec::new();
        let (exit, printed) = locate(&mut out, status, wanted).unwrap();
        printed.unwrap();
        (exit, String::from_utf8(out).unwrap())
    }

    #[test]
    fn each_state_has_its_sentence_and_exit_code() {
        let status = samples::status();
        for (wanted, exit, text) in [
            (
                "10.0.0.4",
                Exit::Success,
                "10.0.0.4 is here: VI_1 (vrid 51 on eth0) has been MASTER for 1m 1s, priority 150\n",
            ),
            (
                "2001:db8::100",
                Exit::Failure,
                "2001:db8::100 is not here: VI_6 (vrid 6 on eth0) has been BACKUP for 1h 0m; the master is fe80::6 with \
                 priority 200, last heard 1.0s ago\n",
            ),
            (
                "VI_F",
                Exit::Failure,
                "VI_F is not here: VI_F (vrid 7 on eth0) has been FAULT for 5s (link down); no master has been heard\n",
            ),
        ] {
            assert_eq!(said(&status, wanted), (exit, text.to_owned()));
        }
        assert!(locate(&mut Vec::new(), &status, "10.0.0.9").is_err());
    }

    #[test]
    fn a_master_without_a_lease_owns_nothing_and_a_split_brain_is_said() {
        let mut status = samples::status();
        status.instances[0].split_brain = true;
        let (exit, text) = said(&status, "VI_1");
        assert!(
            exit == Exit::Success && text.ends_with("SPLIT BRAIN: another router acts as the owner too\n"),
            "{text}"
        );
        status.instances[0].lease_remaining_ms = None;
        let (exit, text) = said(&status, "VI_1");
        assert!(exit == Exit::Failure && text.ends_with("for 1m 1s, but its lease has run out\n"), "{text}");
    }

    #[test]
    fn a_master_that_nobody_vouches_for_owns_nothing() {
        let (exit, text) = said(&samples::takes_over(), "VI_1");
        assert_eq!((exit, text.contains("VI_1 is here")), (Exit::Success, true), "{text}");
        let (exit, text) = said(&samples::unvouched(), "10.0.0.3");
        assert_eq!(exit, Exit::Failure);
        assert_eq!(
            text,
            "10.0.0.3 is not here: VI_1 (vrid 51 on eth0) has been MASTER for 1m 1s, but nobody vouches for this node, \
             so that it answers for no VIP: see `vipd status`\n"
        );
    }

    #[test]
    fn of_two_instances_with_the_vip_one_master_is_enough() {
        let mut status = samples::status();
        status.instances[2].vips.push("10.0.0.3".parse().unwrap());
        let (exit, text) = said(&status, "10.0.0.3");
        assert_eq!((exit, text.lines().count()), (Exit::Success, 2), "{text}");
    }
}
