//! The control protocol: whatever comes over the socket, neither end panics, and each request gets one answer.

use std::{
    collections::BTreeMap,
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
use vipd::{
    cli,
    control::{self, Command, Request, Response, model::Status},
};

/// The server takes at most as much for one request; the rest is the next one.
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
        tasks.spawn_local(control::serve(listener.try_into()?, commands));
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
            match (serde_json::from_slice(request), answer) {
                (Ok(Request::Status), Response::Status(_))
                | (Ok(Request::Reload), Response::Reloaded { .. })
                | (Ok(Request::Stop | Request::Leave), Response::Stopped)
                | (Err(_), Response::Error { .. }) => {}
                (request, answer) => panic!("{request:?} got {answer:?}"),
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
        sent?;
        received?;
        Ok(answers)
    }
}

/// What the server takes for one request each.
fn requests(mut octets: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let most = &octets[..octets.len().min(MAX_REQUEST_BYTES)];
        let length = most.iter().position(|octet| *octet == b'\n').map_or(most.len(), |at| at + 1);
        let (request, rest) = octets.split_at(length);
        octets = rest;
        (length > 0).then_some(request)
    })
}

async fn obey(mut inbox: mpsc::Receiver<Command>) {
    while let Some(command) = inbox.recv().await {
        match command {
            Command::Status(reply) => drop(reply.send(status())),
            Command::Reload(reply) => drop(reply.send(Ok(String::new()))),
            Command::HandOver { reply, .. } | Command::Drain(reply) | Command::Undrain(reply) => {
                drop(reply.send(Ok(String::new())));
            }
            Command::Stop(reply) | Command::Leave(reply) => drop(reply.send(())),
        }
    }
}

fn status() -> Status {
    Status {
        version: String::new(),
        pid: 1,
        uptime_ms: 0,
        real_time: true,
        drained: false,
        instances: Vec::new(),
        counters: BTreeMap::new(),
        tracked: Vec::new(),
        arbiters: Vec::new(),
    }
}

fn parse_as_server(octets: &[u8]) {
    if let Ok(request) = serde_json::from_slice::<Request>(octets) {
        let text = serde_json::to_vec(&request).expect("a request can be written");
        assert!(!text.contains(&b'\n') && text.len() < MAX_REQUEST_BYTES, "a request is a short line");
        assert_eq!(serde_json::from_slice::<Request>(&text).expect("and read again"), request);
    }
}

fn parse_as_client(octets: &[u8]) {
    if let Ok(response) = serde_json::from_slice::<Response>(octets) {
        let text = serde_json::to_vec(&response).expect("a response can be written");
        assert!(!text.contains(&b'\n'), "a response is a line");
        let again: Response = serde_json::from_slice(&text).expect("and read again");
        assert_eq!(serde_json::to_vec(&again).expect("and written again"), text);
        if let Response::Status(status) = response {
            cli::status::render(&mut Vec::new(), &status).expect("memory can be written to");
        }
    }
}
