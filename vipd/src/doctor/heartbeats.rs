//! Heartbeat lines: whether they are there, and whether adverts come over them.

use vipd_config::Instance;

use super::{Facts, Findings};
use crate::host::Unusable;

pub fn judge(facts: &Facts, findings: &mut Findings) {
    for instance in facts.instances() {
        for name in instance.heartbeat_links.iter().map(|link| link.interface.as_str()) {
            link(facts, instance, name, findings);
        }
        let lines = facts.status_of(instance).into_iter().flat_map(|status| &status.lines);
        for line in lines {
            let (name, of) = (&line.interface, &instance.name);
            if line.state == "lost" {
                let what = format!("no adverts of {of} come over {name}, and others do");
                findings.warning(
                    of,
                    "line",
                    what,
                    "see the cable and the switch, and that the other node names this line too",
                );
            }
            if line.sends_fail {
                let what = format!("adverts of {of} do not leave by {name}");
                findings.warning(of, "line", what, "vipd's log has the kernel's reason");
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
        let what = format!("the heartbeat line {name} of {of} is not there");
        return findings.warning(
            name,
            "heartbeat",
            what,
            "correct the name (ip link): vipd uses it when it comes",
        );
    };
    if let Err(Unusable { why, remedy, .. }) = link.state.usable() {
        let what = format!("the heartbeat line {name} of {of} {why}: vipd does not use it");
        return findings.warning(name, "heartbeat", what, remedy);
    }
    if !link.state.up {
        let what = format!("the heartbeat line {name} of {of} is down");
        findings.warning(name, "heartbeat", what, format!("ip link set dev {name} up, or look at its cable"));
    } else if facts.status_of(instance).is_some()
        && !facts.groups.iter().any(|(on, group)| on == name && *group == instance.group)
    {
        let what = format!("this host is no member of {} on {name}", instance.group);
        findings.warning(
            name,
            "heartbeat",
            what,
            "over IPv6 see that disable_ipv6 is 0 there; vipd's log says why",
        );
    } else {
        findings.ok(name, "heartbeat", format!("the heartbeat line {name} of {of} is up"));
    }
}
