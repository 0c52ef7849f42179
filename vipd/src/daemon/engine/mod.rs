//! The engine thread: it owns the data plane's memory, the packet sockets and the election, and runs under SCHED_FIFO on a runtime
//! of its own.
//!
//! It never waits for anything but its own descriptors: the host's rules follow through a `watch` channel in which the latest state
//! wins, and status answers go out through one-shot channels. Nobody aborts it: it ends when the election has finished.

mod claim_events;
mod conflict_events;
mod conflicts;
mod deferred;
mod engine_loop;
mod events;
mod handover;
mod heartbeat;
mod instance;
mod io;
mod probes;
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
pub use self::realtime::{Urgent, rank_below, schedule_bfd};
pub use self::timer::Timer;
use super::messages::End;

/// How the election has ended, when it has.
type EndRx = oneshot::Receiver<Result<End>>;

/// The thread, scheduled and with its memory locked, before there is anything to do for it.
#[derive(Debug)]
pub struct Waiting {
    thread: JoinHandle<()>,
    parts_tx: oneshot::Sender<EngineParts>,
    end_rx: EndRx,
}

impl Waiting {
    /// Has it begin the election. The channel says how that has ended.
    pub fn start(self, parts: EngineParts) -> (JoinHandle<()>, EndRx) {
        // A thread that has ended says so at its end.
        let _ = self.parts_tx.send(parts);
        (self.thread, self.end_rx)
    }
}

/// Makes the thread, with this real-time priority if it is one that is asked for.
pub fn spawn(priority: Option<u8>) -> Result<Waiting> {
    let (end_tx, end_rx) = oneshot::channel();
    let (parts_tx, parts_rx) = oneshot::channel();
    let thread = thread::Builder::new().name("engine".into()).spawn(move || {
        let granted = realtime::request(priority);
        let runtime = runtime::Builder::new_current_thread().enable_io().build();
        // There is nothing to do if the main thread has failed.
        let Ok(parts) = parts_rx.blocking_recv() else { return };
        let result = runtime.context("start the engine's runtime").and_then(|runtime| {
            let engine = runtime.block_on(async { EngineLoop::new(parts, granted) })?;
            runtime.block_on(engine.run())
        });
        // Nobody waits any more if the main thread has failed.
        let _ = end_tx.send(result);
    });
    Ok(Waiting { thread: thread.context("start the engine thread")?, parts_tx, end_rx })
}
