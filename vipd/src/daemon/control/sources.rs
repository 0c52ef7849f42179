//! What the main thread hears while the engine runs.

use std::time::Duration;

use anyhow::Result;
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{Instant, Interval, MissedTickBehavior, interval, sleep_until},
};

use super::{
    super::{
        kept_files::FilesReport,
        messages::{DesiredHostStates, End, FenceRequest},
    },
    signals::Signals,
};
use crate::{control::PendingRequest, host::LinkEvents, notify::Notice};

/// How the engine thread has ended.
pub type EngineEnd = oneshot::Receiver<Result<End>>;

/// What the main thread hears while the engine runs.
#[derive(Debug)]
pub struct Sources {
    pub signals: Signals,
    pub links_rx: LinkEvents,
    pub commands_rx: mpsc::Receiver<PendingRequest>,
    pub host_states_rx: watch::Receiver<DesiredHostStates>,
    /// Changes of state.
    pub notices_rx: mpsc::UnboundedReceiver<Notice>,
    /// Masters that are to be fenced.
    pub fences_rx: mpsc::UnboundedReceiver<FenceRequest>,
    /// Files of the runtime directory that were put back, and for how long they were missing at most.
    pub files_rx: mpsc::Receiver<FilesReport>,
    pub end_rx: EngineEnd,
}

/// Fires in this period, or later.
pub fn ticks(period: Duration) -> Interval {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// Waits until then; for ever if there is no then.
pub async fn at(then: Option<Instant>) {
    match then {
        Some(then) => sleep_until(then).await,
        None => std::future::pending().await,
    }
}
