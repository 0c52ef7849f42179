//! What must be unique in a file: names of instances, virtual routers on a link, addresses.

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
};

use vipd_common::Family;

use super::{
    super::{
        lower::Draft,
        report::Report,
        settings::{Settings, Spanned},
        values,
    },
    addressing,
};

pub fn check(drafts: &[Draft], report: &mut Report) {
    names(drafts, report);
    routers(drafts, report);
    addresses(drafts, report);
}

fn names(drafts: &[Draft], report: &mut Report) {
    let mut names: HashMap<&str, u32> = HashMap::new();
    for Draft { name, title, keyword_at, name_at, .. } in drafts {
        if let Some(line) = names.get(name.as_str()).filter(|_| !name.is_empty()) {
            report.error(*name_at, format!("second {title}; the first is on line {line}"));
        } else {
            names.insert(name, keyword_at.line);
        }
    }
}

/// RFC 9568 1.7: a virtual router is a VRID on a link, and there is one of each family.
fn routers(drafts: &[Draft], report: &mut Report) {
    let mut routers: HashMap<(&str, Family, u32), Vec<&Draft>> = HashMap::new();
    for draft in drafts {
        let settings = &draft.settings;
        let (Some(interface), Some(vrid)) = (&settings.interface, &settings.vrid) else { continue };
        let key = (interface.value.as_str(), addressing::family(settings), vrid.value);
        let same = routers.entry(key).or_default();
        if let Some(first) = same.iter().find(|other| collide(settings, &other.settings)) {
            let line = first.settings.vrid.as_ref().map_or(first.keyword_at.line, |vrid| vrid.span.line);
            let message =
                format!("virtual_router_id {} is taken by {} on line {line}", vrid.value, first.title);
            let hint = "two virtual routers on one interface need different ids, unless both are unicast to \
                        different peers";
            report.error_hint(vrid.span, message, hint);
        }
        same.push(draft);
    }
}

/// Adverts of unicast routers are told apart by who sends them.
fn collide(one: &Settings, other: &Settings) -> bool {
    let peers = |settings: &Settings| -> HashSet<IpAddr> {
        settings.peers.iter().map(|peer| peer.value.address).collect()
    };
    let (one, other) = (peers(one), peers(other));
    one.is_empty() || other.is_empty() || !one.is_disjoint(&other)
}

fn addresses(drafts: &[Draft], report: &mut Report) {
    let mut addresses: HashMap<(IpAddr, Option<&str>), u32> = HashMap::new();
    for Draft { settings, .. } in drafts {
        for Spanned { value: vip, span } in settings.vips.iter().chain(&settings.excluded) {
            let interface =
                vip.interface.as_deref().or(settings.interface.as_ref().map(|i| i.value.as_str()));
            // RFC 4291 2.5.6: a link-local address is unique on its link only.
            let link = interface.filter(|_| values::is_link_local(vip.address));
            if let Some(line) = addresses.get(&(vip.address, link)) {
                report.error(*span, format!("address {} is on line {line} already", vip.address));
            } else {
                addresses.insert((vip.address, link), span.line);
            }
        }
    }
}
