//! The prober: one thread that runs all probes, and its two ends for the daemon.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    fmt, io,
    panic::resume_unwind,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

use tokio::{
    runtime::Builder,
    sync::{Notify, mpsc},
};
use vipd_balance::{ProbeId, ProbeNeed, ProbeOutcome, ProbePause, ProbeSpec};
use vipd_core::time::{Instant, nanos};

use crate::{
    context::ProbeContext, limits::ProbeLimits, net::TlsConfigs, pattern::PatternCache, script::RunScript,
    turns::ProbeTurns,
};

/// Limits of a prober.
#[derive(Clone, Copy, Debug)]
pub struct ProberSettings {
    /// By how much a period may be shortened against bursts, 0 to 100 percent. keepalived has no jitter.
    pub jitter_percent: u8,
    /// Sockets at once, from 1. A probe that finds none is not sent, and says so.
    pub sockets: usize,
    /// Commands of MISC_CHECK at once, from 1. Those beyond are not run, and say so.
    pub scripts: usize,
    /// Octets of answers at once that wait to be matched with regular expressions, in all probes, from 16 KiB. Those beyond are no
    /// failure either.
    pub answer_octets: usize,
    /// Reports that wait for the daemon, from 1. While so many wait, a run that has ended waits too: nothing is lost, and probes are sent
    /// later.
    pub reports: usize,
    /// Reads the clock: nanoseconds since boot.
    pub clock: fn() -> Instant,
}

impl ProberSettings {
    /// 10 % jitter, 16,384 sockets, 1,024 commands, 64 MiB of answers, 8,192 reports.
    pub const fn new(clock: fn() -> Instant) -> Self {
        Self {
            jitter_percent: 10,
            sockets: 16_384,
            scripts: 1_024,
            answer_octets: 64 << 20,
            reports: 8_192,
            clock,
        }
    }
}

/// The end of one run of a probe, or another number in the file of FILE_CHECK.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeReport {
    /// Which probe.
    pub probe: ProbeId,
    /// For the judge.
    pub outcome: ProbeOutcome,
    /// The probe's own words, for people: `HTTP 200, 512 octets`. Of a failure its reason.
    pub words: Cow<'static, str>,
    /// From the start of the run to its outcome; zero for files.
    pub latency: Duration,
    /// How late the run started; zero for files.
    pub late: Duration,
    /// When the run ended: the time for the judge, which compares it with `delay_before_retry`. The time at which the report is read is later
    /// by more or less, and a retry may then seem to come too soon.
    pub ended: Instant,
}

impl ProbeReport {
    /// The weight that MISC_CHECK asks for with `misc_dynamic`, or the number of FILE_CHECK.
    pub fn weight(&self) -> Option<i64> {
        match self.outcome {
            ProbeOutcome::Exited(code @ 2..) => Some(i64::from(code) - 2),
            ProbeOutcome::Value(value) => Some(value),
            ProbeOutcome::Exited(0 | 1)
            | ProbeOutcome::Passed
            | ProbeOutcome::Failed(_)
            | ProbeOutcome::NotSent(_) => None,
        }
    }
}

/// What a prober does at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProberLoad {
    /// Probes that are wanted.
    pub probes: usize,
    /// Runs that have not ended.
    pub running: usize,
    /// Sockets in use.
    pub sockets: usize,
    /// Runs since the start.
    pub runs: u64,
    /// Those of them that were not sent, for a reason of this host.
    pub not_sent: u64,
    /// The longest that a run started late since the last look.
    pub latest: Duration,
    /// When the thread last went through its turns: it does so once a second at least. keepalived's checker process can hang unnoticed.
    pub turned: Instant,
}

/// The daemon's end. Dropped, it ends the thread: runs are given up, their commands are ended.
pub struct Prober {
    shared: Arc<ProberShared>,
    context: Arc<ProbeContext>,
    thread: Option<thread::JoinHandle<()>>,
}

/// What the daemon and the thread share.
#[derive(Debug, Default)]
pub(crate) struct ProberShared {
    orders: Mutex<ProbeOrders>,
    pub(crate) ordered: Notify,
    pub(crate) counts: ProbeCounts,
}

/// What the daemon asks for. The latest wish for each probe is enough, so it needs no more room than the probes.
#[derive(Debug, Default)]
pub(crate) struct ProbeOrders {
    pub(crate) wanted: Option<Vec<WantedProbe>>,
    pub(crate) pauses: BTreeMap<ProbeId, ProbePause>,
    pub(crate) stop: bool,
}

/// An owned [`ProbeNeed`].
#[derive(Clone, Debug)]
pub(crate) struct WantedProbe {
    pub(crate) id: ProbeId,
    pub(crate) spec: Arc<ProbeSpec>,
    pub(crate) period: Duration,
    pub(crate) warmup: Duration,
}

#[derive(Debug, Default)]
pub(crate) struct ProbeCounts {
    pub(crate) probes: AtomicUsize,
    pub(crate) running: AtomicUsize,
    pub(crate) runs: AtomicU64,
    pub(crate) not_sent: AtomicU64,
    pub(crate) latest_ns: AtomicU64,
    pub(crate) turned_ns: AtomicU64,
}

impl ProberShared {
    pub(crate) fn orders(&self) -> MutexGuard<'_, ProbeOrders> {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Prober {
    /// Starts the thread `vipd-probe`, in the caller's network namespace. Reports come in the order in which runs end. The channel ends with the
    /// prober.
    ///
    /// # Errors
    ///
    /// The thread or its event loop cannot be made: a shortage of the host.
    pub fn start(
        settings: ProberSettings,
        scripts: Arc<dyn RunScript>,
    ) -> io::Result<(Self, mpsc::Receiver<ProbeReport>)> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let (reports, received) = mpsc::channel(settings.reports.max(1));
        let shared = Arc::new(ProberShared::default());
        shared.counts.turned_ns.store((settings.clock)().as_nanos(), Relaxed);
        let limits = ProbeLimits::new(settings.sockets, settings.scripts, settings.answer_octets);
        let (tls, patterns) = (TlsConfigs::default(), PatternCache::default());
        let context = Arc::new(ProbeContext { limits, tls, patterns, scripts });
        let turns = ProbeTurns::new(settings, shared.clone(), context.clone(), reports);
        let thread = thread::Builder::new().name("vipd-probe".to_owned()).spawn(move || {
            // In a task of its own: a future of `block_on` itself is woken by a write to the event loop's descriptor, each time.
            let turns = runtime.spawn(turns.run());
            if let Err(error) = runtime.block_on(turns)
                && let Ok(panic) = error.try_into_panic()
            {
                resume_unwind(panic);
            }
            // Without waiting for a read of a file that hangs.
            runtime.shutdown_background();
        })?;
        Ok((Self { shared, context, thread: Some(thread) }, received))
    }

    /// Says which probes are wanted, as [`Judge::probes`](vipd_balance::Judge::probes) has them. Known ones keep their turn. A run of a probe that
    /// is no longer wanted is given up without a report. Files of certificates are read anew.
    pub fn set_probes<'a>(&self, needs: impl IntoIterator<Item = ProbeNeed<'a>>) {
        let wanted = needs.into_iter().map(|ProbeNeed { id, spec, period, warmup }| WantedProbe {
            id,
            spec: Arc::new(spec.clone()),
            period,
            warmup,
        });
        let wanted = wanted.collect();
        self.shared.orders().wanted = Some(wanted);
        self.shared.ordered.notify_one();
    }

    /// Sets the pause after the last run, once it is judged. It is the period unless this says something else, so only failures that are
    /// forgiven need it: [`Judge::pause`](vipd_balance::Judge::pause) has it.
    pub fn set_pause(&self, probe: ProbeId, pause: ProbePause) {
        self.shared.orders().pauses.insert(probe, pause);
        self.shared.ordered.notify_one();
    }

    /// What it does at the moment.
    pub fn load(&self) -> ProberLoad {
        let counts = &self.shared.counts;
        ProberLoad {
            probes: counts.probes.load(Relaxed),
            running: counts.running.load(Relaxed),
            sockets: self.context.limits.sockets_in_use(),
            runs: counts.runs.load(Relaxed),
            not_sent: counts.not_sent.load(Relaxed),
            latest: Duration::from_nanos(counts.latest_ns.swap(0, Relaxed)),
            turned: Instant::from_nanos(counts.turned_ns.load(Relaxed)),
        }
    }
}

impl fmt::Debug for Prober {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prober").field("load", &self.load()).finish_non_exhaustive()
    }
}

impl Drop for Prober {
    fn drop(&mut self) {
        self.shared.orders().stop = true;
        self.shared.ordered.notify_one();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread of the probes has panicked");
        }
    }
}

impl ProbeCounts {
    pub(crate) fn note_late(&self, late: Duration) {
        self.latest_ns.fetch_max(nanos(late), Relaxed);
    }
}
