//! Mail about state changes, in order, retried until the server accepts it.

use std::time::Duration;

use anyhow::{Context, Result};
use lettre::{
    Message,
    message::{Mailbox, Mailboxes},
    transport::smtp::extension::ClientId,
};
use nix::unistd::{Uid, User, gethostname};
use tokio::{
    sync::watch,
    task::{JoinHandle, spawn_local},
    time::{sleep, timeout},
};

use super::{
    Conflict, NotifyKind,
    queue::{Queue, Queued, drop_oldest, queue},
    smtp::Server,
};
use crate::coordinator::StateName;

/// Waits before the next attempts; after the last one the message is dropped.
const RETRIES: [Duration; 5] = [
    Duration::from_secs(1),
    Duration::from_secs(10),
    Duration::from_secs(60),
    Duration::from_secs(300),
    Duration::from_secs(900),
];

/// A server has at least this long to answer, whatever `smtp_connect_timeout` says.
const SHORTEST_LIMIT: Duration = Duration::from_secs(1);

/// Sends mail in a task of its own.
#[derive(Debug)]
pub struct Mailer {
    mail: vipd_config::Mail,
    letters: Queue<Letter>,
    /// vipd ends: messages not accepted now are dropped. A mailer that a reload replaces still sends its queue.
    ending: watch::Sender<bool>,
    task: JoinHandle<()>,
}

/// A message.
#[derive(Clone, Debug)]
struct Letter {
    subject: String,
    body: String,
}

/// Sender, recipients and server.
struct Post {
    server: Server,
    from: Mailbox,
    to: Mailboxes,
}

impl Mailer {
    /// `None` without recipients, or, with a log message, if an address is wrong. At most so many `letters` wait.
    pub fn start(mail: Option<&vipd_config::Mail>, letters: usize) -> Option<Self> {
        let mail = mail.cloned()?;
        let post = Post::new(&mail)
            .inspect_err(|error| {
                tracing::error!(
                    error = format!("{error:#}"),
                    "mail is disabled: the configuration cannot be used"
                )
            })
            .ok()?;
        let server = format!("{}:{}", mail.server, mail.port);
        let (letters, queued) = queue(letters, drop_oldest, "mail", server);
        let (ending, ended) = watch::channel(false);
        Some(Self { mail, letters, ending, task: spawn_local(post.run(queued, ended)) })
    }

    /// Its configuration.
    pub fn mail(&self) -> &vipd_config::Mail {
        &self.mail
    }

    /// Queues a message if the instance or sync group has mail.
    pub fn tell(&self, kind: NotifyKind, name: &str, state: StateName) {
        let (wanted, what) = match kind {
            NotifyKind::Instance => (&self.mail.instances, "VRRP Instance"),
            NotifyKind::Group => (&self.mail.groups, "VRRP Group"),
        };
        if !wanted.contains(name) || state == StateName::Fault && self.mail.without_faults {
            return;
        }
        let body = match (kind, state) {
            (NotifyKind::Instance, StateName::Master) => "=> VRRP Instance is now owning VRRP VIPs <=",
            (NotifyKind::Instance, StateName::Backup) => "=> VRRP Instance is nolonger owning VRRP VIPs <=",
            (NotifyKind::Instance, StateName::Fault) => "=> VRRP Instance is in FAULT state <=",
            (NotifyKind::Instance, StateName::Stopped) => "=> VRRP Instance has been stopped <=",
            (NotifyKind::Group, StateName::Master) => {
                "=> All VRRP group instances are now in MASTER state <="
            }
            (NotifyKind::Group, StateName::Backup) => {
                "=> All VRRP group instances are now in BACKUP state <="
            }
            (NotifyKind::Group, StateName::Fault) => "=> All VRRP group instances are now in FAULT state <=",
            (NotifyKind::Group, StateName::Stopped) => "=> All VRRP group instances have been stopped <=",
            (NotifyKind::Instance | NotifyKind::Group, StateName::Init) => return,
        };
        self.send(&format!("{what} {name} - Entering {state} state"), body.to_owned());
    }

    /// Queues a message if the instance has mail.
    pub fn tell_of_conflict(&self, name: &str, conflict: &Conflict) {
        if self.mail.instances.contains(name) {
            self.send(&format!("VRRP Instance {name} - {}", conflict.kind.title()), conflict.to_string());
        }
    }

    /// Queues a message, with the name of the router before the subject.
    pub fn send(&self, what: &str, body: String) {
        let router = self.mail.router_id.clone().unwrap_or_else(host_name);
        self.letters.push(Letter { subject: format!("[{router}] {what}"), body });
    }

    /// Gives the queue `limit` to be sent; the task no longer waits between attempts.
    pub async fn finish(self, limit: Duration) {
        self.letters.close();
        self.ending.send_replace(true);
        let abort = self.task.abort_handle();
        if timeout(limit, self.task).await.is_err() {
            tracing::warn!("unsent mail is dropped at the stop");
            abort.abort();
        }
    }
}

impl Post {
    fn new(mail: &vipd_config::Mail) -> Result<Self> {
        let from = mail.from.clone().unwrap_or_else(|| {
            let user = User::from_uid(Uid::effective()).ok().flatten();
            user.map_or_else(|| "vipd".to_owned(), |user| user.name)
        });
        let to = mail.recipients.iter().map(|address| mailbox(address)).collect::<Result<Vec<_>>>()?;
        let helo = mail.helo.clone().unwrap_or_else(host_name);
        let server = Server {
            host: mail.server.clone(),
            port: mail.port,
            helo: ClientId::Domain(helo),
            limit: mail.timeout.max(SHORTEST_LIMIT),
        };
        Ok(Self { server, from: mailbox(&from)?, to: to.into() })
    }

    async fn run(self, mut letters: Queued<Letter>, mut ending: watch::Receiver<bool>) {
        while let Some(letter) = letters.next().await {
            let mut waits = RETRIES.iter();
            while let Err(error) = self.send(&letter).await {
                let error = format!("{error:#}");
                let Some(wait) = waits.next().filter(|_| !*ending.borrow()) else {
                    tracing::error!(
                        target: "vipd::event",
                        event = "mail_given_up",
                        subject = letter.subject,
                        error,
                        "mail given up after six attempts"
                    );
                    break;
                };
                tracing::warn!(
                    subject = letter.subject,
                    error,
                    again_in_s = wait.as_secs(),
                    "mail not sent; vipd tries again"
                );
                // The last news is worth a try at once.
                tokio::select! {
                    () = sleep(*wait) => {}
                    Ok(_) = ending.wait_for(|ending| *ending) => {}
                }
            }
        }
    }

    async fn send(&self, letter: &Letter) -> Result<()> {
        let mut message = Message::builder().from(self.from.clone()).subject(&letter.subject);
        for recipient in self.to.iter() {
            message = message.to(recipient.clone());
        }
        let message = message.body(letter.body.clone()).context("build the message")?;
        self.server.send(&message).await.context("send it")
    }
}

/// An address; one without a host is of this host.
fn mailbox(address: &str) -> Result<Mailbox> {
    let whole = if address.contains('@') { address.to_owned() } else { format!("{address}@{}", host_name()) };
    whole.parse().with_context(|| format!("`{address}` is not a mail address"))
}

fn host_name() -> String {
    let name = gethostname().ok().and_then(|name| name.into_string().ok());
    name.unwrap_or_else(|| "localhost".to_owned())
}
