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
mod follow;
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

pub use client::{ClientError, connect, follow, request};
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
    /// Hand everything over, remove everything, exit. Answered when the handover is over.
    Stop,
    /// Exit at once, and leave the VIPs answered until the leases end, for the next vipd.
    Leave,
    /// Leave the VIPs to the process that asks, which has prepared everything: the answer passes the locks on. `pins` is the place of
    /// the pins that it has found.
    Replace {
        pins: String,
    },
    /// Start the installed program in the place of this one. Answered when it has taken over, or has failed.
    Upgrade,
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
    /// Whether it shows what vipd does, and changes nothing. What a reload would change shows files that may be root's alone,
    /// and frames may have passwords in them.
    pub fn only_shows(&self) -> bool {
        match self {
            Self::Status | Self::Events { .. } => true,
            Self::Reload
            | Self::Compare
            | Self::HandOver { .. }
            | Self::Drain
            | Self::Undrain
            | Self::Upgrade
            | Self::Capture
            | Self::Replace { .. }
            | Self::Stop
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
    Events(EventRange),
    /// Frames that come in from now on are captured.
    Capturing,
    Captured(capture::Batch),
    /// A reload was rejected; nothing has changed.
    Refused {
        message: String,
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
    Stop(oneshot::Sender<()>),
    Leave(oneshot::Sender<()>),
    Replace(Replacement),
    Upgrade(oneshot::Sender<Result<String, String>>),
}

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
    /// Nothing has changed.
    Refused(String),
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
            Ok(Request::Capture) if role == Role::Everything => {
                capture::serve(captures, &mut read, &mut write).await
            }
            Ok(Request::Replace { pins }) if role == Role::Everything => {
                match replace(pins, write.as_ref(), commands).await {
                    Some(message) => send(&Response::Error { message }, &mut write).await,
                    // It has its answer. The end of the connection says that this process has ended.
                    None => return std::future::pending().await,
                }
            }
            request => {
                let response = answer(request, role, commands, journal).await;
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

async fn answer(
    request: serde_json::Result<Request>,
    role: Role,
    commands: &mpsc::Sender<PendingRequest>,
    journal: &Journal,
) -> Response {
    match request {
        Ok(request) if role == Role::Show && !request.only_shows() => {
            Response::Error { message: SHOWS.into() }
        }
        Ok(Request::Status) => {
            let (reply, status) = oneshot::channel();
            match commands.send(PendingRequest::Status(reply)).await {
                Ok(()) => status.await.map_or_else(|_| gone(), |status| Response::Status(Box::new(status))),
                Err(_) => gone(),
            }
        }
        Ok(Request::Reload) => reloaded(commands, PendingRequest::Reload, Response::Reloaded).await,
        Ok(Request::Compare) => reloaded(commands, PendingRequest::Compare, Response::Compared).await,
        Ok(Request::HandOver { instance, to }) => {
            done(commands, |reply| PendingRequest::HandOver { instance, to, reply }).await
        }
        Ok(Request::Drain) => done(commands, PendingRequest::Drain).await,
        Ok(Request::Undrain) => done(commands, PendingRequest::Undrain).await,
        Ok(Request::Stop) => end(commands, PendingRequest::Stop).await,
        Ok(Request::Leave) => end(commands, PendingRequest::Leave).await,
        Ok(Request::Upgrade) => done(commands, PendingRequest::Upgrade).await,
        Ok(Request::Replace { .. }) => unreachable!("it is answered where the connection is"),
        Ok(Request::Events { wanted, .. }) => Response::Events(journal.read(&wanted)),
        Ok(Request::Capture) => unreachable!("it is answered where the connection is"),
        Err(error) => Response::Error { message: format!("{NOT_A_REQUEST}: {error}") },
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
        Ok(Err(Unapplied::Refused(message))) => Response::Refused { message },
        Ok(Err(Unapplied::InPart(message))) => Response::Error { message },
        Err(_) => gone(),
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
    command: impl FnOnce(oneshot::Sender<()>) -> PendingRequest,
) -> Response {
    let (reply, ended) = oneshot::channel();
    match commands.send(command(reply)).await {
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
