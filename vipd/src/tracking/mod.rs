//! Scripts, files, processes, links, arbiters and sessions of BFD that instances track. Watched on the main thread, so that no check delays the election.

pub mod arbiter;
mod arbiter_status;
mod check;
mod counter;
mod delay;
mod detail;
mod file;
mod process;
mod result;
mod session;

use std::collections::HashMap;

use tokio::{
    sync::mpsc,
    task::{JoinHandle, spawn_local},
    time::Instant,
};
use vipd_common::Priority;
use vipd_config::{
    Arbiter, BfdInstance, Config, Script, ScriptPolicy, Track, Tracked, TrackedFile, TrackedProcess,
};

pub use arbiter::TargetState;
pub use arbiter_status::arbiter_status;
pub use delay::LinkDelays;
pub use detail::{Detail, Effect};
use result::TrackedEffect;
pub use result::{Fault, Health, TrackingResult};
pub use session::{BfdStates, BfdStatesRx, BfdView};

use crate::{
    host::LinkChange,
    scripts::{Accounts, Executable, LastRun},
};

/// The tracked objects, and the tracking result of each instance.
#[derive(Debug)]
pub struct Tracker {
    /// Configured priority and tracked objects of each instance, in the order of the configuration.
    instances: Vec<(Priority, Vec<Track>)>,
    /// In the order of the configuration.
    scripts: Vec<Watch<Script>>,
    files: Vec<Watch<TrackedFile>>,
    processes: Vec<Watch<TrackedProcess>>,
    arbiters: Vec<Watch<Arbiter>>,
    sessions: Vec<Watch<BfdInstance>>,
    /// How all sessions of BFD are.
    session_states: BfdStatesRx,
    /// The targets of each arbiter, by the number of its watch.
    targets: HashMap<u64, Vec<TargetState>>,
    policy: ScriptPolicy,
    /// Index and state by name; an unknown interface is down.
    interfaces: HashMap<String, (u32, bool)>,
    results: Vec<TrackingResult>,
    teller: Teller,
    news: mpsc::UnboundedReceiver<News>,
}

/// Gives each watch a number and a sender for its news.
#[derive(Debug)]
struct Teller {
    news: mpsc::UnboundedSender<News>,
    /// The last number.
    number: u64,
}

impl Teller {
    fn next(&mut self) -> (u64, impl Fn(NewsContent) + use<>) {
        self.number += 1;
        let (number, news) = (self.number, self.news.clone());
        (number, move |told| _ = news.send(News { number, told }))
    }
}

/// One tracked object. Dropping it ends its task and a running check.
#[derive(Debug)]
struct Watch<T> {
    what: T,
    /// Number in its news; unique.
    number: u64,
    health: Health,
    detail: Detail,
    /// `None`: it cannot be watched, and is ignored.
    task: Option<JoinHandle<()>>,
}

impl<T> Drop for Watch<T> {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

/// News of one tracked object.
#[derive(Debug)]
pub struct News {
    number: u64,
    told: NewsContent,
}

/// Contents of news.
#[derive(Debug)]
pub enum NewsContent {
    Health(Health),
    /// The targets of an arbiter, after each round.
    Targets(Vec<TargetState>),
    /// A run of a check, and when the next one is due.
    Run(LastRun, Instant),
    /// How many processes there are.
    Count(usize),
    /// Why a file counts as 0.
    Problem(Option<String>),
}

/// State of a tracked object with a block.
#[derive(Clone, Copy, Debug)]
pub struct HealthDetail<'t> {
    /// Keyword of its block.
    pub keyword: &'static str,
    pub name: &'t str,
    pub health: Health,
    pub detail: &'t Detail,
}

/// State of an arbiter.
#[derive(Clone, Copy, Debug)]
pub struct Arbitration<'t> {
    pub arbiter: &'t Arbiter,
    pub health: Health,
    /// Empty before the first round is over.
    pub targets: &'t [TargetState],
}

impl Tracker {
    /// Starts to watch. Call it on a `LocalSet`.
    ///
    /// A script that cannot be run is ignored with a warning, as in keepalived.
    pub fn start(config: &Config, accounts: &Accounts, session_states: BfdStatesRx) -> Self {
        let (sender, news) = mpsc::unbounded_channel();
        let mut tracker = Self {
            instances: Vec::new(),
            scripts: Vec::new(),
            files: Vec::new(),
            processes: Vec::new(),
            arbiters: Vec::new(),
            sessions: Vec::new(),
            session_states,
            targets: HashMap::new(),
            policy: ScriptPolicy::default(),
            interfaces: HashMap::new(),
            results: Vec::new(),
            teller: Teller { news: sender, number: 0 },
            news,
        };
        tracker.reload(config, accounts);
        tracker
    }

    /// Watches the objects of another configuration. Unchanged objects keep their task and their result; a changed object of the same
    /// name starts with the result of the old one.
    pub fn reload(&mut self, config: &Config, accounts: &Accounts) {
        let vipd_config::Tracking { scripts, files, processes, arbiters, sessions, instances } =
            config.tracking();
        let policy = config.script_policy.clone();
        let same_policy = self.policy == policy;
        self.policy = policy;
        self.renew_scripts(scripts, same_policy, accounts);
        self.renew_files(files);
        self.renew_sessions(sessions);
        let Self { teller, .. } = self;
        renew(
            &mut self.processes,
            processes,
            true,
            |process| &process.name,
            |process, known| {
                let (number, tell) = teller.next();
                let task = Some(spawn_local(process::watch(process.clone(), tell)));
                let (health, detail) = known.unwrap_or_else(unknown);
                Watch { what: process, number, health, detail, task }
            },
        );
        renew(
            &mut self.arbiters,
            arbiters,
            true,
            |arbiter| &arbiter.name,
            |arbiter, known| {
                let (health, detail) = known.unwrap_or_else(unknown);
                let (number, tell) = teller.next();
                let task = Some(spawn_local(arbiter::watch(arbiter.clone(), health, tell)));
                Watch { what: arbiter, number, health, detail, task }
            },
        );
        self.targets.retain(|number, _| self.arbiters.iter().any(|watch| watch.number == *number));
        let runs =
            |track: &Track| !matches!(track.what, Tracked::Script(i) if self.scripts[i].task.is_none());
        let of = |tracks: Vec<Track>| tracks.into_iter().filter(runs).collect();
        let priorities = config.instances.iter().map(|instance| instance.priority);
        self.instances = priorities.zip(instances.into_iter().map(of)).collect();
        self.results = self.judge();
    }

    /// `may_stay`: an unchanged script keeps its task.
    fn renew_scripts(&mut self, scripts: Vec<Script>, may_stay: bool, accounts: &Accounts) {
        let Self { teller, .. } = self;
        renew(
            &mut self.scripts,
            scripts,
            may_stay,
            |script| &script.name,
            |script, known| {
                let unknown = if script.init_fail { Health::Unwell } else { Health::Unknown };
                let (health, mut detail) = known.unwrap_or((unknown, Detail::default()));
                let (number, tell) = teller.next();
                let executable = resolve(accounts, &script);
                detail.problem = executable.as_ref().err().cloned();
                let task = executable
                    .map(|executable| spawn_local(check::watch(script.clone(), executable, health, tell)));
                Watch { what: script, number, health, detail, task: task.ok() }
            },
        );
    }

    fn renew_files(&mut self, files: Vec<TrackedFile>) {
        let Self { teller, .. } = self;
        renew(
            &mut self.files,
            files,
            true,
            |file| &file.name,
            |file, known| {
                if let Err(error) = file::init(&file) {
                    tracing::warn!(
                        file = file.name,
                        error = format!("{error:#}"),
                        "the tracked file could not be initialised"
                    );
                }
                let (number, tell) = teller.next();
                let task = Some(spawn_local(file::watch(file.clone(), tell)));
                let (health, detail) = known.unwrap_or_else(unknown);
                Watch { what: file, number, health, detail, task }
            },
        );
    }

    fn renew_sessions(&mut self, sessions: Vec<BfdInstance>) {
        let Self { teller, session_states, .. } = self;
        renew(
            &mut self.sessions,
            sessions,
            true,
            |session| &session.name,
            |session, known| {
                let (number, tell) = teller.next();
                let watched = session::watch(session.name.clone(), session_states.clone(), tell);
                let (health, detail) = known.unwrap_or_else(unknown);
                Watch { what: session, number, health, detail, task: Some(spawn_local(watched)) }
            },
        );
    }

    /// The interfaces whose links are tracked.
    pub fn interfaces(&self) -> impl Iterator<Item = &str> {
        self.instances.iter().flat_map(|(_, tracks)| tracks).filter_map(|track| match &track.what {
            Tracked::Interface(name) => Some(name.as_str()),
            Tracked::Script(_)
            | Tracked::File(_)
            | Tracked::Process(_)
            | Tracked::Arbiter(_)
            | Tracked::Bfd(_) => None,
        })
    }

    /// The tracking result of each instance, in the order of the configuration.
    pub fn results(&self) -> &[TrackingResult] {
        &self.results
    }

    /// Each tracked object with a block.
    pub fn all(&self) -> impl Iterator<Item = HealthDetail<'_>> {
        let scripts = self.scripts.iter().map(|watch| watch.known("vrrp_script", &watch.what.name));
        let files = self.files.iter().map(|watch| watch.known("track_file", &watch.what.name));
        let processes =
            self.processes.iter().map(|watch| watch.known("vrrp_track_process", &watch.what.name));
        let arbiters = self.arbiters.iter().map(|watch| watch.known("arbiter", &watch.what.name));
        let sessions = self.sessions.iter().map(|watch| watch.known("bfd_instance", &watch.what.name));
        scripts.chain(files).chain(processes).chain(arbiters).chain(sessions)
    }

    /// The arbiters in use, in the order in which instances track them.
    pub fn arbiters(&self) -> impl Iterator<Item = Arbitration<'_>> {
        self.arbiters.iter().map(|watch| Arbitration {
            arbiter: &watch.what,
            health: watch.health,
            targets: self.targets.get(&watch.number).map(Vec::as_slice).unwrap_or_default(),
        })
    }

    /// What everything that an instance tracks does to it, by its place in the configuration.
    pub fn effects(&self, instance: usize) -> Vec<Effect> {
        let tracks = self.instances.get(instance).into_iter().flat_map(|(_, tracks)| tracks);
        tracks.map(|track| self.effect(track)).collect()
    }

    fn effect(&self, track: &Track) -> Effect {
        let health = self.health(track);
        let (keyword, name, state) = match &track.what {
            Tracked::Script(i) => {
                let Watch { what, detail, .. } = &self.scripts[*i];
                ("vrrp_script", &what.name, detail::of_script(&what.name, health, detail))
            }
            Tracked::File(i) => {
                let Watch { what, detail, .. } = &self.files[*i];
                ("track_file", &what.name, detail::of_file(&what.name, health, detail))
            }
            Tracked::Process(i) => {
                let Watch { what, detail, .. } = &self.processes[*i];
                ("vrrp_track_process", &what.name, detail::of_process(what, health, detail))
            }
            Tracked::Arbiter(i) => {
                let name = &self.arbiters[*i].what.name;
                ("arbiter", name, detail::of_arbiter(name, health))
            }
            Tracked::Bfd(i) => {
                let Watch { what, detail, .. } = &self.sessions[*i];
                ("bfd_instance", &what.name, detail::of_session(&what.name, health, detail))
            }
            Tracked::Interface(name) => {
                let up = self.interfaces.get(name).map(|(_, up)| *up);
                ("interface", name, detail::of_interface(name, up))
            }
        };
        let TrackedEffect { fault, adds, .. } = self.effect_on_priority(track);
        let reversed = if track.weight.reverse { " (reversed)" } else { "" };
        Effect {
            keyword,
            name: name.clone(),
            weight: track.weight,
            adds,
            fault,
            well: match health {
                Health::Well => Some(true),
                Health::Unwell => Some(false),
                Health::Unknown | Health::Value(_) => None,
            },
            state: state + reversed,
        }
    }

    /// The arbiter, if it is unreached and that is a fault.
    fn unreached(&self, track: &Track) -> Option<&Watch<Arbiter>> {
        let Tracked::Arbiter(i) = track.what else { return None };
        Some(&self.arbiters[i]).filter(|watch| watch.health == Health::Unwell && track.weight.value == 0)
    }

    /// The next news, for [`Self::take`].
    pub async fn next(&mut self) -> Option<News> {
        self.news.recv().await
    }

    /// Takes note, and returns the tracking results that have changed, by their place in the configuration.
    pub fn take(&mut self, news: News) -> Vec<(usize, TrackingResult)> {
        let News { number, told } = news;
        if let NewsContent::Targets(targets) = told {
            // It may be of what is watched no longer, here and below.
            if self.arbiters.iter().any(|watch| watch.number == number) {
                self.targets.insert(number, targets);
            }
            return Vec::new();
        }
        let Some((known, detail)) = self.watch_mut(number) else { return Vec::new() };
        match told {
            NewsContent::Health(health) => {
                *known = health;
                detail.changed(health, Instant::now());
                self.changes()
            }
            NewsContent::Run(run, next) => {
                detail.run = Some((run, next));
                Vec::new()
            }
            NewsContent::Count(count) => {
                detail.count = Some(count);
                Vec::new()
            }
            NewsContent::Problem(problem) => {
                detail.problem = problem;
                Vec::new()
            }
            NewsContent::Targets(_) => Vec::new(),
        }
    }

    /// The watch of a number: its health, and what else is known.
    fn watch_mut(&mut self, number: u64) -> Option<(&mut Health, &mut Detail)> {
        let scripts = self.scripts.iter_mut().map(Watch::parts);
        let files = self.files.iter_mut().map(Watch::parts);
        let processes = self.processes.iter_mut().map(Watch::parts);
        let arbiters = self.arbiters.iter_mut().map(Watch::parts);
        let sessions = self.sessions.iter_mut().map(Watch::parts);
        let mut all = scripts.chain(files).chain(processes).chain(arbiters).chain(sessions);
        all.find(|(of, ..)| *of == number).map(|(_, health, detail)| (health, detail))
    }

    /// A link has changed; as [`Self::take`].
    pub fn link(&mut self, change: &LinkChange) -> Vec<(usize, TrackingResult)> {
        let before = self.interfaces.clone();
        match change {
            LinkChange::State(link) => {
                // One that was renamed is gone by its old name.
                self.interfaces.retain(|_, (ifindex, _)| *ifindex != link.ifindex);
                if self.interfaces().any(|name| name == link.name) {
                    self.interfaces.insert(link.name.clone(), (link.ifindex, link.up));
                }
            }
            LinkChange::Gone { ifindex } => self.interfaces.retain(|_, (known, _)| known != ifindex),
        }
        for interface in
            self.interfaces().filter(|name| is_up(&before, name) != is_up(&self.interfaces, name))
        {
            let up = is_up(&self.interfaces, interface);
            tracing::info!(
                target: "vipd::event",
                event = "tracked_interface",
                interface,
                up,
                "the link of a tracked interface changed"
            );
        }
        self.changes()
    }

    fn changes(&mut self) -> Vec<(usize, TrackingResult)> {
        let now = self.judge();
        let before = std::mem::replace(&mut self.results, now);
        let changed = |(i, (before, now)): (usize, (TrackingResult, &TrackingResult))| {
            (before != *now).then(|| (i, now.clone()))
        };
        before.into_iter().zip(&self.results).enumerate().filter_map(changed).collect()
    }

    fn health(&self, track: &Track) -> Health {
        match &track.what {
            Tracked::Script(i) => self.scripts[*i].health,
            Tracked::File(i) => self.files[*i].health,
            Tracked::Process(i) => self.processes[*i].health,
            Tracked::Arbiter(i) => self.arbiters[*i].health,
            Tracked::Bfd(i) => self.sessions[*i].health,
            Tracked::Interface(name) if is_up(&self.interfaces, name) => Health::Well,
            Tracked::Interface(_) => Health::Unwell,
        }
    }

    fn effect_on_priority(&self, track: &Track) -> TrackedEffect {
        let health = self.health(track);
        match track.what {
            Tracked::Bfd(_) => TrackedEffect::of_session(health, track.weight),
            _ => TrackedEffect::of(health, track.weight),
        }
    }

    fn judge(&self) -> Vec<TrackingResult> {
        let result = |(base, tracks): &(Priority, Vec<Track>)| {
            let parts = tracks.iter().map(|track| self.effect_on_priority(track));
            let effects: Vec<Effect> = tracks.iter().map(|track| self.effect(track)).collect();
            let faults = effects.iter().filter(|effect| effect.fault).map(Effect::as_fault);
            let weights = effects.iter().filter(|effect| effect.adds != 0);
            let weights: Vec<String> =
                weights.map(|Effect { state, adds, .. }| format!("{state}: {adds:+}")).collect();
            TrackingResult {
                isolated: tracks.iter().any(|track| self.unreached(track).is_some()),
                faults: faults.collect(),
                weights: weights.join(", ").into(),
                ..TrackingResult::of(*base, parts)
            }
        };
        self.instances.iter().map(result).collect()
    }
}

impl<T> Watch<T> {
    fn known<'w>(&'w self, keyword: &'static str, name: &'w str) -> HealthDetail<'w> {
        HealthDetail { keyword, name, health: self.health, detail: &self.detail }
    }

    fn parts(&mut self) -> (u64, &mut Health, &mut Detail) {
        (self.number, &mut self.health, &mut self.detail)
    }
}

/// What is known of an object that is new.
fn unknown() -> (Health, Detail) {
    (Health::Unknown, Detail::default())
}

/// An unknown interface is down.
fn is_up(interfaces: &HashMap<String, (u32, bool)>, name: &str) -> bool {
    matches!(interfaces.get(name), Some((_, true)))
}

/// Replaces `watches` by those of `wanted`, in its order. With `may_stay` unchanged ones stay; changed and new ones are started, with the
/// health of the old one of the same name, and what else is known of it.
fn renew<T: PartialEq>(
    watches: &mut Vec<Watch<T>>,
    wanted: Vec<T>,
    may_stay: bool,
    name: fn(&T) -> &str,
    mut begin: impl FnMut(T, Option<(Health, Detail)>) -> Watch<T>,
) {
    let mut before = std::mem::take(watches);
    for what in wanted {
        let same = before.iter().position(|watch| watch.what == what).filter(|_| may_stay);
        watches.push(match same {
            Some(at) => before.swap_remove(at),
            None => {
                let called = before.iter().find(|watch| name(&watch.what) == name(&what));
                let known = called.map(|watch| (watch.health, watch.detail.clone()));
                begin(what, known)
            }
        });
    }
}

/// # Errors
///
/// It cannot be run, in words.
fn resolve(accounts: &Accounts, script: &Script) -> Result<Executable, String> {
    accounts.resolve(&script.command).map_err(|error| {
        tracing::error!(script = script.name, %error, "the check cannot be run: it is ignored");
        error.to_string()
    })
}
