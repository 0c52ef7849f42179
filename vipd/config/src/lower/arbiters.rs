//! `arbiter`: its value, and what is wrong with arbiters in their blocks and beside the instances.

use std::{collections::HashMap, net::IpAddr, time::Duration};

use super::given::{Given, PlacedArbiter, Section};
use crate::{
    model::{
        arbiter::{Arbiter, IsolatedAction, Target},
        config::Config,
        group::SyncGroup,
        instance::Instance,
        tracking::TrackLine,
    },
    schema::{
        statement::{Statement, count, find, seconds, text},
        value::Value,
        words,
    },
    syntax::{
        diagnostic::Code,
        report::{Report, fit},
        span::{Span, Word},
    },
};

/// One `arbiter` block.
pub fn arbiter(block: &Statement) -> Option<Arbiter> {
    let inside = block.inside.as_deref()?;
    let asked = inside.iter().filter(|statement| matches!(statement.keyword, "ping" | "tcp"));
    let target = |value: &Value| if let Value::Target(target) = value { Some(target.clone()) } else { None };
    let targets: Vec<Target> = asked.flat_map(|statement| &statement.values).filter_map(target).collect();
    let interval = seconds(find(inside, "interval")?, 0)?;
    let given = |keyword| find(inside, keyword).map(|_| count(inside, keyword));
    let action = find(inside, "isolated_action")?;
    Some(Arbiter {
        name: text(&block.values, 0).to_owned(),
        quorum: given("quorum").map_or(majority(targets.len()), |quorum| quorum as usize),
        targets,
        interval,
        timeout: find(inside, "timeout")
            .and_then(|timeout| seconds(timeout, 0))
            .unwrap_or(TIMEOUT.min(interval)),
        rise: count(inside, "rise"),
        fall: count(inside, "fall"),
        action: match action.values.as_slice() {
            [Value::Word("lower"), Value::Number(by)] => {
                IsolatedAction::Lower(u8::try_from(*by).unwrap_or(u8::MAX))
            }
            [Value::Word("none")] => IsolatedAction::None,
            _ => IsolatedAction::Fault,
        },
    })
}

/// What must fit together in a block; returns what [`check`] is to know of it.
pub fn check_block(section: &Section<'_>, report: &mut Report) -> Option<PlacedArbiter> {
    let Section { node, children, given, title } = section;
    let name = node.words.get(1)?.clone();
    let mut targets: Vec<(Target, Span)> = Vec::new();
    'lines: for line in *children {
        let Some(first) = line.words.first() else { continue };
        let read = match first.text.as_str() {
            "ping" => words::station,
            "tcp" => words::service,
            _ => continue,
        };
        // One that cannot be read has been spoken of.
        for (word, target) in line.words[1..].iter().filter_map(|word| Some((word, read(&word.text).ok()?))) {
            if let Some((_, other)) = targets.iter().find(|(other, _)| *other == target) {
                let message = format!("{} is asked on {} already", target, report.line_of(*other, word.span));
                report.error_hint(Code::Duplicate, word.span, message, "each counts once: remove one");
                continue;
            }
            if targets.len() == TARGETS_MAX {
                let message = format!("more than {TARGETS_MAX} targets in {title}");
                let hint = "three that share no part of the network say as much";
                report.error_hint(Code::TooMany, word.span, message, hint);
                break 'lines;
            }
            targets.push((target, word.span));
        }
    }
    let asks = given.seen_at("ping").or(given.seen_at("tcp"));
    if asks.is_none() && !given.partial {
        let hint = "add `ping ADDRESS` or `tcp ADDRESS:PORT`";
        report.error_hint(Code::MissingKeyword, name.span, format!("{title} asks nobody"), hint);
    }
    check_quorum(&targets, &name, given, report);
    let time = |keyword| find(&given.statements, keyword).and_then(|time| seconds(time, 0));
    if let (Some(timeout), Some(interval), Some(at)) =
        (time("timeout"), time("interval"), given.seen_at("timeout"))
        && timeout > interval
    {
        let message = format!("timeout {} is above interval {}", shown(timeout), shown(interval));
        let hint = "a round of questions is over before the next begins";
        report.error_hint(Code::Conflict, at, message, hint);
    }
    Some(PlacedArbiter { name, targets })
}

fn check_quorum(targets: &[(Target, Span)], name: &Word, given: &Given, report: &mut Report) {
    let majority = majority(targets.len());
    let Some(at) = given.seen_at("quorum") else {
        if targets.len() == 2 {
            let hint = "with a third target one may fail; `quorum 1` says that either is enough";
            let message = format!("both targets of `arbiter {}` must answer", report.bare(name));
            report.notice(Code::Advice, name.span, message, hint);
        }
        return;
    };
    if find(&given.statements, "quorum").is_none_or(|quorum| quorum.values.is_empty()) || targets.is_empty() {
        return;
    }
    let quorum = count(&given.statements, "quorum") as usize;
    if quorum > targets.len() {
        let message = format!("quorum {quorum} is above the number of targets, {}", targets.len());
        report.error_hint(Code::Conflict, at, message, "it is never reached");
    } else if quorum < majority {
        let message =
            format!("both sides of a partition may reach a quorum of {quorum} of {}", targets.len());
        let hint = format!("with `quorum {majority}` only one side can, where they share no target");
        report.notice(Code::Advice, at, message, hint);
    }
}

/// What arbiters and instances must not have in common, and whether an arbiter is fast enough for those that track it.
pub fn check(config: &Config, placed: &[PlacedArbiter], report: &mut Report) {
    if placed.is_empty() {
        return;
    }
    let (roles, fastest) = (roles(config), fastest(config));
    let arbiters: HashMap<&str, &Arbiter> =
        config.arbiters.iter().map(|arbiter| (arbiter.name.as_str(), arbiter)).collect();
    for PlacedArbiter { name, targets } in placed {
        for (target, at) in targets {
            let of_it = roles.get(&target.address).into_iter().flatten();
            if let Some(role) = of_it.filter(|role| role.is_of(target)).max_by_key(|role| role.kind) {
                check_role(role, target, *at, report);
            }
        }
        let arbiter =
            arbiters.get(name.text.as_str()).filter(|arbiter| arbiter.action == IsolatedAction::Fault);
        if let (Some(arbiter), Some(instance)) = (arbiter, fastest.get(name.text.as_str())) {
            check_times(arbiter, instance, name.span, report);
        }
    }
}

/// What an address is to an instance, on the link of an interface.
struct Role<'c> {
    kind: RoleKind,
    instance: &'c Instance,
    interface: &'c str,
}

/// The worst to be asked last.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum RoleKind {
    Peer,
    Source,
    Vip,
}

impl Role<'_> {
    /// A link-local address is another one on another link.
    fn is_of(&self, target: &Target) -> bool {
        target.zone.as_deref().is_none_or(|zone| zone == self.interface)
    }
}

fn roles(config: &Config) -> HashMap<IpAddr, Vec<Role<'_>>> {
    let mut roles: HashMap<IpAddr, Vec<Role<'_>>> = HashMap::new();
    for instance in &config.instances {
        let mut add = |address, kind, interface| {
            roles.entry(address).or_default().push(Role { kind, instance, interface });
        };
        for vip in instance.vips.iter().chain(&instance.excluded) {
            add(vip.address, RoleKind::Vip, vip.interface.as_deref().unwrap_or(&instance.interface));
        }
        for peer in instance.unicast.iter().flat_map(|unicast| &unicast.peers) {
            add(peer.address, RoleKind::Peer, &instance.interface);
        }
        if let Some(source) = instance.source {
            add(source, RoleKind::Source, &instance.interface);
        }
    }
    roles
}

fn check_role(role: &Role<'_>, target: &Target, at: Span, report: &mut Report) {
    let (address, of) = (target.address, format!("`vrrp_instance {}`", fit(&role.instance.name)));
    match role.kind {
        RoleKind::Vip => {
            let hint = "the master would ask itself: name a station that is neither of the nodes";
            report.error_hint(Code::Conflict, at, format!("{address} is an address of {of}"), hint);
        }
        RoleKind::Source => {
            let message = format!("{address} is the source of the adverts of {of}");
            let hint = "this node would ask itself: name a station that is neither of the nodes";
            report.error_hint(Code::Conflict, at, message, hint);
        }
        RoleKind::Peer => {
            let hint =
                "a node would take itself for isolated just when the other has died: name a third station";
            report.warning(Code::Advice, at, format!("{address} is a peer of {of}"), hint);
        }
    }
}

/// Of the instances that track an arbiter, themselves or by their group, the one that is taken over soonest.
fn fastest(config: &Config) -> HashMap<&str, &Instance> {
    let mut fastest: HashMap<&str, &Instance> = HashMap::new();
    let groups: HashMap<&str, &SyncGroup> = config
        .sync_groups
        .iter()
        .flat_map(|group| group.members.iter().map(move |member| (member.as_str(), group)))
        .collect();
    for instance in &config.instances {
        let of_group =
            groups.get(instance.name.as_str()).into_iter().flat_map(|group| &group.tracks.arbiters);
        for TrackLine { name, .. } in instance.tracks.arbiters.iter().chain(of_group) {
            let known = fastest.entry(name).or_insert(instance);
            if instance.soonest_takeover() < known.soonest_takeover() {
                *known = instance;
            }
        }
    }
    fastest
}

/// An isolated master must be silent before another one that has stopped hearing it speaks.
fn check_times(arbiter: &Arbiter, instance: &Instance, at: Span, report: &mut Report) {
    let notices = arbiter.notices_after();
    let (waits, soonest) = (instance.master_down_interval(), instance.soonest_takeover());
    if notices <= soonest {
        return;
    }
    let (name, other) = (fit(&arbiter.name), fit(&instance.name));
    let most = shown(notices - soonest);
    let message = format!(
        "`arbiter {name}` notices after up to {} s, and a backup of {other} takes over after {} to {} s: two owners for up to {most} s",
        shown(notices),
        shown(soonest),
        shown(waits)
    );
    let each = soonest / arbiter.fall.saturating_add(1);
    let step = if each >= Duration::from_millis(100) { 100 } else { 10 };
    let each_ms = each.as_millis() / step * step;
    let hint = match u64::try_from(each_ms) {
        Ok(each_ms @ 10..) => {
            let each = shown(Duration::from_millis(each_ms));
            format!(
                "write `interval {each}` and `timeout {each}`, or a greater `advert_int` or `down_timer_adverts`"
            )
        }
        _ => "no arbiter is that fast: write a greater `advert_int` or `down_timer_adverts`".to_owned(),
    };
    if notices >= waits {
        report.warning(Code::Conflict, at, message, hint);
    } else {
        report.notice(Code::Advice, at, message, hint);
    }
}

/// To the millisecond, as one would write it.
pub fn shown(time: Duration) -> String {
    let ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX / 1_000);
    words::seconds(ms * 1_000)
}

/// More are asked in vain: each round opens a socket for each.
const TARGETS_MAX: usize = 32;

/// More than half: two sides of a partition that share no target cannot both have it.
fn majority(targets: usize) -> usize {
    targets / 2 + 1
}

/// Of a target, unless said or the interval is shorter.
const TIMEOUT: Duration = Duration::from_secs(1);
