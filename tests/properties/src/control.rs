//! The control protocol: whatever comes over the socket, neither end panics, and each request gets one answer.

use std::{
    os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixListener, UnixStream},
    },
    process,
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::{Context, Result};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    runtime::Runtime,
    sync::mpsc,
    task::LocalSet,
};
use vipd_control::{
    Differences, PendingRequest, Request, Response, Role,
    capture::Captures,
    events::{self, Journal},
    model::Status,
    serve,
    status::StatusView,
};

/// The server takes at most as much for one request, and nothing after one that is longer.
const MAX_REQUEST_BYTES: usize = 4096;

/// The real server behind a socket of the abstract namespace, and a daemon that says yes to everything.
pub struct Server {
    runtime: Runtime,
    tasks: LocalSet,
    address: SocketAddr,
}

impl Server {
    pub fn start() -> Result<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let address = SocketAddr::from_abstract_name(format!("vipd-fuzz-{}-{number}", process::id()))?;
        let listener = UnixListener::bind_addr(&address).context("listen")?;
        listener.set_nonblocking(true)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let tasks = LocalSet::new();
        let (commands, inbox) = mpsc::channel(1);
        let guard = runtime.enter();
        let (role, journal) = (Role::Everything, Journal::default());
        tasks.spawn_local(serve(listener.try_into()?, role, commands, journal, Captures::default()));
        tasks.spawn_local(obey(inbox));
        drop(guard);
        Ok(Self { runtime, tasks, address })
    }

    pub fn check(&self, octets: &[u8]) {
        parse_as_client(octets);
        let requests: Vec<_> = requests(octets).collect();
        requests.iter().for_each(|request| parse_as_server(request));

        let answers =
            self.tasks.block_on(&self.runtime, self.converse(octets)).expect("a local socket works");
        let answers: Vec<_> = answers.split_inclusive(|octet| *octet == b'\n').collect();
        assert_eq!(answers.len(), requests.len(), "one answer for each request");
        for (request, answer) in requests.iter().zip(answers) {
            assert_eq!(answer.last(), Some(&b'\n'), "an answer is a line");
            let answer: Response = serde_json::from_slice(answer).expect("an answer is a response");
            if is_too_long(request) {
                assert!(matches!(answer, Response::Error { .. }), "executed after junk: {answer:?}");
                continue;
            }
            match serde_json::from_slice::<Request>(request) {
                Ok(request) => assert!(is_answer(&request, &answer), "{request:?} got {answer:?}"),
                Err(error) => {
                    assert!(matches!(answer, Response::Error { .. }), "{error} got {answer:?}");
                }
            }
        }
    }

    async fn converse(&self, octets: &[u8]) -> Result<Vec<u8>> {
        let stream = UnixStream::connect_addr(&self.address)?;
        stream.set_nonblocking(true)?;
        let mut stream = tokio::net::UnixStream::from_std(stream)?;
        let (mut read, mut write) = stream.split();
        let mut answers = Vec::new();
        let send = async {
            write.write_all(octets).await?;
            write.shutdown().await
        };
        let (sent, received) = tokio::join!(send, read.read_to_end(&mut answers));
        // The server closes the connection at a request that is too long, and leaves the rest unread.
        if !requests(octets).any(is_too_long) {
            sent?;
            received?;
        }
        Ok(answers)
    }
}

/// A row for each request: its name on the socket, and what answers it here, where the daemon refuses nothing.
///
/// The rows become matches without a catch-all, so a request without a row does not compile.
macro_rules! request_rows {
    ($($name:literal: $request:pat => $answer:pat,)*) => {
        /// The name of each request.
        pub const NAMES: &[&str] = &[$($name),*];

        fn name(request: &Request) -> &'static str {
            match request {
                $($request => $name,)*
            }
        }

        fn is_answer(request: &Request, answer: &Response) -> bool {
            match request {
                $($request => matches!(answer, $answer),)*
            }
        }
    };
}

request_rows! {
    "status": Request::Status => Response::Status(_),
    "reload": Request::Reload => Response::Reloaded(..),
    "compare": Request::Compare => Response::Compared(..),
    "hand_over": Request::HandOver { .. } => Response::Done { .. },
    "drain": Request::Drain => Response::Done { .. },
    "undrain": Request::Undrain => Response::Done { .. },
    "drain_server": Request::DrainServer { .. } => Response::Done { .. },
    "undrain_server": Request::UndrainServer { .. } => Response::Done { .. },
    "stop": Request::Stop { .. } => Response::Stopped,
    "leave": Request::Leave => Response::Stopped,
    // Here a takeover is refused, for there is nothing to take over.
    "replace": Request::Replace { .. } => Response::Error { .. },
    "upgrade": Request::Upgrade => Response::Done { .. },
    "log": Request::Log { .. } => Response::Done { .. },
    // The client has shut its end down, so one that follows ends after the first batch.
    "events": Request::Events { .. } => Response::Events(_),
    // No program is loaded here.
    "capture": Request::Capture => Response::Error { .. },
}

/// The names of the requests that the server reads in these octets.
pub fn names_in(octets: &[u8]) -> impl Iterator<Item = &'static str> {
    requests(octets).filter_map(|request| serde_json::from_slice(request).ok()).map(|request| name(&request))
}

/// What the server takes for one request each.
fn requests(mut octets: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let most = &octets[..octets.len().min(MAX_REQUEST_BYTES)];
        let end = most.iter().position(|octet| *octet == b'\n');
        let length = end.map_or(most.len(), |at| at + 1);
        let (request, rest) = octets.split_at(length);
        octets = if end.is_none() { &[] } else { rest };
        (length > 0).then_some(request)
    })
}

fn is_too_long(request: &[u8]) -> bool {
    request.len() == MAX_REQUEST_BYTES && !request.ends_with(b"\n")
}

async fn obey(mut inbox: mpsc::Receiver<PendingRequest>) {
    while let Some(command) = inbox.recv().await {
        match command {
            PendingRequest::Status(reply) => drop(reply.send(Status::default())),
            PendingRequest::Reload(reply) | PendingRequest::Compare(reply) => {
                drop(reply.send(Ok(Differences::default())))
            }
            PendingRequest::HandOver { reply, .. }
            | PendingRequest::Drain(reply)
            | PendingRequest::Undrain(reply)
            | PendingRequest::Upgrade(reply)
            | PendingRequest::Log { reply, .. } => {
                drop(reply.send(Ok(String::new())));
            }
            PendingRequest::DrainServer(drain) => drop(drain.reply.send(Ok(String::new()))),
            PendingRequest::Stop(stop) => drop(stop),
            PendingRequest::Leave(reply) => drop(reply.send(())),
            PendingRequest::Replace(replacement) => drop(replacement.refusal.send(String::new())),
        }
    }
}

fn parse_as_server(octets: &[u8]) {
    if let Ok(request) = serde_json::from_slice::<Request>(octets) {
        let text = serde_json::to_vec(&request).expect("a request can be written");
        assert!(!text.contains(&b'\n') && text.len() <= MAX_REQUEST_BYTES, "a request is a short line");
        assert_eq!(serde_json::from_slice::<Request>(&text).expect("and read again"), request);
    }
}

fn parse_as_client(octets: &[u8]) {
    if let Ok(response) = serde_json::from_slice::<Response>(octets) {
        let text = serde_json::to_vec(&response).expect("a response can be written");
        assert!(!text.contains(&b'\n'), "a response is a line");
        let again: Response = serde_json::from_slice(&text).expect("and read again");
        assert_eq!(serde_json::to_vec(&again).expect("and written again"), text);
        match response {
            Response::Status(status) => {
                for (long, width) in [(false, None), (true, None), (false, Some(0)), (false, Some(40))] {
                    let view = StatusView { instances: Vec::new(), long, width };
                    view.render(&mut Vec::new(), &status).expect("memory can be written to");
                }
            }
            Response::Events(batch) => {
                let mut out = Vec::new();
                events::render(&mut out, &batch, false).expect("memory can be written to");
            }
            _ => {}
        }
    }
}
