//! What others change on this host of what vipd needs on it, as far as the running vipd has seen it.

use super::{Facts, Findings};

const ABOUT: &str = "host";
/// What was put back longer ago is nothing to act on.
const LATELY_MS: u64 = 3_600_000;

pub fn judge(facts: &Facts, findings: &mut Findings) {
    let Some(status) = &facts.running else { return };
    if let Some(problem) = &status.host_problem {
        let fix = "do what the reason says; if an instance needs it, it is in FAULT until then";
        findings.problem(
            ABOUT,
            "host-refuses",
            format!("the host refuses what vipd needs on it: {problem}"),
            fix,
        );
    }
    for warning in &status.host_warnings {
        findings.warning(&warning.about, "host-warns", warning.what.clone(), warning.remedy.clone());
    }
    let lately: Vec<_> = status.latest_repairs.iter().filter(|repair| repair.ago_ms < LATELY_MS).collect();
    let Some(latest) = lately.last() else {
        findings.ok(
            ABOUT,
            "host-repairs",
            "no other program has removed what vipd made on this host in the last hour",
        );
        return;
    };
    let what = format!(
        "another program removes or changes what vipd needs on this host: in the last hour vipd has put back something {} {}, last {} {} s ago",
        lately.len(),
        if lately.len() == 1 { "time" } else { "times" },
        latest.what,
        latest.ago_ms / 1000,
    );
    findings.warning(ABOUT, "host-repairs", what, remedy(&latest.kind));
}

/// Where to look for who does it.
fn remedy(kind: &str) -> &'static str {
    match kind {
        "route" | "rule" | "address" => {
            "`ip monitor route rule address` shows when; docs/operate/shared-host.md says who may do it"
        }
        "sysctl" => {
            "see `grep -r arp_ /etc/sysctl.conf /etc/sysctl.d /usr/lib/sysctl.d`, and take those lines out"
        }
        "filter" | "offload" => "see who runs `bridge fdb`, `ip maddress` or `ethtool -K` on this host",
        "pin" | "program" => {
            "see who unmounts or cleans the BPF file system, or runs `bpftool` or `tc` on this host"
        }
        "file" => "take the runtime directory out of what cleans /run (tmpfiles.d)",
        _ => "see who configures the interfaces of this host",
    }
}
