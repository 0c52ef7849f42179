//! The file, and what it names: scripts, arbiters, and a keepalived that reads it too.

use vipd_config::Severity;

use super::{Facts, Findings};
use crate::control::model::{ArbiterStatus, TargetStatus};

const CONFIGURATION: &str = "configuration";
const STOP_KEEPALIVED: &str =
    "systemctl disable --now keepalived; for load balancing alone give it a file without vrrp_instance";
const STOP_OTHER: &str = "see that it has none of this configuration's virtual routers, or stop it";

pub fn judge(facts: &Facts, findings: &mut Findings) {
    file(facts, findings);
    for broken in &facts.broken {
        let what = format!("{} cannot be run: {}", broken.name, broken.problem);
        let fix = if broken.name.starts_with("fence_script") {
            "correct the path, the user or the permissions: with `fence_failed wait` this node never takes over out of silence"
        } else {
            "correct the path, the user or the permissions: until then vipd ignores it"
        };
        findings.problem(CONFIGURATION, "script", what, fix);
    }
    beside(facts, findings);
    facts.arbiters.iter().for_each(|arbiter| self::arbiter(arbiter, findings));
}

fn file(facts: &Facts, findings: &mut Findings) {
    match &facts.configuration {
        Err(failure) => {
            findings.problem(
                CONFIGURATION,
                "file",
                failure.summary(),
                "run vipd check: it shows all errors, with remedies",
            );
        }
        Ok(loaded) => {
            let warnings = loaded.warnings.iter().filter(|d| d.severity == Severity::Warning).count();
            if warnings == 0 {
                findings.ok(
                    CONFIGURATION,
                    "file",
                    format!("no errors, {}", counted(loaded.config.instances.len(), "instance")),
                );
            } else {
                let what = format!("no errors, {}", counted(warnings, "warning"));
                findings.warning(CONFIGURATION, "file", what, "run vipd check: it shows them");
            }
        }
    }
}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// Who else speaks VRRP on this host.
fn beside(facts: &Facts, findings: &mut Findings) {
    for speaker in &facts.speakers {
        let of = speaker.config.as_ref().map(|config| format!(" ({})", config.display())).unwrap_or_default();
        match (speaker.shares(facts.instances()), &speaker.routers) {
            (Some(shared), _) if !shared.is_empty() => {
                let shared: Vec<String> = shared.iter().map(ToString::to_string).collect();
                let what = format!("{speaker} runs here too, and has {}{of}", shared.join(", "));
                findings.problem(CONFIGURATION, "keepalived", what, STOP_KEEPALIVED);
            }
            (_, Some(routers)) if routers.is_empty() => {
                let what = format!("{speaker} runs here too, and has no virtual router{of}");
                findings.ok(CONFIGURATION, "keepalived", what);
            }
            (_, Some(_)) => {
                let what = format!("{speaker} runs here too, with other virtual routers{of}");
                findings.ok(CONFIGURATION, "keepalived", what);
            }
            (_, None) => {
                let what =
                    format!("{speaker} speaks VRRP here too, for virtual routers that are not known{of}");
                findings.warning(CONFIGURATION, "keepalived", what, STOP_OTHER);
            }
        }
    }
    for pid in &facts.idle_keepalived {
        let what = format!("keepalived (pid {pid}) runs here, and has no VRRP socket");
        findings.ok(CONFIGURATION, "keepalived", what);
    }
    if facts.speakers.is_empty() && facts.idle_keepalived.is_empty() {
        findings.ok(CONFIGURATION, "keepalived", "no other process speaks VRRP here");
    }
}

fn arbiter(arbiter: &ArbiterStatus, findings: &mut Findings) {
    let ArbiterStatus { name, quorum, targets, isolated_action, .. } = arbiter;
    let about = format!("arbiter {name}");
    let answers = |target: &&TargetStatus| target.answers == Some(true);
    let count = targets.iter().filter(answers).count();
    for target in targets.iter().filter(|target| !answers(target)) {
        let problem = target.problem.as_deref().unwrap_or("it has not been asked yet");
        let what = format!("{} {}: {problem}", target.kind, target.target);
        findings.warning(
            &about,
            "target",
            what,
            "check that the target is up, and that this node can reach it (route, firewall)",
        );
    }
    let of = targets.len();
    if count >= *quorum {
        findings.ok(&about, "quorum", format!("{count} of {of} targets answer, {quorum} are needed"));
        return;
    }
    let what =
        format!("{count} of {of} targets answer, {quorum} are needed: this node considers itself isolated");
    let fix = "repair the path to the targets above, or configure other targets";
    if isolated_action == "fault" {
        findings.problem(&about, "quorum", what, fix);
    } else {
        findings.warning(&about, "quorum", what, fix);
    }
}
