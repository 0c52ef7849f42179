//! What the service manager is told, as sd_notify(3) has it: ready, reloading, stopping, how many instances are in which
//! state, and that the engine thread is alive. Without `NOTIFY_SOCKET` in the environment all of it comes to nothing.
//!
//! The engine is asked for the states of its instances, and that it answers is what feeds the watchdog: one that hangs, or a
//! main thread that hangs and does not ask, starves it. The pins stay when the process is killed for that, so the next vipd
//! goes on with the lease if it stands.

use std::{
    env,
    ffi::OsStr,
    fmt::Write,
    future::pending,
    io,
    os::{
        linux::net::SocketAddrExt,
        unix::{
            ffi::OsStrExt,
            net::{SocketAddr, UnixDatagram},
        },
    },
    time::Duration,
};

use sd_notify::NotifyState;
use tokio::{
    sync::oneshot,
    time::{Instant, sleep_until},
};

use super::super::messages::Message;
use crate::coordinator::StateName;

/// The daemon's side, on the main thread.
#[derive(Debug)]
pub struct ServiceManager {
    /// Nobody listens otherwise.
    present: bool,
    /// How often the watchdog is fed, if there is one: twice in its time.
    feed_every: Option<Duration>,
    phase: Phase,
    status: String,
    /// When the engine is to be asked.
    ask_at: Option<Instant>,
    answer: Option<oneshot::Receiver<Vec<StateName>>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The engine has not answered yet.
    Starting,
    Running,
    Stopping,
}

impl ServiceManager {
    pub fn new() -> Self {
        Self {
            present: env::var_os("NOTIFY_SOCKET").is_some(),
            feed_every: sd_notify::watchdog_enabled().map(|limit| limit / 2),
            phase: Phase::Starting,
            status: String::new(),
            ask_at: Some(Instant::now()),
            answer: None,
        }
    }

    /// The next message for the engine. May be dropped while it waits.
    pub async fn next(&mut self) -> Message {
        if !self.present {
            return pending().await;
        }
        loop {
            if let Some(answer) = &mut self.answer {
                let answered = answer.await;
                self.answer = None;
                // An engine that has ended answers no more, and whoever waits for that knows.
                let Ok(states) = answered else { return pending().await };
                self.answered(&states);
            } else if let Some(at) = self.ask_at {
                sleep_until(at).await;
                let (reply, answer) = oneshot::channel();
                (self.ask_at, self.answer) = (None, Some(answer));
                return Message::Ping(reply);
            } else {
                return pending().await;
            }
        }
    }

    /// An instance may be in another state.
    pub fn changed(&mut self) {
        self.ask_at = Some(Instant::now());
    }

    pub fn reloading(&self) {
        // The manager wants to know when, lest it take the readiness of an earlier reload for that of this one.
        match NotifyState::monotonic_usec_now() {
            Ok(at) => _ = self.tell(&[NotifyState::Reloading, at]),
            Err(error) => tracing::warn!(%error, "the service manager could not be notified of the reload"),
        }
    }

    /// A reload is over, whatever has come of it.
    pub fn reloaded(&mut self) {
        // Before the first answer that answer says so.
        if self.phase == Phase::Running {
            self.tell(&[NotifyState::Ready]);
        }
        self.changed();
    }

    /// Another process is the service's main one from now on.
    pub fn main_is(&self, pid: u32) {
        self.tell(&[NotifyState::MainPid(pid)]);
    }

    /// The end has begun, and takes its time.
    pub fn stopping(&mut self, how: &str) {
        self.phase = Phase::Stopping;
        self.tell(&[NotifyState::Stopping, NotifyState::Status(how)]);
        self.changed();
    }

    fn answered(&mut self, states: &[StateName]) {
        let status = count(states);
        if self.phase == Phase::Starting {
            if !self.tell(&[NotifyState::Ready]) {
                // Without it the manager would end vipd.
                self.ask_at = Some(Instant::now() + TELL_AGAIN);
                return;
            }
            self.phase = Phase::Running;
        }
        let again = match self.phase {
            Phase::Stopping => {
                let extension = u32::try_from(STOP_EXTENSION.as_micros()).expect("under an hour");
                self.tell(&[NotifyState::ExtendTimeoutUsec(extension)]);
                Some(STOP_EXTENSION / 3)
            }
            Phase::Starting | Phase::Running => {
                if status != self.status && self.tell(&[NotifyState::Status(&status)]) {
                    self.status = status;
                }
                self.feed_every
            }
        };
        if self.feed_every.is_some() {
            self.tell(&[NotifyState::Watchdog]);
        }
        // Something may have changed while the answer was under way.
        self.ask_at = self.ask_at.or(again.map(|after| Instant::now() + after));
    }

    /// Whether it has been told, or nobody listens.
    fn tell(&self, states: &[NotifyState<'_>]) -> bool {
        let Some(socket) = env::var_os("NOTIFY_SOCKET") else { return true };
        let sent = send(&socket, states);
        if let Err(error) = &sent {
            tracing::warn!(%error, "the service manager could not be notified of the status");
        }
        sent.is_ok()
    }
}

/// `sd_notify::notify` waits for a manager that reads nothing, without limit, and the main thread with it.
fn send(socket: &OsStr, states: &[NotifyState<'_>]) -> io::Result<()> {
    let address = match socket.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(socket)?,
    };
    let mut message = String::new();
    for state in states {
        let _ = writeln!(message, "{state}");
    }
    let datagram = UnixDatagram::unbound()?;
    datagram.set_nonblocking(true)?;
    datagram.send_to_addr(message.as_bytes(), &address).map(drop)
}

/// A manager that has no room for the message without which it would end vipd gets it again after so long.
const TELL_AGAIN: Duration = Duration::from_secs(5);

/// `2 MASTER, 1 BACKUP`.
fn count(states: &[StateName]) -> String {
    let all = [StateName::Master, StateName::Backup, StateName::Fault, StateName::Init, StateName::Stopped];
    let counts = all.map(|state| (states.iter().filter(|is| **is == state).count(), state));
    let parts: Vec<String> =
        counts.iter().filter(|(n, _)| *n > 0).map(|(n, state)| format!("{n} {state}")).collect();
    parts.join(", ")
}

/// A handover takes as long as a successor needs to speak, minutes with the longest intervals: while the engine answers,
/// the manager is asked for so much more time.
const STOP_EXTENSION: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    /// It held up the main thread for ever.
    #[test]
    fn a_manager_that_reads_nothing_is_not_waited_for() {
        let path = env::temp_dir().join(format!("vipd-notify-socket-{}", std::process::id()));
        let manager = UnixDatagram::bind(&path).unwrap();
        let states = [NotifyState::Ready, NotifyState::Status("1 MASTER")];
        let sent = (0..100_000).take_while(|_| send(path.as_os_str(), &states).is_ok()).count();
        assert!((1..100_000).contains(&sent), "{sent}: the queue of a datagram socket has a limit");
        let mut message = [0; 64];
        let length = manager.recv(&mut message).unwrap();
        assert_eq!(&message[..length], b"READY=1\nSTATUS=1 MASTER\n");
        assert!(send(path.as_os_str(), &states).is_ok(), "there is room again");
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn the_status_counts_the_states_that_there_are() {
        use StateName::{Backup, Fault, Init, Master, Stopped};
        for (states, text) in [
            (&[][..], ""),
            (&[Master], "1 MASTER"),
            (&[Backup, Master, Fault, Master], "2 MASTER, 1 BACKUP, 1 FAULT"),
            (&[Stopped, Init], "1 INIT, 1 STOP"),
        ] {
            assert_eq!(count(states), text);
        }
    }
}
