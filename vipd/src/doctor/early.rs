//! Early takeover (`act takeover`): what keeps it from acting, what makes it dangerous, and whether anybody vouches for this node.

use super::{Facts, Findings, probes::name_of};
use crate::control::model::{EarlyStatus, InstanceStatus, ProbedPeerStatus, SponsorsStatus, Status};

pub fn judge(facts: &Facts, findings: &mut Findings) {
    let Some(status) = &facts.running else { return };
    let Some(sponsors) = &status.sponsors else { return };
    if !status.real_time {
        let what = "`act takeover` without real-time scheduling: this node is late, so it takes over late and its VIPs may lapse";
        let fix = "permit real-time scheduling (CAP_SYS_NICE, RLIMIT_RTPRIO), or write `act no`";
        findings.warning("vipd", CHECK, what, fix);
    }
    status.probes.iter().filter(|peer| peer.takes_over).for_each(|peer| other_end(peer, findings));
    vouching(status, sponsors, findings);
    for (i, early) in status.instances.iter().filter_map(|i| Some((i, i.early.as_ref()?))) {
        instance(i, early, findings);
    }
}

/// What the vipd of a host says. One that does not answer is the finding of its probes.
fn other_end(peer: &ProbedPeerStatus, findings: &mut Findings) {
    let (about, name) = (&peer.interface, name_of(peer));
    if peer.state != "up" || peer.peer_takes_over {
        return;
    }
    if peer.peer_interval_us.is_none() {
        let what = format!("{name} answers, and its vipd has sent no probe: only missed adverts decide");
        let fix = format!("see whether vipd runs on {name}, and whether UDP port 7784 passes both ways");
        return findings.warning(about, CHECK, what, fix);
    }
    let what = format!(
        "{name} does not say `act takeover`: neither node takes over from the other early, only missed adverts decide"
    );
    let fix = format!(
        "write `act takeover` on {name} too; a vipd with more than {MOST_BACKUPS} hosts does not say it to all"
    );
    findings.warning(about, CHECK, what, fix);
}

fn vouching(status: &Status, sponsors: &SponsorsStatus, findings: &mut Findings) {
    let unreached = sponsors.arbiters.iter().filter(|arbiter| !arbiter.reached);
    let unreached: Vec<&str> = unreached.map(|arbiter| arbiter.name.as_str()).collect();
    let silent = sponsors.backups.iter().filter(|backup| !backup.vouches).filter_map(|backup| backup.peer);
    let silent: Vec<String> = silent.map(|peer| peer.to_string()).collect();
    for i in status.instances.iter().filter(|i| i.is_unvouched()) {
        let mut why = Vec::new();
        if !silent.is_empty() {
            why.push(format!("{} sends no probe", silent.join(", ")));
        }
        if !unreached.is_empty() {
            why.push(format!("arbiter {} does not answer", unreached.join(", ")));
        } else {
            why.push("its own vipd has sent no probe in time".to_owned());
        }
        let what = format!(
            "MASTER, and nobody vouches for this node, so that no VIP is answered: {}",
            why.join("; ")
        );
        let fix = "restore the way to the backup or to the arbiter; `act no`, or no `track_arbiter`, makes the lease count alone";
        findings.problem(&i.name, CHECK, what, fix);
    }
    for name in unreached {
        let what = format!(
            "arbiter {name} has not answered within two probe intervals: this node claims nothing, and answers for its VIPs only \
             while each backup probes it"
        );
        let fix = "see whether its `ping` targets answer so fast, and limit echo no further than to one for each interval";
        findings.warning("arbiters", CHECK, what, fix);
    }
    if sponsors.uncounted > 0 {
        let count = sponsors.uncounted;
        let what = format!(
            "{count} hosts more than the {MOST_BACKUPS} that can take over early: missed adverts decide for them"
        );
        findings.warning("vipd", CHECK, what, "nothing, if that is fast enough; else write `act no` on some");
    }
}

fn instance(i: &InstanceStatus, early: &EarlyStatus, findings: &mut Findings) {
    let made = early.claims_made;
    if early.false_alarms > 0 || early.claims_in_vain > 0 {
        let what = format!(
            "{made} early takeovers, {} of them from a master that was heard again at once, {} of them from one that did not hear \
             it: each had two owners",
            early.false_alarms, early.claims_in_vain
        );
        let fix = "write a longer `interval` on all nodes (see probes above), or `act no` until the silences are explained";
        findings.problem(&i.name, CHECK, what, fix);
    }
    for node in &early.one_way {
        let what = format!(
            "{node} is heard and answers no probe: it does not hear this node, which neither preempts nor claims until that is over"
        );
        let fix = format!(
            "restore the way from this node to {node}: switch, VLAN, cable, or a filter on UDP port 7784 in front of it"
        );
        findings.problem(&i.name, CHECK, what, fix);
    }
    if early.armed {
        let masters: Vec<String> = early.follows.iter().map(ToString::to_string).collect();
        let after = super::probes::ms(early.acts_after_us);
        return findings.ok(
            &i.name,
            CHECK,
            format!("takes over after {after} of silence of {}", masters.join(", ")),
        );
    }
    if let Some(reason) = &early.unarmed_reason {
        let what = format!("a dead master is replaced by missed adverts only: {reason}");
        findings.warning(
            &i.name,
            CHECK,
            what,
            "mend what is named; after a start or a change wait a few seconds",
        );
    }
}

const CHECK: &str = "early";
/// Early backups that count on a node.
const MOST_BACKUPS: usize = vipd_common::abi::MAX_EARLY_BACKUPS;
