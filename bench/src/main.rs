//! `vipd-bench`: what vipd, keepalived and FRR do in the same situations, in the same lab, one after the other.
//!
//! Nothing here passes or fails: the figures go to `target/bench/`, medians with their spread; `bench/results.md` is the run that the documentation quotes.

#![allow(clippy::disallowed_methods, reason = "a bench measures")]

mod adversary;
mod arp;
mod balancing;
mod balancing_failover;
mod cpu;
mod detection;
mod false_alarms;
mod filter;
mod flood;
mod frames;
mod load;
mod node_traffic;
mod outage;
mod ping;
mod probe_cpu;
mod report;
mod routers;
mod rtnl;
mod scale;
mod start;
mod stress;
mod takeovers;
mod traffic;
mod versions;
mod wire;
mod witness;
mod xdp_cost;

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Parser, ValueEnum};

use report::Report;

/// Measures vipd beside keepalived and FRR
#[derive(Debug, Parser)]
#[command(bin_name = "cargo xtask bench")]
struct Args {
    /// What to measure; everything if nothing is named
    parts: Vec<Part>,
    #[command(flatten)]
    options: Options,
    /// Where to write results.json, results.md and the plots
    #[arg(long, default_value = "target/bench")]
    out: PathBuf,
    /// Add to the values that are there of an earlier run, instead of replacing them: for a machine that is quiet for minutes only
    #[arg(long)]
    add: bool,
}

#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// How often to repeat each measurement
    #[arg(long, default_value_t = 10)]
    pub runs: usize,
    /// How long to watch for false failovers, in seconds
    #[arg(long, default_value_t = 600)]
    pub watch: u64,
    /// Advert intervals, in milliseconds
    #[arg(long, value_delimiter = ',', default_values_t = [1000, 100, 10])]
    pub intervals: Vec<u64>,
    /// Another vipd, an earlier one, to measure in turns with this one: for `owner-routes` and `node-traffic`
    #[arg(long, value_name = "VIPD")]
    pub before: Option<PathBuf>,
    /// Numbers of VIPs for `owner-routes`
    #[arg(long, value_delimiter = ',', default_values_t = [1, 64, 1_000, 10_000])]
    pub vips: Vec<u32>,
    /// The advert interval for `owner-routes`, in milliseconds
    #[arg(long, default_value_t = 200)]
    pub advert: u64,
    /// How often the client of `owner-routes` asks for each VIP, in microseconds: an emulated machine cannot as often
    #[arg(long, default_value_t = 250)]
    pub ask_every: u64,
    /// What `detection` does to a pair; everything if nothing is named
    #[arg(long, value_delimiter = ',')]
    pub faults: Vec<detection::Fault>,
    /// Who is measured by `detection`; everybody if nobody is named
    #[arg(long, value_delimiter = ',')]
    pub contenders: Vec<detection::Contender>,
    /// Virtual routers of the pair in `detection`
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..))]
    pub routers: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// What a client sees of kill -9, SIGTERM, SIGSTOP, a cut link, a partition, and the return; and for how long two answer
    Outage,
    /// Takeover, start and memory by the number of VIPs
    Scale,
    /// A start by its parts, and for how long adverts stop with a restart and a replacement
    Start,
    /// How soon the death of a master's host, link or daemon is seen, at adverts of a second
    Detection,
    /// CPU time and wake-ups of the daemons by the number of virtual routers
    Cpu,
    /// CPU time of the threads of a master and a backup that probe, by the number of backups and of virtual routers
    ProbeCpu,
    /// Takeovers with nothing wrong but that the machine is busy, one watch for each load
    FalseFailovers,
    /// Hosts that are taken for dead while their machine is busy: probes and BFD, one watch for each load
    FalseAlarms,
    /// What a stranger's floods do to a pair in service
    Adversary,
    /// The XDP program's time per frame
    XdpCost,
    /// ARP and NS answers per second and the share answered, beside the kernel's own
    ArpRate,
    /// TCP and UDP throughput with and without vipd in front
    Traffic,
    /// Takeovers by the number of VIPs, prepared and not, with an idle and a busy rtnl lock; two versions with --before
    OwnerRoutes,
    /// TCP and UDP to a node, to its VIP and through it, as a master and as a backup; two versions with --before
    NodeTraffic,
    /// Load balancing: the removal of many servers, a reload under load; only if it is named, as it needs IPVS
    Balancing,
    /// Load balancing: connections that go on when a director is lost; only if it is named, as it needs IPVS
    BalancingFailover,
}

impl Part {
    fn needs_ipvs(self) -> bool {
        matches!(self, Self::Balancing | Self::BalancingFailover)
    }
}

fn main() -> Result<()> {
    let args = Args::parse();
    let usual = || Part::value_variants().iter().copied().filter(|part| !part.needs_ipvs()).collect();
    let parts: Vec<Part> = if args.parts.is_empty() { usual() } else { args.parts.clone() };
    let mut report = Report::new();
    if args.add {
        report.go_on(&args.out)?;
    }
    for part in parts {
        match part {
            Part::Outage => outage::run(&args.options, &mut report),
            Part::Scale => scale::run(&args.options, &mut report),
            Part::Start => start::run(&args.options, &mut report),
            Part::Detection => detection::run(&args.options, &mut report),
            Part::Cpu => cpu::run(&args.options, &mut report),
            Part::ProbeCpu => probe_cpu::run(&args.options, &mut report),
            Part::FalseAlarms => false_alarms::run(&args.options, &mut report),
            Part::FalseFailovers => stress::run(&args.options, &mut report),
            Part::Adversary => adversary::run(&args.options, &mut report),
            Part::XdpCost => xdp_cost::run(&mut report),
            Part::ArpRate => arp::run(&args.options, &mut report),
            Part::Traffic => traffic::run(&args.options, &mut report),
            Part::OwnerRoutes => takeovers::run(&args.options, &mut report),
            Part::NodeTraffic => node_traffic::run(&args.options, &mut report),
            Part::Balancing => balancing::run(&args.options, &mut report),
            Part::BalancingFailover => balancing_failover::run(&args.options, &mut report),
        }
        .with_context(|| format!("{part:?}"))?;
        // After each part, so that an end in the middle loses little.
        report.write(&args.out)?;
    }
    println!("{}", report.markdown());
    Ok(())
}
