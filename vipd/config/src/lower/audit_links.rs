//! The interfaces and addresses of a configuration beside those of the machine that it is read on.
//!
//! These are warnings: another machine may have others, and interfaces come and go.

use std::{collections::HashMap, net::IpAddr};

use crate::{
    model::{address::Prefix, config::Config, instance::Instance},
    schema::words,
    source::{HostInterface, Outside},
    syntax::{
        diagnostic::Code,
        parser::SyntaxNode,
        report::{Report, fit},
        span::{Span, Word},
    },
};

/// Reports interfaces that cannot carry VIPs, and VIPs that no station of their link asks for.
pub fn links(tree: &[SyntaxNode], config: &Config, outside: &dyn Outside, report: &mut Report) {
    let instances: HashMap<&str, &Instance> =
        config.instances.iter().map(|instance| (instance.name.as_str(), instance)).collect();
    tracked(tree, outside, report);
    let mut known: HashMap<String, Option<HostInterface>> = HashMap::new();
    for node in tree.iter().filter(|node| is(node, "vrrp_instance")) {
        let name = node.words.get(1).map(|name| name.text.as_str()).unwrap_or_default();
        let Some(instance) = instances.get(name) else { continue };
        let mut look_up =
            |name: &str| known.entry(name.to_owned()).or_insert_with(|| outside.interface(name)).clone();
        let inside = node.block.iter().flatten();
        let own = inside.clone().rfind(|node| is(node, "interface")).and_then(|node| node.words.get(1));
        if let (Some(word), Some(obstacle)) = (own, look_up(&instance.interface).and_then(|i| i.obstacle)) {
            // Of the loopback an error tells, on every machine.
            if instance.interface != "lo" {
                unusable(word, &obstacle, report);
            }
            continue;
        }
        let mut outsiders = Vec::new();
        for line in inside
            .filter(|node| HOLDERS.iter().any(|keyword| is(node, keyword)))
            .flat_map(|n| n.block.iter().flatten())
        {
            let Some(first) = line.words.first() else { continue };
            let Ok(vip) = words::prefix(&first.text, words::unicast) else { continue };
            let dev =
                line.words.iter().position(|word| word.text == "dev").and_then(|at| line.words.get(at + 1));
            let on = dev.map_or(instance.interface.as_str(), |dev| dev.text.as_str());
            let Some(interface) = look_up(on) else { continue };
            if let (Some(dev), Some(obstacle)) =
                (dev.filter(|_| on != instance.interface), &interface.obstacle)
            {
                unusable(dev, obstacle, report);
            }
            // Of that the instance itself has told.
            if reserved(vip.0, [vip].into_iter()).is_some() {
                continue;
            }
            if let Some(what) = reserved(vip.0, interface.addresses.iter().copied()) {
                no_host(first.span, vip.0, &what, report);
            } else if is_outside(vip.0, &interface) {
                outsiders.push((first.span, vip, on.to_owned(), interface));
            }
        }
        outside_of_subnets(&outsiders, report);
    }
}

/// Reports tracked interfaces that are not there. Of an instance's own `interface` a start says it.
fn tracked(tree: &[SyntaxNode], outside: &dyn Outside, report: &mut Report) {
    let blocks = tree.iter().filter(|node| is(node, "vrrp_instance") || is(node, "vrrp_sync_group"));
    let tracks =
        blocks.flat_map(|node| node.block.iter().flatten()).filter(|node| is(node, "track_interface"));
    for word in tracks.flat_map(|node| node.block.iter().flatten()).filter_map(|line| line.words.first()) {
        if outside.lacks_interface(&word.text) {
            let message = format!("there is no interface {} on this machine", report.bare(word));
            let hint = "correct the name (ip link); an interface that is not there counts as down";
            report.warning(Code::Advice, word.span, message, hint);
        }
    }
}

/// Reports VIPs that are the network or broadcast address of their own prefix.
pub fn no_host(at: Span, vip: IpAddr, what: &str, report: &mut Report) {
    let hint = "the stations of that network ask for no such address: correct it, or its prefix length";
    report.warning(Code::Advice, at, format!("{vip} is {what}"), hint);
}

/// What an address is in one of the networks, if it is no host there.
pub fn reserved(vip: IpAddr, networks: impl Iterator<Item = (IpAddr, u8)>) -> Option<String> {
    let IpAddr::V4(v4) = vip else { return None };
    networks.filter(|(address, len)| address.is_ipv4() && (1..=30).contains(len)).find_map(
        |(address, len)| {
            let network = Prefix::new(address, len);
            let first = if let IpAddr::V4(first) = network.address { first.to_bits() } else { return None };
            let host = v4.to_bits().checked_sub(first)?;
            let last = u32::MAX >> len;
            let shown = format!("{}/{len}", network.address);
            match host {
                0 => Some(format!("the address of the network {shown} itself")),
                host if host == last => Some(format!("the broadcast address of {shown}")),
                _ => None,
            }
        },
    )
}

fn unusable(word: &Word, obstacle: &str, report: &mut Report) {
    let message = format!("interface {} {obstacle}", report.bare(word));
    let hint = "vipd does not start with it; with `dynamic_interfaces` or `--wait-for-interfaces` its instances stay in FAULT";
    report.warning(Code::Advice, word.span, message, hint);
}

/// Whether the interface has networks of the family, and the address is in none. A link-local one is at home everywhere.
fn is_outside(vip: IpAddr, interface: &HostInterface) -> bool {
    let of_family =
        |(address, _): &&(IpAddr, u8)| address.is_ipv4() == vip.is_ipv4() && !words::is_link_local(*address);
    let mut networks = interface.addresses.iter().filter(of_family).peekable();
    !words::is_link_local(vip)
        && networks.peek().is_some()
        && networks.all(|(address, len)| Prefix::new(*address, *len) != Prefix::new(vip, *len))
}

/// Says it of the first VIP of an instance that brings no network of its own, and of the first that does.
fn outside_of_subnets(outsiders: &[(Span, (IpAddr, u8), String, HostInterface)], report: &mut Report) {
    for hosts in [true, false] {
        let is_host = |(_, (vip, len), ..): &&(Span, (IpAddr, u8), String, HostInterface)| {
            (*len == if vip.is_ipv4() { 32 } else { 128 }) == hosts
        };
        let mut of_kind = outsiders.iter().filter(is_host);
        let Some((at, (vip, len), name, interface)) = of_kind.next() else { continue };
        let more = match of_kind.count() {
            0 => String::new(),
            1 => ", and so is 1 more".to_owned(),
            count => format!(", and so are {count} more"),
        };
        let of_family = interface.addresses.iter().filter(|(address, _)| address.is_ipv4() == vip.is_ipv4());
        let networks: Vec<String> = of_family
            .map(|(a, len)| format!("{}/{len}", Prefix::new(*a, *len).address))
            .take(NAMED)
            .collect();
        let place = format!("outside of the networks of {} ({}){more}", fit(name), networks.join(", "));
        if hosts {
            let hint = "stations there reach it by a route only; write its prefix length if the link has its network too, as in `10.0.0.3/24`";
            report.warning(Code::Advice, *at, format!("{vip} is {place}"), hint);
        } else {
            let hint = "that is right for a second network on the link; otherwise correct the address or the interface";
            report.notice(Code::Advice, *at, format!("{vip}/{len} is {place}"), hint);
        }
    }
}

fn is(node: &SyntaxNode, keyword: &str) -> bool {
    node.words.first().is_some_and(|word| word.text == keyword)
}

const HOLDERS: &[&str] = &["virtual_ipaddress", "virtual_ipaddress_excluded"];
/// Networks that a message names at most.
const NAMED: usize = 4;
