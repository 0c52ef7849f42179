//! Settings to the model: what must be there, what must fit together, and what must be unique in the file.

mod addressing;
mod strict;
mod unique;

use std::time::Duration;

use vipd_common::{Family, Priority, Version, Vrid, types::ChecksumForm};

use super::{
    diagnostic::Code,
    heartbeats,
    lexer::Span,
    lower::Draft,
    model::{Auth, Config, Garp, Instance, LeasePolicy, WantedState},
    report::Report,
    settings::{AuthType, Settings, Shared, Spanned, value_or},
    values,
};

/// Instances that cannot be built are left out; then `report` says why.
pub fn config(drafts: &[Draft], global: &Settings, report: &mut Report) -> Config {
    unique::check(drafts, report);
    // After an error it may be the instance that could not be read.
    if drafts.is_empty() && !report.has_errors() {
        let start = Span { line: 1, column: 1, width: 1 };
        report.warning(
            Code::NoInstance,
            start,
            "no vrrp_instance in this file",
            "vipd serves no address until there is one",
        );
    }
    let instances = drafts.iter().filter_map(|draft| instance(draft, global, report)).collect();
    Config {
        router_id: global.router_id.as_ref().map(|id| id.value.clone()),
        instances,
        statements: global.statements.clone(),
        ..Config::default()
    }
}

fn instance(draft: &Draft, global: &Settings, report: &mut Report) -> Option<Instance> {
    let settings = &draft.settings;
    for (keyword, hint) in NEEDED {
        if settings.seen_at(keyword).is_none() && !settings.partial {
            let message = format!("{} has no `{keyword}`", draft.title);
            report.error_hint(Code::MissingKeyword, draft.name_at, message, hint);
        }
    }
    let mut shared = settings.shared.or(&global.shared);
    let family = addressing::family(settings);
    let version = version(settings, &shared, family, report);
    let (settings, accepts) = strict::apply(draft, &mut shared, version, report);
    let settings = &*settings;
    let wanted = value_or(&settings.state, WantedState::Backup);
    let priority = priority(settings, wanted, report);
    let (preempt, preempt_delay) = preemption(settings, wanted, priority, report);
    let advert_interval = advert_interval(settings, version, report);
    let auth = authentication(settings, version, family, report);
    addressing::check_vips(draft, family, report);
    let source = addressing::source(settings, family, report);
    let group = addressing::group(settings, global, family, report);
    if let Some(at) = settings.seen_at("track_src_ip").filter(|_| source.is_none()) {
        let hint = "name the address with `mcast_src_ip` or `unicast_src_ip`";
        report.warning(Code::Ignored, at, "`track_src_ip` is ignored without a source address", hint);
    }
    for keyword in ["fence_timeout", "fence_failed"] {
        let alone = settings.seen_at("fence_script").is_none();
        if let Some(at) = settings.seen_at(keyword).filter(|_| alone) {
            let message = format!("`{keyword}` is ignored without `fence_script`");
            report.warning(Code::Ignored, at, message, "name the script, or remove it");
        }
    }
    let unicast = addressing::unicast(settings, &shared, family, report);
    heartbeats::check(draft, report);
    let (use_vmac, vmac_xmit_base) = virtual_mac(settings, report);
    let accept = accept(settings, accepts, version, priority, report);
    let checksum = checksum(settings, &shared, version, family, report);
    let interface = settings.interface.as_ref()?.value.clone();
    let vrid = settings.vrid.as_ref().and_then(|vrid| Vrid::new(octet(vrid.value)))?;
    Some(Instance {
        name: draft.name.clone(),
        vips: addressing::vips(&settings.vips, &interface),
        excluded: addressing::vips(&settings.excluded, &interface),
        interface,
        vrid,
        version,
        family,
        priority,
        wanted,
        advert_interval,
        down_timer_adverts: octet(value_or(&shared.down_timer_adverts, 3)),
        auth,
        preempt,
        preempt_delay,
        source,
        group,
        unicast,
        use_vmac,
        vmac_xmit_base,
        accept,
        virtual_routes: settings.routes.clone(),
        virtual_rules: settings.rules.clone(),
        garp: garp(&shared, global),
        checksum,
        lower_prio_no_advert: value_or(&shared.lower_prio_no_advert, false),
        lease: value_or(&shared.lease, LeasePolicy::Overlap),
        self_probe: Some(value_or(&shared.self_probe, 30))
            .filter(|s| *s > 0)
            .map(|s| Duration::from_secs(s.into())),
        statements: settings.statements.clone(),
        line: report.number(draft.keyword_at),
    })
}

/// IPv6 forces version 3, as in keepalived; what the instance itself says must agree.
fn version(settings: &Settings, shared: &Shared, family: Family, report: &mut Report) -> Version {
    if family == Family::V6 {
        if let Some(version) = settings.shared.version.as_ref().filter(|version| version.value == 2) {
            let hint = "write `version 3` or remove the line";
            report.error_hint(
                Code::Conflict,
                version.span,
                "version 2 with IPv6 addresses, which only version 3 has",
                hint,
            );
        }
        return Version::V3;
    }
    if value_or(&shared.version, 2) == 3 { Version::V3 } else { Version::V2 }
}

/// Whether the VIPs have the virtual MAC, and whether adverts have the interface's all the same.
fn virtual_mac(settings: &Settings, report: &mut Report) -> (bool, bool) {
    let Some(use_vmac) = &settings.use_vmac else {
        if let Some(base) = &settings.vmac_xmit_base {
            let hint = "adverts have the interface's own MAC anyway";
            report.warning(Code::Ignored, base.span, "`vmac_xmit_base` is ignored without `use_vmac`", hint);
        }
        return (false, false);
    };
    if settings.seen_at("unicast_peer").is_some() {
        let hint =
            "they reach the peers' ports only; gratuitous ARP and neighbour advertisements do it instead";
        report.notice(
            Code::Advice,
            use_vmac.span,
            "unicast adverts do not move the virtual MAC to another port of a switch",
            hint,
        );
    }
    (true, settings.vmac_xmit_base.is_some())
}

fn accept(
    settings: &Settings,
    default: bool,
    version: Version,
    priority: Priority,
    report: &mut Report,
) -> bool {
    let Some(off) = settings.accept.as_ref().filter(|accept| !accept.value) else {
        return default || settings.accept.is_some();
    };
    // RFC 9568 6.4.3: the owner accepts whatever Accept_Mode says.
    if priority.is_owner() {
        let hint = "give every router a priority below 255";
        report.warning(Code::Ignored, off.span, "`accept off` is ignored with priority 255", hint);
        return true;
    }
    // DEVIATION RFC 3768 6.4.3: there a master that is not the owner never accepts and there is no choice.
    if version == Version::V2 {
        let hint = "RFC 3768 has no accept mode; `version 3` on every router has";
        report.warning(
            Code::Extension,
            off.span,
            "`accept off` with version 2 is an extension of vipd and keepalived",
            hint,
        );
    }
    false
}

fn checksum(
    settings: &Settings,
    shared: &Shared,
    version: Version,
    family: Family,
    report: &mut Report,
) -> ChecksumForm {
    if family == Family::V6 {
        if let Some(as_v2) = settings.shared.v3_checksum_as_v2.as_ref().filter(|as_v2| as_v2.value) {
            // RFC 9568 5.2.8: always with the pseudo-header.
            let hint = "IPv6 has one form of checksum: remove the line";
            report.warning(
                Code::Ignored,
                as_v2.span,
                "`v3_checksum_as_v2` is ignored with IPv6 addresses",
                hint,
            );
        }
        return ChecksumForm::PseudoHeader;
    }
    let message_only = version == Version::V2 || value_or(&shared.v3_checksum_as_v2, false);
    if message_only { ChecksumForm::MessageOnly } else { ChecksumForm::PseudoHeader }
}

fn priority(settings: &Settings, wanted: WantedState, report: &mut Report) -> Priority {
    match (&settings.priority, &settings.state) {
        (Some(priority), _) => Priority::new(octet(priority.value)),
        (None, Some(state)) if wanted == WantedState::Master => {
            if settings.seen_at("priority").is_none() {
                let hint = "write `priority 255` if this router owns the addresses, a lower one if not";
                report.warning(
                    Code::Implied,
                    state.span,
                    "`state MASTER` without `priority` means priority 255",
                    hint,
                );
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
            report.warning(Code::Ignored, nopreempt.span, message, hint);
        }
    }
    let Some(delay) = settings.preempt_delay.as_ref().filter(|delay| !delay.value.is_zero()) else {
        return (preempt, Duration::ZERO);
    };
    if master {
        let hint = "use `state BACKUP` on every router";
        report.warning(Code::Ignored, delay.span, "`preempt_delay` is ignored with `state MASTER`", hint);
        (preempt, Duration::ZERO)
    } else if !preempt {
        report.warning(
            Code::Ignored,
            delay.span,
            "`preempt_delay` is ignored with `nopreempt`",
            "remove one of the two",
        );
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
            report.error_hint(
                Code::BadValue,
                span,
                message,
                "`version 3` on every router allows 0.01 to 40.95 s",
            );
        }
        Version::V3 if us > 40_950_000 => {
            let message = format!("advert_int {written} with version 3 is out of range: 0.01 to 40.95 s");
            report.error_hint(
                Code::BadValue,
                span,
                message,
                "write 40.95 or less: the advert has 12 bits for it",
            );
        }
        Version::V3 if us % 10_000 != 0 => {
            report.error(Code::BadValue, span, format!("advert_int {written} is not a multiple of 0.01 s"));
        }
        Version::V2 | Version::V3 => {}
    }
    value
}

fn authentication(settings: &Settings, version: Version, family: Family, report: &mut Report) -> Auth {
    let Some(block) = settings.seen_at("authentication") else {
        return Auth::None;
    };
    if family == Family::V6 {
        let hint = "remove the block: VRRP for IPv6 is version 3";
        report.warning(Code::Ignored, block, "authentication is ignored: VRRP for IPv6 has none", hint);
        return Auth::None;
    }
    if version == Version::V3 {
        report.warning(
            Code::Ignored,
            block,
            "authentication is ignored: VRRP version 3 has none",
            "remove the block",
        );
        return Auth::None;
    }
    if let Some(kind) = settings.auth_type.as_ref().filter(|kind| kind.value == AuthType::Ah) {
        let hint = "use `auth_type PASS` on every router, or none: RFC 3768 withdrew both";
        report.error_hint(Code::NotSupported, kind.span, "auth_type AH is not supported", hint);
    }
    for keyword in ["auth_type", "auth_pass"] {
        if settings.seen_at(keyword).is_none() && !settings.partial {
            let hint = "give both, `auth_type PASS` and an `auth_pass`, or remove the block on every router";
            let message = format!("authentication has no `{keyword}`");
            report.error_hint(Code::MissingKeyword, block, message, hint);
        }
    }
    let Some(pass) = &settings.auth_pass else {
        return Auth::None;
    };
    let mut octets = [0; AUTH_LEN];
    if pass.value.len() > AUTH_LEN {
        let hint = "write 8 bytes or less: an advert holds no more, and keepalived cuts it too";
        report.warning(
            Code::PasswordCut,
            pass.span,
            format!("auth_pass is longer than {AUTH_LEN} bytes: the rest is ignored"),
            hint,
        );
    }
    octets.iter_mut().zip(pass.value.bytes()).for_each(|(octet, byte)| *octet = byte);
    Auth::Pass(octets)
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
        na_interval: value_or(&global.na_interval, Duration::ZERO),
    }
}

/// For values whose form keeps them below 256.
fn octet(value: u32) -> u8 {
    u8::try_from(value).unwrap_or(u8::MAX)
}

/// RFC 2338 5.3.10: eight octets of authentication data.
const AUTH_LEN: usize = 8;

/// What an instance cannot do without, and what to add.
const NEEDED: [(&str, &str); 3] = [
    ("interface", "add `interface IF`, the interface that its adverts go over"),
    ("virtual_router_id", "add `virtual_router_id N`, 1 to 255, the same on every router of the group"),
    ("virtual_ipaddress", "add a `virtual_ipaddress` block with an address on each line"),
];
