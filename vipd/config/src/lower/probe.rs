//! `probe`: how the hosts that run the same virtual router are probed.

use std::time::Duration;

use vipd_common::Priority;

use super::{arbiters::shown, given::Draft};
use crate::{
    model::{config::Config, instance::Instance, probe::Probe},
    schema::{
        statement::{Statement, find, number_of},
        value::Value,
        words,
    },
    syntax::{
        diagnostic::Code,
        report::{Report, fit},
        span::Span,
    },
};

/// The probes of an instance.
pub fn probe(statements: &[Statement]) -> Option<Probe> {
    let inside = find(statements, "probe")?.inside.as_deref()?;
    let interval = find(inside, "interval").and_then(|interval| match interval.values.first() {
        Some(Value::Millis(interval)) => Some(*interval),
        _ => None,
    });
    let multiplier = number_of(inside, "multiplier").and_then(|number| u8::try_from(number).ok());
    Some(Probe {
        interval: interval.unwrap_or(INTERVAL),
        multiplier: multiplier.unwrap_or(MULTIPLIER),
        takes_over: find(inside, "act").is_some_and(|act| act.has("takeover")),
    })
}

/// Whether `act takeover` fits what else the file says, and what it costs.
pub fn check(config: &Config, drafts: &[Draft], report: &mut Report) {
    let early = |draft: &Draft| {
        let instance = config.instances.iter().find(|instance| instance.name == draft.name)?;
        let probe = instance.probe.filter(|probe| probe.takes_over)?;
        Some((instance, probe, draft.given.seen_at("probe")?))
    };
    let mut all: Vec<(&Instance, Probe, Span)> = drafts.iter().filter_map(early).collect();
    let Some((_, first, first_at)) = all.first().copied() else { return };
    let mut unclaimed: Vec<&str> = Vec::new();
    for (instance, probe, at) in &all {
        let detect = probe.interval * u32::from(probe.multiplier);
        let name = fit(&instance.name);
        if detect > LONGEST {
            let message = format!(
                "`interval` x `multiplier` is {} s: at most 1 s with `act takeover`",
                exactly(detect)
            );
            let hint =
                "write a shorter `interval`, or `act no`: after a longer silence missed adverts decide";
            report.error_hint(Code::BadValue, *at, message, hint);
        } else if detect >= instance.soonest_takeover() {
            let message = format!(
                "`act takeover` gains nothing: it waits {} s, and a backup of {name} may miss enough adverts within {} s",
                exactly(detect),
                shown(instance.soonest_takeover())
            );
            let hint = "write a shorter `interval`, or `act no`";
            report.warning(Code::Advice, *at, message, hint);
        }
        if (probe.interval, probe.multiplier) != (first.interval, first.multiplier) {
            let message =
                format!("`interval` or `multiplier` differs from that on {}", report.line_of(first_at, *at));
            let hint =
                "write the same in all instances with `act takeover`: one probe of a host is for all of them";
            report.error_hint(Code::Conflict, *at, message, hint);
        }
        if instance.fence.is_some() {
            let message = format!("`act takeover` never takes over: {name} has `fence_script`");
            let hint = "a fence takes longer than missed adverts: remove `fence_script`, or write `act no`";
            report.warning(Code::Conflict, *at, message, hint);
            unclaimed.push(&instance.name);
        }
        if instance.priority >= OWNER {
            let message = format!("`act takeover` never takes over from this node: {name} has priority 255");
            let hint = "nobody outbids the owner of the addresses: write a priority of 253 or less";
            report.warning(Code::Conflict, *at, message, hint);
            unclaimed.push(&instance.name);
        } else if instance.priority >= HIGHEST_CLAIM {
            let message = format!(
                "`act takeover` takes over from this node only where the other's address is greater: {name} has priority 254"
            );
            let hint = "no claim is higher than 254: write a priority of 253 or less";
            report.warning(Code::Advice, *at, message, hint);
        }
        check_arbiters(config, instance, *at, report);
    }
    for group in &config.sync_groups {
        let of = |name: &String| all.iter().find(|(instance, ..)| instance.name == *name);
        let others: Vec<&str> =
            group.members.iter().filter(|name| of(name).is_none()).map(String::as_str).collect();
        if let Some((_, _, at)) = group.members.iter().find_map(of)
            && !others.is_empty()
        {
            let message = format!(
                "`act takeover` never takes over: {} of `vrrp_sync_group {}` {} no such line",
                others.iter().map(|name| fit(name)).collect::<Vec<_>>().join(", "),
                fit(&group.name),
                if others.len() == 1 { "has" } else { "have" }
            );
            report.warning(Code::Conflict, *at, message, "write the same `probe` block in all its instances");
            unclaimed.extend(group.members.iter().map(String::as_str));
        }
    }
    all.retain(|(instance, ..)| !unclaimed.contains(&instance.name.as_str()));
    price(config, &all, report);
}

/// What nobody wants to learn in a partition.
fn price(config: &Config, all: &[(&Instance, Probe, Span)], report: &mut Report) {
    let lacks = |instance: &Instance| {
        instance.heartbeat_links.is_empty() && config.isolating(&instance.name).is_empty()
    };
    let Some((instance, probe, at)) = all.iter().find(|(instance, ..)| lacks(instance)) else { return };
    let detect = probe.interval * u32::from(probe.multiplier);
    let message = format!(
        "a network that is cut between living nodes for {} s gives the VIPs of {} two owners until it is whole again; without \
         `act takeover` only a cut of {} s does",
        exactly(detect),
        fit(&instance.name),
        shown(instance.soonest_takeover())
    );
    let hint = "`track_arbiter` silences the side that is cut off, `heartbeat_interface` is a second way for adverts and probes";
    report.notice(Code::Advice, *at, message, hint);
}

fn check_arbiters(config: &Config, instance: &Instance, at: Span, report: &mut Report) {
    for arbiter in config.isolating(&instance.name) {
        let stations = arbiter.targets.iter().filter(|target| target.port.is_none()).count();
        if stations >= arbiter.quorum {
            continue;
        }
        let message = format!(
            "`arbiter {}` has too few `ping` targets for `act takeover`: {stations} of a quorum of {}",
            fit(&arbiter.name),
            arbiter.quorum
        );
        let hint = "`act takeover` asks it with each probe, by `ping` alone: name as many `ping` targets as the quorum";
        report.error_hint(Code::Conflict, at, message, hint);
    }
}

/// To the microsecond: an interval may be 3.3 ms.
fn exactly(time: Duration) -> String {
    words::seconds(u64::try_from(time.as_micros()).unwrap_or(u64::MAX))
}

/// The longest silence that is acted on. A host that has been silent for three times as long is probed once a second.
const LONGEST: Duration = Duration::from_secs(1);
const OWNER: Priority = Priority::new(255);
/// R2 of docs/internals/early-takeover.md.
const HIGHEST_CLAIM: Priority = Priority::new(254);
const INTERVAL: Duration = Duration::from_millis(10);
const MULTIPLIER: u8 = 3;
