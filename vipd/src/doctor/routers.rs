//! The instances of a running vipd: states, adverts received, and adverts sent in time.

use vipd_config::Instance;

use super::{Facts, Findings, Unanswered};
use crate::{
    control::model::{InstanceStatus, ReportsStatus, Status},
    vrrp::Reason,
};

pub fn judge(facts: &Facts, findings: &mut Findings) {
    if let Err(what) = &facts.runtime_dir {
        let what = format!("{what}: a vipd that runs cannot be asked, reloaded or stopped there");
        let fix = "remove it, and see who made it; a vipd that runs makes its directory and socket again within seconds";
        findings.problem("vipd", "runtime-dir", what, fix);
    }
    match &facts.unanswered {
        None => {}
        Some(Unanswered::Unreachable(why)) => {
            let what =
                format!("a vipd may run here, and cannot be asked: what only it knows is left out ({why})");
            return findings.skipped("vipd", "running", what);
        }
        Some(Unanswered::Unresponsive(what)) => {
            let fix = "its lease runs out and a peer takes over; see what holds it (`ps -o state,wchan -L -p PID`), then continue it \
                       (kill -CONT) or start it anew";
            return findings.problem("vipd", "running", what, fix);
        }
    }
    let Some(status) = &facts.running else {
        findings.skipped("vipd", "running", "no vipd is running: the checks of a running vipd are left out");
        return;
    };
    findings.ok("vipd", "running", format!("vipd {} is running, pid {}", status.version, status.pid));
    if status.drained {
        let what = "the node is drained: it serves a VIP only if no other node does";
        findings.warning("vipd", "drained", what, "vipd undrain, when the maintenance is over");
    }
    in_force(facts, status, findings);
    for what in &status.restart_needed {
        findings.warning(
            "vipd",
            "restart",
            what,
            "vipd upgrade, or restart vipd: neither interrupts what it serves",
        );
    }
    reports(status, findings);
    // All that run, whatever the file has.
    for status in &status.instances {
        state(status, findings);
        hears(facts, status, findings);
        sends(status, findings);
    }
}

/// Reports between the nodes that come and are not believed.
fn reports(status: &Status, findings: &mut Findings) {
    let ReportsStatus { refused_lately, problem, .. } = &status.cluster_reports;
    if let Some(problem) = problem {
        let fix = "end the other process, or remove `cluster_report`";
        findings.warning(
            "vipd",
            "cluster-reports",
            format!("reports of other nodes are not heard: {problem}"),
            fix,
        );
    }
    for text in refused_lately {
        let (what, fix) = text.split_once(": ").unwrap_or((text, "see `vipd cluster`"));
        findings.warning("vipd", "cluster-reports", what, fix);
    }
}

/// Whether the running configuration is that of the file.
fn in_force(facts: &Facts, status: &Status, findings: &mut Findings) {
    let Some(config) = facts.config() else { return };
    let same = |instance: &Instance| {
        let Some(status) = facts.status_of(instance) else { return false };
        let mut vips: Vec<_> = instance.vips.iter().map(|vip| vip.address).collect();
        let mut served = status.vips.clone();
        vips.sort();
        served.sort();
        vips == served
            && status.vrid == instance.vrid.get()
            && status.interface == instance.interface
            && u128::from(status.advert_interval_ms) == instance.advert_interval.as_millis()
    };
    let differ: Vec<&str> =
        config.instances.iter().filter(|i| !same(i)).map(|instance| instance.name.as_str()).collect();
    let gone = status.instances.iter().map(|status| status.name.as_str());
    let gone = gone.filter(|name| !config.instances.iter().any(|instance| instance.name == *name));
    let differ: Vec<&str> = differ.into_iter().chain(gone).collect();
    if differ.is_empty() {
        findings.ok("vipd", "in-force", "the running configuration is that of the file");
    } else {
        let what = format!("the file differs from the running configuration in {}", differ.join(", "));
        findings.warning(
            "vipd",
            "in-force",
            what,
            "vipd reload, or give the file of the running vipd with -f",
        );
    }
}

fn state(status: &InstanceStatus, findings: &mut Findings) {
    let InstanceStatus { name, state, reason, .. } = status;
    let reason = reason.as_deref().unwrap_or("no reason is known");
    if state == "FAULT" {
        let fix = "see the findings about its interface, its checks and its arbiters";
        findings.problem(name, "state", format!("it is in FAULT: {reason}"), fix);
    } else if let Some(error) = status.advert_error.as_ref().filter(|_| status.adverts_blocked) {
        let what = match state.as_str() {
            "BACKUP" => "it cannot take over",
            _ => "it loses its lease",
        };
        let fix = "no route to a peer (ip route get PEER), a packet filter (see firewall above), a full queue: mend what the kernel \
                   names";
        let what = format!("it is {state} and its adverts do not leave ({error}): {what}");
        findings.problem(name, "state", what, fix);
    } else if status.reason.as_ref() == Some(&Reason::SendFailed.to_string()) {
        let fix = "vipd's log (`advert_not_sent`) has the kernel's reason: no route to a peer (ip route get PEER), a packet \
                   filter (see firewall above), a full queue";
        findings.problem(name, "state", format!("it is {state} and cannot take over: {reason}"), fix);
    } else {
        findings.ok(name, "state", format!("it is {state}: {reason}"));
    }
}

fn hears(facts: &Facts, status: &InstanceStatus, findings: &mut Findings) {
    let InstanceStatus { name, state, discards, .. } = status;
    let position = facts.instances().iter().position(|instance| instance.name == *name);
    let place = |keyword: &'static str| {
        let loaded = facts.configuration.as_ref().ok();
        let place = loaded.and_then(|loaded| loaded.origins.place(position?, keyword));
        place.unwrap_or_else(|| format!("not in the file of {name}"))
    };
    for (reason, count) in discards.iter().filter(|(_, count)| **count > 0) {
        let Discard { what, keyword, fix } = discard(reason);
        let keyword =
            keyword.map(|keyword| format!(" (`{keyword}`: {})", place(keyword))).unwrap_or_default();
        let dropped = if *count == 1 { "advert was" } else { "adverts were" };
        let what = format!("{count} {dropped} dropped: {what}{keyword}");
        // A master that drops adverts has a rival who does not hear it either, as likely as not.
        if state == "MASTER" {
            findings.problem(name, "discards", what, fix);
        } else {
            findings.warning(name, "discards", what, fix);
        }
    }
    if status.split_brain {
        let what = "split brain: another router acts as the owner too, and does not give way";
        let fix = match discards.is_empty() {
            _ if status.split_brain_cause.is_some() => {
                status.split_brain_cause.as_deref().unwrap_or_default()
            }
            true => "see whether adverts pass between the two: switches, packet filters",
            false => {
                "adverts of the other router arrive here and are refused: mend what the discards above name"
            }
        };
        findings.problem(name, "split-brain", what, fix);
    } else if status.split_brains > 0 {
        let what = format!("split brains since the start: {}, none now", status.split_brains);
        findings.warning(
            name,
            "split-brain",
            what,
            format!("vipd events {name}: split_brain names the rival"),
        );
    }
    if status.address_conflicts > 0 {
        let what = format!(
            "other stations have claimed a VIP of this master, {} times since the start",
            status.address_conflicts
        );
        let fix =
            format!("vipd events {name}: address_conflict has the MAC of each; take the address from it");
        findings.warning(name, "address-conflict", what, fix);
    }
    if status.address_list_differs > 0 {
        let what = format!(
            "{} adverts list other addresses (`virtual_ipaddress`: {})",
            status.address_list_differs,
            place("virtual_ipaddress")
        );
        findings.warning(name, "addresses", what, "write the same addresses on every router of the group");
    }
    match state.as_str() {
        "BACKUP" if status.adverts_received > 0 => {
            findings.ok(name, "heard", format!("{} adverts were heard", status.adverts_received));
        }
        "BACKUP" if !discards.is_empty() => {
            let what = "this backup has received no valid advert: those that arrived were refused";
            findings.warning(name, "heard", what, "mend what the discards above name");
        }
        "BACKUP" => {
            let what = "this backup has received no advert";
            let fix = "wait for its takeover. If another node is master, adverts do not arrive here: see multicast above";
            findings.warning(name, "heard", what, fix);
        }
        "MASTER" if discards.is_empty() => {
            findings.ok(name, "heard", "no adverts of another router beside this master");
        }
        _ => {}
    }
}

/// Why adverts are dropped, and what to do.
struct Discard {
    what: &'static str,
    /// The keyword that decides it here.
    keyword: Option<&'static str>,
    fix: &'static str,
}

fn discard(reason: &str) -> Discard {
    let both = "write the same on every router of the group";
    let (what, keyword, fix) = match reason {
        "version_errors" => ("of another VRRP version", Some("version"), both),
        "auth_type_mismatch" | "invalid_auth_type" => {
            ("with another `auth_type`", Some("authentication"), both)
        }
        "auth_failures" => ("with another password", Some("authentication"), both),
        "interval_mismatch" => ("with another interval", Some("advert_int"), both),
        "dst_not_group" => ("not sent to the group or address of this instance", Some("mcast_dst_ip"), both),
        "unknown_peer" => (
            "from a sender that is not in `unicast_peer`",
            Some("unicast_peer"),
            "add the sender if it is a router of the group: the event `mismatch` names the sender",
        ),
        "ip_ttl_errors" => (
            "with a TTL below 255: a router forwarded them",
            Some("unicast_peer"),
            "a peer with `unicast_ttl`, or behind a router, needs `min_ttl` here; multicast peers must be on the link. The event `mismatch` names the sender",
        ),
        "checksum_errors" => (
            "with a wrong checksum",
            Some("v3_checksum_as_v2"),
            "a peer of another make, or a NIC that damages frames: capture at the switch",
        ),
        "own_source" => {
            ("sent by this node itself", None, "look for a loop between switches, or a mirrored port")
        }
        "local_owner" => {
            ("while this node owns the addresses", Some("priority"), "give one router alone `priority 255`")
        }
        _ => ("malformed", None, "see who sends them: capture VRRP (protocol 112) at the switch"),
    };
    Discard { what, keyword, fix }
}

fn sends(status: &InstanceStatus, findings: &mut Findings) {
    let InstanceStatus { name, send_errors, advert_lateness_max_us: late_us, advert_interval_ms, .. } =
        status;
    if *send_errors > 0 {
        let what = format!("{send_errors} adverts could not be sent");
        findings.warning(
            name,
            "send-errors",
            what,
            "see vipd's log for the kernel's reason: no route, no buffer, a filter",
        );
    }
    let most_us = advert_interval_ms.saturating_mul(1000) / LATE;
    if *late_us > most_us {
        let what =
            format!("an advert left {} ms late, of an interval of {advert_interval_ms} ms", late_us / 1000);
        let fix = "see real-time above, or use a longer `advert_int`; a virtual machine may have been paused";
        findings.warning(name, "lateness", what, fix);
    } else {
        findings.ok(
            name,
            "lateness",
            format!("its adverts left at most {:.3} ms late", *late_us as f64 / 1000.0),
        );
    }
}

/// An advert late by this part of an interval may cause a takeover, if another one is lost.
const LATE: u64 = 4;
