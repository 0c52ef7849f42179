//! When the machine itself stood still: a thread on each processor, with the priority of vipd's engine, that sleeps and
//! looks how late it was woken.
//!
//! What vipd does while its processor does not run is nobody's fault, and an interval may be longer by so much.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context, Result};
use nix::{
    sched::{CpuSet, sched_setaffinity},
    unistd::Pid,
};

use super::Stall;
use crate::clock::{Clock, MILLI};

#[derive(Debug)]
pub struct Monitor {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Vec<Stall>>>,
}

impl Monitor {
    pub fn start(clock: Clock) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let processors = thread::available_parallelism().map_or(1, usize::from);
        let threads = (0..processors).map(|cpu| {
            let stop = stop.clone();
            thread::Builder::new().name(format!("stalls-{cpu}")).spawn(move || look(clock, cpu, &stop))
        });
        let threads = threads.collect::<std::io::Result<_>>().context("cannot start a thread")?;
        Ok(Self { stop, threads })
    }

    pub fn stop(self) -> Result<Vec<Stall>> {
        self.stop.store(true, Ordering::Relaxed);
        let stalls = self.threads.into_iter().map(JoinHandle::join);
        let stalls =
            stalls.collect::<Result<Vec<_>, _>>().map_err(|_| anyhow::anyhow!("a thread panicked"))?;
        Ok(stalls.concat())
    }
}

/// Asks for SCHED_FIFO for this thread; without the right to it the thread stays as it is.
pub fn real_time(priority: i32) {
    let parameters = libc::sched_param { sched_priority: priority };
    // SAFETY: 0 is the calling thread, and the pointer is valid for the call.
    let _ = unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const parameters) };
}

fn look(clock: Clock, cpu: usize, stop: &AtomicBool) -> Vec<Stall> {
    let mut cpus = CpuSet::new();
    // Not allowed on that processor: then on any.
    let _ = cpus.set(cpu).and_then(|()| sched_setaffinity(Pid::from_raw(0), &cpus));
    real_time(ENGINE_PRIORITY);
    let mut stalls: Vec<Stall> = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let before = clock.now();
        thread::sleep(PERIOD);
        let now = clock.now();
        if now - before > LATE && stalls.len() < MAX {
            stalls.push(Stall { from: before, to: now });
        }
    }
    stalls
}

/// That of vipd's engine thread.
const ENGINE_PRIORITY: i32 = 51;
const PERIOD: Duration = Duration::from_millis(2);
const LATE: u64 = 4 * MILLI;
const MAX: usize = 100_000;
