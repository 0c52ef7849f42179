//! `vipd-sim`: runs seeds, and tells the story of one that fails.

use std::{process::ExitCode, thread, time::Instant};

use clap::Parser;
use vipd_sim::{
    clock::Time,
    plan::Plan,
    runner::{self, Batch, Failure},
    world::World,
};

/// Simulates vipd clusters under faults and checks the invariants after every event
#[derive(Debug, Parser)]
#[command(bin_name = "cargo xtask sim")]
struct Args {
    /// How many seeds to run
    #[arg(long, default_value_t = 10_000)]
    seeds: u64,
    /// Run this seed alone, and tell what happens in it
    #[arg(long)]
    seed: Option<u64>,
    /// The first of many seeds
    #[arg(long, default_value_t = 0, conflicts_with = "seed")]
    first: u64,
    /// Run as many seeds as make so many simulated hours, instead of `--seeds`
    #[arg(long, conflicts_with_all = ["seed", "seeds"])]
    hours: Option<f64>,
    /// Clusters that take over early, by probes
    #[arg(long)]
    early: bool,
    /// Threads to run on; as many as there are cores unless given
    #[arg(long)]
    threads: Option<usize>,
    /// Go on after a failure, and list every seed that fails with what it broke
    #[arg(long, conflicts_with = "seed")]
    keep_going: bool,
    /// Lines of the story of a failure
    #[arg(long, default_value_t = 60)]
    lines: usize,
}

const HOUR: f64 = 3.6e12;

impl Args {
    fn plan(&self) -> fn(u64) -> Plan {
        if self.early { Plan::early } else { Plan::of }
    }
}

fn main() -> ExitCode {
    let args = Args::parse();
    match args.seed {
        Some(seed) => tell(args.plan()(seed), usize::MAX),
        None => run_many(&args),
    }
}

#[allow(clippy::disallowed_methods, reason = "the throughput is measured on the real clock")]
fn run_many(args: &Args) -> ExitCode {
    let begin = Instant::now();
    let threads = args.threads.unwrap_or_else(|| thread::available_parallelism().map_or(1, usize::from));
    let seeds = if args.hours.is_some() { u64::MAX } else { args.first.saturating_add(args.seeds) };
    let limit = args.hours.map(|hours| (hours * HOUR) as Time);
    let batch = Batch { seeds: args.first..seeds, simulated: limit, threads, keep_going: args.keep_going };
    let report = runner::run_batch(args.plan(), &batch, |seed, failure| match failure {
        Failure::Broken(violation) if args.keep_going => println!("seed {seed}: {violation}"),
        Failure::Panicked => println!("seed {seed}: the code under test panicked, see above"),
        Failure::Broken(_) => {}
    });
    let stats = &report.stats;
    let took = begin.elapsed().as_secs_f64();
    let hours = stats.simulated as f64 / HOUR;
    println!(
        "{} seeds: {hours:.1} simulated hours in {took:.1} s ({:.2} hours per second), {} events, {} adverts, {} takeovers",
        report.seeds,
        hours / took,
        stats.events,
        stats.adverts,
        stats.takeovers,
    );
    match report.failed {
        None => {
            println!("every invariant held");
            ExitCode::SUCCESS
        }
        Some(_) if args.keep_going => {
            println!("{} seeds failed", report.failures);
            ExitCode::FAILURE
        }
        Some((seed, _)) => {
            tell(args.plan()(seed), args.lines);
            let early = if args.early { " --early" } else { "" };
            println!("replay: cargo xtask sim --seed {seed}{early}");
            ExitCode::FAILURE
        }
    }
}

/// Runs one seed and prints the last `lines` of what happened.
fn tell(plan: Plan, lines: usize) -> ExitCode {
    let seed = plan.seed;
    println!("seed {seed}: {:#?}", plan.network);
    println!("groups {:?}, arbiter {}, heartbeat {}", plan.groups, plan.arbiter, plan.heartbeat);
    for (i, node) in plan.nodes.iter().enumerate() {
        println!(
            "node {i}: {:?}, {}, starts at {:.6}, {} ppm{}",
            node.kind,
            node.address,
            seconds(node.starts),
            node.ppm,
            node.probes.map_or(String::new(), |timing| format!(", probes {timing:?}")),
        );
        for (router, s) in node.instances.iter().enumerate() {
            println!(
                "  router {router}: {:?}, priority {}, every {:?}, {} adverts, preempt {} after {:?}, {:?}{}",
                s.version,
                s.priority,
                s.advert_interval,
                s.down_timer_adverts,
                s.preempt,
                s.preempt_delay,
                s.lease,
                if s.lower_prio_no_advert { ", no advert to a lower priority" } else { "" },
            );
        }
    }
    let mut world = World::new(plan, true);
    world.run();
    let log = world.log();
    for (at, text) in &log[log.len().saturating_sub(lines)..] {
        println!("{:14.6} {text}", seconds(*at));
    }
    match &world.violation {
        Some(violation) => {
            println!("seed {seed}: {violation}");
            ExitCode::FAILURE
        }
        None => {
            println!("seed {seed}: every invariant held");
            ExitCode::SUCCESS
        }
    }
}

fn seconds(at: Time) -> f64 {
    at as f64 / 1e9
}
