//! Many seeds, on every core, and what is to be said of the first that fails.

use std::{
    ops::Range,
    panic,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
};

use crate::{
    clock::Time,
    oracle::Violation,
    plan::Plan,
    world::{Stats, World},
};

/// How a seed ended.
#[derive(Clone, Debug)]
pub enum Outcome {
    Held(Stats),
    Broken(Violation),
    /// The code under test panicked.
    Panicked,
}

/// Runs one plan.
pub fn run(plan: Plan) -> Outcome {
    let result = panic::catch_unwind(|| {
        let mut world = World::new(plan, false);
        world.run();
        match world.violation {
            Some(violation) => Outcome::Broken(violation),
            None => Outcome::Held(world.stats),
        }
    });
    result.unwrap_or(Outcome::Panicked)
}

/// What came of many seeds.
#[derive(Clone, Debug, Default)]
pub struct Report {
    pub seeds: u64,
    pub stats: Stats,
    /// The least seed that failed, of those that were run.
    pub failed: Option<(u64, Failure)>,
    /// How many have.
    pub failures: u64,
}

/// Which seeds are run, and until when.
#[derive(Clone, Debug)]
pub struct Batch {
    pub seeds: Range<u64>,
    /// Enough simulated nanoseconds.
    pub simulated: Option<Time>,
    pub threads: usize,
    /// A seed that fails ends nothing.
    pub keep_going: bool,
}

#[derive(Clone, Debug)]
pub enum Failure {
    Broken(Violation),
    Panicked,
}

/// Runs seeds until one fails, or all are run, or so many simulated nanoseconds have passed.
pub fn run_all(seeds: Range<u64>, simulated: Option<Time>, threads: usize) -> Report {
    run_plans(Plan::of, seeds, simulated, threads)
}

/// The same of plans that are made of seeds in another way.
pub fn run_plans(
    plan: fn(u64) -> Plan,
    seeds: Range<u64>,
    simulated: Option<Time>,
    threads: usize,
) -> Report {
    run_batch(plan, &Batch { seeds, simulated, threads, keep_going: false }, |_, _| {})
}

/// Runs a batch, and tells of each failure when it is seen.
pub fn run_batch(plan: fn(u64) -> Plan, batch: &Batch, tell: impl Fn(u64, &Failure) + Sync) -> Report {
    let next = AtomicU64::new(batch.seeds.start);
    let enough = AtomicBool::new(false);
    let report = Mutex::new(Report::default());
    thread::scope(|scope| {
        for _ in 0..batch.threads.max(1) {
            scope.spawn(|| {
                while !enough.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= batch.seeds.end {
                        return;
                    }
                    let outcome = run(plan(seed));
                    let mut report = report.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                    report.seeds += 1;
                    let failure = match outcome {
                        Outcome::Held(stats) => {
                            report.stats += stats;
                            if batch.simulated.is_some_and(|limit| report.stats.simulated >= limit) {
                                enough.store(true, Ordering::Relaxed);
                            }
                            continue;
                        }
                        Outcome::Broken(violation) => Failure::Broken(violation),
                        Outcome::Panicked => Failure::Panicked,
                    };
                    tell(seed, &failure);
                    report.failures += 1;
                    if report.failed.as_ref().is_none_or(|(least, _)| seed < *least) {
                        report.failed = Some((seed, failure));
                    }
                    if !batch.keep_going {
                        enough.store(true, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    report.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner)
}
