//! What must be unique in a file: names of instances, virtual routers on a link, addresses.

use std::{collections::HashMap, net::IpAddr};

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
    names(drafts, report);
    routers(drafts, report);
    addresses(drafts, report);
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
            // keepalived allows it of unicast routers without a peer in common: XDP knows a router by interface and id.
            let hint = "two virtual routers on one interface need different ids";
            report.error_hint(Code::Duplicate, at, message, hint);
        }
    }
}

fn addresses(drafts: &[Draft], report: &mut Report) {
    let mut addresses: HashMap<(IpAddr, Option<String>), Span> = HashMap::new();
    for Draft { given, .. } in drafts {
        let own = given.values.text("interface").map(|interface| interface.value);
        for Spanned { value: vip, span } in given.vips.iter().chain(&given.excluded) {
            let interface = vip.interface.as_deref().or(own.as_deref());
            // RFC 4291 2.5.6: a link-local address is unique on its link only.
            let link = interface.filter(|_| words::is_link_local(vip.address)).map(str::to_owned);
            if let Some(first) = addresses.get(&(vip.address, link.clone())) {
                let line = report.line_of(*first, *span);
                let message = format!("address {} is on {line} already", vip.address);
                report.error_hint(
                    Code::Duplicate,
                    *span,
                    message,
                    "remove one, on every router of the group",
                );
            } else {
                addresses.insert((vip.address, link), *span);
            }
        }
    }
}
