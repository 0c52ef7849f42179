//! What must be unique in a file: names of instances, virtual routers on a link, addresses.

use std::{collections::HashMap, net::IpAddr};

use vipd_common::Family;

use super::{
    super::{diagnostic::Code, lexer::Span, lower::Draft, report::Report, settings::Spanned, values},
    addressing,
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
    let mut routers: HashMap<(&str, Family, u32), &Draft> = HashMap::new();
    for draft in drafts {
        let settings = &draft.settings;
        let (Some(interface), Some(vrid)) = (&settings.interface, &settings.vrid) else { continue };
        let family = addressing::family(settings);
        // What hears adverts on a line has to be told apart there as well.
        for (i, line) in [interface].into_iter().chain(&settings.heartbeats).enumerate() {
            let key = (line.value.as_str(), family, vrid.value);
            let first = *routers.entry(key).or_insert(draft);
            // Of a line that is named twice by one instance `heartbeats` tells.
            if std::ptr::eq(first, draft) {
                continue;
            }
            let (at, on) = match i {
                0 => (vrid.span, String::new()),
                _ => (line.span, format!(" on {}", line.value)),
            };
            let taken = first.settings.vrid.as_ref().map_or(first.keyword_at, |vrid| vrid.span);
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
    let mut addresses: HashMap<(IpAddr, Option<&str>), Span> = HashMap::new();
    for Draft { settings, .. } in drafts {
        for Spanned { value: vip, span } in settings.vips.iter().chain(&settings.excluded) {
            let interface =
                vip.interface.as_deref().or(settings.interface.as_ref().map(|i| i.value.as_str()));
            // RFC 4291 2.5.6: a link-local address is unique on its link only.
            let link = interface.filter(|_| values::is_link_local(vip.address));
            if let Some(first) = addresses.get(&(vip.address, link)) {
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
