//! Services that look for the host's addresses and listen on each of them: an IPv4 VIP is none, unless `vip_visible` shows it.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr},
};

use vipd_config::Instance;

use super::{Facts, Findings};

pub fn judge(facts: &Facts, findings: &mut Findings) {
    let Ok(survey) = &facts.survey else { return };
    let of_links = survey.links.iter().flat_map(|link| &link.state.addresses).map(|found| found.address);
    let of_host: BTreeSet<IpAddr> = of_links.filter(IpAddr::is_ipv4).collect();
    let mut ports: BTreeMap<(&str, u16), BTreeSet<IpAddr>> = BTreeMap::new();
    for (protocol, address, port) in &facts.listeners {
        ports.entry((protocol, *port)).or_default().insert(*address);
    }
    // Loopback too: so it is no service that was given the one address of this host.
    let on_each = |addresses: &BTreeSet<IpAddr>| {
        addresses.contains(&Ipv4Addr::LOCALHOST.into())
            && of_host.iter().all(|address| addresses.contains(address))
            && !addresses.iter().any(IpAddr::is_unspecified)
    };
    ports.retain(|_, addresses| !of_host.is_empty() && on_each(addresses));
    for instance in facts.instances().iter().filter(|i| !i.priority.is_owner() && !i.vip_visible) {
        of_instance(instance, &ports, findings);
    }
}

fn of_instance(
    instance: &Instance,
    ports: &BTreeMap<(&str, u16), BTreeSet<IpAddr>>,
    findings: &mut Findings,
) {
    let vips = instance.vips.iter().chain(&instance.excluded).map(|vip| vip.address);
    for vip in vips.filter(IpAddr::is_ipv4) {
        let missing: Vec<String> = ports
            .iter()
            .filter(|(_, addresses)| !addresses.contains(&vip))
            .map(|((protocol, port), _)| format!("{protocol} {port}"))
            .collect();
        if !missing.is_empty() {
            let what = format!(
                "what serves {} listens on each address of the host, and not on the VIP {vip}",
                missing.join(", ")
            );
            let fix = "if it is to serve the VIP, name the VIP in its configuration, or have it found by `vip_visible` in the instance";
            findings.warning(&instance.name, "services", what, fix);
        }
    }
}
