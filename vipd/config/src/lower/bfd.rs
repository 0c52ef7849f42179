//! `bfd_instance`: its value, and what is wrong with sessions in their blocks and beside each other.

use std::{
    collections::{BTreeSet, HashMap},
    net::IpAddr,
    time::Duration,
};

use vipd_balance::ProbeSpec;

use super::{
    given::{Draft, PlacedBfd, PlacedGroup, Section},
    tracking::weight,
};
use crate::{
    model::{bfd::BfdInstance, config::Config, weighing::TrackKind},
    schema::{
        statement::{Statement, find, is_on, number_of, text},
        value::Value,
    },
    syntax::{diagnostic::Code, report::Report},
};

/// One `bfd_instance` block.
pub fn bfd(block: &Statement) -> Option<BfdInstance> {
    let inside = block.inside.as_deref()?;
    let neighbor = address(inside, "neighbor_ip").or_else(|| address(inside, "neighbour_ip"))?;
    let time = |keyword| match find(inside, keyword)?.values.first() {
        Some(Value::Millis(time)) => Some(*time),
        _ => None,
    };
    let octet = |keyword| number_of(inside, keyword).and_then(|number| u8::try_from(number).ok());
    let ttl = octet("ttl").or_else(|| octet("hoplimit"));
    let [vrrp, checker] = ["vrrp", "checker"].map(|keyword| find(inside, keyword).is_some());
    Some(BfdInstance {
        name: text(&block.values, 0).to_owned(),
        neighbor,
        source: address(inside, "source_ip"),
        interface: find(inside, "interface").map(|given| text(&given.values, 0).to_owned()),
        min_rx: time("min_rx")?,
        min_tx: time("min_tx")?,
        idle_tx: time("idle_tx")?,
        multiplier: octet("multiplier")?,
        passive: find(inside, "passive").is_some(),
        hop_limit: ttl.unwrap_or(u8::MAX),
        min_hop_limit: least(ttl.unwrap_or(expected(neighbor)), number_of(inside, "max_hops")?),
        multihop: is_on(inside, "multihop"),
        weight: find(inside, "weight").and_then(weight).unwrap_or_default(),
        for_vrrp: vrrp || !checker,
        for_checkers: checker || !vrrp,
    })
}

fn address(statements: &[Statement], keyword: &str) -> Option<IpAddr> {
    match find(statements, keyword)?.values.first() {
        Some(Value::Address(address)) => Some(*address),
        _ => None,
    }
}

/// What packets come with that travel no hop. keepalived sends 64 over IPv6 unless it is told otherwise.
fn expected(neighbor: IpAddr) -> u8 {
    if neighbor.is_ipv6() { 64 } else { u8::MAX }
}

/// As keepalived, whose -1 is 255: then nothing is checked.
fn least(ttl: u8, max_hops: i64) -> u8 {
    u8::try_from(max_hops).map_or(0, |hops| if hops == u8::MAX { 0 } else { ttl.saturating_sub(hops) })
}

/// What must fit together in a block; returns what [`check`] is to know of it.
pub fn check_block(section: &Section<'_>, report: &mut Report) -> Option<PlacedBfd> {
    let Section { node, given, title, .. } = section;
    let name = node.words.get(1)?.clone();
    let statements = &given.statements;
    let seen = |keyword: &str| given.seen_at(keyword).unwrap_or(name.span);
    let neighbor = address(statements, "neighbor_ip").or_else(|| address(statements, "neighbour_ip"))?;
    if !is_possible(neighbor) {
        let message = format!("`neighbor_ip` {neighbor} of {title} is no neighbor's");
        let hint = "a session is with one station: give the address of that station";
        report.error_hint(Code::BadValue, seen("neighbor_ip"), message, hint);
    }
    let interface = given.seen_at("interface");
    if is_on(statements, "multihop") {
        if let Some(at) = interface {
            let message = format!("`interface` with `multihop` in {title}");
            let hint = "packets over several hops may come in anywhere: remove one of the two";
            report.error_hint(Code::Conflict, at, message, hint);
        }
    } else if interface.is_none() && is_link_local(neighbor) {
        let message = format!(
            "`neighbor_ip` {neighbor} of {title} is of one link, and the block does not say of which"
        );
        report.error_hint(
            Code::Conflict,
            seen("neighbor_ip"),
            message,
            "add `interface`, as in `interface eth0`",
        );
    }
    if is_on(statements, "multihop") && is_link_local(neighbor) {
        let message = format!("`multihop` in {title}, whose neighbor {neighbor} is on the link");
        let hint = "remove `multihop`, and say with `interface` on which link";
        report.error_hint(Code::Conflict, seen("multihop"), message, hint);
    }
    if let Some(source) = address(statements, "source_ip") {
        if source.is_ipv4() != neighbor.is_ipv4() {
            let message = format!("`source_ip` {source} and `neighbor_ip` {neighbor} are of two families");
            let hint = "both ends of a session have addresses of one";
            report.error_hint(Code::Conflict, seen("source_ip"), message, hint);
        } else if source == neighbor {
            let message = format!("`source_ip` and `neighbor_ip` are both {source}");
            report.error_hint(
                Code::Conflict,
                seen("source_ip"),
                message,
                "a session is with another station",
            );
        }
    }
    for keyword in ["min_rx", "min_tx", "idle_tx"] {
        let Some(Value::Millis(time)) = find(statements, keyword).and_then(|given| given.values.first())
        else {
            continue;
        };
        if *time > LONG {
            let message = format!("{keyword} {} ms is more than 10 seconds", time.as_millis());
            let hint = "it is in milliseconds: a failure is noticed after several of them";
            report.warning(Code::Advice, seen(keyword), message, hint);
        }
    }
    if name.text.chars().count() > LONGEST_NAME {
        let message = format!("the name of {title} has more than {LONGEST_NAME} characters");
        report.notice(Code::Advice, name.span, message, "keepalived ignores the block");
    }
    let limited = given.seen_at("ttl").is_some();
    if neighbor.is_ipv6() && !limited && !is_on(statements, "multihop") {
        let message = format!("{title} takes packets that may have been forwarded: hop limits from 64");
        let hint = "keepalived sends 64 over IPv6 unless it says `hoplimit 255`: write that on both ends";
        report.notice(Code::Advice, name.span, message, hint);
    }
    Some(PlacedBfd { name, alone: given.seen_at("vrrp").or(given.seen_at("checker")) })
}

/// An address that one station can have.
fn is_possible(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => !matches!(v4.octets()[0], 0 | 224..),
        IpAddr::V6(v6) => !v6.is_unspecified() && !v6.is_multicast(),
    }
}

fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local())
}

/// Sessions that are one, and names of sessions that are not for who names them.
pub fn check(
    config: &Config,
    placed: &[PlacedBfd],
    (drafts, groups): (&[Draft], &[PlacedGroup]),
    report: &mut Report,
) {
    let sessions: HashMap<&str, &BfdInstance> =
        config.bfd.iter().map(|session| (session.name.as_str(), session)).collect();
    check_same(config, placed, report);
    let tracked = drafts.iter().flat_map(|draft| &draft.given.tracked);
    for track in tracked.chain(groups.iter().flat_map(|group| &group.tracked)) {
        let session = sessions.get(track.name.text.as_str());
        if track.kind == TrackKind::Bfd && session.is_some_and(|session| !session.for_vrrp) {
            let message =
                format!("{} is for checkers alone: this line is ignored", report.quote(&track.name));
            let hint = "remove `checker` from the `bfd_instance`, or add `vrrp` there";
            report.warning(Code::Ignored, track.name.span, message, hint);
        }
    }
    let checks = config.balance.servers().iter().flat_map(|server| &server.targets);
    let checked = checks.flat_map(|target| &target.checks).filter_map(|check| match &check.probe {
        ProbeSpec::Bfd { session } => Some(session.as_str()),
        _ => None,
    });
    for name in checked.collect::<BTreeSet<_>>() {
        let Some(session) = sessions.get(name).filter(|session| !session.for_checkers) else { continue };
        let place = placed.iter().find(|placed| placed.name.text == session.name);
        if let Some((place, at)) = place.and_then(|place| Some((place, place.alone?))) {
            let message = format!(
                "`bfd_instance {}` is for VRRP alone, and a BFD_CHECK names it",
                report.bare(&place.name)
            );
            report.error_hint(Code::Conflict, at, message, "remove `vrrp`, or add `checker`");
        }
    }
}

/// Packets of two sessions are told apart by their addresses, the port and the interface: keepalived drops the second.
fn check_same(config: &Config, placed: &[PlacedBfd], report: &mut Report) {
    let place = |session: &BfdInstance| placed.iter().find(|placed| placed.name.text == session.name);
    let mut before: HashMap<(IpAddr, bool), Vec<&BfdInstance>> = HashMap::new();
    for session in &config.bfd {
        let same_neighbor = before.entry((session.neighbor, session.multihop)).or_default();
        let other = same_neighbor.iter().find(|other| may_be_one(other, session));
        if let Some((other, place)) = other.and_then(|other| place(other)).zip(place(session)) {
            let message = format!("{} may have the addresses of another session", report.quote(&place.name));
            let hint = format!(
                "it is on {}: one session is enough for all who track it; for two, give each a `source_ip` of its own",
                report.line_of(other.name.span, place.name.span)
            );
            report.error_hint(Code::Duplicate, place.name.span, message, hint);
        }
        same_neighbor.push(session);
    }
    if let Some(place) = placed.get(SESSIONS_MAX) {
        let message = format!("more than {SESSIONS_MAX} `bfd_instance`");
        report.error_hint(Code::TooMany, place.name.span, message, "remove some");
    }
}

/// Whether two sessions with one neighbor are not told apart by what is given: the routes may choose for one what the other has.
fn may_be_one(one: &BfdInstance, other: &BfdInstance) -> bool {
    let sources = one.source.zip(other.source);
    let interfaces = one.interface.as_ref().zip(other.interface.as_ref());
    sources.is_none_or(|(one, other)| one == other) && interfaces.is_none_or(|(one, other)| one == other)
}

/// keepalived has room for so many.
const LONGEST_NAME: usize = 31;
/// As keepalived.
const LONG: Duration = Duration::from_secs(10);
const SESSIONS_MAX: usize = vipd_common::abi::MAX_BFD_SESSIONS as usize;
