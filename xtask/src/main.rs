//! `cargo xtask`: everything one does with this repository, in commands that need nothing but cargo.

#![allow(
    clippy::disallowed_methods,
    reason = "the ban keeps clocks out of the daemon's pure core; this is a tool"
)]

mod bench;
mod chaos;
mod demo;
mod dist;
mod ebpf;
mod fuzz;
mod guest;
mod lab;
mod scene;
mod setup;
mod sh;
mod sim;
mod test;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// vipd's build, test and lab commands.
#[derive(Debug, Parser)]
#[command(bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make this Debian 12 machine ready to build, test and run labs; does nothing twice
    Setup,
    /// Build the XDP object that vipd embeds, with whichever compiler for BPF is present
    BuildEbpf,
    /// Set up, build and run every test
    Test(test::Args),
    /// Check formatting and lints, then do what `test` does
    Ci,
    /// Simulate clusters under faults, and check the invariants after every event
    Sim(sim::Args),
    /// Put real daemons under random faults, and judge what the wire shows by docs/internals/invariants.md
    Chaos(chaos::Args),
    /// Look for inputs that break a property of vipd, with libFuzzer
    Fuzz(fuzz::Args),
    /// Boot Debian's kernels in qemu (no hardware virtualisation needed) and run tests inside
    Guest(guest::Args),
    /// Measure vipd beside keepalived and FRR; the figures go to target/bench
    Bench(bench::Args),
    /// Two vipd nodes and a client to play with, in network namespaces
    #[command(subcommand)]
    Lab(lab::Command),
    /// Kill a master's daemon, then cut its link, while a client keeps asking: the whole idea in a minute
    Demo(demo::Args),
    /// Build vipd's Debian package: binary, unit, manual pages, completions; it goes to target/dist
    Dist(dist::Args),
}

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> Result<ExitCode> {
    match cli.command {
        Command::Setup => setup::run()?,
        Command::BuildEbpf => ebpf::build()?,
        Command::Test(args) => return test::test(&args),
        Command::Ci => return test::ci(),
        Command::Sim(args) => return sim::run(&args),
        Command::Chaos(args) => return chaos::run(&args),
        Command::Fuzz(args) => return fuzz::run(&args),
        Command::Guest(args) => return guest::run(&args),
        Command::Bench(args) => bench::run(&args)?,
        Command::Dist(args) => dist::run(&args)?,
        Command::Lab(command) => return lab::run(command),
        Command::Demo(args) => return demo::run(&args),
    }
    Ok(ExitCode::SUCCESS)
}
