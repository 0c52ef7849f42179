//! What is wrong with arbiters, in their blocks and beside the instances.

use std::{collections::HashMap, net::IpAddr, time::Duration};

use vipd_common::Version;

use super::{
    super::{
        diagnostic::Code,
        grammar::Value,
        lexer::{Span, Word},
        model::{Config, Instance, Statement},
        parser::Node,
        report::{Report, fit},
        settings::Settings,
        statement::{count, find, seconds},
        values,
    },
    Arbiter, IsolatedAction, Target, majority,
};

/// An arbiter where the file has it.
#[derive(Debug)]
pub struct Placed {
    name: Word,
    targets: Vec<(Target, Span)>,
}

/// What must fit together in a block; returns what [`check`] is to know of it.
pub fn check_block(
    node: &Node,
    children: &[Node],
    settings: &Settings,
    title: &str,
    report: &mut Report,
) -> Option<Placed> {
    let name = node.words.get(1)?.clone();
    let mut targets: Vec<(Target, Span)> = Vec::new();
    'lines: for line in children {
        let Some(first) = line.words.first() else { continue };
        let read = match first.text.as_str() {
            "ping" => Target::station,
            "tcp" => Target::service,
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
    let given = settings.seen_at("ping").or(settings.seen_at("tcp"));
    if given.is_none() && !settings.partial {
        let hint = "add `ping ADDRESS` or `tcp ADDRESS:PORT`";
        report.error_hint(Code::MissingKeyword, name.span, format!("{title} asks nobody"), hint);
    }
    check_quorum(&targets, &name, settings, report);
    let time = |keyword| find(&settings.statements, keyword).and_then(|given| seconds(given, 0));
    if let (Some(timeout), Some(interval), Some(at)) =
        (time("timeout"), time("interval"), settings.seen_at("timeout"))
        && timeout > interval
    {
        let message = format!("timeout {} is above interval {}", shown(timeout), shown(interval));
        let hint = "a round of questions is over before the next begins";
        report.error_hint(Code::Conflict, at, message, hint);
    }
    Some(Placed { name, targets })
}

fn check_quorum(targets: &[(Target, Span)], name: &Word, settings: &Settings, report: &mut Report) {
    let majority = majority(targets.len());
    let Some(at) = settings.seen_at("quorum") else {
        if targets.len() == 2 {
            let hint = "with a third target one may fail; `quorum 1` says that either is enough";
            let message = format!("both targets of `arbiter {}` must answer", report.bare(name));
            report.notice(Code::Advice, name.span, message, hint);
        }
        return;
    };
    if find(&settings.statements, "quorum").is_none_or(|quorum| quorum.values.is_empty())
        || targets.is_empty()
    {
        return;
    }
    let quorum = count(&settings.statements, "quorum") as usize;
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
pub fn check(config: &Config, placed: &[Placed], report: &mut Report) {
    if placed.is_empty() {
        return;
    }
    let (roles, fastest) = (roles(config), fastest(config));
    let blocks = config.blocks.iter().filter(|block| block.keyword == "arbiter");
    let arbiters: HashMap<String, Arbiter> =
        blocks.filter_map(Arbiter::of).map(|arbiter| (arbiter.name.clone(), arbiter)).collect();
    for Placed { name, targets } in placed {
        for (target, at) in targets {
            let of_it = roles.get(&target.address).into_iter().flatten();
            if let Some(role) = of_it.filter(|role| role.is_of(target)).max_by_key(|role| role.kind) {
                check_role(role, target, *at, report);
            }
        }
        let arbiter = arbiters.get(&name.text).filter(|arbiter| arbiter.action == IsolatedAction::Fault);
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
    let members: HashMap<&str, &Statement> = config
        .blocks
        .iter()
        .filter(|block| block.keyword == "vrrp_sync_group")
        .flat_map(|group| lines(group, "group").flat_map(names).map(move |member| (member, group)))
        .collect();
    let mut fastest: HashMap<&str, &Instance> = HashMap::new();
    for instance in &config.instances {
        let own = instance.statements.iter().filter(|s| s.keyword == "track_arbiter");
        let own = own.flat_map(|block| block.inside.iter().flatten());
        let groups =
            members.get(instance.name.as_str()).into_iter().flat_map(|group| lines(group, "track_arbiter"));
        for name in own.chain(groups).flat_map(names) {
            let known = fastest.entry(name).or_insert(instance);
            if instance.soonest_takeover() < known.soonest_takeover() {
                *known = instance;
            }
        }
    }
    fastest
}

/// The lines of the blocks of a keyword in a block.
fn lines<'s>(block: &'s Statement, keyword: &'static str) -> impl Iterator<Item = &'s Statement> {
    let inside = block.inside.iter().flatten().filter(move |statement| statement.keyword == keyword);
    inside.flat_map(|statement| statement.inside.iter().flatten())
}

fn names(line: &Statement) -> impl Iterator<Item = &str> {
    line.values
        .iter()
        .filter_map(|value| if let Value::Of(_, name) = value { Some(name.as_str()) } else { None })
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
fn shown(time: Duration) -> String {
    let ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX / 1_000);
    values::seconds(ms * 1_000)
}

impl Instance {
    /// From the last advert that a backup of this priority has heard to its takeover (RFC 9568 6.1, RFC 3768 6.1).
    fn master_down_interval(&self) -> Duration {
        let unit = match self.version {
            Version::V2 => Duration::from_secs(1),
            Version::V3 => self.advert_interval,
        };
        let skew = unit * (256 - u32::from(self.priority.get())) / 256;
        self.advert_interval * u32::from(self.down_timer_adverts) + skew
    }

    /// The same from a partition: the last advert may have been heard up to an interval before.
    fn soonest_takeover(&self) -> Duration {
        self.master_down_interval().saturating_sub(self.advert_interval)
    }
}

/// More are asked in vain: each round opens a socket for each.
const TARGETS_MAX: usize = 32;
