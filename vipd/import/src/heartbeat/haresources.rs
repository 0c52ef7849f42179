//! haresources: groups of resources, each with the node that it prefers.

use std::net::IpAddr;

use crate::{
    note::{Note, NoteSink as _},
    text::{SourceText, TextPlace, TextWord, words},
};

/// One logical line.
#[derive(Clone, Debug)]
pub(crate) struct ResourceGroup {
    pub place: TextPlace,
    pub node: String,
    pub addresses: Vec<ResourceAddress>,
    /// Scripts in their order, with their arguments.
    pub scripts: Vec<ResourceScript>,
    /// Files of `ldirectord::FILE`, `ldirectord.cf` where none is named.
    pub directors: Vec<String>,
    pub mail: Vec<String>,
}

/// An address as it was given.
#[derive(Clone, Debug)]
pub(crate) struct ResourceAddress {
    pub place: TextPlace,
    pub address: IpAddr,
    pub prefix: Option<u8>,
    pub interface: Option<String>,
    pub broadcast: Option<IpAddr>,
}

/// A script of /etc/ha.d/resource.d or /etc/init.d.
#[derive(Clone, Debug)]
pub(crate) struct ResourceScript {
    pub place: TextPlace,
    pub name: String,
    pub arguments: Vec<String>,
}

pub(crate) fn read(text: &SourceText, notes: &mut Vec<Note>) -> Vec<ResourceGroup> {
    let mut groups: Vec<ResourceGroup> = Vec::new();
    let mut goes_on = false;
    for (place, line) in text.lines() {
        let without = line.split('#').next().unwrap_or_default().trim_end();
        let (body, more) = match without.strip_suffix('\\') {
            Some(body) => (body, true),
            None => (without, false),
        };
        let list = words(body);
        let resources = match (goes_on, list.split_first()) {
            (true, _) => &list[..],
            (false, Some((node, rest))) => {
                groups.push(ResourceGroup {
                    place: place.clone(),
                    node: node.text.to_owned(),
                    addresses: Vec::new(),
                    scripts: Vec::new(),
                    directors: Vec::new(),
                    mail: Vec::new(),
                });
                rest
            }
            (false, None) => &[],
        };
        if let Some(group) = groups.last_mut() {
            for word in resources {
                group.resource(&place.at(line, word.at), *word, notes);
            }
        }
        goes_on = more && (goes_on || !list.is_empty());
    }
    groups
}

impl ResourceGroup {
    fn resource(&mut self, place: &TextPlace, word: TextWord<'_>, notes: &mut Vec<Note>) {
        // `::` divides a name from its arguments, and is a part of IPv6 addresses.
        if let Some(address) = bare_address(word.text) {
            self.address(place, address, notes);
            return;
        }
        let mut parts = word.text.split("::");
        let name = parts.next().unwrap_or_default();
        match name {
            // The rest is one argument, for an IPv6 address may have `::` itself.
            "IPaddr" | "IPaddr2" | "IPv6addr" => {
                let argument = word.text.split_once("::").map_or("", |(_, argument)| argument);
                self.address(place, argument, notes);
            }
            "ldirectord" => self.directors.push(parts.next().unwrap_or("ldirectord.cf").to_owned()),
            "MailTo" => {
                self.mail.extend(parts.next().unwrap_or_default().split([',', ' ']).filter(|to| !to.is_empty()).map(str::to_owned));
            }
            "SendArp" => notes.notice(place, "SendArp is not needed: a new master announces its VIPs"),
            "IPsrcaddr" => notes.warning(
                place,
                "IPsrcaddr has no equal",
                "a route with `src` in virtual_routes gives the VIP as the source of own connections",
            ),
            "Filesystem" | "drbddisk" | "drbdupper" | "LVM" | "Raid1" => notes.error(
                place,
                format!("{name} moves storage between nodes"),
                "storage needs fencing that a VIP does not: leave it to Pacemaker, and take the resource out of a copy of the file",
            ),
            _ => self.scripts.push(ResourceScript {
                place: place.clone(),
                name: name.to_owned(),
                arguments: parts.map(str::to_owned).collect(),
            }),
        }
    }

    /// `ADDRESS[/LEN[/INTERFACE[/BROADCAST]]]`, the last two in either order.
    fn address(&mut self, place: &TextPlace, text: &str, notes: &mut Vec<Note>) {
        let mut parts = text.split('/');
        let first = parts.next().unwrap_or_default();
        let Ok(address) = first.parse::<IpAddr>() else {
            notes.error(place, format!("`{first}` is no address"), "write ADDRESS/LENGTH/INTERFACE");
            return;
        };
        let mut found =
            ResourceAddress { place: place.clone(), address, prefix: None, interface: None, broadcast: None };
        for part in parts.filter(|part| !part.is_empty()) {
            let most = if address.is_ipv4() { 32 } else { 128 };
            if let (None, Ok(prefix)) = (found.prefix, part.parse::<u8>()) {
                if prefix > most {
                    notes.error(place, format!("/{prefix} is no prefix length"), format!("0 to {most}"));
                }
                found.prefix = Some(prefix);
            } else if let Ok(broadcast) = part.parse() {
                found.broadcast = Some(broadcast);
            } else {
                // eth0:1 is an alias of eth0.
                found.interface = Some(part.split(':').next().unwrap_or_default().to_owned());
            }
        }
        self.addresses.push(found);
    }
}

/// The word, if it is an address with what may follow it.
fn bare_address(word: &str) -> Option<&str> {
    word.split('/').next()?.parse::<IpAddr>().ok().map(|_| word)
}
