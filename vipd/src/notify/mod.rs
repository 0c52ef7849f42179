//! Telling others of a change of state: scripts, FIFOs and mail, of each instance in the order in which it changed.
//!
//! All of it happens on the main thread, in tasks of its own: however long a script takes, no election waits for it.

mod fifo;
mod mail;

use std::time::Duration;

use tokio::{
    sync::mpsc,
    task::{JoinHandle, spawn_local},
    time::timeout,
};

use self::{fifo::Writer, mail::Mailer};
use crate::{
    config::{self, Config},
    engine::StateName,
    scripts::{Accounts, Executable, Outcome},
};

/// An instance has another state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Notice {
    pub instance: usize,
    pub state: StateName,
    pub priority: u8,
}

/// Who is told.
#[derive(Debug)]
pub struct Notifier {
    queues: Vec<Queue>,
    fifos: Vec<Writer>,
    mailer: Option<Mailer>,
}

/// One instance's scripts, run one after the other.
#[derive(Debug)]
struct Queue {
    name: String,
    notices: mpsc::UnboundedSender<Notice>,
    runner: JoinHandle<()>,
}

/// The scripts of an instance that can be run.
struct Scripts {
    name: String,
    master: Option<Executable>,
    backup: Option<Executable>,
    fault: Option<Executable>,
    stop: Option<Executable>,
    any: Option<Executable>,
}

/// A script that takes longer is mentioned; the next one waits for it all the same.
const LONG: Duration = Duration::from_secs(30);
/// What the scripts and the mail of a stop are given, as keepalived does.
const STOP: Duration = Duration::from_secs(1);

impl Notifier {
    /// To be called on a `LocalSet`. What cannot be run, or opened, is left out with a message.
    pub fn start(config: &Config, accounts: &Accounts) -> Self {
        let queue = |instance: &config::Instance| {
            let scripts = Scripts::of(instance, accounts);
            let (notices, queued) = mpsc::unbounded_channel();
            let name = instance.name.clone();
            Queue { name, notices, runner: spawn_local(scripts.run(queued)) }
        };
        let fifos = config::Fifo::of(config).into_iter();
        Self {
            queues: config.instances.iter().map(queue).collect(),
            fifos: fifos.filter_map(|fifo| Writer::start(&fifo, accounts)).collect(),
            mailer: Mailer::start(config),
        }
    }

    /// Tells everybody, in time.
    pub fn tell(&self, notice: Notice) {
        let Some(queue) = self.queues.get(notice.instance) else { return };
        // The task that takes it is there as long as this.
        let _ = queue.notices.send(notice);
        let line = format!("INSTANCE \"{}\" {} {}\n", queue.name, notice.state, notice.priority);
        self.fifos.iter().for_each(|fifo| fifo.write(line.clone()));
        self.mailer.iter().for_each(|mailer| mailer.tell(notice));
    }

    /// Waits for what was told, for a second, and ends what vipd has started.
    pub async fn finish(self) {
        let done = async {
            for Queue { name, notices, runner } in self.queues {
                drop(notices);
                if let Err(error) = runner.await {
                    tracing::error!(instance = name, %error, "the scripts of an instance cannot be waited for");
                }
            }
        };
        if timeout(STOP, done).await.is_err() {
            tracing::warn!("scripts that were told of the stop still run");
        }
        if let Some(mailer) = self.mailer {
            mailer.finish(STOP).await;
        }
        for fifo in self.fifos {
            fifo.finish(STOP).await;
        }
    }
}

impl Scripts {
    fn of(instance: &config::Instance, accounts: &Accounts) -> Self {
        let notify = config::Notify::of(instance);
        let resolve = |command: Option<config::Command>| {
            let executable = accounts.resolve(command.as_ref()?);
            if let Err(error) = &executable {
                tracing::error!(instance = instance.name, %error, "a notify script cannot be run");
            }
            executable.ok()
        };
        Self {
            name: instance.name.clone(),
            master: resolve(notify.master),
            backup: resolve(notify.backup),
            fault: resolve(notify.fault),
            stop: resolve(notify.stop),
            any: resolve(notify.any),
        }
    }

    async fn run(self, mut notices: mpsc::UnboundedReceiver<Notice>) {
        while let Some(Notice { state, priority, .. }) = notices.recv().await {
            let own = match state {
                StateName::Master => &self.master,
                StateName::Backup => &self.backup,
                StateName::Fault => &self.fault,
                StateName::Stopped => &self.stop,
                StateName::Init => &None,
            };
            if let Some(script) = own {
                self.run_one(script, &[]).await;
            }
            if let Some(script) = &self.any {
                let priority = priority.to_string();
                self.run_one(script, &["INSTANCE", &self.name, state.as_str(), &priority]).await;
            }
        }
    }

    async fn run_one(&self, script: &Executable, arguments: &[&str]) {
        let (instance, path) = (&self.name, script.path.display());
        let mut child = match script.spawn(arguments) {
            Ok(child) => child,
            Err(error) => {
                return tracing::error!(instance, script = %path, %error, "a notify script cannot be run");
            }
        };
        let ended = match timeout(LONG, child.wait()).await {
            Ok(ended) => ended,
            Err(_) => {
                tracing::warn!(instance, script = %path, seconds = LONG.as_secs(), "a notify script runs for long");
                child.wait().await
            }
        };
        let outcome = ended.map_or_else(Outcome::NotRun, Outcome::Exited);
        if !outcome.is_success() {
            tracing::warn!(instance, script = %path, %outcome, "a notify script has failed");
        }
    }
}
