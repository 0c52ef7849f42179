//! HTTP_GET and SSL_GET: status, digest and regular expression of each URL.
//!
//! An answer ends where HTTP says. keepalived takes the octets of chunks for the body, and one that ends too soon for whole.

use std::{
    error::Error as _,
    future::poll_fn,
    io,
    pin::{Pin, pin},
    task::{Context, Poll, Waker, ready},
};

use hyper::{
    Error, Method, Request, Version,
    body::{Body, Incoming},
    client::conn::http1,
    header::{CONNECTION, HOST, USER_AGENT},
};
use hyper_util::rt::TokioIo;
use md5::{Digest, Md5};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use vipd_balance::{HttpProtocol, HttpUrl, ProbePeer, TlsSettings};

use super::Words;
use crate::{
    context::ProbeContext,
    fault::{ProbeFault, error_text},
    limits::KeptAnswer,
    net::ProbeStream,
};

pub(super) async fn check(
    peer: &ProbePeer,
    tls: Option<&TlsSettings>,
    protocol: HttpProtocol,
    head: bool,
    urls: &[HttpUrl],
    context: &ProbeContext,
) -> Result<Words, ProbeFault> {
    let (mut words, mut octets) = (String::new(), 0);
    for url in urls {
        let answer = get(peer, tls, protocol, head, url, context).await.map_err(|fault| match fault {
            ProbeFault::Failed(why) if urls.len() > 1 => ProbeFault::Failed(format!("{}: {why}", url.path)),
            fault => fault,
        })?;
        octets += answer.octets;
        words = format!("HTTP {}, {octets} octets", answer.status);
    }
    if urls.len() > 1 {
        words = format!("{} URLs, {octets} octets", urls.len());
    }
    Ok(words.into())
}

struct HttpAnswer {
    status: u16,
    octets: u64,
}

/// Gets one URL on a connection of its own, and judges the answer.
async fn get(
    peer: &ProbePeer,
    tls: Option<&TlsSettings>,
    protocol: HttpProtocol,
    head: bool,
    url: &HttpUrl,
    context: &ProbeContext,
) -> Result<HttpAnswer, ProbeFault> {
    let request =
        request(peer, protocol, head, url).map_err(|error| ProbeFault::not_sent(error.to_string()))?;
    let pattern = url.regex.as_ref().map(|pattern| context.patterns.get(pattern)).transpose();
    let pattern = pattern.map_err(|fault| ProbeFault::not_sent(fault.to_string()))?;
    let stream = context.tls.open(peer, tls).await?;
    let handshake = http1::Builder::new()
        .title_case_headers(true)
        .max_buf_size(HEADER_MOST)
        .max_headers(HEADERS_MOST)
        // As lenient as keepalived, which looks for the status and the length only.
        .allow_obsolete_multiline_headers_in_responses(true)
        .allow_spaces_after_header_name_in_responses(true)
        .ignore_invalid_headers_in_responses(true)
        .handshake(TokioIo::new(AnswerStream { stream, asked: false, reader: None }))
        .await;
    let (mut sender, connection) = handshake.map_err(|error| fault_of(&error))?;
    let exchange = async {
        let response = sender.send_request(request).await.map_err(|error| fault_of(&error))?;
        let status = response.status().as_u16();
        if !url.status.iter().any(|&(first, last)| (first..=last).contains(&status)) {
            return Err(ProbeFault::failed(format!("status {status}, expected {}", ranges(&url.status))));
        }
        let body = read_body(response.into_body(), url, pattern.is_some(), context).await?;
        if let Some(expected) = url.digest
            && body.digest != expected
        {
            let [got, expected] = [body.digest, expected].map(hex);
            return Err(ProbeFault::failed(format!("digest {got}, expected {expected}")));
        }
        if let Some(pattern) = pattern {
            let matches = pattern.matches(body.kept.octets(), url.regex_offsets);
            if matches == url.regex_no_match {
                let what = if matches { "matches" } else { "does not match" };
                let regex = url.regex.as_deref().unwrap_or_default();
                return Err(ProbeFault::failed(format!("the body {what} {regex:?}")));
            }
        }
        Ok(HttpAnswer { status, octets: body.octets })
    };
    // The connection's future moves the octets; its errors reach the exchange.
    let (mut connection, mut exchange) = (pin!(connection), pin!(exchange));
    tokio::select! {
        answer = &mut exchange => return answer,
        _ = &mut connection => {}
    }
    exchange.await
}

fn request(
    peer: &ProbePeer,
    protocol: HttpProtocol,
    head: bool,
    url: &HttpUrl,
) -> Result<Request<String>, hyper::http::Error> {
    let host = url.host.clone().unwrap_or_else(|| peer.to.to_string());
    let request = Request::builder()
        .method(if head { Method::HEAD } else { Method::GET })
        .uri(url.path.as_str())
        .header(USER_AGENT, "KeepAliveClient")
        .header(HOST, host);
    match protocol {
        HttpProtocol::V1_0 => request.version(Version::HTTP_10),
        HttpProtocol::V1_0Close => request.version(Version::HTTP_10).header(CONNECTION, "close"),
        HttpProtocol::V1_1 => request.version(Version::HTTP_11).header(CONNECTION, "close"),
    }
    .body(String::new())
}

/// Whether a URL can be asked for.
pub(crate) fn refusal(peer: &ProbePeer, url: &HttpUrl) -> Option<String> {
    if !url.path.starts_with('/') {
        return Some(format!("path {:?} does not start with /", url.path));
    }
    let error = request(peer, HttpProtocol::V1_0, false, url).err()?;
    Some(format!("path {:?} with virtualhost {:?}: {error}", url.path, url.host))
}

struct ReadBody<'a> {
    digest: [u8; 16],
    octets: u64,
    kept: KeptAnswer<'a>,
}

async fn read_body<'a>(
    mut body: Incoming,
    url: &HttpUrl,
    keep: bool,
    context: &'a ProbeContext,
) -> Result<ReadBody<'a>, ProbeFault> {
    let (mut md5, mut octets, mut kept) = (Md5::new(), 0_u64, KeptAnswer::new(&context.limits, MATCHED_MOST));
    let mut pieces = 0_u64;
    while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        let Ok(data) = frame.map_err(|error| fault_of(&error))?.into_data() else { continue };
        pieces += 1;
        if pieces > PIECES_MOST + octets / PIECE_LEAST {
            return Err(ProbeFault::failed(format!(
                "the body comes in pieces of less than {PIECE_LEAST} octets"
            )));
        }
        octets = octets.saturating_add(u64::try_from(data.len()).unwrap_or(u64::MAX));
        if keep {
            kept.push(&data)?;
        }
        if url.digest.is_some() {
            if octets > DIGEST_MOST {
                return Err(ProbeFault::failed(format!("the body is longer than {DIGEST_MOST} octets")));
            }
            md5.update(&data);
        } else if !keep && octets > UNREAD_MOST {
            break;
        }
    }
    Ok(ReadBody { digest: md5.finalize().into(), octets, kept })
}

/// Reads only after something was written: hyper has no use for a server that speaks first, and keepalived takes that for the answer.
struct AnswerStream {
    stream: ProbeStream,
    asked: bool,
    reader: Option<Waker>,
}

impl AsyncRead for AnswerStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.asked {
            self.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for AnswerStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, buf));
        self.asked = true;
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
        Poll::Ready(written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

fn fault_of(error: &Error) -> ProbeFault {
    if error.is_parse_too_large() {
        return ProbeFault::failed(format!("the header is longer than {HEADER_MOST} octets"));
    }
    if error.is_incomplete_message() {
        return ProbeFault::failed("the connection was closed before the answer was complete");
    }
    let source = error.source().and_then(|source| source.downcast_ref::<io::Error>());
    match source {
        Some(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            ProbeFault::failed("the connection was closed before the answer was complete")
        }
        Some(source) if source.raw_os_error().is_some() => ProbeFault::of_io(source),
        Some(source) => ProbeFault::failed(error_text(source)),
        None if error.is_parse() => ProbeFault::failed(format!("no answer of HTTP: {error}")),
        None => ProbeFault::failed(error.to_string()),
    }
}

fn hex(digest: [u8; 16]) -> String {
    digest.iter().map(|octet| format!("{octet:02x}")).collect()
}

fn ranges(ranges: &[(u16, u16)]) -> String {
    let range = |&(first, last): &(u16, u16)| {
        if first == last { first.to_string() } else { format!("{first}-{last}") }
    };
    ranges.iter().map(range).collect::<Vec<_>>().join(" ")
}

/// Most octets of a header, and of what is read at once. keepalived: 4,095.
const HEADER_MOST: usize = 16 * 1024;
/// Most lines of a header.
const HEADERS_MOST: usize = 256;
/// Most octets of a body that a regular expression is matched against.
const MATCHED_MOST: usize = 1 << 20;
/// Most octets of a body whose digest is judged.
const DIGEST_MOST: u64 = 64 << 20;
/// Pieces of a body that may be small: chunks of single octets cost a thousand times the work of greater ones.
const PIECES_MOST: u64 = 4096;
/// Octets that further ones have on average.
const PIECE_LEAST: u64 = 512;
/// Octets of a body that are read though nothing of it is judged; the rest is not waited for.
const UNREAD_MOST: u64 = 1 << 20;
