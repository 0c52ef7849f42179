//! vipd's TEXT_CHECK: connect, send, match what comes.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};
use vipd_balance::{ProbePeer, TlsSettings};

use super::Words;
use crate::{
    context::ProbeContext,
    fault::{ProbeFault, seconds},
    limits::KeptAnswer,
    net,
    pattern::AnswerPattern,
};

pub(super) async fn check(
    peer: &ProbePeer,
    udp: bool,
    tls: Option<&TlsSettings>,
    send: &[u8],
    expect: Option<&str>,
    context: &ProbeContext,
) -> Result<Words, ProbeFault> {
    let pattern = expect.map(|expect| context.patterns.get(expect)).transpose();
    let pattern = pattern.map_err(|fault| ProbeFault::not_sent(fault.to_string()))?;
    let pattern = pattern.as_deref();
    if udp {
        by_datagram(peer, send, pattern).await
    } else {
        by_stream(peer, tls, send, pattern, context).await
    }
}

/// Matches after each read, against all that has come so far: `$` may match before the rest comes.
async fn by_stream(
    peer: &ProbePeer,
    tls: Option<&TlsSettings>,
    send: &[u8],
    pattern: Option<&AnswerPattern>,
    context: &ProbeContext,
) -> Result<Words, ProbeFault> {
    let mut stream = context.tls.open(peer, tls).await?;
    let sent = async {
        stream.write_all(send).await?;
        stream.flush().await
    };
    sent.await.map_err(|error| ProbeFault::of_io(&error))?;
    let mut kept = KeptAnswer::new(&context.limits, ANSWER_MOST);
    let mut buffer = [0; READ_OCTETS];
    loop {
        let length = match stream.read(&mut buffer).await {
            Ok(length) => length,
            Err(error) if kept.octets().is_empty() => return Err(ProbeFault::of_io(&error)),
            Err(_) => return Err(unmatched(kept.octets())),
        };
        if length == 0 {
            return Err(match kept.octets() {
                [] => ProbeFault::failed("the connection was closed without an answer"),
                answer => unmatched(answer),
            });
        }
        kept.push(&buffer[..length])?;
        if pattern.is_none_or(|pattern| pattern.matches(kept.octets(), (0, None))) {
            return Ok(shown(kept.octets()).into());
        }
    }
}

/// The first datagram decides.
async fn by_datagram(
    peer: &ProbePeer,
    send: &[u8],
    pattern: Option<&AnswerPattern>,
) -> Result<Words, ProbeFault> {
    let socket = net::datagram(peer)?;
    socket.send(send).await.map_err(|error| ProbeFault::of_io(&error))?;
    let mut answer = vec![0; ANSWER_MOST];
    let length = match timeout(peer.connect_timeout, socket.recv(&mut answer)).await {
        Ok(received) => received.map_err(|error| ProbeFault::of_io(&error))?,
        Err(_) => {
            return Err(ProbeFault::failed(format!("no answer within {}", seconds(peer.connect_timeout))));
        }
    };
    let answer = &answer[..length];
    if pattern.is_none_or(|pattern| pattern.matches(answer, (0, None))) {
        return Ok(shown(answer).into());
    }
    Err(unmatched(answer))
}

fn unmatched(answer: &[u8]) -> ProbeFault {
    ProbeFault::failed(format!("the answer does not match: {}", shown(answer)))
}

/// The start of an answer, in ASCII.
fn shown(answer: &[u8]) -> String {
    format!("{} octets: \"{}\"", answer.len(), answer[..answer.len().min(SHOWN_MOST)].escape_ascii())
}

/// Most octets of an answer: each read is matched anew, so that a drip of single octets costs the square of this.
const ANSWER_MOST: usize = 16 * 1024;
const READ_OCTETS: usize = 2048;
const SHOWN_MOST: usize = 64;
