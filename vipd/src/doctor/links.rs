//! The interfaces of the configuration: existence, state, addresses, XDP, VLANs and multicast.

use std::net::IpAddr;

use vipd_common::Family;
use vipd_config::{Instance, XdpMode};

use super::{Facts, Findings};
use crate::{
    control::model::ProgramHook,
    dataplane::NATIVE_MTU,
    host::{SurveyedLink, UnusableInterface, is_local},
};

pub fn judge(facts: &Facts, findings: &mut Findings) {
    if let Err(error) = &facts.survey {
        findings.skipped("interfaces", "survey", error.clone());
        return;
    }
    for (name, instances) in facts.interfaces() {
        let Some(link) = facts.link(name) else {
            missing(facts, name, findings);
            continue;
        };
        if !usable(link, &instances, findings) || !state(link, findings) {
            continue;
        }
        let own: Vec<&Instance> =
            instances.into_iter().filter(|instance| instance.interface == name).collect();
        address(link, &own, findings);
        let wire = wire(facts, link);
        xdp(facts, (name, wire), &own, findings);
        queues(facts, (name, wire), &own, findings);
        vlan(facts, (link, wire), &own, findings);
        multicast(facts, link, &own, findings);
        snooping(wire, &own, findings);
    }
    tracked(facts, findings);
    leftovers(facts, findings);
}

/// Interfaces that are only tracked, and are not there.
fn tracked(facts: &Facts, findings: &mut Findings) {
    let groups = facts.config().map_or(&[][..], |config| &config.sync_groups);
    let of_groups = groups.iter().map(|group| (&group.name, &group.tracks));
    let all = facts.instances().iter().map(|instance| (&instance.name, &instance.tracks)).chain(of_groups);
    for (who, line) in all.flat_map(|(who, tracks)| tracks.interfaces.iter().map(move |line| (who, line))) {
        if facts.link(&line.name).is_none() {
            let what = format!("no such interface: {who} tracks it, and counts it as down");
            findings.warning(
                &line.name,
                "tracked",
                what,
                "correct the name in `track_interface` (ip link), or make the interface",
            );
        }
    }
}

fn missing(facts: &Facts, name: &str, findings: &mut Findings) {
    let what = "no such interface";
    if facts.config().is_some_and(|config| config.dynamic_interfaces) {
        let fix = "nothing, if the interface appears later: its instances stay in FAULT until then (`dynamic_interfaces`)";
        findings.warning(name, "exists", what, fix);
    } else {
        let fix = "correct the name (ip link), or write `dynamic_interfaces` in global_defs if the interface appears later";
        findings.problem(name, "exists", what, fix);
    }
}

/// Whether vipd can use it.
fn usable(link: &SurveyedLink, instances: &[&Instance], findings: &mut Findings) -> bool {
    let virtual_mac = instances.iter().any(|i| i.use_vmac && i.interface == link.state.name);
    let taken = || if virtual_mac { link.state.takes_virtual_mac() } else { Ok(()) };
    match link.state.usable().and_then(|()| taken()) {
        Ok(()) => true,
        Err(UnusableInterface { interface, why, remedy }) => {
            findings.problem(&interface, "usable", format!("it {why}: vipd refuses it"), remedy);
            false
        }
    }
}

/// Whether further checks make sense.
fn state(link: &SurveyedLink, findings: &mut Findings) -> bool {
    let name = &link.state.name;
    match (link.state.enabled, link.state.up) {
        (_, true) => findings.ok(name, "up", "it is up"),
        (true, false) => {
            findings.problem(name, "up", "it has no carrier", "check the cable and the switch port")
        }
        (false, false) => {
            findings.problem(name, "up", "it is administratively down", format!("ip link set dev {name} up"))
        }
    }
    link.state.enabled
}

fn address(link: &SurveyedLink, instances: &[&Instance], findings: &mut Findings) {
    let name = &link.state.name;
    for instance in instances {
        if let Some(source) = instance.source {
            configured_source(link, (instance, source), findings);
            continue;
        }
        let is_vip = |address: IpAddr| {
            !instance.priority.is_owner()
                && instance.vips.iter().chain(&instance.excluded).any(|v| v.address == address)
        };
        let usable =
            link.state.addresses.iter().any(|candidate| match (instance.family, candidate.address) {
                (Family::V4, IpAddr::V4(_)) => !is_vip(candidate.address),
                (Family::V6, IpAddr::V6(v6)) => {
                    (v6.is_unicast_link_local() || instance.unicast.is_some()) && !is_vip(candidate.address)
                }
                _ => false,
            });
        let (kind, fix) = match instance.family {
            Family::V4 => {
                ("IPv4", format!("ip address add ADDRESS/LENGTH dev {name}, with an address that is no VIP"))
            }
            Family::V6 => (
                "link-local IPv6",
                format!("sysctl -w net.ipv6.conf.{name}.addr_gen_mode=0, or add a link-local address"),
            ),
        };
        if usable {
            findings.ok(
                name,
                "address",
                format!("it has an {kind} address for the adverts of {}", instance.name),
            );
        } else {
            let what =
                format!("no {kind} address besides VIPs: {} has no source for its adverts", instance.name);
            findings.problem(name, "address", what, fix);
        }
    }
}

/// A source address that the configuration names.
fn configured_source(link: &SurveyedLink, (instance, source): (&Instance, IpAddr), findings: &mut Findings) {
    let name = &link.state.name;
    if link.state.addresses.iter().any(|candidate| candidate.address == source) {
        return findings.ok(
            name,
            "address",
            format!("it has {source}, the source of {}'s adverts", instance.name),
        );
    }
    let what = format!("it lacks {source}, the source of {}'s adverts", instance.name);
    let keyword = if instance.unicast.is_some() { "unicast_src_ip" } else { "mcast_src_ip" };
    // Not known is not missing.
    if instance.tracks_source || !is_local(source).unwrap_or(true) {
        let fix = format!("ip address add {source}/LENGTH dev {name}, or correct `{keyword}`");
        findings.problem(name, "address", what, fix);
    } else {
        let fix =
            format!("nothing, if that is intended: peers see an address that {name} does not answer for");
        findings.warning(name, "address", what, fix);
    }
}

/// Where native XDP would see its frames: the lowest interface below a VLAN.
fn wire<'f>(facts: &'f Facts, link: &'f SurveyedLink) -> &'f SurveyedLink {
    let mut wire = link;
    // More tags than two are refused.
    for _ in 0..2 {
        let parent = wire.state.vlan.and_then(|vlan| facts.link_by_index(vlan.parent));
        wire = parent.unwrap_or(wire);
    }
    wire
}

/// Whether an interface is, or will be, served by native XDP alone.
fn is_native(facts: &Facts, name: &str, instances: &[&Instance]) -> bool {
    match instances.iter().find_map(|instance| facts.status_of(instance)) {
        Some(status) => status.xdp_mode == ProgramHook::Native,
        None => facts.config().is_some_and(|config| config.xdp_modes.of_interface(name) == XdpMode::Native),
    }
}

fn xdp(facts: &Facts, (name, wire): (&str, &SurveyedLink), instances: &[&Instance], findings: &mut Findings) {
    let on = &wire.state.name;
    let native = is_native(facts, name, instances);
    let status = instances.iter().find_map(|instance| facts.status_of(instance));
    match (status, wire.state.xdp) {
        (Some(status), _) if status.xdp_mode == ProgramHook::Nowhere => {
            let what = "vipd runs, but its program is not attached here: nothing answers for the VIPs";
            let fix = "see the state of its instances for the reason; vipd retries every few seconds";
            findings.problem(name, "xdp", what, fix);
        }
        (Some(status), _) if !native => {
            let reason = status.xdp_mode_reason.as_deref().unwrap_or("vipd gives no reason");
            findings.ok(name, "xdp", format!("the program runs at tc ingress, not in the driver: {reason}"));
        }
        (Some(_), Some(_)) if wire.state.veth => findings.warning(
            name,
            "xdp",
            "native XDP on a veth sees no VLAN tag, and its answers are lost unless the other end has an XDP program too",
            format!("`xdp_mode auto {on}` serves it at tc ingress"),
        ),
        (Some(_), Some(_)) => findings.ok(name, "xdp", "XDP runs in the driver"),
        (Some(_), None) => {
            let what = format!("vipd runs, but {on} has no XDP program: nothing answers for the VIPs");
            findings.problem(
                name,
                "xdp",
                what,
                "another program detached it: restart vipd, and stop that program",
            );
        }
        (None, Some(xdp)) if !facts.machine.pinned && native => {
            let what = format!("another XDP program is on {on} (id {})", xdp.program_id);
            let fix = format!(
                "find its owner: bpftool net show dev {on}. vipd never replaces a foreign program; with `xdp_mode auto` it \
                 runs at tc ingress beside it"
            );
            findings.problem(name, "xdp", what, fix);
        }
        (None, Some(xdp)) if !facts.machine.pinned => {
            let id = xdp.program_id;
            findings.ok(
                name,
                "xdp",
                format!("another XDP program is on {on} (id {id}): vipd will use tc ingress"),
            );
        }
        (None, Some(_)) => {
            findings.ok(name, "xdp", format!("the program on {on} is a vipd's"))
        }
        (None, None) if wire.state.mtu > NATIVE_MTU => {
            let what =
                format!("MTU {}: most drivers take no more than {NATIVE_MTU} with XDP", wire.state.mtu);
            let fix = "vipd then uses tc ingress, which costs more; a smaller MTU avoids that";
            findings.warning(name, "xdp", what, fix);
        }
        (None, None) => findings.ok(name, "xdp", format!("no other XDP program is on {on}")),
    }
}

fn queues(
    facts: &Facts,
    (name, wire): (&str, &SurveyedLink),
    instances: &[&Instance],
    findings: &mut Findings,
) {
    let status = instances.iter().find_map(|instance| facts.status_of(instance));
    let configured = || facts.config().map(|config| config.xdp_modes.of_interface(name));
    let at_tc = match status {
        Some(status) => status.xdp_mode != ProgramHook::Native,
        // `auto` serves a VLAN interface at tc ingress.
        None => match configured() {
            Some(XdpMode::Tc) => true,
            Some(XdpMode::Native) => false,
            Some(XdpMode::Auto) | None => name != wire.state.name,
        },
    };
    if let Some(shared) = wire.shared_queues.filter(|_| !at_tc) {
        findings.warning(name, "queues", shared.what(), shared.remedy(&wire.state.name));
    }
}

fn vlan(
    facts: &Facts,
    (link, wire): (&SurveyedLink, &SurveyedLink),
    instances: &[&Instance],
    findings: &mut Findings,
) {
    let (name, on) = (&link.state.name, &wire.state.name);
    if !is_native(facts, name, instances) {
        if link.state.vlan.is_some() {
            findings.ok(name, "vlan", "tc ingress sees its frames without their tags");
        }
        return;
    }
    let runs = instances.iter().any(|instance| facts.status_of(instance).is_some());
    match (wire.rx_vlan, runs) {
        (Some(true), true) => findings.problem(
            name,
            "vlan",
            format!("{on} strips VLAN tags: XDP takes frames of its VLANs for untagged ones"),
            format!("ethtool -K {on} rxvlan off, and find out what turned it on again"),
        ),
        (Some(true), false) => findings.ok(name, "vlan", format!("vipd will turn off rxvlan of {on}")),
        (Some(false), _) => findings.ok(name, "vlan", format!("{on} leaves VLAN tags in place")),
        (None, _) => findings.skipped(name, "vlan", format!("{on} does not say whether it strips VLAN tags")),
    }
}

fn multicast(facts: &Facts, link: &SurveyedLink, instances: &[&Instance], findings: &mut Findings) {
    let name = &link.state.name;
    let Some(instance) = instances.iter().find(|instance| instance.unicast.is_none()) else { return };
    if !link.multicast {
        let fix = format!("ip link set dev {name} multicast on");
        findings.problem(name, "multicast", "multicast is off, but adverts are multicast", fix);
        return;
    }
    if facts.status_of(instance).is_none() {
        findings.skipped(
            name,
            "membership",
            "membership of the adverts' group is not checked: no vipd is running",
        );
        return;
    }
    let multicasting = instances.iter().filter(|instance| instance.unicast.is_none());
    let joined = |group: IpAddr| facts.groups.iter().any(|(on, joined)| on == name && *joined == group);
    let missing: Vec<String> = multicasting
        .map(|i| i.group)
        .filter(|group| !joined(*group))
        .map(|group| group.to_string())
        .collect();
    if missing.is_empty() {
        findings.ok(name, "membership", "this host is a member of the adverts' group");
    } else {
        let what = format!("this host has not joined {}: switches may withhold adverts", missing.join(", "));
        findings.problem(name, "membership", what, "restart vipd, which joins the group, and read its log");
    }
}

/// A snooping switch without a querier forgets its members after a while. That is visible for bridges of this host.
fn snooping(wire: &SurveyedLink, instances: &[&Instance], findings: &mut Findings) {
    if instances.iter().all(|instance| instance.unicast.is_some()) {
        return;
    }
    let Some(state) = wire.bridge else { return };
    let name = &wire.state.name;
    if state.snooping && !state.querier {
        findings.warning(
            name,
            "snooping",
            format!("the bridge {name} snoops multicast but has no querier: without another querier adverts stop after some minutes"),
            format!("ip link set dev {name} type bridge mcast_querier 1, or mcast_snooping 0"),
        );
    } else {
        findings.ok(name, "snooping", format!("the bridge {name} forwards adverts"));
    }
}

/// VIPs that are configured on an interface: the kernel answers for them, master or not.
fn leftovers(facts: &Facts, findings: &mut Findings) {
    let Ok(survey) = &facts.survey else { return };
    let mut clean = true;
    for instance in facts.instances().iter().filter(|instance| !instance.priority.is_owner()) {
        for vip in instance.vips.iter().chain(&instance.excluded) {
            for link in &survey.links {
                let Some(found) = link.state.addresses.iter().find(|a| a.address == vip.address) else {
                    continue;
                };
                clean = false;
                let (address, name) = (vip.address, &link.state.name);
                findings.problem(
                    &instance.name,
                    "vip-on-interface",
                    format!(
                        "the VIP {address} is configured on {name}: a leftover of keepalived or of a manual change"
                    ),
                    format!(
                        "ip address del {address}/{} dev {name}; vipd needs no address there",
                        found.prefix_len
                    ),
                );
            }
        }
    }
    if clean && !facts.instances().is_empty() {
        findings.ok("addresses", "vip-on-interface", "no VIP is configured on an interface");
    }
}
