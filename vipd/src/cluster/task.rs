//! The task that sends reports and hears those of others. On the main thread, beside the control socket and the metrics; the election
//! knows nothing of it.

use std::{cell::RefCell, collections::BTreeMap, io, net::IpAddr, rc::Rc, time::Duration};

use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{Instant, MissedTickBehavior, interval, sleep, timeout},
};
use vipd_common::Family;
use vipd_config::ReportKey;

use super::{
    key::{ReportPath, SigningKey},
    nodes::{Nodes, Refusal},
    refusals::RefusalLog,
    segment::{Destination, Segment},
    socket::{PORT, ReportSocket},
    status,
    wire::{self, MAX_DATAGRAM, Record},
};
use crate::control::{PendingRequest, model::Status};

/// The unit of `cluster_report`.
const TICK: Duration = Duration::from_secs(1);
/// The daemon has this long to answer.
const STATUS_TIMEOUT: Duration = Duration::from_secs(5);
/// Datagrams read in one go; then there is a [`PAUSE`], in which the kernel drops what does not fit into the socket's queue.
const BURST: usize = 64;
const PAUSE: Duration = Duration::from_millis(100);
/// Time between two attempts to bind a port that another process has.
const AGAIN: u64 = 5;

/// What is to be reported and heard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReportPlan {
    /// The virtual routers with `cluster_report`.
    pub segments: Vec<Segment>,
    pub key: Option<ReportKey>,
}

/// What both sides know.
#[derive(Debug, Default)]
struct SharedReports {
    nodes: Nodes,
    refusals: RefusalLog,
    sent: u64,
    send_errors: u64,
    problem: Option<String>,
}

/// The main loop's end: says what is to be reported, and asks for what was heard.
#[derive(Debug)]
pub struct Cluster {
    plan_tx: watch::Sender<ReportPlan>,
    shared: Rc<RefCell<SharedReports>>,
}

/// The task's end.
#[derive(Debug)]
pub struct Reporter {
    plan_rx: watch::Receiver<ReportPlan>,
    shared: Rc<RefCell<SharedReports>>,
    commands: mpsc::Sender<PendingRequest>,
    /// The wall clock, in microseconds since 1970.
    unix_us: fn() -> u64,
    start: u64,
    sockets: Vec<ReportSocket>,
    key: Option<SigningKey>,
    last_sent_us: u64,
    ticks: u64,
}

/// Both ends. `unix_us` is the wall clock.
pub fn new(commands: mpsc::Sender<PendingRequest>, unix_us: fn() -> u64) -> (Cluster, Reporter) {
    let (plan_tx, plan_rx) = watch::channel(ReportPlan::default());
    let shared = Rc::<RefCell<SharedReports>>::default();
    let reporter = Reporter {
        plan_rx,
        shared: shared.clone(),
        commands,
        unix_us,
        start: fastrand::u64(..),
        sockets: Vec::new(),
        key: None,
        last_sent_us: 0,
        ticks: 0,
    };
    (Cluster { plan_tx, shared }, reporter)
}

impl Cluster {
    /// Says what is to be reported and heard from now on.
    pub fn follow(&self, plan: ReportPlan) {
        self.plan_tx.send_if_modified(|known| {
            let changed = *known != plan;
            *known = plan;
            changed
        });
    }

    /// Fills in what is known of other nodes.
    pub fn fill(&self, status: &mut Status) {
        let shared = self.shared.borrow();
        status::fill(status, &shared.nodes, Instant::now());
        let plan = self.plan_tx.borrow();
        let reports = &mut status.cluster_reports;
        reports.instances = plan.segments.len() as u64;
        reports.signed = plan.key.is_some();
        reports.refused_lately = shared.refusals.lately(Instant::now());
        reports.problem = shared.problem.clone();
        (reports.sent, reports.send_errors) = (shared.sent, shared.send_errors);
    }
}

impl Reporter {
    /// Reports and hears for ever. While no instance has `cluster_report` it only waits, without a socket.
    pub async fn serve(mut self) {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let is_on = !self.plan_rx.borrow().segments.is_empty();
            tokio::select! {
                changed = self.plan_rx.changed() => match changed {
                    Ok(()) => self.apply(),
                    Err(_) => return,
                },
                _ = ticks.tick(), if is_on => self.tick().await,
                () = hear(&self.sockets, self.key.as_ref(), &self.shared, self.unix_us), if is_on => {}
            }
        }
    }

    fn apply(&mut self) {
        let plan = self.plan_rx.borrow_and_update().clone();
        self.key = plan.key.as_ref().map(SigningKey::new);
        self.shared.borrow_mut().nodes.follow(&plan.segments);
        self.sockets.retain(|socket| plan.segments.iter().any(|segment| segment.family == socket.family()));
        self.bind(&plan.segments);
    }

    /// Opens the sockets that are missing.
    fn bind(&mut self, segments: &[Segment]) {
        let mut problem = None;
        for family in [Family::V4, Family::V6] {
            let wanted = segments.iter().any(|segment| segment.family == family);
            if !wanted || self.sockets.iter().any(|socket| socket.family() == family) {
                continue;
            }
            match ReportSocket::bind(family) {
                Ok(socket) => self.sockets.push(socket),
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                    problem = Some(format!("another process has UDP port {PORT}"));
                }
                Err(error) => problem = Some(format!("UDP port {PORT} cannot be opened: {error}")),
            }
        }
        let mut shared = self.shared.borrow_mut();
        if shared.problem != problem {
            match &problem {
                Some(problem) => tracing::error!(
                    target: "vipd::event",
                    event = "cluster_reports_not_heard",
                    problem,
                    "reports of other nodes are not heard"
                ),
                None if segments.is_empty() => {}
                None => {
                    tracing::info!(target: "vipd::event", event = "cluster_reports_heard", "reports of other nodes are heard")
                }
            }
            shared.problem = problem;
        }
    }

    async fn tick(&mut self) {
        self.ticks += 1;
        let ReportPlan { segments, .. } = self.plan_rx.borrow().clone();
        if self.shared.borrow().problem.is_some() && self.ticks.is_multiple_of(AGAIN) {
            self.bind(&segments);
        }
        let is_due = |segment: &&Segment| {
            segment.is_open() && self.ticks.is_multiple_of(segment.interval.as_secs().max(1))
        };
        let due: Vec<Segment> = segments.iter().filter(is_due).cloned().collect();
        if due.is_empty() {
            return;
        }
        let (reply, status) = oneshot::channel();
        if self.commands.send(PendingRequest::Status(reply)).await.is_err() {
            return;
        }
        // A status that is late is not sent: the next one will be.
        let Ok(Ok(status)) = timeout(STATUS_TIMEOUT, status).await else { return };
        self.report(&due, &status);
    }

    /// Sends what is due: the virtual routers that share a path share datagrams.
    fn report(&mut self, due: &[Segment], status: &Status) {
        for ((path, ifindex, interval_s), records) in batches(due, status) {
            let sender = status::sender(status, self.start, interval_s, self.key.is_some());
            for mut datagram in wire::datagrams(&sender, &records) {
                // Later than the last one, whatever the clock does.
                self.last_sent_us = (self.unix_us)().max(self.last_sent_us + 1);
                wire::stamp(&mut datagram, self.last_sent_us);
                if let Some(key) = &self.key {
                    key.sign(path, &mut datagram);
                }
                let socket = self.sockets.iter().find(|socket| socket.family() == family(path.source));
                let Some(socket) = socket else { continue };
                let mut shared = self.shared.borrow_mut();
                match socket.send(path, ifindex, &datagram) {
                    Ok(()) => shared.sent += 1,
                    Err(error) => {
                        shared.send_errors += 1;
                        tracing::debug!(%error, destination = %path.destination, "a report was not sent");
                    }
                }
            }
        }
    }
}

fn family(address: IpAddr) -> Family {
    if address.is_ipv4() { Family::V4 } else { Family::V6 }
}

/// A path, its interface, and the interval of the reports that take it.
type Way = (ReportPath, u32, u16);

/// The records of each way.
fn batches(due: &[Segment], status: &Status) -> Vec<(Way, Vec<Record>)> {
    let mut batches: BTreeMap<(IpAddr, IpAddr, u32, u16), Vec<Record>> = BTreeMap::new();
    for segment in due {
        let instance = status.instances.iter().find(|i| i.name == segment.name);
        let (Some(source), Some(record)) = (segment.source, instance.and_then(status::record)) else {
            continue;
        };
        let interval_s = u16::try_from(segment.interval.as_secs()).unwrap_or(u16::MAX);
        for destination in segment.destinations() {
            // A unicast peer is where routes lead, unless its address means nothing without an interface.
            let is_scoped = matches!(destination, IpAddr::V6(v6) if v6.is_unicast_link_local());
            let by_interface = is_scoped || matches!(segment.to, Destination::Group(_));
            let ifindex = if by_interface { segment.ifindex } else { 0 };
            batches.entry((source, destination, ifindex, interval_s)).or_default().push(record.clone());
        }
    }
    let way = |(source, destination, ifindex, interval_s)| {
        (ReportPath { source, destination }, ifindex, interval_s)
    };
    batches.into_iter().map(|(key, records)| (way(key), records)).collect()
}

/// Takes in up to [`BURST`] datagrams, then rests. Whoever sends more than that keeps other reports out, and nothing else.
async fn hear(
    sockets: &[ReportSocket],
    key: Option<&SigningKey>,
    shared: &RefCell<SharedReports>,
    unix_us: fn() -> u64,
) {
    let mut buffers = [[0; MAX_DATAGRAM + 1]; 2];
    for _ in 0..BURST {
        let [first, second] = &mut buffers;
        let (received, number) = match sockets {
            [] => std::future::pending().await,
            [one] => (one.receive(first).await, 0),
            [one, two, ..] => tokio::select! {
                received = one.receive(first) => (received, 0),
                received = two.receive(second) => (received, 1),
            },
        };
        match received {
            Ok(Some((arrival, length))) => {
                let datagram = &buffers[number][..length];
                let (mut shared, now) = (shared.borrow_mut(), Instant::now());
                if let Err(refusal) = shared.nodes.take(arrival, datagram, key, now, unix_us()) {
                    let told = shared.refusals.note(arrival.source, refusal, now);
                    tell_of_refusal(arrival.source, refusal, told);
                }
            }
            Ok(None) => {}
            // An error that came back for a report sent, for example.
            Err(error) => tracing::debug!(%error, "no report was received"),
        }
    }
    sleep(PAUSE).await;
}

/// `told`: what it means, and for how many it stands, if it is to be told.
fn tell_of_refusal(source: IpAddr, refusal: Refusal, told: Option<(&'static str, u64)>) {
    let reason = refusal.name();
    tracing::debug!(%source, reason, "a report is not believed");
    if let Some((what, count)) = told {
        tracing::warn!(
            target: "vipd::event",
            event = "cluster_report_refused",
            sender = %source,
            reason,
            count,
            "reports of another node are not believed, they are {what}"
        );
    }
}
