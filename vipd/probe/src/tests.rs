//! Each checker against real servers on loopback, in the test's own process.

mod datagrams;
mod http;
mod patterns;
mod prober;
mod refusals;
mod sockets;
mod texts;
mod tls;

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use vipd_balance::{ProbeOutcome, ProbePeer, ProbeSpec};

use crate::{
    ProbeScript, RunScript, ScriptEnd, ScriptFuture, checkers, context::ProbeContext, limits::ProbeLimits,
    net::TlsConfigs, pattern::PatternCache,
};

/// Ends as its first word says.
pub(crate) struct FakeScripts;

impl RunScript for FakeScripts {
    fn run<'a>(&'a self, script: ProbeScript<'a>) -> ScriptFuture<'a> {
        let end = match script.words[0].as_str() {
            "exit" => ScriptEnd::Exited(script.words[1].parse().unwrap()),
            "signal" => ScriptEnd::Signalled(9),
            "hang" => ScriptEnd::TimedOut,
            "missing" => ScriptEnd::NotRun("no such file or directory".to_owned()),
            _ => ScriptEnd::Shortage("resource temporarily unavailable".to_owned()),
        };
        Box::pin(async move {
            if script.words[0] == "hang" {
                tokio::time::sleep(script.timeout).await;
            }
            end
        })
    }
}

fn context_with(sockets: usize, scripts: usize, answer_octets: usize) -> ProbeContext {
    ProbeContext {
        limits: ProbeLimits::new(sockets, scripts, answer_octets),
        tls: TlsConfigs::default(),
        patterns: PatternCache::default(),
        scripts: Arc::new(FakeScripts),
    }
}

fn context() -> ProbeContext {
    context_with(1000, 10, 8 << 20)
}

async fn run(spec: &ProbeSpec) -> (ProbeOutcome, String) {
    let (outcome, words) = checkers::run(spec, &context()).await;
    (outcome, words.into_owned())
}

/// The outcome: `pass`, `fail: why`, `not sent: why`.
fn text(outcome: &ProbeOutcome) -> String {
    match outcome {
        ProbeOutcome::Passed => "pass".to_owned(),
        ProbeOutcome::Failed(why) => format!("fail: {why}"),
        ProbeOutcome::NotSent(why) => format!("not sent: {why}"),
        other => format!("{other:?}"),
    }
}

async fn outcome(spec: &ProbeSpec) -> String {
    text(&run(spec).await.0)
}

/// A peer that waits for half a second.
fn impatient(to: SocketAddr) -> ProbePeer {
    ProbePeer { connect_timeout: Duration::from_millis(500), ..ProbePeer::new(to) }
}

/// A server that calls `answer` with each connection.
async fn serve<F: Future<Output = ()> + Send + 'static>(
    answer: impl Fn(TcpStream) -> F + Send + 'static,
) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream));
        }
    });
    address
}

/// A server that reads a request up to an empty line, sends these octets and closes.
async fn serve_answer(answer: &[u8]) -> SocketAddr {
    let answer: Arc<[u8]> = answer.into();
    serve(move |mut stream| {
        let answer = answer.clone();
        async move {
            read_request(&mut stream).await;
            let _ = stream.write_all(&answer).await;
        }
    })
    .await
}

async fn read_request(stream: &mut (impl AsyncReadExt + Unpin)) -> String {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(octet) => request.push(octet),
            Err(_) => break,
        }
    }
    String::from_utf8(request).unwrap()
}

/// An address at which nobody listens.
async fn closed_port() -> SocketAddr {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap().local_addr().unwrap()
}

/// A listener whose queue is full: a handshake with it does not end.
async fn full_queue() -> (SocketAddr, impl Sized) {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
    socket.listen(0).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    let mut held = Vec::new();
    // The kernel takes one more than the queue has.
    for _ in 0..2 {
        let connected = tokio::time::timeout(Duration::from_millis(300), TcpStream::connect(address)).await;
        held.extend(connected.into_iter().flatten());
    }
    (address, (socket, held))
}
