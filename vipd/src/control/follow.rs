//! A connection that follows the events.

use std::io;

use tokio::{
    io::{AsyncBufReadExt, BufReader},
    net::unix::{ReadHalf, WriteHalf},
};

use super::{Response, send};
use crate::events::{Journal, Wanted};

/// Sends what there is, then what happens, until the client says something else or hangs up.
///
/// A client that reads slowly is waited for here, by nobody else; what it has lost meanwhile is counted in the next line.
pub(super) async fn follow(
    journal: &Journal,
    wanted: Wanted,
    read: &mut BufReader<ReadHalf<'_>>,
    write: &mut WriteHalf<'_>,
) -> io::Result<()> {
    let Some((batch, mut followed)) = journal.follow(wanted) else {
        return send(&Response::Error { message: "too many follow the events already".into() }, write).await;
    };
    send(&Response::Events(batch), write).await?;
    loop {
        tokio::select! {
            said = read.fill_buf() => return said.map(drop),
            batch = followed.next() => match batch {
                Some(batch) => send(&Response::Events(batch), write).await?,
                None => return Ok(()),
            },
        }
    }
}
