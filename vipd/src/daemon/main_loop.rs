//! The main thread while the engine runs: signals, commands, link changes, and the host's rules.
//!
//! What takes time is done here, so that the engine thread never waits for it.

use std::time::Duration;

use anyhow::{Context, Result};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::{mpsc, oneshot, watch},
    time::{Instant, sleep_until},
};

use super::driver::{End, Message, Wish};
use crate::{
    control::Command,
    dataplane::Dataplane,
    host::{Host, LinkChange, LinkEvents, Plan, Problems},
    notify::{Notice, Notifier},
    tracking::{Standing, Tracker},
};

/// Wait before the host is asked again to do what it has refused.
const HOST_RETRY: Duration = Duration::from_secs(1);

/// The signals that end the daemon, caught from the moment this is made.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    quit: Signal,
}

impl Signals {
    pub fn new() -> Result<Self> {
        let catch = |kind| signal(kind).context("catch signals");
        Ok(Self {
            terminate: catch(SignalKind::terminate())?,
            interrupt: catch(SignalKind::interrupt())?,
            quit: catch(SignalKind::quit())?,
        })
    }
}

/// The main thread's queues while the engine runs.
#[derive(Debug)]
pub struct MainLoop {
    pub signals: Signals,
    pub messages: mpsc::Sender<Message>,
    pub requested: mpsc::Receiver<Command>,
    pub links: LinkEvents,
    pub wished: watch::Receiver<Vec<Wish>>,
    pub tracker: Tracker,
    /// Changes of state, and who is told of them.
    pub notices: mpsc::UnboundedReceiver<Notice>,
    pub notifier: Notifier,
    /// Clients that wait for the stop.
    pub stops: Vec<oneshot::Sender<()>>,
    /// Whether the handover has begun.
    pub stopping: bool,
}

type EngineEnd = oneshot::Receiver<Result<(Dataplane, End)>>;

impl MainLoop {
    /// Serves signals, commands, link changes and the host's rules until the engine has ended.
    pub async fn run(
        &mut self,
        host: &mut Host,
        mut wishes: HostWishes,
        end: &mut EngineEnd,
    ) -> Result<(Dataplane, End)> {
        // At once: a mastership that was inherited has its virtual routes and rules.
        let mut retry_at = Some(Instant::now());
        loop {
            tokio::select! {
                ended = &mut *end => return ended.context("the engine thread ended without a word")?,
                _ = self.signals.terminate.recv() => self.stop("SIGTERM").await,
                _ = self.signals.interrupt.recv() => self.stop("SIGINT").await,
                _ = self.signals.quit.recv() => self.leave("SIGQUIT").await,
                Some(command) = self.requested.recv() => match command {
                    Command::Status(reply) => self.send(Message::Status(reply)).await,
                    Command::Stop(reply) => {
                        self.stops.push(reply);
                        self.stop("request").await;
                    }
                    Command::Leave(reply) => {
                        self.stops.push(reply);
                        self.leave("request").await;
                    }
                },
                Some(news) = self.tracker.next() => {
                    let changes = self.tracker.take(news);
                    self.stand(changes).await;
                }
                Some(notice) = self.notices.recv() => self.notifier.tell(notice),
                change = self.links.recv() => match change {
                    Some(change) => {
                        let changes = self.tracker.link(&change);
                        self.stand(changes).await;
                        // Containers come and go on busy hosts: only the interfaces in use are of interest.
                        if !wishes.concern(&change) {
                            continue;
                        }
                        self.send(Message::Link(change)).await;
                        // The kernel has dropped the routes that went out on the link, or came from its address.
                        wishes.again = true;
                        let wished = self.wished.borrow().clone();
                        retry_at = wishes.apply(host, &wished).await;
                    }
                    None => {
                        tracing::error!("the kernel's link events have ended: stopping rather than running blind");
                        self.stop("loss of link events").await;
                        return end.await.context("the engine thread ended without a word")?;
                    }
                },
                Ok(()) = self.wished.changed() => {
                    let wished = self.wished.borrow_and_update().clone();
                    retry_at = wishes.apply(host, &wished).await;
                }
                () = sleep_until(retry_at.unwrap_or_else(Instant::now)), if retry_at.is_some() => {
                    let wished = self.wished.borrow().clone();
                    retry_at = wishes.apply(host, &wished).await;
                }
            }
        }
    }

    async fn stand(&self, changes: Vec<(usize, Standing)>) {
        for (instance, standing) in changes {
            self.send(Message::Standing { instance, standing }).await;
        }
    }

    /// The engine has ended: tells those who are to know, and ends what was started.
    pub async fn finish(mut self) {
        while let Ok(notice) = self.notices.try_recv() {
            self.notifier.tell(notice);
        }
        self.notifier.finish().await;
    }

    async fn stop(&mut self, why: &str) {
        tracing::info!(why, "stopping: handing over");
        self.stopping = true;
        self.send(Message::Shutdown).await;
    }

    async fn leave(&mut self, why: &str) {
        if self.stopping {
            // Who asked for the stop was promised that nothing is left.
            tracing::warn!(why, "a stop is under way and goes on");
            return;
        }
        tracing::info!(why, "ending, and leaving the VIPs to the next vipd");
        self.send(Message::Leave).await;
    }

    async fn send(&self, message: Message) {
        // An engine that has ended is noticed by `end`.
        let _ = self.messages.send(message).await;
    }
}

/// Brings the host's routes and rules in line with the engine's wishes.
pub struct HostWishes {
    plan: Plan,
    /// What was done of the last wishes.
    applied: Vec<Wish>,
    /// Whether the routes are to be looked at, whatever the wishes are.
    again: bool,
    /// Whether virtual routes and rules are to be brought in line.
    virtual_again: bool,
}

impl HostWishes {
    /// `applied` is how `install` has left the host.
    pub fn new(plan: Plan, applied: Vec<Wish>) -> Self {
        Self { plan, applied, again: false, virtual_again: true }
    }

    /// Whether the change is one of an interface in use, for VIPs or by a virtual route.
    fn concern(&self, change: &LinkChange) -> bool {
        let (ifindex, name) = match change {
            LinkChange::State(link) => (link.ifindex, Some(&link.name)),
            // Routes go with their interface, and are made again when it is back.
            LinkChange::Gone { ifindex } => (*ifindex, None),
        };
        self.plan.instances.iter().any(|instance| {
            let mut hops = instance.routes.iter().flat_map(|route| &route.hops);
            instance.links.iter().any(|link| link.ifindex == ifindex)
                || hops.any(|hop| hop.interface.is_some() && hop.interface.as_ref() == name)
        })
    }

    /// Returns when to try again, if not all of it could be done.
    async fn apply(&mut self, host: &mut Host, wished: &[Wish]) -> Option<Instant> {
        let error = self.try_apply(host, wished).await.err()?;
        tracing::error!("the host's routing is not as it should be, trying again: {error:#}");
        Some(Instant::now() + HOST_RETRY)
    }

    async fn try_apply(&mut self, host: &mut Host, wished: &[Wish]) -> Result<()> {
        let mut problems = Problems::default();
        for ((instance, applied), wish) in self.plan.instances.iter_mut().zip(&mut self.applied).zip(wished) {
            if wish.master != applied.master {
                self.virtual_again = true;
                match host.set_master(instance.key, wish.master).await {
                    Ok(()) => applied.master = wish.master,
                    // The others must not wait for this one.
                    Err(error) => problems.note(Err(error)),
                }
            }
            if wish.masters_heard != applied.masters_heard && !wish.master {
                applied.masters_heard = wish.masters_heard;
                for link in &instance.links {
                    problems.note(host.forget_neighbours(link.ifindex, &link.vips).await);
                }
            }
            if wish.sources != applied.sources {
                for (link, source) in instance.links.iter_mut().zip(&wish.sources) {
                    (link.source_v4, link.source_v6) = *source;
                }
                applied.sources.clone_from(&wish.sources);
                self.again = true;
            }
        }
        if self.again {
            self.virtual_again = true;
            match host.install(&self.plan).await {
                Ok(()) => self.again = false,
                Err(error) => problems.note(Err(error)),
            }
        }
        if self.virtual_again {
            match host.sync_virtual().await {
                Ok(()) => self.virtual_again = false,
                Err(error) => problems.note(Err(error)),
            }
        }
        problems.into_result()
    }
}
