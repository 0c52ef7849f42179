//! A connection that captures.

use std::io;

use tokio::{
    io::{AsyncBufReadExt, BufReader},
    net::unix::{ReadHalf, WriteHalf},
};

use super::Captures;
use crate::{Response, send};

/// Sends what is captured, until the client sends another request or hangs up; then the capture ends.
///
/// A client that reads slowly loses frames and is told how many; one that reads nothing is dropped after [`crate::ANSWER_TIMEOUT`].
pub async fn serve(
    captures: &Captures,
    read: &mut BufReader<ReadHalf<'_>>,
    write: &mut WriteHalf<'_>,
) -> io::Result<()> {
    let mut following = match captures.follow() {
        Ok(following) => following,
        Err(refused) => return send(&Response::Error { message: refused.to_string() }, write).await,
    };
    tracing::info!(target: "vipd::event", event = "capture_started", "a client captures adverts, ARP and ND");
    send(&Response::Capturing, write).await?;
    loop {
        tokio::select! {
            said = read.fill_buf() => return said.map(drop),
            batch = following.next() => match batch {
                Some(batch) => send(&Response::Captured(batch), write).await?,
                None => return Ok(()),
            },
        }
    }
}
