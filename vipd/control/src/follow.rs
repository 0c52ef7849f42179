//! A connection that follows the events.

use std::io;

use tokio::{
    io::{AsyncBufReadExt, BufReader},
    net::unix::{ReadHalf, WriteHalf},
};

use super::{Response, send};
use crate::events::{EventFilter, Journal};

/// Sends the kept events, then new ones, until the client sends another request or hangs up.
///
/// Only this task waits for a slow client; the next line tells the client how many events it has lost. A client that reads nothing
/// is dropped after [`super::ANSWER_TIMEOUT`].
pub(super) async fn follow(
    journal: &Journal,
    wanted: EventFilter,
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
                Some(batch) => {
                    let sent = send(&Response::Events(batch), write).await;
                    if sent.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::TimedOut) {
                        tracing::warn!(
                            target: "vipd::event",
                            event = "follower_dropped",
                            unread = followed.waiting(),
                            "closed the connection of a follower that reads no events"
                        );
                    }
                    sent?;
                }
                None => return Ok(()),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use tokio::{
        io::AsyncWriteExt,
        net::UnixStream,
        task::{LocalSet, spawn_local},
    };

    use super::*;
    use crate::events::{EventRange, Record};

    fn record() -> Record {
        let text = |text: &str| text.to_owned();
        let (level, event, message) = (text("INFO"), text("test"), text("it has happened"));
        Record { seq: 0, time_unix_ms: 1, level, event, message, fields: BTreeMap::new() }
    }

    /// A client that does not read delays nobody, and is told how many events it has missed; the request that it makes then
    /// is not swallowed.
    #[test]
    fn a_client_that_does_not_read_loses_events_and_is_told_how_many() {
        const EVENTS: u64 = 10_000;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        LocalSet::new().block_on(&runtime, async {
            let (mut server, client) = UnixStream::pair().unwrap();
            let journal = Journal::default();
            let its = journal.clone();
            let following = spawn_local(async move {
                let (read, mut write) = server.split();
                let mut read = BufReader::new(read);
                follow(&its, EventFilter::default(), &mut read, &mut write).await.unwrap();
                let mut next = String::new();
                read.read_line(&mut next).await.unwrap();
                next
            });
            for _ in 0..EVENTS {
                journal.add(record());
                // The follower has its turn after each.
                tokio::task::yield_now().await;
            }
            let mut client = BufReader::new(client);
            let (mut lost, mut seen, mut last) = (0, 0, 0);
            while last < EVENTS {
                let mut line = String::new();
                client.read_line(&mut line).await.unwrap();
                let Ok(Response::Events(EventRange { lost: missed, events })) = serde_json::from_str(&line)
                else {
                    panic!("{line}");
                };
                (lost, seen) = (lost + missed, seen + events.len() as u64);
                last = events.last().map_or(last, |event| event.seq);
            }
            assert_eq!(lost + seen, EVENTS);
            assert!(lost > 0 && seen > 1000, "{lost} lost, {seen} seen");
            client.write_all(b"the next\n").await.unwrap();
            assert_eq!(following.await.unwrap(), "the next\n");
        });
    }
}
