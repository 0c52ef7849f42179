//! Which addresses an instance has and which its adverts use: VIPs, source, group and peers, all of one family.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use vipd_common::Family;

use super::{
    audit_links,
    context::LowerContext,
    given::{Draft, Given, Spanned},
};
use crate::{
    model::address::{Unicast, UnicastPeer, Vip},
    schema::words,
    syntax::{diagnostic::Code, report::Report, span::Span},
};

/// Of the VIPs in adverts; IPv4 where there are none.
pub fn family(given: &Given) -> Family {
    let first = given.vips.first().map(|first| words::family_of(first.value.address));
    given.first_family.or(first).unwrap_or(Family::V4)
}

pub fn check_vips(cx: &mut LowerContext<'_>) {
    let LowerContext { draft: Draft { given, title, .. }, family, report, .. } = cx;
    let family = *family;
    let block = given.seen_at("virtual_ipaddress");
    if let Some(block) = block.filter(|_| given.vips.is_empty() && !given.partial) {
        let hint = "adverts carry at least one; further ones may be in virtual_ipaddress_excluded";
        report.error_hint(
            Code::EmptyBlock,
            block,
            format!("virtual_ipaddress of {title} holds no address"),
            hint,
        );
    }
    let foreign = |vip: &&Spanned<Vip>| words::family_of(vip.value.address) != family;
    // RFC 9568 5.2.9: the addresses of an advert are of one family.
    if let Some(vip) = given.vips.iter().find(foreign) {
        let (own, family) = (words::name(words::family_of(vip.value.address)), words::name(family));
        let message = format!("{own} address in a virtual_ipaddress that starts with {family}");
        let hint =
            format!("move all {own} addresses to virtual_ipaddress_excluded, or give them a vrrp_instance");
        report.error_hint(Code::MixedFamilies, vip.span, message, hint);
    }
    for Spanned { value: vip, span } in given.vips.iter().chain(&given.excluded) {
        if let Some(what) = audit_links::reserved(vip.address, [(vip.address, vip.prefix_len)].into_iter()) {
            audit_links::no_host(*span, vip.address, &what, report);
        }
    }
    let most = match family {
        Family::V4 => VIPS_MAX,
        Family::V6 => VIPS_MAX_IPV6,
    };
    if let Some(beyond) = given.vips.get(most) {
        let (len, hint) = (given.vips.len(), "move the rest to virtual_ipaddress_excluded");
        let message = format!("{len} addresses in virtual_ipaddress of {title}, an advert carries {most}");
        report.error_hint(Code::TooMany, beyond.span, message, hint);
    }
    if let Some(first) = given.vips.first().filter(|_| family == Family::V6)
        && !given.vips.iter().any(|vip| words::is_link_local(vip.value.address))
    {
        let message = format!("no link-local address in virtual_ipaddress of {title}");
        let hint = "routers that follow RFC 9568 5.2.9 expect one, such as `fe80::1`, in each advert";
        report.warning(Code::Advice, first.span, message, hint);
    }
}

/// The VIPs in the order of adverts, each with an interface only if it is not the instance's.
pub fn vips(given: &[Spanned<Vip>], interface: &str) -> Vec<Vip> {
    let mut vips: Vec<Vip> = given
        .iter()
        .map(|Spanned { value, .. }| Vip {
            interface: value.interface.clone().filter(|dev| dev != interface),
            ..value.clone()
        })
        .collect();
    // RFC 9568 5.2.9: the first address is link-local. The sort is stable.
    vips.sort_by_key(|vip| !words::is_link_local(vip.address));
    vips
}

pub fn source(cx: &mut LowerContext<'_>) -> Option<IpAddr> {
    let unicast = cx.seen_at("unicast_peer").is_some();
    let (unicast_source, multicast_source) =
        (cx.values.address("unicast_src_ip"), cx.values.address("mcast_src_ip"));
    let LowerContext { family, report, .. } = cx;
    let family = *family;
    if let (Some(unicast), Some(multicast)) = (&unicast_source, &multicast_source)
        && unicast.value != multicast.value
    {
        let message = "`mcast_src_ip` and `unicast_src_ip` differ";
        report.error_hint(
            Code::Conflict,
            multicast.span,
            message,
            "adverts have one source: keep one of the two",
        );
    }
    let source = unicast_source.or(multicast_source)?;
    of_family("source of adverts", &source, family, report);
    // RFC 9568 5.1.2.1.
    if family == Family::V6 && !unicast && source.value.is_ipv6() && !words::is_link_local(source.value) {
        let hint = "RFC 9568 5.1.2.1: write a link-local address of the interface, or remove the line";
        report.error_hint(
            Code::BadValue,
            source.span,
            "the source of IPv6 multicast adverts must be link-local",
            hint,
        );
    }
    Some(source.value)
}

pub fn group(cx: &mut LowerContext<'_>) -> IpAddr {
    let family = cx.family;
    if let Some(group) = cx.values.address("mcast_dst_ip") {
        of_family("group", &group, family, cx.report);
        if cx.seen_at("unicast_peer").is_some() {
            let hint = "adverts go to the peers only";
            cx.report.warning(
                Code::Ignored,
                group.span,
                "`mcast_dst_ip` is ignored with `unicast_peer`",
                hint,
            );
        }
        return group.value;
    }
    let (keyword, default) = match family {
        Family::V4 => ("vrrp_mcast_group4", IpAddr::V4(VRRP_GROUP4)),
        Family::V6 => ("vrrp_mcast_group6", IpAddr::V6(VRRP_GROUP6)),
    };
    cx.global.values.address(keyword).map_or(default, |group| group.value)
}

pub fn unicast(cx: &mut LowerContext<'_>) -> Option<Unicast> {
    let Some(block) = cx.seen_at("unicast_peer") else {
        unicast_without_peers(cx);
        return None;
    };
    let own = cx.values.address("unicast_src_ip").or(cx.values.address("mcast_src_ip"));
    let LowerContext { draft: Draft { given, .. }, values, family, report, .. } = cx;
    if given.peers.is_empty() && !given.partial {
        // keepalived multicasts then, with a word in its log; whoever wrote the block meant something else.
        let hint = "list the other routers, one address a line, or remove the block to use multicast";
        report.error_hint(Code::EmptyBlock, block, "unicast_peer holds no address", hint);
    }
    let mut seen: HashMap<IpAddr, Span> = HashMap::new();
    for peer in &given.peers {
        let Spanned { value: UnicastPeer { address, .. }, span } = peer;
        of_family("peer", &Spanned { value: *address, span: *span }, *family, report);
        if own.as_ref().is_some_and(|own| own.value == *address) {
            let hint = "list the other routers only";
            report.error_hint(
                Code::Conflict,
                *span,
                format!("peer {address} is the source of our own adverts"),
                hint,
            );
        }
        if let Some(first) = seen.insert(*address, *span) {
            let message = format!("peer {address} is on {} already", report.line_of(first, *span));
            report.error_hint(Code::Duplicate, *span, message, "it would get each advert twice: remove one");
        }
    }
    let check = values.flag("check_unicast_src");
    let check_source = check.as_ref().is_none_or(|check| check.value);
    if let Some(check) = check.filter(|_| !check_source) {
        let message = "without `check_unicast_src` adverts from any address are heard";
        let hint = "anybody who can send a packet to this node can take its VIPs: list every router in `unicast_peer`, and remove `off`";
        report.warning(Code::Advice, check.span, message, hint);
    }
    Some(Unicast {
        peers: given.peers.iter().map(|peer| peer.value.clone()).collect(),
        ttl: values.octet("unicast_ttl").unwrap_or(255),
        check_source,
    })
}

fn unicast_without_peers(cx: &mut LowerContext<'_>) {
    let given = &cx.draft.given;
    if given.partial {
        return;
    }
    if let Some(source) = given.values.at("unicast_src_ip") {
        let hint = "list the other routers in `unicast_peer { }`, or write `mcast_src_ip` to use multicast";
        cx.report.error_hint(Code::Conflict, source, "`unicast_src_ip` without `unicast_peer`", hint);
    }
    for keyword in ["check_unicast_src", "unicast_ttl"] {
        let Some(span) = given.values.at(keyword) else { continue };
        let hint = "adverts are multicast: remove it, or list the other routers in `unicast_peer { }`";
        cx.report.warning(
            Code::Ignored,
            span,
            format!("`{keyword}` is ignored without `unicast_peer`"),
            hint,
        );
    }
}

fn of_family(what: &str, address: &Spanned<IpAddr>, family: Family, report: &mut Report) {
    let own = words::family_of(address.value);
    if own != family {
        let (own, family) = (words::name(own), words::name(family));
        let message = format!("{own} {what} for {family} addresses");
        report.error_hint(Code::MixedFamilies, address.span, message, format!("write an {family} address"));
    }
}

/// RFC 9568 5.1.1.2 and 5.1.2.2.
const VRRP_GROUP4: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 18);
const VRRP_GROUP6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x12);
/// The count of addresses in an advert is one octet.
const VIPS_MAX: usize = 255;
/// An advert is one packet of at most 1500 octets: 40 of IPv6, 8 of VRRP, 16 for each address.
const VIPS_MAX_IPV6: usize = (1500 - 40 - 8) / 16;
