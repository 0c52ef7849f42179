//! Heartbeat links: whether they exist, and whether they deliver adverts.

use vipd_config::Instance;

use super::{Facts, Findings};
use crate::host::UnusableInterface;

pub fn judge(facts: &Facts, findings: &mut Findings) {
    for instance in facts.instances() {
        for name in instance.heartbeat_links.iter().map(|link| link.interface.as_str()) {
            link(facts, instance, name, findings);
        }
        let lines = facts.status_of(instance).into_iter().flat_map(|status| &status.lines);
        for line in lines {
            let (name, of) = (&line.interface, &instance.name);
            if line.state == "lost" {
                let what = format!("no adverts of {of} arrive on {name}, while another link delivers them");
                findings.warning(
                    of,
                    "line",
                    what,
                    "check the cable, the switch, and that the other node names this link too",
                );
            }
            if line.sends_fail {
                let what = format!("adverts of {of} cannot be sent on {name}");
                findings.warning(of, "line", what, "see vipd's log for the kernel's reason");
            }
        }
    }
}

fn link(facts: &Facts, instance: &Instance, name: &str, findings: &mut Findings) {
    if facts.survey.is_err() {
        return;
    }
    let of = &instance.name;
    let Some(link) = facts.link(name) else {
        let what = format!("the heartbeat link {name} of {of} does not exist");
        return findings.warning(
            name,
            "heartbeat",
            what,
            "correct the name (ip link); vipd uses the link as soon as it exists",
        );
    };
    if let Err(UnusableInterface { why, remedy, .. }) = link.state.usable() {
        let what = format!("the heartbeat link {name} of {of} {why}: vipd does not use it");
        return findings.warning(name, "heartbeat", what, remedy);
    }
    if !link.state.up {
        let what = format!("the heartbeat link {name} of {of} is down");
        findings.warning(name, "heartbeat", what, format!("ip link set dev {name} up, or check its cable"));
    } else if facts.status_of(instance).is_some()
        && !facts.groups.iter().any(|(on, group)| on == name && *group == instance.group)
    {
        let what = format!("this host has not joined {} on {name}", instance.group);
        findings.warning(
            name,
            "heartbeat",
            what,
            "see vipd's log for the reason; over IPv6 disable_ipv6 must be 0 there",
        );
    } else {
        findings.ok(name, "heartbeat", format!("the heartbeat link {name} of {of} is up"));
    }
}
