//! The control sockets: unix sockets, one JSON object a line each way, permissions 0660. One may do everything, the one beside it
//! ([`status_socket`]) only shows.
//!
//! [`serve`] runs on the daemon's main thread and never touches the engine: a request becomes a [`PendingRequest`] in a bounded
//! queue, or is answered from the [`Journal`] or the [`Captures`]. A client that sends or reads slowly, or sends too much, delays only its own
//! connection.

pub mod capture;
mod client;
mod difference;
pub mod events;
pub mod explain;
mod follow;
mod hangup;
pub mod model;
pub mod places;
pub mod status;
#[cfg(test)]
mod tests;

use std::{
    fs, io,
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result};
use clap::ValueEnum;
use nix::unistd::Uid;
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{UnixListener, UnixStream, unix::WriteHalf},
    sync::{mpsc, oneshot},
    time::timeout,
};

pub use client::{ClientError, connect, follow, request, stop as request_stop};
pub use difference::{Difference, Differences};
use model::Status;

use capture::Captures;
use events::{EventFilter, EventRange, Journal};
use places::{ClientSlot, ClientSlots, Full};
use vipd_system::files;

/// A request is shorter than this.
const MAX_REQUEST_BYTES: u64 = 4096;
/// A peer has this long to send its request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// A peer has this long to take an answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// A refused client has this long to read the reason.
const REFUSAL_TIMEOUT: Duration = Duration::from_millis(100);
/// What a stop waits for, to be told to a client.
const PROGRESS: usize = 8;
/// Connections at once. Further clients take the places of idle ones.
const CONNECTIONS: usize = 64;

/// What the clients of a socket may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Everything,
    /// Nothing that changes anything: [`Request::only_shows`].
    Show,
}

/// Path of the socket that only shows, beside the one for everything.
pub fn status_socket(path: &Path) -> PathBuf {
    path.with_file_name("status.sock")
}

/// A request; a connection may carry several in turn.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case")]
pub enum Request {
    Status,
    /// Reload the configuration. Answered when it is in force or rejected.
    Reload,
    /// Say what a reload would change. Changes nothing.
    Compare,
    /// Hand over one instance with its sync group. Answered when the successor is heard, or when no backup has taken over.
    HandOver {
        instance: String,
        to: To,
    },
    /// Hand over all instances and keep priority 1 until `Undrain`, over restarts too. Answered like `HandOver`.
    Drain,
    Undrain,
    /// Give a real server of load balancing no new connections, over restarts too. Names as an operator writes them: `10.9.0.1:80` and
    /// `10.0.0.1:80`.
    DrainServer {
        service: String,
        server: String,
        /// When the rest of its connections is ended, in seconds from now; without it never, or as `drain_timeout` says.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        for_s: Option<u64>,
    },
    /// The end of that.
    UndrainServer {
        service: String,
        server: String,
    },
    /// Hand everything over, remove everything, exit. Answered when the handover is over.
    Stop {
        /// Whether the client wants to know what is waited for, in [`Response::Waiting`].
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        progress: bool,
    },
    /// Exit at once, and leave the VIPs answered until the leases end, for the next vipd.
    Leave,
    /// Leave the VIPs to the process that asks, which has prepared everything: the answer passes the locks on. `pins` is the place of
    /// the pins that it has found.
    Replace {
        pins: String,
    },
    /// Start the installed program in the place of this one. Answered when it has taken over, or has failed.
    Upgrade,
    /// Log at another level from now on; without one, say the present level.
    Log {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        level: Option<LogLevel>,
    },
    /// The kept events; with `follow` also new ones, until the next request.
    Events {
        #[serde(flatten)]
        wanted: EventFilter,
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        follow: bool,
    },
    /// Adverts, ARP and Neighbor Discovery with the program's verdict, until the next request.
    Capture,
}

impl Request {
    /// Whether it shows what vipd does, and changes nothing: then it does not matter whether the client is still there. What a reload would change shows files that may be root's alone,
    /// and frames may have passwords in them.
    pub fn only_shows(&self) -> bool {
        match self {
            Self::Status | Self::Events { .. } | Self::Log { level: None } => true,
            Self::Reload
            | Self::Compare
            | Self::HandOver { .. }
            | Self::Drain
            | Self::Undrain
            | Self::DrainServer { .. }
            | Self::UndrainServer { .. }
            | Self::Upgrade
            | Self::Capture
            | Self::Replace { .. }
            | Self::Stop { .. }
            | Self::Log { .. }
            | Self::Leave => false,
        }
    }
}

/// Target of a handover.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum To {
    /// The best backup; this node keeps priority 1 until it is master again
    Backup,
    /// The node with the highest configured priority: ends priority 1
    Preferred,
}

/// How much is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    /// Each advert, timer and decision of the election
    Debug,
    /// Also what the libraries say
    Trace,
    /// As at the start: RUST_LOG, or info
    Default,
}

/// A reply.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "result", rename_all = "snake_case")]
pub enum Response {
    Status(Box<Status>),
    /// What has changed.
    Reloaded(Differences),
    /// What a reload would change.
    Compared(Differences),
    /// Done, in words.
    Done {
        what: String,
    },
    Stopped,
    /// The descriptors of the locks come with it.
    Replaced,
    /// A stop is on its way, and waits for this. More follows.
    Waiting {
        what: String,
    },
    Events(EventRange),
    /// Frames that come in from now on are captured.
    Capturing,
    Captured(capture::Batch),
    /// A reload was rejected; nothing has changed.
    Refused {
        message: String,
        /// How many errors there are, in words; empty from an older vipd.
        #[serde(default)]
        errors: String,
    },
    Error {
        message: String,
    },
}

/// A request on its way to the daemon.
#[derive(Debug)]
pub enum PendingRequest {
    Status(oneshot::Sender<Status>),
    Reload(oneshot::Sender<Result<Differences, Unapplied>>),
    Compare(oneshot::Sender<Result<Differences, Unapplied>>),
    HandOver { instance: String, to: To, reply: oneshot::Sender<Result<String, String>> },
    Drain(oneshot::Sender<Result<String, String>>),
    Undrain(oneshot::Sender<Result<String, String>>),
    DrainServer(ServerDrain),
    Stop(Stop),
    Leave(oneshot::Sender<()>),
    Replace(Replacement),
    Upgrade(oneshot::Sender<Result<String, String>>),
    Log { level: Option<LogLevel>, reply: oneshot::Sender<Result<String, String>> },
}

/// A client that waits for a stop; dropping it is the answer.
#[derive(Debug)]
pub struct Stop {
    reply: oneshot::Sender<()>,
    progress: mpsc::Sender<String>,
}

impl Stop {
    /// Says what is waited for.
    pub fn waits_for(&self, what: &str) {
        // The client may be gone, or not read.
        let _ = self.progress.try_send(what.to_owned());
    }
}

impl PendingRequest {
    /// Whether nobody waits for the answer any more: the client has ended before vipd came to its request.
    pub fn is_abandoned(&self) -> bool {
        match self {
            Self::Status(reply) => reply.is_closed(),
            Self::Reload(reply) | Self::Compare(reply) => reply.is_closed(),
            Self::HandOver { reply, .. }
            | Self::Drain(reply)
            | Self::Undrain(reply)
            | Self::Upgrade(reply)
            | Self::Log { reply, .. } => reply.is_closed(),
            Self::DrainServer(ServerDrain { reply, .. }) => reply.is_closed(),
            Self::Stop(Stop { reply, .. }) | Self::Leave(reply) => reply.is_closed(),
            // Locks are passed on to nobody who has ended.
            Self::Replace(replacement) => replacement.refusal.is_closed(),
        }
    }
}

/// A real server that is to be drained, or no longer.
#[derive(Debug)]
pub struct ServerDrain {
    pub service: String,
    pub server: String,
    /// `None`: it is brought back.
    pub drain: Option<DrainLimit>,
    /// The result, or why there is none, in words.
    pub reply: oneshot::Sender<Result<String, String>>,
}

/// When the connections of a drained server are ended; `None`: never, or as `drain_timeout` says.
pub type DrainLimit = Option<Duration>;

/// A process that asks to take over.
#[derive(Debug)]
pub struct Replacement {
    /// Of the request; the answer goes there if it takes over.
    pub connection: OwnedFd,
    pub pid: Option<u32>,
    /// The place of the pins that it has found.
    pub pins: String,
    /// Why it does not take over; dropped if it does.
    pub refusal: oneshot::Sender<String>,
}

/// What the answer to an unknown request begins with.
pub const NOT_A_REQUEST: &str = "not a request";

/// Why a configuration is not in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unapplied {
    /// Nothing has changed; so many errors, in words.
    Refused { message: String, errors: String },
    /// The kernel has refused a part of it; vipd tries again.
    InPart(String),
}

/// Binds the socket, replacing what a crash left: the caller holds the runtime directory's lock.
pub fn bind(path: &Path) -> Result<UnixListener> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("remove {}", path.display()));
        }
        _ => {}
    }
    let listener = files::bind_socket(path).with_context(|| format!("listen on {}", path.display()))?;
    Ok(UnixListener::from_std(listener)?)
}

/// Accepts connections for ever. Aborted with the daemon; a connection cut short loses an answer, nothing else.
pub async fn serve(
    listener: UnixListener,
    role: Role,
    commands: mpsc::Sender<PendingRequest>,
    journal: Journal,
    captures: Captures,
) {
    let name = if role == Role::Everything { "control" } else { "status" };
    let places = ClientSlots::new(name, CONNECTIONS);
    loop {
        match listener.accept().await {
            Ok((stream, _)) => match places.take(&stream) {
                Ok(place) => {
                    let answering = (commands.clone(), journal.clone(), captures.clone());
                    tokio::task::spawn_local(connection(stream, role, place, answering));
                    // Whose place it was closes its connection before the next is accepted.
                    tokio::task::yield_now().await;
                }
                Err(full) => refuse(stream, full).await,
            },
            Err(error) => {
                // Out of descriptors, say; accepting at once again would spin.
                tracing::warn!(%error, "control connection not accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// Tells a client that it is refused. This waits for no client: the buffer of a new socket has room.
async fn refuse(mut stream: UnixStream, full: Full) {
    let response = Response::Error { message: full.to_string() };
    let (_, mut write) = stream.split();
    // The reason that it was not sent for is logged.
    let _ = timeout(REFUSAL_TIMEOUT, send(&response, &mut write)).await;
}

/// What requests are answered from.
type Answering = (mpsc::Sender<PendingRequest>, Journal, Captures);

async fn connection(stream: UnixStream, role: Role, place: ClientSlot, answering: Answering) {
    tokio::select! {
        () = converse(stream, role, &place, &answering) => {}
        () = place.given_up() => tracing::debug!("another client gets the place of an idle one"),
    }
}

async fn converse(
    mut stream: UnixStream,
    role: Role,
    place: &ClientSlot,
    (commands, journal, captures): &Answering,
) {
    let (read, mut write) = stream.split();
    let mut read = BufReader::new(read);
    loop {
        place.is_waited_for();
        let mut line = Vec::new();
        let mut limited = (&mut read).take(MAX_REQUEST_BYTES);
        match timeout(REQUEST_TIMEOUT, limited.read_until(b'\n', &mut line)).await {
            Ok(Ok(length)) if length > 0 => {}
            // Closed, failed, or too slow.
            _ => return,
        }
        if limited.limit() == 0 && !line.ends_with(b"\n") {
            // The rest of the line is no request.
            let message = format!("the request is longer than {MAX_REQUEST_BYTES} octets");
            let _ = send(&Response::Error { message }, &mut write).await;
            return;
        }
        place.is_served();
        let answered = match serde_json::from_slice(&line) {
            Ok(Request::Events { wanted, follow: true }) => {
                follow::follow(journal, wanted, &mut read, &mut write).await
            }
            Ok(request) if role == Role::Show && !request.only_shows() => {
                send(&Response::Error { message: SHOWS.into() }, &mut write).await
            }
            Ok(Request::Capture) => capture::serve(captures, &mut read, &mut write).await,
            Ok(Request::Replace { pins }) => {
                match replace(pins, write.as_ref(), commands).await {
                    Some(message) => send(&Response::Error { message }, &mut write).await,
                    // It has its answer. The end of the connection says that this process has ended.
                    None => return std::future::pending().await,
                }
            }
            Ok(request) if !request.only_shows() => {
                let client: &UnixStream = read.get_ref().as_ref();
                if hangup::is_gone(client) {
                    tracing::warn!(
                        ?request,
                        "a request is not obeyed: its client has ended before vipd came to it"
                    );
                    return;
                }
                let response = tokio::select! {
                    response = change(request, commands, &mut write) => response,
                    () = hangup::hung_up(client) => return,
                };
                place.is_waited_for();
                send(&response, &mut write).await
            }
            request => {
                let response = answer(request, commands, journal).await;
                place.is_waited_for();
                send(&response, &mut write).await
            }
        };
        if answered.is_err() {
            return;
        }
    }
}

/// Writes one line, within [`ANSWER_TIMEOUT`].
async fn send(response: &Response, write: &mut WriteHalf<'_>) -> io::Result<()> {
    let mut line = serde_json::to_vec(response).expect("a response has only string keys");
    line.push(b'\n');
    timeout(ANSWER_TIMEOUT, write.write_all(&line)).await?
}

/// Answers a question.
async fn answer(
    request: serde_json::Result<Request>,
    commands: &mpsc::Sender<PendingRequest>,
    journal: &Journal,
) -> Response {
    match request {
        Ok(Request::Events { wanted, .. }) => Response::Events(journal.read(&wanted)),
        Ok(Request::Log { level }) => done(commands, |reply| PendingRequest::Log { level, reply }).await,
        Ok(_) => {
            let (reply, status) = oneshot::channel();
            match commands.send(PendingRequest::Status(reply)).await {
                Ok(()) => status.await.map_or_else(|_| gone(), |status| Response::Status(Box::new(status))),
                Err(_) => gone(),
            }
        }
        Err(error) => Response::Error { message: format!("{NOT_A_REQUEST}: {error}") },
    }
}

/// Does what changes something. Dropping it gives a request up that vipd has not come to.
async fn change(
    request: Request,
    commands: &mpsc::Sender<PendingRequest>,
    write: &mut WriteHalf<'_>,
) -> Response {
    match request {
        Request::Reload => reloaded(commands, PendingRequest::Reload, Response::Reloaded).await,
        Request::Compare => reloaded(commands, PendingRequest::Compare, Response::Compared).await,
        Request::HandOver { instance, to } => {
            done(commands, |reply| PendingRequest::HandOver { instance, to, reply }).await
        }
        Request::Drain => done(commands, PendingRequest::Drain).await,
        Request::Undrain => done(commands, PendingRequest::Undrain).await,
        Request::DrainServer { service, server, for_s } => {
            let drain = Some(for_s.map(Duration::from_secs));
            let pending = |reply| PendingRequest::DrainServer(ServerDrain { service, server, drain, reply });
            done(commands, pending).await
        }
        Request::UndrainServer { service, server } => {
            let pending =
                |reply| PendingRequest::DrainServer(ServerDrain { service, server, drain: None, reply });
            done(commands, pending).await
        }
        Request::Upgrade => done(commands, PendingRequest::Upgrade).await,
        Request::Log { level } => done(commands, |reply| PendingRequest::Log { level, reply }).await,
        Request::Stop { progress } => stop(commands, progress, write).await,
        Request::Leave => {
            let (reply, ended) = oneshot::channel();
            end(commands, PendingRequest::Leave(reply), ended).await
        }
        Request::Status | Request::Events { .. } | Request::Capture | Request::Replace { .. } => {
            unreachable!("it is answered elsewhere")
        }
    }
}

/// Has the process at the other end take over; returns why it does not.
async fn replace(
    pins: String,
    stream: &UnixStream,
    commands: &mpsc::Sender<PendingRequest>,
) -> Option<String> {
    let peer = match stream.peer_cred() {
        Ok(peer) => peer,
        Err(error) => return Some(error.to_string()),
    };
    // The locks are for nobody else, not even for a group that may stop vipd.
    if peer.uid() != Uid::effective().as_raw() {
        return Some(format!("uid {} may not take over", peer.uid()));
    }
    let connection = match stream.as_fd().try_clone_to_owned() {
        Ok(connection) => connection,
        Err(error) => return Some(error.to_string()),
    };
    let (refusal, refused) = oneshot::channel();
    let pid = peer.pid().and_then(|pid| u32::try_from(pid).ok());
    let replacement = Replacement { connection, pid, pins, refusal };
    match commands.send(PendingRequest::Replace(replacement)).await {
        Ok(()) => refused.await.ok(),
        Err(_) => Some("the daemon is stopping".into()),
    }
}

/// Sends a command about the configuration in its file.
async fn reloaded(
    commands: &mpsc::Sender<PendingRequest>,
    command: impl FnOnce(oneshot::Sender<Result<Differences, Unapplied>>) -> PendingRequest,
    response: impl FnOnce(Differences) -> Response,
) -> Response {
    let (reply, done) = oneshot::channel();
    if commands.send(command(reply)).await.is_err() {
        return gone();
    }
    match done.await {
        Ok(Ok(differences)) => response(differences),
        Ok(Err(Unapplied::Refused { message, errors })) => Response::Refused { message, errors },
        Ok(Err(Unapplied::InPart(message))) => Response::Error { message },
        Err(_) => gone(),
    }
}

/// Sends a stop, and tells the client what it waits for if `tells`.
async fn stop(commands: &mpsc::Sender<PendingRequest>, tells: bool, write: &mut WriteHalf<'_>) -> Response {
    let (reply, ended) = oneshot::channel();
    let (progress, mut waits) = mpsc::channel(PROGRESS);
    let ended = end(commands, PendingRequest::Stop(Stop { reply, progress }), ended);
    tokio::pin!(ended);
    loop {
        tokio::select! {
            response = &mut ended => return response,
            Some(what) = waits.recv() => {
                // A client that does not read loses nothing but this.
                if tells && send(&Response::Waiting { what }, write).await.is_err() {
                    return ended.await;
                }
            }
        }
    }
}

/// Sends a command that succeeds, or fails with a reason.
async fn done(
    commands: &mpsc::Sender<PendingRequest>,
    command: impl FnOnce(oneshot::Sender<Result<String, String>>) -> PendingRequest,
) -> Response {
    let (reply, answer) = oneshot::channel();
    match commands.send(command(reply)).await {
        Ok(()) => match answer.await {
            Ok(Ok(what)) => Response::Done { what },
            Ok(Err(message)) => Response::Error { message },
            Err(_) => gone(),
        },
        Err(_) => gone(),
    }
}

/// Sends a stop. The channel and the connection close with the daemon, which is the reply.
async fn end(
    commands: &mpsc::Sender<PendingRequest>,
    command: PendingRequest,
    ended: oneshot::Receiver<()>,
) -> Response {
    match commands.send(command).await {
        Ok(()) => {
            let _ = ended.await;
            Response::Stopped
        }
        Err(_) => gone(),
    }
}

const SHOWS: &str = "this socket only shows: what changes something needs vipd.sock, which is root's";

fn gone() -> Response {
    Response::Error { message: "the daemon is stopping".into() }
}
