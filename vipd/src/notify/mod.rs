//! Notifications of state changes: scripts, FIFOs and mail, for each instance and sync group in the order of its changes.
//!
//! Everything runs in tasks of the main thread, so no election waits for a script.

mod conflict;
mod fifo;
mod jobs;
mod mail;
mod queue;
mod services;
mod smtp;
#[cfg(test)]
mod tests;

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    mem,
    path::PathBuf,
    rc::Rc,
    time::Duration,
};

use tokio::{
    task::{JoinHandle, JoinSet, spawn_local},
    time::{Instant, sleep, timeout, timeout_at},
};
use vipd_balance::BalanceNotice;
use vipd_config::{Config, Deleted, Fifo, NotifySettings};

pub use conflict::{Conflict, ConflictKind};

use self::{
    fifo::Writer,
    jobs::{JOBS, Job, keep_newest},
    mail::Mailer,
    queue::{Queue, Queued, queue},
    services::ServiceNotifier,
};
use crate::{
    control::model::NotifyStatus,
    coordinator::StateName,
    resources::{PATIENCE, is_shortage},
    scripts::{Accounts, Executable, LastRun, OUTPUT_SEPARATOR, ScriptOutcome, ScriptRun, Tail},
};

/// Something about an instance has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Its name.
    pub instance: String,
    pub change: Change,
    pub priority: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    State(StateName),
    /// A mastership that survives a restart: no notification.
    Inherited(StateName),
    /// A reload has removed it.
    Deleted,
    /// It is master and has heard a router of lower priority.
    LowerHeard,
    /// Its priority has changed, in this state.
    Priority(StateName),
    /// It is master, and another router or station acts as the owner of a VIP.
    Conflict(Conflict),
}

impl Change {
    /// Word for FIFOs and scripts; `None`: no notification.
    fn word(self) -> Option<&'static str> {
        match self {
            Self::State(state) => Some(state.as_str()),
            Self::Deleted => Some("DELETED"),
            Self::LowerHeard => Some("MASTER_RX_LOWER_PRI"),
            Self::Inherited(_) | Self::Conflict(_) => None,
            Self::Priority(StateName::Master) => Some("MASTER_PRIORITY"),
            Self::Priority(StateName::Backup) => Some("BACKUP_PRIORITY"),
            Self::Priority(StateName::Init | StateName::Fault | StateName::Stopped) => None,
        }
    }
}

/// The receivers of notifications.
#[derive(Debug)]
pub struct Notifier {
    /// By kind and name. As many as there are instances and groups.
    listeners: BTreeMap<(NotifyKind, String), Recipient>,
    /// Last state and priority of each instance.
    states: BTreeMap<String, (StateName, u8)>,
    /// Those of load balancing too.
    fifos: Vec<(Fifo, Writer)>,
    /// Paths of the FIFOs that get lines about instances and groups.
    instance_fifos: Vec<String>,
    mailer: Option<Mailer>,
    services: ServiceNotifier,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum NotifyKind {
    Group,
    Instance,
}

impl NotifyKind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Group => "GROUP",
            Self::Instance => "INSTANCE",
        }
    }
}

/// An instance or a group with its scripts, which run one after the other.
#[derive(Debug)]
struct Recipient {
    told: NotifySettings,
    /// Last state of a group.
    state: Option<StateName>,
    scripts: Rc<RunnableScripts>,
    runs: Runs,
    running: Running,
    jobs: Queue<Job>,
    runner: JoinHandle<()>,
}

/// The last run of each script of an instance or group, by its path; the newest last.
type Runs = Rc<RefCell<Vec<(PathBuf, LastRun)>>>;
/// The script that an instance or group waits for.
type Running = Rc<RefCell<Option<PathBuf>>>;
/// RunnableScripts of one instance or group whose runs are kept: as many as there are keywords, and some of before a reload.
const RUNS: usize = 12;

/// The scripts of an instance or group that can be run.
#[derive(Debug)]
struct RunnableScripts {
    kind: NotifyKind,
    name: String,
    master: Option<Executable>,
    backup: Option<Executable>,
    fault: Option<Executable>,
    stop: Option<Executable>,
    deleted: Option<Executable>,
    lower_heard: Option<Executable>,
    /// A `notify_master_rx_lower_pri` script waits already; a second one would add nothing.
    lower_waits: Cell<bool>,
    conflict: Option<Executable>,
    any: Option<Executable>,
    runs: Runs,
    running: Running,
}

/// A script that takes longer is logged; the next one still waits for it.
const LONG: Duration = Duration::from_secs(30);
/// After so much longer the next script runs beside it, as keepalived runs all of them.
const BESIDE: Duration = Duration::from_secs(270);
/// Wait before a script is started again if the host was short of resources.
const AGAIN: Duration = Duration::from_millis(500);
/// Messages that wait. While the mail server accepts none, the oldest are dropped for new ones.
const LETTERS: usize = 64;
/// Time for the scripts and the mail of a stop, as in keepalived.
const STOP: Duration = Duration::from_secs(if cfg!(test) { 10 } else { 1 });

impl Notifier {
    /// Call it on a `LocalSet`. A script that cannot be run, or a FIFO that cannot be opened, is ignored with a log message.
    pub fn start(config: &Config, accounts: &Accounts) -> Self {
        let mut notifier = Self {
            listeners: BTreeMap::new(),
            states: BTreeMap::new(),
            fifos: Vec::new(),
            instance_fifos: Vec::new(),
            mailer: Mailer::start(config.mail.as_ref(), LETTERS),
            services: ServiceNotifier::start(config, accounts),
        };
        notifier.listen(config, accounts);
        notifier.fifos = fifos(config).cloned().filter_map(|fifo| open(fifo, accounts)).collect();
        notifier
    }

    /// Uses the receivers of another configuration from now on. Queued notifications still go to the old ones.
    ///
    /// `states`: an operator asked for this reload, so receivers may want every state again.
    pub async fn reload(&mut self, config: &Config, accounts: &Accounts, states: bool) {
        self.listen(config, accounts);
        let mut before = mem::take(&mut self.fifos);
        let mut new = Vec::new();
        for fifo in fifos(config).cloned() {
            match before.iter().position(|(other, _)| *other == fifo) {
                Some(same) => self.fifos.push(before.swap_remove(same)),
                None => new.push(fifo),
            }
        }
        for (fifo, writer) in before {
            let end = writer.finish(STOP);
            if new.iter().any(|new: &Fifo| new.path == fifo.path) {
                // It is made anew, with another owner or reader.
                end.await;
            } else {
                spawn_local(end);
            }
        }
        self.fifos.extend(new.into_iter().filter_map(|fifo| open(fifo, accounts)));
        if self.mailer.as_ref().map(Mailer::mail) != config.mail.as_ref() {
            // The old one sends what it has.
            self.mailer = Mailer::start(config.mail.as_ref(), LETTERS);
        }
        self.services.reload(config, accounts);
        self.states.retain(|name, _| config.instances.iter().any(|instance| instance.name == *name));
        if states && config.fifo_writes_states_on_reload {
            for (name, (state, priority)) in &self.states {
                self.write(NotifyKind::Instance, name, Change::State(*state), *priority);
            }
            for ((kind, name), listener) in &self.listeners {
                if let (NotifyKind::Group, Some(state)) = (kind, listener.state) {
                    self.write(NotifyKind::Group, name, Change::State(state), 0);
                }
            }
        }
    }

    fn listen(&mut self, config: &Config, accounts: &Accounts) {
        self.instance_fifos = config.fifos.iter().map(|fifo| fifo.path.clone()).collect();
        let mut before = mem::take(&mut self.listeners);
        for told in config.told() {
            let kind = if told.members.is_some() { NotifyKind::Group } else { NotifyKind::Instance };
            let key = (kind, told.name.clone());
            let before = before.remove(&key);
            let runs = before.as_ref().map(|listener| Rc::clone(&listener.runs)).unwrap_or_default();
            let running = before.as_ref().map(|listener| Rc::clone(&listener.running)).unwrap_or_default();
            let kept = (Rc::clone(&runs), Rc::clone(&running));
            let scripts = Rc::new(RunnableScripts::of(kind, &told, accounts, kept));
            let listener = match before {
                Some(listener) => Recipient { told, scripts, ..listener },
                None => {
                    let (jobs, queued) = queue(JOBS, keep_newest, "scripts", told.name.clone());
                    let runner = spawn_local(run(queued));
                    Recipient { told, state: None, scripts, runs, running, jobs, runner }
                }
            };
            self.listeners.insert(key, listener);
        }
    }

    /// Queues a change for all receivers.
    pub fn tell(&mut self, notice: &Notice) {
        let Notice { instance, mut change, priority } = notice.clone();
        if let Change::Inherited(state) = change {
            self.states.insert(instance, (state, priority));
            return;
        }
        let key = (NotifyKind::Instance, instance.clone());
        let Some(listener) = self.listeners.get(&key) else { return };
        if change == Change::Deleted && listener.told.notify.deleted.is_none() {
            // As keepalived.
            change = Change::State(StateName::Fault);
        }
        if let Change::Priority(_) = change
            && !listener.told.priorities
        {
            return;
        }
        listener.run(change, priority, &instance);
        self.write(NotifyKind::Instance, &instance, change, priority);
        if let Change::Conflict(conflict) = &change {
            self.mailer.iter().for_each(|mailer| mailer.tell_of_conflict(&instance, conflict));
            let is_its = |listener: &&Recipient| listener.told.members().any(|name| name == instance);
            self.listeners.values().filter(is_its).for_each(|group| group.run(change, priority, &instance));
        }
        let Change::State(state) = change else { return };
        self.mailer.iter().for_each(|mailer| mailer.tell(NotifyKind::Instance, &instance, state));
        self.states.insert(instance.clone(), (state, priority));
        self.tell_group(&instance);
    }

    /// Tells the receivers of a notice about a service.
    pub fn tell_service(&mut self, notice: BalanceNotice) {
        let fifos = self.fifos.iter().map(|(fifo, writer)| (fifo.path.as_str(), writer));
        self.services.tell(notice, fifos);
    }

    /// A group has the state that all of its members have.
    fn tell_group(&mut self, member: &str) {
        let is_its = |listener: &&mut Recipient| listener.told.members().any(|name| name == member);
        let Some(group) = self.listeners.values_mut().find(is_its) else { return };
        let states: Vec<_> = group.told.members().map(|name| Some(self.states.get(name)?.0)).collect();
        let Some(Some(state)) = states.first().copied() else { return };
        if states.iter().any(|other| *other != Some(state)) || group.state.replace(state) == Some(state) {
            return;
        }
        group.run(Change::State(state), 0, member);
        let name = group.told.name.clone();
        self.write(NotifyKind::Group, &name, Change::State(state), 0);
        self.mailer.iter().for_each(|mailer| mailer.tell(NotifyKind::Group, &name, state));
    }

    /// The last run of each script.
    pub fn runs(&self) -> Vec<NotifyStatus> {
        let of = |((kind, name), listener): (&(NotifyKind, String), &Recipient)| {
            let status = |(path, run): &(PathBuf, LastRun)| NotifyStatus {
                kind: kind.as_str().to_owned(),
                name: name.clone(),
                script: path.display().to_string(),
                run: run.status(None),
            };
            listener.runs.borrow().iter().map(status).collect::<Vec<_>>()
        };
        self.listeners.iter().flat_map(of).collect()
    }

    /// The scripts that run now: `/etc/vipd/notify.sh of VI_1`.
    pub fn running(&self) -> Vec<String> {
        let of = |((_, name), listener): (&(NotifyKind, String), &Recipient)| {
            Some(format!("{} of {name}", listener.running.borrow().as_ref()?.display()))
        };
        let of_services = self.services.running().into_iter().map(|about| format!("the command of {about}"));
        self.listeners.iter().filter_map(of).chain(of_services).collect()
    }

    fn write(&self, kind: NotifyKind, name: &str, change: Change, priority: u8) {
        let Some(word) = change.word() else { return };
        let kind = kind.as_str();
        let line = format!("{kind} \"{name}\" {word} {priority}\n");
        let is_told = |(fifo, _): &&(Fifo, Writer)| self.instance_fifos.contains(&fifo.path);
        self.fifos.iter().filter(is_told).for_each(|(_, fifo)| fifo.write(line.clone()));
    }

    /// Waits a second for running notifications, then ends the processes that vipd has started.
    ///
    /// If scripts are behind, the last state and the stop run beside the script that delays them, with another second of time.
    pub async fn finish(self) {
        self.listeners.values().for_each(|listener| listener.jobs.close());
        let end = Instant::now() + STOP;
        let mut late = JoinSet::new();
        for ((_, name), Recipient { jobs, mut runner, .. }) in self.listeners {
            match timeout_at(end, &mut runner).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    tracing::error!(name, %error, "cannot wait for the notify scripts of an instance");
                }
                Err(_) => {
                    // The script that it has started goes on.
                    runner.abort();
                    let left = jobs.last();
                    tracing::warn!(
                        name,
                        told_beside = left.len(),
                        "a notify script is still running at the stop"
                    );
                    late.spawn_local(async move {
                        for Job { scripts, change, priority, instance } in left {
                            scripts.run(change, priority, &instance).await;
                        }
                    });
                }
            }
        }
        let done = async { while late.join_next().await.is_some() {} };
        if timeout(STOP, done).await.is_err() {
            tracing::warn!("notify scripts of the stop are still running");
        }
        self.services.finish(end, STOP).await;
        if let Some(mailer) = self.mailer {
            mailer.finish(STOP).await;
        }
        for (_, fifo) in self.fifos {
            fifo.finish(STOP).await;
        }
    }
}

/// All FIFOs of a configuration, each once.
fn fifos(config: &Config) -> impl Iterator<Item = &Fifo> {
    let of_services =
        config.lvs.fifo.iter().filter(|own| config.fifos.iter().all(|fifo| fifo.path != own.path));
    config.fifos.iter().chain(of_services)
}

fn open(fifo: Fifo, accounts: &Accounts) -> Option<(Fifo, Writer)> {
    let writer = Writer::start(&fifo, accounts)?;
    Some((fifo, writer))
}

impl Recipient {
    fn run(&self, change: Change, priority: u8, instance: &str) {
        if change == Change::LowerHeard && self.scripts.lower_waits.replace(true) {
            return;
        }
        let scripts = Rc::clone(&self.scripts);
        self.jobs.push(Job { scripts, change, priority, instance: instance.to_owned() });
    }
}

/// Runs queued jobs until the queue is closed.
async fn run(mut jobs: Queued<Job>) {
    while let Some(Job { scripts, change, priority, instance }) = jobs.next().await {
        scripts.run(change, priority, &instance).await;
    }
}

impl RunnableScripts {
    fn of(
        kind: NotifyKind,
        told: &NotifySettings,
        accounts: &Accounts,
        (runs, running): (Runs, Running),
    ) -> Self {
        let resolve = |command: Option<&vipd_config::Command>| {
            let executable = accounts.resolve(command?);
            if let Err(error) = &executable {
                tracing::error!(name = told.name, %error, "a notify script cannot be run");
            }
            executable.ok()
        };
        let notify = &told.notify;
        let deleted = notify.deleted.as_ref().and_then(|Deleted(command)| command.as_ref());
        Self {
            kind,
            name: told.name.clone(),
            master: resolve(notify.master.as_ref()),
            backup: resolve(notify.backup.as_ref()),
            fault: resolve(notify.fault.as_ref()),
            stop: resolve(notify.stop.as_ref()),
            deleted: resolve(deleted),
            lower_heard: resolve(notify.lower_heard.as_ref()),
            lower_waits: Cell::new(false),
            conflict: resolve(notify.conflict.as_ref()),
            any: resolve(notify.any.as_ref()),
            runs,
            running,
        }
    }

    /// None.
    #[cfg(test)]
    fn none() -> Self {
        Self {
            kind: NotifyKind::Instance,
            name: String::new(),
            master: None,
            backup: None,
            fault: None,
            stop: None,
            deleted: None,
            lower_heard: None,
            lower_waits: Cell::new(false),
            conflict: None,
            any: None,
            runs: Runs::default(),
            running: Running::default(),
        }
    }

    async fn run(&self, change: Change, priority: u8, instance: &str) {
        if let (Change::Conflict(conflict), Some(script)) = (&change, &self.conflict) {
            let arguments = conflict.arguments(instance);
            self.run_one(script, &arguments.each_ref().map(String::as_str)).await;
        }
        let own = match change {
            Change::State(StateName::Master) => &self.master,
            Change::State(StateName::Backup) => &self.backup,
            Change::State(StateName::Fault) => &self.fault,
            Change::State(StateName::Stopped) => &self.stop,
            Change::Deleted => &self.deleted,
            Change::LowerHeard => {
                self.lower_waits.set(false);
                &self.lower_heard
            }
            Change::State(StateName::Init)
            | Change::Inherited(_)
            | Change::Priority(_)
            | Change::Conflict(_) => &None,
        };
        if let Some(script) = own {
            self.run_one(script, &[]).await;
        }
        if let (Some(script), Change::State(_) | Change::Deleted, Some(word)) =
            (&self.any, change, change.word())
        {
            let priority = priority.to_string();
            self.run_one(script, &[self.kind.as_str(), &self.name, word, &priority]).await;
        }
    }

    async fn run_one(&self, script: &Executable, arguments: &[&str]) {
        self.running.replace(Some(script.path.clone()));
        if let Some(run) = run_to_its_end(&self.name, script, arguments).await {
            self.keep(script, run);
        }
        self.running.replace(None);
    }

    fn keep(&self, script: &Executable, run: LastRun) {
        let mut runs = self.runs.borrow_mut();
        runs.retain(|(path, _)| *path != script.path);
        runs.push((script.path.clone(), run));
        let surplus = runs.len().saturating_sub(RUNS);
        runs.drain(..surplus);
    }
}

/// Runs a script until it has ended, or for so long that the next one may run; `None`: there is no result.
async fn run_to_its_end(name: &str, script: &Executable, arguments: &[&str]) -> Option<LastRun> {
    let path = script.path.display();
    let end = Instant::now() + PATIENCE;
    let (mut child, mut tail) = loop {
        match script.spawn_heard(arguments) {
            Ok(started) => break started,
            // The host is short of descriptors, say. That it is told late is better than never.
            Err(error) if is_shortage(&error) && Instant::now() < end => sleep(AGAIN).await,
            Err(error) => {
                tracing::error!(
                    target: "vipd::event",
                    event = "notify_failed",
                    name,
                    script = %path,
                    outcome = format!("cannot be run: {error}"),
                    "a notify script cannot be run"
                );
                return None;
            }
        }
    };
    let ended = match heard(timeout(LONG, child.wait()), &mut tail).await {
        Ok(ended) => ended,
        Err(_) => {
            tracing::warn!(name, script = %path, seconds = LONG.as_secs(), "a notify script is still running");
            let Ok(ended) = heard(timeout(BESIDE, child.wait()), &mut tail).await else {
                let seconds = (LONG + BESIDE).as_secs();
                tracing::warn!(
                    target: "vipd::event",
                    event = "notify_long",
                    name,
                    script = %path,
                    seconds,
                    "a notify script has not ended: the next one runs beside it"
                );
                return None;
            };
            ended
        }
    };
    let outcome = ended.map_or_else(ScriptOutcome::NotRun, ScriptOutcome::Exited);
    let run = ScriptRun { outcome, output: tail.finish() };
    let kept = LastRun::of(&run);
    let ScriptRun { outcome, output } = run;
    if !outcome.is_success() {
        let output = (!output.is_empty()).then(|| output.join(OUTPUT_SEPARATOR));
        tracing::warn!(
            target: "vipd::event",
            event = "notify_failed",
            name,
            script = %path,
            %outcome,
            output,
            "a notify script failed"
        );
    }
    Some(kept)
}

/// Waits for a command, and reads what it prints meanwhile.
async fn heard<T>(ended: impl Future<Output = T>, tail: &mut Tail) -> T {
    tokio::select! {
        ended = ended => ended,
        () = tail.read() => unreachable!("it reads for ever"),
    }
}
