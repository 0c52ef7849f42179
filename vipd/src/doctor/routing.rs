//! Sysctls and policy rules, which decide who answers ARP and where packets go.

use std::net::IpAddr;

use vipd_common::Family;
use vipd_config::Instance;

use super::{Facts, Findings, InterfaceSettings};
use crate::host::is_within;

pub fn judge(facts: &Facts, findings: &mut Findings) {
    for (name, instances) in facts.interfaces() {
        reverse_path(facts, name, &instances, findings);
    }
    no_ways(facts, findings);
    arp(facts, findings);
    rules(facts, findings);
    nonlocal_bind(facts, findings);
}

/// A route over a part of a VIP's subnet that leads nowhere: a running vipd asks for the way to some addresses only.
fn no_ways(facts: &Facts, findings: &mut Findings) {
    let Ok(survey) = &facts.survey else { return };
    for (name, instances) in facts.interfaces() {
        let Some(link) = facts.link(name) else { continue };
        let vips = || instances.iter().flat_map(|instance| instance.vips.iter().chain(&instance.excluded));
        for subnet in link.state.subnets().filter(|subnet| vips().any(|vip| is_within(vip.address, *subnet)))
        {
            let is_part = |(to, len): &&(IpAddr, u8)| *len >= subnet.1 && is_within(*to, subnet);
            for (to, len) in survey.no_ways.iter().filter(is_part) {
                let what =
                    format!("the route to {to}/{len} leads nowhere: clients of its VIPs there get no answer");
                let fix = format!(
                    "see `ip route show table main | grep -E 'blackhole|unreachable|prohibit'`, and remove {to}/{len}"
                );
                findings.warning(name, "no-way", what, fix);
            }
        }
    }
}

/// vipd sets it while it has VIPs of the family.
fn nonlocal_bind(facts: &Facts, findings: &mut Findings) {
    if facts.running.is_none() {
        return;
    }
    let vips =
        || facts.instances().iter().flat_map(|instance| instance.vips.iter().chain(&instance.excluded));
    let has_vips = [vips().any(|vip| vip.address.is_ipv4()), vips().any(|vip| vip.address.is_ipv6())];
    for ((family, on), has_vips) in ["ipv4", "ipv6"].into_iter().zip(facts.nonlocal_bind).zip(has_vips) {
        let about = "sysctls";
        if has_vips && on == Some(false) {
            let what = format!(
                "net.{family}.ip_nonlocal_bind is 0: services cannot bind to a VIP before this node owns it; somebody has set vipd's setting back"
            );
            let fix = format!("sysctl -w net.{family}.ip_nonlocal_bind=1, and see who did");
            findings.problem(about, "nonlocal-bind", what, fix);
        } else if has_vips {
            findings.ok(about, "nonlocal-bind", format!("{family}: services bind to the VIPs on every node"));
        }
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
        findings.skipped(ABOUT, "arp", "no vipd is running, which would raise arp_ignore and arp_announce");
    } else if arp_ignore == 0 || arp_announce < 2 {
        let what = format!(
            "arp_ignore is {arp_ignore} and arp_announce {arp_announce} for all interfaces: another program reset them"
        );
        let fix = "sysctl -w net.ipv4.conf.all.arp_ignore=1 net.ipv4.conf.all.arp_announce=2, and find out what reset them";
        findings.problem(ABOUT, "arp", what, fix);
    } else {
        findings.ok(ABOUT, "arp", "the kernel keeps the VIPs out of its own ARP on every interface");
    }
}

/// Strict reverse-path filtering drops packets that arrive on another interface than a reply would take.
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
        // The connected route of a prefix is there while this node is the owner.
        let has_no_prefix = |vip: &&vipd_config::Vip| vip.prefix_len == 32;
        i.vips.iter().chain(&i.excluded).filter(on_it).filter(has_no_prefix).map(|vip| vip.address)
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
        let fix = format!(
            "write the VIP with the length of its prefix (ADDRESS/LENGTH), give {name} an address in that network, or sysctl -w \
             net.ipv4.conf.{name}.rp_filter=2"
        );
        findings.warning(name, "rp-filter", what, fix);
    }
}

/// Without the kernel's rule the host hears nothing of what is for itself, VIPs or not.
fn rules(facts: &Facts, findings: &mut Findings) {
    let Ok(survey) = &facts.survey else { return };
    for (family, number) in [(Family::V4, 4), (Family::V6, 6)] {
        let of_family: Vec<_> = survey.rules.iter().filter(|rule| rule.family == family).collect();
        let Some(first) = of_family.first() else { continue };
        let Some(local) = of_family.iter().find(|rule| rule.looks_up_local) else {
            let what = format!(
                "IPv{number} has no policy rule `lookup local`: this host takes no packets, nor those to the VIPs"
            );
            let fix = format!("ip -{number} rule add preference 0 lookup local, and see who removed it");
            findings.problem("rules", "rules", what, fix);
            continue;
        };
        if !of_family.iter().any(|rule| rule.looks_up_main) {
            let what = format!(
                "IPv{number} has no policy rule `lookup main`: this host uses none of the routes that `ip -{number} route` shows"
            );
            let fix = format!(
                "ip -{number} rule add preference 32766 lookup main, unless other rules lead to all of the clients"
            );
            findings.warning("rules", "rules-main", what, fix);
        }
        if first.preference < local.preference {
            let what = format!(
                "IPv{number} has a policy rule of preference {} before `lookup local` ({}): packets to a VIP may take another way",
                first.preference, local.preference
            );
            findings.warning(
                "rules",
                "rules",
                what,
                "see that it catches no VIP (ip rule), or move it behind",
            );
        } else {
            findings.ok("rules", "rules", format!("IPv{number} looks local addresses up first"));
        }
    }
}
