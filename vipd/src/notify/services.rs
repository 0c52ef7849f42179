//! Notices of load balancing: `notify_up` and its like, lines of FIFOs, mail.
//!
//! The commands of one server, and those of one service's quorum, run one after the other, so that the last one to run is about the present
//! state. Different servers do not wait for each other.

use std::{
    cell::RefCell,
    collections::{BTreeSet, HashMap, VecDeque},
    rc::Rc,
    time::Duration,
};

use tokio::{
    sync::Semaphore,
    task::JoinSet,
    time::{Instant, timeout_at},
};
use vipd_balance::{BalanceNotice, NoticeCommand, NoticeMail};
use vipd_config::{Account, Command, Config};

use super::{fifo::Writer, mail::Mailer, run_to_its_end};
use crate::scripts::{Accounts, Executable};

/// The receivers of notices about services, but for the FIFOs, which the [`Notifier`](super::Notifier) has.
#[derive(Debug)]
pub struct ServiceNotifier {
    /// Paths of the FIFOs that get the lines.
    fifos: BTreeSet<String>,
    mailer: Option<Mailer>,
    /// `None`: it cannot be run, which was said.
    commands: HashMap<NoticeCommand, Option<Rc<Executable>>>,
    queues: Queues,
    tasks: JoinSet<()>,
    room: Rc<Semaphore>,
}

/// Commands that wait, by whom they are about; the one that runs is not among them.
type Queues = Rc<RefCell<HashMap<String, VecDeque<Rc<Executable>>>>>;

impl ServiceNotifier {
    /// Call it on a `LocalSet`. A command that cannot be run is ignored with a log message.
    pub fn start(config: &Config, accounts: &Accounts) -> Self {
        let mut notifier = Self {
            fifos: BTreeSet::new(),
            mailer: Mailer::start(config.lvs.mail.as_ref(), LETTERS),
            commands: HashMap::new(),
            queues: Queues::default(),
            tasks: JoinSet::new(),
            room: Rc::new(Semaphore::new(AT_ONCE)),
        };
        notifier.listen(config, accounts);
        notifier
    }

    /// Uses the receivers of another configuration from now on.
    pub fn reload(&mut self, config: &Config, accounts: &Accounts) {
        if self.mailer.as_ref().map(Mailer::mail) != config.lvs.mail.as_ref() {
            // The old one sends what it has.
            self.mailer = Mailer::start(config.lvs.mail.as_ref(), LETTERS);
        }
        self.listen(config, accounts);
    }

    fn listen(&mut self, config: &Config, accounts: &Accounts) {
        let own = config.lvs.fifo.as_ref().map(|fifo| fifo.path.clone());
        self.fifos = own.into_iter().chain(config.lvs.general_fifo.clone()).collect();
        self.commands = HashMap::new();
        for server in config.balance.servers() {
            let targets = server.targets.iter().flat_map(|target| [&target.notify_up, &target.notify_down]);
            let all = targets.chain([&server.quorum_up, &server.quorum_down]);
            for command in all.flatten() {
                if !self.commands.contains_key(command) {
                    let executable = resolve(command, accounts, &server.id.to_string());
                    self.commands.insert(command.clone(), executable.map(Rc::new));
                }
            }
        }
    }

    /// Tells all receivers.
    pub fn tell<'f>(&mut self, notice: BalanceNotice, fifos: impl Iterator<Item = (&'f str, &'f Writer)>) {
        let (about, command, line, mail) = match notice {
            BalanceNotice::Target { service, target, command, fifo, mail, .. } => {
                (format!("{target} of {service}"), command, fifo, mail)
            }
            BalanceNotice::Quorum { service, command, fifo, mail, .. } => {
                (service.to_string(), command, fifo, mail)
            }
            // Events only.
            BalanceNotice::Weight { .. }
            | BalanceNotice::FailedServe { .. }
            | BalanceNotice::Draining { .. }
            | BalanceNotice::Drained { .. }
            | BalanceNotice::Undrained { .. } => return,
        };
        for (_, fifo) in fifos.filter(|(path, _)| self.fifos.contains(*path)) {
            fifo.write(format!("{line}\n"));
        }
        if let (Some(mailer), Some(NoticeMail { subject, body })) = (&self.mailer, mail) {
            mailer.send(&subject, body);
        }
        let known = command.and_then(|command| self.commands.get(&command).cloned().flatten());
        if let Some(executable) = known {
            self.run(about, executable);
        }
    }

    fn run(&mut self, about: String, executable: Rc<Executable>) {
        while self.tasks.try_join_next().is_some() {}
        let mut queues = self.queues.borrow_mut();
        if let Some(queue) = queues.get_mut(&about) {
            queue.push_back(executable);
            if queue.len() > JOBS {
                queue.pop_front();
                tracing::warn!(
                    target: "vipd::event",
                    event = "notify_skipped",
                    to = "scripts",
                    name = about,
                    count = 1,
                    "old notifications were dropped: new ones came faster than they could be delivered"
                );
            }
            return;
        }
        queues.insert(about.clone(), VecDeque::new());
        let (queues, room) = (Rc::clone(&self.queues), Rc::clone(&self.room));
        self.tasks.spawn_local(async move {
            let mut next = Some(executable);
            while let Some(executable) = next {
                // It is never closed.
                let _room = room.acquire().await;
                run_to_its_end(&about, &executable, &[]).await;
                next = queues.borrow_mut().get_mut(&about).and_then(VecDeque::pop_front);
            }
            queues.borrow_mut().remove(&about);
        });
    }

    /// The servers and services whose commands run now.
    pub fn running(&self) -> Vec<String> {
        let mut running: Vec<_> = self.queues.borrow().keys().cloned().collect();
        running.sort();
        running
    }

    /// Waits until `end` for the commands, and as long for the mail.
    pub async fn finish(mut self, end: Instant, limit: Duration) {
        let done = async { while self.tasks.join_next().await.is_some() {} };
        if timeout_at(end, done).await.is_err() {
            tracing::warn!(
                of = self.running().join(", "),
                "commands of services are still running at the stop"
            );
        }
        if let Some(mailer) = self.mailer {
            mailer.finish(limit).await;
        }
    }
}

fn resolve(command: &NoticeCommand, accounts: &Accounts, service: &str) -> Option<Executable> {
    let account = command.account.clone().map(|(user, group)| Account { user, group });
    let resolved = accounts.resolve(&Command { words: command.words.clone(), account });
    if let Err(error) = &resolved {
        tracing::error!(service, %error, "a command of a service cannot be run");
    }
    resolved.ok()
}

/// Commands that wait for one server.
const JOBS: usize = 16;
/// Commands that run at once.
const AT_ONCE: usize = 256;
/// Messages that wait: many servers may fail at once.
const LETTERS: usize = 1024;
