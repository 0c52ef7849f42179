//! `vipd-chaos`: runs seeds, and tells the story of those that break a promise.

#![allow(clippy::disallowed_methods, reason = "a run ends on the real clock")]

use std::{
    path::PathBuf,
    process::ExitCode,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use clap::Parser;
use vipd_chaos::{
    plan::Plan,
    report::Report,
    run::{self, Outcome},
};
use vipd_tests::require_lab;

/// Puts real daemons under random faults and judges what the wire shows by docs/internals/invariants.md
#[derive(Debug, Parser)]
#[command(bin_name = "cargo xtask chaos")]
struct Args {
    /// How many seeds to run; each takes about a minute
    #[arg(long, default_value_t = 10)]
    seeds: u64,
    /// Run seeds for so many minutes, instead of `--seeds`
    #[arg(long, conflicts_with_all = ["seed", "seeds"])]
    minutes: Option<u64>,
    /// Run the schedule of this seed alone, and tell all of it
    #[arg(long)]
    seed: Option<u64>,
    /// The first of many seeds
    #[arg(long, default_value_t = 0, conflicts_with = "seed")]
    first: u64,
    /// How many clusters run at once: they mostly sleep, and each measures when the machine stands still
    #[arg(long, default_value_t = 1)]
    labs: u64,
    /// Keep processors busy too, also before vipd: on a machine that nobody else uses
    #[arg(long)]
    hogs: bool,
    /// Print the schedule, and run nothing
    #[arg(long)]
    plan: bool,
    /// Where the logs of seeds with a violation go, each in a directory of its own
    #[arg(long, default_value = "target/chaos")]
    keep: PathBuf,
}

fn main() -> ExitCode {
    match play(&Args::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

impl Args {
    fn plan_of(&self, seed: u64) -> Plan {
        let plan = Plan::of(seed);
        if self.hogs { plan } else { plan.without_hogs() }
    }
}

/// Whether every promise was kept.
fn play(args: &Args) -> Result<bool> {
    let first = args.seed.unwrap_or(args.first);
    let count = match (args.seed, args.minutes) {
        (Some(_), _) => 1,
        (None, Some(_)) => u64::MAX - first,
        (None, None) => args.seeds,
    };
    let end = first.saturating_add(count);
    if args.plan {
        (first..end).take(100).for_each(|seed| println!("{}", args.plan_of(seed)));
        return Ok(true);
    }
    ensure!(require_lab().is_some(), "a chaos run needs network namespaces");
    let until = args.minutes.map(|minutes| Instant::now() + Duration::from_secs(60 * minutes));
    let (next, report) = (AtomicU64::new(first), Mutex::new(Report::default()));
    thread::scope(|scope| {
        for _ in 0..args.labs.min(count) {
            scope.spawn(|| {
                while until.is_none_or(|until| Instant::now() < until) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end {
                        break;
                    }
                    let outcome = run::run(&args.plan_of(seed), &args.keep);
                    tell(args, seed, &outcome, &mut report.lock().unwrap_or_else(PoisonError::into_inner));
                }
            });
        }
    });
    let report = report.into_inner().unwrap_or_else(PoisonError::into_inner);
    println!("\n{report}");
    Ok(!report.is_violation())
}

/// Prints what a seed has shown: a line, or all of it if a promise was broken.
fn tell(args: &Args, seed: u64, outcome: &Result<Outcome>, report: &mut Report) {
    let keep = args.keep.display();
    let hogs = if args.hogs { " --hogs" } else { "" };
    match outcome {
        Ok(outcome) => {
            let bad = outcome.violations();
            let (faults, findings) = (outcome.faults.len(), outcome.findings.len());
            println!("seed {seed}: {faults} faults, {findings} findings, {} violations", bad.len());
            if args.seed.is_some() || !bad.is_empty() {
                println!("{}\n\n{}", args.plan_of(seed), outcome.story);
            }
            if !bad.is_empty() {
                bad.iter().for_each(|what| println!("  {what}"));
                println!("logs: {keep}/seed-{seed}; replay: cargo xtask chaos --seed {seed}{hogs}\n");
            }
            report.add(seed, outcome);
        }
        Err(error) => {
            println!("seed {seed}: {error:#}\nlogs: {keep}/seed-{seed}");
            report.broke(seed, error);
        }
    }
}
