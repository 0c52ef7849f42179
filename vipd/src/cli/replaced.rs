//! After how long a master that has died is replaced: what `check --explain` says of the instances.

use std::{fmt::Write, time::Duration};

use vipd_config::{Config, Instance, LeasePolicy};
use vipd_core::early::ProbeTiming;

/// Comments for each instance that may be a backup.
pub fn replaced(config: &Config) -> String {
    let mut text = String::new();
    // Who owns the addresses follows nobody.
    for instance in config.instances.iter().filter(|instance| !instance.priority.is_owner()) {
        if text.is_empty() {
            text.push_str("# After how long this node replaces a master that has died, at most:\n");
        }
        let _ = writeln!(text, "#   {:<24} {}", instance.name, of(config, instance));
    }
    text
}

fn of(config: &Config, instance: &Instance) -> String {
    let then = if instance.fence.is_some() { ", and then fence_script" } else { "" };
    let down = format!("{}{then}", seconds(instance.master_down_interval()));
    // The program goes on to answer while the lease of its daemon stands, which is longer than a backup waits.
    let meanwhile = match instance.lease {
        LeasePolicy::Overlap => ", its VIPs are answered meanwhile",
        LeasePolicy::Strict => "",
    };
    match acting(config, instance) {
        Some(timing) => {
            let early = seconds(timing.detect() + timing.answer_wait());
            let behind = seconds(timing.early_skew(1));
            format!(
                "its host {early} by probes ({behind} more behind a better backup), its vipd {down} by adverts{meanwhile}"
            )
        }
        None => format!("its host {down}, its vipd {down}{meanwhile}"),
    }
}

/// The probes whose silence is acted on: a fence, or a member of the sync group without `act takeover`, leaves it to adverts.
fn acting(config: &Config, instance: &Instance) -> Option<ProbeTiming> {
    let probe = instance.probe.filter(|probe| probe.takes_over && instance.fence.is_none())?;
    let acts =
        |member: &Instance| member.fence.is_none() && member.probe.is_some_and(|probe| probe.takes_over);
    let all = config.group_of(&instance.name).is_none_or(|group| config.members(group).all(acts));
    all.then(|| ProbeTiming::new(probe.interval, probe.multiplier, true))
}

fn seconds(time: Duration) -> String {
    format!("{} s", time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use vipd_config::{Nothing, Unsupported};

    use super::*;

    fn said(more: &str, group: &str) -> String {
        let instance = |name: &str, vrid: u8, more: &str| {
            let priority = if more.contains("priority") { "" } else { "priority 156" };
            format!(
                "vrrp_instance {name} {{\ninterface eth0\nvirtual_router_id {vrid}\n{priority}\n{more}\nvirtual_ipaddress {{\n\
                 10.0.0.{vrid}\n}}\n}}\n"
            )
        };
        let text = instance("VI_1", 51, more) + &instance("VI_2", 52, "") + group;
        let loaded = vipd_config::parse(Path::new("k.conf"), &text, &Nothing, Unsupported::Refused);
        let text = replaced(&loaded.unwrap_or_else(|failure| panic!("{failure}")).config);
        text.lines().nth(1).unwrap_or_default().to_owned()
    }

    #[test]
    fn a_dead_host_and_a_dead_daemon_have_their_times() {
        let adverts = "#   VI_1                     its host 3.390625 s, its vipd 3.390625 s, its VIPs are answered meanwhile";
        let early = "probe {\nact takeover\ninterval 3.3\n}";
        assert_eq!(said("", ""), adverts);
        assert_eq!(said("probe {\n}", ""), adverts);
        assert_eq!(
            said(early, ""),
            "#   VI_1                     its host 0.0119 s by probes (0.0048 s more behind a better backup), its vipd 3.390625 s by \
             adverts, its VIPs are answered meanwhile"
        );
        assert_eq!(
            said(&format!("{early}\nlease strict"), ""),
            "#   VI_1                     its host 0.0119 s by probes (0.0048 s more behind a better backup), its vipd 3.390625 s by \
             adverts"
        );
        let group = "vrrp_sync_group G {\ngroup {\nVI_1\nVI_2\n}\n}\n";
        assert_eq!(said(early, group), adverts);
        assert_eq!(
            said(&format!("{early}\nfence_script /bin/true"), ""),
            "#   VI_1                     its host 3.390625 s, and then fence_script, its vipd 3.390625 s, and then fence_script, its \
             VIPs are answered meanwhile"
        );
        // Who owns the addresses is never the backup.
        assert!(said("state MASTER\npriority 255", "").starts_with("#   VI_2 "));
    }
}
