//! The turns of the probes, on the prober's thread. A run is a task; this loop starts runs and waits for nothing of theirs.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use tokio::{
    sync::mpsc::{self, error::TrySendError},
    task::{AbortHandle, Id, JoinError, JoinSet, yield_now},
    time::sleep,
};
use vipd_balance::{ProbeId, ProbeNeed, ProbeOutcome, ProbePause, ProbeSpec, Schedule};
use vipd_core::time::Instant;

use crate::{
    checkers,
    context::ProbeContext,
    files,
    prober::{ProbeReport, ProberSettings, ProberShared, WantedProbe},
};

/// All probes and their runs.
pub(crate) struct ProbeTurns {
    settings: ProberSettings,
    shared: Arc<ProberShared>,
    context: Arc<ProbeContext>,
    reports: mpsc::Sender<ProbeReport>,
    schedule: Schedule,
    probes: BTreeMap<ProbeId, WantedProbe>,
    /// Each task gives its report.
    runs: JoinSet<ProbeReport>,
    running: HashMap<Id, (ProbeId, AbortHandle)>,
    /// Reports of runs that have ended, to be sent together: a daemon that sleeps is woken once for all. One for each probe at most, because a
    /// probe's turn ends when its report is sent.
    unsent: VecDeque<ProbeReport>,
    /// The files that are watched, and the task that does it.
    files: (Vec<(ProbeId, String)>, Option<AbortHandle>),
    /// Tasks that are no runs: those of files.
    others: JoinSet<()>,
}

impl ProbeTurns {
    pub(crate) fn new(
        settings: ProberSettings,
        shared: Arc<ProberShared>,
        context: Arc<ProbeContext>,
        reports: mpsc::Sender<ProbeReport>,
    ) -> Self {
        Self {
            schedule: Schedule::new(settings.jitter_percent),
            settings,
            shared,
            context,
            reports,
            probes: BTreeMap::new(),
            runs: JoinSet::new(),
            running: HashMap::new(),
            unsent: VecDeque::new(),
            files: (Vec::new(), None),
            others: JoinSet::new(),
        }
    }

    fn now(&self) -> Instant {
        (self.settings.clock)()
    }

    /// Runs until the daemon's end is dropped. Dropping it ends all tasks.
    pub(crate) async fn run(mut self) {
        let (shared, reports) = (self.shared.clone(), self.reports.clone());
        loop {
            while let Some(ended) = self.runs.try_join_next_with_id() {
                self.ended(ended);
            }
            while self.others.try_join_next().is_some() {}
            // Before the orders: a pause is for a probe whose turn has ended.
            self.send_reports();
            if !self.take_orders() {
                return;
            }
            let more = self.start_due();
            shared.counts.running.store(self.running.len() + self.unsent.len(), Relaxed);
            shared.counts.turned_ns.store(self.now().as_nanos(), Relaxed);
            if more {
                yield_now().await;
                continue;
            }
            let wait = self.schedule.poll_timeout().map_or(TURN, |due| due.saturating_since(self.now()));
            tokio::select! {
                Some(ended) = self.runs.join_next_with_id() => self.ended(ended),
                // Until there is room, or nobody listens any more.
                _ = reports.reserve(), if !self.unsent.is_empty() => {}
                () = shared.ordered.notified() => {}
                () = sleep(wait.min(TURN)) => {}
            }
        }
    }

    /// `false`: the end.
    fn take_orders(&mut self) -> bool {
        let orders = std::mem::take(&mut *self.shared.orders());
        if orders.stop {
            return false;
        }
        if let Some(wanted) = orders.wanted {
            self.set_wanted(wanted);
        }
        for (id, pause) in orders.pauses {
            self.schedule.set_pause(id, pause);
        }
        true
    }

    fn set_wanted(&mut self, wanted: Vec<WantedProbe>) {
        self.probes = wanted.into_iter().map(|probe| (probe.id, probe)).collect();
        let needs = self.probes.values().map(|probe| ProbeNeed {
            id: probe.id,
            spec: &probe.spec,
            period: probe.period,
            warmup: probe.warmup,
        });
        self.schedule.sync(needs, self.now());
        for (probe, run) in self.running.values() {
            if !self.probes.contains_key(probe) {
                run.abort();
            }
        }
        self.unsent.retain(|report| self.probes.contains_key(&report.probe));
        self.context.tls.clear();
        self.context.patterns.clear();
        self.shared.counts.probes.store(self.probes.len(), Relaxed);
        self.watch_files();
    }

    fn watch_files(&mut self) {
        let wanted: Vec<_> = self
            .probes
            .values()
            .filter_map(|probe| match &*probe.spec {
                ProbeSpec::File { path } => Some((probe.id, path.clone())),
                _ => None,
            })
            .collect();
        if wanted == self.files.0 {
            return;
        }
        if let Some(task) = self.files.1.take() {
            task.abort();
        }
        let (reports, clock) = (self.reports.clone(), self.settings.clock);
        let tell = move |probe, outcome, words: String| {
            let report = ProbeReport {
                probe,
                outcome,
                words: words.into(),
                latency: Duration::ZERO,
                late: Duration::ZERO,
                ended: clock(),
            };
            let reports = reports.clone();
            // Fails when nobody listens any more: then the end is near.
            async move { _ = reports.send(report).await }
        };
        let task = (!wanted.is_empty()).then(|| self.others.spawn(files::watch(wanted.clone(), tell)));
        self.files = (wanted, task);
    }

    /// Starts what is due, a batch at most; whether there is more. Between two batches others have their turn.
    fn start_due(&mut self) -> bool {
        for _ in 0..BATCH {
            let (now, due) = (self.now(), self.schedule.poll_timeout());
            let Some(id) = self.schedule.poll_due(now) else { return false };
            let Some(probe) = self.probes.get(&id) else { continue };
            let late = now.saturating_since(due.unwrap_or(now));
            self.shared.counts.note_late(late);
            self.shared.counts.runs.fetch_add(1, Relaxed);
            let (spec, context, clock) = (probe.spec.clone(), self.context.clone(), self.settings.clock);
            let run = async move {
                let started = clock();
                let (outcome, words) = checkers::run(&spec, &context).await;
                let ended = clock();
                let latency = ended.saturating_since(started);
                ProbeReport { probe: id, outcome, words, latency, late, ended }
            };
            let task = self.runs.spawn(run);
            self.running.insert(task.id(), (id, task));
        }
        true
    }

    fn ended(&mut self, ended: Result<(Id, ProbeReport), JoinError>) {
        let task = match &ended {
            Ok((task, _)) => *task,
            Err(error) => error.id(),
        };
        let Some((id, _)) = self.running.remove(&task) else { return };
        let Some(probe) = self.probes.get(&id) else { return };
        let report = match ended {
            Ok((_, report)) => report,
            Err(error) if error.is_panic() => {
                // Our fault, and not the target's.
                tracing::error!(probe = %probe.spec, %error, "a probe has panicked");
                self.not_sent(id, "a fault of vipd ended the probe".to_owned())
            }
            // It was given up, and is wanted again since.
            Err(_) => return,
        };
        if matches!(report.outcome, ProbeOutcome::NotSent(_)) {
            self.shared.counts.not_sent.fetch_add(1, Relaxed);
        }
        self.unsent.push_back(report);
    }

    fn not_sent(&self, probe: ProbeId, why: String) -> ProbeReport {
        ProbeReport {
            probe,
            outcome: ProbeOutcome::NotSent(why.clone()),
            words: why.into(),
            latency: Duration::ZERO,
            late: Duration::ZERO,
            ended: self.now(),
        }
    }

    /// Sends what there is room for. What finds none waits, and its probes wait for their next turn.
    fn send_reports(&mut self) {
        while let Some(report) = self.unsent.pop_front() {
            let (id, at) = (report.probe, report.ended);
            if let Err(TrySendError::Full(report)) = self.reports.try_send(report) {
                self.unsent.push_front(report);
                return;
            }
            if let Some(probe) = self.probes.get(&id) {
                self.schedule.ended(id, ProbePause::Loop(probe.period), at);
            }
        }
    }
}

/// Longest time between two turns of the loop.
const TURN: Duration = Duration::from_secs(1);
/// Runs that are started at once.
const BATCH: usize = 256;
