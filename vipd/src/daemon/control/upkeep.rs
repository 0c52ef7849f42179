//! What vipd made on this host it keeps there: when to look, what was put back, and what could not be.
//!
//! A look comes when the kernel tells of a removal ([`HostWatch`]), and in a period without a word. Notifications that come together are
//! one look: the next one waits for [`LEAST`], and for long enough that looks cost no more than a twentieth of a processor, but no longer
//! than [`MOST`], lest a VIP be gone for seconds where there are thousands.
//! Somebody who removes things again and again makes the wait longer, up to the period, so that a fight costs no more than the looks
//! that come anyway.

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque, btree_map::Entry},
    mem,
    time::Duration,
};

use tokio::time::{Instant, sleep_until};

use super::{
    super::{clock, kept_files::FilesReport},
    host_warnings::HostWarnings,
};
use crate::{
    control::model::{HostWarning, RepairStatus},
    coordinator::InstanceId,
    detection::{Limits, RateLimiter},
    host::{HostWatch, Repairs},
};

/// Between two looks.
const LEAST: Duration = Duration::from_millis(100);
/// A look that took so much of a processor is followed by a wait this many times as long.
const SHARE: u32 = 20;
/// For so long at most a look waits that somebody's removal asks for.
const MOST: Duration = Duration::from_millis(500);
/// A repair so soon after another one is the same fight.
const AGAIN: Duration = Duration::from_secs(10);
/// Repairs in a row that nobody has to wait for; each one after them doubles the wait.
const PATIENT: u32 = 5;
/// With so many of what an instance needs, nobody can count on its VIPs here.
const HOPELESS: u32 = 12;
/// For so long an instance that nobody can count on is in FAULT while another node serves its VIPs, and twice as long each time it is
/// given up again: it preempts the other node with every attempt.
const GIVEN_UP: Duration = Duration::from_secs(60);
const GIVEN_UP_MOST: Duration = Duration::from_secs(600);
/// And for so long while nobody serves them: VIPs with gaps are better than none. Twice as long each time too, so that two nodes with a
/// fight each do not take them from each other all the time.
const UNSERVED: Duration = Duration::from_secs(5);
const UNSERVED_MOST: Duration = GIVEN_UP;
/// An instance that was not given up for so long begins anew.
const RELAPSE: Duration = Duration::from_secs(900);
/// What is left for a while later is looked at so soon.
const SHORTLY: Duration = Duration::from_secs(1);
/// A refusal that stands so long is a fault; the kernel is asked again every second.
const REFUSED: Duration = Duration::from_millis(900);
/// Repairs that the status shows.
const SHOWN: usize = 16;
/// Objects that an event names.
const NAMED: usize = 3;

/// Kind of the warnings about answers that take another way than the connected route.
pub const DETOURS: &str = "routes";

/// What to say of such an interface.
pub fn detour(interface: &str, what: &str) -> HostWarning {
    HostWarning {
        kind: DETOURS.to_owned(),
        about: interface.to_owned(),
        what: what.to_owned(),
        remedy: format!(
            "see `ip route` and `ip rule`; `ip address` on {interface}, given anew, makes the connected route again"
        ),
    }
}

/// Kind of the warnings about files that cannot be put back.
const FILES: &str = "runtime_dir";

/// When to look at the host, and what came of it.
#[derive(Debug)]
pub struct Upkeep {
    /// `None`: there is the timer alone.
    watch: Option<HostWatch>,
    period: Duration,
    looked_at: Instant,
    /// The next look without a word.
    look_at: Instant,
    /// The next look, whoever tells of what.
    not_before: Instant,
    fight: Fight,
    counts: BTreeMap<&'static str, u64>,
    latest: VecDeque<Repaired>,
    limits: Limits<&'static str, Report>,
    /// Objects of each kind that were put back and not told yet.
    untold: BTreeMap<&'static str, u64>,
    problem: Problem,
    /// Since when the host has refused what an instance needs, and why.
    refused: BTreeMap<u16, (Instant, String)>,
    /// How often in a row what an instance needs was missing, and when last.
    deprived: BTreeMap<u16, (u32, Instant)>,
    /// Instances that are given up, or were.
    given_up: BTreeMap<u16, GivenUp>,
    /// What the engine was told last.
    unserved: BTreeSet<InstanceId>,
    warnings: HostWarnings,
}

/// An instance that nobody can count on.
#[derive(Debug)]
struct GivenUp {
    since: Instant,
    /// How often it was before, in a row.
    before: u32,
    /// `None`: it takes part again.
    why: Option<String>,
}

/// When a look began. A busy machine makes it long, and not dear: what counts is its part of a processor.
#[derive(Clone, Copy, Debug)]
pub struct LookStart {
    processor: Duration,
}

impl LookStart {
    /// What it has cost so far.
    pub fn cost(self) -> Duration {
        clock::thread_processor_time().saturating_sub(self.processor)
    }
}

/// Somebody removes again and again what is put back.
#[derive(Debug, Default)]
struct Fight {
    in_a_row: u32,
    last: Option<Instant>,
    limiter: RateLimiter,
}

/// What cannot be put back.
#[derive(Debug, Default)]
struct Problem {
    now: Option<String>,
    told: bool,
    limiter: RateLimiter,
}

/// What an event tells of.
#[derive(Debug)]
struct Report {
    what: String,
    missing: Duration,
}

#[derive(Debug)]
struct Repaired {
    kind: &'static str,
    what: String,
    at: Instant,
}

impl Upkeep {
    /// Looks every `period` from now on. Needs a tokio runtime.
    pub fn new(period: Duration) -> Self {
        let watch = HostWatch::open().inspect_err(|error| {
            tracing::warn!(%error, "the kernel's notifications cannot be heard: vipd looks at the host every {period:?}");
        });
        let now = Instant::now();
        Self {
            watch: watch.ok(),
            period,
            looked_at: now,
            look_at: now + period,
            not_before: now,
            fight: Fight::default(),
            counts: Repairs::KINDS.iter().map(|kind| (*kind, 0)).collect(),
            latest: VecDeque::new(),
            limits: Limits::default(),
            untold: BTreeMap::new(),
            problem: Problem::default(),
            refused: BTreeMap::new(),
            deprived: BTreeMap::new(),
            given_up: BTreeMap::new(),
            unserved: BTreeSet::new(),
            warnings: HostWarnings::default(),
        }
    }

    /// Waits until a look is due. May be dropped while it waits.
    pub async fn due(&self) {
        let told = async {
            match &self.watch {
                Some(watch) if watch.removed().await.is_ok() => sleep_until(self.not_before).await,
                _ => std::future::pending().await,
            }
        };
        tokio::select! {
            () = sleep_until(self.look_at) => {}
            () = told => {}
        }
    }

    /// A look begins: what is told from now on is for the next one.
    pub fn begin(&self) -> LookStart {
        if let Some(watch) = &self.watch {
            watch.drain();
        }
        LookStart { processor: clock::thread_processor_time() }
    }

    /// A look that is over now, and took so much of a processor, has found and put back these, of which some were needed by the instances in `deprived`. `waits`: there is
    /// something for a while later.
    pub fn looked(
        &mut self,
        (cost, now): (Duration, Instant),
        repairs: &Repairs,
        deprived: &BTreeSet<u16>,
        waits: bool,
    ) {
        self.tell(repairs, now.saturating_duration_since(self.looked_at));
        self.fight.follow(!repairs.is_empty(), now);
        let costs = cost * SHARE;
        let mut wait = costs.clamp(LEAST, MOST);
        if let Some(longer) = self.fight.wait().map(|longer| longer.min(self.period)) {
            wait = wait.max(longer);
            self.tell_fight(repairs, wait, now);
        }
        self.deprive(deprived.iter().copied(), &named(repairs.iter()), now);
        self.looked_at = now;
        self.not_before = now + wait;
        let without_a_word = if waits { self.period.min(SHORTLY) } else { self.period };
        self.look_at = now + without_a_word.max(costs);
    }

    /// What these instances serve their VIPs by was found missing; one of which it is so again and again is given up.
    pub fn deprive(&mut self, keys: impl IntoIterator<Item = u16>, what: &str, now: Instant) {
        for key in keys {
            let (in_a_row, last) = self.deprived.entry(key).or_insert((0, now));
            let goes_on = now.saturating_duration_since(*last) < AGAIN;
            (*in_a_row, *last) = (if goes_on { in_a_row.saturating_add(1) } else { 1 }, now);
            if *in_a_row >= HOPELESS {
                let why = format!("somebody removes again and again what vipd puts back: {what}");
                self.deprived.remove(&key);
                GivenUp::again(self.given_up.entry(key), why, now);
            }
        }
    }

    /// Tells of what was put back, by kind.
    pub fn tell(&mut self, repairs: &Repairs, missing: Duration) {
        let mut kinds: BTreeMap<&'static str, Vec<_>> = BTreeMap::new();
        for repair in repairs.iter() {
            kinds.entry(repair.kind()).or_default().push(repair);
        }
        for (kind, repairs) in kinds {
            let what = named(repairs.iter().copied());
            let times = repairs.len() as u64;
            self.count(kind, times, &what);
            *self.untold.entry(kind).or_default() += times;
            if let Some(report) = self.limits.begins(kind, Report { what, missing }, clock::now()) {
                report.tell(kind, self.untold.remove(kind).unwrap_or_default());
            }
        }
        for (kind, report, _) in self.limits.take_due(clock::now()) {
            report.tell(kind, self.untold.remove(kind).unwrap_or_default());
        }
    }

    /// Tells of the files of the runtime directory.
    pub fn tell_of_files(&mut self, FilesReport { repairs, missing, problem }: FilesReport) {
        self.tell(&repairs, missing);
        let warning = |what| {
            HostWarning {
            kind: FILES.to_owned(),
            about: "runtime directory".to_owned(),
            what,
            remedy: "remove what is in its place; vipd makes it again within seconds, and `vipd reload` and `vipd stop` reach it".to_owned(),
        }
        };
        self.warn(FILES, problem.map(warning).into_iter().collect());
    }

    /// Counts what was put back and is told otherwise.
    pub fn count(&mut self, kind: &'static str, times: u64, what: &str) {
        *self.counts.entry(kind).or_default() += times;
        if self.latest.len() == SHOWN {
            self.latest.pop_front();
        }
        self.latest.push_back(Repaired { kind, what: what.to_owned(), at: Instant::now() });
    }

    fn tell_fight(&mut self, repairs: &Repairs, wait: Duration, now: Instant) {
        if self.fight.last == Some(now)
            && let Some(count) = self.fight.limiter.note(1, clock::now())
        {
            tracing::warn!(
                target: "vipd::event",
                event = "host_contested",
                what = named(repairs.iter()),
                count,
                wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX),
                "another program removes again and again what vipd puts back; vipd puts it back less often"
            );
        }
    }

    /// Takes note of what the kernel refuses, or no longer does; `refused` are the instances that cannot be served for it. Returns all
    /// that cannot be served, if they are others than before.
    pub fn refused(
        &mut self,
        problem: Option<String>,
        refused: &BTreeMap<u16, String>,
        is_served_elsewhere: impl Fn(u16) -> bool,
        now: Instant,
    ) -> Option<BTreeSet<InstanceId>> {
        self.problem.tell(problem);
        let mut before = mem::take(&mut self.refused);
        self.refused = refused
            .iter()
            .map(|(key, why)| (*key, (before.remove(key).map_or(now, |(since, _)| since), why.clone())))
            .collect();
        for (key, given_up) in &mut self.given_up {
            given_up.follow(|| is_served_elsewhere(*key), now);
        }
        self.given_up.retain(|_, given_up| given_up.is_remembered(now));
        let stand =
            self.refused.iter().filter(|(_, (since, _))| now.saturating_duration_since(*since) >= REFUSED);
        let unserved: BTreeSet<_> = stand
            .map(|(key, _)| InstanceId(*key))
            .chain(self.given_up.iter().filter(|(_, is)| is.why.is_some()).map(|(key, _)| InstanceId(*key)))
            .collect();
        if unserved == self.unserved {
            return None;
        }
        self.unserved.clone_from(&unserved);
        Some(unserved)
    }

    /// Those whose VIPs the host has refused to serve: whether it can by now is to be tried.
    pub fn to_be_tried(&self) -> BTreeSet<u16> {
        let refused = self.unserved.iter().map(|instance| instance.0);
        refused.filter(|key| self.refused.contains_key(key)).collect()
    }

    /// Why this host cannot serve the VIPs of an instance.
    pub fn why_unserved(&self, instance: InstanceId) -> Option<&str> {
        let given_up = || self.given_up.get(&instance.0)?.why.as_deref();
        let why = self.refused.get(&instance.0).map(|(_, why)| why.as_str()).or_else(given_up);
        why.filter(|_| self.unserved.contains(&instance))
    }

    /// How often something of each kind was put back.
    pub fn counts(&self) -> BTreeMap<String, u64> {
        self.counts.iter().map(|(kind, count)| ((*kind).to_owned(), *count)).collect()
    }

    /// The latest repairs, the oldest first.
    pub fn latest(&self) -> Vec<RepairStatus> {
        let status = |repaired: &Repaired| RepairStatus {
            kind: repaired.kind.to_owned(),
            what: repaired.what.clone(),
            ago_ms: u64::try_from(repaired.at.elapsed().as_millis()).unwrap_or(u64::MAX),
        };
        self.latest.iter().map(status).collect()
    }

    /// What may harm the VIPs and is left as it is: all of one kind.
    pub fn warn(&mut self, kind: &'static str, warnings: Vec<HostWarning>) {
        self.warnings.set(kind, warnings);
    }

    /// All that may harm the VIPs and is left as it is.
    pub fn warnings(&self) -> Vec<HostWarning> {
        self.warnings.all()
    }

    /// What cannot be put back.
    pub fn problem(&self) -> Option<&str> {
        self.problem.now.as_deref()
    }
}

impl Report {
    fn tell(self, kind: &'static str, count: u64) {
        tracing::warn!(
            target: "vipd::event",
            event = "host_repaired",
            kind,
            what = self.what,
            count,
            missing_at_most_ms = u64::try_from(self.missing.as_millis()).unwrap_or(u64::MAX),
            "another program removed or changed what vipd needs on this host; vipd has put it back"
        );
    }
}

impl GivenUp {
    fn again(entry: Entry<'_, u16, Self>, why: String, now: Instant) {
        let before = match &entry {
            Entry::Occupied(known) if known.get().why.is_some() => return,
            Entry::Occupied(known) => known.get().before + 1,
            Entry::Vacant(_) => 0,
        };
        entry.insert_entry(Self { since: now, before, why: Some(why) });
    }

    /// Ends it in time.
    fn follow(&mut self, is_served_elsewhere: impl Fn() -> bool, now: Instant) {
        let waited = now.saturating_duration_since(self.since);
        let times = 2_u32.saturating_pow(self.before);
        let least = UNSERVED.saturating_mul(times).min(UNSERVED_MOST);
        let most = GIVEN_UP.saturating_mul(times).min(GIVEN_UP_MOST);
        if self.why.is_some() && waited >= least && (waited >= most || !is_served_elsewhere()) {
            self.why = None;
        }
    }

    fn is_remembered(&self, now: Instant) -> bool {
        self.why.is_some() || now.saturating_duration_since(self.since) < RELAPSE
    }
}

impl Fight {
    fn follow(&mut self, is_repaired: bool, now: Instant) {
        let goes_on = self.last.is_some_and(|last| now.saturating_duration_since(last) < AGAIN);
        if is_repaired {
            self.in_a_row = if goes_on { self.in_a_row.saturating_add(1) } else { 1 };
            self.last = Some(now);
        } else if !goes_on {
            self.in_a_row = 0;
        }
    }

    /// How long whoever removes things again and again is to wait.
    fn wait(&self) -> Option<Duration> {
        let more = self.in_a_row.checked_sub(PATIENT).filter(|more| *more > 0)?;
        Some(LEAST * 2u32.saturating_pow(more.min(10)))
    }
}

impl Problem {
    fn tell(&mut self, problem: Option<String>) {
        match &problem {
            Some(reason) => {
                if let Some(count) = self.limiter.note(1, clock::now()) {
                    tracing::error!(
                        target: "vipd::event",
                        event = "host_refused",
                        reason,
                        count,
                        "the host refuses what vipd needs on it; vipd tries again"
                    );
                    self.told = true;
                }
            }
            None if mem::take(&mut self.told) => {
                tracing::info!(
                    target: "vipd::event",
                    event = "host_restored",
                    "the host has everything again that vipd needs on it"
                );
            }
            None => {}
        }
        self.now = problem;
    }
}

/// The first of them by their names, and how many more there are.
fn named<'a>(repairs: impl Iterator<Item = &'a crate::host::Repair>) -> String {
    let names: Vec<String> = repairs.map(ToString::to_string).collect();
    let more = names.len().saturating_sub(NAMED);
    let named = names[..names.len() - more].join(", ");
    if more > 0 { format!("{named} and {more} more") } else { named }
}
