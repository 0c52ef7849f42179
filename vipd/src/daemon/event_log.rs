//! The journal of events and its file: which of two vipds writes it, and for how long.

use std::path::Path;

use crate::{
    capabilities,
    events::{Collected, Journal, Store},
};

/// Events are collected from the start of the process, and written once this vipd is the only one.
#[derive(Debug)]
pub struct EventLog<'l> {
    state_dir: &'l Path,
    collected: Option<Collected>,
    store: Option<Store>,
}

impl<'l> EventLog<'l> {
    pub fn new(state_dir: &'l Path, collected: Collected) -> Self {
        Self { state_dir, collected: Some(collected), store: None }
    }

    /// The journal with the events of before; a task of the current `LocalSet` keeps those that come. Without a place on disk it has
    /// none, and keeps its own for as long as vipd runs.
    pub fn begin(&mut self) -> Journal {
        let journal = self.open();
        if let Some(collected) = self.collected.take() {
            // Ends with the daemon's other tasks, when the runtime does.
            tokio::task::spawn_local(journal.clone().keep(collected));
        }
        journal
    }

    fn open(&mut self) -> Journal {
        // Without its capabilities the thread is no worse off.
        match Store::open(self.state_dir, || drop(capabilities::drop_all())) {
            Ok((before, store)) => {
                let journal = Journal::new(before, Some(store.writer()));
                self.store = Some(store);
                journal
            }
            Err(error) => {
                tracing::warn!(
                    target: "vipd::event",
                    event = "events_not_stored",
                    error = format!("{error:#}"),
                    "events cannot be stored: they do not outlive this vipd"
                );
                Journal::default()
            }
        }
    }

    /// Waits until the last events are on the disk. The journal's task has to have ended.
    pub fn finish(self) {
        if let Some(store) = self.store {
            store.finish();
        }
    }
}
