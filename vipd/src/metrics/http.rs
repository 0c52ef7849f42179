//! HTTP/1.1, as little of it as a scrape takes: GET /metrics, one request a connection.
//!
//! Runs on the daemon's main thread. A connection that is slow, or asks for anything else, costs its own time and one of
//! [`CONNECTIONS`]; further ones wait in the kernel's queue.

use std::{convert::Infallible, sync::Arc, time::Duration};

use hyper::{
    Method, Request, Response, StatusCode,
    body::Incoming,
    header::{ALLOW, CONTENT_TYPE, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot},
    task::spawn_local,
    time::timeout,
};

use super::{Listener, text};
use crate::control::{Command, model::Status};

/// Connections at once.
const CONNECTIONS: usize = 4;
/// A client has this long to send its request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// The daemon has this long to answer: less than Prometheus waits by default.
const STATUS_TIMEOUT: Duration = Duration::from_secs(5);
/// A connection may last this long in all.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(20);
/// The least that hyper takes; a scraper's headers are a tenth of it.
const BUFFER_BYTES: usize = 8192;

/// Answers scrapes for ever. Aborted with the daemon; a connection cut short loses an answer, nothing else.
pub async fn serve(listener: Listener, commands: mpsc::Sender<Command>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let place = Arc::clone(&places).acquire_owned().await.expect("the semaphore is never closed");
        let commands = commands.clone();
        let accepted = match &listener {
            Listener::Tcp(listener) => {
                listener.accept().await.map(|(stream, _)| spawn_local(connection(stream, commands, place)))
            }
            Listener::Unix(listener, _) => {
                listener.accept().await.map(|(stream, _)| spawn_local(connection(stream, commands, place)))
            }
        };
        if let Err(error) = accepted {
            // Out of descriptors, say; accepting at once again would spin.
            tracing::warn!(%error, "metrics connection not accepted");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

/// Serves one request; the place is free again afterwards.
async fn connection(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    commands: mpsc::Sender<Command>,
    _place: OwnedSemaphorePermit,
) {
    let connection = http1::Builder::new()
        .keep_alive(false)
        .timer(TokioTimer::new())
        .header_read_timeout(REQUEST_TIMEOUT)
        .max_buf_size(BUFFER_BYTES)
        .serve_connection(
            TokioIo::new(stream),
            service_fn(async |request| Ok::<_, Infallible>(answer(&request, &commands).await)),
        );
    match timeout(CONNECTION_TIMEOUT, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a metrics connection ended early"),
        Err(_) => tracing::debug!("a metrics connection took too long"),
    }
}

async fn answer(request: &Request<Incoming>, commands: &mpsc::Sender<Command>) -> Response<String> {
    if request.uri().path() != "/metrics" {
        return plain(StatusCode::NOT_FOUND, "the metrics are at /metrics\n");
    }
    if request.method() != Method::GET {
        let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "only GET is served\n");
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET"));
        return response;
    }
    match timeout(STATUS_TIMEOUT, status(commands)).await {
        Ok(Some(status)) => respond(StatusCode::OK, text::CONTENT_TYPE, text::encode(status)),
        Ok(None) => plain(StatusCode::SERVICE_UNAVAILABLE, "vipd is stopping\n"),
        Err(_) => plain(StatusCode::SERVICE_UNAVAILABLE, "vipd does not answer\n"),
    }
}

/// Asks the daemon; `None` if it is ending.
async fn status(commands: &mpsc::Sender<Command>) -> Option<Status> {
    let (reply, status) = oneshot::channel();
    commands.send(Command::Status(reply)).await.ok()?;
    status.await.ok()
}

fn plain(status: StatusCode, text: &str) -> Response<String> {
    respond(status, "text/plain; charset=utf-8", text.to_owned())
}

fn respond(status: StatusCode, content_type: &'static str, body: String) -> Response<String> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
