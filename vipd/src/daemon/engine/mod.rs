//! The engine thread: it owns the data plane's memory, the packet sockets and the election, and runs under SCHED_FIFO on a runtime
//! of its own.
//!
//! It never waits for anything but its own descriptors: the host's rules follow through a `watch` channel in which the latest state
//! wins, and status answers go out through one-shot channels. Nobody aborts it: it ends when the election has finished.

mod conflict_events;
mod conflicts;
mod deferred;
mod engine_loop;
mod events;
mod handover;
mod heartbeat;
mod instance;
mod io;
mod readiness;
mod realtime;
mod status;
mod timer;
mod windowed_minimum;
mod wire;

use std::thread::{self, JoinHandle};

use anyhow::{Context, Result};
use tokio::{runtime, sync::oneshot};

use self::engine_loop::EngineLoop;
pub use self::engine_loop::EngineParts;
use super::{messages::End, router::Router};

/// Starts the thread, with this real-time priority if it is one that is asked for. The channel says how the election has ended.
pub fn spawn(
    parts: EngineParts,
    priority: Option<u8>,
) -> Result<(JoinHandle<()>, oneshot::Receiver<Result<End>>)> {
    let (end_tx, end_rx) = oneshot::channel();
    let thread = thread::Builder::new().name("engine".into()).spawn(move || {
        let granted = realtime::request(priority);
        let short = |router: &&Router| !granted.real_time && router.is_short();
        for router in parts.routers.iter().map(|(router, _)| router).filter(short) {
            tracing::warn!(
                instance = router.name(),
                interval_ms = router.spec().advert_interval.as_millis(),
                "an advert interval this short needs real-time scheduling: expect false failovers under load"
            );
        }
        let result = runtime::Builder::new_current_thread()
            .enable_io()
            .build()
            .context("start the engine's runtime")
            .and_then(|runtime| runtime.block_on(async { EngineLoop::new(parts, granted)?.run().await }));
        // Nobody waits any more if the main thread has failed.
        let _ = end_tx.send(result);
    });
    Ok((thread.context("start the engine thread")?, end_rx))
}
