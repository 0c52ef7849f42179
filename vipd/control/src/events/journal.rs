//! The last events, and their followers. Lives on the main thread, in a task of its own.

use std::{cell::RefCell, collections::VecDeque, rc::Rc};

use tokio::sync::broadcast::{self, error::RecvError};

use super::{Batch, Collected, KEPT, Record, Wanted, Writer};

/// Most followers at once.
const FOLLOWERS: usize = 16;
/// Events that wait for a slow follower; older ones are dropped for it.
const WAITING: usize = 1024;

/// The journal; all users are on one thread.
#[derive(Clone, Debug)]
pub struct Journal(Rc<RefCell<Kept>>);

#[derive(Debug)]
struct Kept {
    records: VecDeque<Rc<Record>>,
    /// The number of the last.
    last: u64,
    news: broadcast::Sender<Rc<Record>>,
    /// Where they are written to disk, if anywhere.
    writer: Option<Writer>,
}

/// New events for one follower.
#[derive(Debug)]
pub struct Followed {
    wanted: Wanted,
    news: broadcast::Receiver<Rc<Record>>,
}

impl Default for Journal {
    fn default() -> Self {
        Self::new(Vec::new(), None)
    }
}

impl Journal {
    /// With the events of before, whose numbers go on; new ones go to `writer` too.
    pub fn new(before: Vec<Record>, writer: Option<Writer>) -> Self {
        let (news, _) = broadcast::channel(WAITING);
        let last = before.last().map_or(0, |last| last.seq);
        let records = before.into_iter().map(Rc::new).collect();
        Self(Rc::new(RefCell::new(Kept { records, last, news, writer })))
    }

    /// Keeps collected events, for ever. Aborted with the daemon.
    pub async fn keep(self, mut collected: Collected) {
        while let Some((record, lost)) = collected.next().await {
            self.add(record);
            if lost > 0 {
                tracing::warn!(
                    target: "vipd::event",
                    event = "events_lost",
                    count = lost,
                    "events were dropped: the queue to the journal was full"
                );
            }
        }
    }

    /// Numbers and keeps an event, and passes it to the followers.
    pub(crate) fn add(&self, record: Record) {
        let mut kept = self.0.borrow_mut();
        kept.last += 1;
        let record = Rc::new(Record { seq: kept.last, ..record });
        if let Some(writer) = &kept.writer {
            writer.write(&record);
        }
        if kept.records.len() >= KEPT {
            kept.records.pop_front();
        }
        kept.records.push_back(Rc::clone(&record));
        // Nobody may be following.
        let _ = kept.news.send(record);
    }

    /// The kept events that match.
    pub fn read(&self, wanted: &Wanted) -> Batch {
        let kept = self.0.borrow();
        let oldest = kept.records.front().map_or(kept.last + 1, |record| record.seq);
        let records = kept.records.iter().filter(|record| wanted.has(record));
        Batch {
            lost: wanted.since.map_or(0, |since| oldest.saturating_sub(since.saturating_add(1))),
            events: records.map(|record| Record::clone(record)).collect(),
        }
    }

    /// The same, and new events; `None` if there are too many followers.
    pub fn follow(&self, wanted: Wanted) -> Option<(Batch, Followed)> {
        let batch = self.read(&wanted);
        let kept = self.0.borrow();
        let news = (kept.news.receiver_count() < FOLLOWERS).then(|| kept.news.subscribe())?;
        // Their numbers go on from the batch's, whatever was asked for.
        Some((batch, Followed { wanted: Wanted { since: None, ..wanted }, news }))
    }
}

impl Followed {
    /// Events waiting, with those that were dropped.
    pub fn waiting(&self) -> usize {
        self.news.len()
    }

    /// The next event that matches, or the number of events that were dropped for this slow follower; `None` at the end.
    pub async fn next(&mut self) -> Option<Batch> {
        loop {
            match self.news.recv().await {
                Ok(record) if self.wanted.has(&record) => {
                    return Some(Batch { lost: 0, events: vec![Record::clone(&record)] });
                }
                Ok(_) => {}
                Err(RecvError::Lagged(lost)) => return Some(Batch { lost, events: Vec::new() }),
                Err(RecvError::Closed) => return None,
            }
        }
    }
}
