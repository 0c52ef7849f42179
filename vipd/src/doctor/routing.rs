//! What decides who answers ARP and which way packets go: sysctls and policy rules.

use std::net::IpAddr;

use vipd_config::Instance;

use super::{Facts, Findings, InterfaceSettings};

pub fn judge(facts: &Facts, findings: &mut Findings) {
    for (name, instances) in facts.interfaces() {
        reverse_path(facts, name, &instances, findings);
    }
    arp(facts, findings);
    rules(facts, findings);
    if facts.nonlocal_bind {
        let what = "ip_nonlocal_bind is on, which vipd does not need: every VIP can be bound to";
        findings.ok("sysctls", "nonlocal-bind", what);
    }
}

/// vipd raises both for all interfaces while it has VIPs of IPv4.
fn arp(facts: &Facts, findings: &mut Findings) {
    const ABOUT: &str = "sysctls";
    let vips =
        |instance: &Instance| instance.vips.iter().chain(&instance.excluded).any(|vip| vip.address.is_ipv4());
    if !facts.instances().iter().any(vips) {
        return;
    }
    let Some(InterfaceSettings { arp_ignore, arp_announce, .. }) = facts.settings.get("all").copied() else {
        return;
    };
    if facts.running.is_none() {
        findings.skipped(ABOUT, "arp", "no vipd runs that would have raised arp_ignore and arp_announce");
    } else if arp_ignore == 0 || arp_announce < 2 {
        let what = format!(
            "arp_ignore is {arp_ignore} and arp_announce {arp_announce} for all interfaces: somebody has set vipd's settings back"
        );
        let fix =
            "sysctl -w net.ipv4.conf.all.arp_ignore=1 net.ipv4.conf.all.arp_announce=2, and see who did";
        findings.problem(ABOUT, "arp", what, fix);
    } else {
        findings.ok(ABOUT, "arp", "the kernel keeps the VIPs out of its own ARP on every interface");
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
        let on_it = |vip: &&vipd_config::Vip| vip.interface.as_ref().unwrap_or(&i.interface) == name;
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
