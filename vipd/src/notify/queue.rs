//! Bounded queues of notifications between tasks of one thread. A full queue drops outdated entries, counts them, and reports them as an
//! event.

use std::{cell::RefCell, collections::VecDeque, rc::Rc};

use tokio::{sync::Notify, time::Instant};

use crate::events::SAY_EVERY;

/// The sending end. Dropping it closes the queue; its entries are still delivered.
#[derive(Debug)]
pub struct Queue<T>(Rc<Shared<T>>);

/// The receiving end.
#[derive(Debug)]
pub struct Queued<T>(Rc<Shared<T>>);

#[derive(Debug)]
struct Shared<T> {
    state: RefCell<QueueState<T>>,
    /// A new entry, or the end.
    changed: Notify,
    limit: usize,
    /// Removes outdated entries, so that at most `limit` are left.
    thin: fn(&mut VecDeque<T>, usize),
    /// `scripts`, `fifo` or `mail`.
    to: &'static str,
    /// The instance, the group, the FIFO or the mail server.
    name: String,
}

#[derive(Debug)]
struct QueueState<T> {
    items: VecDeque<T>,
    closed: bool,
    /// Dropped since the last event.
    dropped: u64,
    said_at: Option<Instant>,
}

/// A queue of at most `limit`; `thin` removes outdated entries.
pub fn queue<T>(
    limit: usize,
    thin: fn(&mut VecDeque<T>, usize),
    to: &'static str,
    name: String,
) -> (Queue<T>, Queued<T>) {
    let state = QueueState { items: VecDeque::new(), closed: false, dropped: 0, said_at: None };
    let shared = Shared { state: RefCell::new(state), changed: Notify::new(), limit, thin, to, name };
    let shared = Rc::new(shared);
    (Queue(Rc::clone(&shared)), Queued(shared))
}

/// Removes the oldest.
pub fn drop_oldest<T>(items: &mut VecDeque<T>, limit: usize) {
    items.drain(..items.len().saturating_sub(limit));
}

impl<T> Queue<T> {
    /// Adds an entry. There is always room: older ones are dropped.
    pub fn push(&self, item: T) {
        let mut state = self.0.state.borrow_mut();
        state.items.push_back(item);
        if state.items.len() > self.0.limit {
            self.0.thin(&mut state);
            self.0.say(&mut state, false);
        }
        drop(state);
        self.0.changed.notify_one();
    }

    /// Takes the remaining entries without outdated ones, because little time is left.
    pub fn last(&self) -> VecDeque<T> {
        let mut state = self.0.state.borrow_mut();
        self.0.thin(&mut state);
        self.0.say(&mut state, true);
        std::mem::take(&mut state.items)
    }

    /// Closes the queue.
    pub fn close(&self) {
        self.0.state.borrow_mut().closed = true;
        self.0.changed.notify_one();
    }
}

impl<T> Drop for Queue<T> {
    fn drop(&mut self) {
        self.close();
    }
}

impl<T> Queued<T> {
    /// The next; `None` when the queue is empty and closed.
    pub async fn next(&mut self) -> Option<T> {
        loop {
            {
                let mut state = self.0.state.borrow_mut();
                let item = state.items.pop_front();
                let is_last = state.items.is_empty();
                self.0.say(&mut state, is_last);
                if item.is_some() || state.closed {
                    return item;
                }
            }
            self.0.changed.notified().await;
        }
    }
}

impl<T> Shared<T> {
    fn thin(&self, state: &mut QueueState<T>) {
        let before = state.items.len();
        (self.thin)(&mut state.items, self.limit);
        let dropped = before.saturating_sub(state.items.len());
        state.dropped += u64::try_from(dropped).unwrap_or(u64::MAX);
    }

    /// Reports dropped entries: the first time at once, then now and then, and at the end.
    fn say(&self, state: &mut QueueState<T>, is_over: bool) {
        let now = Instant::now();
        if state.dropped == 0 || !is_over && state.said_at.is_some_and(|at| now < at + SAY_EVERY) {
            return;
        }
        state.said_at = Some(now);
        let count = std::mem::take(&mut state.dropped);
        tracing::warn!(
            target: "vipd::event",
            event = "notify_skipped",
            to = self.to,
            name = self.name,
            count,
            "old notifications were dropped: new ones came faster than they could be delivered"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(future)
    }

    #[test]
    fn what_is_dropped_is_the_oldest_and_the_newest_is_read() {
        block_on(async {
            let (queue, mut queued) = queue(3, drop_oldest, "mail", "test".into());
            (0..10).for_each(|n| queue.push(n));
            drop(queue);
            let mut read = Vec::new();
            while let Some(n) = queued.next().await {
                read.push(n);
            }
            assert_eq!(read, [7, 8, 9]);
        });
    }

    #[test]
    fn a_reader_that_waits_is_woken() {
        block_on(async {
            let (queue, mut queued) = queue(3, drop_oldest, "mail", "test".into());
            let (read, ()) = tokio::join!(queued.next(), async { queue.push(1) });
            assert_eq!(read, Some(1));
            let (read, ()) = tokio::join!(queued.next(), async { queue.close() });
            assert_eq!(read, None);
        });
    }
}
