//! When each probe is next sent: spread over time, without a clock and without chance.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use vipd_core::time::{Instant, nanos};

use crate::{
    judge::{ProbeNeed, ProbePause},
    model::ProbeId,
};

/// A probe's first run comes after this and a part of its `warmup`, as with keepalived.
pub const FIRST_PROBE_DELAY: Duration = Duration::from_secs(1);

/// When each probe is due. One run of a probe at a time.
///
/// ```text
///  sync --> waiting --poll_due--> running --ended--> waiting ...
/// ```
#[derive(Debug)]
pub struct Schedule {
    probes: BTreeMap<ProbeId, ProbeTurn>,
    /// The probes that wait.
    due: BTreeSet<(Instant, ProbeId)>,
    jitter_percent: u8,
}

/// Where a probe is in its round.
#[derive(Clone, Copy, Debug)]
struct ProbeTurn {
    counts_from_start: bool,
    phase: TurnPhase,
    /// When its period began last; `None` before the first run.
    from: Option<Instant>,
    runs: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TurnPhase {
    Waiting { due: Instant },
    Running { since: Instant },
}

impl Schedule {
    /// A schedule without probes. `jitter_percent`, 0 to 100: by up to how much a period is shortened, against bursts.
    /// Pauses before a retry are exact.
    pub fn new(jitter_percent: u8) -> Self {
        Self { probes: BTreeMap::new(), due: BTreeSet::new(), jitter_percent: jitter_percent.min(100) }
    }

    /// Takes the wanted probes over. A known probe keeps its turn. A new one starts with a spread over its `warmup`.
    pub fn sync<'a>(&mut self, needs: impl IntoIterator<Item = ProbeNeed<'a>>, now: Instant) {
        let mut before = std::mem::take(&mut self.probes);
        self.due.clear();
        for need in needs.into_iter().filter(|need| need.spec.is_scheduled()) {
            let turn = match before.remove(&need.id) {
                Some(turn) => turn.with_period(need.period),
                None => {
                    let due = now + FIRST_PROBE_DELAY + part(need.warmup, first_spread(need.id));
                    ProbeTurn {
                        counts_from_start: need.spec.counts_from_start(),
                        phase: TurnPhase::Waiting { due },
                        from: None,
                        runs: 0,
                    }
                }
            };
            if let TurnPhase::Waiting { due } = turn.phase {
                self.due.insert((due, need.id));
            }
            self.probes.insert(need.id, turn);
        }
    }

    /// A probe that is due at `now`, the earliest first. It runs until [`ended`](Self::ended).
    pub fn poll_due(&mut self, now: Instant) -> Option<ProbeId> {
        let (due, id) = self.due.first().copied().filter(|(due, _)| *due <= now)?;
        self.due.remove(&(due, id));
        let turn = self.probes.get_mut(&id)?;
        turn.phase = TurnPhase::Running { since: now };
        turn.runs += 1;
        Some(id)
    }

    /// A run has ended at `now`. `pause` comes from [`Judge::pause`](crate::Judge::pause), or is that of a run that passed, if it is judged
    /// later. A probe that does not run is ignored: it is no longer wanted.
    pub fn ended(&mut self, id: ProbeId, pause: ProbePause, now: Instant) {
        let Some(turn) = self.probes.get(&id) else { return };
        let TurnPhase::Running { since } = turn.phase else { return };
        let from = if turn.counts_from_start { since } else { now };
        let due = (from + self.shortened(id, pause)).max(now);
        self.wait(id, from, due);
    }

    /// The last run was judged after it had [`ended`](Self::ended): its pause is another, from the same time on. A probe that runs is
    /// ignored: its next result is judged anew.
    pub fn set_pause(&mut self, id: ProbeId, pause: ProbePause) {
        let Some(&ProbeTurn { phase: TurnPhase::Waiting { due }, from: Some(from), .. }) =
            self.probes.get(&id)
        else {
            return;
        };
        self.due.remove(&(due, id));
        self.wait(id, from, from + self.shortened(id, pause));
    }

    fn wait(&mut self, id: ProbeId, from: Instant, due: Instant) {
        let Some(turn) = self.probes.get_mut(&id) else { return };
        (turn.phase, turn.from) = (TurnPhase::Waiting { due }, Some(from));
        self.due.insert((due, id));
    }

    /// A pause with its jitter.
    fn shortened(&self, id: ProbeId, pause: ProbePause) -> Duration {
        let runs = self.probes.get(&id).map_or(0, |turn| turn.runs);
        match pause {
            ProbePause::Retry(pause) => pause,
            ProbePause::Loop(pause) => {
                let most = part(pause, u64::MAX / 100 * u64::from(self.jitter_percent));
                pause.saturating_sub(part(most, scatter(id.0, runs)))
            }
        }
    }

    /// When [`poll_due`](Self::poll_due) next has something.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.due.first().map(|(due, _)| *due)
    }

    /// How many probes run.
    pub fn running(&self) -> usize {
        self.probes.len() - self.due.len()
    }
}

impl ProbeTurn {
    /// Another period counts at once if it is shorter, and from the next run if it is longer.
    fn with_period(mut self, period: Duration) -> Self {
        if let (TurnPhase::Waiting { due }, Some(from)) = (self.phase, self.from) {
            self.phase = TurnPhase::Waiting { due: due.min(from + period) };
        }
        self
    }
}

/// `of` times `fraction` / 2^64.
fn part(of: Duration, fraction: u64) -> Duration {
    let product = u128::from(nanos(of)) * u128::from(fraction);
    Duration::from_nanos(u64::try_from(product >> 64).unwrap_or(u64::MAX))
}

/// Of a first run: of the first probe too, which is the only one in a small configuration.
const fn first_spread(id: ProbeId) -> u64 {
    spread(id.0.wrapping_add(1))
}

/// The golden ratio's multiples, modulo 1: however many there are, they lie evenly.
const fn spread(n: u64) -> u64 {
    n.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// The finalizer of SplitMix64 (Steele, Lea, Flood 2014): no pattern between probes or runs.
const fn scatter(probe: u64, run: u64) -> u64 {
    let mut z = spread(probe).wrapping_add(spread(run).rotate_left(32));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
