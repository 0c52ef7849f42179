//! Groups of haresources as instances and sync groups.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use super::Output;
use crate::{
    ImportHost,
    heartbeat::{
        ha_cf::Ha,
        haresources::{ResourceAddress, ResourceGroup, ResourceScript},
    },
    note::{Note, NoteSink as _},
};

/// What heartbeat does where ha.cf says nothing.
const KEEPALIVE: Duration = Duration::from_secs(2);
const DEADTIME: Duration = Duration::from_secs(30);
/// The longest interval of version 3 (RFC 9568 5.2.7).
const LONGEST: Duration = Duration::from_millis(40_950);
/// `down_timer_adverts` has at most this many.
const ADVERTS: u128 = 100;
const FIRST_VRID: u8 = 51;

/// The addresses of a group on one interface and of one family.
struct VrrpInstance<'g> {
    name: String,
    interface: String,
    /// The interface is a definition that has to be filled in.
    unknown: bool,
    addresses: Vec<&'g ResourceAddress>,
}

pub(super) fn write(
    groups: &[ResourceGroup],
    ha: Option<&Ha>,
    outside: &dyn ImportHost,
    notes: &mut Vec<Note>,
    out: &mut Output,
) {
    let arbiters = ha.map_or(&[][..], |ha| &ha.arbiters);
    for arbiter in arbiters.iter().filter(|arbiter| !arbiter.addresses.is_empty()) {
        out.open(&format!("arbiter {}", name(&arbiter.name)), Some(&arbiter.place));
        let addresses: Vec<_> = arbiter.addresses.iter().map(IpAddr::to_string).collect();
        out.line(format!("ping {}", addresses.join(" ")));
        if arbiter.addresses.len() > 1 {
            out.line("quorum 1    # of a ping_group any address is enough");
        }
        if let Some(dead) = ha.and_then(|ha| ha.dead_ping) {
            out.line(format!("fall {}    # deadping", dead.as_secs().clamp(1, 3_600)));
        }
        out.close();
    }
    if let Some(ha) = ha {
        check_nodes(groups, ha, notes);
    }
    let mut vrid = Some(FIRST_VRID);
    for (number, group) in (1..).zip(groups) {
        let instances = instances(group, (groups.len() > 1).then_some(number), notes, out);
        if instances.is_empty() {
            notes.warning(
                &group.place,
                "a line without an address has no equal",
                "start these services by systemd on both nodes",
            );
            continue;
        }
        for instance in &instances {
            let Some(number) = vrid else {
                notes.error(
                    &group.place,
                    "more than 205 addresses on interfaces of their own",
                    "divide the file",
                );
                return;
            };
            vrid = number.checked_add(1);
            let single = instances.len() == 1;
            write_instance(group, instance, number, single, ha, outside, notes, out);
        }
        if instances.len() > 1 {
            out.open(&format!("vrrp_sync_group {}", group_name(group, number)), Some(&group.place));
            out.open("group", None);
            for instance in &instances {
                out.line(&instance.name);
            }
            out.close();
            common(group, ha, outside, notes, out);
            out.close();
        }
    }
}

fn check_nodes(groups: &[ResourceGroup], ha: &Ha, notes: &mut Vec<Note>) {
    for group in groups {
        if !ha.nodes.is_empty() && !ha.nodes.contains(&group.node) {
            notes.error(
                &group.place,
                format!("`{}` is no node of ha.cf", group.node),
                "the first word of a line is the node that the resources prefer",
            );
        }
    }
    if let Some((interval, place)) = &ha.interval
        && *interval > LONGEST
    {
        notes.error(
            place,
            format!("keepalive {} s is too long", interval.as_secs_f64()),
            "VRRP has at most 40.95 s",
        );
    }
}

fn group_name(group: &ResourceGroup, number: usize) -> String {
    format!("VG_{}_{number}", name(&group.node))
}

/// A word that may be a name.
fn name(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' || c == '-' { c } else { '_' }).collect()
}

/// The addresses by interface and family, in the order of the line.
fn instances<'g>(
    group: &'g ResourceGroup,
    number: Option<usize>,
    notes: &mut Vec<Note>,
    out: &mut Output,
) -> Vec<VrrpInstance<'g>> {
    let mut found: Vec<VrrpInstance<'g>> = Vec::new();
    let mut defined = BTreeMap::new();
    for address in &group.addresses {
        let ipv6 = address.address.is_ipv6();
        let unknown = address.interface.is_none();
        let interface = address.interface.clone().unwrap_or_else(|| {
            let definition = format!("IF_{}", name(&network(address)));
            if defined.insert(definition.clone(), ()).is_none() {
                out.line(format!(
                    "\n${definition}=FILL_IN    # the interface in the network of {}",
                    address.address
                ));
                notes.warning(
                    &address.place,
                    format!("{} has no interface", address.address),
                    format!("write it behind ${definition}= in the result"),
                );
            }
            format!("${definition}")
        });
        let same = |instance: &&mut VrrpInstance<'_>| {
            instance.interface == interface && instance.addresses[0].address.is_ipv6() == ipv6
        };
        if let Some(instance) = found.iter_mut().find(same) {
            instance.addresses.push(address);
            continue;
        }
        let suffix = number.map_or_else(String::new, |number| format!("_{number}"));
        let family = if ipv6 { "_v6" } else { "" };
        let name = format!("VI_{}{family}{suffix}", name(interface.trim_start_matches('$')));
        found.push(VrrpInstance { name, interface, unknown, addresses: vec![address] });
    }
    found
}

/// The network of an address, for the name of a definition: /24 and /64 where no length is given.
fn network(address: &ResourceAddress) -> String {
    match address.address {
        IpAddr::V4(ip) => {
            let [a, b, c, _] = ip.octets();
            format!("{a}.{b}.{c}")
        }
        IpAddr::V6(ip) => {
            let [a, b, c, d, ..] = ip.segments();
            format!("{a:x}_{b:x}_{c:x}_{d:x}")
        }
    }
}

#[expect(clippy::too_many_arguments, reason = "an instance is made of all of them")]
fn write_instance(
    group: &ResourceGroup,
    instance: &VrrpInstance<'_>,
    vrid: u8,
    single: bool,
    ha: Option<&Ha>,
    outside: &dyn ImportHost,
    notes: &mut Vec<Note>,
    out: &mut Output,
) {
    out.open(&format!("vrrp_instance {}", instance.name), Some(&group.place));
    out.line(format!("interface {}", instance.interface));
    out.line("state BACKUP");
    out.line(format!("virtual_router_id {vrid}    # unused on this segment? `vipd doctor` says so"));
    out.line(format!("@{} priority 150    # the preferred node", group.node));
    out.line(format!("@^{} priority 100", group.node));
    timing(ha, out);
    if ha.is_some_and(|ha| ha.stay) {
        out.line("nopreempt    # auto_failback off");
    }
    paths(instance, ha, notes, out);
    out.open("virtual_ipaddress", None);
    for address in &instance.addresses {
        let prefix = address.prefix.map_or_else(String::new, |prefix| format!("/{prefix}"));
        let broadcast = address.broadcast.map_or_else(String::new, |address| format!(" brd {address}"));
        out.line(format!("{}{prefix}{broadcast}", address.address));
        if address.prefix.is_none() {
            notes.warning(
                &address.place,
                format!("{} has no prefix length", address.address),
                "heartbeat takes that of the route; a VIP without one has /32 or /128",
            );
        }
    }
    out.close();
    if single {
        common(group, ha, outside, notes, out);
    }
    if instance.unknown {
        out.line("# The interface is not known, see its definition above.");
    }
    out.close();
}

/// `keepalive` and `deadtime`.
fn timing(ha: Option<&Ha>, out: &mut Output) {
    let interval = ha.and_then(|ha| ha.interval.as_ref()).map_or(KEEPALIVE, |(interval, _)| *interval);
    let dead = ha.and_then(|ha| ha.dead_time.as_ref()).map_or(DEADTIME, |(dead, _)| *dead);
    let adverts = dead.as_micros().div_ceil(interval.as_micros().max(1)).clamp(1, ADVERTS);
    out.line(format!("advert_int {}    # keepalive", interval.as_secs_f64()));
    out.line(format!("down_timer_adverts {adverts}    # deadtime {} s; 3 is usual", dead.as_secs_f64()));
}

/// Paths on other interfaces, and the peer on this one.
fn paths(instance: &VrrpInstance<'_>, ha: Option<&Ha>, notes: &mut Vec<Note>, out: &mut Output) {
    let paths = ha.map_or(&[][..], |ha| &ha.paths);
    let peers: Vec<_> = paths
        .iter()
        .filter(|path| path.interface == instance.interface)
        .filter_map(|path| path.peer)
        .collect();
    if !peers.is_empty() {
        out.open("unicast_peer", None);
        for peer in &peers {
            out.line(peer);
        }
        out.close();
        if let Some(path) = paths.iter().find(|path| path.peer == peers.first().copied()) {
            notes.warning(
                &path.place,
                "ha.cf has one peer for each file: the other node's file has this node's address",
                "write `@NODE` before each line of unicast_peer, or leave the block out: adverts are multicast then",
            );
        }
    }
    let mut others: Vec<&str> = paths
        .iter()
        .map(|path| path.interface.as_str())
        .filter(|interface| *interface != instance.interface)
        .collect();
    others.dedup();
    if !others.is_empty() {
        out.open("heartbeat_interface", None);
        for interface in others.iter().take(3) {
            out.line(interface);
        }
        out.close();
    }
}

/// What a lone instance has, or its sync group.
fn common(
    group: &ResourceGroup,
    ha: Option<&Ha>,
    outside: &dyn ImportHost,
    notes: &mut Vec<Note>,
    out: &mut Output,
) {
    let arbiters: Vec<_> = ha
        .map_or(&[][..], |ha| &ha.arbiters)
        .iter()
        .filter(|arbiter| !arbiter.addresses.is_empty())
        .collect();
    if !arbiters.is_empty() {
        out.open("track_arbiter", None);
        for arbiter in arbiters {
            out.line(name(&arbiter.name));
        }
        out.close();
    }
    if !group.mail.is_empty() {
        out.line("smtp_alert");
    }
    if group.scripts.is_empty() {
        return;
    }
    let run = |script: &ResourceScript, verb: &str| {
        let mut words = vec![path(script, outside)];
        words.extend(script.arguments.iter().cloned());
        words.push(verb.to_owned());
        words.join(" ")
    };
    let start: Vec<_> = group.scripts.iter().map(|script| run(script, "start")).collect();
    let stop: Vec<_> = group.scripts.iter().rev().map(|script| run(script, "stop")).collect();
    let (start, stop) = (start.join(" && "), stop.join("; "));
    for word in ["notify_master", "notify_backup", "notify_fault", "notify_stop"] {
        let commands = if word == "notify_master" { &start } else { &stop };
        out.value(&[word, &format!("/bin/sh -c '{commands}'")], &group.place, notes);
    }
    for script in &group.scripts {
        let name = &script.name;
        if script.arguments.iter().any(|argument| argument.contains(['\'', '"', '$', '`', ';', '|', '&'])) {
            notes.error(
                &script.place,
                format!("an argument of {name} has a character of the shell"),
                "write a script with the arguments in it",
            );
        }
        let help = if outside.is_file(&path(script, outside)) {
            "heartbeat waits for each script before the next; the VIP answers before the service is up: add a vrrp_script that checks the service"
        } else {
            "neither /etc/ha.d/resource.d nor /etc/init.d has it here: correct the path in the result"
        };
        notes.warning(&script.place, format!("{name} is run when the state changes"), help);
    }
}

/// Where heartbeat looks for a script.
fn path(script: &ResourceScript, outside: &dyn ImportHost) -> String {
    if script.name.starts_with('/') {
        return script.name.clone();
    }
    let own = format!("/etc/ha.d/resource.d/{}", script.name);
    if outside.is_file(&own) { own } else { format!("/etc/init.d/{}", script.name) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::TextPlace;

    #[test]
    fn names_are_words() {
        assert_eq!(name("node1.example"), "node1_example");
        let place = TextPlace { file: String::new(), line: 1, column: 0 };
        let address = ResourceAddress {
            place,
            address: "192.168.2.200".parse().unwrap(),
            prefix: None,
            interface: None,
            broadcast: None,
        };
        assert_eq!(name(&network(&address)), "192_168_2");
    }
}
