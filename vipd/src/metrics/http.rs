//! The part of HTTP/1.1 that a scrape and the status page need: GET and HEAD, one request a connection.
//!
//! Runs on the daemon's main thread. A slow or wrong connection costs only its own time and one of [`CONNECTIONS`]; a further
//! connection takes the place of the slowest.

use std::{convert::Infallible, os::fd::AsRawFd, time::Duration};

use hyper::{
    Method, Request, Response, StatusCode,
    body::Incoming,
    header::{ACCEPT, ALLOW, CONTENT_TYPE, HeaderValue, VARY},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::{mpsc, oneshot},
    task::spawn_local,
    time::timeout,
};

use super::{format::Format, listen::Listener, page, process::ProcessMetrics, text};
use crate::{
    control::{PendingRequest, model::Status},
    places::{ClientSlot, ClientSlots},
};

/// Connections at once. Each may hold an answer that its client is slow to read.
const CONNECTIONS: usize = 32;
/// A client has this long to send its request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// The daemon has this long to answer: less than Prometheus waits by default.
const STATUS_TIMEOUT: Duration = Duration::from_secs(5);
/// A connection may last this long in all.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(20);
/// Minimum of hyper; a scraper's headers have a tenth of it.
const BUFFER_BYTES: usize = 8192;

/// Answers scrapes for ever. Aborted with the daemon; a connection cut short loses an answer, nothing else.
pub async fn serve(listener: Listener, commands: mpsc::Sender<PendingRequest>) {
    let places = ClientSlots::new("metrics", CONNECTIONS);
    loop {
        let accepted = match &listener {
            Listener::Tcp(listener) => {
                listener.accept().await.map(|(stream, _)| begin(stream, &places, &commands))
            }
            Listener::Unix(listener, _) => {
                listener.accept().await.map(|(stream, _)| begin(stream, &places, &commands))
            }
        };
        // Whose place it was closes its connection before the next is accepted.
        tokio::task::yield_now().await;
        if let Err(error) = accepted {
            // Out of descriptors, say; accepting at once again would spin.
            tracing::warn!(%error, "metrics connection not accepted");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

/// Serves a client, or closes its connection if there is no place for it; `places` says so.
fn begin(
    stream: impl AsyncRead + AsyncWrite + AsRawFd + Unpin + 'static,
    places: &ClientSlots,
    commands: &mpsc::Sender<PendingRequest>,
) {
    if let Ok(place) = places.take(&stream) {
        spawn_local(connection(stream, commands.clone(), place));
    }
}

/// Serves one request; the place is free again afterwards.
async fn connection(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    commands: mpsc::Sender<PendingRequest>,
    place: ClientSlot,
) {
    let connection = http1::Builder::new()
        .keep_alive(false)
        .timer(TokioTimer::new())
        .header_read_timeout(REQUEST_TIMEOUT)
        .max_buf_size(BUFFER_BYTES)
        .serve_connection(
            TokioIo::new(stream),
            service_fn(async |request| {
                place.is_served();
                let answer = answer(&request, &commands).await;
                // To read it.
                place.is_waited_for();
                Ok::<_, Infallible>(answer)
            }),
        );
    tokio::select! {
        served = timeout(CONNECTION_TIMEOUT, connection) => match served {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "a metrics connection ended early"),
            Err(_) => tracing::debug!("a metrics connection took too long"),
        },
        () = place.given_up() => tracing::debug!("closed a slow metrics connection to make room for another"),
    }
}

async fn answer(request: &Request<Incoming>, commands: &mpsc::Sender<PendingRequest>) -> Response<String> {
    let path = request.uri().path();
    let file = page::file(path);
    if file.is_none() && !matches!(path, "/metrics" | "/page.json") {
        return plain(StatusCode::NOT_FOUND, "the metrics are at /metrics, the status page is at /\n");
    }
    // hyper sends the head of an answer to HEAD only, with the length that the body would have.
    if request.method() != Method::GET && request.method() != Method::HEAD {
        let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD are served\n");
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    if let Some((content_type, text)) = file {
        return of_page(content_type, text.to_owned());
    }
    match timeout(STATUS_TIMEOUT, status(commands)).await {
        Ok(Some(status)) if path == "/page.json" => of_page("application/json", page::data(&status)),
        Ok(Some(status)) => metrics(request, &status),
        Ok(None) => plain(StatusCode::SERVICE_UNAVAILABLE, "vipd is stopping\n"),
        Err(_) => plain(StatusCode::SERVICE_UNAVAILABLE, "vipd does not answer\n"),
    }
}

fn metrics(request: &Request<Incoming>, status: &Status) -> Response<String> {
    let accept = request.headers().get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let format = Format::accepted(accept);
    let text = text::encode(format, status, &ProcessMetrics::of_self());
    let mut response = respond(StatusCode::OK, format.content_type(), text);
    response.headers_mut().insert(VARY, HeaderValue::from_static("Accept"));
    response
}

fn of_page(content_type: &'static str, text: String) -> Response<String> {
    let mut response = respond(StatusCode::OK, content_type, text);
    page::secure(response.headers_mut());
    response
}

/// Asks the daemon; `None` if it is ending.
async fn status(commands: &mpsc::Sender<PendingRequest>) -> Option<Status> {
    let (reply, status) = oneshot::channel();
    commands.send(PendingRequest::Status(reply)).await.ok()?;
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
