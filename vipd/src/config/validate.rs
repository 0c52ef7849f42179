//! Settings to the model: what must be there, what must fit together, and what must be unique in the file.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use vipd_common::{Family, Priority, Version, Vrid, types::ChecksumForm};

use super::{
    lexer::Span,
    lower::Draft,
    model::{Auth, Config, Garp, Instance, LeasePolicy, Vip, WantedState},
    report::Report,
    settings::{AuthType, Settings, Shared, Spanned, value_or},
    values,
};

/// Instances that cannot be built are left out; then `report` says why.
pub fn config(drafts: &[Draft], global: &Settings, report: &mut Report) -> Config {
    unique(drafts, report);
    // After an error it may be the instance that could not be read.
    if drafts.is_empty() && !report.has_errors() {
        let start = Span { line: 1, column: 1, width: 1 };
        report.warning(start, "no vrrp_instance in this file", "vipd serves no address until there is one");
    }
    let instances = drafts.iter().filter_map(|draft| instance(draft, global, report)).collect();
    Config { router_id: global.router_id.as_ref().map(|id| id.value.clone()), instances }
}

fn instance(draft: &Draft, global: &Settings, report: &mut Report) -> Option<Instance> {
    let settings = &draft.settings;
    for keyword in ["interface", "virtual_router_id", "virtual_ipaddress"] {
        if settings.seen_at(keyword).is_none() && !settings.partial {
            report.error(draft.name_at, format!("{} has no `{keyword}`", draft.title));
        }
    }
    let shared = settings.shared.or(&global.shared);
    let version = if value_or(&shared.version, 2) == 3 { Version::V3 } else { Version::V2 };
    let wanted = value_or(&settings.state, WantedState::Backup);
    let priority = priority(settings, wanted, report);
    let (preempt, preempt_delay) = preemption(settings, wanted, priority, report);
    let advert_interval = advert_interval(settings, version, report);
    let auth = authentication(settings, version, report);
    addresses(draft, report);
    if let Some(accept) = settings.accept.as_ref().filter(|accept| !accept.value) {
        report.error_hint(
            accept.span,
            "`accept off` is not supported yet",
            "vipd accepts traffic for its VIPs",
        );
    }
    let interface = interface(settings, report)?;
    let vrid = settings.vrid.as_ref().and_then(|vrid| Vrid::new(octet(vrid.value)))?;
    let message_only = version == Version::V2 || value_or(&shared.v3_checksum_as_v2, false);
    Some(Instance {
        name: draft.name.clone(),
        interface,
        vrid,
        version,
        family: Family::V4,
        priority,
        wanted,
        advert_interval,
        down_timer_adverts: octet(value_or(&shared.down_timer_adverts, 3)),
        auth,
        vips: settings.vips.iter().map(|vip| vip.value).collect(),
        excluded: settings.excluded.iter().map(|vip| vip.value).collect(),
        preempt,
        preempt_delay,
        source: settings.source.as_ref().map(|source| IpAddr::V4(source.value)),
        group: IpAddr::V4(value_or(&global.group, VRRP_GROUP)),
        garp: garp(&shared, global),
        checksum: if message_only { ChecksumForm::MessageOnly } else { ChecksumForm::PseudoHeader },
        lower_prio_no_advert: value_or(&shared.lower_prio_no_advert, false),
        lease: value_or(&shared.lease, LeasePolicy::Overlap),
        line: draft.keyword_at.line,
    })
}

fn priority(settings: &Settings, wanted: WantedState, report: &mut Report) -> Priority {
    match (&settings.priority, &settings.state) {
        (Some(priority), _) => Priority::new(octet(priority.value)),
        (None, Some(state)) if wanted == WantedState::Master => {
            if settings.seen_at("priority").is_none() {
                let hint = "write `priority 255` if this router owns the addresses, a lower one if not";
                report.warning(state.span, "`state MASTER` without `priority` means priority 255", hint);
            }
            Priority::OWNER
        }
        (None, _) => Priority::DEFAULT,
    }
}

/// keepalived drops the same combinations, so the same file means the same under both.
fn preemption(
    settings: &Settings,
    wanted: WantedState,
    priority: Priority,
    report: &mut Report,
) -> (bool, Duration) {
    let master = wanted == WantedState::Master;
    let mut preempt = true;
    if let Some(nopreempt) = &settings.nopreempt {
        let (message, hint) = if settings.preempt.is_some() {
            ("`nopreempt` is overridden by `preempt`", "remove one of the two")
        } else if master {
            ("`nopreempt` is ignored with `state MASTER`", "use `state BACKUP` on every router")
        } else if priority.is_owner() {
            ("`nopreempt` is ignored with priority 255", "give every router a priority below 255")
        } else {
            preempt = false;
            ("", "")
        };
        if preempt {
            report.warning(nopreempt.span, message, hint);
        }
    }
    let Some(delay) = settings.preempt_delay.as_ref().filter(|delay| !delay.value.is_zero()) else {
        return (preempt, Duration::ZERO);
    };
    if master {
        let hint = "use `state BACKUP` on every router";
        report.warning(delay.span, "`preempt_delay` is ignored with `state MASTER`", hint);
        (preempt, Duration::ZERO)
    } else if !preempt {
        report.warning(delay.span, "`preempt_delay` is ignored with `nopreempt`", "remove one of the two");
        (preempt, Duration::ZERO)
    } else {
        (preempt, delay.value)
    }
}

fn advert_interval(settings: &Settings, version: Version, report: &mut Report) -> Duration {
    let Some(Spanned { value, span }) = settings.advert_interval.clone() else {
        return Duration::from_secs(1);
    };
    let us = u64::try_from(value.as_micros()).unwrap_or(u64::MAX);
    let written = values::seconds(us);
    match version {
        Version::V2 if us % 1_000_000 != 0 => {
            let message = format!("advert_int {written} with version 2, which has whole seconds only");
            report.error_hint(span, message, "`version 3` on every router allows 0.01 to 40.95 s");
        }
        Version::V3 if us > 40_950_000 => {
            report
                .error(span, format!("advert_int {written} with version 3 is out of range: 0.01 to 40.95 s"));
        }
        Version::V3 if us % 10_000 != 0 => {
            report.error(span, format!("advert_int {written} is not a multiple of 0.01 s"));
        }
        Version::V2 | Version::V3 => {}
    }
    value
}

fn authentication(settings: &Settings, version: Version, report: &mut Report) -> Auth {
    let Some(block) = settings.seen_at("authentication") else {
        return Auth::None;
    };
    if version == Version::V3 {
        report.warning(block, "authentication is ignored: VRRP version 3 has none", "remove the block");
        return Auth::None;
    }
    if let Some(kind) = settings.auth_type.as_ref().filter(|kind| kind.value == AuthType::Ah) {
        let hint = "use `auth_type PASS` on every router, or none: RFC 3768 withdrew both";
        report.error_hint(kind.span, "auth_type AH is not supported", hint);
    }
    for keyword in ["auth_type", "auth_pass"] {
        if settings.seen_at(keyword).is_none() && !settings.partial {
            report.error(block, format!("authentication has no `{keyword}`"));
        }
    }
    let Some(pass) = &settings.auth_pass else {
        return Auth::None;
    };
    let mut octets = [0; AUTH_LEN];
    if pass.value.len() > AUTH_LEN {
        let hint = "VRRP has room for 8 bytes; keepalived cuts it too";
        report.warning(
            pass.span,
            format!("auth_pass is longer than {AUTH_LEN} bytes: the rest is ignored"),
            hint,
        );
    }
    octets.iter_mut().zip(pass.value.bytes()).for_each(|(octet, byte)| *octet = byte);
    Auth::Pass(octets)
}

fn addresses(draft: &Draft, report: &mut Report) {
    let Draft { settings, title, .. } = draft;
    let block = settings.seen_at("virtual_ipaddress");
    if let Some(block) = block.filter(|_| settings.vips.is_empty() && !settings.partial) {
        let hint = "adverts carry at least one; further ones may be in virtual_ipaddress_excluded";
        report.error_hint(block, format!("virtual_ipaddress of {title} holds no address"), hint);
    }
    if let Some(beyond) = settings.vips.get(VIPS_MAX) {
        let (len, hint) = (settings.vips.len(), "move the rest to virtual_ipaddress_excluded");
        let message =
            format!("{len} addresses in virtual_ipaddress of {title}, an advert carries {VIPS_MAX}");
        report.error_hint(beyond.span, message, hint);
    }
    let Some(interface) = &settings.interface else {
        return;
    };
    for dev in settings.vip_interfaces.iter().filter(|dev| dev.value != interface.value) {
        let message = "`dev` other than the interface of the instance is not supported yet";
        report.error_hint(dev.span, message, "give the other interface a vrrp_instance of its own");
    }
}

fn interface(settings: &Settings, report: &mut Report) -> Option<String> {
    let Spanned { value, span } = settings.interface.as_ref()?;
    let possible = value.len() <= INTERFACE_NAME_LEN_MAX
        && !matches!(value.as_str(), "." | "..")
        && !value.contains(|c: char| c == '/' || c == ':' || c.is_whitespace());
    if !possible {
        let hint = format!("1 to {INTERFACE_NAME_LEN_MAX} bytes without blank, `/` and `:`");
        report.error_hint(*span, "no interface can have this name", hint);
    }
    possible.then(|| value.clone())
}

fn garp(shared: &Shared, global: &Settings) -> Garp {
    // `vrrp_min_garp` changes what holds where nothing is said.
    let minimal = value_or(&global.min_garp, false);
    let (default_repeat, default_delay_s) = if minimal { (1, 0) } else { (5, 5) };
    let repeat = value_or(&shared.garp_repeat, default_repeat);
    let delay = value_or(&shared.garp_delay, Duration::from_secs(default_delay_s));
    // A repeat of 0 is read as 1, as in keepalived.
    let at_least_one = |repeat: u32| octet(repeat.max(1));
    let unless_zero = |delay: Duration| (!delay.is_zero()).then_some(delay);
    Garp {
        repeat: at_least_one(repeat),
        delay: unless_zero(delay),
        refresh: unless_zero(value_or(&shared.garp_refresh, Duration::ZERO)),
        refresh_repeat: at_least_one(value_or(&shared.garp_refresh_repeat, 1)),
        lower_prio_delay: unless_zero(value_or(&shared.garp_lower_prio_delay, delay)),
        lower_prio_repeat: at_least_one(value_or(&shared.garp_lower_prio_repeat, repeat)),
        interval: value_or(&global.garp_interval, Duration::ZERO),
    }
}

fn unique(drafts: &[Draft], report: &mut Report) {
    let mut names: HashMap<&str, u32> = HashMap::new();
    let mut routers: HashMap<(&str, u32), (u32, &str)> = HashMap::new();
    let mut addresses: HashMap<IpAddr, u32> = HashMap::new();
    for Draft { name, title, keyword_at, name_at, settings } in drafts {
        if let Some(line) = names.get(name.as_str()).filter(|_| !name.is_empty()) {
            report.error(*name_at, format!("second {title}; the first is on line {line}"));
        } else {
            names.insert(name, keyword_at.line);
        }
        if let (Some(interface), Some(vrid)) = (&settings.interface, &settings.vrid) {
            let key = (interface.value.as_str(), vrid.value);
            if let Some((line, other)) = routers.get(&key) {
                let message = format!("virtual_router_id {} is taken by {other} on line {line}", vrid.value);
                let hint = "two virtual routers on one interface need different ids";
                report.error_hint(vrid.span, message, hint);
            } else {
                routers.insert(key, (vrid.span.line, title));
            }
        }
        for Spanned { value: Vip { address, .. }, span } in settings.vips.iter().chain(&settings.excluded) {
            if let Some(line) = addresses.get(address) {
                report.error(*span, format!("address {address} is on line {line} already"));
            } else {
                addresses.insert(*address, span.line);
            }
        }
    }
}

/// For values whose form keeps them below 256.
fn octet(value: u32) -> u8 {
    u8::try_from(value).unwrap_or(u8::MAX)
}

/// RFC 9568 5.1.1.2.
const VRRP_GROUP: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 18);
/// The count of addresses in an advert is one octet.
const VIPS_MAX: usize = 255;
/// RFC 2338 5.3.10: eight octets of authentication data.
const AUTH_LEN: usize = 8;
/// IFNAMSIZ without the final NUL.
const INTERFACE_NAME_LEN_MAX: usize = 15;
