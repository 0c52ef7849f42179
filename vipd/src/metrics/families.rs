//! The list of metrics: name, kind, what it says, and where in a status it is. `docs/reference/metrics.md` is made from it.

use std::{collections::BTreeSet, net::IpAddr, time::Duration};

use prometheus_client::metrics::MetricType;
use vipd_common::abi::InstanceCounters;

use crate::{
    control::model::{ArbiterStatus, InstanceStatus, LineStatus, Status, TargetStatus, TrackedStatus},
    engine::StateName,
};

/// A metric with all of its samples.
#[derive(Debug)]
pub struct Family {
    /// Without `vipd_`, the unit, and what the kind appends.
    pub name: &'static str,
    pub kind: Kind,
    /// Whether the unit is seconds; else there is none.
    pub seconds: bool,
    pub help: &'static str,
    source: Source,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Gauge,
    Counter,
    Info,
}

/// A value with the names and values of its labels.
#[derive(Debug)]
pub struct Sample {
    pub labels: Vec<(&'static str, String)>,
    pub value: Value,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value {
    Whole(u64),
    Real(f64),
}

/// The values of the labels, and the value.
type Labelled = (Vec<String>, Value);

/// Where samples come from.
#[derive(Debug)]
enum Source {
    /// One.
    Daemon(fn(&Status) -> Value),
    /// Some, each with these labels.
    DaemonBy(&'static [&'static str], fn(&Status) -> Vec<Labelled>),
    /// One for each instance for which there is a value.
    Instance(fn(&InstanceStatus) -> Option<Value>),
    /// Some for each instance, each with these labels too.
    InstanceBy(&'static [&'static str], fn(&InstanceStatus) -> Vec<Labelled>),
}

/// The labels of what belongs to an instance. Not `instance`: Prometheus gives that name to the target, and would rename ours.
pub const INSTANCE_LABELS: [&str; 4] = ["vrrp_instance", "interface", "vrid", "family"];

/// Every state that an instance can be in.
const STATES: [StateName; 5] =
    [StateName::Init, StateName::Backup, StateName::Master, StateName::Fault, StateName::Stopped];

/// Every state that a line can be in.
const LINE_STATES: [&str; 4] = ["up", "down", "absent", "lost"];

/// What a value is measured in; a metric's name ends in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    Seconds,
    Bytes,
}

/// A metric with its samples of one moment.
#[derive(Debug)]
pub struct Metric {
    /// Without the unit, and what the kind appends.
    pub name: String,
    pub unit: Option<Unit>,
    pub kind: Kind,
    pub help: &'static str,
    pub samples: Vec<Sample>,
}

impl Metric {
    /// As a query names it.
    pub fn full_name(&self) -> String {
        full_name(&self.name, self.unit, self.kind)
    }
}

fn full_name(name: &str, unit: Option<Unit>, kind: Kind) -> String {
    let unit = match unit {
        Some(Unit::Seconds) => "_seconds",
        Some(Unit::Bytes) => "_bytes",
        None => "",
    };
    let suffix = match kind {
        Kind::Gauge => "",
        Kind::Counter => "_total",
        Kind::Info => "_info",
    };
    format!("{name}{unit}{suffix}")
}

impl Family {
    fn unit(&self) -> Option<Unit> {
        self.seconds.then_some(Unit::Seconds)
    }

    /// As a query names it.
    #[cfg(test)]
    pub fn full_name(&self) -> String {
        full_name(&format!("vipd_{}", self.name), self.unit(), self.kind)
    }

    /// With what a status says.
    pub fn metric(&self, status: &Status) -> Metric {
        let name = format!("vipd_{}", self.name);
        Metric { name, unit: self.unit(), kind: self.kind, help: self.help, samples: self.samples(status) }
    }

    /// The names of the labels of each sample.
    #[cfg(test)]
    pub fn labels(&self) -> Vec<&'static str> {
        match self.source {
            Source::Daemon(_) => Vec::new(),
            Source::DaemonBy(labels, _) => labels.to_vec(),
            Source::Instance(_) => INSTANCE_LABELS.to_vec(),
            Source::InstanceBy(labels, _) => [&INSTANCE_LABELS, labels].concat(),
        }
    }

    fn samples(&self, status: &Status) -> Vec<Sample> {
        match self.source {
            Source::Daemon(value) => vec![Sample { labels: Vec::new(), value: value(status) }],
            Source::DaemonBy(names, samples) => {
                samples(status).into_iter().map(|sample| labelled(Vec::new(), names, sample)).collect()
            }
            Source::Instance(value) => {
                let sample = |i| Some(Sample { labels: identity(i), value: value(i)? });
                status.instances.iter().filter_map(sample).collect()
            }
            Source::InstanceBy(names, samples) => {
                let of = |i| samples(i).into_iter().map(move |sample| labelled(identity(i), names, sample));
                status.instances.iter().flat_map(of).collect()
            }
        }
    }
}

impl Kind {
    pub fn metric_type(self) -> MetricType {
        match self {
            Self::Gauge => MetricType::Gauge,
            Self::Counter => MetricType::Counter,
            Self::Info => MetricType::Info,
        }
    }
}

fn identity(i: &InstanceStatus) -> Vec<(&'static str, String)> {
    let values = [i.name.clone(), i.interface.clone(), i.vrid.to_string(), i.family.clone()];
    INSTANCE_LABELS.into_iter().zip(values).collect()
}

fn labelled(
    mut labels: Vec<(&'static str, String)>,
    names: &[&'static str],
    (values, value): Labelled,
) -> Sample {
    labels.extend(names.iter().copied().zip(values));
    Sample { labels, value }
}

const fn gauge(name: &'static str, help: &'static str, source: Source) -> Family {
    Family { name, kind: Kind::Gauge, seconds: false, help, source }
}

const fn seconds(name: &'static str, help: &'static str, source: Source) -> Family {
    Family { name, kind: Kind::Gauge, seconds: true, help, source }
}

const fn counter(name: &'static str, help: &'static str, source: Source) -> Family {
    Family { name, kind: Kind::Counter, seconds: false, help, source }
}

const fn info(name: &'static str, help: &'static str, source: Source) -> Family {
    Family { name, kind: Kind::Info, seconds: false, help, source }
}

fn whole(n: u64) -> Value {
    Value::Whole(n)
}

fn yes(yes: bool) -> Value {
    Value::Whole(yes.into())
}

fn ms(ms: u64) -> Value {
    Value::Real(Duration::from_millis(ms).as_secs_f64())
}

fn us(us: u64) -> Value {
    Value::Real(Duration::from_micros(us).as_secs_f64())
}

/// A value of each target of the arbiters that has one.
fn of_targets(status: &Status, value: fn(&TargetStatus) -> Option<Value>) -> Vec<Labelled> {
    let of = |arbiter: &ArbiterStatus| {
        let name = arbiter.name.clone();
        let sample = move |t: &TargetStatus| Some((vec![name.clone(), t.target.clone()], value(t)?));
        arbiter.targets.iter().filter_map(sample).collect::<Vec<_>>()
    };
    status.arbiters.iter().flat_map(of).collect()
}

/// Every metric. What is here is served, and what is served is here.
pub const ALL: &[Family] = &[
    info(
        "build",
        "The version of vipd.",
        Source::DaemonBy(&["version"], |s| vec![(vec![s.version.clone()], whole(1))]),
    ),
    seconds("uptime", "Time since the election began to run.", Source::Daemon(|s| ms(s.uptime_ms))),
    gauge(
        "real_time",
        "1 if the engine thread has real-time scheduling, else 0.",
        Source::Daemon(|s| yes(s.real_time)),
    ),
    gauge("drained", "1 if the node is drained (`vipd drain`), else 0.", Source::Daemon(|s| yes(s.drained))),
    counter(
        "xdp_frames",
        "Frames by what the XDP program did with them; what belongs to one instance is counted there.",
        Source::DaemonBy(&["kind"], |s| {
            s.counters.iter().map(|(kind, count)| (vec![kind.clone()], whole(*count))).collect()
        }),
    ),
    gauge(
        "tracked_well",
        "1 if what is tracked is as it should be, 0 if it is not; absent of files, and before the first look.",
        Source::DaemonBy(&["keyword", "name"], |s| {
            let well = |t: &TrackedStatus| Some((vec![t.keyword.clone(), t.name.clone()], yes(t.well?)));
            s.tracked.iter().filter_map(well).collect()
        }),
    ),
    gauge(
        "tracked_value",
        "The number in a tracked file.",
        Source::DaemonBy(&["keyword", "name"], |s| {
            let value = |t: &TrackedStatus| {
                Some((vec![t.keyword.clone(), t.name.clone()], Value::Real(t.value?.into())))
            };
            s.tracked.iter().filter_map(value).collect()
        }),
    ),
    gauge(
        "arbiter_reached",
        "1 if enough targets of an arbiter answer, 0 if not; absent before that is known.",
        Source::DaemonBy(&["name"], |s| {
            let reached = |a: &ArbiterStatus| Some((vec![a.name.clone()], yes(a.reached?)));
            s.arbiters.iter().filter_map(reached).collect()
        }),
    ),
    gauge(
        "arbiter_target_answers",
        "1 if a target has answered the last question, 0 if not; absent before the first.",
        Source::DaemonBy(&["name", "target"], |s| of_targets(s, |target| Some(yes(target.answers?)))),
    ),
    seconds(
        "arbiter_target_rtt",
        "How long the last answer of a target took; absent if there was none.",
        Source::DaemonBy(&["name", "target"], |s| of_targets(s, |target| Some(us(target.rtt_us?)))),
    ),
    info(
        "instance",
        "What an instance is configured to be.",
        Source::InstanceBy(&["version", "lease", "xdp_mode", "sync_group"], |i| {
            let group = i.sync_group.clone().unwrap_or_default();
            vec![(
                vec![i.version.to_string(), i.lease.clone(), i.xdp_mode.name().to_owned(), group],
                whole(1),
            )]
        }),
    ),
    gauge(
        "instance_state",
        "1 for the state that the instance is in, 0 for the others.",
        Source::InstanceBy(&["state"], |i| {
            let states = STATES.iter().map(|state| state.as_str());
            states.map(|state| (vec![state.to_owned()], yes(state == i.state))).collect()
        }),
    ),
    seconds(
        "instance_in_state",
        "Time since the state was entered.",
        Source::Instance(|i| Some(ms(i.in_state_ms))),
    ),
    gauge(
        "instance_priority",
        "The priority in force: what is tracked is in it.",
        Source::Instance(|i| Some(whole(i.priority.into()))),
    ),
    gauge(
        "instance_handed_over",
        "1 if it ranks last because it was handed over, or the node drained; else 0.",
        Source::Instance(|i| Some(yes(i.handed_over))),
    ),
    gauge(
        "line_state",
        "1 for the state of a line that adverts go over (up, down, absent or lost), 0 for the others.",
        Source::InstanceBy(&["line", "state"], |i| {
            let states = |line: &LineStatus| {
                let (line, now) = (line.interface.clone(), line.state.clone());
                LINE_STATES.map(move |state| (vec![line.clone(), state.to_owned()], yes(state == now)))
            };
            i.lines.iter().flat_map(states).collect()
        }),
    ),
    counter(
        "line_send_errors",
        "Adverts that were not sent on a line because the socket refused them.",
        Source::InstanceBy(&["line"], |i| {
            let errors = |line: &LineStatus| (vec![line.interface.clone()], whole(line.send_errors));
            i.lines.iter().map(errors).collect()
        }),
    ),
    gauge(
        "instance_split_brain",
        "1 while another router acts as the owner too, else 0.",
        Source::Instance(|i| Some(yes(i.split_brain))),
    ),
    counter(
        "instance_split_brains",
        "Times that another router began to act as the owner too.",
        Source::Instance(|i| Some(whole(i.split_brains))),
    ),
    counter(
        "instance_address_conflicts",
        "Claims of an owned VIP by another station that were told of.",
        Source::Instance(|i| Some(whole(i.address_conflicts))),
    ),
    gauge(
        "instance_mismatch",
        "1 for each thing in which other routers differ now, see mismatch in docs/operate/events.md.",
        Source::InstanceBy(&["what"], |i| {
            i.mismatches.iter().map(|what| (vec![what.clone()], whole(1))).collect()
        }),
    ),
    counter(
        "instance_became_master",
        "Times it became the master.",
        Source::Instance(|i| Some(whole(i.became_master))),
    ),
    counter(
        "instance_released_master",
        "Times it was the master no longer.",
        Source::Instance(|i| Some(whole(i.released_master))),
    ),
    seconds(
        "instance_advert_interval",
        "Time between two adverts of its own.",
        Source::Instance(|i| Some(ms(i.advert_interval_ms))),
    ),
    counter("instance_adverts_sent", "Adverts sent.", Source::Instance(|i| Some(whole(i.adverts_sent)))),
    counter(
        "instance_adverts_received",
        "Valid adverts received.",
        Source::Instance(|i| Some(whole(i.adverts_received))),
    ),
    counter(
        "instance_priority_zero_sent",
        "Goodbyes (adverts with priority 0) sent.",
        Source::Instance(|i| Some(whole(i.priority_zero_sent))),
    ),
    counter(
        "instance_priority_zero_received",
        "Valid goodbyes (adverts with priority 0) received.",
        Source::Instance(|i| Some(whole(i.priority_zero_received))),
    ),
    counter(
        "instance_send_errors",
        "Adverts not sent because the socket refused them.",
        Source::Instance(|i| Some(whole(i.send_errors))),
    ),
    counter(
        "instance_discards",
        "Adverts discarded, by reason.",
        Source::InstanceBy(&["reason"], |i| {
            // All of them: a counter that first appears with its first increase hides that from rate().
            let reasons = InstanceCounters::NAMES[InstanceCounters::FIRST_DISCARD..].iter();
            let count = |reason| whole(i.discards.get(reason).copied().unwrap_or_default());
            reasons.map(|reason| (vec![(*reason).to_owned()], count(*reason))).collect()
        }),
    ),
    counter(
        "instance_address_list_differs",
        "Valid adverts that list other addresses than its own.",
        Source::Instance(|i| Some(whole(i.address_list_differs))),
    ),
    seconds(
        "instance_advert_lateness_max",
        "Latest that an advert has left after its time, since the start.",
        Source::Instance(|i| Some(us(i.advert_lateness_max_us))),
    ),
    seconds(
        "instance_last_advert_age",
        "Time since the last valid advert of another router; absent if there was none.",
        Source::Instance(|i| i.last_adv_age_ms.map(ms)),
    ),
    seconds(
        "instance_master_down",
        "Time until this backup takes over if nothing is heard; absent in other states.",
        Source::Instance(|i| i.master_down_in_ms.map(ms)),
    ),
    seconds(
        "instance_lease_length",
        "Time for which one renewal lasts.",
        Source::Instance(|i| Some(ms(i.lease_length_ms))),
    ),
    seconds(
        "instance_lease_remaining",
        "Time for which XDP goes on answering for the VIPs without a renewal; 0 if it does not answer.",
        Source::Instance(|i| Some(ms(i.lease_remaining_ms.unwrap_or_default()))),
    ),
    seconds(
        "instance_lease_margin_least",
        "The least that the lease still had when it was renewed, in the last one to two minutes; 0 if it has run out; absent \
         without a renewal.",
        Source::Instance(|i| i.lease_margin_least_us.map(us)),
    ),
    counter(
        "instance_leases_revoked",
        "Times XDP took the lease back because another router has taken over.",
        Source::Instance(|i| Some(whole(i.leases_revoked))),
    ),
    gauge(
        "vip_owned",
        "1 for each VIP that this node owns, which is that XDP answers for it, 0 for the others.",
        Source::InstanceBy(&["vip"], |i| {
            let owned = i.lease_remaining_ms.is_some();
            let vips: BTreeSet<IpAddr> = i.vips.iter().chain(&i.vips_excluded).copied().collect();
            vips.into_iter().map(|vip| (vec![vip.to_string()], yes(owned))).collect()
        }),
    ),
    counter(
        "vip_answers",
        "Questions about a VIP (ARP requests, Neighbor Solicitations) that were answered.",
        Source::InstanceBy(&["vip"], |i| {
            i.vip_answers.iter().map(|(vip, count)| (vec![vip.to_string()], whole(*count))).collect()
        }),
    ),
];
