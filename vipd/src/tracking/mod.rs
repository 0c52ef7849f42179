//! What instances depend on besides their interfaces: watched on the main thread, so that no check delays the election.

mod check;
mod file;
mod process;
mod standing;

use std::collections::HashMap;

use tokio::{
    sync::mpsc,
    task::{JoinHandle, spawn_local},
};
use vipd_common::Priority;

pub use standing::{Health, Standing};

use crate::{
    config::{self, Config, Track, Tracked, Weight},
    control::model::TrackedStatus,
    host::LinkChange,
    scripts::{Accounts, Executable},
};

/// What is watched, and what each instance makes of it.
#[derive(Debug)]
pub struct Tracker {
    /// Of each instance: its own priority, and what it tracks.
    instances: Vec<(Priority, Vec<Track>)>,
    scripts: Vec<Health>,
    files: Vec<Health>,
    processes: Vec<Health>,
    /// By name, with the index; what was not seen is down.
    interfaces: HashMap<String, (u32, bool)>,
    standings: Vec<Standing>,
    /// What the indices above stand for; without the instances.
    watched: config::Tracking,
    news: mpsc::UnboundedReceiver<News>,
    tasks: Vec<JoinHandle<()>>,
}

/// Something that is watched is well or not, now.
#[derive(Clone, Copy, Debug)]
pub struct News {
    what: Source,
    health: Health,
}

#[derive(Clone, Copy, Debug)]
enum Source {
    Script(usize),
    File(usize),
    Process(usize),
}

impl Tracker {
    /// Starts to watch; to be called on a `LocalSet`.
    ///
    /// A script that cannot be run is left out with a warning, as keepalived does.
    pub fn start(config: &Config, accounts: &Accounts) -> Self {
        let mut tracking = config::Tracking::of(config);
        let (teller, news) = mpsc::unbounded_channel();
        let mut usable = Vec::new();
        let mut tasks = Vec::new();
        for (i, script) in tracking.scripts.iter().enumerate() {
            let executable = resolve(accounts, script);
            usable.push(executable.is_some());
            let Some(executable) = executable else { continue };
            let teller = teller.clone();
            let tell = move |health| _ = teller.send(News { what: Source::Script(i), health });
            tasks.push(spawn_local(check::watch(script.clone(), executable, tell)));
        }
        for (i, file) in tracking.files.iter().enumerate() {
            if let Err(error) = file::init(file) {
                tracing::warn!(
                    file = file.name,
                    error = format!("{error:#}"),
                    "the tracked file is not initialised"
                );
            }
            let teller = teller.clone();
            let tell = move |health| _ = teller.send(News { what: Source::File(i), health });
            tasks.push(spawn_local(file::watch(file.clone(), tell)));
        }
        for (i, process) in tracking.processes.iter().enumerate() {
            let teller = teller.clone();
            let tell = move |health| _ = teller.send(News { what: Source::Process(i), health });
            tasks.push(spawn_local(process::watch(process.clone(), tell)));
        }
        let runs = |track: &Track| !matches!(track.what, Tracked::Script(i) if !usable[i]);
        let of = |tracks: Vec<Track>| tracks.into_iter().filter(runs).collect();
        let priorities = config.instances.iter().map(|instance| instance.priority);
        let mut tracker = Self {
            instances: priorities.zip(std::mem::take(&mut tracking.instances).into_iter().map(of)).collect(),
            scripts: tracking
                .scripts
                .iter()
                .map(|s| if s.init_fail { Health::Unwell } else { Health::Unknown })
                .collect(),
            files: vec![Health::Unknown; tracking.files.len()],
            processes: vec![Health::Unknown; tracking.processes.len()],
            interfaces: HashMap::new(),
            standings: Vec::new(),
            watched: tracking,
            news,
            tasks,
        };
        tracker.standings = tracker.judge();
        tracker
    }

    /// The interfaces whose links are tracked.
    pub fn interfaces(&self) -> impl Iterator<Item = &str> {
        self.instances.iter().flat_map(|(_, tracks)| tracks).filter_map(|track| match &track.what {
            Tracked::Interface(name) => Some(name.as_str()),
            Tracked::Script(_) | Tracked::File(_) | Tracked::Process(_) => None,
        })
    }

    /// How each instance stands.
    pub fn standings(&self) -> &[Standing] {
        &self.standings
    }

    /// How each thing is that is tracked by a name.
    pub fn status(&self) -> Vec<TrackedStatus> {
        let one = |keyword: &str, name: &str, health: Health| TrackedStatus {
            keyword: keyword.to_owned(),
            name: name.to_owned(),
            well: match health {
                Health::Well => Some(true),
                Health::Unwell => Some(false),
                Health::Unknown | Health::Value(_) => None,
            },
            value: if let Health::Value(number) = health { Some(number) } else { None },
        };
        let config::Tracking { scripts, files, processes, instances: _ } = &self.watched;
        let scripts =
            scripts.iter().zip(&self.scripts).map(|(s, health)| one("vrrp_script", &s.name, *health));
        let files =
            files.iter().zip(&self.files).map(|(file, health)| one("track_file", &file.name, *health));
        let processes = processes.iter().zip(&self.processes);
        let processes = processes.map(|(p, health)| one("vrrp_track_process", &p.name, *health));
        scripts.chain(files).chain(processes).collect()
    }

    /// The next news; to be given to [`Self::take`].
    pub async fn next(&mut self) -> Option<News> {
        self.news.recv().await
    }

    /// Takes note, and returns the instances that stand differently now.
    pub fn take(&mut self, news: News) -> Vec<(usize, Standing)> {
        match news.what {
            Source::Script(i) => self.scripts[i] = news.health,
            Source::File(i) => self.files[i] = news.health,
            Source::Process(i) => self.processes[i] = news.health,
        }
        self.changes()
    }

    /// A link has changed; as [`Self::take`].
    pub fn link(&mut self, change: &LinkChange) -> Vec<(usize, Standing)> {
        match change {
            LinkChange::State(link) if self.interfaces().any(|name| name == link.name) => {
                // One that was renamed is gone by its old name.
                self.interfaces.retain(|_, (ifindex, _)| *ifindex != link.ifindex);
                self.interfaces.insert(link.name.clone(), (link.ifindex, link.up));
            }
            LinkChange::State(link) => self.interfaces.retain(|_, (ifindex, _)| *ifindex != link.ifindex),
            LinkChange::Gone { ifindex } => self.interfaces.retain(|_, (known, _)| known != ifindex),
        }
        self.changes()
    }

    fn changes(&mut self) -> Vec<(usize, Standing)> {
        let now = self.judge();
        let before = std::mem::replace(&mut self.standings, now);
        let changed =
            |(i, (before, now)): (usize, (Standing, &Standing))| (before != *now).then_some((i, *now));
        before.into_iter().zip(&self.standings).enumerate().filter_map(changed).collect()
    }

    fn judge(&self) -> Vec<Standing> {
        let health = |track: &Track| -> (Health, Weight) {
            let health = match &track.what {
                Tracked::Script(i) => self.scripts[*i],
                Tracked::File(i) => self.files[*i],
                Tracked::Process(i) => self.processes[*i],
                Tracked::Interface(name) => match self.interfaces.get(name) {
                    Some((_, true)) => Health::Well,
                    Some((_, false)) | None => Health::Unwell,
                },
            };
            (health, track.weight)
        };
        let standing =
            |(base, tracks): &(Priority, Vec<Track>)| Standing::of(*base, tracks.iter().map(health));
        self.instances.iter().map(standing).collect()
    }
}

impl Drop for Tracker {
    fn drop(&mut self) {
        // With them end the checks that run.
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

fn resolve(accounts: &Accounts, script: &config::Script) -> Option<Executable> {
    let executable = accounts.resolve(&script.command);
    if let Err(error) = &executable {
        tracing::error!(script = script.name, %error, "the check cannot be run: nothing depends on it");
    }
    executable.ok()
}
