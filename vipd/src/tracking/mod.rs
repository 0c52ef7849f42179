//! Scripts, files, processes, links and arbiters that instances track. Watched on the main thread, so that no check delays the election.

pub mod arbiter;
mod arbiter_status;
mod check;
mod counter;
mod delay;
mod file;
mod process;
mod result;

use std::collections::HashMap;

use tokio::{
    sync::mpsc,
    task::{JoinHandle, spawn_local},
};
use vipd_common::Priority;
use vipd_config::{
    Arbiter, Config, Script, ScriptPolicy, Track, Tracked, TrackedFile, TrackedProcess, Weight,
};

pub use arbiter::TargetState;
pub use arbiter_status::arbiter_status;
pub use delay::LinkDelays;
pub use result::{Health, TrackingResult};

use crate::{
    host::LinkChange,
    scripts::{Accounts, Executable},
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
    fn next<T: Into<NewsContent>>(&mut self) -> (u64, impl Fn(T) + use<T>) {
        self.number += 1;
        let (number, news) = (self.number, self.news.clone());
        (number, move |told: T| _ = news.send(News { number, told: told.into() }))
    }
}

/// One tracked object. Dropping it ends its task and a running check.
#[derive(Debug)]
struct Watch<T> {
    what: T,
    /// Number in its news; unique.
    number: u64,
    health: Health,
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
}

impl From<Health> for NewsContent {
    fn from(health: Health) -> Self {
        Self::Health(health)
    }
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
    pub fn start(config: &Config, accounts: &Accounts) -> Self {
        let (sender, news) = mpsc::unbounded_channel();
        let mut tracker = Self {
            instances: Vec::new(),
            scripts: Vec::new(),
            files: Vec::new(),
            processes: Vec::new(),
            arbiters: Vec::new(),
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
        let vipd_config::Tracking { scripts, files, processes, arbiters, instances } = config.tracking();
        let policy = config.script_policy.clone();
        let same_policy = self.policy == policy;
        self.policy = policy;
        let Self { teller, .. } = self;
        renew(
            &mut self.scripts,
            scripts,
            same_policy,
            |script| &script.name,
            |script, health| {
                let unknown = if script.init_fail { Health::Unwell } else { Health::Unknown };
                let health = health.unwrap_or(unknown);
                let (number, tell) = teller.next();
                let task = resolve(accounts, &script)
                    .map(|executable| spawn_local(check::watch(script.clone(), executable, health, tell)));
                Watch { what: script, number, health, task }
            },
        );
        renew(
            &mut self.files,
            files,
            true,
            |file| &file.name,
            |file, health| {
                if let Err(error) = file::init(&file) {
                    tracing::warn!(
                        file = file.name,
                        error = format!("{error:#}"),
                        "the tracked file could not be initialised"
                    );
                }
                let (number, tell) = teller.next();
                let task = Some(spawn_local(file::watch(file.clone(), tell)));
                Watch { what: file, number, health: health.unwrap_or(Health::Unknown), task }
            },
        );
        renew(
            &mut self.processes,
            processes,
            true,
            |process| &process.name,
            |process, health| {
                let (number, tell) = teller.next();
                let task = Some(spawn_local(process::watch(process.clone(), tell)));
                Watch { what: process, number, health: health.unwrap_or(Health::Unknown), task }
            },
        );
        renew(
            &mut self.arbiters,
            arbiters,
            true,
            |arbiter| &arbiter.name,
            |arbiter, health| {
                let health = health.unwrap_or(Health::Unknown);
                let (number, tell) = teller.next();
                let task = Some(spawn_local(arbiter::watch(arbiter.clone(), health, tell)));
                Watch { what: arbiter, number, health, task }
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

    /// The interfaces whose links are tracked.
    pub fn interfaces(&self) -> impl Iterator<Item = &str> {
        self.instances.iter().flat_map(|(_, tracks)| tracks).filter_map(|track| match &track.what {
            Tracked::Interface(name) => Some(name.as_str()),
            Tracked::Script(_) | Tracked::File(_) | Tracked::Process(_) | Tracked::Arbiter(_) => None,
        })
    }

    /// The tracking result of each instance, in the order of the configuration.
    pub fn results(&self) -> &[TrackingResult] {
        &self.results
    }

    /// Keyword, name and health of each tracked object with a block.
    pub fn healths(&self) -> impl Iterator<Item = (&'static str, &str, Health)> {
        let scripts = self.scripts.iter().map(|w| ("vrrp_script", w.what.name.as_str(), w.health));
        let files = self.files.iter().map(|w| ("track_file", w.what.name.as_str(), w.health));
        let processes = self.processes.iter().map(|w| ("vrrp_track_process", w.what.name.as_str(), w.health));
        let arbiters = self.arbiters.iter().map(|w| ("arbiter", w.what.name.as_str(), w.health));
        scripts.chain(files).chain(processes).chain(arbiters)
    }

    /// The arbiters in use, in the order in which instances track them.
    pub fn arbiters(&self) -> impl Iterator<Item = Arbitration<'_>> {
        self.arbiters.iter().map(|watch| Arbitration {
            arbiter: &watch.what,
            health: watch.health,
            targets: self.targets.get(&watch.number).map(Vec::as_slice).unwrap_or_default(),
        })
    }

    /// Names of the unreached arbiters that put an instance, by its place in the configuration, into FAULT.
    pub fn isolated_by(&self, instance: usize) -> impl Iterator<Item = &str> {
        let tracks = self.instances.get(instance).into_iter().flat_map(|(_, tracks)| tracks);
        tracks.filter_map(|track| Some(self.unreached(track)?.what.name.as_str()))
    }

    /// What an instance tracks, by its place in the configuration, and is in FAULT for: how it is in words.
    pub fn faults(&self, instance: usize) -> Vec<String> {
        let tracks = self.instances.get(instance).into_iter().flat_map(|(_, tracks)| tracks);
        let fault = |track: &Track| {
            let (health, weight) = self.health(track);
            let (kind, name) = match &track.what {
                Tracked::Script(i) => ("vrrp_script", &self.scripts[*i].what.name),
                Tracked::File(i) => ("track_file", &self.files[*i].what.name),
                Tracked::Process(i) => ("vrrp_track_process", &self.processes[*i].what.name),
                Tracked::Arbiter(i) => ("arbiter", &self.arbiters[*i].what.name),
                Tracked::Interface(name) => ("interface", name),
            };
            let result = TrackingResult::of(Priority::new(100), [(health, weight)].into_iter());
            let how = match (health, weight.reverse) {
                (Health::Value(value), _) => format!("has the value {value}"),
                (_, true) => "succeeded, and is reversed".to_owned(),
                (_, false) if matches!(track.what, Tracked::Interface(_)) => "is down".to_owned(),
                (_, false) => "failed".to_owned(),
            };
            result.fault.then(|| format!("{kind} {name} {how}"))
        };
        tracks.filter_map(fault).collect()
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
        let health = match told {
            NewsContent::Health(health) => health,
            NewsContent::Targets(targets) => {
                // It may be of what is watched no longer, here and below.
                if self.arbiters.iter().any(|watch| watch.number == number) {
                    self.targets.insert(number, targets);
                }
                return Vec::new();
            }
        };
        let healths = self.scripts.iter_mut().map(|w| (w.number, &mut w.health));
        let healths = healths.chain(self.files.iter_mut().map(|w| (w.number, &mut w.health)));
        let healths = healths.chain(self.processes.iter_mut().map(|w| (w.number, &mut w.health)));
        let mut healths = healths.chain(self.arbiters.iter_mut().map(|w| (w.number, &mut w.health)));
        if let Some((_, known)) = healths.find(|(of, _)| *of == number) {
            *known = health;
        }
        self.changes()
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
            (before != *now).then_some((i, *now))
        };
        before.into_iter().zip(&self.results).enumerate().filter_map(changed).collect()
    }

    fn health(&self, track: &Track) -> (Health, Weight) {
        let health = match &track.what {
            Tracked::Script(i) => self.scripts[*i].health,
            Tracked::File(i) => self.files[*i].health,
            Tracked::Process(i) => self.processes[*i].health,
            Tracked::Arbiter(i) => self.arbiters[*i].health,
            Tracked::Interface(name) if is_up(&self.interfaces, name) => Health::Well,
            Tracked::Interface(_) => Health::Unwell,
        };
        (health, track.weight)
    }

    fn judge(&self) -> Vec<TrackingResult> {
        let result = |(base, tracks): &(Priority, Vec<Track>)| TrackingResult {
            isolated: tracks.iter().any(|track| self.unreached(track).is_some()),
            ..TrackingResult::of(*base, tracks.iter().map(|track| self.health(track)))
        };
        self.instances.iter().map(result).collect()
    }
}

/// An unknown interface is down.
fn is_up(interfaces: &HashMap<String, (u32, bool)>, name: &str) -> bool {
    matches!(interfaces.get(name), Some((_, true)))
}

/// Replaces `watches` by those of `wanted`, in its order. With `may_stay` unchanged ones stay; changed and new ones are started, with the
/// health of the old one of the same name.
fn renew<T: PartialEq>(
    watches: &mut Vec<Watch<T>>,
    wanted: Vec<T>,
    may_stay: bool,
    name: fn(&T) -> &str,
    mut begin: impl FnMut(T, Option<Health>) -> Watch<T>,
) {
    let mut before = std::mem::take(watches);
    for what in wanted {
        let same = before.iter().position(|watch| watch.what == what).filter(|_| may_stay);
        watches.push(match same {
            Some(at) => before.swap_remove(at),
            None => {
                let called = before.iter().find(|watch| name(&watch.what) == name(&what));
                let health = called.map(|watch| watch.health);
                begin(what, health)
            }
        });
    }
}

fn resolve(accounts: &Accounts, script: &Script) -> Option<Executable> {
    let executable = accounts.resolve(&script.command);
    if let Err(error) = &executable {
        tracing::error!(script = script.name, %error, "the check cannot be run: it is ignored");
    }
    executable.ok()
}
