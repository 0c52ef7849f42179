//! What must be unique in a file: names of instances, virtual routers on a link, addresses.

use std::collections::{HashMap, hash_map::Entry};

use vipd_common::Family;

use super::{
    addressing,
    given::{Draft, Spanned},
};
use crate::{
    schema::words,
    syntax::{diagnostic::Code, report::Report, span::Span},
};

pub fn check(drafts: &[Draft], report: &mut Report) {
    if let Some((first, again)) = machines(drafts) {
        let line = report.line_of(first.keyword_at, again.name_at);
        let message =
            format!("second {} with the same virtual_router_id; the first is on {line}", again.title);
        let hint = "this file has the configuration of two machines: keep that of this one, or write `@HOST ` before each line that is for one of them";
        return report.error_hint(Code::Duplicate, again.name_at, message, hint);
    }
    names(drafts, report);
    routers(drafts, report);
    addresses(drafts, report);
}

/// Whether an instance stands twice as it does where the files of two machines were put into one.
pub fn is_of_two_machines(drafts: &[Draft]) -> bool {
    machines(drafts).is_some()
}

/// The first two instances of one name and one id on an interface.
fn machines(drafts: &[Draft]) -> Option<(&Draft, &Draft)> {
    let mut seen: HashMap<(&str, u32, Option<String>), &Draft> = HashMap::new();
    drafts.iter().filter(|draft| !draft.name.is_empty()).find_map(|draft| {
        let id = draft.given.values.number("virtual_router_id")?.value;
        let interface = draft.given.values.text("interface").map(|interface| interface.value);
        match seen.entry((&draft.name, id, interface)) {
            Entry::Occupied(first) => Some((*first.get(), draft)),
            Entry::Vacant(entry) => {
                entry.insert(draft);
                None
            }
        }
    })
}

fn names(drafts: &[Draft], report: &mut Report) {
    let mut names: HashMap<&str, Span> = HashMap::new();
    for Draft { name, title, keyword_at, name_at, .. } in drafts {
        if let Some(first) = names.get(name.as_str()).filter(|_| !name.is_empty()) {
            let line = report.line_of(*first, *name_at);
            let message = format!("second {title}; the first is on {line}");
            report.error_hint(Code::Duplicate, *name_at, message, "give it another name");
        } else {
            names.insert(name, *keyword_at);
        }
    }
}

/// RFC 9568 1.7: a virtual router is a VRID on a link, and there is one of each family.
fn routers(drafts: &[Draft], report: &mut Report) {
    let mut routers: HashMap<(String, Family, u32), &Draft> = HashMap::new();
    for draft in drafts {
        let values = &draft.given.values;
        let (Some(interface), Some(vrid)) = (values.text("interface"), values.number("virtual_router_id"))
        else {
            continue;
        };
        let family = addressing::family(&draft.given);
        // What hears adverts on a link has to be told apart there as well.
        for (i, link) in [&interface].into_iter().chain(&draft.given.heartbeat_links).enumerate() {
            let key = (link.value.clone(), family, vrid.value);
            let first = *routers.entry(key).or_insert(draft);
            // Of a link that is named twice by one instance `heartbeats` tells.
            if std::ptr::eq(first, draft) {
                continue;
            }
            let (at, on) = match i {
                0 => (vrid.span, String::new()),
                _ => (link.span, format!(" on {}", link.value)),
            };
            let taken = first.given.values.at("virtual_router_id").unwrap_or(first.keyword_at);
            let place = report.line_of(taken, at);
            let message =
                format!("virtual_router_id {}{on} is taken by {} on {place}", vrid.value, first.title);
            let unicast = |draft: &Draft| draft.given.seen_at("unicast_peer").is_some();
            let hint = if unicast(first) && unicast(draft) {
                "vipd tells the virtual routers of an interface apart by their ids, keepalived those of different peers too: \
                 give one of the two another id, on every router of its group"
            } else {
                "two virtual routers on one interface need different ids"
            };
            report.error_hint(Code::Duplicate, at, message, hint);
        }
    }
}

fn addresses(drafts: &[Draft], report: &mut Report) {
    let mut addresses: HashMap<_, (Span, usize, Option<String>)> = HashMap::new();
    for (i, Draft { given, .. }) in drafts.iter().enumerate() {
        let own = given.values.text("interface").map(|interface| interface.value);
        for Spanned { value: vip, span } in given.vips.iter().chain(&given.excluded) {
            let interface = vip.interface.as_deref().or(own.as_deref());
            // RFC 4291 2.5.6: a link-local address is unique on its link only.
            let link = interface.filter(|_| words::is_link_local(vip.address)).map(str::to_owned);
            let key = (vip.address, link);
            let Some((first, of, on)) = addresses.get(&key) else {
                addresses.insert(key, (*span, i, interface.map(str::to_owned)));
                continue;
            };
            let line = report.line_of(*first, *span);
            let message = format!("address {} is on {line} already", vip.address);
            let hint = if on.as_deref() != interface {
                "an address is served on one interface, where the host's route to it leads: remove one, on every router of the group"
            } else if *of != i {
                "an address has one owner, and two instances may have two: remove one, on every router of the group"
            } else {
                "remove one, on every router of the group: keepalived drops an advert that lists another number of addresses than its own file"
            };
            report.error_hint(Code::Duplicate, *span, message, hint);
        }
    }
}
