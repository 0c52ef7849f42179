//! The prober of the services' thread, and the last run of each probe.

use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use tokio::sync::mpsc;
use vipd_balance::{Judge, ProbeId, ProbeOutcome, ProbePause, ProbeSpec};
use vipd_probe::{ProbeReport, Prober, ProberSettings};

use super::{super::clock, scripts::ProbeScripts};
use crate::{
    control::model::{ProbesStatus, ServerCheckStatus},
    time::Instant,
    tracking::BfdStates,
};

/// What came of the last run of a probe.
#[derive(Clone, Debug)]
struct LastProbeRun {
    passed: Option<bool>,
    words: Cow<'static, str>,
    latency: Duration,
    ended: Instant,
}

/// The prober, if there is something to probe.
pub struct ServerProbes {
    scripts: Arc<ProbeScripts>,
    jitter_percent: u8,
    running: Option<(Prober, mpsc::Receiver<ProbeReport>)>,
    ids: HashMap<ProbeSpec, ProbeId>,
    runs: HashMap<ProbeId, LastProbeRun>,
}

impl ServerProbes {
    /// Nothing is probed yet.
    pub fn new(scripts: Arc<ProbeScripts>) -> Self {
        Self { scripts, jitter_percent: 0, running: None, ids: HashMap::new(), runs: HashMap::new() }
    }

    /// Has the probes sent that the judge wants; the thread is started for the first.
    pub fn follow(&mut self, judge: &Judge, jitter_percent: u8) {
        self.ids = judge.probes().map(|need| (need.spec.clone(), need.id)).collect();
        let wanted: HashSet<ProbeId> = self.ids.values().copied().collect();
        self.runs.retain(|id, _| wanted.contains(id));
        if self.jitter_percent != jitter_percent {
            // It is a setting of the thread.
            self.running = None;
        }
        if self.running.is_none() && !self.ids.is_empty() {
            let settings = ProberSettings { jitter_percent, ..ProberSettings::new(clock::now) };
            self.jitter_percent = jitter_percent;
            match Prober::start(settings, self.scripts.clone()) {
                Ok(running) => self.running = Some(running),
                Err(error) => {
                    tracing::error!(%error, "the thread of the probes cannot be started: nothing is checked");
                }
            }
        }
        if let Some((prober, _)) = &self.running {
            prober.set_probes(judge.probes());
        }
    }

    /// The next report; never while nothing is probed. May be dropped while it waits.
    pub async fn next(&mut self) -> ProbeReport {
        if let Some((_, reports)) = &mut self.running
            && let Some(report) = reports.recv().await
        {
            return report;
        }
        std::future::pending().await
    }

    /// What the checks of BFD come to: as in keepalived, a session that has not been up yet is down.
    pub fn of_sessions(&self, states: &BfdStates, now: Instant) -> Vec<ProbeReport> {
        let report = |(spec, probe): (&ProbeSpec, &ProbeId)| {
            let ProbeSpec::Bfd { session } = spec else { return None };
            let view = states.get(session)?;
            let words = view.to_string();
            let outcome =
                if view.is_reached { ProbeOutcome::Passed } else { ProbeOutcome::Failed(words.clone()) };
            let (latency, late) = (Duration::ZERO, Duration::ZERO);
            Some(ProbeReport { probe: *probe, outcome, words: words.into(), latency, late, ended: now })
        };
        self.ids.iter().filter_map(report).collect()
    }

    /// A report that waits.
    pub fn try_next(&mut self) -> Option<ProbeReport> {
        self.running.as_mut()?.1.try_recv().ok()
    }

    /// Takes note of a run that was judged: after a failure that is forgiven the next one comes sooner.
    pub fn judged(&mut self, report: ProbeReport, judge: &Judge) {
        let ProbeReport { probe, outcome, words, latency, ended, .. } = report;
        if let Some((prober, _)) = &self.running
            && !matches!(outcome, ProbeOutcome::Passed)
            && let Some(pause @ ProbePause::Retry(_)) = judge.pause(probe)
        {
            prober.set_pause(probe, pause);
        }
        let passed = match outcome {
            ProbeOutcome::Passed | ProbeOutcome::Exited(0) | ProbeOutcome::Value(_) => Some(true),
            ProbeOutcome::Failed(_) | ProbeOutcome::Exited(1) => Some(false),
            // Whether that is a weight the check says.
            ProbeOutcome::Exited(_) | ProbeOutcome::NotSent(_) => None,
        };
        self.runs.insert(probe, LastProbeRun { passed, words, latency, ended });
    }

    /// A check, with the last run of its probe.
    pub fn check(&self, spec: &ProbeSpec, now: Instant) -> ServerCheckStatus {
        let run = self.ids.get(spec).and_then(|id| self.runs.get(id));
        ServerCheckStatus {
            check: spec.to_string(),
            passed: run.and_then(|run| run.passed),
            words: run.map(|run| run.words.clone().into_owned()).unwrap_or_default(),
            latency_us: run.map(|run| u64::try_from(run.latency.as_micros()).unwrap_or(u64::MAX)),
            ran_ms_ago: run.map(|run| now.millis_since(run.ended)),
        }
    }

    /// What the prober does.
    pub fn status(&self, now: Instant) -> ProbesStatus {
        let Some((prober, _)) = &self.running else { return ProbesStatus::default() };
        let load = prober.load();
        let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
        ProbesStatus {
            probes: count(load.probes),
            running: count(load.running),
            sent: load.runs,
            not_sent: load.not_sent,
            lateness_max_us: u64::try_from(load.latest.as_micros()).unwrap_or(u64::MAX),
            turned_ms_ago: now.millis_since(load.turned),
        }
    }
}
