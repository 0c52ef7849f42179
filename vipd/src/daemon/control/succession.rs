//! The end of this process in favour of another that runs already: on request of the successor, or on request of an operator, for whom this
//! process starts one.

use std::os::fd::OwnedFd;

use tokio::sync::oneshot;

use super::{
    super::{
        exclusive::Exclusive,
        messages::{End, EngineMessage, Reply},
        reconcile::Installed,
        succession::Successor,
        upgrade::{Invocation, Started},
    },
    engine_handle::EngineHandle,
    service_manager::ServiceManager,
};
use crate::control::Replacement;

/// From the answer to the task of the connection, and from there to the socket.
const ANSWER_TURNS: usize = 4;

/// What this process passes on, and the successor that it has started, if it has.
#[derive(Debug)]
pub struct Succession<'m> {
    exclusive: &'m Exclusive,
    invocation: Invocation,
    /// Who waits for it.
    started: Option<(Started, Reply)>,
}

impl<'m> Succession<'m> {
    /// Nobody has asked for one yet.
    pub fn new(exclusive: &'m Exclusive, invocation: Invocation) -> Self {
        Self { exclusive, invocation, started: None }
    }

    /// The locks for a process that may take over; refuses it while this one is `busy`, or if it would leave something behind. Nothing is changed.
    pub fn admit(
        &self,
        replacement: Replacement,
        busy: Option<&str>,
        installed: &Installed,
    ) -> Option<(Replacement, Vec<OwnedFd>)> {
        let locks = match busy {
            Some(busy) => Err(busy.to_owned()),
            None => self.locks_for(&replacement.pins, installed),
        };
        match locks {
            Ok(locks) => Some((replacement, locks)),
            Err(why) => {
                tracing::warn!(pid = replacement.pid, why, "another vipd was refused the takeover");
                // It may be gone.
                let _ = replacement.refusal.send(why);
                None
            }
        }
    }

    /// Leaves everything to a process that has prepared all of it, and was [admitted](Self::admit). Returns how the election has ended, if
    /// it has.
    ///
    /// The main thread does nothing else meanwhile: once the successor has its answer, it does all of it.
    pub async fn pass_on(
        &mut self,
        (replacement, locks): (Replacement, Vec<OwnedFd>),
        engine: &EngineHandle,
        manager: &ServiceManager,
    ) -> Option<End> {
        // The answer of the connection's task comes with the end of this.
        let Replacement { connection, pid, pins: _, refusal: _refusal } = replacement;
        let (reply, passed_on) = oneshot::channel();
        let successor = Successor { connection, locks };
        engine.send(EngineMessage::Replace { successor, reply }).await;
        match passed_on.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                self.exclusive.retain();
                tracing::warn!(pid, %error, "another vipd did not wait for the takeover: this one continues");
                return None;
            }
            // The engine has ended otherwise, which is known elsewhere.
            Err(_) => return None,
        }
        tracing::info!(target: "vipd::event", event = "replaced", pid, "another vipd has taken over");
        // The last word of this process as the service's main one.
        if let Some(pid) = pid {
            manager.main_is(pid);
        }
        let pid = pid.map(|pid| format!(", pid {pid},")).unwrap_or_default();
        self.answer(Ok(format!("the new vipd{pid} has taken over")));
        // The answer leaves by other tasks of this thread.
        for _ in 0..ANSWER_TURNS {
            tokio::task::yield_now().await;
        }
        Some(End::Replaced)
    }

    fn locks_for(&self, pins: &str, installed: &Installed) -> Result<Vec<OwnedFd>, String> {
        let ours = installed.place_of_pins().map_err(|error| format!("{error:#}"))?;
        if ours != pins {
            return Err("its --bpffs-dir is another one".into());
        }
        self.exclusive.descriptors().map_err(|error| format!("{error:#}"))
    }

    /// Starts a successor, unless this process is `busy`.
    pub fn start(&mut self, reply: Reply, busy: Option<&str>) {
        let started = match (busy, &self.started) {
            (Some(busy), _) => Err(busy.to_owned()),
            (None, Some(_)) => Err("an upgrade is under way".to_owned()),
            (None, None) => self.invocation.start_successor().map_err(|error| format!("{error:#}")),
        };
        match started {
            Ok(started) => {
                tracing::info!(target: "vipd::event", event = "upgrading", "a new vipd was started, to take over");
                self.started = Some((started, reply));
            }
            // Who asked may be gone.
            Err(why) => _ = reply.send(Err(why)),
        }
    }

    /// Waits until the successor has ended without taking over, and returns why; never if there is none. May be dropped while it
    /// waits.
    pub async fn failed(&mut self) -> String {
        match &mut self.started {
            Some((started, _)) => started.failed().await,
            None => std::future::pending().await,
        }
    }

    /// Tells who waits that nothing has changed.
    pub fn tell_failure(&mut self, reason: &str) {
        tracing::error!(
            target: "vipd::event",
            event = "upgrade_failed",
            reason,
            "the new vipd did not take over: this one continues"
        );
        self.answer(Err(format!("the new vipd did not take over, and the running one continues: {reason}")));
    }

    fn answer(&mut self, answer: Result<String, String>) {
        if let Some((_, reply)) = self.started.take() {
            // Who asked may be gone.
            let _ = reply.send(answer);
        }
    }
}
