//! What decides who answers ARP and which way packets go: sysctls and policy rules.

use std::net::IpAddr;

use super::{Facts, Findings};
use crate::config::Instance;

pub fn judge(facts: &Facts, findings: &mut Findings) {
    for (name, instances) in facts.interfaces() {
        arp(facts, name, &instances, findings);
        reverse_path(facts, name, &instances, findings);
    }
    rules(facts, findings);
    if facts.nonlocal_bind {
        let what = "ip_nonlocal_bind is on, which vipd does not need: every VIP can be bound to";
        findings.ok("sysctls", "nonlocal-bind", what);
    }
}

/// vipd raises both when it starts.
fn arp(facts: &Facts, name: &str, instances: &[&Instance], findings: &mut Findings) {
    let runs = instances.iter().any(|instance| facts.status_of(instance).is_some());
    let ignore = facts.setting(name, |settings| settings.arp_ignore);
    let announce = facts.setting(name, |settings| settings.arp_announce);
    let (Some(ignore), Some(announce)) = (ignore, announce) else { return };
    if !runs {
        findings.skipped(name, "arp", "no vipd runs that would have raised arp_ignore and arp_announce");
    } else if ignore == 0 || announce < 2 {
        let what = format!(
            "arp_ignore is {ignore} and arp_announce {announce}: somebody has set vipd's settings back"
        );
        let fix = format!(
            "sysctl -w net.ipv4.conf.{name}.arp_ignore=1 net.ipv4.conf.{name}.arp_announce=2, and see who did"
        );
        findings.problem(name, "arp", what, fix);
    } else {
        findings.ok(name, "arp", "the kernel keeps the VIPs out of its own ARP");
    }
}

/// Strict reverse-path filtering drops what comes in on another interface than the answer would take.
fn reverse_path(facts: &Facts, name: &str, instances: &[&Instance], findings: &mut Findings) {
    let Some(mode) = facts.setting(name, |settings| settings.rp_filter) else { return };
    let Some(link) = facts.link(name).filter(|_| mode == 1) else {
        findings.ok(name, "rp-filter", "no strict reverse-path filter");
        return;
    };
    let covered = |vip: IpAddr| {
        link.state.addresses.iter().any(|own| match (own.address, vip) {
            (IpAddr::V4(own_address), IpAddr::V4(vip)) => {
                let beyond = 32u32.saturating_sub(own.prefix_len.into());
                let mask = u32::MAX.checked_shl(beyond).unwrap_or(0);
                own_address.to_bits() & mask == vip.to_bits() & mask
            }
            _ => false,
        })
    };
    let vips = instances.iter().flat_map(|i| {
        let on_it = |vip: &&crate::config::Vip| vip.interface.as_ref().unwrap_or(&i.interface) == name;
        i.vips.iter().chain(&i.excluded).filter(on_it).map(|vip| vip.address)
    });
    let strange: Vec<String> =
        vips.filter(|vip| vip.is_ipv4() && !covered(*vip)).map(|vip| vip.to_string()).collect();
    if strange.is_empty() {
        findings.ok(
            name,
            "rp-filter",
            "the strict reverse-path filter has a route back to the VIPs' clients on the link",
        );
    } else {
        let what = format!(
            "rp_filter is 1 (strict), and {} is in no network of {name}: packets of clients in its network are dropped",
            strange.join(", ")
        );
        let fix =
            format!("give {name} an address in that network, or sysctl -w net.ipv4.conf.{name}.rp_filter=2");
        findings.warning(name, "rp-filter", what, fix);
    }
}

/// Rules before the `local` rule, which vipd moves to 100, are looked at for packets to this host, too.
fn rules(facts: &Facts, findings: &mut Findings) {
    let Ok(survey) = &facts.survey else { return };
    let early = survey.rules.iter().filter(|rule| rule.preference < LOCAL && !rule.expected);
    let mut early: Vec<u32> = early.map(|rule| rule.preference).collect();
    early.dedup();
    if early.is_empty() {
        findings.ok("rules", "rules", format!("no policy rule of others stands before {LOCAL}"));
    } else {
        let shown: Vec<String> = early.iter().map(u32::to_string).collect();
        let what = format!(
            "policy rules of others stand before the local one (preference {LOCAL}): {}",
            shown.join(", ")
        );
        let fix = format!("see that they catch no local address (ip rule), or move them behind {LOCAL}");
        findings.warning("rules", "rules", what, fix);
    }
}

/// Where vipd moves the kernel's `local` rule.
const LOCAL: u32 = 100;
