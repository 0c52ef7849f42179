//! One `vrrp_instance`: what must be there, what must fit together, and what becomes of it in the model.

use std::{net::IpAddr, time::Duration};

use vipd_common::{Family, Priority, Version, Vrid, types::ChecksumForm};

use super::{
    addressing,
    context::LowerContext,
    fence::{self, fence},
    garp::garp,
    given::{Draft, Given, Spanned},
    heartbeats, notify,
    probe::probe,
    strict, tracked, tracking,
};
use crate::{
    model::instance::{Auth, Instance, LeasePolicy, WantedState},
    schema::{
        statement::{find, is_on},
        words,
    },
    syntax::{diagnostic::Code, report::Report},
};

/// `None`: it cannot be built; then `report` says why.
pub fn instance(draft: &Draft, global: &Given, report: &mut Report) -> Option<Instance> {
    let given = &draft.given;
    let mut cx = LowerContext::new(draft, global, addressing::family(given), report);
    let cx = &mut cx;
    let accepts = settle(cx);
    let (preempt, preempt_delay) = preemption(cx);
    let advert_interval = advert_interval(cx);
    let auth = authentication(cx);
    addressing::check_vips(cx);
    let source = addressing::source(cx);
    let group = addressing::group(cx);
    check_tracked_source(cx, source);
    fence::check(cx);
    tracked::check_own(cx);
    let unicast = addressing::unicast(cx);
    heartbeats::check(cx);
    let (use_vmac, vmac_xmit_base) = virtual_mac(cx);
    let accept = accept(cx, accepts);
    let checksum = checksum(cx);
    let interface = cx.values.text("interface")?;
    if interface.value == LOOPBACK {
        let hint = "name the interface of the network that the VIPs are in";
        let message = "interface lo carries no Ethernet (loopback), and so no ARP or Neighbor Discovery: use an Ethernet interface";
        cx.report.error_hint(Code::BadValue, interface.span, message, hint);
    }
    let interface = interface.value;
    let vrid = cx.values.octet("virtual_router_id").and_then(Vrid::new)?;
    let statements = &given.statements;
    Some(Instance {
        name: draft.name.clone(),
        vips: addressing::vips(&given.vips, &interface),
        excluded: addressing::vips(&given.excluded, &interface),
        tracks: tracking::tracks_of(statements, &interface),
        interface,
        vrid,
        version: cx.version,
        family: cx.family,
        priority: cx.priority,
        wanted: cx.wanted,
        advert_interval,
        down_timer_adverts: cx.values.octet("down_timer_adverts").unwrap_or(3),
        auth,
        preempt,
        preempt_delay,
        source,
        group,
        unicast,
        use_vmac,
        vmac_xmit_base,
        accept,
        virtual_routes: given.routes.clone(),
        virtual_rules: given.rules.clone(),
        garp: garp(cx),
        checksum,
        lower_prio_no_advert: cx.values.is_on("lower_prio_no_advert", false),
        lease: lease(cx),
        self_probe: self_probe(cx),
        cluster_report: cluster_report(cx),
        heartbeat_links: heartbeats::links(statements),
        tracks_interface: !is_on(statements, "dont_track_primary"),
        tracks_source: find(statements, "track_src_ip").is_some(),
        vip_visible: is_on(statements, "vip_visible"),
        notify: notify::notify(statements),
        notify_priority_changes: notify::priority_changes(statements),
        fence: fence(statements),
        probe: probe(statements),
        line: cx.report.number(draft.keyword_at),
    })
}

/// Finds out what other values depend on; returns whether the instance accepts packets unless told.
fn settle(cx: &mut LowerContext<'_>) -> bool {
    check_needed(cx);
    cx.version = version(cx);
    let accepts = strict::apply(cx);
    let is_master = cx.values.word("state").is_some_and(|state| state.value == "MASTER");
    cx.wanted = if is_master { WantedState::Master } else { WantedState::Backup };
    cx.priority = priority(cx);
    accepts
}

fn check_needed(cx: &mut LowerContext<'_>) {
    let Draft { given, title, name_at, .. } = cx.draft;
    for (keyword, hint) in NEEDED {
        if given.seen_at(keyword).is_none() && !given.partial {
            let message = format!("{title} has no `{keyword}`");
            cx.report.error_hint(Code::MissingKeyword, *name_at, message, hint);
        }
    }
}

fn check_tracked_source(cx: &mut LowerContext<'_>, source: Option<IpAddr>) {
    if let Some(at) = cx.seen_at("track_src_ip").filter(|_| source.is_none()) {
        let hint = "name the address with `mcast_src_ip` or `unicast_src_ip`";
        cx.report.warning(Code::Ignored, at, "`track_src_ip` is ignored without a source address", hint);
    }
}

fn lease(cx: &LowerContext<'_>) -> LeasePolicy {
    match cx.values.word("lease") {
        Some(Spanned { value: "strict", .. }) => LeasePolicy::Strict,
        _ => LeasePolicy::Overlap,
    }
}

/// 0 is `off`.
fn self_probe(cx: &LowerContext<'_>) -> Option<Duration> {
    let seconds = cx.values.number("self_probe").map_or(30, |given| given.value);
    (seconds > 0).then(|| Duration::from_secs(seconds.into()))
}

/// 0 is `off`.
fn cluster_report(cx: &LowerContext<'_>) -> Option<Duration> {
    let seconds = cx.values.number("cluster_report").map_or(0, |given| given.value);
    (seconds > 0).then(|| Duration::from_secs(seconds.into()))
}

/// IPv6 forces version 3, as in keepalived; what the instance itself says must agree.
fn version(cx: &mut LowerContext<'_>) -> Version {
    if cx.family == Family::V6 {
        let own = cx.draft.given.values.number("version");
        if let Some(version) = own.filter(|version| version.value == 2) {
            let hint = "write `version 3` or remove the line";
            cx.report.error_hint(
                Code::Conflict,
                version.span,
                "version 2 with IPv6 addresses, which only version 3 has",
                hint,
            );
        }
        return Version::V3;
    }
    if cx.values.octet("version") == Some(3) { Version::V3 } else { Version::V2 }
}

/// Whether the VIPs have the virtual MAC, and whether adverts have the interface's all the same.
fn virtual_mac(cx: &mut LowerContext<'_>) -> (bool, bool) {
    let base = cx.values.at("vmac_xmit_base");
    let Some(use_vmac) = cx.values.at("use_vmac") else {
        if let Some(base) = base {
            let hint = "adverts have the interface's own MAC anyway";
            cx.report.warning(Code::Ignored, base, "`vmac_xmit_base` is ignored without `use_vmac`", hint);
        }
        return (false, false);
    };
    if cx.seen_at("unicast_peer").is_some() {
        let hint =
            "they reach the peers' ports only; gratuitous ARP and neighbour advertisements do it instead";
        cx.report.notice(
            Code::Advice,
            use_vmac,
            "unicast adverts do not move the virtual MAC to another port of a switch",
            hint,
        );
    }
    (true, base.is_some())
}

fn accept(cx: &mut LowerContext<'_>, default: bool) -> bool {
    let given = cx.values.flag("accept");
    let is_given = given.is_some();
    let Some(off) = given.filter(|accept| !accept.value) else {
        return default || is_given;
    };
    // RFC 9568 6.4.3: the owner accepts whatever Accept_Mode says.
    if cx.priority.is_owner() {
        let hint = "give every router a priority below 255";
        cx.report.warning(Code::Ignored, off.span, "`accept off` is ignored with priority 255", hint);
        return true;
    }
    // DEVIATION RFC 3768 6.4.3: there a master that is not the owner never accepts and there is no choice.
    if cx.version == Version::V2 {
        let hint = "RFC 3768 has no accept mode; `version 3` on every router has";
        cx.report.warning(
            Code::Extension,
            off.span,
            "`accept off` with version 2 is an extension of vipd and keepalived",
            hint,
        );
    }
    false
}

fn checksum(cx: &mut LowerContext<'_>) -> ChecksumForm {
    if cx.family == Family::V6 {
        let own = cx.draft.given.values.flag("v3_checksum_as_v2");
        if let Some(as_v2) = own.filter(|as_v2| as_v2.value) {
            // RFC 9568 5.2.8: always with the pseudo-header.
            let hint = "IPv6 has one form of checksum: remove the line";
            cx.report.warning(
                Code::Ignored,
                as_v2.span,
                "`v3_checksum_as_v2` is ignored with IPv6 addresses",
                hint,
            );
        }
        return ChecksumForm::PseudoHeader;
    }
    let message_only = cx.version == Version::V2 || cx.values.is_on("v3_checksum_as_v2", false);
    if message_only { ChecksumForm::MessageOnly } else { ChecksumForm::PseudoHeader }
}

fn priority(cx: &mut LowerContext<'_>) -> Priority {
    match (cx.values.octet("priority"), cx.values.at("state")) {
        (Some(priority), _) => Priority::new(priority),
        (None, Some(state)) if cx.wanted == WantedState::Master => {
            if cx.seen_at("priority").is_none() {
                let hint = "write `priority 255` if this router owns the addresses, a lower one if not";
                cx.report.warning(
                    Code::Implied,
                    state,
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
fn preemption(cx: &mut LowerContext<'_>) -> (bool, Duration) {
    let master = cx.wanted == WantedState::Master;
    let mut preempt = true;
    if let Some(nopreempt) = cx.values.at("nopreempt") {
        let (message, hint) = if cx.values.at("preempt").is_some() {
            ("`nopreempt` is overridden by `preempt`", "remove one of the two")
        } else if master {
            ("`nopreempt` is ignored with `state MASTER`", "use `state BACKUP` on every router")
        } else if cx.priority.is_owner() {
            ("`nopreempt` is ignored with priority 255", "give every router a priority below 255")
        } else {
            preempt = false;
            ("", "")
        };
        if preempt {
            cx.report.warning(Code::Ignored, nopreempt, message, hint);
        }
    }
    let Some(delay) = cx.values.seconds("preempt_delay").filter(|delay| !delay.value.is_zero()) else {
        return (preempt, Duration::ZERO);
    };
    if master {
        let hint = "use `state BACKUP` on every router";
        cx.report.warning(Code::Ignored, delay.span, "`preempt_delay` is ignored with `state MASTER`", hint);
        (preempt, Duration::ZERO)
    } else if !preempt {
        cx.report.warning(
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

fn advert_interval(cx: &mut LowerContext<'_>) -> Duration {
    let Some(Spanned { value, span }) = cx.values.seconds("advert_int") else {
        return Duration::from_secs(1);
    };
    let us = u64::try_from(value.as_micros()).unwrap_or(u64::MAX);
    let written = words::seconds(us);
    match cx.version {
        Version::V2 if us % 1_000_000 != 0 => {
            let message = format!("advert_int {written} with version 2, which has whole seconds only");
            cx.report.error_hint(
                Code::BadValue,
                span,
                message,
                "`version 3` on every router allows 0.01 to 40.95 s",
            );
        }
        Version::V3 if us > 40_950_000 => {
            let message = format!("advert_int {written} with version 3 is out of range: 0.01 to 40.95 s");
            cx.report.error_hint(
                Code::BadValue,
                span,
                message,
                "write 40.95 or less: the advert has 12 bits for it",
            );
        }
        Version::V3 if us % 10_000 != 0 => {
            cx.report.error(
                Code::BadValue,
                span,
                format!("advert_int {written} is not a multiple of 0.01 s"),
            );
        }
        Version::V2 | Version::V3 => {}
    }
    value
}

fn authentication(cx: &mut LowerContext<'_>) -> Auth {
    let Some(block) = cx.seen_at("authentication").filter(|_| !cx.is_without_authentication) else {
        return Auth::None;
    };
    if cx.family == Family::V6 {
        let hint = "remove the block: VRRP for IPv6 is version 3";
        cx.report.warning(Code::Ignored, block, "authentication is ignored: VRRP for IPv6 has none", hint);
        return Auth::None;
    }
    if cx.version == Version::V3 {
        cx.report.warning(
            Code::Ignored,
            block,
            "authentication is ignored: VRRP version 3 has none",
            "remove the block",
        );
        return Auth::None;
    }
    if let Some(kind) = cx.values.word("auth_type").filter(|kind| kind.value == "AH") {
        let hint = "use `auth_type PASS` on every router, or none: RFC 3768 withdrew both";
        cx.report.error_hint(Code::NotSupported, kind.span, "auth_type AH is not supported", hint);
    }
    for keyword in ["auth_type", "auth_pass"] {
        if cx.seen_at(keyword).is_none() && !cx.draft.given.partial {
            let hint = "give both, `auth_type PASS` and an `auth_pass`, or remove the block on every router";
            let message = format!("authentication has no `{keyword}`");
            cx.report.error_hint(Code::MissingKeyword, block, message, hint);
        }
    }
    let Some(pass) = cx.values.text("auth_pass") else {
        return Auth::None;
    };
    let mut octets = [0; AUTH_LEN];
    if pass.value.len() > AUTH_LEN {
        let hint = "write 8 bytes or less: an advert holds no more, and keepalived cuts it too";
        cx.report.warning(
            Code::PasswordCut,
            pass.span,
            format!("auth_pass is longer than {AUTH_LEN} bytes: the rest is ignored"),
            hint,
        );
    }
    octets.iter_mut().zip(pass.value.bytes()).for_each(|(octet, byte)| *octet = byte);
    Auth::Pass(octets)
}

/// The one interface that every machine has, and that no VIP can be on.
const LOOPBACK: &str = "lo";
/// RFC 2338 5.3.10: eight octets of authentication data.
const AUTH_LEN: usize = 8;

/// What an instance cannot do without, and what to add.
const NEEDED: [(&str, &str); 3] = [
    ("interface", "add `interface IF`, the interface that its adverts go over"),
    ("virtual_router_id", "add `virtual_router_id N`, 1 to 255, the same on every router of the group"),
    ("virtual_ipaddress", "add a `virtual_ipaddress` block with an address on each line"),
];
