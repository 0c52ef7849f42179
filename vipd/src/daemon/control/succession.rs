//! The end of this process in favour of another that runs already: on request of the successor, or on request of an operator, for whom this
//! process starts one.

use tokio::sync::oneshot;

use super::{
    super::{
        messages::{End, Message, Reply},
        succession::Successor,
        upgrade::Started,
    },
    Control,
};
use crate::control::Replacement;

/// A successor that this process has started, and who waits for it.
#[derive(Debug, Default)]
pub struct Upgrade(Option<(Started, Reply)>);

impl Upgrade {
    /// Waits until it has ended without taking over, and returns why; never if there is none. May be dropped while it waits.
    pub async fn failed(&mut self) -> String {
        match &mut self.0 {
            Some((started, _)) => started.failed().await,
            None => std::future::pending().await,
        }
    }

    fn answer(&mut self, answer: Result<String, String>) {
        if let Some((_, reply)) = self.0.take() {
            // Who asked may be gone.
            let _ = reply.send(answer);
        }
    }
}

impl Control<'_> {
    /// Leaves everything to a process that has prepared all of it. Returns how the election has ended, if it has.
    ///
    /// The main thread does nothing else meanwhile: once the successor has its answer, it does all of it.
    pub(super) async fn replace(&mut self, replacement: Replacement) -> Option<End> {
        let Replacement { connection, pid, pins, refusal } = replacement;
        let locks = self.locks_for(&pins);
        let locks = match locks {
            Ok(locks) => locks,
            Err(why) => {
                tracing::warn!(pid, why, "another vipd was refused the takeover");
                // It may be gone.
                let _ = refusal.send(why);
                return None;
            }
        };
        let (reply, passed_on) = oneshot::channel();
        let successor = Successor { connection, locks };
        self.engine.send(Message::Replace { successor, reply }).await;
        match passed_on.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!(pid, %error, "another vipd did not wait for the takeover: this one goes on");
                return None;
            }
            // The engine has ended otherwise, which is known elsewhere.
            Err(_) => return None,
        }
        tracing::info!(target: "vipd::event", event = "replaced", pid, "another vipd has taken over");
        // The last word of this process as the service's main one.
        if let Some(pid) = pid {
            self.manager.main_is(pid);
        }
        let pid = pid.map(|pid| format!(", pid {pid},")).unwrap_or_default();
        self.upgrade.answer(Ok(format!("the new vipd{pid} has taken over")));
        // The answer leaves by other tasks of this thread.
        for _ in 0..ANSWER_TURNS {
            tokio::task::yield_now().await;
        }
        Some(End::Replaced)
    }

    fn locks_for(&self, pins: &str) -> Result<Vec<std::os::fd::OwnedFd>, String> {
        if self.stopping {
            return Err("it is stopping".into());
        }
        if self.reload.is_under_way() {
            return Err("a reload waits for removed instances to be handed over; try again".into());
        }
        let ours = self.installed.place_of_pins().map_err(|error| format!("{error:#}"))?;
        if ours != pins {
            return Err("its --bpffs-dir is another one".into());
        }
        self.exclusive.descriptors().map_err(|error| format!("{error:#}"))
    }

    /// Starts a successor.
    pub(super) fn upgrade(&mut self, reply: Reply) {
        let started = if self.stopping {
            Err("vipd is stopping".to_owned())
        } else if self.upgrade.0.is_some() {
            Err("an upgrade is under way".to_owned())
        } else {
            self.invocation.start_successor().map_err(|error| format!("{error:#}"))
        };
        match started {
            Ok(started) => {
                tracing::info!(target: "vipd::event", event = "upgrading", "a new vipd was started, to take over");
                self.upgrade.0 = Some((started, reply));
            }
            // Who asked may be gone.
            Err(why) => _ = reply.send(Err(why)),
        }
    }

    /// The successor has ended, and nothing has changed.
    pub(super) fn upgrade_failed(&mut self, reason: String) {
        tracing::error!(target: "vipd::event", event = "upgrade_failed", reason, "the new vipd did not take over: this one goes on");
        self.upgrade
            .answer(Err(format!("the new vipd did not take over, and the running one goes on: {reason}")));
    }
}

/// From the answer to the task of the connection, and from there to the socket.
const ANSWER_TURNS: usize = 4;
