//! The configuration: no text makes the parser panic, every diagnostic points into the text, and what is accepted is
//! what `model` promises.

use std::{collections::HashSet, net::IpAddr, path::Path};

use vipd_common::{Family, Version, types::ChecksumForm};
use vipd_config::{
    Auth, Config, Diagnostic, Hop, Instance, Loaded, Prefix, RouteKind, Unsupported, VirtualRoute,
    VirtualRule,
};

/// A password that a corpus may have. It must not be shown if it stands only where passwords stand.
const SECRET: &str = "s3cr3tPW";
/// A blank and four stars.
const MASK_LEN: usize = 5;

pub fn check(octets: &[u8]) {
    let text = String::from_utf8_lossy(octets);
    let parse = |text: &str| {
        vipd_config::parse(Path::new("fuzz.conf"), text, &vipd_config::Nothing, Unsupported::Ignored)
    };
    let parsed = parse(&text);
    let (diagnostics, text_of_all) = match &parsed {
        Ok(loaded) => (&loaded.warnings, None),
        Err(failure) => {
            assert!(!failure.diagnostics.is_empty(), "a refusal has a reason");
            (&failure.diagnostics, Some(failure.to_string()))
        }
    };
    let lines: Vec<&str> = text.lines().collect();
    let secret =
        |line: &&str| line.find(SECRET).is_some_and(|at| line.find("auth_pass").is_none_or(|key| key > at));
    let may_show_secret = lines.iter().any(secret);
    let shown: Vec<String> = diagnostics.iter().map(ToString::to_string).collect();
    for (diagnostic, shown) in diagnostics.iter().zip(&shown) {
        points_into(diagnostic, &lines);
        let speaks_to_terminal = shown.contains(|c: char| c.is_control() && c != '\n');
        assert!(!speaks_to_terminal, "{diagnostic:?}");
        assert!(may_show_secret || !shown.contains(SECRET), "a password is shown: {shown}");
    }
    assert!(text_of_all.is_none_or(|all| all == shown.join("\n")));
    if let Ok(loaded) = parsed {
        valid(&loaded.config);
        assert!(may_show_secret || !format!("{:?}", loaded.config).contains(SECRET), "a password is shown");
        // What an editor does to line ends says nothing.
        let again = parse(&(lines.join("\r\n") + "\r\n! the end"));
        assert_eq!(again.map(|again| again.config).as_ref(), Ok(&loaded.config));
        printed_reads_the_same(loaded);
    }
}

fn printed_reads_the_same(Loaded { config, origins, .. }: Loaded) {
    // A password that is cut within a character cannot be written.
    let pass = |i: &Instance| if let Auth::Pass(octets) = i.auth { Some(octets) } else { None };
    if config.instances.iter().filter_map(pass).any(|octets| std::str::from_utf8(&octets).is_err()) {
        return;
    }
    let without_lines = |mut config: Config| {
        config.instances.iter_mut().for_each(|instance| instance.line = 0);
        config
    };
    let printed = vipd_config::print(&config, &origins);
    let again =
        vipd_config::parse(Path::new("printed.conf"), &printed, &vipd_config::Nothing, Unsupported::Ignored)
            .unwrap_or_else(|failure| panic!("{printed}\n{failure}"));
    assert!(again.origins.says_the_same_as(&origins), "{printed}");
    assert_eq!(without_lines(again.config), without_lines(config), "{printed}");
}

fn points_into(diagnostic: &Diagnostic, lines: &[&str]) {
    let Diagnostic { line, column, source, caret, width, .. } = diagnostic;
    assert!(*line >= 1 && *column >= 1 && *caret >= 1 && *width >= 1, "{diagnostic:?}");
    // What a file lacks is said of its first line, even if it has none.
    assert!(*line as usize <= lines.len().max(1), "{diagnostic:?} in {} lines", lines.len());
    let length = lines.get(*line as usize - 1).map_or(0, |text| text.chars().count());
    assert!(*column as usize <= length.max(1), "{diagnostic:?} in {length} columns");
    let shown = source.chars().count();
    assert!(shown <= length + MASK_LEN, "{diagnostic:?}");
    assert!(
        shown == 0 || (caret + width) as usize <= shown + 1,
        "{diagnostic:?}: the caret is beyond the line"
    );
}

fn valid(config: &Config) {
    let mut names = HashSet::new();
    let mut keys = HashSet::new();
    for instance in &config.instances {
        assert!(names.insert(&instance.name), "two instances {}", instance.name);
        let key = (&instance.interface, instance.family as u8, instance.vrid);
        assert!(instance.unicast.is_some() || keys.insert(key), "two routers {key:?}");
        valid_instance(instance);
    }
}

fn valid_instance(i: &Instance) {
    let family = |address: &IpAddr| if address.is_ipv4() { Family::V4 } else { Family::V6 };
    let (ms, (unit, most)) = (
        i.advert_interval.as_millis(),
        match i.version {
            Version::V2 => (1000, 255),
            Version::V3 => (10, 4095),
        },
    );
    assert!(ms.is_multiple_of(unit) && (1..=most).contains(&(ms / unit)), "{i:?}");
    assert!(i.family == Family::V4 || i.version == Version::V3, "{i:?}");
    assert!(i.priority.get() >= 1, "{i:?}");
    assert!((1..=100).contains(&i.down_timer_adverts), "{i:?}");
    assert!(i.version == Version::V2 || i.auth == Auth::None, "{i:?}");
    assert!((1..=if i.family == Family::V4 { 255 } else { 90 }).contains(&i.vips.len()), "{i:?}");
    assert!(i.vips.iter().all(|vip| family(&vip.address) == i.family), "{i:?}");
    for vip in i.vips.iter().chain(&i.excluded) {
        assert!(!vip.address.is_multicast() && !vip.address.is_unspecified(), "{vip:?}");
        assert!(vip.prefix_len <= width(&vip.address), "{vip:?}");
    }
    assert!(i.preempt || i.preempt_delay.is_zero(), "{i:?}");
    assert!(i.source.is_none_or(|source| family(&source) == i.family), "{i:?}");
    assert!(family(&i.group) == i.family && i.group.is_multicast(), "{i:?}");
    assert!(i.use_vmac || !i.vmac_xmit_base, "{i:?}");
    assert!(i.accept || i.priority.get() < 255, "{i:?}");
    if let Some(unicast) = &i.unicast {
        let peers: HashSet<_> = unicast.peers.iter().map(|peer| peer.address).collect();
        assert!(!peers.is_empty() && peers.len() == unicast.peers.len(), "{unicast:?}");
        assert!(i.source.is_none_or(|source| !peers.contains(&source)), "{i:?}");
        assert!(
            unicast.peers.iter().all(|peer| peer.min_ttl.is_none_or(|min| min <= peer.max_ttl)),
            "{unicast:?}"
        );
    }
    let form = if i.version == Version::V2 {
        ChecksumForm::MessageOnly
    } else if i.family == Family::V6 {
        ChecksumForm::PseudoHeader
    } else {
        i.checksum
    };
    assert_eq!(i.checksum, form, "{i:?}");
    let garp = &i.garp;
    assert!(garp.master_repeat >= 1 && garp.master_refresh_repeat >= 1, "{garp:?}");
    i.virtual_routes.iter().for_each(valid_route);
    i.virtual_rules.iter().for_each(valid_rule);
}

fn valid_route(route: &VirtualRoute) {
    valid_prefix(&route.destination);
    assert_eq!(route.kind == RouteKind::Unicast, !route.hops.is_empty(), "{route:?}");
    for Hop { via, interface, weight, .. } in &route.hops {
        assert!(*weight >= 1 && (via.is_some() || interface.is_some()), "{route:?}");
        let foreign = via.is_some_and(|via| via.is_ipv4() && route.destination.address.is_ipv6());
        assert!(!foreign, "{route:?}");
    }
}

fn valid_rule(rule: &VirtualRule) {
    for prefix in rule.from.iter().chain(&rule.to) {
        valid_prefix(prefix);
        assert_eq!(prefix.address.is_ipv4(), rule.family == Family::V4, "{rule:?}");
    }
}

fn valid_prefix(prefix: &Prefix) {
    assert!(prefix.len <= width(&prefix.address), "{prefix:?}");
    assert_eq!(*prefix, Prefix::new(prefix.address, prefix.len), "bits beyond the length");
}

fn width(address: &IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}
