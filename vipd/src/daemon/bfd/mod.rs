//! BFD in the daemon: a thread of its own for all sessions, and the main thread's end of it.
//!
//! ```text
//!  wire -> program: stamp in BFD_SESSIONS, news in BFD_EVENTS --> thread `vipd-bfd`: BfdSession --> UDP sockets -> wire
//!                                                                     |
//!                         tracking, services <-- states (watch) -----+
//! ```
//!
//! The thread runs while there are sessions, under SCHED_FIFO one below the engine thread's: adverts and leases come first, whatever
//! number of sessions sends at whatever rate, and opening a socket or writing a map delays neither. Ended without a word it leaves the
//! records of its sessions in the map, where the next vipd finds those that are Up.

mod bfd_loop;
mod datagrams;
mod deadlines;
mod filter;
mod listeners;
mod messages;
mod peer;
mod slots;
mod stamps;
mod unserved;
mod way;

use std::{thread::JoinHandle, time::Duration};

use anyhow::{Context, Result};
use tokio::{
    runtime::Builder,
    sync::{
        mpsc::{self, error::TrySendError},
        oneshot, watch,
    },
    time::{sleep, timeout},
};
use vipd_config::{BfdInstance, Config};
use vipd_dataplane::BfdPlane;

pub use self::messages::HeardInterfaces;
use self::{
    bfd_loop::BfdLoop,
    messages::{BfdMessage, BfdWanted},
};
use super::engine;
use crate::{
    control::model::BfdSessionStatus,
    tracking::{BfdStates, BfdStatesRx, BfdView},
};

/// The main thread's end.
#[derive(Debug)]
pub struct BfdSessions {
    states_tx: watch::Sender<BfdStates>,
    running: Option<RunningBfd>,
    /// Of the configuration.
    sessions: Vec<BfdInstance>,
    heard: HeardInterfaces,
    /// What the thread has had no room for; the next [`check`](Self::check) tells it again.
    unsent: Option<BfdWanted>,
    /// Why there is no thread although there are sessions.
    lack: Option<String>,
}

#[derive(Debug)]
struct RunningBfd {
    messages_tx: mpsc::Sender<BfdMessage>,
    thread: JoinHandle<()>,
}

impl Default for BfdSessions {
    /// No session runs yet.
    fn default() -> Self {
        let states_tx = watch::Sender::new(BfdStates::default());
        Self {
            states_tx,
            running: None,
            sessions: Vec::new(),
            heard: HeardInterfaces::new(),
            unsent: None,
            lack: None,
        }
    }
}

impl BfdSessions {
    /// The state of each session, for those who depend on it.
    pub fn states(&self) -> BfdStatesRx {
        self.states_tx.subscribe()
    }

    /// Runs the sessions of another configuration, the first or a later one. `plane` opens the program's maps.
    pub fn configure(
        &mut self,
        config: &Config,
        heard: HeardInterfaces,
        plane: impl FnOnce() -> Result<BfdPlane>,
    ) {
        self.sessions.clone_from(&config.bfd);
        self.heard.clone_from(&heard);
        let wanted = BfdWanted { sessions: config.bfd.clone(), heard };
        if self.running.is_some() {
            return self.tell(wanted);
        }
        let started = plane().and_then(|plane| {
            // Without sessions there may be some that an earlier vipd has left.
            if wanted.sessions.is_empty() && plane.left().next().is_none() {
                return Ok(());
            }
            let urgent = engine::rank_below(config.real_time_priority);
            self.start(plane, wanted, urgent)
        });
        let lack = started.err().map(|error| format!("{error:#}"));
        if let Some(error) = &lack {
            if self.lack != lack {
                tracing::error!(error, "BFD sessions are not run");
            }
            let lacking = |session: &BfdInstance| (session.name.clone(), BfdView::lacking(error));
            self.states_tx.send_replace(config.bfd.iter().map(lacking).collect());
        }
        self.lack = lack;
    }

    /// Never waits: who hangs is told later.
    fn tell(&mut self, wanted: BfdWanted) {
        let Some(running) = &self.running else { return };
        self.unsent = match running.messages_tx.try_send(BfdMessage::Configure(wanted)) {
            Err(TrySendError::Full(BfdMessage::Configure(wanted))) => Some(wanted),
            // A thread that has ended is noticed by `check`.
            _ => None,
        };
    }

    fn start(&mut self, plane: BfdPlane, wanted: BfdWanted, priority: u8) -> Result<()> {
        let (messages_tx, messages_rx) = mpsc::channel(super::messages::MESSAGES);
        let states_tx = self.states_tx.clone();
        let runtime =
            Builder::new_current_thread().enable_io().build().context("start the runtime of BFD")?;
        let thread = std::thread::Builder::new().name("vipd-bfd".to_owned()).spawn(move || {
            engine::schedule_bfd(priority);
            let run = async {
                let bfd = BfdLoop::new(plane, wanted, states_tx)?;
                bfd.run(messages_rx).await
            };
            if let Err(error) = runtime.block_on(run) {
                tracing::error!(error = format!("{error:#}"), "the thread of BFD has ended");
            }
        });
        self.running = Some(RunningBfd { messages_tx, thread: thread.context("start the thread of BFD")? });
        Ok(())
    }

    /// Starts the thread again if it has ended, and says what the program hears; to be called every second.
    pub fn check(
        &mut self,
        config: &Config,
        heard: HeardInterfaces,
        plane: impl FnOnce() -> Result<BfdPlane>,
    ) {
        let has_ended = self.running.as_ref().is_some_and(|running| running.thread.is_finished());
        let is_lacking = self.lack.is_some() && !config.bfd.is_empty();
        if has_ended || is_lacking {
            (self.running, self.unsent) = (None, None);
            return self.configure(config, heard, plane);
        }
        if let Some(wanted) = self.unsent.take() {
            self.heard.clone_from(&heard);
            return self.tell(BfdWanted { heard, ..wanted });
        }
        if heard != self.heard
            && let Some(running) = &self.running
            && running.messages_tx.try_send(BfdMessage::Heard(heard.clone())).is_ok()
        {
            self.heard = heard;
        }
    }

    /// Every session of the configuration: as last known, with the reason and what to do, if the thread does not say.
    pub async fn status(&self) -> Vec<BfdSessionStatus> {
        let unknown = |problem: &str| self.unknown(problem);
        let Some(running) = &self.running else {
            return match &self.lack {
                Some(lack) => unknown(lack),
                None => Vec::new(),
            };
        };
        let (reply, status) = oneshot::channel();
        match running.messages_tx.try_send(BfdMessage::Status(reply)) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => return unknown("the thread of BFD does not take requests"),
            Err(TrySendError::Closed(_)) => return unknown(ENDED),
        }
        match timeout(STATUS, status).await {
            Ok(Ok(status)) => status,
            Ok(Err(_)) => unknown(ENDED),
            Err(_) => unknown("the thread of BFD does not answer"),
        }
    }

    fn unknown(&self, problem: &str) -> Vec<BfdSessionStatus> {
        let views = self.states_tx.borrow();
        let status = |session: &BfdInstance| {
            unserved::status(session, views.get(&session.name), (problem, unserved::RESTART))
        };
        self.sessions.iter().map(status).collect()
    }

    /// Tells every neighbor that its session ends.
    pub async fn stop(&mut self) {
        let Some(running) = self.running.take() else { return };
        let (reply, stopped) = oneshot::channel();
        if !say(&running, BfdMessage::Stop(reply)).await || timeout(ANSWER, stopped).await.is_err() {
            tracing::error!("BFD sessions have not ended within {} s", ANSWER.as_secs());
            return;
        }
        join(running.thread).await;
    }

    /// Leaves every session to the next vipd.
    pub async fn leave(&mut self) {
        let Some(running) = self.running.take() else { return };
        if say(&running, BfdMessage::Leave).await {
            join(running.thread).await;
        }
    }
}

/// Whether the thread has taken the message, or has ended.
async fn say(running: &RunningBfd, message: BfdMessage) -> bool {
    timeout(ANSWER, running.messages_tx.send(message)).await.is_ok()
}

/// Waits for the end of the thread, but not for one that hangs.
async fn join(thread: JoinHandle<()>) {
    let ended = async {
        while !thread.is_finished() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    if timeout(ANSWER, ended).await.is_err() {
        tracing::error!("the thread of BFD does not end");
    } else if thread.join().is_err() {
        tracing::error!("the thread of BFD has panicked");
    }
}

const ENDED: &str = "the thread of BFD has ended";
/// For an answer of the thread when it is to end.
const ANSWER: Duration = Duration::from_secs(2);
/// For its status.
const STATUS: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests;
