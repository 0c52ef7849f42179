//! Arbiters: addresses that a node must reach to be the master. An extension of vipd.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use vipd_common::Version;

use super::{
    diagnostic::Code,
    grammar::Value,
    lexer::{Span, Word},
    model::{Config, Instance, Statement},
    parser::Node,
    report::Report,
    settings::Settings,
    statement::{count, find, seconds, text},
    tracking::{Tracked, Tracking, Weight},
    values,
};

/// One `arbiter` block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arbiter {
    pub name: String,
    /// At least one, all different.
    pub targets: Vec<Target>,
    /// How many must answer, 1 to the number of targets.
    pub quorum: usize,
    /// From one round of questions to the next, at least 10 ms.
    pub interval: Duration,
    /// What a target is given to answer, at most the interval.
    pub timeout: Duration,
    /// Rounds in a row after which it is reached, at least 1.
    pub rise: u32,
    /// Rounds in a row after which it is not, at least 1.
    pub fall: u32,
    pub action: IsolatedAction,
}

/// What becomes of the instances of a node that does not reach its arbiter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IsolatedAction {
    /// They are in FAULT.
    Fault,
    /// This much is taken off their priorities.
    Lower(u8),
    /// Nothing: it is only told.
    None,
}

/// What an arbiter asks: a station, or with a port a service on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Unicast, and not of the loopback.
    pub address: IpAddr,
    /// The interface of a link-local address; `None` of all others.
    pub zone: Option<String>,
    /// `None`: it is asked for an echo.
    pub port: Option<u16>,
}

/// An arbiter where the file has it.
#[derive(Debug)]
pub struct Placed {
    name: Word,
    targets: Vec<(Target, Span)>,
}

impl Arbiter {
    pub fn of(block: &Statement) -> Option<Self> {
        let inside = block.inside.as_deref()?;
        let asked = inside.iter().filter(|statement| matches!(statement.keyword, "ping" | "tcp"));
        let target =
            |value: &Value| if let Value::Target(target) = value { Some(target.clone()) } else { None };
        let targets: Vec<Target> = asked.flat_map(|statement| &statement.values).filter_map(target).collect();
        let interval = seconds(find(inside, "interval")?, 0)?;
        let given = |keyword| find(inside, keyword).map(|_| count(inside, keyword));
        let action = find(inside, "isolated_action")?;
        Some(Self {
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

    /// What it does to an instance; `None`: nothing.
    pub fn weight(&self) -> Option<Weight> {
        let value = match self.action {
            IsolatedAction::Fault => 0,
            IsolatedAction::Lower(by) => -i32::from(by),
            IsolatedAction::None => return None,
        };
        Some(Weight { value, reverse: false })
    }

    /// The longest from the end of a path to the verdict: it may end just behind an answer.
    pub fn notices_after(&self) -> Duration {
        self.interval * self.fall + self.timeout
    }
}

impl Target {
    /// `ADDRESS`, of a link-local one `ADDRESS%INTERFACE`.
    pub fn station(text: &str) -> Result<Self, String> {
        let (address, zone) = match text.split_once('%') {
            Some((address, zone)) => (address, Some(values::interface(zone)?)),
            None => (text, None),
        };
        let address = values::unicast(address)?;
        match (values::is_link_local(address), zone) {
            (true, None) => Err("is link-local and lacks its interface: as in `fe80::1%eth0`".to_owned()),
            (false, Some(_)) => {
                Err("has an interface (`%`), which only link-local addresses have".to_owned())
            }
            (_, zone) => Ok(Self { address, zone, port: None }),
        }
    }

    /// `ADDRESS:PORT`, of IPv6 `[ADDRESS]:PORT`.
    pub fn service(text: &str) -> Result<Self, String> {
        let shape = "is not of the form `ADDRESS:PORT` or `[ADDRESS]:PORT`";
        let (station, port) = text.rsplit_once(':').ok_or(shape)?;
        let bare = station.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let target = match bare {
            Some(bare) => Self::station(bare)?,
            // `2001:db8::1` has a colon before its last group, too.
            None if station.contains(':') => return Err(shape.to_owned()),
            None => Self::station(station)?,
        };
        if target.address.is_ipv4() == bare.is_some() {
            return Err(shape.to_owned());
        }
        let port = values::whole(port, 1, u16::MAX.into());
        let port = port.map_err(|problem| format!("has a port that {problem}"))?;
        Ok(Self { port: u16::try_from(port).ok(), ..target })
    }
}

/// As the language has it.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { address, zone, port } = self;
        let zone = zone.as_ref().map(|zone| format!("%{zone}")).unwrap_or_default();
        match (address, port) {
            (_, None) => write!(f, "{address}{zone}"),
            (IpAddr::V4(_), Some(port)) => write!(f, "{}", SocketAddr::new(*address, *port)),
            (IpAddr::V6(_), Some(port)) => write!(f, "[{address}{zone}]:{port}"),
        }
    }
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

    /// Whether a target is one of its VIPs.
    fn has_vip(&self, target: &Target) -> bool {
        self.vips.iter().chain(&self.excluded).any(|vip| {
            let interface = vip.interface.as_ref().unwrap_or(&self.interface);
            vip.address == target.address && target.zone.as_ref().is_none_or(|zone| zone == interface)
        })
    }
}

/// More than half: two sides of a partition that share no target cannot both have it.
fn majority(targets: usize) -> usize {
    targets / 2 + 1
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
    for line in children {
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
            targets.push((target, word.span));
        }
    }
    let count = targets.len();
    let given = settings.seen_at("ping").or(settings.seen_at("tcp"));
    if given.is_none() && !settings.partial {
        let hint = "add `ping ADDRESS` or `tcp ADDRESS:PORT`";
        report.error_hint(Code::MissingKeyword, name.span, format!("{title} asks nobody"), hint);
    }
    if let Some((_, beyond)) = targets.get(TARGETS_MAX) {
        let message = format!("{count} targets in {title}, {TARGETS_MAX} are asked");
        report.error_hint(
            Code::TooMany,
            *beyond,
            message,
            "three that share no part of the network say as much",
        );
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
    let (count, majority) = (targets.len(), majority(targets.len()));
    let Some(at) = settings.seen_at("quorum") else {
        if count == 2 {
            let hint = "with a third target one may fail; `quorum 1` says that either is enough";
            let message = format!("both targets of `arbiter {}` must answer", report.bare(name));
            report.notice(Code::Advice, name.span, message, hint);
        }
        return;
    };
    if find(&settings.statements, "quorum").is_none_or(|quorum| quorum.values.is_empty()) || count == 0 {
        return;
    }
    let quorum = super::statement::count(&settings.statements, "quorum") as usize;
    if quorum > count {
        let message = format!("quorum {quorum} is above the number of targets, {count}");
        report.error_hint(Code::Conflict, at, message, "it is never reached");
    } else if quorum < majority {
        let message = format!("both sides of a partition may reach a quorum of {quorum} of {count}");
        let hint = format!("with `quorum {majority}` only one side can, where they share no target");
        report.notice(Code::Advice, at, message, hint);
    }
}

/// What arbiters and instances must not have in common, and whether an arbiter is fast enough for those that track it.
pub fn check(config: &Config, placed: &[Placed], report: &mut Report) {
    if placed.is_empty() {
        return;
    }
    let tracking = Tracking::of(config);
    for Placed { name, targets } in placed {
        for (target, at) in targets {
            check_target(config, target, *at, report);
        }
        let Some(i) = tracking.arbiters.iter().position(|arbiter| arbiter.name == name.text) else {
            continue;
        };
        let arbiter = &tracking.arbiters[i];
        let faults = |tracks: &&[_]| {
            tracks
                .iter()
                .any(|track: &super::Track| track.what == Tracked::Arbiter(i) && track.weight.value == 0)
        };
        let trackers = config.instances.iter().zip(&tracking.instances);
        let trackers = trackers.filter(|(_, tracks)| faults(&tracks.as_slice()));
        // What is right for the fastest is right for all.
        let fastest = trackers.min_by_key(|(instance, _)| instance.master_down_interval());
        if let Some((instance, _)) = fastest {
            check_times(arbiter, instance, name.span, report);
        }
    }
}

fn check_target(config: &Config, target: &Target, at: Span, report: &mut Report) {
    for instance in &config.instances {
        let shown = format!("`vrrp_instance {}`", super::report::fit(&instance.name));
        let peers = instance.unicast.iter().flat_map(|unicast| &unicast.peers);
        if instance.has_vip(target) {
            let message = format!("{} is an address of {shown}", target.address);
            let hint = "the master would ask itself: name a station that is neither of the nodes";
            report.error_hint(Code::Conflict, at, message, hint);
        } else if instance.source == Some(target.address) {
            let message = format!("{} is the source of the adverts of {shown}", target.address);
            let hint = "this node would ask itself: name a station that is neither of the nodes";
            report.error_hint(Code::Conflict, at, message, hint);
        } else if peers.into_iter().any(|peer| peer.address == target.address) {
            let message = format!("{} is a peer of {shown}", target.address);
            let hint =
                "a node would take itself for isolated just when the other has died: name a third station";
            report.warning(Code::Advice, at, message, hint);
        }
    }
}

/// An isolated master must be silent before another one that has stopped hearing it speaks.
fn check_times(arbiter: &Arbiter, instance: &Instance, at: Span, report: &mut Report) {
    let notices = arbiter.notices_after();
    // The last advert may have been heard up to an interval before the partition.
    let waits = instance.master_down_interval();
    let soonest = waits.saturating_sub(instance.advert_interval);
    if notices <= soonest {
        return;
    }
    let (name, other) = (super::report::fit(&arbiter.name), super::report::fit(&instance.name));
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

/// Of a target, unless said or the interval is shorter.
const TIMEOUT: Duration = Duration::from_secs(1);
/// More are asked in vain: each round opens a socket for each.
const TARGETS_MAX: usize = 32;
