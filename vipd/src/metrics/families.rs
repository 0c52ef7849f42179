//! The list of metrics: name, kind, help, and source in a status. `docs/reference/metrics.md` is made from it.

use std::{collections::BTreeSet, net::IpAddr, time::Duration};

use prometheus_client::metrics::MetricType;
use vipd_common::abi::InstanceCounters;

use crate::{
    control::model::{
        ArbiterStatus, BfdSessionStatus, InstanceStatus, LineStatus, ProbedPeerStatus, ProbesStatus,
        RealServerStatus, ServiceStatus, SponsorsStatus, Status, TargetStatus, TrackStatus, TrackedStatus,
    },
    coordinator::StateName,
};

/// A metric with all of its samples.
#[derive(Debug)]
pub struct MetricFamily {
    /// Name without `vipd_`, unit and suffix of the kind.
    pub name: &'static str,
    pub kind: MetricKind,
    /// Whether the unit is seconds; else there is none.
    pub seconds: bool,
    pub help: &'static str,
    source: SampleSource,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricKind {
    Gauge,
    Counter,
    Info,
}

/// A value with the names and values of its labels.
#[derive(Debug)]
pub struct MetricSample {
    pub labels: Vec<(&'static str, String)>,
    pub value: MetricValue,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum MetricValue {
    Whole(u64),
    Real(f64),
}

/// The values of the labels, and the value.
type Labelled = (Vec<String>, MetricValue);

/// Where samples come from.
#[derive(Debug)]
enum SampleSource {
    /// One.
    Daemon(fn(&Status) -> MetricValue),
    /// Some, each with these labels.
    DaemonBy(&'static [&'static str], fn(&Status) -> Vec<Labelled>),
    /// One for each instance for which there is a value.
    Instance(fn(&InstanceStatus) -> Option<MetricValue>),
    /// Some for each instance, each with these labels too.
    InstanceBy(&'static [&'static str], fn(&InstanceStatus) -> Vec<Labelled>),
}

/// The labels of an instance's metrics. Not `instance`: Prometheus gives that name to the target, and would rename ours.
pub const INSTANCE_LABELS: [&str; 4] = ["vrrp_instance", "interface", "vrid", "family"];

/// Every state that an instance can be in.
const STATES: [StateName; 5] =
    [StateName::Init, StateName::Backup, StateName::Master, StateName::Fault, StateName::Stopped];

/// The states of a link for adverts.
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
    pub kind: MetricKind,
    pub help: &'static str,
    pub samples: Vec<MetricSample>,
}

impl Metric {
    /// Name in a query.
    pub fn full_name(&self) -> String {
        full_name(&self.name, self.unit, self.kind)
    }
}

fn full_name(name: &str, unit: Option<Unit>, kind: MetricKind) -> String {
    let unit = match unit {
        Some(Unit::Seconds) => "_seconds",
        Some(Unit::Bytes) => "_bytes",
        None => "",
    };
    let suffix = match kind {
        MetricKind::Gauge => "",
        MetricKind::Counter => "_total",
        MetricKind::Info => "_info",
    };
    format!("{name}{unit}{suffix}")
}

impl MetricFamily {
    fn unit(&self) -> Option<Unit> {
        self.seconds.then_some(Unit::Seconds)
    }

    /// Name in a query.
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
            SampleSource::Daemon(_) => Vec::new(),
            SampleSource::DaemonBy(labels, _) => labels.to_vec(),
            SampleSource::Instance(_) => INSTANCE_LABELS.to_vec(),
            SampleSource::InstanceBy(labels, _) => [&INSTANCE_LABELS, labels].concat(),
        }
    }

    fn samples(&self, status: &Status) -> Vec<MetricSample> {
        match self.source {
            SampleSource::Daemon(value) => vec![MetricSample { labels: Vec::new(), value: value(status) }],
            SampleSource::DaemonBy(names, samples) => {
                samples(status).into_iter().map(|sample| labelled(Vec::new(), names, sample)).collect()
            }
            SampleSource::Instance(value) => {
                let sample = |i| Some(MetricSample { labels: identity(i), value: value(i)? });
                status.instances.iter().filter_map(sample).collect()
            }
            SampleSource::InstanceBy(names, samples) => {
                let of = |i| samples(i).into_iter().map(move |sample| labelled(identity(i), names, sample));
                status.instances.iter().flat_map(of).collect()
            }
        }
    }
}

impl MetricKind {
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
) -> MetricSample {
    labels.extend(names.iter().copied().zip(values));
    MetricSample { labels, value }
}

const fn gauge(name: &'static str, help: &'static str, source: SampleSource) -> MetricFamily {
    MetricFamily { name, kind: MetricKind::Gauge, seconds: false, help, source }
}

const fn seconds(name: &'static str, help: &'static str, source: SampleSource) -> MetricFamily {
    MetricFamily { name, kind: MetricKind::Gauge, seconds: true, help, source }
}

const fn counter(name: &'static str, help: &'static str, source: SampleSource) -> MetricFamily {
    MetricFamily { name, kind: MetricKind::Counter, seconds: false, help, source }
}

const fn info(name: &'static str, help: &'static str, source: SampleSource) -> MetricFamily {
    MetricFamily { name, kind: MetricKind::Info, seconds: false, help, source }
}

fn whole(n: u64) -> MetricValue {
    MetricValue::Whole(n)
}

fn yes(yes: bool) -> MetricValue {
    MetricValue::Whole(yes.into())
}

fn ms(ms: u64) -> MetricValue {
    MetricValue::Real(Duration::from_millis(ms).as_secs_f64())
}

fn us(us: u64) -> MetricValue {
    MetricValue::Real(Duration::from_micros(us).as_secs_f64())
}

/// A value for each target of an arbiter that has one.
fn of_targets(status: &Status, value: fn(&TargetStatus) -> Option<MetricValue>) -> Vec<Labelled> {
    let of = |arbiter: &ArbiterStatus| {
        let name = arbiter.name.clone();
        let sample = move |t: &TargetStatus| Some((vec![name.clone(), t.target.clone()], value(t)?));
        arbiter.targets.iter().filter_map(sample).collect::<Vec<_>>()
    };
    status.arbiters.iter().flat_map(of).collect()
}

/// Labels of a session of BFD.
const SESSION: &[&str] = &["session", "neighbor"];

/// A value for each session of BFD that has one.
fn of_sessions(status: &Status, value: fn(&BfdSessionStatus) -> Option<MetricValue>) -> Vec<Labelled> {
    let labels = |session: &BfdSessionStatus| vec![session.name.clone(), session.neighbor.to_string()];
    status.bfd_sessions.iter().filter_map(|session| Some((labels(session), value(session)?))).collect()
}

/// Labels of a host that is probed.
const PROBED: &[&str] = &["interface", "peer"];

/// A value for each host that is probed and has one.
fn of_probed(status: &Status, value: fn(&ProbedPeerStatus) -> Option<MetricValue>) -> Vec<Labelled> {
    let labels = |host: &ProbedPeerStatus| Some(vec![host.interface.clone(), host.peer?.to_string()]);
    status.probes.iter().filter_map(|host| Some((labels(host)?, value(host)?))).collect()
}

/// A value for each virtual server.
fn of_services(status: &Status, value: fn(&ServiceStatus) -> MetricValue) -> Vec<Labelled> {
    let services = status.balancing.iter().flat_map(|balancing| &balancing.services);
    services.map(|service| (vec![service.name.clone()], value(service))).collect()
}

/// A value for each real server of each virtual server that has one.
fn of_servers(status: &Status, value: fn(&RealServerStatus) -> Option<MetricValue>) -> Vec<Labelled> {
    let services = status.balancing.iter().flat_map(|balancing| &balancing.services);
    let of = |service: &ServiceStatus| {
        let name = service.name.clone();
        let sample = move |s: &RealServerStatus| Some((vec![name.clone(), s.server.clone()], value(s)?));
        service.servers.iter().filter_map(sample).collect::<Vec<_>>()
    };
    services.flat_map(of).collect()
}

/// What the probes do; nothing without services.
fn of_probes(status: &Status, value: fn(&ProbesStatus) -> MetricValue) -> Vec<Labelled> {
    status.balancing.iter().map(|balancing| (Vec::new(), value(&balancing.probes))).collect()
}

/// The last latency of each check of a real server.
fn latencies(status: &Status) -> Vec<Labelled> {
    let services = status.balancing.iter().flat_map(|balancing| &balancing.services);
    let servers = services.flat_map(|service| service.servers.iter().map(move |server| (service, server)));
    let checks = servers.flat_map(|(service, server)| {
        let sample = move |check: &crate::control::model::ServerCheckStatus| {
            let labels = vec![service.name.clone(), server.server.clone(), check.check.clone()];
            Some((labels, us(check.latency_us?)))
        };
        server.checks.iter().filter_map(sample)
    });
    // Two checks of a server may be the same.
    let unique: std::collections::BTreeMap<_, _> = checks.collect();
    unique.into_iter().collect()
}

const SERVICE: &[&str] = &["service"];
const SERVER: &[&str] = &["service", "server"];

/// Every metric that is served.
pub const ALL: &[MetricFamily] = &[
    info(
        "build",
        "The version of vipd.",
        SampleSource::DaemonBy(&["version"], |s| vec![(vec![s.version.clone()], whole(1))]),
    ),
    seconds("uptime", "Time since the election began to run.", SampleSource::Daemon(|s| ms(s.uptime_ms))),
    gauge(
        "real_time",
        "1 if the engine thread has real-time scheduling, else 0.",
        SampleSource::Daemon(|s| yes(s.real_time)),
    ),
    gauge(
        "drained",
        "1 if the node is drained (`vipd drain`), else 0.",
        SampleSource::Daemon(|s| yes(s.drained)),
    ),
    counter(
        "xdp_frames",
        "Frames by the action of the eBPF program; adverts of an instance are counted for the instance.",
        SampleSource::DaemonBy(&["kind"], |s| {
            s.counters.iter().map(|(kind, count)| (vec![kind.clone()], whole(*count))).collect()
        }),
    ),
    counter(
        "host_repairs",
        "Objects of this host that another program removed or changed and vipd has put back, by kind.",
        SampleSource::DaemonBy(&["kind"], |s| {
            s.host_repairs.iter().map(|(kind, count)| (vec![kind.clone()], whole(*count))).collect()
        }),
    ),
    gauge(
        "host_refused",
        "1 while the host refuses something that vipd needs on it, else 0.",
        SampleSource::Daemon(|s| yes(s.host_problem.is_some())),
    ),
    gauge(
        "tracked_well",
        "1 if the check succeeds, enough processes run, the arbiter is reached or the BFD session is up, else 0; absent for files, and before the first result.",
        SampleSource::DaemonBy(&["keyword", "name"], |s| {
            let well = |t: &TrackedStatus| Some((vec![t.keyword.clone(), t.name.clone()], yes(t.well?)));
            s.tracked.iter().filter_map(well).collect()
        }),
    ),
    gauge(
        "tracked_value",
        "The number in a tracked file.",
        SampleSource::DaemonBy(&["keyword", "name"], |s| {
            let value = |t: &TrackedStatus| {
                Some((vec![t.keyword.clone(), t.name.clone()], MetricValue::Real(t.value?.into())))
            };
            s.tracked.iter().filter_map(value).collect()
        }),
    ),
    gauge(
        "arbiter_reached",
        "1 if enough targets of an arbiter answer, else 0; absent before the first result.",
        SampleSource::DaemonBy(&["name"], |s| {
            let reached = |a: &ArbiterStatus| Some((vec![a.name.clone()], yes(a.reached?)));
            s.arbiters.iter().filter_map(reached).collect()
        }),
    ),
    gauge(
        "arbiter_target_answers",
        "1 if a target answered the last request, else 0; absent before the first.",
        SampleSource::DaemonBy(&["name", "target"], |s| of_targets(s, |target| Some(yes(target.answers?)))),
    ),
    seconds(
        "arbiter_target_rtt",
        "Round-trip time of a target's last answer; absent if there was none.",
        SampleSource::DaemonBy(&["name", "target"], |s| of_targets(s, |target| Some(us(target.rtt_us?)))),
    ),
    gauge(
        "bfd_session_up",
        "1 if a BFD session is up, else 0.",
        SampleSource::DaemonBy(SESSION, |s| of_sessions(s, |session| Some(yes(session.is_up())))),
    ),
    counter(
        "bfd_session_downs",
        "Times that a BFD session went from up to another state.",
        SampleSource::DaemonBy(SESSION, |s| of_sessions(s, |session| Some(whole(session.downs)))),
    ),
    seconds(
        "bfd_session_detection_time",
        "Time without a packet after which a BFD session goes down; absent while nothing is heard.",
        SampleSource::DaemonBy(SESSION, |s| of_sessions(s, |session| Some(us(session.detection_time_us?)))),
    ),
    counter(
        "bfd_session_packets_sent",
        "BFD packets of a session sent.",
        SampleSource::DaemonBy(SESSION, |s| of_sessions(s, |session| Some(whole(session.packets_sent)))),
    ),
    counter(
        "bfd_session_packets_received",
        "Valid BFD packets of a session received.",
        SampleSource::DaemonBy(SESSION, |s| of_sessions(s, |session| Some(whole(session.packets_received)))),
    ),
    counter(
        "bfd_session_packets_refused",
        "BFD packets of a session's neighbor that failed a check.",
        SampleSource::DaemonBy(SESSION, |s| of_sessions(s, |session| Some(whole(session.packets_refused)))),
    ),
    gauge(
        "probe_up",
        "1 if a host that is probed answers, else 0.",
        SampleSource::DaemonBy(PROBED, |s| of_probed(s, |host| Some(yes(host.state == "up")))),
    ),
    counter(
        "probe_sent",
        "Probes sent to a host while it answered.",
        SampleSource::DaemonBy(PROBED, |s| of_probed(s, |host| Some(whole(host.sent)))),
    ),
    counter(
        "probe_lost",
        "Those that were not answered before the next.",
        SampleSource::DaemonBy(PROBED, |s| of_probed(s, |host| Some(whole(host.lost)))),
    ),
    seconds(
        "probe_round_trip_median",
        "Median time from a probe to its answer, at most a quarter too long; absent without an answer.",
        SampleSource::DaemonBy(PROBED, |s| of_probed(s, |host| Some(us(host.round_trip_median_us?)))),
    ),
    seconds(
        "probe_round_trip_p99",
        "The 99th percentile of that time, at most a quarter too long; absent without an answer.",
        SampleSource::DaemonBy(PROBED, |s| of_probed(s, |host| Some(us(host.round_trip_p99_us?)))),
    ),
    seconds(
        "probe_longest_silence",
        "Longest time without an answer or a probe of a host that ended before VRRP would have replaced it.",
        SampleSource::DaemonBy(PROBED, |s| of_probed(s, |host| Some(us(host.longest_silence_us)))),
    ),
    counter(
        "probe_false_alarms",
        "Silences of a host that a takeover by probes would have acted on, and that ended before VRRP would have replaced it.",
        SampleSource::DaemonBy(PROBED, |s| of_probed(s, |host| Some(whole(host.false_alarms)))),
    ),
    counter(
        "probe_late",
        "Times this node itself was late by a probe interval or more.",
        SampleSource::DaemonBy(PROBED, |s| of_probed(s, |host| Some(whole(host.late)))),
    ),
    gauge(
        "early_vouched_for",
        "1 if somebody vouches for this node, so that it may answer for VIPs with `act takeover`, else 0; absent without.",
        SampleSource::DaemonBy(&[], |s| {
            s.sponsors.iter().map(|sponsors| (Vec::new(), yes(sponsors.vouched_for))).collect()
        }),
    ),
    seconds(
        "early_beat_age",
        "Time since this node's vipd last vouched for it, with its probes; absent without `act takeover`, and if it never has.",
        SampleSource::DaemonBy(&[], |s| {
            let age = |sponsors: &SponsorsStatus| Some((Vec::new(), ms(sponsors.beat_ms_ago?)));
            s.sponsors.iter().filter_map(age).collect()
        }),
    ),
    gauge(
        "early_arbiter_reached",
        "1 if an arbiter has answered what early takeover asked in the last two probe intervals, else 0.",
        SampleSource::DaemonBy(&["name"], |s| {
            let arbiters = s.sponsors.iter().flat_map(|sponsors| &sponsors.arbiters);
            arbiters.map(|arbiter| (vec![arbiter.name.clone()], yes(arbiter.reached))).collect()
        }),
    ),
    counter(
        "cluster_reports_sent",
        "Reports of this node to the others sent (`cluster_report`), in datagrams.",
        SampleSource::Daemon(|s| whole(s.cluster_reports.sent)),
    ),
    counter(
        "cluster_reports_received",
        "Reports received, believed or not, in datagrams.",
        SampleSource::Daemon(|s| whole(s.cluster_reports.received)),
    ),
    counter(
        "cluster_reports_refused",
        "Reports that were not believed, by reason; see docs/operate/cluster.md.",
        SampleSource::DaemonBy(&["reason"], |s| {
            s.cluster_reports
                .refused
                .iter()
                .map(|(reason, count)| (vec![reason.clone()], whole(*count)))
                .collect()
        }),
    ),
    gauge(
        "services_problem",
        "1 while the kernel refuses something of load balancing, or has no IPVS, else 0; absent without virtual servers.",
        SampleSource::DaemonBy(&[], |s| {
            s.balancing.iter().map(|balancing| (Vec::new(), yes(balancing.problem.is_some()))).collect()
        }),
    ),
    counter(
        "services_repairs",
        "Changes of vipd's services in the kernel by others that were put back.",
        SampleSource::DaemonBy(&[], |s| {
            s.balancing.iter().map(|balancing| (Vec::new(), whole(balancing.repairs))).collect()
        }),
    ),
    counter(
        "probes_sent",
        "Probes of real servers sent. Equal checks share a probe.",
        SampleSource::DaemonBy(&[], |s| of_probes(s, |probes| whole(probes.sent))),
    ),
    counter(
        "probes_not_sent",
        "Probes of real servers that this host could not send. They are no failures.",
        SampleSource::DaemonBy(&[], |s| of_probes(s, |probes| whole(probes.not_sent))),
    ),
    seconds(
        "probe_lateness",
        "Greatest delay of a probe behind its schedule since the last scrape.",
        SampleSource::DaemonBy(&[], |s| of_probes(s, |probes| us(probes.lateness_max_us))),
    ),
    gauge(
        "service_quorum",
        "1 if a virtual server has its quorum, else 0.",
        SampleSource::DaemonBy(SERVICE, |s| of_services(s, |service| yes(service.quorum_up))),
    ),
    gauge(
        "service_sorry",
        "1 if the sorry server of a virtual server serves, else 0.",
        SampleSource::DaemonBy(SERVICE, |s| of_services(s, |service| yes(service.sorry_serves))),
    ),
    gauge(
        "service_live_weight",
        "Sum of the weights of the real servers that are up and not drained.",
        SampleSource::DaemonBy(SERVICE, |s| of_services(s, |service| whole(service.live_weight))),
    ),
    gauge(
        "server_up",
        "1 if no check of a real server fails and it is not drained, else 0.",
        SampleSource::DaemonBy(SERVER, |s| of_servers(s, |server| Some(yes(server.is_well())))),
    ),
    gauge(
        "server_weight",
        "Weight of a real server in the kernel's table; absent if it is not there.",
        SampleSource::DaemonBy(SERVER, |s| of_servers(s, |server| Some(whole(server.weight?.into())))),
    ),
    gauge(
        "server_active_connections",
        "Established connections of a real server.",
        SampleSource::DaemonBy(SERVER, |s| of_servers(s, |server| Some(whole(server.active_connections)))),
    ),
    gauge(
        "server_inactive_connections",
        "Other connections of a real server.",
        SampleSource::DaemonBy(SERVER, |s| of_servers(s, |server| Some(whole(server.inactive_connections)))),
    ),
    counter(
        "server_connections",
        "Connections of a real server so far, as the kernel counts them: from 0 when the server is taken out and comes back.",
        SampleSource::DaemonBy(SERVER, |s| of_servers(s, |server| Some(whole(server.traffic.connections)))),
    ),
    counter(
        "server_octets_in",
        "Octets from clients to a real server, as the kernel counts them.",
        SampleSource::DaemonBy(SERVER, |s| of_servers(s, |server| Some(whole(server.traffic.octets_in)))),
    ),
    counter(
        "server_octets_out",
        "Octets from a real server to clients; 0 with DR and TUN, whose answers do not pass this host.",
        SampleSource::DaemonBy(SERVER, |s| of_servers(s, |server| Some(whole(server.traffic.octets_out)))),
    ),
    seconds(
        "server_check_latency",
        "Duration of the last run of a check of a real server; absent before the first.",
        SampleSource::DaemonBy(&["service", "server", "check"], latencies),
    ),
    info(
        "instance",
        "Configuration of an instance.",
        SampleSource::InstanceBy(&["version", "lease", "xdp_mode", "sync_group"], |i| {
            let group = i.sync_group.clone().unwrap_or_default();
            vec![(
                vec![i.version.to_string(), i.lease.clone(), i.xdp_mode.name().to_owned(), group],
                whole(1),
            )]
        }),
    ),
    gauge(
        "instance_state",
        "1 for the current state of the instance, 0 for the others.",
        SampleSource::InstanceBy(&["state"], |i| {
            let states = STATES.iter().map(|state| state.as_str());
            states.map(|state| (vec![state.to_owned()], yes(state == i.state))).collect()
        }),
    ),
    seconds(
        "instance_in_state",
        "Time since the state was entered.",
        SampleSource::Instance(|i| Some(ms(i.in_state_ms))),
    ),
    gauge(
        "instance_priority",
        "Effective priority, with the weights of failed checks applied.",
        SampleSource::Instance(|i| Some(whole(i.priority.into()))),
    ),
    gauge(
        "instance_base_priority",
        "Priority in the configuration, without weights.",
        SampleSource::Instance(|i| Some(whole(i.base_priority.into()))),
    ),
    gauge(
        "instance_tracked_weight",
        "What a tracked check, file, process, interface or arbiter adds to the priority now.",
        SampleSource::InstanceBy(&["keyword", "name"], |i| {
            // One may be tracked twice, by the instance and by its sync group.
            let mut sums = std::collections::BTreeMap::new();
            for TrackStatus { keyword, name, adds, .. } in &i.tracks {
                *sums.entry(vec![keyword.clone(), name.clone()]).or_insert(0i64) += adds;
            }
            let real = |sum: i64| MetricValue::Real(i32::try_from(sum).unwrap_or(i32::MAX).into());
            sums.into_iter().map(|(labels, sum)| (labels, real(sum))).collect()
        }),
    ),
    gauge(
        "instance_handed_over",
        "1 if the priority is the lowest because of vipd handover or vipd drain, else 0.",
        SampleSource::Instance(|i| Some(yes(i.handed_over))),
    ),
    gauge(
        "line_state",
        "1 for the current state of a link for adverts (up, down, absent or lost), 0 for the others.",
        SampleSource::InstanceBy(&["line", "state"], |i| {
            let states = |line: &LineStatus| {
                let (line, now) = (line.interface.clone(), line.state.clone());
                LINE_STATES.map(move |state| (vec![line.clone(), state.to_owned()], yes(state == now)))
            };
            i.lines.iter().flat_map(states).collect()
        }),
    ),
    counter(
        "line_send_errors",
        "Adverts not sent on a link because of a socket error.",
        SampleSource::InstanceBy(&["line"], |i| {
            let errors = |line: &LineStatus| (vec![line.interface.clone()], whole(line.send_errors));
            i.lines.iter().map(errors).collect()
        }),
    ),
    gauge(
        "instance_nodes",
        "Other nodes that report themselves (`cluster_report`): heard, or lost when three reports in a row have not come.",
        SampleSource::InstanceBy(&["state"], |i| {
            let reported = || i.nodes.iter().filter(|node| node.known_by == "report");
            let count = |lost| whole(reported().filter(|node| node.lost == lost).count() as u64);
            [("heard", count(false)), ("lost", count(true))]
                .map(|(state, count)| (vec![state.to_owned()], count))
                .into()
        }),
    ),
    gauge(
        "instance_split_brain",
        "1 while another router acts as the owner too, else 0.",
        SampleSource::Instance(|i| Some(yes(i.split_brain))),
    ),
    counter(
        "instance_split_brains",
        "Split brains so far.",
        SampleSource::Instance(|i| Some(whole(i.split_brains))),
    ),
    gauge(
        "early_armed",
        "1 if a silence of the master's host has this backup take over (`act takeover`), else 0; absent without `act takeover`.",
        SampleSource::Instance(|i| Some(yes(i.early.as_ref()?.armed))),
    ),
    gauge(
        "early_claim",
        "1 while the instance has outbid a silent master and advertises its claim, else 0; absent without `act takeover`.",
        SampleSource::Instance(|i| Some(yes(i.early.as_ref()?.claims))),
    ),
    counter(
        "early_claims",
        "Takeovers because the master's host was silent.",
        SampleSource::Instance(|i| Some(whole(i.early.as_ref()?.claims_made))),
    ),
    counter(
        "early_claims_in_vain",
        "Those that were given up because the master was alive and did not hear them.",
        SampleSource::Instance(|i| Some(whole(i.early.as_ref()?.claims_in_vain))),
    ),
    counter(
        "early_false_alarms",
        "Takeovers after which the master was heard again before VRRP would have replaced it.",
        SampleSource::Instance(|i| Some(whole(i.early.as_ref()?.false_alarms))),
    ),
    gauge(
        "early_unvouched",
        "1 if a master answers for no VIP, because nobody vouches for its node, else 0; absent without `act takeover`.",
        SampleSource::Instance(|i| Some(yes(i.early.as_ref()?.unvouched))),
    ),
    gauge(
        "early_one_way",
        "1 if a node is heard that does not hear this one, so that the instance neither preempts nor claims, else 0; absent without \
         `act takeover`.",
        SampleSource::Instance(|i| i.early.as_ref().map(|_| yes(i.is_one_way()))),
    ),
    counter(
        "instance_address_conflicts",
        "Claims of an owned VIP by other stations; at most one a second is counted.",
        SampleSource::Instance(|i| Some(whole(i.address_conflicts))),
    ),
    gauge(
        "instance_mismatch",
        "1 for each current mismatch with other routers, see the event mismatch in docs/operate/events.md.",
        SampleSource::InstanceBy(&["what"], |i| {
            i.mismatches.iter().map(|what| (vec![what.clone()], whole(1))).collect()
        }),
    ),
    counter(
        "instance_became_master",
        "Transitions to MASTER; a takeover whose first advert does not leave is none.",
        SampleSource::Instance(|i| Some(whole(i.became_master))),
    ),
    counter(
        "instance_released_master",
        "Transitions from MASTER.",
        SampleSource::Instance(|i| Some(whole(i.released_master))),
    ),
    seconds(
        "instance_advert_interval",
        "Time between two adverts of this node.",
        SampleSource::Instance(|i| Some(ms(i.advert_interval_ms))),
    ),
    counter(
        "instance_adverts_sent",
        "Adverts sent.",
        SampleSource::Instance(|i| Some(whole(i.adverts_sent))),
    ),
    counter(
        "instance_adverts_received",
        "Valid adverts received.",
        SampleSource::Instance(|i| Some(whole(i.adverts_received))),
    ),
    counter(
        "instance_priority_zero_sent",
        "Goodbyes (adverts with priority 0) sent.",
        SampleSource::Instance(|i| Some(whole(i.priority_zero_sent))),
    ),
    counter(
        "instance_priority_zero_received",
        "Valid goodbyes (adverts with priority 0) received.",
        SampleSource::Instance(|i| Some(whole(i.priority_zero_received))),
    ),
    counter(
        "instance_send_errors",
        "Adverts not sent because of a socket error.",
        SampleSource::Instance(|i| Some(whole(i.send_errors))),
    ),
    counter(
        "instance_discards",
        "Adverts discarded, by reason.",
        SampleSource::InstanceBy(&["reason"], |i| {
            // All of them: a counter that first appears with its first increase hides that from rate().
            let reasons = InstanceCounters::NAMES[InstanceCounters::FIRST_DISCARD..].iter();
            let count = |reason| whole(i.discards.get(reason).copied().unwrap_or_default());
            reasons.map(|reason| (vec![(*reason).to_owned()], count(*reason))).collect()
        }),
    ),
    counter(
        "instance_address_list_differs",
        "Valid adverts with another address list than this node's.",
        SampleSource::Instance(|i| Some(whole(i.address_list_differs))),
    ),
    seconds(
        "instance_advert_lateness_max",
        "Greatest delay of an advert behind its schedule since the start.",
        SampleSource::Instance(|i| Some(us(i.advert_lateness_max_us))),
    ),
    seconds(
        "instance_last_advert_age",
        "Time since the last valid advert of another router; absent if there was none.",
        SampleSource::Instance(|i| i.last_adv_age_ms.map(ms)),
    ),
    seconds(
        "instance_master_down",
        "Time until this backup takes over without an advert; absent in other states.",
        SampleSource::Instance(|i| i.master_down_in_ms.map(ms)),
    ),
    seconds(
        "instance_lease_length",
        "Length of the lease after a renewal.",
        SampleSource::Instance(|i| Some(ms(i.lease_length_ms))),
    ),
    seconds(
        "instance_lease_remaining",
        "Time left of the lease; 0 if the eBPF program does not answer for the VIPs. See vipd_early_unvouched too.",
        SampleSource::Instance(|i| Some(ms(i.lease_remaining_ms.unwrap_or_default()))),
    ),
    seconds(
        "instance_lease_margin_least",
        "Minimum of the lease time left at a renewal, over the last one to two minutes; 0 after a lapse; absent without a \
         renewal.",
        SampleSource::Instance(|i| i.lease_margin_least_us.map(us)),
    ),
    counter(
        "instance_leases_revoked",
        "Leases that the eBPF program revoked because another router took over.",
        SampleSource::Instance(|i| Some(whole(i.leases_revoked))),
    ),
    gauge(
        "vip_owned",
        "1 for each VIP that this node owns, which is that XDP answers for it, 0 for the others.",
        SampleSource::InstanceBy(&["vip"], |i| {
            let owned = i.lease_remaining_ms.is_some() && !i.is_unvouched();
            let vips: BTreeSet<IpAddr> = i.vips.iter().chain(&i.vips_excluded).copied().collect();
            vips.into_iter().map(|vip| (vec![vip.to_string()], yes(owned))).collect()
        }),
    ),
    counter(
        "vip_answers",
        "ARP requests and Neighbor Solicitations answered for a VIP.",
        SampleSource::InstanceBy(&["vip"], |i| {
            i.vip_answers.iter().map(|(vip, count)| (vec![vip.to_string()], whole(*count))).collect()
        }),
    ),
];
