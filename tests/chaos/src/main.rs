//! `vipd-chaos`: runs seeds, and tells the story of those that break a promise.

#![allow(clippy::disallowed_methods, reason = "a run ends on the real clock")]

use std::{
    path::PathBuf,
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::Result;
use clap::Parser;
use vipd_chaos::{plan::Plan, report::Report, run};
use vipd_tests::require_lab;

/// Puts real daemons under random faults and judges what the wire shows by docs/invariants.md
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

/// Whether every promise was kept.
fn play(args: &Args) -> Result<bool> {
    let first = args.seed.unwrap_or(args.first);
    let count = match (args.seed, args.minutes) {
        (Some(_), _) => 1,
        (None, Some(_)) => u64::MAX - first,
        (None, None) => args.seeds,
    };
    if args.plan {
        (first..first.saturating_add(count)).take(100).for_each(|seed| println!("{}", Plan::of(seed)));
        return Ok(true);
    }
    anyhow::ensure!(require_lab().is_some(), "a chaos run needs network namespaces");
    let until = args.minutes.map(|minutes| Instant::now() + Duration::from_secs(60 * minutes));
    let mut report = Report::default();
    for seed in first..first.saturating_add(count) {
        if until.is_some_and(|until| Instant::now() >= until) {
            break;
        }
        let plan = Plan::of(seed);
        match run::run(&plan, &args.keep) {
            Ok(outcome) => {
                let bad = outcome.findings.iter().filter(|finding| finding.is_violation());
                let bad = bad.count() + outcome.wrong.len();
                println!("seed {seed}: {} faults, {} findings, {bad} violations", outcome.faults.len(), outcome.findings.len());
                if bad > 0 || args.seed.is_some() {
                    println!("{plan}\n\n{}", outcome.story);
                }
                if bad > 0 {
                    println!("logs: {}/seed-{seed}; replay: cargo xtask chaos --seed {seed}\n", args.keep.display());
                }
                report.add(seed, &outcome);
            }
            Err(error) => {
                println!("seed {seed}: {error:#}");
                report.broke(seed, &error);
            }
        }
    }
    println!("\n{report}");
    Ok(!report.is_violation())
}
